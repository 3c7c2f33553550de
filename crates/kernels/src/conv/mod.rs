//! Convolution in f32.
//!
//! Fast paths work on NCHW16c: channels in blocks of 16, `[n][c / 16][h][w][16]`, on every tier, so that weights are
//! packed once. Lanes past the last channel of the last block are *unspecified*: no kernel lets them influence a
//! channel that exists, and kernels may write anything there.
//!
//! * [`conv_direct`]: dense or grouped (groups of whole blocks), any kernel, stride, dilation and pads; 1x1 is a matrix
//!   product;
//! * [`conv_winograd`]: 3 x 3 with stride 1, at a quarter of the products, with weights transformed beforehand;
//! * [`conv_first`]: plain NCHW input with few channels, NCHW16c output;
//! * [`conv_depthwise`]: one filter per channel;
//! * [`conv_plain`]: anything else, up to three spatial dimensions, on plain NCHW, by gathering columns;
//! * [`conv_transposed`]: the transpose, on plain NCHW.

mod depthwise;
mod direct;
mod plain;
mod transposed;
mod winograd;

pub use depthwise::{conv_depthwise, pack_depthwise_weights};
pub use direct::{conv_direct, conv_first, direct_scratch, first_scratch, pack_conv_weights, pack_first_weights};
pub use plain::{PlainConv, conv_plain, plain_scratch};
pub use transposed::{TransposedConv, conv_transposed, pack_transposed_weights, transposed_scratch};
pub use winograd::{conv_winograd, pack_winograd_weights, winograd_chunk, winograd_scratch};

use crate::epilogue::{Bias, Epilogue};
use crate::micro::PANEL;

/// A two-dimensional convolution. A one-dimensional one has `h = kh = 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Images.
    pub batch: usize,
    /// Input channels, output channels.
    pub channels: (usize, usize),
    /// Groups; both channel counts are multiples.
    pub groups: usize,
    /// Input height and width.
    pub input: (usize, usize),
    /// Kernel height and width.
    pub kernel: (usize, usize),
    /// Vertical and horizontal stride, at least 1.
    pub stride: (usize, usize),
    /// Vertical and horizontal dilation, at least 1.
    pub dilation: (usize, usize),
    /// Zeros before (top, left).
    pub pads_begin: (usize, usize),
    /// Zeros after (bottom, right).
    pub pads_end: (usize, usize),
}

impl Conv2d {
    /// Output height and width: `floor((in + pads - dilation (kernel - 1) - 1) / stride) + 1`, 0 if the kernel does
    /// not fit.
    pub fn output(&self) -> (usize, usize) {
        let one = |input: usize, pads: usize, kernel: usize, stride: usize, dilation: usize| {
            let padded = input + pads;
            let reach = dilation * kernel.saturating_sub(1) + 1;
            if padded < reach { 0 } else { (padded - reach) / stride + 1 }
        };
        (
            one(self.input.0, self.pads_begin.0 + self.pads_end.0, self.kernel.0, self.stride.0, self.dilation.0),
            one(self.input.1, self.pads_begin.1 + self.pads_end.1, self.kernel.1, self.stride.1, self.dilation.1),
        )
    }

    /// Floats of the input in NCHW16c.
    pub fn input_len(&self) -> usize {
        blocked_len(self.batch, self.channels.0, self.input.0 * self.input.1)
    }

    /// Floats of the output in NCHW16c.
    pub fn output_len(&self) -> usize {
        let (oh, ow) = self.output();
        blocked_len(self.batch, self.channels.1, oh * ow)
    }

    /// Height and width with pads.
    fn padded(&self) -> (usize, usize) {
        (self.input.0 + self.pads_begin.0 + self.pads_end.0, self.input.1 + self.pads_begin.1 + self.pads_end.1)
    }

    fn has_pads(&self) -> bool {
        self.padded() != self.input
    }

    /// Whether [`conv_direct`] can run it: one group, or groups of whole channel blocks.
    pub fn is_direct(&self) -> bool {
        self.groups == 1
            || (self.channels.0 / self.groups).is_multiple_of(PANEL)
                && (self.channels.1 / self.groups).is_multiple_of(PANEL)
    }

    /// Whether [`conv_depthwise`] can run it: as many groups and outputs as input channels.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.channels.0 && self.channels.0 == self.channels.1
    }

    fn check(&self) {
        let Self { channels: (ic, oc), groups, stride, dilation, kernel, .. } = *self;
        assert!(
            groups > 0 && ic.is_multiple_of(groups) && oc.is_multiple_of(groups),
            "groups do not divide the channels"
        );
        assert!(stride.0 > 0 && stride.1 > 0 && dilation.0 > 0 && dilation.1 > 0, "zero stride or dilation");
        assert!(kernel.0 > 0 && kernel.1 > 0, "empty kernel");
    }
}

/// Floats of a tensor of `n` images with `c` channels of `pixels` in NCHW16c.
pub fn blocked_len(n: usize, c: usize, pixels: usize) -> usize {
    n * c.div_ceil(PANEL) * PANEL * pixels
}

/// The bias, which for a convolution is per output channel whichever way it is given; null if there is none.
fn channel_bias(epilogue: &Epilogue<'_>, channels: usize) -> *const f32 {
    match epilogue.bias {
        Bias::None => std::ptr::null(),
        Bias::PerCol(bias) | Bias::PerRow(bias) => {
            assert!(bias.len() >= channels, "bias: slice too short");
            bias.as_ptr()
        }
    }
}

/// Checks that a residual covers an output of `len` floats.
fn check_residual(epilogue: &Epilogue<'_>, len: usize) {
    if let Some(residual) = epilogue.residual {
        assert!(residual.parts().1 >= len, "residual: slice too short");
    }
}

#[cfg(test)]
mod tests;
