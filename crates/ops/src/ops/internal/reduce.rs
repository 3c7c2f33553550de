//! planc::Reduce: a reduction of the elements that a scalar program makes of the operands, broadcast. Attribute `expr` is
//! the program's text, `op` the name of a `ReduceOp`.

use super::map::program;
use crate::elementwise::{broadcast_dims, common_shape};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet};
use planc_kir::{Kernel, Reduce, ReduceOp, interp::interpret};
use planc_tensor::{Dim, Tensor, View};

/// The row of planc::Reduce.
pub const OP: OpDef = OpDef {
    name: "Reduce",
    domain: "planc",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::hetero("operands", "T")],
    outputs: &[Param::req("result", "T")],
    attrs: &[
        AttrDef::required("axes", AttrKind::Ints),
        AttrDef::required("expr", AttrKind::Str),
        AttrDef::int("keepdims", 1),
        AttrDef::required("op", AttrKind::Str),
    ],
    infer,
    eval: Some(eval),
    lower: |cx: &LowerCx<'_>| match reduction(cx.ints("axes"), cx.str("op"), cx.str("expr")) {
        Ok(r) => Lowered::kernel(Kernel::Reduce(r), cx.input_count()),
        Err(_) => Lowered::Reference,
    },
    ..OpDef::NEW
};

/// The kernel that the attributes describe.
fn reduction(axes: Option<&[i64]>, op: &str, expr: &str) -> Result<Reduce, OpError> {
    let op = ReduceOp::from_name(op).ok_or_else(|| OpError::attribute(format!("op {op:?} is no reduction")))?;
    let axes: Option<Vec<usize>> = axes.unwrap_or_default().iter().map(|a| usize::try_from(*a).ok()).collect();
    let axes = axes.filter(|a| a.is_sorted_by(|x, y| x < y));
    let axes = axes.ok_or_else(|| OpError::attribute("axes are not ascending from 0"))?;
    Ok(Reduce { op, axes, map: program(expr)? })
}

/// Extents of the result.
fn reduced<T: Clone>(shape: &[T], axes: &[usize], keep: bool, one: &T) -> Result<Vec<T>, OpError> {
    if axes.last().is_some_and(|a| *a >= shape.len()) {
        return Err(OpError::attribute(format!("axes {axes:?} are out of range for rank {}", shape.len())));
    }
    let extent = |(i, d): (usize, &T)| match (axes.contains(&i), keep) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(one.clone()),
        (true, false) => None,
    };
    Ok(shape.iter().enumerate().filter_map(extent).collect())
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let r = reduction(cx.ints("axes"), cx.str("op"), cx.str("expr"))?;
    let types = r.map.args();
    if cx.input_count() != types.len() {
        return Err(OpError::arity(format!("has {} operands, takes {}", cx.input_count(), types.len())));
    }
    let mut shape = Some(vec![]);
    for (i, t) in types.iter().enumerate() {
        if cx.dtype(i)? != *t {
            return Err(OpError::type_(format!("operand {i} is {}, the program takes {t}", cx.dtype(i)?)));
        }
        shape = match (shape, cx.shape(i)?) {
            (Some(a), Some(b)) => Some(broadcast_dims(&a, b)?),
            _ => None,
        };
    }
    let one = Dim::from(1i64);
    let shape = shape.map(|s| reduced(&s, &r.axes, cx.flag("keepdims"), &one)).transpose()?;
    cx.set_shape(0, r.map.result_type(), shape);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let r = reduction(cx.ints("axes"), cx.str("op"), cx.str("expr"))?;
    let operands: Vec<View<'_>> = inputs.iter().flatten().copied().collect();
    let full = common_shape(&operands)?;
    let (dtype, shape) = (r.map.result_type(), reduced(&full, &r.axes, cx.flag("keepdims"), &1)?);
    cx.reserve(dtype, &full)?;
    let outputs = [(dtype, shape)];
    let operands: Vec<Option<View<'_>>> = operands.into_iter().map(Some).collect();
    interpret(&Kernel::Reduce(r), &operands, &outputs, &|_| None).map_err(|e| OpError::shape(e.to_string()))
}
