//! From flags to the inputs of a run.
//!
//! Guarantees: inputs come in the plan's order, and element types and shapes fit the plan, names of free dims having one
//! value each; what does not fit is named with what was expected.

use super::{file_name, maps, npy, random, type_text};
use crate::args::verbs::Inputs;
use crate::error::{CliError, Fault};
use crate::report;
use planc_onnx::data;
use planc_plan::program::{Level, PackedType, ValueDecl};
use planc_runtime::Plan;
use planc_tensor::{Bytes, DType, Dim, Tensor, pack};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The inputs of a run.
pub struct Given {
    /// One tensor per input of the plan, in order.
    pub tensors: Vec<Tensor>,
    /// How outputs should be written.
    pub form: Form,
    /// Values of the free dims, as the inputs' shapes give them.
    pub bound: Bound,
}

/// How inputs came, and outputs are written in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// As `.pb` files.
    pub pb: bool,
    /// The small floats that numpy lacks as the unsigned integers of their bits.
    pub raw_floats: bool,
}

/// Values of the free dims' names.
pub type Bound = BTreeMap<String, i64>;

/// An input as the plan declares it.
pub struct Port<'p> {
    /// The value.
    pub decl: &'p ValueDecl,
    /// What it is, where it is no tensor.
    pub packed: Option<&'p PackedType>,
}

impl Port<'_> {
    /// Its type as printed: `f32[N,3]`, `seq(f32)`.
    pub fn text(&self) -> String {
        self.packed.map_or_else(|| decl_text(self.decl), ToString::to_string)
    }
}

/// The inputs of a plan.
pub fn ports(plan: &Plan) -> Vec<Port<'_>> {
    plan.inputs().zip(plan.packed_inputs()).map(|(decl, packed)| Port { decl, packed }).collect()
}

/// Collects the inputs that `flags` name for `ports`.
///
/// # Errors
/// When a file cannot be read, an input is missing, unknown, or does not fit.
pub fn collect(ports: &[Port<'_>], flags: &Inputs) -> Result<Given, CliError> {
    let decls: Vec<&ValueDecl> = ports.iter().map(|p| p.decl).collect();
    let decls = decls.as_slice();
    let mut found: Vec<Option<(Tensor, String)>> = vec![None; decls.len()];
    let mut form = Form::default();
    if let Some(path) = &flags.inputs {
        form.pb = many(ports, path, &mut found)?;
    }
    let listed = flags.load_inputs.iter().flat_map(|l| &l.0);
    for given in flags.input.iter().chain(listed) {
        let at = position(decls, &given.name)?;
        form.pb |= extension(&given.file) == "pb";
        found[at] = Some((one(&ports[at], &given.file)?, given.file.display().to_string()));
    }
    let mut bound = Bound::new();
    for (decl, given) in decls.iter().zip(&mut found) {
        if let Some((tensor, from)) = given {
            // A single element is as good as a scalar: other runtimes do not tell them apart.
            if decl.shape.as_ref().is_some_and(Vec::is_empty) && tensor.len() == 1 {
                *tensor = tensor.reshaped(Vec::new()).unwrap_or_else(|_| tensor.clone());
            }
            if let Some(same) = from_bits(tensor, decl.dtype) {
                *tensor = same;
                form.raw_floats = true;
            }
            fits(decl, tensor, from, &mut bound)?;
        }
    }
    let mut tensors = Vec::with_capacity(decls.len());
    let mut missing = Vec::new();
    for (i, (decl, given)) in decls.iter().zip(found).enumerate() {
        match (given, flags.random) {
            (Some((tensor, _)), _) => tensors.push(tensor),
            (None, Some(seed)) if ports[i].packed.is_none() => {
                tensors.push(random::tensor(decl, seed, i as u64, &bound)?);
            }
            (None, _) => missing.push(&ports[i]),
        }
    }
    if let Some(first) = missing.first() {
        let list: Vec<String> = missing.iter().map(|p| format!("{:?} ({})", p.decl.name, p.text())).collect();
        let noun = if list.len() == 1 { "input" } else { "inputs" };
        let verb = if list.len() == 1 { "is" } else { "are" };
        return Err(CliError::new(Fault::InputMissing, format!("{noun} {} {verb} not given", list.join(", ")))
            .at("input", first.decl.name.clone())
            .help("give --input NAME=FILE or --inputs DIR, or --random SEED for made-up values"));
    }
    // Made-up inputs bind what no other input does.
    for (decl, tensor) in decls.iter().zip(&tensors) {
        fits(decl, tensor, "it", &mut bound)?;
    }
    Ok(Given { tensors, form, bound })
}

/// Element type and shape of a declaration as printed: `f32[N,3]`.
pub fn decl_text(decl: &ValueDecl) -> String {
    match &decl.shape {
        None => format!("{}[..]", decl.dtype),
        Some(shape) => {
            let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
            format!("{}[{}]", decl.dtype, dims.join(","))
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

fn position(decls: &[&ValueDecl], name: &str) -> Result<usize, CliError> {
    decls.iter().position(|d| d.name == name).ok_or_else(|| {
        let names: Vec<String> = decls.iter().map(|d| format!("{:?}", d.name)).collect();
        let help = match names.len() {
            0 => "it has no inputs".to_string(),
            _ => format!("its inputs are {}", names.join(", ")),
        };
        CliError::new(Fault::InputUnknown, format!("the model has no input {name:?}")).at("input", name).help(help)
    })
}

fn unreadable(path: &Path, what: &str) -> CliError {
    CliError::new(Fault::TensorFile, format!("cannot read {}: {what}", path.display())).file(path)
}

/// One input from a file.
pub(super) fn one(port: &Port<'_>, path: &Path) -> Result<Tensor, CliError> {
    let decl = port.decl;
    let bytes = super::open(path)?;
    let fail = |what: String| unreadable(path, &what).at("input", decl.name.clone());
    if let Some(ty) = port.packed {
        return packed(ty, &extension(path), &bytes).map_err(fail);
    }
    let only = |mut list: Vec<(String, Tensor)>| {
        let names: Vec<String> = list.iter().map(|(n, _)| format!("{n:?}")).collect();
        match list.iter().position(|(n, _)| names_input(n, decl)) {
            Some(at) => Ok(list.swap_remove(at).1),
            None if list.len() == 1 => Ok(list.swap_remove(0).1),
            None => Err(format!("it holds {}, but no {:?}", names.join(", "), decl.name)),
        }
    };
    match extension(path).as_str() {
        "npy" => npy::parse(&bytes, Some(decl.dtype)).map_err(fail),
        "npz" => npy::parse_npz(&bytes, &|_| Some(decl.dtype)).and_then(only).map_err(fail),
        "pb" => planc_onnx::data::read_tensor(&bytes).map_err(|e| fail(e.to_string())),
        "safetensors" => safetensors(&bytes).and_then(only).map_err(fail),
        "bin" | "raw" => raw(decl, bytes).map_err(fail),
        _ => Err(fail("the extension is none of .npy, .npz, .pb, .safetensors and .bin".into())),
    }
}

/// A sequence, optional or map, packed.
fn packed(ty: &PackedType, extension: &str, bytes: &Bytes) -> Result<Tensor, String> {
    let kind = match ty.levels.first() {
        Some(Level::Sequence) => data::Kind::Sequence,
        Some(Level::Map(_)) => data::Kind::Map,
        _ => data::Kind::Optional,
    };
    let value = match extension {
        "pb" => data::read(bytes, kind).map_err(|e| e.to_string())?,
        "json" if ty.has_maps() => maps::read(ty, bytes.as_slice())?,
        _ if ty.has_maps() => return Err(format!("the model takes {ty}, which only .json and .pb files hold")),
        _ => return Err(format!("the model takes {ty}, which only .pb files hold")),
    };
    if ty.holds(&value) { Ok(pack(&value)) } else { Err(format!("it holds something else than {ty}")) }
}

fn names_input(name: &str, decl: &ValueDecl) -> bool {
    name == decl.name || name == file_name(&decl.name)
}

/// Inputs from a folder, or from a file that holds several; whether they were `.pb` files.
pub(super) fn many(ports: &[Port<'_>], path: &Path, found: &mut [Option<(Tensor, String)>]) -> Result<bool, CliError> {
    let decls: Vec<&ValueDecl> = ports.iter().map(|p| p.decl).collect();
    let decls = decls.as_slice();
    let kind = std::fs::metadata(path).map_err(|e| unreadable(path, &super::system(&e)))?;
    if !kind.is_dir() {
        archive(decls, path, found)?;
        return Ok(false);
    }
    let entries = std::fs::read_dir(path).and_then(|d| d.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>());
    let mut files: Vec<PathBuf> = entries.map_err(|e| unreadable(path, &super::system(&e)))?;
    files.sort();
    let name = |f: &Path| f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut by_position = BTreeMap::new();
    for f in &files {
        if let Some(k) = name(f).strip_prefix("input_").and_then(|n| n.strip_suffix(".pb")?.parse::<usize>().ok()) {
            by_position.insert(k, f);
        }
    }
    for (k, f) in &by_position {
        let (Some(port), Some(slot)) = (ports.get(*k), found.get_mut(*k)) else {
            return Err(CliError::new(
                Fault::InputUnknown,
                format!("{} is input number {k}, the model has {} inputs", f.display(), decls.len()),
            )
            .file(f));
        };
        *slot = Some((one(port, f)?, f.display().to_string()));
    }
    // Test data of models without inputs has none to tell.
    if !by_position.is_empty() || decls.is_empty() {
        return Ok(true);
    }
    for f in files.iter().filter(|f| matches!(extension(f).as_str(), "npz" | "safetensors")) {
        archive(decls, f, found)?;
    }
    for f in &files {
        let file = name(f);
        let stem = [".npy", ".bin", ".json"].iter().find_map(|e| file.strip_suffix(e));
        let Some(stem) = stem else { continue };
        match decls.iter().position(|d| file_name(&d.name) == stem) {
            Some(at) => found[at] = Some((one(&ports[at], f)?, f.display().to_string())),
            None => report::warn(&format!("{} is ignored: the model has no input of this name", f.display())),
        }
    }
    Ok(false)
}

/// Inputs from a file that holds several by name.
fn archive(decls: &[&ValueDecl], path: &Path, found: &mut [Option<(Tensor, String)>]) -> Result<(), CliError> {
    let bytes = super::open(path)?;
    let expected = |name: &str| decls.iter().find(|d| names_input(name, d)).map(|d| d.dtype);
    let list = match extension(path).as_str() {
        "npz" => npy::parse_npz(&bytes, &expected),
        "safetensors" => safetensors(&bytes),
        _ => Err("it is neither a folder nor an .npz or .safetensors file".into()),
    };
    for (name, tensor) in list.map_err(|e| unreadable(path, &e))? {
        match decls.iter().position(|d| names_input(&name, d)) {
            Some(at) => found[at] = Some((tensor, format!("{}, {name:?}", path.display()))),
            None => report::warn(&format!("{name:?} in {} is ignored: it is no input", path.display())),
        }
    }
    Ok(())
}

/// All tensors of a `.safetensors` file, sorted by name.
fn safetensors(bytes: &Bytes) -> Result<Vec<(String, Tensor)>, String> {
    use safetensors::Dtype;
    let file = safetensors::SafeTensors::deserialize(bytes.as_slice()).map_err(|e| e.to_string().to_lowercase())?;
    let mut list = Vec::new();
    for (name, t) in file.tensors() {
        let dtype = match t.dtype() {
            Dtype::BOOL => DType::Bool,
            Dtype::U8 => DType::U8,
            Dtype::I8 => DType::I8,
            Dtype::I16 => DType::I16,
            Dtype::U16 => DType::U16,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I32 => DType::I32,
            Dtype::U32 => DType::U32,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::I64 => DType::I64,
            Dtype::U64 => DType::U64,
            Dtype::F8_E5M2 => DType::F8E5M2,
            Dtype::F8_E4M3 => DType::F8E4M3FN,
            Dtype::F8_E8M0 => DType::F8E8M0,
            other => return Err(format!("tensor {name:?} has the type {other:?}, which is not supported")),
        };
        let tensor = Tensor::from_bytes(dtype, t.shape(), aligned(t.data())).map_err(|e| e.to_string())?;
        list.push((name, tensor));
    }
    list.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(list)
}

fn aligned(bytes: &[u8]) -> Bytes {
    let mut copy = planc_tensor::AlignedBuf::zeroed(bytes.len());
    copy.as_mut_slice().copy_from_slice(bytes);
    Bytes::new(copy)
}

/// Plain bytes: the declared shape, where at most one extent is free, which the size gives.
fn raw(decl: &ValueDecl, bytes: Bytes) -> Result<Tensor, String> {
    let declared = decl.shape.as_ref().ok_or("a .bin file needs a declared shape")?;
    let mut shape: Vec<Option<usize>> = declared.iter().map(Dim::as_usize).collect();
    if shape.iter().filter(|d| d.is_none()).count() > 1 {
        return Err(format!("a .bin file does not say its shape, and {} has several free dims", decl_text(decl)));
    }
    let rest = planc_tensor::element_count(&shape.iter().flatten().copied().collect::<Vec<_>>());
    let size = rest.and_then(|n| decl.dtype.bytes_for(n)).ok_or("a .bin file cannot hold this type")?;
    for free in shape.iter_mut().filter(|d| d.is_none()) {
        if size == 0 || !bytes.len().is_multiple_of(size) {
            return Err(format!("{} bytes do not fit {}", bytes.len(), decl_text(decl)));
        }
        *free = Some(bytes.len() / size);
    }
    let shape: Vec<usize> = shape.into_iter().flatten().collect();
    Tensor::from_bytes(decl.dtype, shape, bytes).map_err(|e| e.to_string())
}

/// The unsigned integer that holds the bits of a float that numpy does not have: what older tools store it as.
fn bits_of(dtype: DType) -> Option<DType> {
    match dtype {
        DType::BF16 => Some(DType::U16),
        DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F8E8M0 => Some(DType::U8),
        _ => None,
    }
}

/// Bits stored as unsigned integers as the floats `dtype` that they are; `None` where `tensor` is no such thing.
pub(super) fn from_bits(tensor: &Tensor, dtype: DType) -> Option<Tensor> {
    bits_of(dtype).filter(|bits| *bits == tensor.dtype())?;
    Tensor::from_bytes(dtype, tensor.shape(), tensor.shared_bytes()?.clone()).ok()
}

/// The other way: such floats as the integers of their bits.
pub(super) fn to_bits(tensor: &Tensor) -> Option<Tensor> {
    Tensor::from_bytes(bits_of(tensor.dtype())?, tensor.shape(), tensor.shared_bytes()?.clone()).ok()
}

/// Checks a tensor against the declaration of its input.
pub(super) fn fits(decl: &ValueDecl, tensor: &Tensor, from: &str, bound: &mut Bound) -> Result<(), CliError> {
    let both =
        || format!("input {:?}: {from} holds {}, the model takes {}", decl.name, type_text(tensor), decl_text(decl));
    let error = |fault, message: String| CliError::new(fault, message).at("input", decl.name.clone());
    if tensor.dtype() != decl.dtype {
        return Err(error(Fault::InputType, both()).help(format!("convert it to {}", decl.dtype)));
    }
    let Some(shape) = &decl.shape else { return Ok(()) };
    let differs = |(d, n): (&Dim, &usize)| d.as_const().is_some_and(|d| usize::try_from(d) != Ok(*n));
    if shape.len() != tensor.rank() || shape.iter().zip(tensor.shape()).any(differs) {
        return Err(error(Fault::InputShape, both()));
    }
    for (d, n) in shape.iter().zip(tensor.shape()) {
        let Some(symbol) = d.as_sym() else { continue };
        let value = i64::try_from(*n).unwrap_or(i64::MAX);
        let known = *bound.entry(symbol.to_string()).or_insert(value);
        if known != value {
            let what = format!("{}, where another input makes {symbol} = {known}", both());
            let dims: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
            let help = format!(
                "if {symbol} means two things, compile with --shape {:?}",
                format!("{}={}", decl.name, dims.join("x"))
            );
            return Err(error(Fault::InputShape, what).help(help));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::values::NamedFile;
    use planc_tensor::Layout;

    fn decl(name: &str, dtype: DType, shape: Vec<Dim>) -> ValueDecl {
        let storage = planc_plan::program::Storage::Input;
        ValueDecl { name: name.into(), dtype, shape: Some(shape), layout: Layout::RowMajor, storage }
    }

    fn tensors<'d>(decls: &[&'d ValueDecl]) -> Vec<Port<'d>> {
        decls.iter().map(|decl| Port { decl, packed: None }).collect()
    }

    #[test]
    fn lists_come_in_messages_of_their_own() {
        let ty = PackedType { levels: vec![Level::Sequence], dtype: DType::F32 };
        let list = |t: Tensor| planc_tensor::Value::Sequence(vec![planc_tensor::Value::Tensor(t)]);
        let file = |t: Tensor| Bytes::new(data::write("x", &list(t)));
        let good = packed(&ty, "pb", &file(Tensor::scalar(1f32))).unwrap();
        assert_eq!(planc_tensor::unpack(good.view()), Ok(list(Tensor::scalar(1f32))));
        let text = |r: Result<Tensor, String>| r.unwrap_err();
        assert_eq!(text(packed(&ty, "pb", &file(Tensor::scalar(1i64)))), "it holds something else than seq(f32)");
        assert!(text(packed(&ty, "npy", &file(Tensor::scalar(1f32)))).ends_with("which only .pb files hold"));
        let map = PackedType { levels: vec![Level::Map(DType::I64)], dtype: DType::F32 };
        let json = |text: &str| Bytes::new(text.as_bytes().to_vec());
        let good = packed(&map, "json", &json("{\"7\": 0.5}")).unwrap();
        let value = planc_tensor::Map::new(&Tensor::vector(vec![7i64]), &Tensor::vector(vec![0.5f32])).unwrap();
        assert_eq!(planc_tensor::unpack(good.view()), Ok(planc_tensor::Value::Map(value.clone())));
        let file = Bytes::new(data::write("x", &planc_tensor::Value::Map(value)));
        assert_eq!(packed(&map, "pb", &file), Ok(good));
        let decl = decl("m", DType::U8, vec![]);
        let made_up = Inputs { random: Some(1), ..Inputs::default() };
        let port = Port { decl: &decl, packed: Some(&map) };
        assert_eq!(message(collect(&[port], &made_up)), "input \"m\" (map(i64,f32)) is not given");
        assert!(text(packed(&map, "npy", &json("{}"))).ends_with("which only .json and .pb files hold"));
        assert!(text(packed(&ty, "json", &json("[]"))).ends_with("which only .pb files hold"));
    }

    fn message(result: Result<Given, CliError>) -> String {
        result.err().map_or("accepted".into(), |e| e.message().to_string())
    }

    #[test]
    fn files_are_matched_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, t: &Tensor| {
            super::super::write(&folder.path().join(name), &npy::bytes(t)).unwrap();
        };
        let (a, b) = (decl("a/0", DType::F32, vec![Dim::sym("N")]), decl("b", DType::I64, vec![Dim::sym("N")]));
        let decls = [&a, &b];
        let flags = Inputs { inputs: Some(folder.path().into()), ..Inputs::default() };
        save("a_0.npy", &Tensor::vector(vec![1f32, 2.0]));
        assert_eq!(message(collect(&tensors(&decls), &flags)), "input \"b\" (i64[N]) is not given");
        save("b.npy", &Tensor::vector(vec![1i64]));
        assert!(
            message(collect(&tensors(&decls), &flags))
                .ends_with("holds i64[1], the model takes i64[N], where another input makes N = 2")
        );
        save("b.npy", &Tensor::vector(vec![1i32, 2]));
        assert!(message(collect(&tensors(&decls), &flags)).ends_with("holds i32[2], the model takes i64[N]"));
        save("b.npy", &Tensor::vector(vec![1i64, 2]));
        assert_eq!(collect(&tensors(&decls), &flags).unwrap().tensors[1], Tensor::vector(vec![1i64, 2]));
        let scalar = decl("a/0", DType::F32, vec![]);
        save("a_0.npy", &Tensor::vector(vec![1f32]));
        assert_eq!(collect(&tensors(&[&scalar]), &flags).unwrap().tensors, [Tensor::scalar(1f32)]);
        let file = NamedFile { name: "c".into(), file: folder.path().join("b.npy") };
        let flags = Inputs { input: vec![file], random: Some(1), ..Inputs::default() };
        assert_eq!(message(collect(&tensors(&decls), &flags)), "the model has no input \"c\"");
    }

    #[test]
    fn small_floats_may_come_as_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        super::super::write(&path, &npy::bytes(&Tensor::vector(vec![0x3fc0u16, 0xc000]))).unwrap();
        let file = NamedFile { name: "x".into(), file: path };
        let flags = Inputs { input: vec![file], ..Inputs::default() };
        let given = |d: &ValueDecl| collect(&tensors(&[d]), &flags);
        let bf16s = given(&decl("x", DType::BF16, vec![Dim::from(2i64)])).unwrap();
        assert_eq!(planc_ops::floats::widen(bf16s.tensors[0].view()).unwrap(), [1.5, -2.0]);
        assert_eq!(bf16s.form, Form { pb: false, raw_floats: true });
        let same = given(&decl("x", DType::U16, vec![Dim::from(2i64)])).unwrap();
        assert_eq!(same.form, Form::default());
        let narrow = given(&decl("x", DType::F16, vec![Dim::from(2i64)]));
        assert!(message(narrow).ends_with("holds u16[2], the model takes f16[2]"));
    }

    #[test]
    fn raw_bytes_take_the_declared_shape() {
        let d = decl("x", DType::F32, vec![Dim::sym("N"), Dim::from(2i64)]);
        assert_eq!(raw(&d, Bytes::new(vec![0; 24])).unwrap().shape(), [3, 2]);
        assert!(raw(&d, Bytes::new(vec![0; 20])).is_err());
    }
}
