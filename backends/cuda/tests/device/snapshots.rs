//! What the text of one small kernel of each generator looks like, so that a change of generated code shows in a review.

use crate::check::{ARCH, Case, dims};
use crate::convolutions::Geometry;
use crate::products::{epilogue, product};
use planc_cuda::ptx;
use planc_kir::{
    ArgReduce, Attention, BinOp, Coordinate, ExprBuilder, Kernel, Norm, NormKind, Pad, PadMode, Pool, PoolKind, Reduce,
    ReduceOp, Resize, ResizeMode, Slice, Softmax,
};
use planc_tensor::{DType, Dim};

const F32: DType = DType::F32;

fn add() -> Kernel {
    let mut b = ExprBuilder::new(&[F32, F32]);
    let (x, y) = (b.arg(0), b.arg(1));
    let sum = b.binary(BinOp::Add, x, y);
    Kernel::Map(b.finish(sum))
}

/// One case per generator, in the order of the files.
fn cases() -> Vec<(&'static str, Case)> {
    let case = |kernel: Kernel, inputs: &[&[usize]], out: &[usize]| Case::new(kernel, F32, inputs, out);
    let indexed = |kernel: Kernel, x: &[usize], indices: &[usize], out: &[usize]| {
        let mut c = case(kernel, &[x, indices], out);
        c.inputs[1].0 = DType::I64;
        c
    };
    let attention = Kernel::Attention(Attention { scale: 0.5, causal: true });
    let pads = vec![[Dim::from(1usize), Dim::from(1usize)]; 2];
    let pool = Pool { kind: PoolKind::Max, kernel: vec![3, 3], strides: vec![2, 2], dilations: vec![1, 1], pads };
    let resize = Resize {
        axes: vec![2, 3],
        scales: None,
        mode: ResizeMode::Linear,
        coordinate: Coordinate::HalfPixel,
        antialias: false,
        exclude_outside: false,
        roi: vec![],
        extrapolation: 0.0,
    };
    let mut symbolic = case(add(), &[&[], &[]], &[]);
    symbolic.inputs =
        vec![(F32, vec![Dim::sym("N"), Dim::from(8usize)]), (F32, vec![Dim::sym("M"), Dim::from(8usize)])];
    symbolic.output.1 = vec![Dim::sym("N"), Dim::from(8usize)];
    let mut positions = case(Kernel::ArgReduce(ArgReduce { max: true, axis: 1, last: false }), &[&[3, 40]], &[3]);
    positions.output.0 = DType::I64;
    let mut fused = product(F32, &[], [1, 40, 37], false, false);
    fused.epilogue = Some(epilogue(F32));
    fused.inputs.extend([(F32, dims(&[40])), (F32, dims(&[1, 40]))]);
    let conv = Geometry::new(1, 1, [3, 16], &[9, 11], &[3, 3]).pads(&[[1, 1], [1, 1]]);
    let depthwise = Geometry::new(1, 4, [1, 1], &[9, 9], &[3, 3]).pads(&[[1, 1], [1, 1]]);
    let narrow = Geometry::new(1, 1, [9, 1], &[6, 7], &[3, 3]);
    let transposed = Geometry::new(1, 1, [4, 9], &[5, 4], &[4, 4]).strides(&[2, 2]).pads(&[[1, 1], [1, 1]]);
    vec![
        ("attention", case(attention, &[&[1, 1, 33, 16], &[1, 1, 40, 16], &[1, 1, 40, 16]], &[1, 1, 33, 16])),
        ("conv_implicit_gemm", conv.case(F32, false, true)),
        ("conv_depthwise", depthwise.case(F32, false, true)),
        ("conv_direct", narrow.case(F32, false, true)),
        ("conv_transpose", transposed.case(F32, true, true)),
        ("gather", indexed(Kernel::Gather { axis: 0 }, &[5, 8], &[3], &[3, 8])),
        ("gather_elements", indexed(Kernel::GatherElements { axis: 1 }, &[3, 4], &[3, 5], &[3, 5])),
        ("gather_nd", indexed(Kernel::GatherNd { batch_dims: 0 }, &[4, 4, 8], &[3, 2], &[3, 8])),
        ("cum_sum", case(Kernel::CumSum { axis: 1, exclusive: false, reverse: false }, &[&[2, 5, 3]], &[2, 5, 3])),
        ("gemm_simt", product(F32, &[], [33, 20, 48], false, false)),
        ("gemm_vector", fused),
        ("gemm_split_k", product(F32, &[], [33, 34, 512], false, false)),
        ("gemm_mma_f16", product(DType::F16, &[], [16, 8, 16], false, true)),
        ("gemm_mma_bf16", product(DType::BF16, &[], [16, 8, 16], false, true)),
        ("map", case(add(), &[&[3, 8], &[8]], &[3, 8])),
        ("map_symbolic", symbolic),
        ("transpose", case(Kernel::Transpose { perm: vec![1, 0] }, &[&[3, 5]], &[5, 3])),
        ("slice", case(Kernel::Slice(Slice { starts: dims(&[1, 4]), steps: vec![1, 2] }), &[&[4, 16]], &[2, 6])),
        ("concat", case(Kernel::Concat { axis: 1 }, &[&[2, 8, 2], &[2, 4, 2]], &[2, 12, 2])),
        ("pad", case(Kernel::Pad(Pad { before: dims(&[0, 1]), mode: PadMode::Reflect }), &[&[3, 4]], &[3, 7])),
        ("tile", case(Kernel::Tile, &[&[2, 3]], &[4, 6])),
        ("copy", case(Kernel::Reorder, &[&[2, 3]], &[2, 3])),
        (
            "norm",
            case(Kernel::Norm(Norm { kind: NormKind::Layer { axis: 1 }, epsilon: 1e-5 }), &[&[3, 40], &[40]], &[3, 40]),
        ),
        ("pool", case(Kernel::Pool(pool), &[&[1, 2, 8, 8]], &[1, 2, 4, 4])),
        ("reduce", case(Kernel::Reduce(Reduce::plain(ReduceOp::Sum, F32, vec![1])), &[&[3, 40]], &[3])),
        ("arg_reduce", positions),
        ("resize", case(Kernel::Resize(resize), &[&[1, 2, 3, 4]], &[1, 2, 6, 8])),
        ("softmax", case(Kernel::Softmax(Softmax { axis: 1, end: 2, log: false }), &[&[2, 70]], &[2, 70])),
    ]
}

#[test]
fn one_kernel_of_each_generator() {
    for (name, case) in cases() {
        let made = case.generate().unwrap_or_else(|e| panic!("{name}: {e}"));
        let launches = made.launches.into_iter().enumerate();
        let kernels = launches.map(|(i, (k, _))| ptx::Kernel { name: format!("{}_{i}", k.name), ..k }).collect();
        let text = ptx::Module { arch: ARCH, kernels }.text().expect("it is well formed");
        insta::assert_snapshot!(name, text);
    }
}
