//! Less: whether a is below b, broadcast; never with NaN.

use crate::elementwise::{infer_broadcast_as, lower_binary, map2};
use crate::{OpDef, OpError, known, operand, schema};
use planc_kir::BinOp;
use planc_tensor::DType;

/// The row of Less.
pub const OP: OpDef = OpDef {
    name: "Less",
    infer: |cx| {
        infer_broadcast_as(cx, DType::Bool)?;
        known::compare(cx, std::cmp::Ordering::is_lt);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let c = crate::dispatch_numeric!(a.dtype(), T => map2(cx, a, b, |x: T, y: T| x < y),
            Err(OpError::type_(format!("does not take {}", a.dtype()))));
        Ok(vec![c?])
    }),
    lower: |cx| lower_binary(cx, BinOp::Lt),
    ..schema::COMPARISON
};
