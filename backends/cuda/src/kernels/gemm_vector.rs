//! Vectors times matrices: limited by reading the matrix, so each of its elements is read once, by neighbouring threads.
//!
//! Where k is the matrix's contiguous axis a warp computes one element of the result; else a thread follows one column, eight
//! of them sharing its k. Sums are f32, in a fixed order.

use super::Generated;
use super::entry::{Entry, Size, count};
use super::gemm::{Factor, Product, Sink, Split, launches, tiles};
use super::gemm_tile::{as_f32, batched, element, load_or_zero};
use crate::ptx::{Class, Cmp, Int2, Op, Operand, Reg, Shuffle, Space, Special, Ty};
use planc_tensor::{DType, Dim};

const THREADS: u32 = 256;
/// Accesses under way per thread.
const AHEAD: u32 = 4;
/// Columns of a block that follows columns.
const COLUMNS: u32 = 32;
const WARPS: u32 = THREADS / 32;

/// The matrix and the vector in memory.
struct Operands {
    matrix: (Reg, DType),
    vector: (Reg, DType),
    /// Elements of the result, per batch.
    extent: Size,
    depth: Size,
}

/// Generates a product of which rows or columns are one.
pub(super) fn generate(p: &Product<'_>) -> Result<Generated, String> {
    let column_vector = p.columns.as_const() == Some(1);
    let (matrix, vector, extent): (&Factor, &Factor, &Dim) =
        if column_vector { (&p.a, &p.b, &p.rows) } else { (&p.b, &p.a, &p.columns) };
    let batches = count(&p.batch)?;
    let total = count(&[batches.clone(), extent.clone()])?;
    let along_k = matrix.along_k || extent.as_const() == Some(1);
    let (per_block, at_least) = if along_k { (WARPS, 1024) } else { (COLUMNS, 128) };
    let blocks = tiles(extent, per_block);
    let known = blocks.as_usize().zip(batches.as_usize()).and_then(|(a, b)| (a as u64).checked_mul(b as u64));
    // A part starts where vectors of four do.
    let split = Split::of(&p.depth, known, &total, 4, at_least);

    let mut e = Entry::new("gemv", [THREADS, 1, 1]);
    let (extent_size, depth) = (e.size(extent)?, e.size(&p.depth)?);
    let (batch, part, start, end) = split.part(&mut e, depth, &batches);
    let size = extent.clone() * p.depth.clone();
    let matrix = (batched(&mut e, matrix.input, (&p.batch, &matrix.batch), batch, &size)?, matrix.input.1);
    let vector = (batched(&mut e, vector.input, (&p.batch, &vector.batch), batch, &p.depth)?, vector.input.1);
    let o = Operands { matrix, vector, extent: extent_size, depth };
    let x = e.b.special(Special::CtaidX);
    let first = e.b.mul(Ty::U32, x, per_block);
    let elements = e.size(&total)?;
    let sink = Sink::new(&mut e, &p.finish, split.count, part, elements);
    let store = |e: &mut Entry, element: Reg, sum: Reg| {
        let flat = match batch {
            Some(batch) => e.b.mad(Ty::U32, batch, extent_size, element),
            None => element,
        };
        sink.store(e, flat, &[sum])
    };
    if along_k {
        by_warp(&mut e, &o, first, (start, end), &store)?;
    } else {
        by_column(&mut e, &o, first, (start, end), &store)?;
    }
    launches(split, &total, &p.finish, e.launch([blocks, Dim::from(1usize), split.grid(&batches)], 0))
}

type Store<'s> = &'s dyn Fn(&mut Entry, Reg, Reg) -> Result<(), String>;

/// One warp per element, neighbouring lanes reading neighbouring elements of a row of the matrix.
fn by_warp(
    e: &mut Entry,
    o: &Operands,
    first: Reg,
    (start, end): (Operand, Operand),
    store: Store<'_>,
) -> Result<(), String> {
    let tid = e.b.special(Special::TidX);
    let warp = e.b.int2(Int2::Shr, Ty::U32, tid, 5u32);
    let lane = e.b.int2(Int2::And, Ty::B32, tid, 31u32);
    let row = e.b.add(Ty::U32, first, warp);
    let outside = e.b.setp(Cmp::Ge, Ty::U32, row, o.extent);
    e.b.exit_if(outside);
    let width = if o.depth.known().is_some_and(|d| d.is_multiple_of(4)) { 4u32 } else { 1 };
    let offset = e.b.mul(Ty::U32, row, o.depth);
    let matrix = element(e, o.matrix.0, offset, o.matrix.1);
    let start = e.b.op(Op::Mad(Ty::U32), &[lane.into(), width.into(), start]);
    let sums: Vec<Reg> = (0..width).map(|_| e.b.mov(Class::F32, 0.0f32)).collect();
    e.steps(start, end, 32 * width * AHEAD, |e, k| {
        let mut pairs = vec![];
        for i in 0..AHEAD {
            let k = e.b.add(Ty::U32, k, 32 * width * i);
            let within = e.b.setp(Cmp::Lt, Ty::U32, k, end);
            let mut read = |base: Reg, t: DType| {
                let at = element(e, base, k, t);
                load_or_zero(e, t, width, at, within)
            };
            pairs.push((read(matrix, o.matrix.1), read(o.vector.0, o.vector.1)));
        }
        for (m, v) in pairs {
            for ((m, v), sum) in m.into_iter().zip(v).zip(&sums) {
                let (m, v) = (as_f32(e, o.matrix.1, m), as_f32(e, o.vector.1, v));
                e.b.assign(*sum, Op::Fma(Ty::F32), &[m.into(), v.into(), (*sum).into()]);
            }
        }
        Ok(())
    })?;
    let mut sum = sums.into_iter().reduce(|a, b| e.b.add(Ty::F32, a, b)).unwrap_or(start);
    for mask in [16u32, 8, 4, 2, 1] {
        let other = e.b.shuffle(Shuffle::Bfly, sum, mask);
        sum = e.b.add(Ty::F32, sum, other);
    }
    let leads = e.b.setp(Cmp::Eq, Ty::U32, lane, 0u32);
    e.when(leads, |e| store(e, row, sum))
}

/// One thread per column and part of k.
fn by_column(
    e: &mut Entry,
    o: &Operands,
    first: Reg,
    (start, end): (Operand, Operand),
    store: Store<'_>,
) -> Result<(), String> {
    let tid = e.b.special(Special::TidX);
    let slice = e.b.int2(Int2::Shr, Ty::U32, tid, COLUMNS.trailing_zeros());
    let lane = e.b.int2(Int2::And, Ty::B32, tid, COLUMNS - 1);
    let column = e.b.add(Ty::U32, first, lane);
    let exists = e.b.setp(Cmp::Lt, Ty::U32, column, o.extent);
    let start = e.b.op(Op::Int2(Int2::Add, Ty::U32), &[slice.into(), start]);
    let matrix = element(e, o.matrix.0, column, o.matrix.1);
    let sum = e.b.mov(Class::F32, 0.0f32);
    e.steps(start, end, WARPS * AHEAD, |e, k| {
        let mut pairs = vec![];
        for i in 0..AHEAD {
            let k = e.b.add(Ty::U32, k, WARPS * i);
            let within = e.b.setp(Cmp::Lt, Ty::U32, k, end);
            let both = e.b.both(within, exists);
            let offset = e.b.mul(Ty::U32, k, o.extent);
            let at = element(e, matrix, offset, o.matrix.1);
            let m = load_or_zero(e, o.matrix.1, 1, at, both);
            let at = element(e, o.vector.0, k, o.vector.1);
            pairs.push((m, load_or_zero(e, o.vector.1, 1, at, within)));
        }
        for (m, v) in pairs {
            for (m, v) in m.into_iter().zip(v) {
                let (m, v) = (as_f32(e, o.matrix.1, m), as_f32(e, o.vector.1, v));
                e.b.assign(sum, Op::Fma(Ty::F32), &[m.into(), v.into(), sum.into()]);
            }
        }
        Ok(())
    })?;
    let shared = e.b.shared(THREADS * 4, 16);
    let at = e.b.mad(Ty::U32, tid, 4u32, shared);
    e.b.st(Space::Shared, Ty::F32, at, sum);
    e.b.barrier();
    let leads = e.b.setp(Cmp::Eq, Ty::U32, slice, 0u32);
    let leads = e.b.both(leads, exists);
    e.when(leads, |e| {
        let mut sum = sum;
        for i in 1..WARPS {
            let part = e.b.ld(Space::Shared, Ty::F32, crate::ptx::Addr::from(at).plus((i * COLUMNS * 4) as i32));
            sum = e.b.add(Ty::F32, sum, part);
        }
        store(e, column, sum)
    })
}
