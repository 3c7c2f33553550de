//! `planc diff`: two graphs or plans compared by name.
//!
//! Both sides are brought to their canonical text, whose lines each define named values; lines are matched by those
//! names, so that a changed node is one change, whatever else moved.

use crate::Outcome;
use crate::args::verbs::{Compilation, Diff};
use crate::driver;
use crate::error::{CliError, Exit, Fault};
use crate::report::{self, Progress, program};
use crate::source::{self, Kind};
use planc_ir::Graph;
use planc_ir::text::Header;
use planc_runtime::{OpenOptions, Plan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Change {
    /// `added`, `removed` or `changed`.
    change: &'static str,
    /// What is defined: `in`, `const`, `node`, `out`...
    what: String,
    /// Its name after those of what encloses it: `loop/body/x`.
    name: String,
    /// The line in `A`.
    before: Option<String>,
    /// The line in `B`.
    after: Option<String>,
}

#[derive(Serialize)]
struct Report {
    equal: bool,
    changes: Vec<Change>,
}

/// Compares two files; exit code 1 when they differ.
///
/// # Errors
/// When one cannot be read, or they cannot be compared.
pub fn run(args: &Diff) -> Outcome {
    let plan_there = source::kind(&args.a)? == Kind::Plan || source::kind(&args.b)? == Kind::Plan;
    let a = canonical(&args.a, plan_there, &args.compilation)?;
    let b = canonical(&args.b, plan_there, &args.compilation)?;
    let changes = compare(&a, &b);
    let equal = changes.is_empty();
    if args.json {
        report::print_json(&Report { equal, changes })?;
    } else {
        let mut text = String::new();
        for c in &changes {
            text += &format!("{} {} {}\n", c.change, c.what, c.name);
            c.before.iter().for_each(|l| text += &format!("- {l}\n"));
            c.after.iter().for_each(|l| text += &format!("+ {l}\n"));
        }
        if equal {
            text += "equal\n";
        }
        report::print(&text)?;
    }
    Ok(if equal { Exit::Ok } else { Exit::No })
}

/// The canonical text of a file; a model is compiled when it is compared with a plan.
fn canonical(path: &Path, as_plan: bool, flags: &Compilation) -> Result<String, CliError> {
    Ok(match source::kind(path)? {
        Kind::Plan => {
            let plan = Plan::open(path, OpenOptions { check_weights: true });
            program::text(&plan.map_err(|e| CliError::from(e).reading(path))?)
        }
        Kind::Ir if as_plan => {
            return Err(
                CliError::new(Fault::Usage, "IR text cannot be compared with a plan").help("give a model or plan")
            );
        }
        Kind::Ir => {
            let (graph, header) = read_ir(path)?;
            planc_ir::text::print(&graph, &Header { after: None, ..header })
        }
        Kind::Model if as_plan => program::text(&source::open(path, flags, false, true)?.plan),
        Kind::Model => {
            let model = driver::import(path, &driver::Options::new(flags)?, &Progress::new(true))?;
            let opset = model.metadata.opsets.iter().find(|(d, _)| d.is_empty()).map(|(_, v)| *v);
            planc_ir::text::print(&model.graph, &Header { opset, after: None })
        }
    })
}

/// Reads a graph from its text. Constants given by hash become their hash.
///
/// # Errors
/// When the file cannot be read or parsed.
pub fn read_ir(path: &Path) -> Result<(Graph, Header), CliError> {
    let bytes = crate::io::open(path)?;
    let fail = |what: String| CliError::new(Fault::IrText, format!("{}: {what}", path.display())).file(path);
    let text = std::str::from_utf8(bytes.as_slice()).map_err(|_| fail("not valid UTF-8".into()))?;
    planc_ir::text::parse_with(text, &|_| None).map_err(|e| fail(e.to_string()).at("line", e.line))
}

/// The lines by the names of what encloses them, the name they define, and what they define.
fn lines(text: &str) -> BTreeMap<(String, String), &str> {
    let mut out = BTreeMap::new();
    // Names of the enclosing definitions, by depth.
    let mut path: Vec<String> = Vec::new();
    for line in text.lines() {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let line = line.trim();
        let (what, name) = key(line);
        if what.is_empty() {
            continue;
        }
        path.resize(depth, String::new());
        // The name of the model does not tell its values apart.
        path.push(if what == "graph" || out.is_empty() { String::new() } else { name.clone() });
        let outer = path[..depth].iter().filter(|p| !p.is_empty()).map(|p| format!("{p}/"));
        let mut unique = (outer.collect::<String>() + &name, what);
        // An output may be there twice.
        while out.contains_key(&unique) {
            unique.1.push('\'');
        }
        out.insert(unique, line);
    }
    out
}

/// What a line defines and the name of the first value it defines; empty for lines that only close something.
fn key(line: &str) -> (String, String) {
    let word = line.split(' ').next().unwrap_or_default();
    match word {
        "" | "}" => (String::new(), String::new()),
        "graph" | "program" | "in" | "const" | "capture" | "out" | "subgraph" => (word.into(), first_name(line)),
        "do" => ("node".into(), line.into()),
        _ => ("node".into(), first_name(line)),
    }
}

/// The first `%name`, `@name` or name after `subgraph` of a line.
fn first_name(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("subgraph ") {
        return rest.split(' ').next().unwrap_or_default().into();
    }
    let Some(at) = line.find(['%', '@']) else { return line.into() };
    let rest = &line[at + 1..];
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = quoted.find(|c| {
            let stop = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            stop
        });
        return quoted[..end.unwrap_or(quoted.len())].into();
    }
    rest.split([':', ' ', ',', '(', ')']).next().unwrap_or_default().into()
}

fn compare(a: &str, b: &str) -> Vec<Change> {
    let (a, b) = (lines(a), lines(b));
    let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let change = |key: &(String, String)| {
        let (before, after) = (a.get(key).copied(), b.get(key).copied());
        let change = match (before, after) {
            (Some(_), None) => "removed",
            (None, _) => "added",
            _ if before == after => return None,
            _ => "changed",
        };
        let (name, what) = key.clone();
        Some(Change { change, what, name, before: before.map(str::to_string), after: after.map(str::to_string) })
    };
    keys.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "graph @g (format 1) {\n  in %x: f32[2]\n  %y: f32[2] = Relu(%x)\n  %z: f32[2] = If(%y)\n    subgraph then_branch @t {\n      %q: f32[2] = Neg(%x)\n      out %q\n    }\n  out %z\n}\n";

    #[test]
    fn lines_are_matched_by_name() {
        assert_eq!(compare(A, A), []);
        let b = A.replace("Relu", "Tanh").replace("Neg", "Abs").replace("  in %x: f32[2]\n", "");
        let changes: Vec<String> =
            compare(A, &b).iter().map(|c| format!("{} {} {}", c.change, c.what, c.name)).collect();
        assert_eq!(changes, ["removed in x", "changed node y", "changed node z/then_branch/q"].map(String::from));
    }

    #[test]
    fn order_does_not_matter() {
        let one = "graph @g (format 1) {\n  %a: f32[] = A()\n  %\"b c\": f32[] = B()\n}\n";
        let two = "graph @g (format 1) {\n  %\"b c\": f32[] = B()\n  %a: f32[] = A()\n}\n";
        assert_eq!(compare(one, two), []);
    }
}
