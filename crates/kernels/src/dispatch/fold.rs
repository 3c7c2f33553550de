//! The walk of a reduction over broadcast operands: checks of their extents, and the rows that generated code folds.
//!
//! The last axis that is not 1 decides: where it is reduced, a row goes into one accumulator; where it is kept, into
//! accumulators that follow each other. Everything that goes into one accumulator does so in one task and in the order of
//! the elements, so that results do not depend on the number of threads.

use super::walk::{Row, collapse};
use super::{Cx, Operand, Output};
use crate::par::{Shared, ranges};
use planc_kir::{Expr, Reduce};
use planc_tensor::{broadcast, broadcast_strides, element_count};

/// Neighbouring results of a unit whose rows spread over them.
const SPREAD: usize = 512;

/// Results of a unit each of which takes whole rows.
const ALONE: usize = 8;

/// Given accumulators, where the results go, and how many elements went into each accumulator.
pub type Finish<'a> = dyn Fn(&[u8], &mut [u8], usize) + Sync + 'a;

/// What a reduction keeps, and how it ends.
pub struct Accumulators<'a> {
    /// The bytes of an accumulator that has seen nothing, 16 at most; they are at a multiple of their number.
    pub start: &'a [u8],
    /// Makes elements of the result of accumulators.
    pub finish: &'a Finish<'a>,
}

/// An axis: its extent, and by how many elements it moves in each operand.
type Axis = (usize, Vec<usize>);

/// What of a reduction is the same for all its results.
struct Fold<'a> {
    /// Kept axes but for an innermost one.
    kept: Vec<Axis>,
    /// Reduced axes but for an innermost one.
    reduced: Vec<Axis>,
    /// The innermost axis.
    inner: Axis,
    /// Bytes of an element of each operand.
    widths: Vec<usize>,
    sources: Vec<Shared<u8>>,
    f: &'a (dyn Fn(Row<'_>) + Sync),
}

/// Where a task is in the operands.
struct Place {
    /// Elements from the start of each operand.
    offsets: Vec<usize>,
    /// The same as addresses.
    args: Vec<*const u8>,
    /// Positions on the reduced axes.
    index: Vec<usize>,
    /// Bytes from one element of the innermost axis to the next.
    steps: Vec<usize>,
}

impl Place {
    fn add(&mut self, strides: &[usize], n: usize) {
        self.offsets.iter_mut().zip(strides).for_each(|(o, s)| *o += s * n);
    }

    fn subtract(&mut self, strides: &[usize], n: usize) {
        self.offsets.iter_mut().zip(strides).for_each(|(o, s)| *o -= s * n);
    }
}

impl Fold<'_> {
    fn start(&self) -> Place {
        let n = self.sources.len();
        let steps = self.inner.1.iter().zip(&self.widths).map(|(s, w)| s * w).collect();
        Place { offsets: vec![0; n], args: vec![std::ptr::null(); n], index: vec![0; self.reduced.len()], steps }
    }

    /// Folds everything that belongs to a run of results into `acc`; they are `len` elements of the innermost axis from
    /// `column` on, at row `row` of the outer kept axes.
    fn results(&self, p: &mut Place, (row, column): (usize, usize), len: usize, acc: *mut u8, step: usize) {
        p.offsets.fill(0);
        p.add(&self.inner.1, column);
        let mut rest = row;
        for (extent, strides) in self.kept.iter().rev() {
            p.add(strides, rest % extent);
            rest /= extent;
        }
        loop {
            for (i, source) in self.sources.iter().enumerate() {
                // Within the operand: its extents were checked against those of what is reduced.
                p.args[i] = source.get().cast_const().wrapping_add(p.offsets[i] * self.widths[i]);
            }
            (self.f)(Row { args: &p.args, steps: &p.steps, out: acc, len, step });
            // The next position; the last one leaves all of them at 0 again.
            let mut axis = p.index.len();
            loop {
                let Some(next) = axis.checked_sub(1) else { return };
                axis = next;
                let (extent, strides) = &self.reduced[axis];
                p.index[axis] += 1;
                if p.index[axis] < *extent {
                    p.add(strides, 1);
                    break;
                }
                p.subtract(strides, extent - 1);
                p.index[axis] = 0;
            }
        }
    }
}

/// The extents that operands of a program broadcast to.
fn domain(map: &Expr, inputs: &[&Operand<'_>]) -> Result<Vec<usize>, String> {
    if !inputs.iter().map(|x| x.dtype).eq(map.args().iter().copied()) {
        return Err("operands of other types than the program's".into());
    }
    if let Some(x) =
        inputs.iter().find(|x| element_count(x.shape).and_then(|n| x.dtype.bytes_for(n)) != Some(x.bytes.len()))
    {
        return Err(format!("an operand of {}{:?} has {} bytes", x.dtype, x.shape, x.bytes.len()));
    }
    let full = inputs.iter().try_fold(vec![], |shape, x| broadcast(&shape, x.shape));
    let full = full.filter(|s| element_count(s).is_some());
    full.ok_or_else(|| "the operands do not broadcast to one shape".into())
}

/// Calls `f` on rows that together cover what `spec` reduces, on the threads of `cx`, and stores what `accumulators` makes
/// of them.
///
/// # Errors
/// When operands are missing, have other types than the program's, or do not reduce to the result.
pub fn fold(
    cx: &Cx<'_>,
    spec: &Reduce,
    inputs: &[Option<Operand<'_>>],
    out: &mut Output<'_>,
    accumulators: &Accumulators<'_>,
    f: &(dyn Fn(Row<'_>) + Sync),
) -> Result<(), String> {
    let operands: Vec<&Operand<'_>> = inputs.iter().flatten().collect();
    let full = domain(&spec.map, &operands)?;
    let is_reduced = |a: usize| spec.axes.contains(&a);
    let kept_axes: Vec<usize> = (0..full.len()).filter(|a| !is_reduced(*a)).collect();
    let dropped: Vec<usize> = kept_axes.iter().map(|a| full[*a]).collect();
    let ones = (0..full.len()).map(|a| if is_reduced(a) { 1 } else { full[a] });
    let fits = out.shape == dropped || out.shape.iter().copied().eq(ones);
    let folded: Vec<usize> = spec.axes.iter().filter_map(|a| full.get(*a)).copied().collect();
    let (Some(results), Some(count)) = (element_count(&dropped), element_count(&folded)) else {
        return Err(format!("{full:?} is too large"));
    };
    let width = spec.map.result_type().bits() / 8;
    let typed = out.dtype == spec.map.result_type() && out.dtype.bytes_for(results) == Some(out.bytes.len());
    if !fits || !typed || spec.axes.iter().any(|a| *a >= full.len()) {
        return Err(format!("axes {:?} of {full:?} do not reduce to {}{:?}", spec.axes, out.dtype, out.shape));
    }
    let size = accumulators.start.len();
    let begin = |acc: &mut [u8]| acc.chunks_exact_mut(size).for_each(|a| a.copy_from_slice(accumulators.start));
    if count == 0 || results == 0 {
        let mut acc = vec![0; results * size];
        begin(&mut acc);
        (accumulators.finish)(&acc, out.bytes, count);
        return Ok(());
    }
    // The result's strides tell reduced axes from kept ones, which do not merge.
    let mut to = vec![0; full.len()];
    kept_axes.iter().rev().fold(1, |stride, a| {
        to[*a] = stride;
        stride * full[*a]
    });
    let strides = operands.iter().map(|x| broadcast_strides(x.shape, &full)).chain([to]).collect();
    let (extents, mut strides) = collapse(&full, strides);
    let to = strides.pop().unwrap_or_default();
    let axis = |i: usize| (extents[i], strides.iter().map(|s| s[i]).collect::<Vec<usize>>());
    let last = extents.len().checked_sub(1);
    let inner = last.map_or_else(|| (1, vec![0; operands.len()]), axis);
    let spreads = last.is_some_and(|i| to[i] != 0);
    let outer = || 0..last.unwrap_or(0);
    let fold = Fold {
        kept: outer().filter(|i| to[*i] != 0).map(axis).collect(),
        reduced: outer().filter(|i| to[*i] == 0).map(axis).collect(),
        inner,
        widths: operands.iter().map(|x| x.dtype.bits() / 8).collect(),
        sources: operands.iter().map(|x| Shared::from_const(x.bytes.as_ptr())).collect(),
        f,
    };
    // A unit is a run of neighbouring results.
    let len = if spreads { fold.inner.0 } else { results };
    let most = if spreads { SPREAD } else { ALONE };
    let runs = len.div_ceil(most);
    let target = Shared::new(out.bytes);
    let cost = spec.map.insts().len().saturating_mul(count).saturating_mul(len.min(most));
    ranges(cx.par, results / len * runs, cost, |units| {
        let mut memory = vec![0u128; (len.min(most) * size).div_ceil(16)];
        let acc: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
        let mut place = fold.start();
        for unit in units {
            let (row, start) = (unit / runs, unit % runs * most);
            let n = most.min(len - start);
            let acc = &mut acc[..n * size];
            begin(acc);
            if spreads {
                fold.results(&mut place, (row, start), n, acc.as_mut_ptr(), size);
            } else {
                for (i, one) in acc.chunks_exact_mut(size).enumerate() {
                    fold.results(&mut place, (start + i, 0), fold.inner.0, one.as_mut_ptr(), 0);
                }
            }
            // SAFETY: these results lie within the output, whose size was checked, and belong to this unit alone.
            let to =
                unsafe { std::slice::from_raw_parts_mut(target.get().add((row * len + start) * width), n * width) };
            (accumulators.finish)(acc, to, count);
        }
    });
    Ok(())
}
