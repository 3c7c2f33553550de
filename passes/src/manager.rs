//! The pipeline: which passes run, in which order, and why in this order.
//!
//! Guarantees: passes run in the order of [`PIPELINE`]; rows of one group repeat together until none of them changes
//! anything (at most [`PassOptions::rounds`] times); after a pass that changed something types are inferred again, and
//! with [`PassOptions::verify`] the graph is checked after each pass, so that the pass to blame is named.

use crate::narrow_weights::{NarrowWeights, Narrowed};
use crate::quantize::Quantise;
use crate::{
    assign_layout, decompose, eliminate_common, eliminate_dead, fold_constants, fold_quantization, fuse_attention,
    fuse_elementwise, fuse_epilogue, fuse_linear, fuse_norm, fuse_reduce, infer, narrow_weights, plan_memory, quantize,
    simplify, widen_half,
};
use planc_ir::{Graph, NodeId, VerifyError, verify};
use planc_kir::{Expr, Kernel};
use planc_ops::NodeError;
use planc_tensor::{DType, Layout};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A pass: a row of the pipeline.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Name, as on the command line and of the folder of cases.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Why it runs at this place.
    pub because: &'static str,
    /// The lowest optimisation level that runs it.
    pub level: u8,
    /// Neighbouring rows of one group repeat together; 0 for passes that run once.
    pub group: u8,
    /// Runs it on a graph and its subgraphs; the number of changes.
    pub run: fn(&mut Graph, &mut PassCx<'_>) -> Result<usize, PassError>,
}

/// All passes, in the order they run.
pub static PIPELINE: &[Pass] = &[
    Pass {
        name: "decompose",
        summary: "Rewrites operators into simpler ones where their rows say that this is better than a kernel.",
        because: "first of its group: what comes out is folded, merged and simplified like everything else",
        level: 0,
        group: 1,
        run: decompose::run,
    },
    Pass {
        name: "fold-constants",
        summary: "Evaluates what depends on constants only, also shapes that inference knows, and takes the branch of \
                  an If that is known.",
        because: "before simplification, which looks for constant operands",
        level: 1,
        group: 1,
        run: fold_constants::run,
    },
    Pass {
        name: "simplify",
        summary: "Replaces nodes by cheaper ones that give the same: identities, inverse pairs, chains of reshapes.",
        because: "before merging: different spellings of one computation become one",
        level: 1,
        group: 1,
        run: simplify::run,
    },
    Pass {
        name: "eliminate-common",
        summary: "Merges nodes that compute the same from the same operands, and constants with equal elements.",
        because: "after simplification, and before what counts users of a value",
        level: 1,
        group: 1,
        run: eliminate_common::run,
    },
    Pass {
        name: "eliminate-dead",
        summary: "Removes nodes, optional results and captures that nobody reads.",
        because: "last of its group: fusion looks for values with a single reader",
        level: 1,
        group: 1,
        run: eliminate_dead::run,
    },
    Pass {
        name: "widen-half",
        summary: "Computes in f32 what a model computes in f16 or bf16 and the backend has no kernel for.",
        because: "after folding, so that constants are converted once; before fusion, which asks for kernels in f32",
        level: 1,
        group: 0,
        run: widen_half::run,
    },
    Pass {
        name: "fuse-norm",
        summary: "Joins what spells a layer or root-mean-square normalisation into one node.",
        because: "before what would take the formula's parts into other nodes",
        level: 2,
        group: 0,
        run: fuse_norm::run,
    },
    Pass {
        name: "fuse-attention",
        summary: "Joins the products, scaling, mask and softmax of scaled dot-product attention into one node.",
        because: "before what would take the scaling and the mask into the first product",
        level: 2,
        group: 0,
        run: fuse_attention::run,
    },
    Pass {
        name: "fuse-linear",
        summary: "Puts products and sums with constants per channel into the weights and bias of the layer before.",
        because: "before elementwise fusion: what costs nothing need not be in a program",
        level: 2,
        group: 0,
        run: fuse_linear::run,
    },
    Pass {
        name: "quantize",
        summary: "Rounds data and weights of convolutions and matrix products to 8 bits, where a calibration is given.",
        because: "after all that goes into weights, and with the values that a calibration sees",
        level: 1,
        group: 0,
        run: quantize::run,
    },
    Pass {
        name: "fold-quantization",
        summary: "Computes on 8-bit codes what a model computes on the numbers they stand for.",
        because: "after quantize; before elementwise fusion, which joins the steps between sums and codes",
        level: 1,
        group: 0,
        run: fold_quantization::run,
    },
    Pass {
        name: "narrow-weights",
        summary: "Keeps weights of matrix products in f16, bf16, or codes of 8 or 4 bits, where the caller asks for it.",
        because: "after products that become ones of codes, whose weights are small already; nothing folds it again",
        level: 1,
        group: 0,
        run: narrow_weights::run,
    },
    Pass {
        name: "fuse-elementwise",
        summary: "Joins elementwise nodes into one node that runs a scalar program per element.",
        because: "before epilogues: x * sigmoid(x) reads x twice, the joined node once",
        level: 2,
        group: 0,
        run: fuse_elementwise::run,
    },
    Pass {
        name: "fuse-epilogue",
        summary: "Runs elementwise nodes on the result of the kernel before them, before it is stored.",
        because: "after other fusion: it changes what a node's result is, which no pattern looks through",
        level: 2,
        group: 0,
        run: fuse_epilogue::run,
    },
    Pass {
        name: "fuse-reduce",
        summary: "Runs elementwise nodes on what a reduction reads, before it is accumulated.",
        because: "after epilogues: what a layer does to its own result costs nothing there",
        level: 2,
        group: 0,
        run: fuse_reduce::run,
    },
    Pass {
        name: "assign-layout",
        summary: "Keeps the channels of convolutional parts in blocks of 16, and converts where other parts begin.",
        because: "after all rewriting: no pass that adds nodes has to know of layouts",
        level: 1,
        group: 0,
        run: assign_layout::run,
    },
    Pass {
        name: "plan-memory",
        summary: "Reorders nodes so that less memory is alive at once.",
        because: "last: sizes depend on layouts, and every node that will run is there",
        level: 1,
        group: 0,
        run: plan_memory::run,
    },
];

/// Element type and layout of an operand or result.
pub type Form = (DType, Layout);

/// Whether a backend computes a kernel, with an epilogue if there is one, over operands (the epilogue's sides last) and
/// results of these forms. Fusion makes only what this accepts.
pub type Supports = fn(&Kernel, Option<&Expr>, &[Option<Form>], &[Option<Form>]) -> bool;

/// What a caller decides about the pipeline.
#[derive(Clone, Debug)]
pub struct PassOptions {
    /// Names of passes not to run.
    pub disabled: Vec<String>,
    /// The name of the pass after whose first run to stop.
    pub stop_after: Option<String>,
    /// 0: only what is needed to run at all; 1: cleaning up; 2: fusion; 3: also what changes rounding.
    pub opt_level: u8,
    /// Bytes by which folded constants may exceed the constants they replace, in total.
    pub memory_budget: usize,
    /// How often a group repeats at most.
    pub rounds: usize,
    /// Check the graph after each pass.
    pub verify: bool,
    /// Whether the backend has a kernel.
    pub supports: Supports,
    /// What `quantize` rounds to; it does nothing without.
    pub quantise: Option<Arc<Quantise>>,
    /// What `narrow-weights` does; nothing without.
    pub weights: Option<Arc<NarrowWeights>>,
}

impl Default for PassOptions {
    fn default() -> PassOptions {
        PassOptions {
            disabled: vec![],
            stop_after: None,
            opt_level: 2,
            memory_budget: 64 << 20,
            rounds: 8,
            verify: cfg!(debug_assertions),
            quantise: None,
            weights: None,
            supports: |k, e, inputs, outputs| {
                let all = |f: fn(DType) -> bool| inputs.iter().chain(outputs).flatten().all(|(t, _)| f(*t));
                let takes =
                    matches!(k, Kernel::Gemm(_) | Kernel::Conv(_) | Kernel::ConvTranspose(_) | Kernel::Reduce(_));
                let integers = matches!(k, Kernel::GemmInteger | Kernel::ConvInteger(_));
                match e {
                    Some(_) if integers => all(|t| matches!(t, DType::F32 | DType::I32 | DType::U8 | DType::I8)),
                    None => all(|t| !matches!(t, DType::F16 | DType::BF16)),
                    Some(_) => takes && inputs.iter().flatten().all(|(t, _)| *t == DType::F32),
                }
            },
        }
    }
}

/// A rewrite that matched and was not done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decline {
    /// Pass.
    pub pass: &'static str,
    /// The node, by the name of its first result, after the names of the graphs around it: `main/body/y`.
    pub node: String,
    /// Why, lower case, no full stop.
    pub reason: String,
}

/// What a pass chose for a node, whichever way, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The node, by the name of its first result.
    pub node: String,
    /// Operator.
    pub op: String,
    /// What was chosen.
    pub choice: String,
    /// Why, lower case, no full stop.
    pub reason: String,
}

/// A value whose codes are computed on.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedValue {
    /// The value of numbers.
    pub value: String,
    /// The value of codes.
    pub codes: String,
    /// What a code more or less is.
    pub scale: f32,
    /// The code of 0.
    pub zero: i64,
}

/// One run of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassRun {
    /// Pass.
    pub pass: &'static str,
    /// How often its group ran before.
    pub round: usize,
    /// Number of changes.
    pub changes: usize,
}

/// What the pipeline did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The runs, in order.
    pub runs: Vec<PassRun>,
    /// Declined rewrites, sorted, each once.
    pub declines: BTreeSet<Decline>,
    /// Choices that are told whichever way they went, in order.
    pub decisions: Vec<Decision>,
    /// Values that `quantize` rounded to codes, in order.
    pub quantised: Vec<QuantisedValue>,
    /// Weights that `narrow-weights` keeps in fewer bits, in order.
    pub narrowed: Vec<Narrowed>,
    /// The pass that [`PassOptions::stop_after`] stopped at.
    pub stopped_after: Option<&'static str>,
}

impl Report {
    /// The changes of all runs of a pass.
    pub fn changes(&self, pass: &str) -> usize {
        self.runs.iter().filter(|r| r.pass == pass).map(|r| r.changes).sum()
    }
}

/// Why the pipeline did not finish.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PassError {
    /// There is no pass of a name that the options mention.
    #[error("no pass {name:?}{}", did_you_mean(.suggestions))]
    UnknownPass {
        /// The name.
        name: String,
        /// Names that are close, best first.
        suggestions: Vec<&'static str>,
    },
    /// With what became known, a node turned out to be wrong.
    #[error("after pass {pass}: {error}")]
    Infer {
        /// Pass.
        pass: &'static str,
        /// The node and what is wrong with it.
        error: Box<NodeError>,
    },
    /// The pass left a graph that is not proper.
    #[error("after pass {pass}: {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Verify {
        /// Pass.
        pass: &'static str,
        /// The broken rules.
        errors: Vec<VerifyError>,
    },
}

fn did_you_mean(suggestions: &[&str]) -> String {
    if suggestions.is_empty() { String::new() } else { format!(", did you mean {}?", suggestions.join(" or ")) }
}

/// What a pass runs with.
pub struct PassCx<'a> {
    /// The caller's decisions.
    pub options: &'a PassOptions,
    /// Bytes that folding added so far.
    pub grown: usize,
    pass: &'static str,
    path: Vec<String>,
    declines: &'a mut BTreeSet<Decline>,
    decisions: &'a mut Vec<Decision>,
    pub(crate) quantised: &'a mut Vec<QuantisedValue>,
    pub(crate) narrowed: &'a mut Vec<Narrowed>,
}

impl PassCx<'_> {
    /// Notes that a rewrite of node `id` matched and was not done.
    pub fn decline(&mut self, g: &Graph, id: NodeId, reason: impl Into<String>) {
        let first = g.node(id).outputs().iter().flatten().next().map_or("", |v| &g.value(*v).name);
        let node = self.path.iter().map(String::as_str).chain([first]).collect::<Vec<_>>().join("/");
        self.declines.insert(Decline { pass: self.pass, node, reason: reason.into() });
    }

    /// Notes what was chosen for node `id`.
    pub fn decide(&mut self, g: &Graph, id: NodeId, choice: &str, reason: impl Into<String>) {
        let n = g.node(id);
        let node = n.outputs().iter().flatten().next().map_or(String::new(), |v| g.value(*v).name.to_string());
        self.decisions.push(Decision { node, op: n.op.to_string(), choice: choice.into(), reason: reason.into() });
    }

    /// Whether pass `name` has yet to run: it comes after the running one and is not disabled.
    pub(crate) fn before(&self, name: &str) -> bool {
        let at = |name: &str| PIPELINE.iter().position(|p| p.name == name);
        at(self.pass) < at(name) && !self.options.disabled.iter().any(|d| d == name)
    }

    /// Infers a node's results again, see [`infer::node`].
    ///
    /// # Errors
    /// When the node turns out to be wrong.
    pub fn infer(&self, g: &mut Graph, id: NodeId) -> Result<bool, PassError> {
        infer::node(g, id).map_err(|error| self.wrong(planc_ops::locate(g, id, error)))
    }

    /// The error of a node that turned out to be wrong.
    pub(crate) fn wrong(&self, error: NodeError) -> PassError {
        PassError::Infer { pass: self.pass, error: Box::new(error) }
    }

    /// Runs `f` on the subgraphs of all nodes; the sum of what it gives.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn subgraphs(
        &mut self,
        g: &mut Graph,
        f: fn(&mut Graph, &mut PassCx<'_>) -> Result<usize, PassError>,
    ) -> Result<usize, PassError> {
        let mut changes = 0;
        for id in g.order() {
            for i in 0..g.node(id).subgraphs.len() {
                self.path.push(g.node(id).subgraphs[i].name.to_string());
                let result = f(g.subgraph_mut(id, i), self);
                self.path.pop();
                changes += result?;
            }
        }
        Ok(changes)
    }
}

/// Runs the pipeline.
///
/// # Errors
/// Unknown pass names; nodes that turn out to be wrong; broken graphs, which are bugs.
pub fn run_pipeline(g: &mut Graph, options: &PassOptions) -> Result<Report, PassError> {
    options.disabled.iter().chain(&options.stop_after).try_for_each(|n| find(n).map(|_| ()))?;
    let mut report = Report::default();
    let mut rest = PIPELINE;
    while let Some(first) = rest.first() {
        let len = rest.iter().take_while(|p| p.group == first.group).count();
        let (group, after) = if first.group == 0 { rest.split_at(1) } else { rest.split_at(len) };
        rest = after;
        let rounds = if first.group == 0 { 1 } else { options.rounds };
        for round in 0..rounds {
            let mut changes = 0;
            for pass in group {
                if pass.level <= options.opt_level && !options.disabled.iter().any(|d| d == pass.name) {
                    changes += run(g, pass, round, options, &mut report)?;
                }
                if options.stop_after.as_deref() == Some(pass.name) {
                    report.stopped_after = Some(pass.name);
                    return Ok(report);
                }
            }
            if changes == 0 {
                break;
            }
        }
    }
    Ok(report)
}

/// Runs one pass, whatever the options say about levels and disabled passes.
///
/// # Errors
/// As [`run_pipeline`].
pub fn run_pass(g: &mut Graph, name: &str, options: &PassOptions) -> Result<Report, PassError> {
    let mut report = Report::default();
    run(g, find(name)?, 0, options, &mut report)?;
    Ok(report)
}

fn run(
    g: &mut Graph,
    pass: &'static Pass,
    round: usize,
    options: &PassOptions,
    report: &mut Report,
) -> Result<usize, PassError> {
    let path = vec![g.name.clone()];
    let mut cx = PassCx {
        options,
        grown: 0,
        pass: pass.name,
        path,
        declines: &mut report.declines,
        decisions: &mut report.decisions,
        quantised: &mut report.quantised,
        narrowed: &mut report.narrowed,
    };
    let changes = (pass.run)(g, &mut cx)?;
    if changes > 0 {
        infer::graph(g).map_err(|error| PassError::Infer { pass: pass.name, error: Box::new(error) })?;
    }
    if options.verify {
        verify(g).map_err(|errors| PassError::Verify { pass: pass.name, errors })?;
    }
    report.runs.push(PassRun { pass: pass.name, round, changes });
    Ok(changes)
}

fn find(name: &str) -> Result<&'static Pass, PassError> {
    PIPELINE.iter().find(|p| p.name == name).ok_or_else(|| {
        let mut close: Vec<(usize, &str)> = PIPELINE.iter().map(|p| (distance(name, p.name), p.name)).collect();
        close.retain(|(d, n)| *d <= n.len() / 2);
        close.sort();
        PassError::UnknownPass { name: name.into(), suggestions: close.into_iter().take(2).map(|(_, n)| n).collect() }
    })
}

/// Edits that turn `a` into `b` (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_passes_are_refused_with_suggestions() {
        let options = PassOptions { disabled: vec!["fold-constant".into()], ..PassOptions::default() };
        let e = run_pipeline(&mut Graph::new("g"), &options).unwrap_err();
        assert_eq!(e.to_string(), "no pass \"fold-constant\", did you mean fold-constants?");
        let options = PassOptions { stop_after: Some("qqqqqqqqqqqqqqqqqqqqqqqq".into()), ..PassOptions::default() };
        let e = run_pipeline(&mut Graph::new("g"), &options).unwrap_err();
        assert_eq!(e.to_string(), "no pass \"qqqqqqqqqqqqqqqqqqqqqqqq\"");
    }

    #[test]
    fn rows_are_complete() {
        for (i, p) in PIPELINE.iter().enumerate() {
            assert!(p.summary.ends_with('.') && !p.because.is_empty() && p.level <= 3, "{}", p.name);
            assert!(PIPELINE[..i].iter().all(|q| q.name != p.name), "{} is there twice", p.name);
        }
    }
}
