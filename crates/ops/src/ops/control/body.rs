//! Inference through subgraphs: formal inputs typed, symbols that mean nothing outside replaced, types joined.

use crate::cx::InferCx;
use crate::error::OpError;
use planc_ir::{Graph, TensorType, Type};
use planc_tensor::{DType, Dim};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a subgraph gives: types, and known elements.
pub(crate) type Results = Vec<(Type, Option<Vec<Dim>>)>;

/// Symbols that mean the same inside and outside of a subgraph.
#[derive(Default)]
pub(crate) struct Visible(BTreeSet<Arc<str>>);

impl Visible {
    fn add_dims<'d>(&mut self, dims: impl IntoIterator<Item = &'d Dim>) {
        dims.into_iter().for_each(|d| {
            d.symbols(&mut |s| {
                self.0.insert(s.clone());
            });
        });
    }

    fn add(&mut self, ty: &Type) {
        match ty {
            Type::Tensor(t) => self.add_dims(t.shape.iter().flatten()),
            Type::Sequence(t) | Type::Optional(t) => self.add(t),
            Type::Map { .. } => {}
        }
    }

    fn has(&self, d: &Dim) -> bool {
        let mut all = true;
        d.symbols(&mut |s| all &= self.0.contains(s));
        all
    }

    /// `ty` with every extent that is not visible replaced.
    pub fn export(&self, ty: &Type, fresh: &dyn Fn(usize) -> Dim) -> Type {
        match ty {
            Type::Tensor(t) => {
                let named = |(i, d): (usize, &Dim)| if self.has(d) { d.clone() } else { fresh(i) };
                let shape = t.shape.as_ref().map(|s| s.iter().enumerate().map(named).collect());
                Type::Tensor(TensorType { shape, ..t.clone() })
            }
            Type::Sequence(t) => Type::Sequence(Box::new(self.export(t, fresh))),
            Type::Optional(t) => Type::Optional(Box::new(self.export(t, fresh))),
            Type::Map { .. } => ty.clone(),
        }
    }

    /// Known elements, if all are visible.
    pub fn export_known(&self, known: Option<Vec<Dim>>) -> Option<Vec<Dim>> {
        known.filter(|k| k.iter().all(|d| self.has(d)))
    }
}

/// What is visible in subgraph `name`: the symbols of the node's operands and of what the subgraph captures.
///
/// # Errors
/// When the node has no such subgraph.
pub(crate) fn visible(cx: &mut InferCx<'_>, name: &str) -> Result<Visible, OpError> {
    let mut v = Visible::default();
    for i in 0..cx.input_count() {
        if cx.has(i) {
            v.add(cx.ty(i)?);
            v.add_dims(cx.known(i).iter().flatten());
        }
    }
    let s = cx.subgraph(name)?;
    for c in &s.captures {
        let inner = s.graph.value(c.inner);
        v.add(&inner.ty);
        v.add_dims(inner.known.iter().flatten());
    }
    Ok(v)
}

/// Types subgraph `name` from its formal inputs; what it gives.
///
/// # Errors
/// When the number of inputs differs, an input is declared to be of another element type, or the subgraph is wrong.
pub(crate) fn infer(cx: &mut InferCx<'_>, name: &str, inputs: &[Type]) -> Result<Results, OpError> {
    let graph = &mut cx.subgraph(name)?.graph;
    let formal = graph.inputs().to_vec();
    if formal.len() != inputs.len() {
        return Err(OpError::arity(format!("{name} has {} inputs, is given {}", formal.len(), inputs.len())));
    }
    for (v, ty) in formal.into_iter().zip(inputs) {
        let declared = &graph.value(v).ty;
        if element(declared).zip(element(ty)).is_some_and(|(a, b)| a != b) {
            let what = format!("input {} of {name} is declared {declared}, is given {ty}", graph.value(v).name);
            return Err(OpError::type_(what));
        }
        graph.set_type(v, ty.clone());
        graph.set_known(v, None);
    }
    crate::infer_graph(graph).map_err(|errors| {
        let kind = errors.first().map_or(crate::ErrorKind::Unsupported, |e| e.error.kind);
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        OpError { kind, message: format!("in {name}: {}", text.join("; ")) }
    })?;
    Ok(results(graph))
}

fn results(graph: &Graph) -> Results {
    let of = |v: &planc_ir::ValueId| {
        let value = graph.value(*v);
        let known = value.as_const().and_then(crate::infer::small_integers);
        (value.ty.clone(), known.or_else(|| value.known.clone()))
    };
    graph.outputs().iter().map(of).collect()
}

/// The element type of a tensor type, for comparing declarations; `None` for others.
fn element(ty: &Type) -> Option<DType> {
    ty.as_tensor().map(|t| t.dtype)
}

/// The type that holds both: extents that differ become `fresh(axis)`, ranks that differ unknown.
///
/// # Errors
/// When element types or kinds differ.
pub(crate) fn join(a: &Type, b: &Type, fresh: &dyn Fn(usize) -> Dim) -> Result<Type, OpError> {
    match (a, b) {
        (Type::Tensor(x), Type::Tensor(y)) if x.dtype == y.dtype => {
            let shape = match (&x.shape, &y.shape) {
                (Some(x), Some(y)) if x.len() == y.len() => {
                    let pairs = x.iter().zip(y).enumerate();
                    Some(pairs.map(|(i, (x, y))| if x == y { x.clone() } else { fresh(i) }).collect())
                }
                _ => None,
            };
            Ok(Type::Tensor(TensorType { shape, ..x.clone() }))
        }
        (Type::Sequence(x), Type::Sequence(y)) => Ok(Type::Sequence(Box::new(join(x, y, fresh)?))),
        (Type::Optional(x), Type::Optional(y)) => Ok(Type::Optional(Box::new(join(x, y, fresh)?))),
        _ if a == b => Ok(a.clone()),
        _ => Err(OpError::type_(format!("{a} and {b} are not of one type"))),
    }
}

/// Infers a body whose first results, after `lead` others, are its carried inputs of the next iteration, until the
/// types of what is carried no longer change. `lead_types` are the types of the body's inputs before the carried ones,
/// `tail` of those after. Gives the carried types and all results of the body.
///
/// # Errors
/// When the body is wrong or an iteration changes an element type.
pub(crate) fn fixpoint(
    cx: &mut InferCx<'_>,
    name: &str,
    (lead_types, carried, tail): (&[Type], Vec<Type>, &[Type]),
    lead: usize,
) -> Result<(Vec<Type>, Results), OpError> {
    let scope = visible(cx, name)?;
    let names: Vec<String> = {
        let g = &cx.subgraph(name)?.graph;
        g.inputs().iter().map(|v| g.value(*v).name.to_string()).collect()
    };
    let mut carried = carried;
    for round in 0.. {
        let inputs = [lead_types, &carried, tail].concat();
        let given = infer(cx, name, &inputs)?;
        if given.len() < lead + carried.len() {
            let want = lead + carried.len();
            return Err(OpError::arity(format!("{name} has {} outputs, needs at least {want}", given.len())));
        }
        let mut next = Vec::with_capacity(carried.len());
        for (i, (old, (new, _))) in carried.iter().zip(&given[lead..]).enumerate() {
            let base = &names[lead_types.len() + i];
            let fresh = |axis: usize| Dim::sym(&format!("{base}.d{axis}"));
            let joined = match (old, scope.export(new, &fresh)) {
                // What is packed and there is an optional as it is.
                (Type::Optional(inner), new @ Type::Sequence(_)) => {
                    join(inner, &new, &fresh).map(|t| Type::Optional(Box::new(t)))
                }
                (old, new) => join(old, &new, &fresh),
            };
            let joined = joined.map_err(|e| OpError::type_(format!("what {base} carries changes: {e}")))?;
            // A chain of values that each depend on the one before is cut short.
            next.push(if round < 16 || joined == *old { joined } else { unranked(&joined) });
        }
        if next == carried {
            return Ok((carried, given));
        }
        carried = next;
    }
    Err(OpError::limit("the body's types do not settle"))
}

fn unranked(ty: &Type) -> Type {
    match ty {
        Type::Tensor(t) => TensorType::unranked(t.dtype).into(),
        Type::Sequence(t) => Type::Sequence(Box::new(unranked(t))),
        Type::Optional(t) => Type::Optional(Box::new(unranked(t))),
        Type::Map { .. } => ty.clone(),
    }
}
