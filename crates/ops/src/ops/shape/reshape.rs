//! Reshape: the same elements under another shape. A 0 copies the extent at its place (unless `allowzero`), one -1 is
//! what is left.

use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, Props, TypeSet, Upgrade, known, operand};
use planc_kir::Kernel;
use planc_tensor::{Dim, Tensor, View};

/// The row of Reshape.
pub const OP: OpDef = OpDef {
    name: "Reshape",
    types: &[("T", TypeSet::ALL), ("T1", TypeSet::I64)],
    inputs: &[Param::req("data", "T"), Param::req("shape", "T1")],
    outputs: &[Param::req("reshaped", "T")],
    attrs: &[
        AttrDef::int("allowzero", 0).since(14),
        AttrDef::optional("shape", AttrKind::Ints).until(5),
        AttrDef::optional("consumed_inputs", AttrKind::Ints).until(5),
    ],
    upgrades: &[Upgrade {
        to: 5,
        step: |cx| {
            cx.attrs.take("consumed_inputs");
            cx.ints_to_input("shape", 1);
            Ok(())
        },
    }],
    props: Props::RESHAPES,
    infer: |cx| {
        let (dtype, data) = (cx.dtype(0)?, cx.shape(0)?);
        let shape = match cx.known(1) {
            Some(wanted) => Some(resolve(data, &wanted, cx.flag("allowzero"), |i| cx.fresh(0, i))?),
            None => {
                let rank = cx.shape(1)?.and_then(|s| s.first()).and_then(Dim::as_usize).filter(|r| *r <= 64);
                rank.map(|r| (0..r).map(|i| cx.fresh(0, i)).collect())
            }
        };
        cx.set_shape(0, dtype, shape);
        known::pass_through(cx);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (data, wanted) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let wanted: Vec<Dim> = wanted.to_i64().unwrap_or_default().into_iter().map(Dim::from).collect();
        let dims: Vec<Dim> = data.shape().iter().map(|d| Dim::from(*d)).collect();
        let shape = resolve(Some(&dims), &wanted, cx.flag("allowzero"), |_| Dim::from(-1i64))?;
        let shape: Option<Vec<usize>> = shape.iter().map(Dim::as_usize).collect();
        reshaped(data, shape.ok_or_else(|| OpError::shape("the shape does not fit the data"))?)
    }),
    lower: |cx| if cx.known(1).is_some() { Lowered::kernel(Kernel::Reshape, 1) } else { Lowered::Reference },
    ..OpDef::NEW
};

/// `data` with another shape, copied.
///
/// # Errors
/// When the element counts differ.
pub(crate) fn reshaped(data: View<'_>, shape: Vec<usize>) -> Result<Vec<Tensor>, OpError> {
    let message = format!("{:?} does not reshape to {shape:?}", data.shape());
    Ok(vec![data.to_tensor().reshaped(shape).map_err(|_| OpError::shape(message))?])
}

/// The result's extents. `fresh(i)` names an extent that cannot be computed.
fn resolve(
    data: Option<&[Dim]>,
    wanted: &[Dim],
    allow_zero: bool,
    fresh: impl Fn(usize) -> Dim,
) -> Result<Vec<Dim>, OpError> {
    let mut shape = Vec::with_capacity(wanted.len());
    let mut rest = None;
    for (i, w) in wanted.iter().enumerate() {
        shape.push(match w.as_const() {
            Some(-1) if rest.is_some() => return Err(OpError::shape("the shape has two -1")),
            Some(-1) => {
                rest = Some(i);
                Dim::from(1i64)
            }
            Some(v) if v < -1 => return Err(OpError::shape(format!("the shape has extent {v}"))),
            Some(0) if !allow_zero => match data {
                Some(d) => {
                    d.get(i).cloned().ok_or_else(|| OpError::shape(format!("the 0 at {i} has no extent to copy")))?
                }
                None => fresh(i),
            },
            _ => w.clone(),
        });
    }
    let (Some(data), count) = (data, known::product(&shape)) else {
        if let Some(i) = rest {
            shape[i] = fresh(i);
        }
        return Ok(shape);
    };
    let total = known::product(data);
    match rest {
        Some(i) => {
            shape[i] = match (total.as_const(), count.as_const()) {
                (Some(_), Some(0)) => return Err(OpError::shape("-1 beside a zero extent is ambiguous")),
                (Some(t), Some(c)) if t % c != 0 => {
                    return Err(OpError::shape(format!("{t} elements do not divide by {c}")));
                }
                _ => total.exact_div(&count).unwrap_or_else(|| total.floor_div(&count)),
            }
        }
        None => {
            if let (Some(t), Some(c)) = (total.as_const(), count.as_const())
                && t != c
            {
                return Err(OpError::shape(format!("{t} elements do not fit a shape of {c}")));
            }
        }
    }
    Ok(shape)
}
