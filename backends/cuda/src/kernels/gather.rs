//! Kernels that read where indices say: `Gather`, `GatherElements`, `GatherNd`, and running sums along an axis.
//!
//! An index that is out of range even from the end reads the nearest element: a device cannot refuse a value.

use super::entry::{Entry, count};
use super::index::{coordinates, flat};
use super::moves::{Unit, each};
use super::tail::element;
use super::{Generated, Request, Row, Types};
use crate::expr::{self, arithmetic, class};
use crate::ptx::{Class, Cmp, Int2, Reg, Space, Ty};
use planc_kir::{Kernel, Num};
use planc_tensor::{DType, Dim};

pub(super) const GATHER: Row = Row { supports, epilogue: false, generate: gather };
pub(super) const ELEMENTS: Row = Row { supports, epilogue: false, generate: elements };
pub(super) const ND: Row = Row { supports, epilogue: false, generate: nd };
pub(super) const CUM_SUM: Row = Row { supports: supports_sums, epilogue: false, generate: sums };

fn supports(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    match (inputs, outputs) {
        (&[Some(x), Some(DType::I32 | DType::I64)], &[Some(y)])
            if x == y && matches!(x.size(), Some(1 | 2 | 4 | 8)) =>
        {
            Ok(())
        }
        _ => Err("no device gather of these types".into()),
    }
}

/// Index number `at`, from the end where negative, as a position below `extent`.
fn position(e: &mut Entry, t: DType, at: Reg, extent: &Dim) -> Result<Reg, String> {
    let extent = e.size(extent)?;
    let base = e.input(1);
    let at = element(e, base, at, t);
    let b = &mut e.b;
    let v = expr::load(b, Space::Global, t, at);
    // Within 32 bits, whatever the index is.
    let v = if t == DType::I64 {
        let low = b.int2(Int2::Max, Ty::S64, v, i64::from(i32::MIN));
        let v = b.int2(Int2::Min, Ty::S64, low, i64::from(i32::MAX));
        b.cvt(Ty::S32, Ty::S64, None, v)
    } else {
        v
    };
    let from_end = b.add(Ty::S32, v, extent);
    let negative = b.setp(Cmp::Lt, Ty::S32, v, 0u32);
    let v = b.selp(Ty::S32, from_end, v, negative);
    let last = b.sub(Ty::S32, extent, 1u32);
    let v = b.int2(Int2::Min, Ty::S32, v, last);
    Ok(b.int2(Int2::Max, Ty::S32, v, 0u32))
}

fn gather(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Gather { axis } = request.kernel else { return Err("not a gather".into()) };
    let (x, indices, out) = (request.input(0)?, request.input(1)?, request.output(0)?);
    let (Some(extent), Some(behind)) = (x.shape.get(*axis), x.shape.get(axis + 1..)) else {
        return Err("the axis does not fit".into());
    };
    let inner = count(behind)?;
    let unit = Unit::dividing(x.dtype, [&inner]);
    let inner = unit.of(&inner);
    let found = count(&indices.shape)?;
    let outer = count(&x.shape[..*axis])?;
    let n = outer.clone() * found.clone() * inner.clone();
    count(&out.shape)?;
    let (mut e, i) = each("gather", &n)?;
    let at = coordinates(&mut e, i, &[outer, found, inner.clone()])?;
    let index = position(&mut e, indices.dtype, at[1], extent)?;
    let (extent, inner) = (e.size(extent)?, e.size(&inner)?);
    let row = e.b.mad(Ty::U32, at[0], extent, index);
    let from = e.b.mad(Ty::U32, row, inner, at[2]);
    let (x, y) = (e.input(0), e.output(0));
    let v = unit.load(&mut e, x, from);
    unit.store(&mut e, y, i, &v);
    Ok(e.launch_threads(n).into())
}

fn elements(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::GatherElements { axis } = request.kernel else { return Err("not a gather".into()) };
    let (x, indices, out) = (request.input(0)?, request.input(1)?, request.output(0)?);
    let extent = x.shape.get(*axis).filter(|_| x.shape.len() == out.shape.len()).ok_or("the axis does not fit")?;
    let unit = Unit::single(x.dtype);
    let n = count(&out.shape)?;
    let (mut e, i) = each("gather", &n)?;
    let mut at = coordinates(&mut e, i, &out.shape)?;
    at[*axis] = position(&mut e, indices.dtype, i, extent)?;
    let from = flat(&mut e, &at, &x.shape)?;
    let (x, y) = (e.input(0), e.output(0));
    let v = unit.load(&mut e, x, from);
    unit.store(&mut e, y, i, &v);
    Ok(e.launch_threads(n).into())
}

fn nd(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::GatherNd { batch_dims } = request.kernel else { return Err("not a gather".into()) };
    let (x, indices) = (request.input(0)?, request.input(1)?);
    let (k, lead) = indices.shape.split_last().ok_or("the indices are a scalar")?;
    let k = k.as_usize().ok_or("the length of a tuple is not known")?;
    if batch_dims + k > x.shape.len() || *batch_dims > lead.len() {
        return Err("the tuples do not fit".into());
    }
    let inner = count(&x.shape[batch_dims + k..])?;
    let unit = Unit::dividing(x.dtype, [&inner]);
    let inner = unit.of(&inner);
    let (batch, tuples) = (count(&lead[..*batch_dims])?, count(&lead[*batch_dims..])?);
    let n = batch.clone() * tuples.clone() * inner.clone();
    let (mut e, i) = each("gather", &n)?;
    let at = coordinates(&mut e, i, &[batch.clone(), tuples.clone(), inner.clone()])?;
    let tuples = e.size(&tuples)?;
    let first = e.b.mad(Ty::U32, at[0], tuples, at[1]);
    let first = e.b.mul(Ty::U32, first, k as u32);
    let mut from = vec![at[0]];
    for j in 0..k {
        let which = e.b.add(Ty::U32, first, j as u32);
        from.push(position(&mut e, indices.dtype, which, &x.shape[batch_dims + j])?);
    }
    from.push(at[2]);
    let extents = [&[batch], &x.shape[*batch_dims..batch_dims + k], &[inner]].concat();
    let from = flat(&mut e, &from, &extents)?;
    let (x, y) = (e.input(0), e.output(0));
    let v = unit.load(&mut e, x, from);
    unit.store(&mut e, y, i, &v);
    Ok(e.launch_threads(n).into())
}

fn supports_sums(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    match (inputs, outputs) {
        (&[Some(x)], &[Some(y)]) if x == y && class(x).is_some() && x != DType::Bool => Ok(()),
        _ => Err("no device sums of these types".into()),
    }
}

fn sums(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::CumSum { axis, exclusive, reverse } = request.kernel else { return Err("no sums".into()) };
    let x = request.input(0)?;
    let (Some(extent), Some(behind)) = (x.shape.get(*axis), x.shape.get(axis + 1..)) else {
        return Err("the axis does not fit".into());
    };
    let inner = count(behind)?;
    let lines = count(&x.shape[..*axis])? * inner.clone();
    let t = x.dtype;
    let (mut e, line) = each("cumsum", &lines)?;
    let (pitch, length) = (e.size(&inner)?, e.size(extent)?);
    let (outer, within) = e.div_rem(line, pitch);
    let zero = expr::constant(&mut e.b, t, if t.is_float() { Num::float(0.0) } else { Num::Int(0) });
    let sum = e.b.mov(zero.class, zero);
    let (input, output) = (e.input(0), e.output(0));
    e.repeat(0u32, length, |e, i| {
        let i = if *reverse {
            let last = e.b.sub(Ty::U32, length, 1u32);
            e.b.sub(Ty::U32, last, i)
        } else {
            e.b.mov(Class::B32, i)
        };
        let row = e.b.mad(Ty::U32, outer, length, i);
        let place = e.b.mad(Ty::U32, row, pitch, within);
        let at = element(e, input, place, t);
        let v = expr::load(&mut e.b, Space::Global, t, at);
        let next = e.b.add(arithmetic(t), sum, v);
        let to = element(e, output, place, t);
        expr::store(&mut e.b, Space::Global, t, to, if *exclusive { sum } else { next });
        e.b.set(sum, next);
        Ok(())
    })?;
    Ok(e.launch_threads(lines).into())
}
