//! What the optimisers share: operands come in groups (all tensors, then all gradients, then all states), results in
//! the same order without the gradients.

use crate::floats::{narrow, widen};
use crate::{EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Tensor, View};

/// A row without its name, attributes and functions. Operands: learning rate, number of updates, groups.
pub const OPTIMISER: OpDef = OpDef {
    domain: "ai.onnx.preview.training",
    types: &[("T1", FLOATS), ("T2", TypeSet::I64), ("T3", FLOATS)],
    inputs: &[Param::req("R", "T1"), Param::req("T", "T2"), Param::variadic("inputs", "T3")],
    outputs: &[Param::variadic("outputs", "T3")],
    ..OpDef::NEW
};

const FLOATS: TypeSet = TypeSet::of(&[DType::F32, DType::F64]);

/// Operands before the groups.
const LEAD: usize = 2;

/// Results have the types of tensors and states; `groups` counts the operands' groups, the gradients among them.
///
/// # Errors
/// When the operands do not divide into groups, or more results are asked for than there are.
pub fn infer(cx: &mut InferCx<'_>, groups: usize) -> Result<(), OpError> {
    let count = tensors(cx.input_count(), groups)?;
    if cx.output_count() > count * (groups - 1) {
        return Err(OpError::arity(format!("has {} results, gives {}", cx.output_count(), count * (groups - 1))));
    }
    for i in 0..cx.output_count() {
        // The gradients are the second group.
        let from = if i < count { i } else { i + count };
        let ty = cx.ty(LEAD + from)?.clone();
        cx.set(i, ty);
    }
    Ok(())
}

fn tensors(operands: usize, groups: usize) -> Result<usize, OpError> {
    match operands.checked_sub(LEAD) {
        Some(n) if n > 0 && n % groups == 0 => Ok(n / groups),
        _ => Err(OpError::arity(format!("{operands} operands do not divide into {groups} groups after two"))),
    }
}

/// Learning rate and number of updates.
pub struct Progress {
    /// Learning rate.
    pub rate: f64,
    /// Updates so far.
    pub updates: f64,
}

/// Runs `step` on each element: its value, gradient and `N` states to its new value and states.
///
/// # Errors
/// When operands are missing, or of other types or extents than they should be.
pub fn eval<const N: usize>(
    cx: &EvalCx<'_>,
    inputs: &[Option<View<'_>>],
    step: impl Fn(&Progress, f64, f64, [f64; N]) -> (f64, [f64; N]),
) -> Result<Vec<Tensor>, OpError> {
    let count = tensors(inputs.len(), N + 2)?;
    let scalar = |i: usize| {
        let v = widen(operand(inputs, i)?)?;
        v.first().copied().filter(|_| v.len() == 1).ok_or_else(|| OpError::shape(format!("operand {i} is no scalar")))
    };
    let progress = Progress { rate: scalar(0)?, updates: scalar(1)? };
    let mut out: Vec<Vec<Tensor>> = vec![vec![]; N + 1];
    for k in 0..count {
        let part = |group: usize| operand(inputs, LEAD + group * count + k);
        let x = part(0)?;
        let mut values = Vec::with_capacity(N + 2);
        for group in 0..N + 2 {
            let p = part(group)?;
            if p.shape() != x.shape() {
                let what = format!("{:?} and {:?} are of one tensor but differ", x.shape(), p.shape());
                return Err(OpError::shape(what));
            }
            values.push(widen(p)?);
        }
        let mut results = vec![Vec::with_capacity(values[0].len()); N + 1];
        (0..values[0].len()).for_each(|i| {
            let (new, states) = step(&progress, values[0][i], values[1][i], std::array::from_fn(|s| values[s + 2][i]));
            results[0].push(new);
            states.into_iter().enumerate().for_each(|(s, v)| results[s + 1].push(v));
        });
        for (group, values) in out.iter_mut().zip(results) {
            group.push(narrow(x.dtype(), x.shape(), values)?);
        }
    }
    Ok(out.into_iter().flatten().take(cx.output_count()).collect())
}
