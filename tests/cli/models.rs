//! The small models of `testdata/models`, and those of `testdata/differential` that once went wrong, against their stored
//! outputs.

use crate::{planc, planc_at, root};
use std::path::PathBuf;

fn sorted(folder: PathBuf) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn outputs_are_the_stored_ones() {
    let mut faults = String::new();
    let folders = |name: &str| sorted(root().join(name)).into_iter().filter(|p| p.is_dir());
    for folder in folders("testdata/models").chain(folders("testdata/differential")) {
        for data in sorted(folder.clone()).into_iter().filter(|p| p.join("output_0.pb").exists()) {
            for level in ["-O0", "-O2"] {
                let mut args = vec!["run".into(), folder.join("model.onnx"), "--inputs".into(), data.clone()];
                args.extend(["--ref".into(), data.clone(), level.into()]);
                if folder.parent().is_some_and(|p| p.ends_with("differential")) {
                    // Small results count as much as large ones.
                    args.extend(["--rtol".into(), "1e-5".into(), "--atol".into(), "1e-10".into()]);
                }
                let ran = planc(args);
                if ran.code != 0 {
                    faults += &format!("{} {level}: exit {}\n{}{}", data.display(), ran.code, ran.stdout, ran.stderr);
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn checked_models_are_supported() {
    for folder in sorted(root().join("testdata/models")) {
        let report = planc_at("check {} --json", &folder.join("model.onnx")).json();
        assert_eq!((&report["supported"], &report["unsupported"]), (&true.into(), &serde_json::json!([])));
    }
}
