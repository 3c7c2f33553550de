//! Einsum: sums of products over labelled axes. A label of extent 1 broadcasts; `...` stands for broadcast axes.

use crate::elementwise::elements;
use crate::floats::{narrow, widen};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet};
use planc_tensor::{Dim, Tensor, View, contiguous_strides};
use std::num::Wrapping;
use std::ops::{AddAssign, Mul};

/// The row of Einsum.
pub const OP: OpDef = OpDef {
    name: "Einsum",
    since: 12,
    types: &[("T", TypeSet::NUMERIC)],
    inputs: &[Param::variadic("Inputs", "T")],
    outputs: &[Param::req("Output", "T")],
    attrs: &[AttrDef::required("equation", AttrKind::Str)],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

/// A letter, or axis `k` from the right of what `...` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// Labels of a term; where `...` stands.
struct Term {
    letters: Vec<char>,
    ellipsis: Option<usize>,
}

fn term(text: &str) -> Result<Term, OpError> {
    let bad = || OpError::attribute(format!("term {text:?} of the equation is malformed"));
    let mut t = Term { letters: vec![], ellipsis: None };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if t.ellipsis.replace(t.letters.len()).is_some() {
                return Err(bad());
            }
            rest = after;
        } else if c.is_ascii_alphabetic() {
            t.letters.push(c);
            rest = &rest[1..];
        } else {
            return Err(bad());
        }
    }
    Ok(t)
}

impl Term {
    /// The labels of a tensor of `rank` axes.
    fn labels(&self, rank: usize) -> Result<Vec<Label>, OpError> {
        let free = rank.checked_sub(self.letters.len()).filter(|n| *n == 0 || self.ellipsis.is_some());
        let free = free.ok_or_else(|| {
            OpError::shape(format!("an operand of rank {rank} does not fit a term of {} labels", self.letters.len()))
        })?;
        Ok(self.with(free))
    }

    fn with(&self, free: usize) -> Vec<Label> {
        let at = self.ellipsis.unwrap_or(self.letters.len());
        let mut labels: Vec<Label> = self.letters.iter().map(|c| Label::Letter(*c)).collect();
        if self.ellipsis.is_some() {
            labels.splice(at..at, (0..free).rev().map(Label::Ellipsis));
        }
        labels
    }
}

/// The labels of every operand and of the result.
fn parse(equation: &str, ranks: &[usize]) -> Result<(Vec<Vec<Label>>, Vec<Label>), OpError> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (equation.as_str(), None),
    };
    let terms = left.split(',').map(term).collect::<Result<Vec<_>, _>>()?;
    if terms.len() != ranks.len() {
        return Err(OpError::arity(format!("the equation has {} terms for {} operands", terms.len(), ranks.len())));
    }
    let operands = terms.iter().zip(ranks).map(|(t, r)| t.labels(*r)).collect::<Result<Vec<_>, _>>()?;
    let all: Vec<Label> = operands.iter().flatten().copied().collect();
    let free =
        all.iter().filter_map(|l| if let Label::Ellipsis(k) = l { Some(k + 1) } else { None }).max().unwrap_or(0);
    let result = match right {
        Some(r) => term(r)?.with(free),
        None => {
            let mut once: Vec<Label> = all.iter().filter(|l| matches!(l, Label::Letter(_))).copied().collect();
            once.retain(|l| all.iter().filter(|m| *m == l).count() == 1);
            once.sort_unstable();
            (0..free).rev().map(Label::Ellipsis).chain(once).collect()
        }
    };
    for (i, l) in result.iter().enumerate() {
        if result[..i].contains(l) || (!all.contains(l) && matches!(l, Label::Letter(_))) {
            return Err(OpError::attribute("the result's labels are not labels of operands, each once"));
        }
    }
    Ok((operands, result))
}

/// The extent of every label.
fn extents(operands: &[Vec<Label>], shapes: &[&[Dim]]) -> Result<Vec<(Label, Dim)>, OpError> {
    let mut found: Vec<(Label, Dim)> = vec![];
    for (label, d) in operands.iter().flatten().zip(shapes.iter().copied().flatten()) {
        match found.iter_mut().find(|(l, _)| l == label) {
            None => found.push((*label, d.clone())),
            Some((_, seen)) => match (seen.as_const(), d.as_const()) {
                (Some(1), _) => *seen = d.clone(),
                (_, Some(1)) => {}
                (Some(a), Some(b)) if a != b => {
                    return Err(OpError::shape(format!("a label stands for extents {a} and {b}")));
                }
                (None, Some(_)) => *seen = d.clone(),
                _ => {}
            },
        }
    }
    Ok(found)
}

fn of(found: &[(Label, Dim)], label: Label) -> Dim {
    found.iter().find(|(l, _)| *l == label).map_or(Dim::from(1i64), |(_, d)| d.clone())
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let shapes = (0..cx.input_count()).map(|i| cx.shape(i)).collect::<Result<Option<Vec<_>>, _>>()?;
    let Some(shapes) = shapes else {
        cx.set_shape(0, dtype, None);
        return Ok(());
    };
    let ranks: Vec<usize> = shapes.iter().map(|s| s.len()).collect();
    let (operands, result) = parse(cx.str("equation"), &ranks)?;
    let found = extents(&operands, &shapes)?;
    cx.set_tensor(0, dtype, result.iter().map(|l| of(&found, *l)).collect());
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let views: Vec<View<'_>> = inputs.iter().copied().flatten().collect();
    let dims: Vec<Vec<Dim>> = views.iter().map(|v| v.shape().iter().map(|d| Dim::from(*d)).collect()).collect();
    let ranks: Vec<usize> = dims.iter().map(Vec::len).collect();
    let (operands, result) = parse(cx.str("equation"), &ranks)?;
    let shapes: Vec<&[Dim]> = dims.iter().map(Vec::as_slice).collect();
    let found = extents(&operands, &shapes)?;
    let extent = |l: &Label| of(&found, *l).as_usize().unwrap_or(0);
    let shape: Vec<usize> = result.iter().map(extent).collect();
    let dtype = views.first().map(View::dtype).ok_or_else(|| OpError::arity("no operands"))?;
    cx.reserve(dtype, &shape)?;
    // Axes of the walk: the result's labels, then those that are summed over.
    let mut axes = result.clone();
    axes.extend(found.iter().map(|(l, _)| *l).filter(|l| !result.contains(l)));
    let all: Vec<usize> = axes.iter().map(extent).collect();
    let mut strides = vec![];
    for (labels, v) in operands.iter().zip(&views) {
        let own = contiguous_strides(v.shape());
        let mut by_axis = vec![0; axes.len()];
        for (i, l) in labels.iter().enumerate() {
            let axis = axes.iter().position(|a| a == l).ok_or_else(|| OpError::attribute("a label is lost"))?;
            if v.shape()[i] == all[axis] {
                by_axis[axis] += own[i];
            } else if v.shape()[i] != 1 {
                return Err(OpError::shape(format!("a label stands for extents {} and {}", v.shape()[i], all[axis])));
            }
        }
        strides.push(by_axis);
    }
    let walk = Walk { extents: all, kept: shape.len(), strides };
    if dtype.is_float() {
        let data = views.iter().map(|v| widen(*v)).collect::<Result<Vec<_>, _>>()?;
        return Ok(vec![narrow(dtype, &shape, walk.run(&data, 1.0))?]);
    }
    crate::dispatch_int!(dtype, T => {
        let wrap = |v: &View<'_>| Ok::<_, OpError>(elements::<T>(*v)?.iter().map(|v| Wrapping(*v)).collect::<Vec<_>>());
        let data = views.iter().map(wrap).collect::<Result<Vec<_>, _>>()?;
        let y = walk.run(&data, Wrapping(1));
        Ok(vec![Tensor::new(shape, y.into_iter().map(|v| v.0).collect())?])
    }, Err(OpError::type_(format!("does not take {dtype}"))))
}

/// Extents of all labels, the result's first, and each operand's strides along them.
struct Walk {
    extents: Vec<usize>,
    kept: usize,
    strides: Vec<Vec<usize>>,
}

impl Walk {
    fn run<A: Copy + Default + AddAssign + Mul<Output = A>>(&self, data: &[Vec<A>], one: A) -> Vec<A> {
        let (kept, summed) = self.extents.split_at(self.kept);
        let count: usize = kept.iter().product();
        let sums: usize = summed.iter().product();
        let mut out = vec![A::default(); count];
        let mut index = vec![0; self.extents.len()];
        let mut at = vec![0; data.len()];
        for y in &mut out {
            let mut sum = A::default();
            for _ in 0..sums {
                sum += data.iter().zip(&at).fold(one, |p, (d, i)| p * d[*i]);
                self.next(self.kept..self.extents.len(), &mut index, &mut at);
            }
            *y = sum;
            self.next(0..self.kept, &mut index, &mut at);
        }
        out
    }

    /// Counts `axes` of the index up by one, last axis fastest; after the last it is at the first again.
    fn next(&self, axes: std::ops::Range<usize>, index: &mut [usize], at: &mut [usize]) {
        for axis in axes.rev() {
            index[axis] += 1;
            let back = index[axis] == self.extents[axis];
            for (at, s) in at.iter_mut().zip(&self.strides) {
                *at = if back { *at - s[axis] * (self.extents[axis] - 1) } else { *at + s[axis] };
            }
            if !back {
                return;
            }
            index[axis] = 0;
        }
    }
}
