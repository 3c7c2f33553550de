//! Running plans: the session and what callers choose about it.

use crate::arena::{Placement, place};
use crate::code::Code;
use crate::cuda::{Device, DeviceMemory, Driver};
use crate::error::{RunError, SessionError};
use crate::frame::Run;
use crate::plan::Plan;
use crate::pool::ThreadPool;
use crate::profile::{Profile, Recorder};
use crate::symbols::Symbols;
use planc_kernels::dispatch::Scratch;
use planc_kernels::isa::{Isa, Tier};
use planc_kir::Reference;
use planc_plan::program::ValueDecl;
use planc_tensor::{AlignedBuf, Tensor, View};
use std::sync::{Arc, Mutex, PoisonError};

/// Why an operator has no results; one sentence, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Valid, but not done.
    Unsupported(String),
    /// Beyond the memory limit.
    Limit(String),
    /// These values have none.
    Values(String),
}

/// Evaluates operators that have no kernel. The operator table implements it; an embedded runtime may leave it out.
pub trait ReferenceOps: Send + Sync {
    /// The results of `op` on these operands, none above `memory_limit` bytes.
    ///
    /// # Errors
    /// When the operator is not known or refuses the operands.
    fn eval(&self, op: &Reference, inputs: &[Option<View<'_>>], memory_limit: usize) -> Result<Vec<Tensor>, Refusal>;
}

/// Knows no operator: plans that need one fail with a clear error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReference;

impl ReferenceOps for NoReference {
    fn eval(&self, op: &Reference, _: &[Option<View<'_>>], _: usize) -> Result<Vec<Tensor>, Refusal> {
        let what = format!("operator {} has no kernel and this runtime has no reference evaluation", op.name);
        Err(Refusal::Unsupported(what))
    }
}

/// How a session runs.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Threads that work on one run, the caller's included.
    pub threads: usize,
    /// The best instruction set that may be used.
    pub tier: Tier,
    /// Bytes that one value, or the arena, may have at most.
    pub memory_limit: usize,
    /// Run no code that the plan contains; what it would compute is interpreted, which is slow.
    pub data_only: bool,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions { threads: 1, tier: Tier::detect(), memory_limit: 8 << 30, data_only: false }
    }
}

/// Is shown a value: what the plan says about it, its extents in this run, and its bytes in the layout of the plan
/// (none for strings, and for what only a device has).
pub type Observer<'o> = &'o dyn Fn(&ValueDecl, &[usize], &[u8]);

/// Memory that runs reuse.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) arena: Option<AlignedBuf>,
    pub(crate) scratch: Scratch,
    pub(crate) device: DeviceMemory,
}

/// A plan ready to run. Several threads may run it at once.
pub struct Session {
    pub(crate) plan: Arc<Plan>,
    pub(crate) options: SessionOptions,
    pub(crate) isa: Isa,
    pub(crate) pool: ThreadPool,
    /// Code of the plan that this machine may run.
    pub(crate) code: Option<Code>,
    /// The device that runs steps with a launch.
    pub(crate) device: Option<Device>,
    pub(crate) reference: Arc<dyn ReferenceOps>,
    workspaces: Mutex<Vec<Workspace>>,
    placements: Mutex<Vec<(usize, Symbols, Arc<Placement>)>>,
}

/// Placements remembered: models are run at a handful of extents.
const MAX_PLACEMENTS: usize = 64;

impl Session {
    /// A session over `plan`.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn new(
        plan: Arc<Plan>,
        options: SessionOptions,
        reference: Arc<dyn ReferenceOps>,
    ) -> Result<Session, SessionError> {
        Session::build(plan, options, reference, None)
    }

    /// A session over a plan for a device, whose weights are copied there now.
    ///
    /// # Errors
    /// When the device does not take the plan's kernels, or threads cannot be started.
    pub fn on_device(
        plan: Arc<Plan>,
        options: SessionOptions,
        reference: Arc<dyn ReferenceOps>,
        driver: Arc<dyn Driver>,
    ) -> Result<Session, SessionError> {
        let device = Device::load(&plan, driver)?;
        Session::build(plan, options, reference, Some(device))
    }

    fn build(
        plan: Arc<Plan>,
        options: SessionOptions,
        reference: Arc<dyn ReferenceOps>,
        device: Option<Device>,
    ) -> Result<Session, SessionError> {
        let isa = Isa::at_most(options.tier);
        let code = if options.data_only { None } else { Code::load(&plan, isa.tier()) };
        Ok(Session {
            plan,
            options,
            isa,
            code,
            device,
            pool: ThreadPool::new(options.threads.max(1))?,
            reference,
            workspaces: Mutex::default(),
            placements: Mutex::default(),
        })
    }

    /// Whether code that the plan contains is run: it has some for this machine, and it may be executed.
    pub fn runs_code(&self) -> bool {
        self.code.is_some()
    }

    /// The instruction set it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the plan on `inputs`, one per input of the plan in order; its outputs, in order.
    ///
    /// # Errors
    /// When the inputs do not fit the plan, a step refuses its values, or memory runs out.
    pub fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, RunError> {
        Run::new(self, None, None).main(inputs)
    }

    /// As [`Session::run`], and how long each step took; with `tasks`, what each thread did as well.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_profiled(&self, inputs: &[View<'_>], tasks: bool) -> Result<(Vec<Tensor>, Profile), RunError> {
        let recorder = Recorder::new(tasks.then_some(&self.pool));
        let outputs = Run::new(self, Some(&recorder), None).main(inputs)?;
        Ok((outputs, recorder.finish()))
    }

    /// As [`Session::run`], showing `observer` the results of each step of the model's own program.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_observed(&self, inputs: &[View<'_>], observer: Observer<'_>) -> Result<Vec<Tensor>, RunError> {
        Run::new(self, None, Some(observer)).main(inputs)
    }

    pub(crate) fn take_workspace(&self) -> Workspace {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give_workspace(&self, workspace: Workspace) {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
    }

    /// The placement of a program's values under `symbols`, computed once for equal symbols.
    pub(crate) fn placement(&self, program: usize, symbols: &Symbols) -> Result<Arc<Placement>, String> {
        let mut known = self.placements.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, p)) = known.iter().find(|(ix, s, _)| *ix == program && s == symbols) {
            return Ok(p.clone());
        }
        let p = &self.plan.manifest().programs[program];
        // On a device each value is tracked by itself, so values do not lie in each other.
        let placed = place(p, self.plan.prepared(program), &|dims| symbols.shape(dims), self.device.is_none())?;
        if placed.total > self.options.memory_limit as u64 {
            return Err(format!("the arena needs {} bytes, allowed are {}", placed.total, self.options.memory_limit));
        }
        let placed = Arc::new(placed);
        if known.len() >= MAX_PLACEMENTS {
            known.remove(0);
        }
        known.push((program, symbols.clone(), placed.clone()));
        Ok(placed)
    }
}
