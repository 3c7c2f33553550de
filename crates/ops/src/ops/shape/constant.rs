//! Constant: the tensor in one of its attributes.

use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet};
use planc_ir::{Attrs, TensorType};
use planc_tensor::{Attr, Dim, Tensor};

/// The row of Constant.
pub const OP: OpDef = OpDef {
    name: "Constant",
    types: &[("T", TypeSet::ALL)],
    outputs: &[Param::req("output", "T")],
    attrs: &[
        AttrDef::optional("value", AttrKind::Tensor),
        AttrDef::optional("sparse_value", AttrKind::Tensor).since(11),
        AttrDef::optional("value_float", AttrKind::Float).since(12),
        AttrDef::optional("value_floats", AttrKind::Floats).since(12),
        AttrDef::optional("value_int", AttrKind::Int).since(12),
        AttrDef::optional("value_ints", AttrKind::Ints).since(12),
        AttrDef::optional("value_string", AttrKind::Str).since(12),
        AttrDef::optional("value_strings", AttrKind::Strs).since(12),
    ],
    infer: |cx| {
        let t = value(cx.attrs())?;
        cx.set(0, TensorType::fixed(t.dtype(), t.shape()));
        if t.rank() <= 1 {
            cx.set_known(0, t.view().to_i64().map(|v| v.into_iter().map(Dim::from).collect()));
        }
        Ok(())
    },
    eval: Some(|cx, _| Ok(vec![value(cx.attrs())?])),
    ..OpDef::NEW
};

/// The tensor that the attributes hold.
fn value(attrs: &Attrs) -> Result<Tensor, OpError> {
    let mut values = attrs.iter().filter(|(n, _)| n.ends_with("value") || n.starts_with("value_"));
    let (Some((_, value)), None) = (values.next(), values.next()) else {
        return Err(OpError::attribute("needs exactly one of its value attributes"));
    };
    Ok(match value {
        Attr::Tensor(t) => t.clone(),
        Attr::Float(v) => Tensor::scalar(*v),
        Attr::Floats(v) => Tensor::vector(v.clone()),
        Attr::Int(v) => Tensor::scalar(*v),
        Attr::Ints(v) => Tensor::vector(v.clone()),
        Attr::Str(v) => Tensor::from_strings(vec![], vec![v.clone()])?,
        Attr::Strs(v) => Tensor::from_strings(vec![v.len()], v.clone())?,
    })
}
