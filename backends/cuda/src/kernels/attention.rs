//! `Attention` without storing scores: a block takes a tile of queries and walks over the keys, keeping for each query the
//! largest score so far, the sum of exponentials and the mix of values, which are rescaled when the largest changes (Dao et
//! al., "FlashAttention", 2022; the recurrence is Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).
//!
//! On scalar units; scores, sums and mixes are f32. Exponentials are powers of two with 2 ulp. Heads wider than
//! [`MAX_WIDTH`] are declined: a tile of them does not fit static shared memory.

use super::entry::{Entry, Size, count};
use super::gemm::{MULTIPROCESSORS, only_floats, tiles};
use super::gemm_tile::{as_f32, element, load_or_zero};
use super::index::Walk;
use super::{Generated, Request, Row, Tail, Types};
use crate::expr;
use crate::ptx::{Addr, Class, Cmp, Int2, Op, Operand, Reg, Shuffle, Space, Special, Ty};
use planc_kir::{Attention, Kernel};
use planc_tensor::{DType, Dim};

pub(super) const ROW: Row = Row { supports, epilogue: true, generate };

/// Elements of a head at most.
const MAX_WIDTH: u32 = 128;
/// Keys of a step.
const KEYS: u32 = 32;
/// Rows of a thread; 16 threads share them.
const ROWS: u32 = 4;
/// Threads that share rows.
const ACROSS: u32 = 16;
/// Columns of a run of mixes.
const RUN: u32 = 4 * ACROSS;

fn supports(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    if !(3..=4).contains(&inputs.len()) || outputs.len() != 1 {
        return Err("attention takes three or four operands and gives one result".into());
    }
    if let Some(Some(DType::Bool)) = inputs.get(3) {
        return only_floats(&inputs[..3], outputs);
    }
    only_floats(inputs, outputs)
}

/// What the parts of the kernel share.
struct Parts<'r> {
    attention: &'r Attention,
    /// Queries of a block.
    queries: u32,
    /// Elements of a head of queries and keys, of values; known.
    widths: [u32; 2],
    /// Queries and keys of a head.
    lengths: [Size; 2],
    /// First query of the block, and the number of its head among all.
    first: Reg,
    head: Reg,
    /// This thread's first row and column within a tile.
    row: Reg,
    x: Reg,
    /// Shared memory: queries, transposed; keys, transposed, or values.
    query_at: Reg,
    key_at: Reg,
    mask: Option<Mask>,
}

struct Mask {
    base: Reg,
    dtype: DType,
    walk: Walk,
}

impl Parts<'_> {
    fn threads(&self) -> u32 {
        self.queries * 4
    }

    /// Floats from one line of queries or shares to the next.
    fn query_pitch(&self) -> u32 {
        self.queries + 4
    }

    /// Runs of columns that hold an element of values.
    fn runs(&self) -> u32 {
        self.widths[1].div_ceil(RUN)
    }

    /// Copies `rows` rows of `width` elements from `first` on, of a matrix at `base` with `total` rows, to shared memory as
    /// f32: `place(row, column)` says where. Rows and columns that do not exist are zeros, up to `padded` columns.
    fn copy(
        &self,
        e: &mut Entry,
        (base, dtype): (Reg, DType),
        (first, total): (Reg, Size),
        [rows, width, padded]: [u32; 3],
        place: impl Fn(&mut Entry, Reg, Reg) -> Reg,
    ) -> Result<(), String> {
        let tid = e.b.special(Special::TidX);
        let start = e.b.mov(Class::B32, tid);
        e.steps(start, rows * padded, self.threads(), |e, i| {
            let (row, column) = e.div_rem(i, Size::Const(padded));
            let from = e.b.add(Ty::U32, first, row);
            let exists = e.b.setp(Cmp::Lt, Ty::U32, from, total);
            let inside = e.b.setp(Cmp::Lt, Ty::U32, column, width);
            let exists = e.b.both(exists, inside);
            let offset = e.b.mad(Ty::U32, from, width, column);
            let at = element(e, base, offset, dtype);
            let raw = load_or_zero(e, dtype, 1, at, exists)[0];
            let v = as_f32(e, dtype, raw);
            let to = place(e, row, column);
            e.b.st(Space::Shared, Ty::F32, to, v);
            Ok(())
        })
    }

    /// Scores of this thread's rows and two keys of the step from `start` on, in units of powers of two.
    fn scores(&self, e: &mut Entry, start: Reg) -> Result<Vec<[Reg; 2]>, String> {
        let sums: Vec<[Reg; 2]> = (0..ROWS).map(|_| [(); 2].map(|()| e.b.mov(Class::F32, 0.0f32))).collect();
        let query = e.b.mad(Ty::U32, self.row, 4u32, self.query_at);
        let key = e.b.mad(Ty::U32, self.x, 8u32, self.key_at);
        let (query_pitch, key_pitch) = (self.query_pitch() * 4, (KEYS + 4) * 4);
        e.repeat(0u32, self.widths[0].div_ceil(8), |e, _| {
            for d in 0..8 {
                let left = e.b.ld_vector(Space::Shared, Ty::F32, 4, Addr::from(query).plus((d * query_pitch) as i32));
                let right = e.b.ld_vector(Space::Shared, Ty::F32, 2, Addr::from(key).plus((d * key_pitch) as i32));
                for (l, sums) in left.iter().zip(&sums) {
                    for (r, sum) in right.iter().zip(sums) {
                        e.b.assign(*sum, Op::Fma(Ty::F32), &[(*l).into(), (*r).into(), (*sum).into()]);
                    }
                }
            }
            e.b.assign(query, Op::Int2(Int2::Add, Ty::U32), &[query.into(), (8 * query_pitch).into()]);
            e.b.assign(key, Op::Int2(Int2::Add, Ty::U32), &[key.into(), (8 * key_pitch).into()]);
            Ok(())
        })?;
        let [queries, keys] = self.lengths;
        let column = e.b.mad(Ty::U32, self.x, 2u32, start);
        for (i, sums) in sums.iter().enumerate() {
            let query = e.b.add(Ty::U32, self.row, i as u32);
            let query = e.b.add(Ty::U32, query, self.first);
            let real = e.b.setp(Cmp::Lt, Ty::U32, query, queries);
            for (j, sum) in sums.iter().enumerate() {
                let key = e.b.add(Ty::U32, column, j as u32);
                let mut shown = e.b.setp(Cmp::Lt, Ty::U32, key, keys);
                let scaled = e.b.mul(Ty::F32, *sum, self.attention.scale * std::f32::consts::LOG2_E);
                e.b.set(*sum, scaled);
                if let Some(m) = &self.mask {
                    let flat = e.b.mad(Ty::U32, self.head, queries, query);
                    let flat = e.b.mad(Ty::U32, flat, keys, key);
                    let offset = m.walk.offsets(e, flat)?.pop().unwrap_or(flat);
                    let at = element(e, m.base, offset, m.dtype);
                    let exists = e.b.both(real, shown);
                    let raw = load_or_zero(e, m.dtype, 1, at, exists)[0];
                    if m.dtype == DType::Bool {
                        let set = e.b.setp(Cmp::Ne, Ty::B32, raw, 0u32);
                        shown = e.b.both(shown, set);
                    } else {
                        let v = as_f32(e, m.dtype, raw);
                        let src = [v.into(), std::f32::consts::LOG2_E.into(), (*sum).into()];
                        e.b.assign(*sum, Op::Fma(Ty::F32), &src);
                    }
                }
                if self.attention.causal {
                    let left = e.b.add(Ty::U32, key, queries);
                    let right = e.b.add(Ty::U32, query, keys);
                    let before = e.b.setp(Cmp::Le, Ty::U32, left, right);
                    shown = e.b.both(shown, before);
                }
                e.b.assign(*sum, Op::Selp(Ty::F32), &[(*sum).into(), f32::NEG_INFINITY.into(), shown.into()]);
            }
        }
        Ok(sums)
    }
}

/// The value of `v` combined among the 16 threads that share rows.
fn across(e: &mut Entry, v: Reg, combine: impl Fn(&mut Entry, Reg, Reg) -> Reg) -> Reg {
    [8u32, 4, 2, 1].into_iter().fold(v, |v, mask| {
        let other = e.b.shuffle(Shuffle::Bfly, v, mask);
        combine(e, v, other)
    })
}

/// `2^(a - b)`.
fn power(e: &mut Entry, a: Reg, b: Reg) -> Reg {
    let difference = e.b.sub(Ty::F32, a, b);
    e.b.op(Op::Ex2Approx, &[difference.into()])
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Attention(attention) = request.kernel else { return Err("not attention".into()) };
    let (q, k, v, out) = (request.input(0)?, request.input(1)?, request.input(2)?, request.output(0)?);
    let ([batch, heads, queries, width], [_, key_heads, keys, key_width], [v_lead @ .., mix_width]) =
        (q.shape.as_slice(), k.shape.as_slice(), v.shape.as_slice())
    else {
        return Err("the operands do not have 4 axes".into());
    };
    if width != key_width
        || v_lead != &k.shape[..3]
        || out.shape != [&q.shape[..3], std::slice::from_ref(mix_width)].concat()
    {
        return Err("the operands' extents may differ".into());
    }
    let known = |d: &Dim| d.as_usize().and_then(|v| u32::try_from(v).ok()).filter(|v| (1..=MAX_WIDTH).contains(v));
    let widths =
        known(width).zip(known(mix_width)).ok_or_else(|| format!("heads of {width} and {mix_width} elements"))?;
    let widths = [widths.0, widths.1];
    let sharing = match (heads.as_usize(), key_heads.as_usize()) {
        (Some(h), Some(kv)) if kv > 0 && h % kv == 0 => h / kv,
        _ if heads == key_heads => 1,
        _ => return Err(format!("whether {heads} heads share {key_heads} is known only at run time")),
    };
    let all_heads = count(&[batch.clone(), heads.clone()])?;
    if all_heads.as_const().is_some_and(|n| n > 65_535) {
        return Err(format!("{all_heads} heads are too many"));
    }
    let mask = request.inputs.get(3).filter(|_| request.own_inputs() > 3).and_then(Option::as_ref);

    // Small tiles keep more of a device busy, and hold wider heads.
    let blocks =
        tiles(queries, 64).as_usize().zip(all_heads.as_usize()).map(|(a, b)| (a as u64).saturating_mul(b as u64));
    let fills = blocks.is_none_or(|n| n >= MULTIPROCESSORS);
    let tile = if fills && widths.iter().all(|w| *w <= 64) { 64 } else { 32 };
    let mut e = Entry::new("attention", [tile * 4, 1, 1]);
    let lengths = [e.size(queries)?, e.size(keys)?];
    let padded = widths[0].next_multiple_of(8);
    let runs = widths[1].div_ceil(RUN);
    let query_at = e.b.shared(padded * (tile + 4) * 4, 16);
    let key_at = e.b.shared((padded * (KEYS + 4)).max(KEYS * (runs * RUN + 4)) * 4, 16);
    let share_at = e.b.shared(KEYS * (tile + 4) * 4, 16);
    let mask = match mask {
        Some(m) => {
            let scores = [batch, heads, queries, keys].map(Dim::clone);
            count(&scores)?;
            Some(Mask { base: e.input(3), dtype: m.dtype, walk: Walk::new(&scores, &[&m.shape])? })
        }
        None => None,
    };
    let (x, head) = (e.b.special(Special::CtaidX), e.b.special(Special::CtaidY));
    let first = e.b.mul(Ty::U32, x, tile);
    let tid = e.b.special(Special::TidX);
    let x = e.b.int2(Int2::And, Ty::B32, tid, ACROSS - 1);
    let row = e.b.int2(Int2::Shr, Ty::U32, tid, ACROSS.trailing_zeros());
    let row = e.b.mul(Ty::U32, row, ROWS);
    let p = Parts { attention, queries: tile, widths, lengths, first, head, row, x, query_at, key_at, mask };
    let (kv_head, _) = e.div_rem(head, Size::Const(sharing as u32));
    let matrix = |e: &mut Entry, input: usize, t: DType, number: Reg, rows: Size, width: u32| {
        let base = e.input(input);
        let elements = e.b.op(Op::Mul(crate::ptx::Half::Lo, Ty::U32), &[number.into(), rows.into()]);
        let elements = e.b.mul(Ty::U32, elements, width);
        (element(e, base, elements, t), t)
    };
    let q_from = matrix(&mut e, 0, q.dtype, head, lengths[0], widths[0]);
    let k_from = matrix(&mut e, 1, k.dtype, kv_head, lengths[1], widths[0]);
    let v_from = matrix(&mut e, 2, v.dtype, kv_head, lengths[1], widths[1]);

    let transposed = |at: Reg, pitch: u32| {
        move |e: &mut Entry, row: Reg, column: Reg| {
            let to = e.b.mad(Ty::U32, column, pitch, row);
            e.b.mad(Ty::U32, to, 4u32, at)
        }
    };
    let sizes = [tile, widths[0], padded];
    p.copy(&mut e, q_from, (first, lengths[0]), sizes, transposed(query_at, p.query_pitch()))?;
    let rows = 0..ROWS as usize;
    let largest: Vec<Reg> = rows.clone().map(|_| e.b.mov(Class::F32, f32::NEG_INFINITY)).collect();
    let totals: Vec<Reg> = rows.clone().map(|_| e.b.mov(Class::F32, 0.0f32)).collect();
    let columns = runs as usize * 4;
    let mixes: Vec<Reg> = (0..ROWS as usize * columns).map(|_| e.b.mov(Class::F32, 0.0f32)).collect();
    let end = if attention.causal { visible(&mut e, &p) } else { lengths[1].into() };
    let value_pitch = (runs * RUN + 4) * 4;
    e.steps(0u32, end, KEYS, |e, start| {
        e.b.barrier();
        let sizes = [KEYS, widths[0], padded];
        p.copy(e, k_from, (start, lengths[1]), sizes, transposed(key_at, KEYS + 4))?;
        e.b.barrier();
        let scores = p.scores(e, start)?;
        let mut shares: Vec<[Reg; 2]> = vec![];
        for (i, pair) in scores.iter().enumerate() {
            let max = |e: &mut Entry, a: Reg, b: Reg| e.b.op(Op::MaxNan, &[a.into(), b.into()]);
            let most = max(e, pair[0], pair[1]);
            let most = across(e, most, max);
            let most = max(e, most, largest[i]);
            // While everything is masked, differences are taken from 0 rather than from minus infinity.
            let none = e.b.setp(Cmp::Eq, Ty::F32, most, f32::NEG_INFINITY);
            let from = e.b.selp(Ty::F32, 0.0f32, most, none);
            let scale = power(e, largest[i], from);
            e.b.set(largest[i], most);
            let of = pair.map(|s| power(e, s, from));
            let sum = e.b.add(Ty::F32, of[0], of[1]);
            let sum = across(e, sum, |e, a, b| e.b.add(Ty::F32, a, b));
            e.b.assign(totals[i], Op::Fma(Ty::F32), &[totals[i].into(), scale.into(), sum.into()]);
            for mix in &mixes[i * columns..(i + 1) * columns] {
                e.b.assign(*mix, Op::FMul(Ty::F32), &[(*mix).into(), scale.into()]);
            }
            shares.push(of);
        }
        let to = e.b.mul(Ty::U32, p.x, 2 * p.query_pitch());
        let to = e.b.add(Ty::U32, to, p.row);
        let to = e.b.mad(Ty::U32, to, 4u32, share_at);
        for j in 0..2 {
            let column: Vec<Reg> = shares.iter().map(|s| s[j]).collect();
            e.b.st_vector(
                Space::Shared,
                Ty::F32,
                Addr::from(to).plus((j as u32 * p.query_pitch() * 4) as i32),
                &column,
            );
        }
        // All are done with the keys.
        e.b.barrier();
        let values = |e: &mut Entry, row: Reg, column: Reg| {
            let line = e.b.mad(Ty::U32, row, value_pitch, key_at);
            e.b.mad(Ty::U32, column, 4u32, line)
        };
        p.copy(e, v_from, (start, lengths[1]), [KEYS, widths[1], runs * RUN], values)?;
        e.b.barrier();
        let share = e.b.mad(Ty::U32, p.row, 4u32, share_at);
        let value = e.b.mad(Ty::U32, p.x, 16u32, key_at);
        let share_pitch = p.query_pitch() * 4;
        e.repeat(0u32, KEYS / 8, |e, _| {
            for t in 0..8 {
                let left = e.b.ld_vector(Space::Shared, Ty::F32, 4, Addr::from(share).plus((t * share_pitch) as i32));
                for run in 0..p.runs() {
                    let at = Addr::from(value).plus((t * value_pitch + run * RUN * 4) as i32);
                    let right = e.b.ld_vector(Space::Shared, Ty::F32, 4, at);
                    for (i, l) in left.iter().enumerate() {
                        for (j, r) in right.iter().enumerate() {
                            let mix = mixes[i * columns + run as usize * 4 + j];
                            e.b.assign(mix, Op::Fma(Ty::F32), &[(*l).into(), (*r).into(), mix.into()]);
                        }
                    }
                }
            }
            e.b.assign(share, Op::Int2(Int2::Add, Ty::U32), &[share.into(), (8 * share_pitch).into()]);
            e.b.assign(value, Op::Int2(Int2::Add, Ty::U32), &[value.into(), (8 * value_pitch).into()]);
            Ok(())
        })
    })?;
    store(&mut e, request, &p, (&totals, &mixes))?;
    Ok(e.launch([tiles(queries, tile), all_heads, Dim::from(1usize)], 0).into())
}

/// The key behind the last that any query of the block sees.
fn visible(e: &mut Entry, p: &Parts<'_>) -> Operand {
    let [queries, keys] = p.lengths;
    let last = e.b.add(Ty::U32, p.first, p.queries);
    let reach = e.b.add(Ty::U32, last, keys);
    let reach = e.b.int2(Int2::Max, Ty::U32, reach, queries);
    let reach = e.b.sub(Ty::U32, reach, queries);
    e.b.int2(Int2::Min, Ty::U32, reach, keys).into()
}

/// Divides the mixes by their totals and stores them.
fn store(e: &mut Entry, request: &Request<'_>, p: &Parts<'_>, (totals, mixes): (&[Reg], &[Reg])) -> Result<(), String> {
    let (tail, before) = (Tail::new(request)?, request.result_type()?);
    let queries = p.lengths[0];
    for (i, (total, mixes)) in totals.iter().zip(mixes.chunks(p.runs() as usize * 4)).enumerate() {
        // Queries that see nothing get zeros.
        let nothing = e.b.setp(Cmp::Eq, Ty::F32, *total, 0.0f32);
        let inverse = e.b.op(Op::Rcp(Ty::F32), &[(*total).into()]);
        let inverse = e.b.selp(Ty::F32, 0.0f32, inverse, nothing);
        let query = e.b.add(Ty::U32, p.row, i as u32);
        let query = e.b.add(Ty::U32, query, p.first);
        let exists = e.b.setp(Cmp::Lt, Ty::U32, query, queries);
        let line = e.b.mad(Ty::U32, p.head, queries, query);
        for (j, mix) in mixes.iter().enumerate() {
            let column = e.b.mad(Ty::U32, p.x, 4u32, j as u32 / 4 * RUN + j as u32 % 4);
            let inside = e.b.setp(Cmp::Lt, Ty::U32, column, p.widths[1]);
            let inside = e.b.both(inside, exists);
            let v = e.b.mul(Ty::F32, *mix, inverse);
            e.when(inside, |e| {
                let v = expr::cast(&mut e.b, DType::F32, before, v);
                let flat = e.b.mad(Ty::U32, line, p.widths[1], column);
                tail.store(e, flat, v)
            })?;
        }
    }
    Ok(())
}
