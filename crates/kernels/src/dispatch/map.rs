//! `Map` over f32, bool and small integers: scalar programs run on blocks that stay in L1, one vector loop per instruction.
//!
//! Booleans are 0.0 and 1.0 within a program, integers are lanes of i32 ([`super::ints`]). A block is a run of consecutive
//! result elements; an operand that is not broadcast is read in place, a broadcast one is spread into the block first (or
//! is a splat where the block lies within one row). Long maps from bytes to bytes run on the 256 codes there are, and look
//! the rest up.

use super::walk::collapse;
use super::{Cx, Operand, Output, floats, ints};
use crate::isa::{Isa, Kernel, Simd};
use crate::micro::PANEL;
use crate::par::{Shared, ranges};
use planc_kir::{BinOp, Expr, Inst, Reg};
use planc_tensor::{DType, Layout, broadcast_strides, element_count};
use std::cell::Cell;

/// Elements of a block: a dozen registers of it fit L1.
const BLOCK: usize = 512;

/// Whether a program is within what blocks compute.
pub(super) fn supports(e: &Expr) -> bool {
    let known = |t: DType| matches!(t, DType::F32 | DType::Bool);
    // Operands too: those that no instruction reads are opened all the same.
    e.args().iter().all(|t| known(*t)) && (0..e.insts().len()).all(|r| known(e.type_of(r as Reg)))
}

/// As [`supports`], with integers of up to 32 bits among the types.
pub(super) fn supports_ints(e: &Expr) -> bool {
    (0..e.insts().len()).all(|r| ints::supports(e, r as Reg))
}

/// Whether a program is one of [`supports_ints`] that has arithmetic over f32, which vectors of the widest tier are for:
/// dequantisation, functions, quantisation.
pub(super) fn supports_mixed(e: &Expr) -> bool {
    let is_f32 = |r: Reg| e.type_of(r) == DType::F32;
    supports_ints(e)
        && e.insts().iter().any(|inst| match inst {
            Inst::Arg(_) | Inst::Const(..) | Inst::Cast(..) => false,
            _ => inst.operands().any(is_f32),
        })
}

/// An operand as the blocks read it: all its elements, which may be the result's own when walked element for element.
#[derive(Clone, Copy)]
enum Arg {
    /// f32, or i32 as its bits.
    F32(Shared<f32>),
    Bool(Shared<u8>),
    U8(Shared<u8>),
    I8(Shared<u8>),
    /// What each block is given, see [`Late`].
    Given,
}

impl Arg {
    /// # Safety
    /// The operand must have an element `i`.
    #[inline(always)]
    unsafe fn at(self, i: usize) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe {
            match self {
                Arg::F32(x) => *x.get().add(i),
                Arg::Bool(x) => f32::from(*x.get().add(i)),
                Arg::U8(x) => ints::lane(i32::from(*x.get().add(i))),
                Arg::I8(x) => ints::lane(i32::from(*x.get().add(i) as i8)),
                Arg::Given => 0.0,
            }
        }
    }
}

/// How an operand follows the result's elements.
enum Walk {
    /// Element for element.
    Full,
    /// The same element everywhere.
    Scalar,
    /// By strides over the collapsed extents.
    Strided(Vec<usize>),
}

pub(super) struct Program<'a> {
    expr: &'a Expr,
    args: Vec<(Arg, Walk)>,
    extents: Vec<usize>,
    len: usize,
    /// Where registers lie, and how many places there are, see [`slots`].
    slots: Vec<usize>,
    slot_count: usize,
}

/// `out = expr(inputs)`.
pub(super) fn run(
    cx: &mut Cx<'_>,
    expr: &Expr,
    inputs: &[Option<Operand<'_>>],
    out: &mut Output<'_>,
) -> Result<(), String> {
    let mut stored = Stored::default();
    for x in inputs.iter().flatten() {
        stored.push(x, out)?;
    }
    stored.run(cx, expr, out)
}

/// `out = expr(out, sides)`: an epilogue after its kernel.
pub(super) fn run_in_place(
    cx: &mut Cx<'_>,
    expr: &Expr,
    sides: &[Operand<'_>],
    out: &mut Output<'_>,
) -> Result<(), String> {
    let mut stored = Stored::default();
    stored.args.push(Arg::F32(Shared::new(out.elements()?)));
    stored.shapes.push(stored_shape(out.shape, out.layout));
    for x in sides {
        stored.push(x, out)?;
    }
    stored.run(cx, expr, out)
}

/// An epilogue whose first operand comes in runs of consecutive elements, which a kernel has in L1.
pub(super) struct Late<'a> {
    isa: Isa,
    program: Program<'a>,
    target: Target,
    /// Channel vectors that the program reads.
    _filled: Vec<Vec<u8>>,
}

impl<'a> Late<'a> {
    /// The epilogue `expr` over `sides`, whose result is `out`.
    pub(super) fn new(isa: Isa, expr: &'a Expr, sides: &[Operand<'_>], out: &mut Output<'_>) -> Result<Self, String> {
        let mut stored = Stored::default();
        stored.args.push(Arg::Given);
        stored.shapes.push(stored_shape(out.shape, out.layout));
        for x in sides {
            stored.push(x, out)?;
        }
        let shape = stored_shape(out.shape, out.layout);
        let program = program(expr, &stored.args, &stored.shapes, &shape, out)?;
        let target = Target { bytes: Shared::new(out.bytes), dtype: out.dtype };
        Ok(Self { isa, program, target, _filled: stored.filled })
    }

    /// Stores the results of `sums`, the first operand's elements from `at` on.
    ///
    /// # Panics
    /// If these are more than a block, or past the result's end.
    pub(super) fn run(&self, at: usize, sums: &[i32]) {
        assert!(
            sums.len() <= BLOCK && at + sums.len() <= self.program.len,
            "this is a bug: a run outside of the result"
        );
        let given = Some(sums);
        self.isa.run(Blocks { program: &self.program, start: at, end: at + sums.len(), given, target: self.target });
    }
}

/// Sets the channels past the last of a blocked result of f32 to zero: they stay finite, whatever a program makes of them.
pub(super) fn clear_filling(out: &mut Output<'_>) -> Result<(), String> {
    if let (Layout::Nchw16c, DType::F32, [n, c, spatial @ ..]) = (out.layout, out.dtype, out.shape)
        && !c.is_multiple_of(16)
    {
        let image = c.div_ceil(16) * spatial.iter().product::<usize>() * 16;
        let last = spatial.iter().product::<usize>() * 16;
        let used = c % 16;
        for i in 0..*n {
            let block = &mut out.elements()?[(i + 1) * image - last..(i + 1) * image];
            block.chunks_exact_mut(16).for_each(|pixel| pixel[used..].fill(0.0));
        }
    }
    Ok(())
}

/// Operands with their extents as stored, which is what the walk goes by.
#[derive(Default)]
struct Stored {
    args: Vec<Arg>,
    shapes: Vec<Vec<usize>>,
    /// Channel vectors filled up to whole blocks.
    filled: Vec<Vec<u8>>,
}

/// Extents as stored: blocked channels are an axis of blocks and a last axis of 16.
fn stored_shape(shape: &[usize], layout: Layout) -> Vec<usize> {
    match (layout, shape) {
        (Layout::Nchw16c, [n, c, spatial @ ..]) => [&[*n, c.div_ceil(16)], spatial, &[16]].concat(),
        _ => shape.to_vec(),
    }
}

impl Stored {
    fn push(&mut self, x: &Operand<'_>, out: &Output<'_>) -> Result<(), String> {
        if out.layout != Layout::Nchw16c || x.layout == Layout::Nchw16c {
            self.args.push(arg(x)?);
            self.shapes.push(stored_shape(x.shape, x.layout));
            return Ok(());
        }
        // A row-major operand of a blocked result: its extents aligned with [N, C, spatial..].
        let wrong = || format!("{:?} does not broadcast to blocked {:?}", x.shape, out.shape);
        let lead = out.shape.len().checked_sub(x.shape.len()).ok_or_else(wrong)?;
        let aligned: Vec<usize> = std::iter::repeat_n(1, lead).chain(x.shape.iter().copied()).collect();
        let [n, c, spatial @ ..] = &aligned[..] else { return Err(wrong()) };
        if *c == 1 {
            self.args.push(arg(x)?);
            self.shapes.push([&aligned[..], &[1]].concat());
            return Ok(());
        }
        if spatial.iter().any(|d| *d != 1) {
            return Err(wrong());
        }
        let blocks = c.div_ceil(16);
        if c.is_multiple_of(16) {
            self.args.push(arg(x)?);
        } else {
            let size = x.dtype.bits() / 8;
            // Room to start at a multiple of four.
            let mut filled = vec![0u8; n * blocks * 16 * size + 4];
            let from = filled.as_ptr().align_offset(4);
            let rows = filled[from..].chunks_exact_mut(blocks * 16 * size).zip(x.bytes.chunks_exact(*c * size));
            rows.for_each(|(to, from)| to[..*c * size].copy_from_slice(from));
            self.args.push(arg(&Operand { bytes: &filled[from..from + n * blocks * 16 * size], ..*x })?);
            self.filled.push(filled);
        }
        self.shapes.push([&[*n, blocks], spatial, &[16]].concat());
        Ok(())
    }

    fn run(self, cx: &mut Cx<'_>, expr: &Expr, out: &mut Output<'_>) -> Result<(), String> {
        let shape = stored_shape(out.shape, out.layout);
        run_over(cx, expr, &self.args, &self.shapes, &shape, out)?;
        clear_filling(out)
    }
}

fn arg(x: &Operand<'_>) -> Result<Arg, String> {
    match x.dtype {
        DType::Bool => Ok(Arg::Bool(Shared::from_const(x.bytes.as_ptr()))),
        DType::U8 => Ok(Arg::U8(Shared::from_const(x.bytes.as_ptr()))),
        DType::I8 => Ok(Arg::I8(Shared::from_const(x.bytes.as_ptr()))),
        DType::I32 => Ok(Arg::F32(Shared::from_const(x.elements::<i32>()?.as_ptr().cast()))),
        _ => Ok(Arg::F32(Shared::from_const(x.elements::<f32>()?.as_ptr()))),
    }
}

/// Checks operands, by their extents as stored, against each other and the result.
fn program<'a>(
    expr: &'a Expr,
    data: &[Arg],
    shapes: &[Vec<usize>],
    shape: &[usize],
    out: &Output<'_>,
) -> Result<Program<'a>, String> {
    let len = element_count(shape).ok_or("the result is too large")?;
    if out.dtype != expr.result_type() || out.dtype.bytes_for(len) != Some(out.bytes.len()) {
        return Err(format!("a result of {} for a program of {}", out.dtype, expr.result_type()));
    }
    if data.len() != expr.args().len() {
        return Err("an operand is missing".into());
    }
    for ((x, t), from) in data.iter().zip(expr.args()).zip(shapes) {
        let lead = shape.len().checked_sub(from.len());
        let fits = lead.is_some_and(|l| from.iter().zip(&shape[l..]).all(|(a, b)| a == b || *a == 1));
        let typed = match x {
            Arg::Bool(_) => *t == DType::Bool,
            Arg::U8(_) => *t == DType::U8,
            Arg::I8(_) => *t == DType::I8,
            Arg::F32(_) => matches!(t, DType::F32 | DType::I32),
            Arg::Given => *t == DType::I32,
        };
        if !fits || !typed {
            return Err(format!("{t}{from:?} does not broadcast to {shape:?}"));
        }
    }
    let strides: Vec<Vec<usize>> = shapes.iter().map(|x| broadcast_strides(x, shape)).collect();
    let (extents, strides) = collapse(shape, strides);
    let contiguous = planc_tensor::contiguous_strides(&extents);
    let walk = |s: Vec<usize>| match () {
        () if s == contiguous => Walk::Full,
        () if s.iter().all(|s| *s == 0) => Walk::Scalar,
        () => Walk::Strided(s),
    };
    let args = data.iter().copied().zip(strides.into_iter().map(walk)).collect();
    let (slots, slot_count) = slots(expr);
    Ok(Program { expr, args, extents, len, slots, slot_count })
}

fn run_over(
    cx: &mut Cx<'_>,
    expr: &Expr,
    data: &[Arg],
    shapes: &[Vec<usize>],
    shape: &[usize],
    out: &mut Output<'_>,
) -> Result<(), String> {
    let program = &program(expr, data, shapes, shape, out)?;
    let len = program.len;
    let cost = expr.insts().len() * BLOCK;
    let target = Target { bytes: Shared::new(out.bytes), dtype: out.dtype };
    let isa = cx.isa;
    if let Some((x, table)) = table(isa, program, out.dtype) {
        ranges(cx.par, len.div_ceil(BLOCK), BLOCK, |blocks| {
            for i in blocks.start * BLOCK..(blocks.end * BLOCK).min(len) {
                // SAFETY: the operand and the result have `len` bytes, and the element belongs to this task. They may be
                // the same memory: each byte is read before it is written.
                unsafe { *target.bytes.get().add(i) = table[usize::from(*x.get().add(i))] };
            }
        });
        return Ok(());
    }
    ranges(cx.par, len.div_ceil(BLOCK), cost, |blocks| {
        let (start, end) = (blocks.start * BLOCK, (blocks.end * BLOCK).min(len));
        isa.run(Blocks { program, start, end, given: None, target });
    });
    Ok(())
}

/// Bytes of a result from which on a table of all codes pays.
const TABLE_FROM: usize = 16 * 256;

/// The operand and the results of all its codes, for a long map from bytes to bytes.
fn table(isa: Isa, p: &Program<'_>, dtype: DType) -> Option<(Shared<u8>, [u8; 256])> {
    let [(arg @ (Arg::U8(x) | Arg::I8(x)), Walk::Full)] = p.args[..] else { return None };
    if p.len < TABLE_FROM || !matches!(dtype, DType::U8 | DType::I8) {
        return None;
    }
    let codes: [u8; 256] = std::array::from_fn(|code| code as u8);
    let all = Shared::from_const(codes.as_ptr());
    let arg = if let Arg::I8(_) = arg { Arg::I8(all) } else { Arg::U8(all) };
    let (slots, slot_count) = (p.slots.clone(), p.slot_count);
    let args = vec![(arg, Walk::Full)];
    let program = &Program { expr: p.expr, args, extents: vec![256], len: 256, slots, slot_count };
    let mut table = [0; 256];
    let target = Target { bytes: Shared::new(&mut table), dtype };
    isa.run(Blocks { program, start: 0, end: 256, given: None, target });
    Some((x, table))
}

#[derive(Clone, Copy)]
struct Target {
    bytes: Shared<u8>,
    dtype: DType,
}

/// Elements `start..end` of the result, block by block.
struct Blocks<'a> {
    program: &'a Program<'a>,
    start: usize,
    end: usize,
    /// The first operand of exactly these elements, for [`Arg::Given`].
    given: Option<&'a [i32]>,
    target: Target,
}

/// A register of a block: memory of whole vectors, or one value for all.
#[derive(Clone, Copy)]
pub(super) enum Src {
    Block(*const f32),
    Splat(f32),
}

impl Kernel for Blocks<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.program;
        let insts = p.expr.insts();
        // An epilogue runs over a tile's few elements at a time: registers are no longer than needed, and stay.
        let width = BLOCK.min((self.end - self.start).next_multiple_of(PANEL));
        let mut registers = REGISTERS.take();
        let need = (p.slot_count + p.args.len()) * width;
        if registers.len() < need {
            registers.resize(need, 0.0);
        }
        let (args, regs) = registers[..need].split_at_mut(p.args.len() * width);
        let mut sources = vec![Src::Splat(0.0); insts.len()];
        let mut repeated = vec![usize::MAX; p.args.len()];
        for start in (self.start..self.end).step_by(BLOCK) {
            let n = BLOCK.min(self.end - start);
            // Vector loops cover whole vectors: operands of a ragged last block are copied first.
            let ragged = !n.is_multiple_of(S::LANES);
            for (i, inst) in insts.iter().enumerate() {
                let at = |r: Reg| sources[usize::from(r)];
                let last = i + 1 == insts.len();
                let direct = last && !ragged && matches!(self.target.dtype, DType::F32 | DType::I32);
                let dst = if direct {
                    // SAFETY: the block's elements are within the result, and no other task writes them.
                    unsafe { self.target.bytes.get().cast::<f32>().add(start) }
                } else {
                    regs[p.slots[i] * width..].as_mut_ptr()
                };
                let whole = |r: Reg| p.expr.type_of(r).is_int();
                let src = match *inst {
                    Inst::Const(t, v) if t.is_int() => Src::Splat(ints::lane(ints::wrap(t, v.as_i64() as i32))),
                    Inst::Const(_, v) => Src::Splat(v.as_f64() as f32),
                    Inst::Arg(0) if self.given.is_some() => {
                        let to = &mut args[..width];
                        let given = self.given.unwrap_or_default();
                        to.iter_mut().zip(given).for_each(|(to, v)| *to = ints::lane(*v));
                        Src::Block(to.as_ptr())
                    }
                    Inst::Arg(a) => {
                        let a = usize::from(a);
                        let to = &mut args[a * width..(a + 1) * width];
                        // SAFETY: shapes and lengths were checked against the result's extents; operands are not
                        // written during the run, but for the result's own elements, by the task that reads them.
                        unsafe { load(&p.args[a], &p.extents, start, n, ragged, to, &mut repeated[a]) }
                    }
                    // SAFETY: every source is a block of whole vectors covering `n` or a splat; so is `dst`, which no
                    // source of this instruction is.
                    Inst::Unary(op, a) if whole(a) => unsafe { ints::unary(op, p.expr.type_of(a), at(a), dst, n) },
                    // SAFETY: as above.
                    Inst::Binary(op, a, b) if whole(a) => unsafe {
                        ints::binary(op, p.expr.type_of(a), at(a), at(b), dst, n)
                    },
                    // SAFETY: as above.
                    Inst::Unary(op, a) => unsafe { floats::unary(s, op, at(a), dst, n) },
                    // SAFETY: as above.
                    Inst::Binary(op, a, b) => unsafe { floats::binary(s, op, at(a), at(b), dst, n) },
                    // SAFETY: as above.
                    Inst::Select(c, a, b) => unsafe { floats::select(s, at(c), at(a), at(b), dst, n) },
                    Inst::Cast(t, a) => match (t, p.expr.type_of(a)) {
                        // SAFETY: as above.
                        (DType::Bool, DType::F32) => unsafe {
                            floats::binary(s, BinOp::Ne, at(a), Src::Splat(0.0), dst, n)
                        },
                        // SAFETY: as above.
                        (to @ (DType::U8 | DType::I8), DType::F32) => unsafe { floats::saturate(s, to, at(a), dst, n) },
                        // SAFETY: as above.
                        (to, from) if to.is_int() || from.is_int() => unsafe { ints::cast(to, from, at(a), dst, n) },
                        _ => at(a),
                    },
                };
                sources[i] = src;
            }
            let Some(result) = sources.last() else { continue };
            // SAFETY: as for `direct`; the result is a block or a splat.
            unsafe { store(*result, self.target, start, n) };
        }
        REGISTERS.set(registers);
    }
}

/// Where in memory the result of each instruction lies, in registers, and how many there are: one that is not needed any
/// more makes room for another, so that long programs stay in L1. Never among an instruction's own operands, which would
/// keep loops from being vectors. Constants and operands of the program take no room.
fn slots(e: &Expr) -> (Vec<usize>, usize) {
    let insts = e.insts();
    let mut last: Vec<usize> = (0..insts.len()).collect();
    for (i, inst) in insts.iter().enumerate().rev() {
        // Conversions that change nothing give their operand.
        let end = if let Inst::Cast(..) = inst { last[i] } else { i };
        inst.operands().for_each(|r| last[usize::from(r)] = last[usize::from(r)].max(end));
    }
    let (mut slots, mut count, mut free) = (vec![0; insts.len()], 0, vec![]);
    for (i, inst) in insts.iter().enumerate() {
        if matches!(inst, Inst::Const(..) | Inst::Arg(_)) {
            continue;
        }
        slots[i] = free.pop().unwrap_or_else(|| {
            count += 1;
            count - 1
        });
        // Each instruction is the last to need some; operands of a conversion live as long as it does.
        let ended = |r: usize| last[r] == i && !matches!(insts[r], Inst::Const(..) | Inst::Arg(_));
        free.extend((0..=i).filter(|r| ended(*r)).map(|r| slots[r]));
    }
    (slots, count)
}

thread_local! {
    /// Memory of a program's registers between its blocks; what it holds does not matter.
    static REGISTERS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Makes elements `start..start + n` of an operand available. `repeated` is where the row begins that `to` holds over and
/// over, as the channels of a block do for each of its pixels.
///
/// # Safety
/// The operand's memory must hold all elements that its walk reaches over the result's extents, of which the elements
/// asked for are a part; nobody else may write to them meanwhile.
#[inline(always)]
unsafe fn load(
    arg: &(Arg, Walk),
    extents: &[usize],
    start: usize,
    n: usize,
    ragged: bool,
    to: &mut [f32],
    repeated: &mut usize,
) -> Src {
    let (data, walk) = arg;
    // SAFETY: as promised by the caller, for every arm; `to` holds a whole block.
    unsafe {
        match (data, walk) {
            (x, Walk::Scalar) => Src::Splat(x.at(0)),
            (Arg::F32(x), Walk::Full) if !ragged => Src::Block(x.get().add(start)),
            (Arg::F32(x), Walk::Full) => spread(to, n, |i| *x.get().add(start + i)),
            (Arg::U8(x), Walk::Full) => spread(to, n, |i| ints::lane(i32::from(*x.get().add(start + i)))),
            (Arg::I8(x), Walk::Full) => spread(to, n, |i| ints::lane(i32::from(*x.get().add(start + i) as i8))),
            (x, Walk::Full) => spread(to, n, |i| x.at(start + i)),
            (_, Walk::Strided(strides)) => {
                let rank = extents.len();
                let (inner, step) = (extents[rank - 1], strides[rank - 1]);
                if let Arg::F32(x) = data
                    && rank >= 2
                    && (step, strides[rank - 2]) == (1, 0)
                    && 2 * inner <= BLOCK
                    && start.is_multiple_of(inner)
                    && start / inner / extents[rank - 2] == (start + n - 1) / inner / extents[rank - 2]
                {
                    let (mut rest, mut at) = (start / inner / extents[rank - 2], 0);
                    for axis in (0..rank - 2).rev() {
                        at += rest % extents[axis] * strides[axis];
                        rest /= extents[axis];
                    }
                    if *repeated != at {
                        let row = std::slice::from_raw_parts(x.get().add(at), inner);
                        to.chunks_mut(inner).for_each(|to| to.copy_from_slice(&row[..to.len()]));
                        *repeated = at;
                    }
                    return Src::Block(to.as_ptr());
                }
                *repeated = usize::MAX;
                let mut done = 0;
                while done < n {
                    // The row of the next element, and how much of it the block covers.
                    let (mut rest, mut at) = ((start + done) / inner, 0);
                    let column = (start + done) % inner;
                    for axis in (0..rank - 1).rev() {
                        at += rest % extents[axis] * strides[axis];
                        rest /= extents[axis];
                    }
                    at += column * step;
                    let run = (inner - column).min(n - done);
                    let part = &mut to[done..];
                    match data {
                        Arg::F32(x) if run == n && step == 0 => return Src::Splat(*x.get().add(at)),
                        Arg::F32(x) if run == n && step == 1 && !ragged => return Src::Block(x.get().add(at)),
                        Arg::F32(x) if step == 1 => spread(part, run, |i| *x.get().add(at + i)),
                        Arg::F32(x) => spread(part, run, |i| *x.get().add(at + i * step)),
                        x => spread(part, run, |i| x.at(at + i * step)),
                    };
                    done += run;
                }
                Src::Block(to.as_ptr())
            }
        }
    }
}

#[inline(always)]
fn spread(to: &mut [f32], n: usize, from: impl Fn(usize) -> f32) -> Src {
    to[..n].iter_mut().enumerate().for_each(|(i, y)| *y = from(i));
    Src::Block(to.as_ptr())
}

/// # Safety
/// `start..start + n` is within the target and written by this task only; `src` is valid for `n` elements.
#[inline(always)]
unsafe fn store(src: Src, target: Target, start: usize, n: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
        let p = match src {
            Src::Splat(v) => {
                (0..n).for_each(|i| store_one(v, target, start + i));
                return;
            }
            Src::Block(p) => p,
        };
        match target.dtype {
            DType::U8 | DType::I8 => {
                let to = std::slice::from_raw_parts_mut(target.bytes.get().add(start), n);
                let from = std::slice::from_raw_parts(p, n);
                to.iter_mut().zip(from).for_each(|(to, v)| *to = v.to_bits() as u8);
            }
            DType::F32 | DType::I32 if p == target.bytes.get().cast::<f32>().add(start).cast_const() => {}
            _ => (0..n).for_each(|i| store_one(*p.add(i), target, start + i)),
        }
    }
}

/// # Safety
/// Element `i` is within the target and written by this task only.
#[inline(always)]
unsafe fn store_one(v: f32, target: Target, i: usize) {
    // SAFETY: as promised by the caller.
    unsafe {
        match target.dtype {
            DType::Bool => *target.bytes.get().add(i) = u8::from(v != 0.0),
            DType::U8 | DType::I8 => *target.bytes.get().add(i) = v.to_bits() as u8,
            _ => target.bytes.get().cast::<f32>().add(i).write(v),
        }
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
