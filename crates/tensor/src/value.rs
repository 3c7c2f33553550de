//! Values that need not be tensors, and how they travel where only tensors do.
//!
//! ONNX has lists of values, values that may be absent, and maps. Outside of a run they are a [`Value`]. Inside, where operands and
//! results are tensors, such a value is *packed*: a vector of bytes that spells it out. Packing copies, which is the price
//! for buffers, control flow and plans that know tensors only; models hold few and short lists.
//!
//! Guarantees: [`unpack`] of what [`pack`] gives is equal to the original; any other bytes give an error, without panicking
//! and without taking memory that the bytes do not account for.

use crate::{AlignedBuf, Bytes, DType, Tensor, TensorError, View, element_count};
use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// A list.
    Sequence(Vec<Value>),
    /// A value or nothing.
    Optional(Option<Box<Value>>),
    /// A map.
    Map(Map),
}

/// A map from integers or texts to numbers or texts. Equal maps have equal keys and values: the keys ascend.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    keys: Tensor,
    values: Tensor,
}

/// Why two tensors are no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMap {
    /// Element types that maps do not have.
    #[error("there are no maps from {0} to {1}")]
    Types(DType, DType),
    /// The keys and values are not two vectors of one length.
    #[error("there are {0} keys and {1} values")]
    Count(usize, usize),
    /// A key is there twice.
    #[error("the key {0} is there twice")]
    Twice(String),
    /// The elements do not make a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Map {
    /// Types of keys.
    pub const KEYS: &[DType] = &[DType::I64, DType::String];
    /// Types of values.
    pub const VALUES: &[DType] = &[DType::F32, DType::F64, DType::I64, DType::String];

    /// Whether there are maps from `key` to `value`.
    pub fn has_types(key: DType, value: DType) -> bool {
        Map::KEYS.contains(&key) && Map::VALUES.contains(&value)
    }

    /// The map of `keys` to `values`, each of any shape and in any order; element `i` of one belongs to element `i` of
    /// the other.
    ///
    /// # Errors
    /// When there are no maps of these types, the lengths differ, or a key is there twice.
    pub fn new(keys: &Tensor, values: &Tensor) -> Result<Map, NotMap> {
        let n = keys.len();
        if !Map::has_types(keys.dtype(), values.dtype()) {
            return Err(NotMap::Types(keys.dtype(), values.dtype()));
        }
        if n != values.len() {
            return Err(NotMap::Count(n, values.len()));
        }
        let order = match keys.as_slice::<i64>() {
            Some(keys) => ascending(keys)?,
            None => ascending(keys.view().as_strings())?,
        };
        Ok(Map { keys: gather(keys, &order)?, values: gather(values, &order)? })
    }

    /// The keys, a vector that ascends.
    pub fn keys(&self) -> &Tensor {
        &self.keys
    }

    /// The values, a vector, in the order of their keys.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The positions of the keys in ascending order.
fn ascending<K: Ord + std::fmt::Debug>(keys: &[K]) -> Result<Vec<usize>, NotMap> {
    let mut at = BTreeMap::new();
    for (i, key) in keys.iter().enumerate() {
        if at.insert(key, i).is_some() {
            return Err(NotMap::Twice(format!("{key:?}")));
        }
    }
    Ok(at.into_values().collect())
}

/// The elements at `order` as a vector: of the types that maps have.
fn gather(t: &Tensor, order: &[usize]) -> Result<Tensor, TensorError> {
    let view = t.view();
    match t.dtype().size() {
        None => Tensor::from_strings([order.len()], order.iter().map(|i| view.as_strings()[*i].clone()).collect()),
        Some(size) => {
            let mut copy = AlignedBuf::zeroed(order.len() * size);
            for (to, i) in copy.as_mut_slice().chunks_exact_mut(size).zip(order) {
                to.copy_from_slice(&view.bytes()[i * size..][..size]);
            }
            Tensor::from_bytes(t.dtype(), [order.len()], Bytes::new(copy))
        }
    }
}

/// Why bytes are not a packed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a packed sequence, optional or map")]
pub struct NotPacked;

/// Deepest nesting of sequences and optionals.
const MAX_NESTING: usize = 16;

const TENSOR: u8 = 0;
const SEQUENCE: u8 = 1;
const NOTHING: u8 = 2;
const SOMETHING: u8 = 3;
const MAP: u8 = 4;

/// The value as a vector of bytes.
pub fn pack(value: &Value) -> Tensor {
    let mut out = Vec::new();
    put(&mut out, value);
    Tensor::vector(out)
}

fn put_number(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u64).to_le_bytes());
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Tensor(t) => {
            out.push(TENSOR);
            put_tensor(out, t);
        }
        Value::Map(map) => {
            out.push(MAP);
            put_tensor(out, &map.keys);
            put_tensor(out, &map.values);
        }
        Value::Sequence(values) => {
            out.push(SEQUENCE);
            put_number(out, values.len());
            values.iter().for_each(|v| put(out, v));
        }
        Value::Optional(None) => out.push(NOTHING),
        Value::Optional(Some(v)) => {
            out.push(SOMETHING);
            put(out, v);
        }
    }
}

fn put_tensor(out: &mut Vec<u8>, t: &Tensor) {
    out.push(t.dtype().onnx() as u8);
    put_number(out, t.rank());
    t.shape().iter().for_each(|d| put_number(out, *d));
    match t.shared_bytes() {
        Some(bytes) => out.extend_from_slice(bytes.as_slice()),
        None => {
            for s in t.view().as_strings() {
                put_number(out, s.len());
                out.extend_from_slice(s.as_bytes());
            }
        }
    }
}

/// The value that `view` is packed from.
///
/// # Errors
/// When it is none.
pub fn unpack(view: View<'_>) -> Result<Value, NotPacked> {
    let bytes = view.as_slice::<u8>().ok_or(NotPacked)?;
    let mut reader = Reader(bytes);
    let value = reader.value(0).ok_or(NotPacked)?;
    if reader.0.is_empty() { Ok(value) } else { Err(NotPacked) }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes: [u8; 8] = self.take(8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_NESTING {
            return None;
        }
        match self.take(1)?[0] {
            TENSOR => self.tensor().map(Value::Tensor),
            MAP => {
                let (keys, values) = (self.tensor()?, self.tensor()?);
                Map::new(&keys, &values).ok().map(Value::Map)
            }
            SEQUENCE => {
                // No capacity from the file: each value takes at least one byte.
                let n = self.number()?;
                let mut values = Vec::new();
                for _ in 0..n {
                    values.push(self.value(depth + 1)?);
                }
                Some(Value::Sequence(values))
            }
            NOTHING => Some(Value::Optional(None)),
            SOMETHING => Some(Value::Optional(Some(Box::new(self.value(depth + 1)?)))),
            _ => None,
        }
    }

    fn tensor(&mut self) -> Option<Tensor> {
        let dtype = DType::from_onnx(i32::from(self.take(1)?[0]))?;
        let rank = self.number().filter(|r| *r <= self.0.len() / 8)?;
        let shape = (0..rank).map(|_| self.number()).collect::<Option<Vec<usize>>>()?;
        let count = element_count(&shape)?;
        if dtype == DType::String {
            let mut strings = Vec::new();
            for _ in 0..count {
                let len = self.number()?;
                strings.push(String::from_utf8(self.take(len)?.to_vec()).ok()?);
            }
            return Tensor::from_strings(shape, strings).ok();
        }
        let bytes = self.take(dtype.bytes_for(count)?)?;
        let mut copy = AlignedBuf::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        Tensor::from_bytes(dtype, shape, Bytes::new(copy)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested() -> Value {
        let text = Tensor::from_strings(vec![2], vec!["a".into(), String::new()]).unwrap();
        let map = Value::Map(Map::new(&text, &Tensor::vector(vec![3i64, 4])).unwrap());
        let list = vec![Value::Tensor(Tensor::scalar(1f32)), Value::Tensor(text), Value::Optional(None), map];
        Value::Optional(Some(Box::new(Value::Sequence(list))))
    }

    #[test]
    fn what_is_packed_unpacks() {
        for value in [nested(), Value::Sequence(vec![]), Value::Tensor(Tensor::zeros(DType::I4, [3, 0]).unwrap())] {
            assert_eq!(unpack(pack(&value).view()), Ok(value));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let packed = pack(&nested());
        let bytes = packed.as_slice::<u8>().unwrap();
        for end in 0..bytes.len() {
            assert_eq!(unpack(Tensor::vector(bytes[..end].to_vec()).view()), Err(NotPacked));
        }
        assert_eq!(unpack(Tensor::vector([bytes, &[0]].concat()).view()), Err(NotPacked));
        assert_eq!(unpack(Tensor::vector(vec![SOMETHING; 1 << 16]).view()), Err(NotPacked));
        let huge = [&[SEQUENCE][..], &[0xFF; 8]].concat();
        assert_eq!(unpack(Tensor::vector(huge).view()), Err(NotPacked));
        assert_eq!(unpack(Tensor::scalar(1f32).view()), Err(NotPacked));
    }

    #[test]
    fn maps_have_one_order() {
        let text =
            |v: &[&str]| Tensor::from_strings(vec![v.len()], v.iter().map(ToString::to_string).collect()).unwrap();
        let (keys, values) = (text(&["b", "", "a"]), Tensor::new([1, 3], vec![1f64, 2.0, 3.0]).unwrap());
        let map = Map::new(&keys, &values).unwrap();
        assert_eq!((map.keys(), map.values()), (&text(&["", "a", "b"]), &Tensor::vector(vec![2f64, 3.0, 1.0])));
        assert_eq!(Map::new(&text(&["a", "b", ""]), &Tensor::vector(vec![3f64, 1.0, 2.0])), Ok(map));
        let numbers = |v: &[i64]| Tensor::vector(v.to_vec());
        let by_number = Map::new(&numbers(&[7, -1]), &text(&["x", "y"])).unwrap();
        assert_eq!((by_number.keys(), by_number.values()), (&numbers(&[-1, 7]), &text(&["y", "x"])));
        assert_eq!(Map::new(&numbers(&[1, 1]), &numbers(&[1, 2])), Err(NotMap::Twice("1".into())));
        assert_eq!(Map::new(&numbers(&[1]), &numbers(&[])), Err(NotMap::Count(1, 0)));
        let none = Map::new(&Tensor::vector(vec![1f32]), &numbers(&[1]));
        assert_eq!(none, Err(NotMap::Types(DType::F32, DType::I64)));
    }
}
