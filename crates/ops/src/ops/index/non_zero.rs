//! NonZero: the indices of the elements that are not zero, one column each, in row-major order.

use super::order::Keys;
use crate::elementwise::only;
use crate::{OpDef, Param, TypeSet};
use planc_tensor::{DType, Tensor};

/// The row of NonZero.
pub const OP: OpDef = OpDef {
    name: "NonZero",
    since: 9,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "tensor(int64)")],
    infer: |cx| {
        let rank = cx.shape(0)?.map_or_else(|| cx.fresh(0, 0), |s| s.len().into());
        let count = cx.fresh(0, 1);
        cx.set_tensor(0, DType::I64, vec![rank, count]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let keys = Keys::of(x)?;
        let found: Vec<usize> = (0..x.len()).filter(|i| keys.is_set(*i)).collect();
        let shape = [x.rank(), found.len()];
        let mut out = vec![0i64; cx.reserve(DType::I64, &shape)?];
        for (column, at) in found.iter().enumerate() {
            let mut rest = *at;
            for axis in (0..x.rank()).rev() {
                out[axis * found.len() + column] = (rest % x.shape()[axis]) as i64;
                rest /= x.shape()[axis];
            }
        }
        Ok(vec![Tensor::new(shape, out)?])
    }),
    ..OpDef::NEW
};
