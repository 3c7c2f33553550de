//! Inferring types again after a rewrite, without losing what was known before.
//!
//! Guarantees: a constant extent stays constant. Inference names an extent it cannot compute after the value; once the
//! value has another name that would be a new symbol, so the old extent is kept there too.

use planc_ir::{Graph, NodeId, TensorType, Type};
use planc_ops::{NodeError, OpError, infer_node, locate};
use planc_tensor::Dim;

/// Infers the results of a node; whether anything about them changed.
///
/// # Errors
/// When the node is wrong.
pub(crate) fn node(g: &mut Graph, id: NodeId) -> Result<bool, OpError> {
    let outputs: Vec<_> = g.node(id).outputs().iter().flatten().copied().collect();
    let before: Vec<_> = outputs.iter().map(|v| (g.value(*v).ty.clone(), g.value(*v).known.clone())).collect();
    infer_node(g, id)?;
    let mut changed = false;
    for (v, (old, known)) in outputs.iter().zip(before) {
        let name = g.value(*v).name.clone();
        if let (Some(old), Some(new)) = (old.as_tensor(), g.tensor_type(*v)) {
            let ty = merge(old, new, &name);
            changed |= *old != ty;
            g.set_type(*v, ty);
        } else {
            changed |= old != g.value(*v).ty;
        }
        if known.is_some() && g.value(*v).known.is_none() {
            g.set_known(*v, known);
        } else {
            changed |= known != g.value(*v).known;
        }
    }
    Ok(changed)
}

/// Infers all nodes, subgraphs included.
///
/// # Errors
/// The first node that is wrong.
pub(crate) fn graph(g: &mut Graph) -> Result<(), NodeError> {
    for id in g.order() {
        node(g, id).map_err(|e| locate(g, id, e))?;
    }
    Ok(())
}

fn merge(old: &TensorType, new: &TensorType, name: &str) -> TensorType {
    let shape = match (&old.shape, &new.shape) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            Some(a.iter().zip(b).enumerate().map(|(i, (a, b))| extent(a, b, name, i)).collect())
        }
        (Some(a), None) => Some(a.clone()),
        (_, b) => b.clone(),
    };
    TensorType { dtype: new.dtype, shape, layout: old.layout }
}

fn extent(old: &Dim, new: &Dim, name: &str, axis: usize) -> Dim {
    let fresh = |d: &Dim| d.as_sym().is_some_and(|s| **s == *format!("{name}.d{axis}"));
    let keep = new.as_const().is_none() && (old.as_const().is_some() || fresh(new));
    if keep { old.clone() } else { new.clone() }
}

/// Whether two types are known to be the same at run time too.
pub(crate) fn same(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) => a.shape.is_some() && a == b,
        (a, b) => a == b,
    }
}
