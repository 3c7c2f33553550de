//! The walk of a map over broadcast operands: checks of their extents, and the rows that generated code runs over.

use super::{Cx, Operand, Output};
use crate::par::{Shared, ranges};
use planc_kir::Expr;
use planc_tensor::{DType, broadcast_strides, element_count};

/// Checks that operands of these types and extents broadcast to a result of `shape`, which is `dtype` in `bytes` bytes;
/// the result's elements.
fn check(expr: &Expr, types: &[DType], shapes: &[&[usize]], out: (DType, &[usize], usize)) -> Result<usize, String> {
    let (dtype, shape, bytes) = out;
    let len = element_count(shape).ok_or("the result is too large")?;
    if dtype != expr.result_type() || dtype.bytes_for(len) != Some(bytes) {
        return Err(format!("a result of {dtype} for a program of {}", expr.result_type()));
    }
    if types.len() != expr.args().len() {
        return Err("an operand is missing".into());
    }
    for ((have, t), own) in types.iter().zip(expr.args()).zip(shapes) {
        let lead = shape.len().checked_sub(own.len());
        let fits = lead.is_some_and(|l| own.iter().zip(&shape[l..]).all(|(a, b)| a == b || *a == 1));
        if !fits || have != t {
            return Err(format!("{have}{own:?} does not broadcast to {t}{shape:?}"));
        }
    }
    Ok(len)
}

/// Merges axes that every operand walks as one, drops axes of extent 1.
pub(super) fn collapse(shape: &[usize], strides: Vec<Vec<usize>>) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut extents: Vec<usize> = Vec::new();
    let mut merged: Vec<Vec<usize>> = vec![vec![]; strides.len()];
    for axis in 0..shape.len() {
        let e = shape[axis];
        if e == 1 {
            continue;
        }
        let joins = !extents.is_empty()
            && strides
                .iter()
                .zip(&merged)
                .all(|(s, m)| m.last().is_some_and(|last| *last == s[axis].saturating_mul(e)));
        if joins {
            if let Some(last) = extents.last_mut() {
                *last *= e;
            }
            strides.iter().zip(&mut merged).for_each(|(s, m)| {
                m.pop();
                m.push(s[axis]);
            });
        } else {
            extents.push(e);
            strides.iter().zip(&mut merged).for_each(|(s, m)| m.push(s[axis]));
        }
    }
    (extents, merged)
}

/// Consecutive elements of a result and the operands' elements that belong to them.
///
/// Operand `i` has its element for result element `k` at `args[i] + k * steps[i]` bytes. All these may be read, and
/// `len` elements at `out` be written, by whoever is given the row; no other row covers those elements of the result.
#[derive(Debug)]
pub struct Row<'a> {
    /// First element of each operand.
    pub args: &'a [*const u8],
    /// Bytes from one element of each operand to the next; 0 for one that stays.
    pub steps: &'a [usize],
    /// First element of the result, or first accumulator.
    pub out: *mut u8,
    /// Elements, at least 1.
    pub len: usize,
    /// Bytes from one result or accumulator to the next; 0 for one that takes all elements.
    pub step: usize,
}

/// Elements that threads take at once, at least.
const UNIT: usize = 1024;

/// Calls `f` on rows that together cover a map of `expr`, on the threads of `cx`.
///
/// # Errors
/// When operands are missing, have other types than the program's, or do not broadcast to the result.
pub fn walk(
    cx: &Cx<'_>,
    expr: &Expr,
    inputs: &[Option<Operand<'_>>],
    out: &mut Output<'_>,
    f: &(dyn Fn(Row<'_>) + Sync),
) -> Result<(), String> {
    let operands: Vec<&Operand<'_>> = inputs.iter().flatten().collect();
    let types: Vec<DType> = operands.iter().map(|x| x.dtype).collect();
    let shapes: Vec<&[usize]> = operands.iter().map(|x| x.shape).collect();
    let len = check(expr, &types, &shapes, (out.dtype, out.shape, out.bytes.len()))?;
    for x in &operands {
        if element_count(x.shape).and_then(|n| x.dtype.bytes_for(n)) != Some(x.bytes.len()) {
            return Err(format!("an operand of {}{:?} has {} bytes", x.dtype, x.shape, x.bytes.len()));
        }
    }
    let strides = shapes.iter().map(|x| broadcast_strides(x, out.shape)).collect();
    let (extents, strides) = collapse(out.shape, strides);
    let inner = extents.last().copied().unwrap_or(1);
    let outer = &extents[..extents.len().saturating_sub(1)];
    let width = |t: DType| t.bits() / 8;
    let steps: Vec<usize> =
        strides.iter().zip(&types).map(|(s, t)| s.last().copied().unwrap_or(0) * width(*t)).collect();
    let (size, target) = (width(out.dtype), Shared::new(out.bytes));
    let sources: Vec<Shared<u8>> = operands.iter().map(|x| Shared::from_const(x.bytes.as_ptr())).collect();
    let cost = UNIT.saturating_mul(expr.insts().len());
    ranges(cx.par, len.div_ceil(UNIT), cost, |units| {
        let (mut at, end) = (units.start * UNIT, (units.end * UNIT).min(len));
        let mut args: Vec<*const u8> = vec![std::ptr::null(); sources.len()];
        while at < end {
            let (row, column) = (at / inner, at % inner);
            let n = (inner - column).min(end - at);
            for (i, arg) in args.iter_mut().enumerate() {
                let (mut rest, mut offset) = (row, 0);
                for (e, s) in outer.iter().zip(&strides[i]).rev() {
                    offset += rest % e * s;
                    rest /= e;
                }
                // Within the operand: its extents were checked against the result's, of which this is an index.
                *arg = sources[i].get().cast_const().wrapping_add(offset * width(types[i]) + column * steps[i]);
            }
            f(Row { args: &args, steps: &steps, out: target.get().wrapping_add(at * size), len: n, step: size });
            at += n;
        }
    });
    Ok(())
}
