//! SpaceToDepth: blocks of pixels become blocks of channels. `[N, C, H*b, W*b]` to `[N, C*b*b, H, W]`.

use crate::elementwise::only;
use crate::indexing::{by_axis, strides};
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet, known};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_tensor::{Dim, Tensor};

/// The row of SpaceToDepth.
pub const OP: OpDef = OpDef {
    name: "SpaceToDepth",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::required("blocksize", AttrKind::Int), AttrDef::str("mode", "DCR").since(28)],
    infer: |cx| {
        channels_last(cx.str("mode"))?;
        infer_blocks(cx, false)
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let crd = channels_last(cx.str("mode"))?;
        let (n, c, h, w, b) = blocks(x.shape(), cx.int("blocksize"), false)?;
        let s = strides(x.shape());
        let at = |a: usize, i: usize| match a {
            0 => i * s[0],
            1 => {
                let (channel, block) = if crd { (i / (b * b), i % (b * b)) } else { (i % c, i / c) };
                channel * s[1] + block / b * s[2] + block % b * s[3]
            }
            2 => i * b * s[2],
            _ => i * b * s[3],
        };
        Ok(vec![by_axis(cx, x, vec![n, c * b * b, h, w], None, at)?])
    }),
    decompose: Some(|graph, id| {
        let crd = channels_last(graph.node(id).attrs.str("mode").unwrap_or("DCR")).map_err(|e| e.to_string())?;
        let perm = if crd { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
        through_six_axes(graph, id, false, perm, |n, c, h, w, b| [n, c, h, b.clone(), w, b])
    }),
    ..OpDef::NEW
};

/// Whether the mode is CRD: within the channels the block is innermost.
fn channels_last(mode: &str) -> Result<bool, OpError> {
    match mode {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        _ => Err(OpError::attribute(format!("mode {mode:?} is not DCR or CRD"))),
    }
}

/// `(N, C, H, W, b)`: C the channels of the side with more pixels, H and W the pixels of the side with more channels.
pub(super) fn blocks(
    shape: &[usize],
    blocksize: i64,
    to_space: bool,
) -> Result<(usize, usize, usize, usize, usize), OpError> {
    let dims: Vec<Dim> = shape.iter().map(|d| Dim::from(*d)).collect();
    let [n, c, h, w, b] = block_dims(&dims, blocksize, to_space)?;
    let all = [n, c, h, w, b].map(|d| d.as_usize());
    match all {
        [Some(n), Some(c), Some(h), Some(w), Some(b)] => Ok((n, c, h, w, b)),
        _ => Err(OpError::limit("the result is too large")),
    }
}

fn block_dims(shape: &[Dim], blocksize: i64, to_space: bool) -> Result<[Dim; 5], OpError> {
    let [n, c, h, w] = shape else { return Err(OpError::shape(format!("{} is not of rank 4", known::text(shape)))) };
    if blocksize < 1 || blocksize > i64::from(i32::MAX) {
        return Err(OpError::attribute(format!("blocksize {blocksize} is out of range")));
    }
    let b = Dim::from(blocksize);
    let divide = |d: &Dim, by: i64| match d.as_const() {
        Some(v) if v % by != 0 => Err(OpError::shape(format!("extent {v} does not divide by {by}"))),
        _ => Ok(d.floor_div(&Dim::from(by))),
    };
    Ok(match to_space {
        true => [n.clone(), divide(c, blocksize * blocksize)?, h.clone(), w.clone(), b],
        false => [n.clone(), c.clone(), divide(h, blocksize)?, divide(w, blocksize)?, b],
    })
}

/// Inference of both directions.
pub(super) fn infer_blocks(cx: &mut InferCx<'_>, to_space: bool) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let shape = match cx.shape(0)? {
        Some(s) => {
            let [n, c, h, w, b] = block_dims(s, cx.int("blocksize"), to_space)?;
            match to_space {
                true => vec![n, c, h * b.clone(), w * b],
                false => vec![n, c * b.clone() * b, h, w],
            }
        }
        None => (0..4).map(|i| cx.fresh(0, i)).collect(),
    };
    cx.set_tensor(0, dtype, shape);
    Ok(())
}

/// Reshape to six axes, transposition, reshape to the result.
pub(super) fn through_six_axes(
    graph: &mut Graph,
    id: NodeId,
    to_space: bool,
    perm: [i64; 6],
    split: impl Fn(Dim, Dim, Dim, Dim, Dim) -> [Dim; 6],
) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { return Err("an operand is missing".into()) };
    let shape_of = |v: ValueId| graph.tensor_type(v).and_then(|t| t.shape.clone()).ok_or("a rank is unknown");
    let (from, to) = (shape_of(x)?, shape_of(y)?);
    let dtype = graph.tensor_type(x).ok_or("the operand is not a tensor")?.dtype;
    let blocksize = node.attrs.int("blocksize").ok_or("blocksize is missing")?;
    let [n, c, h, w, b] = block_dims(&from, blocksize, to_space).map_err(|e| e.to_string())?;
    let six = split(n, c, h, w, b);
    let moved: Vec<Dim> = perm.iter().map(|a| six[*a as usize].clone()).collect();
    let name = graph.value(y).name.to_string();
    let wide = target(&from, &six).zip(target(&moved, &to)).ok_or("more than one spatial extent is symbolic")?;
    let reshape = |graph: &mut Graph, tag: &str, v: ValueId, target: Vec<i64>, shape: &[Dim]| {
        let target = graph.add_const(&format!("{name}.{tag}.shape"), Tensor::vector(target));
        let b = NodeBuilder::new(OpName::onnx("Reshape")).inputs([v, target]).like(&node);
        graph.add_op(b, &format!("{name}.{tag}"), TensorType::new(dtype, shape.to_vec()))
    };
    let blocks = reshape(graph, "blocks", x, wide.0, &six);
    let transpose =
        NodeBuilder::new(OpName::onnx("Transpose")).inputs([blocks]).attr("perm", perm.to_vec()).like(&node);
    let turned = graph.add_op(transpose, &format!("{name}.turned"), TensorType::new(dtype, moved));
    Ok(vec![Some(reshape(graph, "joined", turned, wide.1, &to))])
}

/// The operand of a Reshape of `from` to `shape`: numbers, 0 for the batch extent if that is symbolic, -1 for one other
/// symbolic extent.
fn target(from: &[Dim], shape: &[Dim]) -> Option<Vec<i64>> {
    let number = |(i, d): (usize, &Dim)| d.as_const().unwrap_or(if i == 0 && from.first() == Some(d) { 0 } else { -1 });
    let target: Vec<i64> = shape.iter().enumerate().map(number).collect();
    let empty = shape.iter().any(|d| d.as_const() == Some(0));
    (!empty && target.iter().filter(|d| **d == -1).count() <= 1).then_some(target)
}
