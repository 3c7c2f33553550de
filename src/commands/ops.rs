//! `planc ops`: the operator table.

use crate::Outcome;
use crate::args::verbs::Ops;
use crate::error::Exit;
use crate::report;
use planc_ops::{NEWEST_OPSET, OpDef, ParamKind};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct Row {
    name: &'static str,
    domain: &'static str,
    since: u32,
    /// First opset without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u32>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<&'static str>,
}

impl Row {
    fn new(op: &'static OpDef) -> Row {
        let params = |list: &'static [planc_ops::Param]| {
            let text = |p: &planc_ops::Param| match p.kind {
                ParamKind::Required => p.name.to_string(),
                ParamKind::Optional => format!("{}?", p.name),
                ParamKind::Variadic | ParamKind::Heterogeneous => format!("{}...", p.name),
            };
            list.iter().map(text).collect()
        };
        Row {
            name: op.name,
            domain: op.domain,
            since: op.since,
            until: Some(op.until).filter(|u| *u != u32::MAX),
            inputs: params(op.inputs),
            outputs: params(op.outputs),
            // Internal attributes are not part of ONNX.
            attributes: op.attrs.iter().filter(|a| a.until != 0).map(|a| a.name).collect(),
        }
    }
}

/// Prints the operators whose name contains the argument.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Ops) -> Outcome {
    let wanted = args.name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let mut rows: Vec<Row> =
        planc_ops::all().filter(|o| o.name.to_ascii_lowercase().contains(&wanted)).map(Row::new).collect();
    rows.sort_by_key(|r| (r.domain, r.name));
    if args.json {
        report::print_json(&json!({"newest_opset": NEWEST_OPSET, "count": rows.len(), "ops": rows}))?;
        return Ok(Exit::Ok);
    }
    let count = rows.len();
    let lines = rows.into_iter().map(|r| {
        let name = if r.domain.is_empty() { r.name.to_string() } else { format!("{}::{}", r.domain, r.name) };
        let opsets = r.until.map_or(format!("{}+", r.since), |u| format!("{}-{}", r.since, u - 1));
        vec![name, opsets, format!("({}) -> ({})", r.inputs.join(", "), r.outputs.join(", "))]
    });
    let table = report::table(&["operator", "opsets", "signature"], lines);
    report::print(&format!("{table}{count} operators, opsets to {NEWEST_OPSET}\n"))?;
    Ok(Exit::Ok)
}
