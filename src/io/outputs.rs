//! Where outputs go.

use super::inputs::{Form, to_bits};
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
/// holds maps, `NAME.pb` for what else is no tensor), as the inputs came.
///
/// # Errors
/// When the folder or a file cannot be written, or two outputs have the same file name.
pub fn write(folder: &Path, outputs: &[Output<'_>], form: Form) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|e| {
        CliError::new(Fault::Write, format!("cannot make the folder {}: {}", folder.display(), super::system(&e)))
            .file(folder)
    })?;
    for (k, output) in outputs.iter().enumerate() {
        let Output { name, value, .. } = output;
        let bits = match value {
            Value::Tensor(t) if form.raw_floats => to_bits(t).map(Value::Tensor),
            _ => None,
        };
        let stored = bits.as_ref().unwrap_or(value);
        let (file, bytes) = match (form.pb, stored) {
            (true, _) => (format!("output_{k}.pb"), planc_onnx::data::write(name, stored)),
            (false, _) if output.maps().is_some() => {
                let bytes = maps::write(value).map_err(|e| CliError::new(Fault::Internal, e))?;
                (format!("{}.json", file_name(name)), bytes)
            }
            (false, Value::Tensor(t)) => (format!("{}.npy", file_name(name)), npy::bytes(t)),
            (false, _) => (format!("{}.pb", file_name(name)), planc_onnx::data::write(name, stored)),
        };
        let twin = |o: &&Output<'_>| file_name(&o.name) == file_name(name) && o.value != *value;
        if let Some(other) = outputs[..k].iter().find(twin).filter(|_| !form.pb) {
            let message = format!("outputs {:?} and {name:?} would both be {file}", other.name);
            return Err(CliError::new(Fault::Write, message));
        }
        super::write(&folder.join(file), &bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use planc_tensor::{DType, Tensor, bf16};

    #[test]
    fn small_floats_are_written_as_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let value = Tensor::vector(vec![bf16::from_f32(1.5), bf16::from_f32(-2.0)]);
        let outputs = [Output { name: "y".into(), value: Value::Tensor(value.clone()), packed: None }];
        let stored = |raw_floats| {
            write(folder.path(), &outputs, Form { pb: true, raw_floats }).unwrap();
            let bytes = super::super::open(&folder.path().join("output_0.pb")).unwrap();
            planc_onnx::data::read_tensor(&bytes).unwrap()
        };
        assert_eq!(stored(false), value);
        assert_eq!(stored(true), Tensor::vector(vec![0x3fc0u16, 0xc000]));
        assert_eq!(super::super::inputs::from_bits(&stored(true), DType::BF16), Some(value));
    }
}
