//! Against the interpreter, bit for bit: sums by the integer kernel, then the epilogue as a map.

use super::super::check::{floats, random, run_on};
use super::super::{Scratch, run, supports};
use super::*;
use crate::check::{Rng, Threads};
use crate::integer::{pack_conv, pack_depthwise, pack_first, pack_matrix};
use crate::isa::Isa;
use crate::par::{Parallel, Serial};
use planc_kir::interp::interpret;
use planc_kir::{Kernel, parse_expr};
use planc_tensor::{AlignedBuf, Bytes, Dim, Tensor};

/// `[n][c][pixels]` to `[n][c / 16][pixels][16]`; what fills up is noise.
fn blocked(t: &Tensor) -> Vec<u8> {
    let &[n, c, ref spatial @ ..] = t.shape() else { panic!("no channels") };
    let (size, pixels) = (t.dtype().bits() / 8, spatial.iter().product::<usize>());
    let mut out = vec![0x3f; n * c.div_ceil(16) * 16 * pixels * size];
    for (i, element) in t.view().bytes().chunks_exact(size).enumerate() {
        let (image, channel, p) = (i / pixels / c, i / pixels % c, i % pixels);
        let at = ((image * c.div_ceil(16) + channel / 16) * pixels + p) * 16 + channel % 16;
        out[at * size..(at + 1) * size].copy_from_slice(element);
    }
    out
}

fn rows(bytes: &[u8], dtype: DType, shape: &[usize]) -> Vec<u8> {
    let &[n, c, ref spatial @ ..] = shape else { panic!("no channels") };
    let (size, pixels) = (dtype.bits() / 8, spatial.iter().product::<usize>());
    let mut out = vec![];
    for i in 0..n * c * pixels {
        let (image, channel, p) = (i / pixels / c, i / pixels % c, i % pixels);
        let at = ((image * c.div_ceil(16) + channel / 16) * pixels + p) * 16 + channel % 16;
        out.extend(&bytes[at * size..(at + 1) * size]);
    }
    out
}

fn aligned(bytes: &[u8]) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(bytes.len());
    buf.as_mut_slice().copy_from_slice(bytes);
    buf
}

struct Case<'a> {
    kernel: Kernel,
    x: Tensor,
    x_layout: Layout,
    zero: Option<Tensor>,
    w: Tensor,
    packed: Vec<u8>,
    w_layout: Layout,
    epilogue: Option<(&'a str, Vec<Tensor>)>,
    shape: Vec<usize>,
}

fn check(case: &Case<'_>) {
    let expr = case.epilogue.as_ref().map(|(text, _)| parse_expr(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).0);
    let sides = case.epilogue.as_ref().map_or(&[][..], |(_, s)| s);
    let views = [Some(case.x.view()), Some(case.w.view()), case.zero.as_ref().map(Tensor::view)];
    let sums = interpret(&case.kernel, &views, &[(DType::I32, case.shape.clone())], &|_| None).unwrap().remove(0);
    let want = match &expr {
        None => sums.clone(),
        Some(e) => {
            let views: Vec<_> = std::iter::once(&sums).chain(sides).map(|t| Some(t.view())).collect();
            let results = [(e.result_type(), case.shape.clone())];
            interpret(&Kernel::Map(e.clone()), &views, &results, &|_| None).unwrap().remove(0)
        }
    };
    // A sigmoid is as exact as a map's, which differs between tiers and from the interpreter's.
    let inexact = case.epilogue.as_ref().is_some_and(|(text, _)| text.contains("sigmoid"));
    let map = inexact.then(|| {
        let inputs = std::iter::once(&sums).chain(sides).map(|t| Some(t.clone())).collect::<Vec<_>>();
        (Kernel::Map(expr.clone().unwrap()), inputs, [(want.dtype(), case.shape.clone())])
    });
    let blocks = case.w_layout != Layout::QuadPanels16;
    let to = if blocks { Layout::Nchw16c } else { Layout::RowMajor };
    let x = if case.x_layout == Layout::Nchw16c { blocked(&case.x) } else { case.x.view().bytes().to_vec() };
    let (x, w) = (aligned(&x), aligned(&case.packed));
    let mut inputs = vec![
        Some(Operand { dtype: case.x.dtype(), shape: case.x.shape(), layout: case.x_layout, bytes: x.as_ref() }),
        Some(Operand { dtype: DType::I8, shape: case.w.shape(), layout: case.w_layout, bytes: w.as_ref() }),
        case.zero.as_ref().map(|z| Operand {
            dtype: z.dtype(),
            shape: z.shape(),
            layout: Layout::RowMajor,
            bytes: z.view().bytes(),
        }),
    ];
    let in_blocks = |t: &Tensor| blocks && t.shape() == &case.shape[..];
    let stored: Vec<_> =
        sides.iter().map(|t| aligned(&if in_blocks(t) { blocked(t) } else { t.view().bytes().to_vec() })).collect();
    inputs.extend(sides.iter().zip(&stored).map(|(t, s)| {
        let layout = if in_blocks(t) { Layout::Nchw16c } else { Layout::RowMajor };
        Some(Operand { dtype: t.dtype(), shape: t.shape(), layout, bytes: s.as_ref() })
    }));
    let dtype = want.dtype();
    let forms: Vec<_> = inputs.iter().map(|o| o.map(|o| (o.dtype, o.layout))).collect();
    assert!(supports(&case.kernel, expr.as_ref(), &forms, &[Some((dtype, to))]), "{:?} is declined", case.kernel);
    for isa in Isa::every() {
        let want = match &map {
            None => want.view().bytes().to_vec(),
            Some((map, inputs, results)) => run_on(isa, &Serial, map, inputs, results).unwrap()[0].as_ref().to_vec(),
        };
        for par in [&Serial as &dyn Parallel, &Threads(3)] {
            let mut out = AlignedBuf::zeroed(to.stored_bytes(dtype, &case.shape).unwrap());
            out.as_mut_slice().fill(0xA5);
            let mut scratch = Scratch::default();
            let mut cx = Cx { isa, par, scratch: &mut scratch, eval: &|d| d.as_const() };
            let mut y = [Some(Output { dtype, shape: &case.shape, layout: to, bytes: out.as_mut_slice() })];
            run(&mut cx, &case.kernel, expr.as_ref(), &inputs, &mut y).unwrap();
            let got = if blocks { rows(out.as_ref(), dtype, &case.shape) } else { out.as_ref().to_vec() };
            let at = got.iter().zip(&want).position(|(a, b)| a != b);
            let text = case.epilogue.as_ref().map(|e| e.0);
            let what = format!("{} {:?} {:?} {:?} {text:?}", isa.tier(), case.kernel, case.x.shape(), case.w.shape());
            assert!(at.is_none() && got.len() == want.len(), "{what} differs at byte {at:?}");
        }
    }
}

/// Epilogues: each over sums and sides, `c` per channel in f32, `i` in i32, `f` and `b` like the result in f32 and u8.
const EPILOGUES: [(&str, &str); 17] = [
    ("", ""),
    ("c", "(i32, f32) mul(f32(a0), a1)"),
    (
        "ic",
        "(i32, i32, f32) u8(min(max(add(round(div(max(mul(f32(add(a0, a1)), a2), 0.0:f32), 0.037:f32)), 3.0:f32), 0.0:f32), 255.0:f32))",
    ),
    ("c", "(i32, f32) i8(min(max(add(round(mul(f32(a0), a1)), -5.0:f32), -128.0:f32), 127.0:f32))"),
    (
        "ccb",
        "(i32, f32, f32, u8) let t0 = mul(f32(sub(i32(a3), 131i32)), 0.021:f32) in u8(min(max(add(round(div(max(add(add(mul(f32(a0), a1), a2), t0), 0.0:f32), 0.043:f32)), 7.0:f32), 0.0:f32), 255.0:f32))",
    ),
    ("cf", "(i32, f32, f32) let t0 = add(mul(f32(a0), a1), a2) in select(lt(t0, 0.0:f32), mul(t0, 0.1:f32), t0)"),
    ("cf", "(i32, f32, f32) i8(round(div(min(max(add(a2, mul(a1, f32(a0))), -1.5:f32), 6.0:f32), 0.05:f32)))"),
    // Curves.
    (
        "c",
        "(i32, f32) let t0 = mul(f32(a0), a1) in u8(add(round(div(div(mul(t0, min(max(add(t0, 3.0:f32), 0.0:f32), 6.0:f32)), 6.0:f32), 0.02:f32)), 9.0:f32))",
    ),
    (
        "ic",
        "(i32, i32, f32) let t0 = mul(f32(add(a0, a1)), a2) in u8(min(max(add(round(div(add(mul(0.7:f32, div(mul(t0, min(max(add(t0, 3.0:f32), 0.0:f32), 6.0:f32)), 6.0:f32)), -0.3:f32), 0.03:f32)), 9.0:f32), 0.0:f32), 255.0:f32))",
    ),
    (
        "ccf",
        "(i32, f32, f32, f32) let t0 = add(mul(f32(a0), a1), a2) in max(add(mul(mul(max(min(add(mul(t0, 0.2:f32), 0.5:f32), 1.0:f32), 0.0:f32), t0), 1.7:f32), a3), -0.2:f32)",
    ),
    (
        "icb",
        "(i32, i32, f32, u8) let t0 = mul(f32(add(a0, a1)), a2) in i8(min(max(add(round(div(add(mul(f32(sub(i32(a3), 5i32)), 0.02:f32), mul(t0, sigmoid(t0))), 0.07:f32)), -9.0:f32), -128.0:f32), 127.0:f32))",
    ),
    ("c", "(i32, f32) add(mul(sigmoid(mul(f32(a0), a1)), 3.0:f32), 0.5:f32)"),
    // General programs.
    ("c", "(i32, f32) let t0 = mul(f32(a0), a1) in mul(t0, abs(sigmoid(t0)))"),
    ("ib", "(i32, i32, u8) i8(max(min(add(mul(a0, 3i32), sub(i32(a2), a1)), 127i32), -100i32))"),
    ("cc", "(i32, f32, f32) select(lt(f32(a0), a1), abs(a2), neg(mul(f32(a0), a1)))"),
    ("b", "(i32, u8) add(a0, i32(a1))"),
    ("fc", "(i32, f32, f32) div(a1, add(mul(f32(a0), a2), 0.5:f32))"),
];

fn epilogue(rng: &mut Rng, i: usize, channel: &[usize], full: &[usize]) -> Option<(&'static str, Vec<Tensor>)> {
    let (sides, text) = EPILOGUES[i % EPILOGUES.len()];
    let mut one = |kind: char| match kind {
        'c' => {
            let t = floats(rng, channel);
            let v: Vec<f32> = t.as_slice::<f32>().unwrap().iter().map(|v| v * 1e-3).collect();
            Tensor::new(channel, v).unwrap()
        }
        'i' => {
            let v: Vec<i32> = (0..channel.iter().product()).map(|_| rng.bits() as i32 >> 16).collect();
            Tensor::new(channel, v).unwrap()
        }
        'f' => floats(rng, full),
        _ => random(rng, DType::U8, full),
    };
    (!text.is_empty()).then(|| (text, sides.chars().map(&mut one).collect()))
}

fn signed(t: &Tensor) -> Vec<i8> {
    t.view().bytes().iter().map(|b| *b as i8).collect()
}

#[test]
fn products() {
    let mut rng = Rng::new(71);
    let shapes: [(&[usize], &[usize]); 10] = [
        (&[1, 1], &[1, 1]),
        (&[1, 64], &[64, 160]),
        (&[3, 7], &[7, 5]),
        (&[15, 32], &[32, 16]),
        (&[29, 40], &[40, 70]),
        (&[2, 3, 12], &[12, 33]),
        (&[2, 3, 8], &[2, 8, 17]),
        (&[2, 1, 5, 4], &[3, 4, 18]),
        (&[30, 128], &[128, 48]),
        (&[4, 0], &[0, 20]),
    ];
    for (i, (a, b)) in shapes.into_iter().enumerate() {
        for e in 0..EPILOGUES.len() {
            let (n, k) = (b[b.len() - 1], b[b.len() - 2]);
            let batch = planc_tensor::broadcast(&a[..a.len() - 2], &b[..b.len() - 2]).unwrap();
            let shape = [&batch[..], &[a[a.len() - 2], n]].concat();
            let dtype = if (i + e) % 3 == 0 { DType::I8 } else { DType::U8 };
            let w = random(&mut rng, DType::I8, b);
            let matrices = b[..b.len() - 2].iter().product::<usize>();
            let all = signed(&w);
            let packed = (0..matrices).flat_map(|i| pack_matrix(k, n, &all[i * k * n..(i + 1) * k * n])).collect();
            check(&Case {
                kernel: Kernel::GemmInteger,
                x: random(&mut rng, dtype, a),
                x_layout: Layout::RowMajor,
                zero: (e % 4 != 1).then(|| random(&mut rng, dtype, &[])),
                w,
                packed,
                w_layout: Layout::QuadPanels16,
                epilogue: epilogue(&mut rng, e, &[n], &shape),
                shape,
            });
        }
    }
}

fn spec(group: usize, strides: [usize; 2], dilations: [usize; 2], pads: [[i64; 2]; 2]) -> Conv {
    let pads = pads.iter().map(|p| p.map(Dim::from)).collect();
    Conv { group, strides: strides.to_vec(), dilations: dilations.to_vec(), pads }
}

#[test]
fn convolutions() {
    let mut rng = Rng::new(72);
    let (one, none, same) = ([1, 1], [[0, 0], [0, 0]], [[1, 1], [1, 1]]);
    let cases: [([usize; 4], [usize; 4], Conv); 15] = [
        ([1, 16, 5, 5], [16, 16, 1, 1], spec(1, one, one, none)),
        ([2, 24, 7, 9], [33, 24, 1, 1], spec(1, one, one, none)),
        ([1, 32, 15, 15], [40, 32, 3, 3], spec(1, one, one, same)),
        ([1, 17, 9, 8], [50, 17, 3, 3], spec(1, [2, 2], one, same)),
        ([1, 32, 9, 8], [64, 16, 3, 2], spec(2, [1, 2], [2, 1], [[2, 1], [0, 3]])),
        ([1, 20, 6, 30], [16, 20, 1, 5], spec(1, one, one, [[0, 0], [2, 2]])),
        ([1, 48, 7, 7], [96, 48, 3, 3], spec(1, one, one, same)),
        ([1, 16, 12, 2], [16, 16, 3, 1], spec(1, one, one, [[1, 1], [0, 0]])),
        // First layers.
        ([2, 3, 20, 23], [24, 3, 7, 7], spec(1, [2, 2], one, [[3, 3], [3, 3]])),
        ([1, 1, 9, 9], [16, 1, 3, 3], spec(1, one, [2, 2], [[2, 2], [2, 2]])),
        ([1, 6, 8, 8], [20, 6, 1, 1], spec(1, one, one, none)),
        // Depthwise.
        ([1, 16, 9, 9], [16, 1, 3, 3], spec(16, one, one, same)),
        ([2, 24, 11, 33], [24, 1, 3, 3], spec(24, [2, 2], one, same)),
        ([1, 40, 8, 8], [40, 1, 5, 5], spec(40, one, [2, 1], [[4, 4], [2, 2]])),
        ([1, 16, 10, 10], [16, 1, 2, 3], spec(16, [3, 3], one, none)),
    ];
    for (i, (x, w, conv)) in cases.into_iter().enumerate() {
        let mut shape = vec![x[0], w[0]];
        for a in 0..2 {
            let pads: i64 = conv.pads[a].iter().map(|d| d.as_const().unwrap()).sum();
            let reach = x[a + 2] + pads as usize - (w[a + 2] - 1) * conv.dilations[a] - 1;
            shape.push(reach / conv.strides[a] + 1);
        }
        // Every second one, others for the next shape.
        for e in (i % 2..EPILOGUES.len()).step_by(2) {
            let dtype = if (i + e) % 3 == 0 { DType::I8 } else { DType::U8 };
            let weights = random(&mut rng, DType::I8, &w);
            let (all, taps) = (signed(&weights), w[2] * w[3]);
            let (packed, w_layout, x_layout) = if conv.group == x[1] && x[1] > 1 {
                (pack_depthwise(w[0], taps, &all), Layout::Depthwise16, Layout::Nchw16c)
            } else if x[1] < 16 {
                (pack_first(w[0], w[1], taps, &all), Layout::ConvFirstQuads16, Layout::RowMajor)
            } else {
                (pack_conv(w[0], w[1], taps, &all), Layout::ConvQuads16, Layout::Nchw16c)
            };
            assert_eq!(w_layout.stored_elements(&w), Some(packed.len()), "{w_layout}");
            check(&Case {
                kernel: Kernel::ConvInteger(conv.clone()),
                x: random(&mut rng, dtype, &x),
                x_layout,
                zero: (e % 4 != 1).then(|| random(&mut rng, dtype, &[])),
                w: weights,
                packed,
                w_layout,
                epilogue: epilogue(&mut rng, e, &[w[0], 1, 1], &shape),
                shape: shape.clone(),
            });
        }
    }
}

/// The largest factors neither saturate nor lose bits, and quotients near a half round as they should.
#[test]
fn extremes() {
    let full = |dtype, byte: u8, shape: &[usize]| {
        let mut t = AlignedBuf::zeroed(shape.iter().product());
        t.as_mut_slice().fill(byte);
        Tensor::from_bytes(dtype, shape, Bytes::new(t)).unwrap()
    };
    let halves = "(i32) u8(min(max(add(round(div(mul(f32(a0), 0.5:f32), 3.0:f32)), 0.0:f32), 0.0:f32), 255.0:f32))";
    for (x, w, epilogue) in [(255, 0x80, None), (255, 0x7f, None), (1, 1, Some((halves, vec![])))] {
        for k in 1..70 {
            let w = full(DType::I8, w, &[k, 20]);
            check(&Case {
                kernel: Kernel::GemmInteger,
                x: full(DType::U8, x, &[3, k]),
                x_layout: Layout::RowMajor,
                zero: None,
                packed: pack_matrix(k, 20, &signed(&w)),
                w,
                w_layout: Layout::QuadPanels16,
                epilogue: epilogue.clone(),
                shape: vec![3, 20],
            });
        }
    }
}
