//! Rewriting an operator into others, where it has no evaluation of its own.
//!
//! Each node that is added is inferred at once, so that what is built on it sees its type.

use planc_ir::{Attrs, Graph, Node, NodeBuilder, NodeId, OpName, TensorType, Type, ValueId};
use planc_tensor::{Attr, DType, Tensor};

/// Adds the nodes that replace one, named after its first result.
pub(crate) struct Rebuild<'g> {
    pub graph: &'g mut Graph,
    /// The node to replace.
    pub node: Node,
    name: String,
}

impl<'g> Rebuild<'g> {
    pub fn new(graph: &'g mut Graph, id: NodeId) -> Rebuild<'g> {
        let node = graph.node(id).clone();
        let first = node.outputs().iter().flatten().next();
        let name = first.map_or(String::new(), |v| graph.value(*v).name.to_string());
        Rebuild { graph, node, name }
    }

    /// Operand `i` of the node to replace.
    pub fn operand(&self, i: usize) -> Result<ValueId, String> {
        self.node.input(i).ok_or_else(|| format!("operand {i} is missing"))
    }

    /// A constant.
    pub fn constant(&mut self, tag: &str, t: Tensor) -> ValueId {
        self.graph.add_const(&format!("{}.{tag}", self.name), t)
    }

    /// A node of ai.onnx with `count` results.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        attrs: &[(&str, Attr)],
        (tag, count): (&str, usize),
    ) -> Result<Vec<ValueId>, String> {
        let attrs: Attrs = attrs.iter().map(|(n, a)| ((*n).to_string(), a.clone())).collect();
        let builder = NodeBuilder::new(OpName::onnx(op)).optional_inputs(inputs.to_vec()).attrs(attrs).like(&self.node);
        let unknown: Type = TensorType::unranked(DType::F32).into();
        let name = |i: usize| if i == 0 { format!("{}.{tag}", self.name) } else { format!("{}.{tag}{i}", self.name) };
        let results = (0..count).map(|i| Some((name(i), unknown.clone()))).collect();
        let made = self.graph.add_node(builder, results);
        crate::infer_node(self.graph, made).map_err(|e| e.to_string())?;
        Ok(self.graph.node(made).outputs().iter().flatten().copied().collect())
    }

    /// A node of ai.onnx with one result.
    pub fn op(&mut self, op: &str, inputs: &[ValueId], attrs: &[(&str, Attr)], tag: &str) -> Result<ValueId, String> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.node(op, &inputs, attrs, (tag, 1)).map(|v| v[0])
    }
}
