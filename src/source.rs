//! What kind of file a path names, and plans that are ready to run, opened or compiled in memory.

use crate::args::verbs::{Compilation, Device, Execution};
use crate::driver;
use crate::error::{CliError, Fault};
use crate::io;
use crate::machine::{self, ms};
use crate::reference::OpTable;
use crate::report::{self, Progress};
use planc_kernels::isa::Tier;
use planc_plan::container::{MAGIC, SectionKind};
use planc_runtime::cuda::{Driver, LibCuda};
use planc_runtime::{OpenOptions, Plan, Session, SessionOptions};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plan.
    Plan,
    /// A graph as text.
    Ir,
    /// Anything else, which only a model can be.
    Model,
}

/// The kind of the file at `path`, from its first bytes.
///
/// # Errors
/// When it cannot be read.
pub fn kind(path: &Path) -> Result<Kind, CliError> {
    let fail =
        |what: &str| CliError::new(Fault::PlanFile, format!("cannot read {}: {what}", path.display())).file(path);
    let meta = std::fs::metadata(path).map_err(|e| fail(&io::system(&e)))?;
    if meta.is_dir() {
        return Err(fail("it is a folder"));
    }
    if !meta.is_file() {
        return Err(fail("it is not a regular file"));
    }
    let mut start = Vec::new();
    let file = std::fs::File::open(path).and_then(|f| f.take(256).read_to_end(&mut start));
    file.map_err(|e| fail(&io::system(&e)))?;
    let text = start.trim_ascii_start();
    Ok(if start.starts_with(&MAGIC) {
        Kind::Plan
    } else if text.starts_with(b"graph @") || text.starts_with(b"//") {
        Kind::Ir
    } else {
        Kind::Model
    })
}

/// A plan in memory.
pub struct Opened {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Milliseconds it took to compile, for a model.
    pub compile_ms: Option<f64>,
    /// Milliseconds it took to open, and to make it ready to run.
    pub load_ms: f64,
}

/// Opens the plan at `path`, or compiles the model there.
///
/// # Errors
/// Those of both.
pub fn open(path: &Path, flags: &Compilation, check_weights: bool, quiet: bool) -> Result<Opened, CliError> {
    let options = OpenOptions { check_weights };
    if kind(path)? == Kind::Plan {
        let started = Instant::now();
        let plan = Plan::open(path, options).map_err(|e| CliError::from(e).reading(path))?;
        return Ok(Opened { plan: Arc::new(plan), compile_ms: None, load_ms: ms(started.elapsed()) });
    }
    let started = Instant::now();
    let progress = Progress::new(quiet);
    let built = driver::compile(path, &driver::Options::new(flags)?, &progress)?;
    built.model.warnings.iter().for_each(|w| report::warn(w));
    let bytes = built.into_writer()?.to_bytes()?;
    let compile_ms = ms(started.elapsed());
    let started = Instant::now();
    let plan = Plan::from_bytes(&bytes, options)?;
    Ok(Opened { plan: Arc::new(plan), compile_ms: Some(compile_ms), load_ms: ms(started.elapsed()) })
}

/// The plan at `path`, or of the model there, and a session over it as the flags ask.
///
/// # Errors
/// Those of opening and compiling; when the device or the instruction set is not there, or threads cannot be started.
pub fn ready(
    path: &Path,
    flags: &Compilation,
    execution: &Execution,
    quiet: bool,
) -> Result<(Opened, Session), CliError> {
    // Looked for before anything is compiled for it.
    let driver = if execution.device == Some(Device::Cuda) { Some(driver()?) } else { None };
    let mut flags = flags.clone();
    if driver.is_some() && flags.target.is_empty() {
        flags.target.push(driver::CUDA.into());
    }
    let mut opened = open(path, &flags, execution.check_weights, quiet)?;
    let started = Instant::now();
    let session = session(&opened.plan, execution, flags.max_memory, driver)?;
    opened.load_ms += ms(started.elapsed());
    Ok((opened, session))
}

/// The CUDA device of this machine.
fn driver() -> Result<Arc<dyn Driver>, CliError> {
    let opened = LibCuda::open().map_err(|e| {
        CliError::new(Fault::Machine, e.to_string())
            .help("run it where there is an NVIDIA driver, or compile for a CPU target")
    })?;
    Ok(Arc::new(opened))
}

/// A session over `plan` as the flags ask.
///
/// # Errors
/// When the device or the instruction set is not there, or threads cannot be started.
pub fn session(
    plan: &Arc<Plan>,
    flags: &Execution,
    max_memory: Option<usize>,
    driver: Option<Arc<dyn Driver>>,
) -> Result<Session, CliError> {
    let unfit = |message: String, help: &str| Err(CliError::new(Fault::Machine, message).help(help));
    let archs: Vec<String> = plan.device_archs().map(|a| a.to_string()).collect();
    match (flags.device, archs.is_empty()) {
        (Some(Device::Cuda), true) => {
            return unfit("the plan has no code for CUDA devices".into(), "use --device cpu");
        }
        (Some(Device::Cpu), false) => {
            let message = format!("the plan is for CUDA devices ({})", archs.join(", "));
            return unfit(message, "compile the model for a CPU target");
        }
        _ => {}
    }
    let driver = if archs.is_empty() { None } else { Some(driver.map_or_else(self::driver, Ok)?) };
    let tier = match &flags.cpu_features {
        None => Tier::detect(),
        Some(name) => Tier::mask(name).ok_or_else(|| {
            let names: Vec<&str> = Tier::ALL.iter().map(|t| t.name()).collect();
            CliError::new(Fault::Usage, format!("no instruction set {name:?}"))
                .help(format!("they are {}", names.join(", ")))
        })?,
    };
    let memory_limit = max_memory.unwrap_or_else(machine::memory_limit);
    let options = SessionOptions { threads: flags.threads, tier, memory_limit, data_only: flags.data_only };
    let reference = Arc::new(OpTable);
    let session = match driver {
        None => Session::new(plan.clone(), options, reference),
        Some(driver) => Session::on_device(plan.clone(), options, reference, driver),
    };
    session.map_err(CliError::from)
}

/// Whether the plan holds native code.
pub fn has_code(plan: &Plan) -> Result<bool, CliError> {
    Ok(plan.container()?.sections().iter().any(|s| matches!(s.kind, SectionKind::Code(_))))
}
