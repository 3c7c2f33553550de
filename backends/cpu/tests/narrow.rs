//! Weights in fewer bits: products read the constants as they are, whoever else reads them gets them in f32.

use planc_cpu::{Options, compile};
use planc_ir::text;
use planc_kernels::isa::Isa;
use planc_plan::container::{SectionKind, Writer};
use planc_runtime::{NoReference, OpenOptions, Plan, Session, SessionOptions};
use planc_tensor::{DType, Layout, Tensor};
use std::sync::Arc;

const GRAPH: &str = "
graph @g (format 1) {
  in %x: f32[M,45]
  const %w.q: i8[45,24] = seeded(1)
  const %w.s: f32[24] = seeded(2)
  const %t.q: i4[20,45] = seeded(3)
  const %t.s: f32[20,2] = splat(0.125)
  const %h.q: f16[45,10] = seeded(4)
  %w: f32[45,24] = DequantizeLinear(%w.q, %w.s) {axis=1}
  %t: f32[20,45] = DequantizeLinear(%t.q, %t.s) {axis=1, block_size=32}
  %h: f32[45,10] = Cast(%h.q) {to=1}
  %a: f32[M,24] = MatMul(%x, %w)
  %b: f32[M,20] = Gemm(%x, %t) {transB=1}
  %c: f32[M,10] = MatMul(%x, %h)
  out %a
  out %b
  out %c
  out %w
  out %t
  out %h
}";

#[test]
fn products_read_constants_as_they_are() {
    let g = text::parse(GRAPH).unwrap_or_else(|e| panic!("{e}"));
    let compiled = compile(&g, &Options::default()).unwrap_or_else(|e| panic!("{}", e[0]));
    let program = &compiled.lowered.manifest.programs[0];
    let packed: Vec<(DType, Layout)> =
        program.values.iter().filter(|v| v.name.contains('@')).map(|v| (v.dtype, v.layout)).collect();
    let forms =
        [(DType::I8, Layout::ScaledPanels16), (DType::I4, Layout::GroupPanels16), (DType::F16, Layout::Panels16)];
    assert_eq!(packed, forms);
    assert_eq!(program.steps.len(), 3, "what only widens is left out");
    let mut writer = Writer::new();
    writer.add(SectionKind::Manifest, compiled.lowered.manifest.encode()).unwrap();
    writer.add_weights(compiled.lowered.weights).unwrap();
    let bytes = writer.to_bytes().unwrap();
    for m in [1, 3, 7] {
        let x: Vec<f32> = (0..m * 45).map(|i| (i * i % 31) as f32 * 0.1 - 1.5).collect();
        let input = Tensor::new([m, 45], x.clone()).unwrap();
        for isa in Isa::every() {
            let plan = Plan::from_bytes(&bytes, OpenOptions::default()).unwrap();
            let options = SessionOptions { tier: isa.tier(), ..SessionOptions::default() };
            let session = Session::new(Arc::new(plan), options, Arc::new(NoReference)).unwrap();
            let outputs = session.run(&[input.view()]).unwrap();
            for (i, transposed) in [false, true, false].into_iter().enumerate() {
                let (y, w) = (outputs[i].as_slice::<f32>().unwrap(), outputs[i + 3].as_slice::<f32>().unwrap());
                let n = w.len() / 45;
                assert!(w.iter().any(|v| *v != w[0]), "the weights say nothing");
                for (at, got) in y.iter().enumerate() {
                    let (row, column) = (at / n, at % n);
                    let weight = |p: usize| w[if transposed { column * 45 + p } else { p * n + column }];
                    let terms = (0..45).map(|p| f64::from(x[row * 45 + p]) * f64::from(weight(p)));
                    let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t: f64| (s + t, a + t.abs()));
                    let off = (f64::from(*got) - sum).abs();
                    assert!(off <= 1e-5 * size, "{} {m} rows, product {i}, element {at}: {got}, not {sum}", isa.tier());
                }
            }
        }
    }
}

#[test]
fn what_the_panels_do_not_hold_stays_in_f32() {
    // A scale that f16 does not hold, scales along the wrong axis, and a zero point.
    for (widened, scale) in [
        ("DequantizeLinear(%q, %s) {axis=0, block_size=32}", "const %s: f32[2,24] = splat(0.1)"),
        ("DequantizeLinear(%q, %s) {axis=1, block_size=12}", "const %s: f32[45,2] = splat(0.5)"),
        ("DequantizeLinear(%q, %s, %z) {axis=1}", "const %s: f32[24] = splat(0.5)\n  const %z: i4[24] = splat(1)"),
    ] {
        let graph = format!(
            "graph @g (format 1) {{\n  in %x: f32[2,45]\n  const %q: i4[45,24] = seeded(1)\n  {scale}\n  \
             %w: f32[45,24] = {widened}\n  %y: f32[2,24] = MatMul(%x, %w)\n  out %y\n}}"
        );
        let g = text::parse(&graph).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        let compiled = compile(&g, &Options::default()).unwrap_or_else(|e| panic!("{}", e[0]));
        let values = &compiled.lowered.manifest.programs[0].values;
        assert!(values.iter().all(|v| v.layout == Layout::RowMajor), "{widened}");
    }
}
