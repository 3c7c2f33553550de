//! If: one of two subgraphs, chosen when it runs. Where the condition is known, the results have the chosen branch's
//! types, and mistakes in the other do not matter.

use crate::ops::control::body::{infer as infer_body, join, visible};
use crate::{AttrDef, AttrKind, InferCx, Lowered, OpDef, OpError, Param, TypeSet};
use planc_tensor::Dim;

/// The row of If.
pub const OP: OpDef = OpDef {
    name: "If",
    types: &[("B", TypeSet::BOOL), ("V", TypeSet::ALL)],
    inputs: &[Param::req("cond", "B")],
    outputs: &[Param::hetero("outputs", "V")],
    attrs: &[AttrDef::required("then_branch", AttrKind::Graph), AttrDef::required("else_branch", AttrKind::Graph)],
    infer,
    lower: |_| Lowered::Control,
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let chosen = match cx.constant(0) {
        Some(t) => t.view().to_i64().and_then(|v| v.first().copied()),
        None => cx.known(0).and_then(|k| k.first().and_then(Dim::as_const)),
    };
    let count = cx.output_count();
    let mut branches = vec![];
    for (name, taken) in [("then_branch", chosen != Some(0)), ("else_branch", chosen.is_none_or(|c| c == 0))] {
        let scope = visible(cx, name)?;
        let given = match infer_body(cx, name, &[]) {
            Ok(given) => given,
            Err(_) if !taken => continue,
            Err(e) => return Err(e),
        };
        if given.len() < count {
            return Err(OpError::arity(format!("{name} has {} outputs, not {count}", given.len())));
        }
        if taken {
            let export =
                |i: usize, (ty, known)| (scope.export(&ty, &|axis| cx.fresh(i, axis)), scope.export_known(known));
            branches.push(given.into_iter().enumerate().map(|(i, r)| export(i, r)).collect::<Vec<_>>());
        }
    }
    for i in 0..count {
        let (ty, known) = match branches.as_slice() {
            [one] => one[i].clone(),
            [a, b] => {
                let ty = join(&a[i].0, &b[i].0, &|axis| cx.fresh(i, axis));
                let ty = ty.map_err(|e| OpError::type_(format!("result {i} differs between the branches: {e}")))?;
                (ty, a[i].1.clone().filter(|k| Some(k) == b[i].1.as_ref()))
            }
            _ => return Err(OpError::attribute("a branch is missing")),
        };
        cx.set(i, ty);
        cx.set_known(i, known);
    }
    Ok(())
}
