//! AffineGrid: the positions that an affine transform takes the points of a grid to, for `GridSample`.

use crate::floats::{narrow, widen};
use crate::indexing::integers;
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, known, operand};
use planc_tensor::{DType, Dim};

/// The row of AffineGrid.
pub const OP: OpDef = OpDef {
    name: "AffineGrid",
    since: 20,
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::I64)],
    inputs: &[Param::req("theta", "T1"), Param::req("size", "T2")],
    outputs: &[Param::req("grid", "T1")],
    attrs: &[AttrDef::int("align_corners", 0)],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let n = cx.shape(1)?.and_then(|s| s.first()).and_then(Dim::as_usize);
        let shape = match n {
            Some(n @ (4 | 5)) => {
                let size = cx.known(1).unwrap_or_else(|| (0..n).map(|i| cx.fresh(0, i.saturating_sub(1))).collect());
                let mut shape = vec![size[0].clone()];
                shape.extend_from_slice(&size[2..]);
                shape.push(Dim::from(n - 2));
                if let Some(theta) = cx.shape(0)? {
                    let want = [size[0].clone(), Dim::from(n - 2), Dim::from(n - 1)];
                    shape[0] = known::same_shape(theta, &want, &[])?.swap_remove(0);
                }
                Some(shape)
            }
            Some(n) => return Err(OpError::shape(format!("size has {n} elements, not 4 or 5"))),
            None => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let theta = operand(inputs, 0)?;
        let size = integers(operand(inputs, 1)?)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
        let size = size.map_err(|_| OpError::value("a size is negative"))?;
        let spatial = size.len().saturating_sub(2);
        if !(2..=3).contains(&spatial) || theta.shape() != [size[0], spatial, spatial + 1] {
            return Err(OpError::shape(format!("theta {:?} does not fit size {size:?}", theta.shape())));
        }
        let extents = &size[2..];
        let shape = [&size[..1], extents, &[spatial]].concat();
        let mut out = Vec::with_capacity(cx.reserve(DType::F64, &shape)?);
        let theta_values = widen(theta)?;
        let at = |i: usize, n: usize| match cx.flag("align_corners") {
            true if n <= 1 => -1.0,
            true => -1.0 + i as f64 * 2.0 / (n - 1) as f64,
            false => -1.0 + (2 * i + 1) as f64 / n as f64,
        };
        if shape.contains(&0) {
            return Ok(vec![narrow(theta.dtype(), &shape, out)?]);
        }
        for matrix in theta_values.chunks(spatial * (spatial + 1)) {
            for point in 0..extents.iter().product() {
                // Coordinates last axis first: x, y, z.
                let (mut rest, mut position) = (point, Vec::with_capacity(spatial));
                for n in extents.iter().rev() {
                    position.push(at(rest % n, *n));
                    rest /= n;
                }
                for row in matrix.chunks(spatial + 1) {
                    out.push(row.iter().zip(&position).map(|(a, b)| a * b).sum::<f64>() + row[spatial]);
                }
            }
        }
        Ok(vec![narrow(theta.dtype(), &shape, out)?])
    }),
    ..OpDef::NEW
};
