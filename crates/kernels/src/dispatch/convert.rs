//! `Map` of programs that only convert between f32 and 16-bit floats.

use super::{Cx, Operand, Output};
use crate::convert::{ConvertTo, convert};
use planc_kir::{Expr, Inst};
use planc_tensor::{DType, Element, bf16, broadcast_strides, element_count, f16};

/// What a program converts from and to, if it is such a program.
fn types(e: &Expr) -> Option<(DType, DType)> {
    match (e.args(), e.insts()) {
        ([from], [Inst::Arg(0), Inst::Cast(to, 0)]) => Some((*from, *to)),
        _ => None,
    }
}

/// Whether a program is one of these conversions.
pub(super) fn supports(e: &Expr) -> bool {
    use DType::{BF16, F16, F32};
    matches!(types(e), Some((F16 | BF16, F32) | (F32, F16 | BF16)))
}

/// `out = x`, converted and broadcast.
pub(super) fn run(cx: &Cx<'_>, expr: &Expr, x: Operand<'_>, out: &mut Output<'_>) -> Result<(), String> {
    match types(expr) {
        Some((DType::F16, DType::F32)) => run_as::<f16, f32>(cx, x, out),
        Some((DType::BF16, DType::F32)) => run_as::<bf16, f32>(cx, x, out),
        Some((DType::F32, DType::F16)) => run_as::<f32, f16>(cx, x, out),
        Some((DType::F32, DType::BF16)) => run_as::<f32, bf16>(cx, x, out),
        _ => Err("no conversion of 16-bit floats".into()),
    }
}

fn run_as<X: ConvertTo<Y>, Y: Element + bytemuck::Pod>(
    cx: &Cx<'_>,
    x: Operand<'_>,
    out: &mut Output<'_>,
) -> Result<(), String> {
    let shape = out.shape;
    let y: Option<&mut [Y]> = bytemuck::try_cast_slice_mut(out.bytes).ok().filter(|_| out.dtype == Y::DTYPE);
    let y = y.ok_or_else(|| format!("result of {} where {} is needed", out.dtype, Y::DTYPE))?;
    let from = x.elements::<X>()?;
    let lead = shape.len().checked_sub(x.shape.len());
    let fits = lead.is_some_and(|l| x.shape.iter().zip(&shape[l..]).all(|(a, b)| a == b || *a == 1));
    if !fits || element_count(x.shape) != Some(from.len()) || element_count(shape) != Some(y.len()) {
        return Err(format!("{:?} does not broadcast to {shape:?}", x.shape));
    }
    if from.len() == y.len() {
        convert(cx.isa, cx.par, from, y);
        return Ok(());
    }
    let strides = broadcast_strides(x.shape, shape);
    let inner = shape.last().copied().unwrap_or(1).max(1);
    let step = strides.last().copied().unwrap_or(0);
    for (i, row) in y.chunks_exact_mut(inner).enumerate() {
        let (mut rest, mut at) = (i, 0);
        for axis in (0..shape.len().saturating_sub(1)).rev() {
            at += rest % shape[axis] * strides[axis];
            rest /= shape[axis];
        }
        row.iter_mut().enumerate().for_each(|(j, y)| *y = from[at + j * step].convert());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Through the dispatcher, broadcast and not.

    use crate::dispatch::{Cx, Operand, Output, Scratch, run, supports};
    use crate::isa::Isa;
    use crate::par::Serial;
    use planc_kir::{ExprBuilder, Kernel};
    use planc_tensor::{DType, Element, Layout, f16};

    #[test]
    fn casts_run() {
        let mut b = ExprBuilder::new(&[DType::F16]);
        let x = b.arg(0);
        let y = b.cast(DType::F32, x);
        let kernel = Kernel::Map(b.finish(y));
        let form = |t| [Some((t, Layout::RowMajor))];
        assert!(supports(&kernel, None, &form(DType::F16), &form(DType::F32)));
        let x: Vec<f16> = (1..=6u8).map(|v| f16::from_f32(v.into())).collect();
        for (from, to, want) in [
            (vec![2, 3], vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            (vec![2, 1], vec![2, 2, 2], vec![1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]),
            (vec![1, 2], vec![3, 2], vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
            (vec![], vec![2], vec![1.0, 1.0]),
        ] {
            let mut y = vec![0f32; want.len()];
            let bytes = f16::to_bytes(&x[..from.iter().product()]);
            let x = Operand { dtype: DType::F16, shape: &from, layout: Layout::RowMajor, bytes };
            let bytes = bytemuck::cast_slice_mut(&mut y);
            let out = Output { dtype: DType::F32, shape: &to, layout: Layout::RowMajor, bytes };
            let mut scratch = Scratch::default();
            let mut cx = Cx { isa: Isa::detect(), par: &Serial, scratch: &mut scratch, eval: &|_| None };
            run(&mut cx, &kernel, None, &[Some(x)], &mut [Some(out)]).unwrap();
            assert_eq!(y, want, "{from:?} to {to:?}");
            let x = Operand { shape: &[5], ..x };
            let bytes = bytemuck::cast_slice_mut(&mut y);
            let out = Output { dtype: DType::F32, shape: &to, layout: Layout::RowMajor, bytes };
            assert!(run(&mut cx, &kernel, None, &[Some(x)], &mut [Some(out)]).is_err());
        }
    }
}
