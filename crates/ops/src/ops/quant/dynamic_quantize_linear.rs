//! DynamicQuantizeLinear: x quantised to u8 over its own range, which is widened to contain 0.

use super::quantize_linear;
use crate::elementwise::{elements, only};
use crate::{OpDef, Param, TypeSet};
use planc_ir::{Attrs, Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_tensor::{DType, Tensor};

/// The row of DynamicQuantizeLinear.
pub const OP: OpDef = OpDef {
    name: "DynamicQuantizeLinear",
    since: 11,
    types: &[("T1", TypeSet::F32), ("T2", TypeSet::of(&[DType::U8]))],
    inputs: &[Param::req("x", "T1")],
    outputs: &[Param::req("y", "T2"), Param::req("y_scale", "T1"), Param::req("y_zero_point", "T2")],
    infer: |cx| {
        let shape = cx.shape(0)?.map(<[_]>::to_vec);
        cx.set_shape(0, DType::U8, shape);
        cx.set_tensor(1, DType::F32, vec![]);
        cx.set_tensor(2, DType::U8, vec![]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let numbers = elements::<f32>(x)?;
        let low = numbers.iter().copied().fold(0f32, f32::min);
        let high = numbers.iter().copied().fold(0f32, f32::max);
        let scale = if high == low { 1.0 } else { (high - low) / LEVELS };
        let zero = (-low / scale).clamp(0.0, LEVELS).round_ties_even() as u8;
        let (scale, zero) = (Tensor::scalar(scale), Tensor::scalar(zero));
        let operands = [Some(x), Some(scale.view()), Some(zero.view())];
        let mut results = cx.eval_other(&quantize_linear::OP, &Attrs::new(), &operands)?;
        results.extend([scale, zero]);
        Ok(results)
    }),
    decompose: Some(decompose),
    ..OpDef::NEW
};

/// The greatest code.
const LEVELS: f32 = 255.0;

/// The same in reductions and elementwise operators, which backends have kernels for.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id);
    let x = node.input(0).ok_or("operand 0 is missing")?;
    let wanted: Vec<bool> = (0..3).map(|i| node.output(i).is_some()).collect();
    let first = node.outputs().iter().flatten().next().ok_or("no results")?;
    let base = graph.value(*first).name.to_string();
    let origin = node.origin.clone();
    let scalar = |t: DType| TensorType::fixed(t, &[]);
    let add = |graph: &mut Graph, tag: &str, b: NodeBuilder, ty: TensorType| {
        graph.add_op(b.origin(origin.clone()), &format!("{base}.{tag}"), ty)
    };
    let op = |name: &str, inputs: &[ValueId]| NodeBuilder::new(OpName::onnx(name)).inputs(inputs.iter().copied());
    let number = |graph: &mut Graph, tag: &str, v: f32| graph.add_const(&format!("{base}.{tag}"), Tensor::scalar(v));
    let (zero, one, levels) = (number(graph, "zero", 0.0), number(graph, "one", 1.0), number(graph, "levels", LEVELS));
    let least = add(graph, "least", op("ReduceMin", &[x]).attr("keepdims", 0i64), scalar(DType::F32));
    let greatest = add(graph, "greatest", op("ReduceMax", &[x]).attr("keepdims", 0i64), scalar(DType::F32));
    let low = add(graph, "low", op("Min", &[least, zero]), scalar(DType::F32));
    let high = add(graph, "high", op("Max", &[greatest, zero]), scalar(DType::F32));
    let range = add(graph, "range", op("Sub", &[high, low]), scalar(DType::F32));
    let empty = add(graph, "empty", op("Equal", &[range, zero]), scalar(DType::Bool));
    let step = add(graph, "step", op("Div", &[range, levels]), scalar(DType::F32));
    let scale = add(graph, "scale", op("Where", &[empty, one, step]), scalar(DType::F32));
    let up = add(graph, "up", op("Neg", &[low]), scalar(DType::F32));
    let ratio = add(graph, "ratio", op("Div", &[up, scale]), scalar(DType::F32));
    let clipped = add(graph, "clipped", op("Clip", &[ratio, zero, levels]), scalar(DType::F32));
    let rounded = add(graph, "rounded", op("Round", &[clipped]), scalar(DType::F32));
    let cast = op("Cast", &[rounded]).attr("to", i64::from(DType::U8.onnx()));
    let zero_point = add(graph, "zero_point", cast, scalar(DType::U8));
    let shape = graph.tensor_type(x).and_then(|t| t.shape.clone());
    let ty = shape.map_or(TensorType::unranked(DType::U8), |s| TensorType::new(DType::U8, s));
    let y = if wanted[0] { Some(add(graph, "codes", op("QuantizeLinear", &[x, scale, zero_point]), ty)) } else { None };
    Ok(vec![y, wanted[1].then_some(scale), wanted[2].then_some(zero_point)])
}
