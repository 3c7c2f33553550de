//! From an optimised graph to the programs of a plan: nodes become steps, values get storage, bodies of control flow
//! become programs of their own. What all backends share.
//!
//! Guarantees: the same graph and choices give the same programs and weights, byte for byte, on any host. A backend
//! implements [`Select`]: it sees kernels, never operators, and says for each how it is run. What it declines becomes a
//! step that evaluates the operator's reference. Each choice is recorded as a [`Decision`]. Deliberately absent: passes,
//! layouts, code generation, running.

use planc_ir::{Def, Graph, Node, NodeId, Subgraph, Type, ValueId};
use planc_kir::{Kernel, Reference};
use planc_ops::{EvalCx, LowerCx, NodeError, OpError, locate};
use planc_plan::container::Weights;
use planc_plan::program::{
    Action, Level, Manifest, PackedType, Program, Step, Storage, ValueDecl, ValueIx, encode_strings,
};
use planc_tensor::{DType, Dim, Layout, Tensor, View};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How one backend runs kernels.
pub trait Select {
    /// Chooses how `kernel`, which is no [`Kernel::Reshape`], is run over `operands` (an epilogue's sides, which are [`planc_ir::Epilogue::sides`] of the
    /// node, not among them). Constants in another form than the graph's are added by [`Compiler::made_const`].
    ///
    /// # Errors
    /// When the node cannot be compiled at all.
    fn select(
        &mut self,
        c: &mut Compiler,
        b: &mut Builder<'_>,
        id: NodeId,
        kernel: Kernel,
        operands: &[Option<ValueId>],
    ) -> Result<Chosen, OpError>;

    /// Whether a node of constants only is left out: who reads its result takes the constants as they are. The result is
    /// computed here where something else reads it after all.
    fn skips(&self, _graph: &Graph, _id: NodeId) -> bool {
        false
    }

    /// Whether each output of the model is written to memory of its own, which the caller gets, rather than copied from
    /// the arena.
    fn gives_outputs(&self) -> bool {
        false
    }
}

/// What becomes of nodes that a backend has no code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// They run by other means, such as reference evaluation.
    Allowed,
    /// They are errors.
    Refused,
}

/// What a node becomes.
pub enum Chosen {
    /// A step.
    Step {
        /// What it does.
        action: Action,
        /// Operands.
        inputs: Vec<Option<ValueIx>>,
    },
    /// The reference evaluation, with the reason.
    Reference(String),
}

/// Why something was compiled the way it is.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Decision {
    /// Node, by the name of its first result.
    pub node: String,
    /// Operator.
    pub op: String,
    /// What was chosen.
    pub choice: String,
    /// Why.
    pub reason: String,
}

/// The programs of a graph.
#[derive(Debug)]
pub struct Lowered {
    /// Programs.
    pub manifest: Manifest,
    /// Constants, in the form that the backend chose.
    pub weights: Weights<'static>,
    /// Choices, in node order.
    pub decisions: Vec<Decision>,
}

/// Builds the programs of a graph whose types are inferred, as `select` chooses.
///
/// # Errors
/// Every node that cannot be compiled, and every node that falls back where that is refused.
pub fn lower(graph: &Graph, select: &mut dyn Select, fallback: Fallback) -> Result<Lowered, Vec<NodeError>> {
    let (weights, decisions) = (Weights::new(), vec![]);
    let mut c = Compiler { programs: vec![], packed: vec![], weights, decisions, errors: vec![], fallback };
    c.program(graph, select, &BTreeSet::new(), &[]);
    if !c.errors.is_empty() {
        return Err(c.errors);
    }
    let programs = c.programs.into_iter().flatten().collect();
    let packed = std::mem::take(&mut c.packed);
    let manifest = Manifest { name: graph.name.clone(), programs, packed };
    Ok(Lowered { manifest, weights: c.weights, decisions: c.decisions })
}

/// The programs, weights and decisions so far.
pub struct Compiler {
    /// `None` while a program is being built: its number is taken before those of the programs it calls.
    programs: Vec<Option<Program>>,
    /// Of the outermost program.
    packed: Vec<(ValueIx, PackedType)>,
    weights: Weights<'static>,
    decisions: Vec<Decision>,
    errors: Vec<NodeError>,
    fallback: Fallback,
}

/// One program being built.
pub struct Builder<'g> {
    /// The graph that the program is of.
    pub graph: &'g Graph,
    program: Program,
    index: HashMap<ValueId, ValueIx>,
    /// Symbols bound when the program starts: extents over these are placed in the arena.
    entry: BTreeSet<Arc<str>>,
    /// Symbols bound by the steps so far.
    bound: BTreeSet<Arc<str>>,
    /// Values that are given to the caller without a copy.
    given: BTreeSet<ValueId>,
}

impl Compiler {
    /// Builds the program of `graph`; its number. `captured`: inner values that become inputs after the graph's own.
    fn program(
        &mut self,
        graph: &Graph,
        select: &mut dyn Select,
        outer: &BTreeSet<Arc<str>>,
        captured: &[ValueId],
    ) -> u32 {
        let number = self.programs.len();
        self.programs.push(None);
        let mut b = Builder {
            graph,
            program: Program::default(),
            index: HashMap::new(),
            entry: outer.clone(),
            bound: BTreeSet::new(),
            given: BTreeSet::new(),
        };
        if number == 0 && select.gives_outputs() {
            b.given.extend(graph.outputs());
        }
        for v in graph.inputs().iter().chain(captured) {
            let ix = b.declare(*v, Storage::Input);
            b.program.inputs.push(ix);
            for d in graph.tensor_type(*v).and_then(|t| t.shape.as_ref()).into_iter().flatten() {
                b.entry.extend(d.as_sym().cloned());
            }
        }
        b.bound = b.entry.clone();
        for id in graph.order() {
            if let Err(error) = self.node(&mut b, select, id) {
                self.errors.push(locate(graph, id, error));
            }
        }
        if self.errors.is_empty() {
            let outputs = graph.outputs().iter().map(|v| self.value(&mut b, *v)).collect();
            b.program.outputs = outputs;
            if number == 0 {
                let ends = graph.inputs().iter().chain(graph.outputs());
                let packed = ends.filter_map(|v| Some((*b.index.get(v)?, packed_type(&graph.value(*v).ty)?)));
                self.packed = packed.collect();
                self.packed.dedup_by_key(|(ix, _)| *ix);
            }
        }
        self.programs[number] = Some(b.program);
        number as u32
    }

    /// The number of a value that exists: constants are added to the weights when first used.
    pub fn value(&mut self, b: &mut Builder<'_>, v: ValueId) -> ValueIx {
        if let Some(ix) = b.index.get(&v) {
            return *ix;
        }
        match &b.graph.value(v).def {
            Def::Const(t) => {
                let storage = self.weight(t);
                b.declare(v, storage)
            }
            _ => match folded(b.graph, v) {
                Some(t) => {
                    let storage = self.weight(&t);
                    b.declare(v, storage)
                }
                // A value without its definition: an earlier error was reported already.
                None => b.declare(v, Storage::Pool),
            },
        }
    }

    fn weight(&mut self, t: &Tensor) -> Storage {
        match t.shared_bytes() {
            Some(bytes) => self.weight_bytes(bytes.as_slice().to_vec()),
            None => {
                let encoded = encode_strings(t.view().as_strings());
                let len = encoded.len() as u64;
                let offset = self.push(encoded);
                Storage::Strings { offset, len }
            }
        }
    }

    fn weight_bytes(&mut self, bytes: Vec<u8>) -> Storage {
        let len = bytes.len() as u64;
        Storage::Weight { offset: self.push(bytes), len }
    }

    fn push(&mut self, bytes: Vec<u8>) -> u64 {
        self.weights.push(bytes).expect("this is a bug: weights that were in memory are too large for a file")
    }

    /// Adds a constant made by the backend, such as packed weights.
    pub fn made_const(
        &mut self,
        b: &mut Builder<'_>,
        name: String,
        decl: (DType, &[usize], Layout),
        bytes: Vec<u8>,
    ) -> ValueIx {
        let (dtype, shape, layout) = decl;
        let storage = self.weight_bytes(bytes);
        let shape = Some(shape.iter().map(|d| Dim::from(*d)).collect());
        b.push(ValueDecl { name, dtype, shape, layout, storage })
    }

    /// Records why node `id` is compiled the way it is.
    pub fn decide(&mut self, b: &Builder<'_>, id: NodeId, choice: &str, reason: &str) {
        let node = b.graph.node(id);
        let (node, op) = (b.name_of(node), node.op.to_string());
        self.decisions.push(Decision { node, op, choice: choice.into(), reason: reason.into() });
    }

    /// Records that node `id` runs by other means than the backend's code, and why.
    ///
    /// # Errors
    /// Where that is refused, unless the node only computes indices from extents.
    pub fn fall_back(&mut self, b: &Builder<'_>, id: NodeId, choice: &str, reason: &str) -> Result<(), OpError> {
        match self.fallback {
            Fallback::Refused if !b.is_of_extents(id) => {
                Err(OpError::unsupported(format!("does not run on the device: {reason}")))
            }
            _ => {
                self.decide(b, id, choice, reason);
                Ok(())
            }
        }
    }

    fn node(&mut self, b: &mut Builder<'_>, select: &mut dyn Select, id: NodeId) -> Result<(), OpError> {
        if select.skips(b.graph, id) {
            return Ok(());
        }
        let node = b.graph.node(id);
        let cx = LowerCx::of(b.graph, id).ok_or_else(|| OpError::unsupported(format!("no operator {}", node.op)))?;
        let row = planc_ops::row(&node.op).ok_or_else(|| OpError::unsupported(format!("no operator {}", node.op)))?;
        let lowered = (row.lower)(&cx);
        match lowered {
            planc_ops::Lowered::Control => return self.control(b, select, id),
            planc_ops::Lowered::Kernel { kernel, operands } if b.extents_known(node) => {
                let operands: Vec<Option<ValueId>> = operands.iter().map(|i| node.input(*i)).collect();
                // On no backend does another shape of the same bytes need a kernel.
                if kernel == Kernel::Reshape {
                    let source = operands.first().copied().flatten();
                    let of = self.value(b, source.ok_or_else(|| OpError::arity("the operand is missing"))?);
                    self.alias(b, node, of);
                    return Ok(());
                }
                match select.select(self, b, id, kernel, &operands)? {
                    Chosen::Step { action, inputs } => {
                        self.step(b, node, action, inputs);
                        return Ok(());
                    }
                    Chosen::Reference(reason) => self.fall_back(b, id, "reference", &reason)?,
                }
            }
            planc_ops::Lowered::Kernel { .. } => {
                self.fall_back(b, id, "reference", "the result's extents are known only after it ran")?
            }
            planc_ops::Lowered::Reference => {
                self.fall_back(b, id, "reference", "the operator has no kernel for these operands")?
            }
        }
        if row.eval.is_none() || node.epilogue().is_some() {
            return Err(OpError::unsupported("neither kernel nor reference evaluation"));
        }
        let attrs = node.attrs.iter().map(|(n, a)| (n.to_string(), a.clone())).collect();
        let outputs = node.outputs().iter().map(|v| v.and_then(|v| b.dtype(v)).unwrap_or(DType::U8)).collect();
        let (domain, name) = (node.op.domain.to_string(), node.op.name.to_string());
        let kernel = Kernel::Reference(Reference { domain, name, attrs, outputs });
        let inputs = node.inputs().iter().map(|v| v.map(|v| self.value(b, v))).collect();
        self.dynamic_step(b, node, Action::Kernel { kernel, epilogue: None, code: None }, inputs);
        Ok(())
    }

    /// A step whose results' extents are known before it runs.
    fn step(&mut self, b: &mut Builder<'_>, node: &Node, action: Action, inputs: Vec<Option<ValueIx>>) {
        let outputs = node.outputs().iter().map(|v| v.map(|v| b.declare(v, b.storage_of(v)))).collect();
        let name = b.name_of(node);
        b.program.steps.push(Step { name, action, inputs, outputs });
    }

    /// A step that says what extents its results have.
    fn dynamic_step(&mut self, b: &mut Builder<'_>, node: &Node, action: Action, inputs: Vec<Option<ValueIx>>) {
        let outputs = node.outputs().iter().map(|v| v.map(|v| b.declare(v, Storage::Pool))).collect();
        for v in node.outputs().iter().flatten() {
            for d in b.graph.tensor_type(*v).and_then(|t| t.shape.as_ref()).into_iter().flatten() {
                b.bound.extend(d.as_sym().cloned());
            }
        }
        let name = b.name_of(node);
        b.program.steps.push(Step { name, action, inputs, outputs });
    }

    /// A step that only gives a value another shape.
    fn alias(&mut self, b: &mut Builder<'_>, node: &Node, of: ValueIx) {
        let outputs = node.outputs().iter().map(|v| v.map(|v| b.declare(v, Storage::Alias(of)))).collect();
        let action = Action::Kernel { kernel: Kernel::Reshape, epilogue: None, code: None };
        let name = b.name_of(node);
        b.program.steps.push(Step { name, action, inputs: vec![Some(of)], outputs });
    }

    /// Builds the bodies of a control-flow node.
    fn control(&mut self, b: &mut Builder<'_>, select: &mut dyn Select, id: NodeId) -> Result<(), OpError> {
        let node = b.graph.node(id);
        let mut inputs: Vec<Option<ValueIx>> = node.inputs().iter().map(|v| v.map(|v| self.value(b, v))).collect();
        let body = |name: &str| {
            let found = node.subgraphs.iter().find(|s| &*s.name == name);
            found.ok_or_else(|| OpError::attribute(format!("attribute {name} is missing")))
        };
        let mut build = |c: &mut Compiler, b: &mut Builder<'_>, s: &Subgraph| {
            let inner: Vec<ValueId> = s.captures.iter().map(|c| c.inner).collect();
            let bound = b.bound.clone();
            let program = c.program(&s.graph, select, &bound, &inner);
            let outer: Vec<Option<ValueIx>> =
                s.captures.iter().map(|capture| Some(c.value(b, capture.outer))).collect();
            (program, outer)
        };
        let action = match &*node.op.name {
            "If" => {
                let (then_program, outer) = build(self, b, body("then_branch")?);
                let at = inputs.len() as u32;
                let then_inputs = (at..at + outer.len() as u32).collect();
                inputs.extend(outer);
                let (else_program, outer) = build(self, b, body("else_branch")?);
                let at = inputs.len() as u32;
                let else_inputs = (at..at + outer.len() as u32).collect();
                inputs.extend(outer);
                Action::If { then_program, else_program, then_inputs, else_inputs }
            }
            "Loop" => {
                inputs.resize(inputs.len().max(2), None);
                let carried = (inputs.len() - 2) as u32;
                let (program, outer) = build(self, b, body("body")?);
                inputs.extend(outer);
                Action::Loop { body: program, carried }
            }
            "Scan" => {
                let scanned = node.attrs.int("num_scan_inputs").unwrap_or(0).max(0) as usize;
                let carried = inputs.len().saturating_sub(scanned);
                let results = node.outputs().len().saturating_sub(carried);
                let pairs =
                    |n: usize, axes: &str, directions: &str, rank: &dyn Fn(usize) -> usize| -> Vec<(u32, bool)> {
                        let at =
                            |name: &str, i: usize| node.attrs.ints(name).and_then(|v| v.get(i)).copied().unwrap_or(0);
                        let axis = |i: usize| if at(axes, i) < 0 { at(axes, i) + rank(i) as i64 } else { at(axes, i) };
                        (0..n).map(|i| (axis(i).max(0) as u32, at(directions, i) != 0)).collect()
                    };
                let rank_in =
                    |i: usize| node.input(carried + i).and_then(|v| b.graph.tensor_type(v)?.rank()).unwrap_or(0);
                let rank_out =
                    |i: usize| node.output(carried + i).and_then(|v| b.graph.tensor_type(v)?.rank()).unwrap_or(0);
                let scanned = pairs(scanned, "scan_input_axes", "scan_input_directions", &rank_in);
                let results = pairs(results, "scan_output_axes", "scan_output_directions", &rank_out);
                let (program, outer) = build(self, b, body("body")?);
                inputs.extend(outer);
                Action::Scan { body: program, carried: carried as u32, scanned, results }
            }
            other => return Err(OpError::unsupported(format!("no control flow {other}"))),
        };
        self.dynamic_step(b, node, action, inputs);
        Ok(())
    }
}

impl Builder<'_> {
    fn name_of(&self, node: &Node) -> String {
        node.outputs().iter().flatten().next().map_or(String::new(), |v| self.graph.value(*v).name.to_string())
    }

    fn push(&mut self, decl: ValueDecl) -> ValueIx {
        self.program.values.push(decl);
        (self.program.values.len() - 1) as ValueIx
    }

    fn declare(&mut self, v: ValueId, storage: Storage) -> ValueIx {
        let value = self.graph.value(v);
        let (dtype, shape, layout) = match &value.ty {
            Type::Tensor(t) => (t.dtype, t.shape.clone(), t.layout),
            // Packed into bytes.
            _ => (DType::U8, None, Layout::RowMajor),
        };
        let ix = self.push(ValueDecl { name: value.name.to_string(), dtype, shape, layout, storage });
        self.index.insert(v, ix);
        ix
    }

    /// The element type of a tensor.
    pub fn dtype(&self, v: ValueId) -> Option<DType> {
        self.graph.tensor_type(v).map(|t| t.dtype)
    }

    /// Whether all symbols of a value's extents are among `symbols`.
    fn within(&self, v: ValueId, symbols: &BTreeSet<Arc<str>>) -> bool {
        let Some(shape) = self.graph.tensor_type(v).and_then(|t| t.shape.as_ref()) else { return false };
        let mut all = true;
        shape.iter().for_each(|d| d.symbols(&mut |s| all &= symbols.contains(s)));
        all
    }

    /// Whether all results are integers of rank 0 or 1 that follow from extents, and so from no element of a tensor.
    fn is_of_extents(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let value = |v: &ValueId| self.graph.value(*v);
        let small = |v: &ValueId| {
            let ty = self.graph.tensor_type(*v);
            ty.is_some_and(|t| t.dtype.is_int() && t.rank().is_some_and(|r| r <= 1))
        };
        let known = |v: &ValueId| value(v).known.is_some() || matches!(value(v).def, Def::Const(_));
        let (mut inputs, mut outputs) = (node.inputs().iter().flatten(), node.outputs().iter().flatten());
        let given = !node.inputs().is_empty() && inputs.all(known);
        node.outputs().iter().flatten().all(small) && (given || outputs.all(|v| value(v).known.is_some()))
    }

    /// Whether the extents of all results can be computed when the node runs.
    fn extents_known(&self, node: &Node) -> bool {
        node.outputs().iter().flatten().all(|v| self.within(*v, &self.bound))
    }

    fn storage_of(&self, v: ValueId) -> Storage {
        if self.within(v, &self.entry) && !self.given.contains(&v) { Storage::Arena } else { Storage::Pool }
    }
}

/// What a node of constants only, which was left out, makes of them.
fn folded(g: &Graph, v: ValueId) -> Option<Tensor> {
    let (id, 0) = g.producer(v)? else { return None };
    let node = g.node(id);
    let row = planc_ops::row(&node.op)?;
    if node.reads().any(|v| g.constant(v).is_none()) {
        return None;
    }
    let inputs: Vec<Option<View<'_>>> = node.inputs().iter().map(|v| g.constant((*v)?).map(Tensor::view)).collect();
    let dtypes = [g.tensor_type(v)?.dtype];
    row.eval?(&EvalCx::new(row, &node.attrs, &dtypes, usize::MAX), &inputs).ok()?.into_iter().next()
}

/// What a value is that is packed; `None` for tensors.
fn packed_type(ty: &Type) -> Option<PackedType> {
    let (mut ty, mut levels) = (ty, vec![]);
    loop {
        let level = match ty {
            Type::Tensor(_) if levels.is_empty() => return None,
            Type::Tensor(t) => return Some(PackedType { levels, dtype: t.dtype }),
            Type::Sequence(inner) => (Level::Sequence, inner),
            Type::Optional(inner) => (Level::Optional, inner),
            Type::Map { key, value } => {
                levels.push(Level::Map(*key));
                return Some(PackedType { levels, dtype: *value });
            }
        };
        levels.push(level.0);
        ty = level.1;
    }
}
