//! Gemm: alpha op(A) op(B) + beta C, where op may transpose and C broadcasts to the result.

use crate::convolve::agree;
use crate::elementwise::{elements, for_each_offset};
use crate::floats::{narrow, widen};
use crate::product::Product;
use crate::{AttrDef, AttrKind, EvalCx, InferCx, LowerCx, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, operand};
use planc_kir::{Gemm, Kernel};
use planc_tensor::{DType, Dim, Tensor, View, broadcast};

/// The row of Gemm.
pub const OP: OpDef = OpDef {
    name: "Gemm",
    types: &[("T", TypeSet::FLOAT.or(TypeSet::of(&[DType::I32, DType::I64, DType::U32, DType::U64])))],
    inputs: &[Param::req("A", "T"), Param::req("B", "T"), Param::opt("C", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::float("alpha", 1.0),
        AttrDef::float("beta", 1.0),
        AttrDef::int("transA", 0),
        AttrDef::int("transB", 0),
        AttrDef::optional("broadcast", AttrKind::Int).until(7),
    ],
    // Before opset 7 C broadcast only on request; where it did not, its shape was the result's.
    upgrades: &[Upgrade {
        to: 7,
        step: |cx| {
            cx.attrs.take("broadcast");
            Ok(())
        },
    }],
    infer,
    eval: Some(eval),
    lower: |cx: &LowerCx<'_>| {
        if !cx.dtype(0).is_ok_and(DType::is_float) {
            return Lowered::Reference;
        }
        let (trans_a, trans_b) = (cx.flag("transA"), cx.flag("transB"));
        let gemm = Gemm { trans_a, trans_b, alpha: cx.float("alpha"), beta: cx.float("beta") };
        Lowered::kernel(Kernel::Gemm(gemm), cx.input_count())
    },
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    let matrix = |i: usize, transposed: bool| match cx.shape(i)? {
        Some([r, c]) => Ok(Some(if transposed { (c, r) } else { (r, c) })),
        Some(s) => Err(OpError::shape(format!("operand {i} has rank {}, not 2", s.len()))),
        None => Ok(None),
    };
    let (a, b) = (matrix(0, cx.flag("transA"))?, matrix(1, cx.flag("transB"))?);
    if let (Some(a), Some(b)) = (a, b) {
        agree(a.1, b.0, "inner extents of the product differ")?;
    }
    let shape =
        vec![a.map_or_else(|| cx.fresh(0, 0), |a| a.0.clone()), b.map_or_else(|| cx.fresh(0, 1), |b| b.1.clone())];
    if cx.has(2)
        && let Some(c) = cx.shape(2)?
    {
        fits(c, &shape)?;
    }
    cx.set_tensor(0, dtype, shape);
    Ok(())
}

/// C broadcasts to the result without growing it.
fn fits(c: &[Dim], to: &[Dim]) -> Result<(), OpError> {
    if c.len() > to.len() {
        return Err(OpError::shape(format!("C has rank {}", c.len())));
    }
    let trailing = c.iter().zip(&to[to.len() - c.len()..]);
    trailing
        .filter(|(c, _)| c.as_const() != Some(1))
        .try_for_each(|(c, d)| agree(c, d, "C does not broadcast to the result"))
}

/// The matrix with rows and columns exchanged.
fn transposed<T: Copy>(v: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| v[r * columns + c])).collect()
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (a, b, c) = (operand(inputs, 0)?, operand(inputs, 1)?, inputs.get(2).copied().flatten());
    let (ta, tb) = (cx.flag("transA"), cx.flag("transB"));
    let oriented = |v: View<'_>, flip: bool| match v.shape() {
        [r, c] => Ok(if flip { vec![*c, *r] } else { vec![*r, *c] }),
        s => Err(OpError::shape(format!("{s:?} is not a matrix"))),
    };
    let product = Product::new(&oriented(a, ta)?, &oriented(b, tb)?, |s| cx.reserve(a.dtype(), s))?;
    let shape = product.shape.clone();
    if let Some(c) = c
        && broadcast(c.shape(), &shape).as_ref() != Some(&shape)
    {
        return Err(OpError::shape(format!("C of {:?} does not broadcast to {shape:?}", c.shape())));
    }
    let (alpha, beta) = (cx.float("alpha"), cx.float("beta"));
    macro_rules! run {
        ($widen:expr, $scale:expr, $add:expr) => {{
            let (mut av, mut bv) = ($widen(a)?, $widen(b)?);
            if ta {
                av = transposed(&av, a.shape()[0], a.shape()[1]);
            }
            if tb {
                bv = transposed(&bv, b.shape()[0], b.shape()[1]);
            }
            let mut y = product.run(&av, &bv);
            y.iter_mut().for_each(|v| *v = $scale(*v, alpha));
            if let Some(c) = c {
                let (cv, mut at) = ($widen(c)?, 0);
                for_each_offset(c.shape(), &shape, |i| {
                    y[at] = $add(y[at], $scale(cv[i], beta));
                    at += 1;
                });
            }
            y
        }};
    }
    if a.dtype().is_float() {
        let y = run!(widen, |v: f64, s: f32| v * f64::from(s), |x: f64, y: f64| x + y);
        return Ok(vec![narrow(a.dtype(), &shape, y)?]);
    }
    crate::dispatch_int!(a.dtype(), T => {
        use std::num::Wrapping as W;
        let wrap = |v: View<'_>| Ok::<_, OpError>(elements::<T>(v)?.iter().map(|v| W(*v)).collect::<Vec<_>>());
        let scale = |v: W<T>, s: f32| if s == 1.0 { v } else { W((v.0 as f64 * f64::from(s)) as T) };
        let y = run!(wrap, scale, |x: W<T>, y: W<T>| x + y);
        Ok(vec![Tensor::new(shape.as_slice(), y.into_iter().map(|v| v.0).collect())?])
    }, Err(OpError::type_(format!("does not take {}", a.dtype()))))
}
