//! Computes on codes what a model computes on the numbers they stand for.
//!
//! A quantised model says DequantizeLinear, Conv, Relu, QuantizeLinear; a machine should add up products of bytes. A
//! convolution or matrix product of dequantised operands becomes one of codes with sums in i32; the scale, the bias and
//! what follows are elementwise steps that fusion takes into its epilogue. What only moves numbers moves codes instead:
//! DequantizeLinear sinks below it, QuantizeLinear rises above it, and where they meet they cancel. Sums of integers are
//! exact where f32 rounds, and scales are multiplied with each other first: a result may come out one code off where it
//! lies between two. After `quantize` rounding may multiply by a reciprocal too. All else is as it was, bit for bit. In the
//! end what is left of dequantised constants is folded. Declined: weights that are not constant, scales per axis of the
//! data, types other than 8 bits, sums beyond 32 bits.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: u8[N,4]
//!   const %s: f32[] = 0.5
//!   const %z: u8[] = 128
//!   const %w: i8[4,2] = [1, 2, 3, 4, 5, 6, 7, 8]
//!   const %ws: f32[2] = [0.25, 0.125]
//!   %xr: f32[N,4] = DequantizeLinear(%x, %s, %z)
//!   %wr: f32[4,2] = DequantizeLinear(%w, %ws)
//!   %y: f32[N,2] = MatMul(%xr, %wr)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: u8[N,4]
//!   const %wr.i8: i8[4,2] = [1, 2, 3, 4, 5, 6, 7, 8]
//!   const %y.x_zero: u8[] = 128
//!   const %y.scale: f32[2] = [0.125, 0.0625]
//!   %y.sums: i32[N,2] = MatMulInteger(%x, %wr.i8, %y.x_zero)
//!   %y.real: f32[N,2] = Cast(%y.sums) {to=1}
//!   %y: f32[N,2] = Mul(%y.real, %y.scale)
//!   out %y
//! }
//! ```

mod layers;
mod moves;

use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeId};

/// A rewrite of a node; whether it was done.
type Rule = fn(&mut Graph, NodeId, &mut PassCx<'_>) -> bool;

/// Rules that repeat until none applies.
const MOVES: [Rule; 5] = [moves::sink, moves::positive, moves::cancel, moves::saturating, moves::raise];

/// Rounds at most: codes cross one node each.
const ROUNDS: usize = 64;

/// Applies rules to all nodes; how often.
fn apply(g: &mut Graph, rules: &[Rule], cx: &mut PassCx<'_>) -> usize {
    let mut done = 0;
    for id in g.order() {
        done += rules.iter().filter(|rule| g.contains(id) && rule(g, id, cx)).count();
    }
    done
}

/// Runs the pass.
///
/// # Errors
/// When a made node turns out to be wrong.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = 0;
    for _ in 0..ROUNDS {
        let moved = apply(g, &MOVES, cx);
        // Layers last: weights that are moved are constant only when that is done.
        let done = if moved > 0 { moved } else { apply(g, &[layers::fold], cx) };
        changes += done;
        if done == 0 {
            break;
        }
    }
    // Rules above look for scales that are equal.
    changes += apply(g, &[moves::reciprocal], cx);
    changes += cx.subgraphs(g, run)?;
    if changes > 0 {
        crate::infer::graph(g).map_err(|error| cx.wrong(error))?;
    }
    Ok(changes + crate::fold_constants::run(g, cx)?)
}
