//! The pass pipeline as the driver sees it.

use super::Options;
use crate::error::{CliError, Fault};
use planc_ir::Graph;
use planc_lower::Decision;
use planc_passes::{PIPELINE, PassError, PassOptions, Quantise, run_pipeline};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One run of a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Pass.
    pub pass: String,
    /// How often its group ran before.
    pub round: usize,
    /// How many changes it made.
    pub changes: usize,
}

/// A rewrite that matched and was not done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declined {
    /// Pass.
    pub pass: String,
    /// The node, after the names of the graphs around it.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// What the pipeline did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Passes {
    /// The runs, in order.
    pub runs: Vec<Ran>,
    /// What was not done.
    pub declined: Vec<Declined>,
    /// What was chosen for nodes; printed with the choices of the backend.
    #[serde(skip)]
    pub decided: Vec<Decision>,
    /// Values that are rounded to codes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub quantised: Vec<Quantised>,
    /// Weights that are kept in fewer bits.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub narrowed: Vec<Narrowed>,
}

/// A value that is rounded to codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantised {
    /// The value in f32.
    pub value: String,
    /// The value of codes.
    pub codes: String,
    /// What a code more or less is.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: i64,
}

/// Weights that are kept in fewer bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Narrowed {
    /// Their name.
    pub weights: String,
    /// How they are kept.
    pub form: String,
    /// How many there are.
    pub elements: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// Size of the error relative to that of the weights, both the root of the sum of squares.
    pub relative_l2: f64,
    /// The largest error of a weight.
    pub max_abs: f64,
}

/// What weights in fewer bits come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NarrowedSummary {
    /// How they are kept.
    pub form: String,
    /// How many matrices.
    pub matrices: usize,
    /// Bytes in f32.
    pub bytes_f32: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// The mean of the relative errors, each matrix counting with its elements.
    pub relative_l2: f64,
    /// The matrix with the largest relative error, and that.
    pub worst: (String, f64),
    /// The largest error of a weight.
    pub max_abs: f64,
}

impl NarrowedSummary {
    /// The summary of `all`, if there are any.
    pub fn of(all: &[Narrowed]) -> Option<NarrowedSummary> {
        let worst = all.iter().max_by(|a, b| a.relative_l2.total_cmp(&b.relative_l2))?;
        let elements: usize = all.iter().map(|n| n.elements).sum();
        Some(NarrowedSummary {
            form: worst.form.clone(),
            matrices: all.len(),
            bytes_f32: 4 * elements,
            bytes: all.iter().map(|n| n.bytes).sum(),
            relative_l2: all.iter().map(|n| n.relative_l2 * n.elements as f64).sum::<f64>() / elements as f64,
            worst: (worst.weights.clone(), worst.relative_l2),
            max_abs: all.iter().fold(0.0, |m, n| n.max_abs.max(m)),
        })
    }

    /// In one line, for people.
    pub fn line(&self) -> String {
        let size = |n: usize| crate::report::bytes(n as u64);
        format!(
            "{} weights: {} matrices, {} instead of {}, relative error {:.2e} (worst {:.2e}, {}), at most {:.2e}",
            self.form,
            self.matrices,
            size(self.bytes),
            size(self.bytes_f32),
            self.relative_l2,
            self.worst.1,
            self.worst.0,
            self.max_abs
        )
    }
}

impl Passes {
    /// Names of the passes that ran, in order, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for run in self.runs.iter().filter(|r| r.round == 0) {
            names.push(&run.pass);
        }
        names
    }
}

/// A row of the pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Why it runs at this place.
    pub because: &'static str,
    /// The lowest `-O` that runs it.
    pub level: u8,
}

/// The passes in their order.
pub fn list() -> Vec<Listed> {
    PIPELINE.iter().map(|p| Listed { name: p.name, summary: p.summary, because: p.because, level: p.level }).collect()
}

/// The pass after which values have the names that calibrations give them.
pub fn before_quantize() -> &'static str {
    let at = PIPELINE.iter().position(|p| p.name == "quantize").unwrap_or(1);
    PIPELINE[at.saturating_sub(1)].name
}

/// Runs the pipeline, up to and with `stop_after`.
///
/// # Errors
/// When a pass that is named does not exist, a node turns out to be wrong, or a pass breaks the graph.
pub fn run(
    graph: &mut Graph,
    options: &Options,
    quantise: Option<Arc<Quantise>>,
    stop_after: Option<&str>,
) -> Result<Passes, CliError> {
    let defaults = PassOptions::default();
    let budget = options.max_memory.unwrap_or(usize::MAX).min(defaults.memory_budget);
    let mut disabled = options.disabled.clone();
    let device = options.device().is_some();
    if device {
        // Blocks of 16 channels are a layout of processors.
        disabled.push("assign-layout".into());
    }
    let options = PassOptions {
        disabled,
        stop_after: stop_after.map(str::to_string),
        opt_level: options.level,
        memory_budget: budget,
        supports: if device { planc_cuda::supports } else { planc_cpu::supports },
        quantise,
        weights: options.weights.clone(),
        ..defaults
    };
    let report = run_pipeline(graph, &options)?;
    let ran = |r: &planc_passes::PassRun| Ran { pass: r.pass.into(), round: r.round, changes: r.changes };
    let declined =
        |d: &planc_passes::Decline| Declined { pass: d.pass.into(), node: d.node.clone(), reason: d.reason.clone() };
    let decided = |d: planc_passes::Decision| Decision { node: d.node, op: d.op, choice: d.choice, reason: d.reason };
    let quantised = |q: planc_passes::QuantisedValue| Quantised {
        value: q.value,
        codes: q.codes,
        scale: q.scale,
        zero_point: q.zero,
    };
    let narrowed = |n: planc_passes::Narrowed| Narrowed {
        weights: n.weights,
        form: n.form.name().into(),
        elements: n.elements,
        bytes: n.bytes,
        relative_l2: n.relative_l2,
        max_abs: n.max_abs,
    };
    Ok(Passes {
        runs: report.runs.iter().map(ran).collect(),
        declined: report.declines.iter().map(declined).collect(),
        decided: report.decisions.into_iter().map(decided).collect(),
        quantised: report.quantised.into_iter().map(quantised).collect(),
        narrowed: report.narrowed.into_iter().map(narrowed).collect(),
    })
}

impl From<PassError> for CliError {
    fn from(e: PassError) -> CliError {
        let message = e.to_string();
        match e {
            PassError::UnknownPass { .. } => {
                CliError::new(Fault::Usage, message).help("`planc passes` lists the passes")
            }
            PassError::Infer { pass, error } => CliError::from(*error).at("pass", pass),
            PassError::Verify { pass, .. } => {
                let message = format!("internal error, this is a bug in planc: {message}");
                CliError::new(Fault::Pass, message).at("pass", pass).help(format!("try --disable-pass {pass}"))
            }
        }
    }
}
