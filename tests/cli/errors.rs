//! Errors: their text, their JSON, their exit codes.

use crate::{model, planc, planc_at};
use std::fmt::Write;

#[test]
fn text() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("not.onnx"), "not a model").unwrap();
    std::fs::write(at.join("empty.onnx"), "").unwrap();
    std::fs::write(at.join("bad.ir"), "graph @g (format 1) {\n  %y: f32[] = Relu(%x)\n}\n").unwrap();
    std::fs::copy(model("mlp"), at.join("mlp.onnx")).unwrap();
    std::fs::write(at.join("mlp.plan"), "in the way").unwrap();
    std::fs::write(at.join("x.npy"), "not an array").unwrap();
    let mut shown = String::new();
    for line in [
        "",
        "frobnicate",
        "run",
        "run {}/missing.onnx",
        "run {}",
        "run {}/not.onnx",
        "run {}/empty.onnx",
        "compile {}/mlp.onnx",
        "compile {}/mlp.onnx -o {}/mlp.onnx",
        "compile {}/mlp.onnx -o {}/no/such/folder.plan",
        "compile {}/mlp.onnx --shape nosuch=1x2 -o {}/a.plan",
        "compile {}/mlp.onnx --shape 1x2",
        "compile {}/mlp.onnx --target z80 -o {}/a.plan",
        "compile {}/mlp.onnx --disable-pass nosuch -o {}/a.plan",
        "run {}/mlp.onnx",
        "run {}/mlp.onnx --input nosuch={}/x.npy",
        "run {}/mlp.onnx --inputs {}/nosuch",
        "run {}/mlp.onnx --random 1 --cpu-features mmx",
        "run {}/mlp.onnx --random 1 --ref {}",
        "inspect {}/bad.ir",
        "diff {}/mlp.onnx {}/bad.ir",
        "verify {}/not.onnx",
    ] {
        let args = line.split(' ').filter(|w| !w.is_empty()).map(|w| w.replace("{}", &at.display().to_string()));
        let ran = planc(args);
        let _ = writeln!(shown, "$ planc {}\n{}", line.replace("{}", "FOLDER"), ran.shown(at));
    }
    insta::assert_snapshot!(shown);
}

/// A machine without a GPU says in one line what is missing; one with a GPU runs the model.
#[test]
fn a_missing_device_is_named() {
    let ran = planc_at("run {} --random 1 --device cuda", &model("mlp"));
    if ran.code != 0 {
        assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{}", ran.stderr);
        let first = ran.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("error[E0711]: ") && first.contains("CUDA"), "{}", ran.stderr);
    }
}

#[test]
fn json() {
    let folder = tempfile::tempdir().unwrap();
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let usage = planc(["run", "--json"]);
    assert_eq!((usage.code, &parse(&usage.stderr)["error"]["code"]), (2, &"E0001".into()));
    let missing = planc_at("run {} --json", &model("mlp"));
    let error = &parse(&missing.stderr)["error"];
    assert_eq!((missing.code, missing.stdout.as_str()), (3, ""));
    assert_eq!((&error["code"], &error["exit_code"]), (&"E0802".into(), &3.into()));
    let not = folder.path().join("not.onnx");
    std::fs::write(&not, "not a model").unwrap();
    let check = planc_at("check {} --json", &not);
    assert_eq!((check.code, &parse(&check.stderr)["schema_version"]), (3, &1.into()));
}
