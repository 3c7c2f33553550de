//! A kernel over operands: generated, run wherever kernels run here, and compared with the interpreter of kernel IR.

use crate::numbers::{Rng, numbers, tensor};
use planc_cuda::kernels::{Generated, Request, Value, generate};
use planc_cuda::ptx::{self, Op, Stmt};
use planc_kir::{Expr, Kernel, interp};
use planc_plan::container::PtxArch;
use planc_plan::launch::{Launch, Param};
use planc_ptxsim::{Delivery, MockDriver};
use planc_runtime::cuda::{Driver, DriverError, LibCuda, ParamValue};
use planc_tensor::{DType, Dim, Tensor, View};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What kernels are generated for.
pub const ARCH: PtxArch = PtxArch::sm(80);

/// Interpreters that run threads in an order of their own each; copies arrive late or at once by turns.
fn interpreters(seeds: Range<u64>) -> Vec<Arc<dyn Driver>> {
    let delivery = |seed: u64| if seed.is_multiple_of(2) { Delivery::Deferred } else { Delivery::Eager };
    seeds.map(|seed| Arc::new(MockDriver::new(ARCH.number(), seed, delivery(seed))) as Arc<dyn Driver>).collect()
}

/// The device of this machine, if it runs what is generated here.
fn device() -> Result<Arc<dyn Driver>, DriverError> {
    static DEVICE: OnceLock<Result<Arc<dyn Driver>, DriverError>> = OnceLock::new();
    let open = || {
        let device = LibCuda::open()?;
        let (name, capability) = (device.info().name.clone(), device.info().capability);
        if capability < ARCH.number() {
            return Err(DriverError::Architecture { device: name, capability, offered: ARCH.to_string() });
        }
        Ok(Arc::new(device) as Arc<dyn Driver>)
    };
    DEVICE.get_or_init(open).clone()
}

/// Where cases run.
fn drivers(seeds: Range<u64>) -> Vec<Arc<dyn Driver>> {
    interpreters(seeds).into_iter().chain(device().ok()).collect()
}

#[test]
fn where_kernels_run() {
    match device() {
        Ok(d) => println!("kernels run in the interpreter and on {} (sm_{})", d.info().name, d.info().capability),
        Err(e) => println!("kernels run in the interpreter alone: {e}"),
    }
    assert!(drivers(0..2).len() >= 2);
}

/// Memory of a device, given back when dropped.
struct Memory<'d> {
    driver: &'d dyn Driver,
    address: u64,
}

impl<'d> Memory<'d> {
    fn new(driver: &'d dyn Driver, bytes: usize) -> Result<Memory<'d>, DriverError> {
        Ok(Memory { driver, address: driver.alloc(bytes.max(1))? })
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        self.driver.free(self.address);
    }
}

/// Values of symbols.
pub type Bind<'a> = &'a dyn Fn(&str) -> Option<i64>;

/// A kernel with the types and extents of its operands and its result.
#[derive(Debug)]
struct Problem<'a> {
    kernel: &'a Kernel,
    epilogue: Option<&'a Expr>,
    inputs: Vec<Option<Value>>,
    output: Value,
}

impl Problem<'_> {
    fn generate(&self) -> Result<Generated, String> {
        let outputs = [Some(self.output.clone())];
        let (kernel, epilogue, inputs) = (self.kernel, self.epilogue, &self.inputs);
        generate(&Request { kernel, epilogue, inputs, outputs: &outputs, arch: ARCH })
    }

    fn result(&self, bind: Bind<'_>) -> (DType, Vec<usize>) {
        let extents = self.output.shape.iter().map(|d| d.eval(bind).expect("its symbols have values") as usize);
        (self.output.dtype, extents.collect())
    }

    /// What the interpreter of kernel IR says.
    fn want(&self, operands: &[Option<Tensor>], bind: Bind<'_>) -> Tensor {
        let sides = self.epilogue.map_or(0, |e| e.args().len() - 1);
        let (own, sides) = operands.split_at(operands.len() - sides);
        let (t, shape) = self.result(bind);
        let of = |k: &Kernel, inputs: &[Option<Tensor>], t| {
            let views: Vec<Option<View<'_>>> = inputs.iter().map(|v| v.as_ref().map(Tensor::view)).collect();
            let results = interp::interpret(k, &views, &[(t, shape.clone())], bind);
            results.expect("the kernel is interpreted").remove(0)
        };
        let Some(e) = self.epilogue else { return of(self.kernel, own, t) };
        let result = of(self.kernel, own, e.args()[0]);
        of(&Kernel::Map(e.clone()), &[&[Some(result)], sides].concat(), t)
    }

    /// What the generated kernels give on a device.
    fn got(
        &self,
        made: &Generated,
        driver: &dyn Driver,
        operands: &[Option<Tensor>],
        bind: Bind<'_>,
    ) -> Result<Tensor, String> {
        let named = |(i, (k, _)): (usize, &(ptx::Kernel, Launch))| ptx::Kernel { name: format!("k{i}"), ..k.clone() };
        let kernels = made.launches.iter().enumerate().map(named).collect();
        let text = ptx::Module { arch: ARCH, kernels }.text().map_err(|e| e.to_string())?;
        let at = |d: &Dim| d.eval(bind).unwrap_or_else(|| panic!("{d} has no value"));
        for (own, extent) in made.launches.iter().flat_map(|(_, l)| &l.broadcasts) {
            if at(own) != 1 && at(own) != at(extent) {
                return Err(format!("{own} does not broadcast to {extent}"));
            }
        }
        let run = || -> Result<Tensor, DriverError> {
            let module = driver.load(&text)?;
            let word = |d: &Dim| u32::try_from(at(d)).unwrap_or_else(|_| panic!("{d} = {} is no size", at(d)));
            let mut inputs = vec![];
            for operand in operands {
                let bytes = operand.as_ref().map_or(vec![], |t| t.view().bytes().to_vec());
                let memory = Memory::new(driver, bytes.len())?;
                if !bytes.is_empty() {
                    driver.upload(memory.address, &bytes)?;
                }
                inputs.push(memory);
            }
            let (t, shape) = self.result(bind);
            let mut bytes = vec![0; t.bytes_for(shape.iter().product()).expect("whole bytes")];
            let output = Memory::new(driver, bytes.len())?;
            let scratch = made.scratch.iter().map(|d| Memory::new(driver, at(d) as usize));
            let scratch = scratch.collect::<Result<Vec<_>, _>>()?;
            for (i, (_, launch)) in made.launches.iter().enumerate() {
                let grid = launch.grid.each_ref().map(word);
                if grid.contains(&0) {
                    continue;
                }
                let param = |p: &Param| match p {
                    Param::Input(n) => ParamValue::Address(inputs[*n as usize].address),
                    Param::Output(_) => ParamValue::Address(output.address),
                    Param::Scratch(n) => ParamValue::Address(scratch[*n as usize].address),
                    Param::Size(d) => ParamValue::Size(word(d)),
                };
                let params: Vec<ParamValue> = launch.params.iter().map(param).collect();
                let function = driver.function(module, &format!("k{i}"))?;
                driver.launch(function, grid, launch.block, launch.shared, &params)?;
            }
            if !bytes.is_empty() {
                driver.download(output.address, &mut bytes)?;
            }
            driver.synchronize()?;
            Ok(View::new(t, &shape, &bytes).expect("the elements fit").to_tensor())
        };
        run().map_err(|e| format!("on {}: {e}\n{}", driver.info().name, numbered(&text)))
    }

    /// Runs `made` on a device and says how close it came with `judge`, which gets what is wanted and what came.
    fn judge(
        &self,
        made: &Generated,
        driver: &dyn Driver,
        operands: &[Option<Tensor>],
        bind: Bind<'_>,
        judge: impl Fn(&[f64], &[f64]) -> Result<f64, String>,
    ) -> Result<(), String> {
        let (want, got) = (self.want(operands, bind), self.got(made, driver, operands, bind)?);
        let share = judge(&numbers(&want), &numbers(&got)).map_err(|e| format!("on {}: {e}", driver.info().name))?;
        println!("{} on {}: {share:.1e}", made.launches[0].0.name, driver.info().name);
        Ok(())
    }
}

/// The largest difference, as a share of what `allowed` says for an element; NaN is equal to itself.
///
/// # Errors
/// When it is above 1.
fn worst(want: &[f64], got: &[f64], allowed: impl Fn(f64) -> f64) -> Result<f64, String> {
    let mut worst = 0f64;
    for (i, (w, g)) in want.iter().zip(got).enumerate() {
        if w == g || w.is_nan() && g.is_nan() {
            continue;
        }
        let share = (w - g).abs() / allowed(*w);
        if share.is_nan() || share > 1.0 {
            return Err(format!("element {i} is {g}, not {w}"));
        }
        worst = worst.max(share);
    }
    Ok(worst)
}

/// Text with the numbers of its lines.
fn numbered(text: &str) -> String {
    text.lines().enumerate().map(|(i, l)| format!("{:4} {l}\n", i + 1)).collect()
}

/// A kernel over operands of given extents, filled with made-up numbers.
#[derive(Clone, Debug)]
pub struct Case {
    pub kernel: Kernel,
    pub epilogue: Option<Expr>,
    pub inputs: Vec<(DType, Vec<Dim>)>,
    pub output: (DType, Vec<Dim>),
    /// Values of symbols.
    pub symbols: Vec<(&'static str, i64)>,
}

/// Constant extents.
pub fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|d| Dim::from(*d)).collect()
}

impl Case {
    /// A case of one element type with constant extents.
    pub fn new(kernel: Kernel, t: DType, inputs: &[&[usize]], output: &[usize]) -> Case {
        let inputs = inputs.iter().map(|s| (t, dims(s))).collect();
        Case { kernel, epilogue: None, inputs, output: (t, dims(output)), symbols: vec![] }
    }

    fn bind(&self, name: &str) -> Option<i64> {
        self.symbols.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    fn problem(&self) -> Problem<'_> {
        let value = |(dtype, shape): &(DType, Vec<Dim>)| Value { dtype: *dtype, shape: shape.clone() };
        let inputs = self.inputs.iter().map(|v| Some(value(v))).collect();
        Problem { kernel: &self.kernel, epilogue: self.epilogue.as_ref(), inputs, output: value(&self.output) }
    }

    /// The kernels and launches.
    pub fn generate(&self) -> Result<Generated, String> {
        self.problem().generate()
    }

    /// Operands with elements between -1 and 1.
    fn operands(&self, seed: u64) -> Vec<Option<Tensor>> {
        let mut rng = Rng::new(seed + 1);
        let mut one = |(t, shape): &(DType, Vec<Dim>)| {
            let extent = |d: &Dim| d.eval(&|n| self.bind(n)).expect("its symbols have values") as usize;
            let shape: Vec<usize> = shape.iter().map(extent).collect();
            Some(tensor(*t, &shape, std::iter::repeat_with(|| rng.fraction())))
        };
        self.inputs.iter().map(&mut one).collect()
    }

    /// Generates, runs everywhere, and compares.
    #[track_caller]
    pub fn check(&self) {
        let made = self.generate().unwrap_or_else(|e| panic!("{self:?}: {e}"));
        if let Err(e) = self.agrees(&made, &drivers(0..2)) {
            panic!("{self:?}: {e}");
        }
    }

    /// Whether `made` computes on these what the kernel IR says.
    fn agrees(&self, made: &Generated, drivers: &[Arc<dyn Driver>]) -> Result<(), String> {
        let (absolute, relative) = match self.output.0 {
            DType::F16 => (1e-4, 1.0 / 1024.0),
            DType::BF16 => (1e-3, 1.0 / 128.0),
            _ => (2e-5, 2e-5),
        };
        let judge = |w: &[f64], g: &[f64]| worst(w, g, |w| absolute + relative * w.abs());
        let bind = |n: &str| self.bind(n);
        drivers
            .iter()
            .zip(0..)
            .try_for_each(|(driver, seed)| self.problem().judge(made, &**driver, &self.operands(seed), &bind, judge))
    }

    /// Takes each instruction away that `which` says, one at a time, and expects interpreters to see it.
    #[track_caller]
    pub fn needs_every(&self, which: impl Fn(&Op) -> bool) {
        let made = self.generate().unwrap_or_else(|e| panic!("{self:?}: {e}"));
        for n in 0.. {
            let mut mutant = made.clone();
            let mut left = n;
            if !mutant.launches.iter_mut().any(|(k, _)| remove(&mut k.body, &which, &mut left)) {
                assert!(n > 0, "there is nothing to take away");
                return;
            }
            assert!(self.agrees(&mutant, &interpreters(0..4)).is_err(), "{self:?} does not need number {n}");
        }
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

/// A kernel over given operands, with constant extents and with symbols.
#[derive(Clone, Copy)]
pub struct Check<'k> {
    pub kernel: &'k Kernel,
    pub epilogue: Option<&'k Expr>,
    /// Relative error, of the largest element or 1.
    pub tolerance: f64,
    /// Make all extents symbols too.
    pub symbolic: bool,
}

impl<'k> Check<'k> {
    pub fn new(kernel: &'k Kernel, tolerance: f64) -> Check<'k> {
        Check { kernel, epilogue: None, tolerance, symbolic: true }
    }

    /// Runs the kernel everywhere; compares the result of type and shape `out`.
    #[track_caller]
    pub fn run(self, inputs: &[Option<Tensor>], out: (DType, &[usize])) {
        let tolerance = self.tolerance;
        self.judge(inputs, out, |w, g| worst(w, g, |w| tolerance * w.abs().max(1.0)));
    }

    /// As [`Check::run`], where `judge` says how close the result (second) came to what is wanted.
    #[track_caller]
    pub fn judge(
        self,
        inputs: &[Option<Tensor>],
        (t, shape): (DType, &[usize]),
        judge: impl Fn(&[f64], &[f64]) -> Result<f64, String>,
    ) {
        for symbolic in [false, true] {
            if symbolic && !self.symbolic {
                continue;
            }
            // Equal extents get equal symbols; extents of 1 stay, so that operands are repeated as before.
            let dim = |d: &usize| if symbolic && *d != 1 { Dim::sym(&format!("D{d}")) } else { Dim::from(*d) };
            let value = |t: DType, shape: &[usize]| Value { dtype: t, shape: shape.iter().map(dim).collect() };
            let of = |v: &Option<Tensor>| v.as_ref().map(|v| value(v.dtype(), v.shape()));
            let (kernel, epilogue, output) = (self.kernel, self.epilogue, value(t, shape));
            let problem = Problem { kernel, epilogue, inputs: inputs.iter().map(of).collect(), output };
            let made = problem.generate().unwrap_or_else(|e| panic!("{:?} is declined: {e}", self.kernel));
            let bind = |s: &str| s.strip_prefix('D').and_then(|n| n.parse::<i64>().ok());
            for driver in drivers(0..1) {
                let result = problem.judge(&made, &*driver, inputs, &bind, &judge);
                result.unwrap_or_else(|e| panic!("{:?}, symbolic {symbolic}: {e}", self.kernel));
            }
        }
    }
}
