//! Constant weights of integer kernels in the form that is read fastest.

use crate::select::Prepared;
use planc_ir::ValueId;
use planc_kernels::conv::Conv2d;
use planc_kernels::integer::{pack_conv, pack_depthwise, pack_first, pack_matrix};
use planc_kir::{Conv, Kernel};
use planc_lower::Builder;
use planc_tensor::{DType, Layout, Tensor};

/// Packs operand 1 of an integer product or convolution, less its zero points, if those leave i8 and the kernel has a
/// packed form for its operands and `result`.
pub(crate) fn pack(b: &Builder<'_>, kernel: &Kernel, operands: &mut [Prepared], result: Layout) {
    let value = |i: usize| match operands.get(i) {
        Some(Prepared::Value(v)) => *v,
        _ => None,
    };
    let (Some(x), Some(of)) = (value(0), value(1)) else { return };
    // A zero point per row of x is left to the general kernel.
    let single = |v: ValueId| {
        let shape = b.graph.tensor_type(v).and_then(|t| t.shape.clone());
        shape.is_some_and(|s| s.iter().all(|d| d.as_const() == Some(1)))
    };
    let Some(w) = b.graph.constant(of).filter(|w| !w.is_empty()) else { return };
    if !value(2).is_none_or(single) {
        return;
    }
    let zero = match value(3) {
        None => None,
        Some(z) => match b.graph.constant(z) {
            Some(z) => Some(z),
            None => return,
        },
    };
    let layout = b.graph.tensor_type(x).map_or(Layout::RowMajor, |t| t.layout);
    let packed = match kernel {
        Kernel::GemmInteger => gemm(w, zero),
        Kernel::ConvInteger(conv) if result == Layout::Nchw16c => convolution(conv, w, zero, layout),
        _ => None,
    };
    if let Some((layout, bytes)) = packed {
        operands[1] = Prepared::Packed { of, shape: w.shape().to_vec(), dtype: DType::I8, layout, bytes };
        if let Some(zero) = operands.get_mut(3) {
            *zero = Prepared::Value(None);
        }
    }
}

/// Weights less their zero points, of which there is one or one for each of `columns` (`column` says which an element
/// belongs to); `None` where that leaves i8.
fn centred(w: &Tensor, zero: Option<&Tensor>, columns: usize, column: impl Fn(usize) -> usize) -> Option<Vec<i8>> {
    let zeros = match zero {
        None => vec![0],
        Some(z) => z.view().to_i64()?,
    };
    if zeros.len() != 1 && zeros.len() != columns {
        return None;
    }
    let elements = w.view().to_i64()?.into_iter().enumerate();
    elements.map(|(i, v)| i8::try_from(v - zeros[column(i) % zeros.len()]).ok()).collect()
}

fn gemm(w: &Tensor, zero: Option<&Tensor>) -> Option<(Layout, Vec<u8>)> {
    let [.., k, n] = *w.shape() else { return None };
    let elements = centred(w, zero, n, |i| i % n)?;
    Some((Layout::QuadPanels16, elements.chunks_exact(k * n).flat_map(|m| pack_matrix(k, n, m)).collect()))
}

fn convolution(conv: &Conv, w: &Tensor, zero: Option<&Tensor>, x: Layout) -> Option<(Layout, Vec<u8>)> {
    let &[m, c, kh, kw] = w.shape() else { return None };
    let taps = kh * kw;
    let elements = centred(w, zero, m, |i| i / (c * taps))?;
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
    match x {
        Layout::RowMajor if conv.group == 1 => Some((Layout::ConvFirstQuads16, pack_first(m, c, taps, &elements))),
        Layout::Nchw16c if geometry.is_depthwise() => Some((Layout::Depthwise16, pack_depthwise(m, taps, &elements))),
        Layout::Nchw16c if geometry.is_direct() => Some((Layout::ConvQuads16, pack_conv(m, c, taps, &elements))),
        _ => None,
    }
}
