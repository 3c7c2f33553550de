//! DepthToSpace: blocks of channels become blocks of pixels. `[N, C*b*b, H, W]` to `[N, C, H*b, W*b]`.

use super::space_to_depth::{blocks, infer_blocks};
use crate::elementwise::only;
use crate::indexing::{by_axis, strides};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};

/// The row of DepthToSpace.
pub const OP: OpDef = OpDef {
    name: "DepthToSpace",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::req("input", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::required("blocksize", AttrKind::Int), AttrDef::str("mode", "DCR").since(11)],
    infer: |cx| {
        channels_last(cx.str("mode"))?;
        infer_blocks(cx, true)
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let crd = channels_last(cx.str("mode"))?;
        let (n, c, h, w, b) = blocks(x.shape(), cx.int("blocksize"), true)?;
        let s = strides(x.shape());
        // The block's row and column are taken of the channel axis, whose order the mode decides.
        let block = if crd { 1 } else { c };
        let at = |a: usize, i: usize| match a {
            0 => i * s[0],
            1 => i * s[1] * if crd { b * b } else { 1 },
            2 => i / b * s[2] + i % b * b * block * s[1],
            _ => i / b * s[3] + i % b * block * s[1],
        };
        Ok(vec![by_axis(cx, x, vec![n, c, h * b, w * b], None, at)?])
    }),
    decompose: Some(into_transpose),
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

fn into_transpose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let crd = channels_last(graph.node(id).attrs.str("mode").unwrap_or("DCR")).map_err(|e| e.to_string())?;
    let perm: [i64; 6] = if crd { [0, 1, 4, 2, 5, 3] } else { [0, 3, 4, 1, 5, 2] };
    super::space_to_depth::through_six_axes(graph, id, true, perm, |n, c, h, w, b| {
        if crd { [n, c, b.clone(), b, h, w] } else { [n, b.clone(), b, c, h, w] }
    })
}
