//! Where buffers lie in the arena for one set of extents.

use crate::plan::Prepared;
use planc_plan::arena::{Buffer, assign};
use planc_plan::program::{Program, Storage};
use planc_tensor::Dim;

/// Shapes and offsets of a program's arena values for one set of extents.
#[derive(Debug)]
pub(crate) struct Placement {
    /// The extents of every arena and alias value, by value; `None` for others.
    pub(crate) shapes: Vec<Option<Vec<usize>>>,
    /// Byte offset and length of every arena value, by value.
    pub(crate) slots: Vec<Option<(usize, usize)>>,
    /// Bytes of the arena.
    pub(crate) total: u64,
}

/// Places the arena values of `p`. Lifetimes come from the steps, not from the file, so that values that are alive
/// together never overlap whatever the file says.
pub(crate) fn place(
    p: &Program,
    prepared: &Prepared,
    shape: &dyn Fn(&[Dim]) -> Option<Vec<usize>>,
) -> Result<Placement, String> {
    let mut shapes = Vec::with_capacity(p.values.len());
    let (mut owners, mut buffers) = (Vec::new(), Vec::new());
    for (i, v) in p.values.iter().enumerate() {
        let rooted = matches!(p.values[prepared.root[i] as usize].storage, Storage::Arena);
        let wanted = v.storage == Storage::Arena || matches!(v.storage, Storage::Alias(_)) && rooted;
        let extents = v.shape.as_deref().filter(|_| wanted).and_then(shape);
        if v.storage == Storage::Arena {
            let extents = extents.as_ref().ok_or_else(|| format!("the extents of {:?} cannot be computed", v.name))?;
            let bytes = v.layout.stored_bytes(v.dtype, extents);
            let bytes = bytes.ok_or_else(|| format!("{:?} with shape {extents:?} is too large", v.name))?;
            let (first, last) = prepared.live[i];
            if first != usize::MAX {
                owners.push((i, bytes));
                let size = bytes as u64;
                buffers.push(Buffer { size, align: 64, first_step: first, last_step: last, in_place_of: None });
            }
        }
        shapes.push(extents);
    }
    let assignment = assign(&buffers).map_err(|e| e.to_string())?;
    let mut slots = vec![None; p.values.len()];
    for ((value, bytes), offset) in owners.into_iter().zip(assignment.offsets) {
        slots[value] = Some((offset as usize, bytes));
    }
    Ok(Placement { shapes, slots, total: assignment.total })
}
