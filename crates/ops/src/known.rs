//! Arithmetic on what inference knows of small integer tensors: how shape subgraphs stay symbolic.

use crate::cx::InferCx;
use planc_tensor::Dim;

/// Says that result 0 has the elements of operand 0: for operators that only change the shape or the type.
pub fn pass_through(cx: &mut InferCx<'_>) {
    let known = cx.known(0);
    cx.set_known(0, known);
}

/// Says what an elementwise operator of two operands gives, where `f` knows it for every element.
pub fn combine(cx: &mut InferCx<'_>, f: impl Fn(&Dim, &Dim) -> Option<Dim>) {
    let (Some(a), Some(b)) = (cx.known(0), cx.known(1)) else { return };
    let n = if a.len() == b.len() || b.len() == 1 { a.len() } else { b.len() };
    if (a.len() != n && a.len() != 1) || (b.len() != n && b.len() != 1) {
        return;
    }
    let at = |v: &[Dim], i: usize| v[if v.len() == 1 { 0 } else { i }].clone();
    let known = (0..n).map(|i| f(&at(&a, i), &at(&b, i))).collect();
    cx.set_known(0, known);
}

/// The product of all extents.
pub fn product(dims: &[Dim]) -> Dim {
    dims.iter().cloned().product()
}
