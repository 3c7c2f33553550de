//! Where the elements of broadcast operands are.
//!
//! The axes of a result are merged where no operand can tell them apart, so that a tensor of any rank is walked with as few
//! divisions as its operands need. Where only symbols say whether an operand is repeated along an axis, its stride there is
//! computed when the kernel is launched, which checks that the two extents broadcast.

use super::entry::{Entry, Size, count};
use crate::ptx::{Class, Reg, Ty};
use planc_tensor::Dim;

/// Merged axes of a result, and what each operand does along them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Walk {
    /// Extents, the last fastest. Never empty.
    pub(super) extents: Vec<Dim>,
    /// Per operand and merged axis, how many of its elements lie between neighbours: nothing where it is repeated.
    pub(super) strides: Vec<Vec<Option<Dim>>>,
    /// Extents that have to be 1 or that of the result, which they are beside.
    broadcasts: Vec<(Dim, Dim)>,
}

impl Walk {
    /// No axis yet, of this many operands.
    pub(super) fn empty(operands: usize) -> Walk {
        Walk { extents: vec![], strides: vec![vec![]; operands], broadcasts: vec![] }
    }

    /// The walk over a result of extents `out` with operands of extents `operands`.
    ///
    /// # Errors
    /// When an operand does not broadcast to the result.
    pub(super) fn new(out: &[Dim], operands: &[&[Dim]]) -> Result<Walk, String> {
        Ok(Walk::over(out, operands, &|_| true)?.finished())
    }

    /// As [`Walk::new`] over those axes of `out` alone that are among `axes`; perhaps none.
    ///
    /// # Errors
    /// As [`Walk::new`].
    pub(super) fn over(out: &[Dim], operands: &[&[Dim]], axes: &dyn Fn(usize) -> bool) -> Result<Walk, String> {
        let one = Dim::from(1usize);
        let mut walk = Walk::empty(operands.len());
        // Elements of each operand behind the axes so far.
        let mut behind: Vec<Dim> = vec![one.clone(); operands.len()];
        for (axis, extent) in out.iter().enumerate().rev() {
            let mut steps = vec![];
            for (shape, behind) in operands.iter().zip(&mut behind) {
                let own = (axis + shape.len()).checked_sub(out.len()).map_or(&one, |i| &shape[i]);
                steps.push(if own == extent {
                    let stride = behind.clone();
                    *behind = stride.clone() * extent.clone();
                    Some(stride)
                } else if *own == one {
                    None
                } else if own.as_const().is_some() && extent.as_const().is_some() {
                    return Err(format!("an extent of {own} does not broadcast to {extent}"));
                } else {
                    // 0 where the operand has one element along the axis, and its stride else.
                    let repeated = (own.clone() - one.clone()).maximum(&Dim::from(0usize)).minimum(&one);
                    let stride = behind.clone();
                    *behind = stride.clone() * own.clone();
                    if axes(axis) {
                        walk.broadcasts.push((own.clone(), extent.clone()));
                    }
                    Some(stride * repeated)
                });
            }
            if *extent != one && axes(axis) {
                walk.push_outer(extent, &steps);
            }
        }
        Ok(walk)
    }

    /// With an axis at least.
    pub(super) fn finished(mut self) -> Walk {
        if self.extents.is_empty() {
            self.extents.push(Dim::from(1usize));
            self.strides.iter_mut().for_each(|s| s.push(None));
        }
        self
    }

    /// Adds an axis in front, merged with the one behind it where every operand walks both as one.
    pub(super) fn push_outer(&mut self, extent: &Dim, steps: &[Option<Dim>]) {
        let merges = self.extents.first().is_some_and(|inner| {
            self.strides.iter().zip(steps).all(|(have, step)| match (&have[0], step) {
                (Some(stride), Some(step)) => stride.clone() * inner.clone() == *step,
                (None, None) => true,
                _ => false,
            })
        });
        if merges {
            self.extents[0] = self.extents[0].clone() * extent.clone();
            return;
        }
        self.extents.insert(0, extent.clone());
        self.strides.iter_mut().zip(steps).for_each(|(have, step)| have.insert(0, step.clone()));
    }

    /// The offsets of the operands for the element with number `flat` of the result.
    pub(super) fn offsets(&self, e: &mut Entry, flat: Reg) -> Result<Vec<Reg>, String> {
        let coordinates = coordinates(e, flat, &self.extents)?;
        (0..self.strides.len()).map(|n| self.offset(e, n, &coordinates)).collect()
    }

    /// The offset of operand `n` at coordinates along the merged axes.
    pub(super) fn offset(&self, e: &mut Entry, n: usize, coordinates: &[Reg]) -> Result<Reg, String> {
        self.broadcasts.iter().for_each(|(own, extent)| e.broadcasts(own, extent));
        let mut sum: Option<Reg> = None;
        for (c, stride) in coordinates.iter().zip(&self.strides[n]) {
            let Some(stride) = stride else { continue };
            let stride = e.size(stride)?;
            sum = Some(match (sum, stride) {
                (None, Size::Const(1)) => *c,
                (Some(s), Size::Const(1)) => e.b.add(Ty::U32, s, *c),
                (None, stride) => e.b.mul(Ty::U32, *c, stride),
                (Some(s), stride) => e.b.mad(Ty::U32, *c, stride, s),
            });
        }
        Ok(sum.unwrap_or_else(|| e.b.mov(Class::B32, 0u32)))
    }
}

/// The coordinates of element `flat` of a row-major tensor.
pub(super) fn coordinates(e: &mut Entry, flat: Reg, extents: &[Dim]) -> Result<Vec<Reg>, String> {
    let (mut rest, mut reversed) = (flat, vec![]);
    for (i, extent) in extents.iter().enumerate().rev() {
        if i == 0 {
            reversed.push(rest);
            break;
        }
        let extent = e.size(extent)?;
        let (q, r) = e.div_rem(rest, extent);
        reversed.push(r);
        rest = q;
    }
    reversed.reverse();
    Ok(reversed)
}

/// The number of an element at `coordinates` of a row-major tensor.
pub(super) fn flat(e: &mut Entry, coordinates: &[Reg], extents: &[Dim]) -> Result<Reg, String> {
    let strides: Vec<Option<Dim>> =
        (0..extents.len()).map(|i| count(&extents[i + 1..]).map(Some)).collect::<Result<_, _>>()?;
    let walk = Walk { extents: extents.to_vec(), strides: vec![strides], broadcasts: vec![] };
    walk.offset(e, 0, coordinates)
}
