//! StringNormalizer: strings of a row without stop words, in upper or lower case; one empty string if none is left.
//!
//! Case follows Unicode's rules without a language: `locale` is read and has no effect.

use crate::elementwise::only;
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, known};
use planc_tensor::{DType, Dim, Tensor};

/// The row of StringNormalizer.
pub const OP: OpDef = OpDef {
    name: "StringNormalizer",
    since: 10,
    types: &[("tensor(string)", TypeSet::STRING)],
    inputs: &[Param::req("X", "tensor(string)")],
    outputs: &[Param::req("Y", "tensor(string)")],
    attrs: &[
        AttrDef::str("case_change_action", "NONE"),
        AttrDef::int("is_case_sensitive", 0),
        AttrDef::optional("locale", AttrKind::Str),
        AttrDef::optional("stopwords", AttrKind::Strs),
    ],
    infer: |cx| {
        case(cx.str("case_change_action"))?;
        let stops = cx.attrs().strs("stopwords").is_some_and(|s| !s.is_empty());
        let row = |d: &Dim| match d.as_const() {
            Some(n) if !stops => Dim::from(n.max(1)),
            _ => cx.fresh(0, 0),
        };
        let shape = match cx.shape(0)? {
            Some([n]) => Some(vec![row(n)]),
            Some([one, n]) => {
                known::same(one, &Dim::from(1i64))?;
                Some(vec![Dim::from(1i64), row(n)])
            }
            Some(s) => return Err(OpError::shape(format!("{} is not [C] or [1,C]", known::text(s)))),
            None => None,
        };
        cx.set_shape(0, DType::String, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        if !matches!(x.shape(), [_] | [1, _]) {
            return Err(OpError::shape(format!("{:?} is not [C] or [1,C]", x.shape())));
        }
        let change = case(cx.str("case_change_action"))?;
        let sensitive = cx.flag("is_case_sensitive");
        let key = |s: &str| if sensitive { s.to_string() } else { s.to_lowercase() };
        let stops: Vec<String> = cx.attrs().strs("stopwords").unwrap_or_default().iter().map(|s| key(s)).collect();
        let kept = x.as_strings().iter().filter(|s| !stops.contains(&key(s)));
        let mut out: Vec<String> = kept.map(|s| change(s)).collect();
        if out.is_empty() {
            out.push(String::new());
        }
        let shape = [&x.shape()[..x.rank() - 1], &[out.len()]].concat();
        Ok(vec![Tensor::from_strings(shape, out)?])
    }),
    ..OpDef::NEW
};

fn case(action: &str) -> Result<fn(&str) -> String, OpError> {
    match action {
        "NONE" => Ok(str::to_string),
        "LOWER" => Ok(str::to_lowercase),
        "UPPER" => Ok(str::to_uppercase),
        _ => Err(OpError::attribute(format!("case_change_action {action:?} is not NONE, LOWER or UPPER"))),
    }
}
