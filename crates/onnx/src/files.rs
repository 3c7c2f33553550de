//! The bytes behind a model: the model's own file, and the external data files beside it.
//!
//! Guarantees: external data is only ever read from regular files inside the model's folder, after symbolic links
//! are resolved, and never outside the extent of a file. Each file is opened and mapped once. Bytes that lie
//! aligned in a file are shared with the mapping; others are copied once, through a read instead of the mapping, so
//! that a large model does not count twice.
//!
//! Deliberately absent: the SHA-1 `checksum` of external data is not verified; plans carry their own hashes.

use crate::error::{Code, ImportError, clip};
use planc_tensor::{AlignedBuf, Bytes};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// One file, or bytes given by the caller.
struct Blob {
    bytes: Bytes,
    file: Option<File>,
}

impl Blob {
    fn open(path: &Path) -> std::io::Result<Blob> {
        let file = File::open(path)?;
        let bytes = Bytes::map(&file)?;
        Ok(Blob { bytes, file: Some(file) })
    }

    /// The bytes of `range` aligned to `align`; `None` when out of range, `Err` when the file cannot be read.
    fn take(&self, range: Range<usize>, align: usize) -> Option<std::io::Result<Bytes>> {
        let part = self.bytes.slice(range.start, range.end.checked_sub(range.start)?)?;
        if part.as_slice().as_ptr().addr().is_multiple_of(align) {
            return Some(Ok(part));
        }
        let mut copy = AlignedBuf::zeroed(part.len());
        let buffer = copy.as_mut_slice();
        match &self.file {
            None => buffer.copy_from_slice(part.as_slice()),
            Some(file) => {
                let mut file: &File = file;
                let read = file.seek(SeekFrom::Start(range.start as u64)).and_then(|_| file.read_exact(buffer));
                if let Err(error) = read {
                    return Some(Err(error));
                }
            }
        }
        Some(Ok(Bytes::new(copy)))
    }
}

/// All bytes a model consists of.
pub struct Files {
    model: Blob,
    /// The model's folder, canonical; `None` for a model given as bytes without a folder.
    folder: Option<PathBuf>,
    external: BTreeMap<String, Blob>,
    /// Things ignored that a user may want to know about.
    pub(crate) warnings: Vec<String>,
}

/// A reference to external data, from the keys of `external_data`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExternalRef {
    pub(crate) location: String,
    pub(crate) offset: usize,
    pub(crate) length: Option<usize>,
}

impl Files {
    /// Opens the model file at `path`; its folder holds the external data.
    ///
    /// # Errors
    /// [`Code::Io`] when it is no regular file or cannot be read.
    pub fn open(path: &Path) -> Result<Files, ImportError> {
        let io = |e: std::io::Error| {
            ImportError::new(Code::Io, format!("cannot read the model {}: {}", path.display(), io_text(&e)))
        };
        let kind = std::fs::metadata(path).map_err(io)?;
        if !kind.is_file() {
            let what = if kind.is_dir() { "it is a folder" } else { "it is not a regular file" };
            return Err(ImportError::new(Code::Io, format!("cannot read the model {}: {what}", path.display())));
        }
        let model = Blob::open(path).map_err(io)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = parent.canonicalize().map_err(io)?;
        Ok(Files { model, folder: Some(folder), external: BTreeMap::new(), warnings: Vec::new() })
    }

    /// A model in memory; `folder` holds its external data.
    ///
    /// # Errors
    /// [`Code::Io`] when the folder does not exist.
    pub fn from_bytes(bytes: Bytes, folder: Option<&Path>) -> Result<Files, ImportError> {
        let canonical = |f: &Path| {
            f.canonicalize().map_err(|e| {
                ImportError::new(Code::Io, format!("cannot use the folder {}: {}", f.display(), io_text(&e)))
            })
        };
        let folder = folder.map(canonical).transpose()?;
        Ok(Files { model: Blob { bytes, file: None }, folder, external: BTreeMap::new(), warnings: Vec::new() })
    }

    /// The model's own bytes.
    pub fn model(&self) -> &Bytes {
        &self.model.bytes
    }

    /// Bytes of the model's own file.
    pub(crate) fn inline(&self, range: Range<usize>, align: usize) -> Result<Bytes, ImportError> {
        match self.model.take(range, align) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(e)) => Err(ImportError::new(Code::Io, format!("cannot read the model: {}", io_text(&e)))),
            None => Err(ImportError::new(Code::TensorData, "the data lies outside of the file")),
        }
    }

    /// `need` bytes of external data.
    pub(crate) fn external(&mut self, at: &ExternalRef, need: usize, align: usize) -> Result<Bytes, ImportError> {
        let error = |message: String| Err(ImportError::new(Code::ExternalData, message));
        if let Some(length) = at.length
            && length != need
        {
            return error(format!("the external data has a length of {length} bytes, the tensor's dims need {need}"));
        }
        let blob = self.blob(&at.location)?;
        let have = blob.bytes.len();
        let Some(end) = at.offset.checked_add(need).filter(|end| *end <= have) else {
            return error(format!(
                "the external data runs past the end of {:?}: {need} bytes at offset {}, the file has {have}",
                clip(&at.location),
                at.offset
            ));
        };
        match blob.take(at.offset..end, align) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(e)) => error(format!("cannot read {:?}: {}", clip(&at.location), io_text(&e))),
            None => error(format!("the external data lies outside of {:?}", clip(&at.location))),
        }
    }

    fn blob(&mut self, location: &str) -> Result<&Blob, ImportError> {
        if !self.external.contains_key(location) {
            let path = self.resolve(location)?;
            let blob = Blob::open(&path).map_err(|e| {
                ImportError::new(Code::ExternalData, format!("cannot read {:?}: {}", clip(location), io_text(&e)))
            })?;
            self.external.insert(location.to_owned(), blob);
        }
        Ok(&self.external[location])
    }

    /// The path of an external file, which is a regular file inside the model's folder.
    fn resolve(&self, location: &str) -> Result<PathBuf, ImportError> {
        let refuse = |why: &str| {
            ImportError::new(Code::ExternalData, format!("the external data location {:?} {why}", clip(location)))
                .help("external data has to be a file in the model's folder or below it")
        };
        let Some(folder) = &self.folder else {
            return Err(ImportError::new(Code::ExternalData, "external data needs a model that is read from a file"));
        };
        if location.is_empty() {
            return Err(refuse("is empty"));
        }
        if location.contains('\0') {
            return Err(refuse("holds a NUL character"));
        }
        let relative = Path::new(location);
        for component in relative.components() {
            match component {
                Component::Normal(_) | Component::CurDir => {}
                Component::ParentDir => return Err(refuse("leaves the model's folder")),
                Component::Prefix(_) | Component::RootDir => return Err(refuse("is absolute")),
            }
        }
        let path =
            folder.join(relative).canonicalize().map_err(|e| refuse(&format!("is unusable: {}", io_text(&e))))?;
        if !path.starts_with(folder) {
            return Err(refuse("leaves the model's folder through a symbolic link"));
        }
        // Asked before the file is opened: opening a pipe would block.
        let kind = std::fs::metadata(&path).map_err(|e| refuse(&format!("is unusable: {}", io_text(&e))))?;
        if !kind.is_file() {
            return Err(refuse("is not a regular file"));
        }
        Ok(path)
    }

    /// Reads the keys of `external_data`.
    pub(crate) fn external_ref(&mut self, keys: &[(String, String)]) -> Result<ExternalRef, ImportError> {
        let error = |message: String| ImportError::new(Code::ExternalData, message);
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, value) in keys {
            if found.insert(key, value).is_some() {
                return Err(error(format!("the external data has two entries {:?}", clip(key))));
            }
        }
        let number = |key: &str| -> Result<Option<usize>, ImportError> {
            let Some(text) = found.get(key) else { return Ok(None) };
            // `parse` alone would accept a sign.
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| digits).map(Some).ok_or_else(|| {
                error(format!("the {key} {:?} of the external data is not a number in range", clip(text)))
            })
        };
        let location = found.get("location").ok_or_else(|| error("the external data has no location".into()))?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        for key in found.keys() {
            if !matches!(*key, "location" | "offset" | "length" | "checksum" | "basepath") {
                self.warnings.push(format!("the entry {:?} of external data is ignored", clip(key)));
            }
        }
        Ok(ExternalRef { location: (*location).to_owned(), offset, length })
    }
}

/// The operating system's reason, in the voice of our messages.
pub(crate) fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string().to_lowercase(),
    }
}
