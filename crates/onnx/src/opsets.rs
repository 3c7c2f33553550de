//! Tables of opset imports.

use crate::error::{Code, ImportError, clip};
use crate::functions::domain;
use std::collections::BTreeMap;

/// Opset version by domain; `ai.onnx` is the empty domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opsets(BTreeMap<String, u32>);

impl Opsets {
    /// The table of a list of imports. Several entries of one domain must agree.
    pub(crate) fn new(imports: &[(String, i64)]) -> Result<Opsets, ImportError> {
        let error = |message: String| ImportError::new(Code::Opset, message);
        let mut table = BTreeMap::new();
        for (name, version) in imports {
            let key = domain(name);
            let shown = if key.is_empty() { "ai.onnx" } else { key };
            let number = u32::try_from(*version)
                .ok()
                .filter(|v| *v > 0)
                .ok_or_else(|| error(format!("the opset version {version} of {:?} is out of range", clip(shown))))?;
            if key.is_empty() && number > planc_ops::NEWEST_OPSET {
                let newest = planc_ops::NEWEST_OPSET;
                let message = format!("opset {number} is newer than the newest supported one, {newest}");
                return Err(ImportError::new(Code::OpsetTooNew, message).help("export the model with an older opset"));
            }
            if let Some(other) = table.insert(key.to_owned(), number)
                && other != number
            {
                return Err(error(format!("the opsets {other} and {number} of {:?} are both imported", clip(shown))));
            }
        }
        Ok(Opsets(table))
    }

    /// The imported version of a domain.
    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.0.get(domain(name)).copied()
    }

    /// Whether nothing is imported.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Domains and versions, sorted.
    pub(crate) fn into_list(self) -> Vec<(String, u32)> {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(imports: &[(&str, i64)]) -> Result<Opsets, ImportError> {
        Opsets::new(&imports.iter().map(|(d, v)| ((*d).to_owned(), *v)).collect::<Vec<_>>())
    }

    #[test]
    fn the_default_domain_has_two_names() {
        let t = table(&[("ai.onnx", 17), ("", 17), ("com.microsoft", 1)]).unwrap();
        assert_eq!(
            (t.get(""), t.get("ai.onnx"), t.get("com.microsoft"), t.get("x")),
            (Some(17), Some(17), Some(1), None)
        );
    }

    #[test]
    fn contradictions_and_ranges() {
        for bad in [&[("", 17), ("ai.onnx", 18)][..], &[("", 0)], &[("", -1)], &[("x", 1 << 32)]] {
            assert_eq!(table(bad).unwrap_err().code, Code::Opset, "{bad:?}");
        }
        assert_eq!(table(&[("", 29)]).unwrap_err().code, Code::OpsetTooNew);
    }
}
