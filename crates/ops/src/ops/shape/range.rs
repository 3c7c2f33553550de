//! Range: start, start + delta, ... before limit.

use crate::elementwise::elements;
use crate::{AttrDef, EvalCx, OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim, Tensor, View, bf16, f16};

/// The row of Range.
pub const OP: OpDef = OpDef {
    name: "Range",
    since: 11,
    types: &[("T", TypeSet::FLOAT.or(TypeSet::of(&[DType::I16, DType::I32, DType::I64])))],
    inputs: &[Param::req("start", "T"), Param::req("limit", "T"), Param::req("delta", "T")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("stash_type", 1).since(27)],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let one = |i: usize| cx.known(i).filter(|k| k.len() == 1).map(|mut k| k.remove(0));
        let float = |i: usize| cx.constant(i).filter(|t| t.len() == 1).and_then(|t| number(t.view()).ok());
        let mut known = None;
        let n = match (one(0), one(1), one(2).and_then(|d| d.as_const())) {
            (_, _, Some(0)) => return Err(OpError::value("delta is 0")),
            (Some(start), Some(limit), Some(delta)) => {
                let way = if delta > 0 { limit - start.clone() } else { start.clone() - limit };
                let n = way.ceil_div(&Dim::from(delta.saturating_abs())).maximum(&Dim::from(0i64));
                known = n
                    .as_const()
                    .filter(|n| *n <= 64)
                    .map(|n| (0..n).map(|i| start.clone() + Dim::from(i.saturating_mul(delta))).collect());
                n
            }
            _ => match (float(0), float(1), float(2)) {
                (Some(start), Some(limit), Some(delta)) => Dim::from(count(start, limit, delta)?),
                _ => cx.fresh(0, 0),
            },
        };
        cx.set_tensor(0, dtype, vec![n]);
        cx.set_known(0, known);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (start, limit, delta) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
        if start.len() != 1 || limit.len() != 1 || delta.len() != 1 {
            return Err(OpError::shape("start, limit and delta must be scalars"));
        }
        Ok(vec![eval(cx, start, limit, delta)?])
    }),
    ..OpDef::NEW
};

/// Elements from `start` by `delta` before `limit`: ceil((limit - start) / delta), at least 0.
fn count(start: f64, limit: f64, delta: f64) -> Result<usize, OpError> {
    let n = ((limit - start) / delta).ceil();
    if delta == 0.0 || n.is_nan() {
        return Err(OpError::value("delta is 0 or a bound is not a number"));
    }
    Ok(n.max(0.0) as usize)
}

fn number(v: View<'_>) -> Result<f64, OpError> {
    Ok(match v.dtype() {
        DType::F32 => elements::<f32>(v)?[0].into(),
        DType::F64 => elements::<f64>(v)?[0],
        DType::F16 => elements::<f16>(v)?[0].to_f64(),
        DType::BF16 => elements::<bf16>(v)?[0].to_f64(),
        t => return Err(OpError::type_(format!("{t} is not a float"))),
    })
}

fn eval(cx: &EvalCx<'_>, start: View<'_>, limit: View<'_>, delta: View<'_>) -> Result<Tensor, OpError> {
    let dtype = start.dtype();
    if let (Some(s), Some(l), Some(d)) = (start.to_i64(), limit.to_i64(), delta.to_i64()) {
        let (s, l, d) = (i128::from(s[0]), i128::from(l[0]), i128::from(d[0]));
        if d == 0 {
            return Err(OpError::value("delta is 0"));
        }
        let n = if d > 0 { (l - s + d - 1).div_euclid(d) } else { (s - l - d - 1).div_euclid(-d) };
        let n = cx.reserve(dtype, &[usize::try_from(n.max(0)).unwrap_or(usize::MAX)])?;
        let at = |i: usize| s + i as i128 * d;
        return crate::dispatch_int!(dtype, T => Ok(Tensor::vector((0..n).map(|i| at(i) as T).collect())),
            Err(OpError::type_(format!("does not take {dtype}"))));
    }
    let (s, l, d) = (number(start)?, number(limit)?, number(delta)?);
    let n = cx.reserve(dtype, &[count(s, l, d)?])?;
    Ok(match dtype {
        DType::F64 => Tensor::vector((0..n).map(|i| s + i as f64 * d).collect()),
        DType::F32 => Tensor::vector((0..n).map(|i| s as f32 + i as f32 * d as f32).collect()),
        DType::F16 => Tensor::vector((0..n).map(|i| f16::from_f32(s as f32 + i as f32 * d as f32)).collect()),
        _ => Tensor::vector((0..n).map(|i| bf16::from_f32(s as f32 + i as f32 * d as f32)).collect()),
    })
}
