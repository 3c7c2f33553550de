//! Plans: written, opened, run, compared, damaged.

use crate::{model, planc, planc_at, root};
use std::path::Path;

fn compile(name: &str, out: &Path, more: &[&str]) {
    let paths = [model(name), "-o".into(), out.into()];
    let args = ["compile".into()].into_iter().chain(paths.map(|p| p.into_os_string()));
    planc(args.chain(more.iter().map(Into::into))).ok();
}

#[test]
fn a_plan_gives_what_its_model_gives() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    compile("convnet", &plan, &["--shape", "image=1x3x20x20"]);
    let data = root().join("testdata/models/convnet/test_data_set_0");
    let line = format!("run {{}} --json --inputs {0} --ref {0} --outputs {1}", data.display(), folder.path().display());
    let report = planc_at(&line, &plan).json();
    assert_eq!(report["outputs"], serde_json::json!([{"name": "logits", "dtype": "f32", "shape": [1, 7]}]));
    assert_eq!(report["compared"][0]["ok"], true);
    assert_eq!(report["compile_ms"], serde_json::Value::Null);
    assert!(folder.path().join("output_0.pb").exists());
    // Outputs are a reference for the next run.
    let line = format!("run {{}} --inputs {} --ref {} --rtol 0 --atol 0", data.display(), folder.path().display());
    planc_at(&line, &plan).ok();
}

#[test]
fn maps_are_json() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    compile("classifier", &plan, &[]);
    let ports = planc_at("inspect {} --json", &plan).json();
    assert_eq!(ports["outputs"][1]["dtype"], "seq(map(i64,f32))");
    let run = |more: &str| {
        planc_at(&format!("run {{}} --random 3 {more} {} --rtol 0 --atol 0 --json", folder.path().display()), &plan)
    };
    run("--outputs").ok();
    let written = std::fs::read_to_string(folder.path().join("probabilities.json")).unwrap();
    let maps: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(maps.as_array().map(Vec::len), Some(1));
    let keys: Vec<&String> = maps[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["1", "2", "3"]);
    let report = run("--ref").json();
    assert_eq!(report["outputs"][1], serde_json::json!({"name": "probabilities", "dtype": "sequence", "shape": [1]}));
    // Another probability is noticed.
    std::fs::write(folder.path().join("probabilities.json"), written.replacen("0.", "7.", 1)).unwrap();
    assert_eq!(run("--ref").code, 1);
}

#[test]
fn plans_for_devices() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    let again = folder.path().join("b.plan");
    for out in [&plan, &again] {
        compile("convnet", out, &["--target", "cuda:sm_80"]);
    }
    assert_eq!(std::fs::read(&plan).unwrap(), std::fs::read(&again).unwrap(), "the same bytes");
    let report = planc_at("inspect {} --json", &plan).json();
    assert_eq!(report["targets"], serde_json::json!(["cuda:sm_80"]));
    assert_eq!(report["device"]["arch"], "sm_80");
    assert!(report["device"]["launches"].as_u64().unwrap() > 0);
    let text = planc_at("compile {} --target cuda:sm_80 --emit ptx", &model("convnet")).ok();
    assert!(text.starts_with(".version 7.0\n.target sm_80\n"), "{text}");
    for wrong in ["--target cuda:sm_80,aarch64", "--no-fallback", "--emit ptx"] {
        let output = planc_at(&format!("compile {{}} {wrong}"), &model("convnet"));
        assert!(output.code == 2 && output.stderr.contains("E0001"), "{wrong}: {}", output.stderr);
    }
}

#[test]
fn arrays_go_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    let out = folder.path().join("out");
    compile("mlp", &plan, &[]);
    let line = format!("run {{}} --random 7 --outputs {} --json", out.display());
    let report = planc_at(&line, &plan).json();
    let name = report["outputs"][0]["name"].as_str().unwrap();
    let bytes = std::fs::read(out.join(format!("{name}.npy"))).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY"));
    let again = format!("run {{}} --random 7 --ref {} --rtol 0 --atol 0 --threads 2", out.display());
    planc_at(&again, &plan).ok();
    let other = format!("run {{}} --random 8 --ref {} --rtol 0 --atol 0", out.display());
    assert_eq!(planc_at(&other, &plan).code, 1);
}

#[test]
fn plans_do_not_depend_on_where_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.plan"), folder.path().join("b.plan"));
    compile("transformer", &a, &["--threads", "1"]);
    compile("transformer", &b, &["--threads", "4", "--report", folder.path().join("r.json").to_str().unwrap()]);
    assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap());
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(report["schema_version"], 1);
    planc([Path::new("diff"), &a, &b]).ok();
}

#[test]
fn differences_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.ir"), folder.path().join("b.ir"));
    let text = planc_at("compile {} --emit ir -O0", &model("mlp")).ok();
    std::fs::write(&a, &text).unwrap();
    std::fs::write(&b, text.replacen("Softmax(", "LogSoftmax(", 1)).unwrap();
    let hashes = planc([Path::new("diff"), &a, &b, Path::new("--json")]);
    if text.contains('#') {
        // Constants given by hash cannot be read back.
        assert_eq!(hashes.code, 3, "{}", hashes.stderr);
    }
    let small = "graph @g (format 1) {\n  in %x: f32[N]\n  %y: f32[N] = Relu(%x)\n  out %y\n}\n";
    std::fs::write(&a, small).unwrap();
    std::fs::write(&b, small.replace("Relu", "Tanh")).unwrap();
    planc([Path::new("diff"), &a, &a]).ok();
    let ran = planc([Path::new("diff"), &a, &b]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout, "changed node y\n- %y: f32[N] = Relu(%x)\n+ %y: f32[N] = Tanh(%x)\n");
}

#[test]
fn damage_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    compile("convnet", &plan, &[]);
    let whole = std::fs::read(&plan).unwrap();
    let verify = |bytes: &[u8]| {
        std::fs::write(&plan, bytes).unwrap();
        let ran = planc_at("verify {} --json", &plan);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["ok"], ran.code == 0);
        ran.code
    };
    assert_eq!(verify(&whole), 0);
    assert_eq!(verify(&whole[..whole.len() - 1]), 6);
    assert_eq!(verify(&[&whole[..], b"x"].concat()), 6);
    for (at, code) in [(0, 3), (9, 5), (70, 6), (whole.len() - 1, 6)] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        assert_eq!(verify(&damaged), code, "byte {at}");
    }
    // The last byte is one of the weights, which a run checks only when it is asked to.
    assert_eq!(planc_at("run {} --random 1 --check-weights", &plan).code, 6);
    planc_at("run {} --random 1", &plan).ok();
}

#[test]
fn measurements_have_the_promised_fields() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    compile("mlp", &plan, &["--dim", "N=1"]);
    let profile = folder.path().join("profile.json");
    let line = format!("bench {{}} --iterations 4 --warmup 1 --json --profile={}", profile.display());
    let ran = planc_at(&line, &plan);
    std::fs::write(folder.path().join("base.json"), &ran.stdout).unwrap();
    let report = ran.json();
    for field in ["threads", "load_ms", "first_run_ms", "iterations", "peak_rss_bytes", "arena_bytes"] {
        assert!(report[field].is_number(), "{field}");
    }
    for series in ["wall_ms", "cpu_ms"] {
        assert_eq!(report[series]["samples"].as_array().map(Vec::len), Some(4));
        assert!(["min", "p50", "p90", "p99", "mean"].iter().all(|f| report[series][f].is_number()));
    }
    let profile: serde_json::Value = serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap();
    assert!(!profile["steps"].as_array().unwrap().is_empty());
    assert!(report["profile"].is_null(), "it went to the file");
    let base = folder.path().join("base.json");
    let line = format!("bench {{}} --iterations 4 --baseline {} --max-regress 1e9", base.display());
    planc_at(&line, &plan).ok();
}

#[test]
fn profiles_say_what_steps_reach() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    compile("mlp", &plan, &["--dim", "N=4"]);
    let line = "bench {} --iterations 2 --sort order --json --profile";
    let profile = planc_at(line, &plan).json()["profile"].take();
    assert!(profile["peak"]["fma_gflops"].as_f64() > Some(0.0) && profile["peak"]["dot_gops"].as_f64() > Some(0.0));
    let steps = profile["steps"].as_array().unwrap();
    let gemm = steps.iter().find(|s| s["kind"].as_str().unwrap().starts_with("gemm")).unwrap();
    // Rows of x and columns of the result, with bias or not.
    let (m, k) = (gemm["inputs"][0][0].as_u64().unwrap(), gemm["inputs"][0][1].as_u64().unwrap());
    let n = gemm["shape"][1].as_u64().unwrap();
    assert_eq!(m, 4);
    assert!(gemm["ops"].as_u64() >= Some(2 * m * n * k), "{gemm}");
    assert!(gemm["peak_percent"].as_f64() > Some(0.0) && gemm["calls"] == 1);
    let sum: f64 = profile["kinds"].as_array().unwrap().iter().map(|k| k["median_ms"].as_f64().unwrap()).sum();
    let all: f64 = steps.iter().map(|s| s["median_ms"].as_f64().unwrap()).sum();
    assert!((sum - all).abs() < 1e-9);
    let text = planc_at("bench --profile {} --iterations 2", &plan).ok();
    assert!(["kernel", "% of peak", "medians of 10 runs"].iter().all(|t| text.contains(t)), "{text}");
}

#[test]
fn traces_have_a_lane_for_each_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, trace) = (folder.path().join("a.plan"), folder.path().join("trace.json"));
    compile("convnet", &plan, &[]);
    planc_at(&format!("bench {{}} --iterations 1 --trace {}", trace.display()), &plan).ok();
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let lanes = |t: u64| events.iter().filter(|e| e["ph"] == "X" && e["tid"] == t).count();
    assert!(lanes(0) > 0 && lanes(1) > 0, "steps, and tasks of the one thread");
    assert_eq!(lanes(2), 0);
}

#[test]
fn tunings_decide_and_are_of_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let line = format!("tune {{}} --duration 0 --json -o {}", at("t").display());
    let tuned = planc_at(&line, &model("dense")).json();
    let layers = tuned["layers"].as_array().unwrap();
    assert!(
        !layers.is_empty() && layers.iter().all(|l| l["us"]["winograd"].is_number() && l["us"]["direct"].is_number())
    );
    let text = std::fs::read_to_string(at("t")).unwrap();
    let explain = |choice: &str| {
        let lines = text.lines().map(|l| match l.strip_prefix("layer ") {
            Some(rest) => format!("layer {choice} {}\n", rest.split_once(' ').unwrap().1),
            None => format!("{l}\n"),
        });
        std::fs::write(at(choice), lines.collect::<String>()).unwrap();
        let plan = at(&format!("{choice}.plan"));
        compile("dense", &plan, &["--tuning", at(choice).to_str().unwrap()]);
        let decisions = planc_at("explain {} --json", &plan).json()["decisions"].take();
        let measured =
            decisions.as_array().unwrap().iter().filter(|d| d["reason"].as_str().unwrap().starts_with("measured"));
        let choices: Vec<String> = measured.map(|d| d["choice"].as_str().unwrap().to_string()).collect();
        assert_eq!(choices, vec![choice; layers.len()]);
        std::fs::read(plan).unwrap()
    };
    assert_ne!(explain("direct"), explain("winograd"));
    assert_eq!(explain("winograd"), explain("winograd"));
    let line = format!("run {{}} --random 1 --tuning {}", at("t").display());
    let ran = planc_at(&line, &model("mlp"));
    assert!(ran.code == 3 && ran.stderr.contains("E0833"), "{}", ran.stderr);
}

#[test]
fn plans_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    compile("mlp", &plan, &[]);
    let report = planc_at("inspect {} --json", &plan).json();
    for field in ["inputs", "outputs", "targets", "sections"] {
        assert!(report[field].is_array(), "{field}");
    }
    assert!(report["steps"].is_number() && report["weights_bytes"].is_number());
    assert!(planc_at("inspect {} --ir", &plan).ok().starts_with("program @"));
    assert!(planc_at("inspect {} --dot", &model("mlp")).ok().starts_with("digraph"));
    assert!(planc_at("explain {} --json", &plan).json()["decisions"].is_array());
}

#[test]
fn command_lines_of_trtexec_work() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("a.plan");
    let save = format!("--saveEngine={}", plan.display());
    planc([format!("--onnx={}", model("mlp").display()), save, "--verbose".into()]).ok();
    planc_at("--loadEngine={} --iterations=3 --warmUp=1 --duration=0", &plan).ok();
}
