//! Scalar programs: every operation of every type, and how operands broadcast.

use crate::check::{ARCH, Case, Check, dims};
use crate::numbers::{Rng, random, tensor};
use planc_cuda::expr;
use planc_cuda::kernels::{Request, Value, generate};
use planc_kir::{BinOp, Expr, ExprBuilder, Kernel, Reduce, ReduceOp, UnOp};
use planc_tensor::{DType, Dim, Tensor};

const TYPES: [DType; 12] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::F64,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
];

/// Numbers that are special for some type or operation.
const SPECIAL: [f64; 30] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.0,
    7.0,
    -7.0,
    8.0,
    31.0,
    33.0,
    64.0,
    127.0,
    -128.0,
    255.0,
    -32768.0,
    65535.0,
    2147483647.0,
    -2147483648.0,
    4294967295.0,
    1e10,
    -1e10,
    1e-3,
    0.999,
    88.0,
    -100.0,
];

fn values(t: DType) -> Vec<f64> {
    let mut v = SPECIAL.to_vec();
    if t.is_float() {
        v.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, -1e-30, 3e30, 17.25, -9.75, 0.3, 20.0, -3.2]);
    }
    v
}

/// Relative error of a 24-bit, or 16-bit, float.
fn ulp(t: DType) -> f64 {
    match t {
        DType::F32 => 1.2e-7,
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 0.0,
    }
}

/// Whether an angle is larger than those that are reduced precisely.
fn beyond(op: &str, x: f64) -> bool {
    matches!(op, "sin" | "cos" | "tan") && x.is_finite() && x.abs() > 2f64.powi(48)
}

/// Compares a program over all pairs of special values, relatively to each element.
#[track_caller]
fn pairs(name: &str, e: Expr, tolerance: f64) {
    let t = e.args()[0];
    let v = values(t);
    let n = v.len();
    let x = tensor(t, &[n, n], (0..n * n).map(|i| v[i / n]));
    let y = tensor(t, &[n, n], (0..n * n).map(|i| v[i % n]));
    let kernel = Kernel::Map(e.clone());
    let c = Check { symbolic: false, ..Check::new(&kernel, 0.0) };
    let inputs: Vec<Option<Tensor>> = [x, y].into_iter().take(e.args().len()).map(Some).collect();
    let out = (e.result_type(), &[n, n][..]);
    c.judge(&inputs, out, |want, got| {
        let mut worst = 0f64;
        for i in 0..n * n {
            let (w, g, a, b) = (want[i], got[i], v[i / n], v[i % n]);
            let same = w == g || w.is_nan() && g.is_nan() || beyond(name, a);
            if same || w.abs() < 1e-37 && g.abs() < 1.2e-37 {
                continue;
            }
            let share = (w - g).abs() / (tolerance * w.abs());
            if share.is_nan() || share > 1.0 {
                return Err(format!("{name} {t} of {a:e}, {b:e} is {g:e}, not {w:e}"));
            }
            worst = worst.max(share);
        }
        Ok(worst)
    });
}

#[test]
fn binary_operations() {
    for t in TYPES {
        for op in BinOp::ALL {
            let mut b = ExprBuilder::new(&[t, t]);
            let (x, y) = (b.arg(0), b.arg(1));
            let Ok(r) = b.push(planc_kir::Inst::Binary(*op, x, y)) else { continue };
            let e = b.finish(r);
            if expr::supports(&e).is_err() {
                continue;
            }
            let tolerance = if *op == BinOp::Pow { ulp(t) } else { 0.0 };
            pairs(op.name(), e, tolerance);
        }
    }
}

#[test]
fn operations_of_bools() {
    for op in [BinOp::And, BinOp::Or, BinOp::Xor, BinOp::Eq, BinOp::Ne] {
        let mut b = ExprBuilder::new(&[DType::Bool, DType::Bool]);
        let (x, y) = (b.arg(0), b.arg(1));
        let r = b.binary(op, x, y);
        let not = b.unary(UnOp::Not, r);
        let r = b.select(x, not, y);
        pairs(op.name(), b.finish(r), 0.0);
    }
}

#[test]
fn unary_operations() {
    for t in TYPES {
        for op in UnOp::ALL {
            let mut b = ExprBuilder::new(&[t]);
            let x = b.arg(0);
            let Ok(r) = b.push(planc_kir::Inst::Unary(*op, x)) else { continue };
            let e = b.finish(r);
            if expr::supports(&e).is_err() {
                continue;
            }
            let exact = matches!(
                op,
                UnOp::Neg | UnOp::Abs | UnOp::Sign | UnOp::Not | UnOp::Floor | UnOp::Ceil | UnOp::Round | UnOp::Sqrt
            );
            pairs(op.name(), e, if exact { 0.0 } else { 4.0 * ulp(t) });
        }
    }
}

#[test]
fn casts() {
    for from in TYPES.into_iter().chain([DType::Bool]) {
        for to in TYPES.into_iter().chain([DType::Bool]) {
            let mut b = ExprBuilder::new(&[from]);
            let x = b.arg(0);
            let r = b.cast(to, x);
            pairs(&format!("cast to {to}"), b.finish(r), 0.0);
        }
    }
}

#[test]
fn functions_over_their_range() {
    for op in UnOp::ALL {
        let mut b = ExprBuilder::new(&[DType::F32]);
        let x = b.arg(0);
        let Ok(r) = b.push(planc_kir::Inst::Unary(*op, x)) else { continue };
        let kernel = Kernel::Map(b.finish(r));
        let n = 3000;
        let mut rng = Rng::new(7);
        let mut wide = || (rng.number() + 2.1) * 10f64.powf(rng.number() * 8.0);
        let x: Vec<f64> = (0..n).map(|i| if i < 2000 { (f64::from(i) - 1000.0) * 0.011 } else { wide() }).collect();
        let inputs = [Some(tensor(DType::F32, &[n as usize], x.iter().copied()))];
        let c = Check { symbolic: false, ..Check::new(&kernel, 0.0) };
        let out = (kernel_type(&kernel), &[n as usize][..]);
        c.judge(&inputs, out, |want, got| {
            let mut worst = 0f64;
            for (x, (w, g)) in x.iter().zip(want.iter().zip(got)) {
                let same = w == g || w.is_nan() && g.is_nan() || w.abs() < 1e-37 && g.abs() < 1.2e-37;
                if same || beyond(op.name(), *x) {
                    continue;
                }
                let share = (w - g).abs() / (5e-7 * w.abs());
                if share.is_nan() || share > 1.0 {
                    return Err(format!("{} of {x:e} is {g:e}, not {w:e}", op.name()));
                }
                worst = worst.max(share);
            }
            Ok(worst)
        });
    }
}

fn kernel_type(kernel: &Kernel) -> DType {
    match kernel {
        Kernel::Map(e) => e.result_type(),
        _ => panic!("a map"),
    }
}

/// `a b + c` of a type.
fn blend(t: DType) -> Kernel {
    let mut b = ExprBuilder::new(&[t, t, t]);
    let (x, y, z) = (b.arg(0), b.arg(1), b.arg(2));
    let product = b.binary(BinOp::Mul, x, y);
    let r = b.binary(BinOp::Add, product, z);
    Kernel::Map(b.finish(r))
}

#[test]
fn operands_broadcast() {
    type Shapes = [&'static [usize]; 4];
    let cases: [Shapes; 9] = [
        [&[3, 5, 7], &[3, 5, 7], &[], &[3, 5, 7]],
        [&[2, 3, 8], &[8], &[3, 1], &[2, 3, 8]],
        [&[2, 1, 3, 16], &[4, 1, 1], &[2, 4, 3, 16], &[2, 4, 3, 16]],
        [&[1], &[1, 1], &[], &[1, 1]],
        [&[0, 4], &[4], &[1, 4], &[0, 4]],
        [&[1037], &[1037], &[1], &[1037]],
        [&[5, 1, 3], &[1, 4, 1], &[5, 4, 3], &[5, 4, 3]],
        [&[2, 2, 2, 2, 2, 2], &[2, 1, 2, 1, 2, 1], &[1, 2, 1, 2, 1, 2], &[2, 2, 2, 2, 2, 2]],
        [&[600, 12], &[600, 1], &[12], &[600, 12]],
    ];
    for t in [DType::F32, DType::F16, DType::U8, DType::I64, DType::I16, DType::BF16] {
        let kernel = blend(t);
        for (seed, [x, y, z, out]) in cases.iter().enumerate() {
            let s = seed as u64;
            let inputs = [random(t, x, s), random(t, y, s + 50), random(t, z, s + 90)].map(Some);
            Check::new(&kernel, 0.0).run(&inputs, (t, out));
        }
    }
}

/// Extents that are symbols where they are names.
fn extents(shape: &[&str]) -> Vec<Dim> {
    shape.iter().map(|d| planc_tensor::parse_dim(d).expect("an extent")).collect()
}

#[test]
fn operands_broadcast_by_symbols() {
    type Shapes = [&'static [&'static str]; 4];
    let cases: [(Shapes, [i64; 2]); 7] = [
        ([&["N"], &["M"], &["N"], &["max(N, M)"]], [5, 5]),
        ([&["N"], &["M"], &["N"], &["max(N, M)"]], [5, 1]),
        ([&["N"], &["M"], &["8"], &["8"]], [8, 1]),
        ([&["2", "N", "8"], &["1", "min(4, N)", "8"], &["8"], &["2", "N", "8"]], [3, 0]),
        ([&["2", "N", "8"], &["1", "min(4, N)", "8"], &["8"], &["2", "N", "8"]], [1, 0]),
        ([&["N", "3", "M"], &["M", "1"], &["1"], &["N", "3", "M"]], [2, 3]),
        ([&["N", "3", "M"], &["M", "1"], &["1"], &["N", "3", "M"]], [7, 1]),
    ];
    for t in [DType::F32, DType::F16] {
        for ([x, y, z, out], [n, m]) in &cases {
            let mut case = Case::new(blend(t), t, &[], &[]);
            case.inputs = [x, y, z].map(|s| (t, extents(s))).to_vec();
            case.output.1 = extents(out);
            case.symbols = vec![("N", *n), ("M", *m)];
            case.check();
        }
    }
    // What does not broadcast is noticed before a kernel runs.
    for symbols in [[("N", 5), ("M", 4)], [("N", 0), ("M", 1)]] {
        let mut case = Case::new(blend(DType::F32), DType::F32, &[], &[]);
        case.inputs = [&["N"][..], &["M"], &["N"]].map(|s| (DType::F32, extents(s))).to_vec();
        case.output.1 = extents(&["max(N, M)"]);
        case.symbols = symbols.to_vec();
        let launches = case.generate().expect("it is generated").launches;
        let bind = |n: &str| symbols.iter().find(|(s, _)| *s == n).map(|(_, v)| *v);
        let fits = |(own, extent): &(Dim, Dim)| own.eval(&bind) == Some(1) || own.eval(&bind) == extent.eval(&bind);
        assert!(!launches[0].1.broadcasts.iter().all(fits), "{symbols:?}");
    }
}

#[test]
fn prologues_of_reductions_broadcast_by_symbols() {
    let Kernel::Map(map) = blend(DType::F32) else { panic!("a map") };
    let kernel = Kernel::Reduce(Reduce { op: ReduceOp::Sum, axes: vec![1], map });
    for m in [1, 40] {
        let mut case = Case::new(kernel.clone(), DType::F32, &[], &[]);
        case.inputs = [&["N", "40"][..], &["N", "M"], &["K", "40"]].map(|s| (DType::F32, extents(s))).to_vec();
        case.output.1 = extents(&["max(K, N)"]);
        case.symbols = vec![("N", 3), ("M", m), ("K", 1)];
        case.check();
    }
}

#[test]
fn what_cannot_be_is_declined() {
    let kernel = blend(DType::F32);
    let value = |d: usize| Some(Value { dtype: DType::F32, shape: dims(&[d]) });
    let request = |inputs: [Option<Value>; 3], out: usize| {
        let outputs = [value(out)];
        generate(&Request { kernel: &kernel, epilogue: None, inputs: &inputs, outputs: &outputs, arch: ARCH })
    };
    assert!(request([value(4), value(3), value(4)], 4).unwrap_err().contains("does not broadcast"));
    let large = || value(1 << 31);
    assert!(request([large(), large(), large()], 1 << 31).unwrap_err().contains("too many"));
}
