//! One run as trace events, for viewers of timelines.
//!
//! The format is the JSON of Chrome's trace event profiling tool, which Perfetto reads: complete events (`ph` is `X`) with times
//! in microseconds. Steps lie in the lane of the thread that runs the plan, tasks in the lane of the thread that did them.

use crate::error::CliError;
use planc_plan::program::Program;
use planc_runtime::{Profile, Session};
use planc_tensor::View;
use serde_json::{Value, json};

/// Process id of all events: there is one.
const PROCESS: usize = 1;

/// Runs once more and tells what was done when.
///
/// # Errors
/// Those of the run.
pub fn take(session: &Session, views: &[View<'_>]) -> Result<Value, CliError> {
    let (_, profile) = session.run_profiled(views, true)?;
    let plan = session.plan();
    Ok(events(&plan.manifest().programs, &profile))
}

/// The trace of a profile. Lane 0 has the steps, lane `i + 1` the tasks of thread `i`.
fn events(programs: &[Program], profile: &Profile) -> Value {
    let us = |d: std::time::Duration| d.as_nanos() as f64 / 1e3;
    let event = |name: &str, category: &str, lane: usize, start, time, args: Value| {
        let (ts, dur) = (us(start), us(time));
        json!({"name": name, "cat": category, "ph": "X", "pid": PROCESS, "tid": lane, "ts": ts, "dur": dur, "args": args})
    };
    let lanes = profile.tasks.iter().map(|t| t.lane + 1).max().unwrap_or(0);
    let lane_name = |lane: usize| {
        let name = if lane == 0 { "steps".to_string() } else { format!("thread {}", lane - 1) };
        json!({"name": "thread_name", "ph": "M", "pid": PROCESS, "tid": lane, "args": {"name": name}})
    };
    let steps = profile.steps.iter().map(|s| {
        let step = &programs[s.program].steps[s.at];
        let args = json!({"inputs": s.inputs, "outputs": s.outputs});
        event(&step.name, step.action.name(), 0, s.start, s.time, args)
    });
    // A task belongs to the step that began last before it: steps within a step begin after that.
    let mut began: Vec<_> = profile.steps.iter().collect();
    began.sort_by_key(|s| s.start);
    let tasks = profile.tasks.iter().map(|t| {
        let step = began.partition_point(|s| s.start <= t.start).checked_sub(1).map(|i| began[i]);
        let step = step.map(|s| &programs[s.program].steps[s.at]);
        let (name, kind) = step.map_or(("task", "task"), |s| (s.name.as_str(), s.action.name()));
        event(name, kind, t.lane + 1, t.start, t.time, json!({}))
    });
    let all: Vec<Value> = (0..=lanes).map(lane_name).chain(steps).chain(tasks).collect();
    json!({"displayTimeUnit": "ms", "traceEvents": all})
}

#[cfg(test)]
mod tests {
    use super::*;
    use planc_kir::Kernel;
    use planc_plan::program::{Action, Step};
    use planc_runtime::{StepTime, TaskTime};
    use std::time::Duration;

    #[test]
    fn steps_and_tasks_have_lanes() {
        let action = Action::Kernel { kernel: Kernel::Tile, epilogue: None, code: None };
        let step = |name: &str| Step { name: name.into(), action: action.clone(), inputs: vec![], outputs: vec![] };
        let program = Program { steps: vec![step("a"), step("b")], ..Program::default() };
        let us = Duration::from_micros;
        let time = |at, start, time| StepTime {
            program: 0,
            at,
            inputs: vec![],
            outputs: vec![],
            start: us(start),
            time: us(time),
        };
        let task = |lane, start, time| TaskTime { lane, start: us(start), time: us(time) };
        let profile =
            Profile { steps: vec![time(0, 0, 10), time(1, 10, 20)], tasks: vec![task(0, 11, 8), task(1, 12, 9)] };
        let trace = events(&[program], &profile);
        let events = trace["traceEvents"].as_array().unwrap();
        let names: Vec<&Value> = events.iter().filter(|e| e["ph"] == "M").map(|e| &e["args"]["name"]).collect();
        assert_eq!(names, ["steps", "thread 0", "thread 1"]);
        let spans: Vec<_> = events.iter().filter(|e| e["ph"] == "X").collect();
        let said: Vec<_> = spans
            .iter()
            .map(|e| {
                (
                    e["name"].as_str().unwrap(),
                    e["tid"].as_u64().unwrap(),
                    e["ts"].as_f64().unwrap(),
                    e["dur"].as_f64().unwrap(),
                )
            })
            .collect();
        assert_eq!(said, [("a", 0, 0.0, 10.0), ("b", 0, 10.0, 20.0), ("b", 1, 11.0, 8.0), ("b", 2, 12.0, 9.0)]);
        assert!(spans.iter().all(|e| e["cat"] == "tile" && e["pid"] == 1));
    }
}
