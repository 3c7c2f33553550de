//! `planc compile`: a model to a plan, or to the text of its optimised graph.

use crate::Outcome;
use crate::args::verbs::{Compile, Emit};
use crate::driver::{
    self, Stage,
    passes::{NarrowedSummary, Passes},
};
use crate::error::{CliError, Exit, Fault};
use crate::report::{self, Progress};
use crate::{io, machine};
use planc_ir::text::Header;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Default, Serialize)]
struct Report {
    output: Option<String>,
    bytes: u64,
    steps: usize,
    weights_bytes: u64,
    stages: Vec<Stage>,
    #[serde(flatten)]
    passes: Passes,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<NarrowedSummary>,
    warnings: Vec<String>,
    peak_rss_bytes: u64,
}

/// Compiles.
///
/// # Errors
/// Those of the stages, and when the output cannot be written.
pub fn run(args: &Compile, verbose: bool) -> Outcome {
    let path = args.model.as_ref().or(args.onnx.as_ref()).cloned().unwrap_or_default();
    let options = driver::Options::new(&args.compilation)?;
    let emit = if args.stop_after.is_some() { Emit::Ir } else { args.emit };
    let named = args.output.as_ref().or(args.save_engine.as_ref());
    let output = match emit {
        Emit::Ir | Emit::Ptx => named.cloned(),
        Emit::Plan => Some(named.cloned().map_or_else(|| unnamed(&path, args.force), Ok)?),
    };
    if let Some(out) = &output
        && same_file(&path, out)
    {
        return Err(CliError::new(Fault::Usage, format!("{} is the model itself", out.display())));
    }
    let progress = Progress::new(args.json);
    let mut report = Report { output: output.as_ref().map(|p| p.display().to_string()), ..Report::default() };
    if emit == Emit::Ir {
        let mut model = driver::import(&path, &options, &progress)?;
        driver::optimise(&mut model, &options, args.stop_after.as_deref(), &progress)?;
        let opset = model.metadata.opsets.iter().find(|(d, _)| d.is_empty()).map(|(_, v)| *v);
        let after = model.passes.runs.last().map(|r| r.pass.clone());
        let text = planc_ir::text::print(&model.graph, &Header { opset, after });
        (report.stages, report.passes, report.warnings) = (model.stages, model.passes, model.warnings);
        report.bytes = text.len() as u64;
        drop(progress);
        match &output {
            Some(out) => io::write(out, text.as_bytes())?,
            None => report::print(&text)?,
        }
    } else {
        let built = driver::compile(&path, &options, &progress)?;
        report.stages = built.model.stages.clone();
        report.passes = built.model.passes.clone();
        report.warnings = built.model.warnings.clone();
        report.steps = built.steps();
        report.weights_bytes = built.weights_bytes();
        if emit == Emit::Ptx {
            let text = built.ptx()?;
            report.bytes = text.len() as u64;
            drop(progress);
            match &output {
                Some(out) => io::write(out, text.as_bytes())?,
                None => report::print(&text)?,
            }
            return finish(args, verbose, report, emit);
        }
        let layers = args.dump_layer_info.then(|| super::explain::table(built.decisions()));
        progress.stage("writing");
        let out = output.clone().unwrap_or_default();
        report.bytes = built.into_writer()?.write_file(&out).map_err(|e| CliError::from(e).reading(&out))?;
        drop(progress);
        layers.iter().for_each(|l| report::say(l));
    }
    finish(args, verbose, report, emit)
}

/// Says what was done, and writes the report.
fn finish(args: &Compile, verbose: bool, mut report: Report, emit: Emit) -> Outcome {
    report.peak_rss_bytes = machine::peak_rss_bytes();
    report.weights = NarrowedSummary::of(&report.passes.narrowed);
    tell(args, verbose, &report, emit)?;
    if let Some(file) = &args.report {
        io::write_json(file, &report)?;
    }
    Ok(Exit::Ok)
}

/// Says what was done.
fn tell(args: &Compile, verbose: bool, report: &Report, emit: Emit) -> Result<(), CliError> {
    report.warnings.iter().for_each(|w| report::warn(w));
    if verbose {
        report.stages.iter().for_each(|s| report::say(&format!("{:10.1} ms  {}", s.ms, s.stage)));
    }
    // Text on stdout is the data then.
    if args.json && report.output.is_some() {
        return report::print_json(report);
    }
    if let Some(out) = report.output.as_ref().filter(|_| emit == Emit::Plan) {
        let total: f64 = report.stages.iter().map(|s| s.ms).sum();
        let size = report::bytes(report.bytes);
        report::say(&format!("{out}: {size}, {} steps, compiled in {total:.0} ms", report.steps));
        report.weights.iter().for_each(|w| report::say(&w.line()));
    }
    Ok(())
}

/// The output of a model without `-o`, which must not exist unless `force`.
fn unnamed(model: &Path, force: bool) -> Result<PathBuf, CliError> {
    let out = model.with_extension("plan");
    if !force && out.exists() {
        return Err(CliError::new(Fault::Exists, format!("{} exists already", out.display()))
            .file(&out)
            .help("name the output with -o, or give --force"));
    }
    Ok(out)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
