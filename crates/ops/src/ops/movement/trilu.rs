//! Trilu: the upper or lower triangle of matrices, from the k-th diagonal; zero elsewhere.

use crate::elementwise::infer_same;
use crate::indexing::{Cells, Filler, integers};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, operand};

/// The row of Trilu.
pub const OP: OpDef = OpDef {
    name: "Trilu",
    since: 14,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("input", "T"), Param::opt("k", "tensor(int64)")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("upper", 1)],
    infer: |cx| {
        if cx.shape(0)?.is_some_and(|s| s.len() < 2) {
            return Err(OpError::shape("the operand has no matrices"));
        }
        infer_same(cx)
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let k = inputs.get(1).copied().flatten().map(integers).transpose()?;
        let k = k.map_or(Some(0), |k| k.first().copied()).ok_or_else(|| OpError::shape("k is empty"))?;
        let &[.., rows, columns] = x.shape() else { return Err(OpError::shape("the operand has no matrices")) };
        let mut out = Filler::new(cx, x.dtype(), x.shape().to_vec())?;
        let cells = Cells::of(x);
        for row in 0..x.len().checked_div(columns).unwrap_or(0) {
            // The diagonal's column in this row; the upper triangle starts there, the lower ends with it.
            let diagonal = ((row % rows) as i64).saturating_add(k);
            let clamp = |c: i64| usize::try_from(c).unwrap_or(0).min(columns);
            let (from, to) = match cx.flag("upper") {
                true => (clamp(diagonal), columns),
                false => (0, clamp(diagonal.saturating_add(1))),
            };
            out.copy(row * columns + from, &cells, row * columns + from, to - from);
        }
        Ok(vec![out.finish()?])
    }),
    ..OpDef::NEW
};

/// The row of com.microsoft's Trilu, which came first.
pub const MICROSOFT: OpDef = OpDef { domain: "com.microsoft", since: 1, ..OP };
