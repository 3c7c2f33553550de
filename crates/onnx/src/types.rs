//! Declared types.
//!
//! Guarantees: symbolic dims keep their names; a dim that says nothing (absent, empty, `?`, negative) of input `x`
//! becomes the symbol `x.dN`, distinct from every declared one. Declarations of inner values and outputs are
//! compared with what inference finds, and never trusted.

use crate::error::{Code, ImportError};
use crate::model::{DimRecord, TypeRecord};
use crate::tensor::{MAX_RANK, element_type};
use planc_ir::{TensorType, Type};
use planc_tensor::{DType, Dim, Map};
use std::collections::BTreeSet;

/// Elements of an input at most, as for results of nodes: keeps byte counts far from overflow.
const MAX_ELEMENTS: u64 = 1 << 46;
/// Deepest nesting of sequences and optionals.
const MAX_TYPE_DEPTH: usize = 8;

/// Turns declared types into types.
#[derive(Default)]
pub(crate) struct Declared {
    symbols: BTreeSet<String>,
    /// Symbols that types were made with.
    used: BTreeSet<String>,
}

impl Declared {
    /// Notes the dim names that a type declares, so that made ones are distinct.
    pub(crate) fn note(&mut self, ty: &TypeRecord) {
        match ty {
            TypeRecord::Tensor { shape: Some(shape), .. } => {
                self.symbols.extend(shape.iter().filter_map(symbol).map(str::to_owned));
            }
            TypeRecord::Sequence(Some(t)) | TypeRecord::Optional(Some(t)) => self.note(t),
            _ => {}
        }
    }

    /// Whether a type was made with this symbol.
    pub(crate) fn made(&self, symbol: &str) -> bool {
        self.used.contains(symbol)
    }

    /// The type that `record` declares for the value `name`.
    pub(crate) fn value_type(&mut self, name: &str, record: &TypeRecord) -> Result<Type, ImportError> {
        self.nested(name, record, 0)
    }

    fn nested(&mut self, name: &str, record: &TypeRecord, depth: usize) -> Result<Type, ImportError> {
        if depth > MAX_TYPE_DEPTH {
            return Err(ImportError::new(Code::Type, format!("the type is nested more than {MAX_TYPE_DEPTH} deep")));
        }
        let mut element = |t: &Option<Box<TypeRecord>>| match t {
            Some(t) => self.nested(name, t, depth + 1).map(Box::new),
            None => Err(ImportError::new(Code::Type, "the element type of a sequence or optional is missing")),
        };
        Ok(match record {
            TypeRecord::Sequence(t) => Type::Sequence(element(t)?),
            TypeRecord::Optional(t) => Type::Optional(element(t)?),
            TypeRecord::Map { key, value } => {
                let (key, value) = map_types(*key, value.as_deref())?;
                Type::Map { key, value }
            }
            TypeRecord::SparseTensor => {
                let message = "values that are sparse tensors are not supported";
                return Err(ImportError::new(Code::UnsupportedFeature, message));
            }
            TypeRecord::Tensor { element, shape } => {
                let dtype = element_type(*element)?;
                match shape {
                    None => TensorType::unranked(dtype).into(),
                    Some(dims) if dims.len() > MAX_RANK => {
                        let message = format!("{} dimensions, the most is {MAX_RANK}", dims.len());
                        return Err(ImportError::new(Code::Type, message));
                    }
                    Some(dims) => {
                        let dims: Vec<Dim> = dims.iter().enumerate().map(|(i, d)| self.dim(name, i, d)).collect();
                        check_size(&dims)?;
                        TensorType::new(dtype, dims).into()
                    }
                }
            }
        })
    }

    fn dim(&mut self, name: &str, axis: usize, record: &DimRecord) -> Dim {
        if let DimRecord::Value(value @ 0..) = record {
            return Dim::from(*value);
        }
        let name = match symbol(record) {
            Some(symbol) => {
                if let Ok(value) = symbol.parse::<u32>() {
                    return Dim::from(i64::from(value));
                }
                symbol.to_owned()
            }
            None => {
                let mut made = format!("{name}.d{axis}");
                while self.symbols.contains(&made) {
                    made.push('_');
                }
                made
            }
        };
        let dim = Dim::sym(&name);
        self.used.insert(name);
        dim
    }
}

/// The types of keys and values of a map.
fn map_types(key: i32, value: Option<&TypeRecord>) -> Result<(DType, DType), ImportError> {
    let key = element_type(key)?;
    let value = match value {
        // Whatever shape is declared, a value is one element.
        Some(TypeRecord::Tensor { element, .. }) => element_type(*element)?,
        Some(_) => {
            let message = "maps whose values are not tensors are not supported";
            return Err(ImportError::new(Code::UnsupportedFeature, message));
        }
        None => return Err(ImportError::new(Code::Type, "the value type of a map is missing")),
    };
    if !Map::has_types(key, value) {
        let message = format!("maps from {key} to {value} are not supported");
        return Err(ImportError::new(Code::UnsupportedFeature, message));
    }
    Ok((key, value))
}

/// The name of a dim that has one.
fn symbol(dim: &DimRecord) -> Option<&str> {
    match dim {
        DimRecord::Param(text) => Some(text.trim()).filter(|t| !t.is_empty() && *t != "?" && !t.starts_with('-')),
        _ => None,
    }
}

fn check_size(dims: &[Dim]) -> Result<(), ImportError> {
    let known: Vec<u64> = dims.iter().filter_map(Dim::as_const).filter_map(|d| u64::try_from(d).ok()).collect();
    let count = known.iter().fold(1u64, |n, d| n.saturating_mul((*d).max(1)));
    if count > MAX_ELEMENTS && !known.contains(&0) || known.iter().any(|d| *d > MAX_ELEMENTS) {
        return Err(ImportError::new(Code::ShapeLimit, "the declared shape has too many elements"));
    }
    Ok(())
}

/// How a declaration differs from what is so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Contradiction {
    /// Another kind of value or element type.
    Type(String),
    /// Another rank or constant extent.
    Shape(String),
}

/// Compares a declaration with the type found. Undefined element types and unknown dims declare nothing.
pub(crate) fn contradiction(declared: &TypeRecord, found: &Type) -> Option<Contradiction> {
    match (declared, found) {
        (TypeRecord::Tensor { element, shape }, Type::Tensor(t)) => {
            if *element != 0 && *element != t.dtype.onnx() {
                let name = planc_tensor::DType::from_onnx(*element).map_or("an unknown type", |d| d.name());
                return Some(Contradiction::Type(format!("declared as {name}, is {}", t.dtype)));
            }
            let (Some(declared), Some(found)) = (shape, &t.shape) else { return None };
            let differ = |(d, f): (&DimRecord, &Dim)| match (d, f.as_const()) {
                (DimRecord::Value(d @ 0..), Some(f)) => *d != f,
                _ => false,
            };
            let wrong = declared.len() != found.len() || declared.iter().zip(found).any(differ);
            wrong.then(|| Contradiction::Shape(format!("declared with the shape [{}], is {t}", shape_text(declared))))
        }
        (TypeRecord::Sequence(Some(d)), Type::Sequence(f)) | (TypeRecord::Optional(Some(d)), Type::Optional(f)) => {
            contradiction(d, f)
        }
        (TypeRecord::Map { key: k, value: v }, Type::Map { key, value }) => {
            let same = map_types(*k, v.as_deref()).is_ok_and(|found| found == (*key, *value));
            (!same).then(|| Contradiction::Type(format!("declared as another map, is {found}")))
        }
        (TypeRecord::Sequence(None), Type::Sequence(_)) | (TypeRecord::Optional(None), Type::Optional(_)) => None,
        (declared, found) => {
            let kind = match declared {
                TypeRecord::Tensor { .. } => "a tensor",
                TypeRecord::SparseTensor => "a sparse tensor",
                TypeRecord::Sequence(_) => "a sequence",
                TypeRecord::Optional(_) => "an optional",
                TypeRecord::Map { .. } => "a map",
            };
            Some(Contradiction::Type(format!("declared as {kind}, is {found}")))
        }
    }
}

fn shape_text(dims: &[DimRecord]) -> String {
    let text = |d: &DimRecord| match d {
        DimRecord::Unknown => "?".to_owned(),
        DimRecord::Value(v) => v.to_string(),
        DimRecord::Param(p) => crate::error::clip(p).into_owned(),
    };
    dims.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[DimRecord]) -> TypeRecord {
        TypeRecord::Tensor { element: 1, shape: Some(dims.to_vec()) }
    }

    fn map(key: i32, value: Option<TypeRecord>) -> TypeRecord {
        TypeRecord::Map { key, value: value.map(Box::new) }
    }

    #[test]
    fn dims_are_named() {
        use DimRecord::*;
        let record = tensor(&[Value(2), Param("N".into()), Unknown, Value(-1), Param("?".into()), Param("3".into())]);
        let mut declared = Declared::default();
        let clash = tensor(&[Param("x.d2".into())]);
        declared.note(&clash);
        let ty = declared.value_type("x", &record).unwrap();
        assert_eq!(ty.to_string(), "f32[2,N,x.d2_,x.d3,x.d4,3]");
        let ty = declared.value_type("x", &map(8, Some(tensor(&[Value(1)])))).unwrap();
        assert_eq!(ty.to_string(), "map(string,f32)");
    }

    #[test]
    fn unusable_types() {
        let code = |t: &TypeRecord| Declared::default().value_type("x", t).unwrap_err().code;
        assert_eq!(code(&TypeRecord::Tensor { element: 0, shape: None }), Code::ElementType);
        assert_eq!(code(&TypeRecord::Sequence(None)), Code::Type);
        assert_eq!(code(&TypeRecord::SparseTensor), Code::UnsupportedFeature);
        assert_eq!(code(&map(7, None)), Code::Type);
        assert_eq!(code(&map(1, Some(TypeRecord::Tensor { element: 1, shape: None }))), Code::UnsupportedFeature);
        assert_eq!(code(&map(7, Some(map(7, None)))), Code::UnsupportedFeature);
        assert_eq!(code(&tensor(&[DimRecord::Value(i64::MAX)])), Code::ShapeLimit);
        assert_eq!(code(&tensor(&vec![DimRecord::Value(1 << 20); 3])), Code::ShapeLimit);
        let deep = (0..20).fold(tensor(&[]), |t, _| TypeRecord::Sequence(Some(Box::new(t))));
        assert_eq!(code(&deep), Code::Type);
    }

    #[test]
    fn contradictions() {
        let found: Type = TensorType::new(DType::F32, vec![Dim::sym("N"), Dim::from(3i64)]).into();
        let none = |dims: &[DimRecord]| contradiction(&tensor(dims), &found);
        assert_eq!(none(&[DimRecord::Value(7), DimRecord::Value(3)]), None);
        assert_eq!(none(&[DimRecord::Unknown, DimRecord::Param("M".into())]), None);
        assert!(matches!(none(&[DimRecord::Value(7), DimRecord::Value(4)]), Some(Contradiction::Shape(_))));
        assert!(matches!(none(&[]), Some(Contradiction::Shape(_))));
        let wrong = TypeRecord::Tensor { element: 7, shape: None };
        assert_eq!(contradiction(&wrong, &found), Some(Contradiction::Type("declared as i64, is f32".into())));
        let floats = map(8, Some(TypeRecord::Tensor { element: 1, shape: None }));
        assert!(matches!(contradiction(&floats, &found), Some(Contradiction::Type(_))));
        let map = |value| Type::Map { key: DType::String, value };
        assert_eq!(contradiction(&floats, &map(DType::F32)), None);
        assert!(matches!(contradiction(&floats, &map(DType::I64)), Some(Contradiction::Type(_))));
    }
}
