//! ScatterND: data with slices of the updates combined in where the tuples in the last axis of the indices point.

use super::scatter::{reduction, scatter, tuple_places};
use crate::elementwise::infer_same;
use crate::{AttrDef, Lowered, OpDef, OpError, Param, TypeSet, known, operand};
use planc_kir::Kernel;

/// The row of ScatterND.
pub const OP: OpDef = OpDef {
    name: "ScatterND",
    since: 11,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("data", "T"), Param::req("indices", "tensor(int64)"), Param::req("updates", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::str("reduction", "none").since(16)],
    infer: |cx| {
        reduction(cx.str("reduction"))?;
        if let (Some(d), Some(i)) = (cx.shape(0)?, cx.shape(1)?) {
            let (tuple, lead) = i.split_last().ok_or_else(|| OpError::shape("the indices need an axis of tuples"))?;
            if let Some(k) = tuple.as_usize() {
                let rest =
                    d.get(k..).ok_or_else(|| OpError::shape(format!("tuples of {k} do not address the data")))?;
                if let Some(u) = cx.shape(2)? {
                    known::same_shape(&[lead, rest].concat(), u, &[])?;
                }
            }
        }
        infer_same(cx)
    },
    eval: Some(|cx, inputs| {
        let (x, indices, updates) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
        let (places, tuple) = tuple_places(x.shape(), indices, 0)?;
        let run = x.shape()[tuple..].iter().product();
        Ok(vec![scatter(cx, x, &places, run, updates, reduction(cx.str("reduction"))?)?])
    }),
    lower: |cx| match reduction(cx.str("reduction")) {
        Ok(reduction) => Lowered::kernel(Kernel::ScatterNd { reduction }, 3),
        Err(_) => Lowered::Reference,
    },
    ..OpDef::NEW
};
