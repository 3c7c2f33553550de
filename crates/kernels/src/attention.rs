//! Scaled dot-product attention: `softmax(scale Q K^T + mask) V` per head.
//!
//! One task takes one head (or some query rows of one): it packs K transposed and V once, then goes over the queries in
//! blocks whose scores stay in L1/L2. A single query row reads K and V where they lie.

use crate::epilogue::Epilogue;
use crate::gemm::{self, Job, pack_panel, packed_len};
use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Parallel, Serial, Shared, part};
use crate::{softmax, vmath};

/// Where the rows of a tensor of heads are: row `r` of head `h` of image `b` starts at `b * batch + h * head + r * row`.
/// The elements of a row are contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadStrides {
    /// Distance between batch entries.
    pub batch: usize,
    /// Distance between heads.
    pub head: usize,
    /// Distance between rows.
    pub row: usize,
}

/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Batch entries.
    pub batch: usize,
    /// Heads of Q.
    pub heads: usize,
    /// Heads of K and V, a divisor of `heads`; each serves as many neighbouring heads of Q.
    pub kv_heads: usize,
    /// Rows of Q.
    pub queries: usize,
    /// Rows of K and V.
    pub keys: usize,
    /// Elements of a row of Q and K.
    pub dim: usize,
    /// Elements of a row of V.
    pub value_dim: usize,
    /// Factor of the products.
    pub scale: f32,
    /// With `Some(offset)`, query `i` sees keys `0..=i + offset`.
    pub causal: Option<usize>,
    /// Strides of Q, K, V and the output.
    pub strides: [HeadStrides; 4],
}

/// Numbers added to the scores. Strides may be 0 where the mask is broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// Distances between batch entries, heads, and query rows.
    pub strides: HeadStrides,
    /// Distance between keys: 1, or 0 for one number per row.
    pub key: usize,
}

/// Query rows whose scores are computed together: two tiles of AVX-512, so that scores leave room in L2 for K and V.
const ROWS: usize = 28;

impl Attention {
    /// Into how many ranges of queries each head is cut, so that every thread has work.
    fn parts(&self, par: &dyn Parallel) -> usize {
        let heads = (self.batch * self.heads).max(1);
        par.threads().div_ceil(heads).clamp(1, self.queries.div_ceil(ROWS).max(1))
    }

    fn tasks(&self, par: &dyn Parallel) -> usize {
        let units = self.batch * self.heads * self.parts(par);
        crate::par::cut(par, units, 2 * self.queries * self.keys * (self.dim + self.value_dim) / self.parts(par))
    }

    fn task_scratch(&self) -> usize {
        let scores = ROWS.min(self.queries) * self.keys.next_multiple_of(PANEL);
        if self.queries == 1 {
            scores
        } else {
            packed_len(self.dim, self.keys) + packed_len(self.keys, self.value_dim) + scores
        }
    }

    fn span(&self, which: usize, heads: usize, rows: usize, width: usize) -> usize {
        let s = self.strides[which];
        if self.batch * heads * rows * width == 0 {
            return 0;
        }
        (self.batch - 1) * s.batch + (heads - 1) * s.head + (rows - 1) * s.row + width
    }
}

/// Scratch for [`attention`], in floats.
pub fn attention_scratch(a: &Attention, par: &dyn Parallel) -> usize {
    a.tasks(par) * a.task_scratch()
}

/// Computes the attention. A row of which every score is negative infinity becomes NaN, as softmax defines it.
///
/// # Panics
/// If a slice is too short (see [`attention_scratch`]), the head counts do not divide, or output rows overlap
/// (each of batch, head and row stride must step over what lies inside it, in any order of nesting).
#[allow(clippy::too_many_arguments)]
pub fn attention(
    isa: Isa,
    par: &dyn Parallel,
    a: &Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    mask: Option<Mask<'_>>,
    out: &mut [f32],
    scratch: &mut [f32],
) {
    assert!(a.kv_heads > 0 && a.heads.is_multiple_of(a.kv_heads), "heads of K do not divide those of Q");
    assert!(q.len() >= a.span(0, a.heads, a.queries, a.dim), "q: slice too short");
    assert!(k.len() >= a.span(1, a.kv_heads, a.keys, a.dim), "k: slice too short");
    assert!(v.len() >= a.span(2, a.kv_heads, a.keys, a.value_dim), "v: slice too short");
    assert!(out.len() >= a.span(3, a.heads, a.queries, a.value_dim), "out: slice too short");
    if a.batch * a.heads * a.queries * a.value_dim == 0 {
        return;
    }
    assert!(disjoint(a), "out: rows overlap");
    if let Some(m) = mask {
        let s = m.strides;
        let last = |n: usize, stride: usize| n.saturating_sub(1) * stride;
        let end = last(a.batch, s.batch) + last(a.heads, s.head) + last(a.queries, s.row) + last(a.keys, m.key) + 1;
        assert!(m.data.len() >= end || a.batch * a.heads * a.queries * a.keys == 0, "mask: slice too short");
    }
    let (parts, tasks, each) = (a.parts(par), a.tasks(par), a.task_scratch());
    assert!(scratch.len() >= tasks * each, "scratch: slice too short");
    let (scratch, out) = (Shared::new(scratch), Shared::new(out));
    par.run(tasks, &|task| {
        // SAFETY: each task has its own stretch of the scratch memory.
        let scratch = unsafe { std::slice::from_raw_parts_mut(scratch.get().add(task * each), each) };
        let units = part(a.batch * a.heads * parts, tasks, task);
        for unit in units {
            let (head, rows) = (unit / parts, part(a.queries, parts, unit % parts));
            let (b, h) = (head / a.heads, head % a.heads);
            let at = |which: usize, h: usize| b * a.strides[which].batch + h * a.strides[which].head;
            let shared = h / (a.heads / a.kv_heads);
            let unit = Unit {
                isa,
                a,
                rows,
                q: &q[at(0, h).min(q.len())..],
                k: &k[at(1, shared).min(k.len())..],
                v: &v[at(2, shared).min(v.len())..],
                mask: mask.map(|m| (&m.data[(b * m.strides.batch + h * m.strides.head).min(m.data.len())..], m)),
                // SAFETY: the head lies within the output, and its rows belong to this unit alone.
                out: unsafe { out.get().add(at(3, h)) },
            };
            if a.queries == 1 { isa.run(One { unit: &unit, scratch }) } else { unit.many(scratch) }
        }
    });
}

/// Whether no two rows of the output overlap: sorted by stride, each level steps over the one below.
fn disjoint(a: &Attention) -> bool {
    let s = a.strides[3];
    let mut levels = [(s.batch, a.batch), (s.head, a.heads), (s.row, a.queries)];
    levels.sort_unstable();
    let mut inside = a.value_dim;
    levels.iter().filter(|level| level.1 > 1).all(|&(stride, n)| {
        let fits = stride >= inside;
        inside += stride * (n - 1);
        fits
    })
}

/// Some query rows of one head. Slices start at the head.
struct Unit<'a> {
    isa: Isa,
    a: &'a Attention,
    rows: std::ops::Range<usize>,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    mask: Option<(&'a [f32], Mask<'a>)>,
    out: *mut f32,
}

impl Unit<'_> {
    /// Keys that query `i` sees.
    fn seen(&self, i: usize) -> usize {
        self.a.causal.map_or(self.a.keys, |offset| (i + offset + 1).min(self.a.keys))
    }

    fn many(&self, scratch: &mut [f32]) {
        let a = self.a;
        let [sq, sk, sv, so] = a.strides;
        let (keys, rest) = scratch.split_at_mut(packed_len(a.dim, a.keys));
        let (values, scores) = rest.split_at_mut(packed_len(a.keys, a.value_dim));
        for (p, panel) in keys.chunks_exact_mut((a.dim * PANEL).max(1)).enumerate() {
            let width = (a.keys - p * PANEL).min(PANEL);
            // SAFETY: `width` rows of K start there, checked by the caller.
            unsafe { pack_panel(a.dim, width, self.k.as_ptr().add(p * PANEL * sk.row), 1, sk.row, panel) };
        }
        for (p, panel) in values.chunks_exact_mut((a.keys * PANEL).max(1)).enumerate() {
            let width = (a.value_dim - p * PANEL).min(PANEL);
            // SAFETY: columns `16 p ..` of the rows of V, checked by the caller.
            unsafe { pack_panel(a.keys, width, self.v.as_ptr().add(p * PANEL), sv.row, 1, panel) };
        }
        let ld = a.keys.next_multiple_of(PANEL);
        let mut start = self.rows.start;
        while start < self.rows.end {
            let end = (start + ROWS).min(self.rows.end);
            let seen = self.seen(end - 1);
            let job = |m, n, k, x: *const f32, lda, b: *const f32, c: *mut f32, ldc, b_rows| Job {
                m,
                n,
                k,
                a: x,
                lda,
                b,
                b_rows,
                c,
                ldc,
                bias: std::ptr::null(),
                row_bias: std::ptr::null(),
                stages: Epilogue::default().stages(c),
                res_ld: 0,
                backwards: false,
            };
            // SAFETY: the rows exist in Q and the output, and the scores hold `ROWS` rows of `ld`. Keys that a row does
            // not see, up to the last that any row of the block sees, have probability zero.
            unsafe {
                let q = self.q.as_ptr().wrapping_add(start * sq.row);
                let to = scores.as_mut_ptr();
                if seen > 0 {
                    gemm::run(
                        self.isa,
                        &Serial,
                        &job(end - start, seen, a.dim, q, sq.row, keys.as_ptr(), to, ld, a.dim),
                    );
                }
                let mut factors = [0.0; ROWS];
                let factors = &mut factors[..end - start];
                self.isa.run(Probabilities { unit: self, first: start, seen, scores: to, ld, factors });
                let out = self.out.add(start * so.row);
                let values = values.as_ptr();
                gemm::run(self.isa, &Serial, &job(end - start, a.value_dim, seen, to, ld, values, out, so.row, a.keys));
                self.isa.run(Scale { rows: out, stride: so.row, len: a.value_dim, factors });
            }
            start = end;
        }
    }

    /// Adds the mask to `scale * score` of row `i` and replaces each by a multiple of its probability; the factor that makes
    /// them probabilities.
    ///
    /// # Safety
    /// `scores` must hold `seen` scores of query `i`, the rest of `total` values is set to zero.
    #[inline(always)]
    unsafe fn probabilities<S: Simd>(&self, s: S, i: usize, scores: *mut f32, total: usize) -> f32 {
        let seen = self.seen(i).min(total);
        if seen == 0 {
            // SAFETY: as promised by the caller.
            unsafe { std::slice::from_raw_parts_mut(scores, total).fill(0.0) };
            return 1.0;
        }
        let factor = self.a.scale;
        let scale = s.splat(factor);
        // SAFETY: as promised by the caller; the mask was checked to hold a number for each key.
        unsafe {
            let masked = match self.mask {
                // The largest product is that of the largest score.
                None if factor > 0.0 => false,
                None => {
                    vmath::each!(s, scores, scores, seen, |v| s.mul(v, scale));
                    true
                }
                Some((data, m)) if m.key == 1 => {
                    let row = data.as_ptr().wrapping_add(i * m.strides.row);
                    let mut at = 0;
                    while at < seen {
                        let n = S::LANES.min(seen - at);
                        let v = s.fma(s.load_n(scores.add(at), n), scale, s.load_n(row.add(at), n));
                        s.store_n(scores.add(at), n, v);
                        at += n;
                    }
                    true
                }
                Some((data, m)) => {
                    for at in 0..seen {
                        let v = scores.add(at);
                        *v = *v * self.a.scale + data[i * m.strides.row + at * m.key];
                    }
                    true
                }
            };
            let factor = if masked { 1.0 } else { factor };
            let top = softmax::top(s, scores, seen) * factor;
            let sum = softmax::exponentials(s, scores, scores, seen, factor, top);
            std::slice::from_raw_parts_mut(scores.add(seen), total - seen).fill(0.0);
            sum
        }
    }
}

/// Scores to multiples of probabilities for a block of rows, and the factors that each row lacks.
struct Probabilities<'a> {
    unit: &'a Unit<'a>,
    first: usize,
    seen: usize,
    scores: *mut f32,
    ld: usize,
    factors: &'a mut [f32],
}

impl Kernel for Probabilities<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, factor) in self.factors.iter_mut().enumerate() {
            // SAFETY: the block holds as many rows of `ld >= seen` scores as there are factors.
            *factor =
                unsafe { self.unit.probabilities(s, self.first + row, self.scores.add(row * self.ld), self.seen) };
        }
    }
}

/// Multiplies each row by a factor.
struct Scale<'a> {
    rows: *mut f32,
    stride: usize,
    len: usize,
    factors: &'a [f32],
}

impl Kernel for Scale<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, factor) in self.factors.iter().enumerate() {
            let factor = s.splat(*factor);
            // SAFETY: whoever builds this passes rows that were just written, one for each factor.
            unsafe {
                let row = self.rows.add(row * self.stride);
                vmath::each!(s, row, row, self.len, |v| s.mul(v, factor));
            }
        }
    }
}

/// One query row: dot products with the rows of K, then a weighted sum of the rows of V.
struct One<'a> {
    unit: &'a Unit<'a>,
    scratch: &'a mut [f32],
}

impl Kernel for One<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (u, a) = (self.unit, self.unit.a);
        let seen = u.seen(0);
        let scores = &mut self.scratch[..a.keys];
        let q = &u.q[..a.dim.min(u.q.len())];
        for (j, score) in scores.iter_mut().enumerate().take(seen) {
            *score = dot(s, q, &u.k[j * a.strides[1].row..][..a.dim]);
        }
        // SAFETY: `keys` scores are in the scratch memory; the output row holds `value_dim` values; rows of V were
        // checked by the caller.
        unsafe {
            let factor = s.splat(u.probabilities(s, 0, scores.as_mut_ptr(), seen));
            let mut at = 0;
            while at < a.value_dim {
                // Four vectors at a time, so that additions overlap.
                let mut acc = [s.zero(); 4];
                let width = (a.value_dim - at).min(4 * S::LANES);
                for (j, &p) in scores[..seen].iter().enumerate() {
                    let row = u.v.as_ptr().add(j * a.strides[2].row + at);
                    let p = s.splat(p);
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let n = width.saturating_sub(i * S::LANES).min(S::LANES);
                        let v = s.load_n(row.wrapping_add(i * S::LANES), n);
                        *acc = s.fma(p, v, *acc);
                    }
                }
                for (i, &acc) in acc.iter().enumerate() {
                    let n = width.saturating_sub(i * S::LANES).min(S::LANES);
                    s.store_n(u.out.wrapping_add(at + i * S::LANES), n, s.mul(acc, factor));
                }
                at += width;
            }
        }
    }
}

/// The product of two rows of equal length.
#[inline(always)]
fn dot<S: Simd>(s: S, x: &[f32], y: &[f32]) -> f32 {
    let n = x.len().min(y.len());
    let mut acc = [s.zero(); 4];
    let mut at = 0;
    // SAFETY: `at + len <= n` for every load.
    unsafe {
        while at + 4 * S::LANES <= n {
            for (i, acc) in acc.iter_mut().enumerate() {
                let p = at + i * S::LANES;
                *acc = s.fma(s.load(x.as_ptr().add(p)), s.load(y.as_ptr().add(p)), *acc);
            }
            at += 4 * S::LANES;
        }
        while at < n {
            let len = S::LANES.min(n - at);
            acc[0] = s.fma(s.load_n(x.as_ptr().add(at), len), s.load_n(y.as_ptr().add(at), len), acc[0]);
            at += len;
        }
    }
    s.reduce_add(s.add(s.add(acc[0], acc[1]), s.add(acc[2], acc[3])))
}

#[cfg(test)]
mod tests {
    //! Layouts, masks, grouped heads and causal limits against f64.

    use super::*;
    use crate::check::{Rng, close, every};

    fn naive(a: &Attention, q: &[f32], k: &[f32], v: &[f32], mask: Option<Mask<'_>>) -> Vec<(usize, f64)> {
        let mut out = Vec::new();
        for b in 0..a.batch {
            for h in 0..a.heads {
                let g = h / (a.heads / a.kv_heads);
                let at = |w: usize, h: usize, r: usize| {
                    b * a.strides[w].batch + h * a.strides[w].head + r * a.strides[w].row
                };
                for i in 0..a.queries {
                    let seen = a.causal.map_or(a.keys, |o| (i + o + 1).min(a.keys));
                    let scores: Vec<f64> = (0..seen)
                        .map(|j| {
                            let dot: f64 =
                                (0..a.dim).map(|d| f64::from(q[at(0, h, i) + d]) * f64::from(k[at(1, g, j) + d])).sum();
                            let m = mask.map_or(0.0, |m| {
                                let s = m.strides;
                                m.data[b * s.batch + h * s.head + i * s.row + j * m.key].into()
                            });
                            dot * f64::from(a.scale) + m
                        })
                        .collect();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    for d in 0..a.value_dim {
                        let value: f64 =
                            (0..seen).map(|j| (scores[j] - top).exp() / sum * f64::from(v[at(2, g, j) + d])).sum();
                        out.push((at(3, h, i) + d, value));
                    }
                }
            }
        }
        out
    }

    /// Either `[batch][head][row][dim]` or `[batch][row][head][dim]`.
    fn strides(heads: usize, rows: usize, dim: usize, rows_first: bool) -> HeadStrides {
        let batch = heads * rows * dim;
        if rows_first {
            HeadStrides { batch, head: dim, row: heads * dim }
        } else {
            HeadStrides { batch, head: rows * dim, row: dim }
        }
    }

    #[test]
    fn against_the_definition() {
        for (batch, heads, kv_heads, queries, keys, dim, value_dim) in [
            (1, 1, 1, 1, 1usize, 1, 1),
            (2, 3, 3, 5, 7, 8, 8),
            (1, 4, 2, 33, 33, 20, 12),
            (1, 2, 1, 130, 70, 64, 64),
            (1, 2, 2, 128, 128, 64, 64),
            (2, 4, 2, 1, 50, 33, 70),
            (1, 6, 3, 2, 17, 5, 3),
            (1, 2, 2, 0, 4, 4, 4),
        ] {
            for (rows_first, causal) in
                [(false, None), (true, None), (true, Some(keys.saturating_sub(queries))), (false, Some(0))]
            {
                let a = Attention {
                    batch,
                    heads,
                    kv_heads,
                    queries,
                    keys,
                    dim,
                    value_dim,
                    scale: 1.0 / (dim as f32).sqrt(),
                    causal,
                    strides: [
                        strides(heads, queries, dim, rows_first),
                        strides(kv_heads, keys, dim, rows_first),
                        strides(kv_heads, keys, value_dim, rows_first),
                        strides(heads, queries, value_dim, rows_first),
                    ],
                };
                let mut rng = Rng::new(3);
                let q = rng.vec(batch * heads * queries * dim);
                let k = rng.vec(batch * kv_heads * keys * dim);
                let v = rng.vec(batch * kv_heads * keys * value_dim);
                let full = rng.vec(batch * heads * queries * keys);
                let mut padding = vec![0.0; batch * keys];
                padding.iter_mut().skip(1).step_by(3).for_each(|m| *m = f32::NEG_INFINITY);
                let masks = [
                    None,
                    Some(Mask { data: &full, strides: strides(heads, queries, keys, false), key: 1 }),
                    Some(Mask { data: &padding, strides: HeadStrides { batch: keys, head: 0, row: 0 }, key: 1 }),
                    Some(Mask { data: &full, strides: HeadStrides { batch: 0, head: 0, row: 1 }, key: 0 }),
                ];
                for mask in masks {
                    let mut want = vec![0.0; batch * heads * queries * value_dim];
                    naive(&a, &q, &k, &v, mask).into_iter().for_each(|(i, v)| want[i] = v);
                    every(
                        want.len(),
                        |isa, par, out| {
                            let mut scratch = vec![f32::NAN; attention_scratch(&a, par)];
                            attention(isa, par, &a, &q, &k, &v, mask, out, &mut scratch);
                        },
                        |tier, out| close(out, &want, 1e-5, &format!("{tier} {a:?} {mask:?}")),
                    );
                }
            }
        }
    }
}
