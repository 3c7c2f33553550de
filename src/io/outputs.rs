//! Where outputs go.

use super::{file_name, npy};
use crate::error::{CliError, Fault};
use planc_tensor::Value;
use std::path::Path;

/// Writes `outputs` to a folder that is made where it does not exist: `output_K.pb`, or `NAME.npy`
/// (`NAME.pb` for what is no tensor).
///
/// # Errors
/// When the folder or a file cannot be written, or two outputs have the same file name.
pub fn write(folder: &Path, outputs: &[(String, Value)], as_pb: bool) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|e| {
        CliError::new(Fault::Write, format!("cannot make the folder {}: {}", folder.display(), super::system(&e)))
            .file(folder)
    })?;
    for (k, (name, value)) in outputs.iter().enumerate() {
        let (file, bytes) = match (as_pb, value) {
            (true, _) => (format!("output_{k}.pb"), planc_onnx::data::write(name, value)),
            (false, Value::Tensor(t)) => (format!("{}.npy", file_name(name)), npy::bytes(t)),
            (false, _) => (format!("{}.pb", file_name(name)), planc_onnx::data::write(name, value)),
        };
        let twin = |(other, t): &&(String, Value)| file_name(other) == file_name(name) && t != value;
        if let Some((other, _)) = outputs[..k].iter().find(twin).filter(|_| !as_pb) {
            return Err(CliError::new(Fault::Write, format!("outputs {other:?} and {name:?} would both be {file}")));
        }
        super::write(&folder.join(file), &bytes)?;
    }
    Ok(())
}
