//! com.microsoft.QGemm: alpha op(A) op(B) + C of quantised matrices, quantised again where a scale for that is given.

use crate::rebuild::Rebuild;
use crate::{AttrDef, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType, Tensor};

/// The row of QGemm, whose nodes become MatMulInteger, scaling and QuantizeLinear.
pub const OP: OpDef = OpDef {
    name: "QGemm",
    domain: "com.microsoft",
    types: &[
        ("T", TypeSet::F32),
        ("TA", TypeSet::BYTE),
        ("TB", TypeSet::BYTE),
        ("TC", TypeSet::of(&[DType::I32])),
        ("TYZ", TypeSet::BYTE),
        ("TY", TypeSet::BYTE.or(TypeSet::F32)),
    ],
    inputs: &[
        Param::req("A", "TA"),
        Param::req("a_scale", "T"),
        Param::req("a_zero_point", "TA"),
        Param::req("B", "TB"),
        Param::req("b_scale", "T"),
        Param::req("b_zero_point", "TB"),
        Param::opt("C", "TC"),
        Param::opt("y_scale", "T"),
        Param::opt("y_zero_point", "TYZ"),
    ],
    outputs: &[Param::req("Y", "TY")],
    attrs: &[AttrDef::float("alpha", 1.0), AttrDef::int("transA", 0), AttrDef::int("transB", 0)],
    infer,
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let extent = |i: usize, turned: bool, axis: usize| match cx.shape(i)? {
        Some(s) if s.len() == 2 => Ok(s[if turned { 1 - axis } else { axis }].clone()),
        Some(s) => Err(OpError::shape(format!("operand {i} has rank {}, not 2", s.len()))),
        None => Ok(cx.fresh(0, axis)),
    };
    let shape = vec![extent(0, cx.flag("transA"), 0)?, extent(3, cx.flag("transB"), 1)?];
    let dtype = match (cx.has(7), cx.has(8)) {
        (true, true) => cx.dtype(8)?,
        (true, false) => return Err(OpError::arity("y_zero_point is missing")),
        _ => DType::F32,
    };
    cx.set_tensor(0, dtype, shape);
    Ok(())
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let turn = [("perm", Attr::Ints(vec![1, 0]))];
    let (mut a, mut b) = (r.operand(0)?, r.operand(3)?);
    if r.node.attrs.int("transA").unwrap_or(0) != 0 {
        a = r.op("Transpose", &[a], &turn, "a")?;
    }
    if r.node.attrs.int("transB").unwrap_or(0) != 0 {
        b = r.op("Transpose", &[b], &turn, "b")?;
    }
    let mut sums = r.op("MatMulInteger", &[a, b, r.operand(2)?, r.operand(5)?], &[], "sums")?;
    if let Some(c) = r.node.input(6) {
        sums = r.op("Add", &[sums, c], &[], "biased")?;
    }
    let real = r.op("Cast", &[sums], &[("to", Attr::Int(i64::from(DType::F32.onnx())))], "real")?;
    let mut scale = r.op("Mul", &[r.operand(1)?, r.operand(4)?], &[], "scale")?;
    if let Some(alpha) = r.node.attrs.float("alpha").filter(|a| *a != 1.0) {
        let alpha = r.constant("alpha", Tensor::scalar(alpha));
        scale = r.op("Mul", &[scale, alpha], &[], "scale.alpha")?;
    }
    let y = r.op("Mul", &[real, scale], &[], "scaled")?;
    match (r.node.input(7), r.node.input(8)) {
        (Some(scale), Some(zero)) => Ok(vec![Some(r.op("QuantizeLinear", &[y, scale, zero], &[], "quantised")?)]),
        _ => Ok(vec![Some(y)]),
    }
}
