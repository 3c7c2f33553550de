//! Arithmetic on what inference knows of small integer tensors and on extents: how shape subgraphs stay symbolic.
//!
//! Known elements are those of tensors of rank 0 or 1 only; every function here keeps to that.

use crate::cx::InferCx;
use crate::error::OpError;
use planc_tensor::{DType, Dim};

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

/// Says what an elementwise operator of one operand gives, where `f` knows it for every element.
pub fn map(cx: &mut InferCx<'_>, f: impl Fn(&Dim) -> Option<Dim>) {
    let known = cx.known(0).filter(|_| counts(cx)).and_then(|x| x.iter().map(f).collect());
    set_if_flat(cx, 0, known);
}

/// Says what an elementwise operator of two operands gives, where `f` knows it for every element.
pub fn combine(cx: &mut InferCx<'_>, f: impl Fn(&Dim, &Dim) -> Option<Dim>) {
    if !counts(cx) {
        return;
    }
    let (Some(a), Some(b)) = (cx.known(0), cx.known(1)) else { return };
    let known = zip(&a, &b, f);
    set_if_flat(cx, 0, known);
}

/// As [`combine`] for any number of operands: `f` of operands 0 and 1, of that and operand 2, and so on.
pub fn combine_all(cx: &mut InferCx<'_>, f: impl Fn(&Dim, &Dim) -> Option<Dim>) {
    if !counts(cx) {
        return;
    }
    let all: Option<Vec<Vec<Dim>>> = (0..cx.input_count()).map(|i| cx.known(i)).collect();
    let mut all = all.unwrap_or_default().into_iter();
    let first = all.next();
    let known = all.fold(first, |acc, x| zip(&acc?, &x, &f));
    set_if_flat(cx, 0, known);
}

/// `f` of every pair of elements, where one of the lists may have one element for all of the other's.
pub fn zip(a: &[Dim], b: &[Dim], f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Vec<Dim>> {
    let n = if b.len() == 1 { a.len() } else { b.len() };
    if (a.len() != n && a.len() != 1) || (b.len() != n && b.len() != 1) {
        return None;
    }
    let at = |v: &'_ [Dim], i: usize| v[if v.len() == 1 { 0 } else { i }].clone();
    (0..n).map(|i| f(&at(a, i), &at(b, i))).collect()
}

/// Whether operand 0 is of a type in which arithmetic on extents does not wrap.
fn counts(cx: &InferCx<'_>) -> bool {
    cx.dtype(0).is_ok_and(|t| t == DType::Bool || holds_extents(t))
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

/// Whether `dtype` holds every extent, so that conversions between such types change nothing.
pub fn holds_extents(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::U64 | DType::I32 | DType::U32)
}

/// Whether `d` cannot be negative.
pub fn non_negative(d: &Dim) -> bool {
    d.at_least() >= Some(0)
}

/// `a / b` rounded towards zero, where that is known.
pub fn quotient(a: &Dim, b: &Dim) -> Option<Dim> {
    if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
        return Some(Dim::from(if b == 0 { 0 } else { a.wrapping_div(b) }));
    }
    // An exact quotient of polynomials says nothing where the divisor is 0.
    let divisor = b.as_const().filter(|b| *b > 0)?;
    a.exact_div(b).or_else(|| non_negative(a).then(|| a.floor_div(&Dim::from(divisor))))
}

/// `a - floor(a / b) * b`, where that is known.
pub fn remainder(a: &Dim, b: &Dim) -> Option<Dim> {
    b.as_const().filter(|b| *b > 0).map(|_| a.modulo(b))
}

/// How `a` compares with `b` whatever the symbols are.
pub fn order(a: &Dim, b: &Dim) -> Option<std::cmp::Ordering> {
    let d = a.clone() - b.clone();
    if let Some(d) = d.as_const() {
        return Some(d.cmp(&0));
    }
    if d.at_least() >= Some(1) {
        return Some(std::cmp::Ordering::Greater);
    }
    ((-d).at_least() >= Some(1)).then_some(std::cmp::Ordering::Less)
}

/// Says what a comparison gives, where the order of every pair is known.
pub fn compare(cx: &mut InferCx<'_>, holds: impl Fn(std::cmp::Ordering) -> bool) {
    combine(cx, |a, b| order(a, b).map(|o| Dim::from(i64::from(holds(o)))));
}
