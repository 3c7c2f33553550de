//! StringSplit: the parts of each string between delimiters (without one: between white space), and how many there are;
//! shorter lists are filled up with empty strings.

use crate::elementwise::only;
use crate::{AttrDef, AttrKind, OpDef, Param, TypeSet};
use planc_tensor::{DType, Tensor};

/// The row of StringSplit.
pub const OP: OpDef = OpDef {
    name: "StringSplit",
    since: 20,
    types: &[("T1", TypeSet::STRING), ("T2", TypeSet::STRING), ("T3", TypeSet::I64)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2"), Param::req("Z", "T3")],
    attrs: &[AttrDef::optional("delimiter", AttrKind::Str), AttrDef::optional("maxsplit", AttrKind::Int)],
    infer: |cx| {
        let shape = cx.shape(0)?;
        let parts = shape.map(|s| {
            let mut s = s.to_vec();
            s.push(cx.fresh(0, s.len()));
            s
        });
        cx.set_shape(0, DType::String, parts);
        cx.set_shape(1, DType::I64, shape.map(<[_]>::to_vec));
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let limit = cx.opt_int("maxsplit").and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let delimiter = cx.str("delimiter");
        let parts = |s: &String| match delimiter {
            "" => words(s, limit),
            d => s.splitn(limit.saturating_add(1), d).map(str::to_string).collect(),
        };
        let all: Vec<Vec<String>> = x.as_strings().iter().map(parts).collect();
        let counts = all.iter().map(|p| p.len() as i64).collect();
        let widest = all.iter().map(Vec::len).max().unwrap_or(0);
        let shape = [x.shape(), &[widest]].concat();
        let mut out = Vec::with_capacity(cx.reserve(DType::String, &shape)?);
        for mut p in all {
            p.resize(widest, String::new());
            out.append(&mut p);
        }
        Ok(vec![Tensor::from_strings(shape, out)?, Tensor::new(x.shape(), counts)?])
    }),
    ..OpDef::NEW
};

/// The words of `s`; after `limit` of them what is left, in one piece.
fn words(s: &str, limit: usize) -> Vec<String> {
    let mut rest = s.trim();
    let mut out = vec![];
    while !rest.is_empty() {
        match rest.split_once(char::is_whitespace).filter(|_| out.len() < limit) {
            Some((word, tail)) => {
                out.push(word.to_string());
                rest = tail.trim_start();
            }
            None => {
                out.push(rest.to_string());
                break;
            }
        }
    }
    out
}
