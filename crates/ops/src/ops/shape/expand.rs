//! Expand: the operand broadcast with a shape.

use crate::elementwise::broadcast_dims;
use crate::indexing::{by_axis, integers};
use crate::{Lowered, OpDef, OpError, Param, TypeSet, known, operand};
use planc_kir::{Expr, Kernel};
use planc_tensor::{Dim, broadcast, broadcast_strides};

/// The row of Expand.
pub const OP: OpDef = OpDef {
    name: "Expand",
    since: 8,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("input", "T"), Param::req("shape", "tensor(int64)")],
    outputs: &[Param::req("output", "T")],
    infer: |cx| {
        let (dtype, data) = (cx.dtype(0)?, cx.shape(0)?);
        let shape = match (data, cx.known(1)) {
            (Some(d), Some(wanted)) => Some(broadcast_dims(d, &wanted)?),
            (Some(d), None) => {
                let n = cx.shape(1)?.and_then(|s| s.first()).and_then(Dim::as_usize).filter(|r| *r <= 64);
                n.map(|n| {
                    let rank = n.max(d.len());
                    let mut out: Vec<Dim> = (0..rank).map(|i| cx.fresh(0, i)).collect();
                    for (o, d) in out[rank - d.len()..].iter_mut().zip(d) {
                        if d.as_const().is_some_and(|d| d != 1) {
                            *o = d.clone();
                        }
                    }
                    out
                })
            }
            (None, _) => None,
        };
        let count = shape.as_deref().and_then(|s: &[Dim]| known::product(s).as_usize()).filter(|n| *n <= 64);
        let all = cx.known(0).zip(count).map(|(k, n)| if k.len() == 1 { vec![k[0].clone(); n] } else { k });
        cx.set_shape(0, dtype, shape);
        known::set_if_flat(cx, 0, all);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let extents = integers(operand(inputs, 1)?)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
        let wanted = extents.map_err(|_| OpError::value("an extent is negative"))?;
        let shape = broadcast(x.shape(), &wanted)
            .ok_or_else(|| OpError::shape(format!("{:?} does not expand to {wanted:?}", x.shape())))?;
        let strides = broadcast_strides(x.shape(), &shape);
        Ok(vec![by_axis(cx, x, shape, None, |a, i| i * strides[a])?])
    }),
    lower: |cx| match (cx.known(1), cx.dtype(0)) {
        (Some(_), Ok(t)) if t.size().is_some() => Lowered::kernel(Kernel::Map(Expr::identity(t)), 1),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};
