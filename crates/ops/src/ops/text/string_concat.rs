//! StringConcat: the strings of two tensors joined, broadcast.

use crate::elementwise::{common_shape, for_each_offset, infer_broadcast};
use crate::{OpDef, Param, Props, TypeSet, operand};
use planc_tensor::{DType, Tensor};

/// The row of StringConcat.
pub const OP: OpDef = OpDef {
    name: "StringConcat",
    since: 20,
    types: &[("T", TypeSet::STRING)],
    inputs: &[Param::req("X", "T"), Param::req("Y", "T")],
    outputs: &[Param::req("Z", "T")],
    props: Props::ELEMENTWISE,
    infer: infer_broadcast,
    eval: Some(|cx, inputs| {
        let (x, y) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let shape = common_shape(&[x, y])?;
        let mut out = Vec::with_capacity(cx.reserve(DType::String, &shape)?);
        for_each_offset(x.shape(), &shape, |i| out.push(x.as_strings()[i].clone()));
        let mut next = out.iter_mut();
        for_each_offset(y.shape(), &shape, |i| next.next().into_iter().for_each(|s| s.push_str(&y.as_strings()[i])));
        Ok(vec![Tensor::from_strings(shape, out)?])
    }),
    ..OpDef::NEW
};
