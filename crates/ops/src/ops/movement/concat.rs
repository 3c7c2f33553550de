//! Concat: the operands one after the other along an axis.

use crate::indexing::{Cells, Filler, around};
use crate::{AttrDef, Lowered, OpDef, OpError, Param, TypeSet, Upgrade, known, normal_axis};
use planc_kir::Kernel;
use planc_tensor::{Dim, View};

/// The row of Concat.
pub const OP: OpDef = OpDef {
    name: "Concat",
    types: &[("T", TypeSet::ALL)],
    inputs: &[Param::variadic("inputs", "T")],
    outputs: &[Param::req("concat_result", "T")],
    // Required since opset 4; 1 before.
    attrs: &[AttrDef::int("axis", 1)],
    upgrades: &[Upgrade {
        to: 4,
        step: |cx| {
            if cx.attrs.get("axis").is_none() {
                cx.attrs.set("axis", 1i64);
            }
            Ok(())
        },
    }],
    infer: |cx| {
        if cx.attr("axis").is_none() {
            return Err(OpError::attribute("attribute axis is missing"));
        }
        let dtype = cx.dtype(0)?;
        let mut shape: Option<Vec<Dim>> = None;
        let mut total = Some(Dim::from(0i64));
        for i in 0..cx.input_count() {
            let Some(s) = cx.shape(i)? else {
                total = None;
                continue;
            };
            let axis = cx.axis("axis", s.len())?;
            total = total.map(|t| t + s[axis].clone());
            shape = Some(match shape {
                Some(known) => known::same_shape(&known, s, &[axis])?,
                None => s.to_vec(),
            });
        }
        if let Some(s) = &mut shape {
            let axis = cx.axis("axis", s.len())?;
            s[axis] = total.unwrap_or_else(|| cx.fresh(0, axis));
        }
        let flat = shape.as_ref().is_some_and(|s| s.len() == 1);
        let all: Option<Vec<Vec<Dim>>> = (0..cx.input_count()).map(|i| cx.known(i)).collect();
        cx.set_shape(0, dtype, shape);
        if flat {
            known::set_if_flat(cx, 0, all.map(|a| a.concat()));
        }
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let parts: Vec<View<'_>> = inputs.iter().copied().flatten().collect();
        let Some(first) = parts.first() else { return Err(OpError::arity("has no operands")) };
        let axis = normal_axis(cx.int("axis"), first.rank())?;
        let mut shape = first.shape().to_vec();
        shape[axis] = 0;
        for p in &parts {
            let fits = p.rank() == shape.len() && (0..shape.len()).all(|a| a == axis || p.shape()[a] == shape[a]);
            if !fits {
                return Err(OpError::shape(format!("{:?} and {:?} do not concatenate", first.shape(), p.shape())));
            }
            shape[axis] = shape[axis].saturating_add(p.shape()[axis]);
        }
        let mut out = Filler::new(cx, first.dtype(), shape.clone())?;
        if !shape.contains(&0) {
            let (outer, _, inner) = around(&shape, axis)?;
            let cells: Vec<(Cells<'_>, usize)> =
                parts.iter().map(|p| (Cells::of(*p), p.shape()[axis] * inner)).collect();
            for o in 0..outer {
                cells.iter().for_each(|(c, run)| out.push_run(c, o * run, *run));
            }
        }
        Ok(vec![out.finish()?])
    }),
    lower: |cx| {
        let rank = cx.output(0).ok().and_then(|t| t.rank());
        match rank.map(|r| cx.axis("axis", r)) {
            Some(Ok(axis)) => Lowered::kernel(Kernel::Concat { axis }, cx.input_count()),
            _ => Lowered::Reference,
        }
    },
    ..OpDef::NEW
};
