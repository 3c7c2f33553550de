//! Values that need not be tensors, and how they travel where only tensors do.
//!
//! ONNX has lists of values and values that may be absent. Outside of a run they are a [`Value`]. Inside, where operands and
//! results are tensors, such a value is *packed*: a vector of bytes that spells it out. Packing copies, which is the price
//! for buffers, control flow and plans that know tensors only; models hold few and short lists.
//!
//! Guarantees: [`unpack`] of what [`pack`] gives is equal to the original; any other bytes give an error, without panicking
//! and without taking memory that the bytes do not account for.

use crate::{AlignedBuf, Bytes, DType, Tensor, View, element_count};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// A list.
    Sequence(Vec<Value>),
    /// A value or nothing.
    Optional(Option<Box<Value>>),
}

/// Why bytes are not a packed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a packed sequence or optional")]
pub struct NotPacked;

/// Deepest nesting of sequences and optionals.
const MAX_NESTING: usize = 16;

const TENSOR: u8 = 0;
const SEQUENCE: u8 = 1;
const NOTHING: u8 = 2;
const SOMETHING: u8 = 3;

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
            out.extend_from_slice(&[TENSOR, t.dtype().onnx() as u8]);
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
        let list = vec![Value::Tensor(Tensor::scalar(1f32)), Value::Tensor(text), Value::Optional(None)];
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
}
