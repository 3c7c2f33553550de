//! Where the time of an inference goes: a row for each step, and a sum for each kind of kernel.
//!
//! Rates are those of the computation, not of the implementation (`planc_kir::cost`): Winograd's algorithm may pass 100 %
//! of what the machine can multiply. The peak is measured here, in the same process and on as many threads.

use crate::args::verbs::Sort;
use crate::error::{CliError, Fault};
use crate::machine::ms;
use crate::report;
use planc_kernels::peak;
use planc_kir::{Cost, Extents, Kernel};
use planc_plan::program::{Action, Program, Step, ValueIx};
use planc_runtime::pool::ThreadPool;
use planc_runtime::{Session, StepTime};
use planc_tensor::{Layout, View};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs whose steps are timed.
const RUNS: usize = 10;

/// The profile of a plan.
#[derive(Serialize)]
pub struct Report {
    runs: usize,
    /// The median of the runs, in milliseconds.
    total_ms: f64,
    peak: Peak,
    steps: Vec<StepReport>,
    kinds: Vec<Kind>,
}

/// Operations per nanosecond that all threads together could do.
#[derive(Serialize)]
struct Peak {
    fma_gflops: f64,
    dot_gops: f64,
    threads: usize,
    tier: &'static str,
}

/// A step; one in a loop is added up over its iterations.
#[derive(Serialize)]
struct StepReport {
    name: String,
    /// The kernel, and the layout of its weights where that says which implementation it is.
    kind: String,
    /// Extents of the first result, and of all operands.
    shape: Vec<usize>,
    inputs: Vec<Option<Vec<usize>>>,
    /// How often it ran in one inference.
    calls: usize,
    min_ms: f64,
    median_ms: f64,
    mean_ms: f64,
    #[serde(flatten)]
    rates: Rates,
    /// What it is held against, in operations per nanosecond.
    #[serde(skip)]
    peak: f64,
}

/// What a time comes to, given the work.
#[derive(Clone, Copy, Serialize)]
struct Rates {
    /// Percent of the inference.
    share: f64,
    ops: u64,
    bytes: u64,
    gflops: f64,
    gbps: f64,
    /// Percent of the peak; none where nothing is computed.
    peak_percent: Option<f64>,
}

/// All steps of a kind.
#[derive(Serialize)]
struct Kind {
    kind: String,
    steps: usize,
    median_ms: f64,
    #[serde(flatten)]
    rates: Rates,
}

/// What one run said about a step.
#[derive(Default)]
struct Sample {
    time: Duration,
    calls: usize,
    cost: Cost,
}

/// Number of a step within its program, after that of the program.
type Key = (usize, usize);

/// Profiles `session`.
///
/// # Errors
/// Those of the runs, and of starting threads.
pub fn take(session: &Session, views: &[View<'_>], threads: usize, sort: Sort) -> Result<Report, CliError> {
    let programs = &session.plan().manifest().programs;
    let pool = ThreadPool::new(threads.max(1)).map_err(|e| CliError::new(Fault::Internal, e.to_string()))?;
    let isa = session.isa();
    let before = (peak::fma(isa, &pool), peak::dot(isa, &pool));
    let mut samples: BTreeMap<Key, Vec<Sample>> = BTreeMap::new();
    let mut order: Vec<(Key, StepTime)> = vec![];
    let mut totals = vec![];
    for run in 0..RUNS {
        let (_, taken) = session.run_profiled(views, false)?;
        totals.push(top_level(&taken.steps));
        let own = own_times(&taken.steps);
        for (step, time) in taken.steps.into_iter().zip(own) {
            let key = (step.program, step.at);
            let all = samples.entry(key).or_default();
            if all.len() <= run {
                if all.is_empty() {
                    order.push((key, step.clone()));
                }
                all.resize_with(run + 1, Sample::default);
            }
            let sample = &mut all[run];
            let cost = cost(&programs[step.program], &step);
            sample.time += time;
            sample.calls += 1;
            sample.cost.ops += cost.ops;
            sample.cost.bytes += cost.bytes;
        }
    }
    // The clock may have changed; the faster one is what the machine can do.
    let fma = before.0.max(peak::fma(isa, &pool)) / 1e9;
    let dot = before.1.max(peak::dot(isa, &pool)) / 1e9;
    let peak = Peak { fma_gflops: fma, dot_gops: dot, threads: threads.max(1), tier: isa.tier().name() };
    let total_ms = median(totals.iter().map(|t| ms(*t)).collect());
    order.sort_by_key(|(_, step)| step.start);
    let report = |(key, step): (Key, StepTime)| {
        let times: Vec<f64> = samples[&key].iter().map(|s| ms(s.time)).collect();
        let (program, last) = (&programs[key.0], &samples[&key][samples[&key].len() - 1]);
        let peak = peak.of(&program.steps[key.1].action);
        let median_ms = median(times.clone());
        StepReport {
            name: program.steps[key.1].name.clone(),
            kind: kind(program, &program.steps[key.1]),
            shape: step.outputs.iter().flatten().next().cloned().unwrap_or_default(),
            inputs: step.inputs,
            calls: last.calls,
            min_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
            median_ms,
            mean_ms: times.iter().sum::<f64>() / times.len() as f64,
            rates: Rates::new(last.cost, median_ms, total_ms, peak),
            peak,
        }
    };
    let mut steps: Vec<StepReport> = order.into_iter().map(report).collect();
    let kinds = kinds(&steps, total_ms);
    if sort == Sort::Time {
        steps.sort_by(|a, b| b.median_ms.total_cmp(&a.median_ms));
    }
    Ok(Report { runs: RUNS, total_ms, peak, steps, kinds })
}

impl Peak {
    /// The peak that a step is held against, in operations per nanosecond.
    fn of(&self, action: &Action) -> f64 {
        match action {
            Action::Kernel { kernel: Kernel::GemmInteger | Kernel::ConvInteger(_), .. } => self.dot_gops,
            _ => self.fma_gflops,
        }
    }
}

impl Rates {
    fn new(cost: Cost, median_ms: f64, total_ms: f64, peak: f64) -> Rates {
        // Below the resolution of the clock a rate says nothing.
        let per_ns = |n: u64| if median_ms > 1e-4 { n as f64 / (median_ms * 1e6) } else { 0.0 };
        let gflops = per_ns(cost.ops);
        let peak_percent = (cost.ops > 0).then_some(100.0 * gflops / peak);
        let share = 100.0 * median_ms / total_ms.max(1e-9);
        Rates { share, ops: cost.ops, bytes: cost.bytes, gflops, gbps: per_ns(cost.bytes), peak_percent }
    }
}

/// The steps added up by kind, the longest first.
fn kinds(steps: &[StepReport], total_ms: f64) -> Vec<Kind> {
    let mut kinds: BTreeMap<&str, Vec<&StepReport>> = BTreeMap::new();
    for s in steps {
        kinds.entry(&s.kind).or_default().push(s);
    }
    let sum = |(kind, steps): (&str, Vec<&StepReport>)| {
        let median_ms = steps.iter().map(|s| s.median_ms).sum();
        let cost =
            Cost { ops: steps.iter().map(|s| s.rates.ops).sum(), bytes: steps.iter().map(|s| s.rates.bytes).sum() };
        let rates = Rates::new(cost, median_ms, total_ms, steps[0].peak);
        Kind { kind: kind.to_string(), steps: steps.len(), median_ms, rates }
    };
    let mut kinds: Vec<Kind> = kinds.into_iter().map(sum).collect();
    kinds.sort_by(|a, b| b.median_ms.total_cmp(&a.median_ms));
    kinds
}

/// What a step runs: its kernel, and the packed layout that says how.
fn kind(program: &Program, step: &Step) -> String {
    let name = step.action.name();
    let layout = |v: &Option<ValueIx>| v.map_or(Layout::RowMajor, |v| program.values[v as usize].layout);
    let weights = match &step.action {
        Action::Kernel { kernel: Kernel::Reference(r), .. } => return format!("{name} {}", r.name),
        Action::Kernel { code: Some(_), .. } => return format!("{name} generated"),
        _ => step.inputs.get(1).map_or(Layout::RowMajor, layout),
    };
    match weights {
        Layout::RowMajor | Layout::Nchw16c => name.to_string(),
        packed => format!("{name} {packed}"),
    }
}

/// The cost of a step as it ran.
fn cost(program: &Program, time: &StepTime) -> Cost {
    let step = &program.steps[time.at];
    let Action::Kernel { kernel, epilogue, .. } = &step.action else { return Cost::default() };
    let inputs = operands(program, &step.inputs, &time.inputs);
    planc_kir::cost(kernel, epilogue.as_ref(), &inputs, &operands(program, &step.outputs, &time.outputs))
}

/// Values as they were in a run.
fn operands<'a>(
    program: &Program,
    values: &[Option<ValueIx>],
    extents: &'a [Option<Vec<usize>>],
) -> Vec<Option<Extents<'a>>> {
    let typed = |(v, extents): (&Option<ValueIx>, &'a Option<Vec<usize>>)| {
        v.map(|v| program.values[v as usize].dtype).zip(extents.as_deref())
    };
    values.iter().zip(extents).map(typed).collect()
}

/// The time of steps that are in no other one's.
fn top_level(steps: &[StepTime]) -> Duration {
    steps.iter().filter(|s| s.program == 0).map(|s| s.time).sum()
}

/// The time of each step without that of steps within it, which ended before it and began after.
fn own_times(steps: &[StepTime]) -> Vec<Duration> {
    let mut open: Vec<(Duration, Duration)> = vec![];
    let own = |s: &StepTime| {
        let mut inner = Duration::ZERO;
        while let Some((_, time)) = open.pop_if(|(start, _)| *start >= s.start) {
            inner += time;
        }
        open.push((s.start, s.time));
        s.time.saturating_sub(inner)
    };
    steps.iter().map(own).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The profile as tables: steps, then kinds.
pub fn text(r: &Report) -> String {
    let columns = |rates: &Rates, median_ms: f64| {
        let rate = |v: f64| if v > 0.0 { format!("{v:.1}") } else { String::new() };
        [
            format!("{median_ms:.4}"),
            format!("{:.1}", rates.share),
            rate(rates.gflops),
            rates.peak_percent.map_or(String::new(), |p| format!("{p:.0}")),
            rate(rates.gbps),
        ]
    };
    let step = |s: &StepReport| {
        let name: Vec<char> = s.name.chars().collect();
        // The end of a long name tells more than its beginning.
        let name = if name.len() > 40 {
            "…".to_string() + &name[name.len() - 39..].iter().collect::<String>()
        } else {
            s.name.clone()
        };
        let calls = if s.calls == 1 { String::new() } else { format!(" x{}", s.calls) };
        let shapes: Vec<String> = s.inputs.iter().flatten().take(2).map(|d| extents(d)).collect();
        let row = [s.kind.clone() + &calls, name, format!("{} -> {}", shapes.join(", "), extents(&s.shape))];
        row.into_iter().chain(columns(&s.rates, s.median_ms)).collect()
    };
    let kind = |k: &Kind| {
        let row = [k.kind.clone(), k.steps.to_string()];
        row.into_iter().chain(columns(&k.rates, k.median_ms)).collect()
    };
    let rates = ["ms", "%", "GFLOP/s", "% of peak", "GB/s"];
    let header = |first: &[&'static str]| -> Vec<&'static str> { first.iter().chain(&rates).copied().collect() };
    let p = &r.peak;
    format!(
        "\n{}\n{}\nmedians of {} runs, {:.4} ms; peak of {} threads of {}: {:.1} GFLOP/s of f32, {:.1} GOP/s of bytes\n",
        report::table(&header(&["kernel", "step", "shapes"]), r.steps.iter().map(step)),
        report::table(&header(&["kernel", "steps"]), r.kinds.iter().map(kind)),
        r.runs,
        r.total_ms,
        p.threads,
        p.tier,
        p.fma_gflops,
        p.dot_gops,
    )
}

/// Extents as `1x3x224x224`.
fn extents(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".into();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(program: usize, at: usize, start: u64, time: u64) -> StepTime {
        let [start, time] = [start, time].map(Duration::from_micros);
        StepTime { program, at, inputs: vec![], outputs: vec![], start, time }
    }

    #[test]
    fn a_loop_owns_what_its_body_does_not() {
        // A step, then a loop of two iterations of two steps, the second with a branch, then a step.
        let steps = [
            step(0, 0, 0, 5),
            step(1, 0, 10, 3),
            step(2, 0, 14, 2),
            step(1, 1, 13, 4),
            step(1, 0, 20, 3),
            step(1, 1, 23, 1),
            step(0, 1, 9, 20),
            step(0, 2, 30, 7),
        ];
        let own: Vec<u128> = own_times(&steps).iter().map(Duration::as_micros).collect();
        assert_eq!(own, [5, 3, 2, 2, 3, 1, 9, 7]);
        assert_eq!(top_level(&steps), Duration::from_micros(32));
    }

    #[test]
    fn rates_are_of_the_median() {
        let r = Rates::new(Cost { ops: 4_000_000, bytes: 1_000_000 }, 2.0, 8.0, 4.0);
        assert_eq!((r.gflops, r.gbps, r.share, r.peak_percent), (2.0, 0.5, 25.0, Some(50.0)));
        let moved = Rates::new(Cost { ops: 0, bytes: 8 }, 0.0, 8.0, 4.0);
        assert_eq!((moved.gbps, moved.peak_percent), (0.0, None));
    }
}
