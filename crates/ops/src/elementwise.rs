//! What elementwise operators share: broadcasting inference, evaluation loops, lowering to `Map`.

use crate::TypeSet;
use crate::cx::{EvalCx, InferCx, LowerCx, Lowered, operand};
use crate::error::OpError;
use crate::scalar::{Scalar, Wide};
use planc_kir::{BinOp, ExprBuilder, Inst, Kernel, Num, Reg, UnOp};
use planc_tensor::{DType, Dim, Element, Tensor, View, bf16, broadcast, broadcast_strides, f16};

/// Inference: result 0 has the type of operand 0.
///
/// # Errors
/// When operand 0 is missing.
pub fn infer_same(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let ty = cx.ty(0)?.clone();
    cx.set(0, ty);
    Ok(())
}

/// Inference: result 0 has the element type of operand 0 and all operands' shapes broadcast together.
///
/// # Errors
/// When they do not broadcast.
pub fn infer_broadcast(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(0)?;
    infer_broadcast_as(cx, dtype)
}

/// As [`infer_broadcast`] with another element type.
///
/// # Errors
/// When the operands do not broadcast.
pub fn infer_broadcast_as(cx: &mut InferCx<'_>, dtype: DType) -> Result<(), OpError> {
    let mut shape = Some(vec![]);
    for i in (0..cx.input_count()).filter(|i| cx.has(*i)).collect::<Vec<_>>() {
        shape = match (shape, cx.shape(i)?) {
            (Some(a), Some(b)) => Some(broadcast_dims(&a, b)?),
            _ => None,
        };
    }
    cx.set_shape(0, dtype, shape);
    Ok(())
}

/// The extents that `a` and `b` broadcast to. Different symbols give their maximum, which is right where the run's
/// extents broadcast at all; kernels check that.
///
/// # Errors
/// When two constant extents differ and neither is 1.
pub fn broadcast_dims(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let rank = a.len().max(b.len());
    let one = Dim::from(1i64);
    let extent = |s: &[Dim], i: usize| (i + s.len()).checked_sub(rank).map_or(one.clone(), |k| s[k].clone());
    (0..rank)
        .map(|i| {
            let (x, y) = (extent(a, i), extent(b, i));
            match (x.as_const(), y.as_const()) {
                _ if x == y => Ok(x),
                (Some(1), _) => Ok(y),
                (_, Some(1)) => Ok(x),
                (Some(_), Some(_)) => {
                    let text = |s: &[Dim]| s.iter().map(Dim::to_string).collect::<Vec<_>>().join(",");
                    Err(OpError::shape(format!("[{}] and [{}] do not broadcast", text(a), text(b))))
                }
                (Some(_), None) => Ok(x),
                (None, Some(_)) => Ok(y),
                (None, None) => Ok(x.maximum(&y)),
            }
        })
        .collect()
}

/// The element at every position of `to`, walking `x` as if broadcast; calls `f` with offsets into `x` in row-major
/// order of `to`.
pub fn for_each_offset(shape: &[usize], to: &[usize], mut f: impl FnMut(usize)) {
    let strides = broadcast_strides(shape, to);
    walk(to, &strides, &mut f);
}

/// Calls `f` with the offset of every index of `extents` under `strides`, row-major.
pub fn walk(extents: &[usize], strides: &[usize], f: &mut impl FnMut(usize)) {
    if extents.contains(&0) {
        return;
    }
    let mut index = vec![0; extents.len()];
    let mut at = 0;
    loop {
        f(at);
        let mut axis = extents.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < extents[axis] {
                break;
            }
            at -= strides[axis] * extents[axis];
            index[axis] = 0;
        }
    }
}

/// The shape all operands broadcast to.
///
/// # Errors
/// When they do not.
pub fn common_shape(views: &[View<'_>]) -> Result<Vec<usize>, OpError> {
    views.iter().try_fold(vec![], |shape, v| {
        broadcast(&shape, v.shape())
            .ok_or_else(|| OpError::shape(format!("{shape:?} and {:?} do not broadcast", v.shape())))
    })
}

/// The elements of `x`, whose dtype is `T`'s.
///
/// # Errors
/// When it is not.
pub fn elements<T: Element>(x: View<'_>) -> Result<std::borrow::Cow<'_, [T]>, OpError> {
    match x.as_slice::<T>() {
        Some(s) => Ok(s.into()),
        None => x.to_vec::<T>().map(Into::into).ok_or_else(|| OpError::type_(format!("does not take {}", x.dtype()))),
    }
}

/// `f` of every element.
///
/// # Errors
/// When the dtype is not `T`'s.
pub fn map1<T: Element, U: Element>(x: View<'_>, f: impl Fn(T) -> U) -> Result<Tensor, OpError> {
    Ok(Tensor::new(x.shape(), elements::<T>(x)?.iter().map(|v| f(*v)).collect())?)
}

/// `f` of every pair of elements, broadcast.
///
/// # Errors
/// When a dtype is not as `T` and `U` say or the shapes do not broadcast; results beyond the limit.
pub fn map2<T: Element, U: Element, V: Element>(
    cx: &EvalCx<'_>,
    a: View<'_>,
    b: View<'_>,
    f: impl Fn(T, U) -> V,
) -> Result<Tensor, OpError> {
    let shape = common_shape(&[a, b])?;
    let mut out = Vec::with_capacity(cx.reserve(V::DTYPE, &shape)?);
    let (x, y) = (elements::<T>(a)?, elements::<U>(b)?);
    if a.shape() == b.shape() {
        out.extend(x.iter().zip(y.iter()).map(|(x, y)| f(*x, *y)));
    } else {
        let mut offsets = Vec::with_capacity(out.capacity());
        for_each_offset(a.shape(), &shape, |i| offsets.push(i));
        let mut next = offsets.into_iter();
        for_each_offset(b.shape(), &shape, |j| out.extend(next.next().map(|i| f(x[i], y[j]))));
    }
    Ok(Tensor::new(shape, out)?)
}

/// `f` of every float, computed in `f64` and rounded once.
///
/// # Errors
/// For dtypes that are not floats of 16 bits or more.
pub fn map_float(x: View<'_>, f: impl Fn(f64) -> f64) -> Result<Tensor, OpError> {
    let apply = |v: f64| Wide::Float(f(v));
    match x.dtype() {
        DType::F32 => map1(x, |v: f32| f32::narrow(apply(v.into()))),
        DType::F64 => map1(x, |v: f64| f(v)),
        DType::F16 => map1(x, |v: f16| f16::narrow(apply(v.into()))),
        DType::BF16 => map1(x, |v: bf16| bf16::narrow(apply(v.into()))),
        t => Err(OpError::type_(format!("does not take {t}"))),
    }
}

/// Evaluation of a function of floats of operand 0; see [`map_float`].
///
/// # Errors
/// As [`map_float`].
pub fn eval_float(inputs: &[Option<View<'_>>], f: impl Fn(f64) -> f64) -> Result<Vec<Tensor>, OpError> {
    Ok(vec![map_float(only(inputs)?, f)?])
}

/// Evaluation of a variadic operator: `f` of operands 0 and 1, of that and operand 2, and so on.
///
/// # Errors
/// As `f`, and when there is no operand.
pub fn eval_fold(
    inputs: &[Option<View<'_>>],
    f: impl Fn(&[Option<View<'_>>]) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let mut acc = only(inputs)?.to_tensor();
    for i in 1..inputs.len() {
        acc = f(&[Some(acc.view()), Some(operand(inputs, i)?)])?;
    }
    Ok(vec![acc])
}

/// Runs `$body` with `$t` the Rust type of `$dtype`, for the signed integer types; gives `$other` for others.
#[macro_export]
macro_rules! dispatch_signed {
    ($dtype:expr, $t:ident => $body:expr, $other:expr) => {{
        use planc_tensor::DType as D;
        match $dtype {
            D::I8 => {
                type $t = i8;
                $body
            }
            D::I16 => {
                type $t = i16;
                $body
            }
            D::I32 => {
                type $t = i32;
                $body
            }
            D::I64 => {
                type $t = i64;
                $body
            }
            _ => $other,
        }
    }};
}

/// Runs `$body` with `$t` the Rust type of `$dtype`, for the integer types; gives `$other` for others.
#[macro_export]
macro_rules! dispatch_int {
    ($dtype:expr, $t:ident => $body:expr, $other:expr) => {{
        use planc_tensor::DType as D;
        match $dtype {
            D::U8 => {
                type $t = u8;
                $body
            }
            D::U16 => {
                type $t = u16;
                $body
            }
            D::U32 => {
                type $t = u32;
                $body
            }
            D::U64 => {
                type $t = u64;
                $body
            }
            d => $crate::dispatch_signed!(d, $t => $body, $other),
        }
    }};
}

/// Runs `$body` with `$t` the Rust type of `$dtype`, for integers and floats of 16 bits or more; gives `$other` for
/// others.
#[macro_export]
macro_rules! dispatch_numeric {
    ($dtype:expr, $t:ident => $body:expr, $other:expr) => {{
        use planc_tensor::DType as D;
        match $dtype {
            D::F32 => {
                type $t = f32;
                $body
            }
            D::F64 => {
                type $t = f64;
                $body
            }
            D::F16 => {
                type $t = planc_tensor::f16;
                $body
            }
            D::BF16 => {
                type $t = planc_tensor::bf16;
                $body
            }
            d => $crate::dispatch_int!(d, $t => $body, $other),
        }
    }};
}

/// Runs `$body` with `$t` a Rust type of the width of `$dtype`: for operators that only move elements of whole bytes.
#[macro_export]
macro_rules! dispatch_all {
    ($dtype:expr, $t:ident => $body:expr, $other:expr) => {{
        use planc_tensor::DType as D;
        match $dtype {
            D::F32 => { type $t = f32; $body }
            D::F64 => { type $t = f64; $body }
            D::F16 => { type $t = planc_tensor::f16; $body }
            D::BF16 => { type $t = planc_tensor::bf16; $body }
            D::Bool => { type $t = bool; $body }
            D::C64 => { type $t = planc_tensor::Complex<f32>; $body }
            D::C128 => { type $t = planc_tensor::Complex<f64>; $body }
            d => $crate::dispatch_int!(d, $t => $body, $other),
        }
    }};
}

/// Evaluates an operator of two operands of one numeric type, broadcast: functions for integers (as wrapping macro
/// argument `$int`, generic over the type), f32 and f64; 16-bit floats go through f32.
#[macro_export]
macro_rules! numeric2 {
    ($cx:expr, $inputs:expr, |$x:ident, $y:ident| int $int:expr, float $float:expr) => {{
        use $crate::elementwise::map2;
        let (a, b) = ($crate::operand($inputs, 0)?, $crate::operand($inputs, 1)?);
        let dtype = a.dtype();
        let out = match dtype {
            planc_tensor::DType::F32 => map2($cx, a, b, |$x: f32, $y: f32| $float),
            planc_tensor::DType::F64 => map2($cx, a, b, |$x: f64, $y: f64| $float),
            planc_tensor::DType::F16 => map2($cx, a, b, |x: planc_tensor::f16, y: planc_tensor::f16| {
                let ($x, $y) = (x.to_f32(), y.to_f32());
                planc_tensor::f16::from_f32($float)
            }),
            planc_tensor::DType::BF16 => map2($cx, a, b, |x: planc_tensor::bf16, y: planc_tensor::bf16| {
                let ($x, $y) = (x.to_f32(), y.to_f32());
                planc_tensor::bf16::from_f32($float)
            }),
            d => $crate::dispatch_int!(d, T => map2($cx, a, b, |$x: T, $y: T| $int),
                Err($crate::OpError::type_(format!("does not take {d}")))),
        };
        Ok(vec![out?])
    }};
}

/// Whether programs of `Map` kernels compute with `dtype`.
fn computes(dtype: DType) -> bool {
    dtype == DType::Bool || TypeSet::NUMERIC.has(dtype)
}

/// Lowers to a `Map` whose program `build` writes; its registers are the operands, one-element constants as constants.
/// `None` from `build`, an omitted operand or an element type without arithmetic: the reference evaluation.
pub fn lower_map(cx: &LowerCx<'_>, build: impl Fn(&mut ExprBuilder, &[Reg]) -> Option<Reg>) -> Lowered {
    lower_map_optional(cx, |b, x| build(b, &x.iter().copied().collect::<Option<Vec<Reg>>>()?))
}

/// As [`lower_map`] where operands may be omitted.
pub fn lower_map_optional(
    cx: &LowerCx<'_>,
    build: impl Fn(&mut ExprBuilder, &[Option<Reg>]) -> Option<Reg>,
) -> Lowered {
    let mut b = ExprBuilder::new(&[]);
    let (mut operands, mut regs) = (vec![], vec![]);
    for i in 0..cx.input_count() {
        if !cx.has(i) {
            regs.push(None);
            continue;
        }
        let Ok(ty) = cx.tensor(i) else { return Lowered::Reference };
        if !computes(ty.dtype) {
            return Lowered::Reference;
        }
        match cx.constant(i).and_then(scalar_of) {
            Some(n) => match b.push(Inst::Const(ty.dtype, n)) {
                Ok(reg) => regs.push(Some(reg)),
                Err(_) => return Lowered::Reference,
            },
            None => {
                let n = b.add_arg(ty.dtype);
                regs.push(Some(b.arg(n)));
                operands.push(i);
            }
        }
    }
    match build(&mut b, &regs) {
        Some(result) => Lowered::Kernel { kernel: Kernel::Map(b.finish(result)), operands },
        None => Lowered::Reference,
    }
}

/// Lowers to one operation of operand 0.
pub fn lower_unary(cx: &LowerCx<'_>, op: UnOp) -> Lowered {
    lower_map(cx, |b, x| Some(b.unary(op, *x.first()?)))
}

/// Lowers to one operation of operands 0 and 1.
pub fn lower_binary(cx: &LowerCx<'_>, op: BinOp) -> Lowered {
    lower_map(cx, |b, x| match *x {
        [x, y] => Some(b.binary(op, x, y)),
        _ => None,
    })
}

/// Lowers a variadic operator to `op` of all operands, first to last.
pub fn lower_fold(cx: &LowerCx<'_>, op: BinOp) -> Lowered {
    lower_map(cx, |b, x| fold(b, op, x))
}

/// `op` of all of `x`, first to last; `None` without any.
pub fn fold(b: &mut ExprBuilder, op: BinOp, x: &[Reg]) -> Option<Reg> {
    x.iter().copied().reduce(|acc, v| b.binary(op, acc, v))
}

/// Lowers a formula of several steps over floats: 16-bit operands are widened to f32 and the result is rounded once.
pub fn lower_formula(cx: &LowerCx<'_>, build: impl Fn(&mut ExprBuilder, &[Reg]) -> Option<Reg>) -> Lowered {
    lower_map(cx, |b, x| {
        let dtype = b.type_of(*x.first()?);
        let wide = compute_type(dtype);
        let x: Vec<Reg> = x.iter().map(|r| b.cast(wide, *r)).collect();
        let y = build(b, &x)?;
        Some(b.cast(dtype, y))
    })
}

/// The type in which formulas over `dtype` compute: f32 for the 16-bit floats.
pub fn compute_type(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// The element of a one-element constant that an expression can hold.
pub fn scalar_of(t: &Tensor) -> Option<Num> {
    if t.len() != 1 {
        return None;
    }
    let v = t.view();
    Some(match t.dtype() {
        DType::F32 => Num::float(v.to_vec::<f32>()?[0].into()),
        DType::F64 => Num::float(v.to_vec::<f64>()?[0]),
        DType::F16 => Num::float(v.to_vec::<f16>()?[0].to_f64()),
        DType::BF16 => Num::float(v.to_vec::<bf16>()?[0].to_f64()),
        DType::U64 => Num::Int(v.to_vec::<u64>()?[0] as i64),
        t if t.is_int() || t == DType::Bool => Num::Int(v.to_i64()?[0]),
        _ => return None,
    })
}

/// Operand 0 alone: for operators of one operand.
///
/// # Errors
/// When it is omitted.
pub fn only<'v>(inputs: &[Option<View<'v>>]) -> Result<View<'v>, OpError> {
    operand(inputs, 0)
}
