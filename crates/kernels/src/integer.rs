//! Exact products of 8-bit integers less their zero points: `C[m,n] = A[m,k] B[k,n]` in i32, modulo 2^32.
//!
//! An 8-bit number less an 8-bit zero point fits i16, so zero points are taken off while operands are brought into
//! place, and padding is 0. Two neighbours along k are one lane of 32 bits: every tier multiplies pairs of i16 and adds
//! both products to an i32 (`pmaddwd`, or `vpdpwssd` with VNNI), which cannot saturate, because no factor leaves
//! [-255, 255]. B comes in panels of 16 columns that each task packs for itself, piece by piece, straight from the
//! matrix or from the windows of an image ([`Columns`]).

use crate::gemm::Dims;
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::Tier;
use crate::par::{Parallel, Shared, part, ranges};
use std::ops::Range;

mod conv;
mod curve;
mod depthwise;
mod dot;
mod gemm;
mod moves;
mod pack;
mod quads;
mod requant;

pub use conv::{Image, conv_blocks, conv_blocks_scratch, conv_rows, conv_rows_scratch};
pub use curve::{Curve, Gate};
pub use depthwise::{conv_bytes_depthwise, conv_bytes_depthwise_scratch, pack_depthwise};
pub use gemm::{gemm_packed, gemm_packed_scratch};
pub use moves::{max_pool_bytes, reorder_bytes};
pub use pack::{pack_conv, pack_first, pack_matrix, packed_matrix_len, starts};
pub use requant::{Clamp, Factor, Finish, Requant, Residual, To};

use dot::{Dot, Portable};

/// Columns of a panel.
const PANEL: usize = 16;
/// Panels that a task packs at once, and the pairs of rows it packs of them: 256 KB of L2.
const CHUNK: usize = 8;
const DEPTH: usize = 512;

/// 8-bit integers as i16: `(byte ^ flip) - offset`, which is the number less its zero point for either signedness.
#[derive(Clone, Copy, Debug)]
pub struct Widen {
    flip: u8,
}

impl Widen {
    /// For bytes that are i8 rather than u8.
    pub fn new(signed: bool) -> Self {
        Self { flip: if signed { 0x80 } else { 0 } }
    }

    /// What to subtract for a zero point given as its byte.
    pub fn offset(self, zero: u8) -> i16 {
        i16::from(zero ^ self.flip)
    }

    /// `to[i]` is `x[i]` less its zero point.
    pub(crate) fn slice(self, x: &[u8], offset: i16, to: &mut [i16]) {
        for (to, byte) in to.iter_mut().zip(x) {
            *to = self.value(*byte, offset);
        }
    }

    #[inline(always)]
    fn value(self, byte: u8, offset: i16) -> i16 {
        i16::from(byte ^ self.flip) - offset
    }
}

/// Rows of A as i16, each filled with a zero to an even length: row `i` of `cols` bytes less `offsets[i % len]`.
///
/// # Panics
/// If a slice is too short or `offsets` is empty.
pub fn widen_rows(par: &dyn Parallel, a: &[u8], rows: usize, cols: usize, w: Widen, offsets: &[i16], to: &mut [i16]) {
    let stride = cols.next_multiple_of(2);
    assert!(a.len() >= rows * cols && to.len() >= rows * stride && !offsets.is_empty(), "rows: slice too short");
    let to = Shared::new(to);
    ranges(par, rows, cols, |r| {
        for i in r {
            // SAFETY: row `i` is within the slice, as was checked, and belongs to one task.
            let row = unsafe { std::slice::from_raw_parts_mut(to.get().add(i * stride), stride) };
            let offset = offsets[i % offsets.len()];
            row[cols..].fill(0);
            w.slice(&a[i * cols..(i + 1) * cols], offset, row);
        }
    });
}

#[inline(always)]
fn sixteen<T>(x: &[T], at: usize) -> &[T; PANEL] {
    x[at..].first_chunk().expect("columns: slice too short")
}

/// `to = a0 b0 a1 b1 ..`
#[inline(always)]
fn interleave(a: &[i16; PANEL], b: &[i16; PANEL], to: &mut [i16]) {
    for (to, (a, b)) in to.chunks_exact_mut(2).zip(a.iter().zip(b)) {
        to[0] = *a;
        to[1] = *b;
    }
}

/// Where B comes from.
#[derive(Clone, Copy, Debug)]
pub enum Columns<'a> {
    /// A row-major matrix of bytes.
    Matrix {
        /// `[k][n]`.
        bytes: &'a [u8],
        /// How bytes become numbers.
        widen: Widen,
        /// Per column, at least `n`.
        offsets: &'a [i16],
    },
    /// The windows of an image that was widened and padded.
    Windows(Windows<'a>),
}

/// Windows over a padded image: element `(k, p)` of the matrix is `image[rows[k] + position of p]`.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// Widened elements.
    pub image: &'a [i16],
    /// Per element of a window, its distance from the window's first element.
    pub rows: &'a [usize],
    /// Extents of the result; a window's number runs over them.
    pub output: [usize; 3],
    /// Distance between windows along each extent.
    pub steps: [usize; 3],
}

impl Windows<'_> {
    fn start(&self, p: usize) -> usize {
        let [_, h, w] = self.output;
        p / (h * w) * self.steps[0] + p / w % h * self.steps[1] + p % w * self.steps[2]
    }

    #[inline(always)]
    fn pack(&self, panel: usize, pairs: Range<usize>, n: usize, out: &mut [i16]) {
        let mut starts = [0usize; PANEL];
        let width = (n - panel * PANEL).min(PANEL);
        // Columns past the last are never stored: any window does for them.
        for (i, start) in starts.iter_mut().enumerate() {
            *start = self.start(panel * PANEL + i.min(width - 1));
        }
        let near = width == PANEL && starts.iter().enumerate().all(|(i, s)| *s == starts[0] + i);
        for (pair, to) in pairs.zip(out.chunks_exact_mut(2 * PANEL)) {
            // An odd last row meets a zero of A.
            let (first, second) = (self.rows[2 * pair], self.rows[(2 * pair + 1).min(self.rows.len() - 1)]);
            if near {
                let (a, b) = (sixteen(self.image, starts[0] + first), sixteen(self.image, starts[0] + second));
                interleave(a, b, to);
            } else {
                for i in 0..PANEL {
                    to[2 * i] = self.image[starts[i] + first];
                    to[2 * i + 1] = self.image[starts[i] + second];
                }
            }
        }
    }
}

impl Columns<'_> {
    /// Packs `pairs` of rows of a panel: `[pair][16 columns][2]`.
    #[inline(always)]
    fn pack(&self, panel: usize, pairs: Range<usize>, dims: Dims, out: &mut [i16]) {
        let (bytes, widen, offsets) = match self {
            Columns::Windows(windows) => return windows.pack(panel, pairs, dims.n, out),
            Columns::Matrix { bytes, widen, offsets } => (*bytes, *widen, *offsets),
        };
        let (at, width) = (panel * PANEL, (dims.n - panel * PANEL).min(PANEL));
        let offsets = &offsets[at..at + width];
        for (pair, to) in pairs.zip(out.chunks_exact_mut(2 * PANEL)) {
            let row = |k: usize| &bytes[k.min(dims.k - 1) * dims.n + at..][..width];
            let (a, b) = (row(2 * pair), row(2 * pair + 1));
            if width == PANEL {
                let offsets = sixteen(offsets, 0);
                let wide = |x: &[u8]| std::array::from_fn(|i| widen.value(x[i], offsets[i]));
                interleave(&wide(a), &wide(b), to);
            } else {
                to.fill(0);
                for i in 0..width {
                    to[2 * i] = widen.value(a[i], offsets[i]);
                    to[2 * i + 1] = widen.value(b[i], offsets[i]);
                }
            }
        }
    }
}

/// Tasks along m and n.
fn grid(par: &dyn Parallel, dims: Dims) -> (usize, usize) {
    let panels = dims.n.div_ceil(PANEL);
    let threads = crate::par::cut(par, dims.m * panels, 2 * dims.k * PANEL).max(1);
    let tn = threads.min(panels).max(1);
    ((threads / tn).clamp(1, dims.m.max(1)), tn)
}

/// Elements that one task packs at once.
fn buffer_len(dims: Dims) -> usize {
    CHUNK * dims.k.div_ceil(2).min(DEPTH) * 2 * PANEL
}

/// Scratch for [`product`], in i16.
pub fn product_scratch(par: &dyn Parallel, dims: Dims) -> usize {
    let (tm, tn) = grid(par, dims);
    tm * tn * buffer_len(dims)
}

/// `C = A B` of widened rows and columns; C is row-major.
///
/// # Panics
/// If a slice is shorter than the sizes need (see [`widen_rows`], [`product_scratch`]).
pub fn product(
    isa: Isa,
    par: &dyn Parallel,
    dims: Dims,
    a: &[i16],
    b: Columns<'_>,
    c: &mut [i32],
    scratch: &mut [i16],
) {
    let Dims { m, n, k } = dims;
    assert!(a.len() >= m * k.next_multiple_of(2) && c.len() >= m * n, "product: slice too short");
    if m == 0 || n == 0 || k == 0 {
        c[..m * n].fill(0);
        return;
    }
    let ((tm, tn), each) = (grid(par, dims), buffer_len(dims));
    assert!(scratch.len() >= tm * tn * each, "scratch: slice too short");
    let (buffers, c) = (Shared::new(scratch), Shared::new(c));
    par.run(tm * tn, &|i| {
        // SAFETY: each task has its own piece of the scratch memory, which was checked.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffers.get().add(i * each), each) };
        let (rows, panels) = (part(m, tm, i / tn), part(n.div_ceil(PANEL), tn, i % tn));
        let block = Block { dims, a, b: &b, c, rows, panels };
        match isa.tier() {
            // SAFETY: the tier was detected, so its instructions exist; C is as long as was checked, and tasks have
            // disjoint blocks of it.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => unsafe { dot::with_vnni(block, buffer) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { dot::with_avx512(block, buffer) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::AvxVnni => unsafe { dot::with_avx2(block, buffer) },
            // SAFETY: as above, without special instructions.
            _ => unsafe { block.run(Portable, buffer) },
        }
    });
}

/// The share of one task.
struct Block<'a> {
    dims: Dims,
    a: &'a [i16],
    b: &'a Columns<'a>,
    c: Shared<i32>,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl Block<'_> {
    /// # Safety
    /// The block must lie within A, B and C, and belong to one task.
    #[inline(always)]
    unsafe fn run<D: Dot>(self, d: D, buffer: &mut [i16]) {
        let (pairs, n) = (self.dims.k.div_ceil(2), self.dims.n);
        for first in self.panels.clone().step_by(CHUNK) {
            let panels = first..self.panels.end.min(first + CHUNK);
            for start in (0..pairs).step_by(DEPTH) {
                let ks = start..pairs.min(start + DEPTH);
                let size = ks.len() * 2 * PANEL;
                for (panel, to) in panels.clone().zip(buffer.chunks_exact_mut(size)) {
                    self.b.pack(panel, ks.clone(), self.dims, to);
                }
                let mut row = self.rows.start;
                while row < self.rows.end {
                    let left = self.rows.end - row;
                    // 16 are better halved than left with 4, which are too few to keep the multipliers busy.
                    let height = match left {
                        16 if D::ROWS > 8 => 8,
                        _ if left >= D::ROWS => D::ROWS,
                        _ => 1 << left.ilog2(),
                    };
                    let mut panel = panels.start;
                    while panel < panels.end {
                        let wide = D::PANELS.min(panels.end - panel);
                        let tile = Tile {
                            a: self.a[row * 2 * pairs + 2 * start..].as_ptr(),
                            lda: 2 * pairs,
                            b: buffer[(panel - panels.start) * size..].as_ptr(),
                            b_panel: size,
                            pairs: ks.len(),
                            // SAFETY: `row < m` and `panel * 16 < n`.
                            c: unsafe { self.c.get().add(row * n + panel * PANEL) },
                            ldc: n,
                            cols: (n - panel * PANEL).min(wide * PANEL),
                            accumulate: start > 0,
                        };
                        // SAFETY: `height` rows and `cols` columns from here on are within the block.
                        unsafe { tile.dispatch(d, height, wide) };
                        panel += wide;
                    }
                    row += height;
                }
            }
        }
    }
}

/// A few rows times one or more panels.
struct Tile {
    a: *const i16,
    lda: usize,
    b: *const i16,
    b_panel: usize,
    pairs: usize,
    c: *mut i32,
    ldc: usize,
    cols: usize,
    accumulate: bool,
}

impl Tile {
    /// # Safety
    /// The memory must be valid for `height` rows and `panels` panels.
    #[inline(always)]
    unsafe fn dispatch<D: Dot>(&self, d: D, height: usize, panels: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            match (D::LANES, panels) {
                (4, _) => self.rows::<D, 4>(d, height),
                (8, _) => self.rows::<D, 2>(d, height),
                (_, 1) => self.rows::<D, 1>(d, height),
                _ => self.rows::<D, 2>(d, height),
            }
        }
    }

    /// # Safety
    /// As for [`Tile::dispatch`].
    #[inline(always)]
    unsafe fn rows<D: Dot, const V: usize>(&self, d: D, height: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            match height {
                1 => self.run::<D, 1, V>(d),
                2 => self.run::<D, 2, V>(d),
                4 => self.run::<D, 4, V>(d),
                6 => self.run::<D, 6, V>(d),
                8 => self.run::<D, 8, V>(d),
                _ => self.run::<D, 12, V>(d),
            }
        }
    }

    /// `R` rows and `V` registers of columns.
    ///
    /// # Safety
    /// As for [`Tile::dispatch`].
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators over the sums make the compiler spill them")]
    unsafe fn run<D: Dot, const R: usize, const V: usize>(&self, d: D) {
        let mut sums = [[d.zero(); V]; R];
        // SAFETY: A has `R` rows of `pairs` pairs; each panel of B has `pairs` rows of 16 pairs; of C only `cols`
        // columns are touched.
        unsafe {
            for pair in 0..self.pairs {
                let at = self.b.add(pair * 2 * PANEL);
                let mut b = [d.load(at); V];
                for v in 1..V {
                    b[v] = d.load(at.add(v * D::LANES / PANEL * self.b_panel + v * D::LANES % PANEL * 2));
                }
                for r in 0..R {
                    let a = d.splat(self.a.add(r * self.lda + 2 * pair));
                    for v in 0..V {
                        sums[r][v] = d.add_products(sums[r][v], a, b[v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let (col, row, sum) = (v * D::LANES, self.c.add(r * self.ldc), sums[r][v]);
                    let count = self.cols.saturating_sub(col).min(D::LANES);
                    if count == 0 {
                        continue;
                    }
                    let to = row.add(col);
                    if count == D::LANES {
                        d.store(to, if self.accumulate { d.plus(sum, to) } else { sum });
                        continue;
                    }
                    let mut lanes = [0i32; PANEL];
                    d.store(lanes.as_mut_ptr(), sum);
                    for (i, lane) in lanes.into_iter().take(count).enumerate() {
                        *to.add(i) = if self.accumulate { lane.wrapping_add(*to.add(i)) } else { lane };
                    }
                }
            }
        }
    }
}
