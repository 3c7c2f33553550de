//! Values of flags: shapes, dims, sizes, named files.

use planc_tensor::Dim;
use std::path::PathBuf;

/// `NAME=1x3x224x224`: the shape of an input.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedShape {
    /// The input.
    pub name: String,
    /// Extents: numbers, or names of free dims.
    pub shape: Vec<Dim>,
}

/// `NAME=4`: the value of a symbolic dim.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedDim {
    /// The dim's name in the model.
    pub name: String,
    /// Its value.
    pub value: i64,
}

/// `NAME=FILE`: the file with an input.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedFile {
    /// The input.
    pub name: String,
    /// The file.
    pub file: PathBuf,
}

/// Shapes in trtexec's form, `a:1x3,b:2x4`.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeList(pub Vec<NamedShape>);

/// Files in trtexec's form, `a:a.bin,b:b.bin`.
#[derive(Clone, Debug, PartialEq)]
pub struct FileList(pub Vec<NamedFile>);

/// Parses `NAME=1x3x224x224`; `NAME=scalar` is a scalar.
///
/// # Errors
/// One sentence.
pub fn named_shape(text: &str) -> Result<NamedShape, String> {
    let (name, shape) = pair(text, '=', "NAME=1x3x224x224")?;
    Ok(NamedShape { name, shape: extents(shape)? })
}

/// Parses `NAME=4`.
///
/// # Errors
/// One sentence.
pub fn named_dim(text: &str) -> Result<NamedDim, String> {
    let (name, value) = pair(text, '=', "NAME=4")?;
    let value: i64 = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
    if value < 0 { Err("an extent cannot be negative".into()) } else { Ok(NamedDim { name, value }) }
}

/// Parses `NAME=FILE`.
///
/// # Errors
/// One sentence.
pub fn named_file(text: &str) -> Result<NamedFile, String> {
    let (name, file) =
        text.split_once('=').filter(|(n, f)| !n.is_empty() && !f.is_empty()).ok_or("expected NAME=FILE")?;
    Ok(NamedFile { name: name.to_string(), file: file.into() })
}

/// Parses `a:1x3,b:2x4`.
///
/// # Errors
/// One sentence.
pub fn shape_list(text: &str) -> Result<ShapeList, String> {
    let one = |part: &str| {
        let (name, shape) = pair(part, ':', "NAME:1x3x224x224")?;
        Ok(NamedShape { name, shape: extents(shape)? })
    };
    text.split(',').map(one).collect::<Result<_, String>>().map(ShapeList)
}

/// Parses `a:a.bin,b:b.bin`.
///
/// # Errors
/// One sentence.
pub fn file_list(text: &str) -> Result<FileList, String> {
    let one = |part: &str| {
        let (name, file) = pair(part, ':', "NAME:FILE")?;
        Ok(NamedFile { name, file: file.into() })
    };
    text.split(',').map(one).collect::<Result<_, String>>().map(FileList)
}

/// Parses a number of bytes with an optional binary suffix: `512M`, `4GiB`, `1000000`.
///
/// # Errors
/// One sentence.
pub fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("expected a size such as 512M or 4G".into()),
    };
    let count: usize = digits.parse().map_err(|_| "expected a size such as 512M or 4G")?;
    count.checked_mul(1 << shift).ok_or_else(|| "the size is too large".into())
}

/// Parses a number of threads.
///
/// # Errors
/// One sentence.
pub fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| "expected a number from 1 to 1024".into())
}

/// Parses a number of 1 or more.
///
/// # Errors
/// One sentence.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a number, 1 or more".into())
}

/// Parses a non-negative, finite number.
///
/// # Errors
/// One sentence.
pub fn amount(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0).ok_or_else(|| "expected a number, 0 or more".into())
}

/// A quality of results, and how good it has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// What is measured.
    pub metric: Metric,
    /// The worst that will do.
    pub value: f64,
}

/// What is measured of results against those in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Signal over quantisation noise in decibels, at least.
    SqnrDb,
    /// Cosine of the angle, at least.
    Cosine,
    /// Largest difference, at most.
    MaxAbs,
    /// Points of top-1 accuracy lost, at most.
    Top1,
}

/// Parses `sqnr_db=30`, `cosine=0.99`, `max_abs=0.1` or `top1=0.5`.
///
/// # Errors
/// One sentence.
pub fn budget(text: &str) -> Result<Budget, String> {
    let (name, value) = pair(text, '=', "METRIC=V")?;
    let metric = match name.as_str() {
        "sqnr_db" => Metric::SqnrDb,
        "cosine" => Metric::Cosine,
        "max_abs" => Metric::MaxAbs,
        "top1" => Metric::Top1,
        _ => return Err(format!("no metric {name:?}: they are sqnr_db, cosine, max_abs, top1")),
    };
    let value = value.parse().ok().filter(|v: &f64| v.is_finite()).ok_or("expected a number after the metric")?;
    Ok(Budget { metric, value })
}

/// Name and value around the last `separator`, as names may have it too.
fn pair<'t>(text: &'t str, separator: char, form: &str) -> Result<(String, &'t str), String> {
    let found = text.rsplit_once(separator).filter(|(n, v)| !n.is_empty() && !v.is_empty());
    found.map(|(n, v)| (n.to_string(), v)).ok_or_else(|| format!("expected {form}"))
}

/// `1x3xN` as dims; `scalar` has none.
fn extents(text: &str) -> Result<Vec<Dim>, String> {
    if text == "scalar" {
        return Ok(Vec::new());
    }
    let extent = |part: &str| match part.parse::<i64>() {
        Ok(n) if n >= 0 => Ok(Dim::from(n)),
        Err(_) if part.starts_with(|c: char| c.is_alphabetic() || c == '_') => Ok(Dim::sym(part)),
        _ => Err(format!("{part:?} is not an extent: expected numbers or names with x between, such as Nx3x224x224")),
    };
    text.split('x').map(extent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let shape = named_shape("a=b=2xNx3").unwrap();
        assert_eq!((shape.name.as_str(), shape.shape), ("a=b", vec![Dim::from(2i64), Dim::sym("N"), Dim::from(3i64)]));
        assert_eq!(named_shape("s=scalar").unwrap().shape, []);
        for wrong in ["", "a", "a=", "=1", "a=1x", "a=-1", "a=1x2.5"] {
            assert!(named_shape(wrong).is_err(), "{wrong}");
        }
        let ShapeList(list) = shape_list("a:0:1x2,b:3").unwrap();
        assert_eq!((list[0].name.as_str(), list[1].name.as_str()), ("a:0", "b"));
    }

    #[test]
    fn sizes() {
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert_eq!(size("17"), Ok(17));
        for wrong in ["", "M", "-1", "1X", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
