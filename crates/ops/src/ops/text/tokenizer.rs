//! Tokenizer of com.microsoft: the parts of each string along a new last axis, as many as the string with most of them has;
//! shorter rows are padded.
//!
//! A string is cut at separators (regular expressions, one after the other), into characters where the only separator is
//! empty, or into what `tokenexp` matches. Of alternatives that match at one place the first counts, as the `regex` crate
//! has it; RE2 in onnxruntime takes the longest.

use crate::elementwise::only;
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet};
use planc_ir::Attrs;
use planc_tensor::{DType, Tensor};
use regex::Regex;

/// The row of Tokenizer.
pub const OP: OpDef = OpDef {
    name: "Tokenizer",
    domain: "com.microsoft",
    types: &[("T", TypeSet::STRING)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::required("mark", AttrKind::Int),
        AttrDef::required("mincharnum", AttrKind::Int),
        AttrDef::required("pad_value", AttrKind::Str),
        AttrDef::optional("separators", AttrKind::Strs),
        AttrDef::optional("tokenexp", AttrKind::Str),
    ],
    infer: |cx| {
        Cut::of(cx.attrs())?;
        let shape = match cx.shape(0)? {
            Some(s @ ([_] | [_, _])) => Some([s, &[cx.fresh(0, s.len())]].concat()),
            Some(s) => return Err(OpError::shape(format!("X has {} axes, Tokenizer takes one or two", s.len()))),
            None => None,
        };
        cx.set_shape(0, DType::String, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let cut = Cut::of(cx.attrs())?;
        let least = usize::try_from(cx.int("mincharnum")).unwrap_or(0);
        let rows: Vec<Vec<&str>> = x.as_strings().iter().map(|s| cut.tokens(s, least)).collect();
        let most = rows.iter().map(Vec::len).max().unwrap_or(0);
        // Without any token there is nothing to mark.
        let mark = cx.flag("mark") && most > 0;
        let width = most + if mark { 2 } else { 0 };
        let shape = [x.shape(), &[width]].concat();
        let mut y = Vec::with_capacity(cx.reserve(DType::String, &shape)?);
        for row in rows {
            let end = y.len() + width;
            let marks = |text: &'static str| mark.then_some(text);
            y.extend(marks("\u{2}").into_iter().chain(row).chain(marks("\u{3}")).map(str::to_owned));
            y.resize(end, cx.str("pad_value").to_owned());
        }
        Ok(vec![Tensor::from_strings(shape, y)?])
    }),
    ..OpDef::NEW
};

/// How strings are cut.
enum Cut {
    Characters,
    At(Vec<Regex>),
    Matches(Regex),
}

impl Cut {
    fn of(attrs: &Attrs) -> Result<Cut, OpError> {
        let regex = |p: &str| Regex::new(p).map_err(|_| OpError::attribute(format!("{p:?} is no regular expression")));
        match (attrs.strs("separators").unwrap_or_default(), attrs.str("tokenexp")) {
            ([one], _) if one.is_empty() && attrs.int("mincharnum").unwrap_or(0) > 1 => {
                Err(OpError::attribute("mincharnum is above 1, but tokens are characters"))
            }
            ([one], _) if one.is_empty() => Ok(Cut::Characters),
            ([], Some(pattern)) => Ok(Cut::Matches(regex(pattern)?)),
            ([], None) => Err(OpError::attribute("there are neither separators nor tokenexp")),
            (separators, _) => Ok(Cut::At(separators.iter().map(|p| regex(p)).collect::<Result<_, _>>()?)),
        }
    }

    /// The parts of `text` that are not empty and have at least `least` characters.
    fn tokens<'t>(&self, text: &'t str, least: usize) -> Vec<&'t str> {
        let mut parts: Vec<&str> = match self {
            Cut::Characters => text.char_indices().map(|(i, c)| &text[i..i + c.len_utf8()]).collect(),
            Cut::At(separators) => separators.iter().fold(vec![text], |parts, separator| {
                parts.into_iter().flat_map(|part| separator.split(part)).collect()
            }),
            Cut::Matches(pattern) => pattern.find_iter(text).map(|m| m.as_str()).collect(),
        };
        parts.retain(|part| !part.is_empty() && part.chars().count() >= least);
        parts
    }
}
