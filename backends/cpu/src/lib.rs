//! CPU backend: from an optimised graph to programs, packed weights and code.
//!
//! Guarantees: the same graph and options give the same plan, byte for byte, on any host; nothing here asks which
//! machine it runs on. Each choice is recorded as a [`Decision`]. Deliberately absent: operator names (nodes are lowered
//! to kernels first), passes, running.

mod bytes;
pub mod codegen;
mod convolution;
mod narrow;
mod select;

use codegen::{Functions, Target};
pub use convolution::Algorithm;
use planc_ir::Graph;
use planc_lower::{Fallback, Lowered, lower};
use planc_ops::NodeError;
use planc_plan::container::TargetId;
pub use select::supports;
use std::collections::BTreeMap;

/// What a caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Processor families to generate code for. Without any, what only generated code computes is left to reference
    /// evaluations.
    pub targets: Vec<Target>,
    /// Generate code for maps and reductions over f32 too where it can be, though precompiled kernels are faster; for tests.
    pub generate_f32: bool,
    /// Add up convolutions term by term, never by Winograd's algorithm, whose rounding errors are a few times larger.
    pub exact_conv: bool,
    /// Algorithms that were measured to be the fastest, by the name of a node's first result. Nodes that are not there, or have
    /// no choice, are compiled as without.
    pub measured: BTreeMap<String, Algorithm>,
}

impl Default for Options {
    fn default() -> Options {
        Options { targets: vec![Target::X86_64], generate_f32: false, exact_conv: false, measured: BTreeMap::new() }
    }
}

/// A compiled graph: the sections of a plan.
#[derive(Debug)]
pub struct Compiled {
    /// Programs, packed constants, and choices.
    pub lowered: Lowered,
    /// The code sections; none when nothing was generated.
    pub code: Vec<(TargetId, Vec<u8>)>,
    /// What was chosen where there is more than one way, by the name of a node's first result.
    pub chosen: BTreeMap<String, Algorithm>,
}

/// Compiles a graph whose types are inferred.
///
/// # Errors
/// Every node that cannot be compiled.
pub fn compile(graph: &Graph, options: &Options) -> Result<Compiled, Vec<NodeError>> {
    let functions = Functions::new(&options.targets);
    let mut selector = select::Selector {
        functions,
        generate_f32: options.generate_f32,
        exact_conv: options.exact_conv,
        measured: options.measured.clone(),
        chosen: BTreeMap::new(),
    };
    let lowered = lower(graph, &mut selector, Fallback::Allowed)?;
    Ok(Compiled { lowered, code: selector.functions.sections(), chosen: selector.chosen })
}
