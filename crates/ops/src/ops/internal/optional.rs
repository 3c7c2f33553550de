//! planc::MakeOptional, HasElement, GetElement: optionals whose operand is known to be packed, or known not to be.

use crate::sequences::{element, parse, value};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet};
use planc_ir::Type;
use planc_tensor::{DType, Tensor, Value, pack};

/// The row of planc::MakeOptional; `packed` says that the operand is not a tensor, `type` what is absent.
pub const MAKE: OpDef = OpDef {
    name: "MakeOptional",
    domain: "planc",
    types: &[("V", TypeSet::ALL), ("O", TypeSet::ALL)],
    inputs: &[Param::opt("input", "V")],
    outputs: &[Param::req("output", "O")],
    attrs: &[AttrDef::int("packed", 0), AttrDef::optional("type", AttrKind::Str)],
    infer: |cx| {
        let inner = if cx.has(0) { cx.ty(0)?.clone() } else { parse(cx.str("type"))? };
        cx.set(0, Type::Optional(Box::new(inner)));
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let inner = match (inputs.first().copied().flatten(), cx.flag("packed")) {
            (None, _) => None,
            (Some(x), false) => Some(Box::new(Value::Tensor(x.to_tensor()))),
            (Some(_), true) => Some(Box::new(value(inputs, 0)?)),
        };
        Ok(vec![pack(&Value::Optional(inner))])
    }),
    ..OpDef::NEW
};

/// The row of planc::HasElement.
pub const HAS: OpDef = OpDef {
    name: "HasElement",
    domain: "planc",
    types: &[("O", TypeSet::ALL), ("B", TypeSet::BOOL)],
    inputs: &[Param::req("input", "O")],
    outputs: &[Param::req("output", "B")],
    infer: |cx| {
        cx.set_tensor(0, DType::Bool, vec![]);
        Ok(())
    },
    eval: Some(|_, inputs| Ok(vec![Tensor::scalar(held(value(inputs, 0)?).is_some())])),
    ..OpDef::NEW
};

/// The row of planc::GetElement.
pub const GET: OpDef = OpDef {
    name: "GetElement",
    domain: "planc",
    types: &[("O", TypeSet::ALL), ("V", TypeSet::ALL)],
    inputs: &[Param::req("input", "O")],
    outputs: &[Param::req("output", "V")],
    infer: |cx| {
        let ty = match cx.ty(0)? {
            Type::Optional(t) => element(cx, 0, t),
            other => return Err(OpError::type_(format!("operand 0 is {other}, not an optional"))),
        };
        cx.set(0, ty);
        Ok(())
    },
    eval: Some(|_, inputs| match held(value(inputs, 0)?) {
        Some(Value::Tensor(t)) => Ok(vec![t]),
        Some(other) => Ok(vec![pack(&other)]),
        None => Err(OpError::value("the optional is empty")),
    }),
    ..OpDef::NEW
};

/// What an optional holds. A loop may carry a sequence where it was given an optional: that is there.
fn held(v: Value) -> Option<Value> {
    match v {
        Value::Optional(inner) => inner.map(|v| *v),
        there => Some(there),
    }
}
