//! Which kernel computes a node, and in what form it wants its weights.

use crate::build::{Builder, Compiler};
use planc_ir::{NodeId, ValueId};
use planc_kernels::dispatch::{self, Form};
use planc_kir::Kernel;
use planc_ops::OpError;
use planc_plan::program::{Action, ValueIx};
use planc_tensor::DType;

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
    let form = |v: ValueId| -> Option<Form> { b.graph.tensor_type(v).map(|t| (t.dtype, t.layout)) };
    let outputs: Vec<Option<Form>> = node.outputs().iter().map(|v| v.and_then(form)).collect();
    let sides: &[ValueId] = node.epilogue().map_or(&[], |e| &e.sides);
    let all = operands.iter().copied().chain(sides.iter().map(|v| Some(*v)));
    let inputs: Vec<Option<Form>> = all.clone().map(|v| v.and_then(form)).collect();
    let epilogue = node.epilogue().map(|e| e.expr.clone());
    if !dispatch::supports(&kernel, epilogue.as_ref(), &inputs, &outputs) {
        let types: Vec<&str> = inputs.iter().map(|f| f.map_or("-", |(t, _): (DType, _)| t.name())).collect();
        return Ok(Chosen::Reference(format!("no {} kernel for {}", kernel.name(), types.join(", "))));
    }
    let inputs = all.map(|v| v.map(|v| c.value(b, v))).collect();
    Ok(Chosen::Step { action: Action::Kernel { kernel, epilogue, code: None }, inputs })
}
