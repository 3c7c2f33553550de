//! Attention, losses, signal processing, quantised and fused operators, random numbers.

use crate::cases::{attrs, check, close, count, f, refuse, run};
use planc_tensor::{Attr, Tensor};

fn zeros(shape: &[usize]) -> Tensor {
    f(shape, &vec![0.0; shape.iter().product()])
}

#[test]
fn attention_and_losses() {
    let (q, kv) = (zeros(&[1, 1, 2, 1]), count(&[1, 1, 2, 1]));
    check("Attention", &[], &[q.clone(), kv.clone(), kv.clone()], &[1, 1, 2, 1], &[0.5, 0.5]);
    check(
        "Attention",
        &[("is_causal", Attr::Int(1))],
        &[q.clone(), kv.clone(), kv.clone()],
        &[1, 1, 2, 1],
        &[0.0, 0.5],
    );
    let mask = Tensor::new(vec![1, 2], vec![false, false]).unwrap();
    check("Attention", &[], &[q.clone(), kv.clone(), kv.clone(), mask], &[1, 1, 2, 1], &[0.0, 0.0]);
    refuse("Attention", &[], &[count(&[1, 2, 2]), count(&[1, 2, 2]), count(&[1, 2, 2])], "number of heads");
    let class = Tensor::vector(vec![1i64]);
    check("NegativeLogLikelihoodLoss", &[], &[f(&[1, 2], &[-1., -2.]), class.clone()], &[], &[2.0]);
    check("SoftmaxCrossEntropyLoss", &[], &[zeros(&[1, 2]), class], &[], &[std::f32::consts::LN_2]);
    refuse("NegativeLogLikelihoodLoss", &[], &[zeros(&[1, 2]), Tensor::vector(vec![2i64])], "target 2");
    check("LpNormalization", &[], &[f(&[1, 2], &[3., 4.])], &[1, 2], &[0.6, 0.8]);
}

#[test]
fn signals_and_sums() {
    check("DFT", &[], &[f(&[1, 4, 1], &[1., 0., 0., 0.])], &[1, 4, 2], &[1., 0., 1., 0., 1., 0., 1., 0.]);
    let stft = [Some(count(&[1, 4, 1])), Some(Tensor::scalar(2i64)), None, Some(Tensor::scalar(2i64))];
    let got = run("", "STFT", attrs(&[]), &stft, 1).unwrap();
    close("STFT", &got[0], &[1., 0., -1., 0., 5., 0., -1., 0.]);
    refuse("STFT", &[], &[count(&[1, 4, 1]), Tensor::scalar(0i64)], "frame_step is 0");
    check("HannWindow", &[], &[Tensor::scalar(4i64)], &[4], &[0., 0.5, 1., 0.5]);
    let equation = |e: &str| [("equation", Attr::from(e))];
    check("Einsum", &equation("ij,jk->ik"), &[count(&[2, 2]), count(&[2, 2])], &[2, 2], &[2., 3., 6., 11.]);
    check("Einsum", &equation("...ii->...i"), &[count(&[1, 2, 2])], &[1, 2], &[0., 3.]);
    check("Einsum", &equation("i,j"), &[count(&[2]), count(&[2])], &[2, 2], &[0., 0., 0., 1.]);
    refuse("Einsum", &equation("ij->k"), &[count(&[2, 2])], "labels");
    check("Det", &[], &[f(&[2, 2], &[1., 2., 3., 4.])], &[], &[-2.]);
}

#[test]
fn displaced_samples() {
    let mut offset = vec![0.0; 32];
    (offset[0], offset[5 * 4 + 1]) = (0.5, -0.1);
    let inputs = [count(&[1, 1, 3, 3]), f(&[1, 1, 2, 2], &[1.0; 4]), f(&[1, 8, 2, 2], &offset)];
    check("DeformConv", &[], &inputs, &[1, 1, 2, 2], &[9.5, 11.9, 20., 24.]);
}

#[test]
fn quantised_and_fused() {
    let byte = |v: u8| Tensor::new(vec![1, 1], vec![v]).unwrap();
    let (half, zero) = (Tensor::scalar(0.5f32), Tensor::scalar(0u8));
    let inputs = [byte(2), half.clone(), zero.clone(), byte(4), half, zero.clone(), Tensor::scalar(1f32), zero];
    check("QLinearMatMul", &[], &inputs, &[1, 1], &[2.]);
    let got = run(
        "com.microsoft",
        "FusedMatMul",
        attrs(&[("transB", Attr::Int(1)), ("alpha", Attr::Float(2.0))]),
        &[Some(count(&[1, 2])), Some(count(&[3, 2]))],
        1,
    );
    close("FusedMatMul", &got.unwrap()[0], &[2., 6., 10.]);
    let leaky = |x: Tensor, zeros: [Tensor; 2]| {
        let [x_zero, y_zero] = zeros.map(Some);
        let inputs = [Some(x), Some(Tensor::scalar(0.5f32)), x_zero, Some(Tensor::scalar(0.25f32)), y_zero];
        run("com.microsoft", "QLinearLeakyRelu", attrs(&[("alpha", Attr::Float(0.25))]), &inputs, 1)
    };
    let x = Tensor::vector(vec![0u8, 100, 125, 127, 128, 129, 200, 255]);
    let got = leaky(x.clone(), [Tensor::scalar(128u8), Tensor::scalar(10u8)]);
    // Below zero a step of X is half a step of Y, and ties go to even.
    assert_eq!(got.unwrap()[0], Tensor::vector(vec![0u8, 0, 8, 10, 10, 12, 154, 255]));
    let refused = leaky(x, [Tensor::vector(vec![1u8, 2]), Tensor::scalar(10u8)]).unwrap_err();
    assert!(refused.message.contains("operand 2"), "{refused}");
    let skip = [f(&[1, 2], &[1., 1.]), f(&[1, 2], &[0., 2.]), f(&[2], &[1., 2.])].map(Some);
    let got = run("com.microsoft", "SkipLayerNormalization", attrs(&[]), &skip, 4).unwrap();
    close("SkipLayerNormalization", &got[0], &[-1., 2.]);
    close("SkipLayerNormalization", &got[3], &[1., 3.]);
}

#[test]
fn random_numbers_repeat() {
    let draw = |seed: f32| {
        run("", "RandomNormal", attrs(&[("shape", Attr::Ints(vec![100, 100])), ("seed", Attr::Float(seed))]), &[], 1)
            .unwrap()
            .remove(0)
    };
    let v = planc_ops::floats::widen(draw(1.0).view()).unwrap();
    let mean = v.iter().sum::<f64>() / 1e4;
    let variance = v.iter().map(|v| v * v).sum::<f64>() / 1e4;
    assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.06, "{mean} {variance}");
    assert_eq!(draw(1.0), draw(1.0));
    assert_ne!(draw(1.0), draw(2.0));
    check("Bernoulli", &[], &[f(&[2], &[0., 1.])], &[2], &[0., 1.]);
    check(
        "Multinomial",
        &[("sample_size", Attr::Int(3))],
        &[f(&[1, 2], &[f32::NEG_INFINITY, 0.0])],
        &[1, 3],
        &[1., 1., 1.],
    );
    refuse("RandomUniform", &[("shape", Attr::Ints(vec![-1]))], &[], "shape has -1");
}
