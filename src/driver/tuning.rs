//! Tuning files: the text that `tune` writes and `compile --tuning` reads.
//!
//! ```text
//! planc-tuning 1
//! model 6c1f... (BLAKE3 of the model)
//! machine avx512vnni, 2 threads
//! runs 25
//! layer winograd direct 412.5 winograd 281.0 "name of the first result"
//! ```
//!
//! A layer has the algorithm that was chosen, and the least microseconds of each. Guarantees: what is written is what is read;
//! layers are sorted by name. Only the choices decide over a plan, so that a file may be edited.

use crate::error::{CliError, Fault};
use planc_cpu::Algorithm;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The first line.
const HEADER: &str = "planc-tuning 1";

/// What was measured of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// What is to be used.
    pub chosen: Algorithm,
    /// Least microseconds.
    pub times: Vec<(Algorithm, f64)>,
}

/// A tuning.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// BLAKE3 of the model, in hex.
    pub model: String,
    /// Where it was measured; for readers.
    pub machine: String,
    /// Inferences of each algorithm.
    pub runs: usize,
    /// Layers by the name of their first result.
    pub layers: BTreeMap<String, Layer>,
}

impl Tuning {
    /// The text.
    pub fn print(&self) -> String {
        let mut text = format!("{HEADER}\nmodel {}\nmachine {}\nruns {}\n", self.model, self.machine, self.runs);
        for (name, layer) in &self.layers {
            let times: String = layer.times.iter().map(|(a, us)| format!("{} {us:.1} ", a.name())).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "layer {} {times}{}", layer.chosen.name(), Value::from(name.as_str()));
        }
        text
    }

    /// The tuning that `text` is.
    ///
    /// # Errors
    /// The number of the line that is wrong, and how.
    fn parse(text: &str) -> Result<Tuning, String> {
        let mut lines = text.lines().enumerate();
        let mut line = |key: &str| -> Result<String, String> {
            let (i, l) = lines.next().unwrap_or((text.lines().count(), ""));
            let value = l.strip_prefix(key).map(|v| v.trim().to_string());
            value.ok_or_else(|| format!("line {}: expected {key:?}", i + 1))
        };
        line(HEADER)?;
        let (model, machine) = (line("model ")?, line("machine ")?);
        let runs = line("runs ")?.parse().map_err(|_| "line 4: expected a number of runs")?;
        let mut layers = BTreeMap::new();
        for (i, l) in lines.filter(|(_, l)| !l.is_empty()) {
            let (name, layer) = layer(l).ok_or_else(|| format!("line {}: expected a layer", i + 1))?;
            if layers.insert(name, layer).is_some() {
                return Err(format!("line {}: the layer is there twice", i + 1));
            }
        }
        Ok(Tuning { model, machine, runs, layers })
    }

    /// Reads the tuning at `path`, which has to be of the model with hash `model`.
    ///
    /// # Errors
    /// When it cannot be read, is no tuning, or is one of another model.
    pub fn read(path: &Path, model: &str) -> Result<Tuning, CliError> {
        let fail =
            |what: String| CliError::new(Fault::Tuning, format!("cannot use {}: {what}", path.display())).file(path);
        let bytes = crate::io::open(path)?;
        let text = std::str::from_utf8(bytes.as_slice()).map_err(|_| fail("it is not text".into()))?;
        let tuning = Tuning::parse(text).map_err(fail)?;
        if tuning.model == model {
            return Ok(tuning);
        }
        let help = "make one for this model with `planc tune`";
        Err(fail(format!("it is the tuning of model {}, this is model {model}", tuning.model)).help(help))
    }

    /// The choices.
    pub fn measured(&self) -> BTreeMap<String, Algorithm> {
        self.layers.iter().map(|(name, layer)| (name.clone(), layer.chosen)).collect()
    }

    /// What decides over the bytes of a plan.
    pub fn digest(&self) -> Value {
        let mut hasher = blake3::Hasher::new();
        for (name, layer) in &self.layers {
            hasher.update(format!("{} {}\n", layer.chosen.name(), Value::from(name.as_str())).as_bytes());
        }
        json!({"blake3": hasher.finalize().to_hex().to_string(), "layers": self.layers.len()})
    }
}

fn layer(line: &str) -> Option<(String, Layer)> {
    let (words, name) = line.split_at(line.find('"')?);
    let mut words = words.split_whitespace();
    if words.next()? != "layer" {
        return None;
    }
    let chosen = Algorithm::from_name(words.next()?)?;
    let mut times = vec![];
    while let Some(word) = words.next() {
        let us = words.next()?.parse::<f64>().ok().filter(|us| us.is_finite() && *us >= 0.0)?;
        times.push((Algorithm::from_name(word)?, us));
    }
    Some((serde_json::from_str(name).ok()?, Layer { chosen, times }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Tuning {
        let times = vec![(Algorithm::Direct, 412.5), (Algorithm::Winograd, 281.0)];
        let layer = Layer { chosen: Algorithm::Winograd, times };
        let layers = BTreeMap::from([("a \"b\"\n%c".to_string(), layer.clone()), ("z".to_string(), layer)]);
        Tuning { model: "ab".into(), machine: "avx2, 2 threads".into(), runs: 7, layers }
    }

    #[test]
    fn what_is_printed_is_what_is_parsed() {
        assert_eq!(Tuning::parse(&example().print()), Ok(example()));
    }

    #[test]
    fn only_choices_decide() {
        let (a, mut b) = (example(), example());
        b.machine = "another".into();
        b.layers.values_mut().for_each(|l| l.times.clear());
        assert_eq!((a.digest(), a.measured()), (b.digest(), b.measured()));
        b.layers.values_mut().for_each(|l| l.chosen = Algorithm::Direct);
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn wrong_files_are_refused() {
        let head = "planc-tuning 1\nmodel a\nmachine m\nruns 1\n";
        for (text, expected) in [
            ("", "line 1: expected \"planc-tuning 1\""),
            ("planc-tuning 1\nruns 1\n", "line 2: expected \"model \""),
            ("planc-tuning 1\nmodel a\nmachine m\nruns x\n", "line 4: expected a number of runs"),
            (&format!("{head}layer fastest \"a\"\n"), "line 5: expected a layer"),
            (&format!("{head}layer direct direct -1 \"a\"\n"), "line 5: expected a layer"),
            (&format!("{head}layer direct \"a\"\nlayer winograd \"a\"\n"), "line 6: the layer is there twice"),
        ] {
            assert_eq!(Tuning::parse(text).unwrap_err(), expected);
        }
    }
}
