//! IsInf: whether x is infinite, of the signs asked for.

use super::is_nan::infer_bool;
use crate::elementwise::{lower_map, only};
use crate::scalar::floats;
use crate::{AttrDef, OpDef, Param, Props, TypeSet};
use planc_kir::BinOp;
use planc_tensor::{DType, Tensor};

/// The row of IsInf.
pub const OP: OpDef = OpDef {
    name: "IsInf",
    since: 10,
    types: &[("T1", TypeSet::FLOAT.or(TypeSet::FLOAT8)), ("T2", TypeSet::BOOL)],
    inputs: &[Param::req("X", "T1")],
    outputs: &[Param::req("Y", "T2")],
    attrs: &[AttrDef::int("detect_negative", 1), AttrDef::int("detect_positive", 1)],
    props: Props::ELEMENTWISE,
    infer: infer_bool,
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let (negative, positive) = (cx.flag("detect_negative"), cx.flag("detect_positive"));
        let found = |v: f64| v.is_infinite() && if v > 0.0 { positive } else { negative };
        Ok(vec![Tensor::new(x.shape(), floats(x)?.into_iter().map(found).collect())?])
    }),
    lower: |cx| {
        let (negative, positive) = (cx.flag("detect_negative"), cx.flag("detect_positive"));
        lower_map(cx, |b, x| {
            let mut found = b.constant(DType::Bool, 0.0);
            for (wanted, value) in [(negative, f64::NEG_INFINITY), (positive, f64::INFINITY)] {
                if wanted {
                    let is = b.binary_const(BinOp::Eq, x[0], value);
                    found = b.binary(BinOp::Or, found, is);
                }
            }
            Some(found)
        })
    },
    ..OpDef::NEW
};
