//! Which kernel computes a node, and in what form it wants its weights.

use crate::codegen::{self, Functions};
use crate::convolution::{Algorithm, Choice, Rule, pack_conv};
use crate::narrow;
use planc_ir::{Graph, NodeId, ValueId};
use planc_kernels::conv::{self, TransposedConv};
use planc_kernels::dispatch::{self, Form};
use planc_kernels::gemm::pack_b;
use planc_kir::{Conv, Expr, Gemm, Inst, Kernel, ReduceOp, Reg, Rnn};
use planc_lower::{Builder, Chosen, Compiler, Select};
use planc_ops::OpError;
use planc_plan::program::Action;
use planc_tensor::{DType, Layout, Tensor};
use std::collections::BTreeMap;

/// Whether there is a kernel for operands (an epilogue's sides last) and results of these forms, weights being constant
/// and not packed yet: what fusion may rely on.
pub fn supports(kernel: &Kernel, epilogue: Option<&Expr>, inputs: &[Option<Form>], outputs: &[Option<Form>]) -> bool {
    let mut inputs = inputs.to_vec();
    if let (Kernel::ConvTranspose(c), Some(Some(w))) = (kernel, inputs.get_mut(1))
        && (1..=3).contains(&c.strides.len())
    {
        w.1 = Layout::ConvTransposed;
    }
    if let (Kernel::ConvInteger(_), Some(Some((_, Layout::Nchw16c)))) = (kernel, outputs.first())
        && let Some(Some((_, x))) = inputs.first().copied()
        && let Some(Some(w)) = inputs.get_mut(1)
    {
        w.1 = if x == Layout::RowMajor { Layout::ConvFirstQuads16 } else { Layout::ConvQuads16 };
        // Zero points of weights go into the packed ones.
        let sides = epilogue.map_or(0, |e| e.args().len() - 1);
        if inputs.len() - sides.min(inputs.len()) == 4 {
            inputs[3] = None;
        }
    }
    dispatch::supports(kernel, epilogue, &inputs, outputs) || generates(kernel, epilogue, &inputs, outputs)
}

/// Whether code is generated for a kernel, and is no worse than precompiled kernels for its parts.
fn generates(kernel: &Kernel, epilogue: Option<&Expr>, inputs: &[Option<Form>], outputs: &[Option<Form>]) -> bool {
    // 16-bit floats are widened as a whole rather than in each instruction.
    let plain =
        |f: &Option<Form>| f.is_some_and(|(t, l)| l == Layout::RowMajor && !matches!(t, DType::F16 | DType::BF16));
    if !inputs.iter().chain(outputs).all(plain) || outputs.len() != 1 {
        return false;
    }
    match kernel {
        Kernel::Map(e) if epilogue.is_none() => codegen::declined(e).is_none() && !computes_f32(e),
        // Extremes of f32 are faster in precompiled vectors, whose comparison is one instruction; global poolings run on
        // channels in blocks.
        Kernel::Reduce(r) if r.map.result_type() == DType::F32 => {
            let extreme = matches!(r.op, ReduceOp::Max | ReduceOp::Min);
            !extreme && r.axes != [2, 3] && codegen::declined_reduction(r, epilogue).is_none()
        }
        Kernel::Reduce(r) => codegen::declined_reduction(r, epilogue).is_none(),
        _ => false,
    }
}

/// Whether a program has arithmetic over f32, which precompiled kernels do in wider vectors.
fn computes_f32(e: &Expr) -> bool {
    let is_f32 = |r: Reg| e.type_of(r) == DType::F32;
    e.insts().iter().any(|inst| match inst {
        Inst::Arg(_) | Inst::Const(..) | Inst::Cast(..) => false,
        _ => inst.operands().any(is_f32),
    })
}

/// Chooses precompiled kernels, and generates code for what they do not compute.
pub(crate) struct Selector {
    /// Generated functions so far.
    pub(crate) functions: Functions,
    /// Generate code for maps and reductions over f32 too where it can be, though precompiled kernels are faster; for tests.
    pub(crate) generate_f32: bool,
    /// Add up convolutions term by term only.
    pub(crate) exact_conv: bool,
    /// What was measured to be the fastest, by the name of the first result.
    pub(crate) measured: BTreeMap<String, Algorithm>,
    /// What was chosen so far where there was a choice.
    pub(crate) chosen: BTreeMap<String, Algorithm>,
}

impl Select for Selector {
    fn select(
        &mut self,
        c: &mut Compiler,
        b: &mut Builder<'_>,
        id: NodeId,
        kernel: Kernel,
        operands: &[Option<ValueId>],
    ) -> Result<Chosen, OpError> {
        select(self, c, b, id, kernel, operands)
    }

    fn skips(&self, graph: &Graph, id: NodeId) -> bool {
        narrow::widens(graph, id)
    }

    fn gives_outputs(&self) -> bool {
        true
    }
}

/// Chooses for `kernel` over `operands`.
fn select(
    s: &mut Selector,
    c: &mut Compiler,
    b: &mut Builder<'_>,
    id: NodeId,
    kernel: Kernel,
    operands: &[Option<ValueId>],
) -> Result<Chosen, OpError> {
    let node = b.graph.node(id);
    let mut kernel = kernel;
    let sides: &[ValueId] = node.epilogue().map_or(&[], |e| &e.sides);
    let mut operands: Vec<Prepared> = operands.iter().map(|v| Prepared::Value(*v)).collect();
    let name = node.output(0).map(|v| b.graph.value(v).name.to_string()).unwrap_or_default();
    let rule = Rule { exact: s.exact_conv, measured: s.measured.get(&name).copied() };
    if let Some(Choice { algorithm, why }) = pack(b, &mut kernel, &mut operands, node.output(0), rule) {
        c.decide(b, id, algorithm.name(), &why);
        s.chosen.insert(name, algorithm);
    }
    operands.extend(sides.iter().map(|v| Prepared::Value(Some(*v))));

    let value_form = |v: ValueId| -> Option<Form> { b.graph.tensor_type(v).map(|t| (t.dtype, t.layout)) };
    let outputs: Vec<Option<Form>> = node.outputs().iter().map(|v| v.and_then(value_form)).collect();
    let inputs: Vec<Option<Form>> = operands
        .iter()
        .map(|p| match p {
            Prepared::Value(v) => v.and_then(value_form),
            Prepared::Packed { dtype, layout, .. } => Some((*dtype, *layout)),
        })
        .collect();
    let epilogue = node.epilogue().map(|e| e.expr.clone());
    let code = match generate(s, &kernel, epilogue.as_ref(), &inputs, &outputs) {
        Some(Ok(number)) => {
            let types: Vec<&str> = inputs.iter().map(|f| f.map_or("-", |(t, _)| t.name())).collect();
            c.decide(b, id, "generated code", &format!("no precompiled {} of {}", kernel.name(), types.join(", ")));
            Some(number)
        }
        Some(Err(reason)) => return Ok(Chosen::Reference(reason)),
        None => None,
    };
    if code.is_none() && !dispatch::supports(&kernel, epilogue.as_ref(), &inputs, &outputs) {
        let types: Vec<&str> = inputs.iter().map(|f| f.map_or("-", |(t, _)| t.name())).collect();
        return Ok(Chosen::Reference(format!("no {} kernel for {}", kernel.name(), types.join(", "))));
    }
    let inputs = operands
        .into_iter()
        .map(|p| match p {
            Prepared::Value(v) => v.map(|v| c.value(b, v)),
            Prepared::Packed { of, shape, dtype, layout, bytes } => {
                let name = format!("{}@{layout}", b.graph.value(of).name);
                Some(c.made_const(b, name, (dtype, &shape, layout), bytes))
            }
        })
        .collect();
    Ok(Chosen::Step { action: Action::Kernel { kernel, epilogue, code }, inputs })
}

/// The number of the function that computes a map or reduction which precompiled kernels do not; or why there is none.
/// `None` when precompiled kernels do, or the operands are in no order that generated code walks.
fn generate(
    s: &mut Selector,
    kernel: &Kernel,
    epilogue: Option<&Expr>,
    inputs: &[Option<Form>],
    outputs: &[Option<Form>],
) -> Option<Result<u32, String>> {
    let row_major = |f: &Option<Form>| f.is_some_and(|(_, l)| l == Layout::RowMajor);
    if !inputs.iter().chain(outputs).all(row_major) || outputs.len() != 1 {
        return None;
    }
    let precompiled = dispatch::supports(kernel, epilogue, inputs, outputs);
    if precompiled && !s.generate_f32 {
        return None;
    }
    let made = match kernel {
        Kernel::Map(expr) if epilogue.is_none() => s.functions.map(expr),
        Kernel::Reduce(r) => s.functions.reduce(r, epilogue),
        _ => return None,
    };
    if precompiled { made.ok().map(Ok) } else { Some(made) }
}

/// An operand of a step.
pub(crate) enum Prepared {
    /// As the graph has it.
    Value(Option<ValueId>),
    /// A constant in the form its kernel wants.
    Packed { of: ValueId, shape: Vec<usize>, dtype: DType, layout: Layout, bytes: Vec<u8> },
}

/// A packed constant of f32.
fn floats(of: ValueId, shape: Vec<usize>, layout: Layout, elements: &[f32]) -> Prepared {
    Prepared::Packed { of, shape, dtype: DType::F32, layout, bytes: bytemuck::cast_slice(elements).to_vec() }
}

/// Brings constant weights into the form that is read fastest; what was chosen and why, where there was a choice.
fn pack(
    b: &Builder<'_>,
    kernel: &mut Kernel,
    operands: &mut [Prepared],
    result: Option<ValueId>,
    rule: Rule,
) -> Option<Choice> {
    match kernel {
        Kernel::Rnn(rnn) => {
            pack_recurrent(b, rnn, operands);
            return None;
        }
        Kernel::GemmInteger | Kernel::ConvInteger(_) => {
            let layout = result.and_then(|v| b.graph.tensor_type(v)).map_or(Layout::RowMajor, |t| t.layout);
            crate::bytes::pack(b, kernel, operands, layout);
            return None;
        }
        _ => {}
    }
    let Some(Prepared::Value(Some(weights))) = operands.get(1) else { return None };
    let weights = *weights;
    if let Kernel::Gemm(gemm) = kernel
        && let Some(narrow::Packed { shape, dtype, layout, bytes }) = narrow::pack(b.graph, gemm, weights)
    {
        operands[1] = Prepared::Packed { of: weights, shape, dtype, layout, bytes };
        return None;
    }
    let w = b.graph.constant(weights).filter(|w| w.dtype() == DType::F32 && !w.is_empty())?;
    let (packed, chosen) = match kernel {
        Kernel::Gemm(gemm) => (pack_gemm(gemm, w, weights)?, None),
        Kernel::Conv(conv) => {
            let x = operands.first().and_then(|p| if let Prepared::Value(v) = p { *v } else { None })?;
            let types = (b.graph.tensor_type(x)?, b.graph.tensor_type(result?)?);
            let (layout, elements, chosen) = pack_conv(conv, w, types, rule)?;
            (floats(weights, w.shape().to_vec(), layout, &elements), chosen)
        }
        Kernel::ConvTranspose(conv) => (pack_transposed(conv, w, weights)?, None),
        _ => return None,
    };
    operands[1] = packed;
    chosen
}

/// A constant b as column panels; its transposition and the product's factor go into them.
fn pack_gemm(gemm: &mut Gemm, w: &Tensor, of: ValueId) -> Option<Prepared> {
    let rank = w.rank();
    let mut shape = w.shape().to_vec();
    if rank < 2 {
        return None;
    }
    if gemm.trans_b {
        shape.swap(rank - 2, rank - 1);
    }
    let (k, n) = (shape[rank - 2], shape[rank - 1]);
    let (rs, cs) = if gemm.trans_b { (1, k) } else { (n, 1) };
    let mut elements = w.view().to_vec::<f32>()?;
    if gemm.alpha != 1.0 {
        elements.iter_mut().for_each(|v| *v *= gemm.alpha);
        gemm.alpha = 1.0;
    }
    gemm.trans_b = false;
    let packed: Vec<f32> = elements.chunks_exact(k * n).flat_map(|m| pack_b(k, n, m, rs, cs)).collect();
    Some(floats(of, shape, Layout::Panels16, &packed))
}

/// Constant weights of a recurrent layer, `[directions, gates, k]`, as column panels of `[directions, k, gates]`.
fn pack_recurrent(b: &Builder<'_>, rnn: &Rnn, operands: &mut [Prepared]) {
    for i in 1..=if dispatch::recurrent_weights_pack(rnn) { 2 } else { 1 } {
        let Some(Prepared::Value(Some(of))) = operands.get(i) else { continue };
        let of = *of;
        let Some(w) = b.graph.constant(of).filter(|w| w.dtype() == DType::F32 && !w.is_empty()) else { continue };
        let (&[directions, gates, k], Some(elements)) = (w.shape(), w.view().to_vec::<f32>()) else { continue };
        let packed: Vec<f32> = elements.chunks_exact(gates * k).flat_map(|m| pack_b(k, gates, m, 1, k)).collect();
        let shape = vec![directions, k, gates];
        operands[i] = floats(of, shape, Layout::Panels16, &packed);
    }
}

/// Constant weights of a transposed convolution.
fn pack_transposed(conv: &Conv, w: &Tensor, of: ValueId) -> Option<Prepared> {
    let [c, m, kernel @ ..] = w.shape() else { return None };
    if !(1..=3).contains(&kernel.len()) {
        return None;
    }
    let mut k = [1; 3];
    k[3 - kernel.len()..].copy_from_slice(kernel);
    let geometry = TransposedConv {
        batch: 1,
        channels: (*c, m * conv.group),
        groups: conv.group,
        input: [1; 3],
        output: k,
        kernel: k,
        stride: [1; 3],
        dilation: [1; 3],
        pads_begin: [0; 3],
    };
    let elements = conv::pack_transposed_weights(&geometry, &w.view().to_vec::<f32>()?);
    Some(floats(of, w.shape().to_vec(), Layout::ConvTransposed, &elements))
}
