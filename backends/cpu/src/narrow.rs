//! Weights in fewer bits: constants that a product reads through a Cast of 16-bit floats, or a DequantizeLinear of codes
//! of 8 or 4 bits. They are packed as they are, and widened when the product runs.

use planc_ir::{Graph, NodeId, Use, ValueId};
use planc_kernels::gemm::{GROUP, pack_groups, pack_half, pack_scaled};
use planc_kir::{Gemm, Kernel};
use planc_ops::quantise::{Granularity, Stored};
use planc_ops::{LowerCx, Lowered, row};
use planc_tensor::{DType, Layout, Tensor, f16};

/// A matrix in fewer bits.
enum Narrow<'g> {
    /// f16 or bf16.
    Half(&'g Tensor),
    /// i8, with a scale for each index along an axis.
    Scaled(&'g Tensor, &'g Tensor, usize),
    /// i4, with a scale for each [`GROUP`] indices along an axis.
    Groups(&'g Tensor, &'g Tensor, usize),
}

/// What the matrix `v` is made of.
fn find(g: &Graph, v: ValueId) -> Option<Narrow<'_>> {
    let matrix = |t: &Tensor| t.rank() == 2 && !t.is_empty();
    match Stored::of(g, v)? {
        Stored::Elements(t) if matrix(t) && matches!(t.dtype(), DType::F16 | DType::BF16) => Some(Narrow::Half(t)),
        Stored::Codes { codes, scales, granularity } if matrix(codes) => match (codes.dtype(), granularity) {
            (DType::I8, Granularity::Axis(axis)) => Some(Narrow::Scaled(codes, scales, axis)),
            (DType::I4, Granularity::Block { axis, size: GROUP }) => {
                let exact = |v: &f32| f16::from_f32(*v).to_f32() == *v;
                let fits = scales.view().to_vec::<f32>()?.iter().all(exact);
                fits.then_some(Narrow::Groups(codes, scales, axis))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether a node only widens constants that a product takes as they are.
pub(crate) fn widens(g: &Graph, id: NodeId) -> bool {
    let Some(v) = g.node(id).output(0).filter(|v| find(g, *v).is_some()) else { return false };
    let product = |id: NodeId| {
        let n = g.node(id);
        let lowered = Option::zip(row(&n.op), LowerCx::of(g, id)).map(|(r, cx)| (r.lower)(&cx));
        match lowered {
            Some(Lowered::Kernel { kernel: Kernel::Gemm(gemm), operands }) => {
                let second = operands.get(1).and_then(|i| n.input(*i));
                second == Some(v) && packed(g, &gemm, v).is_some()
            }
            _ => false,
        }
    };
    g.uses(v).iter().any(|u| matches!(u, Use::Node(id) if product(*id)))
}

/// Which layout the second operand of a product gets, if it is packed in fewer bits.
fn packed(g: &Graph, gemm: &Gemm, v: ValueId) -> Option<(DType, Layout)> {
    // Of the two axes, that of the terms comes first unless the operand is transposed.
    let (terms, columns) = if gemm.trans_b { (1, 0) } else { (0, 1) };
    match find(g, v)? {
        Narrow::Half(t) => Some((t.dtype(), Layout::Panels16)),
        Narrow::Scaled(_, _, axis) => (axis == columns).then_some((DType::I8, Layout::ScaledPanels16)),
        Narrow::Groups(_, _, axis) => (axis == terms).then_some((DType::I4, Layout::GroupPanels16)),
    }
}

/// A packed matrix.
pub(crate) struct Packed {
    /// Extents, terms first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Layout.
    pub layout: Layout,
    /// The panels.
    pub bytes: Vec<u8>,
}

/// Packs the second operand `v` of a product, its transposition taken out of the product.
pub(crate) fn pack(g: &Graph, gemm: &mut Gemm, v: ValueId) -> Option<Packed> {
    let (dtype, layout) = packed(g, gemm, v)?;
    let narrow = find(g, v)?;
    let (Narrow::Half(t) | Narrow::Scaled(t, ..) | Narrow::Groups(t, ..)) = &narrow;
    let &[rows, columns] = t.shape() else { return None };
    let (k, n, rs, cs) = if gemm.trans_b { (columns, rows, 1, columns) } else { (rows, columns, columns, 1) };
    let words = match narrow {
        Narrow::Half(t) => {
            let bits: &[u8] = t.view().bytes();
            let at = |i: usize, j: usize| 2 * (i * rs + j * cs);
            pack_half(k, n, |i, j| u16::from_le_bytes([bits[at(i, j)], bits[at(i, j) + 1]]))
        }
        Narrow::Scaled(t, scales, _) => {
            let (codes, scales) = (t.view().to_vec::<i8>()?, scales.view().to_vec::<f32>()?);
            pack_scaled(k, n, |i, j| codes[i * rs + j * cs], |j| scales[j])
        }
        Narrow::Groups(t, scales, _) => {
            let (codes, scales) = (t.view().unpack_sub_byte()?, scales.view().to_vec::<f32>()?);
            let groups = k.div_ceil(GROUP);
            let (grs, gcs) = if gemm.trans_b { (1, groups) } else { (n, 1) };
            let bits = |g: usize, j: usize| f16::from_f32(scales[g * grs + j * gcs]).to_bits();
            pack_groups(k, n, |i, j| codes[i * rs + j * cs], bits)
        }
    };
    gemm.trans_b = false;
    Some(Packed { shape: vec![k, n], dtype, layout, bytes: bytemuck::cast_slice(&words).to_vec() })
}
