//! Runs generated kernels in the interpreter of PTX against the interpreter of kernel IR.

use super::{Generated, Request, Value, generate};
use crate::ptx::{self, Op, Stmt};
use planc_kir::{Expr, Kernel, interp};
use planc_plan::container::PtxArch;
use planc_plan::launch::{Launch, Param};
use planc_ptxsim as sim;
use planc_tensor::{DType, Dim, Tensor, View, bf16, f16};

/// A kernel over operands of given extents.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) kernel: Kernel,
    pub(super) epilogue: Option<Expr>,
    pub(super) inputs: Vec<(DType, Vec<Dim>)>,
    pub(super) output: (DType, Vec<Dim>),
    /// Values of symbols.
    pub(super) symbols: Vec<(&'static str, i64)>,
}

/// Constant extents.
pub(super) fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|d| Dim::from(*d)).collect()
}

impl Case {
    /// A case of one element type with constant extents.
    pub(super) fn new(kernel: Kernel, t: DType, inputs: &[&[usize]], output: &[usize]) -> Case {
        let inputs = inputs.iter().map(|s| (t, dims(s))).collect();
        Case { kernel, epilogue: None, inputs, output: (t, dims(output)), symbols: vec![] }
    }

    fn bind(&self, name: &str) -> Option<i64> {
        self.symbols.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    fn eval(&self, d: &Dim) -> i64 {
        d.eval(&|n| self.bind(n)).unwrap()
    }

    fn shape(&self, shape: &[Dim]) -> Vec<usize> {
        shape.iter().map(|d| self.eval(d) as usize).collect()
    }

    /// The kernels and launches.
    pub(super) fn generate(&self) -> Result<Generated, String> {
        let value = |(t, s): &(DType, Vec<Dim>)| Some(Value { dtype: *t, shape: s.clone() });
        let inputs: Vec<Option<Value>> = self.inputs.iter().map(value).collect();
        let outputs = [value(&self.output)];
        let (kernel, epilogue) = (&self.kernel, self.epilogue.as_ref());
        generate(&Request { kernel, epilogue, inputs: &inputs, outputs: &outputs, arch: PtxArch::sm(80) })
    }

    /// Operands with elements between -1 and 1, each type's own.
    fn operands(&self, seed: u64) -> Vec<Tensor> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u32 << 23) as f32) - 1.0
        };
        let one = |(t, shape): &(DType, Vec<Dim>)| {
            let shape = self.shape(shape);
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
            match t {
                DType::F32 => Tensor::new(shape, values),
                DType::F16 => Tensor::new(shape, values.into_iter().map(f16::from_f32).collect()),
                DType::BF16 => Tensor::new(shape, values.into_iter().map(bf16::from_f32).collect()),
                DType::Bool => Tensor::new(shape, values.into_iter().map(|v| v > 0.0).collect()),
                t => panic!("no operands of {t}"),
            }
            .unwrap()
        };
        self.inputs.iter().map(one).collect()
    }

    /// What the kernel IR says.
    fn expected(&self, operands: &[Tensor]) -> Vec<f64> {
        let sides = self.epilogue.as_ref().map_or(0, |e| e.args().len() - 1);
        let views: Vec<Option<View<'_>>> = operands.iter().map(|t| Some(t.view())).collect();
        let (own, sides) = views.split_at(views.len() - sides);
        let out = self.shape(&self.output.1);
        let before = self.epilogue.as_ref().map_or(self.output.0, |e| e.args()[0]);
        let bind = |n: &str| self.bind(n);
        let mut result = interp::interpret(&self.kernel, own, &[(before, out.clone())], &bind).unwrap().remove(0);
        if let Some(e) = &self.epilogue {
            let map = Kernel::Map(e.clone());
            let args: Vec<Option<View<'_>>> = [Some(result.view())].into_iter().chain(sides.iter().copied()).collect();
            let mapped = interp::interpret(&map, &args, &[(self.output.0, out)], &bind).unwrap().remove(0);
            result = mapped;
        }
        floats(self.output.0, result.view().bytes())
    }

    /// Generates, runs and compares, with several orders of threads.
    #[track_caller]
    pub(super) fn check(&self) {
        let generated = self.generate().unwrap_or_else(|e| panic!("{self:?}: {e}"));
        if let Err(e) = self.agrees(&generated, 0..2) {
            panic!("{self:?}: {e}");
        }
    }

    /// Whether `generated` computes what the kernel IR says, with orders of threads by these seeds, copies arriving late
    /// or at once by turns.
    pub(super) fn agrees(&self, generated: &Generated, seeds: std::ops::Range<u64>) -> Result<(), String> {
        let kernels = generated.launches.iter().enumerate().map(|(i, (k, _))| {
            let mut k = k.clone();
            k.name = format!("k{i}");
            k
        });
        let module = ptx::Module { arch: PtxArch::sm(80), kernels: kernels.collect() };
        let text = module.text().map_err(|e| e.to_string())?;
        let module = sim::Module::parse(&text).map_err(|e| e.to_string())?;
        for seed in seeds {
            let operands = self.operands(seed);
            let expected = self.expected(&operands);
            let delivery = if seed % 2 == 0 { sim::Delivery::Deferred } else { sim::Delivery::Eager };
            let options = sim::Options { seed, delivery, ..sim::Options::default() };
            let got = self.run(&module, generated, &operands, options)?;
            let (absolute, relative) = match self.output.0 {
                DType::F16 => (1e-4, 1.0 / 1024.0),
                DType::BF16 => (1e-3, 1.0 / 128.0),
                _ => (2e-5, 2e-5),
            };
            for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
                if (g - e).abs().partial_cmp(&(absolute + relative * e.abs())) != Some(std::cmp::Ordering::Less) {
                    return Err(format!("element {i} is {g}, not {e}"));
                }
            }
        }
        Ok(())
    }

    /// Takes each instruction away that `which` says, one at a time, and expects to see a difference or a fault.
    #[track_caller]
    pub(super) fn needs_every(&self, which: impl Fn(&Op) -> bool) {
        let generated = self.generate().unwrap_or_else(|e| panic!("{self:?}: {e}"));
        for n in 0.. {
            let mut mutant = generated.clone();
            let mut left = n;
            if !mutant.launches.iter_mut().any(|(k, _)| remove(&mut k.body, &which, &mut left)) {
                assert!(n > 0, "there is nothing to take away");
                return;
            }
            assert!(self.agrees(&mutant, 0..4).is_err(), "{self:?} does not need number {n}");
        }
    }

    fn run(
        &self,
        module: &sim::Module,
        g: &Generated,
        operands: &[Tensor],
        options: sim::Options,
    ) -> Result<Vec<f64>, String> {
        let mut device = sim::Device::new(options);
        let inputs: Vec<u64> = operands.iter().map(|t| device.upload(t.view().bytes()).unwrap()).collect();
        let bytes = self.shape(&self.output.1).iter().product::<usize>() * self.output.0.size().unwrap();
        let output = device.alloc(bytes).unwrap();
        let scratch: Vec<u64> = g.scratch.iter().map(|d| device.alloc(self.eval(d) as usize).unwrap()).collect();
        for (i, (_, Launch { grid, block, shared, params, .. })) in g.launches.iter().enumerate() {
            let grid: Vec<u32> = grid.iter().map(|d| u32::try_from(self.eval(d)).unwrap()).collect();
            if grid.contains(&0) {
                continue;
            }
            let params: Vec<sim::Param> = params
                .iter()
                .map(|p| match p {
                    Param::Input(n) => sim::Param::U64(inputs[*n as usize]),
                    Param::Output(_) => sim::Param::U64(output),
                    Param::Scratch(n) => sim::Param::U64(scratch[*n as usize]),
                    Param::Size(d) => sim::Param::U32(u32::try_from(self.eval(d)).unwrap()),
                })
                .collect();
            let grid = [grid[0], grid[1], grid[2]];
            let ran = device.launch(module, &format!("k{i}"), grid, *block, *shared as usize, &params);
            ran.map_err(|e| e.to_string())?;
        }
        Ok(floats(self.output.0, &device.read(output, bytes).map_err(|e| e.to_string())?))
    }
}

/// Takes away the instruction with number `left` of those that `which` says.
fn remove(body: &mut Vec<Stmt>, which: &impl Fn(&Op) -> bool, left: &mut usize) -> bool {
    for i in 0..body.len() {
        let found = match &mut body[i] {
            Stmt::Inst(inst) if which(&inst.op) => {
                if *left == 0 {
                    body.remove(i);
                    return true;
                }
                *left -= 1;
                false
            }
            Stmt::If { then, other, .. } => remove(then, which, left) || remove(other, which, left),
            Stmt::Loop(inner) => remove(inner, which, left),
            _ => false,
        };
        if found {
            return true;
        }
    }
    false
}

fn floats(t: DType, bytes: &[u8]) -> Vec<f64> {
    match t {
        DType::F32 => bytes.chunks(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
        DType::F16 => bytes.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        DType::BF16 => bytes.chunks(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        t => panic!("no results of {t}"),
    }
}
