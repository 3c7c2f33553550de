//! ArrayFeatureExtractor: elements of the last axis, picked by indices.

use crate::indexing::{by_axis, integers, strides};
use crate::{OpDef, OpError, Param, TypeSet, operand};
use planc_tensor::{DType, Dim};

/// The row of ArrayFeatureExtractor.
pub const OP: OpDef = OpDef {
    name: "ArrayFeatureExtractor",
    domain: "ai.onnx.ml",
    types: &[("T", TypeSet::of(&[DType::F32, DType::F64, DType::I64, DType::I32, DType::String])), ("I", TypeSet::I64)],
    inputs: &[Param::req("X", "T"), Param::req("Y", "I")],
    outputs: &[Param::req("Z", "T")],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let picked = cx.shape(1)?.map(|s| s.iter().cloned().fold(Dim::from(1i64), |a, b| a * b));
        let shape = match cx.shape(0)? {
            Some([]) => return Err(OpError::shape("X is a scalar")),
            Some(s) => {
                let count = picked.unwrap_or_else(|| cx.fresh(0, s.len() - 1));
                // A vector counts as one row.
                let rows = if s.len() == 1 { vec![Dim::from(1i64)] } else { s[..s.len() - 1].to_vec() };
                Some([rows, vec![count]].concat())
            }
            None => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, picked) = (operand(inputs, 0)?, integers(operand(inputs, 1)?)?);
        let extent = *x.shape().last().ok_or_else(|| OpError::shape("X is a scalar"))?;
        let at = |i: &i64| usize::try_from(*i).ok().filter(|i| *i < extent);
        let picked = picked.iter().map(at).collect::<Option<Vec<_>>>();
        let picked = picked.ok_or_else(|| OpError::value(format!("an index is not below {extent}")))?;
        let strides = strides(x.shape());
        let last = x.rank() - 1;
        let mut shape = x.shape().to_vec();
        shape[last] = picked.len();
        let z = by_axis(cx, x, shape.clone(), None, |a, i| if a == last { picked[i] } else { i * strides[a] })?;
        if shape.len() == 1 {
            shape.insert(0, 1);
        }
        Ok(vec![z.reshaped(shape)?])
    }),
    ..OpDef::NEW
};
