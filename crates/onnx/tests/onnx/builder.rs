//! Models made in a few lines.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

/// A model of one f32 input `x` and the output `y`, opset 17.
pub fn model(nodes: Vec<NodeProto>, x: &[&str]) -> ModelProto {
    let mut graph = GraphProto::new();
    graph.name = "test".into();
    graph.node = nodes;
    graph.input.push(value("x", 1, x));
    let mut y = ValueInfoProto::new();
    y.name = "y".into();
    graph.output.push(y);
    let mut model = ModelProto::new();
    model.ir_version = 8;
    model.opset_import.push(opset("", 17));
    model.graph = Some(graph).into();
    model
}

pub fn bytes(model: &ModelProto) -> Vec<u8> {
    model.write_to_bytes().unwrap()
}

pub fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.mut_or_insert_default()
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    let mut opset = OperatorSetIdProto::new();
    opset.domain = domain.into();
    opset.version = version;
    opset
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let mut node = NodeProto::new();
    node.op_type = op.into();
    node.input = inputs.iter().map(|s| (*s).into()).collect();
    node.output = outputs.iter().map(|s| (*s).into()).collect();
    node
}

pub fn domain(mut node: NodeProto, domain: &str) -> NodeProto {
    node.domain = domain.into();
    node
}

pub fn with(mut node: NodeProto, name: &str, attr: AttributeProto) -> NodeProto {
    node.attribute.push(named(attr, name));
    node
}

pub fn named(mut attr: AttributeProto, name: &str) -> AttributeProto {
    attr.name = name.into();
    attr
}

pub fn reference(mut attr: AttributeProto, to: &str) -> AttributeProto {
    attr.ref_attr_name = to.into();
    attr
}

/// A function of the domain `loc`, opset 17.
pub fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let mut f = FunctionProto::new();
    f.name = name.into();
    f.domain = "loc".into();
    f.input = inputs.iter().map(|s| (*s).into()).collect();
    f.output = outputs.iter().map(|s| (*s).into()).collect();
    f.node = nodes;
    f.opset_import.push(opset("", 17));
    f
}

/// A typed value; dims are numbers, names, or nothing.
pub fn value(name: &str, element: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| {
        let mut dim = tensor_shape_proto::Dimension::new();
        match text.parse::<i64>() {
            Ok(value) => dim.set_dim_value(value),
            Err(_) if text.is_empty() => {}
            Err(_) => dim.set_dim_param((*text).into()),
        }
        dim
    };
    let mut shape = TensorShapeProto::new();
    shape.dim = dims.iter().map(dim).collect();
    let mut tensor = type_proto::Tensor::new();
    tensor.elem_type = element;
    tensor.shape = Some(shape).into();
    let mut ty = TypeProto::new();
    ty.set_tensor_type(tensor);
    let mut value = ValueInfoProto::new();
    value.name = name.into();
    value.type_ = Some(ty).into();
    value
}

fn tensor(name: &str, element: i32, dims: &[i64]) -> TensorProto {
    let mut t = TensorProto::new();
    t.name = name.into();
    t.data_type = element;
    t.dims = dims.to_vec();
    t
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let mut t = tensor(name, 1, dims);
    t.float_data = values.to_vec();
    t
}

pub fn int64s(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    let mut t = tensor(name, 7, dims);
    t.int64_data = values.to_vec();
    t
}

fn attr(ty: AttributeType, fill: impl FnOnce(&mut AttributeProto)) -> AttributeProto {
    let mut attr = AttributeProto::new();
    attr.type_ = ty.into();
    fill(&mut attr);
    attr
}

pub fn undefined_attr() -> AttributeProto {
    attr(AttributeType::UNDEFINED, |a| a.i = 1)
}

pub fn int_attr(v: i64) -> AttributeProto {
    attr(AttributeType::INT, |a| a.i = v)
}

pub fn ints_attr(v: &[i64]) -> AttributeProto {
    attr(AttributeType::INTS, |a| a.ints = v.to_vec())
}

pub fn float_attr(v: f32) -> AttributeProto {
    attr(AttributeType::FLOAT, |a| a.f = v)
}

pub fn floats_attr(v: &[f32]) -> AttributeProto {
    attr(AttributeType::FLOATS, |a| a.floats = v.to_vec())
}

pub fn string_attr(v: &str) -> AttributeProto {
    attr(AttributeType::STRING, |a| a.s = v.as_bytes().to_vec())
}

pub fn strings_attr(v: &[&str]) -> AttributeProto {
    attr(AttributeType::STRINGS, |a| a.strings = v.iter().map(|s| s.as_bytes().to_vec()).collect())
}

pub fn tensor_attr(t: TensorProto) -> AttributeProto {
    attr(AttributeType::TENSOR, |a| a.t = Some(t).into())
}

pub fn sparse_attr(dims: &[i64], indices: &[i64], values: &[f32]) -> AttributeProto {
    let mut s = SparseTensorProto::new();
    s.dims = dims.to_vec();
    s.values = Some(floats("", &[values.len() as i64], values)).into();
    s.indices = Some(int64s("", &[indices.len() as i64], indices)).into();
    attr(AttributeType::SPARSE_TENSOR, |a| a.sparse_tensor = Some(s).into())
}

pub fn graph_attr(g: GraphProto) -> AttributeProto {
    attr(AttributeType::GRAPH, |a| a.g = Some(g).into())
}

/// A subgraph: typed inputs, nodes, names of outputs.
pub fn subgraph(inputs: &[(&str, i32, &[&str])], nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    let mut graph = GraphProto::new();
    graph.name = "body".into();
    graph.input = inputs.iter().map(|(name, element, dims)| value(name, *element, dims)).collect();
    graph.node = nodes;
    for name in outputs {
        let mut output = ValueInfoProto::new();
        output.name = (*name).into();
        graph.output.push(output);
    }
    graph
}
