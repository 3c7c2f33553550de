//! How fast the kernels are on layers of ResNet-50, MobileNetV2 and BERT, on one thread, as the runtime calls them.
//!
//! Each line says time and rate (criterion), and what that is of this machine's peak, measured right after. Operations are those
//! of the computation (`planc_kir::cost`), so Winograd's algorithm may pass 100 %. Operands stay in cache from one iteration to
//! the next where they fit; `planc bench --profile` measures them as a model finds them.
//!
//! Usage: `cargo bench -p planc-kernels -- FILTER`.
#![allow(clippy::print_stdout, reason = "a bench talks")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use planc_kernels::dispatch::{Cx, Operand, Output, Scratch, run, supports};
use planc_kernels::isa::Isa;
use planc_kernels::par::Serial;
use planc_kernels::peak;
use planc_kir::{Attention, Conv, Expr, Gemm, Kernel, Norm, NormKind, Softmax, cost, parse_expr};
use planc_tensor::{AlignedBuf, DType, Dim, Layout};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Type, extents and layout of an operand or result.
type Form = (DType, Vec<usize>, Layout);

/// A layer.
struct Case {
    name: String,
    kernel: Kernel,
    epilogue: Option<Expr>,
    inputs: Vec<Option<Form>>,
    output: Form,
}

/// Bytes of any value, or floats in (-1/2, 1/2).
fn data((dtype, shape, layout): &Form) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(layout.stored_bytes(*dtype, shape).expect("the layout takes the shape"));
    let mut state = 1_u32;
    for chunk in buf.as_mut_slice().chunks_mut(4) {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        let float = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
        let bytes = if *dtype == DType::F32 { float.to_le_bytes() } else { state.to_le_bytes() };
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    buf
}

fn bench(c: &mut Criterion, group: &str, case: &Case) {
    let form = |f: &Form| (f.0, f.2);
    let forms: Vec<_> = case.inputs.iter().map(|f| f.as_ref().map(form)).collect();
    let output = &case.output;
    assert!(supports(&case.kernel, case.epilogue.as_ref(), &forms, &[Some(form(output))]), "{}", case.name);
    let buffers: Vec<_> = case.inputs.iter().map(|f| f.as_ref().map(data)).collect();
    let inputs: Vec<Option<Operand<'_>>> = case
        .inputs
        .iter()
        .zip(&buffers)
        .map(|(form, buffer)| {
            let ((dtype, shape, layout), buffer) = form.as_ref().zip(buffer.as_ref())?;
            Some(Operand { dtype: *dtype, shape, layout: *layout, bytes: buffer.as_ref() })
        })
        .collect();
    let mut result = data(output);
    let (isa, mut scratch) = (Isa::detect(), Scratch::default());
    let mut once = || {
        let mut cx = Cx { isa, par: &Serial, scratch: &mut scratch, eval: &|d| d.as_const() };
        let (dtype, shape, layout) = output;
        let out = Output { dtype: *dtype, shape, layout: *layout, bytes: result.as_mut_slice() };
        let done = run(&mut cx, &case.kernel, case.epilogue.as_ref(), &inputs, &mut [Some(out)]);
        done.expect("the kernel takes the operands");
    };
    let extents: Vec<_> = case.inputs.iter().map(|f| f.as_ref().map(|(t, s, _)| (*t, &s[..]))).collect();
    let ops = cost(&case.kernel, case.epilogue.as_ref(), &extents, &[Some((output.0, &output.1[..]))]).ops;
    let best = Cell::new(Duration::MAX);
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(ops));
    group.bench_function(&case.name, |b| {
        b.iter_custom(|n| {
            let started = Instant::now();
            for _ in 0..n {
                once();
            }
            let time = started.elapsed();
            best.set(best.get().min(time / u32::try_from(n).unwrap_or(u32::MAX)));
            time
        });
    });
    group.finish();
    // Nothing was run where a filter left the case out.
    if best.get() < Duration::MAX {
        let bytes = matches!(case.kernel, Kernel::GemmInteger | Kernel::ConvInteger(_));
        let (peak, of) =
            if bytes { (peak::dot(isa, &Serial), "byte products") } else { (peak::fma(isa, &Serial), "FMA") };
        let rate = ops as f64 / best.get().as_secs_f64();
        println!(
            "{:>24}{:.1} % of the peak of {of} ({:.0} of {:.0} G/s, {})\n",
            "",
            100.0 * rate / peak,
            rate / 1e9,
            peak / 1e9,
            isa.tier()
        );
    }
}

/// A convolution with square kernel, stride and half padding.
fn geometry(kernel: usize, stride: usize, group: usize) -> Conv {
    let pad = Dim::from(kernel / 2);
    Conv { group, strides: vec![stride; 2], dilations: vec![1; 2], pads: vec![[pad.clone(), pad]; 2] }
}

/// Channels in, channels out, extent of the image, kernel, stride.
type Layer = (usize, usize, usize, usize, usize);

/// A convolution in f32 with bias and ReLU over channels in blocks.
fn conv(c: &mut Criterion, group: &str, (ic, oc, size, kernel, stride): Layer, weights: Layout) {
    let groups = if weights == Layout::Depthwise16 { ic } else { 1 };
    let from = if weights == Layout::ConvFirst16 { Layout::RowMajor } else { Layout::Nchw16c };
    let (x, w) = (vec![1, ic, size, size], vec![oc, ic / groups, kernel, kernel]);
    let y = vec![1, oc, size.div_ceil(stride), size.div_ceil(stride)];
    let f = DType::F32;
    let case = Case {
        name: format!("{ic}-{oc} {kernel}x{kernel}/{stride} @{size} {weights}"),
        kernel: Kernel::Conv(geometry(kernel, stride, groups)),
        epilogue: Some(program("(f32) max(a0, 0.0:f32)")),
        inputs: vec![Some((f, x, from)), Some((f, w, weights)), Some((f, vec![oc], Layout::RowMajor))],
        output: (f, y, Layout::Nchw16c),
    };
    bench(c, group, &case);
}

fn program(text: &str) -> Expr {
    parse_expr(text).expect("the program is one").0
}

fn convolutions(c: &mut Criterion) {
    let blocks = Layout::ConvBlocks16;
    conv(c, "conv first", (3, 64, 224, 7, 2), Layout::ConvFirst16);
    conv(c, "conv first", (3, 32, 224, 3, 2), Layout::ConvFirst16);
    for layer in
        [(64, 64, 56, 3, 1), (128, 128, 28, 3, 1), (256, 256, 14, 3, 1), (512, 512, 7, 3, 1), (128, 128, 56, 3, 2)]
    {
        conv(c, "conv 3x3", layer, blocks);
    }
    for layer in [(64, 64, 56, 3, 1), (128, 128, 28, 3, 1), (256, 256, 14, 3, 1)] {
        conv(c, "conv 3x3", layer, Layout::Winograd16);
    }
    let pointwise = [(64, 256, 56, 1, 1), (512, 128, 28, 1, 1), (1024, 256, 14, 1, 1), (2048, 512, 7, 1, 1)];
    let narrow = [(32, 16, 112, 1, 1), (24, 144, 56, 1, 1), (64, 384, 14, 1, 1), (320, 1280, 7, 1, 1)];
    for layer in pointwise.into_iter().chain(narrow) {
        conv(c, "conv 1x1", layer, blocks);
    }
    for layer in
        [(32, 32, 112, 3, 1), (96, 96, 112, 3, 2), (144, 144, 56, 3, 1), (384, 384, 14, 3, 1), (960, 960, 7, 3, 1)]
    {
        conv(c, "depthwise", layer, Layout::Depthwise16);
    }
}

/// Rows, columns and products of BERT's layers with 128 tokens, and of the last one of ResNet-50.
const PRODUCTS: [[usize; 3]; 4] = [[128, 768, 768], [128, 3072, 768], [128, 768, 3072], [1, 1000, 2048]];

fn products(c: &mut Criterion) {
    for [m, n, k] in PRODUCTS {
        let f = DType::F32;
        let gemm = Gemm { trans_a: false, trans_b: false, alpha: 1.0, beta: 1.0 };
        let case = Case {
            name: format!("{m}x{n}x{k}"),
            kernel: Kernel::Gemm(gemm),
            epilogue: None,
            inputs: vec![
                Some((f, vec![m, k], Layout::RowMajor)),
                Some((f, vec![k, n], Layout::Panels16)),
                Some((f, vec![n], Layout::RowMajor)),
            ],
            output: (f, vec![m, n], Layout::RowMajor),
        };
        bench(c, "gemm", &case);
        let case = Case {
            name: format!("{m}x{n}x{k}"),
            kernel: Kernel::GemmInteger,
            epilogue: None,
            inputs: vec![
                Some((DType::U8, vec![m, k], Layout::RowMajor)),
                Some((DType::I8, vec![k, n], Layout::QuadPanels16)),
            ],
            output: (DType::I32, vec![m, n], Layout::RowMajor),
        };
        bench(c, "integer gemm", &case);
    }
}

/// To bytes with a scale per channel, as a quantised layer ends.
const REQUANTISE: &str = "(i32, f32) u8(min(max(round(mul(f32(a0), a1)), 0.0:f32), 255.0:f32))";

fn integer_convolutions(c: &mut Criterion) {
    let dense =
        [(64, 64, 56, 3, 1), (128, 128, 28, 3, 1), (256, 256, 14, 3, 1), (64, 256, 56, 1, 1), (1024, 256, 14, 1, 1)];
    let depthwise = [(144, 144, 56, 3, 1), (384, 384, 14, 3, 1)];
    let dense = dense.map(|l: Layer| (l, 1, Layout::ConvQuads16));
    let depthwise = depthwise.map(|l: Layer| (l, l.0, Layout::Depthwise16));
    for ((ic, oc, size, kernel, stride), groups, weights) in dense.into_iter().chain(depthwise) {
        let case = Case {
            name: format!("{ic}-{oc} {kernel}x{kernel}/{stride} @{size} {weights}"),
            kernel: Kernel::ConvInteger(geometry(kernel, stride, groups)),
            epilogue: Some(program(REQUANTISE)),
            inputs: vec![
                Some((DType::U8, vec![1, ic, size, size], Layout::Nchw16c)),
                Some((DType::I8, vec![oc, ic / groups, kernel, kernel], weights)),
                None,
                None,
                Some((DType::F32, vec![oc, 1, 1], Layout::RowMajor)),
            ],
            output: (DType::U8, vec![1, oc, size.div_ceil(stride), size.div_ceil(stride)], Layout::Nchw16c),
        };
        bench(c, "integer conv", &case);
    }
}

fn rows(c: &mut Criterion) {
    let f = DType::F32;
    let rows = |shape: &[usize]| (f, shape.to_vec(), Layout::RowMajor);
    let scores: &[usize] = &[12, 128, 128];
    let case = Case {
        name: "12x128x128".into(),
        kernel: Kernel::Softmax(Softmax { axis: 2, end: 3, log: false }),
        epilogue: None,
        inputs: vec![Some(rows(scores))],
        output: rows(scores),
    };
    bench(c, "softmax", &case);
    let heads: &[usize] = &[1, 12, 128, 64];
    let case = Case {
        name: "12 heads of 128x64".into(),
        kernel: Kernel::Attention(Attention { scale: 0.125, causal: false }),
        epilogue: None,
        inputs: vec![Some(rows(heads)); 3],
        output: rows(heads),
    };
    bench(c, "attention", &case);
    let (x, scale): (&[usize], &[usize]) = (&[1, 128, 768], &[768]);
    let case = Case {
        name: "128x768".into(),
        kernel: Kernel::Norm(Norm { kind: NormKind::Layer { axis: 2 }, epsilon: 1e-5 }),
        epilogue: None,
        inputs: vec![Some(rows(x)), Some(rows(scale)), Some(rows(scale))],
        output: rows(x),
    };
    bench(c, "layer norm", &case);
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = products, convolutions, integer_convolutions, rows
}
criterion_main!(kernels);
