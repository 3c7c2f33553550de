//! `planc explain`: the decisions behind a plan and their reasons.

use crate::Outcome;
use crate::args::verbs::Explain;
use crate::driver::passes::{Declined, Passes, Ran};
use crate::error::{CliError, Exit, Fault};
use crate::{report, source};
use planc_lower::Decision;
use planc_plan::container::SectionKind;
use serde_json::{Value, json};

/// Prints the decisions of a plan, or of a model that is compiled for it.
///
/// # Errors
/// When it cannot be opened or compiled.
pub fn run(args: &Explain) -> Outcome {
    let plan = source::open(&args.path, &args.compilation, false, args.json)?.plan;
    let container = plan.container()?;
    let section = container.section(SectionKind::Decisions).unwrap_or(b"{}");
    let all: Value = serde_json::from_slice(section)
        .map_err(|e| CliError::new(Fault::PlanMalformed, format!("the decisions section is not JSON: {e}")))?;
    let passes: Passes = serde_json::from_value(json!({"runs": all["passes"], "declined": all["declined"]}))
        .map_err(|e| CliError::new(Fault::PlanMalformed, format!("the decisions section is malformed: {e}")))?;
    let declined = passes.declined.iter().filter(|d| args.node.as_ref().is_none_or(|n| d.node.ends_with(n.as_str())));
    let declined: Vec<&Declined> = declined.collect();
    let wanted = |d: &&Value| args.node.as_ref().is_none_or(|n| d["node"] == n.as_str());
    let steps: Vec<Value> = all["steps"].as_array().into_iter().flatten().filter(wanted).cloned().collect();
    if let Some(node) = args.node.as_ref().filter(|_| steps.is_empty() && declined.is_empty()) {
        return Err(CliError::new(Fault::Usage, format!("no decision is about node {node:?}"))
            .at("node", node.clone())
            .help("without --node all decisions are listed; nodes are named by their first result"));
    }
    if args.json {
        report::print_json(&json!({"passes": passes.runs, "declined": declined, "decisions": steps}))?;
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    if args.node.is_none() {
        let row = |r: &Ran| vec![r.pass.clone(), r.round.to_string(), r.changes.to_string()];
        text += &report::table(&["pass", "round", "changes"], passes.runs.iter().map(row));
        text.push('\n');
    }
    if !declined.is_empty() {
        let row = |d: &&Declined| vec![d.node.clone(), d.pass.clone(), d.reason.clone()];
        text += &report::table(&["node", "pass", "not done because"], declined.iter().map(row));
        text.push('\n');
    }
    let cell = |d: &Value, key: &str| d[key].as_str().unwrap_or_default().to_string();
    let rows = steps.iter().map(|d| ["node", "op", "choice", "reason"].map(|k| cell(d, k)).to_vec());
    text += &report::table(&["node", "operator", "choice", "reason"], rows);
    report::print(&text)?;
    Ok(Exit::Ok)
}

/// Decisions as a table.
pub fn table(decisions: &[Decision]) -> String {
    let row = |d: &Decision| vec![d.node.clone(), d.op.clone(), d.choice.clone(), d.reason.clone()];
    report::table(&["node", "operator", "choice", "reason"], decisions.iter().map(row))
}
