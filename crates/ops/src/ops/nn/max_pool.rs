//! MaxPool: the maximum over each window, and where it is.

use crate::elementwise::elements;
use crate::ops::nn::pool::{Walk, infer, lower};
use crate::{AttrDef, AttrKind, EvalCx, Lowered, OpDef, OpError, Param, TypeSet, operand};
use planc_kir::PoolKind;
use planc_tensor::{DType, Element, Tensor, View, bf16, f16};

/// The row of MaxPool.
pub const OP: OpDef = OpDef {
    name: "MaxPool",
    types: &[("T", TypeSet::FLOAT.or(TypeSet::BYTE)), ("I", TypeSet::I64)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T"), Param::opt("Indices", "I")],
    attrs: &[
        AttrDef::str("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0).since(10),
        AttrDef::optional("dilations", AttrKind::Ints).since(10),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::int("storage_order", 0).since(8),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    infer: |cx| {
        let shape = infer(cx)?;
        cx.set_shape(1, DType::I64, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = operand(inputs, 0)?;
        match x.dtype() {
            DType::F32 => run::<f32>(cx, x, f32::NEG_INFINITY),
            DType::F64 => run::<f64>(cx, x, f64::NEG_INFINITY),
            DType::F16 => run::<f16>(cx, x, f16::NEG_INFINITY),
            DType::BF16 => run::<bf16>(cx, x, bf16::NEG_INFINITY),
            DType::U8 => run::<u8>(cx, x, u8::MIN),
            DType::I8 => run::<i8>(cx, x, i8::MIN),
            t => Err(OpError::type_(format!("does not take {t}"))),
        }
    }),
    lower: |cx| if cx.output(1).is_ok() { Lowered::Reference } else { lower(cx, PoolKind::Max) },
    ..OpDef::NEW
};

fn run<T: Element + PartialOrd>(cx: &EvalCx<'_>, x: View<'_>, lowest: T) -> Result<Vec<Tensor>, OpError> {
    let walk = Walk::new(cx, x.shape())?;
    let total = cx.reserve(DType::I64, &walk.shape)?;
    let data = elements::<T>(x)?;
    let spatial = &x.shape()[2..];
    let plane: usize = spatial.iter().product();
    // With storage_order 1 positions count down columns: the first spatial axis is fastest.
    let column_major = cx.flag("storage_order");
    let mut out = Vec::with_capacity(total);
    let mut indices = Vec::with_capacity(total);
    for p in 0..x.shape()[0] * x.shape()[1] {
        walk.windows(|_, inside| {
            let (mut best, mut at) = (lowest, None);
            walk.elements(inside, |i| {
                let v = data[p * plane + i];
                // A NaN is not comparable; it wins and stays.
                #[allow(clippy::eq_op)]
                let (is_nan, had_nan) = (v != v, best != best);
                if at.is_none() || v > best || (is_nan && !had_nan) {
                    (best, at) = (v, Some(i));
                }
            });
            out.push(best);
            let at = at.map_or(0, |i| if column_major { transposed(i, spatial) } else { i });
            indices.push((p * plane + at) as i64);
        });
    }
    let mut results = vec![Tensor::new(walk.shape.as_slice(), out)?];
    results.push(Tensor::new(walk.shape.as_slice(), indices)?);
    Ok(results)
}

/// The position of row-major offset `i` when the first axis is fastest.
fn transposed(mut i: usize, spatial: &[usize]) -> usize {
    let mut position = 0;
    for (axis, d) in spatial.iter().enumerate().rev() {
        let stride: usize = spatial[..axis].iter().product();
        position += i % d * stride;
        i /= d;
    }
    position
}
