//! Operators of com.microsoft against ONNX Runtime, from `testdata/microsoft`.
//!
//! A file holds graphs of one node. Constant `%x.value` is what input `%x` is filled with, `%y.value` what result `%y` has
//! to be. Each graph is evaluated twice: with the operator's own evaluation where it has one, and rewritten as far as rows go.
//! Extents that a graph leaves open are only known when it is evaluated, as in a run.

use planc_ir::{Graph, NodeId, ValueId};
use planc_ops::{EvalCx, infer_graph, row};
use planc_tensor::{DType, Tensor, View};
use std::collections::HashMap;
use std::path::Path;

/// Rewrites of one graph at most, so that rows that rewrite each other are noticed.
const ROUNDS: usize = 8;

/// Rewrites nodes: all that can be, or only those that nothing else computes.
fn rewrite(g: &mut Graph, all: bool) -> Result<(), String> {
    for _ in 0..ROUNDS {
        let wanted = |g: &Graph, id: NodeId| {
            let r = row(&g.node(id).op)?;
            r.decompose.filter(|_| all || r.eval.is_none())
        };
        let Some((id, decompose)) = g.order().into_iter().find_map(|id| Some((id, wanted(g, id)?))) else {
            return infer_graph(g).map_err(|e| e[0].to_string());
        };
        let old = g.node(id).outputs().to_vec();
        let made = match decompose(g, id) {
            Ok(made) => made,
            // What has an evaluation may decline.
            Err(_) if row(&g.node(id).op).is_some_and(|r| r.eval.is_some()) => return Ok(()),
            Err(reason) => return Err(reason),
        };
        for (old, new) in old.iter().zip(made) {
            let (Some(old), Some(new)) = (old, new) else { continue };
            let (before, after) = (g.tensor_type(*old).cloned(), g.tensor_type(new).cloned());
            if before.as_ref().map(|t| t.dtype) != after.as_ref().map(|t| t.dtype)
                || before.as_ref().and_then(|t| t.rank()) != after.as_ref().and_then(|t| t.rank())
            {
                return Err(format!("{before:?} became {after:?}"));
            }
            g.replace_uses(*old, new);
        }
        g.remove_node(id);
    }
    Err("rewriting does not end".into())
}

/// The results of a graph by evaluation of each of its nodes.
fn evaluate(g: &Graph) -> Result<HashMap<ValueId, Tensor>, String> {
    let mut known: HashMap<ValueId, Tensor> = HashMap::new();
    for v in g.inputs() {
        let name = format!("{}.value", g.value(*v).name);
        let value = g.find(&name).and_then(|v| g.constant(v)).ok_or(format!("there is no {name}"))?;
        known.insert(*v, value.clone());
    }
    for id in g.order() {
        let node = g.node(id);
        let results = {
            let at = |v: ValueId| known.get(&v).or_else(|| g.constant(v)).map(Tensor::view);
            let views: Vec<Option<View<'_>>> = node.inputs().iter().map(|v| v.and_then(at)).collect();
            let dtype = |v: &Option<ValueId>| v.and_then(|v| g.tensor_type(v)).map_or(DType::F32, |t| t.dtype);
            let dtypes: Vec<DType> = node.outputs().iter().map(dtype).collect();
            let r = row(&node.op).ok_or("there is no row")?;
            let eval = r.eval.ok_or(format!("{} has no evaluation", node.op))?;
            eval(&EvalCx::new(r, &node.attrs, &dtypes, 1 << 24), &views).map_err(|e| format!("{}: {e}", node.op))?
        };
        for (v, t) in node.outputs().iter().zip(results) {
            let Some(v) = v else { continue };
            let ty = g.tensor_type(*v).ok_or("a result is not a tensor")?;
            let fits = ty.shape.as_ref().is_none_or(|s| {
                s.len() == t.rank() && s.iter().zip(t.shape()).all(|(d, n)| d.as_const().is_none_or(|d| d == *n as i64))
            });
            if !fits || ty.dtype != t.dtype() {
                return Err(format!("{}: inference says {ty}, evaluation gives {}{:?}", node.op, t.dtype(), t.shape()));
            }
            known.insert(*v, t);
        }
    }
    Ok(known)
}

/// Whether a result is the expected one: floats nearly, codes to one step, which is where both round.
fn compare(got: &Tensor, want: &Tensor) -> Result<(), String> {
    if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
        return Err(format!("{}{:?}, not {}{:?}", got.dtype(), got.shape(), want.dtype(), want.shape()));
    }
    let floats = |t: &Tensor| planc_ops::scalar::floats(t.view()).map_err(|e| e.to_string());
    let (a, b) = (floats(got)?, floats(want)?);
    let step = if got.dtype().is_float() { 0.0 } else { 1.0 };
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= if step > 0.0 { step } else { 3e-5 * (1.0 + b.abs()) };
    let exact = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    // One code in ten may be off.
    if a.iter().zip(&b).all(near) && (step == 0.0 || exact * 10 >= a.len() * 9) {
        return Ok(());
    }
    Err(format!("{a:?}\nis not\n{b:?}"))
}

fn check(text: &str, all: bool) -> Result<(), String> {
    let mut g = planc_ir::text::parse(text).map_err(|e| e.to_string())?;
    infer_graph(&mut g).map_err(|e| e[0].to_string())?;
    let expected = |v: &ValueId| {
        let name = g.value(*v).name.to_string();
        let value = g.find(&format!("{name}.value")).and_then(|v| g.constant(v)).cloned();
        value.map(|v| (name.clone(), v)).ok_or(format!("nothing is expected of {name}"))
    };
    let wanted: Vec<(String, Tensor)> = g.outputs().iter().map(expected).collect::<Result<_, String>>()?;
    rewrite(&mut g, all)?;
    let known = evaluate(&g)?;
    for ((name, want), v) in wanted.iter().zip(g.outputs()) {
        let got = known.get(v).ok_or(format!("{name} is not computed"))?;
        compare(got, want).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// All graphs of a file, each in both ways.
fn run(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/microsoft").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let mut failures = vec![];
    let graphs: Vec<String> = text.split("graph @").skip(1).map(|g| format!("graph @{g}")).collect();
    assert!(!graphs.is_empty());
    for graph in &graphs {
        for all in [false, true] {
            if let Err(e) = check(graph, all) {
                let name = graph.lines().next().unwrap_or_default();
                failures.push(format!("{name} ({}): {e}", if all { "rewritten" } else { "evaluated" }));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {} failed\n{}", failures.len(), 2 * graphs.len(), failures.join("\n"));
}

#[test]
fn attention() {
    run("attention.ir");
}

#[test]
fn quantised() {
    run("quantised.ir");
}

#[test]
fn layers() {
    run("layers.ir");
}
