//! What happens to a matrix product or convolution before it is stored: bias, residual, activation.

use crate::isa::{Kernel, Simd};
use crate::vmath;
use std::marker::PhantomData;

/// An activation function, as ONNX defines it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Activation {
    /// `x`
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, lo), hi)`
    Clip(f32, f32),
    /// `x < 0 ? a x : x`
    LeakyRelu(f32),
    /// `x < 0 ? a (e^x - 1) : x`
    Elu(f32),
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `min(max(a x + b, 0), 1)`
    HardSigmoid(f32, f32),
    /// `x HardSigmoid(1/6, 1/2)(x)`
    HardSwish,
    /// `x Sigmoid(x)`
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `log(1 + e^x)`
    Softplus,
    /// `x tanh(log(1 + e^x))`
    Mish,
    /// `x/2 (1 + erf(x / sqrt 2))`
    Gelu,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
    GeluTanh,
}

impl Activation {
    /// The bounds, if the function is a clamp: those are applied in registers, before the only store.
    pub(crate) fn clamp(self) -> Option<(f32, f32)> {
        match self {
            Self::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Clip(lo, hi) => Some((lo, hi)),
            _ => None,
        }
    }

    /// `y[i] = act(x[i])`.
    ///
    /// # Safety
    /// `x` and `y` must be valid for `len` elements, and equal or disjoint.
    #[inline(always)]
    pub(crate) unsafe fn apply_to<S: Simd>(self, s: S, x: *const f32, y: *mut f32, len: usize) {
        let (zero, one) = (s.zero(), s.splat(1.0));
        let clip = |v, lo: f32, hi: f32| s.min(s.splat(hi), s.max(s.splat(lo), v));
        // SAFETY: as promised by the caller, for every arm.
        unsafe {
            match self {
                Self::None => vmath::each!(s, x, y, len, |v| v),
                Self::Relu => vmath::each!(s, x, y, len, |v| s.max(zero, v)),
                Self::Clip(lo, hi) => vmath::each!(s, x, y, len, |v| clip(v, lo, hi)),
                Self::LeakyRelu(a) => {
                    vmath::each!(s, x, y, len, |v| s.select(s.lt(v, zero), s.mul(v, s.splat(a)), v));
                }
                Self::Elu(a) => vmath::each!(s, x, y, len, |v| {
                    let e = s.mul(s.splat(a), s.sub(vmath::exp(s, v), one));
                    s.select(s.lt(v, zero), e, v)
                }),
                Self::Sigmoid => vmath::each!(s, x, y, len, |v| vmath::sigmoid(s, v)),
                Self::HardSigmoid(a, b) => {
                    vmath::each!(s, x, y, len, |v| clip(s.fma(v, s.splat(a), s.splat(b)), 0.0, 1.0));
                }
                Self::HardSwish => {
                    vmath::each!(s, x, y, len, |v| s.mul(v, clip(s.fma(v, s.splat(1.0 / 6.0), s.splat(0.5)), 0.0, 1.0)))
                }
                Self::Silu => vmath::each!(s, x, y, len, |v| s.mul(v, vmath::sigmoid(s, v))),
                Self::Tanh => vmath::each!(s, x, y, len, |v| vmath::tanh(s, v)),
                Self::Softplus => vmath::each!(s, x, y, len, |v| vmath::softplus(s, v)),
                Self::Mish => {
                    vmath::each!(s, x, y, len, |v| s.mul(v, vmath::tanh(s, vmath::softplus(s, v))));
                }
                Self::Gelu => vmath::each!(s, x, y, len, |v| vmath::gelu(s, v)),
                Self::GeluTanh => vmath::each!(s, x, y, len, |v| {
                    // tanh(u) = 2 sigmoid(2u) - 1, so the whole is x sigmoid(2u).
                    let c = 2.0 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
                    let u = s.mul(v, s.fma(s.mul(v, v), s.splat(c * 0.044_715), s.splat(c)));
                    s.mul(v, vmath::sigmoid(s, u))
                }),
            }
        }
    }
}

/// What is added to each element of the product.
#[derive(Clone, Copy, Debug, Default)]
pub enum Bias<'a> {
    /// Nothing.
    #[default]
    None,
    /// One value per column of C; for convolutions in NCHW16c, per output channel.
    PerCol(&'a [f32]),
    /// One value per row of C; for convolutions in NCHW, per output channel.
    PerRow(&'a [f32]),
}

/// A tensor added to the output, with a layout that the kernel documents (usually that of the output).
///
/// It may be the output's own memory when it is added before the activation: each element is then read before it is
/// written.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    data: *const f32,
    len: usize,
    ld: usize,
    life: PhantomData<&'a f32>,
}

impl<'a> Residual<'a> {
    /// A residual with rows `ld` apart (a convolution ignores `ld`).
    pub fn new(data: &'a [f32], ld: usize) -> Self {
        Self { data: data.as_ptr(), len: data.len(), ld, life: PhantomData }
    }

    /// A residual that may be the output itself.
    ///
    /// # Safety
    /// `data` must be valid for reads of `len` values while the kernel runs, and either be disjoint from the output or
    /// be the output, element for element (and then not be added after the activation).
    pub unsafe fn from_raw(data: *const f32, len: usize, ld: usize) -> Self {
        Self { data, len, ld, life: PhantomData }
    }

    pub(crate) fn parts(self) -> (*const f32, usize, usize) {
        (self.data, self.len, self.ld)
    }
}

// SAFETY: a residual is a shared reference to f32 in all but name, and is only read.
unsafe impl Send for Residual<'_> {}
// SAFETY: as above.
unsafe impl Sync for Residual<'_> {}

/// `y = act(x + bias + residual)`, or `act(x + bias) + residual`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added first.
    pub bias: Bias<'a>,
    /// Added before the activation, unless `residual_after_activation`.
    pub residual: Option<Residual<'a>>,
    /// Applied to the sum.
    pub activation: Activation,
    /// Adds the residual to the activation's result instead.
    pub residual_after_activation: bool,
}

impl<'a> Epilogue<'a> {
    /// Only a bias and an activation.
    pub fn new(bias: Bias<'a>, activation: Activation) -> Self {
        Self { bias, activation, ..Self::default() }
    }

    /// Splits into what the register tile does and what is done to the tile after its store. `c` is the output.
    pub(crate) fn stages(&self, c: *const f32) -> Stages {
        let residual = self.residual.map_or(std::ptr::null(), |r| r.data);
        let in_place = self.residual.is_some_and(|r| r.len > 0 && r.data == c);
        let early = if in_place { std::ptr::null() } else { residual };
        match (self.activation.clamp(), self.residual_after_activation && self.residual.is_some()) {
            (Some(clamp), false) => Stages { clamp, in_place, early, late: None },
            (None, false) => {
                Stages { clamp: NO_CLAMP, in_place, early, late: Some((self.activation, std::ptr::null())) }
            }
            (_, true) => {
                assert!(!in_place, "residual: the output is overwritten before it is added");
                let late = Some((self.activation, residual));
                Stages { clamp: NO_CLAMP, in_place, early: std::ptr::null(), late }
            }
        }
    }
}

const NO_CLAMP: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// An epilogue as the kernels run it. Pointers are null where there is nothing to add.
#[derive(Clone, Copy)]
pub(crate) struct Stages {
    /// Bounds applied in registers.
    pub(crate) clamp: (f32, f32),
    /// The residual is the output: the sum starts from it.
    pub(crate) in_place: bool,
    /// Any other residual added in registers, before the bounds.
    pub(crate) early: *const f32,
    /// Applied to the stored tile while it is in L1: an activation, and then a residual or null.
    pub(crate) late: Option<(Activation, *const f32)>,
}

impl Stages {
    /// Nothing is done to the sums.
    pub(crate) const NONE: Self = Self { clamp: NO_CLAMP, in_place: false, early: std::ptr::null(), late: None };
}

// SAFETY: the pointers are only read, under the promises of `Residual`.
unsafe impl Sync for Stages {}
// SAFETY: as above.
unsafe impl Send for Stages {}

/// Applies the late stage to one run of `len` stored values.
pub(crate) struct LateRun {
    pub(crate) activation: Activation,
    /// Null or the residual of the run.
    pub(crate) residual: *const f32,
    pub(crate) data: *mut f32,
    pub(crate) len: usize,
    /// Rows of the run, and the distance between rows in `data` and in `residual`.
    pub(crate) rows: usize,
    pub(crate) stride: (usize, usize),
}

impl Kernel for LateRun {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in 0..self.rows {
            // SAFETY: whoever builds a run passes rows that were just written and a residual of the same shape.
            unsafe {
                let data = self.data.add(row * self.stride.0);
                self.activation.apply_to(s, data, data, self.len);
                if !self.residual.is_null() {
                    let residual = self.residual.add(row * self.stride.1);
                    let mut i = 0;
                    while i < self.len {
                        let n = S::LANES.min(self.len - i);
                        let sum = s.add(s.load_n(data.add(i), n), s.load_n(residual.add(i), n));
                        s.store_n(data.add(i), n, sum);
                        i += n;
                    }
                }
            }
        }
    }
}
