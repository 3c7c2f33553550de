//! Made-up inputs: the same seed, position and shape give the same values on every machine.

use super::inputs::{Bound, decl_text};
use crate::error::{CliError, Fault};
use planc_plan::program::ValueDecl;
use planc_tensor::{Bytes, DType, Dim, Tensor, bf16, f16};

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    fn real(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// A tensor for input number `position`. Free dims without a value are 1. Floats are uniform in [-1, 1), bytes take all
/// values, wider integers are 0 or 1, as they are mostly indices or masks.
///
/// # Errors
/// When the rank is unknown or the tensor is too large.
pub fn tensor(decl: &ValueDecl, seed: u64, position: u64, bound: &Bound) -> Result<Tensor, CliError> {
    let fail = |what: &str| {
        let message = format!("input {:?} ({}): {what}", decl.name, decl_text(decl));
        CliError::new(Fault::InputShape, message).at("input", decl.name.clone())
    };
    let extent = |d: &Dim| d.eval(&|s| Some(bound.get(s).copied().unwrap_or(1))).and_then(|v| usize::try_from(v).ok());
    let shape = decl.shape.as_ref().ok_or_else(|| fail("values cannot be made up for an unknown shape"))?;
    let shape: Vec<usize> =
        shape.iter().map(extent).collect::<Option<_>>().ok_or_else(|| fail("the shape is unknown"))?;
    let bytes = planc_tensor::element_count(&shape).and_then(|n| decl.dtype.bytes_for(n).or(n.checked_mul(24)));
    if bytes.is_none_or(|n| n > crate::machine::memory_limit()) {
        return Err(fail("it is too large for this machine"));
    }
    let count: usize = shape.iter().product();
    let mut r = Random(seed.wrapping_add(position.wrapping_mul(0x0123_4567_89ab_cdef)));
    macro_rules! each {
        ($make:expr) => {{
            let mut make = $make;
            Tensor::new(shape, (0..count).map(|_| make()).collect::<Vec<_>>())
        }};
    }
    let made = match decl.dtype {
        DType::F32 => each!(|| r.real()),
        DType::F64 => each!(|| f64::from(r.real())),
        DType::F16 => each!(|| f16::from_f32(r.real())),
        DType::BF16 => each!(|| bf16::from_f32(r.real())),
        DType::Bool => each!(|| r.bits() >> 63 == 1),
        DType::U8 => each!(|| (r.bits() >> 56) as u8),
        DType::I8 => each!(|| (r.bits() >> 56) as u8 as i8),
        DType::I16 => each!(|| (r.bits() >> 63) as i16),
        DType::U16 => each!(|| (r.bits() >> 63) as u16),
        DType::I32 => each!(|| (r.bits() >> 63) as i32),
        DType::U32 => each!(|| (r.bits() >> 63) as u32),
        DType::I64 => each!(|| (r.bits() >> 63) as i64),
        DType::U64 => each!(|| r.bits() >> 63),
        DType::String => Tensor::zeros(DType::String, shape),
        DType::C64 | DType::C128 => Tensor::zeros(decl.dtype, shape),
        // Of the 8-bit floats only small positive ones: other bytes may be NaN.
        other => {
            let len = other.bytes_for(count).unwrap_or(0);
            Tensor::from_bytes(other, shape, Bytes::new((0..len).map(|_| (r.bits() >> 60) as u8).collect::<Vec<u8>>()))
        }
    };
    made.map_err(|e| fail(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use planc_plan::program::Storage;
    use planc_tensor::Layout;

    #[test]
    fn values_follow_from_the_seed() {
        for dtype in DType::ALL {
            let shape = Some(vec![Dim::sym("N"), Dim::from(5i64)]);
            let d =
                ValueDecl { name: "x".into(), dtype: *dtype, shape, layout: Layout::RowMajor, storage: Storage::Input };
            let bound = Bound::from([("N".to_string(), 3)]);
            let t = tensor(&d, 1, 0, &bound).unwrap();
            assert_eq!(t.shape(), [3, 5]);
            assert_eq!(t, tensor(&d, 1, 0, &bound).unwrap());
            assert_eq!(tensor(&d, 1, 0, &Bound::new()).unwrap().shape(), [1, 5]);
        }
    }
}
