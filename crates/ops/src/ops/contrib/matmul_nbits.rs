//! com.microsoft.MatMulNBits: a product with a matrix of 2, 4 or 8 bits per weight, whose columns have a scale and a zero
//! point for each block of rows.

use crate::floats::{narrow, widen};
use crate::normalize::apply;
use crate::product::Product;
use crate::rebuild::Rebuild;
use crate::scalar::{Rounding, Wide, from_numbers};
use crate::{AttrDef, AttrKind, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use planc_ir::{Graph, NodeId, ValueId};
use planc_tensor::{Attr, DType, Dim, Tensor, View};

const FLOAT: TypeSet = TypeSet::of(&[DType::F32, DType::F16, DType::BF16]);

/// The row of MatMulNBits, whose nodes become DequantizeLinear of `[K, N]` along blocks of axis 0, and MatMul.
pub const OP: OpDef = OpDef {
    name: "MatMulNBits",
    domain: "com.microsoft",
    types: &[
        ("T1", FLOAT),
        ("T2", TypeSet::of(&[DType::U8])),
        ("T3", FLOAT.or(TypeSet::of(&[DType::U8]))),
        ("T4", TypeSet::of(&[DType::I32])),
    ],
    inputs: &[
        Param::req("A", "T1"),
        Param::req("B", "T2"),
        Param::req("scales", "T1"),
        Param::opt("zero_points", "T3"),
        Param::opt("g_idx", "T4"),
        Param::opt("bias", "T1"),
    ],
    outputs: &[Param::req("Y", "T1")],
    attrs: &[
        AttrDef::required("K", AttrKind::Int),
        AttrDef::required("N", AttrKind::Int),
        AttrDef::int("accuracy_level", 0),
        AttrDef::int("bits", 4),
        AttrDef::required("block_size", AttrKind::Int),
        AttrDef::int("weight_prepacked", 0),
    ],
    infer,
    eval: Some(eval),
    decompose: Some(decompose),
    ..OpDef::NEW
};

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    if cx.flag("weight_prepacked") {
        return Err(OpError::unsupported("weights that are packed for one device; export the model without packing"));
    }
    let form = Form::new(|name| cx.opt_int(name))?;
    let dtype = cx.dtype(0)?;
    let shape = match cx.shape(0)?.map(<[Dim]>::to_vec) {
        Some(mut shape) => {
            let last = shape.last_mut().ok_or_else(|| OpError::shape("a scalar is no matrix"))?;
            crate::convolve::agree(last, &Dim::from(form.k), "A does not have K columns")?;
            *last = Dim::from(form.n);
            Some(shape)
        }
        None => None,
    };
    cx.set_shape(0, dtype, shape);
    Ok(())
}

/// How the weights are packed.
struct Form {
    k: usize,
    n: usize,
    bits: usize,
    block: usize,
}

impl Form {
    fn new(attr: impl Fn(&str) -> Option<i64>) -> Result<Form, OpError> {
        let extent = |name: &str| {
            let v = attr(name).and_then(|v| usize::try_from(v).ok()).filter(|v| (1..1 << 31).contains(v));
            v.ok_or_else(|| OpError::attribute(format!("{name} is no extent")))
        };
        let (k, n, block) = (extent("K")?, extent("N")?, extent("block_size")?);
        match attr("bits").unwrap_or(4) {
            bits @ (2 | 4 | 8) if block.is_multiple_of(16) => Ok(Form { k, n, bits: bits as usize, block }),
            bits @ (2 | 4 | 8) => Err(OpError::attribute(format!("block_size is {block}, of {bits} bits each"))),
            bits => Err(OpError::unsupported(format!("weights of {bits} bits; 2, 4 and 8 are supported"))),
        }
    }

    fn blocks(&self) -> usize {
        self.k.div_ceil(self.block)
    }

    /// Weights `[K, N]`, as codes.
    fn codes(&self, b: View<'_>) -> Result<Vec<u8>, OpError> {
        let blob = self.block * self.bits / 8;
        let packed = exactly(b, self.n * self.blocks() * blob, "packed weights")?;
        // Blocks are whole bytes, so a column's codes follow each other.
        let column = self.blocks() * blob;
        let at = |i: usize| self.code(&packed[i % self.n * column..], i / self.n);
        Ok((0..self.k * self.n).map(at).collect())
    }

    /// Code `i` of packed ones, low bits first.
    fn code(&self, packed: &[u8], i: usize) -> u8 {
        let bit = i * self.bits;
        packed[bit / 8] >> (bit % 8) & (0xff >> (8 - self.bits))
    }

    /// `[N, blocks]` as `[blocks, N]`.
    fn turned<T: Copy>(&self, v: &[T]) -> Vec<T> {
        (0..v.len()).map(|i| v[i % self.n * self.blocks() + i / self.n]).collect()
    }

    fn scales(&self, scales: View<'_>) -> Result<Vec<f64>, OpError> {
        let count = self.n * self.blocks();
        match widen(scales)? {
            v if v.len() == count => Ok(self.turned(&v)),
            v => Err(OpError::shape(format!("{} scales, not {count}", v.len()))),
        }
    }

    /// Zero points `[blocks, N]`, and whether they are codes.
    fn zeros(&self, zeros: Option<View<'_>>) -> Result<(Vec<f64>, bool), OpError> {
        let (count, blocks) = (self.n * self.blocks(), self.blocks());
        match zeros {
            None => Ok((vec![f64::from(1u8 << (self.bits - 1)); count], true)),
            Some(z) if z.dtype() == DType::U8 => {
                let column = (blocks * self.bits).div_ceil(8);
                let packed = exactly(z, self.n * column, "packed zero points")?;
                let at = |i: usize| f64::from(self.code(&packed[i % self.n * column..], i / self.n));
                Ok(((0..count).map(at).collect(), true))
            }
            Some(z) => match widen(z)? {
                v if v.len() == count => Ok((self.turned(&v), false)),
                v => Err(OpError::shape(format!("{} zero points, not {count}", v.len()))),
            },
        }
    }

    /// Weights `[K, N]` as real numbers.
    fn weights(&self, b: View<'_>, rest: [Option<View<'_>>; 3]) -> Result<Vec<f64>, OpError> {
        let [scales, zeros, groups] = rest;
        let (codes, (zeros, _)) = (self.codes(b)?, self.zeros(zeros)?);
        let scales = self.scales(scales.ok_or_else(|| OpError::arity("the scales are missing"))?)?;
        let groups = match groups.and_then(|g| g.to_i64()) {
            Some(g) if g.len() == self.k => g,
            Some(g) => return Err(OpError::shape(format!("g_idx has {} elements, not {}", g.len(), self.k))),
            None => (0..self.k).map(|i| (i / self.block) as i64).collect(),
        };
        if let Some(g) = groups.iter().find(|g| !(0..self.blocks() as i64).contains(*g)) {
            return Err(OpError::value(format!("g_idx has {g}, there are {} blocks", self.blocks())));
        }
        let number = |(i, code): (usize, &u8)| {
            let at = groups[i / self.n] as usize * self.n + i % self.n;
            (f64::from(*code) - zeros[at]) * scales[at]
        };
        Ok(codes.iter().enumerate().map(number).collect())
    }
}

/// The bytes of a tensor that has to have `count` of them.
fn exactly<'v>(x: View<'v>, count: usize, what: &str) -> Result<&'v [u8], OpError> {
    let fits = x.dtype() == DType::U8 && x.len() == count;
    if fits { Ok(x.bytes()) } else { Err(OpError::shape(format!("{what} of {:?}, not {count} bytes", x.shape()))) }
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
    let at = |i: usize| inputs.get(i).copied().flatten();
    let form = Form::new(|name| cx.opt_int(name))?;
    cx.reserve(DType::F64, &[form.k, form.n])?;
    let product = Product::new(a.shape(), &[form.k, form.n], |s| cx.reserve(DType::F64, s))?;
    let mut y = product.run(&widen(a)?, &form.weights(b, [at(2), at(3), at(4)])?);
    if let Some(bias) = at(5) {
        apply(&mut y, &product.shape, (&widen(bias)?, bias.shape()), |a, b| a + b)?;
    }
    Ok(vec![narrow(a.dtype(), &product.shape, y)?])
}

fn decompose(graph: &mut Graph, id: NodeId) -> Result<Vec<Option<ValueId>>, String> {
    let mut r = Rebuild::new(graph, id);
    let form = Form::new(|name| r.node.attrs.int(name)).map_err(|e| e.to_string())?;
    let a = r.operand(0)?;
    let dtype = r.dtype(a);
    let weights = match packed(&r, &form, dtype)? {
        Packed::Codes([codes, scales, zeros]) => {
            let [codes, scales, zeros] =
                [("codes", codes), ("scales", scales), ("zeros", zeros)].map(|(tag, t)| r.constant(tag, t));
            let attrs = [("axis", Attr::Int(0)), ("block_size", Attr::Int(form.block as i64))];
            r.op("DequantizeLinear", &[codes, scales, zeros], &attrs, "weights")?
        }
        Packed::Numbers(weights) => r.constant("weights", weights),
    };
    let mut y = r.op("MatMul", &[a, weights], &[], "product")?;
    if let Some(bias) = r.node.input(5) {
        y = r.op("Add", &[y, bias], &[], "biased")?;
    }
    Ok(vec![Some(y)])
}

/// Constant weights `[K, N]`.
enum Packed {
    /// Codes, scales `[blocks, N]`, zero points.
    Codes([Tensor; 3]),
    /// Real numbers, where zero points are none of the codes or blocks are mixed.
    Numbers(Tensor),
}

fn packed(r: &Rebuild<'_>, form: &Form, dtype: DType) -> Result<Packed, String> {
    let constant = |i: usize| match r.node.input(i) {
        Some(v) => match r.graph.constant(v) {
            Some(t) => Ok(Some(t.view())),
            None => Err(format!("operand {i} is not constant")),
        },
        None => Ok(None),
    };
    let (Some(b), Some(scales)) = (constant(1)?, constant(2)?) else { return Err("weights are missing".into()) };
    let (zeros, groups) = (constant(3)?, constant(4)?);
    let made = || {
        let (points, whole) = form.zeros(zeros)?;
        if !whole || groups.is_some() {
            let weights = form.weights(b, [Some(scales), zeros, groups])?;
            return Ok(Packed::Numbers(narrow(dtype, &[form.k, form.n], weights)?));
        }
        let to = [DType::U2, DType::U4, DType::U8][form.bits.ilog2() as usize - 1];
        let integers = |shape: [usize; 2], v: &mut dyn Iterator<Item = i128>| {
            from_numbers(to, &shape, v.map(Wide::Int), Rounding::default())
        };
        let per_block = [form.blocks(), form.n];
        let codes = integers([form.k, form.n], &mut form.codes(b)?.into_iter().map(i128::from))?;
        let points = integers(per_block, &mut points.into_iter().map(|z| z as i128))?;
        Ok::<_, OpError>(Packed::Codes([codes, narrow(dtype, &per_block, form.scales(scales)?)?, points]))
    };
    made().map_err(|e| e.to_string())
}
