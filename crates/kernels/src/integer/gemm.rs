//! Products of a matrix of bytes and a packed one.

use super::pack::panel_len;
use super::quads::{Buffer, PANEL, Place, QUAD, Tile, finish, tile};
use super::requant::Finish;
use crate::gemm::Dims;
use crate::isa::{ByteKernel, Bytes, Isa};
use crate::par::{Parallel, Shared, part, ranges};
use std::ops::Range;

/// Scratch for [`gemm_packed`], in bytes: A in whole quads, if it has to be brought into that form.
pub fn gemm_packed_scratch(dims: Dims, signed: bool) -> usize {
    if signed || !dims.k.is_multiple_of(4) { dims.m * dims.k.next_multiple_of(4) } else { 0 }
}

/// `C = finish(A B)` with A row-major bytes (i8 if `signed`), B packed by [`super::pack_matrix`], C row-major in `y`, of
/// the type that `finish` gives. `start`: see [`super::starts`]; the zero point of i8 is that plus 128.
///
/// # Panics
/// If a slice is shorter than the sizes need (see [`gemm_packed_scratch`]).
#[allow(clippy::too_many_arguments)]
pub fn gemm_packed(
    isa: Isa,
    par: &dyn Parallel,
    dims: Dims,
    a: &[u8],
    signed: bool,
    w: &[u8],
    start: &[i32],
    y: &mut [u8],
    f: &Finish<'_>,
    scratch: &mut [u8],
) {
    let Dims { m, n, k } = dims;
    let (quads, panels) = (k.div_ceil(4), n.div_ceil(PANEL));
    assert!(a.len() >= m * k, "a: slice too short");
    assert!(w.len() >= panels * panel_len(quads), "weights: slice too short");
    assert!(start.len() >= panels * PANEL, "start: slice too short");
    f.check(panels * PANEL, m * n, y.len());
    if m * n == 0 {
        return;
    }
    let lda = 4 * quads;
    let a = if gemm_packed_scratch(dims, signed) == 0 {
        a.as_ptr()
    } else {
        assert!(scratch.len() >= m * lda, "scratch: slice too short");
        let to = Shared::new(scratch);
        let flip = if signed { 0x80 } else { 0 };
        ranges(par, m, lda, |rows| {
            for i in rows {
                // SAFETY: row `i` lies within the scratch memory and belongs to one task.
                let row = unsafe { std::slice::from_raw_parts_mut(to.get().add(i * lda), lda) };
                row[k..].fill(0);
                row.iter_mut().zip(&a[i * k..(i + 1) * k]).for_each(|(to, x)| *to = x ^ flip);
            }
        });
        scratch.as_ptr()
    };
    let job = Job { n, quads, lda, a, w: w.as_ptr().cast(), start: start.as_ptr(), y: y.as_mut_ptr(), f };
    let job = &job;
    let tasks = crate::par::cut(par, m * panels, 2 * k * PANEL).max(1);
    // Columns are cut first: each task then reads its own weights.
    let tn = tasks.min(panels);
    let tm = (tasks / tn).clamp(1, m);
    par.run(tm * tn, &|i| {
        isa.run_bytes(Block { job, rows: part(m, tm, i / tn), panels: part(panels, tn, i % tn) });
    });
}

struct Job<'a> {
    n: usize,
    quads: usize,
    lda: usize,
    a: *const u8,
    w: *const i8,
    start: *const i32,
    y: *mut u8,
    f: &'a Finish<'a>,
}

// SAFETY: tasks write disjoint blocks of the output and only read the rest.
unsafe impl Sync for Job<'_> {}

struct Block<'a> {
    job: &'a Job<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl ByteKernel for Block<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Bytes>(self, s: S) {
        let j = self.job;
        let mut buffer = Buffer::new();
        let sums = buffer.ptr();
        let size = panel_len(j.quads);
        let widest = S::quad_panels(self.rows.len());
        let mut panel = self.panels.start;
        while panel < self.panels.end {
            let np = widest.min(1 << (self.panels.end - panel).ilog2());
            let most = S::QUAD_ROWS[(np * PANEL / S::LANES).trailing_zeros() as usize];
            let tiles = self.rows.len().div_ceil(most);
            // The next panels are fetched while the tiles of these run, a share by each.
            let step = (np * QUAD).div_ceil(tiles);
            for i in 0..tiles {
                let rows = part(self.rows.len(), tiles, i);
                let row = self.rows.start + rows.start;
                // SAFETY: rows and panels are within A, B and C, whose lengths were checked; the buffer holds the largest
                // tile; prefetched addresses are moved with wrapping arithmetic.
                unsafe {
                    let w = j.w.add(panel * size);
                    let t = Tile {
                        x: j.a.add(row * j.lda),
                        taps: &0,
                        n_taps: 1,
                        quads: j.quads,
                        n_whole: 1,
                        quads_last: 0,
                        x_px: j.lda,
                        x_row: 0,
                        w,
                        w_tap: 0,
                        w_panel: size,
                        sums,
                        sum_px: np * PANEL,
                        sum_panel: PANEL,
                        ahead: w.wrapping_add(np * size + i * step * j.quads),
                        ahead_step: step,
                    };
                    tile(s, 1, rows.len(), np, &t);
                    let place = Place {
                        rr: 1,
                        w: rows.len(),
                        panels: np,
                        sum_px: np * PANEL,
                        sum_panel: PANEL,
                        at: row * j.n + panel * PANEL,
                        px: j.n,
                        row: 0,
                        panel: PANEL,
                        channel: panel * PANEL,
                        cols: (j.n - panel * PANEL).min(np * PANEL),
                    };
                    finish(s, j.f, j.start, j.y, sums, &place);
                }
            }
            panel += np;
        }
    }
}
