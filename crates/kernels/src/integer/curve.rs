//! Functions of scaled sums that are more than a clamp: hard swish, SiLU, sigmoids, and products and sums with constants.
//!
//! They run over a tile while it is in L1 and leave floats where the sums were, which [`super::requant`] goes on with: its
//! loops exist once per way of ending, not once per function. As there, operations and their order are those of the
//! scalar program, and results are equal bit for bit.

use super::quads::{PANEL, Place};
use super::requant::{Channels, Factor, Requant};
use crate::isa::Bytes;
use crate::vmath;

/// `factor(x g(x)) * slope + offset`, or without the first `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// `g`
    pub gate: Gate,
    /// Whether the gate's result is multiplied with `x`.
    pub times: bool,
    /// Applied to that.
    pub factor: Factor,
    /// Multiplied with that; 1 changes nothing.
    pub slope: f32,
    /// Added to that; -0 changes nothing.
    pub offset: f32,
}

/// The inner function of a [`Curve`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// `x`
    Same,
    /// `min(max(x * slope + offset, low), high)`
    Line {
        /// 1 changes nothing.
        slope: f32,
        /// -0 changes nothing.
        offset: f32,
        /// Lower bound.
        low: f32,
        /// Upper bound, not below the lower one.
        high: f32,
    },
    /// `1 / (1 + e^-x)`
    Sigmoid,
}

/// The gates, as numbers for the compiler.
const SAME: u8 = 0;
const LINE: u8 = 1;
const SIGMOID: u8 = 2;

/// Turns the sums of a tile into the curve of `f32(sum + start) * scale + bias`, in place.
///
/// # Safety
/// As [`super::quads::finish`].
#[inline(always)]
pub(super) unsafe fn run<S: Bytes>(s: S, curve: &Curve, q: &Requant<'_>, start: *const i32, sums: *mut i32, p: &Place) {
    let (slope, offset, low, high) = match curve.gate {
        Gate::Line { slope, offset, low, high } => (slope, offset, low, high),
        Gate::Same | Gate::Sigmoid => (1.0, -0.0, f32::NEG_INFINITY, f32::INFINITY),
    };
    let (factor, divisor) = match curve.factor {
        Factor::None => (1.0, None),
        Factor::Times(f) => (f, None),
        Factor::Over(f) => (1.0, Some(s.splat(f))),
    };
    let steps = Steps {
        gate: [s.splat(slope), s.splat(offset), s.splat(low), s.splat(high)],
        times: curve.times,
        factor: s.splat(factor),
        divisor,
        slope: s.splat(curve.slope),
        offset: s.splat(curve.offset),
    };
    let bias = q.bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
    for panel in 0..p.panels {
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: as promised by the caller; parameters are filled to whole panels, and so is the buffer.
            unsafe {
                let c = Channels::load(s, start, q.scale.as_ptr(), bias, p.channel + panel * PANEL + lane);
                let at = sums.add(panel * p.sum_panel + lane);
                let pixels = p.rr * p.w;
                match curve.gate {
                    Gate::Same => steps.column::<SAME>(s, c, at, pixels, p.sum_px),
                    Gate::Line { .. } => steps.column::<LINE>(s, c, at, pixels, p.sum_px),
                    Gate::Sigmoid => steps.column::<SIGMOID>(s, c, at, pixels, p.sum_px),
                }
            }
        }
    }
}

/// The steps with their parameters in registers.
struct Steps<S: Bytes> {
    /// Slope, offset and bounds.
    gate: [S::V; 4],
    times: bool,
    factor: S::V,
    divisor: Option<S::V>,
    slope: S::V,
    offset: S::V,
}

impl<S: Bytes> Steps<S> {
    /// A register of channels, pixel by pixel.
    ///
    /// # Safety
    /// `at` must be valid for a register at each of `pixels` places `step` apart.
    #[inline(always)]
    unsafe fn column<const GATE: u8>(&self, s: S, c: Channels<S>, at: *mut i32, pixels: usize, step: usize) {
        for i in 0..pixels {
            // SAFETY: as promised by the caller; floats are as large as the sums.
            unsafe {
                let at = at.add(i * step);
                let y = self.of::<GATE>(s, c.apply(s, s.load_i(at)));
                s.store(at.cast(), y);
            }
        }
    }

    #[inline(always)]
    fn of<const GATE: u8>(&self, s: S, x: S::V) -> S::V {
        let [slope, offset, low, high] = self.gate;
        let mut y = match GATE {
            // Constants first: NaN stays.
            LINE => s.min(high, s.max(low, s.add(s.mul(x, slope), offset))),
            SIGMOID => vmath::sigmoid(s, x),
            _ => x,
        };
        if self.times {
            y = s.mul(x, y);
        }
        y = s.mul(y, self.factor);
        if let Some(divisor) = self.divisor {
            y = s.div(y, divisor);
        }
        s.add(s.mul(y, self.slope), self.offset)
    }
}
