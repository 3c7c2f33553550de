//! Where outputs go.

use super::{file_name, npy};
use crate::error::{CliError, Fault};
use planc_tensor::Tensor;
use std::path::Path;

/// Writes `outputs` to a folder that is made where it does not exist: `output_K.pb`, or `NAME.npy`.
///
/// # Errors
/// When the folder or a file cannot be written, or two outputs have the same file name.
pub fn write(folder: &Path, outputs: &[(String, Tensor)], as_pb: bool) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|e| {
        CliError::new(Fault::Write, format!("cannot make the folder {}: {}", folder.display(), super::system(&e)))
            .file(folder)
    })?;
    for (k, (name, tensor)) in outputs.iter().enumerate() {
        let (file, bytes) = match as_pb {
            true => (format!("output_{k}.pb"), planc_onnx::data::write_tensor(name, tensor.view())),
            false => (format!("{}.npy", file_name(name)), npy::bytes(tensor)),
        };
        let twin = |(other, t): &&(String, Tensor)| file_name(other) == file_name(name) && t != tensor;
        if let Some((other, _)) = outputs[..k].iter().find(twin).filter(|_| !as_pb) {
            return Err(CliError::new(Fault::Write, format!("outputs {other:?} and {name:?} would both be {file}")));
        }
        super::write(&folder.join(file), &bytes)?;
    }
    Ok(())
}
