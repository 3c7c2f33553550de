//! Matrix product in f32: `C[m,n] = act(A[m,k] B[k,n] + bias + residual)`.
//!
//! B is packed in panels of 16 columns ([`pack_b`]), the same for every tier, usually once when a plan is built. A is
//! read where it lies when its rows are contiguous: packing it at run time costs 5 to 45 % (measured). While one group
//! of panels is in use the next one is prefetched. A product with few rows uses a wider, lower tile, so that a
//! matrix-vector product streams several panels at once. Weights may be kept in fewer bits ([`gemm_narrow`]).

mod narrow;
mod pack;

use crate::epilogue::{Bias, Epilogue, LateRun, Stages};
use crate::isa::{Isa, Kernel, Simd};
use crate::micro::{PANEL, Tile, tile};
use crate::par::{Parallel, part};
pub use narrow::{GROUP, Narrow, gemm_narrow, gemm_narrow_scratch};
pub(crate) use pack::pack_panel;
use pack::transpose_into;
pub use pack::{pack_b, pack_b_into, pack_groups, pack_half, pack_scaled, packed_len};

/// The sizes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A and rows of B.
    pub k: usize,
}

/// A matrix in memory: element `(i, j)` is `data[i * rs + j * cs]`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Distance between rows.
    pub rs: usize,
    /// Distance between columns.
    pub cs: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix with rows `ld` apart.
    pub fn rows(data: &'a [f32], ld: usize) -> Self {
        Self { data, rs: ld, cs: 1 }
    }

    fn check(&self, what: &str, rows: usize, cols: usize) {
        assert!(span(rows, self.rs, cols, self.cs) <= self.data.len(), "{what}: slice too short");
    }
}

/// How many elements a strided matrix spans.
pub(crate) fn span(rows: usize, rs: usize, cols: usize, cs: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * rs + (cols - 1) * cs + 1 }
}

/// Scratch for [`gemm`], in floats: a copy of A if its columns are not contiguous.
pub fn gemm_scratch(dims: Dims, a_cs: usize) -> usize {
    if a_cs == 1 || dims.k <= 1 { 0 } else { dims.m * dims.k }
}

/// Scratch for [`gemm_unpacked`], in floats.
pub fn gemm_unpacked_scratch(dims: Dims, a_cs: usize) -> usize {
    packed_len(dims.k, dims.n) + gemm_scratch(dims, a_cs)
}

/// `C = act(A B + bias + residual)` with packed B; rows of C are `ldc` apart.
///
/// # Panics
/// If a slice is shorter than the sizes need (see [`packed_len`], [`gemm_scratch`]), or `ldc < n`.
#[allow(clippy::too_many_arguments)]
pub fn gemm(
    isa: Isa,
    par: &dyn Parallel,
    dims: Dims,
    a: Mat<'_>,
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
) {
    sweep(isa, par, dims, a, b, c, ldc, epilogue, scratch, false);
}

/// As [`gemm`], with the panels of B from the last to the first if `backwards`. Products with the same B, one after the
/// other in alternating order, find the panels that the last one ended with in cache; the results are the same.
///
/// # Panics
/// As [`gemm`].
#[allow(clippy::too_many_arguments)]
pub fn sweep(
    isa: Isa,
    par: &dyn Parallel,
    dims: Dims,
    a: Mat<'_>,
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
    backwards: bool,
) {
    if dims.m == 0 || dims.n == 0 {
        return;
    }
    assert!(b.len() >= packed_len(dims.k, dims.n), "b: slice too short");
    let job = Job { b: b.as_ptr(), b_rows: dims.k, backwards, ..Job::new(par, dims, a, c, ldc, epilogue, scratch) };
    // SAFETY: every length was checked above.
    unsafe { run(isa, par, &job) }
}

/// As [`gemm`], with B in any layout: it is packed into `scratch` first.
///
/// # Panics
/// If a slice is shorter than the sizes need (see [`gemm_unpacked_scratch`]), or `ldc < n`.
#[allow(clippy::too_many_arguments)]
pub fn gemm_unpacked(
    isa: Isa,
    par: &dyn Parallel,
    dims: Dims,
    a: Mat<'_>,
    b: Mat<'_>,
    c: &mut [f32],
    ldc: usize,
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
) {
    let (packed, rest) = scratch.split_at_mut(packed_len(dims.k, dims.n));
    pack_b_into(par, dims.k, dims.n, b, packed);
    gemm(isa, par, dims, a, packed, c, ldc, epilogue, rest);
}

/// A product whose memory has been checked.
pub(crate) struct Job {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: *const f32,
    pub(crate) lda: usize,
    pub(crate) b: *const f32,
    /// Rows of a panel of B, at least `k`.
    pub(crate) b_rows: usize,
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
    /// Per column, or null.
    pub(crate) bias: *const f32,
    /// Per row, or null.
    pub(crate) row_bias: *const f32,
    pub(crate) stages: Stages,
    pub(crate) res_ld: usize,
    /// The last panels first.
    pub(crate) backwards: bool,
}

// SAFETY: tasks write disjoint blocks of C and only read the rest.
unsafe impl Sync for Job {}

impl Job {
    /// A product without B, everything else checked; A is copied where its columns are not contiguous.
    fn new(
        par: &dyn Parallel,
        dims: Dims,
        a: Mat<'_>,
        c: &mut [f32],
        ldc: usize,
        epilogue: &Epilogue<'_>,
        scratch: &mut [f32],
    ) -> Self {
        let Dims { m, n, k } = dims;
        a.check("a", m, k);
        assert!(ldc >= n && c.len() >= span(m, ldc, n, 1), "c: slice too short");
        let (res, res_len, res_ld) = epilogue.residual.map_or((std::ptr::null(), 0, 0), |r| r.parts());
        assert!(res.is_null() || res_len >= span(m, res_ld, n, 1), "residual: slice too short");
        assert!(res != c.as_ptr() || res_ld == ldc, "residual: laid out unlike the output it is");
        let (bias, row_bias) = match epilogue.bias {
            Bias::None => (std::ptr::null(), std::ptr::null()),
            Bias::PerCol(bias) => {
                assert!(bias.len() >= n, "bias: slice too short");
                (bias.as_ptr(), std::ptr::null())
            }
            Bias::PerRow(bias) => {
                assert!(bias.len() >= m, "bias: slice too short");
                (std::ptr::null(), bias.as_ptr())
            }
        };
        let (a, lda) = if gemm_scratch(dims, a.cs) > 0 {
            assert!(scratch.len() >= m * k, "scratch: slice too short");
            transpose_into(par, m, k, a, scratch);
            (scratch.as_ptr(), k)
        } else {
            (a.data.as_ptr(), a.rs)
        };
        Self {
            m,
            n,
            k,
            a,
            lda,
            b: std::ptr::null(),
            b_rows: 0,
            c: c.as_mut_ptr(),
            ldc,
            bias,
            row_bias,
            stages: epilogue.stages(c.as_ptr()),
            res_ld,
            backwards: false,
        }
    }
}

/// Longest stretch of K in one go: a group of two panels then takes 192 KB of L2.
const MAX_K: usize = 1536;
/// Most floats of A in one block of rows, so that it stays in L2 beside the panels.
const BLOCK_A: usize = 96 * 1024;

/// # Safety
/// A, packed B, C, bias and residual must be valid for the sizes; C must not overlap A, B or the bias.
pub(crate) unsafe fn run(isa: Isa, par: &dyn Parallel, job: &Job) {
    let panels = job.n.div_ceil(PANEL);
    let (tm, tn) = grid(par, job.m, panels, job.k);
    par.run(tm * tn, &|i| {
        let rows = part(job.m, tm, i / tn);
        let cols = part(panels, tn, i % tn);
        isa.run(Block { job, rows, cols });
    });
}

/// Cuts `m` rows and `panels` panels into a grid with about one task per thread.
fn grid(par: &dyn Parallel, m: usize, panels: usize, k: usize) -> (usize, usize) {
    let threads = crate::par::cut(par, m * panels, 2 * k * PANEL).max(1);
    let mut best = (usize::MAX, (1, 1));
    for tm in 1..=threads.min(m) {
        let tn = (threads / tm).min(panels);
        // The largest task, and then the traffic: every row of tasks reads all of B, every column all of A.
        let work = m.div_ceil(tm) * panels.div_ceil(tn) * PANEL;
        let traffic = m * tn + panels * PANEL * tm;
        let cost = work.saturating_mul(16).saturating_add(traffic);
        if cost < best.0 {
            best = (cost, (tm, tn));
        }
    }
    best.1
}

/// The share of one task.
struct Block<'a> {
    job: &'a Job,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
}

impl Kernel for Block<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { job, rows, cols } = self;
        // A single tile of rows uses B once, so nothing is gained by keeping it in cache.
        let one_tile = rows.len() <= S::TILE_ROWS.into_iter().max().unwrap_or(1);
        let slices = if one_tile { 1 } else { job.k.div_ceil(MAX_K).max(1) };
        let blocks = (rows.len() * job.k.div_ceil(slices)).div_ceil(BLOCK_A).clamp(1, rows.len().max(1));
        for slice in 0..slices {
            let ks = part(job.k, slices, slice);
            for block in 0..blocks {
                let r = part(rows.len(), blocks, block);
                let r = rows.start + r.start..rows.start + r.end;
                // SAFETY: the block lies within the job, whose memory is valid.
                unsafe { row_block(s, job, r, cols.clone(), ks.clone(), slice + 1 == slices) };
            }
        }
    }
}

/// One block of rows against a range of panels, over one slice of K.
///
/// # Safety
/// The ranges must lie within a valid job.
#[inline(always)]
pub(crate) unsafe fn row_block<S: Simd>(
    s: S,
    job: &Job,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    ks: std::ops::Range<usize>,
    last: bool,
) {
    let widest = S::tile_panels(rows.len());
    // SAFETY: as promised by the caller; the tile is one of the job, with as many rows and registers as it says.
    unsafe { tiles(s, job, rows, cols, ks, last, widest, |t, h, nv, _| tile(s, 1, h, nv, t)) }
}

/// Calls `run` with each tile of a block, its rows, registers and first panel, panels in groups of at most `widest`.
///
/// # Safety
/// The ranges must lie within a valid job; B is not read here.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn tiles<S: Simd>(
    s: S,
    job: &Job,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    ks: std::ops::Range<usize>,
    last: bool,
    widest: usize,
    run: impl Fn(&Tile, usize, usize, usize),
) {
    let zero_tap = [(0, 0)];
    // Fewer panels than the widest group are left at the end: groups of decreasing powers of two.
    let (whole, rest) = (cols.len() / widest, cols.len() % widest);
    let groups = whole + rest.count_ones() as usize;
    let mut done = 0;
    for _ in 0..groups {
        let left = cols.len() - done;
        let (p, np) = if job.backwards {
            let np = if done < rest { 1 << (rest - done).trailing_zeros() } else { widest };
            (cols.end - done - np, np)
        } else {
            (cols.start + done, widest.min(1 << left.ilog2()))
        };
        done += np;
        let nv = np * PANEL / S::LANES;
        let tiles = rows.len().div_ceil(S::TILE_ROWS[nv.trailing_zeros() as usize]);
        let width = (job.n - p * PANEL).min(np * PANEL);
        let step = (np * PANEL).div_ceil(tiles);
        for i in 0..tiles {
            let r = part(rows.len(), tiles, i);
            let (row, h) = (rows.start + r.start, r.len());
            // Together the tiles prefetch this slice of each panel of the next group.
            let slice = (ks.len() * PANEL).max(1);
            let ahead = i * step * ks.len();
            // SAFETY: row < m and p * 16 < n, so every address below is inside its matrix; `wrapping_add` is used for
            // what may be null or past the end (prefetch).
            unsafe {
                let b = job.b.wrapping_add(p * PANEL * job.b_rows + ks.start * PANEL);
                let c = job.c.add(row * job.ldc + p * PANEL);
                let optional = |q: *const f32, at: usize| if q.is_null() { q } else { q.wrapping_add(at) };
                let early = optional(job.stages.early, row * job.res_ld + p * PANEL);
                let t = Tile {
                    a: job.a.add(row * job.lda + ks.start),
                    taps: zero_tap.as_ptr(),
                    n_taps: 1,
                    k: ks.len(),
                    n_whole: 1,
                    k_last: 0,
                    a_px: job.lda,
                    a_row: 0,
                    b,
                    b_panel: job.b_rows * PANEL,
                    c,
                    c_px: job.ldc,
                    c_row: 0,
                    c_panel: PANEL,
                    cols: width,
                    bias_cols: width,
                    accumulate: ks.start > 0 || job.stages.in_place,
                    bias: if ks.start > 0 { std::ptr::null() } else { optional(job.bias, p * PANEL) },
                    row_bias: if last { optional(job.row_bias, row) } else { std::ptr::null() },
                    residual: if last { early } else { std::ptr::null() },
                    res_px: job.res_ld,
                    res_row: 0,
                    res_panel: PANEL,
                    clamp: if last { job.stages.clamp } else { (f32::NEG_INFINITY, f32::INFINITY) },
                    ahead: b.wrapping_add((np + ahead / slice) * PANEL * job.b_rows + ahead % slice),
                    ahead_step: step,
                };
                run(&t, h, nv, p);
                if let (true, Some((activation, residual))) = (last, job.stages.late) {
                    s.call(LateRun {
                        activation,
                        residual: optional(residual, row * job.res_ld + p * PANEL),
                        data: c,
                        len: width,
                        rows: h,
                        stride: (job.ldc, job.res_ld),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
