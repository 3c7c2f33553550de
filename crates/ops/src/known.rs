//! Arithmetic on what inference knows of small integer tensors and on extents: how shape subgraphs stay symbolic.
//!
//! Known elements are those of tensors of rank 0 or 1 only; every function here keeps to that.

use crate::cx::InferCx;
use crate::error::OpError;
use planc_tensor::Dim;

/// Says that result 0 has the elements of operand 0: for operators that only change the shape or the type.
pub fn pass_through(cx: &mut InferCx<'_>) {
    let known = cx.known(0);
    set_if_flat(cx, 0, known);
}

/// Says what the elements of result `i` are if its rank, set before, is 0 or 1 and their number fits.
pub fn set_if_flat(cx: &mut InferCx<'_>, i: usize, known: Option<Vec<Dim>>) {
    let ty = cx.outputs.get(i).and_then(Option::as_ref).and_then(|t| t.as_tensor());
    let Some(shape) = ty.and_then(|t| t.shape.as_ref()) else { return };
    let fits = |k: &Vec<Dim>| match shape.as_slice() {
        [] => k.len() == 1,
        [n] => n.as_usize() == Some(k.len()),
        _ => false,
    };
    let known = known.filter(fits);
    cx.set_known(i, known);
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

/// The extents as text: `[N,3,224]`.
pub fn text(dims: &[Dim]) -> String {
    format!("[{}]", dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(","))
}

/// What two extents that must be equal are: the constant one, else the first.
///
/// # Errors
/// When both are constant and differ.
pub fn same(a: &Dim, b: &Dim) -> Result<Dim, OpError> {
    match (a.as_const(), b.as_const()) {
        (Some(x), Some(y)) if x != y => Err(OpError::shape(format!("extents {x} and {y} must be equal"))),
        (None, Some(_)) => Ok(b.clone()),
        _ => Ok(a.clone()),
    }
}

/// What two shapes that must be equal but at the axes `except` are.
///
/// # Errors
/// When ranks or constant extents differ.
pub fn same_shape(a: &[Dim], b: &[Dim], except: &[usize]) -> Result<Vec<Dim>, OpError> {
    let wrong = || OpError::shape(format!("shapes {} and {} do not fit", text(a), text(b)));
    if a.len() != b.len() {
        return Err(wrong());
    }
    let pairs = a.iter().zip(b).enumerate();
    pairs.map(|(i, (x, y))| if except.contains(&i) { Ok(x.clone()) } else { same(x, y).map_err(|_| wrong()) }).collect()
}

/// Where a slice of one axis starts, clamped, and how many elements it takes. `None` where the signs of the bounds
/// cannot be told. ONNX `Slice`: negative bounds count from the end; bounds beyond 2^31 stand for the end.
pub fn slice_axis(extent: &Dim, start: &Dim, end: &Dim, step: i64) -> Option<(Dim, Dim)> {
    let c = |v: i64| Dim::from(v);
    let far = i64::from(i32::MAX);
    let last = extent.clone() - c(1);
    let negative = |v: &Dim| (-v.clone()).at_least() >= Some(1);
    let bound = |v: &Dim, low: i64, high: &Dim| {
        let symbolic = extent.as_const().is_none();
        Some(match v.as_const() {
            Some(v) if symbolic && v >= far => high.clone(),
            Some(v) if symbolic && v <= -far => c(low),
            Some(-1) => last.maximum(&c(low.min(0))),
            _ if v.at_least() >= Some(0) => v.minimum(high),
            _ if negative(v) => (extent.clone() + v.clone()).maximum(&c(low)),
            _ => return None,
        })
    };
    if step > 0 {
        let (start, end) = (bound(start, 0, extent)?, bound(end, 0, extent)?);
        let count = (end - start.clone()).ceil_div(&c(step)).maximum(&c(0));
        Some((start, count))
    } else {
        let (end, start) = (
            bound(end, -1, &last)?,
            match start.as_const() {
                Some(-1) => last.clone(),
                _ => bound(start, 0, &last)?.minimum(&last),
            },
        );
        let count = (start.clone() - end).ceil_div(&c(step.checked_neg()?)).maximum(&c(0));
        Some((start, count))
    }
}
