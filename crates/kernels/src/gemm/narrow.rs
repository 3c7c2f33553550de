//! Products with weights in fewer bits: `C = act(A widen(B) + bias + residual)`, all arithmetic in f32.
//!
//! B is packed in panels of 16 columns, the same for every tier. A product with few rows takes as long as B takes to
//! arrive, so it widens in registers what it reads, once for all rows. With more rows a stretch of panels is widened
//! into memory that stays in L2, and multiplied as f32 is. Which of both is done follows from the number of rows alone,
//! so that results do not depend on how work is cut.

use super::{BLOCK_A, Dims, Job, MAX_K, Mat, gemm_scratch, grid, row_block, tiles};
use crate::epilogue::Epilogue;
use crate::isa::{Isa, Kernel, Simd};
use crate::micro::{Buffer, PANEL, Tile, finish, valid};
use crate::par::{Parallel, Shared, part};
use std::marker::PhantomData;
use std::ops::Range;

/// Rows of a column that share a factor in [`Narrow::I4`].
pub const GROUP: usize = 32;
/// Bytes of the codes of a group of a panel.
pub(super) const GROUP_CODES: usize = GROUP * PANEL / 2;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Bytes with sign, each column times an f32.
    I8,
    /// Four bits with sign, each [`GROUP`] rows of a column times an f16.
    I4,
}

impl Narrow {
    /// Bytes of a panel of `k` rows.
    pub fn panel_bytes(self, k: usize) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2 * PANEL * k,
            Self::I8 => PANEL * (k + 4),
            Self::I4 => k.div_ceil(GROUP) * (GROUP_CODES + 2 * PANEL),
        }
    }
}

/// Most rows that are computed from what is widened in registers.
const DIRECT: usize = 4;
/// Floats of the memory that panels are widened into: a quarter of a megabyte of L2.
const STRETCH: usize = 64 * 1024;
/// How far ahead of its use a panel is prefetched, in bytes.
const AHEAD: usize = 1024;

/// How many panels are widened at once, and rows of them.
fn stretch(k: usize) -> (usize, usize) {
    let rows = k.clamp(1, MAX_K);
    (1 << (STRETCH / (PANEL * rows)).ilog2(), rows)
}

/// Floats that each task widens panels into.
fn task_scratch(dims: Dims) -> usize {
    let (panels, rows) = stretch(dims.k);
    if dims.m <= DIRECT { 0 } else { panels.min(dims.n.div_ceil(PANEL)) * rows * PANEL }
}

/// Scratch for [`gemm_narrow`], in floats.
pub fn gemm_narrow_scratch(par: &dyn Parallel, dims: Dims, a_cs: usize) -> usize {
    if dims.m == 0 || dims.n == 0 {
        return 0;
    }
    let (tm, tn) = grid(par, dims.m, dims.n.div_ceil(PANEL), dims.k);
    gemm_scratch(dims, a_cs) + tm * tn * task_scratch(dims)
}

/// `C = act(A B + bias + residual)` with B as [`super::pack_half`], [`super::pack_scaled`] or [`super::pack_groups`] packs it;
/// rows of C are `ldc` apart.
///
/// # Panics
/// If a slice is shorter than the sizes need (see [`Narrow::panel_bytes`], [`gemm_narrow_scratch`]), or `ldc < n`.
#[allow(clippy::too_many_arguments)]
pub fn gemm_narrow(
    isa: Isa,
    par: &dyn Parallel,
    dims: Dims,
    a: Mat<'_>,
    (form, b): (Narrow, &[u32]),
    c: &mut [f32],
    ldc: usize,
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
) {
    if dims.m == 0 || dims.n == 0 {
        return;
    }
    let panels = dims.n.div_ceil(PANEL);
    assert!(size_of_val(b) >= panels * form.panel_bytes(dims.k), "b: slice too short");
    let ((tm, tn), each) = (grid(par, dims.m, panels, dims.k), task_scratch(dims));
    let (memory, rest) = scratch.split_at_mut(tm * tn * each);
    let job = Job::new(par, dims, a, c, ldc, epilogue, rest);
    let weights = Weights { b: b.as_ptr().cast(), panel: form.panel_bytes(dims.k) };
    let memory = Shared::new(memory);
    par.run(tm * tn, &|i| {
        let (rows, cols) = (part(dims.m, tm, i / tn), part(panels, tn, i % tn));
        // SAFETY: each task has its own stretch of the scratch memory.
        let memory = unsafe { memory.get().add(i * each) };
        let share = Share { job: &job, weights: &weights, rows, cols, memory };
        match form {
            Narrow::F16 => isa.run(Widening(share, PhantomData::<Rows<F16>>)),
            Narrow::Bf16 => isa.run(Widening(share, PhantomData::<Rows<Bf16>>)),
            Narrow::I8 => isa.run(Widening(share, PhantomData::<Rows<I8>>)),
            Narrow::I4 => isa.run(Widening(share, PhantomData::<Groups>)),
        }
    });
}

/// Packed weights whose length has been checked.
struct Weights {
    b: *const u8,
    /// Bytes from one panel to the next.
    panel: usize,
}

// SAFETY: weights are only read.
unsafe impl Sync for Weights {}

/// What one task computes.
struct Share<'a> {
    job: &'a Job,
    weights: &'a Weights,
    rows: Range<usize>,
    cols: Range<usize>,
    memory: *mut f32,
}

/// A form of panels.
trait Form {
    /// Panels that a product of `rows` rows reads side by side. Streams of fewer bytes may be more than those of f32: what
    /// is widened waits longer to be added.
    #[inline(always)]
    fn panels<S: Simd>(rows: usize) -> usize {
        if rows <= 3 && S::LANES == PANEL { 8 } else { S::tile_panels(rows) }
    }

    /// The products of R rows of A, of `k` elements and `lda` apart, with NV registers of columns of B.
    ///
    /// # Safety
    /// A and the panels from `b` on must be valid.
    unsafe fn sums<S: Simd, const R: usize, const NV: usize>(
        s: S,
        a: (*const f32, usize),
        b: (*const u8, usize),
        k: usize,
    ) -> [[S::V; NV]; R];

    /// Writes rows `ks` of a panel of `k` rows in f32. `ks` starts at a multiple of [`GROUP`].
    ///
    /// # Safety
    /// The panel must be valid, and `to` hold 16 floats for each row.
    unsafe fn widen<S: Simd>(s: S, b: *const u8, k: usize, ks: Range<usize>, to: *mut f32);
}

/// Offset in bytes of register `j` within a row of panels, for elements of `size` bytes.
#[inline(always)]
fn column<S: Simd>(j: usize, panel: usize, size: usize) -> usize {
    j * S::LANES / PANEL * panel + j * S::LANES % PANEL * size
}

/// An element that is widened alone.
trait Element {
    const SIZE: usize;
    /// Whether columns are multiplied by factors, which follow the rows.
    const SCALED: bool;

    /// # Safety
    /// A register of elements must be valid at `p`.
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::V;
}

struct F16;
struct Bf16;
struct I8;

impl Element for F16 {
    const SIZE: usize = 2;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::V {
        // SAFETY: as promised by the caller; panels of 16-bit elements have whole elements at even offsets.
        unsafe { s.load_f16(p.cast()) }
    }
}

impl Element for Bf16 {
    const SIZE: usize = 2;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::V {
        // SAFETY: as above.
        unsafe { s.load_bf16(p.cast()) }
    }
}

impl Element for I8 {
    const SIZE: usize = 1;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u8) -> S::V {
        // SAFETY: as promised by the caller.
        unsafe { s.load_i8(p.cast()) }
    }
}

/// Rows of 16 elements, and then 16 factors or none.
struct Rows<E>(PhantomData<E>);

impl<E: Element> Rows<E> {
    /// Adds the products of one row of B.
    ///
    /// # Safety
    /// As [`Form::sums`], with one element in each row of A.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the accumulators make the compiler spill them")]
    unsafe fn add<S: Simd, const R: usize, const NV: usize>(
        s: S,
        (a, lda): (*const f32, usize),
        (b, panel): (*const u8, usize),
        acc: &mut [[S::V; NV]; R],
    ) {
        let mut bv = [s.zero(); NV];
        // SAFETY: as promised by the caller.
        unsafe {
            for j in 0..NV {
                bv[j] = E::load(s, b.add(column::<S>(j, panel, E::SIZE)));
            }
            for r in 0..R {
                let av = s.splat(*a.add(r * lda));
                for j in 0..NV {
                    acc[r][j] = s.fma(av, bv[j], acc[r][j]);
                }
            }
        }
    }
}

impl<E: Element> Form for Rows<E> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the accumulators make the compiler spill them")]
    unsafe fn sums<S: Simd, const R: usize, const NV: usize>(
        s: S,
        (mut a, lda): (*const f32, usize),
        (mut b, panel): (*const u8, usize),
        k: usize,
    ) -> [[S::V; NV]; R] {
        let mut acc = [[s.zero(); NV]; R];
        let line = 64 / (PANEL * E::SIZE);
        // SAFETY: as promised by the caller: A has `k` elements in R rows, each panel `k` rows and what follows them.
        unsafe {
            for _ in 0..k / line {
                for p in 0..(NV * S::LANES).div_ceil(PANEL) {
                    s.prefetch(b.wrapping_add(p * panel + AHEAD).cast());
                }
                for i in 0..line {
                    Self::add(s, (a.add(i), lda), (b.add(i * PANEL * E::SIZE), panel), &mut acc);
                }
                a = a.add(line);
                b = b.add(64);
            }
            for _ in 0..k % line {
                Self::add(s, (a, lda), (b, panel), &mut acc);
                a = a.add(1);
                b = b.add(PANEL * E::SIZE);
            }
            if E::SCALED {
                for j in 0..NV {
                    let scale = s.load(b.add(column::<S>(j, panel, 4)).cast());
                    for r in 0..R {
                        acc[r][j] = s.mul(acc[r][j], scale);
                    }
                }
            }
        }
        acc
    }

    #[inline(always)]
    unsafe fn widen<S: Simd>(s: S, b: *const u8, k: usize, ks: Range<usize>, to: *mut f32) {
        for at in (0..PANEL).step_by(S::LANES) {
            // SAFETY: as promised by the caller.
            unsafe {
                let scale = if E::SCALED { s.load(b.add(k * PANEL * E::SIZE + 4 * at).cast()) } else { s.splat(1.0) };
                for i in ks.clone() {
                    let v = E::load(s, b.add((i * PANEL + at) * E::SIZE));
                    s.store(to.add((i - ks.start) * PANEL + at), if E::SCALED { s.mul(v, scale) } else { v });
                }
            }
        }
    }
}

/// Groups of 32 rows: 16 words of eight rows each, four times, and 16 factors in f16.
struct Groups;

/// Calls `$f::<N>` for the shifts that bring each of eight rows of a word to the top.
macro_rules! each_row {
    ($f:ident, $($arg:expr),*) => {
        $f!(0, 28, $($arg),*);
        $f!(1, 24, $($arg),*);
        $f!(2, 20, $($arg),*);
        $f!(3, 16, $($arg),*);
        $f!(4, 12, $($arg),*);
        $f!(5, 8, $($arg),*);
        $f!(6, 4, $($arg),*);
        $f!(7, 0, $($arg),*);
    };
}

impl Groups {
    /// Adds the products of one group.
    ///
    /// # Safety
    /// As [`Form::sums`], with [`GROUP`] elements in each row of A.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the accumulators make the compiler spill them")]
    unsafe fn add<S: Simd, const R: usize, const NV: usize>(
        s: S,
        (a, lda): (*const f32, usize),
        (b, panel): (*const u8, usize),
        acc: &mut [[S::V; NV]; R],
    ) {
        let mut sum = [[s.zero(); NV]; R];
        // SAFETY: as promised by the caller.
        unsafe {
            for w in 0..GROUP / 8 {
                let mut words = [s.isplat(0); NV];
                for j in 0..NV {
                    words[j] = s.iload(b.add(w * 4 * PANEL + column::<S>(j, panel, 4)).cast());
                }
                macro_rules! row {
                    ($row:literal, $shift:literal,) => {
                        let mut bv = [s.zero(); NV];
                        for j in 0..NV {
                            bv[j] = s.nibble::<$shift>(words[j]);
                        }
                        for r in 0..R {
                            let av = s.splat(*a.add(r * lda + 8 * w + $row));
                            for j in 0..NV {
                                sum[r][j] = s.fma(av, bv[j], sum[r][j]);
                            }
                        }
                    };
                }
                each_row!(row,);
            }
            for j in 0..NV {
                let scale = s.load_f16(b.add(GROUP_CODES + column::<S>(j, panel, 2)).cast());
                for r in 0..R {
                    acc[r][j] = s.fma(sum[r][j], scale, acc[r][j]);
                }
            }
        }
    }
}

impl Form for Groups {
    /// Each sum takes two registers, one of them for the group.
    #[inline(always)]
    fn panels<S: Simd>(rows: usize) -> usize {
        match rows {
            1 if S::LANES == PANEL => 8,
            2..=3 if S::LANES == PANEL => 4,
            _ => S::tile_panels(rows).div_ceil(2),
        }
    }

    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const NV: usize>(
        s: S,
        (a, lda): (*const f32, usize),
        (b, panel): (*const u8, usize),
        k: usize,
    ) -> [[S::V; NV]; R] {
        let mut acc = [[s.zero(); NV]; R];
        let size = Narrow::I4.panel_bytes(GROUP);
        // SAFETY: as promised by the caller; the copy has a whole group of elements.
        unsafe {
            for g in 0..k / GROUP {
                let b = b.add(g * size);
                for p in 0..(NV * S::LANES).div_ceil(PANEL) {
                    for line in 0..size.div_ceil(64) {
                        s.prefetch(b.wrapping_add(p * panel + AHEAD + 64 * line).cast());
                    }
                }
                Self::add(s, (a.add(g * GROUP), lda), (b, panel), &mut acc);
            }
            let rest = k % GROUP;
            if rest > 0 {
                let mut rows = [[0.0; GROUP]; R];
                for (r, row) in rows.iter_mut().enumerate() {
                    std::ptr::copy_nonoverlapping(a.add(r * lda + k - rest), row.as_mut_ptr(), rest);
                }
                Self::add(s, (rows.as_ptr().cast(), GROUP), (b.add(k / GROUP * size), panel), &mut acc);
            }
        }
        acc
    }

    #[inline(always)]
    unsafe fn widen<S: Simd>(s: S, b: *const u8, _k: usize, ks: Range<usize>, to: *mut f32) {
        let size = Narrow::I4.panel_bytes(GROUP);
        for first in ks.clone().step_by(GROUP) {
            for at in (0..PANEL).step_by(S::LANES) {
                // SAFETY: as promised by the caller; rows from the end of `ks` on are not written.
                unsafe {
                    let b = b.add(first / GROUP * size);
                    let scale = s.load_f16(b.add(GROUP_CODES + 2 * at).cast());
                    for w in 0..GROUP / 8 {
                        let words = s.iload(b.add((w * PANEL + at) * 4).cast());
                        macro_rules! row {
                            ($row:literal, $shift:literal,) => {
                                let i = first + 8 * w + $row;
                                if i < ks.end {
                                    let v = s.mul(s.nibble::<$shift>(words), scale);
                                    s.store(to.add((i - ks.start) * PANEL + at), v);
                                }
                            };
                        }
                        each_row!(row,);
                    }
                }
            }
        }
    }
}

/// A share, with B in form F.
struct Widening<'a, F>(Share<'a>, PhantomData<F>);

impl<F: Form> Kernel for Widening<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Share { job, weights, rows, cols, memory } = self.0;
        if job.m <= DIRECT {
            let widest = F::panels::<S>(rows.len());
            let run = |t: &Tile, h: usize, nv: usize, p: usize| {
                let b = (weights.b.wrapping_add(p * weights.panel), weights.panel);
                shapes::<S, F>(s, h, nv, t, b);
            };
            // SAFETY: the share lies within the job, whose memory is valid.
            unsafe { tiles(s, job, rows, cols, 0..job.k, true, widest, run) };
            return;
        }
        let (at_once, slice) = stretch(job.k);
        let slices = job.k.div_ceil(slice).max(1);
        for i in 0..slices {
            let ks = i * slice..job.k.min((i + 1) * slice);
            let blocks = (rows.len() * ks.len()).div_ceil(BLOCK_A).clamp(1, rows.len().max(1));
            for group in cols.clone().step_by(at_once) {
                let group = group..cols.end.min(group + at_once);
                let panel = ks.len() * PANEL;
                // SAFETY: the memory holds that many panels, the share lies within the job, and what the rows of
                // the widened panels would be before the first is never read.
                unsafe {
                    for p in group.clone() {
                        let to = memory.add((p - group.start) * panel);
                        F::widen(s, weights.b.add(p * weights.panel), job.k, ks.clone(), to);
                    }
                    let b = memory.wrapping_sub(group.start * panel + ks.start * PANEL);
                    let wide = Job { b, b_rows: ks.len(), ..*job };
                    for block in 0..blocks {
                        let r = part(rows.len(), blocks, block);
                        let r = rows.start + r.start..rows.start + r.end;
                        row_block(s, &wide, r, group.clone(), ks.clone(), i + 1 == slices);
                    }
                }
            }
        }
    }
}

/// Runs a tile of `h` rows and `nv` registers of columns over the panels from `b` on.
#[inline(always)]
fn shapes<S: Simd, F: Form>(s: S, h: usize, nv: usize, t: &Tile, b: (*const u8, usize)) {
    /// Builds a shape only where the tier's registers can hold it.
    macro_rules! shape {
        ($($h:literal $nv:literal),* $(,)?) => {
            match (h, nv) {
                $(($h, $nv) => if const { $h <= S::TILE_ROWS[($nv as usize).trailing_zeros() as usize] } {
                    s.call(Direct::<F, $h, $nv> { t, b, form: PhantomData });
                } else {
                    unreachable!("tile size");
                },)*
                _ => unreachable!("tile shape"),
            }
        };
    }
    shape!(1 1, 2 1, 3 1, 4 1, 1 2, 2 2, 3 2, 4 2, 1 4, 2 4, 3 4, 4 4, 1 8, 2 8, 3 8, 4 8, 1 16);
}

/// A tile that widens B in registers.
struct Direct<'a, F, const R: usize, const NV: usize> {
    t: &'a Tile,
    b: (*const u8, usize),
    form: PhantomData<F>,
}

impl<F: Form, const R: usize, const NV: usize> Kernel for Direct<'_, F, R, NV> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the accumulators make the compiler spill them")]
    fn run<S: Simd>(self, s: S) {
        let t = self.t;
        let mut buffer = Buffer::new();
        let sums = buffer.ptr();
        // SAFETY: whoever builds a tile guarantees its rows of A, panels of B, and columns of C, bias and residual; partial
        // vectors touch only valid columns.
        unsafe {
            let acc = F::sums::<S, R, NV>(s, (t.a, t.a_px), self.b, t.k);
            for r in 0..R {
                for j in 0..NV {
                    let mut v = acc[r][j];
                    let at = j * S::LANES;
                    if !t.bias.is_null() {
                        v = s.add(v, s.load_n(t.bias.wrapping_add(at), valid::<S>(j, t.bias_cols)));
                    }
                    if t.accumulate {
                        v = s.add(v, s.load_n(t.c.wrapping_add(r * t.c_px + at), valid::<S>(j, t.cols)));
                    }
                    s.store(sums.add((r * NV + j) * S::LANES), v);
                }
            }
            finish(s, t, 1, R, NV, sums);
        }
    }
}

#[cfg(test)]
mod tests;
