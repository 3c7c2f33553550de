//! From a graph to a plan to results, by functions that are seen to run.

use crate::{numbers, open, tame};
use planc_cpu::{Compiled, Options, compile};
use planc_ir::text;
use planc_kernels::isa::Tier;
use planc_plan::code::CodeTable;
use planc_plan::container::{SectionKind, Writer};
use planc_runtime::SessionOptions;
use planc_tensor::{DType, Tensor, View};

const GRAPH: &str = r#"graph @g (format 1) {
  in %x: i64[N,7]
  in %y: i64[7]
  in %a: f32[N,7]
  in %b: f32[N,1]
  in %h: f64[N,7]
  const %first: i64[1] = [0]
  %dot: i64[N] = planc::Reduce(%x, %y) {axes=[1], expr="(i64, i64) mul(a0, a1)", keepdims=0, op="sum"}
  %top: i64[1,7] = ReduceMax(%x, %first)
  %apart: f32[1,7] = planc::Reduce(%a, %b) {axes=[0], expr="(f32, f32) abs(sub(a0, a1))", op="max"}
  %mean: f64[7] = ReduceMean(%h, %first) {keepdims=0} epilogue (f64) mul(a0, a0)
  %l1: f32[N] = planc::Reduce(%a) {axes=[1], expr="(f32) abs(a0)", keepdims=0, op="sum"}
  out %dot
  out %top
  out %apart
  out %mean
  out %l1
}"#;

fn compiled() -> Compiled {
    let mut g = text::parse(GRAPH).unwrap_or_else(|e| panic!("{e}"));
    planc_ops::infer_graph(&mut g).unwrap_or_else(|e| panic!("{}", e[0]));
    let targets = vec![crate::host()];
    compile(&g, &Options { targets, ..Default::default() }).unwrap_or_else(|e| panic!("{}", e[0]))
}

/// The plan, with `change` made to its code section.
fn written(c: Compiled, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.add(SectionKind::Manifest, c.lowered.manifest.encode()).unwrap();
    for (target, code) in c.code {
        writer.add(SectionKind::Code(target), change(code)).unwrap();
    }
    writer.add_weights(c.lowered.weights).unwrap();
    writer.to_bytes().unwrap()
}

fn inputs(n: usize) -> Vec<Tensor> {
    let shapes = [(DType::I64, vec![n, 7]), (DType::I64, vec![7]), (DType::F32, vec![n, 7]), (DType::F32, vec![n, 1])];
    let all = shapes.into_iter().chain([(DType::F64, vec![n, 7])]).enumerate();
    let make = |(i, (t, s)): (usize, (DType, Vec<usize>))| {
        let flat = tame(t, s.iter().product(), i as u64);
        Tensor::from_bytes(t, s, flat.shared_bytes().unwrap().clone()).unwrap()
    };
    all.map(make).collect()
}

fn run(bytes: &[u8], n: usize, options: SessionOptions) -> Vec<Vec<String>> {
    let inputs = inputs(n);
    let views: Vec<View<'_>> = inputs.iter().map(Tensor::view).collect();
    open(bytes, options).run(&views).unwrap().iter().map(numbers).collect()
}

#[test]
fn what_precompiled_kernels_decline_is_generated() {
    let c = compiled();
    let chosen: Vec<(&str, &str)> = c.lowered.decisions.iter().map(|d| (d.node.as_str(), d.choice.as_str())).collect();
    let generated = ["dot", "top", "apart", "mean"].map(|n| (n, "generated code"));
    assert_eq!(chosen, generated, "the sum of magnitudes has a vector kernel");
    let table = CodeTable::parse(&c.code[0].1).unwrap();
    assert_eq!(table.len(), 4);
}

#[test]
fn generated_functions_run_and_agree_with_what_stands_in_for_them() {
    let bytes = written(compiled(), |code| code);
    for n in [1, 8, 63] {
        let fast = SessionOptions::default();
        let want = run(&bytes, n, fast);
        for slow in [
            SessionOptions { data_only: true, ..fast },
            SessionOptions { tier: Tier::Scalar, ..fast },
            SessionOptions { threads: 3, ..fast },
        ] {
            assert_eq!(run(&bytes, n, slow), want);
        }
    }
}

#[test]
fn another_function_gives_other_results() {
    // Each function gets the bytes of a return instruction, so that accumulators stay as they start.
    let without = |mut code: Vec<u8>| {
        let table = CodeTable::parse(&code).unwrap();
        let nothing: &[u8] = if cfg!(target_arch = "aarch64") { &[0xc0, 0x03, 0x5f, 0xd6] } else { &[0xc3] };
        for i in 0..table.len() {
            let start = table.function(i).unwrap().start;
            code[start..start + nothing.len()].copy_from_slice(nothing);
        }
        code
    };
    let bytes = written(compiled(), without);
    let fast = SessionOptions::default();
    let results = run(&bytes, 4, fast);
    if fast.tier != Tier::Scalar {
        assert!(results[0].iter().all(|v| *v == "[0, 0, 0, 0, 0, 0, 0, 0]"), "{results:?}");
        assert!(results[2].iter().all(|v| *v == "-inf"), "{results:?}");
    }
    assert_ne!(results, run(&bytes, 4, SessionOptions { data_only: true, ..fast }));
}
