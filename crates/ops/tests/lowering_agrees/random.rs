//! Random choices, shapes and tensors from a seed.

use planc_tensor::{Bytes, DType, Tensor, bf16, f16};

/// SplitMix64 with choices on top.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number in `low..=high`.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// A small shape of `low..=high` axes; an extent is 0 now and then.
    pub fn shape(&mut self, low: usize, high: usize) -> Vec<usize> {
        let rank = low + self.below(high - low + 1);
        let empty = self.below(12) == 0;
        let mut shape: Vec<usize> = (0..rank).map(|_| 1 + self.below(4)).collect();
        if empty && rank > 0 {
            let axis = self.below(rank);
            shape[axis] = 0;
        }
        shape
    }

    /// A shape without empty axes.
    pub fn full_shape(&mut self, low: usize, high: usize) -> Vec<usize> {
        self.shape(low, high).iter().map(|d| (*d).max(1)).collect()
    }

    /// A shape that broadcasts to `shape`: axes left out in front, or 1.
    pub fn narrower(&mut self, shape: &[usize]) -> Vec<usize> {
        let skip = if self.flag() { self.below(shape.len() + 1) } else { 0 };
        shape[skip..].iter().map(|d| if self.below(3) == 0 { 1 } else { *d }).collect()
    }

    /// An axis of `rank`, from either end.
    pub fn axis(&mut self, rank: usize) -> i64 {
        self.range(-(rank as i64), rank as i64 - 1)
    }

    /// The elements of a tensor: small numbers, and where `special` the odd ones.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize], special: bool) -> Tensor {
        let n: usize = shape.iter().product();
        if dtype.is_float() {
            let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, -1.0, 0.5, 2.5, 1e30, 1e-30];
            let values: Vec<f64> = (0..n)
                .map(|_| match special && self.below(6) == 0 {
                    true => self.pick(&odd),
                    false => (self.next() >> 40) as f64 / (1u64 << 22) as f64 - 2.0,
                })
                .collect();
            return match dtype {
                DType::F32 => Tensor::new(shape, values.iter().map(|v| *v as f32).collect()),
                DType::F64 => Tensor::new(shape, values),
                DType::F16 => Tensor::new(shape, values.iter().map(|v| f16::from_f64(*v)).collect()),
                DType::BF16 => Tensor::new(shape, values.iter().map(|v| bf16::from_f64(*v)).collect()),
                d => Tensor::from_bytes(d, shape, Bytes::new((0..n).map(|_| self.next() as u8).collect::<Vec<_>>())),
            }
            .unwrap();
        }
        if dtype == DType::String {
            return Tensor::from_strings(shape, (0..n).map(|_| self.pick(&["", "a", "é"]).to_string()).collect())
                .unwrap();
        }
        let size = dtype.size();
        let low = if dtype.is_unsigned() { 0 } else { -8 };
        let mut bytes = vec![];
        for _ in 0..n {
            let v = match (dtype, special && self.below(6) == 0) {
                (DType::Bool, _) => self.range(0, 1),
                (_, true) => self.next() as i64,
                _ => self.range(low, 8),
            };
            bytes.extend((0..size.unwrap_or(0)).map(|i| v.to_le_bytes()[i % 8]));
        }
        if size.is_none() {
            bytes = (0..dtype.bytes_for(n).unwrap()).map(|_| self.next() as u8).collect();
            // What lies past the last element is zero.
            let (bits, per) = (dtype.bits(), 8 / dtype.bits());
            if let Some(last) = bytes.last_mut().filter(|_| !n.is_multiple_of(per)) {
                *last &= (1 << (bits * (n % per))) - 1;
            }
        }
        Tensor::from_bytes(dtype, shape, Bytes::new(bytes)).unwrap()
    }
}

/// The elements of a float tensor; 8-bit floats as their bits, which are ordered like them.
pub fn floats(t: &Tensor) -> Vec<f64> {
    let v = t.view();
    match t.dtype() {
        DType::F32 => v.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
        DType::F64 => v.to_vec::<f64>().unwrap(),
        DType::F16 => v.to_vec::<f16>().unwrap().into_iter().map(f16::to_f64).collect(),
        DType::BF16 => v.to_vec::<bf16>().unwrap().into_iter().map(bf16::to_f64).collect(),
        _ => v.bytes().iter().map(|b| f64::from(*b)).collect(),
    }
}

/// A type in the text form.
pub fn ty(dtype: &str, shape: &[usize]) -> String {
    format!("{dtype}{}", list(shape))
}

/// A list in the text form.
pub fn list<T: std::fmt::Debug>(items: &[T]) -> String {
    format!("{items:?}").replace(' ', "")
}

/// An i64 constant in the text form.
pub fn ints(name: &str, values: &[i64]) -> String {
    format!("const %{name}: i64[{}] = {} ", values.len(), list(values))
}

/// A graph of inputs and constants (`head`) and one node with result `%y`.
pub fn graph(head: &str, node: &str) -> String {
    format!("graph @g (format 1) {{ {head} %y: f32[..] = {node} out %y }}")
}

/// A graph of a node over inputs of these types, named `%a`, `%b`, ...; attributes as they stand in braces.
pub fn node(op: &str, types: &[String], attrs: &str) -> String {
    let names = ["a", "b", "c", "d", "e"];
    let head: Vec<String> = types.iter().zip(names).map(|(t, n)| format!("in %{n}: {t}")).collect();
    let operands: Vec<String> = names[..types.len()].iter().map(|n| format!("%{n}")).collect();
    graph(&head.join(" "), &format!("{op}({}) {{{attrs}}}", operands.join(", ")))
}
