//! The values of symbolic extents during a run.

use planc_tensor::Dim;
use std::sync::Arc;

/// Symbols and their values, in the order they were bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symbols(Vec<(Arc<str>, i64)>);

impl Symbols {
    pub(crate) fn get(&self, name: &str) -> Option<i64> {
        self.0.iter().find(|(n, _)| &**n == name).map(|(_, v)| *v)
    }

    pub(crate) fn eval(&self, dim: &Dim) -> Option<usize> {
        dim.eval(&|name| self.get(name)).and_then(|v| usize::try_from(v).ok())
    }

    /// The extents, when all are known and not negative.
    pub(crate) fn shape(&self, dims: &[Dim]) -> Option<Vec<usize>> {
        dims.iter().map(|d| self.eval(d)).collect()
    }

    /// Takes the extents of a value that now exists: binds unbound symbols, compares the rest.
    ///
    /// Extents that are expressions of unbound symbols are accepted; the symbols are bound elsewhere or not at all.
    pub(crate) fn unify(&mut self, dims: &[Dim], shape: &[usize]) -> Result<(), String> {
        let text = || dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(",");
        if dims.len() != shape.len() {
            return Err(format!("has shape {shape:?}, the plan says [{}]", text()));
        }
        for (d, have) in dims.iter().zip(shape) {
            if let Some(name) = d.as_sym()
                && self.get(name).is_none()
            {
                self.0.push((name.clone(), *have as i64));
            } else if let Some(want) = d.eval(&|name| self.get(name))
                && want != *have as i64
            {
                let bound = if d.as_const().is_none() { format!(" with {d} = {want}") } else { String::new() };
                return Err(format!("has shape {shape:?}, the plan says [{}]{bound}", text()));
            }
        }
        Ok(())
    }
}
