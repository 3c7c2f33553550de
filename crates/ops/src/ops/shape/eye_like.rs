//! EyeLike: ones on a diagonal of a matrix of the operand's shape.

use crate::elementwise::only;
use crate::indexing::{Cells, Filler};
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet, known};
use planc_tensor::{DType, Dim, Tensor, bf16, f16};

/// The row of EyeLike.
pub const OP: OpDef = OpDef {
    name: "EyeLike",
    since: 9,
    types: &[("T1", TypeSet::NUMERIC.or(TypeSet::BOOL)), ("T2", TypeSet::NUMERIC.or(TypeSet::BOOL))],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[AttrDef::optional("dtype", AttrKind::Int), AttrDef::int("k", 0)],
    infer: |cx| {
        let dtype = wanted(cx)?;
        let shape = match cx.shape(0)? {
            Some([m, n]) => vec![m.clone(), n.clone()],
            Some(s) => return Err(OpError::shape(format!("{} is not a matrix", known::text(s)))),
            None => (0..2).map(|i| cx.fresh(0, i)).collect::<Vec<Dim>>(),
        };
        cx.set_tensor(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let shape = only(inputs)?.shape();
        let dtype = cx.output_dtype(0)?;
        let &[rows, columns] = shape else { return Err(OpError::shape("the operand is not a matrix")) };
        let one = one(dtype)?;
        let mut out = Filler::new(cx, dtype, shape.to_vec())?;
        let k = cx.int("k");
        let first = usize::try_from(k.saturating_neg()).unwrap_or(0);
        let past = i64::try_from(columns).unwrap_or(i64::MAX).saturating_sub(k);
        for i in first..rows.min(usize::try_from(past).unwrap_or(0)) {
            out.set(i * columns + (i as i64 + k) as usize, &Cells::of(one.view()), 0);
        }
        Ok(vec![out.finish()?])
    }),
    ..OpDef::NEW
};

fn wanted(cx: &InferCx<'_>) -> Result<DType, OpError> {
    let Some(code) = cx.opt_int("dtype") else { return cx.dtype(0) };
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx);
    let dtype = dtype.filter(|d| OP.type_set("T2").has(*d));
    dtype.ok_or_else(|| OpError::attribute(format!("dtype {code} is not a type it gives")))
}

fn one(dtype: DType) -> Result<Tensor, OpError> {
    Ok(match dtype {
        DType::F32 => Tensor::scalar(1f32),
        DType::F64 => Tensor::scalar(1f64),
        DType::F16 => Tensor::scalar(f16::ONE),
        DType::BF16 => Tensor::scalar(bf16::ONE),
        DType::Bool => Tensor::scalar(true),
        t => {
            crate::dispatch_int!(t, T => Tensor::scalar(1 as T), return Err(OpError::type_(format!("does not give {t}"))))
        }
    })
}
