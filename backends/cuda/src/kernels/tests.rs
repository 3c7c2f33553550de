//! Kernels, run by the interpreter of PTX, against the interpreter of kernel IR.

mod compute;
mod rows;
mod windows;

use super::*;
use crate::ptx::Module;
use planc_plan::launch::Param;
use planc_ptxsim as sim;
use planc_tensor::{DType, Tensor, bf16, f16};

const ARCH: PtxArch = PtxArch::sm(80);

/// Pseudorandom numbers (Marsaglia, "Xorshift RNGs", 2003).
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between -2 and 2, in steps that all float types hold.
    pub(super) fn number(&mut self) -> f64 {
        ((self.bits() >> 40) % 257) as f64 / 64.0 - 2.0
    }
}

/// A tensor of numbers.
pub(super) fn tensor(t: DType, shape: &[usize], values: impl Iterator<Item = f64>) -> Tensor {
    let n: usize = shape.iter().product();
    let v: Vec<f64> = values.take(n).collect();
    macro_rules! of {
        ($f:expr) => {
            Tensor::new(shape, v.iter().map($f).collect::<Vec<_>>())
        };
    }
    let made = match t {
        DType::F32 => of!(|v| *v as f32),
        DType::F64 => of!(|v| *v),
        DType::F16 => of!(|v| f16::from_f64(*v)),
        DType::BF16 => of!(|v| bf16::from_f64(*v)),
        DType::I8 => of!(|v| *v as i64 as i8),
        DType::U8 => of!(|v| *v as i64 as u8),
        DType::I16 => of!(|v| *v as i64 as i16),
        DType::U16 => of!(|v| *v as i64 as u16),
        DType::I32 => of!(|v| *v as i64 as i32),
        DType::U32 => of!(|v| *v as i64 as u32),
        DType::I64 => of!(|v| *v as i64),
        DType::U64 => of!(|v| *v as i64 as u64),
        DType::Bool => of!(|v| *v > 0.0),
        t => panic!("no numbers of {t}"),
    };
    made.expect("the elements fit")
}

/// A tensor of pseudorandom numbers; integers are spread over more values.
pub(super) fn random(t: DType, shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let scale = if t.is_int() { 30.0 } else { 1.0 };
    tensor(t, shape, std::iter::repeat_with(move || rng.number() * scale))
}

/// The elements as numbers.
pub(super) fn numbers(t: &Tensor) -> Vec<f64> {
    macro_rules! of {
        ($t:ty, $f:expr) => {
            t.view().to_vec::<$t>().map(|v| v.into_iter().map($f).collect())
        };
    }
    let all: Option<Vec<f64>> = match t.dtype() {
        DType::F32 => of!(f32, f64::from),
        DType::F64 => of!(f64, |v| v),
        DType::F16 => of!(f16, f64::from),
        DType::BF16 => of!(bf16, f64::from),
        DType::I8 => of!(i8, f64::from),
        DType::U8 => of!(u8, f64::from),
        DType::I16 => of!(i16, f64::from),
        DType::U16 => of!(u16, f64::from),
        DType::I32 => of!(i32, f64::from),
        DType::U32 => of!(u32, f64::from),
        DType::I64 => of!(i64, |v| v as f64),
        DType::U64 => of!(u64, |v| v as f64),
        DType::Bool => of!(bool, |v| f64::from(u8::from(v))),
        t => panic!("no numbers of {t}"),
    };
    all.expect("the type is as said")
}

/// What is compared.
#[derive(Clone, Copy)]
pub(super) struct Check<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) epilogue: Option<&'k Expr>,
    /// Relative error, of the largest element or 1.
    pub(super) tolerance: f64,
    /// Make all extents symbols too.
    pub(super) symbolic: bool,
}

impl<'k> Check<'k> {
    pub(super) fn new(kernel: &'k Kernel, tolerance: f64) -> Check<'k> {
        Check { kernel, epilogue: None, tolerance, symbolic: true }
    }

    /// Runs the kernel with constant extents and with symbols; compares the result of type and shape `out`.
    #[track_caller]
    pub(super) fn run(self, inputs: &[Option<Tensor>], out: (DType, &[usize])) {
        let want = self.want(inputs, out);
        for symbolic in [false, true] {
            if symbolic && !self.symbolic {
                continue;
            }
            let got = self.got(inputs, out, symbolic);
            self.compare(&numbers(&want), &numbers(&got), symbolic);
        }
    }

    #[track_caller]
    fn compare(self, want: &[f64], got: &[f64], symbolic: bool) {
        for (i, (w, g)) in want.iter().zip(got).enumerate() {
            let same = w == g || w.is_nan() && g.is_nan();
            let close = (w - g).abs() <= self.tolerance * w.abs().max(1.0);
            assert!(same || close, "{:?}, symbolic {symbolic}: element {i} is {g}, not {w}", self.kernel);
        }
    }

    /// What the interpreter of kernel IR says.
    fn want(self, inputs: &[Option<Tensor>], (t, shape): (DType, &[usize])) -> Tensor {
        let sides = self.epilogue.map_or(0, |e| e.args().len() - 1);
        let own = inputs.len() - sides;
        let first = self.epilogue.map_or(t, |e| e.args()[0]);
        let bind = |_: &str| None;
        let of = |k: &Kernel, inputs: &[Option<Tensor>], t| {
            let views: Vec<_> = inputs.iter().map(|v| v.as_ref().map(Tensor::view)).collect();
            let outputs = [(t, shape.to_vec())];
            planc_kir::interp::interpret(k, &views, &outputs, &bind).expect("the kernel is interpreted").remove(0)
        };
        let result = of(self.kernel, &inputs[..own], first);
        let Some(e) = self.epilogue else { return result };
        let mut all = vec![Some(result)];
        all.extend_from_slice(&inputs[own..]);
        of(&Kernel::Map(e.clone()), &all, t)
    }

    /// What the generated kernel gives.
    #[track_caller]
    fn got(self, inputs: &[Option<Tensor>], (t, shape): (DType, &[usize]), symbolic: bool) -> Tensor {
        // Equal extents get equal symbols; extents of 1 stay, because broadcasting has to be known.
        let dim = |d: &usize| if symbolic && *d != 1 { Dim::sym(&format!("D{d}")) } else { Dim::from(*d) };
        let value = |t: DType, shape: &[usize]| Value { dtype: t, shape: shape.iter().map(dim).collect() };
        let values: Vec<Option<Value>> =
            inputs.iter().map(|v| v.as_ref().map(|v| value(v.dtype(), v.shape()))).collect();
        let outputs = [Some(value(t, shape))];
        let request =
            Request { kernel: self.kernel, epilogue: self.epilogue, inputs: &values, outputs: &outputs, arch: ARCH };
        let made = generate(&request).unwrap_or_else(|e| panic!("{:?} is declined: {e}", self.kernel));
        let bind = |s: &str| s.strip_prefix('D').and_then(|n| n.parse::<i64>().ok());
        let at = |d: &Dim| d.eval(&bind).unwrap_or_else(|| panic!("{d} has no value"));
        let mut device = sim::Device::new(sim::Options::default());
        let addresses: Vec<u64> = inputs
            .iter()
            .map(|v| v.as_ref().map_or(0, |v| device.upload(v.view().bytes()).expect("there is memory")))
            .collect();
        let bytes = t.bytes_for(shape.iter().product()).expect("whole bytes");
        let out = device.alloc(bytes).expect("there is memory");
        let scratch: Vec<u64> =
            made.scratch.iter().map(|d| device.alloc(at(d) as usize).expect("there is memory")).collect();
        for (kernel, launch) in made.launches {
            let module = Module { arch: ARCH, kernels: vec![kernel.clone()] };
            let text = module.text().unwrap_or_else(|e| panic!("{e}"));
            let parsed = sim::Module::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let params: Vec<sim::Param> = launch
                .params
                .iter()
                .map(|p| match p {
                    Param::Input(n) => sim::Param::U64(addresses[*n as usize]),
                    Param::Output(_) => sim::Param::U64(out),
                    Param::Scratch(n) => sim::Param::U64(scratch[*n as usize]),
                    Param::Size(d) => sim::Param::U32(u32::try_from(at(d)).expect("a size")),
                })
                .collect();
            let grid = launch.grid.each_ref().map(|d| u32::try_from(at(d)).expect("a grid"));
            if grid.contains(&0) {
                continue;
            }
            let run = device.launch(&parsed, &kernel.name, grid, launch.block, launch.shared as usize, &params);
            run.unwrap_or_else(|f| panic!("{f}\n{}", numbered(&text)));
        }
        let bytes = device.read(out, bytes).expect("every element is written");
        let view = planc_tensor::View::new(t, shape, &bytes).expect("the elements fit");
        view.to_tensor()
    }
}

/// Text with the numbers of its lines.
fn numbered(text: &str) -> String {
    text.lines().enumerate().map(|(i, l)| format!("{:4} {l}\n", i + 1)).collect()
}
