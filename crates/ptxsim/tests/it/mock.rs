//! Plans on the interpreter, through the runtime, as on a device.

use planc_kir::{Kernel, Reference, parse_expr};
use planc_plan::container::{PtxArch, SectionKind, Weights, Writer};
use planc_plan::launch::{DeviceStep, Launch, Param, encode};
use planc_plan::program::{Action, Manifest, Program, Step, Storage, ValueDecl};
use planc_ptxsim::{Delivery, FaultKind, MockDriver};
use planc_runtime::cuda::{Driver, DriverError, ParamValue};
use planc_runtime::{OpenOptions, Plan, ReferenceOps, Refusal, Session, SessionOptions};
use planc_tensor::{DType, Layout, Tensor, View, parse_dim};
use std::sync::Arc;

const ADD: &str = include_str!("kernels/vector_add.ptx");

#[derive(Debug)]
struct NoOps;

impl ReferenceOps for NoOps {
    fn eval(&self, _: &Reference, _: &[Option<View<'_>>], _: usize) -> Result<Vec<Tensor>, Refusal> {
        Err(Refusal::Unsupported("there are no operators here".into()))
    }
}

/// `c = x + weights`, by `entry` of the module, in blocks of 4 threads.
fn plan(text: &str) -> Arc<Plan> {
    let value = |name: &str, storage: Storage| ValueDecl {
        name: name.into(),
        dtype: DType::F32,
        shape: Some(vec![parse_dim("6").unwrap()]),
        layout: Layout::RowMajor,
        storage,
    };
    let program = Program {
        values: vec![
            value("x", Storage::Input),
            value("w", Storage::Weight { offset: 0, len: 24 }),
            value("c", Storage::Arena),
        ],
        inputs: vec![0],
        outputs: vec![2],
        steps: vec![Step {
            name: "c".into(),
            action: Action::Kernel {
                kernel: Kernel::Map(parse_expr("(f32, f32) add(a0, a1)").unwrap().0),
                epilogue: None,
                code: Some(0),
            },
            inputs: vec![Some(0), Some(1)],
            outputs: vec![Some(2)],
        }],
    };
    let dim = |d: &str| parse_dim(d).unwrap();
    let launch = Launch {
        entry: "vector_add".into(),
        grid: [dim("2"), dim("1"), dim("1")],
        block: [4, 1, 1],
        shared: 0,
        params: vec![Param::Input(0), Param::Input(1), Param::Output(0), Param::Size(dim("6"))],
        broadcasts: vec![],
    };
    let mut weights = Weights::new();
    weights.push([1f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let mut w = Writer::new();
    w.add(SectionKind::Manifest, Manifest { name: "test".into(), programs: vec![program], packed: vec![] }.encode())
        .unwrap();
    let steps = [DeviceStep { scratch: vec![], launches: vec![launch] }];
    w.add(SectionKind::Ptx(PtxArch::sm(75)), encode(&steps, text)).unwrap();
    w.add_weights(weights).unwrap();
    Arc::new(Plan::from_bytes(&w.to_bytes().unwrap(), OpenOptions::default()).unwrap())
}

fn run(text: &str, driver: &Arc<MockDriver>) -> Result<Vec<f32>, String> {
    let session = Session::on_device(plan(text), SessionOptions::default(), Arc::new(NoOps), driver.clone());
    let session = session.map_err(|e| e.to_string())?;
    let x = Tensor::vector(vec![10f32, 20.0, 30.0, 40.0, 50.0, 60.0]);
    let outputs = session.run(&[x.view()]).map_err(|e| e.to_string())?;
    Ok(outputs[0].view().to_vec::<f32>().unwrap())
}

#[test]
fn a_plan_runs() {
    let driver = Arc::new(MockDriver::new(80, 1, Delivery::Deferred));
    assert_eq!(run(ADD, &driver).unwrap(), [11.0, 22.0, 33.0, 44.0, 55.0, 66.0]);
    let counts = driver.counts();
    assert_eq!((counts.launches, counts.stats.blocks, counts.uploaded, counts.downloaded), (1, 2, 48, 24));
    assert_eq!((driver.live(), driver.fault()), (0, None), "all memory is given back");
}

#[test]
fn a_fault_is_an_error_of_the_run() {
    let driver = Arc::new(MockDriver::new(80, 1, Delivery::Deferred));
    let error = run(&ADD.replace("mov.u32 %size, %ntid.x", "mov.u32 %size, 1000"), &driver).unwrap_err();
    assert!(error.contains("not") || error.contains("written"), "{error}");
    let driver = Arc::new(MockDriver::new(80, 1, Delivery::Deferred));
    let error =
        run(&ADD.replace("mul.wide.u32 %offset, %i, 4;", "mul.wide.u32 %offset, %i, 4096;"), &driver).unwrap_err();
    assert!(error.contains("out of bounds in vector_add, line 33"), "{error}");
    assert_eq!(driver.fault().unwrap().kind, FaultKind::OutOfBounds);
    assert!(driver.synchronize().is_err(), "the device stays broken");
}

#[test]
fn the_mock_refuses_what_a_device_refuses() {
    let driver = MockDriver::new(75, 0, Delivery::Eager);
    let refused = |r: Result<(), DriverError>, says: &str| {
        let e = r.unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    };
    refused(driver.load("nonsense").map(drop), "nonsense is not known");
    refused(driver.load(include_str!("kernels/hgemm.ptx")).map(drop), "sm_80 does not run on sm_75");
    refused(driver.load(&ADD.replace("sm_75", "sm_70a")).map(drop), "sm_70a does not run on sm_75");
    let module = driver.load(ADD).unwrap();
    refused(driver.function(module, "vector_sub").map(drop), "vector_sub");
    let f = driver.function(module, "vector_add").unwrap();
    let params = [ParamValue::Address(0), ParamValue::Address(0), ParamValue::Address(0), ParamValue::Size(1)];
    refused(driver.launch(f, [1, 1, 1], [512, 1, 1], 0, &params), ".maxntid");
    refused(driver.launch(f, [1, 1, 1], [1, 1, 1], 70_000, &params), "shared memory");
    refused(driver.launch(f, [1, 1, 1], [1, 1, 1], 0, &params[..3]), "arguments");
    refused(driver.upload(64, &[0]), "no allocation");
    let p = driver.alloc(4).unwrap();
    assert_eq!(p % 256, 0);
    refused(driver.download(p, &mut [0; 4]), "nothing has written");
    driver.free(p);
    driver.free(p);
    refused(driver.synchronize(), "is not allocated");
}
