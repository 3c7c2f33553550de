//! The verifier: what every graph between two passes has to be.
//!
//! Guarantees, when [`verify`] finds nothing: every value has one definition, and that definition knows it; recorded
//! uses are exactly the reads; names are unique and found; nodes form no cycle; captures connect a value of the
//! enclosing graph with one of the subgraph; epilogues take what they are given; all this in subgraphs too. Whoever
//! breaks one of these rules has a bug, whatever the model was: each message says so. Deliberately absent: what
//! operators demand of their operands (the op table checks that), and so also the element type that an epilogue's
//! operand 0 has, which is what the operator gives before the epilogue and nowhere stored.

use crate::{Def, Graph, Layout, Node, NodeId, Subgraph, Type, Use, ValueId};
use cranelift_entity::{EntityRef, SecondaryMap};
use planc_tensor::broadcast;
use std::collections::HashSet;
use std::fmt;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// The graph, from the outermost: `main/body`.
    pub graph: String,
    /// The node or value that is wrong.
    pub place: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is a bug: graph @{}: {}: {}", self.graph, self.place, self.message)
    }
}

impl std::error::Error for VerifyError {}

/// Checks a graph and its subgraphs.
///
/// # Errors
/// Every broken rule, in the order of the graph.
pub fn verify(g: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut errors = vec![];
    check(g, &g.name, &[], &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Checks one graph; `captured`: the values that the owner's captures define.
fn check(g: &Graph, path: &str, captured: &[ValueId], errors: &mut Vec<VerifyError>) {
    let mut c = Checker { g, path, values: g.value_ids().count(), errors };
    let broken = c.references();
    // Everything else follows handles: it only makes sense when they lead somewhere.
    if broken {
        return;
    }
    c.inputs();
    c.outputs();
    c.uses();
    c.values(captured);
    for id in g.node_ids() {
        c.results(id);
        c.epilogue(id);
        c.subgraphs(id);
    }
    for id in g.cycle() {
        c.error(c.node(id), "waits for its own result");
    }
}

struct Checker<'a> {
    g: &'a Graph,
    path: &'a str,
    values: usize,
    errors: &'a mut Vec<VerifyError>,
}

impl Checker<'_> {
    fn error(&mut self, place: String, message: impl Into<String>) {
        self.errors.push(VerifyError { graph: self.path.to_string(), place, message: message.into() });
    }

    /// A node as messages name it: by its first result.
    fn node(&self, id: NodeId) -> String {
        let n = self.g.node(id);
        let first = n.outputs().iter().flatten().find(|v| v.index() < self.values);
        let name = first.map_or("", |v| &*self.g.value(*v).name);
        format!("node %{name} ({})", n.op)
    }

    fn value(&self, v: ValueId) -> String {
        format!("value %{}", self.g.value(v).name)
    }

    /// Whether a handle belongs to no value.
    fn references(&mut self) -> bool {
        let before = self.errors.len();
        let values = self.values;
        let lost = |v: &ValueId| v.index() >= values;
        let nodes: Vec<NodeId> = self.g.node_ids().collect();
        for id in nodes {
            let n = self.g.node(id);
            if n.reads().chain(n.outputs().iter().flatten().copied()).any(|v| lost(&v)) {
                self.error(self.node(id), "refers to a value that does not exist");
            }
        }
        if self.g.inputs().iter().chain(self.g.outputs()).any(lost) {
            self.error("inputs and outputs".into(), "refer to a value that does not exist");
        }
        self.errors.len() > before
    }

    fn inputs(&mut self) {
        for (i, v) in self.g.inputs().iter().enumerate() {
            if self.g.value(*v).def != Def::Input(i) {
                self.error(self.value(*v), format!("is input {i} and does not know it"));
            }
        }
    }

    fn outputs(&mut self) {
        for v in self.g.outputs() {
            if !self.live(*v) {
                self.error(self.value(*v), "is an output and has no definition any more");
            }
        }
    }

    /// Whether what defines a value is still part of the graph.
    fn live(&self, v: ValueId) -> bool {
        match self.g.value(v).def {
            Def::Node(n, i) => self.g.contains(n) && self.g.node(n).output(i) == Some(v),
            Def::Input(i) => self.g.inputs().get(i) == Some(&v),
            Def::Capture | Def::Const(_) => true,
        }
    }

    fn uses(&mut self) {
        let mut expected: SecondaryMap<ValueId, Vec<Use>> = SecondaryMap::new();
        for id in self.g.node_ids() {
            self.g.node(id).reads().for_each(|v| expected[v].push(Use::Node(id)));
        }
        for (i, v) in self.g.outputs().iter().enumerate() {
            expected[*v].push(Use::Output(i));
        }
        for v in self.g.value_ids() {
            let (mut recorded, expected) = (self.g.uses(v).to_vec(), &mut expected[v]);
            recorded.sort_unstable();
            expected.sort_unstable();
            if recorded != *expected {
                let message = format!("records {} uses, {} are there, or they differ", recorded.len(), expected.len());
                self.error(self.value(v), message);
            }
        }
    }

    fn values(&mut self, captured: &[ValueId]) {
        let captured: HashSet<ValueId> = captured.iter().copied().collect();
        for v in self.g.value_ids() {
            let value = self.g.value(v);
            if !self.live(v) {
                if !self.g.uses(v).is_empty() {
                    self.error(self.value(v), "is read and has no definition any more");
                }
                continue;
            }
            if self.g.find(&value.name) != Some(v) || value.name.is_empty() {
                self.error(self.value(v), "is not the value of its name");
            }
            match &value.def {
                Def::Capture if !captured.contains(&v) && !self.g.uses(v).is_empty() => {
                    self.error(self.value(v), "is captured from nowhere");
                }
                Def::Const(t) => match &value.ty {
                    Type::Tensor(ty) if ty.dtype != t.dtype() => {
                        self.error(self.value(v), format!("is a constant of {} typed {ty}", t.dtype()));
                    }
                    Type::Tensor(ty)
                        if ty.layout == Layout::RowMajor
                            && ty.static_shape().is_none_or(|shape| shape != t.shape()) =>
                    {
                        self.error(self.value(v), format!("is a constant of shape {:?} typed {ty}", t.shape()));
                    }
                    Type::Tensor(_) => {}
                    ty => self.error(self.value(v), format!("is a constant typed {ty}")),
                },
                _ => {}
            }
        }
    }

    fn results(&mut self, id: NodeId) {
        for (i, v) in self.g.node(id).outputs().iter().enumerate() {
            let Some(v) = v else { continue };
            if self.g.value(*v).def != Def::Node(id, i) {
                self.error(self.node(id), format!("its result {i} has another definition"));
            }
        }
    }

    fn epilogue(&mut self, id: NodeId) {
        let n: &Node = self.g.node(id);
        let Some(e) = n.epilogue() else { return };
        let Some(result) = n.output(0).and_then(|v| self.g.tensor_type(v)) else {
            return self.error(self.node(id), "has an epilogue and no tensor as result 0");
        };
        if e.expr.args().len() != e.sides.len() + 1 {
            let message = format!("its epilogue takes {} operands, not {}", e.expr.args().len(), e.sides.len() + 1);
            return self.error(self.node(id), message);
        }
        if e.expr.result_type() != result.dtype {
            let message = format!("its epilogue gives {}, its result is {}", e.expr.result_type(), result.dtype);
            self.error(self.node(id), message);
        }
        for (i, (v, dtype)) in e.sides.iter().zip(&e.expr.args()[1..]).enumerate() {
            let Some(side) = self.g.tensor_type(*v).filter(|t| t.dtype == *dtype) else {
                let message = format!("epilogue operand {} is {}, not {dtype}", i + 1, self.g.value(*v).ty);
                self.error(self.node(id), message);
                continue;
            };
            if let (Some(side), Some(result)) = (side.static_shape(), result.static_shape())
                && broadcast(&side, &result).as_ref() != Some(&result)
            {
                let message = format!("epilogue operand {} of {side:?} does not broadcast to {result:?}", i + 1);
                self.error(self.node(id), message);
            }
        }
    }

    fn subgraphs(&mut self, id: NodeId) {
        let subgraphs = &self.g.node(id).subgraphs;
        for (i, s) in subgraphs.iter().enumerate() {
            if subgraphs[..i].iter().any(|t| t.name == s.name) {
                self.error(self.node(id), format!("has two subgraphs {}", s.name));
            }
            self.captures(id, s);
            let captured: Vec<ValueId> = s.captures.iter().map(|c| c.inner).collect();
            check(&s.graph, &format!("{}/{}", self.path, s.name), &captured, self.errors);
        }
    }

    fn captures(&mut self, id: NodeId, s: &Subgraph) {
        let mut seen = HashSet::new();
        let inside = s.graph.value_ids().count();
        for (i, c) in s.captures.iter().enumerate() {
            if c.inner.index() >= inside {
                self.error(self.node(id), format!("capture {i} of {} does not exist inside", s.name));
                continue;
            }
            let (outer, inner) = (self.g.value(c.outer), s.graph.value(c.inner));
            if inner.def != Def::Capture || !seen.insert(c.inner) {
                self.error(self.node(id), format!("%{} of {} has another definition", inner.name, s.name));
            }
            let dtypes = (outer.ty.as_tensor().map(|t| t.dtype), inner.ty.as_tensor().map(|t| t.dtype));
            if dtypes.0 != dtypes.1 {
                let message = format!("%{} is {}, %{} inside {}", outer.name, outer.ty, inner.name, inner.ty);
                self.error(self.node(id), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeBuilder, OpName, TensorType, text::parse};
    use planc_tensor::DType;

    const SAMPLE: &str = r#"graph @main (format 1) {
        in %x: f32[2,3]
        const %b: f32[3] = [1.0, 2.0, 3.0]
        %y: f32[2,3] = Relu(%x) epilogue (f32, f32) add(a0, a1) with (%b)
        %z: f32[2,3] = If(%y) subgraph then_branch @t { capture %y: f32[2,3] = %y out %y }
        out %z
    }"#;

    fn messages(g: &Graph) -> Vec<String> {
        verify(g).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_proper_graph_has_no_errors() {
        assert_eq!(messages(&parse(SAMPLE).unwrap()), [""; 0]);
    }

    #[test]
    fn broken_rules_are_named() {
        type Break = fn(&mut Graph);
        let cases: &[(Break, &str)] = &[
            (
                |g| g.set_type(g.find("b").unwrap(), TensorType::fixed(DType::F32, &[4])),
                "value %b: is a constant of shape [3] typed f32[4]",
            ),
            (
                |g| g.set_type(g.find("y").unwrap(), TensorType::fixed(DType::F16, &[2, 3])),
                "node %y (Relu): its epilogue gives f32, its result is f16",
            ),
            (
                |g| g.set_type(g.find("y").unwrap(), TensorType::fixed(DType::F32, &[2, 4])),
                "node %y (Relu): epilogue operand 1 of [3] does not broadcast to [2, 4]",
            ),
            (
                |g| {
                    let (x, y) = (g.find("x").unwrap(), g.producer(g.find("y").unwrap()).unwrap().0);
                    let epilogue = g.node(y).epilogue().cloned().map(|e| crate::Epilogue { sides: vec![x, x], ..e });
                    g.edit_node(y, |e| e.set_epilogue(epilogue));
                },
                "node %y (Relu): its epilogue takes 2 operands, not 3",
            ),
            (
                |g| {
                    let z = g.producer(g.find("z").unwrap()).unwrap().0;
                    g.edit_node(z, |e| e.subgraphs()[0].captures.clear());
                },
                "graph @main/then_branch: value %y: is captured from nowhere",
            ),
            (
                |g| {
                    let z = g.producer(g.find("z").unwrap()).unwrap().0;
                    g.edit_node(z, |e| {
                        let s = e.subgraphs()[0].clone();
                        e.subgraphs().push(s);
                    });
                },
                "node %z (If): has two subgraphs then_branch",
            ),
            (
                |g| {
                    let (y, z) = (g.find("y").unwrap(), g.find("z").unwrap());
                    let y = g.producer(y).unwrap().0;
                    g.edit_node(y, |e| e.inputs()[0] = Some(z));
                },
                "node %y (Relu): waits for its own result",
            ),
            (
                |g| {
                    let lost = ValueId::new(99);
                    let y = g.producer(g.find("y").unwrap()).unwrap().0;
                    g.edit_node(y, |e| e.inputs()[0] = Some(lost));
                },
                "node %y (Relu): refers to a value that does not exist",
            ),
        ];
        for (break_, message) in cases {
            let mut g = parse(SAMPLE).unwrap();
            break_(&mut g);
            let all = messages(&g);
            assert!(all.iter().any(|m| m.ends_with(message) && m.starts_with("this is a bug: ")), "{all:?}: {message}");
        }
    }

    #[test]
    fn editing_keeps_a_graph_proper() {
        let mut g = parse(SAMPLE).unwrap();
        let (x, y) = (g.find("x").unwrap(), g.find("y").unwrap());
        let node = NodeBuilder::new(OpName::onnx("Neg")).inputs([x]);
        let neg = g.add_op(node, "y.neg", TensorType::fixed(DType::F32, &[2, 3]));
        g.replace_uses(y, neg);
        let relu = g.producer(y).unwrap().0;
        g.remove_node(relu);
        assert_eq!(messages(&g), [""; 0]);
    }
}
