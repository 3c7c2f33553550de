//! `planc bench`: how long inferences take.
//!
//! Wall time and the processor time of all threads are taken around each inference, after opening the plan, a first
//! inference, and the warm-up. Profiles are taken in runs of their own, after the
//! measured ones.

mod profile;
mod trace;

use crate::Outcome;
use crate::args::verbs::Bench;
use crate::error::{CliError, Exit, Fault};
use crate::io::{self, inputs};
use crate::machine::{self, ms};
use crate::{report, source};
use planc_runtime::Session;
use planc_tensor::{Tensor, View};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// What a series of measurements comes to, in milliseconds per inference.
#[derive(Serialize)]
struct Series {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    mean: f64,
    samples: Vec<f64>,
}

impl Series {
    fn new(samples: Vec<f64>) -> Series {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank: the smallest sample that `p` percent of all are not above.
        let rank = |p: usize| sorted.get((sorted.len() * p).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0);
        let mean = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
        Series {
            min: sorted.first().copied().unwrap_or(0.0),
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            mean,
            samples,
        }
    }
}

#[derive(Serialize)]
struct Regression {
    baseline_p50_ms: f64,
    slower_percent: f64,
    max_percent: f64,
    ok: bool,
}

#[derive(Serialize)]
struct Report {
    threads: usize,
    cpu_features: String,
    compile_ms: Option<f64>,
    load_ms: f64,
    first_run_ms: f64,
    iterations: usize,
    wall_ms: Series,
    cpu_ms: Series,
    peak_rss_bytes: u64,
    arena_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    regression: Option<Regression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<profile::Report>,
}

/// Seconds measured where neither iterations nor a duration are given.
const DEFAULT_DURATION: f64 = 3.0;
/// Inferences measured at least where no number is given.
const MIN_ITERATIONS: usize = 10;
/// Samples kept at most: 100 million would fill the memory.
const MAX_ITERATIONS: usize = 10_000_000;

/// Measures a plan or model.
///
/// # Errors
/// Those of compiling and opening, of the inputs, and of the runs.
pub fn run(args: &Bench) -> Outcome {
    let path = args.subject.file();
    let (opened, session) = source::ready(&path, &args.compilation, &args.execution, args.json)?;
    let load_ms = opened.load_ms;
    let mut flags = args.inputs.clone();
    // Times rarely depend on values: made-up inputs do where none are given.
    if flags.inputs.is_none() && flags.input.is_empty() && flags.load_inputs.is_none() {
        flags.random.get_or_insert(1);
    }
    let given = inputs::collect(&inputs::ports(&opened.plan), &flags)?;
    let views: Vec<View<'_>> = given.tensors.iter().map(Tensor::view).collect();
    let baseline = args.baseline.as_deref().map(baseline).transpose()?;

    let started = Instant::now();
    session.run(&views)?;
    let first_run_ms = ms(started.elapsed());
    let started = Instant::now();
    let long_enough = |d: Option<f64>| d.is_none_or(|d| started.elapsed().as_secs_f64() * 1e3 >= d);
    let mut warm = 1;
    while warm < args.warmup || !long_enough(args.warm_up) {
        session.run(&views)?;
        warm += 1;
    }
    let (wall, cpu) = measure(&session, &views, args)?;
    let wall_ms = Series::new(wall);
    let regression = baseline.zip(args.max_regress).map(|(p50, max_percent)| {
        let slower_percent = (wall_ms.p50 / p50 - 1.0) * 100.0;
        Regression { baseline_p50_ms: p50, slower_percent, max_percent, ok: slower_percent <= max_percent }
    });
    let mut profile = None;
    if let Some(to) = args.profile.clone().or(args.export_profile.clone().map(Some)) {
        let taken = profile::take(&session, &views, args.execution.threads, args.sort)?;
        match to {
            Some(file) => io::write_json(&file, &taken)?,
            None => profile = Some(taken),
        }
    }
    if let Some(file) = &args.trace {
        io::write_json(file, &trace::take(&session, &views)?)?;
    }
    let bind = |name: &str| given.bound.get(name).copied();
    let report = Report {
        threads: args.execution.threads,
        cpu_features: args
            .execution
            .cpu_features
            .clone()
            .unwrap_or_else(|| planc_kernels::isa::Tier::detect().to_string()),
        compile_ms: opened.compile_ms,
        load_ms,
        first_run_ms,
        iterations: wall_ms.samples.len(),
        wall_ms,
        cpu_ms: Series::new(cpu),
        peak_rss_bytes: machine::peak_rss_bytes(),
        arena_bytes: opened.plan.arena_bytes(&bind).unwrap_or(0),
        regression,
        profile,
    };
    if args.json {
        report::print_json(&report)?
    } else {
        show(&report)?
    }
    Ok(if report.regression.is_some_and(|r| !r.ok) { Exit::No } else { Exit::Ok })
}

/// Wall and processor milliseconds of each inference.
fn measure(session: &Session, views: &[View<'_>], args: &Bench) -> Result<(Vec<f64>, Vec<f64>), CliError> {
    let (least, duration) = match (args.iterations, args.duration) {
        (Some(n), d) => (n.max(1), d.unwrap_or(0.0)),
        (None, d) => (MIN_ITERATIONS, d.unwrap_or(DEFAULT_DURATION)),
    };
    let (mut wall, mut cpu) =
        (Vec::with_capacity(least.min(MAX_ITERATIONS)), Vec::with_capacity(least.min(MAX_ITERATIONS)));
    let started = Instant::now();
    while wall.len() < MAX_ITERATIONS && (wall.len() < least || started.elapsed().as_secs_f64() < duration) {
        let (busy, at) = (machine::cpu_time(), Instant::now());
        session.run(views)?;
        wall.push(ms(at.elapsed()));
        cpu.push(ms(machine::cpu_time().saturating_sub(busy)));
    }
    Ok((wall, cpu))
}

/// The median of an earlier report.
fn baseline(path: &Path) -> Result<f64, CliError> {
    let fail = |what: &str| {
        CliError::new(Fault::Baseline, format!("cannot use the baseline {}: {what}", path.display())).file(path)
    };
    let text = std::fs::read(path).map_err(|e| fail(&io::system(&e)))?;
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|_| fail("it is not JSON"))?;
    let p50 = json["wall_ms"]["p50"].as_f64().filter(|v| *v > 0.0);
    p50.ok_or_else(|| fail("it has no wall_ms.p50, so it was not written by `planc bench --json`"))
}

/// Prints the measurements as a table.
fn show(r: &Report) -> Result<(), CliError> {
    let row = |name: &str, s: &Series| {
        let numbers = [s.min, s.p50, s.p90, s.p99, s.mean].map(|v| format!("{v:.4}"));
        std::iter::once(name.to_string()).chain(numbers).collect()
    };
    let rows = [row("wall", &r.wall_ms), row("cpu", &r.cpu_ms)];
    let mut text = report::table(&["ms", "min", "p50", "p90", "p99", "mean"], rows);
    let compiled = r.compile_ms.map_or(String::new(), |c| format!("compile {c:.1} ms, "));
    text += &format!(
        "{} inferences, {} threads, {}; {compiled}load {:.3} ms, first run {:.3} ms, peak memory {}, arena {}\n",
        r.iterations,
        r.threads,
        r.cpu_features,
        r.load_ms,
        r.first_run_ms,
        report::bytes(r.peak_rss_bytes),
        report::bytes(r.arena_bytes),
    );
    if let Some(g) = &r.regression {
        let verdict = if g.ok { "ok" } else { "SLOWER" };
        text += &format!(
            "{verdict}: median {:+.1} % against the baseline of {:.4} ms, allowed {:+.1} %\n",
            g.slower_percent, g.baseline_p50_ms, g.max_percent
        );
    }
    if let Some(p) = &r.profile {
        text += &profile::text(p);
    }
    report::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let s = Series::new((1..=100).rev().map(f64::from).collect());
        assert_eq!((s.min, s.p50, s.p90, s.p99, s.mean), (1.0, 50.0, 90.0, 99.0, 50.5));
        let one = Series::new(vec![2.0]);
        assert_eq!((one.min, one.p50, one.p99), (2.0, 2.0, 2.0));
    }
}
