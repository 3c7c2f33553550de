//! `Resize`: nearest and linear, one thread per result element, positions in f64 as the interpreter computes them.

use super::entry::{Entry, count};
use super::index::{coordinates, flat};
use super::moves::each;
use super::tail::element;
use super::{Generated, Request, Row, Types};
use crate::expr;
use crate::ptx::{Class, Op, Operand, Reg, Round, Space, Ty};
use planc_kir::{Coordinate, Kernel, Nearest, Resize, ResizeMode};
use planc_tensor::{DType, Dim};

pub(super) const ROW: Row = Row { supports, epilogue: false, generate };

fn supports(kernel: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    let Kernel::Resize(r) = kernel else { return Err("not a resampling".into()) };
    let plain = !r.antialias && !r.exclude_outside && r.coordinate != Coordinate::CropAndResize;
    let mode = matches!(r.mode, ResizeMode::Nearest(_)) || r.mode == ResizeMode::Linear && r.axes.len() <= 4;
    if !plain || !mode {
        return Err("no device kernel for this resampling".into());
    }
    match (inputs, outputs) {
        (&[Some(x)], &[Some(y)]) if x == y && matches!(x, DType::F32 | DType::F16 | DType::BF16) => Ok(()),
        _ => Err("no device resampling of these types".into()),
    }
}

/// A sample along an axis: where it is, and its weight.
type Tap = (Reg, Option<Reg>);

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Resize(r) = request.kernel else { return Err("not a resampling".into()) };
    let (x, out) = (request.input(0)?, request.output(0)?);
    if x.shape.len() != out.shape.len() || r.axes.iter().any(|a| *a >= x.shape.len()) {
        return Err("the axes do not fit".into());
    }
    let n = count(&out.shape)?;
    let (mut e, i) = each("resize", &n)?;
    let at = coordinates(&mut e, i, &out.shape)?;
    // Every combination of one tap per axis.
    let mut samples: Vec<(Vec<Reg>, Option<Reg>)> = vec![(vec![], None)];
    for (a, c) in at.iter().enumerate() {
        let taps: Vec<Tap> = match r.axes.iter().position(|axis| *axis == a) {
            Some(n) => {
                let scale = r.scales.as_ref().and_then(|s| s.get(n)).copied();
                taps(&mut e, r, *c, (&x.shape[a], &out.shape[a]), scale)?
            }
            None => vec![(*c, None)],
        };
        let mut next = vec![];
        for (position, weight) in &samples {
            for (tap, own) in &taps {
                let weight = match (weight, own) {
                    (Some(w), Some(o)) => Some(e.b.mul(Ty::F32, *w, *o)),
                    (w, o) => w.or(*o),
                };
                next.push(([position.as_slice(), &[*tap]].concat(), weight));
            }
        }
        samples = next;
    }
    let (input, output) = (e.input(0), e.output(0));
    let mut sum: Option<Reg> = None;
    for (position, weight) in samples {
        let offset = flat(&mut e, &position, &x.shape)?;
        let at = element(&mut e, input, offset, x.dtype);
        let v = expr::load(&mut e.b, Space::Global, x.dtype, at);
        sum = Some(match (sum, weight) {
            (None, None) => v,
            (None, Some(w)) => e.b.mul(Ty::F32, v, w),
            (Some(s), None) => e.b.add(Ty::F32, s, v),
            (Some(s), Some(w)) => e.b.mad(Ty::F32, v, w, s),
        });
    }
    let v = sum.ok_or("there are no samples")?;
    let to = element(&mut e, output, i, x.dtype);
    expr::store(&mut e.b, Space::Global, x.dtype, to, v);
    Ok(e.launch_threads(n).into())
}

/// The samples for position `c` of an axis with these extents before and after.
fn taps(e: &mut Entry, r: &Resize, c: Reg, (from, to): (&Dim, &Dim), scale: Option<f32>) -> Result<Vec<Tap>, String> {
    const D: Ty = Ty::F64;
    let (from, to) = (e.size(from)?, e.size(to)?);
    let b = &mut e.b;
    let wide = |b: &mut crate::ptx::Builder, v: Operand| {
        let v = b.mov(Class::B32, v);
        b.cvt(D, Ty::U32, Some(Round::Rn), v)
    };
    let (old, new, at) = (wide(b, from.into()), wide(b, to.into()), wide(b, c.into()));
    let scale = match scale {
        Some(s) => b.mov(Class::F64, f64::from(s)),
        None => b.op(Op::Div(D), &[new.into(), old.into()]),
    };
    // The formulas of ONNX, in its order of operations.
    let extent = b.mul(D, scale, old);
    let last = b.add(D, old, -1.0f64);
    let shifted = b.add(D, at, 0.5f64);
    let centre = b.op(Op::Div(D), &[shifted.into(), scale.into()]);
    let half = b.add(D, centre, -0.5f64);
    let unless = |b: &mut crate::ptx::Builder, v: Reg, c: crate::ptx::Cmp, extent: Reg| {
        let p = b.setp(c, D, extent, 1.0f64);
        b.selp(D, v, 0.0f64, p)
    };
    let at = match r.coordinate {
        Coordinate::HalfPixel => half,
        Coordinate::HalfPixelSymmetric => {
            let ratio = b.op(Op::Div(D), &[new.into(), extent.into()]);
            let rest = b.sub(D, 1.0f64, ratio);
            let middle = b.mul(D, old, 0.5f64);
            let offset = b.mul(D, middle, rest);
            b.add(D, offset, half)
        }
        Coordinate::PytorchHalfPixel => unless(b, half, crate::ptx::Cmp::Gt, new),
        Coordinate::AlignCorners => {
            let product = b.mul(D, at, last);
            let below = b.add(D, extent, -1.0f64);
            let v = b.op(Op::Div(D), &[product.into(), below.into()]);
            unless(b, v, crate::ptx::Cmp::Ne, extent)
        }
        Coordinate::TfHalfPixelForNn => centre,
        Coordinate::Asymmetric | Coordinate::CropAndResize => b.op(Op::Div(D), &[at.into(), scale.into()]),
    };
    let clamp = |b: &mut crate::ptx::Builder, v: Reg| {
        let low = b.op(Op::FMin(D), &[v.into(), last.into()]);
        let v = b.op(Op::FMax(D), &[low.into(), 0.0f64.into()]);
        b.cvt(Ty::U32, D, Some(Round::Rzi), v)
    };
    let integral = |b: &mut crate::ptx::Builder, v: Reg, how: Round| b.cvt(D, D, Some(how), v);
    if let ResizeMode::Nearest(nearest) = r.mode {
        let s = match nearest {
            Nearest::RoundPreferFloor => {
                let v = b.add(D, at, -0.5 - Nearest::TIE);
                integral(b, v, Round::Rpi)
            }
            Nearest::RoundPreferCeil => {
                let v = b.add(D, at, 0.5 + Nearest::TIE);
                integral(b, v, Round::Rmi)
            }
            Nearest::Floor => integral(b, at, Round::Rmi),
            Nearest::Ceil => integral(b, at, Round::Rpi),
        };
        return Ok(vec![(clamp(b, s), None)]);
    }
    let floor = integral(b, at, Round::Rmi);
    let above = b.add(D, floor, 1.0f64);
    let upper = b.sub(D, at, floor);
    let lower = b.sub(D, 1.0f64, upper);
    let (first, second) = (clamp(b, floor), clamp(b, above));
    let narrow = |b: &mut crate::ptx::Builder, v: Reg| b.cvt(Ty::F32, D, Some(Round::Rn), v);
    let (lower, upper) = (narrow(b, lower), narrow(b, upper));
    Ok(vec![(first, Some(lower)), (second, Some(upper))])
}
