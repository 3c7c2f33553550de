//! planc::Reorder: the same tensor in another layout; which one, the result's type says.

use crate::elementwise::only;
use crate::{Lowered, OpDef, Param, TypeSet};
use planc_ir::{Layout, TensorType};
use planc_kir::Kernel;

/// The row of planc::Reorder.
pub const OP: OpDef = OpDef {
    name: "Reorder",
    domain: "planc",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::req("x", "T")],
    outputs: &[Param::req("y", "T")],
    infer: |cx| {
        let ty = cx.tensor(0)?.clone();
        cx.set(0, TensorType { layout: Layout::RowMajor, ..ty });
        Ok(())
    },
    eval: Some(|_, inputs| Ok(vec![only(inputs)?.to_tensor()])),
    lower: |_| Lowered::kernel(Kernel::Reorder, 1),
    ..OpDef::NEW
};
