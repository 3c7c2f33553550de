//! Every kernel that dispatch runs, on every tier, against the interpreter, over awkward extents.

use crate::run::{Stored, agrees, dispatched, random};
use planc_kernels::conv::{self, Conv2d};
use planc_kernels::gemm::{GROUP, pack_b, pack_groups, pack_half, pack_scaled};
use planc_kernels::isa::Isa;
use planc_kernels::par::Serial;
use planc_kir::*;
use planc_tensor::{DType, Dim, Layout, Tensor, bf16, f16};

fn expr(text: &str) -> Expr {
    parse_expr(text).unwrap().0
}

fn rows(seed: u64, shape: &[usize]) -> Option<Stored> {
    Some(Stored::rows(random(seed, shape)))
}

const F32: DType = DType::F32;

#[test]
fn maps_broadcast() {
    let programs = [
        "(f32, f32) add(a0, a1)",
        "(f32, f32) max(sub(a0, a1), 0.25:f32)",
        "(f32, f32) let t0 = add(a0, a1) in mul(t0, sigmoid(t0))",
        "(f32, f32) select(lt(a0, a1), floor(a0), ceil(a1))",
        "(f32, f32) mod(a0, add(abs(a1), 0.5:f32))",
        "(f32, f32) add(tanh(a0), erf(a1))",
        "(f32, f32) sign(round(div(a0, a1)))",
        "(f32, f32) min(sin(a0), pow(abs(a1), 1.5:f32))",
    ];
    let shapes: [(&[usize], &[usize], &[usize]); 8] = [
        (&[], &[], &[]),
        (&[1], &[1025], &[1025]),
        (&[3, 1, 5], &[4, 1], &[3, 4, 5]),
        (&[2, 7, 513], &[2, 7, 513], &[2, 7, 513]),
        (&[17, 33], &[33], &[17, 33]),
        (&[17, 33], &[17, 1], &[17, 33]),
        (&[2, 3, 1, 4, 1], &[1, 3, 5, 1, 6], &[2, 3, 5, 4, 6]),
        (&[0, 3], &[1, 3], &[0, 3]),
    ];
    for (i, text) in programs.iter().enumerate() {
        for (a, b, out) in shapes {
            let inputs = [rows(i as u64 + 1, a), rows(i as u64 + 50, b)];
            agrees(&Kernel::Map(expr(text)), None, &inputs, (F32, out, Layout::RowMajor), 2e-6);
        }
    }
}

#[test]
fn maps_compare_and_select_by_booleans() {
    let x = random(3, &[5, 37]);
    let mask = x.as_slice::<f32>().unwrap().iter().map(|v| *v > 0.0).collect::<Vec<bool>>();
    let mask = || Some(Stored::rows(Tensor::new([5, 37], mask.clone()).unwrap()));
    let less = Kernel::Map(expr("(f32, bool) and(lt(a0, 1.0:f32), not(a1))"));
    agrees(&less, None, &[rows(3, &[5, 37]), mask()], (DType::Bool, &[5, 37], Layout::RowMajor), 0.0);
    let choose = Kernel::Map(expr("(bool, f32) select(a0, a1, f32(xor(a0, isnan(a1))))"));
    agrees(&choose, None, &[mask(), rows(4, &[37])], (F32, &[5, 37], Layout::RowMajor), 0.0);
}

#[test]
fn nan_wins_minimum_and_maximum_from_both_sides() {
    let x = || Some(Stored::rows(Tensor::vector(vec![f32::NAN, 1.0, -0.0, f32::INFINITY, 3.0])));
    let y = || Some(Stored::rows(Tensor::vector(vec![1.0, f32::NAN, 0.0, f32::NEG_INFINITY, f32::NAN])));
    for op in ["min", "max"] {
        let k = Kernel::Map(expr(&format!("(f32, f32) {op}(a0, a1)")));
        agrees(&k, None, &[x(), y()], (F32, &[5], Layout::RowMajor), 0.0);
    }
}

#[test]
fn maps_run_on_blocks() {
    for c in [16, 20, 48] {
        let shape = [2, c, 3, 5];
        let k = Kernel::Map(expr("(f32, f32, f32, f32) mul(add(a0, a1), add(a2, a3))"));
        let inputs = [
            Some(Stored::blocks(random(1, &shape))),
            rows(2, &[c, 1, 1]),
            rows(3, &[3, 5]),
            Some(Stored::blocks(random(4, &[2, c, 1, 1]))),
        ];
        agrees(&k, None, &inputs, (F32, &shape, Layout::Nchw16c), 1e-6);
    }
}

#[test]
fn products_with_epilogues() {
    let relu = expr("(f32, f32) max(add(a0, a1), 0.0:f32)");
    let silu_then_add = expr("(f32, f32) add(mul(a0, sigmoid(a0)), a1)");
    let odd = expr("(f32, f32) exp(sub(a0, a1))");
    for (m, k, n) in [(1, 1, 1), (1, 70, 33), (5, 7, 16), (13, 64, 47), (30, 129, 96), (3, 0, 5)] {
        for (trans_a, trans_b) in [(false, false), (true, false), (false, true)] {
            let a = if trans_a { [k, m] } else { [m, k] };
            let b = if trans_b { [n, k] } else { [k, n] };
            for (alpha, beta) in [(1.0, 1.0), (0.5, 2.0)] {
                let kernel = Kernel::Gemm(Gemm { trans_a, trans_b, alpha, beta });
                let inputs = [rows(1, &a), rows(2, &b), rows(3, &[n])];
                agrees(&kernel, None, &inputs, (F32, &[m, n], Layout::RowMajor), 1e-5);
            }
        }
        let kernel = Kernel::Gemm(Gemm { trans_a: false, trans_b: false, alpha: 1.0, beta: 1.0 });
        let w = random(2, &[k, n]);
        let packed = || {
            let panels = pack_b(k, n, w.as_slice().unwrap(), n, 1);
            Some(Stored::packed(w.clone(), Layout::Panels16, &panels))
        };
        for (e, side) in [(&relu, vec![n]), (&relu, vec![m, n]), (&silu_then_add, vec![m, n]), (&odd, vec![m, 1])] {
            let scale = |seed| Some(Stored::rows(scaled(random(seed, &[m, k]), 0.05)));
            let inputs = [scale(1), packed(), rows(4, &side)];
            agrees(&kernel, Some(e), &inputs, (F32, &[m, n], Layout::RowMajor), 1e-5);
        }
    }
}

/// A matrix of these extents in fewer bits, as each form stores it.
fn narrow(k: usize, n: usize) -> [Stored; 4] {
    let code = |i: usize, j: usize| (i * 5 + j * 3) as i32 % 16 - 8;
    let number = |i: usize, j: usize| code(i, j) as f32 * 0.37;
    let factor = |g: usize, j: usize| f16::from_f32(0.02 * (1 + (g + j) % 5) as f32);
    let tensor = |f: &dyn Fn(usize, usize) -> f32| {
        Tensor::new([k, n], (0..k * n).map(|at| f(at / n, at % n)).collect::<Vec<f32>>()).unwrap()
    };
    [
        Stored::narrow(
            tensor(&|i, j| f16::from_f32(number(i, j)).to_f32()),
            DType::F16,
            Layout::Panels16,
            &pack_half(k, n, |i, j| f16::from_f32(number(i, j)).to_bits()),
        ),
        Stored::narrow(
            tensor(&|i, j| bf16::from_f32(number(i, j)).to_f32()),
            DType::BF16,
            Layout::Panels16,
            &pack_half(k, n, |i, j| bf16::from_f32(number(i, j)).to_bits()),
        ),
        Stored::narrow(
            tensor(&|i, j| code(i, j) as f32 * factor(0, j).to_f32()),
            DType::I8,
            Layout::ScaledPanels16,
            &pack_scaled(k, n, |i, j| code(i, j) as i8, |j| factor(0, j).to_f32()),
        ),
        Stored::narrow(
            tensor(&|i, j| code(i, j) as f32 * factor(i / GROUP, j).to_f32()),
            DType::I4,
            Layout::GroupPanels16,
            &pack_groups(k, n, |i, j| code(i, j) as i8, |g, j| factor(g, j).to_bits()),
        ),
    ]
}

#[test]
fn products_with_weights_in_fewer_bits() {
    let silu_then_add = expr("(f32, f32) add(mul(a0, sigmoid(a0)), a1)");
    let odd = expr("(f32, f32) exp(sub(mul(a0, 0.01:f32), a1))");
    for (m, k, n) in [(1, 70, 33), (3, 32, 16), (5, 64, 47), (0, 3, 5), (3, 0, 5)] {
        for form in 0..4 {
            let w = || narrow(k, n).into_iter().nth(form);
            for (trans_a, alpha) in [(false, 1.0), (true, 0.5)] {
                let a = if trans_a { [k, m] } else { [m, k] };
                let kernel = Kernel::Gemm(Gemm { trans_a, trans_b: false, alpha, beta: 1.0 });
                agrees(&kernel, None, &[rows(1, &a), w(), rows(3, &[n])], (F32, &[m, n], Layout::RowMajor), 1e-5);
            }
            let kernel = Kernel::Gemm(Gemm { trans_a: false, trans_b: false, alpha: 1.0, beta: 1.0 });
            for (e, side) in [(&silu_then_add, vec![m, n]), (&odd, vec![m, 1])] {
                let inputs = [rows(1, &[m, k]), w(), rows(4, &side)];
                agrees(&kernel, Some(e), &inputs, (F32, &[m, n], Layout::RowMajor), 1e-5);
            }
        }
    }
    // One matrix for a batch.
    let kernel = Kernel::Gemm(Gemm { trans_a: false, trans_b: false, alpha: 1.0, beta: 1.0 });
    for w in narrow(40, 20) {
        agrees(&kernel, None, &[rows(1, &[2, 3, 40]), Some(w)], (F32, &[2, 3, 20], Layout::RowMajor), 1e-5);
    }
}

fn scaled(t: Tensor, by: f32) -> Tensor {
    let data = t.as_slice::<f32>().unwrap().iter().map(|v| v * by).collect::<Vec<f32>>();
    Tensor::new(t.shape(), data).unwrap()
}

#[test]
fn batched_products_broadcast() {
    let kernel = Kernel::Gemm(Gemm { trans_a: false, trans_b: true, alpha: 1.0, beta: 1.0 });
    let inputs = [rows(1, &[2, 1, 9, 5]), rows(2, &[3, 17, 5])];
    agrees(&kernel, None, &inputs, (F32, &[2, 3, 9, 17], Layout::RowMajor), 1e-5);
    let inputs = [rows(1, &[4, 3, 9, 5]), rows(2, &[17, 5])];
    agrees(&kernel, None, &inputs, (F32, &[4, 3, 9, 17], Layout::RowMajor), 1e-5);
}

struct Case {
    batch: usize,
    c: usize,
    m: usize,
    group: usize,
    size: (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    dilation: usize,
    pads: [usize; 4],
}

const CASES: &[Case] = &[
    Case { batch: 1, c: 16, m: 32, group: 1, size: (7, 9), kernel: (3, 3), stride: 1, dilation: 1, pads: [1; 4] },
    Case { batch: 2, c: 24, m: 20, group: 1, size: (8, 5), kernel: (1, 1), stride: 1, dilation: 1, pads: [0; 4] },
    Case {
        batch: 1,
        c: 33,
        m: 17,
        group: 1,
        size: (11, 6),
        kernel: (5, 3),
        stride: 2,
        dilation: 1,
        pads: [2, 0, 1, 2],
    },
    Case { batch: 1, c: 32, m: 32, group: 2, size: (6, 6), kernel: (3, 3), stride: 1, dilation: 2, pads: [2; 4] },
    Case { batch: 2, c: 40, m: 40, group: 40, size: (9, 7), kernel: (3, 3), stride: 2, dilation: 1, pads: [1; 4] },
    Case { batch: 1, c: 16, m: 16, group: 16, size: (6, 8), kernel: (5, 5), stride: 1, dilation: 1, pads: [2; 4] },
    Case { batch: 1, c: 3, m: 32, group: 1, size: (13, 12), kernel: (7, 7), stride: 2, dilation: 1, pads: [3; 4] },
    Case { batch: 1, c: 6, m: 9, group: 3, size: (5, 5), kernel: (3, 2), stride: 1, dilation: 1, pads: [0; 4] },
];

impl Case {
    fn geometry(&self) -> Conv2d {
        Conv2d {
            batch: self.batch,
            channels: (self.c, self.m),
            groups: self.group,
            input: self.size,
            kernel: self.kernel,
            stride: (self.stride, self.stride),
            dilation: (self.dilation, self.dilation),
            pads_begin: (self.pads[0], self.pads[1]),
            pads_end: (self.pads[2], self.pads[3]),
        }
    }

    fn kernel(&self) -> Conv {
        let pad = |i: usize| [Dim::from(self.pads[i]), Dim::from(self.pads[i + 2])];
        Conv {
            group: self.group,
            strides: vec![self.stride; 2],
            dilations: vec![self.dilation; 2],
            pads: vec![pad(0), pad(1)],
        }
    }
}

#[test]
fn convolutions_in_all_layouts() {
    let epilogues = [
        None,
        Some(expr("(f32, f32) max(add(a0, a1), 0.0:f32)")),
        Some(expr("(f32, f32) add(mul(a0, sigmoid(a0)), a1)")),
        Some(expr("(f32, f32) mul(a0, exp(neg(abs(a1))))")),
    ];
    for (i, case) in CASES.iter().enumerate() {
        let geometry = case.geometry();
        let (oh, ow) = geometry.output();
        let out = [case.batch, case.m, oh, ow];
        let x = random(i as u64, &[case.batch, case.c, case.size.0, case.size.1]);
        let w = scaled(random(i as u64 + 9, &[case.m, case.c / case.group, case.kernel.0, case.kernel.1]), 0.1);
        let weights = w.as_slice::<f32>().unwrap();
        let mut forms: Vec<(Stored, Stored, Layout)> =
            vec![(Stored::rows(x.clone()), Stored::rows(w.clone()), Layout::RowMajor)];
        if geometry.is_depthwise() {
            let packed = conv::pack_depthwise_weights(&geometry, weights);
            let w = Stored::packed(w.clone(), Layout::Depthwise16, &packed);
            forms.push((Stored::blocks(x.clone()), w, Layout::Nchw16c));
        } else if geometry.is_direct() {
            let w = Stored::packed(w.clone(), Layout::ConvBlocks16, &conv::pack_conv_weights(&geometry, weights));
            forms.push((Stored::blocks(x.clone()), w, Layout::Nchw16c));
        }
        if geometry.is_winograd() {
            let w = Stored::packed(w.clone(), Layout::Winograd16, &conv::pack_winograd_weights(&geometry, weights));
            forms.push((Stored::blocks(x.clone()), w, Layout::Nchw16c));
        }
        if case.group == 1 {
            let w = Stored::packed(w.clone(), Layout::ConvFirst16, &conv::pack_first_weights(&geometry, weights));
            forms.push((Stored::rows(x.clone()), w, Layout::Nchw16c));
        }
        let kernel = Kernel::Conv(case.kernel());
        for (x, w, layout) in forms {
            let (x, w) = (std::cell::RefCell::new(Some(x)), std::cell::RefCell::new(Some(w)));
            for e in &epilogues {
                for full in [false, true] {
                    let side = match (e, full, layout) {
                        (None, ..) => None,
                        (_, false, _) => rows(5, &[1, case.m, 1, 1]),
                        (_, true, Layout::RowMajor) => rows(6, &out),
                        (_, true, _) => Some(Stored::blocks(random(6, &out))),
                    };
                    let mut inputs = vec![x.take(), w.take(), rows(7, &[case.m])];
                    inputs.extend(side.map(Some));
                    agrees(&kernel, e.as_ref(), &inputs, (F32, &out, layout), 1e-5);
                    let mut back = inputs.into_iter();
                    x.replace(back.next().flatten());
                    w.replace(back.next().flatten());
                }
            }
        }
    }
}

#[test]
fn poolings_in_both_layouts() {
    for kind in [PoolKind::Max, PoolKind::Average { count_pad: false }, PoolKind::Average { count_pad: true }] {
        for (kernel, stride, pads, out) in [
            (vec![3, 3], vec![2, 2], [[1, 1], [1, 1]], [1, 20, 4, 5]),
            (vec![2, 3], vec![1, 2], [[0, 1], [1, 0]], [1, 20, 7, 4]),
        ] {
            let pads = pads.iter().map(|[a, b]| [Dim::from(*a as i64), Dim::from(*b as i64)]).collect();
            let k = Kernel::Pool(Pool { kind, kernel, strides: stride, dilations: vec![1, 1], pads });
            let x = random(2, &[1, 20, 7, 9]);
            agrees(&k, None, &[Some(Stored::rows(x.clone()))], (F32, &out, Layout::RowMajor), 1e-6);
            agrees(&k, None, &[Some(Stored::blocks(x))], (F32, &out, Layout::Nchw16c), 1e-6);
        }
    }
}

#[test]
fn reductions_and_norms() {
    let shape = [3, 20, 5, 7];
    let ops = [ReduceOp::Sum, ReduceOp::Mean, ReduceOp::Max, ReduceOp::Min, ReduceOp::SumSquare, ReduceOp::L1];
    for op in ops.into_iter().chain([ReduceOp::L2, ReduceOp::LogSumExp, ReduceOp::Prod]) {
        for (axes, out) in [(vec![3], vec![3, 20, 5]), (vec![1, 2], vec![3, 7]), (vec![0, 1, 2, 3], vec![])] {
            let tolerance = if op == ReduceOp::Prod { 1e-3 } else { 1e-5 };
            let x = if op == ReduceOp::Prod { scaled(random(1, &shape), 0.5) } else { random(1, &shape) };
            let k = Kernel::Reduce(Reduce::plain(op, DType::F32, axes));
            agrees(&k, None, &[Some(Stored::rows(x))], (F32, &out, Layout::RowMajor), tolerance);
        }
    }
    // Squares and magnitudes, and a program over the result with a side.
    let (square, magnitude) = (expr("(f32) mul(a0, a0)"), expr("(f32) abs(a0)"));
    let late = expr("(f32, f32) mul(a0, a1)");
    for (op, map) in [
        (ReduceOp::Sum, &square),
        (ReduceOp::Mean, &square),
        (ReduceOp::Mean, &expr("(f32) pow(a0, 2.0:f32)")),
        (ReduceOp::Sum, &magnitude),
        (ReduceOp::Max, &magnitude),
    ] {
        for (axes, out) in [(vec![3], vec![3, 20, 5]), (vec![1, 2], vec![3, 7])] {
            let k = Kernel::Reduce(Reduce { op, axes, map: map.clone() });
            agrees(&k, None, &[rows(1, &shape)], (F32, &out, Layout::RowMajor), 1e-5);
            let sides = [rows(1, &shape), rows(2, &[out[out.len() - 1]])];
            agrees(&k, Some(&late), &sides, (F32, &out, Layout::RowMajor), 1e-5);
        }
    }
    for op in [ReduceOp::Mean, ReduceOp::Max] {
        let k = Kernel::Reduce(Reduce::plain(op, DType::F32, vec![2, 3]));
        let x = Some(Stored::blocks(random(1, &shape)));
        agrees(&k, None, &[x], (F32, &[3, 20, 1, 1], Layout::RowMajor), 1e-5);
    }
    for (axis, end) in [(3, 4), (1, 2), (1, 4)] {
        for log in [false, true] {
            let k = Kernel::Softmax(Softmax { axis, end, log });
            agrees(&k, None, &[rows(1, &shape)], (F32, &shape, Layout::RowMajor), 1e-5);
        }
    }
    let norms = [
        (NormKind::Layer { axis: 3 }, vec![7], vec![7]),
        (NormKind::Layer { axis: 2 }, vec![5, 7], vec![5, 7]),
        (NormKind::Rms { axis: 3 }, vec![7], vec![]),
        (NormKind::Group { groups: 20 }, vec![20], vec![20]),
        (NormKind::Group { groups: 4 }, vec![20], vec![20]),
    ];
    for (kind, scale, bias) in norms {
        let k = Kernel::Norm(Norm { kind, epsilon: 1e-5 });
        let mut inputs = vec![rows(1, &shape), rows(2, &scale)];
        if !bias.is_empty() {
            inputs.push(rows(3, &bias));
        }
        agrees(&k, None, &inputs, (F32, &shape, Layout::RowMajor), 1e-5);
    }
}

#[test]
fn attention_with_masks_and_groups() {
    for (h, hk, s, t, mask, causal) in
        [(4, 4, 5, 5, None, false), (4, 2, 3, 9, Some(vec![1, 1, 1, 9]), false), (2, 1, 6, 6, None, true)]
    {
        let k = Kernel::Attention(Attention { scale: 0.3, causal });
        let mut inputs = vec![rows(1, &[2, h, s, 8]), rows(2, &[2, hk, t, 8]), rows(3, &[2, hk, t, 6])];
        if let Some(m) = mask {
            inputs.push(rows(4, &m));
        }
        agrees(&k, None, &inputs, (F32, &[2, h, s, 6], Layout::RowMajor), 1e-5);
    }
}

#[test]
fn moves() {
    let row_major = Layout::RowMajor;
    let shape = [3, 5, 7];
    agrees(&Kernel::Transpose { perm: vec![2, 0, 1] }, None, &[rows(1, &shape)], (F32, &[7, 3, 5], row_major), 0.0);
    let slice = Slice { starts: vec![Dim::from(2i64), Dim::from(1i64), Dim::from(6i64)], steps: vec![-1, 2, -3] };
    agrees(&Kernel::Slice(slice), None, &[rows(1, &shape)], (F32, &[3, 2, 3], row_major), 0.0);
    let parts = [rows(1, &[3, 2, 4]), rows(2, &[3, 0, 4]), rows(3, &[3, 5, 4])];
    agrees(&Kernel::Concat { axis: 1 }, None, &parts, (F32, &[3, 7, 4], row_major), 0.0);
    let indices = || Some(Stored::rows(Tensor::new([2, 2], vec![0i64, -1, 3, -5]).unwrap()));
    agrees(&Kernel::Gather { axis: 1 }, None, &[rows(1, &shape), indices()], (F32, &[3, 2, 2, 7], row_major), 0.0);
    let blocks = |seed, c| Some(Stored::blocks(random(seed, &[2, c, 3, 3])));
    let parts = [blocks(1, 16), blocks(2, 32), blocks(3, 7)];
    agrees(&Kernel::Concat { axis: 1 }, None, &parts, (F32, &[2, 55, 3, 3], Layout::Nchw16c), 0.0);
    let starts = vec![Dim::from(0i64), Dim::from(16i64), Dim::from(0i64), Dim::from(0i64)];
    let slice = Kernel::Slice(Slice { starts, steps: vec![1; 4] });
    agrees(&slice, None, &[blocks(1, 40)], (F32, &[2, 24, 3, 3], Layout::Nchw16c), 0.0);
    agrees(&Kernel::Reorder, None, &[rows(1, &[2, 19, 3, 5])], (F32, &[2, 19, 3, 5], Layout::Nchw16c), 0.0);
    agrees(&Kernel::Reorder, None, &[blocks(1, 19)], (F32, &[2, 19, 3, 3], row_major), 0.0);
}

#[test]
fn values_out_of_range_are_errors() {
    let isa = Isa::detect();
    let indices = |i: i64| Some(Stored::rows(Tensor::vector(vec![i])));
    let out: (DType, &[usize], Layout) = (F32, &[1, 7], Layout::RowMajor);
    for i in [5, -6, i64::MIN, i64::MAX] {
        let inputs = [rows(1, &[5, 7]), indices(i)];
        assert!(dispatched(isa, &Serial, &Kernel::Gather { axis: 0 }, None, &inputs, out).is_err(), "{i}");
    }
    let slice = |start: i64, step| {
        Kernel::Slice(Slice { starts: vec![Dim::from(start), Dim::from(0i64)], steps: vec![step, 1] })
    };
    for (start, step) in [(5, 1), (-1, 1), (i64::MAX, 1)] {
        assert!(dispatched(isa, &Serial, &slice(start, step), None, &[rows(1, &[5, 7])], out).is_err());
    }
}

#[test]
fn resampling_in_both_layouts() {
    let spec = |mode, coordinate, scales| Resize {
        axes: vec![2, 3],
        scales,
        mode,
        coordinate,
        antialias: false,
        exclude_outside: false,
        roi: vec![],
        extrapolation: 0.0,
    };
    let modes = [
        (ResizeMode::Linear, Coordinate::HalfPixel),
        (ResizeMode::Linear, Coordinate::AlignCorners),
        (ResizeMode::Linear, Coordinate::PytorchHalfPixel),
        (ResizeMode::Linear, Coordinate::HalfPixelSymmetric),
        (ResizeMode::Nearest(Nearest::Floor), Coordinate::Asymmetric),
        (ResizeMode::Nearest(Nearest::RoundPreferFloor), Coordinate::HalfPixel),
    ];
    for (mode, coordinate) in modes {
        // Scales that make no whole extents enter the formulas as they are.
        let cases = [
            (None, [1, 20, 8, 12]),
            (None, [1, 20, 3, 5]),
            (Some(vec![0.6, 0.75]), [1, 20, 2, 4]),
            (Some(vec![0.3, 0.5]), [1, 20, 1, 3]),
        ];
        for (scales, out) in cases {
            let k = Kernel::Resize(spec(mode, coordinate, scales));
            agrees(&k, None, &[rows(1, &[1, 20, 4, 6])], (F32, &out, Layout::RowMajor), 1e-5);
            let x = Some(Stored::blocks(random(1, &[1, 20, 4, 6])));
            agrees(&k, None, &[x], (F32, &out, Layout::Nchw16c), 1e-5);
        }
    }
}

#[test]
fn resampling_of_any_axes() {
    let cases: [(&[usize], &[usize], &[usize]); 7] = [
        (&[1, 2, 3, 4, 5], &[2, 3, 4], &[1, 2, 5, 8, 3]),
        (&[2, 3, 4, 4], &[0, 1, 2], &[3, 5, 2, 4]),
        (&[3, 4, 5], &[0], &[7, 4, 5]),
        (&[4, 5], &[0, 1], &[6, 3]),
        (&[5], &[0], &[9]),
        // Positions at halves that f32 moves off them.
        (&[7], &[0], &[2]),
        (&[3, 1, 2, 2], &[0], &[3, 1, 2, 2]),
    ];
    for (shape, axes, out) in cases {
        let nearest = [Nearest::Floor, Nearest::RoundPreferCeil].map(ResizeMode::Nearest);
        for mode in [ResizeMode::Linear, nearest[0], nearest[1]] {
            let k = Kernel::Resize(Resize {
                axes: axes.to_vec(),
                scales: (shape == out).then(|| vec![1.3]),
                mode,
                coordinate: Coordinate::Asymmetric,
                antialias: false,
                exclude_outside: false,
                roi: vec![],
                extrapolation: 0.0,
            });
            agrees(&k, None, &[rows(1, shape)], (F32, out, Layout::RowMajor), 1e-5);
        }
    }
}
