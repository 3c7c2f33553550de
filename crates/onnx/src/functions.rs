//! Local functions of a model: lookup, recursion and the size of what inlining them makes.
//!
//! Guarantees: in a table that was built no function reachable from the model's graph is recursive, calls and subgraphs
//! together nest at most [`MAX_EXPANDED_DEPTH`] deep, and inlining makes at most [`MAX_INLINED_NODES`] nodes and
//! [`MAX_INLINED_BYTES`] of constants. This is computed on the call graph, before anything is inlined.

use crate::error::{Code, ImportError, clip};
use crate::model::{AttributeRecord, AttributeValue, FunctionRecord, ModelRecord, NodeRecord, TensorRecord};
use crate::opsets::Opsets;
use crate::order::subgraphs;
use std::collections::BTreeMap;

/// Deepest nesting of function calls and subgraphs together.
pub const MAX_EXPANDED_DEPTH: usize = 64;
/// Most nodes that inlining may make.
pub const MAX_INLINED_NODES: u64 = 1 << 20;
/// Most bytes of constants inside of functions that inlining may repeat.
pub const MAX_INLINED_BYTES: u64 = 1 << 30;

/// The domain as compared: `ai.onnx` is the empty domain.
pub(crate) fn domain(text: &str) -> &str {
    if text == "ai.onnx" { "" } else { text }
}

type Key<'m> = (&'m str, &'m str, &'m str);

/// A function and the opsets its body is written for.
pub(crate) struct Function<'m> {
    pub(crate) record: &'m FunctionRecord,
    pub(crate) opsets: Opsets,
}

/// The functions of a model by domain, name and overload.
#[derive(Default)]
pub(crate) struct Functions<'m> {
    list: Vec<Function<'m>>,
    /// Positions in `list`.
    by_key: BTreeMap<Key<'m>, usize>,
}

/// What inlining makes.
#[derive(Clone, Copy, Default)]
struct Cost {
    nodes: u64,
    bytes: u64,
    depth: usize,
}

impl<'m> Functions<'m> {
    /// The functions of `model`.
    pub(crate) fn new(model: &'m ModelRecord, opsets: &Opsets) -> Result<Functions<'m>, ImportError> {
        let mut functions = Functions::default();
        for (i, f) in model.functions.iter().enumerate() {
            let error = |message: String| Err(ImportError::new(Code::Function, message).at(format!("functions[{i}]")));
            if f.name.is_empty() {
                return error("the function has no name".into());
            }
            let key = (domain(&f.domain), f.name.as_str(), f.overload.as_str());
            let own = Opsets::new(&f.opset_imports).map_err(|e| e.at(format!("functions[{i}]")))?;
            let opsets = if own.is_empty() { opsets.clone() } else { own };
            functions.list.push(Function { record: f, opsets });
            if functions.by_key.insert(key, i).is_some() {
                return error(format!("the function {} is defined twice", label(f)));
            }
            let graphs = |a: &AttributeRecord| matches!(a.value, AttributeValue::Graph(_) | AttributeValue::Graphs(_));
            if f.attribute_defaults.iter().any(graphs) {
                let message = format!("the function {} has an attribute that is a graph", label(f));
                return Err(ImportError::new(Code::UnsupportedFeature, message).at(format!("functions[{i}]")));
            }
            for (kind, names) in [("input", &f.inputs), ("output", &f.outputs)] {
                let mut sorted: Vec<&String> = names.iter().collect();
                sorted.sort();
                if let Some(pair) = sorted.windows(2).find(|w| w[0] == w[1]) {
                    return error(format!("the function {} has two {kind}s {:?}", label(f), clip(pair[0])));
                }
                if sorted.first().is_some_and(|n| n.is_empty()) {
                    return error(format!("the function {} has an {kind} without a name", label(f)));
                }
            }
        }
        if let Some(graph) = &model.graph {
            let mut costs = BTreeMap::new();
            let total = functions.cost(&graph.nodes, 0, &mut Vec::new(), &mut costs)?;
            if total.depth > MAX_EXPANDED_DEPTH {
                return Err(too_deep());
            }
            if !costs.is_empty() && (total.nodes > MAX_INLINED_NODES || total.bytes > MAX_INLINED_BYTES) {
                return Err(ImportError::new(
                    Code::ExpansionLimit,
                    format!(
                        "inlining the functions makes {} nodes and {} bytes of constants",
                        total.nodes, total.bytes
                    ),
                )
                .help(format!("the most is {MAX_INLINED_NODES} nodes and {MAX_INLINED_BYTES} bytes")));
            }
        }
        Ok(functions)
    }

    /// The function a node calls, if it calls one. Local functions take precedence over operators.
    pub(crate) fn callee(&self, node: &NodeRecord) -> Option<&Function<'m>> {
        let at = self.by_key.get(&(domain(&node.domain), node.op.as_str(), node.overload.as_str()))?;
        self.list.get(*at)
    }

    /// The entry of a function of this table.
    pub(crate) fn of(&self, f: &FunctionRecord) -> Option<&Function<'m>> {
        let at = self.by_key.get(&(domain(&f.domain), f.name.as_str(), f.overload.as_str()))?;
        self.list.get(*at)
    }

    /// The cost of a list of nodes at nesting `depth`; `path` holds the functions being expanded.
    fn cost(
        &self,
        nodes: &[NodeRecord],
        depth: usize,
        path: &mut Vec<&'m FunctionRecord>,
        known: &mut BTreeMap<*const FunctionRecord, Cost>,
    ) -> Result<Cost, ImportError> {
        if depth > MAX_EXPANDED_DEPTH {
            return Err(too_deep());
        }
        let mut sum = Cost::default();
        for node in nodes {
            let mut add = |c: Cost| {
                sum.nodes = sum.nodes.saturating_add(c.nodes);
                sum.bytes = sum.bytes.saturating_add(c.bytes);
                sum.depth = sum.depth.max(c.depth);
            };
            let repeated = !path.is_empty();
            add(Cost { nodes: 1, bytes: if repeated { constant_bytes(node) } else { 0 }, depth: 0 });
            for graph in subgraphs(node) {
                let mut cost = self.cost(&graph.nodes, depth + 1, path, known)?;
                if repeated {
                    cost.bytes = graph.initializers.iter().map(tensor_bytes).fold(cost.bytes, u64::saturating_add);
                }
                add(Cost { depth: cost.depth + 1, ..cost });
            }
            let Some(f) = self.callee(node).map(|f| f.record) else { continue };
            if let Some(cost) = known.get(&std::ptr::from_ref(f)) {
                add(*cost);
                continue;
            }
            if path.iter().any(|p| std::ptr::eq(*p, f)) {
                let names: Vec<String> = path.iter().map(|f| label(f)).chain([label(f)]).collect();
                return Err(ImportError::new(
                    Code::Function,
                    format!("the function {} calls itself: {}", label(f), names.join(" -> ")),
                ));
            }
            path.push(f);
            let cost = self.cost(&f.nodes, depth + 1, path, known)?;
            path.pop();
            let cost = Cost { depth: cost.depth + 1, ..cost };
            known.insert(std::ptr::from_ref(f), cost);
            add(cost);
        }
        Ok(sum)
    }
}

fn too_deep() -> ImportError {
    let message = format!("function calls and subgraphs nest more than {MAX_EXPANDED_DEPTH} deep");
    ImportError::new(Code::ExpansionLimit, message)
}

/// A function as named in messages.
pub(crate) fn label(f: &FunctionRecord) -> String {
    let domain = if f.domain.is_empty() { String::new() } else { format!("{}.", clip(&f.domain)) };
    let overload = if f.overload.is_empty() { String::new() } else { format!(":{}", clip(&f.overload)) };
    format!("{domain}{}{overload}", clip(&f.name))
}

fn constant_bytes(node: &NodeRecord) -> u64 {
    let bytes = |v: &AttributeValue| match v {
        AttributeValue::Tensor(t) => tensor_bytes(t),
        AttributeValue::Tensors(list) => list.iter().map(tensor_bytes).sum(),
        AttributeValue::SparseTensor(s) => dense_bytes(&s.dims),
        AttributeValue::Floats(v) => v.len() as u64 * 4,
        AttributeValue::Ints(v) => v.len() as u64 * 8,
        AttributeValue::Strings(v) => v.iter().map(|s| s.len() as u64 + 24).sum(),
        _ => 0,
    };
    node.attributes.iter().map(|a| bytes(&a.value)).fold(0, u64::saturating_add)
}

/// Bytes of `dims` with the largest elements; an overflow is beyond every limit.
fn dense_bytes(dims: &[i64]) -> u64 {
    let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
    count.unwrap_or(u64::MAX).saturating_mul(16)
}

fn tensor_bytes(t: &TensorRecord) -> u64 {
    if t.is_external {
        return dense_bytes(&t.dims);
    }
    let strings: usize = t.string_data.iter().map(|s| s.len() + 24).sum();
    let wide = t.int64_data.len() + t.double_data.len() + t.uint64_data.len();
    let raw = t.raw.as_ref().map_or(0, ExactSizeIterator::len);
    (raw + strings + 4 * (t.float_data.len() + t.int32_data.len()) + 8 * wide) as u64
}
