//! What happens to a result element before it is stored: the epilogue, with its side operands.

use super::Request;
use super::entry::Entry;
use super::index::Walk;
use crate::expr;
use crate::ptx::{Reg, Space};
use planc_kir::Expr;
use planc_tensor::DType;

/// The end of a kernel: epilogue and store.
#[derive(Clone, Debug)]
pub struct Tail<'a> {
    epilogue: Option<&'a Expr>,
    /// Position among the step's operands of the first side, and the sides' types.
    first: usize,
    types: Vec<DType>,
    walk: Walk,
    result: DType,
}

impl<'a> Tail<'a> {
    /// The tail of what `request` asks for.
    ///
    /// # Errors
    /// When an operand is missing, or one does not broadcast to the result.
    pub fn new(request: &Request<'a>) -> Result<Tail<'a>, String> {
        let first = request.own_inputs();
        let sides = (first..request.inputs.len()).map(|n| request.input(n)).collect::<Result<Vec<_>, _>>()?;
        let out = request.output(0)?;
        let shapes: Vec<&[planc_tensor::Dim]> = sides.iter().map(|v| v.shape.as_slice()).collect();
        let walk = Walk::new(&out.shape, &shapes)?;
        let types = sides.iter().map(|v| v.dtype).collect();
        Ok(Tail { epilogue: request.epilogue, first, types, walk, result: out.dtype })
    }

    /// Stores `v`, of the type that the epilogue takes, as element `flat` of result 0.
    ///
    /// # Errors
    /// When an extent does not fit.
    pub fn store(&self, e: &mut Entry, flat: Reg, v: Reg) -> Result<(), String> {
        let v = self.apply(e, flat, v)?;
        let out = e.output(0);
        let at = element(e, out, flat, self.result);
        expr::store(&mut e.b, Space::Global, self.result, at, v);
        Ok(())
    }

    /// What is stored where `v` is element `flat` of the result.
    ///
    /// # Errors
    /// When an extent does not fit.
    pub fn apply(&self, e: &mut Entry, flat: Reg, v: Reg) -> Result<Reg, String> {
        let Some(epilogue) = self.epilogue else { return Ok(v) };
        let mut args = vec![v];
        if !self.types.is_empty() {
            let offsets = self.walk.offsets(e, flat)?;
            for (i, (offset, t)) in offsets.into_iter().zip(&self.types).enumerate() {
                let base = e.input(self.first + i);
                let at = element(e, base, offset, *t);
                args.push(expr::load(&mut e.b, Space::Global, *t, at));
            }
        }
        Ok(expr::emit(&mut e.b, epilogue, &args))
    }
}

/// The address of element `index` at `base`.
pub(super) fn element(e: &mut Entry, base: Reg, index: Reg, t: DType) -> Reg {
    e.b.element(base, index, t.size().unwrap_or(1) as u32)
}
