//! Runs a kernel through dispatch on every tier and compares with the interpreter.

use planc_kernels::dispatch::{self, Cx, Form, Operand, Output, Scratch};
use planc_kernels::isa::Isa;
use planc_kernels::par::{Parallel, Serial};
use planc_kir::{Expr, Kernel, interp};
use planc_tensor::{AlignedBuf, Bytes, DType, Layout, Tensor, View};

/// Three real threads per fork, to meet other cuts than the serial run's.
pub struct Threads;

impl Parallel for Threads {
    fn threads(&self) -> usize {
        3
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|s| {
            for t in 0..3 {
                s.spawn(move || (t..tasks).step_by(3).for_each(f));
            }
        });
    }
}

/// Normal-looking numbers from a seed (xorshift64*, Vigna 2016).
pub fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 24) as f32
    };
    let data = (0..shape.iter().product()).map(|_| 4.0 * (next() + next() - next() - next())).collect::<Vec<f32>>();
    Tensor::new(shape, data).unwrap()
}

/// A tensor as an operand stores it; weights in fewer bits have another type there.
pub struct Stored {
    pub tensor: Tensor,
    pub layout: Layout,
    dtype: DType,
    bytes: AlignedBuf,
}

impl Stored {
    pub fn rows(tensor: Tensor) -> Stored {
        let mut bytes = AlignedBuf::zeroed(tensor.byte_len());
        bytes.as_mut_slice().copy_from_slice(tensor.view().bytes());
        Stored { dtype: tensor.dtype(), tensor, layout: Layout::RowMajor, bytes }
    }

    pub fn packed(tensor: Tensor, layout: Layout, elements: &[f32]) -> Stored {
        let mut bytes = AlignedBuf::zeroed(elements.len() * 4);
        bytes.as_mut_slice().copy_from_slice(bytemuck::cast_slice(elements));
        assert_eq!(layout.stored_elements(tensor.shape()), Some(elements.len()), "{layout} of {:?}", tensor.shape());
        Stored { dtype: tensor.dtype(), tensor, layout, bytes }
    }

    /// Numbers that are stored as `words` of another type.
    pub fn narrow(tensor: Tensor, dtype: DType, layout: Layout, words: &[u32]) -> Stored {
        let mut bytes = AlignedBuf::zeroed(words.len() * 4);
        bytes.as_mut_slice().copy_from_slice(bytemuck::cast_slice(words));
        assert_eq!(
            layout.stored_bytes(dtype, tensor.shape()),
            Some(words.len() * 4),
            "{layout} of {:?}",
            tensor.shape()
        );
        Stored { tensor, layout, dtype, bytes }
    }

    /// Channel blocks; what lies past the channels is given a value that must not reach any result.
    pub fn blocks(tensor: Tensor) -> Stored {
        let [n, c, spatial @ ..] = tensor.shape() else { panic!("no channels") };
        let (n, c, pixels) = (*n, *c, spatial.iter().product::<usize>());
        let x = tensor.as_slice::<f32>().unwrap();
        let mut elements = vec![77.0; n * c.div_ceil(16) * 16 * pixels];
        for (at, v) in elements.iter_mut().enumerate() {
            let (lane, pixel, block) = (at % 16, at / 16 % pixels, at / 16 / pixels);
            let (image, channel) = (block / c.div_ceil(16), block % c.div_ceil(16) * 16 + lane);
            if channel < c {
                *v = x[(image * c + channel) * pixels + pixel];
            }
        }
        let tensor = tensor.clone();
        Stored::packed(tensor, Layout::Nchw16c, &elements)
    }

    fn operand(&self) -> Operand<'_> {
        Operand { dtype: self.dtype, shape: self.tensor.shape(), layout: self.layout, bytes: self.bytes.as_ref() }
    }
}

fn from_blocks(shape: &[usize], elements: &[f32]) -> Tensor {
    let (n, c, pixels) = (shape[0], shape[1], shape[2..].iter().product::<usize>());
    let blocks = c.div_ceil(16);
    let at = |i: usize| {
        let (pixel, channel, image) = (i % pixels, i / pixels % c, i / pixels / c);
        elements[((image * blocks + channel / 16) * pixels + pixel) * 16 + channel % 16]
    };
    Tensor::new(shape, (0..n * c * pixels).map(at).collect::<Vec<f32>>()).unwrap()
}

/// What dispatch gives on one tier.
pub fn dispatched(
    isa: Isa,
    par: &dyn Parallel,
    kernel: &Kernel,
    epilogue: Option<&Expr>,
    inputs: &[Option<Stored>],
    result: (DType, &[usize], Layout),
) -> Result<Tensor, String> {
    let forms: Vec<Option<Form>> = inputs.iter().map(|i| i.as_ref().map(|i| (i.dtype, i.layout))).collect();
    let (dtype, shape, layout) = result;
    assert!(
        dispatch::supports(kernel, epilogue, &forms, &[Some((dtype, layout))]),
        "{} is not supported",
        kernel.name()
    );
    let mut bytes = AlignedBuf::zeroed(layout.stored_bytes(dtype, shape).unwrap());
    // What a kernel does not write must not pass for a result.
    bytes.as_mut_slice().fill(0xFF);
    let operands: Vec<Option<Operand<'_>>> = inputs.iter().map(|i| i.as_ref().map(Stored::operand)).collect();
    let mut scratch = Scratch::default();
    let mut cx = Cx { isa, par, scratch: &mut scratch, eval: &|d| d.as_const() };
    let out = Output { dtype, shape, layout, bytes: bytes.as_mut_slice() };
    dispatch::run(&mut cx, kernel, epilogue, &operands, &mut [Some(out)])?;
    Ok(match layout {
        Layout::RowMajor => Tensor::from_bytes(dtype, shape, Bytes::new(bytes)).unwrap(),
        _ => from_blocks(shape, bytemuck::cast_slice(bytes.as_ref())),
    })
}

/// Holds every tier, serial and threaded, to the interpreter within `tolerance` of the largest magnitude.
pub fn agrees(
    kernel: &Kernel,
    epilogue: Option<&Expr>,
    inputs: &[Option<Stored>],
    result: (DType, &[usize], Layout),
    tolerance: f64,
) {
    let (dtype, shape, _) = result;
    let sides = epilogue.map_or(0, |e| e.args().len() - 1);
    let own = inputs.len() - sides;
    let views: Vec<Option<View<'_>>> = inputs.iter().map(|i| i.as_ref().map(|i| i.tensor.view())).collect();
    let mut want = interp::interpret(kernel, &views[..own], &[(dtype, shape.to_vec())], &|_| None).unwrap();
    if let Some(e) = epilogue {
        let first = want[0].clone();
        let views: Vec<_> = std::iter::once(Some(first.view())).chain(views[own..].iter().copied()).collect();
        want = interp::interpret(&Kernel::Map(e.clone()), &views, &[(dtype, shape.to_vec())], &|_| None).unwrap();
    }
    for isa in Isa::available() {
        let serial = dispatched(isa, &Serial, kernel, epilogue, inputs, result);
        let serial = serial.unwrap_or_else(|e| panic!("{} on {}: {e}", kernel.name(), isa.tier()));
        let what = format!("{} on {} to {shape:?}", kernel.name(), isa.tier());
        close(&serial, &want[0], tolerance, &what);
        let threaded = dispatched(isa, &Threads, kernel, epilogue, inputs, result).unwrap();
        assert!(serial == threaded, "{what}: threads change the result");
    }
}

fn close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) {
    if got.dtype() != DType::F32 {
        assert!(got == want, "{what}: {got:?} is not {want:?}");
        return;
    }
    let (got, want) = (got.as_slice::<f32>().unwrap(), want.as_slice::<f32>().unwrap());
    let scale = want.iter().filter(|v| v.is_finite()).fold(1e-3f64, |m, v| m.max(f64::from(v.abs())));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g == w || g.is_nan() && w.is_nan() || f64::from((g - w).abs()) <= tolerance * scale;
        assert!(same, "{what}: element {i} is {g}, not {w}");
    }
}
