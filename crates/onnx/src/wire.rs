//! Scan of raw protobuf bytes before they are parsed.
//!
//! Guarantees: bytes that pass are well-formed ONNX messages whose fields have the wire types of
//! the schema, without groups, nested at most [`MAX_NESTING`] messages deep, with bounded numbers of messages
//! and names, and with valid UTF-8 wherever a name or another text is used. What comes out is a
//! *skeleton*: the same message without unknown fields, doc strings and annotations, and with every
//! `raw_data` replaced by its span in the file (in the deprecated field `segment`). So the parse
//! costs memory for the structure of a model and not for its weights, and the protobuf runtime,
//! which is pinned to a release with a stack overflow on nested unknown groups
//! (RUSTSEC-2024-0437), never sees a group or an unknown field.
//!
//! Deliberately absent: any meaning. Whether names are defined or shapes fit is checked later.
//!
//! The encoding is <https://protobuf.dev/programming-guides/encoding>, the schema onnx.proto of
//! ONNX 1.23 (IR version 14).

use crate::error::{Code, ImportError};

/// Deepest nesting of messages. The protobuf runtime refuses 100; a subgraph takes three
/// (graph, node, attribute), so about 30 nested `If` fit.
pub const MAX_NESTING: usize = 96;
/// Most messages in one file: an empty message takes 2 bytes in a file but hundreds in memory.
pub const MAX_MESSAGES: usize = 1 << 22;
/// Most strings and byte strings in one file, for the same reason.
pub const MAX_STRINGS: usize = 1 << 25;
/// Largest skeleton: the protobuf format ends at 2 GiB, weights (which may be larger) left out.
pub const MAX_SKELETON: usize = (1 << 31) - 1;

/// The message types that the scan descends into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Model,
    OpsetId,
    Pair,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    ElementType,
    MapType,
    OpaqueType,
    Shape,
    Dim,
}

#[derive(Clone, Copy)]
enum Kind {
    /// One varint (int32, int64, enum).
    Varint,
    /// One 4-byte number.
    Fixed32,
    /// Repeated varints, packed or not.
    Varints,
    /// Repeated 4-byte numbers, packed or not.
    Fixed32s,
    /// Repeated 8-byte numbers, packed or not.
    Fixed64s,
    /// UTF-8 text.
    Text,
    Bytes,
    Sub(Message),
    /// The little-endian data of a tensor: replaced by its span.
    RawData,
    /// Known, and of no use to a compiler: left out.
    Dropped,
    /// `TensorProto.segment`, which no ONNX release defines a meaning for.
    Segment,
}

/// The schema: name and kind of a field, or `None` when the schema has no such field.
fn field(message: Message, number: u32) -> Option<(&'static str, Kind)> {
    use Kind::*;
    use Message as M;
    Some(match (message, number) {
        (M::Model, 1) => ("ir_version", Varint),
        (M::Model, 2) => ("producer_name", Text),
        (M::Model, 3) => ("producer_version", Text),
        (M::Model, 4) => ("domain", Text),
        (M::Model, 5) => ("model_version", Varint),
        (M::Model, 6) => ("doc_string", Text),
        (M::Model, 7) => ("graph", Sub(M::Graph)),
        (M::Model, 8) => ("opset_import", Sub(M::OpsetId)),
        (M::Model, 14) => ("metadata_props", Sub(M::Pair)),
        (M::Model, 20) => ("training_info", Dropped),
        (M::Model, 25) => ("functions", Sub(M::Function)),
        (M::Model, 26) => ("configuration", Dropped),
        (M::OpsetId, 1) => ("domain", Text),
        (M::OpsetId, 2) => ("version", Varint),
        (M::Pair, 1) => ("key", Text),
        (M::Pair, 2) => ("value", Text),
        (M::Function, 1) => ("name", Text),
        (M::Function, 2) => ("since_version", Dropped),
        (M::Function, 3) => ("status", Dropped),
        (M::Function, 4) => ("input", Text),
        (M::Function, 5) => ("output", Text),
        (M::Function, 6) => ("attribute", Text),
        (M::Function, 7) => ("node", Sub(M::Node)),
        (M::Function, 8) => ("doc_string", Dropped),
        (M::Function, 9) => ("opset_import", Sub(M::OpsetId)),
        (M::Function, 10) => ("domain", Text),
        (M::Function, 11) => ("attribute_proto", Sub(M::Attribute)),
        (M::Function, 12) => ("value_info", Sub(M::ValueInfo)),
        (M::Function, 13) => ("overload", Text),
        (M::Function, 14) => ("metadata_props", Dropped),
        (M::Graph, 1) => ("node", Sub(M::Node)),
        (M::Graph, 2) => ("name", Text),
        (M::Graph, 5) => ("initializer", Sub(M::Tensor)),
        (M::Graph, 10) => ("doc_string", Dropped),
        (M::Graph, 11) => ("input", Sub(M::ValueInfo)),
        (M::Graph, 12) => ("output", Sub(M::ValueInfo)),
        (M::Graph, 13) => ("value_info", Sub(M::ValueInfo)),
        (M::Graph, 14) => ("quantization_annotation", Dropped),
        (M::Graph, 15) => ("sparse_initializer", Sub(M::SparseTensor)),
        (M::Graph, 16) => ("metadata_props", Dropped),
        (M::Node, 1) => ("input", Text),
        (M::Node, 2) => ("output", Text),
        (M::Node, 3) => ("name", Text),
        (M::Node, 4) => ("op_type", Text),
        (M::Node, 5) => ("attribute", Sub(M::Attribute)),
        (M::Node, 6) => ("doc_string", Dropped),
        (M::Node, 7) => ("domain", Text),
        (M::Node, 8) => ("overload", Text),
        (M::Node, 9) => ("metadata_props", Dropped),
        (M::Node, 10) => ("device_configurations", Dropped),
        (M::Attribute, 1) => ("name", Text),
        (M::Attribute, 2) => ("f", Fixed32),
        (M::Attribute, 3) => ("i", Varint),
        (M::Attribute, 4) => ("s", Bytes),
        (M::Attribute, 5) => ("t", Sub(M::Tensor)),
        (M::Attribute, 6) => ("g", Sub(M::Graph)),
        (M::Attribute, 7) => ("floats", Fixed32s),
        (M::Attribute, 8) => ("ints", Varints),
        (M::Attribute, 9) => ("strings", Bytes),
        (M::Attribute, 10) => ("tensors", Sub(M::Tensor)),
        (M::Attribute, 11) => ("graphs", Sub(M::Graph)),
        (M::Attribute, 13) => ("doc_string", Dropped),
        (M::Attribute, 14) => ("tp", Sub(M::Type)),
        (M::Attribute, 15) => ("type_protos", Sub(M::Type)),
        (M::Attribute, 20) => ("type", Varint),
        (M::Attribute, 21) => ("ref_attr_name", Text),
        (M::Attribute, 22) => ("sparse_tensor", Sub(M::SparseTensor)),
        (M::Attribute, 23) => ("sparse_tensors", Sub(M::SparseTensor)),
        (M::Tensor, 1) => ("dims", Varints),
        (M::Tensor, 2) => ("data_type", Varint),
        (M::Tensor, 3) => ("segment", Segment),
        (M::Tensor, 4) => ("float_data", Fixed32s),
        (M::Tensor, 5) => ("int32_data", Varints),
        (M::Tensor, 6) => ("string_data", Bytes),
        (M::Tensor, 7) => ("int64_data", Varints),
        (M::Tensor, 8) => ("name", Text),
        (M::Tensor, 9) => ("raw_data", RawData),
        (M::Tensor, 10) => ("double_data", Fixed64s),
        (M::Tensor, 11) => ("uint64_data", Varints),
        (M::Tensor, 12) => ("doc_string", Dropped),
        (M::Tensor, 13) => ("external_data", Sub(M::Pair)),
        (M::Tensor, 14) => ("data_location", Varint),
        (M::Tensor, 16) => ("metadata_props", Dropped),
        (M::SparseTensor, 1) => ("values", Sub(M::Tensor)),
        (M::SparseTensor, 2) => ("indices", Sub(M::Tensor)),
        (M::SparseTensor, 3) => ("dims", Varints),
        (M::ValueInfo, 1) => ("name", Text),
        (M::ValueInfo, 2) => ("type", Sub(M::Type)),
        (M::ValueInfo, 3) => ("doc_string", Dropped),
        (M::ValueInfo, 4) => ("metadata_props", Dropped),
        (M::Type, 1) => ("tensor_type", Sub(M::TensorType)),
        (M::Type, 4) => ("sequence_type", Sub(M::ElementType)),
        (M::Type, 5) => ("map_type", Sub(M::MapType)),
        (M::Type, 6) => ("denotation", Dropped),
        (M::Type, 7) => ("opaque_type", Sub(M::OpaqueType)),
        (M::Type, 8) => ("sparse_tensor_type", Sub(M::TensorType)),
        (M::Type, 9) => ("optional_type", Sub(M::ElementType)),
        (M::TensorType, 1) => ("elem_type", Varint),
        (M::TensorType, 2) => ("shape", Sub(M::Shape)),
        (M::ElementType, 1) => ("elem_type", Sub(M::Type)),
        (M::MapType, 1) => ("key_type", Varint),
        (M::MapType, 2) => ("value_type", Sub(M::Type)),
        (M::OpaqueType, 1) => ("domain", Text),
        (M::OpaqueType, 2) => ("name", Text),
        (M::Shape, 1) => ("dim", Sub(M::Dim)),
        (M::Dim, 1) => ("dim_value", Varint),
        (M::Dim, 2) => ("dim_param", Text),
        (M::Dim, 3) => ("denotation", Dropped),
        _ => return None,
    })
}

/// Fields of which there can be several; their path carries an index.
fn is_repeated(name: &str) -> bool {
    matches!(
        name,
        "node"
            | "initializer"
            | "sparse_initializer"
            | "input"
            | "output"
            | "value_info"
            | "attribute"
            | "dim"
            | "attribute_proto"
            | "functions"
            | "opset_import"
            | "metadata_props"
            | "external_data"
            | "strings"
            | "tensors"
            | "graphs"
            | "sparse_tensors"
            | "type_protos"
            | "string_data"
            | "training_info"
    )
}

/// What a scan leaves: bytes to parse, and what it left out.
#[derive(Debug)]
pub struct Skeleton {
    /// The message without weights; see the module documentation.
    pub bytes: Vec<u8>,
    /// Things ignored that a user may want to know about.
    pub warnings: Vec<String>,
}

/// Checks `bytes` as one `root` message and returns its skeleton.
///
/// Errors: [`Code::NotOnnx`] for files that are recognisably something else, [`Code::Wire`],
/// [`Code::Utf8`] and [`Code::WireLimit`] with byte offset and path otherwise.
pub fn scan(bytes: &[u8], root: Message) -> Result<Skeleton, ImportError> {
    if let Some(what) = foreign(bytes) {
        let noun = if root == Message::Tensor { "tensor" } else { "model" };
        return Err(ImportError::new(Code::NotOnnx, format!("this is not an ONNX {noun}: {what}")));
    }
    let mut scanner = Scanner::new(bytes);
    scanner.message(root, 0, bytes.len())?;
    if scanner.unknown > 1 {
        scanner.warnings.push(format!("{} unknown fields are ignored in all", scanner.unknown));
    }
    Ok(Skeleton { bytes: scanner.out, warnings: scanner.warnings })
}

/// Recognises files that are not ONNX models by their first bytes.
fn foreign(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("the file is empty".into());
    }
    const MAGICS: &[(usize, &[u8], &str)] = &[
        (0, b"PK\x03\x04", "it is a zip archive (a PyTorch checkpoint?); export the model to ONNX first"),
        (0, b"\x89HDF", "it is an HDF5 file (a Keras model?); convert it with tf2onnx first"),
        (0, b"GGUF", "it is a GGUF file"),
        (4, b"TFL3", "it is a TensorFlow Lite model; convert it with tf2onnx first"),
        (4, b"ORTM", "it is an ONNX Runtime format model; compile the .onnx file it was made from"),
        (0, b"\x1f\x8b", "it is gzip-compressed; unpack it first"),
        (0, b"\x7fELF", "it is an ELF object"),
        (0, b"\x93NUMPY", "it is a NumPy array"),
    ];
    for (at, magic, what) in MAGICS {
        if bytes.get(*at..*at + magic.len()) == Some(*magic) {
            return Some((*what).into());
        }
    }
    let head = &bytes[..bytes.len().min(256)];
    if head.starts_with(b"version https://git-lfs") {
        return Some("it is a git-lfs pointer; run `git lfs pull` first".into());
    }
    // The first byte of a model is the tag of one of its fields, none of which is a letter or punctuation
    // followed by 255 more printable bytes.
    let printable = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e);
    (head.len() >= 4 && head.iter().all(printable)).then(|| {
        let line: String = head.iter().take(40).map(|&b| if b < 0x20 { ' ' } else { char::from(b) }).collect();
        format!("it is text, starting with {line:?}")
    })
}

struct Scanner<'a> {
    bytes: &'a [u8],
    out: Vec<u8>,
    path: Vec<(&'static str, Option<u32>)>,
    messages: usize,
    strings: usize,
    unknown: usize,
    warnings: Vec<String>,
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, out: Vec::new(), path: Vec::new(), messages: 0, strings: 0, unknown: 0, warnings: Vec::new() }
    }

    fn error(&self, code: Code, byte: usize, message: impl Into<String>) -> ImportError {
        ImportError::new(code, message).at(self.path_text()).at_byte(byte)
    }

    /// `graph.node[12].attribute[0]`; a deep path is told by its ends.
    fn path_text(&self) -> String {
        let step = |(name, index): &(&str, Option<u32>)| match index {
            Some(index) => format!("{name}[{index}]"),
            None => (*name).to_owned(),
        };
        let join = |part: &[(&str, Option<u32>)]| part.iter().map(step).collect::<Vec<_>>().join(".");
        match self.path.len() {
            n @ 13.. => format!("{}...{}", join(&self.path[..6]), join(&self.path[n - 6..])),
            _ => join(&self.path),
        }
    }

    /// Reads the varint at `*at`, which must end before `end`.
    fn varint(&self, at: &mut usize, end: usize) -> Result<u64, ImportError> {
        let start = *at;
        let mut value = 0u64;
        for shift in 0..10 {
            let Some(&byte) = self.bytes[..end].get(*at) else {
                return Err(self.error(Code::Wire, start, "the data ends inside a number"));
            };
            *at += 1;
            if shift == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(Code::Wire, start, "a number is longer than 64 bits"))
    }

    /// Reads a length at `*at` and returns the end of what it covers.
    fn length(&self, at: &mut usize, end: usize) -> Result<usize, ImportError> {
        let start = *at;
        let length = self.varint(at, end)?;
        let left = end - *at;
        match usize::try_from(length) {
            Ok(length) if length <= left => Ok(*at + length),
            _ => Err(self.error(
                Code::Wire,
                start,
                format!("a field of {length} bytes runs past the end ({left} bytes are left): the file is truncated or corrupt"),
            )),
        }
    }

    /// Reads the field at `*at`: number, wire type and where its payload lies.
    fn next(&self, at: &mut usize, end: usize) -> Result<(u32, u64, std::ops::Range<usize>), ImportError> {
        let tag_at = *at;
        let tag = self.varint(at, end)?;
        let number = match u32::try_from(tag >> 3) {
            Ok(number @ 1..=0x1fff_ffff) => number,
            _ => return Err(self.error(Code::Wire, tag_at, format!("invalid field number {}", tag >> 3))),
        };
        let from = match tag & 7 {
            0 => {
                let from = *at;
                self.varint(at, end)?;
                from
            }
            wire @ (1 | 5) => {
                let size = if wire == 1 { 8 } else { 4 };
                if end - *at < size {
                    return Err(self.error(Code::Wire, *at, "the data ends inside a number"));
                }
                *at += size;
                *at - size
            }
            2 => {
                let to = self.length(at, end)?;
                std::mem::replace(at, to)
            }
            3 | 4 => {
                let message = format!("field {number} is a group, which ONNX does not use");
                return Err(self.error(Code::Wire, tag_at, message));
            }
            wire => {
                let message = format!("field {number} has the invalid wire type {wire}");
                return Err(self.error(Code::Wire, tag_at, message));
            }
        };
        Ok((number, tag & 7, from..*at))
    }

    fn message(&mut self, message: Message, start: usize, end: usize) -> Result<(), ImportError> {
        if self.path.len() >= MAX_NESTING {
            return Err(self
                .error(Code::WireLimit, start, format!("messages are nested more than {MAX_NESTING} deep"))
                .help("flatten nested If, Loop or Scan subgraphs"));
        }
        self.messages += 1;
        if self.messages > MAX_MESSAGES {
            return Err(self.error(Code::WireLimit, start, format!("more than {MAX_MESSAGES} messages")));
        }
        let mut counts = [0u32; 32];
        let mut at = start;
        while at < end {
            let tag_at = at;
            let (number, wire, span) = self.next(&mut at, end)?;
            let (from, to) = (span.start, span.end);
            let known = field(message, number);
            let Some((name, kind)) = known else {
                self.unknown += 1;
                if self.unknown == 1 {
                    let path = if self.path.is_empty() { "the model".into() } else { self.path_text() };
                    self.warnings.push(format!("unknown field {number} of {path} at byte {tag_at} is ignored"));
                }
                continue;
            };
            let index = counts[number as usize];
            counts[number as usize] += 1;
            self.path.push((name, is_repeated(name).then_some(index)));
            self.field(kind, wire, tag_at, from, to)?;
            self.path.pop();
        }
        if self.out.len() > MAX_SKELETON {
            return Err(self.error(Code::WireLimit, start, "the model's structure takes more than 2 GiB"));
        }
        Ok(())
    }

    fn field(&mut self, kind: Kind, wire: u64, tag_at: usize, from: usize, to: usize) -> Result<(), ImportError> {
        let wrong = |expected: &str| {
            self.error(Code::Wire, tag_at, format!("the field has wire type {wire}, expected {expected}"))
        };
        match kind {
            Kind::Dropped => {
                if self.path.len() == 1 && self.path[0].0 == "training_info" && self.path[0].1 == Some(0) {
                    self.warnings.push("training information is ignored".into());
                }
                return Ok(());
            }
            Kind::Varint if wire != 0 => return Err(wrong("0 (a number)")),
            Kind::Fixed32 if wire != 5 => return Err(wrong("5 (a 4-byte number)")),
            Kind::Varints if !matches!(wire, 0 | 2) => return Err(wrong("0 or 2 (numbers)")),
            Kind::Fixed32s if !matches!(wire, 2 | 5) => return Err(wrong("2 or 5 (4-byte numbers)")),
            Kind::Fixed64s if !matches!(wire, 1 | 2) => return Err(wrong("1 or 2 (8-byte numbers)")),
            Kind::Text | Kind::Bytes | Kind::Sub(_) | Kind::RawData | Kind::Segment if wire != 2 => {
                return Err(wrong("2 (length and bytes)"));
            }
            Kind::Varint | Kind::Fixed32 => {}
            Kind::Varints => {
                if wire == 2 {
                    let mut at = from;
                    while at < to {
                        self.varint(&mut at, to)?;
                    }
                }
            }
            Kind::Fixed32s | Kind::Fixed64s => {
                let size = if matches!(kind, Kind::Fixed32s) { 4 } else { 8 };
                if wire == 2 && !(to - from).is_multiple_of(size) {
                    return Err(self.error(
                        Code::Wire,
                        from,
                        format!("{} bytes are no whole number of {size}-byte numbers", to - from),
                    ));
                }
            }
            Kind::Text => {
                self.count_string(from)?;
                if let Err(error) = std::str::from_utf8(&self.bytes[from..to]) {
                    return Err(self.error(Code::Utf8, from + error.valid_up_to(), "the text is not valid UTF-8"));
                }
            }
            Kind::Bytes => self.count_string(from)?,
            Kind::Segment => {
                return Err(self
                    .error(Code::UnsupportedFeature, tag_at, "a tensor stored in segments is not supported")
                    .help("save the model again with a current version of the onnx package"));
            }
            Kind::RawData => {
                self.out.push(SEGMENT_TAG);
                let length_at = self.out.len();
                self.out.push(0);
                self.out.push(0x08);
                put_varint(&mut self.out, from as u64);
                self.out.push(0x10);
                put_varint(&mut self.out, to as u64);
                // Two tags and two varints of at most 10 bytes: the length fits one byte.
                self.out[length_at] = (self.out.len() - length_at - 1) as u8;
                return Ok(());
            }
            Kind::Sub(message) => {
                // The length is known only after the message was written: it is patched into a
                // varint padded to five bytes, which holds any skeleton below MAX_SKELETON.
                let mut tag = tag_at;
                let tag = self.varint(&mut tag, from)?;
                put_varint(&mut self.out, tag);
                let length_at = self.out.len();
                self.out.extend([0; 5]);
                self.message(message, from, to)?;
                let mut length = self.out.len() - length_at - 5;
                for (i, byte) in self.out[length_at..length_at + 5].iter_mut().enumerate() {
                    *byte = (length & 0x7f) as u8 | if i < 4 { 0x80 } else { 0 };
                    length >>= 7;
                }
                return Ok(());
            }
        }
        self.out.extend_from_slice(&self.bytes[tag_at..to]);
        Ok(())
    }

    fn count_string(&mut self, at: usize) -> Result<(), ImportError> {
        self.strings += 1;
        if self.strings > MAX_STRINGS {
            return Err(self.error(Code::WireLimit, at, format!("more than {MAX_STRINGS} strings")));
        }
        Ok(())
    }
}

/// One field of a message.
pub(crate) struct Field {
    pub(crate) number: u32,
    /// Whether the payload is length-delimited; it is a number otherwise.
    pub(crate) is_bytes: bool,
    /// Where the payload lies.
    pub(crate) span: std::ops::Range<usize>,
}

/// The fields of one message of an unknown schema, checked as [`scan`] checks them.
pub(crate) fn fields(bytes: &[u8]) -> Result<Vec<Field>, ImportError> {
    let scanner = Scanner::new(bytes);
    let (mut fields, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (number, wire, span) = scanner.next(&mut at, bytes.len())?;
        if fields.len() >= MAX_MESSAGES {
            return Err(scanner.error(Code::WireLimit, at, format!("more than {MAX_MESSAGES} fields")));
        }
        fields.push(Field { number, is_bytes: wire == 2, span });
    }
    Ok(fields)
}

/// The numbers that lie one after the other in `bytes`; what does not end is left out.
pub(crate) fn varints(bytes: &[u8]) -> Vec<u64> {
    let (mut all, mut value, mut shift) = (vec![], 0u64, 0u32);
    for byte in bytes {
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            all.push(value);
            (value, shift) = (0, 0);
        }
    }
    all
}

/// Appends a field of bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field that is a number.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// `TensorProto.segment`, length-delimited.
const SEGMENT_TAG: u8 = 3 << 3 | 2;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
