//! Graphs to ONNX models, for commands that write models.
//!
//! Guarantees: what is written imports again as an equal graph, up to names that had to change because ONNX has one
//! namespace for a graph and its subgraphs; the same graph gives the same bytes. The opset is the one that the model was
//! read with, raised to the lowest one in which every node means what it means in the graph (nodes have their newest
//! form), so that older runtimes can read the model. Declined: fused epilogues, blocked layouts, internal attributes and operators that are not ONNX's, with
//! every node concerned named at once.
//!
//! Schema: onnx.proto of ONNX 1.23; IR versions by opset: docs/Versioning.md there.

use crate::data::write_tensor;
use crate::error::{Code, ImportError, NodePlace};
use crate::import::Metadata;
use crate::wire::{put_bytes, put_number, put_varint};
use planc_ir::{Capture, Def, Graph, Layout, Node, TensorType, Type, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Oldest opset that is written: most operators got their present form in it.
pub const OLDEST_OPSET: u32 = 13;
/// Tensors of at least this many bytes go to the external data.
const EXTERNAL_FROM: usize = 1024;
/// Alignment of tensors in external data: a page, so that mapped tensors are aligned for everything.
const EXTERNAL_ALIGN: usize = 4096;
/// Largest model without external data; the protobuf format ends at 2 GiB.
const MAX_BYTES: usize = (1 << 31) - (1 << 20);

/// Where large weights go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Into the model.
    #[default]
    Inline,
    /// Into a file of this name beside the model.
    External(String),
}

/// A written model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The model file.
    pub model: Vec<u8>,
    /// The external data file, empty for [`Weights::Inline`].
    pub weights: Vec<u8>,
    /// Opset of ai.onnx that was chosen.
    pub opset: u32,
}

/// Writes a graph whose types are inferred.
///
/// # Errors
/// Every node that ONNX cannot express; [`Code::TensorLimit`] for models above 2 GiB without external data.
pub fn export(graph: &Graph, metadata: &Metadata, weights: &Weights) -> Result<Exported, Vec<ImportError>> {
    let mut exporter = Exporter {
        names: Vec::new(),
        used: HashSet::new(),
        domains: BTreeMap::from([(String::new(), OLDEST_OPSET)]),
        external: match weights {
            Weights::Inline => None,
            Weights::External(file) => Some(file.as_str()),
        },
        weights: Vec::new(),
        inline_bytes: 0,
        errors: Vec::new(),
    };
    for (domain, version) in &metadata.opsets {
        if domain.is_empty() || uses_domain(graph, domain) {
            let entry = exporter.domains.entry(domain.clone()).or_insert(1);
            *entry = (*entry).max(*version);
        }
    }
    let body = exporter.graph(graph, &[]);
    if exporter.errors.is_empty() && exporter.inline_bytes > MAX_BYTES {
        let message = format!("the model takes {} bytes, which a model file cannot hold", exporter.inline_bytes);
        exporter.errors.push(ImportError::new(Code::TensorLimit, message).help("write the weights as external data"));
    }
    if !exporter.errors.is_empty() {
        return Err(exporter.errors);
    }
    let opset = exporter.domains.get("").copied().unwrap_or(OLDEST_OPSET);
    let mut model = Vec::with_capacity(body.len() + 1024);
    put_number(&mut model, 1, u64::from(ir_version(opset)));
    put_bytes(&mut model, 2, b"planc");
    put_bytes(&mut model, 3, env!("CARGO_PKG_VERSION").as_bytes());
    for (number, text) in [(4, &metadata.domain), (6, &metadata.doc)] {
        if !text.is_empty() {
            put_bytes(&mut model, number, text.as_bytes());
        }
    }
    put_number(&mut model, 5, metadata.model_version as u64);
    put_bytes(&mut model, 7, &body);
    for (domain, version) in &exporter.domains {
        let mut import = Vec::new();
        put_bytes(&mut import, 1, domain.as_bytes());
        put_number(&mut import, 2, u64::from(*version));
        put_bytes(&mut model, 8, &import);
    }
    for (key, value) in &metadata.properties {
        put_bytes(&mut model, 14, &pair(key, value));
    }
    Ok(Exported { model, weights: exporter.weights, opset })
}

/// The IR version that came with an opset; 8 is read by every runtime in use.
fn ir_version(opset: u32) -> u32 {
    match opset {
        0..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    }
}

fn uses_domain(graph: &Graph, domain: &str) -> bool {
    graph.node_ids().any(|id| {
        let node = graph.node(id);
        &*node.op.domain == domain || node.subgraphs.iter().any(|s| uses_domain(&s.graph, domain))
    })
}

struct Exporter<'w> {
    /// Names of values, innermost graph last.
    names: Vec<HashMap<ValueId, String>>,
    /// All names given.
    used: HashSet<String>,
    domains: BTreeMap<String, u32>,
    external: Option<&'w str>,
    weights: Vec<u8>,
    inline_bytes: usize,
    errors: Vec<ImportError>,
}

impl Exporter<'_> {
    /// The bytes of a `GraphProto`.
    fn graph(&mut self, graph: &Graph, captures: &[Capture]) -> Vec<u8> {
        self.name_values(graph, captures);
        let mut out = Vec::new();
        for id in graph.order() {
            let node = self.node(graph, graph.node(id));
            put_bytes(&mut out, 1, &node);
        }
        // Checkers demand a name.
        put_bytes(&mut out, 2, if graph.name.is_empty() { b"graph" } else { graph.name.as_bytes() });
        let read = |id: &ValueId| !graph.uses(*id).is_empty();
        for id in graph.value_ids().filter(read) {
            if let Def::Const(tensor) = &graph.value(id).def {
                let tensor = self.tensor(&self.name(id), tensor);
                put_bytes(&mut out, 5, &tensor);
            }
        }
        for (number, list) in [(11, graph.inputs()), (12, graph.outputs())] {
            for id in list {
                let value = self.value(graph, *id);
                put_bytes(&mut out, number, &value);
            }
        }
        self.names.pop();
        out
    }

    /// Gives every value of a graph a name that no graph around it has.
    fn name_values(&mut self, graph: &Graph, captures: &[Capture]) {
        let outer = self.names.last();
        let captured: HashMap<ValueId, String> =
            captures.iter().filter_map(|c| Some((c.inner, outer?.get(&c.outer)?.clone()))).collect();
        let mut names = HashMap::new();
        for id in graph.value_ids() {
            let name = captured.get(&id).cloned().unwrap_or_else(|| {
                let base = &*graph.value(id).name;
                let mut name = base.to_owned();
                let mut n = 1u64;
                while name.is_empty() || !self.used.insert(name.clone()) {
                    n += 1;
                    name = format!("{base}.{n}");
                }
                name
            });
            names.insert(id, name);
        }
        self.names.push(names);
    }

    fn name(&self, id: ValueId) -> String {
        self.names.last().and_then(|n| n.get(&id)).cloned().unwrap_or_default()
    }

    fn decline(&mut self, graph: &Graph, node: &Node, message: &str) {
        let first = node.outputs().iter().flatten().next().map_or("", |v| &*graph.value(*v).name);
        let name = if node.origin.node.is_empty() { first } else { &node.origin.node };
        let place = NodePlace {
            name: name.to_owned(),
            op: node.op.name.to_string(),
            domain: node.op.domain.to_string(),
            opset: Some(i64::from(node.origin.opset)).filter(|v| *v > 0),
            operands: vec![],
        };
        self.errors.push(ImportError::new(Code::UnsupportedFeature, message).on(place));
    }

    fn node(&mut self, graph: &Graph, node: &Node) -> Vec<u8> {
        let Some(row) = planc_ops::row(&node.op) else {
            self.decline(graph, node, "the operator is not in the table");
            return Vec::new();
        };
        let layout = |v: &ValueId| graph.tensor_type(*v).is_some_and(|t| t.layout != Layout::RowMajor);
        if node.epilogue().is_some() || node.outputs().iter().flatten().any(layout) {
            self.decline(graph, node, "fused and laid out nodes cannot be written as ONNX");
        }
        let mut opset = row.upgrades.iter().map(|u| u.to).max().unwrap_or(1).max(row.since);
        let mut out = Vec::new();
        for (number, list) in [(1, node.inputs()), (2, node.outputs())] {
            for id in list {
                put_bytes(&mut out, number, id.map(|id| self.name(id)).unwrap_or_default().as_bytes());
            }
        }
        if !node.origin.node.is_empty() {
            put_bytes(&mut out, 3, node.origin.node.as_bytes());
        }
        put_bytes(&mut out, 4, node.op.name.as_bytes());
        for (name, value) in node.attrs.iter() {
            match row.attr(name) {
                // A type, which is kept as text.
                Some(_) if node.op.is("Optional") => self.decline(graph, node, "types cannot be written as ONNX"),
                Some(def) if def.until == u32::MAX => opset = opset.max(def.since),
                _ => self.decline(graph, node, &format!("the attribute {name:?} cannot be written as ONNX")),
            }
            let attribute = self.attribute(name, value);
            put_bytes(&mut out, 5, &attribute);
        }
        for s in &node.subgraphs {
            let body = self.graph(&s.graph, &s.captures);
            let mut attribute = Vec::with_capacity(body.len() + 32);
            put_bytes(&mut attribute, 1, s.name.as_bytes());
            put_bytes(&mut attribute, 6, &body);
            put_number(&mut attribute, 20, 5);
            put_bytes(&mut out, 5, &attribute);
        }
        put_bytes(&mut out, 7, node.op.domain.as_bytes());
        let types = node.reads().chain(node.outputs().iter().flatten().copied());
        for dtype in types.filter_map(|v| graph.tensor_type(v)).map(|t| t.dtype) {
            opset = opset.max(if node.op.domain.is_empty() { since(dtype) } else { 1 });
        }
        let version = self.domains.entry(node.op.domain.to_string()).or_insert(1);
        *version = (*version).max(opset);
        out
    }

    fn attribute(&mut self, name: &str, value: &Attr) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, name.as_bytes());
        let ty = match value {
            Attr::Float(v) => {
                put_varint(&mut out, 2 << 3 | 5);
                out.extend(v.to_le_bytes());
                1
            }
            Attr::Int(v) => {
                put_number(&mut out, 3, *v as u64);
                2
            }
            Attr::Str(v) => {
                put_bytes(&mut out, 4, v.as_bytes());
                3
            }
            Attr::Tensor(t) => {
                let tensor = self.tensor("", t);
                put_bytes(&mut out, 5, &tensor);
                4
            }
            Attr::Floats(v) => {
                put_bytes(&mut out, 7, &v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
                6
            }
            Attr::Ints(v) => {
                let mut packed = Vec::new();
                v.iter().for_each(|v| put_varint(&mut packed, *v as u64));
                put_bytes(&mut out, 8, &packed);
                7
            }
            Attr::Strs(v) => {
                v.iter().for_each(|v| put_bytes(&mut out, 9, v.as_bytes()));
                8
            }
        };
        put_number(&mut out, 20, ty);
        out
    }

    /// The bytes of a `TensorProto`; large elements go to the external data where there is one.
    fn tensor(&mut self, name: &str, tensor: &Tensor) -> Vec<u8> {
        let (Some(file), Some(bytes)) = (self.external, tensor.shared_bytes()) else {
            self.inline_bytes = self.inline_bytes.saturating_add(tensor.byte_len());
            // Nothing of a size that is refused anyway is copied.
            return if self.inline_bytes > MAX_BYTES { Vec::new() } else { write_tensor(name, tensor.view()) };
        };
        if bytes.len() < EXTERNAL_FROM {
            return write_tensor(name, tensor.view());
        }
        self.weights.resize(self.weights.len().next_multiple_of(EXTERNAL_ALIGN), 0);
        let offset = self.weights.len();
        self.weights.extend_from_slice(bytes.as_slice());
        let (mut out, mut dims) = (Vec::new(), Vec::new());
        tensor.shape().iter().for_each(|d| put_varint(&mut dims, *d as u64));
        put_bytes(&mut out, 1, &dims);
        put_number(&mut out, 2, u64::from(tensor.dtype().onnx().unsigned_abs()));
        put_bytes(&mut out, 8, name.as_bytes());
        for (key, value) in
            [("location", file.to_owned()), ("offset", offset.to_string()), ("length", bytes.len().to_string())]
        {
            put_bytes(&mut out, 13, &pair(key, &value));
        }
        put_number(&mut out, 14, 1);
        out
    }

    fn value(&self, graph: &Graph, id: ValueId) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, self.name(id).as_bytes());
        put_bytes(&mut out, 2, &type_proto(&graph.value(id).ty));
        out
    }
}

/// The opset in which operators learned an element type.
fn since(dtype: DType) -> u32 {
    use DType::*;
    match dtype {
        F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ => 19,
        U4 | I4 => 21,
        F4E2M1 => 23,
        F8E8M0 => 24,
        U2 | I2 => 25,
        _ => OLDEST_OPSET,
    }
}

fn pair(key: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, key.as_bytes());
    put_bytes(&mut out, 2, value.as_bytes());
    out
}

fn type_proto(ty: &Type) -> Vec<u8> {
    let (mut out, mut inner) = (Vec::new(), Vec::new());
    let number = match ty {
        Type::Tensor(t) => {
            put_number(&mut inner, 1, u64::from(t.dtype.onnx().unsigned_abs()));
            if let Some(shape) = &t.shape {
                let mut dims = Vec::new();
                shape.iter().for_each(|d| put_bytes(&mut dims, 1, &dim_proto(d)));
                put_bytes(&mut inner, 2, &dims);
            }
            1
        }
        Type::Sequence(t) => {
            put_bytes(&mut inner, 1, &type_proto(t));
            4
        }
        Type::Optional(t) => {
            put_bytes(&mut inner, 1, &type_proto(t));
            9
        }
        Type::Map { key, value } => {
            put_number(&mut inner, 1, u64::from(key.onnx().unsigned_abs()));
            put_bytes(&mut inner, 2, &type_proto(&TensorType::fixed(*value, &[]).into()));
            5
        }
    };
    put_bytes(&mut out, number, &inner);
    out
}

/// Symbols keep their names; other expressions are left unknown, as readers would take them for names.
fn dim_proto(dim: &Dim) -> Vec<u8> {
    let mut out = Vec::new();
    match (dim.as_const(), dim.as_sym()) {
        (Some(value), _) => put_number(&mut out, 1, value as u64),
        (None, Some(name)) => put_bytes(&mut out, 2, name.as_bytes()),
        (None, None) => {}
    }
    out
}
