//! Plans on a device that exists only here: what is launched on what, and what is copied when.

use crate::plans::*;
use planc_kir::Kernel;
use planc_plan::container::{PtxArch, SectionKind, Weights, Writer};
use planc_plan::launch::{DeviceStep, Launch, Param, encode};
use planc_plan::program::{Action, Manifest, Program, Storage};
use planc_runtime::cuda::{DeviceInfo, Driver, DriverError, FunctionId, ModuleId, ParamValue};
use planc_runtime::{OpenOptions, Plan, Session, SessionError, SessionOptions};
use planc_tensor::{DType, Tensor, parse_dim};
use std::sync::{Arc, Mutex};

/// A device with 64 KiB of memory and one kernel per name: `add1(x, y, n)`, `double(x, y, n)`.
#[derive(Debug)]
struct Toy {
    info: DeviceInfo,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: Vec<u8>,
    next: u64,
    live: Vec<u64>,
    log: Vec<String>,
}

impl Toy {
    fn new(capability: u32) -> Arc<Toy> {
        let info = DeviceInfo { name: "toy".into(), capability, memory: 1 << 16 };
        Arc::new(Toy { info, state: Mutex::new(State { memory: vec![0xee; 1 << 16], ..State::default() }) })
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

impl Driver for Toy {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: usize) -> Result<u64, DriverError> {
        let mut s = self.state.lock().unwrap();
        let at = s.next;
        s.next += bytes.next_multiple_of(256) as u64;
        s.live.push(at);
        Ok(at)
    }

    fn free(&self, address: u64) {
        let mut s = self.state.lock().unwrap();
        let at = s.live.iter().position(|a| *a == address).expect("it was given out");
        s.live.remove(at);
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), DriverError> {
        let mut s = self.state.lock().unwrap();
        s.memory[to as usize..to as usize + from.len()].copy_from_slice(from);
        s.log.push(format!("up {}", from.len()));
        Ok(())
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), DriverError> {
        let mut s = self.state.lock().unwrap();
        to.copy_from_slice(&s.memory[from as usize..from as usize + to.len()]);
        s.log.push(format!("down {}", to.len()));
        Ok(())
    }

    fn load(&self, ptx: &str) -> Result<ModuleId, DriverError> {
        assert_eq!(ptx, "text");
        Ok(ModuleId(7))
    }

    fn function(&self, module: ModuleId, name: &str) -> Result<FunctionId, DriverError> {
        assert_eq!(module, ModuleId(7));
        match name {
            "add1" => Ok(FunctionId(0)),
            "double" => Ok(FunctionId(1)),
            _ => Err(DriverError::Call { call: "function", message: format!("no {name}") }),
        }
    }

    fn launch(
        &self,
        function: FunctionId,
        grid: [u32; 3],
        _: [u32; 3],
        _: u32,
        params: &[ParamValue],
    ) -> Result<(), DriverError> {
        let [ParamValue::Address(x), ParamValue::Address(y), ParamValue::Size(n)] = params else {
            panic!("{params:?}")
        };
        assert_eq!(grid, [*n, 1, 1]);
        let mut s = self.state.lock().unwrap();
        for i in 0..*n as usize {
            let at = |a: u64| a as usize + 4 * i..a as usize + 4 * i + 4;
            let v = f32::from_le_bytes(s.memory[at(*x)].try_into().unwrap());
            let v = if function == FunctionId(0) { v + 1.0 } else { v * 2.0 };
            s.memory[at(*y)].copy_from_slice(&v.to_le_bytes());
        }
        s.log.push(["add1", "double"][function.0 as usize].into());
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

fn entry(name: &str, n: &str) -> DeviceStep {
    let (n, one) = (parse_dim(n).unwrap(), parse_dim("1").unwrap());
    let params = vec![Param::Input(0), Param::Output(0), Param::Size(n.clone())];
    let grid = [n, one.clone(), one];
    DeviceStep {
        scratch: vec![],
        launches: vec![Launch { entry: name.into(), grid, block: [1; 3], shared: 0, params, broadcasts: vec![] }],
    }
}

fn launched(code: u32) -> Action {
    let Action::Kernel { kernel, epilogue, .. } = map("(f32) neg(a0)") else { unreachable!() };
    Action::Kernel { kernel, epilogue, code: Some(code) }
}

fn plan(programs: Vec<Program>, steps: &[DeviceStep]) -> Arc<Plan> {
    let mut weights = Weights::new();
    weights.push([1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let manifest = Manifest { name: "test".into(), programs, packed: vec![] };
    let mut w = Writer::new();
    w.add(SectionKind::Manifest, manifest.encode()).unwrap();
    w.add(SectionKind::Ptx(PtxArch::sm(80)), encode(steps, "text")).unwrap();
    w.add_weights(weights).unwrap();
    Arc::new(Plan::from_bytes(&w.to_bytes().unwrap(), OpenOptions::default()).unwrap())
}

fn session(plan: Arc<Plan>, driver: &Arc<Toy>) -> Result<Session, SessionError> {
    Session::on_device(plan, SessionOptions::default(), Arc::new(TestOps), driver.clone())
}

/// x -> add1 -> double -> (host) negative -> reshaped -> add1.
fn mixed() -> Program {
    Program {
        values: vec![
            value("x", DType::F32, "N", Storage::Input),
            value("a", DType::F32, "N", Storage::Arena),
            value("b", DType::F32, "N", Storage::Arena),
            value("c", DType::F32, "N", Storage::Arena),
            value("d", DType::F32, "1,N", Storage::Alias(3)),
            value("e", DType::F32, "1,N", Storage::Arena),
        ],
        inputs: vec![0],
        outputs: vec![5, 2],
        steps: vec![
            step("a", launched(0), &[0], &[1]),
            step("b", launched(1), &[1], &[2]),
            step("c", map("(f32) neg(a0)"), &[2], &[3]),
            step("d", kernel(Kernel::Reshape), &[3], &[4]),
            step("e", launched(0), &[4], &[5]),
        ],
    }
}

#[test]
fn values_are_copied_where_the_other_side_needs_them() {
    let toy = Toy::new(90);
    let s = session(plan(vec![mixed()], &[entry("add1", "N"), entry("double", "N")]), &toy).unwrap();
    assert_eq!(toy.log(), ["up 12"], "the weights");
    for n in [3usize, 5, 3] {
        let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let outputs = s.run(&[Tensor::vector(x.clone()).view()]).unwrap();
        let b: Vec<f32> = x.iter().map(|v| (v + 1.0) * 2.0).collect();
        assert_eq!(floats(&outputs[1]), b);
        assert_eq!(floats(&outputs[0]), b.iter().map(|v| 1.0 - v).collect::<Vec<f32>>());
        assert_eq!(outputs[0].shape(), [1, n]);
        let (up, down) = (format!("up {}", 4 * n), format!("down {}", 4 * n));
        assert_eq!(toy.log(), [&up, "add1", "double", &down, &up, "add1", &down], "b is on the host already");
    }
    let empty = s.run(&[Tensor::vector(Vec::<f32>::new()).view()]).unwrap();
    assert!(empty[0].is_empty() && toy.log().is_empty(), "an empty grid launches nothing");
    drop(s);
    assert!(toy.state.lock().unwrap().live.is_empty(), "all memory is given back");
}

#[test]
fn weights_and_values_of_unknown_extents_have_memory_too() {
    let program = Program {
        values: vec![
            value("x", DType::F32, "N", Storage::Input),
            value("w", DType::F32, "3", Storage::Weight { offset: 0, len: 12 }),
            value("some", DType::F32, "K", Storage::Pool),
            value("y", DType::F32, "K", Storage::Pool),
            value("z", DType::F32, "3", Storage::Arena),
        ],
        inputs: vec![0],
        outputs: vec![3, 4],
        steps: vec![
            step("some", reference("positive", &[DType::F32]), &[0], &[2]),
            step("y", launched(0), &[2], &[3]),
            step("z", launched(1), &[1], &[4]),
        ],
    };
    let toy = Toy::new(80);
    let s = session(plan(vec![program], &[entry("add1", "K"), entry("double", "3")]), &toy).unwrap();
    let outputs = s.run(&[Tensor::vector(vec![-1f32, 4.0, 0.0, 6.0]).view()]).unwrap();
    assert_eq!(floats(&outputs[0]), [5.0, 7.0]);
    assert_eq!(floats(&outputs[1]), [2.0, 4.0, 6.0]);
}

#[test]
fn what_does_not_broadcast_is_not_launched() {
    let program = Program {
        values: vec![value("x", DType::F32, "N", Storage::Input), value("y", DType::F32, "N", Storage::Arena)],
        inputs: vec![0],
        outputs: vec![1],
        steps: vec![step("y", launched(0), &[0], &[1])],
    };
    let mut double = entry("double", "N");
    double.launches[0].broadcasts = vec![(parse_dim("min(4, N)").unwrap(), parse_dim("N").unwrap())];
    let toy = Toy::new(80);
    let s = session(plan(vec![program], &[double]), &toy).unwrap();
    for n in [1, 4] {
        assert_eq!(floats(&s.run(&[Tensor::vector(vec![2f32; n]).view()]).unwrap()[0]), vec![4f32; n]);
    }
    toy.log();
    let error = s.run(&[Tensor::vector(vec![1f32; 5]).view()]).unwrap_err().to_string();
    assert!(error.contains("an extent of 4 (min(4, N)) does not broadcast to 5 (N)"), "{error}");
    assert_eq!(toy.log(), ["up 20"], "nothing is launched");
}

#[test]
fn observers_see_what_the_device_computed() {
    let toy = Toy::new(80);
    let s = session(plan(vec![mixed()], &[entry("add1", "N"), entry("double", "N")]), &toy).unwrap();
    let seen = Mutex::new(vec![]);
    let x = Tensor::vector(vec![1f32, 2.0]);
    s.run_observed(&[x.view()], &|decl, _, bytes| {
        let values = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        seen.lock().unwrap().push((decl.name.clone(), values.collect::<Vec<f32>>()));
    })
    .unwrap();
    let seen = seen.into_inner().unwrap();
    let want = [("a", [2.0, 3.0]), ("b", [4.0, 6.0]), ("c", [-4.0, -6.0]), ("d", [-4.0, -6.0]), ("e", [-3.0, -5.0])];
    assert_eq!(seen, want.map(|(n, v)| (n.to_string(), v.to_vec())));
}

#[test]
fn a_device_that_does_not_fit_is_refused() {
    let plan = || plan(vec![mixed()], &[entry("add1", "N"), entry("double", "N")]);
    let error = session(plan(), &Toy::new(75)).map(drop).unwrap_err().to_string();
    assert_eq!(error, "toy is sm_75, the plan has code for sm_80");
    let error = session(self::plan(vec![mixed()], &[entry("add1", "N"), entry("triple", "N")]), &Toy::new(80));
    assert_eq!(error.map(drop).unwrap_err().to_string(), "function failed: no triple");
}
