//! com.microsoft.FusedConv: activation(Conv(X, W, B) + Z).

use crate::convolve::infer;
use crate::floats::{narrow, widen};
use crate::ops::nn::conv;
use crate::rebuild::Rebuild;
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, Tensor, View};

/// The row of FusedConv.
pub const OP: OpDef = OpDef {
    name: "FusedConv",
    domain: "com.microsoft",
    types: &[("T", TypeSet::FLOAT)],
    inputs: &[Param::req("X", "T"), Param::req("W", "T"), Param::opt("B", "T"), Param::opt("Z", "T")],
    outputs: &[Param::req("Y", "T")],
    attrs: &[
        AttrDef::str("activation", ""),
        AttrDef::optional("activation_params", AttrKind::Floats),
        conv::ATTRS[0],
        conv::ATTRS[1],
        conv::ATTRS[2],
        conv::ATTRS[3],
        conv::ATTRS[4],
        conv::ATTRS[5],
    ],
    infer: |cx: &mut InferCx<'_>| {
        let dtype = cx.dtype(0)?;
        activation(cx.str("activation"))?;
        infer(cx, dtype, 0, 1, 2)
    },
    eval: Some(eval),
    decompose: Some(decompose),
    ..OpDef::NEW
};

/// A function of an element and two parameters.
type Activation = fn(f64, [f64; 2]) -> f64;

fn activation(name: &str) -> Result<(Activation, [f64; 2]), OpError> {
    Ok(match name {
        "" => (|x, _| x, [0.0; 2]),
        "Relu" => (|x, _| x.max(0.0), [0.0; 2]),
        "Tanh" => (|x, _| x.tanh(), [0.0; 2]),
        "Sigmoid" => (|x, _| 1.0 / (1.0 + (-x).exp()), [0.0; 2]),
        "LeakyRelu" => (|x, [a, _]| if x < 0.0 { a * x } else { x }, [0.01, 0.0]),
        "Clip" => (|x, [low, high]| x.max(low).min(high), [f64::MIN, f64::MAX]),
        "HardSigmoid" => (|x, [a, b]| (a * x + b).clamp(0.0, 1.0), [0.2, 0.5]),
        "HardSwish" => (|x, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0), [0.0; 2]),
        other => return Err(OpError::unsupported(format!("activation {other:?}"))),
    })
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let y = conv::eval(cx, inputs)?.remove(0);
    let (f, mut params) = activation(cx.str("activation"))?;
    let given = cx.attrs().floats("activation_params").unwrap_or_default();
    params.iter_mut().zip(given).for_each(|(p, v)| *p = f64::from(*v));
    let mut v = widen(y.view())?;
    if let Some(z) = inputs.get(3).copied().flatten() {
        crate::normalize::apply(&mut v, y.shape(), (&widen(z)?, z.shape()), |a, b| a + b)?;
    }
    v.iter_mut().for_each(|x| *x = f(*x, params));
    Ok(vec![narrow(y.dtype(), y.shape(), v)?])
}

/// Conv, the sum, the activation.
fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let attrs = r.node.attrs.clone();
    let kept: Vec<(&str, Attr)> =
        attrs.iter().filter(|(n, _)| !n.starts_with("activation")).map(|(n, a)| (n, a.clone())).collect();
    let operands: Vec<_> = (0..3).filter(|i| *i < 2 || r.node.input(*i).is_some()).map(|i| r.node.input(i)).collect();
    let mut y = r.node("Conv", &operands, &kept, ("sums", 1))?[0];
    if let Some(z) = r.node.input(3) {
        y = r.op("Add", &[y, z], &[], "residual")?;
    }
    let name = attrs.str("activation").unwrap_or_default();
    let (_, mut params) = activation(name).map_err(|e| e.to_string())?;
    let given = attrs.floats("activation_params").unwrap_or_default();
    params.iter_mut().zip(given).for_each(|(p, v)| *p = f64::from(*v));
    let [a, b] = params.map(|p| Attr::Float(p as f32));
    Ok(vec![Some(match name {
        "" => y,
        "Clip" => {
            let dtype = r.dtype(y);
            let bounds = [r.number("low", dtype, params[0])?, r.number("high", dtype, params[1])?];
            r.op("Clip", &[y, bounds[0], bounds[1]], &[], "activated")?
        }
        "LeakyRelu" => r.op(name, &[y], &[("alpha", a)], "activated")?,
        "HardSigmoid" => r.op(name, &[y], &[("alpha", a), ("beta", b)], "activated")?,
        _ => r.op(name, &[y], &[], "activated")?,
    })])
}
