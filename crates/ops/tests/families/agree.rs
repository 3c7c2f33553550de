//! Kernels against evaluations: an operator's lowering, interpreted, gives what its evaluation gives.

use crate::cases::{attrs, f, run};
use planc_ir::{Graph, NodeBuilder, OpName, TensorType};
use planc_kir::interp::interpret;
use planc_ops::{LowerCx, Lowered, all, find, infer_graph};
use planc_tensor::{Attr, DType, Tensor, View, f16};

/// Lowers with operand 0 unknown, the others constant where `constants`; the kernel's result beside the evaluation's.
fn both(domain: &str, op: &str, list: &[(&str, Attr)], inputs: &[Tensor], constants: bool) -> Option<(Tensor, Tensor)> {
    let mut g = Graph::new("case");
    let operand = |(i, t): (usize, &Tensor)| match constants && i > 0 {
        true => g.add_const(&format!("i{i}"), t.clone()),
        false => g.add_input(&format!("i{i}"), TensorType::fixed(t.dtype(), t.shape())),
    };
    let values: Vec<_> = inputs.iter().enumerate().map(operand).collect();
    let node = NodeBuilder::new(OpName::new(domain, op)).inputs(values).attrs(attrs(list));
    let node = g.add_node(node, vec![Some(("r0".into(), TensorType::unranked(DType::F32).into()))]);
    infer_graph(&mut g).unwrap();
    let Lowered::Kernel { kernel, operands } = (find(domain, op)?.lower)(&LowerCx::of(&g, node)?) else { return None };
    let wrapped: Vec<Option<Tensor>> = inputs.iter().cloned().map(Some).collect();
    let want = run(domain, op, attrs(list), &wrapped, 1).unwrap().remove(0);
    let views: Vec<Option<View<'_>>> = operands.iter().map(|o| inputs.get(*o).map(Tensor::view)).collect();
    let got = interpret(&kernel, &views, &[(want.dtype(), want.shape().to_vec())], &|_| None);
    Some((got.unwrap_or_else(|e| panic!("{op}: {e}")).remove(0), want))
}

/// Panics unless the operator lowers to a kernel that agrees with the evaluation.
fn agree(domain: &str, op: &str, list: &[(&str, Attr)], inputs: &[Tensor]) {
    // Axes must be constant for a kernel.
    let choices = if op.starts_with("Reduce") { &[true][..] } else { &[false, true] };
    for constants in choices.iter().copied() {
        let (got, want) =
            both(domain, op, list, inputs, constants).unwrap_or_else(|| panic!("{op} does not lower to a kernel"));
        let tolerance = if want.dtype() == DType::F16 { 2e-3 } else { 2e-6 };
        let (a, b) = (planc_ops::scalar::floats(got.view()).unwrap(), planc_ops::scalar::floats(want.view()).unwrap());
        let near =
            |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * (1.0 + b.abs());
        assert!(a.len() == b.len() && a.iter().zip(&b).all(near), "{op} {:?}: {a:?}, not {b:?}", want.dtype());
    }
}

/// Awkward numbers for functions of floats.
const AWKWARD: [f32; 14] =
    [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5, 3.7, -90.0, 20.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

#[test]
fn functions_of_one_float() {
    let half = Tensor::vector(AWKWARD.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>());
    let mut count = 0;
    for row in all().filter(|r| r.props.has(planc_ops::Props::ELEMENTWISE)) {
        let takes_float = row.input(0).is_some_and(|p| row.type_set(p.ty).has(DType::F32));
        let required = row.attrs.iter().any(|a| a.default == planc_ops::Default::Required);
        if row.inputs.len() == 1 && takes_float && !required {
            agree(row.domain, row.name, &[], &[f(&[14], &AWKWARD)]);
            agree(row.domain, row.name, &[], std::slice::from_ref(&half));
            count += 1;
        }
    }
    assert!(count >= 40, "only {count} operators were found");
}

#[test]
fn operators_of_two_operands() {
    let floats = [f(&[7, 1], &AWKWARD[..7]), f(&[7], &AWKWARD[2..9])];
    let ints = |lists: [&[i32]; 2]| lists.map(|v| Tensor::vector(v.to_vec()));
    let signed = ints([&[7, -7, 7, -7, i32::MIN, 5, i32::MAX], &[3, 3, -3, -3, -1, 0, 2]]);
    for op in
        ["Add", "Sub", "Mul", "Div", "Min", "Max", "Mod", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]
    {
        agree("", op, &[], &floats);
        agree("", op, &[], &signed);
    }
    agree("", "Mod", &[("fmod", Attr::Int(1))], &signed);
    agree("", "Pow", &[], &[f(&[3], &[1.5, 2.0, 3.0]), Tensor::vector(vec![2i64, 3, -1])]);
    agree("", "Pow", &[], &[f(&[3], &[1.5, -2.0, 3.0]), Tensor::scalar(2i64)]);
    agree("", "PRelu", &[], &[f(&[2, 2], &[-1., 2., -3., 4.]), f(&[2], &[0.5, 0.25])]);
    agree("", "BitwiseXor", &[], &signed);
    for op in ["And", "Or", "Xor"] {
        agree("", op, &[], &[Tensor::vector(vec![true, true, false]), Tensor::vector(vec![false, true, false])]);
    }
}

#[test]
fn reductions_and_rows() {
    let x = f(&[2, 3, 2], &[1., 5., -2., 0.5, 3., 3., 4., 4., -1., 0., 2., 7.]);
    let sums = ["Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSumExp"];
    for op in sums.map(|op| format!("Reduce{op}")) {
        for axes in [vec![1i64], vec![0, -1]] {
            agree("", &op, &[], &[x.clone(), Tensor::vector(axes)]);
        }
    }
    for op in ["Softmax", "LogSoftmax", "ArgMax", "ArgMin"] {
        for axis in [0, 1, -1] {
            agree("", op, &[("axis", Attr::Int(axis))], std::slice::from_ref(&x));
        }
    }
    agree("", "Softmax", &[("axis", Attr::Int(1)), ("flatten", Attr::Int(1))], &[x]);
}

#[test]
fn quantisation() {
    let (x, scale) = (f(&[2, 3], &[-300., -1.25, 0.25, 0.75, 99.9, f32::NAN]), Tensor::scalar(0.5f32));
    agree("", "QuantizeLinear", &[], &[x.clone(), scale.clone(), Tensor::scalar(3u8)]);
    agree(
        "",
        "QuantizeLinear",
        &[("axis", Attr::Int(-1))],
        &[x, f(&[3], &[0.5, 0.1, 2.0]), Tensor::vector(vec![0i8, -5, 9])],
    );
    let codes = Tensor::new(vec![2, 3], vec![0u8, 1, 2, 128, 254, 255]).unwrap();
    agree("", "DequantizeLinear", &[], &[codes, scale, Tensor::scalar(128u8)]);
}
