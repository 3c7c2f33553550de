//! Arithmetic, activations, logic, conversions, reductions and quantisation against values from the ONNX
//! specification's own examples, or computed by hand.

use crate::cases::{attrs, check, f, refuse, run};
use planc_ir::{Attrs, Graph, OpName, TensorType};
use planc_ops::{UpgradeCx, find};
use planc_tensor::{Attr, Bytes, DType, Tensor};

#[test]
fn integers_wrap_and_survive_zero() {
    let pairs = [Tensor::vector(vec![i32::MIN, 7, -7, 7]), Tensor::vector(vec![-1, 0, 2, -2])];
    let exact = |op: &str, want: [i32; 4]| {
        let got = run("", op, Attrs::new(), &pairs.clone().map(Some), 1).unwrap();
        assert_eq!(got[0], Tensor::vector(want.to_vec()), "{op}");
    };
    exact("Div", [i32::MIN, 0, -3, -3]);
    exact("Mod", [0, 0, 1, -1]);
    exact("Add", [i32::MAX, 7, -5, 5]);
    exact("Pow", [0, 1, 49, 0]);
}

#[test]
fn clipping_prefers_the_upper_bound() {
    let x = f(&[3], &[-2., 0.5, 9.]);
    check("Clip", &[], &[x.clone(), Tensor::scalar(3f32), Tensor::scalar(1f32)], &[3], &[1., 1., 1.]);
    refuse("Clip", &[], &[x.clone(), f(&[2], &[0., 1.])], "not a scalar");
    refuse("Add", &[], &[x.clone(), f(&[2], &[0., 1.])], "do not broadcast");
    refuse("Softmax", &[("axis", Attr::Int(i64::MIN))], std::slice::from_ref(&x), "out of range");
    refuse("ReduceSum", &[], &[x.clone(), Tensor::vector(vec![3i64])], "out of range");
    refuse("Cast", &[("to", Attr::Int(-4))], &[x], "not a type");
}

#[test]
fn conversions() {
    let cast = |x: Tensor, to: DType, more: &[(&str, Attr)]| {
        let mut all = vec![("to", Attr::Int(to.onnx().into()))];
        all.extend(more.iter().cloned());
        run("", "Cast", attrs(&all), &[Some(x)], 1).map(|mut r| r.remove(0))
    };
    let x = f(&[5], &[1e9, -1.9, f32::NAN, 300.0, 0.0]);
    assert_eq!(cast(x.clone(), DType::U8, &[]).unwrap(), Tensor::vector(vec![255u8, 0, 0, 255, 0]));
    assert_eq!(cast(Tensor::vector(vec![300i64, -1]), DType::U8, &[]).unwrap(), Tensor::vector(vec![44u8, 255]));
    let codes = |t: Tensor| t.view().bytes().to_vec();
    assert_eq!(codes(cast(x.clone(), DType::F8E4M3FN, &[]).unwrap()), [0x7E, 0xBF, 0x7F, 0x79, 0]);
    let free = [("saturate", Attr::Int(0))];
    assert_eq!(codes(cast(x, DType::F8E5M2, &free).unwrap()), [0x7C, 0xC0, 0x7E, 0x5D, 0]);
    assert_eq!(codes(cast(f(&[3], &[7.0, -8.0, 3.9]), DType::I4, &[]).unwrap()), [0x87, 0x03]);
    let text = Tensor::from_strings(vec![4], ["1.5", "-INF", "NaN", "1e3"].map(String::from).to_vec()).unwrap();
    let numbers = cast(text.clone(), DType::F32, &[]).unwrap();
    assert_eq!(numbers.as_slice::<f32>().unwrap()[1], f32::NEG_INFINITY);
    let plain = Tensor::from_strings(vec![4], ["1.5", "-INF", "NaN", "1000"].map(String::from).to_vec()).unwrap();
    assert_eq!(cast(numbers, DType::String, &[]).unwrap(), plain);
    let wrong = Tensor::from_strings(vec![1], vec!["two".into()]).unwrap();
    assert!(cast(wrong, DType::I64, &[]).unwrap_err().message.contains("not a number"));
}

#[test]
fn selection_and_strings() {
    let text = |v: &[&str]| Tensor::from_strings(vec![v.len()], v.iter().map(ToString::to_string).collect()).unwrap();
    let inputs = [Tensor::vector(vec![true, false]), text(&["a", "b"]), text(&["c"])].map(Some);
    assert_eq!(run("", "Where", Attrs::new(), &inputs, 1).unwrap()[0], text(&["a", "c"]));
    let inputs = [text(&["a", "b"]), text(&["b"])].map(Some);
    assert_eq!(run("", "Equal", Attrs::new(), &inputs, 1).unwrap()[0], Tensor::vector(vec![false, true]));
}

#[test]
fn reductions_of_nothing() {
    let none = Tensor::new(vec![2, 0, 3], Vec::<f32>::new()).unwrap();
    let axes = Tensor::vector(vec![1i64]);
    check("ReduceSum", &[], &[none.clone(), axes.clone()], &[2, 1, 3], &[0.0; 6]);
    check("ReduceProd", &[("keepdims", Attr::Int(0))], &[none.clone(), axes.clone()], &[2, 3], &[1.0; 6]);
    let max = run("", "ReduceMax", Attrs::new(), &[Some(none.clone()), Some(axes)], 1).unwrap();
    assert_eq!(max[0].as_slice::<f32>().unwrap(), [f32::NEG_INFINITY; 6]);
    refuse("ArgMax", &[("axis", Attr::Int(1))], &[none], "no elements");
    let x = f(&[2, 2], &[1., 2., 3., 4.]);
    let empty = Tensor::vector(Vec::<i64>::new());
    check("ReduceSum", &[], &[x.clone(), empty.clone()], &[1, 1], &[10.]);
    check("ReduceSumSquare", &[("noop_with_empty_axes", Attr::Int(1))], &[x, empty], &[2, 2], &[1., 4., 9., 16.]);
}

#[test]
fn running_sums() {
    let (x, axis) = (f(&[2, 3], &[1., 2., 3., 4., 5., 6.]), Tensor::scalar(1i64));
    let both = [("exclusive", Attr::Int(1)), ("reverse", Attr::Int(1))];
    check("CumSum", &[], &[x.clone(), axis.clone()], &[2, 3], &[1., 3., 6., 4., 9., 15.]);
    check("CumSum", &both, &[x.clone(), axis.clone()], &[2, 3], &[5., 3., 0., 11., 6., 0.]);
    check("CumProd", &both, &[x, axis], &[2, 3], &[6., 3., 1., 30., 6., 1.]);
}

#[test]
fn quantisation_by_block_and_of_small_types() {
    let x = f(&[1, 4], &[1., 2., 30., -40.]);
    let block = [("axis", Attr::Int(1)), ("block_size", Attr::Int(2))];
    let (scale, zero) = (f(&[1, 2], &[1., 10.]), Tensor::new(vec![1, 2], vec![0i8, 1]).unwrap());
    check("QuantizeLinear", &block, &[x.clone(), scale.clone(), zero], &[1, 4], &[1., 2., 4., -3.]);
    refuse("QuantizeLinear", &[("block_size", Attr::Int(-1))], &[x.clone(), scale.clone()], "block_size");
    refuse("QuantizeLinear", &[("block_size", Attr::Int(3))], &[x, f(&[1, 3], &[1.; 3])], "do not fit");
    let nibbles = Tensor::from_bytes(DType::U4, vec![1, 4], Bytes::new(vec![0x21u8, 0xF4])).unwrap();
    check("DequantizeLinear", &block, &[nibbles, scale], &[1, 4], &[1., 2., 40., 150.]);
    let got = run("", "DynamicQuantizeLinear", Attrs::new(), &[Some(f(&[3], &[0., 2., -3.]))], 3).unwrap();
    assert_eq!(got[0], Tensor::vector(vec![153u8, 255, 0]));
    assert_eq!(got[2], Tensor::scalar(153u8));
}

#[test]
fn old_opsets() {
    let upgraded = |op: &str, opset: u32, attrs: Attrs| {
        let mut g = Graph::new("old");
        let x = g.add_input("x", TensorType::fixed(DType::F16, &[2, 3, 4]));
        let (mut op, mut attrs, mut inputs) = (OpName::onnx(op), attrs, vec![Some(x)]);
        let row = find("", &op.name).unwrap();
        for u in row.upgrades.iter().filter(|u| u.to > opset) {
            let (graph, op, attrs, inputs) = (&mut g, &mut op, &mut attrs, &mut inputs);
            (u.step)(&mut UpgradeCx { graph, op, attrs, inputs, name: "y", opset }).unwrap();
        }
        let constants: Vec<Option<Tensor>> = inputs.iter().skip(1).map(|v| g.constant((*v)?).cloned()).collect();
        (attrs, constants)
    };
    let (left, bounds) = upgraded("Clip", 6, Attrs::new().with("max", 6f32));
    assert!(left.is_empty() && bounds.len() == 2 && bounds[0].is_none());
    assert_eq!(bounds[1].as_ref().map(Tensor::dtype), Some(DType::F16));
    let (left, _) = upgraded("Softmax", 11, Attrs::new());
    assert_eq!((left.int("axis"), left.int("flatten")), (Some(1), Some(1)));
    let (left, axes) = upgraded("ReduceMean", 13, Attrs::new().with("axes", vec![1i64]));
    assert!(left.is_empty() && axes == [Some(Tensor::vector(vec![1i64]))]);
    let (left, _) = upgraded("Cast", 1, Attrs::new().with("to", "INT64"));
    assert_eq!(left.int("to"), Some(DType::I64.onnx().into()));
    let (left, _) = upgraded("Dropout", 6, Attrs::new().with("ratio", 0.5f32).with("is_test", 1i64));
    assert_eq!(left.iter().count(), 1);
}
