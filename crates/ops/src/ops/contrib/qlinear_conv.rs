//! com.microsoft.QLinearConv: QLinearConv of ONNX, also of data whose channels are last.

use super::channels_last::{infer, to_first, to_last};
use crate::ops::nn::conv;
use crate::ops::qlinear::qlinear_conv;
use crate::rebuild::Rebuild;
use crate::{AttrDef, OpDef};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Attr;

/// The row of QLinearConv, whose nodes become QLinearConv of ONNX.
pub const OP: OpDef = OpDef {
    domain: "com.microsoft",
    since: 1,
    attrs: &[
        AttrDef::int("channels_last", 0),
        conv::ATTRS[0],
        conv::ATTRS[1],
        conv::ATTRS[2],
        conv::ATTRS[3],
        conv::ATTRS[4],
        conv::ATTRS[5],
    ],
    infer: |cx| match cx.flag("channels_last") {
        true => infer(cx, &qlinear_conv::OP, &[0]),
        false => (qlinear_conv::OP.infer)(cx),
    },
    eval: None,
    decompose: Some(decompose),
    ..qlinear_conv::OP
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let attrs = r.node.attrs.clone();
    let kept: Vec<(&str, Attr)> =
        attrs.iter().filter(|(n, _)| *n != "channels_last").map(|(n, a)| (n, a.clone())).collect();
    let mut operands = r.node.inputs().to_vec();
    let last = attrs.int("channels_last").unwrap_or(0) != 0;
    if last {
        let x = r.operand(0)?;
        operands[0] = Some(to_first(&mut r, x, "first")?);
    }
    let y = r.node("QLinearConv", &operands, &kept, ("sums", 1))?[0];
    Ok(vec![Some(if last { to_last(&mut r, y, "last")? } else { y })])
}
