//! Clip: x, not below `min` and not above `max`; `max` where they contradict each other. NaN stays NaN.

use crate::elementwise::{infer_same, lower_map_optional, map1, only};
use crate::scalar::{Scalar, Wide, from_numbers};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, Upgrade, schema};
use planc_ir::TensorType;
use planc_kir::BinOp;
use planc_tensor::{DType, Dim, Element, View};

/// The row of Clip.
pub const OP: OpDef = OpDef {
    name: "Clip",
    types: &[("T", TypeSet::NUMERIC)],
    inputs: &[Param::req("input", "T"), Param::opt("min", "T"), Param::opt("max", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::optional("min", AttrKind::Float).until(11),
        AttrDef::optional("max", AttrKind::Float).until(11),
        schema::CONSUMED_INPUTS,
    ],
    upgrades: &[
        schema::DROP_CONSUMED_INPUTS,
        Upgrade {
            to: 11,
            // Attributes become operands. The defaults are the ends of f32, which bound nothing but infinities.
            step: |cx| {
                let x = cx.inputs.first().copied().flatten().and_then(|v| cx.graph.tensor_type(v));
                let dtype = x.map_or(DType::F32, |t: &TensorType| t.dtype);
                for (i, name) in [(1, "min"), (2, "max")] {
                    if let Some(bound) = cx.attrs.float(name) {
                        let bound = std::iter::once(Wide::Float(bound.into()));
                        cx.const_input(name, i, from_numbers(dtype, &[], bound, Default::default())?);
                    }
                    cx.attrs.take(name);
                }
                Ok(())
            },
        },
    ],
    infer: |cx| {
        for i in 1..cx.input_count().min(3) {
            let shape = if cx.has(i) { cx.shape(i)? } else { None };
            if shape.is_some_and(|s| s.iter().any(|d| d.as_const().is_some_and(|d| d != 1))) {
                return Err(OpError::shape(format!("operand {i} is not a scalar")));
            }
        }
        infer_same(cx)
    },
    eval: Some(|_, inputs| {
        let x = only(inputs)?;
        let y = crate::dispatch_numeric!(x.dtype(), T => {
            let (low, high) = (bound::<T>(inputs, 1)?, bound::<T>(inputs, 2)?);
            map1(x, |v: T| {
                let v = if let Some(low) = low && v < low { low } else { v };
                if let Some(high) = high && v > high { high } else { v }
            })
        }, Err(OpError::type_(format!("does not take {}", x.dtype()))));
        Ok(vec![y?])
    }),
    lower: |cx| {
        // A bound of one element and some rank would raise the rank of what `Map` broadcasts to.
        let scalar = |i: usize| !cx.has(i) || cx.shape(i).ok().flatten().is_some_and(<[Dim]>::is_empty);
        let constant = |i: usize| cx.constant(i).is_some_and(|t| t.len() == 1);
        if !(1..cx.input_count()).all(|i| scalar(i) || constant(i)) {
            return crate::Lowered::Reference;
        }
        lower_map_optional(cx, |b, x| {
            let mut y = x.first().copied().flatten()?;
            for (i, op) in [(1, BinOp::Max), (2, BinOp::Min)] {
                if let Some(bound) = x.get(i).copied().flatten() {
                    y = b.binary(op, y, bound);
                }
            }
            Some(y)
        })
    },
    ..schema::UNARY
};

/// The only element of operand `i`, if it is there.
fn bound<T: Element + Scalar>(inputs: &[Option<View<'_>>], i: usize) -> Result<Option<T>, OpError> {
    let Some(v) = inputs.get(i).copied().flatten() else { return Ok(None) };
    match *crate::elementwise::elements::<T>(v)? {
        [bound] => Ok(Some(bound)),
        _ => Err(OpError::shape(format!("operand {i} is not a scalar"))),
    }
}
