//! `Reduce` and `ArgReduce`.
//!
//! Axes are merged into those that are kept and those that are reduced. A team of threads reduces the elements of one result:
//! one thread where neighbouring results are neighbours in memory, else a warp or a block. Sums are taken in the class of
//! the element type (f32 for 16-bit floats, wrapping for integers), those of integer means in 64 bits.

use super::entry::{Entry, count};
use super::index::{Walk, coordinates};
use super::rows::{Rows, Team};
use super::tail::element;
use super::{Generated, Request, Row, Tail, Types};
use crate::expr::{self, arithmetic, class};
use crate::math;
use crate::ptx::{Class, Cmp, Int2, Op, Operand, Reg, Round, Space, Ty};
use planc_kir::{ArgReduce, Kernel, Num, Reduce, ReduceOp, UnOp};
use planc_ops::elementwise::broadcast_dims;
use planc_tensor::{DType, Dim};

pub(super) const REDUCE: Row = Row { supports, epilogue: true, generate };
pub(super) const ARG_REDUCE: Row = Row { supports: supports_arg, epilogue: false, generate: generate_arg };

fn supports(kernel: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    let Kernel::Reduce(r) = kernel else { return Err("not a reduction".into()) };
    let x = r.map.result_type();
    let typed = r.map.args().iter().map(|t| Some(*t)).eq(inputs.iter().copied()) && outputs == [Some(x)];
    expr::supports(&r.map)?;
    let log = matches!(r.op, ReduceOp::LogSum | ReduceOp::LogSumExp);
    let float = log || r.op == ReduceOp::L2;
    if !typed || x == DType::Bool || float && !x.is_float() || log && x == DType::F64 {
        return Err(format!("no device reduction of {x}"));
    }
    Ok(())
}

/// The shape that operands broadcast to.
fn domain(shapes: &[&[Dim]]) -> Result<Vec<Dim>, String> {
    let joined = |a: Vec<Dim>, b: &&[Dim]| broadcast_dims(&a, b).map_err(|e| e.to_string());
    shapes.iter().try_fold(vec![], joined)
}

/// The team that reduces `length` elements to each of `results`; `neighbours`: they lie beside each other.
fn team(neighbours: bool, length: &Dim, results: &Dim) -> Team {
    if neighbours {
        return Team::for_row(length);
    }
    // Results beside each other are read beside each other, unless there are too few of them for many threads.
    match (length.as_const(), results.as_const()) {
        (Some(64..), Some(..2048)) => Team::Warp,
        _ => Team::Thread,
    }
}

/// Whether the innermost axis of `domain` is reduced.
fn innermost(domain: &[Dim], axes: &[usize]) -> bool {
    let one = Dim::from(1usize);
    domain.iter().rposition(|d| *d != one).is_some_and(|a| axes.contains(&a))
}

/// The element type that is accumulated in.
fn accumulated(op: ReduceOp, t: DType) -> DType {
    match t {
        DType::F64 => t,
        t if t.is_float() => DType::F32,
        t if op == ReduceOp::Mean => {
            if t.is_unsigned() {
                DType::U64
            } else {
                DType::I64
            }
        }
        t => t,
    }
}

/// What accumulating starts from.
fn start(op: ReduceOp, t: DType) -> Num {
    let float = |v: f64, int: i64| if t.is_float() { Num::float(v) } else { Num::Int(int) };
    let (low, high) = match t {
        t if t.is_unsigned() => (0, if t == DType::U64 { -1 } else { (1i64 << t.bits()) - 1 }),
        t if t.is_float() => (0, 0),
        t => (i64::MIN >> (64 - t.bits()), i64::MAX >> (64 - t.bits())),
    };
    match op {
        ReduceOp::Prod => float(1.0, 1),
        ReduceOp::Max => float(f64::NEG_INFINITY, low),
        ReduceOp::Min => float(f64::INFINITY, high),
        _ => float(0.0, 0),
    }
}

/// Adds element `v` to what was accumulated.
fn step(e: &mut Entry, op: ReduceOp, t: DType, sum: Reg, v: Reg) -> Reg {
    let ty = arithmetic(t);
    match op {
        ReduceOp::SumSquare | ReduceOp::L2 => e.b.mad(ty, v, v, sum),
        ReduceOp::L1 => {
            let v = expr::unary(&mut e.b, UnOp::Abs, t, v);
            e.b.add(ty, sum, v)
        }
        _ => merge(e, op, t, sum, v),
    }
}

/// Combines what two threads accumulated.
fn merge(e: &mut Entry, op: ReduceOp, t: DType, a: Reg, b: Reg) -> Reg {
    let ty = arithmetic(t);
    match op {
        ReduceOp::Max => expr::extremum(&mut e.b, t, a, b, true),
        ReduceOp::Min => expr::extremum(&mut e.b, t, a, b, false),
        ReduceOp::Prod => e.b.mul(ty, a, b),
        _ => e.b.add(ty, a, b),
    }
}

fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::Reduce(Reduce { op, axes, map }) = request.kernel else { return Err("not a reduction".into()) };
    let op = *op;
    let operands = (0..map.args().len()).map(|n| request.input(n)).collect::<Result<Vec<_>, _>>()?;
    let shapes: Vec<&[Dim]> = operands.iter().map(|v| v.shape.as_slice()).collect();
    let domain = domain(&shapes)?;
    let kept = Walk::over(&domain, &shapes, &|a| !axes.contains(&a))?.finished();
    let inside = Walk::over(&domain, &shapes, &|a| axes.contains(&a))?.finished();
    let (results, length) = (count(&kept.extents)?, count(&inside.extents)?);
    let tail = Tail::new(request)?;
    let t = accumulated(op, map.result_type());
    let mut rows = Rows::start("reduce", &results, team(innermost(&domain, axes), &length, &results))?;
    let at = coordinates(&mut rows.e, rows.row, &kept.extents)?;
    let bases = (0..operands.len()).map(|n| kept.offset(&mut rows.e, n, &at)).collect::<Result<Vec<_>, _>>()?;
    let size = rows.e.size(&length)?;
    let read = |e: &mut Entry, i: Reg| -> Result<Reg, String> {
        let at = coordinates(e, i, &inside.extents)?;
        let mut args = vec![];
        for (n, (operand, base)) in operands.iter().zip(&bases).enumerate() {
            let offset = inside.offset(e, n, &at)?;
            let offset = e.b.add(Ty::U32, *base, offset);
            let input = e.input(n);
            let at = element(e, input, offset, operand.dtype);
            args.push(expr::load(&mut e.b, Space::Global, operand.dtype, at));
        }
        let v = expr::emit(&mut e.b, map, &args);
        Ok(expr::cast(&mut e.b, map.result_type(), t, v))
    };
    // Everything but the logarithm of a sum of exponentials is one walk.
    let walk = |rows: &mut Rows, op: ReduceOp, less: Option<Reg>| -> Result<Reg, String> {
        let initial = expr::constant(&mut rows.e.b, t, start(op, t));
        let sum = rows.e.b.mov(initial.class, initial);
        rows.each(size, |e, i| {
            let mut v = read(e, i)?;
            if let Some(less) = less {
                let difference = e.b.sub(Ty::F32, v, less);
                v = math::exp(&mut e.b, difference);
            }
            let next = step(e, op, t, sum, v);
            e.b.set(sum, next);
            Ok(())
        })?;
        let all = rows.combine(&[sum], |e, a, b| vec![merge(e, op, t, a[0], b[0])]);
        Ok(all[0])
    };
    let v = if op == ReduceOp::LogSumExp {
        let max = walk(&mut rows, ReduceOp::Max, None)?;
        let sum = walk(&mut rows, ReduceOp::Sum, Some(max))?;
        let b = &mut rows.e.b;
        let log = math::log(b, sum);
        let v = b.add(Ty::F32, log, max);
        let magnitude = b.op(Op::Abs(Ty::F32), &[max.into()]);
        let infinite = b.setp(Cmp::Eq, Ty::F32, magnitude, f32::INFINITY);
        b.selp(Ty::F32, max, v, infinite)
    } else {
        let sum = walk(&mut rows, op, None)?;
        let b = &mut rows.e.b;
        let ty = arithmetic(t);
        match op {
            ReduceOp::L2 => b.op(Op::Sqrt(ty), &[sum.into()]),
            ReduceOp::LogSum => math::log(b, sum),
            ReduceOp::Mean => {
                let n = b.mov(Class::B32, size);
                if t.is_float() {
                    let n = b.cvt(ty, Ty::U32, Some(Round::Rn), n);
                    b.op(Op::Div(ty), &[sum.into(), n.into()])
                } else {
                    // The mean of nothing is 0, as its sum is.
                    let n = b.int2(Int2::Max, Ty::U32, n, 1u32);
                    let n = b.cvt(ty, Ty::U32, None, n);
                    b.int2(Int2::Div, ty, sum, n)
                }
            }
            _ => sum,
        }
    };
    let v = expr::cast(&mut rows.e.b, t, request.result_type()?, v);
    let v = expr::wrapped(&mut rows.e.b, request.result_type()?, v);
    finish(rows, |e, row| tail.store(e, row, v))
}

/// Ends a kernel with what one thread of each team does for its row.
fn finish(mut rows: Rows, f: impl FnOnce(&mut Entry, Reg) -> Result<(), String>) -> Result<Generated, String> {
    let row = rows.row;
    if rows.team == Team::Thread {
        f(&mut rows.e, row)?;
    } else {
        let first = rows.e.b.setp(Cmp::Eq, Ty::U32, rows.lane, 0u32);
        rows.e.when(first, |e| f(e, row))?;
    }
    Ok(rows.launch().into())
}

fn supports_arg(_: &Kernel, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    match (inputs, outputs) {
        (&[Some(x)], &[Some(DType::I64)]) if class(x).is_some() && x != DType::Bool => Ok(()),
        _ => Err("no device extremum of these types".into()),
    }
}

fn generate_arg(request: &Request<'_>) -> Result<Generated, String> {
    let Kernel::ArgReduce(ArgReduce { max, axis, last }) = request.kernel else { return Err("no extremum".into()) };
    let x = request.input(0)?;
    let t = x.dtype;
    let kept = Walk::over(&x.shape, &[&x.shape], &|a| a != *axis)?.finished();
    let inside = Walk::over(&x.shape, &[&x.shape], &|a| a == *axis)?.finished();
    let (results, length) = (count(&kept.extents)?, count(&inside.extents)?);
    let mut rows = Rows::start("arg", &results, team(innermost(&x.shape, &[*axis]), &length, &results))?;
    let at = coordinates(&mut rows.e, rows.row, &kept.extents)?;
    let base = kept.offset(&mut rows.e, 0, &at)?;
    let (size, input) = (rows.e.size(&length)?, rows.e.input(0));
    let read = |e: &mut Entry, i: Reg| -> Result<Reg, String> {
        let offset = inside.offset(e, 0, &[i])?;
        let offset = e.b.add(Ty::U32, base, offset);
        let at = element(e, input, offset, t);
        Ok(expr::load(&mut e.b, Space::Global, t, at))
    };
    let ty = arithmetic(t);
    // Whether (v, i) is to replace (best, at): NaN beats numbers, equal elements are told apart by position.
    let better = |e: &mut Entry, best: Reg, at: Reg, v: Reg, i: Reg| {
        let b = &mut e.b;
        let mut beats = b.setp(if *max { Cmp::Gt } else { Cmp::Lt }, ty, v, best);
        let mut equal = b.setp(Cmp::Eq, ty, v, best);
        if t.is_float() {
            let (new, old) = (b.setp(Cmp::Nan, ty, v, v), b.setp(Cmp::Nan, ty, best, best));
            let both = b.both(new, old);
            equal = b.either(equal, both);
            let number = b.op(Op::Not(Ty::Pred), &[old.into()]);
            let first = b.both(new, number);
            beats = b.either(beats, first);
        }
        let position = b.setp(if *last { Cmp::Gt } else { Cmp::Lt }, Ty::U32, i, at);
        let moved = b.both(equal, position);
        b.either(beats, moved)
    };
    // Threads beyond the row start from its first element too.
    let zero = rows.e.b.mov(Class::B32, 0u32);
    let first = read(&mut rows.e, zero)?;
    let (best, at) = (rows.e.b.mov(first.class, first), rows.e.b.mov(Class::B32, 0u32));
    rows.each(size, |e, i| {
        let v = read(e, i)?;
        let better = better(e, best, at, v, i);
        let (operands, positions): ([Operand; 3], [Operand; 3]) =
            ([v.into(), best.into(), better.into()], [i.into(), at.into(), better.into()]);
        e.b.assign(best, Op::Selp(best.class.ty()), &operands);
        e.b.assign(at, Op::Selp(Ty::B32), &positions);
        Ok(())
    })?;
    let all = rows.combine(&[best, at], |e, a, b| {
        let better = better(e, a[0], a[1], b[0], b[1]);
        vec![e.b.selp(a[0].class.ty(), b[0], a[0], better), e.b.selp(Ty::B32, b[1], a[1], better)]
    });
    let at = all[1];
    finish(rows, |e, row| {
        let wide = e.b.cvt(Ty::U64, Ty::U32, None, at);
        let out = e.output(0);
        let to = element(e, out, row, DType::I64);
        expr::store(&mut e.b, Space::Global, DType::I64, to, wide);
        Ok(())
    })
}
