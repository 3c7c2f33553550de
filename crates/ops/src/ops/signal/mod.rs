//! Signal processing: Fourier transforms, window functions, filter banks.

mod blackman_window;
mod dft;
mod fourier;
mod hamming_window;
mod hann_window;
mod mel_weight_matrix;
mod stft;
mod window_function;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] =
    &[&blackman_window::OP, &dft::OP, &hamming_window::OP, &hann_window::OP, &mel_weight_matrix::OP, &stft::OP];
