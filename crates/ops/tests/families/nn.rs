//! Linear layers, convolutions, poolings, normalisations and recurrent layers against values from the ONNX
//! specification's own examples.

use crate::cases::{check, close, count, f, refuse};
use planc_tensor::{Attr, Tensor};

fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}

#[test]
fn convolutions() {
    let ones = f(&[1, 1, 3, 3], &[1.0; 9]);
    let want = [
        12., 21., 27., 33., 24., 33., 54., 63., 72., 51., 63., 99., 108., 117., 81., 93., 144., 153., 162., 111., 72.,
        111., 117., 123., 84.,
    ];
    check("Conv", &[("pads", ints(&[1, 1, 1, 1]))], &[count(&[1, 1, 5, 5]), ones.clone()], &[1, 1, 5, 5], &want);
    check(
        "Conv",
        &[],
        &[count(&[1, 1, 5, 5]), ones.clone()],
        &[1, 1, 3, 3],
        &[54., 63., 72., 99., 108., 117., 144., 153., 162.],
    );
    let same = [("auto_pad", Attr::from("SAME_LOWER")), ("strides", ints(&[2, 2]))];
    check(
        "Conv",
        &same,
        &[count(&[1, 1, 5, 5]), ones.clone()],
        &[1, 1, 3, 3],
        &[12., 27., 24., 63., 108., 81., 72., 117., 84.],
    );
    check(
        "Conv",
        &[("group", Attr::Int(2))],
        &[count(&[1, 2, 2]), f(&[2, 1, 1], &[1., 10.]), f(&[2], &[0., 1.])],
        &[1, 2, 2],
        &[0., 1., 21., 31.],
    );
    let want = [
        0., 1., 3., 3., 2., 3., 8., 15., 12., 7., 9., 21., 36., 27., 15., 9., 20., 33., 24., 13., 6., 13., 21., 15., 8.,
    ];
    check("ConvTranspose", &[], &[count(&[1, 1, 3, 3]), ones.clone()], &[1, 1, 5, 5], &want);
    let cut = [("pads", ints(&[1])), ("strides", ints(&[2]))];
    refuse("ConvTranspose", &cut, &[count(&[1, 1, 3]), f(&[1, 1, 2], &[1., 1.])], "pads has 1 numbers");
    let padded = [("output_padding", ints(&[1])), ("strides", ints(&[2]))];
    check("ConvTranspose", &padded, &[count(&[1, 1, 2]), f(&[1, 1, 1], &[1.])], &[1, 1, 4], &[0., 0., 1., 0.]);
    let x = Tensor::new(vec![1, 1, 3, 3], (2u8..=10).collect()).unwrap();
    let w = Tensor::new(vec![1, 1, 2, 2], vec![1u8; 4]).unwrap();
    check("ConvInteger", &[], &[x, w, Tensor::scalar(1u8)], &[1, 1, 2, 2], &[12., 16., 24., 28.]);
}

#[test]
fn hostile_convolutions() {
    let (x, w) = (count(&[1, 2, 4, 4]), count(&[2, 2, 3, 3]));
    let with = |name: &'static str, a: Attr, message| refuse("Conv", &[(name, a)], &[x.clone(), w.clone()], message);
    with("strides", ints(&[0, 1]), "strides has 0");
    with("pads", ints(&[1, 1]), "pads has 2 numbers");
    with("kernel_shape", ints(&[2, 2]), "kernel_shape is [2, 2]");
    with("group", Attr::Int(2), "channels are not group times");
    with("group", Attr::Int(0), "group is 0");
    with("group", Attr::Int(i64::MIN), "group is");
    with("dilations", ints(&[2, 2]), "does not fit");
    with("auto_pad", Attr::from("BEST"), "auto_pad");
    refuse("Conv", &[], &[x.clone(), count(&[2, 2, 3])], "do not convolve");
    refuse("Conv", &[], &[x.clone(), w, count(&[3])], "the bias");
    refuse("MaxPool", &[("kernel_shape", ints(&[1 << 31, 1 << 31]))], std::slice::from_ref(&x), "does not fit");
    refuse("LRN", &[("size", Attr::Int(-1))], &[x], "size is -1");
}

#[test]
fn products() {
    check("MatMul", &[], &[count(&[2, 2]), count(&[2, 2])], &[2, 2], &[2., 3., 6., 11.]);
    check("MatMul", &[], &[count(&[2]), count(&[2, 3])], &[3], &[3., 4., 5.]);
    check("MatMul", &[], &[count(&[2]), count(&[2])], &[], &[1.]);
    check("MatMul", &[], &[count(&[2, 1, 1, 2]), count(&[2, 2, 1])], &[2, 2, 1, 1], &[1., 3., 3., 13.]);
    check("MatMul", &[], &[count(&[2, 0]), count(&[0, 1])], &[2, 1], &[0., 0.]);
    refuse("MatMul", &[], &[count(&[2, 2]), count(&[3, 2])], "inner extents");
    let list = [("transA", Attr::Int(1)), ("alpha", Attr::Float(2.0)), ("beta", Attr::Float(0.5))];
    check("Gemm", &list, &[count(&[2, 1]), count(&[2, 2]), f(&[1], &[4.])], &[1, 2], &[6., 8.]);
    refuse("Gemm", &[], &[count(&[2, 2]), count(&[2, 2]), count(&[3])], "C does not broadcast");
    let a = Tensor::new(vec![2, 2], vec![11u8, 7, 3, 10]).unwrap();
    let b = Tensor::new(vec![2, 2], vec![1i8, 4, 2, 5]).unwrap();
    let zeros = [Tensor::scalar(12u8), Tensor::vector(vec![0i8, 1])];
    let [za, zb] = zeros;
    check("MatMulInteger", &[], &[a, b, za, zb], &[2, 2], &[-11., -23., -13., -35.]);
}

#[test]
fn poolings() {
    let k2 = ("kernel_shape", ints(&[2, 2]));
    let s2 = ("strides", ints(&[2, 2]));
    check("MaxPool", &[k2.clone(), s2.clone()], &[count(&[1, 1, 5, 5])], &[1, 1, 2, 2], &[6., 8., 16., 18.]);
    let ceil = [k2.clone(), s2.clone(), ("ceil_mode", Attr::Int(1))];
    check("MaxPool", &ceil, &[count(&[1, 1, 3, 3])], &[1, 1, 2, 2], &[4., 5., 7., 8.]);
    let got = crate::cases::run(
        "",
        "MaxPool",
        crate::cases::attrs(&[k2.clone(), ("storage_order", Attr::Int(1))]),
        &[Some(count(&[1, 1, 3, 3]))],
        2,
    );
    close("MaxPool", &got.unwrap()[1], &[4., 7., 5., 8.]);
    let padded = [k2.clone(), ("pads", ints(&[1, 1, 0, 0])), s2];
    check("AveragePool", &padded, &[count(&[1, 1, 3, 3])], &[1, 1, 2, 2], &[0., 1.5, 4.5, 6.]);
    let counted = [&padded[..], &[("count_include_pad", Attr::Int(1))]].concat();
    check("AveragePool", &counted, &[count(&[1, 1, 3, 3])], &[1, 1, 2, 2], &[0., 0.75, 2.25, 6.]);
    check("LpPool", &[k2, ("p", Attr::Int(1))], &[count(&[1, 1, 2, 2])], &[1, 1, 1, 1], &[6.]);
    check("GlobalAveragePool", &[], &[count(&[1, 2, 2])], &[1, 2, 1], &[0.5, 2.5]);
    check("GlobalMaxPool", &[], &[count(&[1, 2, 2])], &[1, 2, 1], &[1., 3.]);
    check("GlobalLpPool", &[], &[f(&[1, 1, 2], &[3., 4.])], &[1, 1, 1], &[5.]);
}

#[test]
fn normalisations() {
    let x = f(&[1, 2, 1, 3], &[-1., 0., 1., 2., 3., 4.]);
    let (scale, bias) = (f(&[2], &[1.0, 1.5]), f(&[2], &[0., 1.]));
    let params = [x.clone(), scale.clone(), bias.clone(), f(&[2], &[0., 3.]), f(&[2], &[1.0 - 1e-5, 1.5 * 1.5 - 1e-5])];
    check("BatchNormalization", &[], &params, &[1, 2, 1, 3], &[-1., 0., 1., 0., 1., 2.]);
    let r = 1.224_736_f32;
    check(
        "InstanceNormalization",
        &[],
        &[x.clone(), scale.clone(), bias.clone()],
        &[1, 2, 1, 3],
        &[-r, 0., r, 1. - 1.5 * r, 1., 1. + 1.5 * r],
    );
    check(
        "GroupNormalization",
        &[("num_groups", Attr::Int(2))],
        &[x, scale, bias],
        &[1, 2, 1, 3],
        &[-r, 0., r, 1. - 1.5 * r, 1., 1. + 1.5 * r],
    );
    let row = f(&[1, 2], &[1., 3.]);
    check(
        "LayerNormalization",
        &[("epsilon", Attr::Float(0.0))],
        &[row.clone(), f(&[2], &[1., 2.]), f(&[2], &[0., 5.])],
        &[1, 2],
        &[-1., 7.],
    );
    check(
        "RMSNormalization",
        &[("epsilon", Attr::Float(0.0))],
        &[f(&[1, 2], &[7., 1.]), f(&[1], &[5.])],
        &[1, 2],
        &[7., 1.],
    );
    refuse("LayerNormalization", &[("axis", Attr::Int(2))], &[row, count(&[2])], "axis 2 is out of range");
    let lrn = [("size", Attr::Int(3)), ("alpha", Attr::Float(3.0)), ("beta", Attr::Float(1.0))];
    check("LRN", &lrn, &[f(&[1, 3, 1], &[1., 2., 3.])], &[1, 3, 1], &[1. / 6., 2. / 15., 3. / 14.]);
}

#[test]
fn recurrent_layers() {
    let (x, h) = (f(&[1, 3, 2], &[1., 2., 3., 4., 5., 6.]), ("hidden_size", Attr::Int(1)));
    let weights = |gates: usize| [f(&[1, gates, 2], &vec![0.1; 2 * gates]), f(&[1, gates, 1], &vec![0.1; gates])];
    let run = |op: &str, gates: usize, reverse: bool| {
        let [w, r] = weights(gates);
        let list = [h.clone(), ("direction", Attr::from(if reverse { "reverse" } else { "forward" }))];
        crate::cases::run("", op, crate::cases::attrs(&list), &[Some(x.clone()), Some(w), Some(r)], 2).unwrap()
    };
    // One step from a zero state: the same either way.
    let rnn = [0.3f32.tanh(), 0.7f32.tanh(), 1.1f32.tanh()];
    close("RNN", &run("RNN", 1, false)[1], &rnn);
    close("RNN", &run("RNN", 1, true)[0], &rnn);
    let sigmoid = |v: f32| 1.0 / (1.0 + (-v).exp());
    let gru = [0.3f32, 0.7, 1.1].map(|v| (1.0 - sigmoid(v)) * v.tanh());
    close("GRU", &run("GRU", 3, false)[1], &gru);
    let lstm = [0.3f32, 0.7, 1.1].map(|v| sigmoid(v) * (sigmoid(v) * v.tanh()).tanh());
    close("LSTM", &run("LSTM", 4, false)[1], &lstm);
    let [w, r] = weights(4);
    refuse("LSTM", &[("direction", Attr::from("up"))], &[x.clone(), w.clone(), r.clone()], "direction");
    refuse("LSTM", &[("hidden_size", Attr::Int(2))], &[x.clone(), w.clone(), r.clone()], "hidden_size");
    refuse("LSTM", &[("activations", Attr::Strs(vec!["Tanh".into()]))], &[x, w, r], "activations has 1 names, not 3");
}
