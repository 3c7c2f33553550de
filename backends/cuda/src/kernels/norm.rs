//! `Norm`: statistics of a row in two passes (mean, then variance around it), then the result.

use super::entry::{Entry, Size, count, divide};
use super::index::Walk;
use super::rows::{Rows, Team};
use super::tail::element;
use super::{Generated, Request, Row, Tail, Types};
use crate::expr;
use crate::ptx::{Class, Op, Reg, Round, Space, Ty};
use planc_kir::{Kernel, Norm, NormKind};
use planc_tensor::{DType, Dim};

pub(super) const ROW: Row = Row { supports, epilogue: true, generate };

fn supports(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    let floats = inputs.iter().chain(outputs).flatten().all(|t| matches!(t, DType::F32 | DType::F16 | DType::BF16));
    if floats && outputs.len() == 1 && inputs.first().is_some_and(Option::is_some) {
        return Ok(());
    }
    Err("no device normalisation of these types".into())
}

/// Where the elements of scale and bias are.
enum Affine {
    /// Broadcast to the normalised axes.
    Axes(Walk),
    /// One per channel: groups, channels of a group, elements of a channel.
    Channels(Size, Size, Size),
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Norm(Norm { kind, epsilon }) = request.kernel else { return Err("not a normalisation".into()) };
    let x = request.input(0)?;
    let own = request.own_inputs();
    let sides: Vec<usize> = (1..own.min(3)).filter(|n| request.inputs[*n].is_some()).collect();
    let shapes: Vec<&[Dim]> =
        sides.iter().map(|n| request.input(*n).map(|v| v.shape.as_slice())).collect::<Result<_, _>>()?;
    let tail = Tail::new(request)?;
    let (rows, length, walk) = match *kind {
        NormKind::Layer { axis } | NormKind::Rms { axis } => {
            if axis > x.shape.len() {
                return Err("the axis does not fit".into());
            }
            (count(&x.shape[..axis])?, count(&x.shape[axis..])?, Some(Walk::new(&x.shape[axis..], &shapes)?))
        }
        NormKind::Group { groups } => {
            let [n, c, spatial @ ..] = x.shape.as_slice() else { return Err("there are no channels".into()) };
            let groups = Dim::from(groups);
            let own = c.exact_div(&groups).ok_or("the channels do not fill groups")?;
            (n.clone() * groups, own * count(spatial)?, None)
        }
    };
    let mut rows = Rows::start("norm", &rows, Team::for_row(&length))?;
    let (size, input) = (rows.e.size(&length)?, rows.e.input(0));
    let affine = match (walk, kind) {
        (None, NormKind::Group { groups }) => {
            let own = x.shape[1].exact_div(&Dim::from(*groups)).ok_or("the channels do not fill groups")?;
            let pixels = count(&x.shape[2..])?;
            Affine::Channels(rows.e.size(&Dim::from(*groups))?, rows.e.size(&own)?, rows.e.size(&pixels)?)
        }
        (walk, _) => Affine::Axes(walk.unwrap_or_else(|| Walk::empty(0))),
    };
    let base = rows.e.b.mul(Ty::U32, rows.row, size);
    let read = |e: &mut Entry, i: Reg| {
        let place = e.b.add(Ty::U32, base, i);
        let at = element(e, input, place, x.dtype);
        (place, expr::load(&mut e.b, Space::Global, x.dtype, at))
    };
    let n = rows.e.b.mov(Class::B32, size);
    let n = rows.e.b.cvt(Ty::F32, Ty::U32, Some(Round::Rn), n);
    let mean = if matches!(kind, NormKind::Rms { .. }) {
        None
    } else {
        let sum = total(&mut rows, size, |e, i| read(e, i).1)?;
        Some(rows.e.b.op(Op::Div(Ty::F32), &[sum.into(), n.into()]))
    };
    let centred = |e: &mut Entry, v: Reg| mean.map_or(v, |m| e.b.sub(Ty::F32, v, m));
    let squares = total(&mut rows, size, |e, i| {
        let v = read(e, i).1;
        let v = centred(e, v);
        e.b.mul(Ty::F32, v, v)
    })?;
    let b = &mut rows.e.b;
    let variance = b.op(Op::Div(Ty::F32), &[squares.into(), n.into()]);
    let variance = b.add(Ty::F32, variance, *epsilon);
    let deviation = b.op(Op::Sqrt(Ty::F32), &[variance.into()]);
    let inverse = b.op(Op::Rcp(Ty::F32), &[deviation.into()]);
    let (row, result) = (rows.row, request.result_type()?);
    rows.each(size, |e, i| {
        let (place, v) = read(e, i);
        let v = centred(e, v);
        let mut v = e.b.mul(Ty::F32, v, inverse);
        let offsets = match &affine {
            _ if sides.is_empty() => vec![],
            Affine::Axes(walk) => walk.offsets(e, i)?,
            Affine::Channels(groups, own, pixels) => {
                let (_, group) = e.div_rem(row, *groups);
                let within = divide(&mut e.b, i, *pixels);
                vec![e.b.mad(Ty::U32, group, *own, within); sides.len()]
            }
        };
        for (n, offset) in sides.iter().zip(offsets) {
            let t = request.input(*n)?.dtype;
            let base = e.input(*n);
            let at = element(e, base, offset, t);
            let side = expr::load(&mut e.b, Space::Global, t, at);
            v = if *n == 1 { e.b.mul(Ty::F32, v, side) } else { e.b.add(Ty::F32, v, side) };
        }
        let v = expr::wrapped(&mut e.b, result, v);
        tail.store(e, place, v)
    })?;
    Ok(rows.launch().into())
}

/// The sum of `f` over the row.
fn total(rows: &mut Rows, size: Size, f: impl FnOnce(&mut Entry, Reg) -> Reg) -> Result<Reg, String> {
    let sum = rows.e.b.mov(Class::F32, 0.0f32);
    rows.each(size, |e, i| {
        let v = f(e, i);
        e.b.assign(sum, Op::Add(Ty::F32), &[sum.into(), v.into()]);
        Ok(())
    })?;
    Ok(rows.combine(&[sum], |e, a, b| vec![e.b.add(Ty::F32, a[0], b[0])])[0])
}
