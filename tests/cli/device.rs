//! Whole plans for devices, on an interpreter of PTX in the place of the driver.

use crate::{planc, root};
use planc_ptxsim::{Delivery, MockDriver};
use planc_runtime::{NoReference, OpenOptions, Plan, Session, SessionOptions};
use planc_tensor::{Bytes, Tensor, View};
use std::path::Path;
use std::sync::Arc;

/// `input_0.pb, ...` or `output_0.pb, ...` of a folder.
fn tensors(folder: &Path, stem: &str) -> Vec<Tensor> {
    let read = |k: usize| std::fs::read(folder.join(format!("{stem}_{k}.pb"))).ok();
    let tensor = |b: Vec<u8>| planc_onnx::data::read_tensor(&Bytes::new(b)).expect("test data is a tensor");
    (0..).map_while(read).map(tensor).collect()
}

/// Compiles the model for a device without fallbacks and runs it on its test data.
fn check(model: &str, data: &str) {
    let folder = root().join("testdata").join(model);
    let out = tempfile::tempdir().unwrap();
    let plan = out.path().join("model.plan");
    let (onnx, target) = (folder.join("model.onnx"), "cuda:sm_80");
    planc(["compile".as_ref(), onnx.as_os_str(), "-o".as_ref(), plan.as_os_str()].into_iter().chain([
        "--target".as_ref(),
        target.as_ref(),
        "--no-fallback".as_ref(),
    ]))
    .ok();
    let plan = Arc::new(Plan::open(&plan, OpenOptions::default()).unwrap());
    let (inputs, want) = (tensors(&folder.join(data), "input"), tensors(&folder.join(data), "output"));
    for (seed, delivery) in [(1, Delivery::Deferred), (2, Delivery::Eager)] {
        let driver = Arc::new(MockDriver::new(80, seed, delivery));
        let options = SessionOptions::default();
        let session = Session::on_device(plan.clone(), options, Arc::new(NoReference), driver.clone()).unwrap();
        let views: Vec<View<'_>> = inputs.iter().map(Tensor::view).collect();
        let have = session.run(&views).unwrap_or_else(|e| panic!("{model}: {e}: {:?}", driver.fault()));
        for (have, want) in have.iter().zip(&want) {
            let (a, b) = (have.as_slice::<f32>().unwrap(), want.as_slice::<f32>().unwrap());
            assert_eq!(have.shape(), want.shape(), "{model}");
            let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
            let error = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error <= 1e-5 * largest, "{model}: {error} of {largest}");
        }
        assert_eq!(have.len(), want.len(), "{model}");
        drop(session);
        assert_eq!(driver.live(), 0, "{model}: all memory is given back");
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
fn convolutions_with_epilogues() {
    check("models/convnet", "test_data_set_0");
    check("models/convnet", "test_data_set_1");
}
