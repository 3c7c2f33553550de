//! com.microsoft.FusedMatMul: alpha times a matrix product whose operands may be transposed in their last two axes.

use crate::floats::narrow;
use crate::product::{Product, product_dims};
use crate::{AttrDef, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::{Gemm, Kernel};
use planc_tensor::{Dim, Tensor, View};

/// The row of FusedMatMul.
pub const OP: OpDef = OpDef {
    name: "FusedMatMul",
    domain: "com.microsoft",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("A", "T"), Param::req("B", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::float("alpha", 1.0),
        AttrDef::int("transA", 0),
        AttrDef::int("transB", 0),
        AttrDef::int("transBatchA", 0),
        AttrDef::int("transBatchB", 0),
    ],
    infer: |cx: &mut InferCx<'_>| {
        let dtype = cx.dtype(0)?;
        if cx.flag("transBatchA") || cx.flag("transBatchB") {
            return Err(OpError::unsupported("transposed batch axes"));
        }
        let turned =
            |i: usize, flip: bool| Ok::<_, OpError>(cx.shape(i)?.map(|s| if flip { swapped(s) } else { s.to_vec() }));
        let shape = match (turned(0, cx.flag("transA"))?, turned(1, cx.flag("transB"))?) {
            (Some(a), Some(b)) => Some(product_dims(&a, &b)?),
            _ => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(eval),
    lower: |cx: &LowerCx<'_>| {
        let matrix = |i| cx.shape(i).ok().flatten().is_some_and(|s: &[Dim]| s.len() >= 2);
        if !matrix(0) || !matrix(1) {
            return Lowered::Reference;
        }
        let (trans_a, trans_b) = (cx.flag("transA"), cx.flag("transB"));
        Lowered::kernel(Kernel::Gemm(Gemm { trans_a, trans_b, alpha: cx.float("alpha"), beta: 1.0 }), 2)
    },
    ..OpDef::NEW
};

/// The row of TransposeMatMul, its older name.
pub const TRANSPOSE: OpDef = OpDef { name: "TransposeMatMul", attrs: &[OP.attrs[0], OP.attrs[1], OP.attrs[2]], ..OP };

/// The shape with its last two extents exchanged; vectors stay.
fn swapped<T: Clone>(shape: &[T]) -> Vec<T> {
    let (mut s, n) = (shape.to_vec(), shape.len());
    if n >= 2 {
        s.swap(n - 1, n - 2);
    }
    s
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let oriented = |i: usize, flip: bool| {
        let x = operand(inputs, i)?;
        let v = crate::floats::widen(x)?;
        if !flip || x.rank() < 2 || x.is_empty() {
            return Ok((if flip { swapped(x.shape()) } else { x.shape().to_vec() }, v));
        }
        let (r, c) = (x.shape()[x.rank() - 2], x.shape()[x.rank() - 1]);
        let turned =
            v.chunks(r * c).flat_map(|m| (0..c).flat_map(move |j| (0..r).map(move |i| m[i * c + j]))).collect();
        Ok::<_, OpError>((swapped(x.shape()), turned))
    };
    let ((a_shape, a), (b_shape, b)) = (oriented(0, cx.flag("transA"))?, oriented(1, cx.flag("transB"))?);
    let dtype = operand(inputs, 0)?.dtype();
    let product = Product::new(&a_shape, &b_shape, |s| cx.reserve(dtype, s))?;
    let alpha = f64::from(cx.float("alpha"));
    let y = product.run(&a, &b).into_iter().map(|v| v * alpha).collect();
    Ok(vec![narrow(dtype, &product.shape, y)?])
}
