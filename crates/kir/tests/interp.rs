//! The interpreter against values computed by hand, and against hostile input.

use planc_kir::interp::{InterpError, Scalar, eval_expr, interpret};
use planc_kir::*;
use planc_tensor::{Bytes, DType, Dim, Tensor, bf16, f16};
use proptest::prelude::*;

fn f32s(shape: &[usize], v: &[f32]) -> Tensor {
    Tensor::new(shape, v.to_vec()).unwrap()
}

fn ramp(shape: &[usize]) -> Tensor {
    f32s(shape, &(0..shape.iter().product::<usize>()).map(|v| v as f32).collect::<Vec<_>>())
}

fn i64s(shape: &[usize], v: &[i64]) -> Tensor {
    Tensor::new(shape, v.to_vec()).unwrap()
}

fn run(kernel: &Kernel, operands: &[&Tensor], dtype: DType, shape: &[usize]) -> Result<Tensor, InterpError> {
    let views: Vec<_> = operands.iter().map(|t| Some(t.view())).collect();
    let bind = |s: &str| (s == "P").then_some(1);
    interpret(kernel, &views, &[(dtype, shape.to_vec())], &bind).map(|mut r| r.remove(0))
}

/// Runs a kernel on floats and compares.
fn check(kernel: &Kernel, operands: &[&Tensor], shape: &[usize], expected: &[f32]) {
    let out = run(kernel, operands, DType::F32, shape).unwrap();
    let out = out.as_slice::<f32>().unwrap();
    let near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 1e-5 * (1.0 + b.abs());
    assert!(out.len() == expected.len() && out.iter().zip(expected).all(near), "{out:?}\n{expected:?}\n{kernel:?}");
}

fn expr(text: &str) -> Expr {
    parse_expr(text).unwrap().0
}

fn value(text: &str, args: &[Scalar]) -> Scalar {
    eval_expr(&expr(text), args).unwrap()
}

#[test]
fn expressions_follow_their_documentation() {
    use Scalar::{Float, Int};
    for (text, args, expected) in [
        ("(i8, i8) add(a0, a1)", vec![Int(127), Int(1)], Int(-128)),
        ("(u8, u8) sub(a0, a1)", vec![Int(3), Int(5)], Int(254)),
        ("(i32, i32) div(a0, a1)", vec![Int(-7), Int(2)], Int(-3)),
        ("(i32, i32) div(a0, a1)", vec![Int(7), Int(0)], Int(0)),
        ("(i64, i64) div(a0, a1)", vec![Int(i64::MIN.into()), Int(-1)], Int(i64::MIN.into())),
        ("(i32, i32) rem(a0, a1)", vec![Int(-7), Int(3)], Int(-1)),
        ("(i32, i32) mod(a0, a1)", vec![Int(-7), Int(3)], Int(2)),
        ("(i32, i32) mod(a0, a1)", vec![Int(7), Int(-3)], Int(-2)),
        ("(f32, f32) mod(a0, a1)", vec![Float(-7.0), Float(3.0)], Float(2.0)),
        ("(i32, i32) pow(a0, a1)", vec![Int(3), Int(21)], Int(1_870_418_611)),
        ("(i32, i32) pow(a0, a1)", vec![Int(-1), Int(-3)], Int(-1)),
        ("(u8, u8) shl(a0, a1)", vec![Int(255), Int(4)], Int(240)),
        ("(u8, u8) shl(a0, a1)", vec![Int(255), Int(8)], Int(0)),
        ("(i8, i8) shr(a0, a1)", vec![Int(-1), Int(4)], Int(15)),
        ("(u8) not(a0)", vec![Int(1)], Int(254)),
        ("(bool) not(a0)", vec![Int(1)], Int(0)),
        ("(f32) round(a0)", vec![Float(2.5)], Float(2.0)),
        ("(f32) sign(a0)", vec![Float(-0.5)], Float(-1.0)),
        ("(f32) i8(a0)", vec![Float(-1000.7)], Int(-128)),
        ("(f32) i8(a0)", vec![Float(f64::NAN)], Int(0)),
        ("(f32) u64(a0)", vec![Float(1e30)], Int(u64::MAX.into())),
        ("(i64) f32(a0)", vec![Int(16_777_217)], Float(16_777_216.0)),
        ("(f32) bool(a0)", vec![Float(f64::NAN)], Int(1)),
        // 1 + 2^-11 lies between two halves: each addition rounds.
        ("(f16, f16) add(add(a0, a1), a1)", vec![Float(1.0), Float(0.000_488_281_25)], Float(1.0)),
        ("(f32) f8e4m3fn(a0)", vec![Float(1000.0)], Float(448.0)),
        ("(f32) f8e5m2(a0)", vec![Float(1.1)], Float(1.0)),
        ("(bool, f32, f32) select(a0, a1, a2)", vec![Int(0), Float(1.0), Float(2.0)], Float(2.0)),
    ] {
        assert_eq!(value(text, &args), expected, "{text}");
    }
    let Float(nan) = value("(f32, f32) max(a0, a1)", &[Float(f64::NAN), Float(1.0)]) else { panic!() };
    assert!(nan.is_nan());
    for (x, erf) in [(0.5, 0.520_499_877_813_046_5), (2.0, 0.995_322_265_018_952_7), (-3.5, -0.999_999_256_901_627_7)] {
        assert!((value("(f64) erf(a0)", &[Float(x)]).as_f64() - erf).abs() < 1e-14, "{x}");
    }
    assert!(eval_expr(&expr("(f32) a0"), &[Int(1)]).is_err());
    assert!(eval_expr(&expr("(f32) a0"), &[]).is_err());
}

#[test]
fn maps_broadcast() {
    let add = Kernel::Map(expr("(f32, f32) add(a0, a1)"));
    check(&add, &[&ramp(&[2, 1]), &ramp(&[3])], &[2, 3], &[0.0, 1.0, 2.0, 1.0, 2.0, 3.0]);
    assert!(matches!(run(&add, &[&ramp(&[2]), &ramp(&[3])], DType::F32, &[3]), Err(InterpError::Shape(_))));
    assert!(matches!(run(&add, &[&ramp(&[2])], DType::F32, &[2]), Err(InterpError::Arity(_))));
    assert!(matches!(run(&add, &[&ramp(&[2]), &i64s(&[], &[1])], DType::F32, &[2]), Err(InterpError::Type(_))));
    let half = Tensor::new(vec![1], vec![f16::from_f32(0.1)]).unwrap();
    let cast = Kernel::Map(expr("(f16) bf16(a0)"));
    let out = run(&cast, &[&half], DType::BF16, &[1]).unwrap();
    assert_eq!(out.as_slice::<bf16>().unwrap(), [bf16::from_f32(0.1)]);
}

#[test]
fn reductions() {
    let x = f32s(&[2, 3], &[1.0, -2.0, 3.0, 4.0, 5.0, -6.0]);
    let reduce = |op, axes: &[usize]| Kernel::Reduce(Reduce::plain(op, DType::F32, axes.to_vec()));
    check(&reduce(ReduceOp::Sum, &[1]), &[&x], &[2], &[2.0, 3.0]);
    check(&reduce(ReduceOp::Sum, &[0]), &[&x], &[1, 3], &[5.0, 3.0, -3.0]);
    check(&reduce(ReduceOp::Mean, &[0, 1]), &[&x], &[], &[5.0 / 6.0]);
    check(&reduce(ReduceOp::Prod, &[1]), &[&x], &[2, 1], &[-6.0, -120.0]);
    check(&reduce(ReduceOp::Max, &[1]), &[&x], &[2], &[3.0, 5.0]);
    check(&reduce(ReduceOp::Min, &[0]), &[&x], &[3], &[1.0, -2.0, -6.0]);
    check(&reduce(ReduceOp::L1, &[1]), &[&x], &[2], &[6.0, 15.0]);
    check(&reduce(ReduceOp::L2, &[1]), &[&x], &[2], &[14f32.sqrt(), 77f32.sqrt()]);
    check(&reduce(ReduceOp::SumSquare, &[]), &[&x], &[2, 3], &[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]);
    check(&reduce(ReduceOp::LogSumExp, &[0]), &[&f32s(&[2], &[1000.0, 1000.0])], &[], &[1000.0 + 2f32.ln()]);
    check(&reduce(ReduceOp::Max, &[0]), &[&f32s(&[0], &[])], &[], &[f32::NEG_INFINITY]);
    assert!(run(&reduce(ReduceOp::Sum, &[2]), &[&x], DType::F32, &[2, 3]).is_err());
    let mut b = ExprBuilder::new(&[DType::F32, DType::F32]);
    let (a, c) = (b.arg(0), b.arg(1));
    let product = b.binary(BinOp::Mul, a, c);
    let dot = Kernel::Reduce(Reduce { op: ReduceOp::Sum, axes: vec![1], map: b.finish(product) });
    check(&dot, &[&x, &f32s(&[3], &[1.0, 0.5, 2.0])], &[2], &[6.0, -5.5]);
    check(&dot, &[&f32s(&[2, 1], &[1.0, 2.0]), &f32s(&[3], &[1.0, 0.5, 2.0])], &[2], &[3.5, 7.0]);
    assert!(run(&dot, &[&x], DType::F32, &[2]).is_err());
    assert!(run(&dot, &[&x, &f32s(&[2], &[1.0, 0.5])], DType::F32, &[2]).is_err());
    let arg = |max, last| Kernel::ArgReduce(ArgReduce { max, axis: 0, last });
    let ties = f32s(&[4], &[1.0, 3.0, 3.0, 1.0]);
    for (kernel, at) in [(arg(true, false), 1), (arg(true, true), 2), (arg(false, false), 0), (arg(false, true), 3)] {
        assert_eq!(run(&kernel, &[&ties], DType::I64, &[]).unwrap(), i64s(&[], &[at]));
    }
}

#[test]
fn running_sums_and_selection() {
    let x = f32s(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let sum = |exclusive, reverse| Kernel::CumSum { axis: 0, exclusive, reverse };
    check(&sum(false, false), &[&x], &[4], &[1.0, 3.0, 6.0, 10.0]);
    check(&sum(true, false), &[&x], &[4], &[0.0, 1.0, 3.0, 6.0]);
    check(&sum(false, true), &[&x], &[4], &[10.0, 9.0, 7.0, 4.0]);
    check(&sum(true, true), &[&x], &[4], &[9.0, 7.0, 4.0, 0.0]);
    let (x, k) = (f32s(&[2, 4], &[1.0, 4.0, 4.0, 2.0, 0.0, -1.0, 7.0, 7.0]), i64s(&[1], &[2]));
    let top = Kernel::TopK { axis: 1, largest: true, sorted: true };
    let outputs = [(DType::F32, vec![2, 2]), (DType::I64, vec![2, 2])];
    let out = interpret(&top, &[Some(x.view()), Some(k.view())], &outputs, &|_| None).unwrap();
    assert_eq!(out, [f32s(&[2, 2], &[4.0, 4.0, 7.0, 7.0]), i64s(&[2, 2], &[1, 2, 2, 3])]);
    let smallest = Kernel::TopK { axis: 1, largest: false, sorted: true };
    check(&smallest, &[&x, &k], &[2, 2], &[1.0, 2.0, -1.0, 0.0]);
}

#[test]
fn normalisations() {
    let x = f32s(&[1, 2, 2], &[1.0, 3.0, 2.0, 6.0]);
    let norm = |kind| Kernel::Norm(Norm { kind, epsilon: 0.0 });
    check(&norm(NormKind::Layer { axis: 2 }), &[&x], &[1, 2, 2], &[-1.0, 1.0, -1.0, 1.0]);
    let (scale, bias) = (f32s(&[2], &[2.0, 10.0]), f32s(&[2], &[0.5, 0.0]));
    let layer = norm(NormKind::Layer { axis: 2 });
    check(&layer, &[&x, &scale, &bias], &[1, 2, 2], &[-1.5, 10.0, -1.5, 10.0]);
    let group = norm(NormKind::Group { groups: 2 });
    check(&group, &[&x, &scale, &bias], &[1, 2, 2], &[-1.5, 2.5, -10.0, 10.0]);
    let rms = norm(NormKind::Rms { axis: 2 });
    check(&rms, &[&f32s(&[1, 1, 2], &[3.0, 4.0])], &[1, 1, 2], &[3.0 / 12.5f32.sqrt(), 4.0 / 12.5f32.sqrt()]);
    let soft = |log| Kernel::Softmax(Softmax { axis: 0, end: 1, log });
    check(&soft(false), &[&f32s(&[2], &[0.0, 3f32.ln()])], &[2], &[0.25, 0.75]);
    check(&soft(true), &[&f32s(&[2], &[500.0, 500.0])], &[2], &[-(2f32.ln()), -(2f32.ln())]);
}

#[test]
fn products() {
    let gemm = |trans_a, trans_b, alpha, beta| Kernel::Gemm(Gemm { trans_a, trans_b, alpha, beta });
    let (a, b) = (ramp(&[2, 3]), ramp(&[3, 2]));
    check(&gemm(false, false, 1.0, 1.0), &[&a, &b], &[2, 2], &[10.0, 13.0, 28.0, 40.0]);
    check(&gemm(false, true, 1.0, 1.0), &[&a, &a], &[2, 2], &[5.0, 14.0, 14.0, 50.0]);
    check(&gemm(true, false, 2.0, 3.0), &[&b, &b, &ramp(&[2])], &[2, 2], &[40.0, 55.0, 52.0, 73.0]);
    check(
        &gemm(false, false, 1.0, 1.0),
        &[&ramp(&[2, 1, 1, 1]), &ramp(&[3, 1, 1])],
        &[2, 3, 1, 1],
        &[0.0, 0.0, 0.0, 0.0, 1.0, 2.0],
    );
    assert!(run(&gemm(false, false, 1.0, 1.0), &[&a, &a], DType::F32, &[2, 3]).is_err());
    let ints = Tensor::new(vec![1, 2], vec![200u8, 200]).unwrap();
    let column = Tensor::new(vec![2, 1], vec![-100i8, 2]).unwrap();
    let product = run(&gemm(false, false, 1.0, 1.0), &[&ints, &column], DType::I32, &[1, 1]).unwrap();
    assert_eq!(product.as_slice::<i32>().unwrap(), [-19600]);
    let (zero_a, zero_b) = (Tensor::vector(vec![100u8]), Tensor::vector(vec![-1i8]));
    let less = run(&Kernel::GemmInteger, &[&ints, &column, &zero_a, &zero_b], DType::I32, &[1, 1]).unwrap();
    assert_eq!(less.as_slice::<i32>().unwrap(), [-9600]);
    // Two queries, one key-value head: the first query sees only the first key.
    let attention = Kernel::Attention(Attention { scale: 1.0, causal: true });
    let (q, k, v) = (f32s(&[1, 2, 2, 1], &[1.0; 4]), f32s(&[1, 1, 2, 1], &[0.0, 3f32.ln()]), ramp(&[1, 1, 2, 1]));
    check(&attention, &[&q, &k, &v], &[1, 2, 2, 1], &[0.0, 0.75, 0.0, 0.75]);
    let mask = Tensor::new(vec![2], vec![false, true]).unwrap();
    let plain = Kernel::Attention(Attention { scale: 1.0, causal: false });
    check(&plain, &[&q, &k, &v, &mask], &[1, 2, 2, 1], &[1.0; 4]);
}

fn conv_of(group: usize, stride: usize, dilation: usize, pads: [Dim; 2]) -> Conv {
    Conv { group, strides: vec![stride], dilations: vec![dilation], pads: vec![pads] }
}

#[test]
fn windows() {
    let (zero, one) = (Dim::from(0i64), Dim::sym("P"));
    let (x, w) = (ramp(&[1, 1, 5]), f32s(&[1, 1, 3], &[1.0, 10.0, 100.0]));
    let plain = Kernel::Conv(conv_of(1, 1, 1, [zero.clone(), zero.clone()]));
    check(&plain, &[&x, &w], &[1, 1, 3], &[210.0, 321.0, 432.0]);
    let padded = Kernel::Conv(conv_of(1, 2, 1, [one.clone(), one.clone()]));
    check(&padded, &[&x, &w, &f32s(&[1], &[0.5])], &[1, 1, 3], &[100.5, 321.5, 43.5]);
    let dilated = Kernel::Conv(conv_of(1, 1, 2, [zero.clone(), zero.clone()]));
    check(&dilated, &[&x, &w], &[1, 1, 1], &[420.0]);
    let grouped = Kernel::Conv(conv_of(2, 1, 1, [zero.clone(), zero.clone()]));
    check(&grouped, &[&ramp(&[1, 2, 2]), &f32s(&[2, 1, 1], &[1.0, 10.0])], &[1, 2, 2], &[0.0, 1.0, 20.0, 30.0]);
    let unbound = Kernel::Conv(conv_of(1, 1, 1, [Dim::sym("Q"), zero.clone()]));
    assert!(matches!(run(&unbound, &[&x, &w], DType::F32, &[1, 1, 3]), Err(InterpError::Unbound(_))));
    let transposed = Kernel::ConvTranspose(conv_of(1, 2, 1, [zero.clone(), zero.clone()]));
    let expected = [0.0, 0.0, 1.0, 10.0, 102.0, 20.0, 200.0];
    check(&transposed, &[&ramp(&[1, 1, 3]), &w], &[1, 1, 7], &expected);
    let cut = Kernel::ConvTranspose(conv_of(1, 2, 1, [one.clone(), zero.clone()]));
    check(&cut, &[&ramp(&[1, 1, 3]), &w], &[1, 1, 6], &expected[1..]);

    let bytes = Tensor::new(vec![1, 1, 3], vec![1u8, 2, 3]).unwrap();
    let (weights, zero_x) = (Tensor::new(vec![2, 1, 1], vec![2i8, 3]).unwrap(), Tensor::vector(vec![2u8]));
    let zero_w = Tensor::vector(vec![1i8, 4]);
    let integer = Kernel::ConvInteger(conv_of(1, 1, 1, [zero.clone(), one.clone()]));
    let out = run(&integer, &[&bytes, &weights, &zero_x, &zero_w], DType::I32, &[1, 2, 4]).unwrap();
    assert_eq!(out.as_slice::<i32>().unwrap(), [-1, 0, 1, 0, 1, 0, -1, 0]);

    let pool = |kind| {
        Kernel::Pool(Pool {
            kind,
            kernel: vec![2],
            strides: vec![2],
            dilations: vec![1],
            pads: vec![[one.clone(), zero.clone()]],
        })
    };
    let x = f32s(&[1, 1, 4], &[3.0, -1.0, -2.0, 4.0]);
    check(&pool(PoolKind::Max), &[&x], &[1, 1, 3], &[3.0, -1.0, 4.0]);
    check(&pool(PoolKind::Average { count_pad: true }), &[&x], &[1, 1, 3], &[1.5, -1.5, 4.0]);
    check(&pool(PoolKind::Average { count_pad: false }), &[&x], &[1, 1, 3], &[3.0, -1.5, 4.0]);
    check(&pool(PoolKind::Lp { p: 2 }), &[&x], &[1, 1, 2], &[3.0, 5f32.sqrt()]);
}

#[test]
fn moves() {
    let x = ramp(&[2, 3]);
    check(&Kernel::Reshape, &[&x], &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    check(&Kernel::Transpose { perm: vec![1, 0] }, &[&x], &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let slice = Kernel::Slice(Slice { starts: vec![Dim::sym("P"), Dim::from(2i64)], steps: vec![1, -2] });
    check(&slice, &[&x], &[1, 2], &[5.0, 3.0]);
    assert!(run(&slice, &[&x], DType::F32, &[2, 2]).is_err());
    check(&Kernel::Concat { axis: 1 }, &[&x, &ramp(&[2, 1])], &[2, 4], &[0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 1.0]);
    check(&Kernel::Tile, &[&ramp(&[2])], &[4], &[0.0, 1.0, 0.0, 1.0]);
    let pad = |mode, before: i64| Kernel::Pad(Pad { before: vec![before.into()], mode });
    let line = f32s(&[3], &[1.0, 2.0, 3.0]);
    check(&pad(PadMode::Constant, 1), &[&line, &f32s(&[], &[9.0])], &[5], &[9.0, 1.0, 2.0, 3.0, 9.0]);
    check(&pad(PadMode::Constant, -1), &[&line], &[3], &[2.0, 3.0, 0.0]);
    check(&pad(PadMode::Edge, 2), &[&line], &[6], &[1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
    check(&pad(PadMode::Reflect, 2), &[&line], &[7], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    check(&pad(PadMode::Wrap, 2), &[&line], &[6], &[2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    let nibbles = Tensor::from_bytes(DType::I4, vec![3], Bytes::new(vec![0x21u8, 0x03])).unwrap();
    let reversed = Kernel::Slice(Slice { starts: vec![Dim::from(2i64)], steps: vec![-1] });
    let out = run(&reversed, &[&nibbles], DType::I4, &[3]).unwrap();
    assert_eq!(out.view().to_i64().unwrap(), [3, 2, 1]);
    let words = Tensor::from_strings(vec![2], vec!["a".into(), "b".into()]).unwrap();
    let out = run(&Kernel::Tile, &[&words], DType::String, &[4]).unwrap();
    assert_eq!(out.view().as_strings(), ["a", "b", "a", "b"]);
}

#[test]
fn gathers_and_scatters() {
    let x = ramp(&[2, 3]);
    let indices = i64s(&[2], &[-1, 0]);
    check(&Kernel::Gather { axis: 1 }, &[&x, &indices], &[2, 2], &[2.0, 0.0, 5.0, 3.0]);
    check(&Kernel::GatherElements { axis: 0 }, &[&x, &i64s(&[1, 2], &[1, -2])], &[1, 2], &[3.0, 1.0]);
    check(&Kernel::GatherNd { batch_dims: 0 }, &[&x, &i64s(&[2, 2], &[0, 1, 1, -1])], &[2], &[1.0, 5.0]);
    check(&Kernel::GatherNd { batch_dims: 1 }, &[&x, &i64s(&[2, 1], &[2, 0])], &[2], &[2.0, 3.0]);
    let out = run(&Kernel::Gather { axis: 0 }, &[&x, &i64s(&[], &[2])], DType::F32, &[3]);
    assert!(matches!(out, Err(InterpError::Value(_))));
    let line = ramp(&[3]);
    let elements = |reduction| Kernel::ScatterElements { axis: 0, reduction };
    let (at, updates) = (i64s(&[2], &[1, 1]), f32s(&[2], &[10.0, 4.0]));
    check(&elements(ScatterReduction::None), &[&line, &at, &updates], &[3], &[0.0, 4.0, 2.0]);
    check(&elements(ScatterReduction::Add), &[&line, &at, &updates], &[3], &[0.0, 15.0, 2.0]);
    check(&elements(ScatterReduction::Mul), &[&line, &at, &updates], &[3], &[0.0, 40.0, 2.0]);
    check(&elements(ScatterReduction::Max), &[&line, &at, &updates], &[3], &[0.0, 10.0, 2.0]);
    check(&elements(ScatterReduction::Min), &[&line, &at, &updates], &[3], &[0.0, 1.0, 2.0]);
    let nd = Kernel::ScatterNd { reduction: ScatterReduction::None };
    check(&nd, &[&x, &i64s(&[1, 1], &[1]), &f32s(&[1, 3], &[7.0; 3])], &[2, 3], &[0.0, 1.0, 2.0, 7.0, 7.0, 7.0]);
}

fn resize(mode: ResizeMode, coordinate: Coordinate, scales: Option<f32>, antialias: bool) -> Kernel {
    Kernel::Resize(Resize {
        axes: vec![0],
        scales: scales.map(|s| vec![s]),
        mode,
        coordinate,
        antialias,
        exclude_outside: false,
        roi: vec![0.4, 1.2],
        extrapolation: 10.0,
    })
}

/// Expected values from the examples in ONNX's operator specification, one axis of each.
#[test]
fn resampling() {
    let x = f32s(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let nearest = ResizeMode::Nearest(Nearest::RoundPreferFloor);
    let doubled = resize(nearest, Coordinate::HalfPixel, Some(2.0), false);
    check(&doubled, &[&x], &[8], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    let linear = resize(ResizeMode::Linear, Coordinate::HalfPixel, Some(2.0), false);
    check(&linear, &[&f32s(&[2], &[1.0, 2.0])], &[4], &[1.0, 1.25, 1.75, 2.0]);
    let corners = resize(ResizeMode::Linear, Coordinate::AlignCorners, Some(0.6), false);
    check(&corners, &[&x], &[2], &[1.0, 3.142_857]);
    let sizes = resize(ResizeMode::Linear, Coordinate::AlignCorners, None, false);
    check(&sizes, &[&f32s(&[2], &[1.0, 2.0])], &[4], &[1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0]);
    let cubic = resize(ResizeMode::Cubic { a: -0.75 }, Coordinate::HalfPixel, Some(0.8), false);
    check(&cubic, &[&x], &[3], &[1.094_238_3, 2.404_296_9, 3.705_566_4]);
    let low_pass = resize(ResizeMode::Linear, Coordinate::HalfPixel, Some(0.5), true);
    check(&low_pass, &[&x], &[2], &[1.625, 3.375]);
    let crop = resize(ResizeMode::Linear, Coordinate::CropAndResize, None, false);
    check(&crop, &[&x], &[3], &[2.2, 3.4, 10.0]);
}

fn layer(cell: Cell, direction: Direction) -> Rnn {
    let f = |kind| CellActivation { kind, alpha: 0.0, beta: 0.0 };
    let one = match cell {
        Cell::Rnn => vec![f(CellActivationKind::Relu)],
        Cell::Gru => vec![f(CellActivationKind::Sigmoid), f(CellActivationKind::Tanh)],
        Cell::Lstm => {
            vec![f(CellActivationKind::Sigmoid), f(CellActivationKind::Tanh), f(CellActivationKind::Tanh)]
        }
    };
    let activations = if direction == Direction::Both { [one.clone(), one].concat() } else { one };
    Rnn {
        cell,
        direction,
        hidden: 1,
        activations,
        clip: None,
        batch_first: false,
        linear_before_reset: false,
        input_forget: false,
    }
}

#[test]
fn recurrent_layers() {
    // h = relu(x + h): a running sum, in both directions, and only as long as the sequence.
    let x = f32s(&[3, 1, 1], &[1.0, 2.0, 4.0]);
    let ones = |d: usize, rows: usize| f32s(&[d, rows, 1], &vec![1.0; d * rows]);
    let both = Kernel::Rnn(layer(Cell::Rnn, Direction::Both));
    check(&both, &[&x, &ones(2, 1), &ones(2, 1)], &[3, 2, 1, 1], &[1.0, 7.0, 3.0, 6.0, 7.0, 4.0]);
    let lengths = Tensor::new(vec![1], vec![2i32]).unwrap();
    let bias = f32s(&[2, 2], &[0.0; 4]);
    check(&both, &[&x, &ones(2, 1), &ones(2, 1), &bias, &lengths], &[3, 2, 1, 1], &[1.0, 3.0, 3.0, 2.0, 0.0, 0.0]);
    // One step from nothing: h = (1 - z) tanh(x), z = sigmoid(x); and the LSTM's sigmoid(x) tanh(sigmoid(x) tanh(x)).
    let x = f32s(&[1, 1, 1], &[0.5]);
    let s = 1.0 / (1.0 + (-0.5f32).exp());
    let gru = Kernel::Rnn(layer(Cell::Gru, Direction::Forward));
    check(&gru, &[&x, &ones(1, 3), &ones(1, 3)], &[1, 1, 1, 1], &[(1.0 - s) * 0.5f32.tanh()]);
    let lstm = Kernel::Rnn(layer(Cell::Lstm, Direction::Forward));
    let cell = s * 0.5f32.tanh();
    check(&lstm, &[&x, &ones(1, 4), &ones(1, 4)], &[1, 1, 1, 1], &[s * cell.tanh()]);
    let (w, r) = (ones(1, 4), ones(1, 4));
    let outputs = [(DType::F32, vec![1, 1, 1, 1]), (DType::F32, vec![1, 1, 1]), (DType::F32, vec![1, 1, 1])];
    let out = interpret(&lstm, &[Some(x.view()), Some(w.view()), Some(r.view())], &outputs, &|_| None).unwrap();
    assert!((out[2].as_slice::<f32>().unwrap()[0] - cell).abs() < 1e-6);
}

#[test]
fn references_are_not_interpreted() {
    let name = "NonZero".to_string();
    let kernel = Kernel::Reference(Reference { domain: String::new(), name, attrs: vec![], outputs: vec![DType::I64] });
    assert!(matches!(run(&kernel, &[&ramp(&[2])], DType::I64, &[1, 2]), Err(InterpError::Unsupported(_))));
}

fn small() -> impl Strategy<Value = usize> {
    0usize..4
}

/// Extents as a caller may get them wrong: mostly small, some beyond any memory beside a 0.
fn extents() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        9 => proptest::collection::vec(0usize..4, 0..5),
        1 => proptest::collection::vec(prop_oneof![Just(0usize), Just(1 << 40)], 1..4).prop_map(|mut s| { s.push(0); s }),
    ]
}

fn kernels() -> impl Strategy<Value = Kernel> {
    let dims = || proptest::collection::vec((-2i64..3).prop_map(Dim::from), 0..4);
    let sizes = || proptest::collection::vec(small(), 0..4);
    let pads = || proptest::collection::vec((-2i64..3, -2i64..3).prop_map(|(a, b)| [a.into(), b.into()]), 0..4);
    let conv = move || {
        (small(), sizes(), sizes(), pads()).prop_map(|(group, strides, dilations, pads)| Conv {
            group,
            strides,
            dilations,
            pads,
        })
    };
    let reductions =
        prop_oneof![Just(ReduceOp::Mean), Just(ReduceOp::Max), Just(ReduceOp::LogSumExp), Just(ReduceOp::L2)];
    let scatter = || prop_oneof![Just(ScatterReduction::None), Just(ScatterReduction::Mul)];
    let kind = prop_oneof![
        small().prop_map(|axis| NormKind::Layer { axis }),
        small().prop_map(|groups| NormKind::Group { groups })
    ];
    let pool =
        prop_oneof![Just(PoolKind::Max), Just(PoolKind::Average { count_pad: true }), Just(PoolKind::Lp { p: 0 })];
    let mode = prop_oneof![Just(PadMode::Constant), Just(PadMode::Reflect), Just(PadMode::Edge), Just(PadMode::Wrap)];
    let resample = prop_oneof![Just(ResizeMode::Linear), Just(ResizeMode::Cubic { a: -0.5 })];
    let place =
        prop_oneof![Just(Coordinate::HalfPixel), Just(Coordinate::AlignCorners), Just(Coordinate::CropAndResize)];
    let cell = prop_oneof![Just(Cell::Rnn), Just(Cell::Gru), Just(Cell::Lstm)];
    prop_oneof![
        (reductions, sizes()).prop_map(|(op, axes)| Kernel::Reduce(Reduce::plain(op, DType::F32, axes))),
        (any::<bool>(), small()).prop_map(|(max, axis)| Kernel::ArgReduce(ArgReduce { max, axis, last: max })),
        (any::<bool>(), any::<bool>()).prop_map(|(trans_a, trans_b)| Kernel::Gemm(Gemm {
            trans_a,
            trans_b,
            alpha: 1.0,
            beta: 0.5
        })),
        conv().prop_map(Kernel::Conv),
        conv().prop_map(Kernel::ConvTranspose),
        conv().prop_map(Kernel::ConvInteger),
        Just(Kernel::GemmInteger),
        (pool, sizes(), sizes(), sizes(), pads()).prop_map(|(kind, kernel, strides, dilations, pads)| {
            Kernel::Pool(Pool { kind, kernel, strides, dilations, pads })
        }),
        kind.prop_map(|kind| Kernel::Norm(Norm { kind, epsilon: 1e-5 })),
        (small(), small(), any::<bool>()).prop_map(|(axis, end, log)| Kernel::Softmax(Softmax { axis, end, log })),
        any::<bool>().prop_map(|causal| Kernel::Attention(Attention { scale: 0.5, causal })),
        Just(Kernel::Reshape),
        Just(Kernel::Tile),
        sizes().prop_map(|perm| Kernel::Transpose { perm }),
        (dims(), proptest::collection::vec(-2i64..3, 0..4))
            .prop_map(|(starts, steps)| Kernel::Slice(Slice { starts, steps })),
        small().prop_map(|axis| Kernel::Concat { axis }),
        (dims(), mode).prop_map(|(before, mode)| Kernel::Pad(Pad { before, mode })),
        small().prop_map(|axis| Kernel::Gather { axis }),
        small().prop_map(|axis| Kernel::GatherElements { axis }),
        small().prop_map(|batch_dims| Kernel::GatherNd { batch_dims }),
        (small(), scatter()).prop_map(|(axis, reduction)| Kernel::ScatterElements { axis, reduction }),
        scatter().prop_map(|reduction| Kernel::ScatterNd { reduction }),
        (sizes(), resample, place, any::<bool>(), proptest::collection::vec(-2f32..2.0, 0..6)).prop_map(
            |(axes, mode, coordinate, antialias, roi)| Kernel::Resize(Resize {
                axes,
                scales: antialias.then(|| roi.clone()),
                mode,
                coordinate,
                antialias,
                exclude_outside: antialias,
                roi,
                extrapolation: 0.0
            })
        ),
        (cell, any::<bool>(), small(), any::<bool>()).prop_map(|(cell, both, hidden, batch_first)| {
            let direction = if both { Direction::Both } else { Direction::Reverse };
            Kernel::Rnn(Rnn { hidden, batch_first, ..layer(cell, direction) })
        }),
        small().prop_map(|axis| Kernel::TopK { axis, largest: true, sorted: true }),
        small().prop_map(|axis| Kernel::CumSum { axis, exclusive: true, reverse: true }),
        Just(Kernel::Map(expr("(f32, i64) add(a0, f32(a1))"))),
        Just(Kernel::Map(expr("(string) a0"))),
    ]
}

/// Tensors of zeros and of small numbers, of any type.
fn tensors() -> impl Strategy<Value = Option<Tensor>> {
    let dtypes = prop_oneof![6 => Just(DType::F32), 4 => Just(DType::I64), 2 => proptest::sample::select(DType::ALL)];
    let tensor = (dtypes, extents(), any::<bool>()).prop_map(|(dtype, shape, counting)| {
        let n: usize = if shape.contains(&0) { 0 } else { shape.iter().product() };
        match dtype {
            DType::F32 if counting => Tensor::new(shape, (0..n).map(|v| v as f32).collect()),
            DType::I64 if counting => Tensor::new(shape, (0..n).map(|v| v as i64 % 3).collect()),
            d => Tensor::zeros(d, shape),
        }
        .ok()
    });
    prop_oneof![9 => tensor, 1 => Just(None)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(
        kernel in kernels(),
        operands in proptest::collection::vec(tensors(), 0..5),
        outputs in proptest::collection::vec((proptest::sample::select(&[DType::F32, DType::I64, DType::U4][..]), extents()), 0..4),
    ) {
        let views: Vec<_> = operands.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        if let Ok(results) = interpret(&kernel, &views, &outputs, &|_| Some(1)) {
            prop_assert_eq!(results.len(), outputs.len());
            for (r, (dtype, shape)) in results.iter().zip(&outputs) {
                prop_assert_eq!((r.dtype(), r.shape()), (*dtype, shape.as_slice()));
            }
        }
    }
}
