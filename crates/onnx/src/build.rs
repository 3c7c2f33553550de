//! Checked records to a graph.
//!
//! Guarantees: values keep their ONNX names; functions are inlined with names made after the caller's results; subgraphs
//! list what they read from around them, constants excepted, which they hold themselves (the bytes are shared);
//! every node of the graph went through the upgrade steps of its operator and through inference.
//!
//! Depth is bounded by [`crate::functions::MAX_EXPANDED_DEPTH`], so recursion is safe here.

use crate::check::{is_constant, place, row_of};
use crate::error::{Code, ImportError, NodePlace, clip};
use crate::files::Files;
use crate::functions::{Function, Functions};
use crate::model::*;
use crate::opsets::Opsets;
use crate::tensor;
use crate::types::Declared;
use planc_ir::{Attrs, Capture, Graph, NodeBuilder, NodeId, OpName, Origin, Subgraph, TensorType, Type, ValueId};
use planc_ops::{ErrorKind, OpError, UpgradeCx};
use planc_tensor::{Attr, DType, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The attributes a function is called with.
type Bound<'m> = BTreeMap<&'m str, &'m AttributeValue>;

/// Names visible at one place: those of a graph, or those of a function being inlined into it.
#[derive(Clone)]
struct Scope<'c, 'm> {
    names: HashMap<&'m str, ValueId>,
    opsets: &'c Opsets,
    /// What made names start with, inside of a function.
    prefix: Option<String>,
    /// Attributes of the function.
    bound: Bound<'m>,
    /// Names that the caller gives to results of the function.
    results: HashMap<&'m str, String>,
    /// Inputs of the function that the call leaves out.
    absent: HashSet<&'m str>,
    /// Name of the calling node.
    caller: String,
}

/// A graph being built.
struct Frame<'c, 'm> {
    graph: Graph,
    captures: Vec<Capture>,
    /// Values of the enclosing graph that were captured already.
    inner: HashMap<ValueId, ValueId>,
    /// The graph's own scope, then one for each function being inlined.
    scopes: Vec<Scope<'c, 'm>>,
}

/// A node that could not be built; the error is reported already.
pub(crate) struct Failed;

/// Builds graphs from checked records.
pub(crate) struct Builder<'c, 'm> {
    functions: &'c Functions<'m>,
    files: &'c mut Files,
    declared: &'c mut Declared,
    frames: Vec<Frame<'c, 'm>>,
    /// Results of wrong nodes of the outermost graph: what reads them is not reported again.
    poisoned: HashSet<ValueId>,
    /// Nodes without an operator that were met, wherever they are and however often their function is called.
    unsupported: HashSet<*const NodeRecord>,
    /// How often one was met.
    unsupported_met: usize,
    pub(crate) errors: Vec<ImportError>,
    /// How often each function was inlined.
    pub(crate) inlined: BTreeMap<String, usize>,
}

impl<'c, 'm> Builder<'c, 'm> {
    /// A builder of the graph `name`, without values yet.
    pub(crate) fn new(
        name: &str,
        opsets: &'c Opsets,
        functions: &'c Functions<'m>,
        files: &'c mut Files,
        declared: &'c mut Declared,
    ) -> Builder<'c, 'm> {
        let mut builder = Builder {
            functions,
            files,
            declared,
            frames: Vec::new(),
            poisoned: HashSet::new(),
            unsupported: HashSet::new(),
            unsupported_met: 0,
            errors: Vec::new(),
            inlined: BTreeMap::new(),
        };
        builder.push_frame(name, opsets);
        builder
    }

    fn push_frame(&mut self, name: &str, opsets: &'c Opsets) {
        let scope = Scope {
            names: HashMap::new(),
            opsets,
            prefix: None,
            bound: Bound::new(),
            results: HashMap::new(),
            absent: HashSet::new(),
            caller: String::new(),
        };
        let frame = Frame { graph: Graph::new(name), captures: Vec::new(), inner: HashMap::new(), scopes: vec![scope] };
        self.frames.push(frame);
    }

    fn frame(&mut self) -> &mut Frame<'c, 'm> {
        self.frames.last_mut().expect("this is a bug: the importer builds no graph")
    }

    fn scope(&mut self) -> &mut Scope<'c, 'm> {
        self.frame().scopes.last_mut().expect("this is a bug: a graph has no scope")
    }

    /// The graph being built.
    pub(crate) fn graph(&mut self) -> &mut Graph {
        &mut self.frame().graph
    }

    /// Reports an error about a value.
    pub(crate) fn report(&mut self, error: ImportError) {
        self.errors.push(error);
    }

    /// Adds an input.
    pub(crate) fn input(&mut self, name: &'m str, ty: Type) {
        let value = self.graph().add_input(name, ty);
        self.scope().names.insert(name, value);
    }

    /// Adds a constant; the error, located, is reported.
    pub(crate) fn constant(&mut self, name: &'m str, tensor: Tensor) {
        let made = self.made_name(name);
        let value = self.graph().add_const(&made, tensor);
        self.scope().names.insert(name, value);
    }

    /// The value a name stands for, captured where the name is defined around the current graph.
    pub(crate) fn lookup(&mut self, name: &str) -> Option<ValueId> {
        let last = self.frames.len() - 1;
        self.lookup_in(last, name)
    }

    fn lookup_in(&mut self, at: usize, name: &str) -> Option<ValueId> {
        let scopes = &self.frames[at].scopes;
        if let Some(value) = scopes.last()?.names.get(name) {
            return Some(*value);
        }
        // Functions do not see the names around them.
        if scopes.len() > 1 || at == 0 {
            return None;
        }
        let outer = self.lookup_in(at - 1, name)?;
        if let Some(inner) = self.frames[at].inner.get(&outer) {
            return Some(*inner);
        }
        let value = self.frames[at - 1].graph.value(outer).clone();
        let frame = &mut self.frames[at];
        let inner = match value.as_const() {
            Some(tensor) => frame.graph.add_const(&value.name, tensor.clone()),
            None => {
                let inner = frame.graph.add_capture(&value.name, value.ty.clone());
                frame.graph.set_known(inner, value.known.clone());
                frame.captures.push(Capture { outer, inner });
                inner
            }
        };
        frame.inner.insert(outer, inner);
        Some(inner)
    }

    /// An operand: nothing for an omitted one, and for one that stands for an omitted operand of a function.
    fn operand(&mut self, name: &str) -> Result<Option<ValueId>, Failed> {
        let found = if name.is_empty() { None } else { self.lookup(name) };
        if found.is_some() || name.is_empty() {
            return Ok(found);
        }
        for frame in self.frames.iter().rev() {
            if frame.scopes.last().is_some_and(|s| s.absent.contains(name)) {
                return Ok(None);
            }
            if frame.scopes.len() > 1 {
                break;
            }
        }
        self.lost(name);
        Err(Failed)
    }

    /// A value that checks found defined and that is not there: its node failed, and the error is reported there.
    fn lost(&mut self, name: &str) {
        if self.errors.is_empty() {
            let message = format!("the value {:?} could not be built: this is a bug", clip(name));
            self.report(ImportError::new(Code::Graph, message));
        }
    }

    /// The name that a value of the current scope gets in the graph.
    fn made_name(&mut self, name: &str) -> String {
        let scope = self.scope();
        match (&scope.prefix, scope.results.get(name)) {
            (_, Some(result)) => result.clone(),
            (Some(prefix), None) => format!("{prefix}.{name}"),
            (None, None) => name.to_owned(),
        }
    }

    /// Adds nodes in order. Nodes that read results of wrong ones are left out.
    pub(crate) fn nodes(&mut self, nodes: &'m [NodeRecord]) {
        for node in nodes {
            // The error is reported where it is found.
            let _ = self.node(node);
        }
    }

    /// Ends the outermost graph; its outputs keep their names.
    pub(crate) fn finish(mut self, outputs: &[ValueRecord]) -> (Graph, Vec<ImportError>, BTreeMap<String, usize>) {
        let mut values: Vec<(ValueId, &str)> = Vec::with_capacity(outputs.len());
        for output in outputs {
            match self.lookup(&output.name) {
                Some(value) => values.push((value, &output.name)),
                None => self.lost(&output.name),
            }
        }
        let mut graph = self.frames.pop().map(|f| f.graph).unwrap_or_default();
        graph.set_outputs(values.iter().map(|(v, _)| *v).collect());
        for (value, name) in values {
            // A name made by an upgrade step or an inlined function may have been there first.
            if &*graph.value(value).name != name
                && let Some(holder) = graph.find(name)
            {
                graph.swap_names(value, holder);
            }
        }
        (graph, self.errors, self.inlined)
    }

    fn place(&mut self, node: &NodeRecord) -> NodePlace {
        let scope = self.scope();
        let mut place = place(node, scope.opsets);
        if !scope.caller.is_empty() {
            place.name = format!("{}/{}", scope.caller, place.name);
        }
        place
    }

    fn fail(&mut self, node: &NodeRecord, error: ImportError) -> Failed {
        let place = self.place(node);
        self.errors.push(error.on(place));
        Failed
    }

    fn node(&mut self, node: &'m NodeRecord) -> Result<(), Failed> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(self.operand(name)?);
        }
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let functions = self.functions;
        if let Some(function) = functions.callee(node) {
            return self.inline(node, function, &inputs);
        }
        if is_constant(node) {
            return self.constant_node(node);
        }
        let (mut attrs, mut subgraphs) = (Attrs::new(), Vec::new());
        let before = self.unsupported_met;
        for a in &node.attributes {
            let Some(value) = self.resolve(a) else { continue };
            match value {
                AttributeValue::Graph(g) => subgraphs.push(self.subgraph(&a.name, g)),
                value => {
                    let value = self.attribute(&a.name, value).map_err(|e| self.fail(node, e))?;
                    attrs.set(a.name.as_str(), value);
                }
            }
        }
        let unsupported = row_of(node, self.scope().opsets).err();
        self.unsupported_met += usize::from(unsupported.is_some());
        let id = self.add(node, inputs, attrs, subgraphs)?;
        let outermost = self.frames.len() == 1;
        if let Some((what, help)) = unsupported
            && self.unsupported.insert(node)
        {
            let mut place = place(node, self.scope().opsets);
            place.operands = self.operand_types(id);
            self.errors.push(ImportError::new(Code::UnsupportedOp, what).help(help).on(place));
        }
        // Inference of what holds such a node would only say the same again.
        if self.unsupported_met > before {
            if outermost {
                self.poison(id);
            }
            return Err(Failed);
        }
        if outermost && self.frames[0].graph.node(id).reads().any(|v| self.poisoned.contains(&v)) {
            self.poison(id);
            return Err(Failed);
        }
        match planc_ops::infer_node(self.graph(), id) {
            Ok(()) => Ok(()),
            // Types around a subgraph are known only when its owner is inferred, which infers it again.
            Err(_) if !outermost => Ok(()),
            Err(error) => {
                let operands = self.operand_types(id);
                let located = op_error(error, &operands);
                self.poison(id);
                let place = NodePlace { operands, ..self.place(node) };
                self.errors.push(located.on(place));
                Err(Failed)
            }
        }
    }

    /// The types of the operands of a node of the current graph, as printed.
    fn operand_types(&mut self, id: NodeId) -> Vec<String> {
        let outermost = self.frames.len() == 1;
        let inputs = self.graph().node(id).inputs().to_vec();
        let mut text = |v: Option<ValueId>| match v {
            None => "none".to_owned(),
            Some(v) if outermost && self.poisoned.contains(&v) => "unknown".to_owned(),
            Some(v) => self.graph().value(v).ty.to_string(),
        };
        inputs.into_iter().map(&mut text).collect()
    }

    fn poison(&mut self, id: NodeId) {
        let outputs: Vec<ValueId> = self.graph().node(id).outputs().iter().flatten().copied().collect();
        self.poisoned.extend(outputs);
    }

    /// Applies upgrade steps and adds the node; its results have placeholder types.
    fn add(
        &mut self,
        node: &'m NodeRecord,
        mut inputs: Vec<Option<ValueId>>,
        mut attrs: Attrs,
        mut subgraphs: Vec<Subgraph>,
    ) -> Result<NodeId, Failed> {
        let opset = self.scope().opsets.get(&node.domain).unwrap_or(1);
        let outputs: Vec<Option<String>> =
            node.outputs.iter().map(|o| (!o.is_empty()).then(|| self.made_name(o))).collect();
        let first = outputs.iter().flatten().next().cloned().unwrap_or_default();
        let mut op = OpName::new(&node.domain, &node.op);
        let mut level = opset;
        while let Some(step) = planc_ops::row(&op).and_then(|r| r.upgrades.iter().find(|u| u.to > level)) {
            let graph = &mut self.frame().graph;
            let mut cx = UpgradeCx { graph, op: &mut op, attrs: &mut attrs, inputs: &mut inputs, name: &first, opset };
            let result = (step.step)(&mut cx);
            level = step.to;
            result.map_err(|e| self.fail(node, ImportError::new(op_code(e.kind), e.message)))?;
        }
        // Subgraphs come in the order of the row, whatever the order in the file.
        if let Some(row) = planc_ops::row(&op) {
            subgraphs.sort_by_key(|s| row.attrs.iter().position(|a| a.name == &*s.name));
        }
        let origin = Origin { node: self.origin(node).into(), opset };
        let builder = NodeBuilder::new(op).optional_inputs(inputs).attrs(attrs).subgraphs(subgraphs).origin(origin);
        let unknown: Type = TensorType::unranked(DType::F32).into();
        let results = outputs.into_iter().map(|o| o.map(|name| (name, unknown.clone()))).collect();
        let id = self.graph().add_node(builder, results);
        for (i, name) in node.outputs.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
            if let Some(value) = self.graph().node(id).output(i) {
                self.scope().names.insert(name, value);
            }
        }
        Ok(id)
    }

    /// The name of a node with those of the calls it was inlined through.
    fn origin(&mut self, node: &NodeRecord) -> String {
        let caller = &self.scope().caller;
        match (caller.is_empty(), node.name.is_empty()) {
            (true, _) => node.name.clone(),
            (false, true) => caller.clone(),
            (false, false) => format!("{caller}/{}", node.name),
        }
    }

    /// An attribute's value, taken from the function's attributes where it refers to them; `None` when those lack it.
    fn resolve(&mut self, a: &'m AttributeRecord) -> Option<&'m AttributeValue> {
        if a.reference.is_empty() { Some(&a.value) } else { self.scope().bound.get(a.reference.as_str()).copied() }
    }

    fn attribute(&mut self, name: &str, value: &AttributeValue) -> Result<Attr, ImportError> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| ImportError::new(Code::Utf8, format!("the attribute {:?} is not valid UTF-8", clip(name))))
        };
        Ok(match value {
            AttributeValue::Int(v) => Attr::Int(*v),
            AttributeValue::Float(v) => Attr::Float(*v),
            AttributeValue::String(v) => Attr::Str(text(v)?),
            AttributeValue::Ints(v) => Attr::Ints(v.clone()),
            AttributeValue::Floats(v) => Attr::Floats(v.clone()),
            AttributeValue::Strings(v) => Attr::Strs(v.iter().map(|s| text(s)).collect::<Result<_, _>>()?),
            AttributeValue::Tensor(t) => Attr::Tensor(tensor::dense((**t).clone(), self.files)?),
            AttributeValue::SparseTensor(t) => Attr::Tensor(tensor::sparse((**t).clone(), self.files)?),
            AttributeValue::Type(Some(t)) => Attr::Str(self.declared.value_type(name, t)?.to_string()),
            other => {
                let message = format!("the attribute {:?} is {}, which no operator takes", clip(name), other.kind());
                return Err(ImportError::new(Code::Attribute, message));
            }
        })
    }

    fn constant_node(&mut self, node: &'m NodeRecord) -> Result<(), Failed> {
        let missing = || ImportError::new(Code::Attribute, "the constant has no value");
        let value = node.attributes.first().and_then(|a| Some((a, self.resolve(a)?)));
        let tensor = match value {
            None => Err(missing()),
            Some((a, value)) => {
                self.attribute(&a.name, value).and_then(|attr| constant_tensor(attr).ok_or_else(missing))
            }
        };
        let tensor = tensor.map_err(|e| self.fail(node, e))?;
        if let Some(output) = node.outputs.first() {
            self.constant(output, tensor);
        }
        Ok(())
    }

    /// Builds a graph-valued attribute.
    fn subgraph(&mut self, name: &str, record: &'m GraphRecord) -> Subgraph {
        let opsets = self.scope().opsets;
        let (bound, caller) = (self.scope().bound.clone(), self.scope().caller.clone());
        self.push_frame(if record.name.is_empty() { name } else { &record.name }, opsets);
        self.scope().bound = bound;
        self.scope().caller = caller;
        for input in &record.inputs {
            // Only a first guess: the operator that owns the graph says what its inputs are.
            let declared = input.ty.as_ref().and_then(|t| self.declared.value_type(&input.name, t).ok());
            self.input(&input.name, declared.unwrap_or_else(undeclared));
        }
        let sparse = record.sparse_initializers.iter().filter_map(|s| Some((s.values.as_ref()?.name.as_str(), s)));
        for t in &record.initializers {
            let tensor = tensor::dense(t.clone(), self.files);
            self.initializer(&t.name, tensor);
        }
        for (name, s) in sparse {
            let tensor = tensor::sparse(s.clone(), self.files);
            self.initializer(name, tensor);
        }
        self.nodes(&record.nodes);
        let mut outputs = Vec::with_capacity(record.outputs.len());
        for output in &record.outputs {
            match self.lookup(&output.name) {
                Some(value) => outputs.push(value),
                None => self.lost(&output.name),
            }
        }
        let frame = self.frames.pop();
        let (mut graph, captures) = frame.map(|f| (f.graph, f.captures)).unwrap_or_default();
        graph.set_outputs(outputs);
        Subgraph { name: name.into(), graph, captures }
    }

    /// Adds an initializer, unless an input of a subgraph has its name: inputs are always given there.
    fn initializer(&mut self, name: &'m str, tensor: Result<Tensor, ImportError>) {
        match tensor {
            Err(error) => self.report(error.at(format!("initializer {:?}", clip(name)))),
            Ok(_) if self.scope().names.contains_key(name) => {}
            Ok(tensor) => self.constant(name, tensor),
        }
    }

    /// Replaces a call by the function's nodes.
    fn inline(
        &mut self,
        node: &'m NodeRecord,
        function: &'c Function<'m>,
        inputs: &[Option<ValueId>],
    ) -> Result<(), Failed> {
        let f = function.record;
        let mut bound = Bound::new();
        for a in &f.attribute_defaults {
            bound.insert(&a.name, &a.value);
        }
        for a in &node.attributes {
            if let Some(value) = self.resolve(a) {
                bound.insert(&a.name, value);
            }
        }
        let outputs: Vec<Option<String>> =
            node.outputs.iter().map(|o| (!o.is_empty()).then(|| self.made_name(o))).collect();
        let prefix = outputs.iter().flatten().next().cloned().unwrap_or_default();
        let results = f.outputs.iter().zip(&outputs).filter_map(|(f, o)| Some((f.as_str(), o.clone()?))).collect();
        let names: HashMap<&str, ValueId> =
            f.inputs.iter().zip(inputs).filter_map(|(n, v)| Some((n.as_str(), (*v)?))).collect();
        let absent = f.inputs.iter().map(String::as_str).filter(|n| !names.contains_key(n)).collect();
        let caller = self.place(node).name;
        *self.inlined.entry(crate::functions::label(f)).or_default() += 1;
        let scope = Scope { names, opsets: &function.opsets, prefix: Some(prefix), bound, results, absent, caller };
        self.frame().scopes.push(scope);
        let mut taken: HashSet<ValueId> = inputs.iter().flatten().copied().collect();
        self.nodes(&f.nodes);
        let found: Vec<Option<ValueId>> = f.outputs.iter().map(|o| self.lookup(o)).collect();
        self.frame().scopes.pop();
        for (((name, made), value), result) in node.outputs.iter().zip(outputs).zip(found).zip(&f.outputs) {
            let Some(made) = made else { continue };
            let Some(value) = value else {
                if f.inputs.contains(result) {
                    let message = format!("its result {:?} is an operand that the call omits", clip(name));
                    self.fail(node, ImportError::new(Code::Function, message));
                }
                continue;
            };
            // A result that is an operand, or another result, gets a name of its own.
            let own = if taken.insert(value) { value } else { self.identity(node, value, &made) };
            self.scope().names.insert(name, own);
        }
        Ok(())
    }

    fn identity(&mut self, node: &NodeRecord, value: ValueId, name: &str) -> ValueId {
        let origin = Origin { node: self.origin(node).into(), opset: planc_ops::NEWEST_OPSET };
        let graph = self.graph();
        let (ty, known) = (graph.value(value).ty.clone(), graph.value(value).known.clone());
        let builder = NodeBuilder::new(OpName::onnx("Identity")).inputs([value]).origin(origin);
        let copy = graph.add_op(builder, name, ty);
        graph.set_known(copy, known);
        copy
    }
}

/// The type of a subgraph's input until its owner is inferred, where the model declares none: not a tensor, as a
/// tensor's element type would be taken for a declaration.
fn undeclared() -> Type {
    Type::Optional(Box::new(TensorType::unranked(DType::F32).into()))
}

fn constant_tensor(attr: Attr) -> Option<Tensor> {
    match attr {
        Attr::Tensor(t) => Some(t),
        Attr::Int(v) => Some(Tensor::scalar(v)),
        Attr::Float(v) => Some(Tensor::scalar(v)),
        Attr::Ints(v) => Some(Tensor::vector(v)),
        Attr::Floats(v) => Some(Tensor::vector(v)),
        Attr::Str(v) => Tensor::from_strings(Vec::new(), vec![v]).ok(),
        Attr::Strs(v) => Tensor::from_strings(vec![v.len()], v).ok(),
    }
}

/// An operator's error with the types of the operands.
fn op_error(error: OpError, types: &[String]) -> ImportError {
    let operands = if types.is_empty() { String::new() } else { format!(" [operands: {}]", clip(&types.join(", "))) };
    ImportError::new(op_code(error.kind), format!("{}{operands}", error.message))
}

fn op_code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Attribute => Code::Attribute,
        ErrorKind::Arity => Code::Arity,
        ErrorKind::Type => Code::Type,
        ErrorKind::Shape | ErrorKind::Value => Code::Inference,
        ErrorKind::Unsupported => Code::UnsupportedFeature,
        ErrorKind::Limit => Code::ShapeLimit,
    }
}
