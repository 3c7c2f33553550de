//! From kernel IR to kernels: which of this crate's kernels computes a [`Kernel`] over given operands, and running it.
//!
//! [`supports`] is asked at compile time and [`run`] runs what it accepted; both go by kernel, element types and
//! layouts only, so that a plan compiled on one machine runs on every other. Extents are checked here, in every run:
//! errors are sentences for users, and the kernels below may rely on lengths.

mod attend;
#[cfg(test)]
mod check;
mod conv;
mod convert;
mod copy;
mod epilogue;
mod floats;
mod fold;
mod gemm;
mod integer;
mod ints;
mod map;
mod moves;
mod order;
mod packed;
mod requantise;
mod resample;
mod rnn;
mod rows;
mod terms;
mod walk;
mod window;

pub use fold::{Accumulators, Finish, fold};
pub use walk::{Row, walk};

use crate::isa::Isa;
use crate::par::Parallel;
use crate::reorder::{from_blocked, to_blocked};
use planc_kir::{Expr, Kernel, PoolKind};
use planc_tensor::{AlignedBuf, DType, Dim, Element, Layout};

pub use rnn::recurrent_weights_pack;

/// A kernel's operand.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Element type.
    pub dtype: DType,
    /// Logical extents.
    pub shape: &'a [usize],
    /// Layout in memory.
    pub layout: Layout,
    /// The elements, aligned for their type.
    pub bytes: &'a [u8],
}

impl<'a> Operand<'a> {
    /// The stored elements, layout filling included.
    ///
    /// # Errors
    /// When the element type is another.
    pub fn elements<T: Element>(&self) -> Result<&'a [T], String> {
        let fits = self.dtype == T::DTYPE;
        let elements = if fits { T::from_bytes(self.bytes) } else { None };
        elements.ok_or_else(|| format!("operand of {} where {} is needed", self.dtype, T::DTYPE))
    }
}

/// A kernel's result.
#[derive(Debug)]
pub struct Output<'a> {
    /// Element type.
    pub dtype: DType,
    /// Logical extents.
    pub shape: &'a [usize],
    /// Layout in memory.
    pub layout: Layout,
    /// Where the elements go, aligned for their type. Every byte is written.
    pub bytes: &'a mut [u8],
}

impl Output<'_> {
    /// The stored elements, layout filling included.
    ///
    /// # Errors
    /// When the element type is another.
    pub fn elements(&mut self) -> Result<&mut [f32], String> {
        let elements = bytemuck::try_cast_slice_mut(self.bytes).ok().filter(|_| self.dtype == DType::F32);
        elements.ok_or_else(|| format!("result of {} where f32 is needed", self.dtype))
    }
}

/// Memory that kernels write to and forget.
#[derive(Default)]
pub struct Scratch(Option<AlignedBuf>);

impl Scratch {
    /// `len` floats of any value.
    pub fn floats(&mut self, len: usize) -> &mut [f32] {
        let bytes = len * 4;
        if self.0.as_ref().is_none_or(|b| b.as_ref().len() < bytes) {
            self.0 = Some(AlignedBuf::zeroed(bytes));
        }
        let all = self.0.as_mut().map(AlignedBuf::as_mut_slice).unwrap_or_default();
        bytemuck::cast_slice_mut(&mut all[..bytes])
    }
}

/// What kernels run with.
pub struct Cx<'a> {
    /// Instruction set.
    pub isa: Isa,
    /// Threads.
    pub par: &'a dyn Parallel,
    /// Memory to write to and forget.
    pub scratch: &'a mut Scratch,
    /// The run's value of a symbolic extent.
    pub eval: &'a dyn Fn(&Dim) -> Option<i64>,
}

impl Cx<'_> {
    /// The run's value of an extent.
    ///
    /// # Errors
    /// When a symbol is not known.
    pub fn dim(&self, d: &Dim) -> Result<i64, String> {
        (self.eval)(d).ok_or_else(|| format!("the extent {d} is not known"))
    }
}

/// Element type and layout of an operand or result.
pub type Form = (DType, Layout);

/// Whether [`run`] computes `kernel` with `epilogue` over operands and results of these forms.
pub fn supports(kernel: &Kernel, epilogue: Option<&Expr>, inputs: &[Option<Form>], outputs: &[Option<Form>]) -> bool {
    let late = epilogue.is_none_or(|e| map::supports(e) && e.result_type() == DType::F32);
    let all_f32 = || inputs.iter().chain(outputs).flatten().all(|(t, _)| *t == DType::F32);
    let layout = |i: usize| inputs.get(i).copied().flatten().map_or(Layout::RowMajor, |(_, l)| l);
    let result = outputs.first().copied().flatten().map_or(Layout::RowMajor, |(_, l)| l);
    // Weights have layouts of their own; whatever is added lies as the result does, or has one value per channel.
    let added = || (2..inputs.len()).all(|i| layout(i) == Layout::RowMajor || layout(i) == result);
    match kernel {
        Kernel::Gemm(_) => {
            let weights = inputs.get(1).copied().flatten();
            let matrix = match weights {
                Some(form) if gemm::narrow(form).is_some() => true,
                form => form.is_none_or(|(t, l)| t == DType::F32 && matches!(l, Layout::RowMajor | Layout::Panels16)),
            };
            let others = inputs.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, f)| f);
            return late
                && others.chain(outputs).flatten().all(|(t, _)| *t == DType::F32)
                && matrix
                && layout(0) == Layout::RowMajor
                && result == Layout::RowMajor
                && added();
        }
        Kernel::Conv(_) => return late && all_f32() && conv::supports(layout(0), layout(1), result) && added(),
        Kernel::ConvTranspose(_) => {
            let layouts = (layout(0), layout(1), result);
            let known = layouts == (Layout::RowMajor, Layout::ConvTransposed, Layout::RowMajor);
            return late && all_f32() && known && added();
        }
        // A global pooling stays one that runs on blocks.
        Kernel::Reduce(r) if epilogue.is_some() => {
            let rows = inputs.iter().chain(outputs).flatten().all(|(_, l)| *l == Layout::RowMajor);
            return late && all_f32() && rows && rows::reduction(r).is_some() && !rows::is_pooling(r);
        }
        Kernel::GemmInteger => return integer::supports(false, epilogue, inputs, outputs),
        Kernel::ConvInteger(_) => return integer::supports(true, epilogue, inputs, outputs),
        _ if epilogue.is_some() => return false,
        Kernel::Rnn(r) => return rnn::supports(r, inputs, outputs),
        _ => {}
    }
    let blocked = |i: usize| layout(i) == Layout::Nchw16c;
    let in_blocks = inputs.iter().flatten().any(|(_, l)| *l == Layout::Nchw16c) || result == Layout::Nchw16c;
    let whole_bytes = inputs.iter().chain(outputs).flatten().all(|(t, _)| t.size().is_some());
    let others_row_major = |n: usize| (n..inputs.len()).all(|i| layout(i) == Layout::RowMajor);
    let one_result = outputs.iter().skip(1).all(Option::is_none);
    if in_blocks {
        let small = |t: DType| matches!(t, DType::F32 | DType::I32 | DType::U8 | DType::I8);
        let forms = || inputs.iter().chain(outputs).flatten();
        let one_type = forms().all(|(t, _)| Some(*t) == forms().next().map(|f| f.0)) && forms().all(|(t, _)| small(*t));
        return (all_f32() || matches!(kernel, Kernel::Map(_)) || one_type && integer::moves(kernel))
            && one_result
            && match kernel {
                Kernel::Reorder => blocked(0) != (result == Layout::Nchw16c),
                Kernel::Map(expr) => map::supports_ints(expr) && result == Layout::Nchw16c,
                Kernel::Pool(_) => blocked(0) && result == Layout::Nchw16c,
                Kernel::Reduce(r) => r.is_plain() && rows::is_pooling(r) && blocked(0) && result == Layout::RowMajor,
                Kernel::Concat { axis: 1 } => (0..inputs.len()).all(blocked) && result == Layout::Nchw16c,
                Kernel::Slice(_) => blocked(0) && result == Layout::Nchw16c,
                Kernel::Resize(r) => blocked(0) && result == Layout::Nchw16c && resample::supports_blocks(r),
                _ => false,
            };
    }
    if !others_row_major(0) || !whole_bytes {
        return false;
    }
    let integers = |i: usize| matches!(inputs.get(i), Some(Some((DType::I64 | DType::I32, _))));
    let first_is = |f: &dyn Fn(DType) -> bool| inputs.first().copied().flatten().is_some_and(|(t, _)| f(t));
    match kernel {
        Kernel::Map(expr) => map::supports(expr) || map::supports_mixed(expr) || convert::supports(expr),
        Kernel::Transpose { .. } | Kernel::Slice(_) | Kernel::Concat { .. } => true,
        Kernel::Gather { .. } => integers(1),
        Kernel::Pool(p) => {
            let first = |f: &[Option<Form>]| f.first().copied().flatten().is_some_and(|(t, _)| t == DType::F32);
            let bytes =
                matches!(inputs.first(), Some(Some((DType::U8 | DType::I8, _)))) && inputs.first() == outputs.first();
            first(inputs) && first(outputs) && (one_result || p.kind == PoolKind::Max)
                || bytes && one_result && p.kind == PoolKind::Max
        }
        Kernel::Reduce(r) => all_f32() && rows::reduction(r).is_some() && (r.is_plain() || !rows::is_pooling(r)),
        Kernel::Softmax(_) | Kernel::Attention(_) => all_f32() && one_result,
        Kernel::Norm(_) => all_f32() && one_result,
        Kernel::Resize(r) => (all_f32() || inputs == outputs && integer::moves(kernel)) && resample::supports(r),
        Kernel::Pad(_) | Kernel::Tile => true,
        Kernel::GatherElements { .. } | Kernel::GatherNd { .. } => integers(1),
        Kernel::ScatterElements { reduction, .. } | Kernel::ScatterNd { reduction } => {
            integers(1) && first_is(&|t| moves::supports_scatter(*reduction, t))
        }
        Kernel::ArgReduce(_) => first_is(&|t| t == DType::F32) && one_result,
        Kernel::TopK { .. } => first_is(&|t| t == DType::F32),
        Kernel::CumSum { .. } => first_is(&order::supports_sums),
        _ => false,
    }
}

/// Whether a program is one that epilogues of integer kernels, and maps in channel blocks, may be: over f32, bool, u8, i8
/// and i32.
pub fn computes_ints(expr: &Expr) -> bool {
    map::supports_ints(expr)
}

/// Runs a kernel that [`supports`] accepts.
///
/// # Errors
/// When extents do not fit each other, or values are out of range.
pub fn run<'a>(
    cx: &mut Cx<'_>,
    kernel: &Kernel,
    epilogue: Option<&'a Expr>,
    inputs: &[Option<Operand<'a>>],
    outputs: &mut [Option<Output<'_>>],
) -> Result<(), String> {
    // Any of these results may be left out.
    match kernel {
        Kernel::Rnn(r) => return rnn::run(cx, r, inputs, outputs),
        Kernel::TopK { axis, largest, .. } => return order::top_k(*axis, *largest, inputs, outputs),
        _ => {}
    }
    let Some((Some(out), others)) = outputs.split_first_mut() else { return Err("the first result is missing".into()) };
    let operand = |i: usize| inputs.get(i).copied().flatten().ok_or_else(|| format!("operand {i} is missing"));
    if others.iter().all(|o| o.is_none()) && out.bytes.is_empty() {
        return Ok(());
    }
    match kernel {
        Kernel::Conv(spec) => conv::run(cx, spec, epilogue, inputs, out),
        Kernel::ConvTranspose(spec) => conv::run_transposed(cx, spec, epilogue, inputs, out),
        Kernel::Gemm(spec) => gemm::run(cx, spec, epilogue, inputs, out),
        Kernel::GemmInteger => integer::gemm(cx, epilogue, inputs, out),
        Kernel::ConvInteger(spec) => integer::conv(cx, spec, epilogue, inputs, out),
        Kernel::Reorder => reorder(cx, operand(0)?, out),
        Kernel::Map(expr) if convert::supports(expr) => convert::run(cx, expr, operand(0)?, out),
        Kernel::Map(expr) => map::run(cx, expr, inputs, out),
        Kernel::Transpose { perm } => copy::transpose(cx, perm, operand(0)?, out),
        Kernel::Slice(slice) if out.layout == Layout::Nchw16c => copy::slice_blocked(cx, slice, operand(0)?, out),
        Kernel::Slice(slice) => copy::slice(cx, slice, operand(0)?, out),
        Kernel::Concat { .. } if out.layout == Layout::Nchw16c => copy::concat_blocked(inputs, out),
        Kernel::Concat { axis } => copy::concat(*axis, inputs, out),
        Kernel::Gather { axis } => copy::gather(*axis, operand(0)?, operand(1)?, out),
        Kernel::Pad(pad) => moves::pad(cx, pad, operand(0)?, operand(1).ok(), out),
        Kernel::Tile => moves::tile(operand(0)?, out),
        Kernel::GatherElements { axis } => moves::gather_elements(*axis, operand(0)?, operand(1)?, out),
        Kernel::GatherNd { batch_dims } => moves::gather_nd(*batch_dims, operand(0)?, operand(1)?, out),
        Kernel::ScatterElements { axis, reduction } => {
            moves::scatter(Some(*axis), *reduction, operand(0)?, operand(1)?, operand(2)?, out)
        }
        Kernel::ScatterNd { reduction } => moves::scatter(None, *reduction, operand(0)?, operand(1)?, operand(2)?, out),
        Kernel::ArgReduce(r) => order::arg_reduce(cx, r, operand(0)?, out),
        Kernel::CumSum { axis, exclusive, reverse } => order::cum_sum(*axis, *exclusive, *reverse, operand(0)?, out),
        Kernel::Pool(pool) => {
            let indices = others.first_mut().and_then(Option::as_mut);
            window::pool(cx, pool, operand(0)?, out, indices)
        }
        Kernel::Reduce(r) if operand(0)?.layout == Layout::Nchw16c => {
            window::reduce_blocked(cx, r.op, &r.axes, operand(0)?, out)
        }
        Kernel::Reduce(r) => rows::reduce(cx, r, epilogue, inputs, out),
        Kernel::Softmax(s) => rows::softmax(cx, s, operand(0)?, out),
        Kernel::Norm(n) => rows::norm(cx, n, operand(0)?, operand(1).ok(), operand(2).ok(), out),
        Kernel::Attention(a) => attend::run(cx, a, inputs, out),
        Kernel::Resize(r) => resample::run(cx, r, operand(0)?, out),
        _ => Err(format!("no implementation of {}", kernel.name())),
    }
}

/// The last three of `v`, filled in front.
fn spread<T: Copy>(v: &[T], fill: T) -> [T; 3] {
    let mut out = [fill; 3];
    let n = v.len().min(3);
    out[3 - n..].copy_from_slice(&v[..n]);
    out
}

/// Changes the layout of a value.
fn reorder(cx: &Cx<'_>, x: Operand<'_>, y: &mut Output<'_>) -> Result<(), String> {
    let [n, c, spatial @ ..] = x.shape else { return Err(format!("{:?} has no channels", x.shape)) };
    let pixels = spatial.iter().product();
    if x.shape != y.shape || x.dtype != y.dtype {
        return Err(format!("{}{:?} is reordered to {}{:?}", x.dtype, x.shape, y.dtype, y.shape));
    }
    if x.dtype.bits() == 8 {
        let to_blocked = match (x.layout, y.layout) {
            (Layout::RowMajor, Layout::Nchw16c) => true,
            (Layout::Nchw16c, Layout::RowMajor) => false,
            (from, to) => return Err(format!("no reorder from {from} to {to}")),
        };
        crate::integer::reorder_bytes(cx.par, *n, *c, pixels, to_blocked, x.bytes, y.bytes);
        return Ok(());
    }
    let kernel = match (x.layout, y.layout) {
        (Layout::RowMajor, Layout::Nchw16c) => to_blocked,
        (Layout::Nchw16c, Layout::RowMajor) => from_blocked,
        (from, to) => return Err(format!("no reorder from {from} to {to}")),
    };
    // Other elements of four bytes are moved as floats are.
    let words = |e| format!("no reorder of {}: {e}", x.dtype);
    let (from, to) =
        (bytemuck::try_cast_slice(x.bytes).map_err(words)?, bytemuck::try_cast_slice_mut(y.bytes).map_err(words)?);
    kernel(cx.isa, cx.par, *n, *c, pixels, from, to);
    Ok(())
}
