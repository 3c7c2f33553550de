//! ConstantOfShape: one value (f32 zero without one) in every element.

use crate::elementwise::scalar_of;
use crate::indexing::{by_axis, integers};
use crate::{AttrDef, AttrKind, Lowered, OpDef, OpError, Param, TypeSet, known, operand};
use planc_ir::Attrs;
use planc_kir::{ExprBuilder, Inst, Kernel};
use planc_tensor::{Dim, Tensor};

/// The row of ConstantOfShape.
pub const OP: OpDef = OpDef {
    name: "ConstantOfShape",
    since: 9,
    types: &[("T1", TypeSet::I64), ("T2", TypeSet::ALL)],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[AttrDef::optional("value", AttrKind::Tensor)],
    infer: |cx| {
        let value = value(cx.attrs())?;
        let shape = match cx.known(0) {
            Some(dims) => Some(dims),
            None => {
                let rank = cx.shape(0)?.and_then(|s| s.first()).and_then(Dim::as_usize).filter(|r| *r <= 64);
                rank.map(|r| (0..r).map(|i| cx.fresh(0, i)).collect())
            }
        };
        let count = shape.as_deref().and_then(|s: &[Dim]| known::product(s).as_usize()).filter(|n| *n <= 64);
        cx.set_shape(0, value.dtype(), shape);
        let element = value.view().to_i64().and_then(|v| v.first().copied());
        let all = element.zip(count).map(|(v, n)| vec![Dim::from(v); n]);
        known::set_if_flat(cx, 0, all);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let value = value(cx.attrs())?;
        let extents = integers(operand(inputs, 0)?)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
        let shape = extents.map_err(|_| OpError::value("an extent is negative"))?;
        Ok(vec![by_axis(cx, value.view(), shape, None, |_, _| 0)?])
    }),
    lower: |cx| {
        let (Some(_), Ok(value)) = (cx.known(0), value(cx.attrs())) else { return Lowered::Reference };
        let Some(element) = scalar_of(&value) else { return Lowered::Reference };
        let mut b = ExprBuilder::new(&[]);
        match b.push(Inst::Const(value.dtype(), element)) {
            Ok(reg) => Lowered::kernel(Kernel::Map(b.finish(reg)), 0),
            Err(_) => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};

fn value(attrs: &Attrs) -> Result<Tensor, OpError> {
    match attrs.tensor("value") {
        None => Ok(Tensor::scalar(0f32)),
        Some(t) if t.len() == 1 => Ok(t.clone()),
        Some(t) => Err(OpError::attribute(format!("value has {} elements, not one", t.len()))),
    }
}
