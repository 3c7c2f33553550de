//! `planc tune`: which algorithm is the fastest for each layer on this machine.
//!
//! The layers are measured where they are: for each algorithm there is a plan that uses it wherever it can, whole inferences of
//! these plans take turns, and the steps are timed. So a layer finds its weights and images as far away as the rest of
//! the model leaves them, which a loop over one layer would not, and what else runs on the machine meets all algorithms.

use crate::Outcome;
use crate::args::verbs::Tune;
use crate::driver::tuning::{Layer, Tuning};
use crate::driver::{self, Options};
use crate::error::{CliError, Exit, Fault};
use crate::io::{self, inputs};
use crate::report::{self, Progress};
use crate::source;
use planc_cpu::Algorithm;
use planc_runtime::Session;
use planc_tensor::{Tensor, View};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Seconds measured where no duration is given.
const DEFAULT_DURATION: f64 = 5.0;
/// Inferences of each algorithm at least, the first of which warms up.
const LEAST_RUNS: usize = 5;
/// By how much an algorithm has to be faster than the one that the model of costs chooses: less is noise.
const MARGIN: f64 = 0.03;

/// The least time of each layer by algorithm, in microseconds. What else runs on the machine only adds to a time, and adds more
/// to a long one, so that a median would favour short steps.
type Least = BTreeMap<String, BTreeMap<Algorithm, f64>>;

/// Tunes.
///
/// # Errors
/// Those of compiling, of the inputs, of the runs, and when the file cannot be written.
pub fn run(args: &Tune) -> Outcome {
    let options = Options::new(&args.compilation)?;
    if options.device().is_some() || args.compilation.tuning.is_some() {
        let message = "kernels of processors are tuned, from the choices of the model of costs";
        return Err(CliError::new(Fault::Usage, message).help("leave out --tuning and device targets"));
    }
    let progress = Progress::new(args.json);
    let mut model = driver::import(&args.model, &options, &progress)?;
    driver::optimise(&mut model, &options, None, &progress)?;
    progress.stage("generating code");
    let (plan, by_cost) = driver::chosen_in_memory(&model.graph, &options, BTreeMap::new())?;
    let mut flags = args.inputs.clone();
    if flags.inputs.is_none() && flags.input.is_empty() && flags.load_inputs.is_none() {
        flags.random.get_or_insert(1);
    }
    let plan = Arc::new(plan);
    let given = inputs::collect(&inputs::ports(&plan), &flags)?;
    let views: Vec<View<'_>> = given.tensors.iter().map(Tensor::view).collect();
    let mut sessions = vec![];
    for algorithm in Algorithm::ALL.into_iter().filter(|_| !by_cost.is_empty()) {
        let everywhere = by_cost.keys().map(|name| (name.clone(), algorithm)).collect();
        let (plan, _) = driver::chosen_in_memory(&model.graph, &options, everywhere)?;
        let session = source::session(&Arc::new(plan), &args.execution, args.compilation.max_memory, None)?;
        sessions.push((algorithm, session));
    }
    let (least, runs) = measure(&sessions, &views, &by_cost, args, &progress)?;
    drop(progress);
    let layers = by_cost.iter().filter_map(|(name, cheapest)| {
        let times = least.get(name)?.iter().map(|(a, us)| (*a, *us)).collect();
        Some((name.clone(), choose(*cheapest, times)))
    });
    let tier = sessions.first().map_or("any", |(_, s)| s.isa().tier().name());
    let tuning = Tuning {
        model: driver::digest(&args.model)?,
        machine: format!("{tier}, {} threads", args.execution.threads),
        runs,
        layers: layers.collect(),
    };
    io::write(&args.output, tuning.print().as_bytes())?;
    let changed = tuning.layers.iter().filter(|(name, l)| by_cost[*name] != l.chosen).count();
    if args.json {
        let layer = |(name, l): (&String, &Layer)| {
            let times: serde_json::Map<_, _> = l.times.iter().map(|(a, us)| (a.name().into(), (*us).into())).collect();
            json!({"name": name, "chosen": l.chosen.name(), "by_cost": by_cost[name].name(), "us": times})
        };
        report::print_json(&json!({
            "output": args.output.display().to_string(),
            "model": tuning.model,
            "runs": runs,
            "changed": changed,
            "layers": tuning.layers.iter().map(layer).collect::<Vec<_>>(),
        }))?;
    } else {
        let all = tuning.layers.len();
        let text = format!("{}: {all} layers with a choice, {changed} otherwise than by cost", args.output.display());
        report::say(&text);
    }
    Ok(Exit::Ok)
}

/// The least times of the layers with a choice, and how often each algorithm ran.
fn measure(
    sessions: &[(Algorithm, Session)],
    views: &[View<'_>],
    layers: &BTreeMap<String, Algorithm>,
    args: &Tune,
    progress: &Progress,
) -> Result<(Least, usize), CliError> {
    let mut least = Least::new();
    if sessions.is_empty() {
        return Ok((least, 0));
    }
    let duration = args.duration.unwrap_or(DEFAULT_DURATION);
    let (started, mut runs) = (Instant::now(), 0);
    while runs <= LEAST_RUNS || started.elapsed().as_secs_f64() < duration {
        progress.share("measuring, seconds", started.elapsed().as_secs_f64() as usize, duration.ceil() as usize);
        for (algorithm, session) in sessions {
            let (_, profile) = session.run_profiled(views, false)?;
            let programs = &session.plan().manifest().programs;
            for step in profile.steps.iter().filter(|_| runs > 0) {
                let name = &programs[step.program].steps[step.at].name;
                if layers.contains_key(name) {
                    let of = least.entry(name.clone()).or_default().entry(*algorithm).or_insert(f64::INFINITY);
                    *of = of.min(step.time.as_secs_f64() * 1e6);
                }
            }
        }
        runs += 1;
    }
    Ok((least, runs - 1))
}

/// The fastest algorithm, if it is faster than the one of least cost by more than [`MARGIN`].
fn choose(cheapest: Algorithm, times: Vec<(Algorithm, f64)>) -> Layer {
    let time = |of: Algorithm| times.iter().find(|(a, _)| *a == of).map_or(f64::INFINITY, |(_, us)| *us);
    let fastest = times.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(cheapest, |(a, _)| *a);
    let gains = time(fastest) < time(cheapest) * (1.0 - MARGIN);
    Layer { chosen: if gains { fastest } else { cheapest }, times }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Algorithm::{Direct, Winograd};

    #[test]
    fn noise_does_not_change_a_choice() {
        for (cheapest, direct, winograd, chosen) in [
            (Direct, 100.0, 98.0, Direct),
            (Direct, 100.0, 96.0, Winograd),
            (Winograd, 98.0, 100.0, Winograd),
            (Winograd, 50.0, 100.0, Direct),
        ] {
            assert_eq!(choose(cheapest, vec![(Direct, direct), (Winograd, winograd)]).chosen, chosen);
        }
        assert_eq!(choose(Winograd, vec![]).chosen, Winograd);
    }
}
