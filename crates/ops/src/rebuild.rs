//! Rewriting an operator into others, where it has no evaluation of its own.
//!
//! Each node that is added is inferred at once, so that what is built on it sees its type.

use planc_ir::{Attrs, Graph, Node, NodeBuilder, NodeId, OpName, TensorType, Type, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor};

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
        results: (&str, usize),
    ) -> Result<Vec<ValueId>, String> {
        self.named(OpName::onnx(op), inputs, attrs, results)
    }

    /// A node of any domain with `count` results.
    pub fn named(
        &mut self,
        op: OpName,
        inputs: &[Option<ValueId>],
        attrs: &[(&str, Attr)],
        (tag, count): (&str, usize),
    ) -> Result<Vec<ValueId>, String> {
        let attrs: Attrs = attrs.iter().map(|(n, a)| ((*n).to_string(), a.clone())).collect();
        let builder = NodeBuilder::new(op).optional_inputs(inputs.to_vec()).attrs(attrs).like(&self.node);
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

    /// The node of ai.onnx with the same name, operands and attributes, in place of one of one result.
    pub fn renamed(mut self) -> Result<Vec<Option<ValueId>>, String> {
        let (op, operands, attrs) = (self.node.op.name.clone(), self.node.inputs().to_vec(), self.node.attrs.clone());
        let attrs: Vec<(&str, Attr)> = attrs.iter().map(|(n, a)| (n, a.clone())).collect();
        Ok(vec![Some(self.node(&op, &operands, &attrs, ("onnx", 1))?[0])])
    }

    /// The element type of a value.
    pub fn dtype(&self, v: ValueId) -> DType {
        self.graph.tensor_type(v).map_or(DType::F32, |t| t.dtype)
    }

    /// The extents of a value.
    ///
    /// # Errors
    /// When their number is not known.
    pub fn dims(&self, v: ValueId) -> Result<Vec<Dim>, String> {
        let shape = self.graph.tensor_type(v).and_then(|t| t.shape.clone());
        shape.ok_or_else(|| format!("the rank of {:?} is not known", self.graph.value(v).name))
    }

    /// A constant vector of integers: extents, axes, bounds.
    pub fn ints(&mut self, tag: &str, v: &[i64]) -> ValueId {
        self.constant(tag, Tensor::vector(v.to_vec()))
    }

    /// A constant number of element type `dtype`, rounded to it.
    pub fn number(&mut self, tag: &str, dtype: DType, v: f64) -> Result<ValueId, String> {
        let number = crate::floats::narrow(dtype, &[], vec![v]).map_err(|e| e.to_string())?;
        Ok(self.constant(tag, number))
    }

    /// One extent of a value, an i64 vector of one element.
    pub fn extent(&mut self, v: ValueId, axis: i64, tag: &str) -> Result<ValueId, String> {
        self.op("Shape", &[v], &[("start", Attr::Int(axis)), ("end", Attr::Int(axis + 1))], tag)
    }

    /// A value under another shape, as Reshape counts extents.
    pub fn reshape(&mut self, v: ValueId, shape: &[i64], tag: &str) -> Result<ValueId, String> {
        let shape = self.ints(&format!("{tag}.shape"), shape);
        self.op("Reshape", &[v, shape], &[], tag)
    }

    /// A value with its axes in another order.
    pub fn transpose(&mut self, v: ValueId, perm: &[i64], tag: &str) -> Result<ValueId, String> {
        self.op("Transpose", &[v], &[("perm", Attr::Ints(perm.to_vec()))], tag)
    }

    /// A value with new axes of extent 1 at `axes` of the result.
    pub fn unsqueeze(&mut self, v: ValueId, axes: &[i64], tag: &str) -> Result<ValueId, String> {
        let axes = self.ints(&format!("{tag}.axes"), axes);
        self.op("Unsqueeze", &[v, axes], &[], tag)
    }

    /// The elements from `start` to `end` along one axis; the bounds are vectors of one element.
    pub fn between(
        &mut self,
        v: ValueId,
        (start, end): (ValueId, ValueId),
        axis: i64,
        tag: &str,
    ) -> Result<ValueId, String> {
        let axis = self.ints(&format!("{tag}.axis"), &[axis]);
        self.op("Slice", &[v, start, end, axis], &[], tag)
    }

    /// The elements from `start` to `end` along one axis.
    pub fn slice(&mut self, v: ValueId, (start, end): (i64, i64), axis: i64, tag: &str) -> Result<ValueId, String> {
        let bounds = [start, end].map(|b| self.ints(&format!("{tag}.bound"), &[b]));
        self.between(v, (bounds[0], bounds[1]), axis, tag)
    }

    /// Values one after the other along an axis.
    pub fn concat(&mut self, v: &[ValueId], axis: i64, tag: &str) -> Result<ValueId, String> {
        self.op("Concat", v, &[("axis", Attr::Int(axis))], tag)
    }

    /// A value with another element type.
    pub fn cast(&mut self, v: ValueId, to: DType, tag: &str) -> Result<ValueId, String> {
        self.op("Cast", &[v], &[("to", Attr::Int(i64::from(to.onnx())))], tag)
    }

    /// Codes as real numbers; a zero point may be omitted.
    pub fn real(
        &mut self,
        codes: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
        tag: &str,
    ) -> Result<ValueId, String> {
        Ok(self.node("DequantizeLinear", &[Some(codes), Some(scale), zero], &[], (tag, 1))?[0])
    }

    /// Real numbers as codes of element type `dtype`; a zero point may be omitted.
    pub fn codes(
        &mut self,
        x: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
        dtype: DType,
    ) -> Result<ValueId, String> {
        let to = [("output_dtype", Attr::Int(i64::from(dtype.onnx())))];
        let attrs = if zero.is_some() { &[][..] } else { &to[..] };
        Ok(self.node("QuantizeLinear", &[Some(x), Some(scale), zero], attrs, ("codes", 1))?[0])
    }
}
