//! BitwiseXor: a ^ b, broadcast.

use crate::elementwise::{lower_binary, map2};
use crate::{OpDef, OpError, Props, TypeSet, operand, schema};
use planc_kir::BinOp;

/// The row of BitwiseXor.
pub const OP: OpDef = OpDef {
    name: "BitwiseXor",
    since: 18,
    types: &[("T", TypeSet::INT)],
    attrs: &[],
    upgrades: &[],
    props: Props::ELEMENTWISE.or(Props::COMMUTATIVE),
    eval: Some(|cx, inputs| {
        let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let c = crate::dispatch_int!(a.dtype(), T => map2(cx, a, b, |x: T, y: T| x ^ y),
            Err(OpError::type_(format!("does not take {}", a.dtype()))));
        Ok(vec![c?])
    }),
    lower: |cx| lower_binary(cx, BinOp::Xor),
    ..schema::BINARY
};
