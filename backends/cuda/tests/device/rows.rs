//! Reductions, normalisations and moves, over awkward shapes.

use crate::check::Check;
use crate::numbers::{Rng, random, tensor};
use planc_cuda::kernels::supports;
use planc_kir::{
    ArgReduce, BinOp, ExprBuilder, Kernel, Norm, NormKind, Pad, PadMode, Reduce, ReduceOp, Slice, Softmax,
};
use planc_tensor::{DType, Dim};

const OPS: [ReduceOp; 10] = [
    ReduceOp::Sum,
    ReduceOp::Mean,
    ReduceOp::Prod,
    ReduceOp::Max,
    ReduceOp::Min,
    ReduceOp::SumSquare,
    ReduceOp::L1,
    ReduceOp::L2,
    ReduceOp::LogSum,
    ReduceOp::LogSumExp,
];

fn reduced(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect()
}

#[test]
fn reductions() {
    let cases: [(&[usize], &[usize]); 10] = [
        (&[3, 40], &[1]),
        (&[40, 3], &[0]),
        (&[2, 7, 5], &[1]),
        (&[2, 3, 4, 5], &[1, 3]),
        (&[3, 1100], &[1]),
        (&[1, 1], &[0, 1]),
        (&[100, 4], &[0]),
        (&[2, 9], &[]),
        (&[5, 8], &[1]),
        (&[4, 7, 7], &[1, 2]),
    ];
    for (seed, (shape, axes)) in cases.into_iter().enumerate() {
        for op in OPS {
            for t in [DType::F32, DType::F16, DType::I32, DType::U8, DType::I64, DType::F64] {
                let kernel = Kernel::Reduce(Reduce::plain(op, t, axes.to_vec()));
                if supports(&kernel, None, &[Some(t)], &[Some(t)]).is_err() {
                    continue;
                }
                // Logarithms want positive sums, products numbers near 1.
                let mut rng = Rng::new(seed as u64);
                let near = matches!(op, ReduceOp::LogSum | ReduceOp::Prod) && t.is_float();
                let scale = if t.is_float() { 1.0 } else { 4.0 };
                let number = move || if near { 1.0 + rng.number() / 128.0 } else { rng.number() * scale };
                let x = tensor(t, shape, std::iter::repeat_with(number));
                let tolerance = match t {
                    DType::F32 => 1e-4,
                    DType::F16 => 1e-2,
                    DType::F64 => 1e-12,
                    _ => 0.0,
                };
                Check::new(&kernel, tolerance).run(&[Some(x)], (t, &reduced(shape, axes)));
            }
        }
    }
}

#[test]
fn reductions_of_special_numbers() {
    let x = [1.0, f64::NAN, 2.0, f64::INFINITY, f64::NEG_INFINITY, 0.0, f64::NEG_INFINITY, f64::NEG_INFINITY];
    for op in [ReduceOp::Max, ReduceOp::Min, ReduceOp::LogSumExp, ReduceOp::Sum] {
        let kernel = Kernel::Reduce(Reduce::plain(op, DType::F32, vec![1]));
        for width in [1, 2, 4] {
            let shape = [8 / width, width];
            let x = tensor(DType::F32, &shape, x.into_iter());
            Check::new(&kernel, 1e-6).run(&[Some(x)], (DType::F32, &shape[..1]));
        }
        if op != ReduceOp::LogSumExp {
            // Nothing is reduced to what leaves others as they are.
            let nothing = tensor(DType::F32, &[3, 0], std::iter::empty());
            Check::new(&kernel, 0.0).run(&[Some(nothing)], (DType::F32, &[3]));
        }
    }
}

#[test]
fn epilogues_of_reductions() {
    let mut b = ExprBuilder::new(&[DType::F32, DType::F32]);
    let (x, side) = (b.arg(0), b.arg(1));
    let sum = b.binary(BinOp::Add, x, side);
    let r = b.cast(DType::F16, sum);
    let e = b.finish(r);
    let kernel = Kernel::Reduce(Reduce::plain(ReduceOp::Mean, DType::F32, vec![2]));
    let inputs = [Some(random(DType::F32, &[2, 3, 50], 1)), Some(random(DType::F32, &[3], 2))];
    let c = Check { epilogue: Some(&e), ..Check::new(&kernel, 1e-3) };
    c.run(&inputs, (DType::F16, &[2, 3]));
}

#[test]
fn prologues_of_reductions() {
    let mut b = ExprBuilder::new(&[DType::F16, DType::F32]);
    let (x, y) = (b.arg(0), b.arg(1));
    let x = b.cast(DType::F32, x);
    let r = b.binary(BinOp::Mul, x, y);
    let map = b.finish(r);
    type Case = (&'static [usize], &'static [usize], &'static [usize], &'static [usize]);
    let cases: [Case; 4] = [
        (&[2, 3, 50], &[50], &[2], &[2, 3]),
        (&[2, 1, 5], &[4, 1], &[0, 1], &[5]),
        (&[7], &[6, 1], &[0, 1], &[]),
        (&[2, 3, 4], &[2, 3, 4], &[1], &[2, 4]),
    ];
    for (x, y, axes, out) in cases {
        for op in [ReduceOp::Sum, ReduceOp::Max, ReduceOp::L1] {
            let kernel = Kernel::Reduce(Reduce { op, axes: axes.to_vec(), map: map.clone() });
            let inputs = [Some(random(DType::F16, x, 1)), Some(random(DType::F32, y, 2))];
            Check::new(&kernel, 1e-5).run(&inputs, (DType::F32, out));
        }
    }
}

#[test]
fn positions_of_extrema() {
    for (max, last) in [(true, false), (true, true), (false, false), (false, true)] {
        for (shape, axis) in [(&[3, 50][..], 1), (&[50, 3], 0), (&[2, 1500], 1), (&[4, 5], 1), (&[2, 6, 3], 1)] {
            let kernel = Kernel::ArgReduce(ArgReduce { max, axis, last });
            for t in [DType::F32, DType::I32, DType::F16, DType::I64] {
                // Few different values, so that there are ties; NaN among floats.
                let mut rng = Rng::new(3);
                let number = move || {
                    let v = (rng.number() * 2.0).round();
                    if v == 4.0 && t.is_float() { f64::NAN } else { v }
                };
                let x = tensor(t, shape, std::iter::repeat_with(number));
                let out = reduced(shape, &[axis]);
                Check::new(&kernel, 0.0).run(&[Some(x)], (DType::I64, &out));
            }
        }
    }
}

#[test]
fn softmax() {
    let cases: [(&[usize], usize, usize); 6] =
        [(&[3, 5], 1, 2), (&[2, 70], 1, 2), (&[2, 1300], 1, 2), (&[2, 9, 4], 1, 2), (&[2, 3, 4], 1, 3), (&[6], 0, 1)];
    for (shape, axis, end) in cases {
        for log in [false, true] {
            for (t, tolerance) in [(DType::F32, 2e-6), (DType::F16, 2e-3)] {
                let kernel = Kernel::Softmax(Softmax { axis, end, log });
                Check::new(&kernel, tolerance).run(&[Some(random(t, shape, 4))], (t, shape));
            }
        }
    }
}

#[test]
fn normalisations() {
    let cases: [(&[usize], NormKind, &[usize]); 7] = [
        (&[3, 40], NormKind::Layer { axis: 1 }, &[40]),
        (&[2, 3, 4], NormKind::Layer { axis: 1 }, &[3, 4]),
        (&[2, 3, 4], NormKind::Layer { axis: 1 }, &[4]),
        (&[2, 1200], NormKind::Rms { axis: 1 }, &[1200]),
        (&[2, 6, 5, 3], NormKind::Group { groups: 3 }, &[6]),
        (&[2, 6, 50], NormKind::Group { groups: 6 }, &[6]),
        (&[5, 6], NormKind::Layer { axis: 1 }, &[6]),
    ];
    for (shape, kind, affine) in cases {
        for (t, tolerance) in [(DType::F32, 1e-5), (DType::F16, 1e-2)] {
            let kernel = Kernel::Norm(Norm { kind, epsilon: 1e-5 });
            let symbolic = !matches!(kind, NormKind::Group { .. });
            let all = [Some(random(t, shape, 5)), Some(random(t, affine, 6)), Some(random(t, affine, 7))];
            for n in 1..=3 {
                let c = Check { symbolic, ..Check::new(&kernel, tolerance) };
                c.run(&all[..n], (t, shape));
            }
            let c = Check { symbolic, ..Check::new(&kernel, tolerance) };
            c.run(&[all[0].clone(), None, all[2].clone()], (t, shape));
        }
    }
}

const BYTES: [DType; 4] = [DType::U8, DType::F16, DType::F32, DType::I64];

#[test]
fn transpositions() {
    let cases: [(&[usize], &[usize]); 6] = [
        (&[3, 5], &[1, 0]),
        (&[2, 3, 4, 16], &[0, 2, 1, 3]),
        (&[2, 3, 4], &[2, 0, 1]),
        (&[1, 7, 1, 2], &[3, 2, 1, 0]),
        (&[4, 4], &[0, 1]),
        (&[0, 3], &[1, 0]),
    ];
    for t in BYTES {
        for (shape, perm) in cases {
            let kernel = Kernel::Transpose { perm: perm.to_vec() };
            let out: Vec<usize> = perm.iter().map(|p| shape[*p]).collect();
            Check::new(&kernel, 0.0).run(&[Some(random(t, shape, 8))], (t, &out));
        }
    }
}

#[test]
fn slices() {
    type Case = (&'static [usize], &'static [i64], &'static [i64], &'static [usize]);
    let cases: [Case; 6] = [
        (&[10], &[2], &[1], &[5]),
        (&[4, 16], &[1, 4], &[1, 1], &[2, 8]),
        (&[5, 6], &[4, 5], &[-1, -2], &[5, 3]),
        (&[2, 8, 3], &[0, 1, 0], &[1, 3, 1], &[2, 2, 3]),
        (&[6, 4], &[2, 0], &[1, 1], &[3, 4]),
        (&[3, 3], &[0, 0], &[1, 1], &[0, 3]),
    ];
    for t in BYTES {
        for (shape, starts, steps, out) in cases {
            let starts = starts.iter().map(|s| Dim::from(*s)).collect();
            let kernel = Kernel::Slice(Slice { starts, steps: steps.to_vec() });
            // Steps backwards want constant strides.
            let symbolic = steps.iter().all(|s| *s > 0);
            let c = Check { symbolic, ..Check::new(&kernel, 0.0) };
            c.run(&[Some(random(t, shape, 9))], (t, out));
        }
    }
}

#[test]
fn concatenations() {
    type Case = (usize, &'static [&'static [usize]], &'static [usize]);
    let cases: [Case; 4] = [
        (0, &[&[3], &[4], &[0]], &[7]),
        (1, &[&[2, 8, 2], &[2, 4, 2]], &[2, 12, 2]),
        (1, &[&[3, 1], &[3, 2], &[3, 5]], &[3, 8]),
        (2, &[&[2, 2, 16], &[2, 2, 16]], &[2, 2, 32]),
    ];
    for t in BYTES {
        for (axis, shapes, out) in cases {
            let kernel = Kernel::Concat { axis };
            let inputs: Vec<_> = shapes.iter().enumerate().map(|(i, s)| Some(random(t, s, i as u64))).collect();
            let c = Check { symbolic: false, ..Check::new(&kernel, 0.0) };
            c.run(&inputs, (t, out));
        }
    }
}

#[test]
fn paddings() {
    type Case = (&'static [usize], &'static [i64], &'static [usize]);
    let cases: [Case; 5] = [
        (&[5], &[2], &[9]),
        (&[2, 3, 4], &[0, 1, 2], &[2, 5, 8]),
        (&[2, 4, 16], &[0, 1, 0], &[2, 6, 16]),
        (&[6, 5], &[-1, 2], &[4, 8]),
        (&[1, 3, 8], &[1, 0, 0], &[2, 3, 8]),
    ];
    for t in BYTES {
        for mode in [PadMode::Constant, PadMode::Edge, PadMode::Reflect, PadMode::Wrap] {
            for (shape, before, out) in cases {
                let before = before.iter().map(|b| Dim::from(*b)).collect();
                let kernel = Kernel::Pad(Pad { before, mode });
                let x = Some(random(t, shape, 10));
                Check::new(&kernel, 0.0).run(std::slice::from_ref(&x), (t, out));
                if mode == PadMode::Constant {
                    Check::new(&kernel, 0.0).run(&[x, Some(random(t, &[], 11))], (t, out));
                }
            }
        }
    }
}

#[test]
fn tiles() {
    let cases: [(&[usize], &[usize]); 4] =
        [(&[3], &[9]), (&[2, 3], &[2, 6]), (&[2, 1, 8], &[4, 3, 8]), (&[2, 3], &[2, 3])];
    for t in BYTES {
        for (shape, out) in cases {
            let kernel = Kernel::Tile;
            Check::new(&kernel, 0.0).run(&[Some(random(t, shape, 12))], (t, out));
        }
    }
}
