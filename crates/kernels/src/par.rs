//! How kernels spread work over threads, and how they write one output from several of them.
//!
//! A kernel cuts its work into tasks whose outputs are disjoint and whose arithmetic does not depend on the cut, so
//! results are identical for every thread count.

/// Runs numbered tasks, each exactly once, possibly at the same time.
pub trait Parallel: Sync {
    /// How many tasks can make progress at once, at least 1. Kernels cut their work accordingly.
    fn threads(&self) -> usize;
    /// Calls `f(0)`, ..., `f(tasks - 1)` in any order, on any threads, and returns when all have finished.
    fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync));
}

/// Runs every task on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(f);
    }
}

/// A pointer that tasks may share; each use states why the accesses are disjoint.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: the pointer is plain data; every dereference has its own proof that no two tasks touch the same element.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// A pointer that is only read.
    pub(crate) fn from_const(p: *const T) -> Self {
        Self(p.cast_mut())
    }

    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

/// The `i`-th of `parts` nearly equal consecutive ranges of `0..len`.
pub(crate) fn part(len: usize, parts: usize, i: usize) -> std::ops::Range<usize> {
    let (each, extra) = (len / parts, len % parts);
    let start = i * each + i.min(extra);
    start..start + each + usize::from(i < extra)
}

/// How many tasks to cut `units` of work into, when one unit costs about `cost` (floating-point operations or
/// elements) and a task should be worth the fork.
pub(crate) fn cut(par: &dyn Parallel, units: usize, cost: usize) -> usize {
    const WORTH: usize = 16 * 1024;
    let threads = par.threads().max(1);
    if threads == 1 {
        return units.min(1);
    }
    let worth = units.saturating_mul(cost) / WORTH;
    units.min(worth.max(1)).min(threads)
}

/// Into how many strips of `units` rows, `least` or more, and parts of `blocks` output blocks to cut each of `images`, when
/// a row of a block costs about `cost`.
pub(crate) fn strips(
    par: &dyn Parallel,
    images: usize,
    units: usize,
    blocks: usize,
    least: usize,
    cost: usize,
) -> (usize, usize) {
    let threads = cut(par, images * units * blocks, cost).max(1);
    if threads == 1 {
        return (least, 1);
    }
    let mut best = (usize::MAX, (least, 1));
    for strips in least..=units.min(least + 2 * threads) {
        for parts in 1..=blocks.min(2 * threads) {
            let rounds = (images * strips * parts).div_ceil(threads);
            // The longest thread in rows x blocks, and a little for what every further cut reads again.
            let work = rounds * units.div_ceil(strips) * blocks.div_ceil(parts);
            let cost = work * 64 + strips + parts;
            if cost < best.0 {
                best = (cost, (strips, parts));
            }
        }
    }
    best.1
}

/// Runs `f` over consecutive ranges that cover `0..units`.
pub(crate) fn ranges(par: &dyn Parallel, units: usize, cost: usize, f: impl Fn(std::ops::Range<usize>) + Sync) {
    let tasks = cut(par, units, cost);
    if tasks > 0 {
        par.run(tasks, &|i| f(part(units, tasks, i)));
    }
}
