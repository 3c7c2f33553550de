//! Size: the number of elements.

use crate::elementwise::only;
use crate::{OpDef, Param, TypeSet, known};
use planc_tensor::{DType, Tensor};

/// The row of Size.
pub const OP: OpDef = OpDef {
    name: "Size",
    types: &[("T", TypeSet::ALL), ("T1", TypeSet::I64)],
    inputs: &[Param::req("data", "T")],
    outputs: &[Param::req("size", "T1")],
    infer: |cx| {
        let count = cx.shape(0)?.map(|s| vec![known::product(s)]);
        cx.set_tensor(0, DType::I64, vec![]);
        cx.set_known(0, count);
        Ok(())
    },
    eval: Some(|_, inputs| Ok(vec![Tensor::scalar(only(inputs)?.len() as i64)])),
    ..OpDef::NEW
};
