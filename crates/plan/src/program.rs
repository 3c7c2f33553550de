//! What a plan runs: programs of steps over values.
//!
//! The manifest section is a [`Manifest`], encoded with postcard. [`Manifest::decode`] checks every index, range and
//! order, so that whoever holds one may use its numbers without checking them again: a value is defined once and
//! before it is read, weights lie within their section, sub-programs come after the programs that call them (so calls
//! cannot recurse), ranks are small. Sizes that depend on the run's shapes are computed, and checked, by the runtime.

use planc_kir::{Expr, Kernel};
use planc_tensor::{DType, Dim, Layout, Map, Value};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of a value within its program.
pub type ValueIx = u32;

/// Number of a program within the manifest.
pub type ProgramIx = u32;

/// Everything a runtime needs to run a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The model's name.
    pub name: String,
    /// Programs; 0 is the model, the others are bodies of control flow.
    pub programs: Vec<Program>,
    /// Inputs and outputs of the model that are no tensors: they are vectors of bytes, which [`planc_tensor::unpack`]
    /// reads.
    pub packed: Vec<(ValueIx, PackedType)>,
}

/// What a packed value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedType {
    /// What it is, and what that holds, outermost first.
    pub levels: Vec<Level>,
    /// Element type of the tensors in it, or of the values of the maps in it.
    pub dtype: DType,
}

/// What a packed value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// A list of values.
    Sequence,
    /// A value or nothing.
    Optional,
    /// A map from keys of this type to elements; nothing is inside of it.
    Map(DType),
}

impl PackedType {
    /// Whether there are values of this type.
    fn is_sound(&self) -> bool {
        let Some((last, outer)) = self.levels.split_last() else { return false };
        let fits = if let Level::Map(key) = last { Map::has_types(*key, self.dtype) } else { true };
        fits && self.levels.len() <= MAX_LEVELS && !outer.iter().any(|l| matches!(l, Level::Map(_)))
    }

    /// Whether maps are in it.
    pub fn has_maps(&self) -> bool {
        matches!(self.levels.last(), Some(Level::Map(_)))
    }

    /// Whether `value` is of this type.
    pub fn holds(&self, value: &Value) -> bool {
        holds(&self.levels, self.dtype, value)
    }
}

fn holds(levels: &[Level], dtype: DType, value: &Value) -> bool {
    match (levels, value) {
        ([], Value::Tensor(t)) => t.dtype() == dtype,
        ([Level::Sequence, inner @ ..], Value::Sequence(values)) => values.iter().all(|v| holds(inner, dtype, v)),
        ([Level::Optional, inner @ ..], Value::Optional(v)) => v.as_ref().is_none_or(|v| holds(inner, dtype, v)),
        ([Level::Map(key)], Value::Map(map)) => map.keys().dtype() == *key && map.values().dtype() == dtype,
        _ => false,
    }
}

impl fmt::Display for PackedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in &self.levels {
            match level {
                Level::Sequence => f.write_str("seq("),
                Level::Optional => f.write_str("optional("),
                Level::Map(key) => write!(f, "map({key},"),
            }?;
        }
        write!(f, "{}", self.dtype)?;
        self.levels.iter().try_for_each(|_| f.write_str(")"))
    }
}

/// A straight-line sequence of steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Values.
    pub values: Vec<ValueDecl>,
    /// Values that the caller gives.
    pub inputs: Vec<ValueIx>,
    /// Values that the caller gets.
    pub outputs: Vec<ValueIx>,
    /// Steps, in order.
    pub steps: Vec<Step>,
}

/// A value: a typed buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueDecl {
    /// Name in the optimised graph.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents; `None` when the rank is only known at run time.
    pub shape: Option<Vec<Dim>>,
    /// Layout in memory.
    pub layout: Layout,
    /// Where it is.
    pub storage: Storage,
}

/// Where a value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// In the caller's memory.
    Input,
    /// In the weights section.
    Weight {
        /// Byte offset within the section.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// In the weights section, an index into its string table: tensors of strings.
    Strings {
        /// Byte offset within the section of a postcard-encoded list of strings.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// In the arena: the extents are functions of the inputs' extents.
    Arena,
    /// Allocated when its step runs: the extents, or the whole value, are known only then.
    Pool,
    /// The bytes of another value under its own shape.
    Alias(ValueIx),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name of the node it comes from.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Operands; `None` for an omitted one.
    pub inputs: Vec<Option<ValueIx>>,
    /// Results; `None` for one that nobody reads.
    pub outputs: Vec<Option<ValueIx>>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Runs a kernel. Its implementation follows from the operands' layouts.
    Kernel {
        /// The kernel.
        kernel: Kernel,
        /// A scalar program over the result before it is stored: operand 0 is the result, the others are the last
        /// operands of the step.
        epilogue: Option<Expr>,
        /// Generated code that does the same, by index into the code tables; absent where there is none.
        code: Option<u32>,
    },
    /// Runs one of two programs. Operands: condition, then what the programs read.
    If {
        /// Run where the condition holds.
        then_program: ProgramIx,
        /// Run elsewhere.
        else_program: ProgramIx,
        /// Positions in the step's operands of each input of `then_program`.
        then_inputs: Vec<u32>,
        /// Positions in the step's operands of each input of `else_program`.
        else_inputs: Vec<u32>,
    },
    /// ONNX Loop. Operands: trip count?, condition?, carried..., captured...; the body's inputs are iteration number,
    /// condition, carried..., captured...
    Loop {
        /// The body.
        body: ProgramIx,
        /// Number of carried values.
        carried: u32,
    },
    /// ONNX Scan. Operands: carried..., scanned..., captured...
    Scan {
        /// The body; its inputs are carried..., one slice of each scanned..., captured...
        body: ProgramIx,
        /// Number of carried values.
        carried: u32,
        /// Per scanned operand: axis and whether it is read backwards.
        scanned: Vec<(u32, bool)>,
        /// Per scan result: axis and whether it is written backwards.
        results: Vec<(u32, bool)>,
    },
}

impl Action {
    /// What it is in a word: the kernel's name, or that of the control flow.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Kernel { kernel, .. } => kernel.name(),
            Action::If { .. } => "if",
            Action::Loop { .. } => "loop",
            Action::Scan { .. } => "scan",
        }
    }
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("program {program}: {message}")]
pub struct ManifestError {
    /// Number of the program.
    pub program: usize,
    /// What is wrong.
    pub message: String,
}

/// Ranks at most; ONNX models have 6, hostile ones 200.
pub const MAX_RANK: usize = 64;

/// Sequences and optionals within each other at most.
pub const MAX_LEVELS: usize = 8;

impl Manifest {
    /// The section's bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("this is a bug: encoding to memory cannot fail")
    }

    /// What value `ix` of the model is, if it is no tensor.
    pub fn packed(&self, ix: ValueIx) -> Option<&PackedType> {
        self.packed.iter().find(|(v, _)| *v == ix).map(|(_, t)| t)
    }

    /// Reads and checks a manifest for a weights section of `weights_len` bytes.
    ///
    /// # Errors
    /// When the bytes are not a manifest, or anything in it is out of range.
    pub fn decode(bytes: &[u8], weights_len: u64) -> Result<Manifest, ManifestError> {
        let fail = |message: &str| ManifestError { program: 0, message: message.to_string() };
        let (manifest, rest) = postcard::take_from_bytes::<Manifest>(bytes).map_err(|_| fail("not a manifest"))?;
        if !rest.is_empty() {
            return Err(fail("trailing bytes"));
        }
        if manifest.programs.is_empty() {
            return Err(fail("no program"));
        }
        let bytes = |v: &ValueIx| {
            let decl = manifest.programs[0].values.get(*v as usize);
            decl.is_some_and(|d| d.dtype == DType::U8 && d.layout == Layout::RowMajor)
        };
        if manifest.packed.iter().any(|(v, t)| !bytes(v) || !t.is_sound()) {
            return Err(fail("a packed value is none"));
        }
        for (i, p) in manifest.programs.iter().enumerate() {
            Checker { manifest: &manifest, program: i, weights_len }
                .check(p)
                .map_err(|message| ManifestError { program: i, message })?;
        }
        Ok(manifest)
    }
}

struct Checker<'a> {
    manifest: &'a Manifest,
    program: usize,
    weights_len: u64,
}

impl Checker<'_> {
    fn check(&self, p: &Program) -> Result<(), String> {
        let mut defined = vec![false; p.values.len()];
        let name = |i: usize| p.values[i].name.clone();
        for (i, v) in p.values.iter().enumerate() {
            self.check_value(p, i, v)?;
            defined[i] = matches!(v.storage, Storage::Weight { .. } | Storage::Strings { .. });
        }
        let index = |v: ValueIx| p.values.get(v as usize).map(|_| v as usize).ok_or(format!("no value {v}"));
        for v in &p.inputs {
            let i = index(*v)?;
            if p.values[i].storage != Storage::Input || std::mem::replace(&mut defined[i], true) {
                return Err(format!("{:?} is not an input, or twice", name(i)));
            }
        }
        for s in &p.steps {
            for v in s.inputs.iter().flatten() {
                let i = index(*v)?;
                if !defined[i] {
                    return Err(format!("step {:?} reads {:?} before it is defined", s.name, name(i)));
                }
            }
            for v in s.outputs.iter().flatten() {
                let i = index(*v)?;
                let stored = matches!(p.values[i].storage, Storage::Arena | Storage::Pool | Storage::Alias(_));
                if !stored || std::mem::replace(&mut defined[i], true) {
                    return Err(format!("step {:?} defines {:?}, which it cannot", s.name, name(i)));
                }
                if let Storage::Alias(of) = p.values[i].storage
                    && s.inputs.first() != Some(&Some(of))
                {
                    return Err(format!("{:?} shares bytes with a value its step does not read", name(i)));
                }
            }
            self.check_action(p, s)?;
        }
        for v in &p.outputs {
            let i = index(*v)?;
            if !defined[i] {
                return Err(format!("output {:?} is not defined", name(i)));
            }
        }
        Ok(())
    }

    fn check_value(&self, p: &Program, i: usize, v: &ValueDecl) -> Result<(), String> {
        if v.shape.as_ref().is_some_and(|s| s.len() > MAX_RANK) {
            return Err(format!("{:?} has more than {MAX_RANK} axes", v.name));
        }
        let shape: Option<Vec<usize>> = v.shape.as_ref().and_then(|s| s.iter().map(Dim::as_usize).collect());
        match v.storage {
            Storage::Weight { offset, len } => {
                self.check_range(offset, len)?;
                let shape = shape.ok_or_else(|| format!("weight {:?} has no constant shape", v.name))?;
                let need = v.layout.stored_bytes(v.dtype, &shape);
                if need.map(|n| n as u64) != Some(len) || offset % 64 != 0 {
                    return Err(format!("weight {:?} has {len} bytes at {offset}, which does not fit it", v.name));
                }
            }
            Storage::Strings { offset, len } => {
                self.check_range(offset, len)?;
                if v.dtype != DType::String || shape.is_none() {
                    return Err(format!("{:?} is not a constant of strings", v.name));
                }
            }
            Storage::Arena if v.dtype == DType::String || v.shape.is_none() => {
                return Err(format!("{:?} cannot be in the arena", v.name));
            }
            Storage::Alias(of) => {
                // Chains go to earlier values only, so that following them ends.
                let source = p.values.get(of as usize).filter(|_| (of as usize) < i);
                let source = source.ok_or_else(|| format!("{:?} shares the bytes of no earlier value", v.name))?;
                if source.dtype != v.dtype || source.layout != v.layout {
                    return Err(format!("{:?} shares the bytes of a value of another type", v.name));
                }
            }
            Storage::Input | Storage::Arena | Storage::Pool => {}
        }
        Ok(())
    }

    fn check_range(&self, offset: u64, len: u64) -> Result<(), String> {
        match offset.checked_add(len) {
            Some(end) if end <= self.weights_len => Ok(()),
            _ => Err(format!("bytes {offset}+{len} are outside the weights section")),
        }
    }

    fn check_action(&self, p: &Program, s: &Step) -> Result<(), String> {
        let body = |ix: ProgramIx, inputs: usize, outputs: usize| {
            let later = (ix as usize) > self.program;
            let sub = self.manifest.programs.get(ix as usize).filter(|_| later);
            let sub = sub.ok_or_else(|| format!("step {:?} calls program {ix}", s.name))?;
            if sub.inputs.len() != inputs || sub.outputs.len() != outputs {
                return Err(format!("step {:?} calls program {ix} with other operands than it has", s.name));
            }
            Ok(())
        };
        let (n, m) = (s.inputs.len(), s.outputs.len());
        match &s.action {
            Action::Kernel { kernel, epilogue, .. } => {
                let sides = epilogue.as_ref().map_or(0, |e| e.args().len().saturating_sub(1));
                if sides > n || epilogue.is_some() && (m == 0 || s.inputs[n - sides..].contains(&None)) {
                    return Err(format!("step {:?} lacks operands of its epilogue", s.name));
                }
                if let Some(e) = epilogue
                    && (e.args().is_empty()
                        || s.outputs[0].is_none_or(|o| p.values[o as usize].dtype != e.result_type()))
                {
                    return Err(format!("step {:?} has an epilogue of another type", s.name));
                }
                if let Kernel::Reduce(r) = kernel {
                    let operands: Vec<Option<DType>> =
                        s.inputs[..n - sides].iter().map(|v| v.map(|v| p.values[v as usize].dtype)).collect();
                    let fits = operands.iter().copied().eq(r.map.args().iter().map(|t| Some(*t)));
                    let ascending = r.axes.is_sorted_by(|a, b| a < b) && r.axes.iter().all(|a| *a < MAX_RANK);
                    let result = epilogue.as_ref().map_or_else(
                        || m == 1 && s.outputs[0].is_some_and(|o| p.values[o as usize].dtype == r.map.result_type()),
                        |e| e.args()[0] == r.map.result_type(),
                    );
                    if !fits || !ascending || !result {
                        return Err(format!("step {:?} reduces what its program does not take or give", s.name));
                    }
                }
                Ok(())
            }
            Action::If { then_program, else_program, then_inputs, else_inputs } => {
                let there = |i: &u32| s.inputs.get(*i as usize).copied().flatten().is_some();
                if !there(&0) || !then_inputs.iter().chain(else_inputs).all(there) {
                    return Err(format!("step {:?} passes operands it does not have", s.name));
                }
                body(*then_program, then_inputs.len(), m)?;
                body(*else_program, else_inputs.len(), m)
            }
            Action::Loop { body: ix, carried } => {
                let carried = *carried as usize;
                if n < 2 + carried || s.inputs[2..].contains(&None) || m < carried {
                    return Err(format!("step {:?} lacks operands of its loop", s.name));
                }
                body(*ix, n, m + 1)
            }
            Action::Scan { body: ix, carried, scanned, results } => {
                let carried = *carried as usize;
                if s.inputs.contains(&None) || scanned.is_empty() || n < carried + scanned.len() {
                    return Err(format!("step {:?} lacks operands of its scan", s.name));
                }
                if m != carried + results.len() {
                    return Err(format!("step {:?} has other results than its scan", s.name));
                }
                body(*ix, n, m)
            }
        }
    }
}

/// The bytes of a constant of strings.
pub fn encode_strings(strings: &[String]) -> Vec<u8> {
    postcard::to_stdvec(strings).expect("this is a bug: encoding to memory cannot fail")
}

/// The strings of such bytes; none when they are damaged, which the hash of the section tells.
pub fn decode_strings(bytes: &[u8]) -> Vec<String> {
    postcard::from_bytes(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_types_are_checked() {
        let ty = |levels: &[Level], dtype| PackedType { levels: levels.to_vec(), dtype };
        let decl = ValueDecl {
            name: "x".into(),
            dtype: DType::U8,
            shape: None,
            layout: Layout::RowMajor,
            storage: Storage::Input,
        };
        let program = Program { values: vec![decl], inputs: vec![0], ..Program::default() };
        let read = |packed: PackedType| {
            let manifest = Manifest { name: "m".into(), programs: vec![program.clone()], packed: vec![(0, packed)] };
            Manifest::decode(&manifest.encode(), 0) == Ok(manifest)
        };
        let by_text = Level::Map(DType::String);
        let maps = ty(&[Level::Sequence, by_text], DType::F32);
        assert_eq!(maps.to_string(), "seq(map(string,f32))");
        assert!(maps.has_maps() && read(maps) && read(ty(&[Level::Optional], DType::Bool)));
        for wrong in [
            ty(&[], DType::F32),
            ty(&[by_text, Level::Sequence], DType::F32),
            ty(&[by_text], DType::Bool),
            ty(&[Level::Map(DType::F32)], DType::F32),
            ty(&[Level::Sequence; MAX_LEVELS + 1], DType::F32),
        ] {
            assert!(!read(wrong.clone()), "{wrong}");
        }
    }
}
