//! Products of 16-bit floats on tensor cores: `mma.sync` 16 x 8 x 16, sums in f32.
//!
//! Three stages of shared memory are filled by asynchronous copies of 16 bytes, two steps ahead. Both factors may be stored
//! either way: a tile keeps the order of memory, and `ldmatrix` transposes where k is not the contiguous axis. The 16-byte
//! chunks of a tile's lines are permuted by exclusive or with the line's number, so that neither copies nor `ldmatrix` meet in
//! a bank. Needs lines that start at multiples of 16 bytes ([`fits`]); what lies outside of a matrix is copied as zeros.

use super::entry::{Entry, Size, count};
use super::gemm::{Factor, Product, Sink, Split, launches, store_tile, tiles};
use super::gemm_tile::{Sums, batched, element};
use super::{Generated, Request};
use crate::ptx::{Addr, Class, Cmp, Int2, Op, Operand, Reg, Special, Ty};
use planc_tensor::DType;

/// k of a step.
const DEPTH: u32 = 32;
const STAGES: u32 = 3;
/// Elements of a chunk.
const CHUNK: u32 = 8;

/// Tile of a block, a square of `side`, by `warps` along rows and columns.
#[derive(Clone, Copy, Debug)]
struct Tile {
    side: u32,
    warps: [u32; 2],
}

impl Tile {
    /// 64 sums per thread; three stages are all static shared memory there is.
    const LARGE: Tile = Tile { side: 128, warps: [2, 4] };
    /// 32 sums per thread.
    const SMALL: Tile = Tile { side: 64, warps: [2, 2] };

    fn threads(self) -> u32 {
        32 * self.warps[0] * self.warps[1]
    }

    /// Bytes of one factor's tile.
    fn bytes(self) -> u32 {
        self.side * DEPTH * 2
    }
}

/// Whether tensor cores compute the product.
pub(super) fn fits(request: &Request<'_>, p: &Product<'_>) -> bool {
    let t = p.a.input.1;
    let multiple = |d: &planc_tensor::Dim| d.as_const().is_some_and(|d| d > 0 && d % i64::from(CHUNK) == 0);
    let whole = |f: &Factor, rows| multiple(if f.along_k { &p.depth } else { rows });
    matches!(t, DType::F16 | DType::BF16)
        && p.b.input.1 == t
        && request.arch.number() >= 80
        && p.depth.as_const().is_some()
        && whole(&p.a, &p.rows)
        && whole(&p.b, &p.columns)
}

/// One factor of a block's product.
struct Side {
    base: Reg,
    dtype: DType,
    along_k: bool,
    tile: Tile,
    stride: Size,
    rows: Size,
    first: Reg,
    /// Where this thread's first chunk goes, in stage 0.
    to: Reg,
    /// This thread's first line and chunk within the tile.
    line: Reg,
    chunk: Reg,
}

impl Side {
    /// Chunks of a line, and lines that the threads copy at once.
    fn shape(&self) -> (u32, u32) {
        let chunks = if self.along_k { DEPTH } else { self.tile.side } / CHUNK;
        (chunks, self.tile.threads() / chunks)
    }

    fn new(
        e: &mut Entry,
        (base, f, tile): (Reg, &Factor, Tile),
        (rows, depth): (Size, Size),
        (first, shared): (Reg, Reg),
    ) -> Side {
        let stride = if f.along_k { depth } else { rows };
        let (dtype, along_k) = (f.input.1, f.along_k);
        let mut s = Side { base, dtype, along_k, tile, stride, rows, first, to: shared, line: shared, chunk: shared };
        let (chunks, _) = s.shape();
        let tid = e.b.special(Special::TidX);
        s.chunk = e.b.int2(Int2::And, Ty::B32, tid, chunks - 1);
        s.line = e.b.int2(Int2::Shr, Ty::U32, tid, chunks.trailing_zeros());
        let place = s.place(e, s.line, s.chunk);
        s.to = e.b.add(Ty::U32, shared, place);
        s
    }

    /// Bytes from the start of a tile to a chunk of a line. Adding multiples of 8 to the line permutes the same way.
    fn place(&self, e: &mut Entry, line: Reg, chunk: Reg) -> Reg {
        let (chunks, _) = self.shape();
        // Lines of 64 bytes are two to a row of banks.
        let by = if self.along_k { e.b.int2(Int2::Shr, Ty::U32, line, 1u32) } else { line };
        let by = e.b.int2(Int2::And, Ty::B32, by, chunks.min(8) - 1);
        let chunk = e.b.int2(Int2::Xor, Ty::B32, chunk, by);
        let line = e.b.mul(Ty::U32, line, chunks * 16);
        e.b.mad(Ty::U32, chunk, 16u32, line)
    }

    /// Starts to copy the step from `start` on, which ends before `end`, to the stage at byte `stage`.
    fn copy(&self, e: &mut Entry, (start, end): (Reg, Operand), stage: Reg) {
        let (chunks, lines) = self.shape();
        let to = e.b.add(Ty::U32, self.to, stage);
        let count = self.tile.side * DEPTH / CHUNK / self.tile.threads();
        let chunk = e.b.mul(Ty::U32, self.chunk, CHUNK);
        for i in 0..count {
            let line = e.b.add(Ty::U32, self.line, i * lines);
            let (row, k) = if self.along_k { (line, chunk) } else { (chunk, line) };
            let (row, k) = (e.b.add(Ty::U32, row, self.first), e.b.add(Ty::U32, k, start));
            let (row_exists, within) = (e.b.setp(Cmp::Lt, Ty::U32, row, self.rows), e.b.setp(Cmp::Lt, Ty::U32, k, end));
            let exists = e.b.both(row_exists, within);
            let bytes = e.b.selp(Ty::B32, 16u32, 0u32, exists);
            let (line, chunk) = if self.along_k { (row, k) } else { (k, row) };
            let offset = e.b.mad(Ty::U32, line, self.stride, chunk);
            // Nothing is read where there is nothing, but the address stays one of the matrix.
            let offset = e.b.selp(Ty::B32, offset, 0u32, exists);
            let from = element(e, self.base, offset, self.dtype);
            let to = Addr::from(to).plus((i * lines * chunks * 16) as i32);
            e.b.emit(Op::CpAsync(16, true), &[], &[to.into(), Addr::from(from).into(), bytes.into()]);
        }
    }

    /// Addresses in stage 0 from which this lane loads four matrices: rows from `first` (a multiple of 8) on, with
    /// `row_half` and `k_half` choosing among the four. One per k of 16, then per 16 rows, where they differ.
    fn fragments(&self, e: &mut Entry, shared: Reg, first: Reg, halves: [Reg; 2], groups: u32) -> Fragments {
        let lane = e.b.special(Special::LaneId);
        let line = e.b.int2(Int2::And, Ty::B32, lane, 7u32);
        let [row_half, k_half] = halves;
        let mut at = vec![];
        if self.along_k {
            let row = e.b.mad(Ty::U32, row_half, 8u32, line);
            let row = e.b.add(Ty::U32, row, first);
            for step in 0..DEPTH / 16 {
                let chunk = e.b.add(Ty::U32, k_half, 2 * step);
                let place = self.place(e, row, chunk);
                at.push(e.b.add(Ty::U32, shared, place));
            }
        } else {
            let k = e.b.mad(Ty::U32, k_half, 8u32, line);
            let first = e.b.int2(Int2::Shr, Ty::U32, first, 3u32);
            let first = e.b.add(Ty::U32, first, row_half);
            for group in 0..groups {
                let chunk = e.b.add(Ty::U32, first, 2 * group);
                let place = self.place(e, k, chunk);
                at.push(e.b.add(Ty::U32, shared, place));
            }
        }
        Fragments { at, along_k: self.along_k, line: if self.along_k { DEPTH * 2 } else { self.tile.side * 2 } }
    }
}

/// Where a lane finds the fragments of its warp.
struct Fragments {
    at: Vec<Reg>,
    along_k: bool,
    /// Bytes of a line.
    line: u32,
}

impl Fragments {
    /// Loads 16 rows by 16 k of each group.
    fn load(&self, e: &mut Entry, groups: u32, step: u32, stage: Reg) -> Vec<Vec<Reg>> {
        let mut base = None;
        (0..groups)
            .map(|g| {
                let (at, offset) = if self.along_k {
                    let at = *base.get_or_insert_with(|| e.b.add(Ty::U32, self.at[step as usize], stage));
                    (at, g * 16 * self.line)
                } else {
                    (e.b.add(Ty::U32, self.at[g as usize], stage), step * 16 * self.line)
                };
                e.b.results(Op::LdMatrix(4, !self.along_k), &[Addr::from(at).plus(offset as i32).into()])
            })
            .collect()
    }
}

/// Generates a product that [`fits`].
pub(super) fn generate(p: &Product<'_>) -> Result<Generated, String> {
    let batches = count(&p.batch)?;
    let total = count(&[batches.clone(), p.rows.clone(), p.columns.clone()])?;
    let blocks = |t: Tile| {
        let (rows, columns) = (tiles(&p.rows, t.side).as_usize()?, tiles(&p.columns, t.side).as_usize()?);
        (rows as u64).checked_mul(columns as u64)?.checked_mul(batches.as_usize()? as u64)
    };
    let tile = if blocks(Tile::LARGE).is_some_and(|n| n >= 96) { Tile::LARGE } else { Tile::SMALL };
    let split = Split::of(&p.depth, blocks(tile), &total, DEPTH, 8 * DEPTH);
    let ty = if p.a.input.1 == DType::F16 { Ty::F16 } else { Ty::BF16 };

    let mut e = Entry::new("gemm_mma", [tile.threads(), 1, 1]);
    let (rows, columns, depth) = (e.size(&p.rows)?, e.size(&p.columns)?, e.size(&p.depth)?);
    let (batch, part, start, end) = split.part(&mut e, depth, &batches);
    let a_size = p.rows.clone() * p.depth.clone();
    let b_size = p.columns.clone() * p.depth.clone();
    let a_base = batched(&mut e, p.a.input, (&p.batch, &p.a.batch), batch, &a_size)?;
    let b_base = batched(&mut e, p.b.input, (&p.batch, &p.b.batch), batch, &b_size)?;
    let stage_bytes = 2 * tile.bytes();
    let shared = e.b.shared(STAGES * stage_bytes, 128);
    let b_shared = e.b.add(Ty::U32, shared, tile.bytes());
    let (x, y) = (e.b.special(Special::CtaidX), e.b.special(Special::CtaidY));
    let (row, column) = (e.b.mul(Ty::U32, y, tile.side), e.b.mul(Ty::U32, x, tile.side));
    let a = Side::new(&mut e, (a_base, &p.a, tile), (rows, depth), (row, shared));
    let b = Side::new(&mut e, (b_base, &p.b, tile), (columns, depth), (column, b_shared));

    // What a warp multiplies: groups of 16 rows by pairs of 8 columns.
    let tid = e.b.special(Special::TidX);
    let (lane, warp) = (e.b.special(Special::LaneId), e.b.int2(Int2::Shr, Ty::U32, tid, 5u32));
    let (warp_row, warp_column) = e.div_rem(warp, Size::Const(tile.warps[1]));
    let (height, width) = (tile.side / tile.warps[0], tile.side / tile.warps[1]);
    let (row_groups, column_groups) = (height / 16, width / 16);
    let (top, left) = (e.b.mul(Ty::U32, warp_row, height), e.b.mul(Ty::U32, warp_column, width));
    let eighth = e.b.int2(Int2::Shr, Ty::U32, lane, 3u32);
    let low = e.b.int2(Int2::And, Ty::B32, eighth, 1u32);
    let high = e.b.int2(Int2::Shr, Ty::U32, eighth, 1u32);
    let a_from = a.fragments(&mut e, shared, top, [low, high], row_groups);
    let b_from = b.fragments(&mut e, b_shared, left, [high, low], column_groups);

    let (to_stage, from_stage) = (e.b.mov(Class::B32, 0u32), e.b.mov(Class::B32, 0u32));
    let ahead = e.b.mov(Class::B32, start);
    let advance = |e: &mut Entry, stage: Reg| {
        let next = e.b.add(Ty::U32, stage, stage_bytes);
        let last = e.b.setp(Cmp::Eq, Ty::U32, next, STAGES * stage_bytes);
        e.b.assign(stage, Op::Selp(Ty::B32), &[0u32.into(), next.into(), last.into()]);
    };
    let fill = |e: &mut Entry| {
        a.copy(e, (ahead, end), to_stage);
        b.copy(e, (ahead, end), to_stage);
        e.b.emit(Op::CpCommit, &[], &[]);
        e.b.assign(ahead, Op::Int2(Int2::Add, Ty::U32), &[ahead.into(), DEPTH.into()]);
        advance(e, to_stage);
    };
    (1..STAGES).for_each(|_| fill(&mut e));
    let per_row = column_groups as usize * 4;
    let sums: Vec<Reg> = (0..row_groups as usize * 2 * per_row).map(|_| e.b.mov(Class::F32, 0.0f32)).collect();
    e.steps(start, end, DEPTH, |e, _| {
        e.b.emit(Op::CpWait(STAGES as u8 - 2), &[], &[]);
        // The step has arrived for all, and all are done with the stage that is filled next.
        e.b.barrier();
        fill(e);
        for step in 0..DEPTH / 16 {
            let left = a_from.load(e, row_groups, step, from_stage);
            let right = b_from.load(e, column_groups, step, from_stage);
            for (i, l) in left.iter().enumerate() {
                for (j, r) in right.iter().flat_map(|r| r.chunks(2)).enumerate() {
                    // Sums of two neighbouring columns, eight rows apart.
                    let at = |row: usize| (2 * i + row) * per_row + 2 * j;
                    let d = [at(0), at(0) + 1, at(1), at(1) + 1].map(|n| sums[n]);
                    let src: Vec<Operand> = l.iter().chain(r).chain(&d).map(|r| Operand::Reg(*r)).collect();
                    e.b.emit(Op::Mma16816(ty), &d, &src);
                }
            }
        }
        advance(e, from_stage);
        Ok(())
    })?;
    e.b.emit(Op::CpWait(0), &[], &[]);

    let quad = e.b.int2(Int2::Shr, Ty::U32, lane, 2u32);
    let pair = e.b.int2(Int2::And, Ty::B32, lane, 3u32);
    let (row, column) = (e.b.add(Ty::U32, row, top), e.b.add(Ty::U32, column, left));
    let (row, column) = (e.b.add(Ty::U32, row, quad), e.b.mad(Ty::U32, pair, 2u32, column));
    let sums = Sums {
        values: sums,
        rows: (0..row_groups * 2).map(|i| e.b.add(Ty::U32, row, i * 8)).collect(),
        columns: (0..column_groups * 2).map(|j| e.b.add(Ty::U32, column, j * 8)).collect(),
    };
    let elements = e.size(&total)?;
    let sink = Sink::new(&mut e, &p.finish, split.count, part, elements);
    let place = |e: &mut Entry, row: Reg, column: Reg| {
        let row = match batch {
            Some(batch) => e.b.mad(Ty::U32, batch, rows, row),
            None => row,
        };
        Ok(e.b.mad(Ty::U32, row, columns, column))
    };
    let vector = p.finish.width(2, columns);
    store_tile(&mut e, &sums, (&sink, vector), (rows, columns), &place)?;
    let grid = [tiles(&p.columns, tile.side), tiles(&p.rows, tile.side), split.grid(&batches)];
    launches(split, &total, &p.finish, e.launch(grid, 0))
}
