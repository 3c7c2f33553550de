//! A parsed ONNX model as plain data: what the file says, nothing checked but its encoding.
//!
//! The importer reads these records instead of protobuf types, so that the protobuf crate stays
//! behind [`crate::proto`]. Weights stored as raw bytes are spans of the file, not copies.

use std::ops::Range;

/// `ModelProto`.
#[derive(Debug, Default)]
pub struct ModelRecord {
    pub ir_version: i64,
    pub opset_imports: Vec<(String, i64)>,
    pub producer_name: String,
    pub producer_version: String,
    pub domain: String,
    pub model_version: i64,
    pub doc: String,
    pub metadata: Vec<(String, String)>,
    pub graph: Option<GraphRecord>,
    pub functions: Vec<FunctionRecord>,
}

/// `FunctionProto`.
#[derive(Debug, Default)]
pub struct FunctionRecord {
    pub name: String,
    pub domain: String,
    pub overload: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// Names of attributes without a default.
    pub attributes: Vec<String>,
    /// Attributes with a default.
    pub attribute_defaults: Vec<AttributeRecord>,
    pub nodes: Vec<NodeRecord>,
    pub opset_imports: Vec<(String, i64)>,
}

/// `GraphProto`.
#[derive(Debug, Default)]
pub struct GraphRecord {
    pub name: String,
    pub nodes: Vec<NodeRecord>,
    pub initializers: Vec<TensorRecord>,
    pub sparse_initializers: Vec<SparseTensorRecord>,
    pub inputs: Vec<ValueRecord>,
    pub outputs: Vec<ValueRecord>,
    pub values: Vec<ValueRecord>,
}

/// `ValueInfoProto`.
#[derive(Debug, Default)]
pub struct ValueRecord {
    pub name: String,
    pub ty: Option<TypeRecord>,
}

/// `TypeProto`. Element types are ONNX's numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum TypeRecord {
    Tensor { element: i32, shape: Option<Vec<DimRecord>> },
    SparseTensor,
    Sequence(Option<Box<TypeRecord>>),
    Optional(Option<Box<TypeRecord>>),
    Map { key: i32, value: Option<Box<TypeRecord>> },
}

/// One dimension as declared.
#[derive(Debug, Clone, PartialEq)]
pub enum DimRecord {
    Unknown,
    Value(i64),
    Param(String),
}

/// `NodeProto`.
#[derive(Debug, Default)]
pub struct NodeRecord {
    pub name: String,
    pub op: String,
    pub domain: String,
    pub overload: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<AttributeRecord>,
}

/// `AttributeProto`.
#[derive(Debug, Default)]
pub struct AttributeRecord {
    pub name: String,
    /// Inside a function: the function's attribute whose value this one takes.
    pub reference: String,
    pub value: AttributeValue,
}

/// The value of an attribute, by its declared type.
#[derive(Debug)]
pub enum AttributeValue {
    /// Undefined, unknown, or the field that the type names is missing.
    Missing(i32),
    Float(f32),
    Int(i64),
    String(Vec<u8>),
    Tensor(Box<TensorRecord>),
    Graph(Box<GraphRecord>),
    SparseTensor(Box<SparseTensorRecord>),
    Type(Option<TypeRecord>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strings(Vec<Vec<u8>>),
    Tensors(Vec<TensorRecord>),
    Graphs(Vec<GraphRecord>),
    SparseTensors(Vec<SparseTensorRecord>),
    Types(Vec<Option<TypeRecord>>),
}

impl Default for AttributeValue {
    fn default() -> Self {
        AttributeValue::Missing(0)
    }
}

impl AttributeValue {
    /// The name of the type, as in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            AttributeValue::Missing(_) => "undefined",
            AttributeValue::Float(_) => "float",
            AttributeValue::Int(_) => "int",
            AttributeValue::String(_) => "string",
            AttributeValue::Tensor(_) => "tensor",
            AttributeValue::Graph(_) => "graph",
            AttributeValue::SparseTensor(_) => "sparse tensor",
            AttributeValue::Type(_) => "type",
            AttributeValue::Floats(_) => "floats",
            AttributeValue::Ints(_) => "ints",
            AttributeValue::Strings(_) => "strings",
            AttributeValue::Tensors(_) => "tensors",
            AttributeValue::Graphs(_) => "graphs",
            AttributeValue::SparseTensors(_) => "sparse tensors",
            AttributeValue::Types(_) => "types",
        }
    }
}

/// `TensorProto`.
#[derive(Debug, Default, Clone)]
pub struct TensorRecord {
    pub name: String,
    pub dims: Vec<i64>,
    /// ONNX's number of the element type.
    pub element: i32,
    /// Where `raw_data` lies in the file; `None` when the field is absent.
    pub raw: Option<Range<usize>>,
    pub float_data: Vec<f32>,
    pub int32_data: Vec<i32>,
    pub string_data: Vec<Vec<u8>>,
    pub int64_data: Vec<i64>,
    pub double_data: Vec<f64>,
    pub uint64_data: Vec<u64>,
    /// Keys and values of `external_data`.
    pub external: Vec<(String, String)>,
    /// Whether `data_location` is `EXTERNAL`; an unknown location counts as external too.
    pub is_external: bool,
}

/// `SparseTensorProto`.
#[derive(Debug, Default, Clone)]
pub struct SparseTensorRecord {
    /// The non-zero values; its name is the name of the sparse tensor.
    pub values: Option<TensorRecord>,
    pub indices: Option<TensorRecord>,
    pub dims: Vec<i64>,
}
