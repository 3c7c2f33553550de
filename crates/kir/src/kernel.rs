//! The closed set of kernels.
//!
//! A kernel says what is computed, never how: operands are row-major tensors of any extents that fit, extents come
//! with the operands at run time. [`Dim`] fields are extents or offsets that depend on symbolic dims; they are bound
//! together with the operands' shapes. Each variant documents its operands as `[a, b, optional?] -> [out]`.

use crate::{Expr, Inst};
use planc_tensor::{Attr, DType, Dim};
use serde::{Deserialize, Serialize};

/// What a backend is asked to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kernel {
    /// `[operands of expr...] -> [out]`: `expr` per element; operands broadcast to the result's shape.
    Map(Expr),
    /// `[operands of map...] -> [out]`: reduction over axes of the elements that `map` makes of the operands.
    Reduce(Reduce),
    /// `[x] -> [out i64]`: position of an extremum along an axis.
    ArgReduce(ArgReduce),
    /// `[a, b, bias?] -> [out]`: batched matrix product with broadcast batch dims.
    Gemm(Gemm),
    /// `[x N C spatial.., w M C/group kernel.., bias? M] -> [out N M spatial..]`.
    Conv(Conv),
    /// `[x N C spatial.., w C M/group kernel.., bias? M] -> [out N M spatial..]`: the gradient of `Conv`.
    ConvTranspose(Conv),
    /// `[a u8|i8, b u8|i8, a_zero?, b_zero?] -> [out i32]`: batched product of integers less their zero points.
    /// `a_zero`: one element or one per row of a; `b_zero`: one element or one per column of b.
    GemmInteger,
    /// `[x u8|i8, w u8|i8, x_zero?, w_zero?] -> [out i32]`: as `Conv`, of integers less their zero points; padding
    /// contributes nothing. `x_zero`: one element; `w_zero`: one element or one per output channel.
    ConvInteger(Conv),
    /// `[x N C spatial..] -> [out]`: window reduction.
    Pool(Pool),
    /// `[x, scale?, bias?] -> [out]`: normalisation by mean and variance.
    Norm(Norm),
    /// `[x] -> [out]`.
    Softmax(Softmax),
    /// `[q B H S D, k B Hk T D, v B Hk T E, mask?] -> [out B H S E]`: softmax(scale q k' + mask) v.
    Attention(Attention),
    /// `[x] -> [out]`: the same elements in the same order under the result's shape.
    Reshape,
    /// `[x] -> [out]`: the same elements in the result's layout. (Layouts belong to values, not to kernels.)
    Reorder,
    /// `[x] -> [out]`: out axis `i` is x axis `perm[i]`.
    Transpose {
        /// A permutation of the axes.
        perm: Vec<usize>,
    },
    /// `[x] -> [out]`: out[i] = x[start + i * step] per axis; the result's shape says how many.
    Slice(Slice),
    /// `[x0, x1, ...] -> [out]`.
    Concat {
        /// The axis along which operands follow each other.
        axis: usize,
    },
    /// `[x, value?] -> [out]`: out[i] = x[i - before], outside by mode.
    Pad(Pad),
    /// `[x] -> [out]`: x repeated; out extent = x extent * repeats.
    Tile,
    /// `[x, indices] -> [out]`: out[.. i.. ..] = x[.. indices[i..] ..] along `axis`; negative indices count from the end.
    Gather {
        /// Axis of x.
        axis: usize,
    },
    /// `[x, indices] -> [out]`: out[i] = x[i with axis replaced by indices[i]].
    GatherElements {
        /// Axis of x.
        axis: usize,
    },
    /// `[x, indices] -> [out]`: the last axis of indices holds tuples.
    GatherNd {
        /// Leading axes that x and indices share.
        batch_dims: usize,
    },
    /// `[x, indices, updates] -> [out]`: x with `updates[i]` combined in at i with axis replaced by indices[i].
    ScatterElements {
        /// Axis of x.
        axis: usize,
        /// How an update meets what is there.
        reduction: ScatterReduction,
    },
    /// `[x, indices, updates] -> [out]`: as `ScatterElements` with index tuples.
    ScatterNd {
        /// How an update meets what is there.
        reduction: ScatterReduction,
    },
    /// `[x] -> [out]`: resampling of spatial axes.
    Resize(Resize),
    /// `[x T B I, w, r, b?, sequence_lens? B i32, initial_h?, initial_c?, peepholes?] -> [y?, y_h?, y_c?]` as in ONNX.
    Rnn(Rnn),
    /// `[x, k i64] -> [values?, indices? i64]`; with equal values the lower index comes first.
    TopK {
        /// Axis.
        axis: usize,
        /// Largest rather than smallest.
        largest: bool,
        /// Sorted by value (else any order is allowed; sorted is given).
        sorted: bool,
    },
    /// `[x] -> [out]`: running sums.
    CumSum {
        /// Axis.
        axis: usize,
        /// Element i excludes x[i].
        exclusive: bool,
        /// From the end.
        reverse: bool,
    },
    /// The operator's reference evaluation. Correct for every operator, fast for none.
    Reference(Reference),
}

/// A reduction of the elements that a program makes; an empty `axes` is the identity apart from the operation's own map
/// (square, abs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reduce {
    /// What is accumulated.
    pub op: ReduceOp,
    /// Reduced axes, ascending. The result's shape either keeps them as 1 or drops them.
    pub axes: Vec<usize>,
    /// The program per element, before anything is accumulated; the operands broadcast together to what is reduced. The
    /// result has its type.
    pub map: Expr,
}

impl Reduce {
    /// The reduction of one operand as it is.
    pub fn plain(op: ReduceOp, dtype: DType, axes: Vec<usize>) -> Reduce {
        Reduce { op, axes, map: Expr::identity(dtype) }
    }

    /// Whether the program is its only operand.
    pub fn is_plain(&self) -> bool {
        self.map.args().len() == 1 && matches!(self.map.insts(), [Inst::Arg(0)])
    }
}

/// What a reduction accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReduceOp {
    /// Sum.
    Sum,
    /// Sum over count.
    Mean,
    /// Product.
    Prod,
    /// Maximum; NaN wins.
    Max,
    /// Minimum; NaN wins.
    Min,
    /// Sum of squares.
    SumSquare,
    /// Sum of absolute values.
    L1,
    /// Square root of the sum of squares.
    L2,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of exponentials, computed without overflow.
    LogSumExp,
}

impl ReduceOp {
    /// Every operation.
    pub const ALL: &'static [ReduceOp] = &[
        ReduceOp::Sum,
        ReduceOp::Mean,
        ReduceOp::Prod,
        ReduceOp::Max,
        ReduceOp::Min,
        ReduceOp::SumSquare,
        ReduceOp::L1,
        ReduceOp::L2,
        ReduceOp::LogSum,
        ReduceOp::LogSumExp,
    ];

    /// The name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Mean => "mean",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::SumSquare => "sum_square",
            ReduceOp::L1 => "l1",
            ReduceOp::L2 => "l2",
            ReduceOp::LogSum => "log_sum",
            ReduceOp::LogSumExp => "log_sum_exp",
        }
    }

    /// The operation with this name.
    pub fn from_name(name: &str) -> Option<ReduceOp> {
        ReduceOp::ALL.iter().copied().find(|o| o.name() == name)
    }
}

/// Position of an extremum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArgReduce {
    /// Maximum rather than minimum.
    pub max: bool,
    /// Axis.
    pub axis: usize,
    /// The last of equal elements rather than the first.
    pub last: bool,
}

/// out = alpha * op(a) op(b) + beta * bias. a is `[batch.., M, K]`, b `[batch.., K, N]`, before transposition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gemm {
    /// a is stored `[batch.., K, M]`.
    pub trans_a: bool,
    /// b is stored `[batch.., N, K]`.
    pub trans_b: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the bias, which broadcasts to the result.
    pub beta: f32,
}

/// Geometry of a convolution, one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Channel groups.
    pub group: usize,
    /// Steps of the window.
    pub strides: Vec<usize>,
    /// Distance of kernel elements.
    pub dilations: Vec<usize>,
    /// Padding before and after (for `ConvTranspose`: cut from the result).
    pub pads: Vec<[Dim; 2]>,
}

/// Geometry of a window reduction, one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// What the window computes.
    pub kind: PoolKind,
    /// Window extents.
    pub kernel: Vec<usize>,
    /// Steps of the window.
    pub strides: Vec<usize>,
    /// Distance of window elements.
    pub dilations: Vec<usize>,
    /// Padding before and after. The result's shape decides how many windows there are; one may reach past the end.
    pub pads: Vec<[Dim; 2]>,
}

/// What a window computes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PoolKind {
    /// Maximum of the elements inside.
    Max,
    /// Average; over the padding too if `count_pad` (but never over what lies past the padded input).
    Average {
        /// Padding counts as zeros.
        count_pad: bool,
    },
    /// p-norm of the elements inside.
    Lp {
        /// p.
        p: i64,
    },
}

/// (x - mean) / sqrt(variance + epsilon) * scale + bias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Norm {
    /// Over which elements.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Over which elements a normalisation takes its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormKind {
    /// All axes from `axis` on; scale and bias broadcast to those axes.
    Layer {
        /// First normalised axis.
        axis: usize,
    },
    /// As `Layer`, without subtracting the mean.
    Rms {
        /// First normalised axis.
        axis: usize,
    },
    /// x is `[N, C, ..]`: over channel groups and all further axes; scale and bias are `[C]`.
    Group {
        /// Number of groups; C groups is instance normalisation.
        groups: usize,
    },
}

/// exp(x - max) / sum along an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Softmax {
    /// First axis.
    pub axis: usize,
    /// One past the last axis: old opsets flatten all axes from `axis` on.
    pub end: usize,
    /// Logarithm of the result.
    pub log: bool,
}

/// Scaled dot-product attention; H is a multiple of Hk (grouped queries).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// Factor of the scores.
    pub scale: f32,
    /// Element (s, t) is masked where t > s + (T - S).
    pub causal: bool,
}

/// Per axis of x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// First element, already clamped.
    pub starts: Vec<Dim>,
    /// Step, negative walks backwards.
    pub steps: Vec<i64>,
}

/// Per axis of x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// Elements added before; negative removes. What is added after follows from the result's shape.
    pub before: Vec<Dim>,
    /// What lies outside.
    pub mode: PadMode,
}

/// What lies outside a padded tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PadMode {
    /// The value operand, zero without one.
    Constant,
    /// Mirrored without the border element.
    Reflect,
    /// The border element.
    Edge,
    /// From the other side.
    Wrap,
}

/// How a scattered update meets what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScatterReduction {
    /// Replaces it.
    None,
    /// Sum.
    Add,
    /// Product.
    Mul,
    /// Minimum.
    Min,
    /// Maximum.
    Max,
}

/// Resampling as in ONNX `Resize`; axes not listed keep their extent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Resampled axes.
    pub axes: Vec<usize>,
    /// Factors, where the model gives factors rather than sizes (they enter the coordinates); else extents' ratios.
    pub scales: Option<Vec<f32>>,
    /// Interpolation.
    pub mode: ResizeMode,
    /// How an output position maps to an input position.
    pub coordinate: Coordinate,
    /// Low-pass when shrinking.
    pub antialias: bool,
    /// Samples outside do not contribute (cubic).
    pub exclude_outside: bool,
    /// Region of interest, starts then ends over `axes`, for `Coordinate::CropAndResize`.
    pub roi: Vec<f32>,
    /// Value outside the region of interest.
    pub extrapolation: f32,
}

/// Interpolation of a resampling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ResizeMode {
    /// The nearest sample.
    Nearest(Nearest),
    /// Multilinear.
    Linear,
    /// Cubic convolution with coefficient `a` (Keys 1981).
    Cubic {
        /// ONNX `cubic_coeff_a`.
        a: f32,
    },
}

/// Which sample is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nearest {
    /// Halves go down.
    RoundPreferFloor,
    /// Halves go up.
    RoundPreferCeil,
    /// Always down.
    Floor,
    /// Always up.
    Ceil,
}

impl Nearest {
    /// How far from a half a position still counts as the half, which rounding in f32 may have moved it off; as in onnxruntime.
    pub const TIE: f64 = 1e-6;

    /// The whole position nearest to `at`.
    pub fn of(self, at: f64) -> f64 {
        match self {
            Nearest::RoundPreferFloor => (at - 0.5 - Self::TIE).ceil(),
            Nearest::RoundPreferCeil => (at + 0.5 + Self::TIE).floor(),
            Nearest::Floor => at.floor(),
            Nearest::Ceil => at.ceil(),
        }
    }
}

/// ONNX `coordinate_transformation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coordinate {
    /// Pixel centres at halves.
    HalfPixel,
    /// As `HalfPixel`, with the image's centre kept where the scale does not divide.
    HalfPixelSymmetric,
    /// As `HalfPixel`; an output extent of 1 takes position 0.
    PytorchHalfPixel,
    /// The corners coincide.
    AlignCorners,
    /// Position over scale.
    Asymmetric,
    /// TensorFlow's `half_pixel_centers` for nearest.
    TfHalfPixelForNn,
    /// Positions within the region of interest.
    CropAndResize,
}

/// A recurrent layer, ONNX semantics of RNN, GRU and LSTM (gate order included).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rnn {
    /// Cell.
    pub cell: Cell,
    /// Which ways the sequence is read.
    pub direction: Direction,
    /// Width of the state.
    pub hidden: usize,
    /// Activations, per direction in ONNX order.
    pub activations: Vec<CellActivation>,
    /// Bound of the gates' inputs.
    pub clip: Option<f32>,
    /// Batch first (ONNX `layout = 1`).
    pub batch_first: bool,
    /// GRU: the reset gate acts after the recurrent product (ONNX `linear_before_reset`).
    pub linear_before_reset: bool,
    /// LSTM: the forget gate is 1 minus the input gate (ONNX `input_forget`).
    pub input_forget: bool,
}

/// Cell of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// One gate.
    Rnn,
    /// Gates z, r, h.
    Gru,
    /// Gates i, o, f, c.
    Lstm,
}

/// Which ways a sequence is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// First to last.
    Forward,
    /// Last to first.
    Reverse,
    /// Both, with weights of their own.
    Both,
}

/// An activation within a recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellActivation {
    /// Function.
    pub kind: CellActivationKind,
    /// First parameter.
    pub alpha: f32,
    /// Second parameter.
    pub beta: f32,
}

/// Functions that ONNX allows within a recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CellActivationKind {
    /// max(x, 0).
    Relu,
    /// tanh(x).
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// alpha x + beta.
    Affine,
    /// x, or alpha x below zero.
    LeakyRelu,
    /// x, or 0 below alpha.
    ThresholdedRelu,
    /// alpha tanh(beta x).
    ScaledTanh,
    /// min(max(alpha x + beta, 0), 1).
    HardSigmoid,
    /// x, or alpha (exp(x) - 1) below zero.
    Elu,
    /// x / (1 + |x|).
    Softsign,
    /// log(1 + exp(x)).
    Softplus,
}

/// An operator by name, run by its reference evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Domain; empty for ai.onnx.
    pub domain: String,
    /// Operator.
    pub name: String,
    /// Attributes, sorted by name.
    pub attrs: Vec<(String, Attr)>,
    /// The results' element types, which an evaluation may need.
    pub outputs: Vec<DType>,
}

impl Kernel {
    /// The kernel's name in a word, for tables and the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::Map(_) => "map",
            Kernel::Reduce(_) => "reduce",
            Kernel::ArgReduce(_) => "argreduce",
            Kernel::Gemm(_) => "gemm",
            Kernel::Conv(_) => "conv",
            Kernel::ConvTranspose(_) => "convtranspose",
            Kernel::GemmInteger => "gemminteger",
            Kernel::ConvInteger(_) => "convinteger",
            Kernel::Pool(_) => "pool",
            Kernel::Norm(_) => "norm",
            Kernel::Softmax(_) => "softmax",
            Kernel::Attention(_) => "attention",
            Kernel::Reshape => "reshape",
            Kernel::Reorder => "reorder",
            Kernel::Transpose { .. } => "transpose",
            Kernel::Slice(_) => "slice",
            Kernel::Concat { .. } => "concat",
            Kernel::Pad(_) => "pad",
            Kernel::Tile => "tile",
            Kernel::Gather { .. } => "gather",
            Kernel::GatherElements { .. } => "gatherelements",
            Kernel::GatherNd { .. } => "gathernd",
            Kernel::ScatterElements { .. } => "scatterelements",
            Kernel::ScatterNd { .. } => "scatternd",
            Kernel::Resize(_) => "resize",
            Kernel::Rnn(_) => "rnn",
            Kernel::TopK { .. } => "topk",
            Kernel::CumSum { .. } => "cumsum",
            Kernel::Reference(_) => "reference",
        }
    }
}
