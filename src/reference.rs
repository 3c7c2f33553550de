//! The operator table as the runtime's reference evaluation.

use planc_ir::Attrs;
use planc_kir::Reference;
use planc_ops::{ErrorKind, EvalCx};
use planc_runtime::{ReferenceOps, Refusal};
use planc_tensor::{Tensor, View};

/// Evaluates any operator of the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpTable;

impl ReferenceOps for OpTable {
    fn eval(&self, op: &Reference, inputs: &[Option<View<'_>>], memory_limit: usize) -> Result<Vec<Tensor>, Refusal> {
        let row = planc_ops::find(&op.domain, &op.name)
            .ok_or_else(|| Refusal::Unsupported(format!("no operator {}", op.name)))?;
        let eval =
            row.eval.ok_or_else(|| Refusal::Unsupported(format!("{} cannot be evaluated by itself", op.name)))?;
        let attrs: Attrs = op.attrs.iter().cloned().collect();
        eval(&EvalCx::new(row, &attrs, &op.outputs, memory_limit), inputs).map_err(|e| {
            let what = format!("{}: {e}", op.name);
            match e.kind {
                ErrorKind::Unsupported => Refusal::Unsupported(what),
                ErrorKind::Limit => Refusal::Limit(what),
                _ => Refusal::Values(what),
            }
        })
    }
}
