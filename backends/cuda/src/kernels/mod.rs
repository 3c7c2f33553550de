//! Kernels of the kernel IR as PTX: one file per family, one row per kernel.
//!
//! A [`Row`] says which element types and programs a family computes ([`supports`], what passes may rely on) and generates it
//! for given extents ([`generate`]). Extents that are constant are constants of the generated kernel; symbolic ones are
//! parameters, computed when it is launched. Everything is row-major. Indices are 32 bits: tensors of 2^31 elements or more
//! are declined. A generator may decline more by extents, with its reason; then the step runs on the host.

mod attention;
mod conv;
mod conv_window;
mod entry;
mod gather;
mod gemm;
mod gemm_mma;
mod gemm_tile;
mod gemm_vector;
mod index;
mod map;
mod moves;
mod norm;
mod pool;
mod reduce;
mod resize;
mod rows;
mod softmax;
mod tail;

pub use entry::{Entry, Size};
pub use tail::Tail;

use crate::expr;
use crate::ptx;
use planc_kir::{Expr, Kernel};
use planc_plan::container::PtxArch;
use planc_plan::launch::Launch;
use planc_tensor::{DType, Dim};

/// Element type and extents of an operand or result.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<Dim>,
}

/// What is to be generated.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// A program over each result element.
    pub epilogue: Option<&'a Expr>,
    /// Operands of the step: those of the kernel, then the sides of the epilogue.
    pub inputs: &'a [Option<Value>],
    /// Results of the step.
    pub outputs: &'a [Option<Value>],
    /// Architecture.
    pub arch: PtxArch,
}

impl<'a> Request<'a> {
    /// Operand `n`, which has to be there.
    pub fn input(&self, n: usize) -> Result<&'a Value, String> {
        self.inputs.get(n).and_then(Option::as_ref).ok_or_else(|| format!("operand {n} is missing"))
    }

    /// Result `n`, which has to be there.
    pub fn output(&self, n: usize) -> Result<&'a Value, String> {
        self.outputs.get(n).and_then(Option::as_ref).ok_or_else(|| format!("result {n} is missing"))
    }

    /// Number of operands that are the kernel's own.
    pub fn own_inputs(&self) -> usize {
        let sides = self.epilogue.map_or(0, |e| e.args().len().saturating_sub(1));
        self.inputs.len().saturating_sub(sides)
    }

    /// The type of the result before the epilogue.
    pub fn result_type(&self) -> Result<DType, String> {
        match self.epilogue.and_then(|e| e.args().first()) {
            Some(t) => Ok(*t),
            None => Ok(self.output(0)?.dtype),
        }
    }
}

/// What runs a step: launches that follow each other, and the temporary buffers they share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// Bytes of each temporary buffer.
    pub scratch: Vec<Dim>,
    /// Kernels and how they are launched. A kernel's name is a stem (`gemm`), the launch's entry is empty: both get their
    /// final name when it is known which kernels are equal.
    pub launches: Vec<(ptx::Kernel, Launch)>,
}

impl From<(ptx::Kernel, Launch)> for Generated {
    fn from(launch: (ptx::Kernel, Launch)) -> Generated {
        Generated { scratch: vec![], launches: vec![launch] }
    }
}

/// Element types as far as known.
pub type Types<'a> = &'a [Option<DType>];

/// A family of kernels.
pub struct Row {
    /// Whether the family computes a kernel over these element types (operands with the sides of the epilogue last,
    /// then results).
    pub supports: fn(&Kernel, Types<'_>, Types<'_>) -> Result<(), String>,
    /// Whether results go through an epilogue.
    pub epilogue: bool,
    /// Generates it, or says which extents it does not take.
    pub generate: fn(&Request<'_>) -> Result<Generated, String>,
}

/// The family that computes a kernel.
fn row(kernel: &Kernel) -> Option<&'static Row> {
    Some(match kernel {
        Kernel::Map(_) => &map::ROW,
        Kernel::Gemm(_) => &gemm::ROW,
        Kernel::Attention(_) => &attention::ROW,
        Kernel::Conv(_) | Kernel::ConvTranspose(_) => &conv::ROW,
        Kernel::Transpose { .. } => &moves::TRANSPOSE,
        Kernel::Slice(_) => &moves::SLICE,
        Kernel::Concat { .. } => &moves::CONCAT,
        Kernel::Pad(_) => &moves::PAD,
        Kernel::Tile => &moves::TILE,
        Kernel::Reorder => &moves::COPY,
        Kernel::Reduce(_) => &reduce::REDUCE,
        Kernel::ArgReduce(_) => &reduce::ARG_REDUCE,
        Kernel::Norm(_) => &norm::ROW,
        Kernel::Softmax(_) => &softmax::ROW,
        Kernel::Pool(_) => &pool::ROW,
        Kernel::Gather { .. } => &gather::GATHER,
        Kernel::GatherElements { .. } => &gather::ELEMENTS,
        Kernel::GatherNd { .. } => &gather::ND,
        Kernel::CumSum { .. } => &gather::CUM_SUM,
        Kernel::Resize(_) => &resize::ROW,
        Kernel::GemmInteger
        | Kernel::ConvInteger(_)
        | Kernel::Reshape
        | Kernel::ScatterElements { .. }
        | Kernel::ScatterNd { .. }
        | Kernel::Rnn(_)
        | Kernel::TopK { .. }
        | Kernel::Reference(_) => return None,
    })
}

/// Whether `kernel` with `epilogue` is computed over these element types, for extents within the limits of devices.
///
/// # Errors
/// With the reason why not.
pub fn supports(kernel: &Kernel, epilogue: Option<&Expr>, inputs: Types<'_>, outputs: Types<'_>) -> Result<(), String> {
    let none = || format!("there is no {} kernel for devices", kernel.name());
    let row = row(kernel).ok_or_else(none)?;
    let mut outputs = outputs.to_vec();
    let mut own = inputs.len();
    if let Some(e) = epilogue {
        if !row.epilogue {
            return Err(format!("{} has no epilogue on devices", kernel.name()));
        }
        expr::supports(e)?;
        // The kernel itself gives what the epilogue takes.
        if let (Some(out), Some(first)) = (outputs.first_mut(), e.args().first()) {
            *out = Some(*first);
        }
        own = own.saturating_sub(e.args().len().saturating_sub(1));
    }
    (row.supports)(kernel, &inputs[..own], &outputs)
}

/// Generates what `request` asks for.
///
/// # Errors
/// With the reason why there is none.
pub fn generate(request: &Request<'_>) -> Result<Generated, String> {
    let types = |values: &[Option<Value>]| values.iter().map(|v| v.as_ref().map(|v| v.dtype)).collect::<Vec<_>>();
    supports(request.kernel, request.epilogue, &types(request.inputs), &types(request.outputs))?;
    for v in request.inputs.iter().chain(request.outputs).flatten() {
        entry::count(&v.shape)?;
    }
    let row = row(request.kernel).ok_or("there is no kernel for devices")?;
    (row.generate)(request)
}
