//! `Pool`: one thread per window.

use super::entry::{Entry, Size, count};
use super::index::{coordinates, flat};
use super::moves::each;
use super::tail::element;
use super::{Generated, Request, Row, Tail, Types};
use crate::expr;
use crate::ptx::{Class, Cmp, Int2, Op, Operand, Reg, Round, Space, Ty};
use planc_kir::{Kernel, Pool, PoolKind};
use planc_tensor::{DType, Dim};

pub(super) const ROW: Row = Row { supports, epilogue: true, generate };

fn supports(kernel: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    let Kernel::Pool(p) = kernel else { return Err("not a pooling".into()) };
    if matches!(p.kind, PoolKind::Lp { .. }) || !(1..=3).contains(&p.kernel.len()) {
        return Err("no device kernel for this pooling".into());
    }
    match (inputs, outputs) {
        (&[Some(x)], &[Some(y)]) if x == y && matches!(x, DType::F32 | DType::F16 | DType::BF16) => Ok(()),
        _ => Err("no device pooling of these types, or with positions".into()),
    }
}

/// The running result of a window.
struct Window {
    /// Maximum or sum.
    value: Reg,
    /// Number of elements that count.
    found: Reg,
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Pool(p) = request.kernel else { return Err("not a pooling".into()) };
    let (x, out) = (request.input(0)?, request.output(0)?);
    let axes = p.kernel.len();
    let fits = [
        p.strides.len(),
        p.dilations.len(),
        p.pads.len(),
        x.shape.len().wrapping_sub(2),
        out.shape.len().wrapping_sub(2),
    ];
    if fits.iter().any(|n| *n != axes) {
        return Err("the geometry does not fit".into());
    }
    let tail = Tail::new(request)?;
    let n = count(&out.shape)?;
    let (mut e, i) = each("pool", &n)?;
    let planes = count(&out.shape[..2])?;
    let at = coordinates(&mut e, i, &[&[planes], &out.shape[2..]].concat())?;
    let start = if p.kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 };
    let window = Window { value: e.b.mov(Class::F32, start), found: e.b.mov(Class::B32, 0u32) };
    // Where the window starts along each axis; negative within the padding.
    let mut first = vec![];
    for a in 0..axes {
        let stride = u32::try_from(p.strides[a]).map_err(|_| "a stride is too large")?;
        let scaled = e.b.mul(Ty::S32, at[1 + a], stride);
        let before: Operand = match p.pads[a][0].as_const() {
            Some(v) => i32::try_from(v).map(Operand::from).map_err(|_| format!("padding of {v}"))?,
            None => e.size(&p.pads[a][0])?.into(),
        };
        first.push(e.b.sub(Ty::S32, scaled, before));
    }
    let plane = Plane { p, shape: &x.shape[2..], first, base: at[0], dtype: x.dtype };
    plane.walk(&mut e, &window, 0, &mut vec![], None)?;
    let v = match p.kind {
        PoolKind::Max => window.value,
        _ => {
            let n = e.b.cvt(Ty::F32, Ty::U32, Some(Round::Rn), window.found);
            e.b.op(Op::Div(Ty::F32), &[window.value.into(), n.into()])
        }
    };
    let v = expr::wrapped(&mut e.b, request.result_type()?, v);
    tail.store(&mut e, i, v)?;
    Ok(e.launch_threads(n).into())
}

/// What the windows of a thread read.
struct Plane<'p> {
    p: &'p Pool,
    shape: &'p [Dim],
    first: Vec<Reg>,
    base: Reg,
    dtype: DType,
}

impl Plane<'_> {
    /// Walks the window from axis `a` on; `inside`: whether the position along the axes before is in the image.
    fn walk(
        &self,
        e: &mut Entry,
        window: &Window,
        a: usize,
        at: &mut Vec<Reg>,
        inside: Option<Reg>,
    ) -> Result<(), String> {
        let Some(kernel) = self.p.kernel.get(a) else { return self.take(e, window, at, inside) };
        let kernel = u32::try_from(*kernel).map_err(|_| "a window is too large")?;
        let dilation = u32::try_from(self.p.dilations[a]).map_err(|_| "a dilation is too large")?;
        let extent = e.size(&self.shape[a])?;
        // Small windows are written out.
        let total: usize = self.p.kernel.iter().product();
        if total <= 16 {
            for k in 0..kernel {
                let c = e.b.add(Ty::S32, self.first[a], k * dilation);
                self.tap(e, window, a, at, inside, (c, extent))?;
            }
            return Ok(());
        }
        let before = at.clone();
        e.repeat(0u32, kernel, |e, k| {
            let c = e.b.mad(Ty::S32, k, dilation, self.first[a]);
            let mut at = before;
            self.tap(e, window, a, &mut at, inside, (c, extent))
        })
    }

    /// Goes on at position `c` of axis `a`.
    fn tap(
        &self,
        e: &mut Entry,
        window: &Window,
        a: usize,
        at: &mut Vec<Reg>,
        inside: Option<Reg>,
        (c, extent): (Reg, Size),
    ) -> Result<(), String> {
        // Below zero is far above as an unsigned number.
        let within = e.b.setp(Cmp::Lt, Ty::U32, c, extent);
        let inside = inside.map_or(within, |p| e.b.both(p, within));
        at.push(c);
        let result = self.walk(e, window, a + 1, at, Some(inside));
        at.pop();
        result
    }

    /// Takes one element.
    fn take(&self, e: &mut Entry, window: &Window, at: &[Reg], inside: Option<Reg>) -> Result<(), String> {
        let inside = inside.ok_or("a window without axes")?;
        if self.p.kind == (PoolKind::Average { count_pad: true }) {
            // Padding counts, but not what lies behind the padded image.
            let mut counts: Option<Reg> = None;
            for (a, c) in at.iter().enumerate() {
                let end = self.shape[a].clone() + self.p.pads[a][1].clone();
                let end = e.size(&end)?;
                let before = e.b.setp(Cmp::Lt, Ty::S32, *c, end);
                counts = Some(counts.map_or(before, |p| e.b.both(p, before)));
            }
            if let Some(counts) = counts {
                e.b.guarded(counts, false, |b| {
                    b.assign(window.found, Op::Int2(Int2::Add, Ty::U32), &[window.found.into(), 1u32.into()]);
                });
            }
        }
        e.when(inside, |e| {
            let position = [&[self.base], at].concat();
            let extents = [&[Dim::from(1usize)], self.shape].concat();
            let offset = flat(e, &position, &extents)?;
            let base = e.input(0);
            let at = element(e, base, offset, self.dtype);
            let v = expr::load(&mut e.b, Space::Global, self.dtype, at);
            let op = if self.p.kind == PoolKind::Max { Op::MaxNan } else { Op::Add(Ty::F32) };
            e.b.assign(window.value, op, &[window.value.into(), v.into()]);
            if self.p.kind == (PoolKind::Average { count_pad: false }) {
                e.b.assign(window.found, Op::Int2(Int2::Add, Ty::U32), &[window.found.into(), 1u32.into()]);
            }
            Ok(())
        })
    }
}
