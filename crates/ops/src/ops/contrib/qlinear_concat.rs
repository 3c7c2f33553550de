//! com.microsoft.QLinearConcat: Concat of operands that are quantised each in its own way, with one quantised result.

use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, InferCx, OpDef, OpError, Param, TypeSet, normal_axis};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::Dim;

/// The row of QLinearConcat, whose nodes become requantisations and Concat.
pub const OP: OpDef = OpDef {
    name: "QLinearConcat",
    domain: "com.microsoft",
    types: &[("TF", TypeSet::F32), ("T8", TypeSet::BYTE), ("TV", TypeSet::BYTE.or(TypeSet::F32))],
    inputs: &[Param::req("Y_scale", "TF"), Param::req("Y_zero_point", "T8"), Param::hetero("inputs", "TV")],
    outputs: &[Param::req("Y", "T8")],
    attrs: &[AttrDef::required("axis", AttrKind::Int)],
    infer,
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let dtype = cx.dtype(1)?;
    let count = cx.input_count().saturating_sub(2);
    if count == 0 || !count.is_multiple_of(3) {
        return Err(OpError::arity("the operands are not tensors, each with a scale and a zero point"));
    }
    let mut shape: Option<Vec<Dim>> = None;
    for i in (2..cx.input_count()).step_by(3) {
        if cx.dtype(i)? != dtype || cx.dtype(i + 1)?.is_int() || cx.dtype(i + 2)? != dtype {
            return Err(OpError::type_(format!(
                "operand {i} and its scale and zero point are not of the result's types"
            )));
        }
        let Some(part) = cx.shape(i)? else {
            cx.set_shape(0, dtype, None);
            return Ok(());
        };
        let axis = cx.axis("axis", part.len())?;
        shape = Some(match shape {
            None => part.to_vec(),
            Some(mut all) => {
                if all.len() != part.len() {
                    return Err(OpError::shape("the operands differ in rank"));
                }
                for (j, (a, b)) in all.iter_mut().zip(part).enumerate() {
                    match j == axis {
                        true => *a = a.clone() + b.clone(),
                        false => crate::convolve::agree(a, b, "the operands differ beside the axis")?,
                    }
                }
                all
            }
        });
    }
    cx.set_shape(0, dtype, shape);
    Ok(())
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let (scale, zero) = (r.operand(0)?, r.operand(1)?);
    let dtype = r.dtype(zero);
    let mut parts = vec![];
    for i in (2..r.node.inputs().len()).step_by(3) {
        let (x, x_scale, x_zero) = (r.operand(i)?, r.operand(i + 1)?, r.operand(i + 2)?);
        let same = [(x_scale, scale), (x_zero, zero)].into_iter().all(|(a, b)| {
            let constants = r.graph.constant(a).zip(r.graph.constant(b));
            a == b || constants.is_some_and(|(a, b)| a.view().bytes() == b.view().bytes())
        });
        parts.push(if same {
            x
        } else {
            let real = r.real(x, x_scale, Some(x_zero), "real")?;
            r.codes(real, scale, Some(zero), dtype)?
        });
    }
    let axis =
        normal_axis(r.node.attrs.int("axis").unwrap_or(0), r.dims(parts[0])?.len()).map_err(|e| e.to_string())?;
    Ok(vec![Some(r.concat(&parts, axis as i64, "all")?)])
}
