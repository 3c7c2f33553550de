//! What reductions over axes share: which axes, inference, evaluation, lowering.

use crate::elementwise::{only, walk};
use crate::scalar::{Wide, floats, from_numbers, numbers};
use crate::{
    AttrDef, AttrKind, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, known, normal_axis,
};
use planc_kir::{Kernel, Reduce, ReduceOp};
use planc_tensor::{DType, Dim, Tensor, View, contiguous_strides};

/// The element types of most reductions.
pub const TYPES: TypeSet = TypeSet::FLOAT.or(TypeSet::of(&[DType::I32, DType::I64, DType::U32, DType::U64]));
/// Those of maximum and minimum.
pub const ORDERED: TypeSet = TYPES.or(TypeSet::BYTE).or(TypeSet::BOOL);

/// What rows start from: the axes moved from an attribute to an operand in opset 18.
pub const ROW: OpDef = OpDef {
    types: &[("T", TYPES), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("data", "T"), Param::opt("axes", "tensor(int64)")],
    outputs: &[Param::req("reduced", "T")],
    attrs: &[
        AttrDef::int("keepdims", 1),
        AttrDef::int("noop_with_empty_axes", 0).since(18),
        AttrDef::optional("axes", AttrKind::Ints).until(18),
    ],
    upgrades: &[Upgrade {
        to: 18,
        step: |cx| {
            cx.ints_to_input("axes", 1);
            Ok(())
        },
    }],
    ..OpDef::NEW
};

/// As [`ROW`], moved in opset 13.
pub const ROW_13: OpDef = OpDef {
    attrs: &[
        AttrDef::int("keepdims", 1),
        AttrDef::int("noop_with_empty_axes", 0).since(13),
        AttrDef::optional("axes", AttrKind::Ints).until(13),
    ],
    upgrades: &[Upgrade {
        to: 13,
        step: |cx| {
            cx.ints_to_input("axes", 1);
            Ok(())
        },
    }],
    ..ROW
};

/// The reduced axes, ascending. No axes mean all, or none where `noop`.
fn reduced(axes: &[i64], noop: bool, rank: usize) -> Result<Vec<usize>, OpError> {
    if axes.is_empty() {
        return Ok(if noop { vec![] } else { (0..rank).collect() });
    }
    let mut axes = axes.iter().map(|a| normal_axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

/// Inference; `f` is what the reduction does with known elements.
///
/// # Errors
/// When an axis is out of range.
pub fn infer(cx: &mut InferCx<'_>, f: fn(&[Dim]) -> Option<Dim>) -> Result<(), OpError> {
    let (dtype, keep, noop) = (cx.dtype(0)?, cx.flag("keepdims"), cx.flag("noop_with_empty_axes"));
    let axes = if cx.has(1) { cx.known_ints(1) } else { Some(vec![]) };
    let Some(shape) = cx.shape(0)? else {
        let all = axes.is_some_and(|a| a.is_empty()) && !noop && !keep;
        cx.set_shape(0, dtype, all.then(Vec::new));
        return Ok(());
    };
    let Some(axes) = axes else {
        // As many axes as the operand has elements, unless there are none or some are the same.
        let count =
            cx.shape(1)?.and_then(|s| s.first()).and_then(Dim::as_usize).filter(|n| (1..=shape.len()).contains(n));
        let rank = if keep { Some(shape.len()) } else { count.filter(|n| *n == 1).map(|n| shape.len() - n) };
        let out = rank.map(|r| (0..r).map(|i| cx.fresh(0, i)).collect());
        cx.set_shape(0, dtype, out);
        return Ok(());
    };
    let axes = reduced(&axes, noop, shape.len())?;
    let out = output_shape(shape, &axes, keep, Dim::from(1i64));
    cx.set_tensor(0, dtype, out);
    if axes == [0] && known::holds_extents(dtype) {
        let known = cx.known(0).and_then(|x| f(&x)).map(|v| vec![v]);
        cx.set_known(0, known);
    }
    Ok(())
}

fn output_shape<T: Clone>(shape: &[T], axes: &[usize], keep: bool, one: T) -> Vec<T> {
    let extents = shape.iter().enumerate();
    let out = extents.filter_map(|(i, d)| match (axes.contains(&i), keep) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(one.clone()),
        (true, false) => None,
    });
    out.collect()
}

/// What known elements say nothing about.
pub fn unknown(_: &[Dim]) -> Option<Dim> {
    None
}

/// Evaluation: floats accumulate in `f64`, integers without wrapping; both are then narrowed.
///
/// # Errors
/// When an axis is out of range.
pub fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>], op: ReduceOp) -> Result<Vec<Tensor>, OpError> {
    let x = only(inputs)?;
    let axes = match inputs.get(1).copied().flatten() {
        Some(a) => a.to_i64().ok_or_else(|| OpError::type_(format!("axes do not take {}", a.dtype())))?,
        None => vec![],
    };
    let axes = reduced(&axes, cx.flag("noop_with_empty_axes"), x.rank())?;
    let kept = output_shape(x.shape(), &axes, true, 1);
    let n = cx.reserve(x.dtype(), &kept)?;
    let mut strides = contiguous_strides(&kept);
    axes.iter().for_each(|a| strides[*a] = 0);
    let count = axes.iter().fold(1usize, |n, a| n.saturating_mul(x.shape()[*a]));
    let to = Walk { extents: x.shape(), strides: &strides, n, count };
    let real = matches!(op, ReduceOp::L2 | ReduceOp::LogSum | ReduceOp::LogSumExp);
    let out: Vec<Wide> = if x.dtype().is_float() || real {
        to.floats(&floats(x)?, op).into_iter().map(Wide::Float).collect()
    } else {
        let (low, high) = crate::scalar::int_range(x.dtype()).unwrap_or((0, 1));
        let x = numbers(x, |v| if let Wide::Int(v) = v { v } else { 0 })?;
        to.ints(&x, op, low, high).into_iter().map(Wide::Int).collect()
    };
    let shape = output_shape(x.shape(), &axes, cx.flag("keepdims"), 1);
    Ok(vec![from_numbers(x.dtype(), &shape, out.into_iter(), Default::default())?])
}

/// How elements of an operand map to those of the result.
struct Walk<'a> {
    extents: &'a [usize],
    strides: &'a [usize],
    /// Elements of the result.
    n: usize,
    /// Elements that each of them is made of.
    count: usize,
}

impl Walk<'_> {
    fn fold<T: Copy>(&self, x: &[T], start: T, f: impl Fn(usize, T, T) -> T) -> Vec<T> {
        let mut acc = vec![start; self.n];
        let mut next = x.iter();
        walk(self.extents, self.strides, &mut |at| {
            if let Some(v) = next.next() {
                acc[at] = f(at, acc[at], *v);
            }
        });
        acc
    }

    fn floats(&self, x: &[f64], op: ReduceOp) -> Vec<f64> {
        let after = |acc: Vec<f64>, f: &dyn Fn(f64) -> f64| acc.into_iter().map(f).collect();
        let extremum = |start: f64, better: fn(f64, f64) -> bool| {
            self.fold(x, start, |_, a, v| if better(v, a) || v.is_nan() { v } else { a })
        };
        match op {
            ReduceOp::Sum => self.fold(x, 0.0, |_, a, v| a + v),
            ReduceOp::Mean => after(self.fold(x, 0.0, |_, a, v| a + v), &|v| v / self.count as f64),
            ReduceOp::Prod => self.fold(x, 1.0, |_, a, v| a * v),
            ReduceOp::Max => extremum(f64::NEG_INFINITY, |v, a| v > a),
            ReduceOp::Min => extremum(f64::INFINITY, |v, a| v < a),
            ReduceOp::SumSquare => self.fold(x, 0.0, |_, a, v| a + v * v),
            ReduceOp::L1 => self.fold(x, 0.0, |_, a, v| a + v.abs()),
            ReduceOp::L2 => after(self.fold(x, 0.0, |_, a, v| a + v * v), &f64::sqrt),
            ReduceOp::LogSum => after(self.fold(x, 0.0, |_, a, v| a + v), &libm::log),
            ReduceOp::LogSumExp => {
                let max = extremum(f64::NEG_INFINITY, |v, a| v > a);
                // Infinite maxima would give NaN as a difference.
                let base: Vec<f64> = max.iter().map(|m| if m.is_infinite() { 0.0 } else { *m }).collect();
                let sum = self.fold(x, 0.0, |at, a, v| a + libm::exp(v - base[at]));
                sum.iter().zip(&base).map(|(s, b)| libm::log(*s) + b).collect()
            }
        }
    }

    fn ints(&self, x: &[i128], op: ReduceOp, low: i128, high: i128) -> Vec<i128> {
        match op {
            ReduceOp::Sum => self.fold(x, 0, |_, a, v| a.wrapping_add(v)),
            ReduceOp::Mean => {
                let count = self.count.max(1) as i128;
                self.fold(x, 0, |_, a: i128, v| a.wrapping_add(v)).into_iter().map(|v| v / count).collect()
            }
            ReduceOp::Prod => self.fold(x, 1, |_, a, v| a.wrapping_mul(v)),
            ReduceOp::Max => self.fold(x, low, |_, a, v| a.max(v)),
            ReduceOp::Min => self.fold(x, high, |_, a, v| a.min(v)),
            ReduceOp::L1 => self.fold(x, 0, |_, a, v| a.wrapping_add(v.wrapping_abs())),
            // The others are evaluated as floats.
            ReduceOp::SumSquare | ReduceOp::L2 | ReduceOp::LogSum | ReduceOp::LogSumExp => {
                self.fold(x, 0, |_, a, v| a.wrapping_add(v.wrapping_mul(v)))
            }
        }
    }
}

/// The `Reduce` kernel, where the axes are known.
pub fn lower(cx: &LowerCx<'_>, op: ReduceOp) -> Lowered {
    let axes = if cx.has(1) { cx.known_ints(1) } else { Some(vec![]) };
    let Ok(data) = cx.tensor(0) else { return Lowered::Reference };
    let (Some(axes), Some(rank), true) = (axes, data.rank(), data.dtype != DType::Bool) else {
        return Lowered::Reference;
    };
    match reduced(&axes, cx.flag("noop_with_empty_axes"), rank) {
        Ok(axes) => Lowered::kernel(Kernel::Reduce(Reduce::plain(op, data.dtype, axes)), 1),
        Err(_) => Lowered::Reference,
    }
}
