//! `ldmatrix`, `stmatrix` and `mma.sync`.
//!
//! Which lane holds which element is that of the PTX ISA, "Matrix fragments for mma.m16n8k*": lane `l` is in group `l / 4`
//! at place `l % 4`. Products are summed exactly (in `f64`) and rounded once; tensor cores round more often, so results
//! compare with a tolerance.

use super::{Context, Warp};
use crate::error::{FaultKind, Trap};
use crate::isa::{LANES, Mma, MmaKind, Op, Rounding, Row};
use crate::num::{f16_bits, f16_value, f32_value};

impl Warp {
    fn whole(&self, mask: u32, what: &str) -> Result<(), Trap> {
        if mask == !0 {
            return Ok(());
        }
        let message = format!("{what} by lanes {mask:#010x}, all 32 have to execute it");
        Err(Trap::new(FaultKind::Divergence, (!mask).trailing_zeros(), message))
    }

    pub(super) fn matrix(&mut self, op: &Op, mask: u32, cx: &mut Context) -> Result<(), Trap> {
        let first = self.id * LANES as u32;
        match op {
            Op::LdMatrix { n, trans, d, from } => {
                self.whole(mask, "ldmatrix")?;
                let base = *self.source(from.base, mask, cx.entry)?;
                count_rows(cx, &base, from.offset, *n);
                for (i, d) in d.iter().take(*n).enumerate() {
                    // Lanes 8i to 8i + 7 give the rows of matrix i.
                    let mut elements = [[0u64; 8]; 8];
                    for (r, row) in elements.iter_mut().enumerate() {
                        let lane = 8 * i + r;
                        let mut bytes = [0; 16];
                        let address = base[lane].wrapping_add(from.offset as u64);
                        cx.shared.read(address, 16, first + lane as u32, &mut bytes)?;
                        for (e, b) in row.iter_mut().zip(bytes.chunks_exact(2)) {
                            *e = u64::from(u16::from_le_bytes([b[0], b[1]]));
                        }
                    }
                    let mut out = [0; LANES];
                    for (lane, o) in out.iter_mut().enumerate() {
                        let (r, c) = (lane / 4, 2 * (lane % 4));
                        let pick = |c: usize| if *trans { elements[c][r] } else { elements[r][c] };
                        *o = pick(c) | pick(c + 1) << 16;
                    }
                    self.store(*d, mask, &out);
                }
                Ok(())
            }
            Op::StMatrix { n, trans, a, to } => {
                self.whole(mask, "stmatrix")?;
                let base = *self.source(to.base, mask, cx.entry)?;
                count_rows(cx, &base, to.offset, *n);
                let mut rows = [[0u8; 16]; LANES];
                for (i, a) in a.iter().take(*n).enumerate() {
                    let source = self.source(*a, mask, cx.entry)?;
                    for (lane, v) in source.iter().enumerate() {
                        let (r, c) = (lane / 4, 2 * (lane % 4));
                        for (c, half) in [(c, *v), (c + 1, *v >> 16)] {
                            let (r, c) = if *trans { (c, r) } else { (r, c) };
                            rows[8 * i + r][2 * c..2 * c + 2].copy_from_slice(&(half as u16).to_le_bytes());
                        }
                    }
                }
                let place = |lane: usize| base[lane].wrapping_add(to.offset as u64);
                for lane in 0..8 * n {
                    cx.shared.check(place(lane), 16, first + lane as u32, false)?;
                }
                for (lane, row) in rows.iter().enumerate().take(8 * n) {
                    cx.shared.write(place(lane), row, first + lane as u32, false);
                }
                Ok(())
            }
            Op::Mma(mma) => {
                self.whole(mask, "mma")?;
                cx.stats.mma += 1;
                let (na, nb, nc) = mma.lens();
                let mut rows = [[0u64; LANES]; 10];
                let sources = mma.a[..na].iter().chain(&mma.b[..nb]).chain(&mma.c[..nc]);
                for (row, r) in rows.iter_mut().zip(sources) {
                    *row = *self.source(*r, mask, cx.entry)?;
                }
                let (a, rest) = rows.split_at(na);
                let (b, c) = rest.split_at(nb);
                let d = if matches!(mma.kind, MmaKind::Int8 { .. }) {
                    integer(mma, a, b, &c[..nc])
                } else {
                    float(mma, a, b, &c[..nc])
                };
                for (d, row) in mma.d.iter().zip(&d).take(nc) {
                    self.store(*d, mask, row);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Passes of a matrix transfer: one per matrix if its eight rows lie in different banks.
fn count_rows(cx: &mut Context, base: &Row, offset: i64, n: usize) {
    for rows in base.chunks_exact(8).take(n) {
        let mut groups = [0u64; 8];
        let mut seen = [u64::MAX; 8];
        for (i, b) in rows.iter().enumerate() {
            let chunk = b.wrapping_add(offset as u64) >> 4;
            if !seen[..i].contains(&chunk) {
                groups[(chunk % 8) as usize] += 1;
            }
            seen[i] = chunk;
        }
        cx.stats.passes += groups.into_iter().max().unwrap_or(1);
        cx.stats.ideal_passes += 1;
    }
}

/// Elements of a and b, taken from `per` in each register: for element `e` of register `r` of lane `l`, its row and column.
///
/// The rows of a and of c are split in two halves of 8 by the registers, the columns of a and b likewise.
fn place_a(lane: usize, r: usize, e: usize, per: usize) -> (usize, usize) {
    (lane / 4 + 8 * (r % 2), per * (lane % 4) + e + 4 * per * (r / 2))
}

fn place_b(lane: usize, r: usize, e: usize, per: usize) -> (usize, usize) {
    (per * (lane % 4) + e + 4 * per * r, lane / 4)
}

/// Row and column of element `i` of four in a lane's part of c and d.
fn place_c(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2)
}

fn float(mma: &Mma, a: &[Row], b: &[Row], c: &[Row]) -> [Row; 4] {
    let (mut ma, mut mb) = ([[0f64; 16]; 16], [[0f64; 8]; 16]);
    let per = if mma.kind == MmaKind::Tf32 { 1 } else { 2 };
    let value = |v: u64, e: usize| match mma.kind {
        MmaKind::F16 => f16_value(v >> (16 * e)),
        MmaKind::Bf16 => f64::from(f32::from_bits(((v >> (16 * e)) as u32) << 16)),
        // The hardware ignores the lower 13 bits.
        _ => f64::from(f32_value(v & !0x1fff)),
    };
    for lane in 0..LANES {
        for e in 0..per {
            for (r, row) in a.iter().enumerate() {
                let (i, k) = place_a(lane, r, e, per);
                ma[i][k] = value(row[lane], e);
            }
            for (r, row) in b.iter().enumerate() {
                let (k, j) = place_b(lane, r, e, per);
                mb[k][j] = value(row[lane], e);
            }
        }
    }
    let mut sums = [[0f64; 8]; 16];
    for (sum, a) in sums.iter_mut().zip(&ma) {
        for (x, b) in a.iter().zip(&mb).take(mma.k) {
            for (s, y) in sum.iter_mut().zip(b) {
                *s += x * y;
            }
        }
    }
    let mut out = [[0; LANES]; 4];
    for lane in 0..LANES {
        for i in 0..4 {
            let (row, column) = place_c(lane, i);
            let acc = if mma.half_acc {
                f16_value(c[i / 2][lane] >> (16 * (i % 2)))
            } else {
                f64::from(f32_value(c[i][lane]))
            };
            let total = acc + sums[row][column];
            if mma.half_acc {
                out[i / 2][lane] |= f16_bits(total, Rounding::Even) << (16 * (i % 2));
            } else {
                out[i][lane] = u64::from((total as f32).to_bits());
            }
        }
    }
    out
}

fn integer(mma: &Mma, a: &[Row], b: &[Row], c: &[Row]) -> [Row; 4] {
    let (signed_a, signed_b, sat) = match mma.kind {
        MmaKind::Int8 { a, b, sat } => (a, b, sat),
        _ => (false, false, false),
    };
    let value = |v: u64, e: usize, signed: bool| {
        let byte = (v >> (8 * e)) as u8;
        if signed { i64::from(byte as i8) } else { i64::from(byte) }
    };
    let (mut ma, mut mb) = ([[0i64; 32]; 16], [[0i64; 32]; 8]);
    for lane in 0..LANES {
        for e in 0..4 {
            for (r, row) in a.iter().enumerate() {
                let (i, k) = place_a(lane, r, e, 4);
                ma[i][k] = value(row[lane], e, signed_a);
            }
            for (r, row) in b.iter().enumerate() {
                let (k, j) = place_b(lane, r, e, 4);
                mb[j][k] = value(row[lane], e, signed_b);
            }
        }
    }
    let mut out = [[0; LANES]; 4];
    for lane in 0..LANES {
        for (i, o) in out.iter_mut().enumerate() {
            let (row, column) = place_c(lane, i);
            let sum: i64 = ma[row].iter().zip(&mb[column]).take(mma.k).map(|(x, y)| x * y).sum();
            let total = i64::from(c[i][lane] as i32) + sum;
            let cut = if sat { total.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32 } else { total as i32 };
            o[lane] = u64::from(cut as u32);
        }
    }
    out
}
