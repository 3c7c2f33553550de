//! What the functions of a row are given.

use crate::def::{Default, OpDef};
use crate::error::OpError;
use planc_ir::{Attrs, Graph, NodeBuilder, NodeId, OpName, Subgraph, TensorType, Type, ValueId};
use planc_kir::Kernel;
use planc_tensor::{Attr, DType, Dim, Tensor};

/// Shared by all contexts: attributes, with the row's defaults.
macro_rules! attributes {
    () => {
        fn default_of(&self, name: &str) -> Default {
            self.row.attr(name).map_or(Default::None, |a| a.default)
        }

        /// An integer attribute or its default; 0 without one.
        pub fn int(&self, name: &str) -> i64 {
            self.opt_int(name).unwrap_or(0)
        }

        /// An integer attribute or its default.
        pub fn opt_int(&self, name: &str) -> Option<i64> {
            self.attrs.int(name).or(if let Default::Int(v) = self.default_of(name) { Some(v) } else { None })
        }

        /// An integer attribute or its default, as a truth value.
        pub fn flag(&self, name: &str) -> bool {
            self.int(name) != 0
        }

        /// A float attribute or its default; 0 without one.
        pub fn float(&self, name: &str) -> f32 {
            self.opt_float(name).unwrap_or(0.0)
        }

        /// A float attribute or its default.
        pub fn opt_float(&self, name: &str) -> Option<f32> {
            self.attrs.float(name).or(if let Default::Float(v) = self.default_of(name) { Some(v) } else { None })
        }

        /// A text attribute or its default; empty without one.
        pub fn str(&self, name: &str) -> &str {
            let default = if let Default::Str(v) = self.default_of(name) { v } else { "" };
            self.attrs.str(name).unwrap_or(default)
        }

        /// An attribute of integers or its default.
        pub fn ints(&self, name: &str) -> Option<&[i64]> {
            self.attrs.ints(name).or(if let Default::Ints(v) = self.default_of(name) { Some(v) } else { None })
        }

        /// The attribute as the node has it, without default.
        pub fn attr(&self, name: &str) -> Option<&Attr> {
            self.attrs.get(name)
        }

        /// All attributes of the node.
        pub fn attrs(&self) -> &Attrs {
            self.attrs
        }
    };
}

/// Shared by inference and lowering: operands' types and values.
macro_rules! operands {
    () => {
        /// Number of operands, omitted ones in between included.
        pub fn input_count(&self) -> usize {
            self.inputs.len()
        }

        /// Whether operand `i` is there.
        pub fn has(&self, i: usize) -> bool {
            self.inputs.get(i).is_some_and(Option::is_some)
        }

        /// The type of operand `i`.
        ///
        /// # Errors
        /// When it is omitted.
        pub fn ty(&self, i: usize) -> Result<&'a Type, OpError> {
            let arg = self.inputs.get(i).copied().flatten();
            arg.map(|a| a.ty).ok_or_else(|| OpError::arity(format!("operand {i} is missing")))
        }

        /// The type of operand `i`, a tensor.
        ///
        /// # Errors
        /// When it is omitted or not a tensor.
        pub fn tensor(&self, i: usize) -> Result<&'a TensorType, OpError> {
            self.ty(i)?.as_tensor().ok_or_else(|| OpError::type_(format!("operand {i} is not a tensor")))
        }

        /// The element type of tensor operand `i`.
        ///
        /// # Errors
        /// As [`Self::tensor`].
        pub fn dtype(&self, i: usize) -> Result<DType, OpError> {
            Ok(self.tensor(i)?.dtype)
        }

        /// The extents of tensor operand `i`; `None` when its rank is unknown.
        ///
        /// # Errors
        /// As [`Self::tensor`].
        pub fn shape(&self, i: usize) -> Result<Option<&'a [Dim]>, OpError> {
            Ok(self.tensor(i)?.shape.as_deref())
        }

        /// Operand `i` if it is a constant.
        pub fn constant(&self, i: usize) -> Option<&'a Tensor> {
            self.inputs.get(i).copied().flatten()?.constant
        }

        /// The elements of integer operand `i` (rank 0 or 1) as far as they are known before running.
        pub fn known(&self, i: usize) -> Option<Vec<Dim>> {
            let arg = self.inputs.get(i).copied().flatten()?;
            match arg.constant {
                Some(t) if t.rank() <= 1 => Some(t.view().to_i64()?.into_iter().map(Dim::from).collect()),
                Some(_) => None,
                None => arg.known.map(<[Dim]>::to_vec),
            }
        }

        /// The elements of integer operand `i` if all are known numbers.
        pub fn known_ints(&self, i: usize) -> Option<Vec<i64>> {
            self.known(i)?.iter().map(Dim::as_const).collect()
        }

        /// Attribute `name`, one axis, made non-negative for `rank` axes.
        ///
        /// # Errors
        /// When it is out of range.
        pub fn axis(&self, name: &str, rank: usize) -> Result<usize, OpError> {
            normal_axis(self.int(name), rank)
        }
    };
}

/// `axis` counted from the front for a tensor of `rank` axes.
///
/// # Errors
/// When it is not in `-rank..rank`.
pub fn normal_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let r = rank as i64;
    if axis < -r || axis >= r {
        return Err(OpError::attribute(format!("axis {axis} is out of range for rank {rank}")));
    }
    Ok(if axis < 0 { axis + r } else { axis } as usize)
}

/// An operand as inference and lowering see it.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a> {
    /// Type.
    pub ty: &'a Type,
    /// Its value, if it is a constant.
    pub constant: Option<&'a Tensor>,
    /// Its elements, as far as inference knows them.
    pub known: Option<&'a [Dim]>,
}

/// Context of `infer`.
pub struct InferCx<'a> {
    pub(crate) row: &'static OpDef,
    pub(crate) attrs: &'a Attrs,
    pub(crate) inputs: Vec<Option<Arg<'a>>>,
    pub(crate) subgraphs: &'a mut [Subgraph],
    pub(crate) output_names: Vec<Option<String>>,
    pub(crate) outputs: Vec<Option<Type>>,
    pub(crate) known: Vec<Option<Vec<Dim>>>,
}

/// Elements that inference keeps track of at most: enough for every shape, small enough to be cheap.
pub(crate) const MAX_KNOWN: usize = 64;

impl<'a> InferCx<'a> {
    /// A context for a node outside of a graph. `output_names`: one per result asked for.
    pub fn new(
        row: &'static OpDef,
        attrs: &'a Attrs,
        inputs: Vec<Option<Arg<'a>>>,
        subgraphs: &'a mut [Subgraph],
        output_names: Vec<Option<String>>,
    ) -> InferCx<'a> {
        let n = output_names.len();
        InferCx { row, attrs, inputs, subgraphs, output_names, outputs: vec![None; n], known: vec![None; n] }
    }

    attributes!();
    operands!();

    /// Number of results asked for, omitted ones in between included.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// The graph-valued attribute `name`.
    ///
    /// # Errors
    /// When the node does not have it.
    pub fn subgraph(&mut self, name: &str) -> Result<&mut Subgraph, OpError> {
        let found = self.subgraphs.iter_mut().find(|s| &*s.name == name);
        found.ok_or_else(|| OpError::attribute(format!("attribute {name} is missing")))
    }

    /// An extent of result `i` that is only known after it ran: a symbol of its own.
    pub fn fresh(&self, i: usize, axis: usize) -> Dim {
        let name = self.output_names.get(i).cloned().flatten().unwrap_or_default();
        Dim::sym(&format!("{name}.d{axis}"))
    }

    /// Sets the type of result `i`; results not asked for are ignored.
    pub fn set(&mut self, i: usize, ty: impl Into<Type>) {
        if let Some(slot) = self.outputs.get_mut(i) {
            *slot = Some(ty.into());
        }
    }

    /// Sets result `i` to a tensor of known rank.
    pub fn set_tensor(&mut self, i: usize, dtype: DType, shape: Vec<Dim>) {
        self.set(i, TensorType::new(dtype, shape));
    }

    /// Sets result `i` to a tensor whose rank may be unknown.
    pub fn set_shape(&mut self, i: usize, dtype: DType, shape: Option<Vec<Dim>>) {
        self.set(i, shape.map_or_else(|| TensorType::unranked(dtype), |s| TensorType::new(dtype, s)));
    }

    /// Says what the elements of integer result `i` are.
    pub fn set_known(&mut self, i: usize, known: Option<Vec<Dim>>) {
        if let Some(slot) = self.known.get_mut(i) {
            *slot = known.filter(|k| k.len() <= MAX_KNOWN);
        }
    }

    /// What was set: types and known elements of the results.
    pub fn finish(self) -> (Vec<Option<Type>>, Vec<Option<Vec<Dim>>>) {
        (self.outputs, self.known)
    }
}

/// Context of `eval`.
pub struct EvalCx<'a> {
    pub(crate) row: &'static OpDef,
    pub(crate) attrs: &'a Attrs,
    pub(crate) outputs: &'a [DType],
    pub(crate) memory_limit: usize,
}

impl<'a> EvalCx<'a> {
    /// A context for the results' element types `outputs` (one per result asked for). Evaluations refuse results above
    /// `memory_limit` bytes.
    pub fn new(row: &'static OpDef, attrs: &'a Attrs, outputs: &'a [DType], memory_limit: usize) -> EvalCx<'a> {
        EvalCx { row, attrs, outputs, memory_limit }
    }

    attributes!();

    /// Number of results asked for.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// The element type of result `i`, as inference gave it.
    ///
    /// # Errors
    /// When it was not asked for.
    pub fn output_dtype(&self, i: usize) -> Result<DType, OpError> {
        self.outputs.get(i).copied().ok_or_else(|| OpError::arity(format!("result {i} is not asked for")))
    }

    /// Refuses results whose bytes are beyond the limit; call it before allocating for shapes that data decide.
    ///
    /// # Errors
    /// When `shape` of `dtype` is too large.
    pub fn reserve(&self, dtype: DType, shape: &[usize]) -> Result<usize, OpError> {
        let count = planc_tensor::element_count(shape);
        let bytes = count.and_then(|n| if dtype == DType::String { n.checked_mul(24) } else { dtype.bytes_for(n) });
        match (count, bytes) {
            (Some(n), Some(b)) if b <= self.memory_limit => Ok(n),
            _ => Err(OpError::limit(format!("a result of {dtype}{shape:?} is beyond {} bytes", self.memory_limit))),
        }
    }

    /// Evaluates another operator with these operands: for operators defined by others.
    ///
    /// # Errors
    /// As that operator's evaluation.
    pub fn eval_other(
        &self,
        row: &'static OpDef,
        attrs: &Attrs,
        inputs: &[Option<planc_tensor::View<'_>>],
    ) -> Result<Vec<Tensor>, OpError> {
        let eval = row.eval.ok_or_else(|| OpError::unsupported(format!("{} cannot be evaluated", row.name)))?;
        eval(&EvalCx { row, attrs, outputs: self.outputs, memory_limit: self.memory_limit }, inputs)
    }
}

/// Operand `i`.
///
/// # Errors
/// When it is omitted.
pub fn operand<'v>(inputs: &[Option<planc_tensor::View<'v>>], i: usize) -> Result<planc_tensor::View<'v>, OpError> {
    inputs.get(i).copied().flatten().ok_or_else(|| OpError::arity(format!("operand {i} is missing")))
}

/// Context of `lower`.
pub struct LowerCx<'a> {
    pub(crate) row: &'static OpDef,
    pub(crate) attrs: &'a Attrs,
    pub(crate) inputs: Vec<Option<Arg<'a>>>,
    pub(crate) outputs: Vec<Option<&'a Type>>,
}

impl<'a> LowerCx<'a> {
    /// The context of a node of a graph whose types are inferred.
    pub fn of(graph: &'a Graph, id: NodeId) -> Option<LowerCx<'a>> {
        let node = graph.node(id);
        let row = crate::table::row(&node.op)?;
        let inputs = node.inputs().iter().map(|v| v.map(|v| crate::infer::arg(graph, v))).collect();
        let outputs = node.outputs().iter().map(|v| v.map(|v| &graph.value(v).ty)).collect();
        Some(LowerCx { row, attrs: &node.attrs, inputs, outputs })
    }

    attributes!();
    operands!();

    /// The type of tensor result `i`.
    ///
    /// # Errors
    /// When it is not asked for or not a tensor.
    pub fn output(&self, i: usize) -> Result<&'a TensorType, OpError> {
        let ty = self.outputs.get(i).copied().flatten().and_then(Type::as_tensor);
        ty.ok_or_else(|| OpError::arity(format!("result {i} is missing or not a tensor")))
    }
}

/// What a node lowers to.
#[derive(Clone, Debug, PartialEq)]
pub enum Lowered {
    /// A kernel over some of the node's operands.
    Kernel {
        /// The kernel.
        kernel: Kernel,
        /// For each operand of the kernel, the number of the node's operand; omitted operands stay omitted.
        operands: Vec<usize>,
    },
    /// The reference evaluation.
    Reference,
    /// Control flow: the backend builds programs of the subgraphs.
    Control,
}

impl Lowered {
    /// A kernel over the node's first `n` operands.
    pub fn kernel(kernel: Kernel, n: usize) -> Lowered {
        Lowered::Kernel { kernel, operands: (0..n).collect() }
    }
}

/// Rewrites a node into others: adds nodes and returns the values that replace the node's results, or says why not.
pub type Decompose = fn(&mut Graph, NodeId) -> Result<Vec<Option<ValueId>>, String>;

/// Context of an upgrade step: the node as read so far, and the graph to add constants and nodes to.
pub struct UpgradeCx<'a> {
    /// The graph the node will be part of.
    pub graph: &'a mut Graph,
    /// Operator; a step may change it.
    pub op: &'a mut OpName,
    /// Attributes.
    pub attrs: &'a mut Attrs,
    /// Operands.
    pub inputs: &'a mut Vec<Option<ValueId>>,
    /// Name of the node's first result, to name made values after.
    pub name: &'a str,
    /// The opset the node was written for.
    pub opset: u32,
}

impl UpgradeCx<'_> {
    /// Moves an attribute of integers to operand `i` as an i64 vector; nothing when the node does not have it.
    pub fn ints_to_input(&mut self, name: &str, i: usize) {
        if let Some(Attr::Ints(v)) = self.attrs.take(name) {
            self.const_input(name, i, Tensor::vector(v));
        }
    }

    /// Sets operand `i` to a constant.
    pub fn const_input(&mut self, tag: &str, i: usize, tensor: Tensor) {
        let value = self.graph.add_const(&format!("{}.{tag}", self.name), tensor);
        if self.inputs.len() <= i {
            self.inputs.resize(i + 1, None);
        }
        self.inputs[i] = Some(value);
    }

    /// Adds a node before this one; its result.
    pub fn add_op(&mut self, tag: &str, b: NodeBuilder, ty: impl Into<Type>) -> ValueId {
        self.graph.add_op(b, &format!("{}.{tag}", self.name), ty)
    }
}
