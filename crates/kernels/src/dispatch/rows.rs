//! Kernels over rows: softmax, normalisations, reductions.

use super::{Cx, Operand, Output, map};
use crate::norm::{Affine, Norm as Statistics, normalise};
use crate::reduce::{Reduce as Op, reduce as reduce_rows};
use crate::softmax::softmax as softmax_rows;
use planc_kir::{BinOp, Expr, Inst, Norm, NormKind, Num, Reduce, ReduceOp, Softmax, UnOp};

/// Products of the extents before, within and after a range of axes.
fn outer_len_inner(shape: &[usize], axes: std::ops::Range<usize>) -> Option<(usize, usize, usize)> {
    let part = |r: std::ops::Range<usize>| shape.get(r).map(|s| s.iter().product::<usize>());
    Some((part(0..axes.start)?, part(axes.clone())?, part(axes.end..shape.len())?))
}

pub(super) fn softmax(cx: &Cx<'_>, spec: &Softmax, x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let parts = outer_len_inner(x.shape, spec.axis..spec.end).filter(|_| x.shape == y.shape);
    let (outer, len, inner) = parts.ok_or_else(|| format!("no axes {}..{} of {:?}", spec.axis, spec.end, x.shape))?;
    softmax_rows(cx.isa, cx.par, spec.log, outer, len, inner, x.elements()?, y.elements()?);
    Ok(())
}

/// The operation of a reduction that vectors compute: over a range of axes, of elements, squares or magnitudes.
pub(super) fn reduction(spec: &Reduce) -> Option<Op> {
    let is_range = !spec.axes.is_empty() && spec.axes.windows(2).all(|w| w[1] == w[0] + 1);
    let plain = match spec.op {
        ReduceOp::Sum => Op::Sum,
        ReduceOp::Mean => Op::Mean,
        ReduceOp::Prod => Op::Prod,
        ReduceOp::Max => Op::Max,
        ReduceOp::Min => Op::Min,
        ReduceOp::SumSquare => Op::SumSquare,
        ReduceOp::L1 => Op::L1,
        ReduceOp::L2 => Op::L2,
        ReduceOp::LogSum => Op::LogSum,
        ReduceOp::LogSumExp => Op::LogSumExp,
    };
    let two = Num::float(2.0);
    let op = match (spec.map.insts(), spec.op) {
        ([Inst::Arg(0)], _) => plain,
        ([Inst::Arg(0), Inst::Unary(UnOp::Abs, 0)], ReduceOp::Sum) => Op::L1,
        ([Inst::Arg(0), Inst::Unary(UnOp::Abs, 0)], ReduceOp::Max) => Op::MaxAbs,
        ([Inst::Arg(0), Inst::Binary(BinOp::Mul, 0, 0)], op) => squares(op)?,
        ([Inst::Arg(0), Inst::Const(_, c), Inst::Binary(BinOp::Pow, 0, 1)], op) if *c == two => squares(op)?,
        _ => return None,
    };
    (is_range && spec.map.args().len() == 1).then_some(op)
}

/// A reduction of squares.
fn squares(op: ReduceOp) -> Option<Op> {
    match op {
        ReduceOp::Sum => Some(Op::SumSquare),
        ReduceOp::Mean => Some(Op::MeanSquare),
        _ => None,
    }
}

/// Whether it may be a global pooling, which runs on channels in blocks.
pub(super) fn is_pooling(spec: &Reduce) -> bool {
    spec.axes == [2, 3] && matches!(spec.op, ReduceOp::Mean | ReduceOp::Max)
}

pub(super) fn reduce(
    cx: &mut Cx<'_>,
    spec: &Reduce,
    epilogue: Option<&Expr>,
    inputs: &[Option<Operand<'_>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let [Some(x), sides @ ..] = inputs else { return Err("operand 0 is missing".into()) };
    let wrong = || format!("axes {:?} of {:?} do not reduce to {:?}", spec.axes, x.shape, y.shape);
    let op = reduction(spec).ok_or_else(wrong)?;
    let (Some(first), Some(last)) = (spec.axes.first(), spec.axes.last()) else { return Err(wrong()) };
    let (outer, len, inner) = outer_len_inner(x.shape, *first..last + 1).ok_or_else(wrong)?;
    if y.shape.iter().product::<usize>() != outer * inner {
        return Err(wrong());
    }
    reduce_rows(cx.isa, cx.par, op, outer, len, inner, x.elements()?, y.elements()?);
    let Some(epilogue) = epilogue else { return Ok(()) };
    let sides: Vec<Operand<'_>> = sides.iter().flatten().copied().collect();
    map::run_in_place(cx, epilogue, &sides, y)
}

pub(super) fn norm(
    cx: &Cx<'_>,
    spec: &Norm,
    x: Operand<'_>,
    scale: Option<Operand<'_>>,
    bias: Option<Operand<'_>>,
    y: &mut Output<'_>,
) -> Result<(), String> {
    let wrong = || format!("no such normalisation of {:?}", x.shape);
    let count = x.shape.iter().product::<usize>();
    if x.shape != y.shape {
        return Err(wrong());
    }
    if count == 0 {
        return Ok(());
    }
    let mut scale: &[f32] = scale.map(|o| o.elements()).transpose()?.unwrap_or_default();
    let mut shift: &[f32] = bias.map(|o| o.elements()).transpose()?.unwrap_or_default();
    // An absent factor is 1, an absent summand 0; and one number may stand for all.
    let wanted = match spec.kind {
        NormKind::Layer { axis } | NormKind::Rms { axis } => {
            x.shape.get(axis..).ok_or_else(wrong)?.iter().product::<usize>()
        }
        NormKind::Group { .. } => *x.shape.get(1).ok_or_else(wrong)?,
    };
    let (ones, zeros);
    if scale.len() != wanted {
        ones = vec![scale.first().copied().filter(|_| scale.len() == 1).unwrap_or(1.0); wanted];
        if scale.len() > 1 {
            return Err(wrong());
        }
        scale = &ones;
    }
    let shift_needed = !shift.is_empty() || matches!(spec.kind, NormKind::Group { .. });
    if shift_needed && shift.len() != wanted {
        if shift.len() > 1 {
            return Err(wrong());
        }
        zeros = vec![shift.first().copied().unwrap_or(0.0); wanted];
        shift = &zeros;
    }
    let (statistics, rows, affine) = match spec.kind {
        NormKind::Layer { .. } => (Statistics::Mean, count / wanted.max(1), Affine::PerElement { scale, shift }),
        NormKind::Rms { .. } => (Statistics::Rms, count / wanted.max(1), Affine::PerElement { scale, shift }),
        NormKind::Group { groups } => {
            let (n, pixels) = (x.shape[0], x.shape[2..].iter().product::<usize>());
            if groups == 0 || !wanted.is_multiple_of(groups) {
                return Err(wrong());
            }
            (Statistics::Mean, n * groups, Affine::PerChannel { scale, shift, pixels })
        }
    };
    normalise(cx.isa, cx.par, statistics, rows, count / rows, x.elements()?, affine, spec.epsilon, y.elements()?);
    Ok(())
}
