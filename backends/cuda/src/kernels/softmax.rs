//! `Softmax`: maximum, sum of exponentials, result. Each pass reads the row again, from a cache.

use super::entry::{Entry, count};
use super::rows::{Rows, Team};
use super::tail::element;
use super::{Generated, Request, Row, Tail, Types};
use crate::expr;
use crate::math;
use crate::ptx::{Class, Op, Reg, Space, Ty};
use planc_kir::Kernel;
use planc_tensor::DType;

pub(super) const ROW: Row = Row { supports, epilogue: true, generate };

fn supports(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    match (inputs, outputs) {
        (&[Some(x)], &[Some(y)]) if x == y && matches!(x, DType::F32 | DType::F16 | DType::BF16) => Ok(()),
        _ => Err("no device softmax of these types".into()),
    }
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Softmax(s) = request.kernel else { return Err("not a softmax".into()) };
    let x = request.input(0)?;
    if s.axis > s.end || s.end > x.shape.len() {
        return Err("the axes do not fit".into());
    }
    let (length, inner) = (count(&x.shape[s.axis..s.end])?, count(&x.shape[s.end..])?);
    let rows = count(&x.shape[..s.axis])? * inner.clone();
    let row_wise = inner.as_const() == Some(1);
    let tail = Tail::new(request)?;
    let mut rows = Rows::start("softmax", &rows, if row_wise { Team::for_row(&length) } else { Team::Thread })?;
    let (size, pitch, input) = (rows.e.size(&length)?, rows.e.size(&inner)?, rows.e.input(0));
    let (outer, within) = rows.e.div_rem(rows.row, pitch);
    let base = rows.e.b.mul(Ty::U32, outer, size);
    let place = |e: &mut Entry, i: Reg| {
        let at = e.b.add(Ty::U32, base, i);
        if row_wise { at } else { e.b.mad(Ty::U32, at, pitch, within) }
    };
    let read = |e: &mut Entry, i: Reg| {
        let place = place(e, i);
        let at = element(e, input, place, x.dtype);
        (place, expr::load(&mut e.b, Space::Global, x.dtype, at))
    };
    let largest = rows.e.b.mov(Class::F32, f32::NEG_INFINITY);
    rows.each(size, |e, i| {
        let v = read(e, i).1;
        e.b.assign(largest, Op::MaxNan, &[largest.into(), v.into()]);
        Ok(())
    })?;
    let largest = rows.combine(&[largest], |e, a, b| vec![e.b.op(Op::MaxNan, &[a[0].into(), b[0].into()])])[0];
    let sum = rows.e.b.mov(Class::F32, 0.0f32);
    rows.each(size, |e, i| {
        let v = read(e, i).1;
        let less = e.b.sub(Ty::F32, v, largest);
        let power = math::exp(&mut e.b, less);
        e.b.assign(sum, Op::Add(Ty::F32), &[sum.into(), power.into()]);
        Ok(())
    })?;
    let sum = rows.combine(&[sum], |e, a, b| vec![e.b.add(Ty::F32, a[0], b[0])])[0];
    let scale = if s.log { math::log(&mut rows.e.b, sum) } else { rows.e.b.op(Op::Rcp(Ty::F32), &[sum.into()]) };
    let result = request.result_type()?;
    rows.each(size, |e, i| {
        let (place, v) = read(e, i);
        let less = e.b.sub(Ty::F32, v, largest);
        let v = if s.log {
            e.b.sub(Ty::F32, less, scale)
        } else {
            let power = math::exp(&mut e.b, less);
            e.b.mul(Ty::F32, power, scale)
        };
        let v = expr::wrapped(&mut e.b, result, v);
        tail.store(e, place, v)
    })?;
    Ok(rows.launch().into())
}
