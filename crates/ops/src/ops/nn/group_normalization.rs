//! GroupNormalization: normalises groups of channels with all further axes; scale and bias per channel. Before opset
//! 21 they were per group.

use crate::floats::{narrow, widen};
use crate::normalize::normalize;
use crate::{AttrDef, AttrKind, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, operand};
use planc_kir::{Kernel, Norm, NormKind};
use planc_tensor::{Tensor, View};

/// The row of GroupNormalization.
pub const OP: OpDef = OpDef {
    name: "GroupNormalization",
    since: 18,
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("scale", "T"), Param::req("bias", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::float("epsilon", 1e-5),
        AttrDef::required("num_groups", AttrKind::Int),
        AttrDef::int("stash_type", 1).since(21),
        AttrDef::int("per_group", 0).internal(),
    ],
    upgrades: &[Upgrade {
        to: 21,
        step: |cx| {
            cx.attrs.set("per_group", 1);
            Ok(())
        },
    }],
    infer: |cx| {
        let groups = groups(cx.int("num_groups"))?;
        infer(cx, groups)
    },
    eval: Some(|cx, inputs| {
        let groups = groups(cx.int("num_groups"))?;
        eval(cx, inputs, groups, cx.flag("per_group"))
    }),
    lower: |cx: &LowerCx<'_>| match groups(cx.int("num_groups")) {
        Ok(groups) if !cx.flag("per_group") => lower(cx, groups),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};

fn groups(n: i64) -> Result<usize, OpError> {
    usize::try_from(n).ok().filter(|g| *g > 0).ok_or_else(|| OpError::attribute(format!("num_groups is {n}")))
}

/// Inference for `groups` groups; 0 means a group per channel.
///
/// # Errors
/// When the channels do not divide.
pub(crate) fn infer(cx: &mut InferCx<'_>, groups: usize) -> Result<(), OpError> {
    let ty = cx.tensor(0)?.clone();
    if let Some(s) = &ty.shape {
        if s.len() < 2 {
            return Err(OpError::shape(format!("data of rank {} has no channels", s.len())));
        }
        if let Some(c) = s[1].as_const()
            && groups > 0
            && c % i64::try_from(groups).unwrap_or(i64::MAX) != 0
        {
            return Err(OpError::shape(format!("{c} channels do not divide into {groups} groups")));
        }
        for i in 1..3 {
            if let Some(p) = cx.shape(i)? {
                let [n] = p else { return Err(OpError::shape(format!("operand {i} has rank {}, not 1", p.len()))) };
                if cx.int("per_group") == 0 {
                    crate::convolve::agree(n, &s[1], "channels and a parameter's length differ")?;
                }
            }
        }
    }
    cx.set(0, ty);
    Ok(())
}

/// Evaluates `groups` groups (0: one per channel) with parameters per channel or group.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn eval(
    cx: &EvalCx<'_>,
    inputs: &[Option<View<'_>>],
    groups: usize,
    per_group: bool,
) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let [_, c, rest @ ..] = x.shape() else { return Err(OpError::shape("data without channels")) };
    let (c, plane): (usize, usize) = (*c, rest.iter().product());
    let groups = if groups == 0 { c } else { groups };
    if c > 0 && c % groups != 0 {
        return Err(OpError::shape(format!("{c} channels do not divide into {groups} groups")));
    }
    let (scale, bias) = (widen(operand(inputs, 1)?)?, widen(operand(inputs, 2)?)?);
    let want = if per_group { groups } else { c };
    if scale.len() != want || bias.len() != want {
        return Err(OpError::shape(format!("parameters have {} and {} elements, not {want}", scale.len(), bias.len())));
    }
    let mut y = widen(x)?;
    if !y.is_empty() {
        normalize(&mut y, c / groups * plane, f64::from(cx.float("epsilon")), true);
        for (i, part) in y.chunks_mut(plane).enumerate() {
            let i = if per_group { i % c / (c / groups) } else { i % c };
            part.iter_mut().for_each(|v| *v = *v * scale[i] + bias[i]);
        }
    }
    Ok(vec![narrow(x.dtype(), x.shape(), y)?])
}

/// Lowering to `Norm` with parameters per channel.
pub(crate) fn lower(cx: &LowerCx<'_>, groups: usize) -> Lowered {
    Lowered::kernel(Kernel::Norm(Norm { kind: NormKind::Group { groups }, epsilon: cx.float("epsilon") }), 3)
}
