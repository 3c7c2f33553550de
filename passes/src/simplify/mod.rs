//! Replaces nodes by cheaper ones that give the same: identities, inverse pairs, chains of reshapes.
//!
//! Each rule looks at one node and what it reads; rules run until none applies. Where possible a rule asks what a node
//! lowers to instead of what it is called, so that a Slice of everything, a Pad of nothing and a Cast to the same type
//! are one rule. No rule changes a result beyond the sign of a zero: arithmetic on constants that would round otherwise
//! (x * a * b to x * (a * b)) is done only from level 3 on.
//!
//! ```ir
//! // before
//! graph @g (format 1) {
//!   in %x: f32[N,2,3]
//!   const %flat: i64[1] = [-1]
//!   const %back: i64[3] = [-1, 2, 3]
//!   %t: f32[3,2,N] = Transpose(%x)
//!   %u: f32[N,2,3] = Transpose(%t)
//!   %a: f32[N*6] = Reshape(%u, %flat)
//!   %b: f32[N,2,3] = Reshape(%a, %back)
//!   %y: f32[N,2,3] = Relu(%b)
//!   out %y
//! }
//! // after
//! graph @g (format 1) {
//!   in %x: f32[N,2,3]
//!   %y: f32[N,2,3] = Relu(%x)
//!   out %y
//! }
//! ```

mod arithmetic;
mod movement;

use crate::infer::same;
use crate::rewrite::{kernel, replace};
use crate::{PassCx, PassError};
use planc_ir::{Graph, NodeId, ValueId};
use planc_kir::{Inst, Kernel};
use planc_ops::{Props, row};

/// A rule: changes the graph around a node, or gives `false`.
type Rule = fn(&mut Graph, NodeId, &mut PassCx<'_>) -> bool;

/// All rules; the first that applies to a node is taken.
const RULES: &[Rule] = &[
    does_nothing,
    movement::transposes,
    movement::transpose_is_reshape,
    movement::reshapes,
    movement::slice_of_concat,
    movement::transposed_weights,
    arithmetic::neutral_operand,
    arithmetic::pairs,
    arithmetic::clips,
    arithmetic::casts,
    arithmetic::constant_choice,
    arithmetic::power_of_two_quotient,
    arithmetic::constant_chain,
];

/// Sweeps over the graph at most; each sweep that goes on removes or moves a node.
const SWEEPS: usize = 32;

/// Runs the pass.
///
/// # Errors
/// None.
pub(crate) fn run(g: &mut Graph, cx: &mut PassCx<'_>) -> Result<usize, PassError> {
    let mut changes = cx.subgraphs(g, run)?;
    for _ in 0..SWEEPS {
        let before = changes;
        for id in g.order() {
            if g.contains(id) && g.node(id).epilogue().is_none() && RULES.iter().any(|rule| rule(g, id, cx)) {
                changes += 1;
            }
        }
        if changes == before {
            break;
        }
    }
    Ok(changes)
}

/// The operand that the node's only result always equals.
fn passes_on(g: &Graph, id: NodeId) -> Option<ValueId> {
    let n = g.node(id);
    let lone = n.outputs().iter().skip(1).flatten().all(|v| g.uses(*v).is_empty());
    let y = n.output(0).filter(|v| lone && !g.uses(*v).is_empty())?;
    let reshapes = row(&n.op).is_some_and(|r| r.props.has(Props::RESHAPES)) || n.op.is("Expand");
    let x = if reshapes {
        n.input(0)?
    } else {
        let (kernel, operands) = kernel(g, id)?;
        let nothing = match &kernel {
            Kernel::Map(e) => matches!(e.insts(), [Inst::Arg(0)]),
            Kernel::Slice(s) => s.starts.iter().all(|d| d.as_const() == Some(0)) && s.steps.iter().all(|s| *s == 1),
            Kernel::Pad(p) => p.before.iter().all(|d| d.as_const() == Some(0)),
            Kernel::Transpose { perm } => perm.iter().enumerate().all(|(i, a)| i == *a),
            Kernel::Concat { .. } => operands.len() == 1,
            Kernel::Tile | Kernel::Reshape => true,
            _ => false,
        };
        operands.first().copied().flatten().filter(|_| nothing)?
    };
    same(&g.value(x).ty, &g.value(y).ty).then_some(x)
}

fn does_nothing(g: &mut Graph, id: NodeId, _: &mut PassCx<'_>) -> bool {
    let (Some(x), Some(y)) = (passes_on(g, id), g.node(id).output(0)) else { return false };
    replace(g, y, x)
}
