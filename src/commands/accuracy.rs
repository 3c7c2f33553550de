//! `planc accuracy`: the results of a plan beside those of its model in f32.
//!
//! Layers are values that both have: of the plan those that are rounded to codes, which are compared as the numbers that
//! the codes stand for, and those in floats that kept their names.

mod measure;

use crate::args::values::{Budget, Metric};
use crate::args::verbs::Accuracy;
use crate::calibration::Observed;
use crate::driver::{self, Options, passes::Quantised};
use crate::error::{CliError, Exit, Fault};
use crate::io::{npy, samples::Samples};
use crate::report::{self, Progress};
use crate::{Outcome, io, source};
use measure::{Difference, numbers, top1};
use planc_plan::container::SectionKind;
use planc_plan::program::ValueDecl;
use planc_runtime::Plan;
use planc_tensor::{DType, Tensor, View};
use serde::Serialize;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    samples: usize,
    outputs: Vec<Measured>,
    layers: Vec<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top1: Option<Top1>,
    ok: bool,
    /// Budgets that are exceeded.
    exceeded: Vec<String>,
}

#[derive(Serialize)]
struct Measured {
    name: String,
    /// Decibels; null where nothing differs.
    sqnr_db: Option<f64>,
    cosine: f64,
    max_abs: f64,
}

#[derive(Default, Serialize)]
struct Top1 {
    count: usize,
    /// Percent that are right.
    f32: f64,
    plan: f64,
}

/// Compares; the exit code is 1 when a budget is exceeded.
///
/// # Errors
/// Those of opening, compiling and running, and when model, plan, samples and labels do not belong together.
pub fn run(args: &Accuracy) -> Outcome {
    if source::kind(&args.plan)? != source::Kind::Plan {
        let message = format!("{} is no plan", args.plan.display());
        return Err(CliError::new(Fault::NotAPlan, message).file(&args.plan).help("compile the model first"));
    }
    let options = Options::new(&args.compilation)?.in_f32();
    let (opened, session) = source::ready(&args.plan, &args.compilation, &args.execution, args.json)?;
    of_model(&opened.plan, &args.plan, &args.model)?;
    let rounded = rounded(&opened.plan)?;
    let progress = Progress::new(args.json);
    // Values of the plan that may be compared: their names in the model, and how codes become numbers.
    let mut shown: BTreeMap<&str, (&str, Option<&Quantised>)> = BTreeMap::new();
    for v in &opened.plan.main().values {
        match rounded.iter().find(|q| q.codes == v.name) {
            Some(q) => shown.insert(&v.name, (&q.value, Some(q))),
            None if v.dtype.is_float() => shown.insert(&v.name, (&v.name, None)),
            None => None,
        };
    }
    let wanted = |g: &planc_ir::Graph| -> Vec<planc_ir::ValueId> {
        shown.values().filter_map(|(name, _)| g.find(name)).collect()
    };
    let observed = Observed::new(&args.model, &options, args.execution.threads, &wanted, &progress)?;
    let decls: Vec<&ValueDecl> = opened.plan.inputs().collect();
    let mut samples = Samples::open(&args.data, &decls)?;
    let count = args.samples.map_or(samples.len(), |n| n.min(samples.len()));
    let labels = args.labels.as_deref().map(labels).transpose()?;
    let mut outputs: Vec<Difference> = vec![Difference::default(); observed.own];
    let mut layers: BTreeMap<String, (usize, Difference)> = BTreeMap::new();
    let (mut top, mut rows) = (Top1::default(), 0);
    for i in 0..count {
        progress.share("comparing", i, count);
        let sample = samples.get(i)?;
        let want = observed.run(&sample)?;
        let views: Vec<View<'_>> = sample.iter().map(Tensor::view).collect();
        let seen = RefCell::new(Vec::new());
        let got = session.run_observed(&views, &|decl, shape, bytes| {
            if let Some((name, q)) = shown.get(decl.name.as_str())
                && let Some(at) = observed.names.iter().position(|n| n == name).filter(|at| *at >= observed.own)
                && let Some(v) = numbers(decl, shape, bytes, *q)
            {
                seen.borrow_mut().push((at, v));
            }
        })?;
        for ((d, want), got) in outputs.iter_mut().zip(&want).zip(&got) {
            d.add(want, got).map_err(|e| misfit(&args.plan, &e))?;
        }
        for (at, v) in seen.into_inner() {
            let next = layers.len();
            let (_, d) = layers.entry(observed.names[at].clone()).or_insert((next, Difference::default()));
            d.add_numbers(&want[at], &v);
        }
        if let (Some(labels), Some(a), Some(b)) = (&labels, want.first(), got.first()) {
            let (a, b) = (top1(a), top1(b));
            for (a, b) in a.into_iter().zip(b) {
                let label = labels.get(rows).copied();
                let label =
                    label.ok_or_else(|| unusable(args.labels.as_deref(), "it has fewer labels than samples"))?;
                top.f32 += f64::from(u8::from(a == label));
                top.plan += f64::from(u8::from(b == label));
                rows += 1;
            }
        }
    }
    drop(progress);
    let named = |(name, d): (String, &Difference)| Measured {
        name,
        sqnr_db: d.sqnr_db(),
        cosine: d.cosine(),
        max_abs: d.max_abs(),
    };
    let mut layers: Vec<(String, (usize, Difference))> = layers.into_iter().collect();
    layers.sort_by_key(|(_, (at, _))| *at);
    let top1 = labels.is_some().then(|| {
        let percent = |n: f64| n / rows.max(1) as f64 * 100.0;
        Top1 { count: rows, f32: percent(top.f32), plan: percent(top.plan) }
    });
    let mut report = Report {
        samples: count,
        outputs: observed.names.iter().cloned().zip(&outputs).map(named).collect(),
        layers: layers.iter().map(|(name, (_, d))| named((name.clone(), d))).collect(),
        top1,
        ok: true,
        exceeded: vec![],
    };
    report.exceeded = args.max_error.iter().filter_map(|b| exceeded(&report, *b)).collect();
    report.ok = report.exceeded.is_empty();
    let ok = report.ok;
    if args.json {
        report::print_json(&report)?
    } else {
        show(&report)?
    }
    Ok(if ok { Exit::Ok } else { Exit::No })
}

/// Checks that a plan was made of the model at `path`.
fn of_model(plan: &Plan, plan_of: &Path, path: &Path) -> Result<(), CliError> {
    let provenance = section(plan, SectionKind::Provenance)?;
    let (made_of, model) = (provenance["source"]["blake3"].as_str().unwrap_or_default(), driver::digest(path)?);
    if made_of == model {
        return Ok(());
    }
    Err(misfit(plan_of, &format!("it was compiled from model {made_of}, {} is model {model}", path.display())))
}

fn misfit(plan: &Path, what: &str) -> CliError {
    CliError::new(Fault::PlanMalformed, format!("{}: {what}", plan.display())).file(plan)
}

fn section(plan: &Plan, kind: SectionKind) -> Result<Value, CliError> {
    let container = plan.container()?;
    serde_json::from_slice(container.section(kind).unwrap_or(b"{}"))
        .map_err(|e| CliError::new(Fault::PlanMalformed, format!("the {kind} section is not JSON: {e}")))
}

/// The values that a plan computes in codes.
fn rounded(plan: &Plan) -> Result<Vec<Quantised>, CliError> {
    match &section(plan, SectionKind::Decisions)?["quantised"] {
        Value::Null => Ok(vec![]),
        list => serde_json::from_value(list.clone())
            .map_err(|e| CliError::new(Fault::PlanMalformed, format!("the decisions section is malformed: {e}"))),
    }
}

fn unusable(path: Option<&Path>, what: &str) -> CliError {
    let path = path.unwrap_or(Path::new(""));
    CliError::new(Fault::Labels, format!("cannot use {}: {what}", path.display())).file(path)
}

/// The classes in a file.
fn labels(path: &Path) -> Result<Vec<i64>, CliError> {
    let bytes = io::open(path)?;
    let fail = |what: &str| unusable(Some(path), what);
    if path.extension().is_some_and(|e| e == "npy") {
        let tensor = npy::parse(&bytes, None).map_err(|e| fail(&e))?;
        return tensor.view().to_i64().ok_or_else(|| fail("its elements are no integers"));
    }
    let text = std::str::from_utf8(bytes.as_slice()).map_err(|_| fail("it is neither text nor .npy"))?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::parse);
    lines.collect::<Result<_, _>>().map_err(|_| fail("a line is not a number"))
}

/// What exceeds a budget.
fn exceeded(report: &Report, budget: Budget) -> Option<String> {
    let v = budget.value;
    let worst = |what: &str, bad: &dyn Fn(&Measured) -> bool, shown: &dyn Fn(&Measured) -> f64| {
        let found = report.outputs.iter().find(|m| bad(m))?;
        Some(format!("{what} of output {:?} is {:.6}, the budget is {v}", found.name, shown(found)))
    };
    let sqnr = |m: &Measured| m.sqnr_db.unwrap_or(f64::INFINITY);
    match budget.metric {
        Metric::SqnrDb => worst("sqnr_db", &|m| sqnr(m) < v, &sqnr),
        Metric::Cosine => worst("cosine", &|m| m.cosine < v, &|m| m.cosine),
        Metric::MaxAbs => worst("max_abs", &|m| m.max_abs > v, &|m| m.max_abs),
        Metric::Top1 => match &report.top1 {
            None => Some("top1 needs --labels".into()),
            Some(t) if t.f32 - t.plan > v => {
                Some(format!("top1 fell by {:.3} points, the budget is {v}", t.f32 - t.plan))
            }
            Some(_) => None,
        },
    }
}

/// Prints the report as tables.
fn show(report: &Report) -> Result<(), CliError> {
    let row = |what: &str, m: &Measured| {
        let db = m.sqnr_db.map_or("equal".to_string(), |v| format!("{v:.2}"));
        vec![what.to_string(), m.name.clone(), db, format!("{:.6}", m.cosine), format!("{:.3e}", m.max_abs)]
    };
    let rows = report.layers.iter().map(|m| row("layer", m)).chain(report.outputs.iter().map(|m| row("output", m)));
    let mut text = report::table(&["", "name", "sqnr db", "cosine", "max abs"], rows);
    if let Some(t) = &report.top1 {
        text += &format!("top-1 of {}: f32 {:.2} %, plan {:.2} %\n", t.count, t.f32, t.plan);
    }
    report.exceeded.iter().for_each(|e| text += &format!("exceeded: {e}\n"));
    report::print(&text)
}

/// Whether numbers of a type are compared.
fn compares(dtype: DType) -> bool {
    dtype.is_float() || dtype.is_int() || dtype == DType::Bool
}
