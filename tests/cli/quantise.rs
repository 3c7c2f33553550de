//! From samples to a plan in 8 bits: calibrating, compiling, measuring; and weights in fewer bits.

use crate::{model, planc_at, root};
use std::fs;
use std::path::Path;

/// Writes `samples` made-up inputs of `shape` beside each other as an array in numpy's format.
fn array(path: &Path, samples: usize, shape: &[usize]) {
    let all: Vec<String> = std::iter::once(samples).chain(shape.iter().copied()).map(|d| d.to_string()).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", all.join(", "));
    // Magic, version, length and header fill a multiple of 64 bytes.
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    let n = samples * shape.iter().product::<usize>();
    let mut state = 1u32;
    for _ in 0..n {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend(((state >> 8) as f32 / (1 << 23) as f32 - 1.0).to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

/// A folder with the model `convnet`, samples for it, and a calibration.
fn calibrated() -> (tempfile::TempDir, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::copy(model("convnet"), at.join("m.onnx")).unwrap();
    fs::copy(model("mlp"), at.join("other.onnx")).unwrap();
    fs::create_dir(at.join("data")).unwrap();
    let inputs = planc_at("inspect {}/m.onnx --json", at).json();
    let shape = inputs["inputs"][0]["shape"].as_array().unwrap();
    let shape: Vec<usize> = shape.iter().map(|d| d.as_str().unwrap().parse().unwrap_or(1)).collect();
    array(&at.join("data/x.npy"), 8, &shape);
    let report = planc_at("calibrate {}/m.onnx --data {}/data -o {}/m.calib --json", at).json();
    (folder, report)
}

#[test]
fn calibrations_say_what_they_are_of() {
    let (folder, report) = calibrated();
    let at = folder.path();
    assert_eq!((&report["samples"], &report["method"]), (&8.into(), &"minmax".into()));
    let text = fs::read_to_string(at.join("m.calib")).unwrap();
    assert_eq!(text.lines().filter(|l| l.starts_with("range ")).count() as u64, report["ranges"].as_u64().unwrap());
    assert!(text.starts_with("planc-calibration 1\nmodel "), "{text}");
    // Neither the number of threads nor another run changes a byte.
    planc_at("calibrate {}/m.onnx --data {}/data -o {}/again.calib --threads 3", at).ok();
    assert_eq!(fs::read_to_string(at.join("again.calib")).unwrap(), text);
    let percentile = "calibrate {}/m.onnx --data {}/data -o {}/p.calib --calib-method percentile:99 --samples 3 --json";
    let report = planc_at(percentile, at).json();
    assert_eq!((&report["samples"], &report["method"]), (&3.into(), &"percentile:99".into()));
    assert_ne!(fs::read_to_string(at.join("p.calib")).unwrap(), text);
}

#[test]
fn plans_in_8_bits_are_close_to_their_models() {
    let (folder, _) = calibrated();
    let at = folder.path();
    planc_at("compile {}/m.onnx --precision int8 --calib {}/m.calib -o {}/m.plan", at).ok();
    planc_at("compile --onnx={}/m.onnx --int8 --calib={}/m.calib --saveEngine={}/alias.plan", at).ok();
    planc_at("compile {}/m.onnx --precision int8 --calib {}/data -o {}/folder.plan", at).ok();
    let plan = fs::read(at.join("m.plan")).unwrap();
    assert!(fs::read(at.join("alias.plan")).unwrap() == plan && fs::read(at.join("folder.plan")).unwrap() == plan);
    let decisions = planc_at("explain {}/m.plan --json", at).json();
    let chosen =
        |choice: &str| decisions["decisions"].as_array().unwrap().iter().filter(|d| d["choice"] == choice).count();
    assert!(chosen("8 bits") > 0, "{decisions}");
    let report = planc_at("accuracy {}/m.onnx {}/m.plan --data {}/data --json", at).json();
    for measured in report["outputs"].as_array().unwrap().iter().chain(report["layers"].as_array().unwrap()) {
        assert!(measured["sqnr_db"].as_f64().is_none_or(|db| db > 15.0), "{measured}");
        assert!(measured["cosine"].as_f64().unwrap() > 0.98, "{measured}");
    }
    assert!(!report["layers"].as_array().unwrap().is_empty());
    // A budget that nothing meets.
    assert_eq!(planc_at("accuracy {}/m.onnx {}/m.plan --data {}/data --max-error sqnr_db=500", at).code, 1);
    assert_eq!(planc_at("accuracy {}/m.onnx {}/m.plan --data {}/data --max-error max_abs=1e9", at).code, 0);
    // Kept in f32, all of it.
    planc_at("compile {}/m.onnx --precision int8 --calib {}/m.calib --keep-f32 * -o {}/kept.plan", at).ok();
    let kept = planc_at("accuracy {}/m.onnx {}/kept.plan --data {}/data --max-error max_abs=1e-6", at);
    assert_eq!(kept.code, 0, "{}", kept.stdout);
}

#[test]
fn weights_in_fewer_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::copy(model("transformer"), at.join("m.onnx")).unwrap();
    let data = root().join("testdata/models/transformer/test_data_set_0");
    let size = |report: &serde_json::Value| report["weights_bytes"].as_u64().unwrap();
    let f32s = planc_at("compile {}/m.onnx -o {}/f32.plan --json", at).json();
    assert!(f32s.get("weights").is_none());
    let mut before = size(&f32s);
    // What the outputs, which are of magnitude 4, may be off by, and what the weights are.
    for (form, atol, worst) in [("f16", 4e-3, 1e-3), ("int8", 8e-2, 1e-2), ("int4", 1.0, 0.15)] {
        let report = planc_at(&format!("compile {{}}/m.onnx --weights {form} -o {{}}/{form}.plan --json"), at).json();
        assert!(size(&report) < before, "{form}: {} bytes after {before}", size(&report));
        before = size(&report);
        let summary = &report["weights"];
        assert!(summary["matrices"].as_u64() > Some(2) && summary["form"] == form, "{summary}");
        assert_eq!(report["narrowed"].as_array().map(Vec::len), summary["matrices"].as_u64().map(|n| n as usize));
        let error = summary["worst"][1].as_f64().unwrap();
        assert!(error > worst / 100.0 && error < worst, "{form}: {error}");
        assert_eq!(&planc_at(&format!("inspect {{}}/{form}.plan --json"), at).json()["weights"], summary);
        let line = format!("run {{}}/{form}.plan --inputs {} --ref {0} --rtol 0 --atol {atol}", data.display());
        let ran = planc_at(&line, at);
        assert_eq!(ran.code, 0, "{form}: {}", ran.stdout);
    }
    let decisions = planc_at("explain {}/int4.plan --json", at).json();
    let chosen = |d: &&serde_json::Value| d["choice"] == "int4 weights";
    assert!(decisions["decisions"].as_array().unwrap().iter().filter(chosen).count() > 2, "{decisions}");
    // Kept in f32, all of it; and the same bytes again.
    let kept = planc_at("compile {}/m.onnx --weights int4 --keep-f32 * -o {}/kept.plan --json", at).json();
    assert_eq!((size(&kept), kept.get("weights")), (size(&f32s), None));
    planc_at("compile {}/m.onnx --weights int4 -o {}/again.plan", at).ok();
    assert!(fs::read(at.join("again.plan")).unwrap() == fs::read(at.join("int4.plan")).unwrap());
}

#[test]
fn labels_are_counted() {
    let (folder, _) = calibrated();
    let at = folder.path();
    planc_at("compile {}/m.onnx -o {}/m.plan", at).ok();
    fs::write(at.join("labels"), "0\n".repeat(80)).unwrap();
    let report = planc_at("accuracy {}/m.onnx {}/m.plan --data {}/data --labels {}/labels --json", at).json();
    assert_eq!(report["top1"]["f32"], report["top1"]["plan"]);
    assert!(report["top1"]["count"].as_u64() >= Some(8), "{report}");
    let ran = planc_at("accuracy {}/m.onnx {}/m.plan --data {}/data --max-error top1=1", at);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (folder, _) = calibrated();
    let at = folder.path();
    planc_at("compile {}/m.onnx -o {}/m.plan", at).ok();
    fs::write(at.join("bad.calib"), "planc-calibration 1\nmodel x\nmethod guess\n").unwrap();
    fs::create_dir(at.join("empty")).unwrap();
    fs::write(at.join("labels"), "one\n").unwrap();
    let mut shown = String::new();
    for line in [
        "compile {}/other.onnx --precision int8 --calib {}/m.calib -o {}/a.plan",
        "compile {}/m.onnx --precision int8 --calib {}/bad.calib -o {}/a.plan",
        "compile {}/m.onnx --precision int8 -o {}/a.plan",
        "compile {}/m.onnx --calib {}/m.calib -o {}/a.plan",
        "compile {}/m.onnx --keep-f32 a* -o {}/a.plan",
        "compile {}/m.onnx --weights int8 -O0 -o {}/a.plan",
        "compile {}/m.onnx --weights int8 --target cuda:sm_80 -o {}/a.plan",
        "compile {}/m.onnx --precision int8 --calib {}/m.calib -O0 -o {}/a.plan",
        "compile {}/m.onnx --precision int8 --calib {}/m.calib --calib-method minmax -o {}/a.plan",
        "calibrate {}/m.onnx --data {}/empty -o {}/new.calib",
        "calibrate {}/m.onnx --data {}/missing -o {}/new.calib",
        "calibrate {}/m.onnx --data {}/data --samples 0",
        "calibrate {}/m.onnx --data {}/data --calib-method best",
        "calibrate {}/m.onnx --data {}/data",
        "calibrate {}/m.onnx --data {}/data --precision int8 --calib {}/m.calib",
        "accuracy {}/other.onnx {}/m.plan --data {}/data",
        "accuracy {}/m.onnx {}/m.onnx --data {}/data",
        "accuracy {}/m.onnx {}/m.plan --data {}/data --labels {}/labels",
        "accuracy {}/m.onnx {}/m.plan --data {}/data --max-error psnr=3",
    ] {
        let ran = planc_at(line, at);
        shown += &format!("$ planc {}\n{}\n", line.replace("{}", "FOLDER"), ran.shown(at));
    }
    insta::assert_snapshot!(shown);
}
