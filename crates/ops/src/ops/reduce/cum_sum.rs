//! CumSum: running sums along an axis.

use crate::{Lowered, OpDef, normal_axis, running};
use planc_kir::Kernel;

/// The row of CumSum.
pub const OP: OpDef = OpDef {
    name: "CumSum",
    since: 11,
    eval: Some(|cx, inputs| running::eval(cx, inputs, 0, i128::wrapping_add, |a, v| a + v)),
    lower: |cx| {
        let rank = cx.tensor(0).ok().and_then(|t| t.rank());
        let axis = cx.known_ints(1).filter(|a| a.len() == 1).zip(rank).and_then(|(a, r)| normal_axis(a[0], r).ok());
        let (exclusive, reverse) = (cx.flag("exclusive"), cx.flag("reverse"));
        axis.map_or(Lowered::Reference, |axis| Lowered::kernel(Kernel::CumSum { axis, exclusive, reverse }, 1))
    },
    ..running::ROW
};
