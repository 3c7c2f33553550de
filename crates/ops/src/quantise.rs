//! What quantising operators share: which scale and zero point an element has.

use crate::{InferCx, LowerCx, OpError, TypeSet, normal_axis};
use planc_ir::{Graph, ValueId};
use planc_tensor::{DType, Dim, Tensor};

/// The types of quantised elements of one or two bytes or less.
pub const QUANTISED: TypeSet = TypeSet::BYTE.or(TypeSet::FLOAT8).or(TypeSet::of(&[
    DType::U16,
    DType::I16,
    DType::U4,
    DType::I4,
    DType::U2,
    DType::I2,
    DType::F4E2M1,
]));
/// The types of scales and of what they scale.
pub const SCALED: TypeSet = TypeSet::of(&[DType::F32, DType::F16, DType::BF16]);

/// How elements share scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// One scale for all.
    Tensor,
    /// One for each index along an axis.
    Axis(usize),
    /// One for each run of `size` indices along an axis, for each index of the other axes.
    Block {
        /// The axis.
        axis: usize,
        /// Elements of a run.
        size: usize,
    },
}

impl Granularity {
    /// How elements of `x` share scales of shape `scale`.
    ///
    /// # Errors
    /// When the shapes do not fit each other or the attributes.
    pub fn of(x: &[usize], scale: &[usize], axis: i64, block: i64) -> Result<Granularity, OpError> {
        let misfit = || OpError::shape(format!("scales of {scale:?} do not fit {x:?} along axis {axis}"));
        let size = usize::try_from(block).map_err(|_| OpError::attribute(format!("block_size is {block}")))?;
        match (scale, size) {
            ([] | [1], 0) | ([], _) => Ok(Granularity::Tensor),
            ([n], 0) => {
                let axis = normal_axis(axis, x.len())?;
                if x[axis] == *n { Ok(Granularity::Axis(axis)) } else { Err(misfit()) }
            }
            (_, 0) => Err(misfit()),
            _ => {
                let axis = normal_axis(axis, x.len())?;
                let wanted = x.iter().enumerate().map(|(i, d)| if i == axis { d.div_ceil(size) } else { *d });
                if wanted.eq(scale.iter().copied()) { Ok(Granularity::Block { axis, size }) } else { Err(misfit()) }
            }
        }
    }

    /// Calls `f` with the number of the scale of every element of `x`, row-major.
    pub fn for_each(self, x: &[usize], mut f: impl FnMut(usize)) {
        if x.contains(&0) {
            return;
        }
        let (axis, size) = match self {
            Granularity::Tensor => return (0..x.iter().product()).for_each(|_| f(0)),
            Granularity::Axis(axis) => (axis, 1),
            Granularity::Block { axis, size } => (axis, size),
        };
        let (outer, inner): (usize, usize) = (x[..axis].iter().product(), x[axis + 1..].iter().product());
        let blocks = x[axis].div_ceil(size);
        for o in 0..outer {
            for d in 0..x[axis] {
                for i in 0..inner {
                    f(if matches!(self, Granularity::Axis(_)) { d } else { (o * blocks + d / size) * inner + i });
                }
            }
        }
    }
}

/// How a graph stores a constant that it widens to f32 before use.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'g> {
    /// As elements of another type, which are converted.
    Elements(&'g Tensor),
    /// As codes without zero point, and what they are multiplied with.
    Codes {
        /// The codes.
        codes: &'g Tensor,
        /// The scales, f32.
        scales: &'g Tensor,
        /// How codes share scales.
        granularity: Granularity,
    },
}

impl<'g> Stored<'g> {
    /// How `v` is stored; `None` for what is no widened constant.
    pub fn of(g: &'g Graph, v: ValueId) -> Option<Self> {
        let (id, 0) = g.producer(v)? else { return None };
        let n = g.node(id);
        let made = g.tensor_type(v).is_some_and(|t| t.dtype == DType::F32) && n.epilogue().is_none();
        let codes = g.constant(n.input(0)?).filter(|_| made)?;
        if n.op.is("Cast") {
            return Some(Stored::Elements(codes));
        }
        if !n.op.is("DequantizeLinear") || n.input(2).is_some() {
            return None;
        }
        let scales = g.constant(n.input(1)?).filter(|t| t.dtype() == DType::F32)?;
        let (axis, block) = (n.attrs.int("axis").unwrap_or(1), n.attrs.int("block_size").unwrap_or(0));
        let granularity = Granularity::of(codes.shape(), scales.shape(), axis, block).ok()?;
        Some(Stored::Codes { codes, scales, granularity })
    }
}

/// Checks the shapes of operands 0 (elements), 1 (scales) and 2 (zero points) as far as they are known.
///
/// # Errors
/// When they do not fit.
pub fn check(cx: &InferCx<'_>) -> Result<(), OpError> {
    let (x, scale) = (cx.tensor(0)?, cx.tensor(1)?);
    if let (Some(x), Some(scale)) = (x.static_shape(), scale.static_shape()) {
        Granularity::of(&x, &scale, cx.int("axis"), cx.int("block_size"))?;
    }
    if cx.has(2) {
        let count = |s: Option<Vec<usize>>| s.map(|s| s.iter().product::<usize>());
        if let (Some(a), Some(b)) = (count(scale.static_shape()), count(cx.tensor(2)?.static_shape()))
            && a != b
        {
            return Err(OpError::shape(format!("there are {a} scales and {b} zero points")));
        }
    }
    Ok(())
}

/// Whether scales and zero points broadcast to the elements as they are: one for all, or one per index of the last
/// axis.
pub fn broadcasts(cx: &LowerCx<'_>) -> bool {
    let shape = |i: usize| cx.shape(i).ok().flatten();
    let Some(x) = shape(0) else { return false };
    let fits = |s: &[Dim]| match s {
        [] => true,
        [d] if d.as_const() == Some(1) => !x.is_empty(),
        [_] => normal_axis(cx.int("axis"), x.len()).is_ok_and(|a| a + 1 == x.len()),
        _ => false,
    };
    cx.int("block_size") == 0 && (1..cx.input_count()).all(|i| !cx.has(i) || shape(i).is_some_and(fits))
}

/// The element type with ONNX number `code`; `None` for 0.
///
/// # Errors
/// When it is not among `allowed`.
pub fn type_attribute(name: &str, code: i64, allowed: TypeSet) -> Result<Option<DType>, OpError> {
    if code == 0 {
        return Ok(None);
    }
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|t| allowed.has(*t));
    dtype.map(Some).ok_or_else(|| OpError::attribute(format!("{name} is {code}, not a type it may be")))
}
