//! Where buffers lie in the arena for one set of extents.
//!
//! The operands of a concatenation whose bytes simply follow each other in the result are placed there from the start: their
//! producers write the result, and the step has nothing left to do.

use crate::plan::Prepared;
use planc_kir::Kernel;
use planc_plan::arena::{Buffer, assign};
use planc_plan::program::{Action, Program, Step, Storage};
use planc_tensor::{Dim, Layout};

/// Shapes and offsets of a program's arena values for one set of extents.
#[derive(Debug)]
pub(crate) struct Placement {
    /// The extents of every arena and alias value, by value; `None` for others.
    pub(crate) shapes: Vec<Option<Vec<usize>>>,
    /// Byte offset and length of every arena value, by value.
    pub(crate) slots: Vec<Option<(usize, usize)>>,
    /// The steps that have nothing to do because their operands lie where the result has them.
    pub(crate) joined: Vec<bool>,
    /// Bytes of the arena.
    pub(crate) total: u64,
}

/// Places the arena values of `p`. Lifetimes come from the steps, not from the file, so that values that are alive
/// together never overlap whatever the file says, but for the operands of joined steps and their results, if `join`.
pub(crate) fn place(
    p: &Program,
    prepared: &Prepared,
    shape: &dyn Fn(&[Dim]) -> Option<Vec<usize>>,
    join: bool,
) -> Result<Placement, String> {
    let mut shapes = Vec::with_capacity(p.values.len());
    let mut sizes = vec![None; p.values.len()];
    for (i, v) in p.values.iter().enumerate() {
        let rooted = matches!(p.values[prepared.root[i] as usize].storage, Storage::Arena);
        let wanted = v.storage == Storage::Arena || matches!(v.storage, Storage::Alias(_)) && rooted;
        let extents = v.shape.as_deref().filter(|_| wanted).and_then(shape);
        if v.storage == Storage::Arena {
            let extents = extents.as_ref().ok_or_else(|| format!("the extents of {:?} cannot be computed", v.name))?;
            let bytes = v.layout.stored_bytes(v.dtype, extents);
            let bytes = bytes.ok_or_else(|| format!("{:?} with shape {extents:?} is too large", v.name))?;
            sizes[i] = Some(bytes).filter(|_| prepared.live[i].0 != usize::MAX);
        }
        shapes.push(extents);
    }
    let mut joins = Joins { p, prepared, shapes: &shapes, sizes: &sizes, within: vec![None; p.values.len()] };
    let joined = p.steps.iter().map(|step| join && joins.step(step)).collect();
    let within = joins.within;
    // Every buffer lives as long as all that lies in it.
    let mut live = prepared.live.clone();
    for i in 0..within.len() {
        if within[i].is_some() {
            let (first, last) = prepared.live[i];
            let whole = &mut live[outermost(&within, i).0];
            *whole = (whole.0.min(first), whole.1.max(last));
        }
    }
    let (mut owners, mut buffers) = (Vec::new(), Vec::new());
    for (i, size) in sizes.iter().enumerate() {
        if let (Some(size), None) = (size, within[i]) {
            owners.push(i);
            let (first_step, last_step) = live[i];
            buffers.push(Buffer { size: *size as u64, align: ALIGN as u64, first_step, last_step, in_place_of: None });
        }
    }
    let assignment = assign(&buffers).map_err(|e| e.to_string())?;
    let mut offsets = vec![0; p.values.len()];
    for (value, offset) in owners.into_iter().zip(assignment.offsets) {
        offsets[value] = offset as usize;
    }
    let slot = |(i, size): (usize, &Option<usize>)| {
        let (whole, offset) = outermost(&within, i);
        size.map(|size| (offsets[whole] + offset, size))
    };
    let slots = sizes.iter().enumerate().map(slot).collect();
    Ok(Placement { shapes, slots, joined, total: assignment.total })
}

/// Alignment of buffers.
const ALIGN: usize = 64;

/// The buffer that value `i` lies in, and where.
fn outermost(within: &[Option<(usize, usize)>], mut i: usize) -> (usize, usize) {
    let mut at = 0;
    while let Some((whole, offset)) = within[i] {
        (i, at) = (whole, at + offset);
    }
    (i, at)
}

/// Finds what can be placed in results of concatenations.
struct Joins<'a> {
    p: &'a Program,
    prepared: &'a Prepared,
    shapes: &'a [Option<Vec<usize>>],
    /// Bytes of the arena values that are used.
    sizes: &'a [Option<usize>],
    /// The later value that a value lies in, and the offset.
    within: Vec<Option<(usize, usize)>>,
}

impl Joins<'_> {
    /// Places the operands of a step in its result if it is a concatenation that allows it.
    fn step(&mut self, step: &Step) -> bool {
        let parts = self.parts(step).unwrap_or_default();
        for (part, whole, offset) in &parts {
            self.within[*part] = Some((*whole, *offset));
        }
        !parts.is_empty()
    }

    /// The operands, the result, and where they lie in it; `None` if some operand cannot lie there.
    fn parts(&self, step: &Step) -> Option<Vec<(usize, usize, usize)>> {
        let Action::Kernel { kernel: Kernel::Concat { axis }, epilogue: None, .. } = &step.action else { return None };
        let [Some(out)] = step.outputs[..] else { return None };
        let (out, layout) = (out as usize, self.p.values[out as usize].layout);
        let (shape, size) = (self.shapes[out].as_ref()?, self.sizes[out]?);
        let blocked = layout == Layout::Nchw16c;
        if !(blocked && *axis == 1 || layout == Layout::RowMajor) || shape.get(..*axis)?.iter().any(|d| *d != 1) {
            return None;
        }
        let (mut parts, mut end, mut whole) = (Vec::<(usize, usize, usize)>::new(), 0, true);
        for v in &step.inputs {
            let v = (*v)? as usize;
            let root = self.prepared.root[v] as usize;
            // What follows the filling of a block, or what kernels would find unaligned, cannot lie there.
            let fits = whole && end % ALIGN == 0 && self.p.values[v].layout == layout;
            if !fits || self.within[root].is_some() || parts.iter().any(|part| part.0 == root) {
                return None;
            }
            whole = !blocked || self.shapes[v].as_ref()?[1].is_multiple_of(16);
            parts.push((root, out, end));
            end += self.sizes[root]?;
        }
        (end == size).then_some(parts)
    }
}
