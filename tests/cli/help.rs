//! What the binary says about itself.

use crate::planc;

#[test]
fn help() {
    let mut all = planc(["--help"]).ok();
    for verb in
        ["compile", "run", "bench", "check", "inspect", "diff", "verify", "explain", "calibrate", "accuracy", "ops"]
    {
        all += &format!("\n$ planc {verb} -h\n{}", planc([verb, "-h"]).ok());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn lists() {
    let ops = planc(["ops", "--json"]).json();
    assert_eq!(ops["count"].as_u64(), ops["ops"].as_array().map(|l| l.len() as u64));
    let relu = &planc(["ops", "quickgelu", "--json"]).json()["ops"][0];
    assert_eq!((&relu["domain"], &relu["types"]["T"][0]), (&"com.microsoft".into(), &"f32".into()));
    assert!(planc(["ops", "relu"]).ok().contains("Relu"));
    assert_eq!(planc(["targets", "--json"]).json()["default"], "x86-64");
    assert!(planc(["passes", "--json"]).json()["passes"].is_array());
    assert!(planc(["completions", "bash"]).ok().contains("_planc"));
}

#[test]
fn the_page_of_operators_is_what_ops_prints() {
    let page = std::fs::read_to_string(crate::root().join("docs/ops.md")).unwrap();
    let differs = "docs/ops.md is stale: make it again with `planc ops --markdown > docs/ops.md`";
    assert!(page == planc(["ops", "--markdown"]).ok(), "{differs}");
}

#[cfg(unix)]
#[test]
fn a_closed_stdout_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_planc"));
    let output = command.arg("ops").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
