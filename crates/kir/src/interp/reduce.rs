//! Kernels that combine elements along axes: reductions, normalisations, running sums, selection.

use super::array::{Array, write};
use super::index::{around, check_axis, count};
use super::moves::{groups, index_tensor, lines};
use super::scalar::{Scalar, int_range};
use super::{Cx, InterpError, MAX_ELEMENTS, Result, shape_error};
use crate::{ArgReduce, Expr, Norm, NormKind, Reduce, ReduceOp, Softmax};
use planc_tensor::{DType, Tensor};
use std::cmp::Ordering;

/// Checks a reduction's result: the reduced axes are 1 or gone.
fn check_reduced(x: &[usize], axes: &[usize], out: &[usize]) -> Result<()> {
    let kept: Vec<usize> = (0..x.len()).map(|a| if axes.contains(&a) { 1 } else { x[a] }).collect();
    let dropped: Vec<usize> = (0..x.len()).filter(|a| !axes.contains(a)).map(|a| x[a]).collect();
    if out == kept || out == dropped {
        return Ok(());
    }
    shape_error(format!("{x:?} reduced over {axes:?} is not {out:?}"))
}

fn check_type(x: &Array, cx: &Cx<'_>) -> Result<()> {
    let dtype = cx.dtype(0)?;
    if x.dtype == dtype {
        Ok(())
    } else {
        Err(InterpError::Type(format!("the operand is {}, the result {dtype}", x.dtype)))
    }
}

pub(super) fn reduce(cx: &Cx<'_>, r: &Reduce) -> Result<Vec<Tensor>> {
    let x = if r.is_plain() { cx.array(0)? } else { mapped(cx, &r.map)? };
    check_operand(&x, &r.map)?;
    check_type(&x, cx)?;
    r.axes.iter().try_for_each(|a| check_axis(*a, x.shape.len()))?;
    check_reduced(&x.shape, &r.axes, cx.shape(0)?)?;
    let of = |g: Vec<usize>| reduced(r.op, x.dtype, g.into_iter().map(|i| x.data[i]).collect());
    cx.store(groups(&x.shape, &r.axes)?.into_iter().map(of).collect())
}

/// The elements that a program makes of the broadcast operands.
fn mapped(cx: &Cx<'_>, expr: &Expr) -> Result<Array> {
    let args = (0..expr.args().len()).map(|i| cx.operand(i)).collect::<Result<Vec<_>>>()?;
    let shape = args.iter().try_fold(vec![], |shape, a| planc_tensor::broadcast(&shape, a.shape()));
    let shape = shape.filter(|s| count(s) <= MAX_ELEMENTS);
    let Some(shape) = shape else { return shape_error("the operands do not broadcast to one shape") };
    let made = super::map(&Cx { operands: cx.operands, outputs: &[(expr.result_type(), shape)], bind: cx.bind }, expr)?;
    Array::read(made[0].view())
}

fn check_operand(x: &Array, map: &Expr) -> Result<()> {
    let dtype = map.result_type();
    if x.dtype == dtype { Ok(()) } else { Err(InterpError::Type(format!("{} is reduced as {dtype}", x.dtype))) }
}

fn reduced(op: ReduceOp, dtype: DType, x: Vec<Scalar>) -> Scalar {
    let zero = Scalar::zero(dtype);
    let sum = |f: fn(Scalar) -> Scalar| x.iter().fold(zero, |s, v| s.plus(f(*v)));
    // Functions without an integer form are taken of the exact sum and truncated where they are stored.
    match op {
        ReduceOp::Sum => sum(|v| v),
        ReduceOp::SumSquare => sum(|v| v.times(v)),
        ReduceOp::L1 => sum(absolute),
        ReduceOp::L2 => Scalar::Float(sum(|v| v.times(v)).as_f64().sqrt()),
        ReduceOp::LogSum => Scalar::Float(sum(|v| v).as_f64().ln()),
        ReduceOp::Mean => match sum(|v| v) {
            Scalar::Int(s) => Scalar::Int(s.checked_div(x.len() as i128).unwrap_or(0)),
            Scalar::Float(s) => Scalar::Float(s / x.len() as f64),
        },
        ReduceOp::Prod => {
            let one = if dtype.is_float() { Scalar::Float(1.0) } else { Scalar::Int(1) };
            x.into_iter().fold(one, Scalar::times)
        }
        ReduceOp::Max => x.into_iter().fold(lowest(dtype, true), |a, b| a.extremum(b, true)),
        ReduceOp::Min => x.into_iter().fold(lowest(dtype, false), |a, b| a.extremum(b, false)),
        ReduceOp::LogSumExp => {
            let max = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(v.as_f64()));
            if max.is_infinite() && !x.iter().any(|v| v.as_f64().is_nan()) {
                return Scalar::Float(max);
            }
            Scalar::Float(max + x.iter().map(|v| (v.as_f64() - max).exp()).sum::<f64>().ln())
        }
    }
}

fn absolute(v: Scalar) -> Scalar {
    match v {
        Scalar::Float(v) => Scalar::Float(v.abs()),
        Scalar::Int(v) => Scalar::Int(v.abs()),
    }
}

/// What a maximum (or minimum) of nothing is.
pub(super) fn lowest(dtype: DType, max: bool) -> Scalar {
    if dtype.is_float() {
        return Scalar::Float(if max { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let (low, high) = int_range(dtype);
    Scalar::Int(if max { low } else { high })
}

/// Order of elements with NaN above everything.
fn compare(a: Scalar, b: Scalar) -> Ordering {
    match (a, b) {
        (Scalar::Int(a), Scalar::Int(b)) => a.cmp(&b),
        (a, b) => {
            let (a, b) = (a.as_f64(), b.as_f64());
            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }
    }
}

pub(super) fn arg_reduce(cx: &Cx<'_>, r: &ArgReduce) -> Result<Vec<Tensor>> {
    let x = cx.array(0)?;
    let (_, n, _) = around(&x.shape, r.axis)?;
    check_reduced(&x.shape, &[r.axis], cx.shape(0)?)?;
    let lines = lines(&x.shape, r.axis)?;
    if n == 0 && !lines.is_empty() {
        return Err(InterpError::Value("an empty axis has no extremum".into()));
    }
    // NaN is the extremum either way, as in `Reduce`.
    let rank = |v: Scalar| (v.as_f64().is_nan(), v);
    let beats = |a: Scalar, b: Scalar| match (rank(a), rank(b)) {
        ((true, _), (false, _)) => Ordering::Greater,
        ((false, _), (true, _)) => Ordering::Less,
        ((true, _), (true, _)) => Ordering::Equal,
        _ if r.max => compare(a, b),
        _ => compare(b, a),
    };
    let best = |line: Vec<usize>| {
        (1..line.len()).fold(0, |best, i| match beats(x.data[line[i]], x.data[line[best]]) {
            Ordering::Greater => i,
            Ordering::Equal if r.last => i,
            _ => best,
        })
    };
    let found = lines.into_iter().map(best).collect();
    Ok(vec![index_tensor(cx.dtype(0)?, cx.shape(0)?, found)?])
}

pub(super) fn softmax(cx: &Cx<'_>, s: &Softmax) -> Result<Vec<Tensor>> {
    let x = cx.array(0)?;
    x.expect_float()?;
    x.expect(cx.shape(0)?, "the operand")?;
    if s.axis > s.end || s.end > x.shape.len() {
        return shape_error(format!("axes {}..{} are out of range for rank {}", s.axis, s.end, x.shape.len()));
    }
    let mut out = x.data.clone();
    for g in groups(&x.shape, &(s.axis..s.end).collect::<Vec<_>>())? {
        let max = g.iter().fold(f64::NEG_INFINITY, |m, i| m.max(x.data[*i].as_f64()));
        let sum: f64 = g.iter().map(|i| (x.data[*i].as_f64() - max).exp()).sum();
        for i in g {
            let v = x.data[i].as_f64() - max;
            out[i] = Scalar::Float(if s.log { v - sum.ln() } else { v.exp() / sum });
        }
    }
    cx.store(out)
}

pub(super) fn norm(cx: &Cx<'_>, n: &Norm) -> Result<Vec<Tensor>> {
    let x = cx.array(0)?;
    x.expect_float()?;
    x.expect(cx.shape(0)?, "the operand")?;
    let rank = x.shape.len();
    // What scale and bias look like once they have the operand's shape, and which elements share their statistics.
    let (groups, affine) = match n.kind {
        NormKind::Layer { axis } | NormKind::Rms { axis } => {
            if axis > rank {
                return shape_error(format!("axis {axis} is out of range for rank {rank}"));
            }
            (groups(&x.shape, &(axis..rank).collect::<Vec<_>>())?, x.shape[axis..].to_vec())
        }
        NormKind::Group { groups } => {
            let [batch, channels, rest @ ..] = x.shape.as_slice() else {
                return shape_error("needs a batch and a channel axis");
            };
            if groups == 0 || channels % groups != 0 {
                return shape_error(format!("{channels} channels do not make {groups} groups"));
            }
            let size = if x.data.is_empty() { 0 } else { channels / groups * count(rest) };
            let all =
                (0..if size == 0 { 0 } else { batch * groups }).map(|g| (g * size..(g + 1) * size).collect()).collect();
            (all, vec![*channels])
        }
    };
    let parameter = |i: usize| -> Result<Option<Array>> {
        let Some(mut p) = cx.optional_array(i)? else { return Ok(None) };
        if matches!(n.kind, NormKind::Group { .. }) {
            p.expect(&affine, "a parameter")?;
            p.shape.extend(vec![1; rank - 2]);
        } else {
            p = p.broadcast(&affine)?;
        }
        p.broadcast(&x.shape).map(Some)
    };
    let (scale, bias) = (parameter(1)?, parameter(2)?);
    let mut out = x.data.clone();
    for g in groups {
        let count = g.len() as f64;
        let mean = match n.kind {
            NormKind::Rms { .. } => 0.0,
            _ => g.iter().map(|i| x.data[*i].as_f64()).sum::<f64>() / count,
        };
        let variance = g.iter().map(|i| (x.data[*i].as_f64() - mean).powi(2)).sum::<f64>() / count;
        let factor = 1.0 / (variance + f64::from(n.epsilon)).sqrt();
        for i in g {
            let scale = scale.as_ref().map_or(1.0, |s| s.data[i].as_f64());
            let bias = bias.as_ref().map_or(0.0, |b| b.data[i].as_f64());
            out[i] = Scalar::Float((x.data[i].as_f64() - mean) * factor * scale + bias);
        }
    }
    cx.store(out)
}

pub(super) fn cum_sum(cx: &Cx<'_>, axis: usize, exclusive: bool, reverse: bool) -> Result<Vec<Tensor>> {
    let x = cx.array(0)?;
    check_type(&x, cx)?;
    x.expect(cx.shape(0)?, "the operand")?;
    let mut out = x.data.clone();
    for mut line in lines(&x.shape, axis)? {
        if reverse {
            line.reverse();
        }
        let mut sum = Scalar::zero(x.dtype);
        for i in line {
            let before = sum;
            sum = sum.plus(x.data[i]);
            out[i] = if exclusive { before } else { sum };
        }
    }
    cx.store(out)
}

pub(super) fn top_k(cx: &Cx<'_>, axis: usize, largest: bool) -> Result<Vec<Tensor>> {
    let (x, k) = (cx.array(0)?, cx.operand(1)?);
    let (_, n, _) = around(&x.shape, axis)?;
    let k = match k.to_i64().as_deref() {
        Some([k]) => usize::try_from(*k).ok().filter(|k| *k <= n),
        _ => None,
    };
    let k = k.ok_or_else(|| InterpError::Value(format!("k is not a number up to {n}")))?;
    let mut shape = x.shape.clone();
    shape[axis] = k;
    if let Some((_, other)) = cx.outputs.iter().find(|(_, s)| *s != shape) {
        return shape_error(format!("the result is {other:?}, not {shape:?}"));
    }
    check_type(&x, cx)?;
    let count = count(&shape);
    let (mut values, mut found) = (vec![Scalar::zero(x.dtype); count], vec![0; count]);
    for (line, to) in lines(&x.shape, axis)?.into_iter().zip(lines(&shape, axis)?) {
        let mut order: Vec<usize> = (0..n).collect();
        let value = |i: &usize| x.data[line[*i]];
        // The sort is stable: of equal values the lower index stays first.
        order.sort_by(|a, b| if largest { compare(value(b), value(a)) } else { compare(value(a), value(b)) });
        for (to, i) in to.into_iter().zip(order) {
            values[to] = value(&i);
            found[to] = i;
        }
    }
    let mut results = vec![write(cx.dtype(0)?, &shape, values)?];
    if cx.outputs.len() > 1 {
        results.push(index_tensor(cx.dtype(1)?, &shape, found)?);
    }
    Ok(results)
}
