//! Attention of awkward extents against the interpreter of kernel IR.

use crate::check::{Case, dims};
use planc_cuda::ptx::Op;
use planc_kir::{Attention, BinOp, ExprBuilder, Kernel};
use planc_tensor::{DType, Dim};

/// Batch, heads, key heads, queries, keys, width, width of values.
fn case(t: DType, [b, h, kv, s, k, d, e]: [usize; 7], causal: bool) -> Case {
    let kernel = Kernel::Attention(Attention { scale: 0.7, causal });
    Case::new(kernel, t, &[&[b, h, s, d], &[b, kv, k, d], &[b, kv, k, e]], &[b, h, s, e])
}

const EXTENTS: [[usize; 7]; 9] = [
    [1, 1, 1, 1, 1, 1, 1],
    [2, 2, 2, 5, 7, 3, 4],
    [1, 2, 1, 65, 33, 16, 8],
    [1, 4, 2, 33, 70, 64, 64],
    [1, 108, 54, 33, 35, 9, 12],
    [1, 1, 1, 40, 31, 17, 80],
    [1, 1, 1, 3, 9, 128, 128],
    [1, 1, 1, 4, 0, 8, 8],
    [0, 1, 1, 4, 4, 8, 8],
];

#[test]
fn every_extent() {
    for extents in EXTENTS {
        case(DType::F32, extents, false).check();
        case(DType::F32, extents, true).check();
    }
    case(DType::F16, EXTENTS[3], false).check();
    case(DType::BF16, EXTENTS[2], true).check();
}

#[test]
fn masks_broadcast() {
    for mask in [&[2usize, 3, 5, 37][..], &[2, 1, 1, 37], &[5, 37], &[1, 3, 5, 1]] {
        let mut c = case(DType::F32, [2, 3, 3, 5, 37, 8, 9], false);
        c.inputs.push((DType::F32, dims(mask)));
        c.check();
        c.inputs[3].0 = DType::Bool;
        c.check();
    }
}

#[test]
fn epilogues_and_extents_known_at_run_time() {
    let mut c = case(DType::F32, [2, 3, 3, 5, 37, 8, 9], false);
    let mut b = ExprBuilder::new(&[DType::F32, DType::F32]);
    let (x, s) = (b.arg(0), b.arg(1));
    let v = b.binary(BinOp::Add, x, s);
    c.epilogue = Some(b.finish(v));
    c.inputs.push((DType::F32, dims(&[9])));
    c.check();
    for (shape, name) in [(0, "B"), (2, "S")] {
        c.inputs[0].1[shape] = Dim::sym(name);
        c.output.1[shape] = Dim::sym(name);
    }
    for n in [1, 2] {
        c.inputs[n].1[0] = Dim::sym("B");
        c.inputs[n].1[2] = Dim::sym("T");
    }
    c.symbols = vec![("B", 2), ("S", 66), ("T", 35)];
    c.check();
}

#[test]
fn wide_heads_are_declined() {
    assert!(case(DType::F32, [1, 1, 1, 2, 2, 129, 4], false).generate().unwrap_err().contains("129"));
}

#[test]
fn every_barrier_is_needed() {
    case(DType::F32, [1, 1, 1, 40, 70, 16, 16], false).needs_every(|op| matches!(op, Op::BarSync));
}
