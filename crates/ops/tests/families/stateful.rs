//! Operators that carry state from call to call, optimisers, and what old opsets knew as experiments.

use crate::cases::{attrs, check, close, count, f, refuse, run};
use planc_tensor::{Attr, DType, Tensor};

#[test]
fn causal_convolutions_carry_their_last_positions() {
    let inputs = [
        Some(f(&[1, 1, 3], &[1., 2., 3.])),
        Some(f(&[1, 1, 2], &[10., 1.])),
        Some(f(&[1], &[0.5])),
        Some(f(&[1, 1, 1], &[4.])),
    ];
    let got = run("", "CausalConvWithState", attrs(&[]), &inputs, 2).unwrap();
    close("output", &got[0], &[41.5, 12.5, 23.5]);
    close("present_state", &got[1], &[3.]);
    let [x, w, ..] = inputs.map(Option::unwrap);
    check(
        "CausalConvWithState",
        &[("activation", Attr::from("silu"))],
        &[x.clone(), w.clone()],
        &[1, 1, 3],
        &[0.731_058_6, 12., 23.],
    );
    refuse("CausalConvWithState", &[("activation", Attr::from("relu"))], &[x, w], "activation is");
}

#[test]
fn linear_attention_follows_its_rule() {
    let heads = |rule: &str| {
        let one = ("kv_num_heads", Attr::Int(1));
        attrs(&[one, ("q_num_heads", Attr::Int(1)), ("scale", Attr::Float(1.0)), ("update_rule", Attr::from(rule))])
    };
    let step = |v: &[f32]| Some(f(&[1, 2, 1], v));
    let (q, k, v) = (step(&[1., 2.]), step(&[1., 3.]), step(&[5., 7.]));
    let got = run("", "LinearAttention", heads("linear"), &[q.clone(), k.clone(), v.clone()], 2).unwrap();
    close("linear", &got[0], &[5., 52.]);
    close("linear state", &got[1], &[26.]);
    let beta = step(&[1., 0.5]);
    let inputs = [q.clone(), k.clone(), v.clone(), None, None, beta];
    let got = run("", "LinearAttention", heads("delta"), &inputs, 2).unwrap();
    // 5, then 5 + 3 * 0.5 * (7 - 3 * 5)
    close("delta state", &got[1], &[-7.]);
    let error = run("", "LinearAttention", heads("gated"), &[q, k, v], 2).unwrap_err();
    assert!(error.message.contains("needs decay"), "{error}");
}

#[test]
fn gates_want_equal_shapes() {
    check("SwiGLU", &[], &[f(&[2], &[0., 2.]), f(&[2], &[3., 3.])], &[2], &[0., 5.284_782_4]);
    refuse("SwiGLU", &[], &[count(&[2]), count(&[1])], "differ in shape");
}

#[test]
fn optimisers() {
    let lead = [Some(Tensor::scalar(0.1f32)), Some(Tensor::scalar(0i64))];
    let one = |v: f32| Some(f(&[1], &[v]));
    let run = |op: &str, list: &[(&str, Attr)], rest: &[Option<Tensor>]| {
        let inputs = [lead.as_slice(), rest].concat();
        run("ai.onnx.preview.training", op, attrs(list), &inputs, rest.len() - 1)
    };
    let got = run("Adagrad", &[], &[one(1.), one(-2.), one(0.)]).unwrap();
    close("Adagrad", &got[0], &[1.1]);
    close("Adagrad", &got[1], &[4.]);
    let got =
        run("Adam", &[("alpha", Attr::Float(0.5)), ("beta", Attr::Float(0.75))], &[one(1.), one(2.), one(0.), one(0.)]);
    let got = got.unwrap();
    close("Adam", &got[0], &[0.9]);
    close("Adam", &got[1], &[1.]);
    let list = |mode: &str| {
        let float = |name: &'static str, v: f32| (name, Attr::Float(v));
        vec![float("alpha", 0.5), float("beta", 0.1), float("norm_coefficient", 0.), ("mode", Attr::from(mode))]
    };
    let operands = [one(1.), one(2.), one(4.)];
    close("standard", &run("Momentum", &list("standard"), &operands).unwrap()[0], &[0.6]);
    close("nesterov", &run("Momentum", &list("nesterov"), &operands).unwrap()[0], &[0.6]);
    assert!(run("Momentum", &list("other"), &operands).unwrap_err().message.contains("mode is"));
    assert!(run("Adam", &[], &operands).unwrap_err().message.contains("do not divide"));
}

#[test]
fn dropout_in_training_mode_keeps_the_mean() {
    let x = Some(f(&[1000], &[1.0; 1000]));
    let operands = [x.clone(), Some(Tensor::scalar(0.25f32)), Some(Tensor::scalar(true))];
    let got = run("", "Dropout", attrs(&[("seed", Attr::Int(3))]), &operands, 2).unwrap();
    let kept = got[1].as_slice::<bool>().unwrap();
    let values = got[0].as_slice::<f32>().unwrap();
    assert!((700..800).contains(&kept.iter().filter(|k| **k).count()));
    assert!(values.iter().zip(kept).all(|(v, k)| *v == if *k { 4.0 / 3.0 } else { 0.0 }));
    assert_eq!(got, run("", "Dropout", attrs(&[("seed", Attr::Int(3))]), &operands, 2).unwrap());
    let still = run("", "Dropout", attrs(&[]), &[x.clone(), None, Some(Tensor::scalar(false))], 1).unwrap();
    assert_eq!(Some(&still[0]), x.as_ref());
}

#[test]
fn experiments_of_old_opsets() {
    let shape = Tensor::vector(vec![2i64, 1]);
    let list = [("input_as_shape", Attr::Int(1)), ("value", Attr::Float(3.0)), ("extra_shape", Attr::Ints(vec![2]))];
    check("ConstantFill", &list, std::slice::from_ref(&shape), &[2, 1, 2], &[3.0; 4]);
    let got = run("", "ConstantFill", attrs(&[("dtype", Attr::Int(7))]), &[Some(shape)], 1).unwrap();
    assert_eq!((got[0].dtype(), got[0].shape()), (DType::I64, [2].as_slice()));
    refuse("ConstantFill", &[("shape", Attr::Ints(vec![-1]))], &[], "negative");
}
