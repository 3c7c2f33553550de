//! Kernels that move elements of any type: each result element names the operand element it is.

use super::array::{Array, pack, write};
use super::index::{around, check_axis, count, flatten, indices, unflatten};
use super::scalar::Scalar;
use super::{Cx, InterpError, MAX_ELEMENTS, Result, shape_error};
use crate::{Pad, PadMode, ScatterReduction, Slice};
use planc_tensor::{Bytes, DType, Tensor, View};

/// Where a result element comes from: operand and element number; nowhere gives zero.
type Source = Option<(usize, usize)>;

/// Result 0 made of elements of `views`.
fn assemble(cx: &Cx<'_>, views: &[View<'_>], sources: &[Source]) -> Result<Vec<Tensor>> {
    let (dtype, shape) = (cx.dtype(0)?, cx.shape(0)?);
    if let Some(v) = views.iter().find(|v| v.dtype() != dtype) {
        return Err(InterpError::Type(format!("an operand is {}, the result {dtype}", v.dtype())));
    }
    let tensor = match (dtype, dtype.size()) {
        (DType::String, _) => {
            let at = |s: &Source| s.map_or_else(String::new, |(v, i)| views[v].as_strings()[i].clone());
            Tensor::from_strings(shape, sources.iter().map(at).collect())
        }
        (_, Some(size)) => {
            let mut bytes = vec![0u8; sources.len() * size];
            for (to, s) in bytes.chunks_mut(size).zip(sources) {
                if let Some((v, i)) = s {
                    to.copy_from_slice(&views[*v].bytes()[i * size..(i + 1) * size]);
                }
            }
            Tensor::from_bytes(dtype, shape, Bytes::new(bytes))
        }
        (_, None) => {
            let bits = dtype.bits();
            let at = |s: &Source| {
                s.map_or(0, |(v, i)| i128::from(views[v].bytes()[i * bits / 8] >> (bits * (i % (8 / bits)))))
            };
            Tensor::from_bytes(dtype, shape, Bytes::new(pack(dtype, &sources.iter().map(at).collect::<Vec<_>>())))
        }
    };
    Ok(vec![tensor.map_err(|e| InterpError::Shape(e.to_string()))?])
}

/// Result 0 made of elements of operand 0: `from` maps an index of the result to one of the operand.
fn pick(cx: &Cx<'_>, from: impl Fn(&[usize]) -> Result<Vec<usize>>) -> Result<Vec<Tensor>> {
    let x = cx.operand(0)?;
    let source = |i: Vec<usize>| {
        let at = from(&i)?;
        if at.len() != x.rank() || at.iter().zip(x.shape()).any(|(i, d)| i >= d) {
            return shape_error(format!("the result's element {i:?} lies outside of {:?}", x.shape()));
        }
        Ok(Some((0, flatten(x.shape(), &at))))
    };
    let sources = indices(cx.shape(0)?).map(source).collect::<Result<Vec<_>>>()?;
    assemble(cx, &[x], &sources)
}

fn same_rank(x: View<'_>, shape: &[usize]) -> Result<()> {
    if x.rank() == shape.len() {
        return Ok(());
    }
    shape_error(format!("{:?} and the result's {shape:?} differ in rank", x.shape()))
}

pub(super) fn reshape(cx: &Cx<'_>) -> Result<Vec<Tensor>> {
    let x = cx.operand(0)?;
    let n = count(cx.shape(0)?);
    if n != count(x.shape()) {
        return shape_error(format!("{:?} does not reshape to {:?}", x.shape(), cx.shape(0)?));
    }
    assemble(cx, &[x], &(0..n).map(|i| Some((0, i))).collect::<Vec<_>>())
}

pub(super) fn transpose(cx: &Cx<'_>, perm: &[usize]) -> Result<Vec<Tensor>> {
    let (x, shape) = (cx.operand(0)?, cx.shape(0)?);
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.rank()) {
        return shape_error(format!("{perm:?} is not a permutation of {} axes", x.rank()));
    }
    if !perm.iter().map(|p| x.shape()[*p]).eq(shape.iter().copied()) {
        return shape_error(format!("{:?} permuted by {perm:?} is not {shape:?}", x.shape()));
    }
    pick(cx, |i| {
        let mut at = vec![0; i.len()];
        perm.iter().zip(i).for_each(|(p, i)| at[*p] = *i);
        Ok(at)
    })
}

pub(super) fn slice(cx: &Cx<'_>, s: &Slice) -> Result<Vec<Tensor>> {
    let x = cx.operand(0)?;
    same_rank(x, cx.shape(0)?)?;
    if s.starts.len() != x.rank() || s.steps.len() != x.rank() {
        return shape_error("needs a start and a step for each axis");
    }
    let starts = s.starts.iter().map(|d| cx.dim(d)).collect::<Result<Vec<_>>>()?;
    pick(cx, |index| {
        let at = |(a, i): (usize, &usize)| starts[a] + *i as i128 * i128::from(s.steps[a]);
        Ok(index.iter().enumerate().map(at).map(|i| usize::try_from(i).unwrap_or(usize::MAX)).collect())
    })
}

pub(super) fn concat(cx: &Cx<'_>, axis: usize) -> Result<Vec<Tensor>> {
    let shape = cx.shape(0)?;
    check_axis(axis, shape.len())?;
    let views = (0..cx.operands.len()).map(|i| cx.operand(i)).collect::<Result<Vec<_>>>()?;
    let mut past = 0;
    for v in &views {
        same_rank(*v, shape)?;
        if (0..shape.len()).any(|a| a != axis && v.shape()[a] != shape[a]) {
            return shape_error(format!("{:?} is not part of {shape:?}", v.shape()));
        }
        past += v.shape()[axis];
    }
    if past != shape[axis] {
        return shape_error(format!("the operands have {past} elements along axis {axis}, the result {}", shape[axis]));
    }
    let source = |mut i: Vec<usize>| {
        views.iter().enumerate().find_map(|(n, v)| {
            if i[axis] < v.shape()[axis] {
                return Some((n, flatten(v.shape(), &i)));
            }
            i[axis] -= v.shape()[axis];
            None
        })
    };
    assemble(cx, &views, &indices(shape).map(source).collect::<Vec<_>>())
}

pub(super) fn pad(cx: &Cx<'_>, p: &Pad) -> Result<Vec<Tensor>> {
    let (x, shape) = (cx.operand(0)?, cx.shape(0)?);
    same_rank(x, shape)?;
    if p.before.len() != x.rank() {
        return shape_error("needs an amount of padding for each axis");
    }
    let before = p.before.iter().map(|d| cx.dim(d)).collect::<Result<Vec<_>>>()?;
    let mut views = vec![x];
    if let Some(value) = cx.optional(1) {
        if count(value.shape()) != 1 {
            return shape_error("the padding's value is not one element");
        }
        views.push(value);
    }
    let source = |i: Vec<usize>| -> Result<Source> {
        let mut at = vec![];
        for (a, i) in i.iter().enumerate() {
            match inside(*i as i128 - before[a], x.shape()[a] as i128, p.mode) {
                Some(i) => at.push(i as usize),
                None if p.mode == PadMode::Constant => return Ok((views.len() > 1).then_some((1, 0))),
                None => return Err(InterpError::Value("an empty axis has nothing to repeat".into())),
            }
        }
        Ok(Some((0, flatten(x.shape(), &at))))
    };
    let sources = indices(shape).map(source).collect::<Result<Vec<_>>>()?;
    assemble(cx, &views, &sources)
}

/// The position within `0..n` that stands for `i`.
fn inside(i: i128, n: i128, mode: PadMode) -> Option<i128> {
    if (0..n).contains(&i) {
        return Some(i);
    }
    match mode {
        _ if n == 0 => None,
        PadMode::Constant => None,
        PadMode::Edge => Some(if i < 0 { 0 } else { n - 1 }),
        PadMode::Wrap => Some(i.rem_euclid(n)),
        PadMode::Reflect if n == 1 => Some(0),
        PadMode::Reflect => {
            // Up and down again: 0 1 2 3 2 1 | 0 1 ...
            let there = i.rem_euclid(2 * n - 2);
            Some(there.min(2 * n - 2 - there))
        }
    }
}

pub(super) fn tile(cx: &Cx<'_>) -> Result<Vec<Tensor>> {
    let (x, shape) = (cx.operand(0)?, cx.shape(0)?);
    same_rank(x, shape)?;
    if shape.iter().zip(x.shape()).any(|(o, d)| if *d == 0 { *o != 0 } else { o % d != 0 }) {
        return shape_error(format!("{shape:?} is no multiple of {:?}", x.shape()));
    }
    pick(cx, |i| Ok(i.iter().zip(x.shape()).map(|(i, d)| i % d).collect()))
}

/// An index operand: its integers.
fn integers(v: View<'_>) -> Result<Vec<i64>> {
    v.to_i64().ok_or_else(|| InterpError::Type(format!("indices are {}", v.dtype())))
}

/// An index of an axis of extent `n`, from its end where negative.
fn position(i: i64, n: usize) -> Result<usize> {
    let at = if i < 0 { i128::from(i) + n as i128 } else { i128::from(i) };
    let at = usize::try_from(at).ok().filter(|at| *at < n);
    at.ok_or_else(|| InterpError::Value(format!("index {i} is out of range for extent {n}")))
}

pub(super) fn gather(cx: &Cx<'_>, axis: usize) -> Result<Vec<Tensor>> {
    let (x, indices) = (cx.operand(0)?, cx.operand(1)?);
    check_axis(axis, x.rank())?;
    let shape = [&x.shape()[..axis], indices.shape(), &x.shape()[axis + 1..]].concat();
    if shape != cx.shape(0)? {
        return shape_error(format!("the result is {:?}, not {shape:?}", cx.shape(0)?));
    }
    let (ints, q) = (integers(indices)?, indices.rank());
    pick(cx, |i| {
        let n = position(ints[flatten(indices.shape(), &i[axis..axis + q])], x.shape()[axis])?;
        Ok([&i[..axis], &[n], &i[axis + q..]].concat())
    })
}

pub(super) fn gather_elements(cx: &Cx<'_>, axis: usize) -> Result<Vec<Tensor>> {
    let (x, indices) = (cx.operand(0)?, cx.operand(1)?);
    check_axis(axis, x.rank())?;
    if indices.shape() != cx.shape(0)? || indices.rank() != x.rank() {
        return shape_error("the indices have not the result's shape");
    }
    let ints = integers(indices)?;
    pick(cx, |i| {
        let mut at = i.to_vec();
        at[axis] = position(ints[flatten(indices.shape(), i)], x.shape()[axis])?;
        Ok(at)
    })
}

pub(super) fn gather_nd(cx: &Cx<'_>, batch: usize) -> Result<Vec<Tensor>> {
    let (x, indices) = (cx.operand(0)?, cx.operand(1)?);
    let Some((&k, lead)) = indices.shape().split_last() else { return shape_error("the indices are a scalar") };
    if batch > lead.len() || batch + k > x.rank() || x.shape()[..batch] != lead[..batch] {
        return shape_error(format!("{:?} does not index {:?}", indices.shape(), x.shape()));
    }
    let shape = [lead, &x.shape()[batch + k..]].concat();
    if shape != cx.shape(0)? {
        return shape_error(format!("the result is {:?}, not {shape:?}", cx.shape(0)?));
    }
    let ints = integers(indices)?;
    pick(cx, |i| {
        let first = flatten(lead, &i[..lead.len()]) * k;
        let tuple = ints[first..first + k].iter().zip(&x.shape()[batch..]).map(|(i, d)| position(*i, *d));
        Ok([&i[..batch], &tuple.collect::<Result<Vec<_>>>()?, &i[lead.len()..]].concat())
    })
}

pub(super) fn scatter_elements(cx: &Cx<'_>, axis: usize, reduction: ScatterReduction) -> Result<Vec<Tensor>> {
    let (x, indices, updates) = (cx.operand(0)?, cx.operand(1)?, cx.operand(2)?);
    check_axis(axis, x.rank())?;
    if indices.shape() != updates.shape() || indices.rank() != x.rank() {
        return shape_error(format!("indices are {:?}, updates {:?}", indices.shape(), updates.shape()));
    }
    let ints = integers(indices)?;
    let mut targets = vec![];
    for (n, mut at) in self::indices(indices.shape()).enumerate() {
        at[axis] = position(ints[n], x.shape()[axis])?;
        if at.iter().zip(x.shape()).any(|(i, d)| i >= d) {
            return shape_error(format!("indices {:?} reach past {:?}", indices.shape(), x.shape()));
        }
        targets.push(flatten(x.shape(), &at));
    }
    scatter(cx, &targets, reduction)
}

pub(super) fn scatter_nd(cx: &Cx<'_>, reduction: ScatterReduction) -> Result<Vec<Tensor>> {
    let (x, indices, updates) = (cx.operand(0)?, cx.operand(1)?, cx.operand(2)?);
    let Some((&k, lead)) = indices.shape().split_last() else { return shape_error("the indices are a scalar") };
    if k > x.rank() || updates.shape() != [lead, &x.shape()[k..]].concat() {
        return shape_error(format!("{:?} and {:?} do not fit {:?}", indices.shape(), updates.shape(), x.shape()));
    }
    let (ints, inner) = (integers(indices)?, count(&x.shape()[k..]));
    let mut targets = vec![];
    for n in 0..count(updates.shape()) {
        let tuple = &ints[n / inner * k..n / inner * k + k];
        let at = tuple.iter().zip(x.shape()).map(|(i, d)| position(*i, *d)).collect::<Result<Vec<_>>>()?;
        targets.push(flatten(&x.shape()[..k], &at) * inner + n % inner);
    }
    scatter(cx, &targets, reduction)
}

/// Operand 0 with element `n` of operand 2 combined in at `targets[n]`, in order.
fn scatter(cx: &Cx<'_>, targets: &[usize], reduction: ScatterReduction) -> Result<Vec<Tensor>> {
    let (x, updates) = (cx.operand(0)?, cx.operand(2)?);
    if x.shape() != cx.shape(0)? {
        return shape_error(format!("{:?} is not the result's shape", x.shape()));
    }
    if reduction == ScatterReduction::None {
        let mut sources: Vec<Source> = (0..count(x.shape())).map(|i| Some((0, i))).collect();
        targets.iter().enumerate().for_each(|(n, t)| sources[*t] = Some((1, n)));
        return assemble(cx, &[x, updates], &sources);
    }
    if x.dtype() != updates.dtype() || x.dtype() != cx.dtype(0)? {
        return Err(InterpError::Type(format!("updates of {} to {}", updates.dtype(), x.dtype())));
    }
    let (mut x, updates) = (Array::read(x)?, Array::read(updates)?);
    for (n, t) in targets.iter().enumerate() {
        let (a, b) = (x.data[*t], updates.data[n]);
        let v = match reduction {
            ScatterReduction::None => b,
            ScatterReduction::Add => a.plus(b),
            ScatterReduction::Mul => a.times(b),
            ScatterReduction::Min => a.extremum(b, false),
            ScatterReduction::Max => a.extremum(b, true),
        };
        // Each update is stored.
        x.data[*t] = super::scalar::cast(x.dtype, v)?;
    }
    cx.store(x.data)
}

/// Along `axis`, every line of an array: its elements' numbers.
pub(super) fn lines(shape: &[usize], axis: usize) -> Result<Vec<Vec<usize>>> {
    let (outer, n, inner) = around(shape, axis)?;
    let line = |l: usize| (0..n).map(|i| (l / inner * n + i) * inner + l % inner).collect();
    Ok((0..outer * inner).map(line).collect())
}

/// Elements grouped by their index with `axes` left out; each group's element numbers in order.
pub(super) fn groups(shape: &[usize], axes: &[usize]) -> Result<Vec<Vec<usize>>> {
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
    let kept_shape: Vec<usize> = kept.iter().map(|a| shape[*a]).collect();
    if count(&kept_shape) > MAX_ELEMENTS {
        return Err(InterpError::Limit(format!("{shape:?} has too many groups")));
    }
    let mut groups = vec![vec![]; count(&kept_shape)];
    for flat in 0..count(shape) {
        let index = unflatten(shape, flat);
        let at: Vec<usize> = kept.iter().map(|a| index[*a]).collect();
        groups[flatten(&kept_shape, &at)].push(flat);
    }
    Ok(groups)
}

/// A tensor of indices.
pub(super) fn index_tensor(dtype: DType, shape: &[usize], indices: Vec<usize>) -> Result<Tensor> {
    if dtype != DType::I64 {
        return Err(InterpError::Type(format!("indices are i64, not {dtype}")));
    }
    write(dtype, shape, indices.into_iter().map(|i| Scalar::Int(i as i128)).collect())
}
