//! `planc calibrate`: the ranges of a model's values on samples.

use crate::Outcome;
use crate::args::verbs::Calibrate;
use crate::calibration::{self, Data};
use crate::driver::Options;
use crate::error::{CliError, Exit, Fault};
use crate::report::{self, Progress};
use crate::{io, machine};
use serde_json::json;

/// Calibrates.
///
/// # Errors
/// Those of compiling, of the samples, of the runs, and when the table cannot be written.
pub fn run(args: &Calibrate) -> Outcome {
    let mut flags = args.compilation.clone();
    let method = flags.calib_method.take().unwrap_or_default();
    let options = Options::new(&flags)?;
    if flags.precision.is_some() || flags.int8 || flags.calib.is_some() {
        let message = "a calibration is of the model in f32";
        return Err(CliError::new(Fault::Usage, message).help("leave --precision and --calib to `planc compile`"));
    }
    let out = match &args.output {
        Some(out) => out.clone(),
        None => {
            let out = args.model.with_extension("calib");
            if !args.force && out.exists() {
                return Err(CliError::new(Fault::Exists, format!("{} exists already", out.display()))
                    .file(&out)
                    .help("name the output with -o, or give --force"));
            }
            out
        }
    };
    let data = Data { path: &args.data, samples: args.samples, method, threads: args.threads };
    let progress = Progress::new(args.json);
    let table = calibration::measure(&args.model, &options, &data, &progress)?;
    drop(progress);
    io::write(&out, table.print().as_bytes())?;
    if args.json {
        report::print_json(&json!({
            "output": out.display().to_string(),
            "model": table.model,
            "method": table.method.to_string(),
            "samples": table.samples,
            "ranges": table.ranges.len(),
            "peak_rss_bytes": machine::peak_rss_bytes(),
        }))?;
    } else {
        let (n, values) = (table.samples, table.ranges.len());
        report::say(&format!("{}: ranges of {values} values on {n} samples", out.display()));
    }
    Ok(Exit::Ok)
}
