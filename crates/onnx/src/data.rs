//! Values in files of their own: `TensorProto`, `SequenceProto`, `OptionalProto` and `MapProto`, read and written.
//!
//! This is the format of ONNX's test data (`input_0.pb`). A file does not say which of the four messages it holds, so the
//! reader is told. Guarantees: what is written reads back equal; bytes are checked as those of models are.
//! Deliberately absent: sparse tensors, maps of other values than [`Map`] has, and external data.
//!
//! Schemas: onnx.proto and onnx-data.proto of ONNX 1.23.

use crate::error::{Code, ImportError};
use crate::files::Files;
use crate::{proto, tensor, wire};
use planc_tensor::{Bytes, DType, Element, Map, Tensor, View, ViewData};

pub use planc_tensor::Value;

/// Which message a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `TensorProto`.
    Tensor,
    /// `SequenceProto`.
    Sequence,
    /// `OptionalProto`.
    Optional,
    /// `MapProto`.
    Map,
}

/// Numbers of the fields that `SequenceProto` and `OptionalProto` share.
const NAME: u32 = 1;
const ELEMENT: u32 = 2;
const TENSOR: u32 = 3;
const SEQUENCE: u32 = 5;
const MAP: u32 = 6;
const OPTIONAL: u32 = 7;

/// Numbers of the fields of `MapProto`; its name is that of the others.
const KEY_TYPE: u32 = 2;
const KEYS: u32 = 3;
const STRING_KEYS: u32 = 4;
const VALUES: u32 = 5;
/// The type of keys that are texts.
const STRING: u64 = DType::String.onnx() as u64;

/// Deepest nesting of sequences and optionals.
const MAX_NESTING: usize = 16;

/// Reads a value.
///
/// # Errors
/// Those of [`wire::scan`] and [`tensor::dense`]; [`Code::UnsupportedFeature`] for sparse tensors and other
/// maps than there are.
pub fn read(bytes: &Bytes, kind: Kind) -> Result<Value, ImportError> {
    nested(bytes, kind, 0)
}

/// Reads a tensor.
///
/// # Errors
/// As [`read`].
pub fn read_tensor(bytes: &Bytes) -> Result<Tensor, ImportError> {
    let record = proto::tensor(bytes.as_slice())?;
    tensor::dense(record, &mut Files::from_bytes(bytes.clone(), None)?)
}

fn nested(bytes: &Bytes, kind: Kind, depth: usize) -> Result<Value, ImportError> {
    if kind == Kind::Tensor {
        return read_tensor(bytes).map(Value::Tensor);
    }
    if depth > MAX_NESTING {
        return Err(ImportError::new(Code::WireLimit, format!("values nest more than {MAX_NESTING} deep")));
    }
    if kind == Kind::Map {
        return map(bytes).map(Value::Map);
    }
    let mut values = Vec::new();
    for field in wire::fields(bytes.as_slice())? {
        let kind = match field.number {
            NAME | ELEMENT => continue,
            TENSOR => Kind::Tensor,
            SEQUENCE => Kind::Sequence,
            MAP => Kind::Map,
            OPTIONAL => Kind::Optional,
            _ => {
                return Err(ImportError::new(Code::UnsupportedFeature, "sparse tensors are not supported")
                    .at_byte(field.span.start));
            }
        };
        values.push(nested(&part(bytes, &field)?, kind, depth + 1)?);
    }
    match kind {
        Kind::Sequence => Ok(Value::Sequence(values)),
        _ if values.len() > 1 => Err(ImportError::new(Code::Wire, "an optional holds more than one value")),
        _ => Ok(Value::Optional(values.pop().map(Box::new))),
    }
}

/// The bytes of a field.
fn part(bytes: &Bytes, field: &wire::Field) -> Result<Bytes, ImportError> {
    let part = bytes.slice(field.span.start, field.span.len()).filter(|_| field.is_bytes);
    part.ok_or_else(|| ImportError::new(Code::Wire, "a value has the wrong wire type").at_byte(field.span.start))
}

fn map(bytes: &Bytes) -> Result<Map, ImportError> {
    let (mut by_text, mut numbers, mut texts, mut values) = (false, vec![], vec![], vec![]);
    for field in wire::fields(bytes.as_slice())? {
        let payload = || bytes.as_slice().get(field.span.clone()).unwrap_or_default();
        match field.number {
            KEY_TYPE => by_text = wire::varints(payload()) == [STRING],
            // One number, or several packed: both are varints one after the other.
            KEYS => numbers.extend(wire::varints(payload()).into_iter().map(|v| v as i64)),
            STRING_KEYS => texts.push(
                String::from_utf8(payload().to_vec())
                    .map_err(|_| ImportError::new(Code::Utf8, "a key is not valid UTF-8").at_byte(field.span.start))?,
            ),
            VALUES => match nested(&part(bytes, &field)?, Kind::Sequence, MAX_NESTING)? {
                Value::Sequence(list) => values.extend(list),
                _ => continue,
            },
            _ => continue,
        }
    }
    let wrong = |what: String| ImportError::new(Code::UnsupportedFeature, what);
    let keys = match by_text {
        true => Tensor::from_strings([texts.len()], texts).map_err(|e| wrong(e.to_string()))?,
        false => Tensor::vector(numbers),
    };
    let values: Vec<Tensor> =
        values.into_iter().filter_map(|v| if let Value::Tensor(t) = v { Some(t) } else { None }).collect();
    let values =
        joined(&values).ok_or_else(|| wrong("the values of a map are not single elements of one type".into()))?;
    Map::new(&keys, &values).map_err(|e| wrong(format!("a map is not supported: {e}")))
}

/// Tensors of one element each, all of one type that maps have, as a vector. No tensors are a vector of f32.
fn joined(tensors: &[Tensor]) -> Option<Tensor> {
    fn numbers<T: Element>(tensors: &[Tensor]) -> Option<Tensor> {
        let first = |t: &Tensor| t.view().to_vec::<T>()?.first().copied();
        tensors.iter().map(first).collect::<Option<Vec<T>>>().map(Tensor::vector)
    }
    if tensors.iter().any(|t| t.len() != 1) {
        return None;
    }
    match tensors.first().map_or(DType::F32, Tensor::dtype) {
        DType::F32 => numbers::<f32>(tensors),
        DType::F64 => numbers::<f64>(tensors),
        DType::I64 => numbers::<i64>(tensors),
        DType::String => {
            let text = |t: &Tensor| t.view().as_strings().first().cloned();
            let texts = tensors.iter().map(text).collect::<Option<Vec<_>>>()?;
            Tensor::from_strings([texts.len()], texts).ok()
        }
        _ => None,
    }
}

/// Writes a value under a name.
pub fn write(name: &str, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Tensor(t) => return write_tensor(name, t.view()),
        Value::Sequence(values) => {
            wire::put_bytes(&mut out, NAME, name.as_bytes());
            // An empty sequence could be of anything; tensors are what readers expect.
            wire::put_number(&mut out, ELEMENT, values.first().map_or(1, element));
            values.iter().for_each(|v| wire::put_bytes(&mut out, field(v), &write("", v)));
        }
        Value::Optional(value) => {
            wire::put_bytes(&mut out, NAME, name.as_bytes());
            wire::put_number(&mut out, ELEMENT, value.as_deref().map_or(0, element));
            value.iter().for_each(|v| wire::put_bytes(&mut out, field(v), &write("", v)));
        }
        Value::Map(map) => {
            wire::put_bytes(&mut out, NAME, name.as_bytes());
            wire::put_number(&mut out, KEY_TYPE, u64::from(map.keys().dtype().onnx().unsigned_abs()));
            if let Some(keys) = map.keys().as_slice::<i64>() {
                let mut packed = Vec::new();
                keys.iter().for_each(|k| wire::put_varint(&mut packed, *k as u64));
                wire::put_bytes(&mut out, KEYS, &packed);
            }
            map.keys().view().as_strings().iter().for_each(|k| wire::put_bytes(&mut out, STRING_KEYS, k.as_bytes()));
            wire::put_bytes(&mut out, VALUES, &write("", &Value::Sequence(elements(map.values()))));
        }
    }
    out
}

/// The elements of a vector of a type that maps have, each as a scalar.
fn elements(t: &Tensor) -> Vec<Value> {
    fn numbers<T: Element>(view: View<'_>) -> Option<Vec<Tensor>> {
        Some(view.to_vec::<T>()?.into_iter().map(Tensor::scalar).collect())
    }
    let view = t.view();
    let list = numbers::<f32>(view).or_else(|| numbers::<f64>(view)).or_else(|| numbers::<i64>(view));
    let texts = || view.as_strings().iter().filter_map(|s| Tensor::from_strings([], vec![s.clone()]).ok()).collect();
    list.unwrap_or_else(texts).into_iter().map(Value::Tensor).collect()
}

/// `DataType` of onnx-data.proto: what a sequence or an optional holds.
fn element(value: &Value) -> u64 {
    match value {
        Value::Tensor(_) => 1,
        Value::Sequence(_) => 3,
        Value::Map(_) => 4,
        Value::Optional(_) => 5,
    }
}

fn field(value: &Value) -> u32 {
    match value {
        Value::Tensor(_) => TENSOR,
        Value::Sequence(_) => SEQUENCE,
        Value::Map(_) => MAP,
        Value::Optional(_) => OPTIONAL,
    }
}

/// Writes a tensor under a name, as raw data (strings as typed data).
pub fn write_tensor(name: &str, view: View<'_>) -> Vec<u8> {
    let (mut out, mut dims) = (Vec::new(), Vec::new());
    view.shape().iter().for_each(|d| wire::put_varint(&mut dims, *d as u64));
    if !dims.is_empty() {
        wire::put_bytes(&mut out, 1, &dims);
    }
    wire::put_number(&mut out, 2, u64::from(view.dtype().onnx().unsigned_abs()));
    wire::put_bytes(&mut out, 8, name.as_bytes());
    match view.data() {
        ViewData::Bytes(bytes) => wire::put_bytes(&mut out, 9, bytes),
        ViewData::Strings(strings) => strings.iter().for_each(|s| wire::put_bytes(&mut out, 6, s.as_bytes())),
    }
    out
}
