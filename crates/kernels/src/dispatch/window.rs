//! Poolings, and reductions over all pixels of a channel.

use super::{Cx, Operand, Output, spread};
use crate::integer::max_pool_bytes;
use crate::pool::{GlobalPool, Pool as Window, PoolOp, global_pool_blocked, pool_blocked, pool_plain};
use planc_kir::{Pool, PoolKind, ReduceOp};
use planc_tensor::{DType, Layout};

/// `[x] -> [out]` or `[x] -> [out, indices]`.
pub(super) fn pool(
    cx: &Cx<'_>,
    spec: &Pool,
    x: Operand<'_>,
    y: &mut Output<'_>,
    indices: Option<&mut Output<'_>>,
) -> Result<(), String> {
    let (rank, n) = (x.shape.len(), x.shape.len().wrapping_sub(2));
    let lists = [spec.kernel.len(), spec.strides.len(), spec.dilations.len(), spec.pads.len()];
    let fits = (3..=5).contains(&rank)
        && lists == [n; 4]
        && y.shape.len() == rank
        && y.shape[..2] == x.shape[..2]
        && spec.kernel.iter().chain(&spec.strides).chain(&spec.dilations).all(|v| *v > 0);
    if !fits {
        return Err(format!("a window {:?} does not take {:?} to {:?}", spec.kernel, x.shape, y.shape));
    }
    let pad = |side: usize| {
        let pads = spec.pads.iter().map(|p| cx.dim(&p[side])).collect::<Result<Vec<_>, _>>()?;
        let pads: Option<Vec<usize>> = pads.iter().map(|p| usize::try_from(*p).ok()).collect();
        pads.ok_or_else(|| "negative pads".to_string())
    };
    let blocked = x.layout == Layout::Nchw16c;
    let channels = if blocked { x.shape[1].div_ceil(16) } else { x.shape[1] };
    let window = Window {
        planes: x.shape[0] * channels,
        input: spread(&x.shape[2..], 1),
        output: spread(&y.shape[2..], 1),
        kernel: spread(&spec.kernel, 1),
        stride: spread(&spec.strides, 1),
        dilation: spread(&spec.dilations, 1),
        pads_begin: spread(&pad(0)?, 0),
        pads_end: spread(&pad(1)?, 0),
    };
    let op = match spec.kind {
        PoolKind::Max => PoolOp::Max,
        PoolKind::Average { count_pad } => PoolOp::Average { count_include_pad: count_pad },
        PoolKind::Lp { p } => PoolOp::Lp(p as f32),
    };
    if x.dtype != DType::F32 {
        if x.dtype != y.dtype || op != PoolOp::Max || indices.is_some() {
            return Err(format!("no such pooling of {}", x.dtype));
        }
        max_pool_bytes(cx.par, &window, blocked, x.dtype == DType::I8, x.bytes, y.bytes);
        return Ok(());
    }
    let data = x.elements::<f32>()?;
    if blocked {
        pool_blocked(cx.isa, cx.par, &window, op, data, y.elements()?);
        return Ok(());
    }
    let indices = match indices {
        Some(i) => {
            let i = bytemuck::try_cast_slice_mut::<u8, i64>(i.bytes).map_err(|e| format!("indices: {e}"))?;
            Some(i)
        }
        None => None,
    };
    pool_plain(cx.par, &window, op, data, y.elements()?, indices);
    Ok(())
}

/// Mean or maximum over the pixels of blocked channels, to row-major `[N, C, 1..]` or `[N, C]`.
pub(super) fn reduce_blocked(
    cx: &mut Cx<'_>,
    op: ReduceOp,
    axes: &[usize],
    x: Operand<'_>,
    y: &mut Output<'_>,
) -> Result<(), String> {
    let &[n, c, ref spatial @ ..] = x.shape else { return Err(format!("{:?} has no channels", x.shape)) };
    let op = match op {
        ReduceOp::Mean => GlobalPool::Average,
        ReduceOp::Max => GlobalPool::Max,
        _ => return Err("no such reduction of blocked channels".into()),
    };
    if !axes.iter().copied().eq(2..x.shape.len()) || y.shape.iter().product::<usize>() != n * c {
        return Err(format!("axes {axes:?} of {:?} do not reduce to {:?}", x.shape, y.shape));
    }
    let (blocks, pixels) = (c.div_ceil(16), spatial.iter().product());
    let data = x.elements::<f32>()?;
    if c.is_multiple_of(16) {
        global_pool_blocked(cx.isa, cx.par, op, n * blocks, pixels, data, y.elements()?);
        return Ok(());
    }
    let scratch = cx.scratch.floats(n * blocks * 16);
    global_pool_blocked(cx.isa, cx.par, op, n * blocks, pixels, data, scratch);
    for (to, from) in y.elements()?.chunks_exact_mut(c).zip(scratch.chunks_exact(blocks * 16)) {
        to.copy_from_slice(&from[..c]);
    }
    Ok(())
}
