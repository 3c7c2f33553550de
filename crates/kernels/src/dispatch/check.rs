//! What the tests of dispatched kernels share: tensors, and the comparison with the interpreter.

use super::{Cx, Operand, Output, Scratch, run, supports};
use crate::check::{Rng, Threads};
use crate::isa::Isa;
use crate::par::{Parallel, Serial};
use planc_kir::Kernel;
use planc_kir::interp::interpret;
use planc_tensor::{AlignedBuf, Bytes, DType, Element, Layout, Tensor};

/// A tensor of numbers in [-1, 1).
pub(crate) fn floats(rng: &mut Rng, shape: &[usize]) -> Tensor {
    Tensor::new(shape, rng.vec(shape.iter().product())).unwrap()
}

/// A tensor of random bytes, for integer types.
pub(crate) fn random(rng: &mut Rng, dtype: DType, shape: &[usize]) -> Tensor {
    let len = dtype.bytes_for(shape.iter().product()).unwrap();
    let mut buf = AlignedBuf::zeroed(len);
    buf.as_mut_slice().iter_mut().for_each(|b| *b = (rng.bits() >> 24) as u8);
    Tensor::from_bytes(dtype, shape, Bytes::new(buf)).unwrap()
}

/// A tensor of these numbers.
pub(crate) fn i32s(shape: &[usize], elements: &[i32]) -> Tensor {
    Tensor::new(shape, elements.to_vec()).unwrap()
}

/// A tensor of these numbers.
pub(crate) fn i64s(shape: &[usize], elements: &[i64]) -> Tensor {
    Tensor::new(shape, elements.to_vec()).unwrap()
}

/// Runs a kernel on one tier; the results' bytes.
pub(crate) fn run_on(
    isa: Isa,
    par: &dyn Parallel,
    kernel: &Kernel,
    inputs: &[Option<Tensor>],
    results: &[(DType, Vec<usize>)],
) -> Result<Vec<AlignedBuf>, String> {
    let views: Vec<_> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    let operands: Vec<_> = views
        .iter()
        .map(|v| v.map(|v| Operand { dtype: v.dtype(), shape: v.shape(), layout: Layout::RowMajor, bytes: v.bytes() }))
        .collect();
    let mut buffers: Vec<AlignedBuf> = results
        .iter()
        .map(|(dtype, shape)| {
            let mut buf = AlignedBuf::zeroed(dtype.bytes_for(shape.iter().product()).unwrap());
            // What is left unwritten shows.
            buf.as_mut_slice().fill(0xA5);
            buf
        })
        .collect();
    let outputs = buffers.iter_mut().zip(results);
    let mut outputs: Vec<_> = outputs
        .map(|(b, (dtype, shape))| {
            Some(Output { dtype: *dtype, shape, layout: Layout::RowMajor, bytes: b.as_mut_slice() })
        })
        .collect();
    let mut scratch = Scratch::default();
    let mut cx = Cx { isa, par, scratch: &mut scratch, eval: &|d| d.as_const() };
    run(&mut cx, kernel, None, &operands, &mut outputs)?;
    drop(outputs);
    Ok(buffers)
}

/// Asserts that every tier, with one thread and with three, agrees with the interpreter: floats within `tolerance`
/// times their size (at least 1), everything else exactly; and that it accepts the operands' forms.
#[track_caller]
pub(crate) fn agrees(kernel: &Kernel, inputs: &[Option<Tensor>], results: &[(DType, Vec<usize>)], tolerance: f64) {
    let form = |t: &Tensor| (t.dtype(), Layout::RowMajor);
    let ins: Vec<_> = inputs.iter().map(|t| t.as_ref().map(form)).collect();
    let outs: Vec<_> = results.iter().map(|(t, _)| Some((*t, Layout::RowMajor))).collect();
    assert!(supports(kernel, None, &ins, &outs), "{kernel:?} over {ins:?} is declined");
    let views: Vec<_> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    let want = interpret(kernel, &views, results, &|_| None).unwrap();
    let mut tiers = Isa::available();
    tiers.extend(Some(Isa::detect()).filter(|best| !Isa::available().contains(best)));
    for isa in tiers {
        let one = run_on(isa, &Serial, kernel, inputs, results).unwrap();
        let three = run_on(isa, &Threads(3), kernel, inputs, results).unwrap();
        for (i, want) in want.iter().enumerate() {
            let what = format!("{}: result {i} of {kernel:?}", isa.tier());
            assert!(one[i].as_ref() == three[i].as_ref(), "{what} depends on the number of threads");
            if want.dtype() == DType::F32 {
                let got = f32::from_bytes(one[i].as_ref()).unwrap();
                let want: Vec<f64> = want.as_slice::<f32>().unwrap().iter().map(|v| f64::from(*v)).collect();
                crate::check::close(got, &want, tolerance, &what);
            } else {
                assert!(one[i].as_ref() == want.view().bytes(), "{what} differs");
            }
        }
    }
}
