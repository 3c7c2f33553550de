//! Where outputs go.

use super::{file_name, maps, npy};
use crate::error::{CliError, Fault};
use planc_plan::program::PackedType;
use planc_tensor::Value;
use std::path::Path;

/// An output of a run.
pub struct Output<'p> {
    /// Its name.
    pub name: String,
    /// What it is.
    pub value: Value,
    /// Its type, where it is no tensor.
    pub packed: Option<&'p PackedType>,
}

impl Output<'_> {
    /// Its type, where it holds maps.
    pub fn maps(&self) -> Option<&PackedType> {
        self.packed.filter(|t| t.has_maps())
    }
}

/// Writes `outputs` to a folder that is made where it does not exist: `output_K.pb`, or `NAME.npy` (`NAME.json` for what
/// holds maps, `NAME.pb` for what else is no tensor).
///
/// # Errors
/// When the folder or a file cannot be written, or two outputs have the same file name.
pub fn write(folder: &Path, outputs: &[Output<'_>], as_pb: bool) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|e| {
        CliError::new(Fault::Write, format!("cannot make the folder {}: {}", folder.display(), super::system(&e)))
            .file(folder)
    })?;
    for (k, output) in outputs.iter().enumerate() {
        let Output { name, value, .. } = output;
        let (file, bytes) = match (as_pb, value) {
            (true, _) => (format!("output_{k}.pb"), planc_onnx::data::write(name, value)),
            (false, _) if output.maps().is_some() => {
                let bytes = maps::write(value).map_err(|e| CliError::new(Fault::Internal, e))?;
                (format!("{}.json", file_name(name)), bytes)
            }
            (false, Value::Tensor(t)) => (format!("{}.npy", file_name(name)), npy::bytes(t)),
            (false, _) => (format!("{}.pb", file_name(name)), planc_onnx::data::write(name, value)),
        };
        let twin = |o: &&Output<'_>| file_name(&o.name) == file_name(name) && o.value != *value;
        if let Some(other) = outputs[..k].iter().find(twin).filter(|_| !as_pb) {
            let message = format!("outputs {:?} and {name:?} would both be {file}", other.name);
            return Err(CliError::new(Fault::Write, message));
        }
        super::write(&folder.join(file), &bytes)?;
    }
    Ok(())
}
