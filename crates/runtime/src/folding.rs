//! What a generated reduction leaves to its caller: how accumulators start, how they become results, and, where there is
//! no code, how elements go into them.
//!
//! The formulas of each operation stand with `planc_kir::ReduceOp`; integers wrap, but for means, whose sums are exact.

use planc_kir::interp::round_float;
use planc_kir::{Reduce, ReduceOp};
use planc_plan::code::Accumulator;
use planc_tensor::{DType, Tensor, bf16, f16};

/// A number of an accumulator or an element.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Int(i128),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Number::Float(v) => v,
            Number::Int(v) => v as f64,
        }
    }

    fn int(self) -> i128 {
        match self {
            Number::Float(v) => v as i128,
            Number::Int(v) => v,
        }
    }
}

/// A reduction's accumulators.
pub(crate) struct Folding {
    op: ReduceOp,
    dtype: DType,
    kept: Accumulator,
}

impl Folding {
    pub(crate) fn new(r: &Reduce) -> Result<Folding, String> {
        let (op, dtype) = (r.op, r.map.result_type());
        let kept = Accumulator::of(op, dtype).ok_or_else(|| format!("no generated {} of {dtype}", op.name()))?;
        Ok(Folding { op, dtype, kept })
    }

    /// The bytes of an accumulator that has seen nothing.
    pub(crate) fn start(&self) -> Vec<u8> {
        let (low, high) = int_range(self.dtype);
        let extreme = |int: i128, float: f64| {
            if self.dtype.is_float() { Number::Float(float) } else { Number::Int(int) }
        };
        let v = match self.op {
            ReduceOp::Max => extreme(low, f64::NEG_INFINITY),
            ReduceOp::Min => extreme(high, f64::INFINITY),
            ReduceOp::Prod => extreme(1, 1.0),
            _ => extreme(0, 0.0),
        };
        let mut bytes = vec![0; self.kept.size()];
        self.put(&mut bytes, v);
        bytes
    }

    fn put(&self, to: &mut [u8], v: Number) {
        match self.kept {
            Accumulator::F64 => to.copy_from_slice(&v.float().to_le_bytes()),
            Accumulator::F32 => to.copy_from_slice(&(v.float() as f32).to_le_bytes()),
            // The low bytes are what wrapping leaves.
            _ => to.copy_from_slice(&v.int().to_le_bytes()[..to.len()]),
        }
    }

    /// The number that an accumulator holds.
    fn get(&self, from: &[u8]) -> Number {
        let mut bytes = [0; 16];
        bytes[..from.len()].copy_from_slice(from);
        let raw = u128::from_le_bytes(bytes);
        match self.kept {
            Accumulator::F64 => Number::Float(f64::from_bits(raw as u64)),
            Accumulator::F32 => Number::Float(f32::from_bits(raw as u32).into()),
            Accumulator::I32 if self.dtype.is_unsigned() => Number::Int((raw as u32).into()),
            Accumulator::I64 if self.dtype.is_unsigned() => Number::Int((raw as u64).into()),
            Accumulator::I32 => Number::Int((raw as i32).into()),
            Accumulator::I64 => Number::Int((raw as i64).into()),
            Accumulator::I128 => Number::Int(raw as i128),
        }
    }

    /// The results of accumulators that have seen `count` elements each.
    pub(crate) fn finish(&self, from: &[u8], to: &mut [u8], count: usize) {
        let width = self.dtype.bits() / 8;
        for (from, to) in from.chunks_exact(self.kept.size()).zip(to.chunks_exact_mut(width)) {
            let v = match (self.op, self.get(from)) {
                (ReduceOp::Mean, Number::Int(v)) => Number::Int(v.checked_div(count as i128).unwrap_or(0)),
                (ReduceOp::Mean, v) => Number::Float(v.float() / count as f64),
                (ReduceOp::L2, v) => Number::Float(v.float().sqrt()),
                (ReduceOp::LogSum, v) => Number::Float(v.float().ln()),
                (_, v) => v,
            };
            self.store(v, to);
        }
    }

    /// Stores a number as an element: floats to nearest, integers by their low bytes, floats as integers saturated.
    fn store(&self, v: Number, to: &mut [u8]) {
        let narrow = |v: Number| round_float(self.dtype, v.float()).unwrap_or(f64::NAN);
        match self.dtype {
            DType::F64 => to.copy_from_slice(&v.float().to_le_bytes()),
            DType::F32 => to.copy_from_slice(&(v.float() as f32).to_le_bytes()),
            DType::F16 => to.copy_from_slice(&f16::from_f32(narrow(v) as f32).to_le_bytes()),
            DType::BF16 => to.copy_from_slice(&bf16::from_f32(narrow(v) as f32).to_le_bytes()),
            dtype => {
                let (low, high) = int_range(dtype);
                let v = if let Number::Float(v) = v { (v as i128).clamp(low, high) } else { v.int() };
                to.copy_from_slice(&v.to_le_bytes()[..to.len()]);
            }
        }
    }

    /// Combines elements with accumulators, the `k`-th with `acc(k)`, as generated code does.
    ///
    /// # Errors
    /// When the elements have another type.
    pub(crate) fn combine<'a>(&self, elements: &Tensor, acc: &dyn Fn(usize) -> &'a mut [u8]) -> Result<(), String> {
        let elements = numbers(elements).ok_or_else(|| format!("no elements of {}", self.dtype))?;
        for (k, v) in elements.into_iter().enumerate() {
            let acc = acc(k);
            let sum = match (self.get(acc), v) {
                (Number::Int(a), Number::Int(v)) => Number::Int(match self.op {
                    ReduceOp::Prod => a.wrapping_mul(v),
                    ReduceOp::Max => a.max(v),
                    ReduceOp::Min => a.min(v),
                    ReduceOp::SumSquare => a.wrapping_add(v.wrapping_mul(v)),
                    ReduceOp::L1 => a.wrapping_add(v.wrapping_abs()),
                    _ => a.wrapping_add(v),
                }),
                (a, v) => {
                    let (a, v) = (a.float(), v.float());
                    Number::Float(match self.op {
                        ReduceOp::Prod => a * v,
                        ReduceOp::Max | ReduceOp::Min if a.is_nan() || v.is_nan() => f64::NAN,
                        ReduceOp::Max => a.max(v),
                        ReduceOp::Min => a.min(v),
                        ReduceOp::SumSquare | ReduceOp::L2 => a + v * v,
                        ReduceOp::L1 => a + v.abs(),
                        _ => a + v,
                    })
                }
            };
            self.put(acc, sum);
        }
        Ok(())
    }
}

/// The elements of a tensor.
fn numbers(t: &Tensor) -> Option<Vec<Number>> {
    let v = t.view();
    let float = |v: f64| Number::Float(v);
    Some(match t.dtype() {
        DType::F64 => v.to_vec::<f64>()?.into_iter().map(float).collect(),
        DType::F32 => v.to_vec::<f32>()?.into_iter().map(|v| float(v.into())).collect(),
        DType::F16 => v.to_vec::<f16>()?.into_iter().map(|v| float(v.to_f64())).collect(),
        DType::BF16 => v.to_vec::<bf16>()?.into_iter().map(|v| float(v.to_f64())).collect(),
        DType::U64 => v.to_vec::<u64>()?.into_iter().map(|v| Number::Int(v.into())).collect(),
        _ => v.to_i64()?.into_iter().map(|v| Number::Int(v.into())).collect(),
    })
}

/// The least and the greatest element of an integer type.
fn int_range(dtype: DType) -> (i128, i128) {
    let bits = dtype.bits();
    if dtype.is_unsigned() { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
}
