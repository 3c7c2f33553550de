//! Checks of a model's records before anything is built: names, counts, attributes, operators.
//!
//! Guarantees: every problem of these kinds is reported, in the model's order, so that one run names all unsupported nodes;
//! records that pass define every name before it is read and once per graph, and use operators that
//! exist in the opset imported for them, with attributes of the right names and kinds. Functions are checked
//! where they are reachable, once each.
//!
//! Scoping follows the ONNX specification (IR.md, "Graphs"): subgraphs see the names around them, functions do not.

use crate::error::{Code, ImportError, NodePlace, clip};
use crate::functions::{Function, Functions, label};
use crate::model::*;
use crate::opsets::Opsets;
use crate::order::{self, subgraphs};
use planc_ops::{AttrDef, AttrKind, Default as AttrDefault, OpDef, ParamKind};
use std::collections::HashSet;

/// Puts all node lists of a model in topological order; returns warnings.
pub(crate) fn sort_model(model: &mut ModelRecord) -> Result<Vec<String>, Vec<ImportError>> {
    let mut sorter = Sorter::default();
    if let Some(graph) = &mut model.graph {
        sorter.nodes(&mut graph.nodes, "the graph");
    }
    for f in &mut model.functions {
        let what = format!("function {}", label(f));
        sorter.nodes(&mut f.nodes, &what);
    }
    if sorter.errors.is_empty() { Ok(sorter.warnings) } else { Err(sorter.errors) }
}

#[derive(Default)]
struct Sorter {
    errors: Vec<ImportError>,
    warnings: Vec<String>,
}

impl Sorter {
    fn nodes(&mut self, nodes: &mut Vec<NodeRecord>, what: &str) {
        match order::sort(nodes) {
            Ok(false) => {}
            Ok(true) => self.warnings.push(format!("the nodes of {what} were not in topological order")),
            Err(circle) => {
                let names: Vec<String> =
                    circle.iter().take(8).map(|i| format!("{:?}", clip(node_name(&nodes[*i])))).collect();
                let more = if circle.len() > 8 { format!(" and {} more", circle.len() - 8) } else { String::new() };
                self.errors.push(ImportError::new(
                    Code::Graph,
                    format!("nodes of {what} wait for each other in a circle: {}{more}", names.join(" -> ")),
                ));
            }
        }
        for node in nodes {
            let name = clip(node_name(node)).into_owned();
            for a in &mut node.attributes {
                let what = format!("{name}.{}", clip(&a.name));
                match &mut a.value {
                    AttributeValue::Graph(g) => self.nodes(&mut g.nodes, &what),
                    AttributeValue::Graphs(list) => list.iter_mut().for_each(|g| self.nodes(&mut g.nodes, &what)),
                    _ => {}
                }
            }
        }
    }
}

/// The name of a node for messages: its own, or its first result's.
pub(crate) fn node_name(node: &NodeRecord) -> &str {
    if node.name.is_empty() {
        node.outputs.iter().map(String::as_str).find(|o| !o.is_empty()).unwrap_or("")
    } else {
        &node.name
    }
}

/// A node as located in messages.
pub(crate) fn place(node: &NodeRecord, opsets: &Opsets) -> NodePlace {
    NodePlace {
        name: node_name(node).to_owned(),
        op: node.op.clone(),
        domain: crate::functions::domain(&node.domain).to_owned(),
        opset: opsets.get(&node.domain).map(i64::from),
        operands: Vec::new(),
    }
}

/// The operator of a node in the opset imported for its domain; where there is none, why, and what to do about it.
pub(crate) fn row_of(node: &NodeRecord, opsets: &Opsets) -> Result<&'static OpDef, (String, String)> {
    let domain = crate::functions::domain(&node.domain);
    let shown = if domain.is_empty() { "ai.onnx".into() } else { clip(domain) };
    if node.op.is_empty() {
        return Err(("the node has no operator".into(), "export the model again".into()));
    }
    let Some(opset) = opsets.get(domain) else {
        return Err((
            format!("the model imports no opset of {shown:?}"),
            format!("add {shown:?} and its version to the model's opset imports"),
        ));
    };
    let Some(row) = planc_ops::find(domain, &node.op) else {
        let known = planc_ops::all().any(|r| r.domain == domain && r.domain != "planc");
        return Err(if let Some(instead) = planc_ops::excluded::instead(domain, &node.op) {
            (format!("the operator is not supported (domain {shown:?})"), instead.into())
        } else if TRAINING.contains(&domain) {
            let what = format!("training is not supported (domain {shown:?})");
            (what, "export the model for inference, without gradients and optimisers".into())
        } else if known {
            let what = format!("the operator is not supported (domain {shown:?})");
            (what, "replace it by operators that `planc ops` lists, or define it as a function in the model".into())
        } else {
            let what = format!("the operator is not supported, nor any other of its domain {shown:?}");
            (what, "define it as a function in the model, or replace it by standard operators".into())
        });
    };
    if opset < row.since {
        let what = format!("the operator exists since opset {} only", row.since);
        return Err((what, format!("export the model with opset {} or newer of {shown:?}", row.since)));
    }
    if opset >= row.until {
        let what = format!("the operator was removed in opset {}", row.until);
        return Err((what, format!("export the model with an opset of {shown:?} before {}", row.until)));
    }
    Ok(row)
}

/// Domains of operators that only training needs.
const TRAINING: [&str; 2] = ["ai.onnx.training", "ai.onnx.preview.training"];

/// Whether a node is a constant, which the importer turns into a value.
pub(crate) fn is_constant(node: &NodeRecord) -> bool {
    node.op == "Constant" && crate::functions::domain(&node.domain).is_empty()
}

/// Checks the whole model; returns warnings.
pub(crate) fn check_model<'m>(
    model: &'m ModelRecord,
    graph: &'m GraphRecord,
    opsets: &'m Opsets,
    functions: &Functions<'m>,
) -> Result<Vec<String>, Vec<ImportError>> {
    let mut checker = Checker {
        functions,
        scopes: Vec::new(),
        path: Vec::new(),
        formal: None,
        pending: Vec::new(),
        reached: HashSet::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    if graph.outputs.is_empty() {
        checker.error(Code::Graph, "the graph has no outputs");
    }
    let mut outputs = HashSet::new();
    for output in &graph.outputs {
        if !outputs.insert(output.name.as_str()) {
            checker.error(Code::Graph, format!("two outputs of the graph are named {:?}", clip(&output.name)));
        }
    }
    checker.graph(graph, opsets);
    // Functions in the order in which calls reach them.
    let mut next = 0;
    while let Some(key) = checker.pending.get(next).copied() {
        next += 1;
        checker.function(key, model);
    }
    if checker.errors.is_empty() { Ok(checker.warnings) } else { Err(checker.errors) }
}

struct Checker<'c, 'm> {
    functions: &'c Functions<'m>,
    /// Names defined, innermost graph last.
    scopes: Vec<HashSet<&'m str>>,
    /// Where the graph being checked is.
    path: Vec<String>,
    /// The function being checked.
    formal: Option<&'m FunctionRecord>,
    pending: Vec<&'m FunctionRecord>,
    reached: HashSet<*const FunctionRecord>,
    errors: Vec<ImportError>,
    warnings: Vec<String>,
}

impl<'m> Checker<'_, 'm> {
    fn error(&mut self, code: Code, message: impl Into<String>) {
        self.errors.push(ImportError::new(code, message).at(self.path.join(".")));
    }

    fn node_error(&mut self, code: Code, node: &NodeRecord, opsets: &Opsets, message: impl Into<String>) {
        let error = ImportError::new(code, message).at(self.path.join(".")).on(place(node, opsets));
        self.errors.push(error);
    }

    fn is_defined(&self, name: &str) -> bool {
        self.scopes.iter().rev().any(|s| s.contains(name))
    }

    fn define(&mut self, name: &'m str) -> bool {
        self.scopes.last_mut().is_some_and(|s| s.insert(name))
    }

    fn function(&mut self, f: &'m FunctionRecord, model: &'m ModelRecord) {
        let at = model.functions.iter().position(|g| std::ptr::eq(f, g)).unwrap_or(0);
        let Some(Function { opsets, .. }) = self.functions.of(f) else { return };
        self.path = vec![format!("functions[{at}] {}", label(f))];
        self.formal = Some(f);
        self.scopes.push(f.inputs.iter().map(String::as_str).collect());
        self.nodes(&f.nodes, opsets);
        for output in &f.outputs {
            if !self.is_defined(output) {
                self.error(Code::Function, format!("nothing defines the function's output {:?}", clip(output)));
            }
        }
        self.scopes.pop();
        self.formal = None;
        self.path.clear();
    }

    fn graph(&mut self, graph: &'m GraphRecord, opsets: &Opsets) {
        let mut names: HashSet<&'m str> = HashSet::new();
        for (i, input) in graph.inputs.iter().enumerate() {
            if input.name.is_empty() {
                self.error(Code::Graph, format!("input {i} has no name"));
            } else if !names.insert(&input.name) {
                self.error(Code::Graph, format!("two inputs are named {:?}", clip(&input.name)));
            }
        }
        // An initializer may be the default of an input, but not of another initializer.
        let mut initializers = HashSet::new();
        for name in initializer_names(graph) {
            if name.is_empty() {
                self.error(Code::Graph, "an initializer has no name");
            } else if !initializers.insert(name) {
                self.error(Code::Graph, format!("two initializers are named {:?}", clip(name)));
            }
        }
        names.extend(initializers);
        self.scopes.push(names);
        self.nodes(&graph.nodes, opsets);
        for (i, output) in graph.outputs.iter().enumerate() {
            if output.name.is_empty() {
                self.error(Code::Graph, format!("output {i} has no name"));
            } else if !self.is_defined(&output.name) {
                self.error(Code::Graph, format!("nothing defines the output {:?}", clip(&output.name)));
            }
        }
        self.scopes.pop();
    }

    fn nodes(&mut self, nodes: &'m [NodeRecord], opsets: &Opsets) {
        for node in nodes {
            self.node(node, opsets);
        }
    }

    fn node(&mut self, node: &'m NodeRecord, opsets: &Opsets) {
        for input in node.inputs.iter().filter(|i| !i.is_empty()) {
            if !self.is_defined(input) {
                self.node_error(Code::Graph, node, opsets, format!("nothing defines its operand {:?}", clip(input)));
            }
        }
        if node.outputs.iter().all(String::is_empty) {
            self.node_error(Code::Arity, node, opsets, "the node has no results");
        }
        let mut seen = HashSet::new();
        for a in &node.attributes {
            if !seen.insert(a.name.as_str()) {
                self.node_error(Code::Attribute, node, opsets, format!("two attributes are named {:?}", clip(&a.name)));
            }
            if !a.reference.is_empty() {
                self.reference(node, a, opsets);
            }
        }
        if let Some(f) = self.functions.callee(node).map(|f| f.record) {
            self.call(node, f, opsets);
        } else if is_constant(node) {
            self.constant(node, opsets);
        } else if let Some(row) = self.row(node, opsets) {
            self.against_row(node, row, opsets);
        }
        for graph in subgraphs(node) {
            self.path.push(format!("{}.{}", clip(node_name(node)), clip(&graph.name)));
            self.graph(graph, opsets);
            self.path.pop();
        }
        for output in node.outputs.iter().filter(|o| !o.is_empty()) {
            if self.scopes.iter().rev().skip(1).any(|s| s.contains(output.as_str())) {
                self.warnings.push(format!("{:?} is defined again in a subgraph", clip(output)));
            }
            if !self.define(output) {
                let message = format!("its result {:?} is already defined", clip(output));
                self.node_error(Code::Graph, node, opsets, message);
            }
        }
    }

    /// An attribute that takes its value from the function's attributes.
    fn reference(&mut self, node: &NodeRecord, a: &AttributeRecord, opsets: &Opsets) {
        let Some(f) = self.formal else {
            let message =
                format!("the attribute {:?} refers to an attribute of a function, outside of one", clip(&a.name));
            return self.node_error(Code::Attribute, node, opsets, message);
        };
        if !formal_names(f).any(|n| n == a.reference) {
            let message = format!("the function has no attribute {:?}", clip(&a.reference));
            self.node_error(Code::Attribute, node, opsets, message);
        }
    }

    fn call(&mut self, node: &NodeRecord, f: &'m FunctionRecord, opsets: &Opsets) {
        if self.reached.insert(f) {
            self.pending.push(f);
        }
        for (kind, have, most) in
            [("operands", node.inputs.len(), f.inputs.len()), ("results", node.outputs.len(), f.outputs.len())]
        {
            if have > most {
                let message = format!("has {have} {kind}, the function {} has {most}", label(f));
                self.node_error(Code::Arity, node, opsets, message);
            }
        }
        for a in &node.attributes {
            if !formal_names(f).any(|n| n == a.name) {
                let message = format!("the function {} has no attribute {:?}", label(f), clip(&a.name));
                self.node_error(Code::Attribute, node, opsets, message);
            }
            if matches!(a.value, AttributeValue::Graph(_) | AttributeValue::Graphs(_)) {
                let message = format!("the attribute {:?} passes a graph to a function", clip(&a.name));
                self.node_error(Code::UnsupportedFeature, node, opsets, message);
            }
        }
    }

    fn constant(&mut self, node: &NodeRecord, opsets: &Opsets) {
        if opsets.get("").is_none() {
            self.node_error(Code::UnsupportedOp, node, opsets, "the model imports no opset of ai.onnx");
        }
        if !node.inputs.is_empty() || node.outputs.len() != 1 {
            self.node_error(Code::Arity, node, opsets, "a constant has one result and no operands");
        }
        let [a] = node.attributes.as_slice() else {
            let message = format!("a constant has one attribute, this one {}", node.attributes.len());
            return self.node_error(Code::Attribute, node, opsets, message);
        };
        let fits = !a.reference.is_empty()
            || matches!(
                (a.name.as_str(), &a.value),
                ("value", AttributeValue::Tensor(_))
                    | ("sparse_value", AttributeValue::SparseTensor(_))
                    | ("value_float", AttributeValue::Float(_))
                    | ("value_floats", AttributeValue::Floats(_))
                    | ("value_int", AttributeValue::Int(_))
                    | ("value_ints", AttributeValue::Ints(_))
                    | ("value_string", AttributeValue::String(_))
                    | ("value_strings", AttributeValue::Strings(_))
            );
        if !fits {
            let message = format!("a constant cannot have {} as its attribute {:?}", a.value.kind(), clip(&a.name));
            self.node_error(Code::Attribute, node, opsets, message);
        }
    }

    /// The operator of a node; that there is none is reported.
    fn row(&mut self, node: &NodeRecord, opsets: &Opsets) -> Option<&'static OpDef> {
        match row_of(node, opsets) {
            Ok(row) => Some(row),
            Err((what, help)) => {
                let error = ImportError::new(Code::UnsupportedOp, what).at(self.path.join(".")).help(help);
                self.errors.push(error.on(place(node, opsets)));
                None
            }
        }
    }

    fn arity(&mut self, node: &NodeRecord, row: &'static OpDef, opsets: &Opsets) {
        for (i, p) in row.inputs.iter().enumerate() {
            if p.kind == ParamKind::Required && node.inputs.get(i).is_none_or(String::is_empty) {
                self.node_error(Code::Arity, node, opsets, format!("operand {i} ({}) is missing", p.name));
            }
        }
        if let Some(most) = (0..node.inputs.len()).find(|i| row.input(*i).is_none()) {
            self.node_error(Code::Arity, node, opsets, format!("has {} operands, takes {most}", node.inputs.len()));
        }
        if let Some(most) = (0..node.outputs.len()).find(|i| row.output(*i).is_none()) {
            self.node_error(Code::Arity, node, opsets, format!("has {} results, gives {most}", node.outputs.len()));
        }
    }

    fn against_row(&mut self, node: &NodeRecord, row: &'static OpDef, opsets: &Opsets) {
        let opset = opsets.get(&node.domain).unwrap_or(0);
        // Steps from older opsets change operands and results: those of older nodes are counted after them.
        if !row.upgrades.iter().any(|u| u.to > opset) {
            self.arity(node, row, opsets);
        }
        for a in &node.attributes {
            let def = row.attr(&a.name).filter(|d| d.since <= opset && opset < d.until);
            match def {
                None => self.node_error(Code::Attribute, node, opsets, unknown_attribute(a, row, opset)),
                Some(def) if a.reference.is_empty() && !kind_fits(def, &a.value) => {
                    let message = match &a.value {
                        AttributeValue::Missing(code) => {
                            format!("the attribute {:?} has no value of its type ({code})", def.name)
                        }
                        value => format!(
                            "the attribute {:?} is {}, expected {}",
                            def.name,
                            value.kind(),
                            kind_text(def.kind)
                        ),
                    };
                    self.node_error(Code::Attribute, node, opsets, message);
                }
                Some(_) => {}
            }
        }
        for def in
            row.attrs.iter().filter(|d| d.default == AttrDefault::Required && d.since <= opset && opset < d.until)
        {
            if !node.attributes.iter().any(|a| a.name == def.name) {
                self.node_error(Code::Attribute, node, opsets, format!("the attribute {:?} is missing", def.name));
            }
        }
    }
}

fn unknown_attribute(a: &AttributeRecord, row: &OpDef, opset: u32) -> String {
    match row.attr(&a.name) {
        Some(def) if opset < def.since => format!("the attribute {:?} exists since opset {} only", def.name, def.since),
        Some(def) if def.until > 0 => format!("the attribute {:?} was removed in opset {}", def.name, def.until),
        _ => format!("unknown attribute {:?}", clip(&a.name)),
    }
}

/// Names of the initializers of a graph, sparse ones after the others.
pub(crate) fn initializer_names(graph: &GraphRecord) -> impl Iterator<Item = &str> {
    let sparse = graph.sparse_initializers.iter().map(|s| s.values.as_ref().map_or("", |v| v.name.as_str()));
    graph.initializers.iter().map(|t| t.name.as_str()).chain(sparse)
}

/// All attributes a function takes.
pub(crate) fn formal_names(f: &FunctionRecord) -> impl Iterator<Item = &str> {
    f.attributes.iter().map(String::as_str).chain(f.attribute_defaults.iter().map(|a| a.name.as_str()))
}

/// Whether a value is of the kind that the row says. Types are read as text.
fn kind_fits(def: &AttrDef, value: &AttributeValue) -> bool {
    matches!(
        (def.kind, value),
        (AttrKind::Int, AttributeValue::Int(_))
            | (AttrKind::Float, AttributeValue::Float(_))
            | (AttrKind::Str, AttributeValue::String(_) | AttributeValue::Type(_))
            | (AttrKind::Ints, AttributeValue::Ints(_))
            | (AttrKind::Floats, AttributeValue::Floats(_))
            | (AttrKind::Strs, AttributeValue::Strings(_))
            | (AttrKind::Tensor, AttributeValue::Tensor(_) | AttributeValue::SparseTensor(_))
            | (AttrKind::Graph, AttributeValue::Graph(_))
    )
}

fn kind_text(kind: AttrKind) -> &'static str {
    match kind {
        AttrKind::Int => "int",
        AttrKind::Float => "float",
        AttrKind::Str => "string",
        AttrKind::Ints => "ints",
        AttrKind::Floats => "floats",
        AttrKind::Strs => "strings",
        AttrKind::Tensor => "tensor",
        AttrKind::Graph => "graph",
    }
}
