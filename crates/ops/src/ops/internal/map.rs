//! planc::Map: a scalar program per element of the operands, broadcast. Attribute `expr` is the program's text.

use crate::elementwise::{common_shape, infer_broadcast_as};
use crate::{AttrDef, AttrKind, EvalCx, Lowered, OpDef, OpError, Param, Props, TypeSet};
use planc_kir::{Expr, Kernel, interp::interpret, parse_expr};
use planc_tensor::{Tensor, View};

/// The row of planc::Map.
pub const OP: OpDef = OpDef {
    name: "Map",
    domain: "planc",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::hetero("operands", "T")],
    outputs: &[Param::req("result", "T")],
    attrs: &[AttrDef::required("expr", AttrKind::Str)],
    props: Props::ELEMENTWISE,
    infer: |cx| {
        let expr = program(cx.str("expr"))?;
        for (i, t) in expr.args().iter().enumerate() {
            if cx.dtype(i)? != *t {
                return Err(OpError::type_(format!("operand {i} is {}, the program takes {t}", cx.dtype(i)?)));
            }
        }
        if cx.input_count() != expr.args().len() {
            return Err(OpError::arity(format!("has {} operands, takes {}", cx.input_count(), expr.args().len())));
        }
        infer_broadcast_as(cx, expr.result_type())
    },
    eval: Some(eval),
    lower: |cx| match program(cx.str("expr")) {
        Ok(expr) => Lowered::kernel(Kernel::Map(expr), cx.input_count()),
        Err(_) => Lowered::Reference,
    },
    ..OpDef::NEW
};

/// The program that a text is.
pub(super) fn program(text: &str) -> Result<Expr, OpError> {
    match parse_expr(text) {
        Ok((expr, end)) if text[end..].trim().is_empty() => Ok(expr),
        Ok(_) => Err(OpError::attribute("expr goes on after its program")),
        Err(e) => Err(OpError::attribute(format!("expr is no program: {e:?}"))),
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let expr = program(cx.str("expr"))?;
    let operands: Vec<View<'_>> = inputs.iter().flatten().copied().collect();
    let shape = common_shape(&operands)?;
    cx.reserve(expr.result_type(), &shape)?;
    let outputs = [(expr.result_type(), shape)];
    let operands: Vec<Option<View<'_>>> = operands.into_iter().map(Some).collect();
    interpret(&Kernel::Map(expr), &operands, &outputs, &|_| None).map_err(|e| OpError::shape(e.to_string()))
}
