//! Whole plans for devices, on an interpreter of PTX in the place of the driver.

use crate::{planc, root};
use planc_ptxsim::{Delivery, MockDriver};
use planc_runtime::cuda::LibCuda;
use planc_runtime::{NoReference, OpenOptions, Plan, Session, SessionOptions};
use planc_tensor::{Bytes, DType, Tensor, View};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// `input_0.pb, ...` or `output_0.pb, ...` of a folder.
fn tensors(folder: &Path, stem: &str) -> Vec<Tensor> {
    let read = |k: usize| std::fs::read(folder.join(format!("{stem}_{k}.pb"))).ok();
    let tensor = |b: Vec<u8>| planc_onnx::data::read_tensor(&Bytes::new(b)).expect("test data is a tensor");
    (0..).map_while(read).map(tensor).collect()
}

/// The plan of a model, compiled with further flags.
fn compiled(model: &str, flags: &[&str], folder: &Path) -> PathBuf {
    let plan = folder.join(format!("{}.plan", flags.concat().replace(':', "_")));
    let onnx = root().join("testdata").join(model).join("model.onnx");
    let files = ["compile".as_ref(), onnx.as_os_str(), "-o".as_ref(), plan.as_os_str()];
    planc(files.into_iter().chain(flags.iter().map(AsRef::as_ref))).ok();
    plan
}

const DEVICE: &[&str] = &["--target", "cuda:sm_80", "--no-fallback"];

fn opened(plan: &Path) -> Arc<Plan> {
    Arc::new(Plan::open(plan, OpenOptions::default()).unwrap())
}

/// A session on an interpreter, and the interpreter.
fn on_device(plan: Arc<Plan>, seed: u64, delivery: Delivery) -> (Session, Arc<MockDriver>) {
    let driver = Arc::new(MockDriver::new(80, seed, delivery));
    let session = Session::on_device(plan, SessionOptions::default(), Arc::new(NoReference), driver.clone());
    (session.unwrap(), driver)
}

/// The largest difference, of the largest magnitude in `want`.
fn error(have: &[f32], want: &[f32]) -> f32 {
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    have.iter().zip(want).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest.max(f32::MIN_POSITIVE)
}

/// Compiles the model for a device without fallbacks and runs it on its test data.
fn check(model: &str, data: &str) {
    let out = tempfile::tempdir().unwrap();
    let plan = opened(&compiled(model, DEVICE, out.path()));
    let folder = root().join("testdata").join(model).join(data);
    let (inputs, want) = (tensors(&folder, "input"), tensors(&folder, "output"));
    for (seed, delivery) in [(1, Delivery::Deferred), (2, Delivery::Eager)] {
        let (session, driver) = on_device(plan.clone(), seed, delivery);
        let views: Vec<View<'_>> = inputs.iter().map(Tensor::view).collect();
        let have = session.run(&views).unwrap_or_else(|e| panic!("{model}: {e}: {:?}", driver.fault()));
        for (have, want) in have.iter().zip(&want) {
            let error = error(have.as_slice::<f32>().unwrap(), want.as_slice::<f32>().unwrap());
            assert_eq!(have.shape(), want.shape(), "{model}");
            assert!(error <= 1e-5, "{model}: {error}");
        }
        assert_eq!(have.len(), want.len(), "{model}");
        drop(session);
        assert_eq!(driver.live(), 0, "{model}: all memory is given back");
    }
}

/// The results of all steps in f32, by name.
fn layers(session: &Session, inputs: &[View<'_>]) -> BTreeMap<String, Vec<f32>> {
    let seen = Mutex::new(BTreeMap::new());
    session
        .run_observed(inputs, &|decl, _, bytes| {
            if decl.dtype == DType::F32 {
                let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                seen.lock().unwrap().insert(decl.name.clone(), values);
            }
        })
        .unwrap();
    seen.into_inner().unwrap()
}

#[test]
fn layers_on_a_device_are_compared() {
    let out = tempfile::tempdir().unwrap();
    let device = compiled("models/convnet", DEVICE, out.path());
    // Row-major, as values on devices are.
    let host = compiled("models/convnet", &["--disable-pass", "assign-layout"], out.path());
    let inputs = tensors(&root().join("testdata/models/convnet/test_data_set_0"), "input");
    let views: Vec<View<'_>> = inputs.iter().map(Tensor::view).collect();
    let host = Session::new(opened(&host), SessionOptions::default(), Arc::new(NoReference)).unwrap();
    let want = layers(&host, &views);
    let have = layers(&on_device(opened(&device), 3, Delivery::Deferred).0, &views);
    let common: Vec<(&String, f32)> = have.iter().filter_map(|(n, v)| Some((n, error(v, want.get(n)?)))).collect();
    assert!(common.len() > 3, "{:?} and {:?}", have.keys(), want.keys());
    assert!(common.iter().all(|(_, error)| *error < 1e-5), "{common:?}");

    // The command does the same where there is a device, and says what is missing where there is none.
    let (model, data) = (crate::model("convnet"), out.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(root().join("testdata/models/convnet/test_data_set_0/input_0.pb"), data.join("0.pb")).unwrap();
    let args = ["accuracy".as_ref(), model.as_os_str(), device.as_os_str(), "--data".as_ref(), data.as_os_str()];
    let ran = planc(args);
    match LibCuda::open() {
        Ok(_) => assert_eq!(ran.code, 0, "{}", ran.stderr),
        Err(e) => assert!(ran.code == 5 && ran.stderr.contains(&e.to_string()), "{}: {}", ran.code, ran.stderr),
    }
}

#[test]
fn a_trained_network_for_digits() {
    check("real/mnist-cntk", "test_data_set_0");
}

#[test]
fn a_transformer_of_two_layers() {
    check("models/transformer", "test_data_set_0");
}

#[test]
fn all_that_does_not_run_on_the_device_is_refused_together() {
    let out = tempfile::tempdir().unwrap();
    let (model, plan) = (crate::model("lstm"), out.path().join("lstm.plan"));
    let files = ["compile".as_ref(), model.as_os_str(), "-o".as_ref(), plan.as_os_str()];
    let ran = planc(files.into_iter().chain(DEVICE.iter().map(AsRef::as_ref)));
    for node in ["node \"lstm/y\" (LSTM, opset 17)", "node \"gru/y\" (GRU, opset 17)"] {
        assert!(ran.stderr.contains(&format!("{node}: does not run on the device: ")), "{}", ran.stderr);
    }
    assert!(ran.code != 0 && !plan.exists());
    // What follows from extents alone is no fallback: there is a Shape beside these.
    let model = crate::model("opset9");
    let files = ["compile".as_ref(), model.as_os_str(), "-o".as_ref(), plan.as_os_str()];
    let ran = planc(files.into_iter().chain(DEVICE.iter().map(AsRef::as_ref)));
    let lines: Vec<&str> = ran.stderr.lines().filter(|l| l.contains("does not run on the device")).collect();
    let told = |op: &str| lines.iter().any(|l| l.contains(op));
    assert!(told("(OneHot, opset ") && told("(NonZero, opset ") && !told("(Shape, "), "{}", ran.stderr);
}

#[test]
fn convolutions_with_epilogues() {
    check("models/convnet", "test_data_set_0");
    check("models/convnet", "test_data_set_1");
}
