//! Values in files of their own: `TensorProto`, `SequenceProto` and `OptionalProto`, read and written.
//!
//! This is the format of ONNX's test data (`input_0.pb`). A file does not say which of the three messages it holds, so the
//! reader is told. Guarantees: what is written reads back equal; bytes are checked as those of models are.
//! Deliberately absent: maps, sparse tensors, and external data.
//!
//! Schemas: onnx.proto and onnx-data.proto of ONNX 1.23.

use crate::error::{Code, ImportError};
use crate::files::Files;
use crate::{proto, tensor, wire};
use planc_tensor::{Bytes, Tensor, View, ViewData};

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
}

/// Numbers of the fields that `SequenceProto` and `OptionalProto` share.
const NAME: u32 = 1;
const ELEMENT: u32 = 2;
const TENSOR: u32 = 3;
const SEQUENCE: u32 = 5;
const OPTIONAL: u32 = 7;

/// Deepest nesting of sequences and optionals.
const MAX_NESTING: usize = 16;

/// Reads a value.
///
/// # Errors
/// Those of [`wire::scan`] and [`tensor::dense`]; [`Code::UnsupportedFeature`] for maps and sparse tensors.
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
    let mut values = Vec::new();
    for field in wire::fields(bytes.as_slice())? {
        let kind = match field.number {
            NAME | ELEMENT => continue,
            TENSOR => Kind::Tensor,
            SEQUENCE => Kind::Sequence,
            OPTIONAL => Kind::Optional,
            _ => {
                return Err(ImportError::new(Code::UnsupportedFeature, "maps and sparse tensors are not supported")
                    .at_byte(field.span.start));
            }
        };
        let part = bytes.slice(field.span.start, field.span.len());
        let part = part
            .filter(|_| field.is_bytes)
            .ok_or_else(|| ImportError::new(Code::Wire, "a value has the wrong wire type").at_byte(field.span.start))?;
        values.push(nested(&part, kind, depth + 1)?);
    }
    match kind {
        Kind::Sequence => Ok(Value::Sequence(values)),
        _ if values.len() > 1 => Err(ImportError::new(Code::Wire, "an optional holds more than one value")),
        _ => Ok(Value::Optional(values.pop().map(Box::new))),
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
    }
    out
}

/// `DataType` of onnx-data.proto: what a sequence or an optional holds.
fn element(value: &Value) -> u64 {
    match value {
        Value::Tensor(_) => 1,
        Value::Sequence(_) => 3,
        Value::Optional(_) => 5,
    }
}

fn field(value: &Value) -> u32 {
    match value {
        Value::Tensor(_) => TENSOR,
        Value::Sequence(_) => SEQUENCE,
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
