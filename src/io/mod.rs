//! Files with tensors, and where inputs come from and outputs go to.
//!
//! Guarantees: what a file says is checked before memory is taken for it; files are written whole or not at all.

pub mod compare;
pub mod inputs;
pub mod maps;
pub mod npy;
pub mod outputs;
pub mod random;
pub mod samples;

use crate::error::{CliError, Fault};
use planc_tensor::{Bytes, Tensor, Value};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Maps a file that holds tensors.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn open(path: &Path) -> Result<Bytes, CliError> {
    let fail =
        |what: String| CliError::new(Fault::TensorFile, format!("cannot read {}: {what}", path.display())).file(path);
    // Asked before opening: opening a pipe would wait for a writer.
    let kind = std::fs::metadata(path).map_err(|e| fail(system(&e)))?;
    if !kind.is_file() {
        return Err(fail("it is not a regular file".into()));
    }
    File::open(path).and_then(|f| Bytes::map(&f)).map_err(|e| fail(system(&e)))
}

/// Writes a file whole or not at all: to a new file in the same folder, which then takes its name.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let fail = |e: std::io::Error| {
        CliError::new(Fault::Write, format!("cannot write {}: {}", path.display(), system(&e))).file(path)
    };
    // Devices and pipes cannot be replaced.
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return std::fs::OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(bytes)).map_err(fail);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".planc-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any new file: the user's mask takes away what is not wanted.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Writes a JSON object that the user asked for in a file.
///
/// # Errors
/// As [`write`].
pub fn write_json(path: &Path, object: &impl serde::Serialize) -> Result<(), CliError> {
    write(path, format!("{:#}\n", crate::report::versioned(object)?).as_bytes())
}

/// What the system says, in the form of our messages.
pub fn system(e: &std::io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// A tensor's name as a file name: each of `/ \ :` becomes `_`.
pub fn file_name(tensor: &str) -> String {
    tensor.replace(['/', '\\', ':'], "_")
}

/// The type of a value as printed: `f32[1,3]`, `seq(2 of f32[3])`, `optional()`, `map(3 of string,f32)`.
pub fn value_text(v: &Value) -> String {
    match v {
        Value::Tensor(t) => type_text(t),
        Value::Sequence(list) => match list.first() {
            Some(first) => format!("seq({} of {})", list.len(), value_text(first)),
            None => "seq()".into(),
        },
        Value::Optional(None) => "optional()".into(),
        Value::Optional(Some(v)) => format!("optional({})", value_text(v)),
        Value::Map(m) => format!("map({} of {},{})", m.len(), m.keys().dtype(), m.values().dtype()),
    }
}

/// Element type and shape as printed: `f32[1,3]`.
pub fn type_text(t: &Tensor) -> String {
    let dims: Vec<String> = t.shape().iter().map(ToString::to_string).collect();
    format!("{}[{}]", t.dtype(), dims.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"first").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write(&folder.path().join("no/such"), b"").unwrap_err();
        assert!(error.message().ends_with("no such file or directory"), "{}", error.message());
    }

    #[test]
    fn names_become_file_names() {
        assert_eq!(file_name("a/b:0\\c"), "a_b_0_c");
    }
}
