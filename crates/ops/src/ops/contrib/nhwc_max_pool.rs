//! com.microsoft.NhwcMaxPool: MaxPool of quantised data whose channels are last.

use super::channels_last::{infer, to_first, to_last};
use crate::ops::nn::max_pool;
use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Attr;

/// The row of NhwcMaxPool, whose nodes become MaxPool between transpositions.
pub const OP: OpDef = OpDef {
    name: "NhwcMaxPool",
    domain: "com.microsoft",
    types: &[("T", TypeSet::BYTE)],
    inputs: &[Param::req("x", "T")],
    outputs: &[Param::req("y", "T")],
    attrs: &[
        AttrDef::str("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0),
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer: |cx| infer(cx, &max_pool::OP, &[0]),
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let attrs = r.node.attrs.clone();
    let attrs: Vec<(&str, Attr)> = attrs.iter().map(|(n, a)| (n, a.clone())).collect();
    let x = r.operand(0)?;
    let x = to_first(&mut r, x, "first")?;
    let y = r.op("MaxPool", &[x], &attrs, "largest")?;
    Ok(vec![Some(to_last(&mut r, y, "last")?)])
}
