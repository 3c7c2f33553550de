//! IsNaN: whether x is NaN.

use crate::elementwise::{lower_unary, only};
use crate::scalar::floats;
use crate::{InferCx, OpDef, OpError, Param, Props, TypeSet};
use planc_kir::UnOp;
use planc_tensor::{DType, Tensor};

/// The row of IsNaN.
pub const OP: OpDef = OpDef {
    name: "IsNaN",
    since: 9,
    types: &[("T1", TypeSet::FLOAT.or(TypeSet::FLOAT8)), ("T2", TypeSet::BOOL)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2")],
    props: Props::ELEMENTWISE,
    infer: infer_bool,
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        Ok(vec![Tensor::new(x.shape(), floats(x)?.into_iter().map(f64::is_nan).collect())?])
    }),
    lower: |cx| lower_unary(cx, UnOp::IsNan),
    ..OpDef::NEW
};

/// Result 0 is bool with the shape of operand 0.
pub(super) fn infer_bool(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let shape = cx.shape(0)?.map(<[_]>::to_vec);
    cx.set_shape(0, DType::Bool, shape);
    Ok(())
}
