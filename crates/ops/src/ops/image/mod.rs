//! Images: decoding, and sampling of them: resizing, warping, regions of interest.

mod affine_grid;
mod crop_and_resize;
mod grid_sample;
mod image_decoder;
mod max_roi_pool;
mod non_max_suppression;
mod resample;
mod resize;
mod roi_align;
mod upsample;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &affine_grid::OP,
    &crop_and_resize::OP,
    &grid_sample::OP,
    &image_decoder::OP,
    &max_roi_pool::OP,
    &non_max_suppression::OP,
    &resize::OP,
    &roi_align::OP,
    &upsample::OP,
];
