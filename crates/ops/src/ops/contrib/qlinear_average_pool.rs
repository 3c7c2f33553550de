//! com.microsoft.QLinearAveragePool: AveragePool of quantised data, with a quantised result. Channels are first or last.

use super::channels_last::{infer, to_first, to_last};
use crate::ops::nn::average_pool;
use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, OpDef, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Attr;

/// The row of QLinearAveragePool, whose nodes become DequantizeLinear, AveragePool and QuantizeLinear.
pub const OP: OpDef = OpDef {
    name: "QLinearAveragePool",
    domain: "com.microsoft",
    types: &[("T", TypeSet::BYTE), ("S", TypeSet::F32)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("x_scale", "S"),
        Param::opt("x_zero_point", "T"),
        Param::req("y_scale", "S"),
        Param::opt("y_zero_point", "T"),
    ],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::str("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0),
        AttrDef::int("channels_last", 0),
        AttrDef::int("count_include_pad", 0),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer: |cx| match cx.flag("channels_last") {
        true => infer(cx, &average_pool::OP, &[0]),
        false => (average_pool::OP.infer)(cx),
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let attrs = r.node.attrs.clone();
    let kept: Vec<(&str, Attr)> =
        attrs.iter().filter(|(n, _)| *n != "channels_last").map(|(n, a)| (n, a.clone())).collect();
    let (x, x_scale, y_scale) = (r.operand(0)?, r.operand(1)?, r.operand(3)?);
    let (x_zero, y_zero, dtype) = (r.node.input(2), r.node.input(4), r.dtype(x));
    let last = attrs.int("channels_last").unwrap_or(0) != 0;
    let x = if last { to_first(&mut r, x, "first")? } else { x };
    let real = r.real(x, x_scale, x_zero, "real")?;
    let mean = r.op("AveragePool", &[real], &kept, "mean")?;
    let y = r.codes(mean, y_scale, y_zero, dtype)?;
    Ok(vec![Some(if last { to_last(&mut r, y, "last")? } else { y })])
}
