//! The precision that a model is compiled for.

use super::{Options, digest};
use crate::args::verbs::{self, Compilation};
use crate::calibration::{self, Data, table::Method, table::Table};
use crate::error::{CliError, Fault};
use crate::machine;
use crate::report::Progress;
use planc_passes::{NarrowWeights, Quantise, WeightForm};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a model computes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Precision {
    /// As it says itself.
    F32,
    /// In 8 bits where it can.
    Int8 {
        /// A calibration table, or samples to make one of.
        calib: PathBuf,
        /// How ranges are chosen, for samples.
        method: Option<Method>,
        /// Patterns of what stays in f32.
        keep: Vec<String>,
    },
}

/// What a model is quantised by.
pub struct Calibration {
    /// Ranges, and what is kept.
    pub quantise: Arc<Quantise>,
    table: Table,
}

impl Precision {
    /// The precision that `flags` ask for.
    ///
    /// # Errors
    /// When flags contradict each other.
    pub fn new(flags: &Compilation) -> Result<Precision, CliError> {
        let usage = |message: &str| CliError::new(Fault::Usage, message);
        let int8 = flags.int8 || flags.precision == Some(verbs::Precision::Int8);
        if !int8 {
            let stray = [("--calib", flags.calib.is_some()), ("--calib-method", flags.calib_method.is_some())];
            return match stray.iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(usage(&format!("{flag} is of no use without --precision int8"))),
                None if !flags.keep_f32.is_empty() && flags.weights.is_none_or(|w| w == verbs::Weights::F32) => {
                    Err(usage("--keep-f32 is of no use without --precision int8 or --weights"))
                }
                None => Ok(Precision::F32),
            };
        }
        if flags.precision == Some(verbs::Precision::F32) {
            return Err(usage("--int8 and --precision f32 contradict each other"));
        }
        if flags.opt_level == 0 {
            return Err(usage("--precision int8 needs passes, which -O0 leaves out"));
        }
        let Some(calib) = flags.calib.clone() else {
            return Err(usage("--precision int8 needs a calibration")
                .help("give --calib TABLE, made by `planc calibrate`, or --calib DIR with samples"));
        };
        Ok(Precision::Int8 { calib, method: flags.calib_method, keep: flags.keep_f32.clone() })
    }

    /// What the model at `path` is quantised by: the table, or one made of the samples.
    ///
    /// # Errors
    /// When the table cannot be used, and those of calibrating.
    pub fn calibration(
        &self,
        path: &Path,
        options: &Options,
        progress: &Progress,
    ) -> Result<Option<Calibration>, CliError> {
        let Precision::Int8 { calib, method, keep } = self else { return Ok(None) };
        let folder = std::fs::metadata(calib).is_ok_and(|m| m.is_dir());
        let table = if folder {
            let method = method.unwrap_or_default();
            let data = Data { path: calib, samples: None, method, threads: machine::processors() };
            calibration::measure(path, &options.in_f32(), &data, progress)?
        } else if method.is_some() {
            let message = "--calib-method is of no use with a table, which has a method";
            return Err(CliError::new(Fault::Usage, message));
        } else {
            Table::read(calib, &digest(path)?)?
        };
        let ranges = table.ranges.iter().map(|(name, r)| (name.clone(), r.chosen)).collect();
        let quantise = Arc::new(Quantise { ranges, keep: keep.clone() });
        Ok(Some(Calibration { quantise, table }))
    }

    /// What decides over the bytes of a plan.
    pub fn provenance(&self, calibration: Option<&Calibration>) -> Value {
        match (self, calibration) {
            (Precision::Int8 { keep, .. }, Some(c)) => json!({
                "name": "int8",
                "keep_f32": keep,
                "calibration": {
                    "blake3": blake3::hash(c.table.print().as_bytes()).to_hex().to_string(),
                    "method": c.table.method.to_string(),
                    "samples": c.table.samples,
                },
            }),
            _ => json!({"name": "f32"}),
        }
    }
}

/// How weights of matrix products are kept, if not as the model says.
///
/// # Errors
/// When flags contradict each other.
pub fn weights(flags: &Compilation, device: bool) -> Result<Option<Arc<NarrowWeights>>, CliError> {
    let form = match flags.weights {
        None | Some(verbs::Weights::F32) => return Ok(None),
        Some(verbs::Weights::F16) => WeightForm::F16,
        Some(verbs::Weights::Bf16) => WeightForm::Bf16,
        Some(verbs::Weights::Int8) => WeightForm::Int8,
        Some(verbs::Weights::Int4) => WeightForm::Int4,
    };
    let usage = |message: String| Err(CliError::new(Fault::Usage, message));
    if flags.opt_level == 0 {
        return usage(format!("--weights {} needs passes, which -O0 leaves out", form.name()));
    }
    if device {
        return usage(format!("--weights {} is for processors; device kernels read weights in f32", form.name()));
    }
    Ok(Some(Arc::new(NarrowWeights { form, keep: flags.keep_f32.clone() })))
}
