//! Calibration tables: the text that `calibrate` writes and `compile --calib` reads.
//!
//! ```text
//! planc-calibration 1
//! model 6c1f... (BLAKE3 of the model)
//! method percentile:99.99
//! samples 100
//! range LOW HIGH seen MIN MAX "name of the value"
//! ```
//!
//! Guarantees: what is written is what is read; values are sorted by name, numbers are the shortest that read back the
//! same, so that equal calibrations have equal bytes.

use crate::error::{CliError, Fault};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The first line.
const HEADER: &str = "planc-calibration 1";

/// How ranges are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// The least and greatest number seen.
    #[default]
    MinMax,
    /// So that this many of a hundred numbers lie within.
    Percentile(f64),
}

impl Method {
    /// Parses `minmax` or `percentile:99.99`.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(text: &str) -> Result<Method, String> {
        let percent = text.strip_prefix("percentile:").and_then(|p| p.parse::<f64>().ok());
        match percent.filter(|p| (50.0..=100.0).contains(p)) {
            Some(p) => Ok(Method::Percentile(p)),
            None if text == "minmax" => Ok(Method::MinMax),
            None => Err("expected minmax, or percentile:P with P from 50 to 100".into()),
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Method::MinMax => f.write_str("minmax"),
            Method::Percentile(p) => write!(f, "percentile:{p}"),
        }
    }
}

/// The ranges of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// What is to have a code.
    pub chosen: (f32, f32),
    /// What was seen.
    pub seen: (f32, f32),
}

/// A calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// BLAKE3 of the model, in hex.
    pub model: String,
    /// How ranges were chosen.
    pub method: Method,
    /// Number of samples.
    pub samples: usize,
    /// Ranges by name of the value.
    pub ranges: BTreeMap<String, Range>,
}

impl Table {
    /// The text.
    pub fn print(&self) -> String {
        let mut text = format!("{HEADER}\nmodel {}\nmethod {}\nsamples {}\n", self.model, self.method, self.samples);
        for (name, r) in &self.ranges {
            let (a, b, c, d) = (r.chosen.0, r.chosen.1, r.seen.0, r.seen.1);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "range {a} {b} seen {c} {d} {}", serde_json::Value::from(name.as_str()));
        }
        text
    }

    /// The table that `text` is.
    ///
    /// # Errors
    /// The number of the line that is wrong, and how.
    fn parse(text: &str) -> Result<Table, String> {
        let mut lines = text.lines().enumerate();
        let mut line = |key: &str| -> Result<String, String> {
            let (i, l) = lines.next().unwrap_or((text.lines().count(), ""));
            let value = l.strip_prefix(key).map(|v| v.trim().to_string());
            value.ok_or_else(|| format!("line {}: expected {key:?}", i + 1))
        };
        line(HEADER)?;
        let model = line("model ")?;
        let method = Method::parse(&line("method ")?).map_err(|e| format!("line 3: {e}"))?;
        let samples = line("samples ")?.parse().map_err(|_| "line 4: expected a number of samples")?;
        let mut ranges = BTreeMap::new();
        for (i, l) in lines.filter(|(_, l)| !l.is_empty()) {
            let (name, range) = entry(l).ok_or_else(|| format!("line {}: expected a range", i + 1))?;
            if ranges.insert(name, range).is_some() {
                return Err(format!("line {}: the value is there twice", i + 1));
            }
        }
        Ok(Table { model, method, samples, ranges })
    }

    /// Reads the table at `path`, which has to be of the model with hash `model`.
    ///
    /// # Errors
    /// When it cannot be read, is no table, or is one of another model.
    pub fn read(path: &Path, model: &str) -> Result<Table, CliError> {
        let fail = |what: String| {
            CliError::new(Fault::Calibration, format!("cannot use {}: {what}", path.display())).file(path)
        };
        let bytes = crate::io::open(path)?;
        let text = std::str::from_utf8(bytes.as_slice()).map_err(|_| fail("it is not text".into()))?;
        let table = Table::parse(text).map_err(fail)?;
        if table.model == model {
            return Ok(table);
        }
        let help = "make one for this model with `planc calibrate`";
        Err(fail(format!("it is the calibration of model {}, this is model {model}", table.model)).help(help))
    }
}

fn entry(line: &str) -> Option<(String, Range)> {
    let mut words = line.splitn(7, ' ');
    let mut number = |key: &str| {
        let word = words.next()?;
        if key.is_empty() { word.parse::<f32>().ok().filter(|v| v.is_finite()) } else { (word == key).then_some(0.0) }
    };
    number("range")?;
    let chosen = (number("")?, number("")?);
    number("seen")?;
    let seen = (number("")?, number("")?);
    let name = serde_json::from_str(words.next()?).ok()?;
    (chosen.0 <= chosen.1).then_some((name, Range { chosen, seen }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_is_parsed() {
        let range = Range { chosen: (-0.1, 1e-30), seen: (-1e20, 0.333_333_34) };
        let ranges = BTreeMap::from([("a \"b\"\n%c".to_string(), range), ("z".to_string(), range)]);
        let table = Table { model: "ab".into(), method: Method::Percentile(99.99), samples: 3, ranges };
        assert_eq!(Table::parse(&table.print()), Ok(table));
    }

    #[test]
    fn wrong_tables_are_refused() {
        for (text, expected) in [
            ("", "line 1: expected \"planc-calibration 1\""),
            ("planc-calibration 1\nmethod minmax\n", "line 2: expected \"model \""),
            (
                "planc-calibration 1\nmodel a\nmethod best\n",
                "line 3: expected minmax, or percentile:P with P from 50 to 100",
            ),
            (
                "planc-calibration 1\nmodel a\nmethod minmax\nsamples 1\nrange 1 0 seen 0 1 \"a\"\n",
                "line 5: expected a range",
            ),
            (
                "planc-calibration 1\nmodel a\nmethod minmax\nsamples 1\nrange 0 1 seen 0 1 \"a\"\nrange 0 1 seen 0 1 \"a\"\n",
                "line 6: the value is there twice",
            ),
        ] {
            assert_eq!(Table::parse(text).unwrap_err(), expected);
        }
    }
}
