//! Products of awkward extents against the interpreter of kernel IR.

use crate::check::{Case, dims};
use planc_cuda::ptx::Op;
use planc_kir::{BinOp, Expr, ExprBuilder, Gemm, Kernel, UnOp};
use planc_tensor::{DType, Dim};

fn gemm(trans_a: bool, trans_b: bool, alpha: f32, beta: f32) -> Kernel {
    Kernel::Gemm(Gemm { trans_a, trans_b, alpha, beta })
}

/// A product of `batch` matrices, stored as the flags say.
pub fn product(t: DType, batch: &[usize], [m, n, k]: [usize; 3], trans_a: bool, trans_b: bool) -> Case {
    let of = |matrix: [usize; 2]| [batch, &matrix].concat();
    let a = of(if trans_a { [k, m] } else { [m, k] });
    let b = of(if trans_b { [n, k] } else { [k, n] });
    Case::new(gemm(trans_a, trans_b, 1.0, 1.0), t, &[&a, &b], &of([m, n]))
}

/// `max(x * side0 + side1, 0)` with sides of the element type.
pub fn epilogue(t: DType) -> Expr {
    let mut b = ExprBuilder::new(&[t, t, t]);
    let (x, s, r) = (b.arg(0), b.arg(1), b.arg(2));
    let v = b.binary(BinOp::Mul, x, s);
    let v = b.binary(BinOp::Add, v, r);
    let v = b.binary_const(BinOp::Max, v, 0.0);
    b.finish(v)
}

const EXTENTS: [[usize; 3]; 12] = [
    [1, 1, 1],
    [2, 3, 5],
    [7, 13, 31],
    [64, 64, 16],
    [65, 67, 17],
    [33, 130, 48],
    [130, 20, 20],
    [1, 70, 37],
    [1, 64, 128],
    [71, 1, 37],
    [5, 6, 0],
    [0, 6, 4],
];

#[test]
fn every_storage_order_of_odd_extents() {
    for extents in EXTENTS {
        for flags in 0..4 {
            product(DType::F32, &[], extents, flags & 1 != 0, flags & 2 != 0).check();
        }
    }
}

#[test]
fn sixteen_bit_floats() {
    for t in [DType::F16, DType::BF16] {
        for extents in [[2, 3, 5], [65, 67, 17], [1, 70, 37], [9, 1, 64], [68, 72, 20]] {
            for flags in 0..4 {
                product(t, &[], extents, flags & 1 != 0, flags & 2 != 0).check();
            }
        }
    }
}

#[test]
fn large_tiles() {
    for (flags, batch, extents) in
        [(0, 108, [40, 36, 9]), (1, 54, [132, 60, 20]), (2, 54, [33, 140, 18]), (3, 108, [36, 33, 8])]
    {
        let case = product(DType::F32, &[batch], extents, flags & 1 != 0, flags & 2 != 0);
        let launches = case.generate().unwrap().launches;
        assert_eq!((launches.len(), launches[0].1.block), (1, [256, 1, 1]));
        assert_eq!(launches[0].1.grid[0].as_const(), Some(extents[1].div_ceil(128) as i64));
        case.check();
    }
}

#[test]
fn long_sums_are_split() {
    for (extents, flags) in [([40, 50, 700], 0), ([40, 52, 1024], 3), ([1, 40, 2000], 0), ([1, 9, 5000], 2)] {
        let case = product(DType::F32, &[], extents, flags & 1 != 0, flags & 2 != 0);
        assert_eq!(case.generate().unwrap().launches.len(), 2, "{extents:?}");
        case.check();
    }
}

#[test]
fn batches_broadcast() {
    let t = DType::F32;
    let plain = gemm(false, false, 1.0, 1.0);
    Case::new(plain.clone(), t, &[&[3, 2, 7, 9], &[9, 5]], &[3, 2, 7, 5]).check();
    Case::new(plain.clone(), t, &[&[3, 1, 7, 9], &[2, 9, 5]], &[3, 2, 7, 5]).check();
    Case::new(plain.clone(), t, &[&[7, 9], &[2, 9, 5]], &[2, 7, 5]).check();
    Case::new(plain.clone(), t, &[&[2, 1, 9], &[2, 9, 5]], &[2, 1, 5]).check();
    Case::new(plain.clone(), t, &[&[4, 1, 9], &[9, 5]], &[4, 1, 5]).check();
    Case::new(plain.clone(), t, &[&[2, 3, 1, 9], &[3, 9, 40]], &[2, 3, 1, 40]).check();
    Case::new(plain, t, &[&[0, 7, 9], &[0, 9, 5]], &[0, 7, 5]).check();
    Case::new(gemm(false, true, 1.0, 1.0), t, &[&[2, 3, 1, 9], &[3, 40, 9]], &[2, 3, 1, 40]).check();
}

#[test]
fn factors_biases_and_epilogues() {
    for t in [DType::F32, DType::F16] {
        for bias in [&[5usize, 12][..], &[12], &[5, 1], &[1]] {
            let kernel = gemm(false, true, 0.5, -2.0);
            let mut case = Case::new(kernel, t, &[&[5, 9], &[12, 9], bias], &[5, 12]);
            case.check();
            case.epilogue = Some(epilogue(t));
            case.inputs.push((t, dims(&[12])));
            case.inputs.push((t, dims(&[5, 12])));
            case.check();
        }
    }
    // An epilogue that changes the type, after a split.
    let mut case = product(DType::F32, &[], [33, 34, 512], false, false);
    let mut b = ExprBuilder::new(&[DType::F32, DType::F32]);
    let (x, s) = (b.arg(0), b.arg(1));
    let v = b.binary(BinOp::Add, x, s);
    let v = b.unary(UnOp::Abs, v);
    let v = b.cast(DType::F16, v);
    case.epilogue = Some(b.finish(v));
    case.inputs.push((DType::F32, dims(&[33, 1])));
    case.output.0 = DType::F16;
    assert_eq!(case.generate().unwrap().launches.len(), 2);
    case.check();
}

#[test]
fn extents_known_at_run_time() {
    let d = |s: &str| Dim::sym(s);
    for (m, n, k) in [(1, 1, 1), (5, 70, 33), (65, 8, 16)] {
        let mut case = product(DType::F32, &[], [1, 1, 1], false, false);
        case.inputs = vec![(DType::F32, vec![d("B"), d("M"), d("K")]), (DType::F32, vec![d("K"), d("N")])];
        case.output.1 = vec![d("B"), d("M"), d("N")];
        case.symbols = vec![("B", 2), ("M", m), ("N", n), ("K", k)];
        case.check();
        case.inputs[1].1.insert(0, d("B"));
        case.check();
    }
    let mut case = product(DType::F32, &[], [1, 1, 1], false, true);
    case.inputs = vec![(DType::F32, vec![d("B"), Dim::from(64i64)]), (DType::F32, dims(&[10, 64]))];
    case.output.1 = vec![d("B"), Dim::from(10i64)];
    case.symbols = vec![("B", 3)];
    case.check();
}

#[test]
fn what_may_not_fit_is_declined() {
    let mut case = product(DType::F32, &[], [2, 2, 2], false, false);
    case.inputs[0].1[1] = Dim::sym("K");
    assert!(case.generate().unwrap_err().contains("may differ"));
    let huge = product(DType::F32, &[], [1 << 16, 1 << 16, 1], false, false);
    assert!(huge.generate().unwrap_err().contains("too many"));
}

#[test]
fn tensor_cores() {
    for t in [DType::F16, DType::BF16] {
        // Rows, columns and k; the last says which storage orders leave lines at multiples of 16 bytes.
        for (extents, orders) in [
            ([16, 8, 16], &[0, 1, 2, 3][..]),
            ([64, 64, 32], &[0, 1, 2, 3]),
            ([72, 80, 40], &[0, 1, 2, 3]),
            ([17, 19, 8], &[2]),
            ([5, 128, 96], &[0, 2]),
            ([130, 7, 104], &[2]),
            ([40, 24, 13], &[1]),
        ] {
            for flags in orders {
                let case = product(t, &[], extents, flags & 1 != 0, flags & 2 != 0);
                assert_eq!(case.generate().unwrap().launches[0].0.name, "gemm_mma", "{extents:?} {flags}");
                case.check();
            }
        }
        let split = product(t, &[], [24, 40, 1032], false, false);
        assert_eq!(split.generate().unwrap().launches.len(), 2);
        split.check();
        product(t, &[2, 3], [24, 40, 48], true, true).check();
        Case::new(gemm(false, true, 1.0, 1.0), t, &[&[3, 1, 24, 16], &[2, 40, 16]], &[3, 2, 24, 40]).check();
    }
}

#[test]
fn large_tensor_core_tiles() {
    for (flags, batch, extents) in
        [(0, 96, [24, 16, 40]), (1, 96, [16, 24, 40]), (2, 24, [130, 136, 40]), (3, 96, [40, 8, 72])]
    {
        let mut case = product(DType::F16, &[batch], extents, flags & 1 != 0, flags & 2 != 0);
        assert_eq!(case.generate().unwrap().launches[0].1.block, [256, 1, 1]);
        if flags != 2 {
            case.epilogue = Some(epilogue(DType::F16));
            case.inputs.push((DType::F16, dims(&extents[1..2])));
            case.inputs.push((DType::F16, dims(&[batch, extents[0], extents[1]])));
        }
        case.check();
    }
    // 16-bit factors of a product in f32.
    let mut case = product(DType::F16, &[], [24, 31, 40], false, true);
    case.output.0 = DType::F32;
    case.check();
}

#[test]
fn every_barrier_and_wait_is_needed() {
    let synchronises = |op: &Op| matches!(op, Op::BarSync | Op::CpWait(1) | Op::CpCommit);
    product(DType::F32, &[], [40, 50, 70], false, false).needs_every(synchronises);
    product(DType::F32, &[], [1, 40, 70], false, false).needs_every(synchronises);
    product(DType::F16, &[], [40, 48, 200], false, false).needs_every(synchronises);
}
