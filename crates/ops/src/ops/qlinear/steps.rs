//! Spelling out operators on quantised operands: sums of integers, then elementwise steps to real numbers and back.
//!
//! Guarantees: what is made gives what the operator's evaluation gives, bit for bit where it has the same steps.

use planc_ir::{Graph, Node, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_tensor::{DType, Dim, Tensor};

/// A node that is being spelled out.
pub(crate) struct Steps<'g> {
    graph: &'g mut Graph,
    /// The node.
    pub node: Node,
    name: String,
    shape: Option<Vec<Dim>>,
}

impl<'g> Steps<'g> {
    /// Of a node with one result.
    ///
    /// # Errors
    /// When the result is not asked for or not a tensor.
    pub fn new(graph: &'g mut Graph, id: NodeId) -> Result<Steps<'g>, String> {
        let node = graph.node(id).clone();
        let out = node.output(0).ok_or("the result is not asked for")?;
        let name = graph.value(out).name.to_string();
        let shape = graph.tensor_type(out).ok_or("the result is not a tensor")?.shape.clone();
        Ok(Steps { graph, node, name, shape })
    }

    /// Operand `i`.
    ///
    /// # Errors
    /// When it is omitted.
    pub fn input(&self, i: usize) -> Result<ValueId, String> {
        self.node.input(i).ok_or_else(|| format!("operand {i} is missing"))
    }

    /// The element type of a value.
    pub fn dtype(&self, v: ValueId) -> DType {
        self.graph.tensor_type(v).map_or(DType::F32, |t| t.dtype)
    }

    /// The number of axes of a value.
    ///
    /// # Errors
    /// When it is not known.
    pub fn rank(&self, v: ValueId) -> Result<usize, String> {
        self.graph.tensor_type(v).and_then(TensorType::rank).ok_or_else(|| "a rank is not known".into())
    }

    /// Whether a value has one element whatever the run.
    pub fn is_single(&self, v: ValueId) -> bool {
        let shape = self.graph.tensor_type(v).and_then(TensorType::static_shape);
        shape.is_some_and(|s| s.iter().product::<usize>() == 1)
    }

    /// A node whose result has the shape of the whole node's.
    pub fn full(&mut self, tag: &str, b: NodeBuilder, dtype: DType) -> ValueId {
        let ty = TensorType { shape: self.shape.clone(), ..TensorType::unranked(dtype) };
        self.graph.add_op(b.like(&self.node), &format!("{}.{tag}", self.name), ty)
    }

    /// Operator `op` of ai.onnx, with a result of the whole node's shape.
    pub fn op(&mut self, tag: &str, op: &str, inputs: &[ValueId], dtype: DType) -> ValueId {
        self.full(tag, NodeBuilder::new(OpName::onnx(op)).inputs(inputs.iter().copied()), dtype)
    }

    /// `x` as f32.
    pub fn real(&mut self, x: ValueId) -> ValueId {
        let cast = NodeBuilder::new(OpName::onnx("Cast")).inputs([x]).attr("to", i64::from(DType::F32.onnx()));
        self.full("real", cast, DType::F32)
    }

    /// `op` of two scales; a scale has one element, or one per channel along its only axis.
    pub fn scales(&mut self, tag: &str, op: &str, a: ValueId, b: ValueId) -> ValueId {
        let shape = |v: ValueId| self.graph.tensor_type(v).and_then(|t| t.shape.clone()).unwrap_or_default();
        let (a_shape, b_shape) = (shape(a), shape(b));
        let longer = if self.is_single(a) && b_shape.len() >= a_shape.len() { b_shape } else { a_shape };
        let node = NodeBuilder::new(OpName::onnx(op)).inputs([a, b]).like(&self.node);
        self.graph.add_op(node, &format!("{}.{tag}", self.name), TensorType::new(self.dtype(a), longer))
    }

    /// A vector of one element per channel with `trailing` axes of 1 after it; what has one element stays.
    ///
    /// # Errors
    /// When it is neither.
    pub fn along_channels(&mut self, tag: &str, v: ValueId, trailing: usize) -> Result<ValueId, String> {
        if self.is_single(v) && self.rank(v)? <= 1 || trailing == 0 {
            return Ok(v);
        }
        let ty = self.graph.tensor_type(v).cloned().ok_or("a scale is not a tensor")?;
        let Some([channels]) = ty.shape.as_deref() else { return Err("a scale or bias has several axes".into()) };
        let mut shape = vec![channels.clone()];
        shape.resize(1 + trailing, Dim::from(1i64));
        let axes = Tensor::vector((1..=trailing as i64).collect::<Vec<_>>());
        let axes = self.graph.add_const(&format!("{}.{tag}.axes", self.name), axes);
        let node = NodeBuilder::new(OpName::onnx("Unsqueeze")).inputs([v, axes]).like(&self.node);
        Ok(self.graph.add_op(node, &format!("{}.{tag}", self.name), TensorType::new(ty.dtype, shape)))
    }

    /// Codes as real numbers.
    ///
    /// # Errors
    /// When they are not a tensor.
    pub fn dequantised(
        &mut self,
        tag: &str,
        codes: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
    ) -> Result<ValueId, String> {
        let ty = self.graph.tensor_type(codes).cloned().ok_or("an operand is not a tensor")?;
        let node = NodeBuilder::new(OpName::onnx("DequantizeLinear"));
        let node = node.optional_inputs(vec![Some(codes), Some(scale), zero]).like(&self.node);
        Ok(self.graph.add_op(node, &format!("{}.{tag}", self.name), TensorType { dtype: DType::F32, ..ty }))
    }

    /// Real numbers in units of the result's step, rounded: the end of operators that requantise.
    pub fn requantise(&mut self, ratio: ValueId, zero: ValueId) -> ValueId {
        let one = self.graph.add_const(&format!("{}.one", self.name), Tensor::scalar(1f32));
        let to = self.dtype(zero);
        self.op("codes", "QuantizeLinear", &[ratio, one, zero], to)
    }
}
