//! Samples: many inputs for one model, from a folder.
//!
//! A folder of folders holds a sample in each, as `--inputs` takes them. Files beside each other are samples of the one
//! input that the model has, in the order of their names; for several inputs each `.npz` or `.safetensors` file is a
//! sample, or `NAME.npy` files together are. A tensor may hold several samples: along an axis of its own, or as a multiple
//! of the model's fixed batch.
//!
//! Guarantees: one file is in memory at a time; samples come in the same order everywhere.

use super::inputs::{self, Bound, Port};
use crate::error::{CliError, Fault};
use crate::report;
use planc_plan::program::ValueDecl;
use planc_tensor::{AlignedBuf, Bytes, Tensor};
use std::path::{Path, PathBuf};

/// Samples that can be read one after the other.
pub struct Samples {
    decls: Vec<ValueDecl>,
    sources: Vec<Source>,
    /// Number of samples before each source, and of all.
    starts: Vec<usize>,
    /// What was read last.
    last: Option<(usize, Vec<Tensor>)>,
}

/// Where samples are.
enum Source {
    /// The only input.
    File(PathBuf),
    /// All inputs: a folder or archive.
    Many(PathBuf),
}

/// Files that hold tensors.
const EXTENSIONS: [&str; 5] = ["npy", "npz", "pb", "safetensors", "bin"];

impl Samples {
    /// The samples at `path` for inputs as `decls` say.
    ///
    /// # Errors
    /// When there are none, or one cannot be read.
    pub fn open(path: &Path, decls: &[&ValueDecl]) -> Result<Samples, CliError> {
        let sources = sources(path, decls)?;
        let decls = decls.iter().map(|d| (*d).clone()).collect();
        let mut samples = Samples { decls, sources, starts: vec![0], last: None };
        for i in 0..samples.sources.len() {
            let tensors = samples.read(i)?;
            let all = samples.decls.iter().zip(&tensors);
            let n = all.map(|(d, t)| stacked(d, t)).max().unwrap_or(1);
            let start = samples.starts[i];
            samples.starts.push(start + n);
        }
        if samples.len() == 0 {
            let message = format!("there are no samples in {}", path.display());
            return Err(CliError::new(Fault::InputMissing, message)
                .file(path)
                .help("it takes a folder for each sample, or files of tensors"));
        }
        Ok(samples)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Sample `i`: a tensor for each input.
    ///
    /// # Errors
    /// When it does not fit the model.
    pub fn get(&mut self, i: usize) -> Result<Vec<Tensor>, CliError> {
        let source = self.starts.partition_point(|s| *s <= i).saturating_sub(1);
        let (start, n) = (self.starts[source], self.starts[source + 1] - self.starts[source]);
        if self.last.as_ref().is_none_or(|(at, _)| *at != source) {
            self.last = Some((source, self.read(source)?));
        }
        let tensors = self.last.as_ref().map_or(&[][..], |(_, t)| t);
        let from = self.sources[source].path().display().to_string();
        let mut bound = Bound::new();
        let mut out = vec![];
        for (decl, t) in self.decls.iter().zip(tensors) {
            let mut part = if stacked(decl, t) == n { part(decl, t, i - start, n) } else { t.clone() };
            if decl.shape.as_ref().is_some_and(Vec::is_empty) && part.len() == 1 {
                part = part.reshaped(Vec::new()).unwrap_or(part);
            }
            part = inputs::from_bits(&part, decl.dtype).unwrap_or(part);
            inputs::fits(decl, &part, &from, &mut bound)?;
            out.push(part);
        }
        Ok(out)
    }

    fn read(&self, source: usize) -> Result<Vec<Tensor>, CliError> {
        match &self.sources[source] {
            Source::File(path) => Ok(vec![inputs::one(&Port { decl: &self.decls[0], packed: None }, path)?]),
            Source::Many(path) => {
                let ports: Vec<Port<'_>> = self.decls.iter().map(|decl| Port { decl, packed: None }).collect();
                let mut found = vec![None; ports.len()];
                inputs::many(&ports, path, &mut found)?;
                let missing = self.decls.iter().zip(&found).find(|(_, f)| f.is_none()).map(|(d, _)| d.name.clone());
                if let Some(name) = missing {
                    let message = format!("input {name:?} is not in {}", path.display());
                    return Err(CliError::new(Fault::InputMissing, message).file(path).at("input", name));
                }
                Ok(found.into_iter().flatten().map(|(t, _)| t).collect())
            }
        }
    }
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Source::File(p) | Source::Many(p) => p,
        }
    }
}

fn sources(path: &Path, decls: &[&ValueDecl]) -> Result<Vec<Source>, CliError> {
    let fail = |e: std::io::Error| {
        let what = super::system(&e);
        CliError::new(Fault::TensorFile, format!("cannot read {}: {what}", path.display())).file(path)
    };
    let single = |p: PathBuf| if decls.len() == 1 { Source::File(p) } else { Source::Many(p) };
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Ok(vec![single(path.to_path_buf())]);
    }
    let entries = std::fs::read_dir(path).and_then(|d| d.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>());
    let mut entries: Vec<PathBuf> = entries.map_err(fail)?;
    entries.sort();
    let hidden = |p: &Path| p.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
    entries.retain(|p| !hidden(p));
    let folders: Vec<PathBuf> = entries.iter().filter(|p| p.is_dir()).cloned().collect();
    if !folders.is_empty() {
        if folders.len() < entries.len() {
            report::warn(&format!("files beside the folders in {} are ignored", path.display()));
        }
        return Ok(folders.into_iter().map(Source::Many).collect());
    }
    let extension = |p: &Path| p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    entries.retain(|p| EXTENSIONS.contains(&extension(p).as_str()));
    let archive = |p: &PathBuf| matches!(extension(p).as_str(), "npz" | "safetensors");
    Ok(match decls {
        [_] => entries.into_iter().map(Source::File).collect(),
        _ if !entries.is_empty() && entries.iter().all(archive) => entries.into_iter().map(Source::Many).collect(),
        _ if entries.is_empty() => vec![],
        _ => vec![Source::Many(path.to_path_buf())],
    })
}

/// How many samples a tensor holds.
fn stacked(decl: &ValueDecl, t: &Tensor) -> usize {
    let Some(shape) = &decl.shape else { return 1 };
    let Some(first) = t.shape().first().copied() else { return 1 };
    if t.rank() == shape.len() + 1 {
        return first;
    }
    let batch = shape.first().and_then(planc_tensor::Dim::as_usize).unwrap_or(0);
    if t.rank() == shape.len() && batch > 0 && first.is_multiple_of(batch) { first / batch } else { 1 }
}

/// Part `i` of `n` of a tensor.
fn part(decl: &ValueDecl, t: &Tensor, i: usize, n: usize) -> Tensor {
    let mut shape = t.shape().to_vec();
    if decl.shape.as_ref().is_some_and(|s| s.len() < shape.len()) {
        shape.remove(0);
    } else {
        shape[0] /= n;
    }
    let bytes = t.view().bytes();
    let len = bytes.len() / n;
    let mut own = AlignedBuf::zeroed(len);
    own.as_mut_slice().copy_from_slice(&bytes[i * len..(i + 1) * len]);
    // Strings and elements below a byte have no such parts.
    Tensor::from_bytes(t.dtype(), shape, Bytes::new(own)).unwrap_or_else(|_| t.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use planc_plan::program::Storage;
    use planc_tensor::{DType, Dim, Layout};

    fn decl(shape: &[i64]) -> ValueDecl {
        let dim = |d: &i64| if *d < 0 { Dim::sym("N") } else { Dim::from(*d) };
        let shape = Some(shape.iter().map(dim).collect());
        ValueDecl { name: "x".into(), dtype: DType::F32, shape, layout: Layout::RowMajor, storage: Storage::Input }
    }

    #[test]
    fn tensors_hold_several_samples() {
        let t = Tensor::new(vec![6, 2], (0..12).map(|i| i as f32).collect()).unwrap();
        assert_eq!([&[1, 2][..], &[3, 2], &[2], &[-1, 2], &[4, 2]].map(|s| stacked(&decl(s), &t)), [6, 2, 6, 1, 1]);
        let second = part(&decl(&[3, 2]), &t, 1, 2);
        assert_eq!((second.shape(), second.as_slice::<f32>().unwrap()[0]), (&[3, 2][..], 6.0));
        let third = part(&decl(&[2]), &t, 2, 6);
        assert_eq!((third.shape(), third.as_slice::<f32>().unwrap()), (&[2][..], &[4.0, 5.0][..]));
    }
}
