//! The text form: what is printed parses back, what is wrong is located, nothing panics.

mod random;

use planc_ir::text::{Header, content_hash, parse, parse_with, print};
use planc_ir::{Graph, TensorType};
use planc_tensor::{Attr, DType, Tensor};
use proptest::prelude::*;

const MNIST: &str = r#"graph @mnist (format 1, opset 17, after "fuse") {
  in %image: f32[N,1,28,28]
  in %"input:0": seq(f32[..])
  const %flat.shape: i64[2] = [-1, 1568]
  const %half: f16[] = 0.5
  const %on: bool[2] = [true, false]
  const %nibbles: i4[3] = [-8, 0, 7]
  const %text: string[2] = ["a\"b", "\u{202e}\n"]
  const %small: f8e4m3fn[2] = hex "38c0"
  const %odd: f32[4] = [inf, -0.0, nan, nan(0x7fc00001)]
  %conv1.out: f32[N,8,28,28]@nchw16c = Conv(%image, %flat.shape, _, %half) {auto_pad="SAME", pads=[2,2,2,2]} epilogue (f32, f16) max(add(a0, f32(a1)), 0.0:f32) with (%half)
  %top: f32[N,8,floor(N/2),"odd sym"], _, %at: optional(i64[2]) = "my-domain"::TopK(%conv1.out, %on, %nibbles, _) {axis=-1, e=[], f=floats [], g=[1.0,1e-5], s=strings [], t=["x","y"], v=tensor f32[2] [1.0, 2.0], w=1e30}
  do com.example::Sink(%text, %small, %odd)
  %y: f32[N] = If(%at, %"input:0")
    subgraph then_branch @then {
      capture %x: f32[N] = %top
      in %i: i64[]
      %r: f32[N] = Relu(%x)
      out %r
      out %r
    }
    subgraph else_branch @"" {
      const %k: f32[1] = [2.0]
      out %k
    }
  out %y
  out %y
}
"#;

/// Captures come after inputs in the canonical form; the sample has them the other way round.
fn canonical(text: &str) -> String {
    let (capture, input) = ("      capture %x: f32[N] = %top\n", "      in %i: i64[]\n");
    text.replace(&format!("{capture}{input}"), &format!("{input}{capture}"))
}

#[test]
fn a_graph_of_everything_prints_as_written() {
    let (g, header) = parse_with(MNIST, &|_| None).unwrap();
    assert_eq!(header, Header { opset: Some(17), after: Some("fuse".into()) });
    assert_eq!(print(&g, &header), canonical(MNIST));
    assert!(parse(&g.to_string()).unwrap().same_as(&g));
}

#[test]
fn attributes_have_the_kinds_their_text_shows() {
    let g = parse(MNIST).unwrap();
    let topk = g.node_ids().map(|n| g.node(n)).find(|n| &*n.op.name == "TopK").unwrap();
    assert_eq!(topk.attrs.get("e"), Some(&Attr::Ints(vec![])));
    assert_eq!(topk.attrs.get("f"), Some(&Attr::Floats(vec![])));
    assert_eq!(topk.attrs.get("s"), Some(&Attr::Strs(vec![])));
    assert_eq!(topk.attrs.get("axis"), Some(&Attr::Int(-1)));
    assert_eq!(topk.attrs.get("w"), Some(&Attr::Float(1e30)));
    assert_eq!((topk.inputs().len(), topk.outputs().len()), (4, 3));
}

#[test]
fn long_constants_are_hashes_that_a_resolver_finds() {
    let text = "graph @g (format 1) {\n  const %w: f32[3,3] = seeded(7)\n  out %w\n}\n";
    let g = parse(text).unwrap();
    let w = g.constant(g.find("w").unwrap()).unwrap();
    assert!(w.as_slice::<f32>().unwrap().iter().all(|v| (-1.0..1.0).contains(v)));
    let printed = g.to_string();
    assert!(printed.contains(&format!("const %w: f32[3,3] = #{}", content_hash(w))), "{printed}");
    let (again, _) = parse_with(&printed, &|h| (h == content_hash(w)).then(|| w.clone())).unwrap();
    assert!(again.same_as(&g));
    assert!(parse(&printed).unwrap_err().message.contains("there is no constant"));
    let other = Tensor::zeros(DType::F32, vec![3, 3]).unwrap();
    assert!(parse_with(&printed, &|_| Some(other.clone())).unwrap_err().message.contains("is another"));
    assert_ne!(content_hash(w), content_hash(&w.reshaped(vec![9]).unwrap()));
}

#[test]
fn fillers_fit_their_types() {
    for d in DType::ALL {
        let text = format!("graph @g (format 1) {{ const %w: {d}[5,7] = seeded(3) out %w }}");
        let fills = d.is_int() || [DType::F32, DType::F64, DType::F16, DType::BF16, DType::Bool].contains(d);
        assert_eq!(parse(&text).is_ok(), fills, "{d}");
    }
    let g = parse("graph @g (format 1) { const %w: u8[20] = splat(200) out %w }").unwrap();
    assert_eq!(g.constant(g.find("w").unwrap()).unwrap().as_slice::<u8>().unwrap(), [200; 20]);
}

#[test]
fn constants_nobody_reads_are_not_printed() {
    let mut g = Graph::new("g");
    g.add_const("unread", Tensor::scalar(1f32));
    let x = g.add_input("x", TensorType::fixed(DType::F32, &[]));
    g.set_outputs(vec![x]);
    assert_eq!(g.to_string(), "graph @g (format 1) {\n  in %x: f32[]\n  out %x\n}\n");
}

#[test]
fn mistakes_are_located() {
    let body = |line: &str| format!("graph @g (format 1) {{\n  in %x: f32[N]\n  {line}\n}}\n");
    for (text, at) in [
        ("".to_string(), "1:1: expected `graph`, found the end of the text"),
        ("graph @g (format 2) {}".into(), "1:18: this is format 2, only format 1 is read"),
        ("graph @g (format 1) { in %x f32[] }".into(), "1:29: expected `:`, found `f32`"),
        (body("in %x: f32[]"), "3:6: %x is defined twice"),
        (body("%y: f33[] = Relu(%x)"), "3:7: `f33` is not an element type"),
        (body("%y: f32[N +] = Relu(%x)"), "3:14: expected a number, a symbol or `(`"),
        (body("%y: f32[N] = Relu(%z)"), "3:21: %z is not defined"),
        (body("%y: f32[N] = Relu(%x) {a=1, a=2}"), "3:31: attribute a is there twice"),
        (body("%y: f32[N] = Relu(%x) epilogue (f32) add(a0)"), "3:47: no operation `add` of 1 operands"),
        (body("const %c: f32[2] = [1.0]"), "3:22: the shape has 2 elements, the list 1"),
        (body("const %c: u8[1] = [256]"), "3:21: `256` is not an element of this type"),
        (body("const %c: i4[1] = [8]"), "3:21: 8 is not an element of i4"),
        (body("const %c: f32[N] = [1.0]"), "3:22: a constant needs extents that are numbers"),
        (body("const %c: f32[1000000,1000000] = seeded(1)"), "3:36: the filler is too large"),
        (body("capture %c: f32[] = %x"), "3:3: only subgraphs have captures"),
        (body("%y: f32[N]@nchw32c = Relu(%x)"), "3:13: `nchw32c` is not a layout"),
        (body("out %x }"), "4:1: expected the end of the text, found `}`"),
    ] {
        assert_eq!(parse(&text).unwrap_err().to_string(), at, "{text}");
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let seqs = format!("graph @g (format 1) {{ in %x: {}", "seq(".repeat(100_000));
    assert_eq!(parse(&seqs).unwrap_err().message, "nested too deeply");
    let graphs = format!("graph @g (format 1) {{{}", " %y: f32[] = If() subgraph b @b {".repeat(100_000));
    assert_eq!(parse(&graphs).unwrap_err().message, "nested too deeply");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_parse_back(seed in any::<u64>()) {
        let g = random::graph(seed);
        let constants = random::constants(&g);
        let text = g.to_string();
        let find = |h: &str| constants.iter().find(|t| content_hash(t) == h).cloned();
        let (again, _) = parse_with(&text, &find).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert!(again.same_as(&g), "{text}");
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn damaged_text_never_panics(at in 0usize..MNIST.len(), cut in 0usize..20, insert in "[%@#\"(){}\\[\\],:=_ a-z0-9\\\\.é-]{0,6}") {
        let mut bytes = MNIST.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, insert.bytes());
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn soup_of_tokens_never_panics(tokens in proptest::collection::vec(proptest::sample::select(TOKENS), 0..60)) {
        let _ = parse(&format!("graph @g (format 1) {{ {}", tokens.join(" ")));
        let _ = parse(&format!("graph @g (format 1) {{ {}", tokens.concat()));
    }

    #[test]
    fn any_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("graph @g (format 1) {{ in %x: f32[{text}] }}"));
    }
}

const TOKENS: &[&str] = &[
    "do",
    "in",
    "out",
    "const",
    "capture",
    "subgraph",
    "epilogue",
    "with",
    "(f32)",
    "(f32, i64)",
    "add(a0, a1)",
    "a0",
    "%x",
    "%y",
    "%\"z\"",
    "@g",
    "@nchw16c",
    ":",
    "::",
    "=",
    "_",
    ",",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "f32[N]",
    "i4[3]",
    "f16[2]",
    "seq(",
    "string[1]",
    "seeded(1)",
    "splat(",
    "hex \"00\"",
    "tensor",
    "#00",
    "[1, 2, 3]",
    "[1.5,nan]",
    "nan(0x7fff)",
    "-inf",
    "1e5",
    "a",
    "Relu",
    "\"s\"",
    "floats",
    "strings",
    "//",
    "\n",
    "-",
    "[..]",
    "true",
    "-9223372036854775808",
];

#[test]
fn the_examples_of_the_documentation_parse() {
    let page = include_str!("../../../docs/ir-text.md");
    let examples: Vec<&str> = page.split("```ir\n").skip(1).filter_map(|s| s.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for text in examples {
        let (g, header) = parse_with(text, &|_| None).unwrap_or_else(|e| panic!("{e}\n{text}"));
        planc_ir::verify(&g).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        // What has no filler is written as it is printed.
        if !text.contains("seeded") {
            assert_eq!(print(&g, &header), text);
        }
    }
}
