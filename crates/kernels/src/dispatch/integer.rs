//! Products and convolutions of 8-bit integers less their zero points.

use super::conv::geometry;
use super::gemm::offsets;
use super::{Cx, Form, Operand, Output, map, packed};
use crate::conv::PlainConv;
use crate::gemm::Dims;
use crate::integer::{Columns, Widen, Windows, product, product_scratch, widen_rows};
use crate::par::{Parallel, Shared, ranges};
use planc_kir::{Conv, Expr, Kernel, PoolKind, ResizeMode};
use planc_tensor::{AlignedBuf, DType, Layout};

/// Whether [`gemm`] (for `conv`: [`conv`]) takes these forms.
pub(super) fn supports(
    is_conv: bool,
    epilogue: Option<&Expr>,
    inputs: &[Option<Form>],
    outputs: &[Option<Form>],
) -> bool {
    let sides = epilogue.map_or(0, |e| e.args().len() - 1);
    let Some((operands, sides)) = inputs.len().checked_sub(sides).map(|n| inputs.split_at(n)) else { return false };
    let (Some(Some((x, from))), Some(Some((w, layout)))) = (operands.first(), operands.get(1)) else { return false };
    let [Some((out, to))] = outputs else { return false };
    let bytes = |t: &DType| matches!(t, DType::U8 | DType::I8);
    let zero = |i: usize| operands.get(i + 2).copied().flatten();
    let zero_of = |i: usize, t: DType| zero(i).is_none_or(|z| z == (t, Layout::RowMajor));
    use Layout::*;
    let packed = *w == DType::I8 && zero(1).is_none();
    let layouts = match (is_conv, from, layout, to) {
        (_, RowMajor, RowMajor, RowMajor) => true,
        (false, RowMajor, QuadPanels16, RowMajor) => packed,
        (true, Nchw16c, ConvQuads16 | Depthwise16, Nchw16c) | (true, RowMajor, ConvFirstQuads16, Nchw16c) => packed,
        _ => false,
    };
    let late = epilogue.is_none_or(|e| {
        e.args()[0] == DType::I32
            && map::supports_ints(e)
            && sides
                .iter()
                .zip(&e.args()[1..])
                .all(|(s, t)| s.is_some_and(|(have, layout)| have == *t && (layout == RowMajor || layout == *to)))
    });
    let result = epilogue.map_or(DType::I32, Expr::result_type);
    bytes(x) && bytes(w) && operands.len() <= 4 && zero_of(0, *x) && zero_of(1, *w) && layouts && late && result == *out
}

/// Whether a kernel only moves or compares elements, which it does for bytes as for f32.
pub(super) fn moves(kernel: &Kernel) -> bool {
    match kernel {
        Kernel::Reorder | Kernel::Concat { .. } | Kernel::Slice(_) => true,
        Kernel::Pool(p) => p.kind == PoolKind::Max,
        Kernel::Resize(r) => matches!(r.mode, ResizeMode::Nearest(_)),
        _ => false,
    }
}

/// The operands, and the sides of the epilogue.
fn split<'a>(inputs: &[Option<Operand<'a>>], epilogue: Option<&Expr>) -> ([Option<Operand<'a>>; 4], Vec<Operand<'a>>) {
    let from = inputs.len() - epilogue.map_or(0, |e| e.args().len() - 1).min(inputs.len());
    let operand = |i: usize| inputs[..from].get(i).copied().flatten();
    (std::array::from_fn(operand), inputs[from..].iter().flatten().copied().collect())
}

/// The sums in memory of their own, and then the epilogue over them.
fn then(
    cx: &mut Cx<'_>,
    epilogue: Option<&Expr>,
    sides: Vec<Operand<'_>>,
    y: &mut Output<'_>,
    run: impl FnOnce(&mut Cx<'_>, &mut Output<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let Some(expr) = epilogue else { return run(cx, y) };
    let (dtype, layout) = (DType::I32, Layout::RowMajor);
    let mut sums = AlignedBuf::zeroed(y.shape.iter().product::<usize>() * 4);
    run(cx, &mut Output { dtype, shape: y.shape, layout, bytes: sums.as_mut_slice() })?;
    let sums = Operand { dtype, shape: y.shape, layout, bytes: sums.as_ref() };
    let inputs: Vec<_> = std::iter::once(sums).chain(sides).map(Some).collect();
    map::run(cx, expr, &inputs, y)
}

/// `[a, b, a_zero?, b_zero?, sides...] -> [out]`.
pub(super) fn gemm<'a>(
    cx: &mut Cx<'_>,
    epilogue: Option<&'a Expr>,
    inputs: &[Option<Operand<'a>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let (operands, sides) = split(inputs, epilogue);
    if operands[1].is_some_and(|w| w.layout != Layout::RowMajor) {
        return packed::gemm(cx, epilogue, operands, &sides, y);
    }
    then(cx, epilogue, sides, y, |cx, sums| plain_gemm(cx, &operands, sums))
}

/// `[x, w, x_zero?, w_zero?, sides...] -> [out]`.
pub(super) fn conv<'a>(
    cx: &mut Cx<'_>,
    spec: &Conv,
    epilogue: Option<&'a Expr>,
    inputs: &[Option<Operand<'a>>],
    y: &mut Output<'_>,
) -> Result<(), String> {
    let (operands, sides) = split(inputs, epilogue);
    if operands[1].is_some_and(|w| w.layout != Layout::RowMajor) {
        return packed::conv(cx, spec, epilogue, operands, &sides, y);
    }
    then(cx, epilogue, sides, y, |cx, sums| plain_conv(cx, spec, &operands, sums))
}

/// Numbers `len` of i16 from scratch memory, and the rest of it.
fn take<'s>(rest: &mut &'s mut [i16], len: usize) -> &'s mut [i16] {
    let (first, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    first
}

/// `len` numbers of scratch memory.
fn scratch<'s>(cx: &'s mut Cx<'_>, len: usize) -> &'s mut [i16] {
    bytemuck::cast_slice_mut(cx.scratch.floats(len.div_ceil(2)))
}

fn sums<'o>(y: &'o mut Output<'_>) -> Result<&'o mut [i32], String> {
    bytemuck::try_cast_slice_mut(y.bytes).map_err(|e| format!("the result: {e}"))
}

/// What is subtracted from an operand: one number, or as many as one of `counts` says.
fn zero_points(x: &Operand<'_>, zero: Option<Operand<'_>>, counts: &[usize]) -> Result<(Widen, Vec<i16>), String> {
    let widen = Widen::new(x.dtype == DType::I8);
    let Some(zero) = zero else { return Ok((widen, vec![widen.offset(0)])) };
    let len = zero.bytes.len();
    if zero.dtype != x.dtype || len != 1 && !counts.contains(&len) {
        return Err(format!("a zero point {}{:?} of {}{:?}", zero.dtype, zero.shape, x.dtype, x.shape));
    }
    Ok((widen, zero.bytes.iter().map(|z| widen.offset(*z)).collect()))
}

/// `[a, b, a_zero?, b_zero?] -> [out]`.
fn plain_gemm(cx: &mut Cx<'_>, inputs: &[Option<Operand<'_>>], y: &mut Output<'_>) -> Result<(), String> {
    let operand = |i: usize| inputs.get(i).copied().flatten();
    let (Some(a), Some(b)) = (operand(0), operand(1)) else { return Err("an operand is missing".into()) };
    let shapes = || format!("{:?} times {:?} does not give {:?}", a.shape, b.shape, y.shape);
    let ([a_batch @ .., rows, k], [b_batch @ .., kb, n], [batch @ .., ym, yn]) = (a.shape, b.shape, y.shape) else {
        return Err(shapes());
    };
    let fits =
        |s: &[usize]| s.len() <= batch.len() && s.iter().rev().zip(batch.iter().rev()).all(|(x, y)| x == y || *x == 1);
    if k != kb || (ym, yn) != (rows, n) || !fits(a_batch) || !fits(b_batch) {
        return Err(shapes());
    }
    let count = |s: &[usize]| s.iter().product::<usize>();
    let (a_count, b_count) = (count(a_batch), count(b_batch));
    // Per row: a vector, or a column per matrix. Per column: a vector, or a row per matrix.
    let whole = |z: Option<Operand<'_>>, from_end: usize| {
        z.is_none_or(|z| z.shape.len() <= 1 || z.shape[z.shape.len() - from_end] == 1)
    };
    if !whole(operand(2), 1) || !whole(operand(3), 2) {
        return Err("zero points are neither per row of a nor per column of b".into());
    }
    let (a_widen, a_zero) = zero_points(&a, operand(2), &[*rows, a_count * rows])?;
    let (b_widen, mut b_zero) = zero_points(&b, operand(3), &[*n, b_count * n])?;
    if b_zero.len() == 1 {
        b_zero = vec![b_zero[0]; *n];
    }
    // One matrix b for all of a: one tall product.
    let tall = b_count == 1 && a_batch == batch;
    let (m, places) = if tall {
        (count(batch) * rows, vec![(0, 0)])
    } else {
        (*rows, offsets(a_batch, batch).into_iter().zip(offsets(b_batch, batch)).collect())
    };
    let (k, n) = (*k, *n);
    let dims = Dims { m, n, k };
    let (isa, par) = (cx.isa, cx.par);
    let a_len = m * k.next_multiple_of(2);
    let mut rest = scratch(cx, a_len + product_scratch(par, dims));
    let wide = take(&mut rest, a_len);
    let out = sums(y)?;
    if m * n == 0 {
        return Ok(());
    }
    for ((ao, bo), to) in places.into_iter().zip(out.chunks_exact_mut(m * n)) {
        let zeros = if a_zero.len() == a_count * rows { &a_zero[if tall { 0 } else { ao * m }..] } else { &a_zero[..] };
        widen_rows(par, &a.bytes[ao * m * k..(ao + 1) * m * k], m, k, a_widen, zeros, wide);
        let offsets = &b_zero[if b_zero.len() == n { 0 } else { bo * n }..][..n];
        let columns = Columns::Matrix { bytes: &b.bytes[bo * k * n..(bo + 1) * k * n], widen: b_widen, offsets };
        product(isa, par, dims, wide, columns, to, rest);
    }
    Ok(())
}

/// `[x, w, x_zero?, w_zero?] -> [out]`.
fn plain_conv(cx: &mut Cx<'_>, spec: &Conv, inputs: &[Option<Operand<'_>>], y: &mut Output<'_>) -> Result<(), String> {
    let operand = |i: usize| inputs.get(i).copied().flatten();
    let (Some(x), Some(w)) = (operand(0), operand(1)) else { return Err("an operand is missing".into()) };
    let conv = geometry(cx, spec, &x, &w, y)?;
    let (channels, filters) = (conv.channels.0 / conv.groups, conv.channels.1 / conv.groups);
    let (widen, x_zero) = zero_points(&x, operand(2), &[])?;
    let (w_widen, w_zero) = zero_points(&w, operand(3), &[conv.channels.1])?;
    let (kernel, output) = (conv.kernel, conv.output());
    let padded: [usize; 3] = std::array::from_fn(|i| conv.pads_begin[i] + conv.input[i] + conv.pads_end[i]);
    let (plane, pixels) = (padded.iter().product::<usize>(), output.iter().product::<usize>());
    let dims = Dims { m: filters, n: pixels, k: channels * kernel.iter().product::<usize>() };
    if dims.k == 0 || pixels == 0 {
        sums(y)?.fill(0);
        return Ok(());
    }
    let steps = [padded[1] * padded[2], padded[2], 1];
    let stride = [0, 1, 2].map(|i| conv.stride[i] * steps[i]);
    let dilation = [0, 1, 2].map(|i| conv.dilation[i] * steps[i]);
    let mut rows = Vec::with_capacity(dims.k);
    for c in 0..channels {
        for kz in 0..kernel[0] {
            for ky in 0..kernel[1] {
                let at = c * plane + kz * dilation[0] + ky * dilation[1];
                rows.extend((0..kernel[2]).map(|kx| at + kx * dilation[2]));
            }
        }
    }
    let (isa, par) = (cx.isa, cx.par);
    let w_row = dims.k.next_multiple_of(2);
    let (w_len, x_len) = (conv.channels.1 * w_row, conv.channels.0 * plane);
    let mut rest = scratch(cx, w_len + x_len + product_scratch(par, dims));
    let (weights, image) = (take(&mut rest, w_len), take(&mut rest, x_len));
    widen_rows(par, w.bytes, conv.channels.1, dims.k, w_widen, &w_zero, weights);
    let out = sums(y)?;
    let part = filters * pixels;
    if part == 0 {
        return Ok(());
    }
    let x_image = x.bytes.len() / conv.batch.max(1);
    for (b, to) in out.chunks_exact_mut(conv.groups * part).enumerate() {
        pad_image(par, &conv, padded, &x.bytes[b * x_image..(b + 1) * x_image], widen, x_zero[0], image);
        for (g, to) in to.chunks_exact_mut(part).enumerate() {
            let image = &image[g * channels * plane..(g + 1) * channels * plane];
            let windows = Windows { image, rows: &rows, output, steps: stride };
            let weights = &weights[g * filters * w_row..(g + 1) * filters * w_row];
            product(isa, par, dims, weights, Columns::Windows(windows), to, rest);
        }
    }
    Ok(())
}

/// One image less its zero point, in a frame of zeros.
fn pad_image(
    par: &dyn Parallel,
    conv: &PlainConv,
    padded: [usize; 3],
    x: &[u8],
    widen: Widen,
    zero: i16,
    to: &mut [i16],
) {
    let [depth, height, width] = conv.input;
    let plane: usize = padded.iter().product();
    let image = depth * height * width;
    assert!(to.len() >= conv.channels.0 * plane && x.len() >= conv.channels.0 * image, "image: slice too short");
    let to = Shared::new(to);
    ranges(par, conv.channels.0, plane, |channels| {
        for c in channels {
            // SAFETY: plane `c` is within the slice, as was checked, and belongs to one task.
            let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(c * plane), plane) };
            to.fill(0);
            for (i, row) in x[c * image..(c + 1) * image].chunks_exact(width.max(1)).enumerate() {
                let (z, y) = (i / height + conv.pads_begin[0], i % height + conv.pads_begin[1]);
                let at = (z * padded[1] + y) * padded[2] + conv.pads_begin[2];
                widen.slice(row, zero, &mut to[at..at + width]);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    //! Against the interpreter.

    use super::super::check::{agrees, random, run_on};
    use super::*;
    use crate::check::Rng;
    use crate::isa::Isa;
    use crate::par::Serial;
    use planc_tensor::{Dim, Tensor};

    const TYPES: [DType; 2] = [DType::U8, DType::I8];

    #[test]
    fn products() {
        let mut rng = Rng::new(11);
        type Case = [&'static [usize]; 4];
        let cases: [Case; 9] = [
            [&[1, 1], &[1, 1], &[], &[]],
            [&[5, 7], &[7, 3], &[5], &[3]],
            [&[13, 32], &[32, 16], &[1], &[]],
            [&[27, 33], &[33, 35], &[], &[35]],
            [&[3, 1100], &[1100, 150], &[3], &[150]],
            [&[2, 4, 5], &[5, 17], &[4, 1], &[17]],
            [&[2, 4, 5], &[2, 5, 17], &[2, 4, 1], &[2, 1, 17]],
            [&[3, 1, 4, 5], &[2, 5, 6], &[4], &[6]],
            [&[4, 0], &[0, 3], &[4], &[3]],
        ];
        for (case, [a, b, za, zb]) in cases.into_iter().enumerate() {
            for types in 0..4 {
                let (ta, tb) = (TYPES[types / 2], TYPES[types % 2]);
                let batch = planc_tensor::broadcast(&a[..a.len() - 2], &b[..b.len() - 2]).unwrap();
                let shape = [&batch[..], &[a[a.len() - 2], b[b.len() - 1]]].concat();
                let mut inputs = [(ta, a), (tb, b), (ta, za), (tb, zb)].map(|(t, s)| Some(random(&mut rng, t, s)));
                if (case + types) % 3 == 0 {
                    inputs[2] = None;
                }
                if (case + types) % 4 == 1 {
                    inputs[3] = None;
                }
                agrees(&Kernel::GemmInteger, &inputs, &[(DType::I32, shape)], 0.0);
            }
        }
    }

    fn spec(group: usize, strides: &[usize], dilations: &[usize], pads: &[[i64; 2]]) -> Conv {
        let pads = pads.iter().map(|p| p.map(Dim::from)).collect();
        Conv { group, strides: strides.to_vec(), dilations: dilations.to_vec(), pads }
    }

    #[test]
    fn convolutions() {
        let mut rng = Rng::new(12);
        let cases: [(&[usize], &[usize], Conv); 8] = [
            (&[1, 3, 9, 11], &[5, 3, 3, 3], spec(1, &[1, 1], &[1, 1], &[[1, 1], [1, 1]])),
            (&[2, 4, 8, 40], &[13, 4, 3, 3], spec(1, &[1, 1], &[1, 1], &[[1, 1], [1, 1]])),
            (&[2, 4, 7, 35], &[6, 2, 3, 2], spec(2, &[2, 3], &[1, 2], &[[0, 2], [3, 1]])),
            (&[1, 6, 10, 33], &[6, 1, 3, 3], spec(6, &[1, 1], &[2, 2], &[[2, 2], [2, 2]])),
            (&[1, 16, 5, 5], &[33, 16, 1, 1], spec(1, &[1, 1], &[1, 1], &[[0, 0], [0, 0]])),
            (&[3, 2, 21], &[4, 2, 5], spec(1, &[2], &[1], &[[2, 1]])),
            (&[1, 2, 4, 5, 6], &[3, 2, 2, 3, 2], spec(1, &[1, 2, 1], &[1, 1, 2], &[[1, 0], [1, 1], [0, 2]])),
            (&[1, 130, 4, 6], &[3, 130, 3, 3], spec(1, &[1, 1], &[1, 1], &[[1, 1], [1, 1]])),
        ];
        for (case, (x, w, conv)) in cases.into_iter().enumerate() {
            let mut shape = vec![x[0], w[0]];
            for a in 0..x.len() - 2 {
                let pads: i64 = conv.pads[a].iter().map(|d| d.as_const().unwrap()).sum();
                let reach = x[a + 2] + pads as usize - (w[a + 2] - 1) * conv.dilations[a] - 1;
                shape.push(reach / conv.strides[a] + 1);
            }
            for types in 0..4 {
                let (tx, tw) = (TYPES[types / 2], TYPES[types % 2]);
                let w_zero = if types % 2 == 0 { vec![w[0]] } else { vec![] };
                let mut inputs =
                    [(tx, x), (tw, w), (tx, &[]), (tw, &w_zero)].map(|(t, s)| Some(random(&mut rng, t, s)));
                if (case + types) % 3 == 0 {
                    inputs[2] = None;
                }
                if (case + types) % 4 == 3 {
                    inputs[3] = None;
                }
                agrees(&Kernel::ConvInteger(conv.clone()), &inputs, &[(DType::I32, shape.clone())], 0.0);
            }
        }
    }

    /// The largest factors do not saturate.
    #[test]
    fn extremes() {
        let full = |dtype, byte: u8, shape: &[usize]| {
            let mut t = planc_tensor::AlignedBuf::zeroed(shape.iter().product());
            t.as_mut_slice().fill(byte);
            Some(Tensor::from_bytes(dtype, shape, planc_tensor::Bytes::new(t)).unwrap())
        };
        for (a, b) in [(255, 0x80), (255, 0x7f), (0, 0x80)] {
            let zeros = [full(DType::U8, 255 - a, &[]), full(DType::I8, b ^ 0xff, &[])];
            let [za, zb] = zeros;
            let inputs = [full(DType::U8, a, &[3, 70]), full(DType::I8, b, &[70, 20]), za, zb];
            agrees(&Kernel::GemmInteger, &inputs, &[(DType::I32, vec![3, 20])], 0.0);
        }
    }

    #[test]
    fn wrong_extents_are_errors() {
        let mut rng = Rng::new(13);
        let mut run = |a: &[usize], b: &[usize], za: &[usize], out: &[usize]| {
            let inputs = [a, b, za].map(|s| Some(random(&mut rng, DType::U8, s)));
            run_on(Isa::detect(), &Serial, &Kernel::GemmInteger, &inputs, &[(DType::I32, out.to_vec())]).is_err()
        };
        assert!(run(&[2, 3], &[4, 2], &[], &[2, 2]));
        assert!(run(&[2, 3], &[3, 2], &[3], &[2, 2]));
        assert!(run(&[2, 3], &[3, 2], &[1, 3], &[2, 2]));
        assert!(run(&[2, 3], &[3, 2], &[], &[2, 3]));
        assert!(run(&[3], &[3, 2], &[], &[2]));
    }
}
