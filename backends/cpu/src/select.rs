//! Which kernel computes a node, and in what form it wants its weights.

use crate::build::{Builder, Compiler};
use planc_ir::{NodeId, ValueId};
use planc_kernels::dispatch::{self, Form};
use planc_kernels::gemm::pack_b;
use planc_kir::{Gemm, Kernel};
use planc_ops::OpError;
use planc_plan::program::{Action, ValueIx};
use planc_tensor::{DType, Layout, Tensor};
use std::borrow::Cow;

/// What a node becomes.
pub(crate) enum Chosen {
    /// A step.
    Step {
        /// What it does.
        action: Action,
        /// Operands.
        inputs: Vec<Option<ValueIx>>,
    },
    /// Another shape of the bytes of a value.
    Alias(ValueIx),
    /// The reference evaluation, with the reason.
    Reference(String),
}

/// Chooses for `kernel` over `operands`.
pub(crate) fn select(
    c: &mut Compiler,
    b: &mut Builder<'_>,
    id: NodeId,
    kernel: Kernel,
    operands: &[Option<ValueId>],
) -> Result<Chosen, OpError> {
    let node = b.graph.node(id);
    if kernel == Kernel::Reshape {
        let Some(source) = operands.first().copied().flatten() else {
            return Err(OpError::arity("the operand is missing"));
        };
        return Ok(Chosen::Alias(c.value(b, source)));
    }
    let mut kernel = kernel;
    let sides: &[ValueId] = node.epilogue().map_or(&[], |e| &e.sides);
    let mut operands: Vec<Prepared<'_>> = operands.iter().map(|v| Prepared::Value(*v)).collect();
    pack(b, &mut kernel, &mut operands);
    operands.extend(sides.iter().map(|v| Prepared::Value(Some(*v))));

    let value_form = |v: ValueId| -> Option<Form> { b.graph.tensor_type(v).map(|t| (t.dtype, t.layout)) };
    let outputs: Vec<Option<Form>> = node.outputs().iter().map(|v| v.and_then(value_form)).collect();
    let inputs: Vec<Option<Form>> = operands
        .iter()
        .map(|p| match p {
            Prepared::Value(v) => v.and_then(value_form),
            Prepared::Packed { layout, .. } => Some((DType::F32, *layout)),
        })
        .collect();
    let epilogue = node.epilogue().map(|e| e.expr.clone());
    if !dispatch::supports(&kernel, epilogue.as_ref(), &inputs, &outputs) {
        let types: Vec<&str> = inputs.iter().map(|f| f.map_or("-", |(t, _)| t.name())).collect();
        return Ok(Chosen::Reference(format!("no {} kernel for {}", kernel.name(), types.join(", "))));
    }
    let inputs = operands
        .into_iter()
        .map(|p| match p {
            Prepared::Value(v) => v.map(|v| c.value(b, v)),
            Prepared::Packed { of, shape, layout, elements } => {
                let name = format!("{}@{layout}", b.graph.value(of).name);
                Some(c.made_const(b, name, (DType::F32, &shape, layout), bytemuck::cast_slice(&elements).to_vec()))
            }
        })
        .collect();
    Ok(Chosen::Step { action: Action::Kernel { kernel, epilogue, code: None }, inputs })
}

/// An operand of a step.
enum Prepared<'g> {
    /// As the graph has it.
    Value(Option<ValueId>),
    /// A constant in the form its kernel wants.
    Packed { of: ValueId, shape: Vec<usize>, layout: Layout, elements: Cow<'g, [f32]> },
}

/// Brings constant weights into the form that is read fastest.
fn pack(b: &Builder<'_>, kernel: &mut Kernel, operands: &mut [Prepared<'_>]) {
    let Some(Prepared::Value(Some(weights))) = operands.get(1) else { return };
    let weights = *weights;
    let Some(w) = b.graph.constant(weights).filter(|w| w.dtype() == DType::F32 && !w.is_empty()) else { return };
    let packed = match kernel {
        Kernel::Gemm(gemm) => pack_gemm(gemm, w, weights),
        _ => None,
    };
    if let Some(packed) = packed {
        operands[1] = packed;
    }
}

/// A constant b as column panels; its transposition and the product's factor go into them.
fn pack_gemm(gemm: &mut Gemm, w: &Tensor, of: ValueId) -> Option<Prepared<'static>> {
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
    Some(Prepared::Packed { of, shape, layout: Layout::Panels16, elements: packed.into() })
}
