//! Multinomial: draws classes with probabilities that unnormalised logarithms `[batch, classes]` say.

use crate::floats::widen;
use crate::ops::random::generator::{SEED, element_type, fill};
use crate::{AttrDef, InferCx, OpDef, OpError, Param, Props, TypeSet, operand};
use planc_tensor::{DType, Dim};

/// The row of Multinomial.
pub const OP: OpDef = OpDef {
    name: "Multinomial",
    since: 7,
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::INDEX)],
    inputs: &[Param::req("input", "T1")],
    outputs: &[Param::req("output", "T2")],
    attrs: &[AttrDef::int("dtype", 6), AttrDef::int("sample_size", 1), SEED],
    props: Props::RANDOM,
    infer: |cx: &mut InferCx<'_>| {
        let dtype = element_type(cx.opt_int("dtype"), DType::I32, TypeSet::INDEX)?;
        let n = samples(cx.int("sample_size"))?;
        let batch = match cx.shape(0)? {
            Some([b, _]) => b.clone(),
            Some(s) => return Err(OpError::shape(format!("the operand has rank {}, not 2", s.len()))),
            None => cx.fresh(0, 0),
        };
        cx.set_tensor(0, dtype, vec![batch, Dim::from(n)]);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let &[batch, classes] = x.shape() else { return Err(OpError::shape("the operand's rank is not 2")) };
        let n = samples(cx.int("sample_size"))?;
        if classes == 0 {
            return Err(OpError::shape("there are no classes"));
        }
        // Cumulative weights per row; the largest logarithm is taken out first.
        let mut sums = widen(x)?;
        for row in sums.chunks_mut(classes) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().fold(0.0, |sum, v| {
                *v = sum + (*v - most).exp();
                *v
            });
        }
        let mut drawn = 0;
        fill(cx, &[batch, n], |g| {
            let row = &sums[drawn / n * classes..][..classes];
            drawn += 1;
            let at = g.uniform() * row[classes - 1];
            row.iter().position(|s| at < *s).unwrap_or(classes - 1) as f64
        })
    }),
    ..OpDef::NEW
};

fn samples(n: i64) -> Result<usize, OpError> {
    usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| OpError::attribute(format!("sample_size is {n}")))
}
