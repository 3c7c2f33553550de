//! Graphs, their nodes and values, and the methods that edit them.

use crate::{Attrs, TensorType, Type};
use cranelift_entity::{EntityRef, PrimaryMap, entity_impl};
use planc_kir::Expr;
use planc_tensor::{Dim, Tensor};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Handle of a node within its graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);
entity_impl!(NodeId, "n");

/// Handle of a value within its graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(u32);
entity_impl!(ValueId, "v");

/// The name of an operator: a domain (empty for ai.onnx) and a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpName {
    /// Domain; empty for ai.onnx.
    pub domain: Arc<str>,
    /// Operator type.
    pub name: Arc<str>,
}

impl OpName {
    /// An operator of a domain; `ai.onnx` is the empty domain.
    pub fn new(domain: &str, name: &str) -> OpName {
        let domain = if domain == "ai.onnx" { "" } else { domain };
        OpName { domain: domain.into(), name: name.into() }
    }

    /// An operator of ai.onnx.
    pub fn onnx(name: &str) -> OpName {
        OpName::new("", name)
    }

    /// Whether this is operator `name` of ai.onnx.
    pub fn is(&self, name: &str) -> bool {
        self.domain.is_empty() && &*self.name == name
    }
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_empty() { f.write_str(&self.name) } else { write!(f, "{}::{}", self.domain, self.name) }
    }
}

/// Where a node comes from, for messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// The ONNX node's name, or empty.
    pub node: Arc<str>,
    /// The opset version the model imported for the operator's domain; 0 for made nodes.
    pub opset: u32,
}

/// What defines a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Def {
    /// An input of the graph, by position.
    Input(usize),
    /// A value of the enclosing graph (subgraphs only); which one, the owner's [`Capture`] says.
    Capture,
    /// Result `.1` of a node.
    Node(NodeId, usize),
    /// A constant.
    Const(Tensor),
}

/// A value: what inputs, constants and results of nodes are.
#[derive(Clone, Debug)]
pub struct Value {
    /// Unique within the graph.
    pub name: Arc<str>,
    /// Type.
    pub ty: Type,
    /// What defines it.
    pub def: Def,
    /// The elements of a small integer tensor (rank 0 or 1) as far as shape inference knows them. Not printed.
    pub known: Option<Vec<Dim>>,
}

impl Value {
    /// The constant, if it is one.
    pub fn as_const(&self) -> Option<&Tensor> {
        match &self.def {
            Def::Const(t) => Some(t),
            _ => None,
        }
    }
}

/// A scalar program run on a node's first result before it is stored: operand 0 is the result, the others are `sides`.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// The program.
    pub expr: Expr,
    /// Values that broadcast to the result's shape.
    pub sides: Vec<ValueId>,
}

/// A value of the enclosing graph as a subgraph sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The enclosing graph's value.
    pub outer: ValueId,
    /// The subgraph's value, defined by [`Def::Capture`].
    pub inner: ValueId,
}

/// A graph-valued attribute.
#[derive(Clone, Debug)]
pub struct Subgraph {
    /// Attribute name: `then_branch`, `body`.
    pub name: Arc<str>,
    /// The graph.
    pub graph: Graph,
    /// What it reads of the enclosing graph.
    pub captures: Vec<Capture>,
}

/// A node. All operators have this form.
#[derive(Clone, Debug)]
pub struct Node {
    /// Operator.
    pub op: OpName,
    /// Attributes other than graphs.
    pub attrs: Attrs,
    /// Graph-valued attributes, in the op's order.
    pub subgraphs: Vec<Subgraph>,
    /// Where it comes from.
    pub origin: Origin,
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<Option<ValueId>>,
    epilogue: Option<Epilogue>,
    /// Tie-break of the topological order: the position at import.
    pub(crate) position: u32,
    pub(crate) removed: bool,
}

impl Node {
    /// Operands; `None` for an omitted optional one.
    pub fn inputs(&self) -> &[Option<ValueId>] {
        &self.inputs
    }

    /// Operand `i`; `None` when omitted.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// Results; `None` for an unused optional one.
    pub fn outputs(&self) -> &[Option<ValueId>] {
        &self.outputs
    }

    /// Result `i`; `None` when not asked for.
    pub fn output(&self, i: usize) -> Option<ValueId> {
        self.outputs.get(i).copied().flatten()
    }

    /// The fused epilogue.
    pub fn epilogue(&self) -> Option<&Epilogue> {
        self.epilogue.as_ref()
    }

    /// Every value the node reads: operands, epilogue sides, captures; repeated as often as read.
    pub fn reads(&self) -> impl Iterator<Item = ValueId> {
        let sides = self.epilogue.iter().flat_map(|e| e.sides.iter().copied());
        let captures = self.subgraphs.iter().flat_map(|s| s.captures.iter().map(|c| c.outer));
        self.inputs.iter().flatten().copied().chain(sides).chain(captures)
    }
}

/// A reader of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// A node, listed once for each time it reads the value.
    Node(NodeId),
    /// Output `.0` of the graph.
    Output(usize),
}

/// A dataflow graph. See the crate's header for what it guarantees.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name.
    pub name: String,
    nodes: PrimaryMap<NodeId, Node>,
    values: PrimaryMap<ValueId, Value>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    uses: cranelift_entity::SecondaryMap<ValueId, Vec<Use>>,
    names: HashMap<Arc<str>, ValueId>,
}

/// What [`Graph::add_node`] makes a node of.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    op: OpName,
    attrs: Attrs,
    subgraphs: Vec<Subgraph>,
    origin: Origin,
    inputs: Vec<Option<ValueId>>,
    epilogue: Option<Epilogue>,
    position: Option<u32>,
}

impl NodeBuilder {
    /// A node of operator `op` without operands.
    pub fn new(op: OpName) -> NodeBuilder {
        NodeBuilder {
            op,
            attrs: Attrs::new(),
            subgraphs: vec![],
            origin: Origin::default(),
            inputs: vec![],
            epilogue: None,
            position: None,
        }
    }

    /// Sets the operands.
    pub fn inputs(mut self, inputs: impl IntoIterator<Item = ValueId>) -> NodeBuilder {
        self.inputs = inputs.into_iter().map(Some).collect();
        self
    }

    /// Sets the operands, some omitted.
    pub fn optional_inputs(mut self, inputs: Vec<Option<ValueId>>) -> NodeBuilder {
        self.inputs = inputs;
        self
    }

    /// Sets the attributes.
    pub fn attrs(mut self, attrs: Attrs) -> NodeBuilder {
        self.attrs = attrs;
        self
    }

    /// Sets one attribute.
    pub fn attr(mut self, name: &str, value: impl Into<planc_tensor::Attr>) -> NodeBuilder {
        self.attrs.set(name, value);
        self
    }

    /// Sets the graph-valued attributes.
    pub fn subgraphs(mut self, subgraphs: Vec<Subgraph>) -> NodeBuilder {
        self.subgraphs = subgraphs;
        self
    }

    /// Sets the epilogue.
    pub fn epilogue(mut self, epilogue: Option<Epilogue>) -> NodeBuilder {
        self.epilogue = epilogue;
        self
    }

    /// Sets where the node comes from.
    pub fn origin(mut self, origin: Origin) -> NodeBuilder {
        self.origin = origin;
        self
    }

    /// Takes origin and place in the order from `node`, which the new node replaces or prepares.
    pub fn like(mut self, node: &Node) -> NodeBuilder {
        self.origin = node.origin.clone();
        self.position = Some(node.position);
        self
    }
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// The node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id]
    }

    /// The tensor type of a value; `None` for sequences and optionals.
    pub fn tensor_type(&self, id: ValueId) -> Option<&TensorType> {
        self.values[id].ty.as_tensor()
    }

    /// The constant a value is, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.values[id].as_const()
    }

    /// The node that defines a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<(NodeId, usize)> {
        match self.values[id].def {
            Def::Node(node, output) => Some((node, output)),
            _ => None,
        }
    }

    /// Inputs, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs, in order; a value may be there twice.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The readers of a value.
    pub fn uses(&self, id: ValueId) -> &[Use] {
        self.uses.get(id).map_or(&[], Vec::as_slice)
    }

    /// The only reader of a value, if a single node reads it once.
    pub fn single_user(&self, id: ValueId) -> Option<NodeId> {
        match self.uses(id) {
            [Use::Node(n)] => Some(*n),
            _ => None,
        }
    }

    /// The value of this name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// All nodes, in no meaningful order (see [`Graph::order`]).
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, n)| !n.removed).map(|(id, _)| id)
    }

    /// All values, including those nobody reads any more.
    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        self.values.keys()
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.node_ids().count()
    }

    pub(crate) fn node_capacity(&self) -> usize {
        self.nodes.len()
    }

    /// A name not taken yet: `base`, or `base.2`, `base.3`...
    pub fn unique_name(&self, base: &str) -> Arc<str> {
        if !base.is_empty() && !self.names.contains_key(base) {
            return base.into();
        }
        (2u64..)
            .map(|i| Arc::<str>::from(format!("{base}.{i}")))
            .find(|n| !self.names.contains_key(n))
            .expect("this is a bug: names run out")
    }

    /// Adds a value; its name is made unique.
    fn add_value(&mut self, name: &str, ty: Type, def: Def) -> ValueId {
        let name = self.unique_name(name);
        let id = self.values.push(Value { name: name.clone(), ty, def, known: None });
        self.names.insert(name, id);
        id
    }

    /// Adds an input.
    pub fn add_input(&mut self, name: &str, ty: impl Into<Type>) -> ValueId {
        let id = self.add_value(name, ty.into(), Def::Input(self.inputs.len()));
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_const(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let ty = TensorType::fixed(tensor.dtype(), tensor.shape());
        self.add_value(name, ty.into(), Def::Const(tensor))
    }

    /// Adds a value that stands for one of the enclosing graph.
    pub fn add_capture(&mut self, name: &str, ty: Type) -> ValueId {
        self.add_value(name, ty, Def::Capture)
    }

    /// Makes all inputs values of the enclosing graph (subgraphs only): their owner captures what they stand for, or
    /// replaces their uses.
    pub fn inputs_to_captures(&mut self) -> Vec<ValueId> {
        let inputs = std::mem::take(&mut self.inputs);
        inputs.iter().for_each(|v| self.values[*v].def = Def::Capture);
        inputs
    }

    /// Adds a node at the end of the order (or where [`NodeBuilder::like`] says) with results of the given names and
    /// types; `None` for a result that is not asked for.
    pub fn add_node(&mut self, b: NodeBuilder, outputs: Vec<Option<(String, Type)>>) -> NodeId {
        let position = b.position.unwrap_or(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let id = self.nodes.push(Node {
            op: b.op,
            attrs: b.attrs,
            subgraphs: b.subgraphs,
            origin: b.origin,
            inputs: b.inputs,
            outputs: vec![],
            epilogue: b.epilogue,
            position,
            removed: false,
        });
        self.record_reads(id);
        for (i, output) in outputs.into_iter().enumerate() {
            let value = output.map(|(name, ty)| self.add_value(&name, ty, Def::Node(id, i)));
            self.nodes[id].outputs.push(value);
        }
        id
    }

    /// Adds a node with one result; that result.
    pub fn add_op(&mut self, b: NodeBuilder, name: &str, ty: impl Into<Type>) -> ValueId {
        let node = self.add_node(b, vec![Some((name.to_string(), ty.into()))]);
        self.nodes[node].outputs[0].expect("this is a bug: the result was asked for")
    }

    fn record_reads(&mut self, id: NodeId) {
        let reads: Vec<ValueId> = self.nodes[id].reads().collect();
        reads.into_iter().for_each(|v| self.uses[v].push(Use::Node(id)));
    }

    fn forget_reads(&mut self, id: NodeId) {
        let reads: Vec<ValueId> = self.nodes[id].reads().collect();
        for v in reads {
            let uses = &mut self.uses[v];
            if let Some(at) = uses.iter().position(|u| *u == Use::Node(id)) {
                uses.remove(at);
            }
        }
    }

    /// Changes a node's attributes, operands or epilogue through `edit` and keeps uses exact.
    pub fn edit_node(&mut self, id: NodeId, edit: impl FnOnce(&mut NodeEdit<'_>)) {
        self.forget_reads(id);
        edit(&mut NodeEdit { node: &mut self.nodes[id] });
        self.record_reads(id);
    }

    /// Sets the outputs.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        for v in std::mem::take(&mut self.outputs) {
            self.uses[v].retain(|u| matches!(u, Use::Node(_)));
        }
        for (i, v) in outputs.iter().enumerate() {
            self.uses[*v].push(Use::Output(i));
        }
        self.outputs = outputs;
    }

    /// Makes every reader of `old` read `new`. The outputs of a graph keep their names: `new` takes the name of an
    /// output it replaces where `new` is a result of a node that is not an output itself.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        let is_output = |g: &Graph, v: ValueId| g.uses(v).iter().any(|u| matches!(u, Use::Output(_)));
        if is_output(self, old) && !is_output(self, new) && self.producer(new).is_some() {
            self.swap_names(old, new);
        }
        for u in std::mem::take(&mut self.uses[old]) {
            match u {
                Use::Output(i) => self.outputs[i] = new,
                Use::Node(n) => {
                    let node = &mut self.nodes[n];
                    let captures = node.subgraphs.iter_mut().flat_map(|s| &mut s.captures).map(|c| &mut c.outer);
                    let sides = node.epilogue.iter_mut().flat_map(|e| &mut e.sides);
                    let reads = node.inputs.iter_mut().flatten().chain(sides).chain(captures);
                    reads.filter(|v| **v == old).for_each(|v| *v = new);
                }
            }
            self.uses[new].push(u);
        }
    }

    /// Exchanges the names of two values: a replacement takes over the name that diffs should show.
    pub fn swap_names(&mut self, a: ValueId, b: ValueId) {
        let (name_a, name_b) = (self.values[a].name.clone(), self.values[b].name.clone());
        self.names.insert(name_a.clone(), b);
        self.names.insert(name_b.clone(), a);
        self.values[a].name = name_b;
        self.values[b].name = name_a;
    }

    /// Makes `order` the order that [`Graph::order`] gives, as far as producers come before readers in it.
    pub fn set_order(&mut self, order: &[NodeId]) {
        for (position, id) in order.iter().enumerate() {
            self.nodes[*id].position = u32::try_from(position).unwrap_or(u32::MAX);
        }
    }

    /// Gives a value another name, made unique.
    pub fn rename(&mut self, id: ValueId, name: &str) {
        let old = self.values[id].name.clone();
        self.names.remove(&old);
        let name = self.unique_name(name);
        self.names.insert(name.clone(), id);
        self.values[id].name = name;
    }

    /// Removes a node. Its results must have no readers.
    pub fn remove_node(&mut self, id: NodeId) {
        self.forget_reads(id);
        let node = &mut self.nodes[id];
        debug_assert!(!node.removed);
        node.removed = true;
        for v in node.outputs.clone().into_iter().flatten() {
            debug_assert!(self.uses(v).is_empty(), "this is a bug: a removed node's result is still read");
            let name = self.values[v].name.clone();
            self.names.remove(&name);
        }
    }

    /// Forgets that result `i` of a node was asked for. It must have no readers.
    pub fn drop_output(&mut self, id: NodeId, i: usize) {
        if let Some(v) = self.nodes[id].outputs[i].take() {
            debug_assert!(self.uses(v).is_empty(), "this is a bug: a dropped result is still read");
            let name = self.values[v].name.clone();
            self.names.remove(&name);
        }
    }

    /// Turns a node's result into a constant; the node stays until it is removed.
    pub fn replace_with_const(&mut self, old: ValueId, tensor: Tensor) -> ValueId {
        let name = self.values[old].name.clone();
        let new = self.add_const(&format!("{name}.const"), tensor);
        self.swap_names(old, new);
        self.replace_uses(old, new);
        new
    }

    /// Sets a value's type.
    pub fn set_type(&mut self, id: ValueId, ty: impl Into<Type>) {
        self.values[id].ty = ty.into();
    }

    /// Sets what shape inference knows of a value's elements.
    pub fn set_known(&mut self, id: ValueId, known: Option<Vec<Dim>>) {
        self.values[id].known = known;
    }

    /// The subgraph `i` of a node, for editing (captures cannot change).
    pub fn subgraph_mut(&mut self, id: NodeId, i: usize) -> &mut Graph {
        &mut self.nodes[id].subgraphs[i].graph
    }

    /// Whether `id` is a node of this graph that was not removed.
    pub fn contains(&self, id: NodeId) -> bool {
        id.index() < self.nodes.len() && !self.nodes[id].removed
    }
}

/// What [`Graph::edit_node`] lets its caller change.
pub struct NodeEdit<'a> {
    node: &'a mut Node,
}

impl NodeEdit<'_> {
    /// The operands.
    pub fn inputs(&mut self) -> &mut Vec<Option<ValueId>> {
        &mut self.node.inputs
    }

    /// The attributes.
    pub fn attrs(&mut self) -> &mut Attrs {
        &mut self.node.attrs
    }

    /// The operator.
    pub fn set_op(&mut self, op: OpName) {
        self.node.op = op;
    }

    /// The epilogue.
    pub fn set_epilogue(&mut self, epilogue: Option<Epilogue>) {
        self.node.epilogue = epilogue;
    }

    /// Replaces the sides of the epilogue.
    pub fn map_sides(&mut self, f: impl Fn(ValueId) -> ValueId) {
        self.node.epilogue.iter_mut().flat_map(|e| &mut e.sides).for_each(|v| *v = f(*v));
    }

    /// The graph-valued attributes with their captures.
    pub fn subgraphs(&mut self) -> &mut Vec<Subgraph> {
        &mut self.node.subgraphs
    }
}
