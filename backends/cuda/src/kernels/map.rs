//! `Map`: a scalar program per element of broadcast operands.
//!
//! Where the innermost merged axis allows it, a thread computes several consecutive elements and moves 16 bytes at a time;
//! else it computes one.

use super::entry::{Entry, count};
use super::index::{Walk, coordinates};
use super::tail::element;
use super::{Generated, Request, Row, Types};
use crate::expr;
use crate::ptx::{Cmp, Int2, Reg, Space, Ty};
use planc_kir::Kernel;
use planc_tensor::{DType, Dim};

pub(super) const ROW: Row = Row { supports, epilogue: false, generate };

const THREADS: u32 = 256;

fn supports(kernel: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    let Kernel::Map(e) = kernel else { return Err("not a map".into()) };
    if inputs.len() != e.args().len() || inputs.contains(&None) || outputs.len() != 1 {
        return Err("a map takes all of its operands and gives one result".into());
    }
    expr::supports(e)
}

/// Elements per thread: 16 bytes of the widest 4-byte type, 8 of 16-bit types alone.
fn width(types: impl Iterator<Item = DType>) -> u32 {
    let sizes: Vec<usize> = types.filter_map(DType::size).collect();
    if sizes.iter().all(|s| *s == 2) { 8 } else { 4 }
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Map(program) = request.kernel else { return Err("not a map".into()) };
    let out = request.output(0)?;
    let values = (0..request.inputs.len()).map(|n| request.input(n)).collect::<Result<Vec<_>, _>>()?;
    let shapes: Vec<&[Dim]> = values.iter().map(|v| v.shape.as_slice()).collect();
    let walk = Walk::new(&out.shape, &shapes)?;
    let types: Vec<DType> = values.iter().map(|v| v.dtype).collect();
    let n = count(&out.shape)?;
    let w = width(types.iter().copied().chain([out.dtype]));
    let inner = walk.extents.last().and_then(Dim::as_const).unwrap_or(0);
    let flat_operands = walk.extents.len() == 1;
    let one = Dim::from(1usize);
    let neighbours = walk.strides.iter().all(|s| s.last().and_then(Option::as_ref).is_none_or(|s| *s == one));
    let vector = neighbours && (flat_operands || inner > 0 && inner % i64::from(w) == 0);
    let w = if vector { w } else { 1 };

    let mut e = Entry::new("map", [THREADS, 1, 1]);
    let size = e.size(&n)?;
    let thread = e.thread();
    let first = if w == 1 { thread } else { e.b.int2(Int2::Shl, Ty::B32, thread, w.trailing_zeros()) };
    let outside = e.b.setp(Cmp::Ge, Ty::U32, first, size);
    e.b.exit_if(outside);
    let one = |e: &mut Entry, flat: Reg| -> Result<(), String> {
        let offsets = walk.offsets(e, flat)?;
        let mut args = vec![];
        for (i, (offset, t)) in offsets.iter().zip(&types).enumerate() {
            let base = e.input(i);
            let at = element(e, base, *offset, *t);
            args.push(expr::load(&mut e.b, Space::Global, *t, at));
        }
        let v = expr::emit(&mut e.b, program, &args);
        let base = e.output(0);
        let at = element(e, base, flat, out.dtype);
        expr::store(&mut e.b, Space::Global, out.dtype, at, v);
        Ok(())
    };
    let many = |e: &mut Entry| -> Result<(), String> {
        let at = coordinates(e, first, &walk.extents)?;
        let mut args: Vec<Vec<Reg>> = vec![];
        for (i, t) in types.iter().enumerate() {
            let base = e.input(i);
            let offset = walk.offset(e, i, &at)?;
            let address = element(e, base, offset, *t);
            // A repeated innermost axis reads one element for all.
            let inner = walk.strides[i].last().is_some_and(Option::is_some);
            args.push(if inner {
                expr::load_vector(&mut e.b, *t, w, address)
            } else {
                vec![expr::load(&mut e.b, Space::Global, *t, address); w as usize]
            });
        }
        let results: Vec<Reg> = (0..w as usize)
            .map(|k| {
                let of: Vec<Reg> = args.iter().map(|a| a[k]).collect();
                expr::emit(&mut e.b, program, &of)
            })
            .collect();
        let base = e.output(0);
        let address = element(e, base, first, out.dtype);
        expr::store_vector(&mut e.b, out.dtype, address, &results);
        Ok(())
    };
    if w == 1 {
        one(&mut e, first)?;
    } else if size.known().is_some_and(|n| n.is_multiple_of(w)) {
        many(&mut e)?;
    } else {
        let last = e.b.add(Ty::U32, first, w);
        let whole = e.b.setp(Cmp::Le, Ty::U32, last, size);
        e.branch(whole, many, |e| e.repeat(first, size, one))?;
    }
    let threads = n.ceil_div(&Dim::from(w as usize));
    Ok(e.launch_threads(threads).into())
}
