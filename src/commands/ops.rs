//! `planc ops`: the operator table, how each operator is computed, and how many cases of ONNX's own suites it passes.

mod lowering;

use crate::Outcome;
use crate::args::verbs::Ops;
use crate::error::{CliError, Exit};
use crate::report;
use lowering::Lowering;
use planc_ops::{NEWEST_OPSET, OpDef, Param, ParamKind, TypeSet};
use planc_tensor::DType;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Cases about each operator: how many pass, and how many there are. `scripts/conformance/run.py --write` makes it.
const COUNTS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/conformance/counts.txt"));

/// The domain of operators that only passes make.
const INTERNAL: &str = "planc";

#[derive(Serialize)]
struct Row {
    name: &'static str,
    domain: &'static str,
    since: u32,
    /// First opset without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u32>,
    /// Opsets whose definitions are upgraded to a newer one.
    upgraded_to: Vec<u32>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// Type variable of each operand and result.
    variables: Variables,
    /// Element types of each type variable.
    types: BTreeMap<&'static str, Vec<&'static str>>,
    attributes: Vec<&'static str>,
    cpu: Lowering,
    cuda: Lowering,
    /// Cases of ONNX's suites about it.
    cases: Cases,
}

#[derive(Serialize)]
struct Variables {
    inputs: Vec<&'static str>,
    outputs: Vec<&'static str>,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Cases {
    passing: usize,
    total: usize,
}

impl Row {
    fn new(op: &'static OpDef, counts: &BTreeMap<&str, Cases>) -> Row {
        let params = |list: &'static [Param]| {
            let text = |p: &Param| match p.kind {
                ParamKind::Required => p.name.to_string(),
                ParamKind::Optional => format!("{}?", p.name),
                ParamKind::Variadic | ParamKind::Heterogeneous => format!("{}...", p.name),
            };
            list.iter().map(text).collect()
        };
        let variables = |list: &'static [Param]| list.iter().map(|p| p.ty).collect();
        let names = |set: TypeSet| set.iter().map(DType::name).collect();
        let [cpu, cuda] = lowering::of(op);
        let mut row = Row {
            name: op.name,
            domain: op.domain,
            since: op.since,
            until: Some(op.until).filter(|u| *u != u32::MAX),
            upgraded_to: op.upgrades.iter().map(|u| u.to).collect(),
            inputs: params(op.inputs),
            outputs: params(op.outputs),
            variables: Variables { inputs: variables(op.inputs), outputs: variables(op.outputs) },
            types: op.types.iter().map(|(name, set)| (*name, names(*set))).collect(),
            // Internal attributes are not part of ONNX.
            attributes: op.attrs.iter().filter(|a| a.until != 0).map(|a| a.name).collect(),
            cpu,
            cuda,
            cases: Cases::default(),
        };
        row.cases = counts.get(row.title().as_str()).copied().unwrap_or_default();
        row
    }

    /// The operator with its domain, which ai.onnx goes without.
    fn title(&self) -> String {
        if self.domain.is_empty() { self.name.to_string() } else { format!("{}::{}", self.domain, self.name) }
    }

    fn opsets(&self) -> String {
        self.until.map_or(format!("{}+", self.since), |u| format!("{}-{}", self.since, u - 1))
    }

    fn signature(&self) -> String {
        format!("({}) -> ({})", self.inputs.join(", "), self.outputs.join(", "))
    }

    /// The element types that its operands may have: by type variable, where there are several.
    fn element_types(&self) -> String {
        // Variables named after types have one type each.
        let used = self.types.iter().filter(|(name, _)| self.variables.inputs.contains(*name) && !name.contains('('));
        let texts: Vec<(&str, String)> = used.map(|(name, types)| (*name, types_text(types))).collect();
        match texts.as_slice() {
            [(_, one)] => one.clone(),
            several => several.iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join("; "),
        }
    }

    fn cases_text(&self) -> String {
        if self.cases.total == 0 { String::new() } else { format!("{}/{}", self.cases.passing, self.cases.total) }
    }
}

/// A set of element types in few words.
fn types_text(types: &[&'static str]) -> String {
    let groups = [
        ("any", TypeSet::ALL),
        ("all but complex", TypeSet::ALL.but(TypeSet::COMPLEX)),
        ("numbers", TypeSet::NUMERIC),
        ("integers", TypeSet::INT),
        ("floats", TypeSet::FLOAT),
        ("signed", TypeSet::SIGNED),
        ("unsigned", TypeSet::UNSIGNED),
        ("float8", TypeSet::FLOAT8),
    ];
    let mut left = types.to_vec();
    let mut words = vec![];
    for (word, group) in groups {
        let names: Vec<&str> = group.iter().map(DType::name).collect();
        if names.iter().all(|n| left.contains(n)) {
            left.retain(|n| !names.contains(n));
            words.push(word);
        }
    }
    words.extend(left);
    words.join(" ")
}

/// The counts by operator.
fn counts() -> BTreeMap<&'static str, Cases> {
    let line = |line: &'static str| {
        let mut words = line.split(' ');
        let name = words.next()?;
        Some((name, Cases { passing: words.next()?.parse().ok()?, total: words.next()?.parse().ok()? }))
    };
    COUNTS.lines().filter(|l| !l.starts_with('#')).filter_map(line).collect()
}

/// Prints the operators whose name contains the argument.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Ops) -> Outcome {
    let wanted = args.name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let counts = counts();
    let chosen = planc_ops::all().filter(|o| o.name.to_ascii_lowercase().contains(&wanted));
    let mut rows: Vec<Row> = chosen.map(|o| Row::new(o, &counts)).collect();
    rows.sort_by_key(|r| (r.domain, r.name));
    if args.json {
        report::print_json(&json!({"newest_opset": NEWEST_OPSET, "count": rows.len(), "ops": rows}))?;
    } else if args.markdown {
        report::print(&page(&rows))?;
    } else {
        show(&rows, args.name.is_some())?;
    }
    Ok(Exit::Ok)
}

/// The table on a terminal; signatures make its lines long, so they are left out of the whole list.
fn show(rows: &[Row], signatures: bool) -> Result<(), CliError> {
    let mut header = vec!["operator", "opsets", "cpu", "cuda", "cases", "types"];
    if signatures {
        header.push("signature");
    }
    let lines = rows.iter().map(|r| {
        let (cpu, cuda) = (r.cpu.text(), r.cuda.text());
        let mut line = vec![r.title(), r.opsets(), cpu, cuda, r.cases_text(), r.element_types()];
        line.extend(signatures.then(|| r.signature()));
        line
    });
    let table = report::table(&header, lines);
    report::print(&format!("{table}{} operators, opsets to {NEWEST_OPSET}\n", rows.len()))
}

const PAGE: &str = "# Operators

This page is printed by `planc ops --markdown`; a test compares both.

- **opsets**: of the operator's domain. Definitions of old opsets are upgraded to the newest when a model is read.
- **types**: element types of the operands, by type variable where there are several. *numbers* are integers of 8 to 64 bits and
  floats; *floats* are f16, bf16, f32 and f64.
- **CPU**, **CUDA**: how nodes with typical operands are computed, found out by asking the backends: the kernel; *decomposed*
  into the kernels named; *none*, no step at all, as the bytes or the value are known; *reference*, the slow evaluation that every operator has; *host*, a kernel or evaluation of the CPU in a
  plan for a device; *control*, programs of its bodies. `planc explain MODEL` says it of the nodes of a model.
- **cases**: those of all versions of ONNX's backend test suite that are about the operator, and how many of them pass
  (`scripts/conformance/expectations.txt` says why others do not).

";

fn page(rows: &[Row]) -> String {
    let mut text = PAGE.to_string();
    let mut domain = None;
    for r in rows.iter().filter(|r| r.domain != INTERNAL) {
        if domain.replace(r.domain) != Some(r.domain) {
            let name = if r.domain.is_empty() { "ai.onnx" } else { r.domain };
            let _ = write!(text, "{}## {name}\n\n", if text.ends_with("|\n") { "\n" } else { "" });
            text += "| operator | opsets | CPU | CUDA | cases | types |\n|---|---|---|---|---|---|\n";
        }
        let cells = [r.name.into(), r.opsets(), r.cpu.text(), r.cuda.text(), r.cases_text(), r.element_types()];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_in_few_words() {
        let text = |set: TypeSet| types_text(&set.iter().map(DType::name).collect::<Vec<_>>());
        assert_eq!(text(TypeSet::ALL), "any");
        assert_eq!(text(TypeSet::ALL.but(TypeSet::COMPLEX)), "all but complex");
        assert_eq!(text(TypeSet::NUMERIC.or(TypeSet::BOOL)), "numbers bool");
        assert_eq!(text(TypeSet::SIGNED.or(TypeSet::FLOAT)), "floats signed");
        assert_eq!(text(TypeSet::of(&[DType::I64, DType::F32])), "f32 i64");
    }

    #[test]
    fn counts_are_of_operators_that_exist() {
        let counts = counts();
        assert!(counts.len() > 150 && counts.values().all(|c| c.passing <= c.total && c.total > 0));
        let known = |name: &&&str| {
            let (domain, name) = name.split_once("::").unwrap_or(("", name));
            planc_ops::find(domain, name).is_some()
        };
        let unknown: Vec<_> = counts.keys().filter(|n| !known(n)).collect();
        assert!(unknown.iter().all(|n| counts[**n].passing == 0), "{unknown:?}");
    }
}
