//! Sampling of images: resizing, warping, regions of interest.

mod resample;
mod resize;
mod upsample;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[&resize::OP, &upsample::OP];
