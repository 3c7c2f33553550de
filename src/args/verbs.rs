//! The arguments of each verb.

use super::values::{self, Budget, FileList, NamedDim, NamedFile, NamedShape, ShapeList};
use crate::calibration::table::Method;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What is compiled, and how: shared by the verbs that compile.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Compilation")]
pub struct Compilation {
    /// Fix the shape of an input: extents, or names for those that stay free
    #[arg(long, value_name = "NAME=1x3x224x224", value_parser = values::named_shape)]
    pub shape: Vec<NamedShape>,
    /// Fix a symbolic dim of the model
    #[arg(long, value_name = "NAME=N", value_parser = values::named_dim)]
    pub dim: Vec<NamedDim>,
    /// How much to optimise: 0 leaves the graph as it is
    #[arg(short = 'O', value_name = "LEVEL", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub opt_level: u8,
    /// Leave a pass out; see `planc passes`
    #[arg(long, value_name = "NAME")]
    pub disable_pass: Vec<String>,
    /// Add up convolutions term by term, not by Winograd's algorithm, which rounds a little more
    #[arg(long)]
    pub exact_conv: bool,
    /// Take the algorithms that `planc tune` measured to be the fastest
    #[arg(long, value_name = "FILE")]
    pub tuning: Option<PathBuf>,
    /// Targets to generate code for; see `planc targets`
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub target: Vec<String>,
    /// Refuse what does not run on the device
    #[arg(long)]
    pub no_fallback: bool,
    /// Bytes that one value may have at most, such as 512M
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub max_memory: Option<usize>,
    /// What to compute in; int8 needs --calib
    #[arg(long, value_name = "NAME")]
    pub precision: Option<Precision>,
    /// Keep weights of matrix products in fewer bits; data and arithmetic stay as they are
    #[arg(long, value_name = "FORM")]
    pub weights: Option<Weights>,
    /// Calibration: a table that `planc calibrate` wrote, or a folder of samples
    #[arg(long, value_name = "TABLE|DIR")]
    pub calib: Option<PathBuf>,
    /// How ranges are chosen from samples: minmax, percentile:P
    #[arg(long, value_name = "METHOD", value_parser = Method::parse)]
    pub calib_method: Option<Method>,
    /// Keep layers in f32 whose name, or that of their result, is like this
    #[arg(long, value_name = "GLOB")]
    pub keep_f32: Vec<String>,
    #[arg(long, hide = true)]
    pub int8: bool,
    #[arg(long = "minShapes", hide = true, value_parser = values::shape_list)]
    pub min_shapes: Option<ShapeList>,
    #[arg(long = "optShapes", hide = true, value_parser = values::shape_list)]
    pub opt_shapes: Option<ShapeList>,
    #[arg(long = "maxShapes", hide = true, value_parser = values::shape_list)]
    pub max_shapes: Option<ShapeList>,
    #[arg(long = "shapes", hide = true, value_parser = values::shape_list)]
    pub shapes: Option<ShapeList>,
}

/// A precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// As the model says.
    F32,
    /// 8-bit integers where there are kernels over them.
    Int8,
}

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// As the model says.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 8 bits, with a scale per column.
    Int8,
    /// 4 bits, with a scale for each 32 terms of a column.
    Int4,
}

/// A plan or model, also under trtexec's names.
#[derive(Clone, Debug, Args)]
pub struct Subject {
    /// Plan, or model to compile in memory
    #[arg(value_name = "PLAN|MODEL", required_unless_present_any = ["onnx", "load_engine"])]
    pub path: Option<PathBuf>,
    #[arg(long, hide = true, conflicts_with = "path")]
    pub onnx: Option<PathBuf>,
    #[arg(long = "loadEngine", hide = true, conflicts_with_all = ["path", "onnx"])]
    pub load_engine: Option<PathBuf>,
}

impl Subject {
    /// The file, under whichever name it was given.
    pub fn file(&self) -> PathBuf {
        self.path.iter().chain(&self.onnx).chain(&self.load_engine).next().cloned().unwrap_or_default()
    }
}

/// Where inputs come from.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Inputs")]
pub struct Inputs {
    /// File with one input: .npy, .npz, .pb, .json, .safetensors or .bin
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = values::named_file)]
    pub input: Vec<NamedFile>,
    /// Folder with input_0.pb, input_1.pb... or NAME.npy, or one .npz or .safetensors file
    #[arg(long, value_name = "DIR")]
    pub inputs: Option<PathBuf>,
    /// Make up the inputs that are not given, from this seed
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    #[arg(long = "loadInputs", hide = true, value_parser = values::file_list)]
    pub load_inputs: Option<FileList>,
}

/// Where and how a plan runs.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Execution")]
pub struct Execution {
    /// Threads of one inference
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::threads)]
    pub threads: usize,
    /// Device; what the plan was compiled for, unless given
    #[arg(long, value_name = "NAME")]
    pub device: Option<Device>,
    /// Best instruction set to use: scalar, avx2, avxvnni, avx512, avx512vnni or neon
    #[arg(long, value_name = "NAME")]
    pub cpu_features: Option<String>,
    /// Check the hash of the weights before running
    #[arg(long)]
    pub check_weights: bool,
    /// Run no code that the plan contains
    #[arg(long)]
    pub data_only: bool,
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

/// `planc compile`.
#[derive(Debug, Args)]
pub struct Compile {
    /// ONNX model
    #[arg(value_name = "MODEL", required_unless_present = "onnx")]
    pub model: Option<PathBuf>,
    /// File to write; without it the model's name with the extension .plan, which must not exist
    #[arg(short, long, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// What to write
    #[arg(long, value_name = "KIND", default_value = "plan")]
    pub emit: Emit,
    /// Write the IR text after this pass instead of a plan
    #[arg(long, value_name = "PASS")]
    pub stop_after: Option<String>,
    /// Write what happened, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Threads to compile with; the plan does not depend on it
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::threads)]
    pub threads: usize,
    /// Overwrite an output that was not named by -o
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compilation: Compilation,
    #[arg(long, hide = true, conflicts_with = "model")]
    pub onnx: Option<PathBuf>,
    #[arg(long = "saveEngine", hide = true, conflicts_with = "output")]
    pub save_engine: Option<PathBuf>,
    #[arg(long = "dumpLayerInfo", hide = true)]
    pub dump_layer_info: bool,
}

/// What `compile` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// A plan.
    Plan,
    /// The optimised graph as text.
    Ir,
    /// The device code of the plan as text.
    Ptx,
}

/// `planc run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub subject: Subject,
    /// Folder for the outputs: output_K.pb if the inputs were .pb, else NAME.npy (maps: NAME.json)
    #[arg(long, value_name = "DIR")]
    pub outputs: Option<PathBuf>,
    /// Folder with expected outputs; exit code 1 when one differs
    #[arg(long = "ref", value_name = "DIR")]
    pub reference: Option<PathBuf>,
    /// Relative tolerance of --ref
    #[arg(long, value_name = "R", default_value = "1e-3", value_parser = values::amount)]
    pub rtol: f64,
    /// Absolute tolerance of --ref
    #[arg(long, value_name = "A", default_value = "1e-5", value_parser = values::amount)]
    pub atol: f64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub inputs: Inputs,
    #[command(flatten)]
    pub execution: Execution,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// Order of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The longest first
    Time,
    /// As they run
    Order,
}

/// `planc bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  planc bench model.plan --threads 2 --duration 10\n  planc bench model.plan --profile\n  planc \
                        bench model.plan --profile=steps.json --trace run.json"
)]
pub struct Bench {
    #[command(flatten)]
    pub subject: Subject,
    /// Inferences before measuring
    #[arg(long, value_name = "RUNS", default_value_t = 3)]
    pub warmup: usize,
    /// Seconds to measure for; with --iterations, until both are reached
    #[arg(long, value_name = "S", value_parser = values::amount)]
    pub duration: Option<f64>,
    /// Inferences to measure
    #[arg(long, value_name = "N")]
    pub iterations: Option<usize>,
    /// Show the time of each step, its rate of arithmetic, and the share of what this machine could do; with a file, write it
    /// there as JSON
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub profile: Option<Option<PathBuf>>,
    /// Order of the steps of --profile
    #[arg(long, value_name = "BY", default_value = "time")]
    pub sort: Sort,
    /// Write one run as trace events, a lane for each thread; Perfetto and chrome://tracing open it
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// JSON of an earlier run to compare the median with; exit code 1 when it is slower
    #[arg(long, value_name = "FILE", requires = "max_regress")]
    pub baseline: Option<PathBuf>,
    /// Percent by which the median may be slower than the baseline's
    #[arg(long, value_name = "P", requires = "baseline", value_parser = values::amount)]
    pub max_regress: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub inputs: Inputs,
    #[command(flatten)]
    pub execution: Execution,
    #[command(flatten)]
    pub compilation: Compilation,
    /// Milliseconds of inferences before measuring.
    #[arg(long = "warmUp", hide = true, value_name = "MS", value_parser = values::amount)]
    pub warm_up: Option<f64>,
    #[arg(long = "exportProfile", hide = true, conflicts_with = "profile")]
    pub export_profile: Option<PathBuf>,
}

/// `planc calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  planc calibrate model.onnx --data samples/ -o model.calib\n  planc calibrate \
                        model.onnx --data images.npy --samples 200 --calib-method percentile:99.99 -o model.calib\n  \
                        planc compile model.onnx --precision int8 --calib model.calib -o model.plan")]
pub struct Calibrate {
    /// ONNX model
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Samples: a folder for each, or files; see docs/quantization.md
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// File to write; without it the model's name with the extension .calib, which must not exist
    #[arg(short, long, value_name = "TABLE")]
    pub output: Option<PathBuf>,
    /// Use so many samples at most
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub samples: Option<usize>,
    /// Threads of one inference; the table does not depend on it
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::threads)]
    pub threads: usize,
    /// Overwrite an output that was not named by -o
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// `planc tune`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  planc tune model.onnx --threads 2 -o model.tuning\n  planc compile model.onnx --tuning \
                        model.tuning -o model.plan"
)]
pub struct Tune {
    /// ONNX model
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Seconds to measure for, 5 unless given
    #[arg(long, value_name = "S", value_parser = values::amount)]
    pub duration: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub inputs: Inputs,
    #[command(flatten)]
    pub execution: Execution,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// `planc accuracy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  planc accuracy model.onnx model.plan --data samples/\n  planc accuracy model.onnx \
                        model.plan --data images.npy --labels labels.txt --max-error top1=0.5 --max-error sqnr_db=20"
)]
pub struct Accuracy {
    /// ONNX model, which is run in f32
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Plan of the same model
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Samples, as `planc calibrate` takes them
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The right classes, in the order of the samples: .npy, or text with one number in a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Use so many samples at most
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub samples: Option<usize>,
    /// Exit with 1 when an output is worse: sqnr_db=V, cosine=V (at least), max_abs=V, top1=POINTS (at most)
    #[arg(long, value_name = "METRIC=V", value_parser = values::budget)]
    pub max_error: Vec<Budget>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub execution: Execution,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// `planc check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Model or plan
    #[arg(value_name = "MODEL|PLAN")]
    pub path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// `planc inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Model or plan
    #[arg(value_name = "MODEL|PLAN")]
    pub path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print the canonical text: a model's graph as imported (optimised with `compile --emit ir`), a plan's programs
    #[arg(long, conflicts_with = "json")]
    pub ir: bool,
    /// Print the graph of a model for Graphviz
    #[arg(long, conflicts_with_all = ["json", "ir"])]
    pub dot: bool,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// `planc diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Model, IR text or plan
    pub a: PathBuf,
    /// What to compare it with
    pub b: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// `planc verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Plan
    pub plan: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `planc explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Plan, or model to compile in memory
    #[arg(value_name = "PLAN|MODEL")]
    pub path: PathBuf,
    /// Only decisions about this node
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compilation: Compilation,
}

/// `planc ops`.
#[derive(Debug, Args)]
pub struct Ops {
    /// Only operators whose name contains this
    pub name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print the page docs/ops.md
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}

/// Verbs that print a list.
#[derive(Debug, Args)]
pub struct Listing {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `planc completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Shell
    pub shell: clap_complete::Shell,
}
