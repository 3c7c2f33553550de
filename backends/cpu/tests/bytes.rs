//! Packed weights and epilogues of integer kernels: a graph in blocks, fused, gives what the same graph gives node by node.

use planc_cpu::{Options, compile};
use planc_ir::text;
use planc_kernels::isa::Isa;
use planc_plan::container::{SectionKind, Writer};
use planc_runtime::{NoReference, OpenOptions, Plan, Session, SessionOptions};
use planc_tensor::{Bytes, DType, Tensor};
use std::sync::Arc;

const CONSTANTS: &str = "
  in %x: u8[2,3,13,11]
  in %v: i8[2,5,30]
  const %z: u8[] = 7
  const %vz: i8[] = -3
  const %w0: i8[32,3,3,3] = seeded(1)
  const %w1: i8[32,1,3,3] = seeded(2)
  const %w2: i8[20,32,3,1] = seeded(3)
  const %w3: u8[30,20] = seeded(4)
  const %w3.zero: u8[] = 3
  const %s0: f32[32,1,1] = seeded(5)
  const %s2: f32[20,1,1] = seeded(6)
  const %s3: f32[20] = seeded(9)
  const %b0: i32[32,1,1] = seeded(7)
  const %q: f32[] = 0.25
";

const PLAIN: &str = "
  %a: i32[2,32,13,11] = ConvInteger(%x, %w0, %z) {pads=[1,1,1,1]}
  %a.sum: i32[2,32,13,11] = Add(%a, %b0)
  %a.float: f32[2,32,13,11] = Cast(%a.sum) {to=1}
  %a.scaled: f32[2,32,13,11] = Mul(%a.float, %s0)
  %a.relu: f32[2,32,13,11] = Relu(%a.scaled)
  %c: u8[2,32,13,11] = QuantizeLinear(%a.relu, %q, %z)
  %d: i32[2,32,7,6] = ConvInteger(%c, %w1, %z) {group=32, pads=[1,1,1,1], strides=[2,2]}
  %d.float: f32[2,32,7,6] = Cast(%d) {to=1}
  %e: u8[2,32,7,6] = QuantizeLinear(%d.float, %q, %z)
  %f: i32[2,20,7,6] = ConvInteger(%e, %w2, %z) {pads=[1,0,1,0]}
  %f.float: f32[2,20,7,6] = Cast(%f) {to=1}
  %y: f32[2,20,7,6] = Mul(%f.float, %s2)
  %m: i32[2,5,20] = MatMulInteger(%v, %w3, %vz, %w3.zero)
  %m.float: f32[2,5,20] = Cast(%m) {to=1}
  %n: f32[2,5,20] = Mul(%m.float, %s3)
  out %y
  out %n
";

const FUSED: &str = "
  %c: u8[2,32,13,11]@nchw16c = ConvInteger(%x, %w0, %z) {pads=[1,1,1,1]} epilogue (i32, i32, f32) u8(min(max(add(round(div(max(mul(f32(add(a0, a1)), a2), 0.0:f32), 0.25:f32)), f32(7u8)), 0.0:f32), 255.0:f32)) with (%b0, %s0)
  %e: u8[2,32,7,6]@nchw16c = ConvInteger(%c, %w1, %z) {group=32, pads=[1,1,1,1], strides=[2,2]} epilogue (i32) u8(min(max(add(round(div(f32(a0), 0.25:f32)), 7.0:f32), 0.0:f32), 255.0:f32))
  %f: f32[2,20,7,6]@nchw16c = ConvInteger(%e, %w2, %z) {pads=[1,0,1,0]} epilogue (i32, f32) mul(f32(a0), a1) with (%s2)
  %y: f32[2,20,7,6] = planc::Reorder(%f)
  %n: f32[2,5,20] = MatMulInteger(%v, %w3, %vz, %w3.zero) epilogue (i32, f32) mul(f32(a0), a1) with (%s3)
  out %y
  out %n
";

fn run(body: &str, packed: usize) -> Vec<Vec<Tensor>> {
    let source = format!("graph @g (format 1) {{{CONSTANTS}{body}}}");
    let g = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    let compiled = compile(&g, &Options::default()).unwrap_or_else(|e| panic!("{}", e[0]));
    let values = compiled.lowered.manifest.programs.iter().flat_map(|p| &p.values);
    assert_eq!(values.filter(|v| v.name.contains('@')).count(), packed, "packed weights");
    let mut writer = Writer::new();
    writer.add(SectionKind::Manifest, compiled.lowered.manifest.encode()).unwrap();
    for (target, section) in compiled.code {
        writer.add(SectionKind::Code(target), section).unwrap();
    }
    writer.add_weights(compiled.lowered.weights).unwrap();
    let bytes = writer.to_bytes().unwrap();
    let noise = |n: usize| Bytes::new((0..n).map(|i| (i * i % 251) as u8).collect::<Vec<u8>>());
    let inputs = [
        Tensor::from_bytes(DType::U8, [2, 3, 13, 11], noise(858)).unwrap(),
        Tensor::from_bytes(DType::I8, [2, 5, 30], noise(300)).unwrap(),
    ];
    let views = [inputs[0].view(), inputs[1].view()];
    let open = |tier| {
        let plan = Plan::from_bytes(&bytes, OpenOptions::default()).unwrap();
        let options = SessionOptions { tier, threads: 2, ..SessionOptions::default() };
        Session::new(Arc::new(plan), options, Arc::new(NoReference)).unwrap()
    };
    Isa::every().into_iter().map(|isa| open(isa.tier()).run(&views).unwrap()).collect()
}

#[test]
fn fused_blocks_give_what_single_nodes_give() {
    // Without blocks only the matrix is packed.
    let (plain, fused) = (run(PLAIN, 1), run(FUSED, 4));
    for (tier, outputs) in plain.iter().chain(&fused).enumerate() {
        for (got, want) in outputs.iter().zip(&plain[0]) {
            assert!(got.view().bytes() == want.view().bytes(), "tier {tier}: {:?} differs", want.shape());
        }
    }
    let distinct: std::collections::BTreeSet<u32> =
        plain[0][0].as_slice::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    assert!(distinct.len() > 100, "the outputs say nothing");
}
