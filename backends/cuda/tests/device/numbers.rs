//! Tensors of made-up numbers, and tensors as numbers.

use planc_tensor::{DType, Tensor, bf16, f16};

/// Pseudorandom numbers (Marsaglia, "Xorshift RNGs", 2003).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between -2 and 2, in steps that all float types hold.
    pub fn number(&mut self) -> f64 {
        ((self.bits() >> 40) % 257) as f64 / 64.0 - 2.0
    }

    /// Between -1 and 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / f64::from(1u32 << 23) - 1.0
    }
}

/// A tensor of numbers.
pub fn tensor(t: DType, shape: &[usize], values: impl Iterator<Item = f64>) -> Tensor {
    let n: usize = shape.iter().product();
    let v: Vec<f64> = values.take(n).collect();
    macro_rules! of {
        ($f:expr) => {
            Tensor::new(shape, v.iter().map($f).collect::<Vec<_>>())
        };
    }
    let made = match t {
        DType::F32 => of!(|v| *v as f32),
        DType::F64 => of!(|v| *v),
        DType::F16 => of!(|v| f16::from_f64(*v)),
        DType::BF16 => of!(|v| bf16::from_f64(*v)),
        DType::I8 => of!(|v| *v as i64 as i8),
        DType::U8 => of!(|v| *v as i64 as u8),
        DType::I16 => of!(|v| *v as i64 as i16),
        DType::U16 => of!(|v| *v as i64 as u16),
        DType::I32 => of!(|v| *v as i64 as i32),
        DType::U32 => of!(|v| *v as i64 as u32),
        DType::I64 => of!(|v| *v as i64),
        DType::U64 => of!(|v| *v as i64 as u64),
        DType::Bool => of!(|v| *v > 0.0),
        t => panic!("no numbers of {t}"),
    };
    made.expect("the elements fit")
}

/// A tensor of pseudorandom numbers; integers are spread over more values.
pub fn random(t: DType, shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let scale = if t.is_int() { 30.0 } else { 1.0 };
    tensor(t, shape, std::iter::repeat_with(move || rng.number() * scale))
}

/// The elements as numbers.
pub fn numbers(t: &Tensor) -> Vec<f64> {
    macro_rules! of {
        ($t:ty, $f:expr) => {
            t.view().to_vec::<$t>().map(|v| v.into_iter().map($f).collect())
        };
    }
    let all: Option<Vec<f64>> = match t.dtype() {
        DType::F32 => of!(f32, f64::from),
        DType::F64 => of!(f64, |v| v),
        DType::F16 => of!(f16, f64::from),
        DType::BF16 => of!(bf16, f64::from),
        DType::I8 => of!(i8, f64::from),
        DType::U8 => of!(u8, f64::from),
        DType::I16 => of!(i16, f64::from),
        DType::U16 => of!(u16, f64::from),
        DType::I32 => of!(i32, f64::from),
        DType::U32 => of!(u32, f64::from),
        DType::I64 => of!(i64, |v| v as f64),
        DType::U64 => of!(u64, |v| v as f64),
        DType::Bool => of!(bool, |v| f64::from(u8::from(v))),
        t => panic!("no numbers of {t}"),
    };
    all.expect("the type is as said")
}
