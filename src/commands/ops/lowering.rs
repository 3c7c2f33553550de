//! How the backends compute an operator: nodes with typical operands are made, inferred, and compiled, and the steps of
//! the plans looked at.
//!
//! What a typical node is follows from the row alone: operands of a few shapes and small constants are tried in all
//! combinations, and the one with the fewest steps without a kernel counts. No operator is named here.

use planc_ir::{Attrs, Graph, NodeBuilder, OpName, TensorType, Type, ValueId};
use planc_kir::Kernel;
use planc_lower::{Fallback, Lowered};
use planc_ops::{AttrDef, AttrKind, Default, OpDef, Param, ParamKind, TypeSet, infer_graph};
use planc_passes::{PassOptions, run_pipeline};
use planc_plan::container::PtxArch;
use planc_plan::program::Action;
use planc_tensor::{Attr, DType, Dim, Tensor};
use serde::Serialize;

/// How one backend computes an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lowering {
    how: How,
    /// Kernels, each once; `reference` and `host` stand for evaluations and for what the host does. Nothing where there
    /// is no step.
    kernels: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    /// One step.
    Direct,
    /// Several steps, of other operators.
    Decomposed,
    /// Programs of the bodies.
    Control,
}

impl Lowering {
    pub(super) fn text(&self) -> String {
        match self.how {
            How::Direct | How::Decomposed if self.kernels.is_empty() => "none".into(),
            How::Direct => self.kernels.join(", "),
            How::Decomposed => format!("decomposed: {}", self.kernels.join(", ")),
            How::Control => "control".into(),
        }
    }
}

/// Combinations of operands that are tried at most for each first operand and choice of optional ones, and how many of all
/// may be valid.
const TRIES: usize = 400;
const VALID: usize = 64;

/// How the CPU and the CUDA backend compute `op`.
pub(super) fn of(op: &'static OpDef) -> [Lowering; 2] {
    if op.attrs.iter().any(|a| a.kind == AttrKind::Graph) {
        return [(); 2].map(|()| Lowering { how: How::Control, kernels: vec![] });
    }
    // Without a valid node, all that is known is what can run it.
    let how = if op.eval.is_none() { How::Decomposed } else { How::Direct };
    let none = |backend: Backend| Lowering { how, kernels: vec![backend.otherwise()] };
    let mut best = (usize::MAX, [none(Backend::Cpu), none(Backend::Cuda)]);
    let mut valid = 0;
    let optionals = [Optional::None, Optional::All, Optional::First, Optional::Last];
    let forms = [false, true].into_iter().flat_map(|constant| optionals.map(|o| (constant, o)));
    let forms: Vec<(bool, Optional)> = forms.collect();
    'search: for base in BASES {
        for (constant, optional) in &forms {
            let choices = operands(op, base, *optional);
            let combinations: usize = choices.iter().map(Vec::len).product();
            for n in 0..combinations.min(TRIES) {
                if valid == VALID || best.0 == 0 {
                    break 'search;
                }
                let mut rest = n;
                let picked = choices.iter().map(|c| (&c[rest % c.len()], rest /= c.len()).0);
                let Some((misses, found)) = probe(op, base, *constant, picked) else { continue };
                valid += 1;
                if misses < best.0 {
                    best = (misses, found);
                }
            }
        }
    }
    best.1
}

/// Shapes of first operands: of images, matrices, sequences, vectors, scalars, volumes, signals.
const BASES: [&[usize]; 7] = [&[2, 4, 6, 6], &[4, 4], &[5, 2, 4], &[4], &[], &[1, 4, 4, 6, 6], &[2, 8, 1]];

/// Which optional operands a node has.
#[derive(Clone, Copy, PartialEq)]
enum Optional {
    None,
    All,
    /// The first, or the last.
    First,
    Last,
}

/// An operand.
#[derive(Clone)]
enum Operand {
    Input(DType, Vec<usize>),
    Const(Tensor),
    /// The operand before it.
    Again,
    Omitted,
}

/// What each operand may be.
fn operands(op: &'static OpDef, base: &[usize], optional: Optional) -> Vec<Vec<Operand>> {
    let quantised = op.inputs.iter().any(|p| p.name.ends_with("zero_point"));
    let of_kind = |i: &usize| op.inputs[*i].kind == ParamKind::Optional;
    let (first, last) = ((0..op.inputs.len()).find(of_kind), (0..op.inputs.len()).rfind(of_kind));
    let there = |i: usize| match (op.inputs[i].kind, optional) {
        (ParamKind::Optional, Optional::None) => false,
        (ParamKind::Optional, Optional::First) => first == Some(i),
        (ParamKind::Optional, Optional::Last) => last == Some(i),
        _ => true,
    };
    let one = |(i, p): (usize, &Param)| {
        if !there(i) {
            return vec![Operand::Omitted];
        }
        let set = op.type_set(p.ty);
        let dtype = typical(set);
        let indices = set.iter().all(|t| TypeSet::INDEX.has(t));
        if indices {
            return constants(dtype, base);
        }
        let mut shapes = vec![base.to_vec()];
        let scalar = quantised && (p.name.ends_with("scale") || p.name.ends_with("zero_point"));
        if scalar {
            shapes = vec![vec![]];
        } else if i > 0 {
            let last = base.last().copied().unwrap_or(1);
            let channels = base.get(1).copied().unwrap_or(last);
            shapes.push(vec![channels]);
            shapes.push(vec![]);
            match base {
                // Weights of layers over images and volumes; positions and regions in images.
                [_, c, spatial @ ..] if spatial.len() >= 2 => {
                    shapes.push([&[*c, *c][..], &vec![3; spatial.len()]].concat());
                    shapes.push([&[2][..], spatial, &[spatial.len()]].concat());
                    shapes.push(vec![2, 4]);
                }
                // Weights of recurrent layers, with 1, 3 and 4 gates.
                [_, _, features] => {
                    for gates in [4, 3, 1] {
                        shapes.extend([vec![1, gates * 3, *features], vec![1, gates * 3, 3]]);
                    }
                }
                _ => {}
            }
        }
        shapes.dedup();
        shapes.into_iter().map(|s| Operand::Input(dtype, s)).collect()
    };
    let mut all: Vec<Vec<Operand>> = op.inputs.iter().enumerate().map(one).collect();
    // What repeats occurs twice, the same.
    if op.inputs.last().is_some_and(|p| matches!(p.kind, ParamKind::Variadic | ParamKind::Heterogeneous)) {
        all.push(vec![Operand::Again]);
    }
    all
}

/// The type that a model would most likely have.
fn typical(set: TypeSet) -> DType {
    let order = [DType::F32, DType::U8, DType::I8, DType::I64, DType::I32, DType::Bool, DType::String];
    order.into_iter().find(|t| set.has(*t)).or_else(|| set.iter().next()).unwrap_or(DType::F32)
}

/// Small constants: axes, extents, positions, and indices.
fn constants(dtype: DType, base: &[usize]) -> Vec<Operand> {
    let whole = |v: &[i64], shape: &[usize]| match dtype {
        DType::I32 => Tensor::new(shape, v.iter().map(|v| *v as i32).collect()),
        _ => Tensor::new(shape, v.to_vec()),
    };
    let vector = |v: &[i64]| whole(v, &[v.len()]);
    let extents: Vec<i64> = base.iter().map(|d| *d as i64).collect();
    let all = [
        vector(&[1]),
        vector(&[0]),
        vector(&extents),
        vector(&vec![0; base.len() * 2]),
        vector(&vec![1; base.len()]),
        vector(&vec![0; base.first().copied().unwrap_or(1)]),
        whole(&[1], &[]),
        whole(&vec![0; base.iter().product()], base),
    ];
    all.into_iter().flatten().map(Operand::Const).collect()
}

/// The attributes that a node must have, and integers at their defaults, which newer opsets want to be said.
fn attributes(op: &OpDef, base: &[usize]) -> Attrs {
    let current = op.attrs.iter().filter(|a| a.until == u32::MAX);
    let value = |kind| match kind {
        AttrKind::Int => Attr::Int(1),
        AttrKind::Float => Attr::Float(1.0),
        AttrKind::Str => Attr::Str("ij,jk->ik".into()),
        AttrKind::Ints => Attr::Ints(vec![2; base.len().saturating_sub(2)]),
        AttrKind::Floats => Attr::Floats(vec![1.0]),
        AttrKind::Strs => Attr::Strs(vec!["a".into()]),
        AttrKind::Tensor | AttrKind::Graph => Attr::Tensor(Tensor::scalar(0f32)),
    };
    let wanted = |a: &AttrDef| match a.default {
        Default::Required => Some((a.name.to_string(), value(a.kind))),
        Default::Int(v) => Some((a.name.to_string(), Attr::Int(v))),
        _ => None,
    };
    current.filter_map(wanted).collect()
}

/// Elements of weights, none of which a simplification looks for.
fn weights(dtype: DType, shape: &[usize]) -> Option<Tensor> {
    let count: usize = shape.iter().product();
    planc_ops::floats::narrow(dtype, shape, (0..count).map(|i| 2.5 + (i % 5) as f64).collect()).ok()
}

/// How a node of these operands, those after the first `constant` or not, is computed, and how many of its steps have no kernel; `None` when it is not valid.
fn probe<'o>(
    op: &'static OpDef,
    base: &[usize],
    constant: bool,
    picked: impl Iterator<Item = &'o Operand>,
) -> Option<(usize, [Lowering; 2])> {
    let mut g = Graph::new("probe");
    let mut operands: Vec<Option<ValueId>> = vec![];
    for (i, operand) in picked.enumerate() {
        operands.push(match operand {
            Operand::Const(t) => Some(g.add_const(&format!("c{i}"), t.clone())),
            Operand::Input(dtype, shape) if constant && i > 0 => {
                Some(g.add_const(&format!("w{i}"), weights(*dtype, shape)?))
            }
            Operand::Input(dtype, shape) => {
                let dims = shape.iter().map(|d| Dim::from(*d)).collect();
                Some(g.add_input(&format!("x{i}"), TensorType::new(*dtype, dims)))
            }
            Operand::Again => operands.last().copied().flatten(),
            Operand::Omitted => None,
        });
    }
    while operands.last().is_some_and(Option::is_none) {
        operands.pop();
    }
    let name = OpName::new(op.domain, op.name);
    let node = NodeBuilder::new(name).optional_inputs(operands).attrs(attributes(op, base));
    let results = op.outputs.iter().take_while(|p| p.kind == ParamKind::Required).count().max(1);
    let unknown = |i| Some((format!("y{i}"), Type::from(TensorType::unranked(DType::F32))));
    let id = g.add_node(node, (0..results).map(unknown).collect());
    infer_graph(&mut g).ok()?;
    let outputs: Vec<_> = g.node(id).outputs().iter().flatten().copied().collect();
    g.set_outputs(outputs);
    let options = PassOptions {
        opt_level: 1,
        stop_after: Some("widen-half".into()),
        verify: false,
        supports: planc_cpu::supports,
        ..PassOptions::default()
    };
    run_pipeline(&mut g, &options).ok()?;
    let how = if op.decompose.is_some() && !g.order().contains(&id) { How::Decomposed } else { How::Direct };
    let cpu = planc_cpu::compile(&g, &planc_cpu::Options::default()).ok()?.lowered;
    let device = planc_cuda::Options { arch: PtxArch::sm(80), fallback: Fallback::Allowed, host: planc_cpu::supports };
    let cuda = planc_cuda::compile(&g, &device).ok()?.lowered;
    let both = [(Backend::Cpu, cpu), (Backend::Cuda, cuda)].map(|(backend, lowered)| {
        let kernels = backend.kernels(&lowered);
        (usize::from(kernels.contains(&backend.otherwise())), Lowering { how, kernels })
    });
    let misses = both.iter().map(|(m, _)| m).sum();
    Some((misses, both.map(|(_, lowering)| lowering)))
}

#[derive(Clone, Copy, PartialEq)]
enum Backend {
    Cpu,
    Cuda,
}

impl Backend {
    /// What computes a node without a kernel.
    fn otherwise(self) -> &'static str {
        match self {
            Backend::Cpu => "reference",
            Backend::Cuda => "host",
        }
    }

    /// What the steps of a plan run, each once.
    fn kernels(self, lowered: &Lowered) -> Vec<&'static str> {
        let mut kernels = vec![];
        for step in lowered.manifest.programs.iter().flat_map(|p| &p.steps) {
            let kernel = match &step.action {
                Action::Kernel { kernel, code, .. } => match kernel {
                    Kernel::Reference(_) => self.otherwise(),
                    // The same bytes under another shape, on a device too.
                    Kernel::Reshape => kernel.name(),
                    _ if self == Backend::Cuda && code.is_none() => self.otherwise(),
                    kernel => kernel.name(),
                },
                _ => "control",
            };
            if !kernels.contains(&kernel) {
                kernels.push(kernel);
            }
        }
        kernels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> [String; 2] {
        of(planc_ops::find("", name).unwrap()).map(|l| l.text())
    }

    #[test]
    fn the_backends_are_asked() {
        let pair = |a: &str, b: &str| [a.to_string(), b.to_string()];
        assert_eq!(text("Relu"), pair("map", "map"));
        assert_eq!(text("Conv"), pair("conv", "conv"));
        assert_eq!(text("LSTM"), pair("rnn", "host"));
        assert_eq!(text("Reshape"), pair("reshape", "reshape"));
        assert_eq!(text("Concat"), pair("concat", "concat"));
        assert_eq!(text("Shape"), pair("none", "none"));
        assert_eq!(text("Unique"), pair("reference", "host"));
        assert_eq!(text("Loop"), pair("control", "control"));
        assert_eq!(text("Split"), pair("decomposed: slice", "decomposed: slice"));
    }
}
