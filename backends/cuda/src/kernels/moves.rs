//! Kernels that move elements: `Transpose`, `Slice`, `Concat`, `Pad`, `Tile`, `Reorder`.
//!
//! A thread moves one unit: an element, or as many neighbours as stay neighbours and fill 16 bytes at most. Element types
//! matter by their size alone.

use super::entry::{Entry, Size, count};
use super::index::{Walk, coordinates, flat};
use super::{Generated, Request, Row, Types};
use crate::ptx::{Addr, Class, Cmp, Int2, Op, Operand, Reg, Space, Ty};
use planc_kir::{Kernel, PadMode};
use planc_tensor::{DType, Dim};

pub(super) const TRANSPOSE: Row = Row { supports, epilogue: false, generate: transpose };
pub(super) const SLICE: Row = Row { supports, epilogue: false, generate: slice };
pub(super) const CONCAT: Row = Row { supports, epilogue: false, generate: concat };
pub(super) const PAD: Row = Row { supports, epilogue: false, generate: pad };
pub(super) const TILE: Row = Row { supports, epilogue: false, generate: tile };
pub(super) const COPY: Row = Row { supports, epilogue: false, generate: copy };

const THREADS: u32 = 256;

fn supports(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    match inputs.iter().chain(outputs).flatten().find(|t| !matches!(t.size(), Some(1 | 2 | 4 | 8))) {
        Some(t) => Err(format!("no device kernel for {t}")),
        None if outputs.len() == 1 => Ok(()),
        None => Err("more than one result".into()),
    }
}

/// Bytes that are moved at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Unit {
    bytes: u32,
    /// Elements in it.
    pub(super) elements: u32,
}

impl Unit {
    /// The widest unit of which all of these numbers of elements are multiples.
    pub(super) fn dividing<'d>(t: DType, counts: impl IntoIterator<Item = &'d Dim>) -> Unit {
        let size = t.size().unwrap_or(1) as u32;
        let mut elements = 16 / size;
        for d in counts {
            while elements > 1 && d.exact_div(&Dim::from(elements as usize)).is_none() {
                elements /= 2;
            }
        }
        Unit { bytes: size * elements, elements }
    }

    /// One element.
    pub(super) fn single(t: DType) -> Unit {
        Unit { bytes: t.size().unwrap_or(1) as u32, elements: 1 }
    }

    fn op(self) -> (Ty, u8) {
        match self.bytes {
            1 => (Ty::U8, 1),
            2 => (Ty::B16, 1),
            4 => (Ty::B32, 1),
            8 => (Ty::B64, 1),
            _ => (Ty::B32, 4),
        }
    }

    /// Reads unit number `index` from `base`.
    pub(super) fn load(self, e: &mut Entry, base: Reg, index: Reg) -> Vec<Reg> {
        let at = e.b.element(base, index, self.bytes);
        let (ty, n) = self.op();
        e.b.results(Op::Ld(Space::Global, ty, n), &[Addr::from(at).into()])
    }

    /// Writes unit number `index` to `base`.
    pub(super) fn store(self, e: &mut Entry, base: Reg, index: Reg, v: &[Reg]) {
        let at = e.b.element(base, index, self.bytes);
        let (ty, n) = self.op();
        let mut src = vec![Operand::from(Addr::from(at))];
        src.extend(v.iter().map(|r| Operand::Reg(*r)));
        e.b.emit(Op::St(Space::Global, ty, n), &[], &src);
    }

    /// `d` elements in units.
    pub(super) fn of(self, d: &Dim) -> Dim {
        d.exact_div(&Dim::from(self.elements as usize)).unwrap_or_else(|| d.clone())
    }
}

/// Starts a kernel in which each thread below `n` does something; the thread's number.
pub(super) fn each(stem: &str, n: &Dim) -> Result<(Entry, Reg), String> {
    let mut e = Entry::new(stem, [THREADS, 1, 1]);
    let size = e.size(n)?;
    let i = e.thread();
    let outside = e.b.setp(Cmp::Ge, Ty::U32, i, size);
    e.b.exit_if(outside);
    Ok((e, i))
}

/// Row-major strides of a shape.
pub(super) fn strides(shape: &[Dim]) -> Result<Vec<Dim>, String> {
    (0..shape.len()).map(|i| count(&shape[i + 1..])).collect()
}

/// `out[i] = x[base + sum of i * strides]`. Strides may be negative where they are constant.
fn strided(request: &Request<'_>, stem: &str, strides: &[Dim], base: &Dim) -> Result<Generated, String> {
    let out = request.output(0)?;
    let one = Dim::from(1usize);
    let mut walk = Walk::empty(1);
    for (extent, stride) in out.shape.iter().zip(strides).rev().filter(|(extent, _)| **extent != one) {
        walk.push_outer(extent, &[Some(stride.clone())]);
    }
    if walk.extents.is_empty() {
        walk.push_outer(&one, &[Some(one.clone())]);
    }
    let last = walk.extents.len() - 1;
    let inner = walk.strides[0][last].as_ref() == Some(&one);
    let unit = if inner {
        let outer = walk.strides[0][..last].iter().flatten();
        Unit::dividing(out.dtype, outer.chain([&walk.extents[last], base]))
    } else {
        Unit::single(out.dtype)
    };
    walk.extents[last] = unit.of(&walk.extents[last]);
    let n = count(&walk.extents)?;
    let (mut e, i) = each(stem, &n)?;
    let at = coordinates(&mut e, i, &walk.extents)?;
    let start = e.size(&unit.of(base))?;
    let mut from = e.b.mov(Class::B32, start);
    for (axis, c) in at.iter().enumerate() {
        let stride = walk.strides[0][axis].clone().unwrap_or_else(|| Dim::from(0usize));
        let stride = if axis == last { stride } else { unit.of(&stride) };
        let stride = match stride.as_const() {
            Some(v) => i32::try_from(v).map(Operand::from).map_err(|_| format!("a stride of {v}"))?,
            None => e.size(&stride)?.into(),
        };
        from = e.b.mad(Ty::S32, *c, stride, from);
    }
    let (x, y) = (e.input(0), e.output(0));
    let v = unit.load(&mut e, x, from);
    unit.store(&mut e, y, i, &v);
    Ok(e.launch_threads(n).into())
}

fn transpose(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Transpose { perm } = request.kernel else { return Err("not a transposition".into()) };
    let x = request.input(0)?;
    let of = strides(&x.shape)?;
    let order = perm.iter().map(|p| of.get(*p).cloned()).collect::<Option<Vec<_>>>();
    strided(request, "transpose", &order.ok_or("the permutation does not fit")?, &Dim::from(0usize))
}

fn copy(request: &Request<'_>) -> Result<Generated, String> {
    strided(request, "copy", &strides(&request.output(0)?.shape)?, &Dim::from(0usize))
}

fn slice(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Slice(s) = request.kernel else { return Err("not a slice".into()) };
    let of = strides(&request.input(0)?.shape)?;
    if s.starts.len() != of.len() || s.steps.len() != of.len() {
        return Err("the slice does not fit".into());
    }
    let base =
        of.iter().zip(&s.starts).fold(Dim::from(0usize), |b, (stride, start)| b + stride.clone() * start.clone());
    let steps: Vec<Dim> = of.iter().zip(&s.steps).map(|(stride, step)| stride.clone() * Dim::from(*step)).collect();
    strided(request, "slice", &steps, &base)
}

fn concat(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Concat { axis } = request.kernel else { return Err("not a concatenation".into()) };
    let out = request.output(0)?;
    let tail = |shape: &[Dim]| shape.get(*axis..).map(count).ok_or("the axis does not fit".to_string());
    let row = tail(&out.shape)??;
    let mut generated = Generated::default();
    let mut behind = Dim::from(0usize);
    for n in 0..request.inputs.len() {
        let Some(x) = &request.inputs[n] else { continue };
        let own = tail(&x.shape)??;
        let unit = Unit::dividing(x.dtype, [&row, &own, &behind]);
        let all = unit.of(&own) * count(&x.shape[..*axis])?;
        let (mut e, i) = each("concat", &all)?;
        let length = e.size(&unit.of(&own))?;
        let (outer, inner) = e.div_rem(i, length);
        let (pitch, start) = (e.size(&unit.of(&row))?, e.size(&unit.of(&behind))?);
        let to = e.b.mad(Ty::U32, outer, pitch, inner);
        let to = e.b.add(Ty::U32, to, start);
        let (from, y) = (e.input(n), e.output(0));
        let v = unit.load(&mut e, from, i);
        unit.store(&mut e, y, to, &v);
        generated.launches.push(e.launch_threads(all));
        behind = behind + own;
    }
    Ok(generated)
}

/// Extents of x and the result, and elements before, with neighbouring axes merged that nothing is added to.
fn merged(x: &[Dim], out: &[Dim], before: &[Dim]) -> Vec<(Dim, Dim, Dim)> {
    let zero = Dim::from(0usize);
    let mut axes: Vec<(Dim, Dim, Dim)> = vec![];
    for ((x, out), before) in x.iter().zip(out).zip(before) {
        let plain = |a: &(Dim, Dim, Dim)| a.0 == a.1 && a.2 == zero;
        let axis = (x.clone(), out.clone(), before.clone());
        match axes.last_mut() {
            Some(last) if plain(last) && plain(&axis) => {
                last.0 = last.0.clone() * axis.0;
                last.1 = last.0.clone();
            }
            _ => axes.push(axis),
        }
    }
    axes
}

/// The unit for axes of which the last is whole, and its extents in units.
fn widen(t: DType, axes: &mut [(Dim, Dim, Dim)]) -> Unit {
    let Some((x, out, before)) = axes.last_mut() else { return Unit::single(t) };
    if x != out || *before != Dim::from(0usize) {
        return Unit::single(t);
    }
    let unit = Unit::dividing(t, [&*x]);
    *x = unit.of(x);
    *out = unit.of(out);
    unit
}

fn pad(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Pad(p) = request.kernel else { return Err("not a padding".into()) };
    let (x, out) = (request.input(0)?, request.output(0)?);
    if x.shape.len() != out.shape.len() || p.before.len() != x.shape.len() {
        return Err("the padding does not fit".into());
    }
    let mut axes = merged(&x.shape, &out.shape, &p.before);
    let value = request.inputs.get(1).is_some_and(Option::is_some);
    let unit = if value { Unit::single(x.dtype) } else { widen(x.dtype, &mut axes) };
    let extents: Vec<Dim> = axes.iter().map(|a| a.1.clone()).collect();
    let own: Vec<Dim> = axes.iter().map(|a| a.0.clone()).collect();
    let n = count(&extents)?;
    let (mut e, i) = each("pad", &n)?;
    let at = coordinates(&mut e, i, &extents)?;
    let mut from = vec![];
    let mut inside: Option<Reg> = None;
    for (c, (extent, result, before)) in at.iter().zip(&axes) {
        if extent == result && *before == Dim::from(0usize) {
            from.push(*c);
            continue;
        }
        let extent = e.size(extent)?;
        let shift: Operand = match before.as_const() {
            Some(v) => i32::try_from(v).map(Operand::from).map_err(|_| format!("padding of {v}"))?,
            None => e.size(before)?.into(),
        };
        let c = e.b.sub(Ty::S32, *c, shift);
        if p.mode == PadMode::Constant {
            // Below zero is far above as an unsigned number.
            let within = e.b.setp(Cmp::Lt, Ty::U32, c, extent);
            inside = Some(inside.map_or(within, |p| e.b.both(p, within)));
            from.push(c);
        } else {
            from.push(outside(&mut e, p.mode, c, extent));
        }
    }
    let source = flat(&mut e, &from, &own)?;
    let (input, y) = (e.input(0), e.output(0));
    let Some(inside) = inside else {
        let v = unit.load(&mut e, input, source);
        unit.store(&mut e, y, i, &v);
        return Ok(e.launch_threads(n).into());
    };
    let fill: Vec<Reg> = if value {
        let (at, zero) = (e.input(1), e.b.mov(Class::B32, 0u32));
        unit.load(&mut e, at, zero)
    } else {
        let (ty, n) = unit.op();
        (0..n).map(|_| e.b.mov(ty.class(), 0u32)).collect()
    };
    let v: Vec<Reg> = fill.iter().map(|f| e.b.mov(f.class, *f)).collect();
    e.when(inside, |e| {
        let found = unit.load(e, input, source);
        v.iter().zip(found).for_each(|(v, f)| e.b.set(*v, f));
        Ok(())
    })?;
    unit.store(&mut e, y, i, &v);
    Ok(e.launch_threads(n).into())
}

/// Where the element is that stands for position `c`, which may lie outside of `0..extent`.
fn outside(e: &mut Entry, mode: PadMode, c: Reg, extent: Size) -> Reg {
    let b = &mut e.b;
    match mode {
        PadMode::Edge => {
            let last = b.sub(Ty::S32, extent, 1u32);
            let low = b.int2(Int2::Min, Ty::S32, c, last);
            b.int2(Int2::Max, Ty::S32, low, 0u32)
        }
        PadMode::Reflect => {
            // A walk of period 2 (n - 1), there and back.
            let last = b.sub(Ty::S32, extent, 1u32);
            let period = b.int2(Int2::Shl, Ty::B32, last, 1u32);
            let period = b.int2(Int2::Max, Ty::S32, period, 1u32);
            let r = modulo(b, c, period.into());
            let back = b.sub(Ty::S32, period, r);
            let r = b.int2(Int2::Min, Ty::S32, r, back);
            b.int2(Int2::Min, Ty::S32, r, last)
        }
        PadMode::Wrap | PadMode::Constant => modulo(b, c, extent.into()),
    }
}

/// The remainder of `c` by a positive number, never negative.
fn modulo(b: &mut crate::ptx::Builder, c: Reg, by: Operand) -> Reg {
    let r = b.int2(Int2::Rem, Ty::S32, c, by);
    let moved = b.add(Ty::S32, r, by);
    let low = b.setp(Cmp::Lt, Ty::S32, r, 0u32);
    b.selp(Ty::S32, moved, r, low)
}

fn tile(request: &Request<'_>) -> Result<Generated, String> {
    let (x, out) = (request.input(0)?, request.output(0)?);
    if x.shape.len() != out.shape.len() {
        return Err("the ranks differ".into());
    }
    let mut axes = merged(&x.shape, &out.shape, &vec![Dim::from(0usize); x.shape.len()]);
    let unit = widen(x.dtype, &mut axes);
    let extents: Vec<Dim> = axes.iter().map(|a| a.1.clone()).collect();
    let own: Vec<Dim> = axes.iter().map(|a| a.0.clone()).collect();
    let n = count(&extents)?;
    let (mut e, i) = each("tile", &n)?;
    let mut at = coordinates(&mut e, i, &extents)?;
    for (c, (extent, ..)) in at.iter_mut().zip(&axes).filter(|(_, a)| a.0 != a.1) {
        let extent = e.size(extent)?;
        *c = e.div_rem(*c, extent).1;
    }
    let from = flat(&mut e, &at, &own)?;
    let (x, y) = (e.input(0), e.output(0));
    let v = unit.load(&mut e, x, from);
    unit.store(&mut e, y, i, &v);
    Ok(e.launch_threads(n).into())
}
