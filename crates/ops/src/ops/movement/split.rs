//! Split: parts of the given lengths (`split`), or `num_outputs` of equal length (the last one shorter), along an axis.

use crate::indexing::{Cells, Filler, around, integers};
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, Upgrade, known, normal_axis, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, ValueId};
use planc_tensor::{Dim, Tensor};

/// The row of Split.
pub const OP: OpDef = OpDef {
    name: "Split",
    types: &[("T", TypeSet::ALL), ("tensor(int64)", TypeSet::I64)],
    inputs: &[Param::req("input", "T"), Param::opt("split", "tensor(int64)")],
    outputs: &[Param::variadic("outputs", "T")],
    attrs: &[
        AttrDef::int("axis", 0),
        AttrDef::optional("num_outputs", AttrKind::Int).since(18),
        AttrDef::optional("split", AttrKind::Ints).until(13),
    ],
    upgrades: &[Upgrade {
        to: 13,
        step: |cx| {
            cx.ints_to_input("split", 1);
            Ok(())
        },
    }],
    infer: |cx| {
        let dtype = cx.dtype(0)?;
        let n = cx.output_count();
        if let Some(wanted) = cx.opt_int("num_outputs")
            && usize::try_from(wanted) != Ok(n)
        {
            return Err(OpError::attribute(format!("num_outputs is {wanted}, the node has {n} results")));
        }
        let Some(shape) = cx.shape(0)? else {
            (0..n).for_each(|i| cx.set_shape(i, dtype, None));
            return Ok(());
        };
        let axis = cx.axis("axis", shape.len())?;
        let lengths = match (cx.has(1), cx.known(1)) {
            (false, _) => Some(even(&shape[axis], n, cx.opt_int("num_outputs").is_some())?),
            (true, Some(lengths)) => {
                check(&lengths, &shape[axis], n)?;
                Some(lengths)
            }
            (true, None) => None,
        };
        let mut from = Some(0usize);
        for i in 0..n {
            let length = lengths.as_ref().map_or_else(|| cx.fresh(i, axis), |l| l[i].clone());
            let mut part = shape.to_vec();
            part[axis] = length.clone();
            cx.set_tensor(i, dtype, part);
            let past = from.zip(length.as_usize()).and_then(|(f, l)| f.checked_add(l));
            if let (Some(k), Some(range)) = (cx.known(0), from.zip(past)) {
                known::set_if_flat(cx, i, k.get(range.0..range.1).map(<[Dim]>::to_vec));
            }
            from = past;
        }
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        let axis = normal_axis(cx.int("axis"), x.rank())?;
        let (outer, extent, inner) = around(x.shape(), axis)?;
        let (n, extent_dim) = (cx.output_count(), Dim::from(extent));
        let lengths = match inputs.get(1).copied().flatten() {
            Some(v) => integers(v)?.into_iter().map(Dim::from).collect(),
            None => even(&extent_dim, n, cx.opt_int("num_outputs").is_some())?,
        };
        check(&lengths, &extent_dim, n)?;
        let cells = Cells::of(x);
        let mut first = 0;
        let part = |length: Dim| -> Result<Tensor, OpError> {
            let length = length.as_usize().ok_or_else(|| OpError::value("a length is negative"))?;
            let mut shape = x.shape().to_vec();
            shape[axis] = length;
            let mut out = Filler::new(cx, x.dtype(), shape)?;
            if inner > 0 && length > 0 {
                (0..outer).for_each(|o| out.push_run(&cells, (o * extent + first) * inner, length * inner));
            }
            first += length;
            out.finish()
        };
        lengths.into_iter().map(part).collect()
    }),
    decompose: Some(into_slices),
    ..OpDef::NEW
};

/// `n` equal parts. `uneven`: the last may be shorter (opset 18).
fn even(extent: &Dim, n: usize, uneven: bool) -> Result<Vec<Dim>, OpError> {
    let count = Dim::from(n);
    if n == 0 {
        return Err(OpError::arity("has no results"));
    }
    if !uneven {
        if let Some(e) = extent.as_const()
            && e % n as i64 != 0
        {
            return Err(OpError::shape(format!("extent {e} does not split into {n} equal parts")));
        }
        return Ok(vec![extent.floor_div(&count); n]);
    }
    let length = extent.ceil_div(&count);
    let last = extent.clone() - length.clone() * Dim::from(n - 1);
    if last.as_const().is_some_and(|l| l < 0) {
        return Err(OpError::shape(format!("extent {extent} is too short for {n} parts")));
    }
    let mut lengths = vec![length; n];
    lengths[n - 1] = last;
    Ok(lengths)
}

/// Lengths must be as many as results and add up.
fn check(lengths: &[Dim], extent: &Dim, n: usize) -> Result<(), OpError> {
    if lengths.len() != n {
        return Err(OpError::shape(format!("has {} lengths for {n} results", lengths.len())));
    }
    if lengths.iter().any(|l| l.as_const().is_some_and(|l| l < 0)) {
        return Err(OpError::value("a length is negative"));
    }
    let sum: Dim = lengths.iter().cloned().sum();
    known::same(&sum, extent).map(|_| ()).map_err(|_| OpError::shape(format!("lengths sum to {sum}, not {extent}")))
}

/// One `Slice` per result: copies that a backend can do in place of their readers.
fn into_slices(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let data = node.input(0).ok_or("the operand is missing")?;
    let ty = graph.tensor_type(data).cloned().ok_or("the operand is not a tensor")?;
    let shape = ty.shape.as_ref().ok_or("the operand's rank is unknown")?;
    let axis = normal_axis(node.attrs.int("axis").unwrap_or(0), shape.len()).map_err(|e| e.to_string())?;
    let types: Vec<_> = node.outputs().iter().map(|v| v.map(|v| graph.value(v).ty.clone())).collect();
    let length = |ty: &Option<planc_ir::Type>| {
        let ty = ty.as_ref().and_then(planc_ir::Type::as_tensor).and_then(|t| t.shape.as_ref());
        ty.and_then(|s| s.get(axis)).and_then(Dim::as_const)
    };
    // The last part's length need not be known: it ends where the operand ends.
    let mut starts = vec![Some(0i64)];
    for ty in &types {
        let next = starts.last().copied().flatten().zip(length(ty)).and_then(|(s, l)| s.checked_add(l));
        starts.push(next);
    }
    let n = types.len();
    let asked = |i: usize| types[i].is_some();
    let known = |i: usize| starts[i].is_some() && (i + 1 == n || starts[i + 1].is_some());
    if let Some(i) = (0..n).find(|i| asked(*i) && !known(*i)) {
        return Err(format!("the bounds of part {i} are not constant"));
    }
    let mut results = vec![];
    for (i, (output, ty)) in node.outputs().iter().zip(types).enumerate() {
        let (Some(output), Some(ty)) = (output, ty) else {
            results.push(None);
            continue;
        };
        let name = graph.value(*output).name.to_string();
        let end = if i + 1 == n { i64::MAX } else { starts[i + 1].unwrap_or(i64::MAX) };
        let bounds = [("start", starts[i].unwrap_or(0)), ("end", end), ("axis", axis as i64)];
        let consts = bounds.map(|(tag, v)| graph.add_const(&format!("{name}.{tag}"), Tensor::vector(vec![v])));
        let inputs = [data, consts[0], consts[1], consts[2]];
        let slice = NodeBuilder::new(OpName::onnx("Slice")).inputs(inputs).like(&node);
        results.push(Some(graph.add_op(slice, &format!("{name}.slice"), ty)));
    }
    Ok(results)
}
