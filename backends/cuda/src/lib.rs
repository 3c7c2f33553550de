//! CUDA backend: kernels as PTX, and how the steps of a program are launched.
//!
//! Guarantees: the same graph and options give the same bytes on any host; nothing here needs a device or its driver.
//! All values are row-major. A step that no generator computes runs on the host, if the caller says that the host has a
//! kernel for it, else as a reference evaluation; each such choice is recorded with its reason. Deliberately absent:
//! operator names, running.

pub mod expr;
pub mod kernels;
mod math;
pub mod ptx;
mod select;

use planc_ir::Graph;
use planc_kir::{Expr, Kernel};
pub use planc_lower::Fallback;
use planc_lower::{Lowered, lower};
use planc_ops::NodeError;
use planc_plan::container::PtxArch;
use planc_plan::launch;
use planc_tensor::{DType, Layout};
pub use select::supports;

/// Element type and layout of an operand or result.
pub type Form = (DType, Layout);

/// Whether the host has a kernel for operands (an epilogue's sides last) and results of these forms.
pub type Host = fn(&Kernel, Option<&Expr>, &[Option<Form>], &[Option<Form>]) -> bool;

/// What a caller chooses.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Architecture to generate for; newer ones run it too.
    pub arch: PtxArch,
    /// Whether steps may run on the host.
    pub fallback: Fallback,
    /// What the host has kernels for.
    pub host: Host,
}

/// A compiled graph: the sections of a plan.
#[derive(Debug)]
pub struct Compiled {
    /// Programs, constants, and choices.
    pub lowered: Lowered,
    /// Launch tables and PTX.
    pub sections: Vec<(PtxArch, Vec<u8>)>,
}

/// Compiles a graph whose types are inferred and whose values are row-major.
///
/// # Errors
/// Every node that cannot be compiled, or, without fallbacks, does not run on the device.
pub fn compile(graph: &Graph, options: &Options) -> Result<Compiled, Vec<NodeError>> {
    let mut selector = select::Selector::new(options.arch, options.host);
    let lowered = lower(graph, &mut selector, options.fallback)?;
    let steps = std::mem::take(&mut selector.steps);
    let module = ptx::Module { arch: options.arch, kernels: selector.into_kernels() };
    let text = module.text().map_err(|e| {
        let error = planc_ops::OpError::unsupported(e.to_string());
        vec![NodeError { node: graph.name.clone(), op: "module".into(), opset: 0, operands: vec![], error }]
    })?;
    Ok(Compiled { lowered, sections: vec![(options.arch, launch::encode(&steps, &text))] })
}
