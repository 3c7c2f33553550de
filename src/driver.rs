//! Orders the stages: import, passes, backend, plan.
//!
//! Guarantees: a plan is a function of the model's bytes, the flags recorded in its provenance, and planc's version;
//! it holds no path, time or fact about the host.

pub mod passes;
mod precision;
pub mod tuning;

use crate::args::values::{NamedShape, ShapeList};
use crate::args::verbs::Compilation;
use crate::error::{CliError, Fault};
use crate::machine::ms;
use crate::report::Progress;
use passes::Passes;
use planc_ir::Graph;
use planc_lower::{Decision, Lowered};
use planc_onnx::{Imported, Metadata};
use planc_passes::NarrowWeights;
use planc_plan::container::{PtxArch, SectionKind, TargetId, Writer};
use planc_plan::launch::Module;
use planc_tensor::Dim;
use precision::{Calibration, Precision};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tuning::Tuning;

/// A target that plans are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Name, as `--target` takes it.
    pub name: &'static str,
    /// What it stands for.
    pub about: &'static str,
    /// The device it is, if it is one.
    #[serde(skip)]
    pub device: Option<PtxArch>,
}

/// The targets. The first is the default, whatever the host is.
pub const TARGETS: &[Target] = &[
    Target {
        name: "x86-64",
        about: "x86-64; the best of scalar, AVX2, AVX-512 and VNNI is chosen when the plan is run",
        device: None,
    },
    Target { name: "aarch64", about: "aarch64 with Advanced SIMD", device: None },
    Target {
        name: "cuda:sm_80",
        about: "NVIDIA GPUs from Ampere on; what no device kernel computes runs on the host",
        device: Some(PtxArch::sm(80)),
    },
];

/// The target of models that are run on a CUDA device without a plan.
pub const CUDA: &str = "cuda:sm_80";

/// The name that stands for the target of the host.
pub const NATIVE: &str = "native";

/// What is compiled, and how; checked.
#[derive(Clone, Debug)]
pub struct Options {
    shapes: BTreeMap<String, Vec<Dim>>,
    dims: BTreeMap<String, i64>,
    level: u8,
    disabled: Vec<String>,
    targets: Vec<&'static str>,
    no_fallback: bool,
    max_memory: Option<usize>,
    exact_conv: bool,
    ranges: Vec<ShapeList>,
    precision: Precision,
    tuning: Option<PathBuf>,
    weights: Option<Arc<NarrowWeights>>,
}

impl Options {
    /// The options that `flags` ask for.
    ///
    /// # Errors
    /// When a target or pass does not exist, or a shape is given twice.
    pub fn new(flags: &Compilation) -> Result<Options, CliError> {
        let usage = |message: String| CliError::new(Fault::Usage, message);
        let mut options = Options {
            shapes: BTreeMap::new(),
            dims: BTreeMap::new(),
            level: flags.opt_level,
            disabled: flags.disable_pass.clone(),
            targets: Vec::new(),
            no_fallback: flags.no_fallback,
            max_memory: flags.max_memory,
            exact_conv: flags.exact_conv,
            ranges: [&flags.min_shapes, &flags.opt_shapes, &flags.max_shapes].into_iter().flatten().cloned().collect(),
            precision: Precision::new(flags)?,
            tuning: flags.tuning.clone(),
            weights: None,
        };
        let listed = flags.shapes.iter().flat_map(|l| &l.0);
        for NamedShape { name, shape } in flags.shape.iter().chain(listed) {
            if options.shapes.insert(name.clone(), shape.clone()).is_some_and(|old| old != *shape) {
                return Err(usage(format!("two shapes are given for {name:?}")));
            }
        }
        for dim in &flags.dim {
            if options.dims.insert(dim.name.clone(), dim.value).is_some_and(|old| old != dim.value) {
                return Err(usage(format!("two values are given for the dim {:?}", dim.name)));
            }
        }
        for name in &flags.target {
            options.targets.push(target(name)?);
        }
        if options.targets.is_empty() {
            options.targets.push(TARGETS[0].name);
        }
        options.targets.sort_unstable();
        options.targets.dedup();
        if options.device().is_some() && options.targets.len() > 1 {
            let message = format!("one plan cannot be for {}", options.targets.join(" and "));
            return Err(usage(message).help("compile one plan for the device and one for processors"));
        }
        options.weights = precision::weights(flags, options.device().is_some())?;
        if options.no_fallback && options.device().is_none() {
            return Err(usage("--no-fallback is about device targets".into()).help("add --target cuda:sm_80"));
        }
        if options.tuning.is_some() && options.device().is_some() {
            let message = "--tuning is about kernels of processors";
            return Err(usage(message.into()).help("leave it out for device targets"));
        }
        options.disabled.sort();
        options.disabled.dedup();
        Ok(options)
    }

    /// The same in f32.
    pub fn in_f32(&self) -> Options {
        Options { precision: Precision::F32, weights: None, ..self.clone() }
    }

    /// Bytes that one value may have, where the user said so.
    pub fn max_memory(&self) -> Option<usize> {
        self.max_memory
    }

    /// The device that is compiled for, if it is one.
    pub fn device(&self) -> Option<PtxArch> {
        TARGETS.iter().filter(|t| self.targets.contains(&t.name)).find_map(|t| t.device)
    }

    /// What the CPU backend is asked for, given what was measured.
    fn backend(&self, measured: BTreeMap<String, planc_cpu::Algorithm>) -> planc_cpu::Options {
        let targets = self.targets.iter().filter_map(|t| planc_cpu::codegen::Target::from_name(t)).collect();
        planc_cpu::Options { targets, exact_conv: self.exact_conv, measured, ..Default::default() }
    }

    /// Everything that decides over the bytes of a plan, apart from the model.
    fn provenance(&self) -> Value {
        let shapes = self.shapes.iter().map(|(name, dims)| {
            let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
            (name.clone(), Value::from(dims.join("x")))
        });
        json!({
            "shape": shapes.collect::<serde_json::Map<_, _>>(),
            "dim": self.dims,
            "opt_level": self.level,
            "disable_pass": self.disabled,
            "target": self.targets,
            "no_fallback": self.no_fallback,
            "max_memory": self.max_memory,
            "exact_conv": self.exact_conv,
        })
    }
}

/// The target called `name`.
fn target(name: &str) -> Result<&'static str, CliError> {
    let wanted = if name == NATIVE { std::env::consts::ARCH.replace('_', "-") } else { name.to_string() };
    TARGETS.iter().find(|t| t.name == wanted).map(|t| t.name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|t| t.name).chain([NATIVE]).collect();
        CliError::new(Fault::Usage, format!("no target {name:?}")).help(format!("targets are {}", names.join(", ")))
    })
}

/// How long a stage took.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Stage.
    pub stage: &'static str,
    /// Milliseconds.
    pub ms: f64,
}

/// A model on its way to a plan.
pub struct Model {
    /// The graph as it is now.
    pub graph: Graph,
    /// What the model says about itself.
    pub metadata: Metadata,
    /// Things a user may want to know about.
    pub warnings: Vec<String>,
    /// What it is quantised by.
    calibration: Option<Calibration>,
    /// What the passes did.
    pub passes: Passes,
    /// Stages so far.
    pub stages: Vec<Stage>,
}

/// Imports the model at `path`.
///
/// # Errors
/// Everything that is wrong with it, or not supported.
pub fn import(path: &Path, options: &Options, progress: &Progress) -> Result<Model, CliError> {
    let calibration = options.precision.calibration(path, options, progress)?;
    progress.stage("importing");
    let started = Instant::now();
    let mut onnx = planc_onnx::Options { folder: None, shapes: options.shapes.clone(), dims: options.dims.clone() };
    if !options.ranges.is_empty() {
        let declared = planc_onnx::import_file(path, &onnx).map_err(|e| CliError::from(e).reading(path))?;
        onnx.shapes.extend(common_shapes(&declared.graph, &options.ranges)?);
    }
    let Imported { graph, metadata, warnings } =
        planc_onnx::import_file(path, &onnx).map_err(|e| CliError::from(e).reading(path))?;
    let stages = vec![Stage { stage: "import", ms: ms(started.elapsed()) }];
    Ok(Model { graph, metadata, warnings, calibration, passes: Passes::default(), stages })
}

/// The shapes under which all of `ranges` are possible: extents that are the same in all stay fixed, others are free.
fn common_shapes(declared: &Graph, ranges: &[ShapeList]) -> Result<BTreeMap<String, Vec<Dim>>, CliError> {
    let mut shapes: BTreeMap<String, Vec<Dim>> = BTreeMap::new();
    for given in ranges.iter().flat_map(|l| &l.0) {
        let usage = |what: &str| CliError::new(Fault::Usage, format!("shape for {:?}: {what}", given.name));
        let input = declared.inputs().iter().find(|v| *declared.value(**v).name == *given.name);
        let free = input.and_then(|v| declared.tensor_type(*v)).and_then(|t| t.shape.clone());
        let free = free.ok_or_else(|| usage("the model has no input of this name with a known rank"))?;
        if free.len() != given.shape.len() {
            return Err(usage(&format!("it has {} extents, the input has {}", given.shape.len(), free.len())));
        }
        let known = shapes.entry(given.name.clone()).or_insert_with(|| given.shape.clone());
        for ((known, given), free) in known.iter_mut().zip(&given.shape).zip(free) {
            if known != given {
                *known = free;
            }
        }
    }
    Ok(shapes)
}

/// Runs the passes on a model, up to `stop_after`.
///
/// # Errors
/// When there is no such pass, or one fails.
pub fn optimise(
    model: &mut Model,
    options: &Options,
    stop_after: Option<&str>,
    progress: &Progress,
) -> Result<(), CliError> {
    progress.stage("optimising");
    let started = Instant::now();
    let quantise = model.calibration.as_ref().map(|c| c.quantise.clone());
    model.passes = passes::run(&mut model.graph, options, quantise, stop_after)?;
    model.stages.push(Stage { stage: "passes", ms: ms(started.elapsed()) });
    Ok(())
}

/// A compiled model.
pub struct Built {
    /// The optimised graph and what is known about the model.
    pub model: Model,
    lowered: Lowered,
    /// Generated code.
    code: Vec<(TargetId, Vec<u8>)>,
    /// Launch tables and PTX.
    device: Vec<(PtxArch, Vec<u8>)>,
    provenance: Value,
}

/// Compiles the model at `path`.
///
/// # Errors
/// Those of all stages.
pub fn compile(path: &Path, options: &Options, progress: &Progress) -> Result<Built, CliError> {
    let tuning = options.tuning.as_ref().map(|file| Tuning::read(file, &digest(path)?)).transpose()?;
    let mut model = import(path, options, progress)?;
    optimise(&mut model, options, None, progress)?;
    progress.stage("generating code");
    let started = Instant::now();
    let (lowered, code, device) = match options.device() {
        Some(arch) => {
            let fallback =
                if options.no_fallback { planc_cuda::Fallback::Refused } else { planc_cuda::Fallback::Allowed };
            let options = planc_cuda::Options { arch, fallback, host: planc_cpu::supports };
            let compiled = planc_cuda::compile(&model.graph, &options)?;
            (compiled.lowered, vec![], compiled.sections)
        }
        None => {
            let measured = tuning.as_ref().map(Tuning::measured).unwrap_or_default();
            let compiled = planc_cpu::compile(&model.graph, &options.backend(measured.clone()))?;
            let stray = measured.keys().filter(|name| !compiled.chosen.contains_key(*name)).count();
            if stray > 0 {
                let of = measured.len();
                model
                    .warnings
                    .push(format!("{stray} of {of} tuned layers have no choice here: other flags than when tuning?"));
            }
            (compiled.lowered, compiled.code, vec![])
        }
    };
    model.stages.push(Stage { stage: "backend", ms: ms(started.elapsed()) });
    let m = &model.metadata;
    let provenance = json!({
        "planc": env!("CARGO_PKG_VERSION"),
        "source": {"format": "onnx", "blake3": digest(path)?},
        "model": {
            "ir_version": m.ir_version,
            "opsets": m.opsets,
            "producer": m.producer_name,
            "producer_version": m.producer_version,
            "model_version": m.model_version,
        },
        "flags": options.provenance(),
        "precision": options.precision.provenance(model.calibration.as_ref()),
        "tuning": tuning.as_ref().map(Tuning::digest),
        "weights": options.weights.as_ref().map(|w| json!({"form": w.form.name(), "keep_f32": w.keep})),
        "passes": model.passes.names(),
    });
    Ok(Built { model, lowered, code, device, provenance })
}

/// A plan of an optimised graph that is not written to a file.
///
/// # Errors
/// Those of the backend.
pub fn in_memory(graph: &Graph, options: &Options) -> Result<planc_runtime::Plan, CliError> {
    Ok(chosen_in_memory(graph, options, BTreeMap::new())?.0)
}

/// As [`in_memory`], given what was measured; and what was chosen where there is more than one way.
///
/// # Errors
/// Those of the backend.
pub fn chosen_in_memory(
    graph: &Graph,
    options: &Options,
    measured: BTreeMap<String, planc_cpu::Algorithm>,
) -> Result<(planc_runtime::Plan, BTreeMap<String, planc_cpu::Algorithm>), CliError> {
    let compiled = planc_cpu::compile(graph, &options.backend(measured))?;
    let mut writer = Writer::new();
    writer.add(SectionKind::Manifest, compiled.lowered.manifest.encode())?;
    writer.add(SectionKind::Decisions, b"{}".to_vec())?;
    writer.add(SectionKind::Provenance, b"{}".to_vec())?;
    for (target, code) in compiled.code {
        writer.add(SectionKind::Code(target), code)?;
    }
    writer.add_weights(compiled.lowered.weights)?;
    let plan = planc_runtime::Plan::from_bytes(&writer.to_bytes()?, planc_runtime::OpenOptions::default())?;
    Ok((plan, compiled.chosen))
}

/// BLAKE3 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> Result<String, CliError> {
    Ok(blake3::hash(crate::io::open(path)?.as_slice()).to_hex().to_string())
}

impl Built {
    /// The choices of the backend and their reasons.
    pub fn decisions(&self) -> &[Decision] {
        &self.lowered.decisions
    }

    /// Number of steps, those of control-flow bodies included.
    pub fn steps(&self) -> usize {
        self.lowered.manifest.programs.iter().map(|p| p.steps.len()).sum()
    }

    /// Size of the weights in bytes.
    pub fn weights_bytes(&self) -> u64 {
        self.lowered.weights.len()
    }

    /// The PTX of the plan, all architectures after each other.
    ///
    /// # Errors
    /// When the plan is not for a device.
    pub fn ptx(&self) -> Result<String, CliError> {
        if self.device.is_empty() {
            let message = "PTX is generated for device targets only";
            return Err(CliError::new(Fault::Usage, message).help("add --target cuda:sm_80"));
        }
        let bug = |e: planc_plan::launch::LaunchError| CliError::new(Fault::Internal, e.to_string());
        let mut text = String::new();
        for (_, section) in &self.device {
            text.push_str(Module::parse(section, &self.lowered.manifest).map_err(bug)?.text);
        }
        Ok(text)
    }

    /// The plan, ready to be written.
    ///
    /// # Errors
    /// When it is too large for the format.
    pub fn into_writer(self) -> Result<Writer<'static>, CliError> {
        let decisions = json!({
            "passes": self.model.passes.runs,
            "declined": self.model.passes.declined,
            "quantised": self.model.passes.quantised,
            "narrowed": self.model.passes.narrowed,
            "steps": self.model.passes.decided.iter().chain(&self.lowered.decisions).collect::<Vec<_>>(),
        });
        let mut writer = Writer::new();
        writer.add(SectionKind::Manifest, self.lowered.manifest.encode())?;
        writer.add(SectionKind::Decisions, decisions.to_string().into_bytes())?;
        writer.add(SectionKind::Provenance, self.provenance.to_string().into_bytes())?;
        for (target, code) in self.code {
            writer.add(SectionKind::Code(target), code)?;
        }
        for (arch, section) in self.device {
            writer.add(SectionKind::Ptx(arch), section)?;
        }
        writer.add_weights(self.lowered.weights)?;
        Ok(writer)
    }
}
