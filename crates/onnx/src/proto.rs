//! The one module that names protobuf types: skeleton bytes to [`crate::model`] records.
//!
//! Guarantees: only bytes that passed [`crate::wire::scan`] reach the protobuf runtime, and lists are
//! moved, not copied. Deliberately absent: checks of meaning.

use crate::error::{Code, ImportError};
use crate::model::*;
use crate::wire::{self, Message as Root, Skeleton};
use onnx_protobuf as pb;
use pb::Message as _;
use pb::attribute_proto::AttributeType;
use protobuf::MessageField;

/// Parses a model file's bytes; also returns warnings.
///
/// # Errors
/// Those of [`wire::scan`].
pub fn model(bytes: &[u8]) -> Result<(ModelRecord, Vec<String>), ImportError> {
    let Skeleton { bytes, warnings } = wire::scan(bytes, Root::Model)?;
    let message = pb::ModelProto::parse_from_bytes(&bytes).map_err(runtime_error)?;
    Ok((from_model(message), warnings))
}

/// Parses one serialized `TensorProto`.
///
/// # Errors
/// Those of [`wire::scan`].
pub fn tensor(bytes: &[u8]) -> Result<TensorRecord, ImportError> {
    let skeleton = wire::scan(bytes, Root::Tensor)?;
    Ok(from_tensor(pb::TensorProto::parse_from_bytes(&skeleton.bytes).map_err(runtime_error)?))
}

/// The scan lets nothing through that the runtime refuses, short of a difference between the two.
fn runtime_error(error: protobuf::Error) -> ImportError {
    ImportError::new(Code::Wire, format!("protobuf: {}", error.to_string().to_lowercase()))
}

fn from_model(m: pb::ModelProto) -> ModelRecord {
    ModelRecord {
        ir_version: m.ir_version,
        opset_imports: from_opsets(m.opset_import),
        producer_name: m.producer_name,
        producer_version: m.producer_version,
        domain: m.domain,
        model_version: m.model_version,
        doc: m.doc_string,
        metadata: from_pairs(m.metadata_props),
        graph: boxed(m.graph).map(|g| from_graph(*g)),
        functions: m.functions.into_iter().map(from_function).collect(),
    }
}

/// The content of an optional message.
fn boxed<T>(field: MessageField<T>) -> Option<Box<T>> {
    field.0
}

fn from_opsets(opsets: Vec<pb::OperatorSetIdProto>) -> Vec<(String, i64)> {
    opsets.into_iter().map(|o| (o.domain, o.version)).collect()
}

fn from_pairs(pairs: Vec<pb::StringStringEntryProto>) -> Vec<(String, String)> {
    pairs.into_iter().map(|p| (p.key, p.value)).collect()
}

fn from_function(f: pb::FunctionProto) -> FunctionRecord {
    FunctionRecord {
        name: f.name,
        domain: f.domain,
        overload: f.overload,
        inputs: f.input,
        outputs: f.output,
        attributes: f.attribute,
        attribute_defaults: f.attribute_proto.into_iter().map(from_attribute).collect(),
        nodes: f.node.into_iter().map(from_node).collect(),
        opset_imports: from_opsets(f.opset_import),
    }
}

fn from_graph(g: pb::GraphProto) -> GraphRecord {
    let values = |list: Vec<pb::ValueInfoProto>| list.into_iter().map(from_value).collect();
    GraphRecord {
        name: g.name,
        nodes: g.node.into_iter().map(from_node).collect(),
        initializers: g.initializer.into_iter().map(from_tensor).collect(),
        sparse_initializers: g.sparse_initializer.into_iter().map(from_sparse).collect(),
        inputs: values(g.input),
        outputs: values(g.output),
        values: values(g.value_info),
    }
}

fn from_value(v: pb::ValueInfoProto) -> ValueRecord {
    ValueRecord { name: v.name, ty: boxed(v.type_).and_then(|t| from_type(*t)) }
}

fn from_type(t: pb::TypeProto) -> Option<TypeRecord> {
    use pb::type_proto::Value;
    let element = |field| boxed(field).and_then(|t| from_type(*t)).map(Box::new);
    Some(match t.value? {
        Value::TensorType(t) => {
            TypeRecord::Tensor { element: t.elem_type, shape: boxed(t.shape).map(|s| from_shape(*s)) }
        }
        Value::SequenceType(s) => TypeRecord::Sequence(element(s.elem_type)),
        Value::OptionalType(o) => TypeRecord::Optional(element(o.elem_type)),
        Value::MapType(m) => TypeRecord::Map { key: m.key_type, value: element(m.value_type) },
        Value::SparseTensorType(_) => TypeRecord::SparseTensor,
        _ => return None,
    })
}

fn from_shape(s: pb::TensorShapeProto) -> Vec<DimRecord> {
    use pb::tensor_shape_proto::dimension::Value;
    let dim = |d: pb::tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(value)) => DimRecord::Value(value),
        Some(Value::DimParam(name)) => DimRecord::Param(name),
        _ => DimRecord::Unknown,
    };
    s.dim.into_iter().map(dim).collect()
}

fn from_node(n: pb::NodeProto) -> NodeRecord {
    NodeRecord {
        name: n.name,
        op: n.op_type,
        domain: n.domain,
        overload: n.overload,
        inputs: n.input,
        outputs: n.output,
        attributes: n.attribute.into_iter().map(from_attribute).collect(),
    }
}

fn from_attribute(a: pb::AttributeProto) -> AttributeRecord {
    let missing = AttributeValue::Missing(a.type_.value());
    let value = match a.type_.enum_value_or(AttributeType::UNDEFINED) {
        AttributeType::UNDEFINED => missing,
        AttributeType::FLOAT => AttributeValue::Float(a.f),
        AttributeType::INT => AttributeValue::Int(a.i),
        AttributeType::STRING => AttributeValue::String(a.s),
        AttributeType::TENSOR => boxed(a.t).map_or(missing, |t| AttributeValue::Tensor(Box::new(from_tensor(*t)))),
        AttributeType::GRAPH => boxed(a.g).map_or(missing, |g| AttributeValue::Graph(Box::new(from_graph(*g)))),
        AttributeType::SPARSE_TENSOR => {
            boxed(a.sparse_tensor).map_or(missing, |s| AttributeValue::SparseTensor(Box::new(from_sparse(*s))))
        }
        AttributeType::TYPE_PROTO => AttributeValue::Type(boxed(a.tp).and_then(|t| from_type(*t))),
        AttributeType::FLOATS => AttributeValue::Floats(a.floats),
        AttributeType::INTS => AttributeValue::Ints(a.ints),
        AttributeType::STRINGS => AttributeValue::Strings(a.strings),
        AttributeType::TENSORS => AttributeValue::Tensors(a.tensors.into_iter().map(from_tensor).collect()),
        AttributeType::GRAPHS => AttributeValue::Graphs(a.graphs.into_iter().map(from_graph).collect()),
        AttributeType::SPARSE_TENSORS => {
            AttributeValue::SparseTensors(a.sparse_tensors.into_iter().map(from_sparse).collect())
        }
        AttributeType::TYPE_PROTOS => AttributeValue::Types(a.type_protos.into_iter().map(from_type).collect()),
    };
    AttributeRecord { name: a.name, reference: a.ref_attr_name, value }
}

fn from_tensor(t: pb::TensorProto) -> TensorRecord {
    // The scan put the span of `raw_data` there, and refused files that use the field themselves.
    let raw = boxed(t.segment).and_then(|s| Some(usize::try_from(s.begin).ok()?..usize::try_from(s.end).ok()?));
    TensorRecord {
        name: t.name,
        dims: t.dims,
        element: t.data_type,
        raw,
        float_data: t.float_data,
        int32_data: t.int32_data,
        string_data: t.string_data,
        int64_data: t.int64_data,
        double_data: t.double_data,
        uint64_data: t.uint64_data,
        external: from_pairs(t.external_data),
        is_external: t.data_location.value() != 0,
    }
}

fn from_sparse(s: pb::SparseTensorProto) -> SparseTensorRecord {
    SparseTensorRecord {
        values: boxed(s.values).map(|t| from_tensor(*t)),
        indices: boxed(s.indices).map(|t| from_tensor(*t)),
        dims: s.dims,
    }
}
