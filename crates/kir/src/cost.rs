//! What a kernel costs: its arithmetic and the memory it has to touch, from the extents of its operands.
//!
//! Both are facts about the computation, not about an implementation: a convolution by Winograd's algorithm counts as many
//! operations as one by direct sums, so that rates of two implementations compare. What no formula says (reference
//! evaluations, comparisons of a sort) counts nothing.

use crate::{Cell, Direction, Expr, Inst, Kernel, NormKind, ReduceOp, ResizeMode, ScatterReduction};
use planc_tensor::DType;

/// An operand or result: element type and extents.
pub type Extents<'a> = (DType, &'a [usize]);

/// What a kernel costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Arithmetic operations; a product that is added to a sum counts two, any other instruction one.
    pub ops: u64,
    /// Bytes of operands and results, each read or written once.
    pub bytes: u64,
}

/// Operations per element of a softmax: maximum, difference, exponential, sum, quotient.
const SOFTMAX: u64 = 5;

/// The cost of `kernel` with `epilogue`, whose side inputs are the last of `inputs`. Operands that do not fit the kernel give a
/// cost of no meaning, and no panic.
pub fn cost(
    kernel: &Kernel,
    epilogue: Option<&Expr>,
    inputs: &[Option<Extents<'_>>],
    outputs: &[Option<Extents<'_>>],
) -> Cost {
    let late = epilogue.map_or(0, arithmetic).saturating_mul(elements(outputs, 0));
    Cost {
        ops: operations(kernel, epilogue, inputs, outputs).saturating_add(late),
        bytes: bytes(kernel, inputs, outputs),
    }
}

/// Instructions of a program that compute: neither operands, nor constants, nor conversions.
fn arithmetic(e: &Expr) -> u64 {
    let moves = |i: &&Inst| !matches!(i, Inst::Arg(_) | Inst::Const(..) | Inst::Cast(..));
    e.insts().iter().filter(moves).count() as u64
}

fn shape<'a>(all: &[Option<Extents<'a>>], i: usize) -> &'a [usize] {
    all.get(i).copied().flatten().map_or(&[], |(_, s)| s)
}

/// Elements of operand `i`, none where it is missing.
fn elements(all: &[Option<Extents<'_>>], i: usize) -> u64 {
    all.get(i).copied().flatten().map_or(0, |(_, s)| product(s))
}

fn product(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |n, d| n.saturating_mul(*d as u64))
}

/// Elements of the shape that all of `inputs` broadcast to.
fn broadcast(inputs: &[Option<Extents<'_>>]) -> u64 {
    let rank = inputs.iter().flatten().map(|(_, s)| s.len()).max().unwrap_or(0);
    let extent = |axis: usize| {
        let of = inputs.iter().flatten().filter_map(|(_, s)| s.len().checked_sub(axis + 1).map(|i| s[i]));
        of.fold(1, |a, b| if a == 1 { b } else { a })
    };
    (0..rank).fold(1, |n, axis| n.saturating_mul(extent(axis) as u64))
}

fn operations(
    kernel: &Kernel,
    epilogue: Option<&Expr>,
    inputs: &[Option<Extents<'_>>],
    outputs: &[Option<Extents<'_>>],
) -> u64 {
    let sides = epilogue.map_or(0, |e| e.args().len().saturating_sub(1));
    let own = &inputs[..inputs.len().saturating_sub(sides)];
    let (x, y) = (elements(own, 0), elements(outputs, 0));
    let given = |i: usize| u64::from(own.get(i).is_some_and(Option::is_some));
    // Products of one result: as many as weights of one output channel.
    let taps = || product(shape(own, 1).get(1..).unwrap_or_default());
    match kernel {
        Kernel::Map(e) => arithmetic(e).saturating_mul(y),
        Kernel::Reduce(r) => {
            let each = match r.op {
                ReduceOp::SumSquare | ReduceOp::L1 | ReduceOp::L2 => 2,
                ReduceOp::LogSumExp => 4,
                ReduceOp::Sum | ReduceOp::Mean | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::LogSum => 1,
            };
            (arithmetic(&r.map) + each).saturating_mul(broadcast(own))
        }
        Kernel::ArgReduce(_) | Kernel::CumSum { .. } => x,
        Kernel::Gemm(g) => {
            let a = shape(own, 0);
            let k = a.len().checked_sub(if g.trans_a { 2 } else { 1 }).and_then(|i| a.get(i)).copied().unwrap_or(0);
            (2 * k as u64 + given(2)).saturating_mul(y)
        }
        Kernel::GemmInteger => (2 * shape(own, 0).last().copied().unwrap_or(0) as u64).saturating_mul(y),
        Kernel::Conv(_) => (2 * taps() + given(2)).saturating_mul(y),
        Kernel::ConvInteger(_) => (2 * taps()).saturating_mul(y),
        Kernel::ConvTranspose(_) => (2 * taps()).saturating_mul(x).saturating_add(given(2) * y),
        Kernel::Pool(p) => product(&p.kernel).saturating_mul(y),
        Kernel::Norm(n) => {
            let statistics = match n.kind {
                // Mean, squared deviation, and what is done with both.
                NormKind::Layer { .. } | NormKind::Group { .. } => 1 + 3 + 2,
                NormKind::Rms { .. } => 2 + 1,
            };
            (statistics + given(1) + given(2)).saturating_mul(x)
        }
        Kernel::Softmax(_) => SOFTMAX.saturating_mul(x),
        Kernel::Attention(a) => {
            let (&[batch, heads, s, d], &[_, _, t, e]) = (shape(own, 0), shape(own, 2)) else { return 0 };
            let pairs: u64 = match a.causal {
                // Row i sees what is not masked.
                true => (0..s).map(|i| (i + 1 + t).saturating_sub(s).min(t) as u64).sum(),
                false => s as u64 * t as u64,
            };
            let each = 2 * d as u64 + 1 + given(3) + SOFTMAX + 2 * e as u64;
            each.saturating_mul(pairs).saturating_mul(batch as u64 * heads as u64)
        }
        Kernel::ScatterElements { reduction, .. } | Kernel::ScatterNd { reduction } => {
            if *reduction == ScatterReduction::None { 0 } else { elements(own, 2) }
        }
        Kernel::Resize(r) => {
            let taps: u64 = match r.mode {
                ResizeMode::Nearest(_) => 0,
                ResizeMode::Linear => 2,
                ResizeMode::Cubic { .. } => 4,
            };
            if taps == 0 { 0 } else { (2 * taps.saturating_pow(r.axes.len() as u32)).saturating_mul(y) }
        }
        Kernel::Rnn(r) => {
            let gates = match r.cell {
                Cell::Rnn => 1,
                Cell::Gru => 3,
                Cell::Lstm => 4,
            };
            let directions = if r.direction == Direction::Both { 2 } else { 1 };
            let width = shape(own, 0).last().copied().unwrap_or(0).max(1) as u64;
            let (steps, hidden) = (x / width, r.hidden as u64);
            (2 * directions * gates * hidden).saturating_mul(width + hidden).saturating_mul(steps)
        }
        Kernel::Reshape
        | Kernel::Reorder
        | Kernel::Transpose { .. }
        | Kernel::Slice(_)
        | Kernel::Concat { .. }
        | Kernel::Pad(_)
        | Kernel::Tile
        | Kernel::Gather { .. }
        | Kernel::GatherElements { .. }
        | Kernel::GatherNd { .. }
        | Kernel::TopK { .. }
        | Kernel::Reference(_) => 0,
    }
}

fn bytes(kernel: &Kernel, inputs: &[Option<Extents<'_>>], outputs: &[Option<Extents<'_>>]) -> u64 {
    let size = |o: &Extents<'_>| o.0.bytes_for(product(o.1) as usize).unwrap_or(0) as u64;
    let written: u64 = outputs.iter().flatten().map(size).sum();
    let read = match kernel {
        // The result shares the operand's bytes.
        Kernel::Reshape => return 0,
        // Of x, only what is taken is read.
        Kernel::Slice(_) => written,
        Kernel::Gather { .. } | Kernel::GatherElements { .. } | Kernel::GatherNd { .. } => {
            written + inputs.iter().skip(1).flatten().map(size).sum::<u64>()
        }
        _ => inputs.iter().flatten().map(size).sum(),
    };
    read.saturating_add(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attention, BinOp, Conv, ExprBuilder, Gemm, Norm, Pool, PoolKind, Reduce, Rnn, Slice, Softmax, UnOp};
    use planc_tensor::Dim;

    const F: DType = DType::F32;

    fn of(kernel: &Kernel, epilogue: Option<&Expr>, inputs: &[&[usize]], output: &[usize]) -> (u64, u64) {
        let inputs: Vec<_> = inputs.iter().map(|s| Some((F, *s))).collect();
        let c = cost(kernel, epilogue, &inputs, &[Some((F, output))]);
        (c.ops, c.bytes)
    }

    /// max(arg 0 + arg 1, 0): two instructions that compute.
    fn add_relu() -> Expr {
        let mut b = ExprBuilder::new(&[F, F]);
        let (x, y) = (b.arg(0), b.arg(1));
        let sum = b.binary(BinOp::Add, x, y);
        let result = b.binary_const(BinOp::Max, sum, 0.0);
        b.finish(result)
    }

    fn conv(group: usize) -> Conv {
        let pads = vec![[Dim::from(1_i64), Dim::from(1_i64)]; 2];
        Conv { group, strides: vec![1, 1], dilations: vec![1, 1], pads }
    }

    #[test]
    fn products() {
        let gemm = |trans_a| Kernel::Gemm(Gemm { trans_a, trans_b: false, alpha: 1.0, beta: 1.0 });
        // 2 x 3 x 5 times 5 x 7: 42 results of 5 products.
        assert_eq!(of(&gemm(false), None, &[&[2, 3, 5], &[5, 7]], &[2, 3, 7]), (420, 4 * (30 + 35 + 42)));
        assert_eq!(of(&gemm(true), None, &[&[5, 3], &[5, 7]], &[3, 7]).0, 210);
        // A bias is one addition per result; an epilogue with a side input two operations, and its bytes.
        let sides: [&[usize]; 4] = [&[3, 5], &[5, 7], &[7], &[3, 7]];
        assert_eq!(of(&gemm(false), Some(&add_relu()), &sides, &[3, 7]), (210 + 21 + 42, 4 * (15 + 35 + 7 + 21 + 21)));
        let bytes = cost(
            &Kernel::GemmInteger,
            None,
            &[Some((DType::U8, &[3, 5])), Some((DType::I8, &[5, 7])), None, None],
            &[Some((DType::I32, &[3, 7]))],
        );
        assert_eq!(bytes, Cost { ops: 210, bytes: 15 + 35 + 84 });
    }

    #[test]
    fn convolutions() {
        // 4 output channels of 6 x 5 from 2 channels by 3 x 3.
        assert_eq!(of(&Kernel::Conv(conv(1)), None, &[&[1, 2, 6, 5], &[4, 2, 3, 3]], &[1, 4, 6, 5]).0, 120 * 36);
        // Depthwise, with a bias.
        let shapes: [&[usize]; 3] = [&[1, 4, 6, 5], &[4, 1, 3, 3], &[4]];
        assert_eq!(of(&Kernel::Conv(conv(4)), None, &shapes, &[1, 4, 6, 5]).0, 120 * 19);
        // Transposed: each of 2 x 6 x 5 elements meets 3 channels of 2 x 2.
        let shapes: [&[usize]; 2] = [&[1, 2, 6, 5], &[2, 3, 2, 2]];
        assert_eq!(of(&Kernel::ConvTranspose(conv(1)), None, &shapes, &[1, 3, 12, 10]).0, 60 * 12 * 2);
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: vec![3, 2],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            pads: vec![[Dim::from(0_i64), Dim::from(0_i64)]; 2],
        };
        assert_eq!(of(&Kernel::Pool(pool), None, &[&[1, 2, 7, 6]], &[1, 2, 3, 3]).0, 18 * 6);
    }

    #[test]
    fn programs_and_reductions() {
        assert_eq!(of(&Kernel::Map(add_relu()), None, &[&[2, 3], &[3]], &[2, 3]), (12, 4 * (6 + 3 + 6)));
        let mut b = ExprBuilder::new(&[F]);
        let x = b.arg(0);
        let result = b.unary(UnOp::Exp, x);
        let map = b.finish(result);
        let reduce = |op, map| Kernel::Reduce(Reduce { op, axes: vec![1], map });
        assert_eq!(of(&reduce(ReduceOp::Sum, map), None, &[&[4, 9]], &[4]).0, 36 * 2);
        // What is reduced is what the operands broadcast to.
        assert_eq!(of(&reduce(ReduceOp::SumSquare, add_relu()), None, &[&[4, 1], &[9]], &[4]).0, 36 * 4);
        let softmax = Kernel::Softmax(Softmax { axis: 1, end: 2, log: false });
        assert_eq!(of(&softmax, None, &[&[4, 9]], &[4, 9]).0, 180);
        let norm = |kind| Kernel::Norm(Norm { kind, epsilon: 1e-5 });
        let shapes: [&[usize]; 3] = [&[4, 9], &[9], &[9]];
        assert_eq!(of(&norm(NormKind::Layer { axis: 1 }), None, &shapes, &[4, 9]).0, 36 * 8);
        assert_eq!(of(&norm(NormKind::Rms { axis: 1 }), None, &shapes[..2], &[4, 9]).0, 36 * 4);
    }

    #[test]
    fn attention_counts_what_is_not_masked() {
        let attention = |causal| Kernel::Attention(Attention { scale: 1.0, causal });
        let shapes: [&[usize]; 3] = [&[1, 2, 3, 4], &[1, 2, 5, 4], &[1, 2, 5, 6]];
        // Each pair of a query and a key: 4 products, 6 products, the scale, 5 of the softmax.
        let each = 2 * 4 + 2 * 6 + 1 + 5;
        assert_eq!(of(&attention(false), None, &shapes, &[1, 2, 3, 6]).0, 2 * 15 * each);
        // Of 5 keys the three queries see 3, 4 and 5.
        assert_eq!(of(&attention(true), None, &shapes, &[1, 2, 3, 6]).0, 2 * 12 * each);
    }

    #[test]
    fn recurrent_layers() {
        let rnn = Rnn {
            cell: Cell::Lstm,
            direction: Direction::Both,
            hidden: 8,
            activations: vec![],
            clip: None,
            batch_first: false,
            linear_before_reset: false,
            input_forget: false,
        };
        // 7 steps of 2 sequences, 2 directions, 4 gates of 8, each of 5 + 8 products.
        assert_eq!(of(&Kernel::Rnn(rnn), None, &[&[7, 2, 5]], &[7, 2, 2, 8]).0, 14 * 2 * 32 * 13 * 2);
    }

    #[test]
    fn moves_read_what_they_take() {
        let gather = Kernel::Gather { axis: 0 };
        let c = cost(&gather, None, &[Some((F, &[30_000, 8])), Some((DType::I64, &[3]))], &[Some((F, &[3, 8]))]);
        assert_eq!(c, Cost { ops: 0, bytes: 96 + 24 + 96 });
        let slice = Kernel::Slice(Slice { starts: vec![Dim::from(0_i64)], steps: vec![1] });
        assert_eq!(of(&slice, None, &[&[100]], &[10]), (0, 80));
        assert_eq!(of(&Kernel::Reshape, None, &[&[100]], &[10, 10]), (0, 0));
    }

    #[test]
    fn operands_that_do_not_fit_do_not_panic() {
        for kernel in
            [Kernel::GemmInteger, Kernel::Conv(conv(1)), Kernel::Attention(Attention { scale: 1.0, causal: true })]
        {
            assert_eq!(cost(&kernel, Some(&add_relu()), &[], &[]), Cost::default());
        }
        assert_eq!(of(&Kernel::Map(add_relu()), None, &[], &[usize::MAX, 3]).0, u64::MAX);
    }
}
