//! What becomes of integer sums: scaled, added to, clamped and rounded to bytes in registers.
//!
//! The operations and their order are those of the scalar programs that they stand for, each rounded to f32 and none
//! contracted, so results equal an interpretation of the program bit for bit. A division by the output's scale is done
//! as a product with its reciprocal; where that comes too close to a half to tell how the quotient rounds, the vector is
//! divided after all.

use super::curve::{self, Curve};
use super::quads::{PANEL, Place};
use crate::isa::Bytes;

/// What becomes of sums.
#[derive(Clone, Copy)]
pub enum Finish<'a> {
    /// The usual steps, in registers.
    Requant(Requant<'a>),
    /// `f(at, sums)` stores the results of `sums`, which belong to consecutive elements from `at` on (in the result's own
    /// layout). At most 448 at once, and from any thread.
    Each(&'a (dyn Fn(usize, &[i32]) + Sync)),
}

impl Finish<'_> {
    /// Checks that the parameters cover `channels` and `elements`, and that a result of `len` bytes does.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(super) fn check(&self, channels: usize, elements: usize, len: usize) {
        let Finish::Requant(q) = self else { return };
        let size = if let To::Byte { .. } = q.to { 1 } else { 4 };
        assert!(len >= elements * size, "y: slice too short");
        if q.to == To::Sums {
            return;
        }
        assert!(q.scale.len() >= channels, "scale: slice too short");
        assert!(q.bias.is_none_or(|b| b.len() >= channels), "bias: slice too short");
        let residual = match q.residual {
            None => elements,
            Some(Residual::F32(x)) => x.len(),
            Some(Residual::Bytes { bytes, .. }) => bytes.len(),
        };
        assert!(residual >= elements, "residual: slice too short");
    }
}

/// `y = to(factor(activation(curve(f32(sum) * scale + bias) + residual)))`.
#[derive(Clone, Copy, Debug)]
pub struct Requant<'a> {
    /// Per channel, filled to whole panels of 16.
    pub scale: &'a [f32],
    /// Per channel, filled to whole panels of 16.
    pub bias: Option<&'a [f32]>,
    /// Applied to these.
    pub curve: Option<Curve>,
    /// Added, element for element of the result.
    pub residual: Option<Residual<'a>>,
    /// Applied to the sum of these.
    pub activation: Clamp,
    /// Applied after it.
    pub factor: Factor,
    /// Type of the result.
    pub to: To,
}

/// A tensor that lies as the result does.
#[derive(Clone, Copy, Debug)]
pub enum Residual<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Bytes: `(byte - zero) * scale`.
    Bytes {
        /// Elements.
        bytes: &'a [u8],
        /// They are i8.
        signed: bool,
        /// Zero point.
        zero: i32,
        /// Scale.
        scale: f32,
    },
}

/// Activations that keep to registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clamp {
    /// `x`
    None,
    /// `min(max(x, lo), hi)`
    Range(f32, f32),
    /// `x < 0 ? a x : x`
    Leaky(f32),
}

/// A last factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Factor {
    /// 1.
    None,
    /// `x * f`
    Times(f32),
    /// `x / f`
    Over(f32),
}

/// Type of a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum To {
    /// The sums as they are, i32; nothing else applies.
    Sums,
    /// f32.
    F32,
    /// Rounded to the nearest integer, ties to even, plus the zero point, saturated; NaN gives 0.
    Byte {
        /// i8 rather than u8.
        signed: bool,
        /// Zero point.
        zero: i32,
    },
}

/// How far a quotient of less than 512 may be from a half, computed with a reciprocal (three roundings of 2^-24), for its
/// rounding to be sure: 2^-12 is eight times as much.
const SURE: f32 = 0.5 - 1.0 / 4096.0;

/// Nothing is added, floats are, or bytes.
const NONE: u8 = 0;
const FLOATS: u8 = 1;
const BYTES: u8 = 2;
/// The last factor is a product, a division by way of the reciprocal, or a plain division.
const TIMES: u8 = 0;
const RECIPROCAL: u8 = 1;
const OVER: u8 = 2;

/// Turns the sums of a tile into results.
///
/// # Safety
/// As [`super::quads::finish`].
#[inline(always)]
pub(super) unsafe fn run<S: Bytes>(s: S, q: &Requant<'_>, start: *const i32, y: *mut u8, sums: *mut i32, p: &Place) {
    if let Some(curve) = &q.curve {
        // SAFETY: as promised by the caller.
        unsafe { curve::run(s, curve, q, start, sums, p) };
    }
    let one = s.splat(1.0);
    let (signed, zero) = if let To::Byte { signed, zero } = q.to { (signed, zero) } else { (false, 0) };
    let to_byte = matches!(q.to, To::Byte { .. });
    let lowest = if signed { -128 } else { 0 };
    let (factor, divisor) = match q.factor {
        Factor::None => (1.0, 1.0),
        Factor::Times(f) => (f, 1.0),
        Factor::Over(f) => (1.0 / f, f),
    };
    // With such factors, products with the reciprocal are as exact as `SURE` assumes.
    let usual = to_byte && divisor.is_normal() && factor.is_normal();
    let last = if let Factor::Over(_) = q.factor { if usual { RECIPROCAL } else { OVER } } else { TIMES };
    let (leaky, (lo, hi)) = match q.activation {
        Clamp::None => (None, (f32::NEG_INFINITY, f32::INFINITY)),
        Clamp::Range(lo, hi) => (None, (lo, hi)),
        Clamp::Leaky(a) => (Some(s.splat(a)), (f32::NEG_INFINITY, f32::INFINITY)),
    };
    let (side, floats, bytes, side_zero, side_scale, flip) = match q.residual {
        None => (NONE, std::ptr::null(), std::ptr::null(), 0, one, false),
        Some(Residual::F32(x)) => (FLOATS, x.as_ptr(), std::ptr::null(), 0, one, false),
        Some(Residual::Bytes { bytes, signed, zero, scale }) => {
            (BYTES, std::ptr::null(), bytes.as_ptr(), zero, s.splat(scale), signed)
        }
    };
    let steps = Steps {
        done: q.curve.is_some(),
        start,
        scale: q.scale.as_ptr(),
        bias: q.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        floats,
        bytes,
        flip,
        side_zero: s.isplat(side_zero),
        side_scale,
        lo: s.splat(lo),
        hi: s.splat(hi),
        leaky,
        factor: s.splat(factor),
        divisor: s.splat(divisor),
        low: s.splat((lowest - zero) as f32),
        high: s.splat((lowest + 255 - zero) as f32),
        nothing: (signed || cfg!(not(target_arch = "x86_64"))).then(|| s.splat(-zero as f32)),
        zero: s.isplat(zero),
    };
    // SAFETY: as promised by the caller.
    unsafe {
        match (to_byte, side, last) {
            (true, NONE, RECIPROCAL) => steps.tile::<true, NONE, RECIPROCAL>(s, y, sums, p),
            (true, NONE, TIMES) => steps.tile::<true, NONE, TIMES>(s, y, sums, p),
            (true, NONE, _) => steps.tile::<true, NONE, OVER>(s, y, sums, p),
            (true, BYTES, RECIPROCAL) => steps.tile::<true, BYTES, RECIPROCAL>(s, y, sums, p),
            (true, BYTES, TIMES) => steps.tile::<true, BYTES, TIMES>(s, y, sums, p),
            (true, BYTES, _) => steps.tile::<true, BYTES, OVER>(s, y, sums, p),
            (true, _, RECIPROCAL) => steps.tile::<true, FLOATS, RECIPROCAL>(s, y, sums, p),
            (true, _, TIMES) => steps.tile::<true, FLOATS, TIMES>(s, y, sums, p),
            (true, _, _) => steps.tile::<true, FLOATS, OVER>(s, y, sums, p),
            (false, NONE, TIMES) => steps.tile::<false, NONE, TIMES>(s, y, sums, p),
            (false, NONE, _) => steps.tile::<false, NONE, OVER>(s, y, sums, p),
            (false, BYTES, TIMES) => steps.tile::<false, BYTES, TIMES>(s, y, sums, p),
            (false, BYTES, _) => steps.tile::<false, BYTES, OVER>(s, y, sums, p),
            (false, _, TIMES) => steps.tile::<false, FLOATS, TIMES>(s, y, sums, p),
            (false, _, _) => steps.tile::<false, FLOATS, OVER>(s, y, sums, p),
        }
    }
}

/// The steps with their parameters in registers.
#[derive(Clone, Copy)]
struct Steps<S: Bytes> {
    /// The sums are floats already, scaled and all.
    done: bool,
    start: *const i32,
    scale: *const f32,
    /// Or null.
    bias: *const f32,
    floats: *const f32,
    bytes: *const u8,
    /// The bytes of the residual are i8.
    flip: bool,
    side_zero: S::I,
    side_scale: S::V,
    lo: S::V,
    hi: S::V,
    leaky: Option<S::V>,
    factor: S::V,
    divisor: S::V,
    /// The range of a byte less the zero point: clamped before rounding, to integers, which gives the same.
    low: S::V,
    high: S::V,
    /// What becomes 0 when the zero point is added, where NaN does not become the lowest byte, or that is not 0.
    nothing: Option<S::V>,
    zero: S::I,
}

/// The parameters of some channels.
#[derive(Clone, Copy)]
pub(super) struct Channels<S: Bytes> {
    start: S::I,
    scale: S::V,
    bias: S::V,
}

impl<S: Bytes> Channels<S> {
    /// Those from `channel` on.
    ///
    /// # Safety
    /// `start`, `scale` and, unless it is null, `bias` must be valid for a register from there on.
    #[inline(always)]
    pub(super) unsafe fn load(s: S, start: *const i32, scale: *const f32, bias: *const f32, channel: usize) -> Self {
        // SAFETY: as promised by the caller.
        unsafe {
            Self {
                start: s.load_i(start.add(channel)),
                scale: s.load(scale.add(channel)),
                // Adding -0 changes nothing.
                bias: if bias.is_null() { s.splat(-0.0) } else { s.load(bias.add(channel)) },
            }
        }
    }

    /// `f32(sum + start) * scale + bias`
    #[inline(always)]
    pub(super) fn apply(&self, s: S, sum: S::I) -> S::V {
        s.add(s.mul(s.to_float(s.iadd(sum, self.start)), self.scale), self.bias)
    }
}

impl<S: Bytes> Steps<S> {
    /// # Safety
    /// As [`run`].
    #[inline(always)]
    unsafe fn tile<const BYTE: bool, const SIDE: u8, const LAST: u8>(
        self,
        s: S,
        y: *mut u8,
        sums: *const i32,
        p: &Place,
    ) {
        for panel in 0..p.panels {
            for lane in (0..PANEL).step_by(S::LANES) {
                let n = p.cols.saturating_sub(panel * PANEL + lane).min(S::LANES);
                if n == 0 {
                    continue;
                }
                let channel = p.channel + panel * PANEL + lane;
                // SAFETY: as promised by the caller; of a last panel only existing columns are read and written.
                unsafe {
                    let c = Channels::load(s, self.start, self.scale, self.bias, channel);
                    for r in 0..p.rr {
                        let from = sums.add(panel * p.sum_panel + r * p.w * p.sum_px + lane);
                        let at = p.at + panel * p.panel + r * p.row + lane;
                        if n == S::LANES {
                            for i in 0..p.w {
                                self.whole::<BYTE, SIDE, LAST>(s, c, from.add(i * p.sum_px), at + i * p.px, y);
                            }
                        } else {
                            for i in 0..p.w {
                                self.some::<BYTE, SIDE, LAST>(s, c, from.add(i * p.sum_px), at + i * p.px, y, n);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The results of a whole register, at element `at`.
    ///
    /// # Safety
    /// As [`run`], for all lanes.
    #[inline(always)]
    unsafe fn whole<const BYTE: bool, const SIDE: u8, const LAST: u8>(
        &self,
        s: S,
        c: Channels<S>,
        from: *const i32,
        at: usize,
        y: *mut u8,
    ) {
        // SAFETY: as promised by the caller.
        unsafe {
            let side = match SIDE {
                BYTES => self.widened(s, s.widen(self.bytes.add(at))),
                FLOATS => s.load(self.floats.add(at)),
                _ => s.zero(),
            };
            let v = self.float::<SIDE>(s, c, s.load_i(from), side);
            if BYTE {
                s.narrow(y.add(at), self.rounded::<LAST>(s, v));
            } else {
                s.store(y.cast::<f32>().add(at), self.scaled::<LAST>(s, v));
            }
        }
    }

    /// The results of the first `n` lanes of a register.
    ///
    /// # Safety
    /// As [`run`], for `n` lanes.
    #[inline(always)]
    unsafe fn some<const BYTE: bool, const SIDE: u8, const LAST: u8>(
        &self,
        s: S,
        c: Channels<S>,
        from: *const i32,
        at: usize,
        y: *mut u8,
        n: usize,
    ) {
        let mut lanes = [0u8; PANEL];
        // SAFETY: as promised by the caller.
        unsafe {
            let side = match SIDE {
                BYTES => {
                    std::ptr::copy_nonoverlapping(self.bytes.add(at), lanes.as_mut_ptr(), n);
                    self.widened(s, s.widen(lanes.as_ptr()))
                }
                FLOATS => s.load_n(self.floats.add(at), n),
                _ => s.zero(),
            };
            let v = self.float::<SIDE>(s, c, s.load_i(from), side);
            if BYTE {
                s.narrow(lanes.as_mut_ptr(), self.rounded::<LAST>(s, v));
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), y.add(at), n);
            } else {
                s.store_n(y.cast::<f32>().add(at), n, self.scaled::<LAST>(s, v));
            }
        }
    }

    /// The bytes of a residual as they are added.
    #[inline(always)]
    fn widened(&self, s: S, bytes: S::I) -> S::V {
        let bytes = if self.flip { s.isra::<24>(s.ishl::<24>(bytes)) } else { bytes };
        s.mul(s.to_float(s.isub(bytes, self.side_zero)), self.side_scale)
    }

    /// Up to and with the activation.
    #[inline(always)]
    fn float<const SIDE: u8>(&self, s: S, c: Channels<S>, sum: S::I, side: S::V) -> S::V {
        let mut v = if self.done { s.of_bits(sum) } else { c.apply(s, sum) };
        if SIDE != NONE {
            v = s.add(v, side);
        }
        // Constants first: NaN stays.
        match self.leaky {
            None => s.min(self.hi, s.max(self.lo, v)),
            Some(a) => s.select(s.lt(v, s.zero()), s.mul(v, a), v),
        }
    }

    /// The last factor.
    #[inline(always)]
    fn scaled<const LAST: u8>(&self, s: S, v: S::V) -> S::V {
        if LAST == OVER { s.div(v, self.divisor) } else { s.mul(v, self.factor) }
    }

    /// Within a byte less the zero point.
    #[inline(always)]
    fn bounded(&self, s: S, v: S::V) -> S::V {
        // Constants last: on x86 NaN becomes the lowest, which is 0 unless signed.
        let bounded = s.min(s.max(v, self.low), self.high);
        self.nothing.map_or(bounded, |nothing| s.select(s.eq(v, v), bounded, nothing))
    }

    /// As a byte.
    #[inline(always)]
    fn rounded<const LAST: u8>(&self, s: S, v: S::V) -> S::I {
        let bounded = self.bounded(s, self.scaled::<LAST>(s, v));
        let mut whole = s.to_int(bounded);
        if LAST == RECIPROCAL {
            let off = s.abs(s.sub(bounded, s.to_float(whole)));
            if s.any(s.lt(s.splat(SURE), off)) {
                whole = s.to_int(self.bounded(s, s.div(v, self.divisor)));
            }
        }
        s.iadd(whole, self.zero)
    }
}
