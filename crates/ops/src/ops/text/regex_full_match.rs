//! RegexFullMatch: whether a regular expression matches each string as a whole.
//!
//! ONNX asks for RE2's syntax; the `regex` crate has the same guarantees (linear time, no back references).

use crate::elementwise::only;
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, Props, TypeSet};
use planc_ir::TensorType;
use planc_tensor::{DType, Tensor};
use regex::Regex;

/// The row of RegexFullMatch.
pub const OP: OpDef = OpDef {
    name: "RegexFullMatch",
    since: 20,
    types: &[("T1", TypeSet::STRING), ("T2", TypeSet::BOOL)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2")],
    attrs: &[AttrDef::optional("pattern", AttrKind::Str)],
    props: Props::ELEMENTWISE,
    infer: |cx| {
        whole(cx.attrs().str("pattern"))?;
        cx.set(0, TensorType { dtype: DType::Bool, ..cx.tensor(0)?.clone() });
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let pattern = whole(cx.attrs().str("pattern"))?;
        Ok(vec![Tensor::new(x.shape(), x.as_strings().iter().map(|s| pattern.is_match(s)).collect())?])
    }),
    ..OpDef::NEW
};

fn whole(pattern: Option<&str>) -> Result<Regex, OpError> {
    let pattern = pattern.ok_or_else(|| OpError::attribute("attribute pattern is missing"))?;
    let wrong = |_| OpError::attribute(format!("pattern {pattern:?} is no regular expression"));
    // Parsed alone first: unbalanced parentheses must not pair with those added.
    Regex::new(pattern).and_then(|_| Regex::new(&format!(r"\A(?:{pattern})\z"))).map_err(wrong)
}
