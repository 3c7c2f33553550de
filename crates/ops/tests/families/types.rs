//! Element types that few models use, where the schemas have them.

use crate::cases::{attrs, f, run};
use planc_tensor::{Attr, Bytes, Complex, DType, Tensor};

fn complex(shape: &[usize], parts: &[(f32, f32)]) -> Tensor {
    Tensor::new(shape, parts.iter().map(|(re, im)| Complex::new(*re, *im)).collect::<Vec<_>>()).unwrap()
}

fn one(op: &str, list: &[(&str, Attr)], inputs: &[Tensor]) -> Tensor {
    let inputs: Vec<_> = inputs.iter().cloned().map(Some).collect();
    run("", op, attrs(list), &inputs, 1).unwrap_or_else(|e| panic!("{op}: {e}")).remove(0)
}

#[test]
fn complex_elements_have_an_order_and_a_zero() {
    let x = complex(&[5], &[(1., 2.), (0., 0.), (1., -3.), (1., 2.), (0., 1.)]);
    let found = planc_ops::find("", "NonZero").unwrap().eval.unwrap();
    let attributes = attrs(&[]);
    let cx = planc_ops::EvalCx::new(planc_ops::find("", "NonZero").unwrap(), &attributes, &[DType::I64], 1 << 20);
    let nonzero = found(&cx, &[Some(x.view())]).unwrap().remove(0);
    assert_eq!(nonzero, Tensor::new([1, 4], vec![0i64, 2, 3, 4]).unwrap());
    let row = planc_ops::find("", "Unique").unwrap();
    let cx = planc_ops::EvalCx::new(row, &attributes, &[DType::C64], 1 << 20);
    let unique = row.eval.unwrap()(&cx, &[Some(x.view())]).unwrap().remove(0);
    assert_eq!(unique, complex(&[4], &[(0., 0.), (0., 1.), (1., -3.), (1., 2.)]));
}

#[test]
fn complex_images_are_sampled_by_their_parts() {
    let image = complex(&[1, 1, 1, 2], &[(1., 2.), (3., -4.)]);
    let middle = f(&[1, 1, 1, 2], &[0., 0.]);
    assert_eq!(one("GridSample", &[], &[image, middle]), complex(&[1, 1, 1, 1], &[(2., -1.)]));
    let columns = complex(&[1, 2, 2], &[(1., 1.), (2., 0.), (0., 5.), (0., 1.)]);
    let (image, block) = (Tensor::vector(vec![3i64]), Tensor::vector(vec![2i64]));
    let sums = complex(&[1, 1, 3], &[(1., 1.), (2., 5.), (0., 1.)]);
    assert_eq!(one("Col2Im", &[], &[columns, image, block]), sums);
}

#[test]
fn integers_and_small_floats() {
    let x = Tensor::vector(vec![-40i32, -1, 0, 1, 9]);
    assert_eq!(one("Erf", &[], &[x]), Tensor::vector(vec![-1i32, 0, 0, 0, 1]));
    // 1, 2 by 3, -1 is 1; with the scales, and in units of a quarter, 4.
    let e4m3 =
        |shape: &[usize], codes: &[u8]| Tensor::from_bytes(DType::F8E4M3FN, shape, Bytes::new(codes.to_vec())).unwrap();
    let scale = |v: f32| Tensor::scalar(v);
    let (a, b) = (e4m3(&[1, 2], &[0x38, 0x40]), e4m3(&[2, 1], &[0x44, 0xb8]));
    let zero = || e4m3(&[], &[0]);
    let inputs = [a, scale(0.5), zero(), b, scale(2.0), zero(), scale(0.25), zero()];
    assert_eq!(one("QLinearMatMul", &[], &inputs), e4m3(&[1, 1], &[0x48]));
}
