//! `planc check`: whether a model can be compiled, or a plan run here. Writes nothing.

use crate::Outcome;
use crate::args::verbs::Check;
use crate::driver;
use crate::error::{CliError, Exit};
use crate::report::{self, Progress};
use crate::source::{self, Kind};
use planc_runtime::{OpenOptions, Plan};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A node that cannot be compiled.
#[derive(Serialize)]
struct Unsupported {
    node: String,
    op: String,
    domain: String,
    opset: Value,
    /// Types of the operands, where they are known.
    operands: Vec<String>,
    reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

#[derive(Default, Serialize)]
struct Report {
    supported: bool,
    unsupported: Vec<Unsupported>,
    warnings: Vec<String>,
    steps: usize,
    weights_bytes: u64,
    /// Operators without a kernel for some node, and how many such nodes there are.
    reference_ops: BTreeMap<String, usize>,
}

/// Checks a model or plan.
///
/// # Errors
/// When it is invalid. What is unsupported is the answer, and ends with exit code 4.
pub fn run(args: &Check) -> Outcome {
    let mut report = Report::default();
    let mut exit = Exit::Ok;
    if source::kind(&args.path)? == Kind::Plan {
        let plan = Plan::open(&args.path, OpenOptions { check_weights: true });
        let plan = plan.map_err(|e| CliError::from(e).reading(&args.path))?;
        report.steps = plan.manifest().programs.iter().map(|p| p.steps.len()).sum();
        report.weights_bytes = plan.container()?.sections().iter().map(weights).sum();
    } else {
        let progress = Progress::new(args.json);
        match driver::compile(&args.path, &driver::Options::new(&args.compilation)?, &progress) {
            Ok(built) => {
                report.steps = built.steps();
                report.weights_bytes = built.weights_bytes();
                for d in built.decisions().iter().filter(|d| d.choice == "reference") {
                    *report.reference_ops.entry(d.op.clone()).or_insert(0) += 1;
                }
                report.warnings = built.model.warnings;
            }
            Err(error) if error.exit() == Exit::Unsupported => {
                exit = Exit::Unsupported;
                report.unsupported = error.all().filter(|e| e.exit() == Exit::Unsupported).map(unsupported).collect();
            }
            Err(error) => return Err(error),
        }
    }
    report.supported = exit == Exit::Ok;
    if args.json {
        report::print_json(&report)?
    } else {
        show(&report)?
    }
    Ok(exit)
}

fn weights(s: &planc_plan::container::Section) -> u64 {
    if s.kind == planc_plan::container::SectionKind::Weights { s.range.len() as u64 } else { 0 }
}

fn unsupported(e: &CliError) -> Unsupported {
    let text = |key: &str| e.place(key).and_then(Value::as_str).unwrap_or_default().to_string();
    Unsupported {
        node: text("node"),
        op: text("op"),
        domain: text("domain"),
        opset: e.place("opset").cloned().unwrap_or_default(),
        operands: e.place("operands").and_then(|v| serde_json::from_value(v.clone()).ok()).unwrap_or_default(),
        help: e.hint().map(str::to_string),
        reason: e.place("reason").and_then(Value::as_str).unwrap_or(e.message()).to_string(),
    }
}

fn show(r: &Report) -> Result<(), CliError> {
    let mut text = String::new();
    if !r.unsupported.is_empty() {
        let row = |u: &Unsupported| {
            let op = if u.domain.is_empty() { u.op.clone() } else { format!("{}::{}", u.domain, u.op) };
            let opset = u.opset.as_i64().map_or("-".into(), |v| v.to_string());
            vec![u.node.clone(), op, opset, u.operands.join(", "), u.reason.clone()]
        };
        text += &report::table(&["node", "operator", "opset", "operands", "reason"], r.unsupported.iter().map(row));
        let mut hints: Vec<&str> = r.unsupported.iter().filter_map(|u| u.help.as_deref()).collect();
        hints.sort_unstable();
        hints.dedup();
        hints.iter().for_each(|h| text += &format!("help: {h}\n"));
    }
    for w in &r.warnings {
        report::warn(w);
    }
    if r.supported {
        text += &format!("supported: {} steps, {} of weights\n", r.steps, report::bytes(r.weights_bytes));
    } else {
        text += &format!("unsupported: {} nodes\n", r.unsupported.len());
    }
    if !r.reference_ops.is_empty() {
        let list: Vec<String> = r.reference_ops.iter().map(|(op, n)| format!("{op} ({n})")).collect();
        text += &format!("without a kernel, run by their reference evaluation: {}\n", list.join(", "));
    }
    report::print(&text)
}
