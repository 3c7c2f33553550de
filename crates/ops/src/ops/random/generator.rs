//! The generator of all random operators and what they share.
//!
//! SplitMix64 (Steele, Lea, Flood 2014) from a seed made of the bits of the attribute `seed`, or a fixed one without
//! it: the same model gives the same numbers on every machine and run.

use crate::floats::narrow;
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpError, TypeSet};
use planc_tensor::{DType, Dim, Tensor};

/// A stream of numbers.
pub(crate) struct Generator(u64);

impl Generator {
    /// From the attribute `seed`.
    pub fn new(seed: Option<f32>) -> Generator {
        Generator(seed.map_or(0x5EED_0000_0000_0001, |s| u64::from(s.to_bits())))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}

/// The attribute that seeds the generator.
pub(crate) const SEED: AttrDef = AttrDef::optional("seed", AttrKind::Float);

/// The element type that attribute `dtype` says, else `default`.
///
/// # Errors
/// When it is not one of `types`.
pub(crate) fn element_type(code: Option<i64>, default: DType, types: TypeSet) -> Result<DType, OpError> {
    let Some(code) = code else { return Ok(default) };
    let found = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|t| types.has(*t));
    found.ok_or_else(|| OpError::attribute(format!("dtype is {code}")))
}

/// Inference for results of the shape that attribute `shape` says.
///
/// # Errors
/// When an extent is negative.
pub(crate) fn infer_shape(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = element_type(cx.opt_int("dtype"), DType::F32, TypeSet::FLOAT)?;
    let shape = cx.ints("shape").unwrap_or_default();
    if let Some(bad) = shape.iter().find(|d| **d < 0) {
        return Err(OpError::attribute(format!("shape has {bad}")));
    }
    cx.set_tensor(0, dtype, shape.iter().map(|d| Dim::from(*d)).collect());
    Ok(())
}

/// Inference for results of the shape of operand 0.
///
/// # Errors
/// When the element type cannot be.
pub(crate) fn infer_like(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let like = cx.tensor(0)?.clone();
    let default = if TypeSet::FLOAT.has(like.dtype) { like.dtype } else { DType::F32 };
    let dtype = element_type(cx.opt_int("dtype"), default, TypeSet::FLOAT)?;
    cx.set_shape(0, dtype, like.shape);
    Ok(())
}

/// A result of `shape` whose elements `draw` gives.
///
/// # Errors
/// When it is too large.
pub(crate) fn fill(
    cx: &EvalCx<'_>,
    shape: &[usize],
    mut draw: impl FnMut(&mut Generator) -> f64,
) -> Result<Vec<Tensor>, OpError> {
    let mut generator = Generator::new(cx.opt_float("seed"));
    let n = cx.reserve(DType::F64, shape)?;
    Ok(vec![narrow(cx.output_dtype(0)?, shape, (0..n).map(|_| draw(&mut generator)).collect())?])
}

/// The attribute `shape` as extents.
///
/// # Errors
/// When an extent is negative.
pub(crate) fn shape_of(cx: &EvalCx<'_>) -> Result<Vec<usize>, OpError> {
    let shape = cx.ints("shape").unwrap_or_default();
    let extents = shape.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>();
    extents.ok_or_else(|| OpError::attribute(format!("shape is {shape:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_right_and_streams_repeat() {
        let draw = |seed| {
            let mut g = Generator::new(seed);
            (0..20_000).map(|_| g.normal()).collect::<Vec<f64>>()
        };
        let v = draw(Some(1.0));
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        let variance = v.iter().map(|v| v * v).sum::<f64>() / v.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
        assert_eq!(v, draw(Some(1.0)));
        assert_ne!(v, draw(None));
    }
}
