//! Pad: elements added before and after each axis (removed where negative), by mode.

use crate::indexing::{OUTSIDE, by_axis, integers, strides};
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, normal_axis, operand};
use planc_kir::{Kernel, PadMode};
use planc_tensor::{DType, Dim, Tensor, bf16, f16};

/// The row of Pad.
pub const OP: OpDef = OpDef {
    name: "Pad",
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64), ("Tind", TypeSet::INDEX)],
    inputs: &[
        Param::req("data", "T"),
        Param::req("pads", "tensor(int64)"),
        Param::opt("constant_value", "T"),
        Param::opt("axes", "Tind"),
    ],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::str("mode", "constant"),
        AttrDef::optional("paddings", AttrKind::Ints).until(2),
        AttrDef::optional("pads", AttrKind::Ints).since(2).until(11),
        AttrDef::float("value", 0.0).until(11),
    ],
    upgrades: &[
        Upgrade {
            to: 2,
            step: |cx| {
                if let Some(pads) = cx.attrs.take("paddings") {
                    cx.attrs.set("pads", pads);
                }
                Ok(())
            },
        },
        Upgrade {
            to: 11,
            step: |cx| {
                if cx.attrs.get("pads").is_none() {
                    return Err(OpError::attribute("attribute pads is missing"));
                }
                cx.ints_to_input("pads", 1);
                let value = cx.attrs.float("value").unwrap_or(0.0);
                cx.attrs.take("value");
                if value != 0.0 {
                    let data = cx.inputs.first().copied().flatten();
                    let dtype = data.and_then(|v| cx.graph.tensor_type(v)).map_or(DType::F32, |t| t.dtype);
                    let value = match dtype {
                        DType::F64 => Tensor::scalar(f64::from(value)),
                        DType::F16 => Tensor::scalar(f16::from_f32(value)),
                        DType::BF16 => Tensor::scalar(bf16::from_f32(value)),
                        _ => Tensor::scalar(value),
                    };
                    cx.const_input("value", 2, value);
                }
                Ok(())
            },
        },
    ],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        mode(cx.str("mode"))?;
        let pads = if cx.has(3) { cx.known(1).zip(cx.known_ints(3).map(Some)) } else { cx.known(1).map(|p| (p, None)) };
        let shape = match (cx.shape(0)?, pads) {
            (Some(s), Some((pads, axes))) => {
                let pads = per_axis(&pads, axes.as_deref(), s.len(), Dim::from(0i64))?;
                let extent = |(d, [b, a]): (&Dim, &[Dim; 2])| d.clone() + b.clone() + a.clone();
                Some(s.iter().zip(&pads).map(extent).collect())
            }
            (Some(s), None) => Some((0..s.len()).map(|i| cx.fresh(0, i)).collect()),
            (None, _) => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let mode = mode(cx.str("mode"))?;
        let axes = inputs.get(3).copied().flatten().map(integers).transpose()?;
        let pads = per_axis(&integers(operand(inputs, 1)?)?, axes.as_deref(), x.rank(), 0)?;
        let extent = |(d, [b, a]): (&usize, &[i64; 2])| {
            let n = i128::from(*b) + i128::from(*a) + *d as i128;
            usize::try_from(n).map_err(|_| OpError::value("more elements are removed than there are"))
        };
        let shape = x.shape().iter().zip(&pads).map(extent).collect::<Result<Vec<_>, _>>()?;
        let value = inputs.get(2).copied().flatten();
        if value.is_some_and(|v| v.len() != 1) {
            return Err(OpError::shape("constant_value is not one element"));
        }
        if mode != PadMode::Constant && x.is_empty() && !shape.contains(&0) {
            return Err(OpError::value("an empty tensor has no elements to repeat"));
        }
        let strides = strides(x.shape());
        let at = |a: usize, i: usize| {
            source(mode, i as i128 - i128::from(pads[a][0]), x.shape()[a]).map_or(OUTSIDE, |s| s * strides[a])
        };
        Ok(vec![by_axis(cx, x, shape, value, at)?])
    }),
    lower: |cx| {
        let axes = if cx.has(3) { cx.known_ints(3) } else { None };
        let Some(rank) = cx.shape(0).ok().flatten().map(<[_]>::len) else { return Lowered::Reference };
        let (Some(pads), Ok(mode)) = (cx.known(1), mode(cx.str("mode"))) else { return Lowered::Reference };
        if cx.has(3) && axes.is_none() {
            return Lowered::Reference;
        }
        let Ok(pads) = per_axis(&pads, axes.as_deref(), rank, Dim::from(0i64)) else { return Lowered::Reference };
        let before = pads.into_iter().map(|[before, _]| before).collect();
        Lowered::Kernel { kernel: Kernel::Pad(planc_kir::Pad { before, mode }), operands: vec![0, 2] }
    },
    ..OpDef::NEW
};

/// The row of com.microsoft's Pad, which came before opset 11.
pub const MICROSOFT: OpDef = OpDef {
    domain: "com.microsoft",
    inputs: &[Param::req("data", "T"), Param::req("pads", "tensor(int64)"), Param::opt("value", "T")],
    attrs: &[AttrDef::str("mode", "constant")],
    upgrades: &[],
    ..OP
};

fn mode(name: &str) -> Result<PadMode, OpError> {
    Ok(match name {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        _ => return Err(OpError::attribute(format!("mode {name:?} is not constant, reflect, edge or wrap"))),
    })
}

/// `[before.., after..]` over `axes` (all without) as pairs for each of `rank` axes.
fn per_axis<T: Clone>(pads: &[T], axes: Option<&[i64]>, rank: usize, zero: T) -> Result<Vec<[T; 2]>, OpError> {
    let all: Vec<i64> = (0..rank as i64).collect();
    let axes = axes.unwrap_or(&all);
    let n = axes.len();
    if pads.len() != 2 * n {
        return Err(OpError::shape(format!("has {} pads for {n} axes", pads.len())));
    }
    let mut out = vec![[zero.clone(), zero]; rank];
    for (i, axis) in axes.iter().enumerate() {
        out[normal_axis(*axis, rank)?] = [pads[i].clone(), pads[n + i].clone()];
    }
    Ok(out)
}

/// The element of an axis of extent `n` that lies at `i`, before or past its ends by `mode`.
fn source(mode: PadMode, i: i128, n: usize) -> Option<usize> {
    let extent = n as i128;
    if (0..extent).contains(&i) {
        return Some(i as usize);
    }
    if n == 0 {
        return None;
    }
    match mode {
        PadMode::Constant => None,
        PadMode::Edge => Some(i.clamp(0, extent - 1) as usize),
        PadMode::Wrap => Some(i.rem_euclid(extent) as usize),
        PadMode::Reflect if n == 1 => Some(0),
        PadMode::Reflect => {
            let period = 2 * (extent - 1);
            let i = i.rem_euclid(period);
            Some(if i < extent { i } else { period - i } as usize)
        }
    }
}
