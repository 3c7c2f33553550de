//! Shape: the extents of a tensor, from axis `start` to `end`.

use crate::elementwise::only;
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet};
use planc_tensor::{DType, Dim, Tensor};

/// The row of Shape.
pub const OP: OpDef = OpDef {
    name: "Shape",
    types: &[("T", TypeSet::ALL), ("T1", TypeSet::I64)],
    inputs: &[Param::req("data", "T")],
    outputs: &[Param::req("shape", "T1")],
    attrs: &[AttrDef::int("start", 0).since(15), AttrDef::optional("end", AttrKind::Int).since(15)],
    infer: |cx| {
        let Some(shape) = cx.shape(0)? else {
            let n = cx.fresh(0, 0);
            cx.set_tensor(0, DType::I64, vec![n]);
            return Ok(());
        };
        let dims: Vec<Dim> = shape[range(cx.int("start"), cx.opt_int("end"), shape.len())].to_vec();
        cx.set_tensor(0, DType::I64, vec![dims.len().into()]);
        cx.set_known(0, Some(dims));
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let shape = only(inputs)?.shape();
        let part = &shape[range(cx.int("start"), cx.opt_int("end"), shape.len())];
        Ok::<_, OpError>(vec![Tensor::vector(part.iter().map(|d| *d as i64).collect())])
    }),
    ..OpDef::NEW
};

/// `start..end` counted from the end where negative, clamped.
fn range(start: i64, end: Option<i64>, rank: usize) -> std::ops::Range<usize> {
    let r = rank as i64;
    let clamp = |v: i64| (if v < 0 { v.saturating_add(r) } else { v }).clamp(0, r) as usize;
    let (start, end) = (clamp(start), clamp(end.unwrap_or(r)));
    start..end.max(start)
}
