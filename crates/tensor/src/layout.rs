//! How a tensor's elements lie in memory.

use crate::{DType, element_count};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a tensor's elements lie in memory. A shape is always the logical one, whatever the layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Layout {
    /// Last axis fastest.
    #[default]
    RowMajor,
    /// `[N, C, spatial..]` stored as `[N, ceil(C/16), spatial.., 16]`; channels past C are finite and of no
    /// meaning.
    Nchw16c,
    /// A `[.., K, N]` matrix stored as `[.., ceil(N/16), K, 16]`: column panels; columns past N are zero.
    Panels16,
    /// Weights `[M, C, kernel..]` of a dense convolution as `[ceil(M/16), ceil(C/16), kernel.., 16 c, 16 m]`, zero
    /// filled.
    ConvBlocks16,
    /// Weights `[M, C, kernel..]` of a dense convolution of few channels as `[ceil(M/16), C, kernel.., 16 m]`.
    ConvFirst16,
    /// Weights `[M, 1, kernel..]` of a depthwise convolution as `[ceil(M/16), kernel.., 16]`.
    Depthwise16,
    /// A `[.., K, N]` matrix of i8 as panels of 16 columns, `[.., ceil(N/16), (ceil(K/4), 16 n, 4 k)]`, zero filled, each
    /// followed by the 16 sums of its columns, as little-endian i32.
    QuadPanels16,
    /// Weights `[M, C, kernel..]` of i8 of a dense convolution as `[ceil(M/16), (ceil(C/16), kernel.., 4, 16 m, 4 c)]`, zero
    /// filled, with sums as `QuadPanels16`.
    ConvQuads16,
    /// Weights `[M, C, kernel..]` of i8 of a dense convolution of few channels as
    /// `[ceil(M/16), (kernel.., ceil(C/4), 16 m, 4 c)]`, zero filled, with sums as `QuadPanels16`.
    ConvFirstQuads16,
    /// Weights `[C, M/group, kernel..]` of a transposed convolution as `[group, M/group, kernel.., C/group]`.
    ConvTransposed,
    /// Weights `[M, C, 3, 3]` of a convolution, transformed for Winograd's F(4x4, 3x3), as `[36, ceil(M/16), C, 16 m]`, zero
    /// filled.
    Winograd16,
    /// A `[.., K, N]` matrix of i8 in the panels of `Panels16`, each followed by 16 f32: what its columns are multiplied by.
    ScaledPanels16,
    /// A `[.., K, N]` matrix of i4 as panels of 16 columns, `[.., ceil(N/16), ceil(K/32), 4, 16 n, 8 k]`, zero filled; after each
    /// 32 rows of a panel 16 f16: what these elements of its columns are multiplied by.
    GroupPanels16,
}

impl Layout {
    /// The short name used in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::RowMajor => "rowmajor",
            Layout::Nchw16c => "nchw16c",
            Layout::Panels16 => "panels16",
            Layout::ScaledPanels16 => "scaledpanels16",
            Layout::GroupPanels16 => "grouppanels16",
            Layout::ConvBlocks16 => "convblocks16",
            Layout::Winograd16 => "winograd16",
            Layout::ConvFirst16 => "convfirst16",
            Layout::Depthwise16 => "depthwise16",
            Layout::QuadPanels16 => "quadpanels16",
            Layout::ConvQuads16 => "convquads16",
            Layout::ConvFirstQuads16 => "convfirstquads16",
            Layout::ConvTransposed => "convtransposed",
        }
    }

    /// The layout with this name.
    pub fn from_name(name: &str) -> Option<Layout> {
        use Layout::*;
        let plain = [RowMajor, Nchw16c, Panels16, ConvBlocks16, ConvFirst16, Depthwise16, ConvTransposed, Winograd16];
        let quads = [QuadPanels16, ConvQuads16, ConvFirstQuads16];
        let scaled = [ScaledPanels16, GroupPanels16];
        plain.into_iter().chain(quads).chain(scaled).find(|l| l.name() == name)
    }

    /// Elements stored for a tensor of `shape`, filling included; `None` on overflow or a rank the layout does not have.
    pub fn stored_elements(self, shape: &[usize]) -> Option<usize> {
        let up16 = |n: usize| n.checked_next_multiple_of(16);
        let mut stored = shape.to_vec();
        match self {
            Layout::RowMajor | Layout::ConvTransposed => {}
            Layout::Nchw16c => *stored.get_mut(1)? = up16(*shape.get(1)?)?,
            Layout::Panels16 => {
                let last = stored.len().checked_sub(1).filter(|l| *l >= 1)?;
                stored[last] = up16(stored[last])?;
            }
            // Four more bytes per column: its factor.
            Layout::ScaledPanels16 => {
                let last = stored.len().checked_sub(1).filter(|l| *l >= 1)?;
                stored[last] = up16(stored[last])?;
                stored[last - 1] = stored[last - 1].checked_add(4)?;
            }
            // A factor takes as much as four elements.
            Layout::GroupPanels16 => {
                let last = stored.len().checked_sub(1).filter(|l| *l >= 1)?;
                stored[last] = up16(stored[last])?;
                stored[last - 1] = stored[last - 1].div_ceil(32).checked_mul(36)?;
            }
            Layout::ConvBlocks16 => {
                *stored.get_mut(1)? = up16(*shape.get(1)?)?;
                stored[0] = up16(stored[0])?;
            }
            Layout::Winograd16 => {
                let &[m, c, 3, 3] = shape else { return None };
                stored = vec![36, up16(m)?, c];
            }
            Layout::ConvFirst16 | Layout::Depthwise16 => {
                shape.get(1)?;
                stored[0] = up16(stored[0])?;
            }
            // Four more bytes per column: its sum.
            Layout::QuadPanels16 => {
                let last = stored.len().checked_sub(1).filter(|l| *l >= 1)?;
                stored[last] = up16(stored[last])?;
                stored[last - 1] = stored[last - 1].checked_next_multiple_of(4)?.checked_add(4)?;
            }
            Layout::ConvQuads16 | Layout::ConvFirstQuads16 => {
                let fill = if self == Layout::ConvQuads16 { 16 } else { 4 };
                let channels = shape.get(1)?.checked_next_multiple_of(fill)?;
                let terms = element_count(&shape[2..])?.checked_mul(channels)?.checked_add(4)?;
                stored = vec![up16(stored[0])?, terms];
            }
        }
        element_count(&stored)
    }

    /// Bytes stored for a tensor of `dtype` and `shape`; `None` on overflow, for strings, or a rank that does not fit.
    pub fn stored_bytes(self, dtype: DType, shape: &[usize]) -> Option<usize> {
        dtype.bytes_for(self.stored_elements(shape)?)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
