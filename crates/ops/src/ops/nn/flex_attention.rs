//! ai.onnx.preview FlexAttention: attention whose scores and probabilities pass through subgraphs. Nodes become products, a
//! Softmax, and an If that runs the subgraph in either case, which constant folding replaces by the subgraph's nodes.

use crate::ops::control::body::infer as infer_body;
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Capture, Graph, Node, NodeBuilder, NodeId, OpName, Subgraph, TensorType, Type, ValueId};
use planc_tensor::{DType, Dim, Tensor};

/// The row of FlexAttention.
pub const OP: OpDef = OpDef {
    name: "FlexAttention",
    domain: "ai.onnx.preview",
    types: &[("T1", TypeSet::FLOAT)],
    inputs: &[Param::req("Q", "T1"), Param::req("K", "T1"), Param::req("V", "T1")],
    outputs: &[Param::req("Y", "T1")],
    attrs: &[
        AttrDef::optional("prob_mod", AttrKind::Graph),
        AttrDef::optional("score_mod", AttrKind::Graph),
        AttrDef::optional("scale", AttrKind::Float),
        AttrDef::optional("softmax_precision", AttrKind::Int),
    ],
    infer,
    decompose: Some(decompose),
    ..OpDef::NEW
};

/// The element type of scores and probabilities.
fn precision(given: Option<i64>, data: DType) -> Result<DType, OpError> {
    match given {
        None if data == DType::F64 => Ok(data),
        None => Ok(DType::F32),
        Some(code) => {
            let dtype = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|t| TypeSet::FLOAT.has(*t));
            dtype.ok_or_else(|| OpError::attribute(format!("softmax_precision is {code}")))
        }
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let precision = precision(cx.opt_int("softmax_precision"), dtype)?;
    let mut shapes = Vec::with_capacity(3);
    for i in 0..3 {
        match cx.shape(i)? {
            Some(s) if s.len() == 4 => shapes.push(s.to_vec()),
            Some(s) => return Err(OpError::shape(format!("operand {i} is of rank {}, not 4", s.len()))),
            None => return Err(OpError::unsupported(format!("the rank of operand {i} is not known"))),
        }
    }
    let (q, k, v) = (&shapes[0], &shapes[1], &shapes[2]);
    let scores = vec![q[0].clone(), q[1].clone(), q[2].clone(), k[2].clone()];
    let scores: Type = TensorType::new(precision, scores).into();
    for name in ["score_mod", "prob_mod"] {
        if cx.subgraph(name).is_err() {
            continue;
        }
        let results = infer_body(cx, name, std::slice::from_ref(&scores))?;
        match results.as_slice() {
            [(Type::Tensor(t), _)] if t.dtype == precision => {}
            _ => return Err(OpError::type_(format!("{name} does not give one tensor of {precision}"))),
        }
    }
    cx.set_tensor(0, dtype, vec![q[0].clone(), q[1].clone(), q[2].clone(), v[3].clone()]);
    Ok(())
}

/// Heads at most, as far as keys are shared.
const MAX_HEADS: i64 = 1 << 16;

/// Builds the nodes that replace one.
struct Maker<'g> {
    graph: &'g mut Graph,
    node: Node,
    name: String,
}

impl Maker<'_> {
    fn op(&mut self, op: NodeBuilder, tag: &str, dtype: DType, shape: &[Dim]) -> ValueId {
        let builder = op.like(&self.node);
        self.graph.add_op(builder, &format!("{}.{tag}", self.name), TensorType::new(dtype, shape.to_vec()))
    }

    fn cast(&mut self, v: ValueId, (from, to): (DType, DType), tag: &str, shape: &[Dim]) -> ValueId {
        if from == to {
            return v;
        }
        let cast = NodeBuilder::new(OpName::onnx("Cast")).inputs([v]).attr("to", i64::from(to.onnx()));
        self.op(cast, tag, to, shape)
    }

    /// `v` with each head repeated for the heads of queries that it serves.
    fn repeated(&mut self, v: ValueId, each: Option<&[i64]>, dtype: DType, tag: &str, shape: &mut [Dim]) -> ValueId {
        let Some(heads) = each else { return v };
        shape[1] = Dim::from(heads.len());
        let heads = self.graph.add_const(&format!("{}.{tag}.heads", self.name), Tensor::vector(heads.to_vec()));
        let gather = NodeBuilder::new(OpName::onnx("Gather")).inputs([v, heads]).attr("axis", 1i64);
        self.op(gather, tag, dtype, shape)
    }

    fn product(&mut self, a: ValueId, b: ValueId, dtype: DType, tag: &str, shape: &[Dim]) -> ValueId {
        self.op(NodeBuilder::new(OpName::onnx("MatMul")).inputs([a, b]), tag, dtype, shape)
    }

    /// `v` through the subgraph `name`, if the node has it.
    fn modified(&mut self, v: ValueId, name: &str, dtype: DType, shape: &[Dim]) -> ValueId {
        let Some(found) = self.node.subgraphs.iter().find(|s| &*s.name == name).cloned() else { return v };
        let branch = |name: &str| {
            let Subgraph { mut graph, mut captures, .. } = found.clone();
            captures.extend(graph.inputs_to_captures().into_iter().map(|inner| Capture { outer: v, inner }));
            Subgraph { name: name.into(), graph, captures }
        };
        let branches = vec![branch("then_branch"), branch("else_branch")];
        let always = self.graph.add_const(&format!("{}.{name}.always", self.name), Tensor::scalar(true));
        self.op(NodeBuilder::new(OpName::onnx("If")).inputs([always]).subgraphs(branches), name, dtype, shape)
    }
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let (Some(q), Some(k), Some(v), Some(out)) = (node.input(0), node.input(1), node.input(2), node.output(0)) else {
        return Err("an operand is missing".into());
    };
    let shape = |v: ValueId| graph.tensor_type(v).and_then(|t| t.shape.clone()).filter(|s| s.len() == 4);
    let (Some(qs), Some(mut ks), Some(mut vs)) = (shape(q), shape(k), shape(v)) else {
        return Err("a rank is unknown".into());
    };
    let dtype = graph.tensor_type(q).map_or(DType::F32, |t| t.dtype);
    let precision = precision(node.attrs.int("softmax_precision"), dtype).map_err(|e| e.to_string())?;
    let scale = match (node.attrs.float("scale"), qs[3].as_const()) {
        (Some(s), _) => f64::from(s),
        (None, Some(w)) if w > 0 => 1.0 / (w as f64).sqrt(),
        _ => return Err("the head size is not known".into()),
    };
    // Each head of keys serves a group of heads of queries.
    let heads: Option<Vec<i64>> = match (qs[1].as_const(), ks[1].as_const()) {
        _ if qs[1] == ks[1] => None,
        (Some(h), Some(kv)) if kv > 0 && h % kv == 0 && h <= MAX_HEADS => Some((0..h).map(|i| i / (h / kv)).collect()),
        _ => return Err("the heads of queries are no known multiple of those of keys".into()),
    };
    let name = graph.value(out).name.to_string();
    let mut m = Maker { graph, node, name };
    let keys = m.repeated(k, heads.as_deref(), dtype, "keys.repeated", &mut ks);
    let values = m.repeated(v, heads.as_deref(), dtype, "values.repeated", &mut vs);
    let root = crate::floats::narrow(dtype, &[], vec![scale.sqrt()]).map_err(|e| e.to_string())?;
    let root = m.graph.add_const(&format!("{}.scale", m.name), root);
    let times = |v: ValueId| NodeBuilder::new(OpName::onnx("Mul")).inputs([v, root]);
    let queries = m.op(times(q), "queries", dtype, &qs);
    let keys = m.op(times(keys), "keys", dtype, &ks);
    let turned = [ks[0].clone(), ks[1].clone(), ks[3].clone(), ks[2].clone()];
    let transpose = NodeBuilder::new(OpName::onnx("Transpose")).inputs([keys]).attr("perm", vec![0i64, 1, 3, 2]);
    let keys = m.op(transpose, "keys.turned", dtype, &turned);
    let scores = [qs[0].clone(), qs[1].clone(), qs[2].clone(), ks[2].clone()];
    let results = [qs[0].clone(), qs[1].clone(), qs[2].clone(), vs[3].clone()];
    let y = m.product(queries, keys, dtype, "scores", &scores);
    let y = m.cast(y, (dtype, precision), "scores.cast", &scores);
    let y = m.modified(y, "score_mod", precision, &scores);
    let softmax = NodeBuilder::new(OpName::onnx("Softmax")).inputs([y]).attr("axis", -1i64);
    let y = m.op(softmax, "probabilities", precision, &scores);
    let y = m.modified(y, "prob_mod", precision, &scores);
    let values = m.cast(values, (dtype, precision), "values", &vs);
    let y = m.product(y, values, precision, "mixed", &results);
    Ok(vec![Some(m.cast(y, (precision, dtype), "result", &results))])
}
