//! Comparing outputs with expected ones, as ONNX's test runner does: |got - want| <= atol + rtol * |want|.

use super::outputs::Output;
use super::{file_name, maps, npy, type_text, value_text};
use crate::error::{CliError, Fault};
use planc_onnx::data::{self, Kind};
use planc_tensor::{DType, Tensor, Value, View, bf16, f16};
use serde::Serialize;
use std::path::Path;

/// How far an output is from what was expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Output.
    pub name: String,
    /// Whether it is within the tolerance.
    pub ok: bool,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Largest absolute difference over the largest expected magnitude.
    pub relative: f64,
    /// Elements beyond the tolerance.
    pub wrong: usize,
    /// What is wrong apart from elements: type or shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Compares `outputs` with the files of `folder`: `output_K.pb`, or `NAME.npy` (`NAME.json` for what holds maps).
///
/// # Errors
/// When a file is missing or cannot be read.
pub fn with_folder(folder: &Path, outputs: &[Output<'_>], rtol: f64, atol: f64) -> Result<Vec<Compared>, CliError> {
    let one = |(k, output): (usize, &Output<'_>)| {
        let (name, got) = (&output.name, &output.value);
        let extension = if output.maps().is_some() { "json" } else { "npy" };
        let own = folder.join(format!("{}.{extension}", file_name(name)));
        let pb = folder.join(format!("output_{k}.pb"));
        let fail = |path: &Path, what: &str| {
            CliError::new(Fault::TensorFile, format!("cannot read {}: {what}", path.display())).file(path)
        };
        let (kind, dtype) = match got {
            Value::Tensor(t) => (Kind::Tensor, Some(t.dtype())),
            Value::Sequence(_) => (Kind::Sequence, None),
            Value::Optional(_) => (Kind::Optional, None),
            Value::Map(_) => (Kind::Map, None),
        };
        let want = if pb.exists() {
            data::read(&super::open(&pb)?, kind).map_err(|e| fail(&pb, &e.to_string()))?
        } else if let (Some(ty), true) = (output.maps(), own.exists()) {
            maps::read(ty, super::open(&own)?.as_slice()).map_err(|e| fail(&own, &e))?
        } else if own.exists() && dtype.is_some() {
            Value::Tensor(npy::parse(&super::open(&own)?, dtype).map_err(|e| fail(&own, &e))?)
        } else {
            let what = format!("output {name:?}: there is neither {} nor {}", pb.display(), own.display());
            return Err(CliError::new(Fault::TensorFile, what).at("output", name.clone()));
        };
        let bits = match (&want, dtype) {
            (Value::Tensor(w), Some(dtype)) => super::inputs::from_bits(w, dtype).map(Value::Tensor),
            _ => None,
        };
        Ok(values(name, got, bits.as_ref().unwrap_or(&want), rtol, atol))
    };
    outputs.iter().enumerate().map(one).collect()
}

/// Compares two values: tensors by their elements, others part by part, of which the worst counts.
fn values(name: &str, got: &Value, want: &Value, rtol: f64, atol: f64) -> Compared {
    let different = || Compared {
        name: name.into(),
        ok: false,
        max_abs: 0.0,
        relative: 0.0,
        wrong: 0,
        fault: Some(format!("it is {}, expected {}", value_text(got), value_text(want))),
    };
    match (got, want) {
        (Value::Tensor(g), Value::Tensor(w)) => tensors(name, g, w, rtol, atol),
        (Value::Sequence(g), Value::Sequence(w)) if g.len() == w.len() => {
            let parts = g.iter().zip(w).map(|(g, w)| values(name, g, w, rtol, atol));
            let none = Compared { name: name.into(), ok: true, max_abs: 0.0, relative: 0.0, wrong: 0, fault: None };
            parts.fold(none, |a, b| Compared {
                ok: a.ok && b.ok,
                max_abs: a.max_abs.max(b.max_abs),
                relative: a.relative.max(b.relative),
                wrong: a.wrong + b.wrong,
                fault: a.fault.or(b.fault),
                name: a.name,
            })
        }
        (Value::Optional(Some(g)), Value::Optional(Some(w))) => values(name, g, w, rtol, atol),
        (Value::Map(g), Value::Map(w)) if g.keys() == w.keys() => tensors(name, g.values(), w.values(), rtol, atol),
        _ if got == want => tensors(name, &Tensor::scalar(true), &Tensor::scalar(true), rtol, atol),
        _ => different(),
    }
}

/// Compares two tensors.
pub fn tensors(name: &str, got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Compared {
    let mut c = Compared { name: name.into(), ok: true, max_abs: 0.0, relative: 0.0, wrong: 0, fault: None };
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        c.fault = Some(format!("it is {}, expected {}", type_text(got), type_text(want)));
        c.ok = false;
        return c;
    }
    match (numbers(got.view()), numbers(want.view())) {
        (Some(got), Some(want)) => {
            let mut largest = 0.0f64;
            for (g, w) in got.into_iter().zip(want) {
                if w.is_finite() {
                    largest = largest.max(w.abs());
                }
                // Equal infinities and NaNs on both sides are equal.
                if g == w || g.is_nan() && w.is_nan() {
                    continue;
                }
                let difference = (g - w).abs();
                c.max_abs = if difference.is_nan() { f64::INFINITY } else { c.max_abs.max(difference) };
                let within = w.is_finite() && difference <= atol + rtol * w.abs();
                c.wrong += usize::from(!within);
            }
            c.relative = if c.max_abs == 0.0 { 0.0 } else { c.max_abs / largest.max(f64::MIN_POSITIVE) };
        }
        _ if got.dtype() == DType::String => {
            c.wrong = got.view().as_strings().iter().zip(want.view().as_strings()).filter(|(g, w)| g != w).count();
        }
        _ => c.wrong = got.view().bytes().iter().zip(want.view().bytes()).filter(|(g, w)| g != w).count(),
    }
    c.ok = c.wrong == 0;
    c
}

/// The elements as numbers; `None` for strings, complex numbers and floats below 16 bits.
fn numbers(v: View<'_>) -> Option<Vec<f64>> {
    Some(match v.dtype() {
        DType::F32 => v.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::F64 => v.to_vec::<f64>()?,
        DType::F16 => v.to_vec::<f16>()?.into_iter().map(f64::from).collect(),
        DType::BF16 => v.to_vec::<bf16>()?.into_iter().map(f64::from).collect(),
        _ => v.to_i64()?.into_iter().map(|v| v as f64).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_compared_key_by_key() {
        let map = |keys: &[i64], v: &[f32]| {
            let map = planc_tensor::Map::new(&Tensor::vector(keys.to_vec()), &Tensor::vector(v.to_vec()));
            Value::Sequence(vec![Value::Map(map.unwrap())])
        };
        let check = |g: &Value, w: &Value| values("x", g, w, 0.0, 0.1);
        assert!(check(&map(&[1, 2], &[0.5, 0.25]), &map(&[2, 1], &[0.25, 0.55])).ok);
        assert_eq!(check(&map(&[1, 2], &[0.5, 0.25]), &map(&[1, 2], &[0.25, 0.5])).wrong, 2);
        let other = check(&map(&[1, 2], &[0.5, 0.25]), &map(&[1, 3], &[0.5, 0.25]));
        assert!(!other.ok && other.fault.is_some());
    }

    #[test]
    fn tolerances_and_special_values() {
        let t = |v: &[f32]| Tensor::vector(v.to_vec());
        let check = |g: &[f32], w: &[f32]| tensors("x", &t(g), &t(w), 1e-3, 1e-5).wrong;
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert_eq!(check(&[1.0005, nan, inf, 0.0], &[1.0, nan, inf, 1e-6]), 0);
        assert_eq!(check(&[1.1, 1.0, inf, 1.0, -inf], &[1.0, nan, 1.0, inf, inf]), 5);
        assert!(tensors("x", &t(&[1.0]), &Tensor::vector(vec![1f64]), 1.0, 1.0).fault.is_some());
        assert!(!tensors("x", &Tensor::vector(vec![1i64]), &Tensor::vector(vec![2i64]), 1e-3, 1e-5).ok);
    }
}
