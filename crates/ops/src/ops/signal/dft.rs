//! DFT: the discrete Fourier transform along an axis. The last axis of data holds real numbers (extent 1) or real and
//! imaginary parts (extent 2). `onesided` keeps the first half of a real signal's spectrum, or takes it (`inverse`).

use crate::floats::{narrow, widen};
use crate::ops::signal::fourier::{Complex, matrix, transform};
use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, Upgrade, normal_axis, operand};
use planc_ir::{Graph, NodeBuilder, NodeId, OpName, TensorType, ValueId};
use planc_tensor::{Dim, Tensor, View};

/// The row of DFT.
pub const OP: OpDef = OpDef {
    name: "DFT",
    since: 17,
    types: &[("T1", TypeSet::FLOAT), ("T2", TypeSet::INDEX), ("T3", TypeSet::I64)],
    inputs: &[Param::req("input", "T1"), Param::opt("dft_length", "T2"), Param::opt("axis", "T3")],
    outputs: &[Param::req("output", "T1")],
    attrs: &[AttrDef::int("axis", 1).until(20), AttrDef::int("inverse", 0), AttrDef::int("onesided", 0)],
    upgrades: &[Upgrade {
        to: 20,
        step: |cx| {
            let axis = cx.attrs.int("axis").unwrap_or(1);
            cx.attrs.take("axis");
            cx.const_input("axis", 2, Tensor::scalar(axis));
            Ok(())
        },
    }],
    infer,
    eval: Some(eval),
    decompose: Some(decompose),
    ..OpDef::NEW
};

/// The signal axis of data of `rank` axes.
fn signal_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let axis = normal_axis(axis, rank)?;
    if axis + 1 == rank {
        return Err(OpError::attribute("axis is the axis of real and imaginary parts"));
    }
    Ok(axis)
}

/// A length, checked.
pub(crate) fn length(n: i64, what: &str) -> Result<usize, OpError> {
    usize::try_from(n).ok().filter(|n| (1..1 << 31).contains(n)).ok_or_else(|| OpError::value(format!("{what} is {n}")))
}

/// The elements of a one-element integer operand, if known.
pub(crate) fn known_scalar(cx: &InferCx<'_>, i: usize) -> Option<Dim> {
    cx.known(i).filter(|k| k.len() == 1).map(|mut k| k.remove(0))
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let (dtype, shape) = (cx.dtype(0)?, cx.shape(0)?);
    let (inverse, onesided) = (cx.flag("inverse"), cx.flag("onesided"));
    let Some(shape) = shape else {
        cx.set_shape(0, dtype, None);
        return Ok(());
    };
    if shape.len() < 2 {
        return Err(OpError::shape(format!("data of rank {} has no axis to transform", shape.len())));
    }
    let parts = shape[shape.len() - 1].as_const();
    if parts.is_some_and(|p| p != 1 && p != 2) {
        return Err(OpError::shape(format!("the last extent is {}, not 1 or 2", shape[shape.len() - 1])));
    }
    if onesided && parts.is_some_and(|p| (p == 2) != inverse) {
        return Err(OpError::shape("one-sided transforms go from real to complex, their inverses back"));
    }
    let mut out = shape.to_vec();
    out[shape.len() - 1] = Dim::from(if inverse && onesided { 1i64 } else { 2 });
    let axis = if cx.has(2) { known_scalar(cx, 2).and_then(|a| a.as_const()) } else { Some(-2) };
    match axis {
        Some(axis) => {
            let axis = signal_axis(axis, shape.len())?;
            let (one, two) = (Dim::from(1i64), Dim::from(2i64));
            let n = if cx.has(1) {
                let n = known_scalar(cx, 1);
                n.as_ref().and_then(Dim::as_const).map(|n| length(n, "dft_length")).transpose()?;
                n
            } else if inverse && onesided {
                Some((shape[axis].clone() - one.clone()) * two.clone())
            } else {
                Some(shape[axis].clone())
            };
            out[axis] = match n {
                Some(n) if onesided && !inverse => n.floor_div(&two) + one,
                Some(n) => n,
                None => cx.fresh(0, axis),
            };
        }
        None => (0..shape.len() - 1).for_each(|i| out[i] = cx.fresh(0, i)),
    }
    cx.set_tensor(0, dtype, out);
    Ok(())
}

/// The only element of an integer operand.
///
/// # Errors
/// When there is not exactly one.
pub(crate) fn scalar(x: View<'_>, what: &str) -> Result<i64, OpError> {
    match x.to_i64().as_deref() {
        Some([v]) => Ok(*v),
        _ => Err(OpError::shape(format!("{what} is not one integer"))),
    }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let at = |i: usize| inputs.get(i).copied().flatten();
    let (inverse, onesided) = (cx.flag("inverse"), cx.flag("onesided"));
    let shape = x.shape();
    let parts = match shape {
        [_, .., p @ (1 | 2)] => *p,
        _ => return Err(OpError::shape(format!("{shape:?} is no shape of a signal"))),
    };
    let axis = signal_axis(at(2).map_or(Ok(-2), |a| scalar(a, "axis"))?, shape.len())?;
    let have = shape[axis];
    let n = match at(1) {
        Some(n) => scalar(n, "dft_length")?,
        None if inverse && onesided => have as i64 * 2 - 2,
        None => have as i64,
    };
    let n = length(n, "dft_length")?;
    let bins = if onesided && !inverse { n / 2 + 1 } else { n };
    let out_parts = if inverse && onesided { 1 } else { 2 };
    let mut out_shape = shape.to_vec();
    (out_shape[axis], out_shape[shape.len() - 1]) = (bins, out_parts);
    let total = cx.reserve(x.dtype(), &out_shape)?;
    cx.reserve(planc_tensor::DType::C128, &[n])?;
    let data = widen(x)?;
    let inner: usize = shape[axis + 1..shape.len() - 1].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut out = vec![0.0; total];
    let mut line = vec![Complex::default(); n];
    for o in 0..outer {
        for i in 0..inner {
            line.fill(Complex::default());
            let given = if inverse && onesided { (n / 2 + 1).min(have) } else { n.min(have) };
            for (k, v) in line.iter_mut().enumerate().take(given) {
                let at = ((o * have + k) * inner + i) * parts;
                *v = Complex::new(data[at], if parts == 2 { data[at + 1] } else { 0.0 });
            }
            if inverse && onesided {
                (1..n.div_ceil(2)).for_each(|k| line[n - k] = line[k].conj());
                // What a real signal cannot have does not count.
                line[0].im = 0.0;
                if n.is_multiple_of(2) {
                    line[n / 2].im = 0.0;
                }
            }
            let scale = if inverse { 1.0 / n as f64 } else { 1.0 };
            for (k, y) in transform(&line, inverse).iter().enumerate().take(bins) {
                let at = ((o * bins + k) * inner + i) * out_parts;
                out[at] = y.re * scale;
                if out_parts == 2 {
                    out[at + 1] = y.im * scale;
                }
            }
        }
    }
    Ok(vec![narrow(x.dtype(), &out_shape, out)?])
}

/// Elements of a transform's matrix at most: above, the reference's fast transform is better.
pub(crate) const MAX_MATRIX: usize = 1 << 22;

/// The forward transform of real data along the last signal axis is a matrix product.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let node = graph.node(id).clone();
    let (Some(x), Some(out)) = (node.input(0), node.output(0)) else { return Err("an operand is missing".into()) };
    let flag = |name: &str| node.attrs.int(name).unwrap_or(0) != 0;
    if flag("inverse") {
        return Err("the transform is an inverse".into());
    }
    let integer = |i: usize, default: i64| match node.input(i) {
        Some(v) => graph.constant(v).and_then(|t| scalar(t.view(), "").ok()).ok_or("length or axis is not constant"),
        None => Ok(default),
    };
    let ty = graph.tensor_type(x).cloned().ok_or("the data is not a tensor")?;
    let shape = ty.shape.clone().ok_or("the data's rank is unknown")?;
    let rank = shape.len();
    if rank < 2 || shape[rank - 1].as_const() != Some(1) {
        return Err("the data is not real".into());
    }
    let axis = signal_axis(integer(2, -2)?, rank).map_err(|e| e.to_string())?;
    if axis + 2 != rank {
        return Err("the axis is not the last of the signal".into());
    }
    let rows = shape[axis].as_usize().ok_or("the axis' extent is not constant")?;
    let n = length(integer(1, rows as i64)?, "dft_length").map_err(|e| e.to_string())?;
    let bins = if flag("onesided") { n / 2 + 1 } else { n };
    if rows.saturating_mul(bins) > MAX_MATRIX {
        return Err("the transform's matrix is too large".into());
    }
    let name = graph.value(out).name.to_string();
    let op =
        |op: &str, inputs: &[ValueId]| NodeBuilder::new(OpName::onnx(op)).inputs(inputs.iter().copied()).like(&node);
    let axes = graph.add_const(&format!("{name}.axis"), Tensor::vector(vec![rank as i64 - 1]));
    let mut dims = shape[..rank - 1].to_vec();
    let real =
        graph.add_op(op("Squeeze", &[x, axes]), &format!("{name}.real"), TensorType::new(ty.dtype, dims.clone()));
    let m = narrow(ty.dtype, &[rows, bins * 2], matrix(rows, n, bins, |_| 1.0)).map_err(|e| e.to_string())?;
    let m = graph.add_const(&format!("{name}.matrix"), m);
    dims[axis] = Dim::from(bins * 2);
    let flat = graph.add_op(op("MatMul", &[real, m]), &format!("{name}.flat"), TensorType::new(ty.dtype, dims.clone()));
    let mut wanted = vec![0i64; rank - 2];
    wanted.extend([bins as i64, 2]);
    let wanted = graph.add_const(&format!("{name}.shape"), Tensor::vector(wanted));
    dims[axis] = Dim::from(bins);
    dims.push(Dim::from(2i64));
    let y = graph.add_op(op("Reshape", &[flat, wanted]), &format!("{name}.bins"), TensorType::new(ty.dtype, dims));
    Ok(vec![Some(y)])
}
