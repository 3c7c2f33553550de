//! Operators whose data have their channels last, by those that have them first: what both spellings share.

use crate::cx::Arg;
use crate::rebuild::Rebuild;
use crate::{InferCx, OpDef, OpError};
use planc_ir::{TensorType, Type, ValueId};

/// Inference as that of `row`, for which operands `data` and the result are turned.
///
/// # Errors
/// As that inference.
pub(super) fn infer(cx: &mut InferCx<'_>, row: &'static OpDef, data: &[usize]) -> Result<(), OpError> {
    let turned = |(i, arg): (usize, &Option<Arg<'_>>)| {
        arg.map(|a| if data.contains(&i) { moved(a.ty, |s| s[1..].rotate_right(1)) } else { a.ty.clone() })
    };
    let types: Vec<Option<Type>> = cx.inputs.iter().enumerate().map(turned).collect();
    let inputs = types.iter().map(|ty| ty.as_ref().map(plain)).collect();
    let mut inner = InferCx::new(row, cx.attrs, inputs, &mut [], cx.output_names.clone());
    (row.infer)(&mut inner)?;
    if let Some(ty) = inner.finish().0.into_iter().next().flatten() {
        cx.set(0, moved(&ty, |s| s[1..].rotate_left(1)));
    }
    Ok(())
}

fn plain(ty: &Type) -> Arg<'_> {
    Arg { ty, constant: None, known: None }
}

/// A type with its axes moved; what has no channels stays.
fn moved(ty: &Type, f: fn(&mut [planc_tensor::Dim])) -> Type {
    let Some(t) = ty.as_tensor() else { return ty.clone() };
    let mut shape = t.shape.clone();
    if let Some(shape) = shape.as_mut().filter(|s| s.len() > 1) {
        f(shape);
    }
    TensorType { shape, ..t.clone() }.into()
}

/// A value whose channels are last, with channels first.
///
/// # Errors
/// When its rank is not known.
pub(super) fn to_first(r: &mut Rebuild<'_>, x: ValueId, tag: &str) -> Result<ValueId, String> {
    let rank = r.dims(x)?.len() as i64;
    let perm: Vec<i64> = (0..rank).map(|i| if i < 2 { i * (rank - 1) } else { i - 1 }).collect();
    r.transpose(x, &perm, tag)
}

/// A value whose channels are first, with channels last.
///
/// # Errors
/// When its rank is not known.
pub(super) fn to_last(r: &mut Rebuild<'_>, x: ValueId, tag: &str) -> Result<ValueId, String> {
    let rank = r.dims(x)?.len() as i64;
    let perm: Vec<i64> = (0..rank).map(|i| if i == 0 || i + 1 == rank { i.min(1) } else { i + 1 }).collect();
    r.transpose(x, &perm, tag)
}
