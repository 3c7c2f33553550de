//! The interpreter of kernel IR: what each kernel means, written for reading.
//!
//! A second opinion beside the operators' reference evaluations, with which it shares no code: tests compare the two and
//! compare backends with both. Guarantees: every kernel but `Reference` is interpreted; operands, attributes and the
//! results' shapes are checked and mistakes are errors, never panics. Floats accumulate in f64 and are rounded once when
//! they are stored, except in `Map`, whose expressions round after each instruction. Deliberately absent: speed.

mod array;
mod index;
mod moves;
mod product;
mod reduce;
mod resize;
mod rnn;
pub(crate) mod scalar;
mod window;

pub use scalar::{Scalar, eval_expr, round_float};

use crate::{Expr, Kernel, Reduce};
use array::Array;
use planc_tensor::{DType, Dim, Tensor, View, element_count};

/// Why a kernel cannot be interpreted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpError {
    /// A required operand is omitted, or there are too many operands or results.
    #[error("{0}")]
    Arity(String),
    /// An element type that the kernel does not take.
    #[error("{0}")]
    Type(String),
    /// Shapes or attributes that do not fit each other.
    #[error("{0}")]
    Shape(String),
    /// An index or extent out of range, known only when it runs.
    #[error("{0}")]
    Value(String),
    /// A dim whose symbols are not bound.
    #[error("the dim {0} has no value")]
    Unbound(Dim),
    /// A result or an amount of work beyond what an interpreter should do.
    #[error("{0}")]
    Limit(String),
    /// A kernel or element type that is not interpreted.
    #[error("{0}")]
    Unsupported(String),
}

type Result<T, E = InterpError> = std::result::Result<T, E>;

fn shape_error<T>(message: impl Into<String>) -> Result<T> {
    Err(InterpError::Shape(message.into()))
}

/// Elements of a result at most, and steps of a window reduction.
const MAX_ELEMENTS: usize = 1 << 28;

/// What a kernel's interpretation is given.
struct Cx<'a> {
    operands: &'a [Option<View<'a>>],
    outputs: &'a [(DType, Vec<usize>)],
    bind: &'a dyn Fn(&str) -> Option<i64>,
}

impl<'a> Cx<'a> {
    /// Operand `i`, which may be omitted.
    fn optional(&self, i: usize) -> Option<View<'a>> {
        self.operands.get(i).copied().flatten()
    }

    /// Operand `i`.
    fn operand(&self, i: usize) -> Result<View<'a>> {
        self.optional(i).ok_or_else(|| InterpError::Arity(format!("operand {i} is missing")))
    }

    /// The numbers of operand `i`.
    fn array(&self, i: usize) -> Result<Array> {
        Array::read(self.operand(i)?)
    }

    /// The numbers of operand `i`, which may be omitted.
    fn optional_array(&self, i: usize) -> Result<Option<Array>> {
        self.optional(i).map(Array::read).transpose()
    }

    /// The element type of result `i`.
    fn dtype(&self, i: usize) -> Result<DType> {
        self.outputs.get(i).map(|o| o.0).ok_or_else(|| InterpError::Arity(format!("result {i} is missing")))
    }

    /// The extents of result `i`.
    fn shape(&self, i: usize) -> Result<&'a [usize]> {
        let out = self.outputs.get(i).ok_or_else(|| InterpError::Arity(format!("result {i} is missing")))?;
        Ok(&out.1)
    }

    /// The value of a dim.
    fn dim(&self, dim: &Dim) -> Result<i128> {
        dim.eval(self.bind).map(i128::from).ok_or_else(|| InterpError::Unbound(dim.clone()))
    }

    /// Checks that there are `n` operands at most.
    fn at_most(&self, n: usize) -> Result<()> {
        let have = self.operands.len();
        if have > n { Err(InterpError::Arity(format!("has {have} operands, takes {n}"))) } else { Ok(()) }
    }

    /// Result 0 made of `elements`, rounded to its type.
    fn store(&self, elements: Vec<Scalar>) -> Result<Vec<Tensor>> {
        Ok(vec![array::write(self.dtype(0)?, self.shape(0)?, elements)?])
    }
}

/// Runs `kernel` on `operands`, in the order of the kernel's documentation. `outputs` says element type and extents of
/// each result, in order up to the last one wanted; `bind` gives the values of symbols in the kernel's dims.
///
/// # Errors
/// When operands, attributes and results do not fit, see [`InterpError`]; `Reference` is not interpreted.
pub fn interpret(
    kernel: &Kernel,
    operands: &[Option<View<'_>>],
    outputs: &[(DType, Vec<usize>)],
    bind: &dyn Fn(&str) -> Option<i64>,
) -> Result<Vec<Tensor>> {
    if let Some((_, shape)) = outputs.iter().find(|(_, s)| element_count(s).is_none_or(|n| n > MAX_ELEMENTS)) {
        return Err(InterpError::Limit(format!("a result of shape {shape:?} is too large")));
    }
    let results = match kernel {
        Kernel::TopK { .. } => 2,
        Kernel::Rnn(_) => 3,
        _ => 1,
    };
    if outputs.is_empty() || outputs.len() > results {
        return Err(InterpError::Arity(format!("{} results are asked for, {results} are given", outputs.len())));
    }
    let takes = match kernel {
        Kernel::Map(e) | Kernel::Reduce(Reduce { map: e, .. }) => e.args().len(),
        Kernel::Concat { .. } => usize::MAX,
        Kernel::Rnn(_) => 8,
        Kernel::Attention(_) | Kernel::GemmInteger | Kernel::ConvInteger(_) => 4,
        Kernel::Gemm(_) | Kernel::Conv(_) | Kernel::ConvTranspose(_) | Kernel::Norm(_) => 3,
        Kernel::ScatterElements { .. } | Kernel::ScatterNd { .. } => 3,
        Kernel::Pad(_) | Kernel::TopK { .. } => 2,
        Kernel::Gather { .. } | Kernel::GatherElements { .. } | Kernel::GatherNd { .. } => 2,
        _ => 1,
    };
    let cx = &Cx { operands, outputs, bind };
    cx.at_most(takes)?;
    match kernel {
        Kernel::Map(expr) => map(cx, expr),
        Kernel::Reduce(r) => reduce::reduce(cx, r),
        Kernel::ArgReduce(r) => reduce::arg_reduce(cx, r),
        Kernel::Gemm(g) => product::gemm(cx, g),
        Kernel::Conv(c) => window::conv(cx, c),
        Kernel::GemmInteger => product::gemm_integer(cx),
        Kernel::ConvInteger(c) => window::conv_integer(cx, c),
        Kernel::ConvTranspose(c) => window::conv_transpose(cx, c),
        Kernel::Pool(p) => window::pool(cx, p),
        Kernel::Norm(n) => reduce::norm(cx, n),
        Kernel::Softmax(s) => reduce::softmax(cx, s),
        Kernel::Attention(a) => product::attention(cx, a),
        Kernel::Reshape | Kernel::Reorder => moves::reshape(cx),
        Kernel::Transpose { perm } => moves::transpose(cx, perm),
        Kernel::Slice(s) => moves::slice(cx, s),
        Kernel::Concat { axis } => moves::concat(cx, *axis),
        Kernel::Pad(p) => moves::pad(cx, p),
        Kernel::Tile => moves::tile(cx),
        Kernel::Gather { axis } => moves::gather(cx, *axis),
        Kernel::GatherElements { axis } => moves::gather_elements(cx, *axis),
        Kernel::GatherNd { batch_dims } => moves::gather_nd(cx, *batch_dims),
        Kernel::ScatterElements { axis, reduction } => moves::scatter_elements(cx, *axis, *reduction),
        Kernel::ScatterNd { reduction } => moves::scatter_nd(cx, *reduction),
        Kernel::Resize(r) => resize::resize(cx, r),
        Kernel::Rnn(r) => rnn::rnn(cx, r),
        Kernel::TopK { axis, largest, .. } => reduce::top_k(cx, *axis, *largest),
        Kernel::CumSum { axis, exclusive, reverse } => reduce::cum_sum(cx, *axis, *exclusive, *reverse),
        Kernel::Reference(r) => Err(InterpError::Unsupported(format!("{} is run by its reference evaluation", r.name))),
    }
}

/// `expr` of every element of the broadcast operands.
fn map(cx: &Cx<'_>, expr: &Expr) -> Result<Vec<Tensor>> {
    let shape = cx.shape(0)?;
    if expr.result_type() != cx.dtype(0)? {
        return Err(InterpError::Type(format!("the expression gives {}", expr.result_type())));
    }
    let mut args = vec![];
    for (i, dtype) in expr.args().iter().enumerate() {
        let a = cx.array(i)?;
        if a.dtype != *dtype {
            return Err(InterpError::Type(format!("operand {i} is {}, the expression takes {dtype}", a.dtype)));
        }
        args.push(a.broadcast(shape)?);
    }
    let count = index::count(shape);
    let element = |i: usize| eval_expr(expr, &args.iter().map(|a| a.data[i]).collect::<Vec<_>>());
    cx.store((0..count).map(element).collect::<Result<_>>()?)
}
