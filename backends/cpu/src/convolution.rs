//! How a convolution over blocked channels is computed, and the form of its weights that this needs.
//!
//! The choice follows from extents by a fixed cost model, so that a plan does not depend on the compiling machine, unless
//! the caller says what was measured.

use planc_ir::TensorType;
use planc_kernels::conv::{self, Conv2d};
use planc_kir::Conv;
use planc_tensor::{Layout, Tensor};

/// How sums of products over blocked channels are computed where there is more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// Term by term.
    Direct,
    /// Winograd's F(4x4, 3x3), for kernels of 3 x 3 with stride 1.
    Winograd,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 2] = [Algorithm::Direct, Algorithm::Winograd];

    /// Name in decisions and tuning files.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
        }
    }

    /// The algorithm with this name.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|a| a.name() == name)
    }
}

/// How a convolution with several algorithms is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// What was chosen.
    pub(crate) algorithm: Algorithm,
    /// Why: the figures of the cost model for each, and whether a measurement decided.
    pub(crate) why: String,
}

/// What decides between algorithms apart from the cost model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rule {
    /// Term by term, whatever it costs.
    pub(crate) exact: bool,
    /// What was measured to be the fastest.
    pub(crate) measured: Option<Algorithm>,
}

/// Constant weights of a convolution whose result lies in blocks: their layout and elements, and what was chosen and why
/// where there was a choice. `None` when the kernel takes them as they are.
pub(crate) fn pack_conv(
    conv: &Conv,
    w: &Tensor,
    (x, y): (&TensorType, &TensorType),
    rule: Rule,
) -> Option<(Layout, Vec<f32>, Option<Choice>)> {
    let &[m, c, kh, kw] = w.shape() else { return None };
    if y.layout != Layout::Nchw16c {
        return None;
    }
    // Packing depends on channels, groups and kernel only.
    let geometry = Conv2d {
        batch: 1,
        channels: (c * conv.group, m),
        groups: conv.group,
        input: (kh, kw),
        kernel: (kh, kw),
        stride: (1, 1),
        dilation: (1, 1),
        pads_begin: (0, 0),
        pads_end: (0, 0),
    };
    let elements = w.view().to_vec::<f32>()?;
    if x.layout == Layout::RowMajor {
        return Some((Layout::ConvFirst16, conv::pack_first_weights(&geometry, &elements), None));
    }
    if geometry.is_depthwise() {
        return Some((Layout::Depthwise16, conv::pack_depthwise_weights(&geometry, &elements), None));
    }
    let direct = || conv::pack_conv_weights(&geometry, &elements);
    let Some(known) = extents(conv, &geometry, y).filter(|c| !rule.exact && c.is_winograd()) else {
        return Some((Layout::ConvBlocks16, direct(), None));
    };
    let choice = choose(costs(&known), rule.measured);
    let (layout, packed) = match choice.algorithm {
        Algorithm::Direct => (Layout::ConvBlocks16, direct()),
        Algorithm::Winograd => (Layout::Winograd16, conv::pack_winograd_weights(&known, &elements)),
    };
    Some((layout, packed, Some(choice)))
}

/// The algorithm that was measured to be the fastest, or that costs least; direct sums where both cost the same.
fn choose((direct, winograd): (usize, usize), measured: Option<Algorithm>) -> Choice {
    let cheapest = if winograd < direct { Algorithm::Winograd } else { Algorithm::Direct };
    let figures = format!("about {direct} million products directly, {winograd} by Winograd's algorithm");
    match measured {
        Some(algorithm) => Choice { algorithm, why: format!("measured; the model of costs says {figures}") },
        None => Choice { algorithm: cheapest, why: format!("costs {figures}") },
    }
}

/// The convolution with its strides and the extents of its result, for one image if their number is not known; `None` when
/// the result's height or width is not.
fn extents(conv: &Conv, geometry: &Conv2d, y: &TensorType) -> Option<Conv2d> {
    let (&[sh, sw], &[dh, dw]) = (conv.strides.as_slice(), conv.dilations.as_slice()) else { return None };
    let [n, _, h, w] = y.shape.as_deref()? else { return None };
    let (n, h, w) = (n.as_usize().unwrap_or(1), h.as_usize()?, w.as_usize()?);
    // With a kernel of 3 and no pads.
    Some(Conv2d { batch: n, input: (h + 2, w + 2), stride: (sh, sw), dilation: (dh, dw), ..*geometry })
}

/// What direct convolution and Winograd's cost, in millions of products of the dense kernels at full speed.
///
/// The measured parts: tiles run at about 90 % of the peak; transforming a tile costs as much per channel as
/// [`TRANSFORM`] products; and a byte of weights that streams through L2 costs [`STREAM`] products, four times that if the weights
/// are larger than a usual share of L3.
fn costs(c: &Conv2d) -> (usize, usize) {
    const TRANSFORM: (usize, usize) = (200, 150);
    const STREAM: usize = 2;
    const L2: usize = 1 << 20;
    const L3: usize = 16 << 20;
    let (ic, oc) = (c.channels.0.next_multiple_of(16), c.channels.1.next_multiple_of(16));
    let (oh, ow) = c.output();
    let stream = |bytes: usize, passes: usize| {
        let cost = if bytes > L3 { 4 * STREAM } else { STREAM };
        bytes * cost * if bytes > L2 { passes } else { 1 }
    };
    let tiles = c.batch * oh.div_ceil(4) * ow.div_ceil(4);
    let direct = c.batch * oh * ow * 9 * ic * oc * 10 / 9 + stream(9 * ic * oc * 4, 1);
    // Short sums spend more of their time on beginning and end.
    let products = tiles * 36 * (ic + 16) * oc * 10 / 9;
    let passes = tiles.div_ceil(conv::winograd_chunk(c));
    let winograd = products + tiles * (TRANSFORM.0 * ic + TRANSFORM.1 * oc) + stream(36 * ic * oc * 4, passes);
    (direct.div_ceil(1 << 20), winograd.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wins(channels: usize, size: usize) -> bool {
        let conv = Conv2d {
            batch: 1,
            channels: (channels, channels),
            groups: 1,
            input: (size + 2, size + 2),
            kernel: (3, 3),
            stride: (1, 1),
            dilation: (1, 1),
            pads_begin: (0, 0),
            pads_end: (0, 0),
        };
        let (direct, winograd) = costs(&conv);
        winograd < direct
    }

    #[test]
    fn a_measurement_overrides_the_costs() {
        for (costs, cheapest) in
            [((9, 4), Algorithm::Winograd), ((4, 9), Algorithm::Direct), ((4, 4), Algorithm::Direct)]
        {
            assert_eq!(choose(costs, None).algorithm, cheapest);
            for measured in Algorithm::ALL {
                let choice = choose(costs, Some(measured));
                assert_eq!(choice.algorithm, measured);
                assert!(choice.why.starts_with("measured") && choice.why.contains(&costs.1.to_string()));
                assert_eq!(Algorithm::from_name(measured.name()), Some(measured));
            }
        }
    }

    #[test]
    fn large_images_gain_and_large_weights_do_not() {
        for (channels, size) in [(32, 160), (64, 56), (64, 80), (128, 28), (128, 40), (256, 14), (256, 20)] {
            assert!(wins(channels, size), "{channels} channels, {size} pixels");
        }
        for (channels, size) in [(512, 7), (256, 2), (1024, 7)] {
            assert!(!wins(channels, size), "{channels} channels, {size} pixels");
        }
    }
}
