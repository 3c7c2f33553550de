//! Calibration: the ranges that values of a model take on samples.
//!
//! Guarantees: the memory does not grow with the number of samples; the table depends on model, samples and method, not
//! on the number of threads.

mod histogram;
pub mod table;

use crate::driver::{self, Options};
use crate::error::CliError;
use crate::io::samples::Samples;
use crate::machine;
use crate::reference::OpTable;
use crate::report::Progress;
use histogram::Seen;
use planc_plan::program::ValueDecl;
use planc_runtime::{Session, SessionOptions};
use planc_tensor::{Tensor, View};
use std::path::Path;
use std::sync::Arc;
use table::{Method, Range, Table};

/// What is measured on.
#[derive(Clone, Debug)]
pub struct Data<'a> {
    /// Folder or file with samples.
    pub path: &'a Path,
    /// Samples to use at most.
    pub samples: Option<usize>,
    /// How ranges are chosen.
    pub method: Method,
    /// Threads.
    pub threads: usize,
}

/// A model in f32 with some of its values as outputs.
pub struct Observed {
    /// The session.
    pub session: Session,
    /// The model's own outputs come first.
    pub own: usize,
    /// Names of the outputs.
    pub names: Vec<String>,
    /// Inputs.
    pub inputs: Vec<ValueDecl>,
}

impl Observed {
    /// Compiles the model at `path` with the values that `wanted` names of the graph before it is quantised.
    ///
    /// # Errors
    /// Those of compiling, and of starting threads.
    pub fn new(
        path: &Path,
        options: &Options,
        threads: usize,
        wanted: &dyn Fn(&planc_ir::Graph) -> Vec<planc_ir::ValueId>,
        progress: &Progress,
    ) -> Result<Observed, CliError> {
        let mut model = driver::import(path, options, progress)?;
        let own = model.graph.outputs().len();
        driver::optimise(&mut model, options, Some(driver::passes::before_quantize()), progress)?;
        let mut outputs = model.graph.outputs().to_vec();
        for v in wanted(&model.graph) {
            if !outputs.contains(&v) && model.graph.producer(v).is_some() {
                outputs.push(v);
            }
        }
        model.graph.set_outputs(outputs);
        driver::optimise(&mut model, options, None, progress)?;
        let plan = driver::in_memory(&model.graph, options)?;
        let limit = options.max_memory().unwrap_or_else(machine::memory_limit);
        let session = SessionOptions { threads, memory_limit: limit, ..SessionOptions::default() };
        let names = plan.outputs().map(|d| d.name.clone()).collect();
        let inputs = plan.inputs().cloned().collect();
        let session = Session::new(Arc::new(plan), session, Arc::new(OpTable))?;
        Ok(Observed { session, own, names, inputs })
    }

    /// Runs a sample.
    ///
    /// # Errors
    /// Those of the run.
    pub fn run(&self, sample: &[Tensor]) -> Result<Vec<Tensor>, CliError> {
        let views: Vec<View<'_>> = sample.iter().map(Tensor::view).collect();
        Ok(self.session.run(&views)?)
    }
}

/// Measures the ranges of the values of the model at `path` that quantisation asks for.
///
/// # Errors
/// Those of compiling, of the samples, and of the runs.
pub fn measure(path: &Path, options: &Options, data: &Data<'_>, progress: &Progress) -> Result<Table, CliError> {
    let mut asked = std::cell::RefCell::new(vec![]);
    let observed = Observed::new(
        path,
        options,
        data.threads,
        &|g| {
            let values = planc_passes::observed(g);
            *asked.borrow_mut() = values.iter().map(|v| g.value(*v).name.to_string()).collect();
            values
        },
        progress,
    )?;
    let asked: Vec<String> = std::mem::take(asked.get_mut());
    let decls: Vec<&ValueDecl> = observed.inputs.iter().collect();
    let mut samples = Samples::open(data.path, &decls)?;
    let count = data.samples.map_or(samples.len(), |n| n.min(samples.len()));
    let by_size = matches!(data.method, Method::Percentile(_));
    let mut seen: Vec<Seen> = vec![Seen::nothing(by_size); asked.len()];
    // Each asked value is an output or an input.
    let place = |name: &String| {
        let output = observed.names.iter().position(|n| n == name).map(Ok);
        output.or_else(|| observed.inputs.iter().position(|d| d.name == *name).map(Err))
    };
    let places: Vec<Option<Result<usize, usize>>> = asked.iter().map(place).collect();
    for i in 0..count {
        progress.share("calibrating", i, count);
        let sample = samples.get(i)?;
        let outputs = observed.run(&sample)?;
        for (seen, place) in seen.iter_mut().zip(&places) {
            let tensor = match place {
                Some(Ok(i)) => outputs.get(*i),
                Some(Err(i)) => sample.get(*i),
                None => None,
            };
            if let Some(numbers) = tensor.and_then(Tensor::as_slice::<f32>) {
                seen.add(numbers);
            }
        }
    }
    let chosen = |seen: &Seen| match data.method {
        Method::MinMax => seen.range,
        Method::Percentile(p) => seen.within(1.0 - p / 100.0),
    };
    let range = |(name, seen): (String, &Seen)| Some((name, Range { chosen: chosen(seen)?, seen: seen.range? }));
    let ranges = asked.into_iter().zip(&seen).filter_map(range).collect();
    Ok(Table { model: driver::digest(path)?, method: data.method, samples: count, ranges })
}
