//! Evaluating graphs by the operators' reference evaluations, to see that passes keep their meaning.

use planc_ir::{Graph, NodeId, Type, ValueId};
use planc_kir::{Kernel, interp::interpret};
use planc_ops::{EvalCx, row};
use planc_tensor::{DType, Tensor, View, bf16, f16};
use std::collections::HashMap;

/// Values of a graph.
pub type Env = HashMap<ValueId, Tensor>;

/// The outputs of `g` for these inputs. Control flow: If only.
pub fn run(g: &Graph, mut env: Env) -> Result<Vec<Tensor>, String> {
    for v in g.value_ids() {
        if let Some(t) = g.constant(v) {
            env.insert(v, t.clone());
        }
    }
    for id in g.order() {
        let results = node(g, id, &env).map_err(|e| {
            let name = g.node(id).outputs().iter().flatten().next().map_or("", |v| &g.value(*v).name);
            format!("{name} ({}): {e}", g.node(id).op)
        })?;
        for (v, t) in g.node(id).outputs().iter().zip(results) {
            v.map(|v| env.insert(v, t));
        }
    }
    g.outputs().iter().map(|v| env.get(v).cloned().ok_or_else(|| format!("no {}", g.value(*v).name))).collect()
}

fn node(g: &Graph, id: NodeId, env: &Env) -> Result<Vec<Tensor>, String> {
    let n = g.node(id);
    let get = |v: ValueId| env.get(&v).ok_or_else(|| format!("no {}", g.value(v).name));
    if n.op.is("If") {
        let condition = get(n.input(0).ok_or("no condition")?)?.view().to_i64().unwrap_or_default();
        let name = if condition == [0] { "else_branch" } else { "then_branch" };
        let s = n.subgraphs.iter().find(|s| &*s.name == name).ok_or("no branch")?;
        let inner = s.captures.iter().map(|c| Ok((c.inner, get(c.outer)?.clone()))).collect::<Result<_, String>>()?;
        return run(&s.graph, inner);
    }
    let r = row(&n.op).ok_or("no row")?;
    let eval = r.eval.ok_or("no evaluation")?;
    let dtype = |v: &Option<ValueId>| match v.map(|v| &g.value(v).ty) {
        Some(Type::Tensor(t)) => t.dtype,
        _ => DType::F32,
    };
    let mut dtypes: Vec<DType> = n.outputs().iter().map(dtype).collect();
    if let Some(e) = n.epilogue() {
        dtypes[0] = e.expr.args()[0];
    }
    let operands: Vec<Option<View<'_>>> =
        n.inputs().iter().map(|v| v.map(|v| get(v).map(Tensor::view)).transpose()).collect::<Result<_, _>>()?;
    let mut results = eval(&EvalCx::new(r, &n.attrs, &dtypes, 1 << 30), &operands).map_err(|e| e.to_string())?;
    if let Some(e) = n.epilogue() {
        let sides: Vec<&Tensor> = e.sides.iter().map(|v| get(*v)).collect::<Result<_, _>>()?;
        let args = std::iter::once(&results[0]).chain(sides);
        let views: Vec<Option<View<'_>>> = args.map(|t| Some(t.view())).collect();
        let outputs = [(e.expr.result_type(), results[0].shape().to_vec())];
        let made = interpret(&Kernel::Map(e.expr.clone()), &views, &outputs, &|_| None);
        results[0] = made.map_err(|e| e.to_string())?.remove(0);
    }
    Ok(results)
}

/// A tensor of a type from a seed; symbolic extents are `extent`.
pub fn random(ty: &Type, seed: u64, extent: usize) -> Option<Tensor> {
    let ty = ty.as_tensor()?;
    let shape: Vec<usize> = ty.shape.as_ref()?.iter().map(|d| d.as_usize().unwrap_or(extent)).collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / f64::from(1 << 24) * 4.0 - 2.0
    };
    let n = shape.iter().product();
    let v: Vec<f64> = (0..n).map(|_| next()).collect();
    match ty.dtype {
        DType::F32 => Tensor::new(shape, v.iter().map(|x| *x as f32).collect()),
        DType::F64 => Tensor::new(shape, v),
        DType::F16 => Tensor::new(shape, v.iter().map(|x| f16::from_f64(*x)).collect()),
        DType::BF16 => Tensor::new(shape, v.iter().map(|x| bf16::from_f64(*x)).collect()),
        DType::I64 => Tensor::new(shape, v.iter().map(|x| x.abs() as i64).collect()),
        DType::I32 => Tensor::new(shape, v.iter().map(|x| *x as i32).collect()),
        DType::U8 => Tensor::new(shape, v.iter().map(|x| (x.abs() * 100.0) as u8).collect()),
        DType::I8 => Tensor::new(shape, v.iter().map(|x| (x * 60.0) as i8).collect()),
        DType::Bool => Tensor::new(shape, v.iter().map(|x| *x > 0.0).collect()),
        _ => return None,
    }
    .ok()
}

/// Inputs from a seed; `None` if an input has a type that has no random values.
pub fn inputs(g: &Graph, seed: u64, extent: usize) -> Option<Vec<Tensor>> {
    let each = |(i, v): (usize, &ValueId)| random(&g.value(*v).ty, seed + i as u64, extent);
    g.inputs().iter().enumerate().map(each).collect()
}

/// The largest difference of two tensors relative to the larger elements; infinite where types or shapes differ.
pub fn difference(a: &Tensor, b: &Tensor) -> f64 {
    if a.dtype() != b.dtype() || a.shape() != b.shape() {
        return f64::INFINITY;
    }
    let floats = |t: &Tensor| -> Option<Vec<f64>> {
        let v = t.view();
        Some(match t.dtype() {
            DType::F32 => v.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
            DType::F64 => v.to_vec::<f64>()?,
            DType::F16 => v.to_vec::<f16>()?.into_iter().map(f64::from).collect(),
            DType::BF16 => v.to_vec::<bf16>()?.into_iter().map(f64::from).collect(),
            _ => return None,
        })
    };
    let (Some(x), Some(y)) = (floats(a), floats(b)) else { return if a == b { 0.0 } else { f64::INFINITY } };
    let scale = x.iter().chain(&y).filter(|v| v.is_finite()).fold(1e-3, |m: f64, v| m.max(v.abs()));
    let pairs = x.iter().zip(&y).filter(|(x, y)| !(x.is_nan() && y.is_nan() || x == y));
    pairs.map(|(x, y)| (x - y).abs() / scale).fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
}

/// How much of a difference rounding may make: `exact`, or a few units in the last place where `g` has 16-bit floats.
pub fn tolerance(g: &Graph, exact: f64) -> f64 {
    let has = |dtype: DType| g.value_ids().any(|v| g.tensor_type(v).is_some_and(|t| t.dtype == dtype));
    match () {
        () if has(DType::BF16) => 3e-2,
        () if has(DType::F16) => 4e-3,
        () => exact,
    }
}
