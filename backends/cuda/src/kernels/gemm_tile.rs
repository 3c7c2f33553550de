//! The main loop of matrix products on scalar units: a block computes a tile of the result, both operands going through
//! shared memory.
//!
//! [`Source`] says where an operand's elements are, so that matrices, the columns of a convolution and weights in any order
//! share one loop. Elements are multiplied and summed in f32, in ascending order of k. Two stages of shared memory: while
//! one is multiplied the next is read to registers, so that there is one barrier for each step.

use super::entry::{Entry, Size};
use super::index::Walk;
use crate::expr;
use crate::ptx::{Addr, Class, Cmp, Int2, Op, Operand, Reg, Space, Special, Ty};
use planc_tensor::{DType, Dim};

/// Extents of a block's tile and of a thread's part, in multiples of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Rows of a block.
    pub(super) rows: u32,
    /// Columns of a block.
    pub(super) columns: u32,
    /// Products summed between barriers.
    pub(super) depth: u32,
    /// Rows of a thread.
    pub(super) thread_rows: u32,
    /// Columns of a thread.
    pub(super) thread_columns: u32,
}

impl Tile {
    /// 64 sums per thread: for products that fill the device with it.
    pub(super) const LARGE: Tile = Tile { rows: 128, columns: 128, depth: 8, thread_rows: 8, thread_columns: 8 };
    /// 16 sums per thread.
    pub(super) const SMALL: Tile = Tile { rows: 64, columns: 64, depth: 16, thread_rows: 4, thread_columns: 4 };
    /// For few rows.
    pub(super) const FLAT: Tile = Tile { rows: 32, columns: 128, depth: 16, thread_rows: 4, thread_columns: 4 };
    /// For few columns.
    pub(super) const TALL: Tile = Tile { rows: 128, columns: 32, depth: 16, thread_rows: 4, thread_columns: 4 };

    /// Threads of a block.
    pub(super) const fn threads(self) -> u32 {
        (self.rows / self.thread_rows) * (self.columns / self.thread_columns)
    }
}

/// A row of an operand, as a source knows it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Whether it exists; nothing where it always does.
    pub(super) exists: Option<Reg>,
    /// What the source computed for it.
    pub(super) state: Vec<Reg>,
}

/// An operand: rows (of a, or columns of b) by k.
pub(super) trait Source {
    /// Element type.
    fn dtype(&self) -> DType;
    /// Whether neighbours along k are neighbours in memory, rather than neighbouring rows.
    fn along_k(&self) -> bool;
    /// Whether four neighbours, from a multiple of four on, are in memory at a multiple of their size, all or none of them.
    fn vectors(&self) -> bool;
    /// What depends on the row only.
    fn line(&self, e: &mut Entry, row: Reg) -> Result<Line, String>;
    /// What depends on k only.
    fn depth(&self, e: &mut Entry, k: Reg) -> Result<Vec<Reg>, String>;
    /// The address of an element, and whether it is one rather than 0, where row and k exist.
    fn at(&self, e: &mut Entry, line: &Line, depth: &[Reg]) -> Result<(Reg, Option<Reg>), String>;
}

/// A matrix in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    /// Address of the first element.
    pub(super) base: Reg,
    /// Element type.
    pub(super) dtype: DType,
    /// Rows.
    pub(super) rows: Size,
    /// Elements between neighbours along the axis that is not contiguous.
    pub(super) stride: Size,
    /// Whether k is the contiguous axis.
    pub(super) along_k: bool,
    /// Rows exist in full tiles only.
    pub(super) whole: bool,
}

impl Source for Matrix {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn along_k(&self) -> bool {
        self.along_k
    }

    fn vectors(&self) -> bool {
        // What is contiguous is as long as the stride.
        self.stride.known().is_some_and(|s| s.is_multiple_of(4))
    }

    fn line(&self, e: &mut Entry, row: Reg) -> Result<Line, String> {
        let exists = (!self.whole).then(|| e.b.setp(Cmp::Lt, Ty::U32, row, self.rows));
        let offset = if self.along_k { e.b.mul(Ty::U32, row, self.stride) } else { row };
        Ok(Line { exists, state: vec![element(e, self.base, offset, self.dtype)] })
    }

    fn depth(&self, e: &mut Entry, k: Reg) -> Result<Vec<Reg>, String> {
        Ok(vec![if self.along_k { k } else { e.b.mul(Ty::U32, k, self.stride) }])
    }

    fn at(&self, e: &mut Entry, line: &Line, depth: &[Reg]) -> Result<(Reg, Option<Reg>), String> {
        Ok((element(e, line.state[0], depth[0], self.dtype), None))
    }
}

/// The address of element `index` at `base`.
pub(super) fn element(e: &mut Entry, base: Reg, index: Reg, t: DType) -> Reg {
    e.b.element(base, index, t.size().unwrap_or(1) as u32)
}

/// The address of matrix number `batch` of an operand with these batch extents, among all of `out`.
pub(super) fn batched(
    e: &mut Entry,
    (input, dtype): (usize, DType),
    (out, own): (&[Dim], &[Dim]),
    batch: Option<Reg>,
    matrix: &Dim,
) -> Result<Reg, String> {
    let base = e.input(input);
    let shared = own.iter().all(|d| d.as_const() == Some(1));
    let Some(batch) = batch.filter(|_| !shared) else { return Ok(base) };
    let walk = Walk::new(out, &[own])?;
    let number = walk.offsets(e, batch)?.pop().unwrap_or(batch);
    let matrix = e.size(matrix)?;
    let offset = e.b.mul(Ty::U32, number, matrix);
    Ok(element(e, base, offset, dtype))
}

/// How the threads of a block read one operand.
struct Reader<'s> {
    source: &'s dyn Source,
    /// Elements per access.
    width: u32,
    /// Accesses per thread and step.
    accesses: u32,
    /// Distance of a thread's accesses along the axis that is not contiguous.
    step: u32,
    /// Floats from one k to the next in shared memory.
    pitch: u32,
    /// First k within a step.
    k: Reg,
    /// The rows: of each access, or of all.
    lines: Vec<Line>,
    /// Where the first element goes, in the first stage.
    to: Reg,
}

impl<'s> Reader<'s> {
    fn new(
        e: &mut Entry,
        source: &'s dyn Source,
        tile: Tile,
        (rows, first_row, shared): (u32, Reg, Reg),
    ) -> Result<Reader<'s>, String> {
        let threads = tile.threads();
        let (fast, slow) = if source.along_k() { (tile.depth, rows) } else { (rows, tile.depth) };
        let width = if source.vectors() && fast / 4 * slow >= threads { 4 } else { 1 };
        let per_row = fast / width;
        let step = threads / per_row;
        let accesses = slow.div_ceil(step);
        let tid = e.b.special(Special::TidX);
        let at = e.b.int2(Int2::And, Ty::B32, tid, per_row - 1);
        let fast_at = e.b.mul(Ty::U32, at, width);
        let slow_at = e.b.int2(Int2::Shr, Ty::U32, tid, per_row.trailing_zeros());
        let (k, row) = if source.along_k() { (fast_at, slow_at) } else { (slow_at, fast_at) };
        let pitch = rows + 4;
        let to = e.b.mad(Ty::U32, k, pitch, row);
        let to = e.b.mad(Ty::U32, to, 4u32, shared);
        let row = e.b.add(Ty::U32, row, first_row);
        let mut lines = vec![];
        for i in 0..if source.along_k() { accesses } else { 1 } {
            let row = if i == 0 { row } else { e.b.add(Ty::U32, row, i * step) };
            lines.push(source.line(e, row)?);
        }
        Ok(Reader { source, width, accesses, step, pitch, k, lines, to })
    }

    /// Reads the elements of the step from `start` on, which ends before `end`.
    fn read(&self, e: &mut Entry, start: Reg, end: Operand) -> Result<Vec<Vec<Reg>>, String> {
        let mut values = vec![];
        let k = e.b.add(Ty::U32, self.k, start);
        let mut depth = self.source.depth(e, k)?;
        let mut within = e.b.setp(Cmp::Lt, Ty::U32, k, end);
        for i in 0..self.accesses {
            let along_k = self.source.along_k();
            if i > 0 && !along_k {
                let k = e.b.add(Ty::U32, k, i * self.step);
                depth = self.source.depth(e, k)?;
                within = e.b.setp(Cmp::Lt, Ty::U32, k, end);
            }
            let line = &self.lines[if along_k { i as usize } else { 0 }];
            let (at, inside) = self.source.at(e, line, &depth)?;
            let exists = [line.exists, inside].into_iter().flatten().fold(within, |a, b| e.b.both(a, b));
            values.push(load_or_zero(e, self.source.dtype(), self.width, at, exists));
        }
        Ok(values)
    }

    /// Puts what was read to a stage of shared memory, as f32.
    fn put(&self, e: &mut Entry, values: &[Vec<Reg>], stage: Reg) {
        let to = e.b.add(Ty::U32, self.to, stage);
        let to = Addr::from(to);
        for (i, raw) in values.iter().enumerate() {
            let values: Vec<Reg> = raw.iter().map(|r| as_f32(e, self.source.dtype(), *r)).collect();
            let along_k = self.source.along_k();
            let at = to.plus((i as u32 * self.step * 4 * if along_k { 1 } else { self.pitch }) as i32);
            if along_k {
                for (j, v) in values.iter().enumerate() {
                    e.b.st(Space::Shared, Ty::F32, at.plus((j as u32 * self.pitch * 4) as i32), *v);
                }
            } else {
                e.b.st_vector(Space::Shared, Ty::F32, at, &values);
            }
        }
    }
}

/// Reads `n` neighbours where `exists` is set, else zeros, in the bits of their type.
pub(super) fn load_or_zero(e: &mut Entry, t: DType, n: u32, at: Reg, exists: Reg) -> Vec<Reg> {
    let ty = expr::memory(t);
    let zero = || if ty == Ty::F32 { Operand::from(0.0f32) } else { Operand::from(0u32) };
    let values: Vec<Reg> = (0..n).map(|_| e.b.mov(ty.class(), zero())).collect();
    e.b.guarded(exists, false, |b| b.emit(Op::Ld(Space::Global, ty, n as u8), &values, &[Addr::from(at).into()]));
    values
}

/// The f32 of an element's bits.
pub(super) fn as_f32(e: &mut Entry, t: DType, raw: Reg) -> Reg {
    if t == DType::F32 { raw } else { expr::of_half(&mut e.b, t, raw) }
}

/// Where the sums of a thread belong.
pub(super) struct Sums {
    /// `thread_rows` by `thread_columns` sums.
    pub(super) values: Vec<Reg>,
    /// Rows of the result, one per row of `values`.
    pub(super) rows: Vec<Reg>,
    /// First columns of the result, one per four columns of `values`.
    pub(super) columns: Vec<Reg>,
}

/// The tile's products of `a` and `b` summed over k from `start` to `end`, the tile starting at `row` and `column`. `start`
/// and `end` (but where it is the last k) are multiples of the tile's depth.
pub(super) fn multiply(
    e: &mut Entry,
    tile: Tile,
    [a, b]: [&dyn Source; 2],
    [row, column]: [Reg; 2],
    (start, end): (Operand, Operand),
) -> Result<Sums, String> {
    let (a_pitch, b_pitch) = (tile.rows + 4, tile.columns + 4);
    let a_bytes = a_pitch * tile.depth * 4;
    let stage_bytes = a_bytes + b_pitch * tile.depth * 4;
    let shared = e.b.shared(2 * stage_bytes, 16);
    let b_shared = e.b.add(Ty::U32, shared, a_bytes);
    let a = Reader::new(e, a, tile, (tile.rows, row, shared))?;
    let b = Reader::new(e, b, tile, (tile.columns, column, b_shared))?;

    // A thread's rows and columns lie in runs of four, so that neighbouring threads read neighbouring bytes.
    let tid = e.b.special(Special::TidX);
    let across = tile.columns / tile.thread_columns;
    let x = e.b.int2(Int2::And, Ty::B32, tid, across - 1);
    let y = e.b.int2(Int2::Shr, Ty::U32, tid, across.trailing_zeros());
    let a_from = e.b.mad(Ty::U32, y, 16u32, shared);
    let b_from = e.b.mad(Ty::U32, x, 16u32, b_shared);
    let (row_runs, column_runs) = (tile.thread_rows / 4, tile.thread_columns / 4);
    let (row_run, column_run) = (tile.rows / row_runs, tile.columns / column_runs);

    let count = (tile.thread_rows * tile.thread_columns) as usize;
    let sums: Vec<Reg> = (0..count).map(|_| e.b.mov(Class::F32, 0.0f32)).collect();
    let stage = e.b.mov(Class::B32, 0u32);
    let k = e.b.mov(Class::B32, start);
    let first = [a.read(e, k, end)?, b.read(e, k, end)?];
    a.put(e, &first[0], stage);
    b.put(e, &first[1], stage);
    e.b.barrier();
    e.steps(start, end, tile.depth, |e, k| {
        let next = e.b.add(Ty::U32, k, tile.depth);
        let ahead = [a.read(e, next, end)?, b.read(e, next, end)?];
        let (a_at, b_at) = (e.b.add(Ty::U32, a_from, stage), e.b.add(Ty::U32, b_from, stage));
        for k in 0..tile.depth {
            let run = |e: &mut Entry, at: Reg, runs: u32, distance: u32, pitch: u32| -> Vec<Reg> {
                let at = Addr::from(at).plus((k * pitch * 4) as i32);
                let one = |i: u32| e.b.ld_vector(Space::Shared, Ty::F32, 4, at.plus((i * distance * 4) as i32));
                (0..runs).flat_map(one).collect()
            };
            let left = run(e, a_at, row_runs, row_run, a_pitch);
            let right = run(e, b_at, column_runs, column_run, b_pitch);
            for (i, l) in left.iter().enumerate() {
                for (j, r) in right.iter().enumerate() {
                    let sum = sums[i * right.len() + j];
                    e.b.assign(sum, Op::Fma(Ty::F32), &[(*l).into(), (*r).into(), sum.into()]);
                }
            }
        }
        let other = e.b.sub(Ty::U32, stage_bytes, stage);
        e.b.set(stage, other);
        a.put(e, &ahead[0], stage);
        b.put(e, &ahead[1], stage);
        e.b.barrier();
        Ok(())
    })?;
    let y = e.b.mad(Ty::U32, y, 4u32, row);
    let rows = (0..tile.thread_rows).map(|i| e.b.add(Ty::U32, y, i / 4 * row_run + i % 4)).collect();
    let x = e.b.mad(Ty::U32, x, 4u32, column);
    let columns = (0..column_runs).map(|i| e.b.add(Ty::U32, x, i * column_run)).collect();
    Ok(Sums { values: sums, rows, columns })
}
