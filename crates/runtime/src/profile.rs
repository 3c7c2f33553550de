//! What a run took: the steps, and on request the tasks of its threads.
//!
//! Times are taken only in runs that are asked for them. A task's time costs two readings of the clock and a lock, so
//! tasks are recorded apart from steps: a profile of steps alone disturbs what it measures least.

use crate::pool::ThreadPool;
use planc_kernels::par::Parallel;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// How long a step took.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// Number of the program that the step is in; 0 is the model.
    pub program: usize,
    /// Number of the step within its program.
    pub at: usize,
    /// Extents of the operands.
    pub inputs: Vec<Option<Vec<usize>>>,
    /// Extents of the results.
    pub outputs: Vec<Option<Vec<usize>>>,
    /// When it began, since the run did.
    pub start: Duration,
    /// Wall time.
    pub time: Duration,
}

/// How long a thread worked on a part of a step.
#[derive(Clone, Copy, Debug)]
pub struct TaskTime {
    /// Which thread; 0 is the one that called.
    pub lane: usize,
    /// When it began, since the run did.
    pub start: Duration,
    /// Wall time.
    pub time: Duration,
}

/// What a run took.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The steps in the order in which they ended; steps of control-flow bodies lie within the time of their step.
    pub steps: Vec<StepTime>,
    /// The tasks that kernels cut their work into, where they were asked for.
    pub tasks: Vec<TaskTime>,
}

/// Collects a profile.
pub(crate) struct Recorder<'s> {
    began: Instant,
    steps: Mutex<Vec<StepTime>>,
    tasks: Option<Tasks<'s>>,
}

/// The session's threads, whose tasks are timed.
struct Tasks<'s> {
    pool: &'s ThreadPool,
    done: Mutex<Vec<(ThreadId, Instant, Duration)>>,
}

impl<'s> Recorder<'s> {
    /// A recorder of steps, and of the tasks on `pool` where that is given.
    pub(crate) fn new(pool: Option<&'s ThreadPool>) -> Recorder<'s> {
        let tasks = pool.map(|pool| Tasks { pool, done: Mutex::default() });
        Recorder { began: Instant::now(), steps: Mutex::default(), tasks }
    }

    /// Threads that record what they do, if tasks are recorded.
    pub(crate) fn threads(&self) -> Option<&dyn Parallel> {
        self.tasks.as_ref().map(|t| t as &dyn Parallel)
    }

    /// Time since the run began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn push(&self, step: StepTime) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    /// What was recorded. Lanes are numbered in the order in which threads first ended a task, after the caller's.
    pub(crate) fn finish(self) -> Profile {
        let mut lanes = vec![thread::current().id()];
        let done = self.tasks.map(|t| t.done.into_inner().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default();
        let task = |(thread, start, time): (ThreadId, Instant, Duration)| {
            let lane = lanes.iter().position(|l| *l == thread).unwrap_or_else(|| {
                lanes.push(thread);
                lanes.len() - 1
            });
            TaskTime { lane, start: start.duration_since(self.began), time }
        };
        let tasks = done.into_iter().map(task).collect();
        Profile { steps: self.steps.into_inner().unwrap_or_else(PoisonError::into_inner), tasks }
    }
}

impl Parallel for Tasks<'_> {
    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        Parallel::run(self.pool, tasks, &|i| {
            let start = Instant::now();
            f(i);
            let done = (thread::current().id(), start, start.elapsed());
            self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        });
    }
}
