//! Two opinions on every operator that lowers to a kernel: its reference evaluation and the interpretation of its
//! lowering, on random shapes, attributes and elements. They share no code, so a mistake in one shows here.

mod elementwise;
mod layers;
mod random;
mod shapes;

use planc_ir::{Graph, TensorType};
use planc_kir::Kernel;
use planc_ops::{EvalCx, LowerCx, Lowered, infer_graph, row as table_row};
use planc_tensor::{DType, Dim, Tensor, View};
use random::Random;

/// An operator with a generator of graphs that hold one node of it. The graph's inputs are filled with random elements.
pub struct Case {
    pub op: &'static str,
    /// Elements such as NaN, infinities and the largest integers occur.
    pub special: bool,
    /// Kernels that are compared loosely: elements through exponentials or long sums.
    pub loose: bool,
    /// The text of a graph.
    pub graph: Box<dyn Fn(&mut Random) -> String>,
}

impl Case {
    pub fn new(op: &'static str, graph: impl Fn(&mut Random) -> String + 'static) -> Case {
        Case { op, special: false, loose: false, graph: Box::new(graph) }
    }

    pub fn special(self) -> Case {
        Case { special: true, ..self }
    }

    pub fn loose(self) -> Case {
        Case { loose: true, ..self }
    }
}

/// Graphs of each case that are compared.
const RUNS: u64 = 60;

#[test]
fn elementwise_lowerings_agree() {
    run_all(elementwise::cases());
}

#[test]
fn shape_lowerings_agree() {
    run_all(shapes::cases());
}

#[test]
fn layer_lowerings_agree() {
    run_all(layers::cases());
}

/// Runs every case and reports all that disagree, each with its first graph.
fn run_all(cases: Vec<Case>) {
    let mut failures = vec![];
    for (n, case) in cases.iter().enumerate() {
        let mut lowered = 0;
        for seed in 0..RUNS {
            let mut r = Random::new(seed * 1009 + n as u64);
            let text = (case.graph)(&mut r);
            match run(case, &text, &mut r) {
                Ok(kernel) => lowered += u64::from(kernel),
                Err(e) => {
                    failures.push(format!("{} (seed {seed}): {e}\n{text}", case.op));
                    break;
                }
            }
        }
        let failed = failures.last().is_some_and(|f| f.starts_with(&format!("{} (", case.op)));
        if lowered == 0 && !failed {
            failures.push(format!("{} never lowers to a kernel", case.op));
        }
    }
    assert!(failures.is_empty(), "{} cases disagree\n\n{}", failures.len(), failures.join("\n"));
}

/// Compares both opinions on one graph; whether there were two.
fn run(case: &Case, text: &str, r: &mut Random) -> Result<bool, String> {
    let mut g = planc_ir::text::parse(text).map_err(|e| e.to_string())?;
    let inputs: Vec<Tensor> = g
        .inputs()
        .iter()
        .map(|v| {
            let ty = g.tensor_type(*v).ok_or("an input is not a tensor")?;
            Ok(r.tensor(ty.dtype, &ty.static_shape().ok_or("an input's shape is not static")?, case.special))
        })
        .collect::<Result<_, String>>()?;
    // Half of the graphs do not know their extents: equal ones are one symbol.
    if r.below(2) == 0 {
        for v in g.inputs().to_vec() {
            let Some(ty) = g.tensor_type(v).cloned() else { continue };
            let symbol = |d: &Dim| if d.as_const() > Some(1) { Dim::sym(&format!("N{d}")) } else { d.clone() };
            let shape = ty.shape.map(|s| s.iter().map(symbol).collect());
            g.set_type(v, TensorType { shape, ..ty });
        }
    }
    let bind = |name: &str| name.strip_prefix('N').and_then(|n| n.parse().ok());
    infer_graph(&mut g).map_err(|e| format!("inference: {}", e[0]))?;
    planc_ir::verify(&g).map_err(|e| e[0].to_string())?;
    compare(case, &g, &inputs, &bind)
}

fn compare(case: &Case, g: &Graph, inputs: &[Tensor], bind: &dyn Fn(&str) -> Option<i64>) -> Result<bool, String> {
    let id = g.order().into_iter().find(|n| &*g.node(*n).op.name == case.op).ok_or("the graph has no such node")?;
    let node = g.node(id);
    let value = |v: planc_ir::ValueId| {
        let input = g.inputs().iter().position(|i| *i == v).map(|i| &inputs[i]);
        input.or_else(|| g.constant(v)).map(Tensor::view)
    };
    let views: Vec<Option<View<'_>>> = node.inputs().iter().map(|v| v.and_then(value)).collect();
    let dtypes: Vec<DType> = node.outputs().iter().flatten().filter_map(|v| Some(g.tensor_type(*v)?.dtype)).collect();
    let row = table_row(&node.op).ok_or("there is no row")?;
    let eval = row.eval.ok_or("there is no evaluation")?;
    let expected = eval(&EvalCx::new(row, &node.attrs, &dtypes, 1 << 24), &views).map_err(|e| format!("eval: {e}"))?;
    for (v, t) in node.outputs().iter().flatten().zip(&expected) {
        let ty = g.tensor_type(*v).ok_or("a result is not a tensor")?;
        let shape: Option<Vec<Option<i64>>> = ty.shape.as_ref().map(|s| s.iter().map(|d| d.eval(bind)).collect());
        let fits = shape.is_none_or(|s| {
            s.len() == t.rank() && s.iter().zip(t.shape()).all(|(s, d)| s.is_none_or(|s| s == *d as i64))
        });
        if !fits || ty.dtype != t.dtype() {
            return Err(format!("inference says {ty}, evaluation gives {}{:?}", t.dtype(), t.shape()));
        }
    }
    let cx = LowerCx::of(g, id).ok_or("there is no context")?;
    let Lowered::Kernel { kernel, operands } = (row.lower)(&cx) else { return Ok(false) };
    let results = match kernel {
        Kernel::TopK { .. } => 2,
        Kernel::Rnn(_) => 3,
        _ => 1,
    };
    let operands: Vec<Option<View<'_>>> = operands.iter().map(|i| views.get(*i).copied().flatten()).collect();
    let outputs: Vec<_> = expected.iter().take(results).map(|t| (t.dtype(), t.shape().to_vec())).collect();
    let found = planc_kir::interp::interpret(&kernel, &operands, &outputs, bind)
        .map_err(|e| format!("interpreter: {e} [{kernel:?}]"))?;
    for (a, b) in found.iter().zip(&expected) {
        same(a, b, case.loose).map_err(|e| format!("{e}\noperands {inputs:?}\nkernel {kernel:?}"))?;
    }
    Ok(true)
}

/// Compares what the interpreter gives with what the evaluation gives.
fn same(a: &Tensor, b: &Tensor, loose: bool) -> Result<(), String> {
    // Units in the last place as a share of the value; results of a sum may cancel, so there is an absolute part too.
    let tolerance = match a.dtype() {
        DType::F64 => 1e-12,
        DType::F32 => 1e-6,
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        d if d.is_float() => 0.13,
        _ => 0.0,
    };
    let tolerance = if loose { tolerance * 16.0 } else { tolerance * 2.0 };
    if tolerance == 0.0 {
        return if a == b { Ok(()) } else { Err(format!("{} is not {}", show(a), show(b))) };
    }
    let (x, y) = (random::floats(a), random::floats(b));
    for (i, (x, y)) in x.iter().zip(&y).enumerate() {
        let near = x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= tolerance * (1.0 + y.abs());
        if !near {
            return Err(format!("element {i}: interpreted {x}, evaluated {y}"));
        }
    }
    Ok(())
}

fn show(t: &Tensor) -> String {
    match t.view().to_i64() {
        Some(v) => format!("{v:?}"),
        None => format!("{:?}", t.view().bytes()),
    }
}
