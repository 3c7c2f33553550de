//! GatherND: the last axis of the indices holds tuples that address slices of the data.

use super::scatter::tuple_places;
use crate::indexing::{Cells, Filler};
use crate::{AttrDef, Lowered, OpDef, OpError, Param, TypeSet, known, operand};
use planc_kir::Kernel;
use planc_tensor::Dim;

/// The row of GatherND.
pub const OP: OpDef = OpDef {
    name: "GatherND",
    since: 11,
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("data", "T"), Param::req("indices", "tensor(int64)")],
    outputs: &[Param::req("output", "T")],
    attrs: &[AttrDef::int("batch_dims", 0).since(12)],
    infer: |cx| {
        let batch = usize::try_from(cx.int("batch_dims")).map_err(|_| OpError::attribute("batch_dims is negative"))?;
        let shape = match (cx.shape(0)?, cx.shape(1)?) {
            (Some(d), Some(i)) => {
                let Some((tuple, lead)) = i.split_last() else {
                    return Err(OpError::shape("the indices need an axis of tuples"));
                };
                if batch > lead.len() || batch > d.len() {
                    return Err(OpError::attribute(format!("batch_dims {batch} is out of range")));
                }
                let mut shape = known::same_shape(&lead[..batch], &d[..batch], &[])?;
                shape.extend_from_slice(&lead[batch..]);
                match tuple.as_usize() {
                    Some(k) if k <= d.len() - batch => {
                        shape.extend_from_slice(&d[batch + k..]);
                        Some(shape)
                    }
                    Some(k) => return Err(OpError::shape(format!("tuples of {k} do not address the data"))),
                    None => None,
                }
            }
            _ => None,
        };
        let picked = match (cx.known(0), cx.constant(1).and_then(|t| t.view().to_i64())) {
            (Some(all), Some(at)) if batch == 0 && cx.shape(0)?.is_some_and(|d| d.len() == 1) => {
                let pick = |i: &i64| all.get(crate::indexing::index(*i, all.len()).ok()?).cloned();
                at.iter().map(pick).collect::<Option<Vec<Dim>>>()
            }
            _ => None,
        };
        cx.set_shape(0, cx.dtype(0)?, shape);
        known::set_if_flat(cx, 0, picked);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (x, indices) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let batch = usize::try_from(cx.int("batch_dims")).map_err(|_| OpError::attribute("batch_dims is negative"))?;
        let (places, tuple) = tuple_places(x.shape(), indices, batch)?;
        let rest = &x.shape()[batch + tuple..];
        let run: usize = rest.iter().product();
        let shape = [&indices.shape()[..indices.rank() - 1], rest].concat();
        let mut out = Filler::new(cx, x.dtype(), shape)?;
        let cells = Cells::of(x);
        places.into_iter().for_each(|p| out.push_run(&cells, p, run));
        Ok(vec![out.finish()?])
    }),
    lower: |cx| match (cx.output(0), usize::try_from(cx.int("batch_dims"))) {
        (Ok(ty), Ok(batch_dims)) if ty.shape.is_some() => Lowered::kernel(Kernel::GatherNd { batch_dims }, 2),
        _ => Lowered::Reference,
    },
    ..OpDef::NEW
};

/// The row of com.microsoft's GatherND, which came first.
pub const MICROSOFT: OpDef = OpDef {
    domain: "com.microsoft",
    since: 1,
    types: &[("T", TypeSet::ALL), ("Tind", TypeSet::INDEX)],
    inputs: &[Param::req("data", "T"), Param::req("indices", "Tind")],
    attrs: &[],
    ..OP
};
