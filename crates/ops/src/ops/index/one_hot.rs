//! OneHot: a new axis of `depth` elements, `values[1]` where the index says and `values[0]` elsewhere (everywhere where
//! the index is out of range).

use super::order::Keys;
use crate::indexing::{Cells, Filler, around};
use crate::{AttrDef, OpDef, OpError, Param, TypeSet, normal_axis, operand};
use planc_tensor::{Dim, View};

/// The row of OneHot.
pub const OP: OpDef = OpDef {
    name: "OneHot",
    since: 9,
    types: &[("T1", TypeSet::NUMERIC), ("T2", TypeSet::NUMERIC), ("T3", TypeSet::ALL)],
    inputs: &[Param::req("indices", "T1"), Param::req("depth", "T2"), Param::req("values", "T3")],
    outputs: &[Param::req("output", "T3")],
    attrs: &[AttrDef::int("axis", -1)],
    infer: |cx| {
        let dtype = cx.dtype(2)?;
        let depth = match (cx.known(1), cx.constant(1)) {
            (Some(k), _) if k.len() == 1 => Some(k[0].clone()),
            (None, Some(t)) => Some(Dim::from(depth(t.view())?)),
            _ => None,
        };
        let shape = match cx.shape(0)? {
            Some(s) => {
                let axis = cx.axis("axis", s.len() + 1)?;
                let mut s = s.to_vec();
                s.insert(axis, depth.unwrap_or_else(|| cx.fresh(0, axis)));
                Some(s)
            }
            None => None,
        };
        cx.set_shape(0, dtype, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let (indices, values) = (operand(inputs, 0)?, operand(inputs, 2)?);
        let depth = depth(operand(inputs, 1)?)?;
        if values.len() != 2 {
            return Err(OpError::shape("values needs two elements"));
        }
        let axis = normal_axis(cx.int("axis"), indices.rank() + 1)?;
        let mut shape = indices.shape().to_vec();
        shape.insert(axis, depth);
        let mut out = Filler::new(cx, values.dtype(), shape.clone())?;
        let cells = Cells::of(values);
        let n = shape.iter().product::<usize>();
        (0..n).for_each(|i| out.set(i, &cells, 0));
        let (_, _, inner) = around(&shape, axis)?;
        let extent = depth as i128;
        for (i, hot) in whole(indices)?.into_iter().enumerate() {
            let hot = if hot < 0 { hot + extent } else { hot };
            if (0..extent).contains(&hot) {
                out.set((i / inner * depth + hot as usize) * inner + i % inner, &cells, 1);
            }
        }
        Ok(vec![out.finish()?])
    }),
    ..OpDef::NEW
};

/// The one element of `v` as an extent.
fn depth(v: View<'_>) -> Result<usize, OpError> {
    let all = whole(v)?;
    let [depth] = all.as_slice() else { return Err(OpError::shape("depth is not one element")) };
    usize::try_from(*depth).map_err(|_| OpError::value(format!("depth {depth} is out of range")))
}

/// The elements as whole numbers; floats truncate.
fn whole(v: View<'_>) -> Result<Vec<i128>, OpError> {
    match Keys::of(v)? {
        Keys::Int(whole) => Ok(whole),
        Keys::Float(floats) => Ok(floats.into_iter().map(|v| i128::from(v as i64)).collect()),
        Keys::Complex(_) | Keys::Text(_) => Err(OpError::type_(format!("does not take {}", v.dtype()))),
    }
}
