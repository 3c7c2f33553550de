//! Equal: whether a is b, broadcast; never with NaN.

use crate::elementwise::{common_shape, for_each_offset, infer_broadcast_as, lower_binary, map2};
use crate::{OpDef, OpError, Props, TypeSet, known, operand, schema};
use planc_kir::BinOp;
use planc_tensor::{DType, Tensor};

/// The row of Equal.
pub const OP: OpDef = OpDef {
    name: "Equal",
    types: &[("T", TypeSet::NUMERIC.or(TypeSet::BOOL).or(TypeSet::STRING)), ("T1", TypeSet::BOOL)],
    props: Props::ELEMENTWISE.or(Props::COMMUTATIVE),
    infer: |cx| {
        infer_broadcast_as(cx, DType::Bool)?;
        known::compare(cx, std::cmp::Ordering::is_eq);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
        if (a.dtype(), b.dtype()) == (DType::String, DType::String) {
            let shape = common_shape(&[a, b])?;
            let mut at = Vec::with_capacity(cx.reserve(DType::Bool, &shape)?);
            for_each_offset(a.shape(), &shape, |i| at.push(i));
            let mut at = at.into_iter();
            let mut c = Vec::with_capacity(at.len());
            for_each_offset(b.shape(), &shape, |j| c.extend(at.next().map(|i| a.as_strings()[i] == b.as_strings()[j])));
            return Ok(vec![Tensor::new(shape, c)?]);
        }
        let c = crate::dispatch_scalar!(a.dtype(), T => map2(cx, a, b, |x: T, y: T| x == y),
            Err(OpError::type_(format!("does not take {}", a.dtype()))));
        Ok(vec![c?])
    }),
    lower: |cx| lower_binary(cx, BinOp::Eq),
    ..schema::COMPARISON
};
