//! The importer: a model file to a graph.
//!
//! Stages, each of which reports all it finds before the next one starts: read and parse the bytes; versions; order, names,
//! operators and attributes of all nodes ([`crate::check`]); tensors; the graph with inference
//! ([`crate::build`]); declared types against inferred ones.
//!
//! Decisions: an initializer that is also an input is a constant, and [`Metadata::default_inputs`] lists it; declared types of
//! inner values and outputs must agree in kind and element type, while wrong shapes give a warning and are ignored.

use crate::build::Builder;
use crate::check;
use crate::error::{Category, Code, ImportError, clip};
use crate::files::Files;
use crate::functions::Functions;
use crate::model::{GraphRecord, ModelRecord, SparseTensorRecord, TensorRecord};
use crate::opsets::Opsets;
use crate::types::{Contradiction, Declared, contradiction};
use crate::{proto, tensor};
use planc_ir::{Graph, TensorType, Type};
use planc_tensor::{Bytes, Dim, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Oldest and newest IR version that is read.
pub const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;
/// Warnings kept; what comes after is counted.
const MAX_WARNINGS: usize = 50;

/// What a caller may ask for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folder of the external data of a model that is given as bytes.
    pub folder: Option<PathBuf>,
    /// Shapes of inputs that replace the declared ones.
    pub shapes: BTreeMap<String, Vec<Dim>>,
    /// Values of symbolic dims.
    pub dims: BTreeMap<String, i64>,
}

/// What a model says about itself, beside the graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// ONNX IR version.
    pub ir_version: i64,
    /// Imported opsets by domain, sorted; the default domain is empty.
    pub opsets: Vec<(String, u32)>,
    /// Tool that wrote the model.
    pub producer_name: String,
    /// Its version.
    pub producer_version: String,
    /// Domain of the model.
    pub domain: String,
    /// Version of the model.
    pub model_version: i64,
    /// Documentation.
    pub doc: String,
    /// Free properties, in the model's order.
    pub properties: Vec<(String, String)>,
    /// Functions and how often each was inlined, sorted.
    pub inlined_functions: Vec<(String, usize)>,
    /// Inputs that have an initializer and were made constants.
    pub default_inputs: Vec<String>,
}

/// An imported model.
#[derive(Debug)]
pub struct Imported {
    /// The graph, all types inferred.
    pub graph: Graph,
    /// What the model says about itself.
    pub metadata: Metadata,
    /// Things a user may want to know about.
    pub warnings: Vec<String>,
}

/// Imports the model file at `path`; external data is read from its folder.
///
/// # Errors
/// All problems of the first stage that finds one.
pub fn import_file(path: &Path, options: &Options) -> Result<Imported, Vec<ImportError>> {
    import(Files::open(path).map_err(|e| vec![e])?, options)
}

/// Imports a model from bytes; external data is read from [`Options::folder`].
///
/// # Errors
/// As [`import_file`].
pub fn import_bytes(bytes: Bytes, options: &Options) -> Result<Imported, Vec<ImportError>> {
    import(Files::from_bytes(bytes, options.folder.as_deref()).map_err(|e| vec![e])?, options)
}

/// Imports an opened model.
///
/// # Errors
/// As [`import_file`].
pub fn import(mut files: Files, options: &Options) -> Result<Imported, Vec<ImportError>> {
    let one = |e: ImportError| vec![e];
    let bytes = files.model().clone();
    let (mut model, mut warnings) = proto::model(bytes.as_slice()).map_err(one)?;
    let opsets = versions(&model)?;
    warnings.extend(check::sort_model(&mut model)?);
    // Taken out so that large typed values are moved and not copied.
    let (initializers, sparse) = take_initializers(&mut model);
    let Some(graph) = &model.graph else {
        return Err(one(ImportError::new(Code::Graph, "the model has no graph")));
    };
    let functions = Functions::new(&model, &opsets).map_err(one)?;
    let unsupported = match check::check_model(&model, graph, &opsets, &functions) {
        Ok(more) => {
            warnings.extend(more);
            vec![]
        }
        // Such a model is built all the same, so that all nodes that are not supported are reported together.
        Err(errors) if errors.iter().all(|e| e.code == Code::UnsupportedOp) => errors,
        Err(errors) => return Err(errors),
    };
    let tensors = read_tensors(initializers, sparse, &mut files).map_err(|e| prefer(&unsupported, e))?;

    let mut declared = Declared::default();
    graph.inputs.iter().filter_map(|i| i.ty.as_ref()).for_each(|t| declared.note(t));
    let (types, mut default_inputs) =
        input_types(graph, &tensors, &mut declared, options).map_err(|e| prefer(&unsupported, e))?;
    let mut builder = Builder::new(&graph.name, &opsets, &functions, &mut files, &mut declared);
    for (name, ty) in types {
        builder.input(name, ty);
    }
    for (name, tensor) in check::initializer_names(graph).zip(tensors) {
        builder.constant(name, tensor);
    }
    builder.nodes(&graph.nodes);
    let (built, errors, inlined) = builder.finish(&graph.outputs);
    if !errors.is_empty() || !unsupported.is_empty() {
        return Err(prefer(&unsupported, errors));
    }
    warnings.append(&mut files.warnings);
    warnings.extend(compare(&built, graph)?);
    default_inputs.sort();
    limit(&mut warnings);
    let metadata = Metadata {
        ir_version: model.ir_version,
        producer_name: model.producer_name,
        producer_version: model.producer_version,
        domain: model.domain,
        model_version: model.model_version,
        doc: model.doc,
        properties: model.metadata,
        inlined_functions: inlined.into_iter().collect(),
        default_inputs,
        opsets: opsets.into_list(),
    };
    Ok(Imported { graph: built, metadata, warnings })
}

/// What is reported of a model with unsupported operators in which more is found: these, with the types of their
/// operands, and the other nodes that are not supported. Without such operators, all that is found.
fn prefer(unsupported: &[ImportError], found: Vec<ImportError>) -> Vec<ImportError> {
    if unsupported.is_empty() {
        return found;
    }
    let mut all = unsupported.to_vec();
    for error in found.into_iter().filter(|e| e.category() == Category::Unsupported) {
        let same = |e: &&mut ImportError| {
            let places = e.node.as_ref().zip(error.node.as_ref());
            error.code == Code::UnsupportedOp && places.is_some_and(|(a, b)| a.is(b))
        };
        match all.iter_mut().find(same) {
            Some(known) => known.node = error.node,
            None => all.push(error),
        }
    }
    all
}

/// Checks the model's versions.
fn versions(model: &ModelRecord) -> Result<Opsets, Vec<ImportError>> {
    let mut errors = Vec::new();
    let version = model.ir_version;
    if version == 0 {
        errors.push(ImportError::new(Code::NotOnnx, "this is not an ONNX model: it has no IR version"));
    } else if !IR_VERSIONS.contains(&version) {
        let (first, last) = (IR_VERSIONS.start(), IR_VERSIONS.end());
        let message = format!("the IR version {version} is not in the supported range {first} to {last}");
        errors.push(ImportError::new(Code::IrVersion, message));
    }
    match Opsets::new(&model.opset_imports) {
        Ok(opsets) if opsets.is_empty() => errors.push(ImportError::new(Code::Opset, "the model imports no opset")),
        Ok(opsets) if errors.is_empty() => return Ok(opsets),
        Ok(_) => {}
        Err(error) => errors.push(error),
    }
    Err(errors)
}

/// Moves the initializers out of the graph; their names stay.
fn take_initializers(model: &mut ModelRecord) -> (Vec<TensorRecord>, Vec<SparseTensorRecord>) {
    let Some(graph) = &mut model.graph else { return Default::default() };
    let named = |name: &str| TensorRecord { name: name.to_owned(), ..TensorRecord::default() };
    let dense = graph.initializers.iter_mut().map(|t| {
        let left = named(&t.name);
        std::mem::replace(t, left)
    });
    let dense = dense.collect();
    let sparse = graph.sparse_initializers.iter_mut().map(|s| {
        let values = s.values.as_ref().map(|v| named(&v.name));
        std::mem::replace(s, SparseTensorRecord { values, ..SparseTensorRecord::default() })
    });
    (dense, sparse.collect())
}

fn read_tensors(
    dense: Vec<TensorRecord>,
    sparse: Vec<SparseTensorRecord>,
    files: &mut Files,
) -> Result<Vec<Tensor>, Vec<ImportError>> {
    let (mut tensors, mut errors) = (Vec::with_capacity(dense.len() + sparse.len()), Vec::new());
    let mut add = |name: &str, tensor: Result<Tensor, ImportError>| match tensor {
        Ok(tensor) => tensors.push(tensor),
        Err(error) => errors.push(error.at(format!("initializer {:?}", clip(name)))),
    };
    for mut t in dense {
        let name = std::mem::take(&mut t.name);
        add(&name, tensor::dense(t, files));
    }
    for s in sparse {
        let name = s.values.as_ref().map(|v| v.name.clone()).unwrap_or_default();
        add(&name, tensor::sparse(s, files));
    }
    if errors.is_empty() { Ok(tensors) } else { Err(errors) }
}

/// Inputs that have to be given, with their types.
type Inputs<'m> = Vec<(&'m str, Type)>;

/// The types of the inputs, and the names of those that have an initializer.
fn input_types<'m>(
    graph: &'m GraphRecord,
    tensors: &[Tensor],
    declared: &mut Declared,
    options: &Options,
) -> Result<(Inputs<'m>, Vec<String>), Vec<ImportError>> {
    let (mut types, mut defaults, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let constants: HashMap<&str, &Tensor> = check::initializer_names(graph).zip(tensors).collect();
    for input in &graph.inputs {
        let place = || format!("input {:?}", clip(&input.name));
        if let Some(tensor) = constants.get(input.name.as_str()) {
            defaults.push(input.name.clone());
            let found = TensorType::fixed(tensor.dtype(), tensor.shape()).into();
            let differs = input.ty.as_ref().and_then(|t| contradiction(t, &found));
            if let Some(Contradiction::Type(m) | Contradiction::Shape(m)) = differs {
                errors.push(ImportError::new(Code::Type, format!("its initializer contradicts it: {m}")).at(place()));
            }
            continue;
        }
        let Some(record) = &input.ty else {
            errors.push(ImportError::new(Code::Type, "the input has no type").at(place()));
            continue;
        };
        match declared.value_type(&input.name, record).and_then(|ty| overridden(&input.name, ty, options)) {
            Ok(ty) => types.push((input.name.as_str(), ty)),
            Err(error) => errors.push(error.at(place())),
        }
    }
    for name in options.shapes.keys().filter(|n| !types.iter().any(|(t, _)| t == n)) {
        errors.push(ImportError::new(Code::Override, format!("a shape is given for {name:?}, which is no input")));
    }
    for (name, value) in &options.dims {
        if *value < 0 {
            errors.push(ImportError::new(Code::Override, format!("the value {value} of the dim {name:?} is negative")));
        }
        if !declared.made(name) {
            errors.push(ImportError::new(Code::Override, format!("no input has a dim named {name:?}")));
        }
    }
    if errors.is_empty() { Ok((types, defaults)) } else { Err(errors) }
}

/// The type of an input under the caller's shapes and values of dims.
fn overridden(name: &str, ty: Type, options: &Options) -> Result<Type, ImportError> {
    let Type::Tensor(mut tensor) = ty else { return Ok(ty) };
    if let Some(shape) = options.shapes.get(name) {
        let fits = |(d, s): (&Dim, &Dim)| d.as_const().is_none() || s.as_const().is_none() || d == s;
        if let Some(old) = &tensor.shape
            && (old.len() != shape.len() || !old.iter().zip(shape).all(fits))
        {
            let shown: Vec<String> = shape.iter().map(Dim::to_string).collect();
            let message = format!("the shape given, [{}], does not fit the declared one: {tensor}", shown.join(","));
            return Err(ImportError::new(Code::Override, message));
        }
        if let Some(dim) = shape.iter().find(|d| d.as_const().is_some_and(|d| d < 0)) {
            return Err(ImportError::new(Code::Override, format!("the extent {dim} is negative")));
        }
        tensor.shape = Some(shape.clone());
    }
    if let Some(shape) = &mut tensor.shape {
        for dim in shape {
            *dim = dim.substitute(&|symbol| options.dims.get(symbol).map(|v| Dim::from(*v)));
        }
    }
    Ok(tensor.into())
}

/// Compares the declared types of inner values and outputs with the inferred ones; returns warnings.
fn compare(built: &Graph, graph: &GraphRecord) -> Result<Vec<String>, Vec<ImportError>> {
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for (what, list) in [("output", &graph.outputs), ("value", &graph.values)] {
        for value in list {
            let (Some(declared), Some(id)) = (&value.ty, built.find(&value.name)) else { continue };
            let found = &built.value(id).ty;
            match contradiction(declared, found) {
                None => {}
                Some(Contradiction::Type(m)) => {
                    let place = format!("{what} {:?}", clip(&value.name));
                    errors.push(ImportError::new(Code::Type, format!("the {what} is {m}")).at(place));
                }
                Some(Contradiction::Shape(m)) => {
                    warnings.push(format!("the {what} {:?} is {m}; the declaration is ignored", clip(&value.name)));
                }
            }
        }
    }
    if errors.is_empty() { Ok(warnings) } else { Err(errors) }
}

/// Keeps the first warnings and counts the others.
fn limit(warnings: &mut Vec<String>) {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(format!("{more} more warnings"));
    }
}
