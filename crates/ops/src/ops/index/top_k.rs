//! TopK: the k largest (or smallest) elements along an axis and where they are; of equal ones the first comes first.

use super::order::Keys;
use crate::indexing::{Cells, Filler, around, integers};
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, normal_axis, operand};
use planc_kir::Kernel;
use planc_tensor::{DType, Dim, Tensor};

/// The row of TopK.
pub const OP: OpDef = OpDef {
    name: "TopK",
    types: &[("T", TypeSet::NUMERIC), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("X", "T"), Param::req("K", "tensor(int64)")],
    outputs: &[Param::req("Values", "T"), Param::req("Indices", "tensor(int64)")],
    attrs: &[
        AttrDef::int("axis", -1),
        AttrDef::int("largest", 1).since(11),
        AttrDef::int("sorted", 1).since(11),
        AttrDef::required("k", AttrKind::Int).until(10),
    ],
    upgrades: &[Upgrade {
        to: 10,
        step: |cx| {
            let k = cx.attrs.int("k").ok_or_else(|| OpError::attribute("attribute k is missing"))?;
            cx.attrs.take("k");
            cx.const_input("k", 1, Tensor::vector(vec![k]));
            Ok(())
        },
    }],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let k = cx.known(1).filter(|k| k.len() == 1).map(|mut k| k.remove(0));
        if k.as_ref().and_then(Dim::as_const).is_some_and(|k| k < 0) {
            return Err(OpError::value("k is negative"));
        }
        let shape = match cx.shape(0)? {
            Some(s) => {
                let axis = cx.axis("axis", s.len())?;
                if let (Some(k), Some(n)) = (k.as_ref().and_then(Dim::as_const), s[axis].as_const())
                    && k > n
                {
                    return Err(OpError::shape(format!("k is {k}, the axis has {n} elements")));
                }
                let mut s = s.to_vec();
                s[axis] = k.unwrap_or_else(|| cx.fresh(0, axis));
                Some(s)
            }
            None => None,
        };
        cx.set_shape(0, dtype, shape.clone());
        cx.set_shape(1, DType::I64, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, k) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let axis = normal_axis(cx.int("axis"), x.rank())?;
        let (outer, extent, inner) = around(x.shape(), axis)?;
        let k = integers(k)?.first().and_then(|k| usize::try_from(*k).ok()).filter(|k| *k <= extent);
        let k = k.ok_or_else(|| OpError::value(format!("k is out of range for {extent} elements")))?;
        let mut shape = x.shape().to_vec();
        shape[axis] = k;
        let mut values = Filler::new(cx, x.dtype(), shape.clone())?;
        let mut indices = vec![0i64; cx.reserve(DType::I64, &shape)?];
        let (cells, keys, largest) = (Cells::of(x), Keys::of(x)?, cx.flag("largest"));
        let mut order: Vec<usize> = Vec::with_capacity(extent);
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            let at = |n: usize| (o * extent + n) * inner + i;
            order.clear();
            order.extend(0..extent);
            order.sort_by(|a, b| {
                let order = keys.compare(at(*a), at(*b));
                if largest { order.reverse() } else { order }
            });
            for (rank, n) in order[..k].iter().enumerate() {
                let to = (o * k + rank) * inner + i;
                values.set(to, &cells, at(*n));
                indices[to] = *n as i64;
            }
        }
        Ok(vec![values.finish()?, Tensor::new(shape, indices)?])
    }),
    lower: |cx| {
        let axis = cx.shape(0).ok().flatten().map(|d| cx.axis("axis", d.len()));
        match (axis, cx.known(1)) {
            (Some(Ok(axis)), Some(_)) => {
                let (largest, sorted) = (cx.flag("largest"), cx.flag("sorted"));
                Lowered::kernel(Kernel::TopK { axis, largest, sorted }, 2)
            }
            _ => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};
