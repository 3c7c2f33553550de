//! com.microsoft.QLinearGlobalAveragePool: the mean of each channel of quantised data, quantised. Channels are first or
//! last.

use crate::rebuild::Rebuild;
use crate::{AttrDef, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType, Dim};

/// The row of QLinearGlobalAveragePool, whose nodes become sums of codes and a requantisation.
pub const OP: OpDef = OpDef {
    name: "QLinearGlobalAveragePool",
    domain: "com.microsoft",
    types: &[("T", TypeSet::BYTE), ("S", TypeSet::F32)],
    inputs: &[
        Param::req("X", "T"),
        Param::req("x_scale", "S"),
        Param::req("x_zero_point", "T"),
        Param::req("y_scale", "S"),
        Param::req("y_zero_point", "T"),
    ],
    outputs: &[Param::req("Y", "T")],
    attrs: &[AttrDef::int("channels_last", 0)],
    infer: |cx| {
        let (dtype, last) = (cx.dtype(0)?, cx.flag("channels_last"));
        let shape = match cx.shape(0)? {
            Some(s) if s.len() < 3 => {
                return Err(OpError::shape(format!("data of rank {} have no spatial axes", s.len())));
            }
            Some(s) => {
                let channels = if last { s.len() - 1 } else { 1 };
                let kept = |(i, d): (usize, &Dim)| if i == 0 || i == channels { d.clone() } else { Dim::from(1i64) };
                Some(s.iter().enumerate().map(kept).collect())
            }
            None => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let (x, x_scale, x_zero) = (r.operand(0)?, r.operand(1)?, r.operand(2)?);
    let (y_scale, y_zero) = (r.operand(3)?, r.operand(4)?);
    let rank = r.dims(x)?.len() as i64;
    let first = if r.node.attrs.int("channels_last").unwrap_or(0) != 0 { 1 } else { 2 };
    let axes: Vec<i64> = (first..first + rank - 2).collect();
    let codes = r.cast(x, DType::I32, "wide")?;
    let zero = r.cast(x_zero, DType::I32, "zero")?;
    let offsets = r.op("Sub", &[codes, zero], &[], "offsets")?;
    let axes = r.ints("axes", &axes);
    let sums = r.op("ReduceSum", &[offsets, axes], &[], "sums")?;
    let sums = r.cast(sums, DType::F32, "real")?;
    let bounds = [("start", Attr::Int(first)), ("end", Attr::Int(first + rank - 2))];
    let extents = r.op("Shape", &[x], &bounds, "extents")?;
    let count = r.op("ReduceProd", &[extents], &[("keepdims", Attr::Int(0))], "count")?;
    let count = r.cast(count, DType::F32, "count.real")?;
    let units = r.op("Mul", &[y_scale, count], &[], "units")?;
    let factor = r.op("Div", &[x_scale, units], &[], "factor")?;
    let ratio = r.op("Mul", &[sums, factor], &[], "ratio")?;
    let one = r.number("one", DType::F32, 1.0)?;
    let dtype = r.dtype(x);
    Ok(vec![Some(r.codes(ratio, one, Some(y_zero), dtype)?)])
}
