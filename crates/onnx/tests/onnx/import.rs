//! Whole imports of small models built by hand, of the malformed ones, and of mutated ones.

use crate::builder::*;
use onnx_protobuf::{ModelProto, OperatorSetIdProto};
use planc_ir::{Def, Graph};
use planc_onnx::{Category, Code, ImportError, Imported, Options, import_bytes, import_file};
use planc_tensor::{Bytes, Dim, Tensor};
use proptest::prelude::*;

fn import_with(model: &ModelProto, options: &Options) -> Result<Imported, Vec<ImportError>> {
    import_bytes(Bytes::new(bytes(model)), options)
}

fn import(model: &ModelProto) -> Imported {
    let imported = import_with(model, &Options::default()).unwrap_or_else(|e| panic!("{}", texts(&e).join("\n")));
    planc_ir::verify(&imported.graph).unwrap_or_else(|e| panic!("{e:?}"));
    imported
}

fn errors(model: &ModelProto) -> Vec<ImportError> {
    import_with(model, &Options::default()).map(|i| i.graph.node_count()).unwrap_err()
}

fn texts(errors: &[ImportError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// `%result = Op(%operand, ...)` of every node in order.
fn listing(graph: &Graph) -> Vec<String> {
    let name = |v: &Option<planc_ir::ValueId>| v.map_or("-".to_owned(), |v| format!("{}", graph.value(v).name));
    graph
        .order()
        .into_iter()
        .map(|id| {
            let node = graph.node(id);
            let list = |l: &[Option<planc_ir::ValueId>]| l.iter().map(name).collect::<Vec<_>>().join(", ");
            format!("{} = {}({})", list(node.outputs()), node.op, list(node.inputs()))
        })
        .collect()
}

fn outputs(graph: &Graph) -> Vec<String> {
    graph.outputs().iter().map(|v| format!("{}: {}", graph.value(*v).name, graph.value(*v).ty)).collect()
}

#[test]
fn operators_that_are_programs_are_refused_with_a_way_out() {
    for op in ["BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"] {
        let mut m = model(vec![domain(node(op, &["x"], &["y"]), "com.microsoft")], &["3"]);
        m.opset_import.push(opset("com.microsoft", 1));
        let found = errors(&m);
        assert_eq!(found[0].code, Code::UnsupportedOp);
        assert!(found[0].help.as_ref().is_some_and(|help| help.contains("choose tokens")), "{}", found[0]);
    }
}

#[test]
fn names_types_and_metadata_are_kept() {
    let mut m = model(vec![node("Relu", &["x"], &["h"]), node("Add", &["h", "w"], &["y"])], &["N", "3"]);
    graph(&mut m).initializer.push(floats("w", &[3], &[1.0, 2.0, 3.0]));
    m.producer_name = "test".into();
    m.opset_import.push(opset("com.example", 2));
    let i = import(&m);
    assert_eq!(listing(&i.graph), ["h = Relu(x)", "y = Add(h, w)"]);
    assert_eq!(outputs(&i.graph), ["y: f32[N,3]"]);
    assert_eq!(i.metadata.opsets, [(String::new(), 17), ("com.example".to_owned(), 2)]);
    assert_eq!((i.metadata.ir_version, i.metadata.producer_name.as_str()), (8, "test"));
    assert_eq!(i.warnings, Vec::<String>::new());
}

#[test]
fn unsorted_nodes_are_sorted_and_circles_are_named() {
    let m = model(vec![node("Add", &["h", "x"], &["y"]), node("Relu", &["x"], &["h"])], &["2"]);
    let i = import(&m);
    assert_eq!(listing(&i.graph), ["h = Relu(x)", "y = Add(h, x)"]);
    assert_eq!(i.warnings, ["the nodes of the graph were not in topological order"]);

    let m = model(vec![node("Add", &["h", "x"], &["y"]), node("Relu", &["y"], &["h"])], &["2"]);
    assert_eq!(texts(&errors(&m)), ["nodes of the graph wait for each other in a circle: \"y\" -> \"h\""]);
}

#[test]
fn all_unsupported_nodes_are_reported_at_once() {
    let mut m = model(
        vec![
            node("Frobnicate", &["x"], &["a"]),
            node("Relu", &["a"], &["b"]),
            domain(node("Twist", &["b"], &["c"]), "com.example"),
            domain(node("Local", &["c"], &["y"]), "loc"),
        ],
        &["2"],
    );
    m.opset_import.push(opset("com.example", 3));
    m.functions.push(function("Local", &["p"], &["q"], vec![node("Shuffle", &["p"], &["q"])]));
    let found = errors(&m);
    assert!(found.iter().all(|e| e.category() == Category::Unsupported));
    let nodes: Vec<_> = found.iter().map(|e| e.node.clone().unwrap()).collect();
    let shown: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "node \"a\" (Frobnicate, opset 17)",
            "node \"c\" (com.example.Twist, opset 3)",
            "node \"q\" (Shuffle, opset 17)"
        ]
    );
    assert_eq!(found[2].path, "functions[0] loc.Local");
}

#[test]
fn constants_of_every_kind() {
    let kinds = [
        ("value", tensor_attr(floats("", &[2], &[1.0, 2.0])), Tensor::vector(vec![1f32, 2.0])),
        ("value_int", int_attr(7), Tensor::scalar(7i64)),
        ("value_ints", ints_attr(&[1, 2]), Tensor::vector(vec![1i64, 2])),
        ("value_float", float_attr(0.5), Tensor::scalar(0.5f32)),
        ("value_floats", floats_attr(&[0.5, 1.5]), Tensor::vector(vec![0.5f32, 1.5])),
        ("value_string", string_attr("a"), Tensor::from_strings(Vec::new(), vec!["a".into()]).unwrap()),
        (
            "value_strings",
            strings_attr(&["a", ""]),
            Tensor::from_strings([2], vec!["a".into(), String::new()]).unwrap(),
        ),
        ("sparse_value", sparse_attr(&[3], &[1], &[5.0]), Tensor::vector(vec![0f32, 5.0, 0.0])),
    ];
    for (name, attr, expected) in kinds {
        let m = model(vec![with(node("Constant", &[], &["c"]), name, attr), node("Relu", &["x"], &["y"])], &["2"]);
        let graph = import(&m).graph;
        let value = graph.value(graph.find("c").unwrap());
        assert_eq!(value.as_const(), Some(&expected), "{name}");
    }
    for bad in [
        node("Constant", &[], &["c"]),
        with(node("Constant", &[], &["c"]), "value_int", float_attr(1.0)),
        with(with(node("Constant", &[], &["c"]), "value_int", int_attr(1)), "value_float", float_attr(1.0)),
        with(node("Constant", &[], &["c"]), "valeur", int_attr(1)),
    ] {
        let m = model(vec![bad, node("Relu", &["x"], &["y"])], &["2"]);
        assert_eq!(errors(&m)[0].code, Code::Attribute);
    }
}

#[test]
fn an_initializer_that_is_an_input_is_a_constant() {
    let mut m = model(vec![node("Add", &["x", "w"], &["y"])], &["2"]);
    graph(&mut m).initializer.push(floats("w", &[2], &[1.0, 2.0]));
    graph(&mut m).input.push(value("w", 1, &["2"]));
    let i = import(&m);
    assert_eq!((i.graph.inputs().len(), i.metadata.default_inputs), (1, vec!["w".to_owned()]));
    graph(&mut m).input[1] = value("w", 1, &["3"]);
    assert_eq!(errors(&m)[0].code, Code::Type);
}

#[test]
fn functions_are_inlined() {
    let scale = with(node("Constant", &[], &["k"]), "value_float", reference(float_attr(0.0), "alpha"));
    let mut f = function("Inner", &["p", "unused"], &["q"], vec![scale, node("Add", &["p", "k"], &["q"])]);
    f.attribute.push("alpha".into());
    let call = with(domain(node("Inner", &["u"], &["v"]), "loc"), "alpha", reference(float_attr(0.0), "beta"));
    let mut g = function("Outer", &["u"], &["v", "u2"], vec![call, node("Relu", &["u"], &["u2"])]);
    g.attribute_proto.push(named(float_attr(2.5), "beta"));
    let mut m = model(
        vec![
            with(domain(node("Outer", &["x"], &["a"]), "loc"), "beta", float_attr(1.5)),
            domain(node("Outer", &["a"], &["y", "z"]), "loc"),
        ],
        &["N"],
    );
    m.functions = vec![f, g];
    let i = import(&m);
    assert_eq!(listing(&i.graph), ["a = Add(x, a.k)", "a.u2 = Relu(x)", "y = Add(a, y.k)", "z = Relu(a)"]);
    let constant = |n: &str| i.graph.value(i.graph.find(n).unwrap()).as_const().cloned();
    assert_eq!((constant("a.k"), constant("y.k")), (Some(Tensor::scalar(1.5f32)), Some(Tensor::scalar(2.5f32))));
    assert_eq!(i.metadata.inlined_functions, [("loc.Inner".to_owned(), 2), ("loc.Outer".to_owned(), 2)]);
}

#[test]
fn a_function_that_returns_its_operand_keeps_both_names() {
    let f = function("Same", &["p"], &["p"], vec![]);
    let mut m = model(vec![domain(node("Same", &["x"], &["y"]), "loc")], &["N"]);
    m.functions.push(f);
    let i = import(&m);
    assert_eq!(
        (listing(&i.graph), outputs(&i.graph)),
        (vec!["y = Identity(x)".to_owned()], vec!["y: f32[N]".to_owned()])
    );
}

#[test]
fn function_mistakes() {
    let call = |outputs: &[&str]| domain(node("F", &["x"], outputs), "loc");
    let build = |f, c| {
        let mut m = model(vec![c], &["2"]);
        m.functions.push(f);
        errors(&m).remove(0)
    };
    let relu = || vec![node("Relu", &["p"], &["q"])];
    let e = build(function("F", &["p"], &["q"], relu()), with(call(&["y"]), "beta", int_attr(1)));
    assert_eq!((e.code, e.message.as_str()), (Code::Attribute, "the function loc.F has no attribute \"beta\""));
    let e = build(function("F", &["p"], &["q"], relu()), call(&["y", "z"]));
    assert_eq!(e.code, Code::Arity);
    let e = build(function("F", &["p", "o"], &["o"], vec![]), call(&["y"]));
    assert_eq!(e.message, "its result \"y\" is an operand that the call omits");
    let e = build(function("F", &["p"], &["none"], relu()), call(&["y"]));
    assert_eq!(e.code, Code::Function);
    let e = build(function("F", &["p"], &["q"], vec![node("Relu", &["x"], &["q"])]), call(&["y"]));
    assert_eq!((e.code, e.message.as_str()), (Code::Graph, "nothing defines its operand \"x\""));
}

#[test]
fn calls_nest_to_a_limit_and_expansion_is_measured_first() {
    // f0 calls f1 `times` times, f1 calls f2, ...
    let chain = |levels: usize, times: usize| {
        let mut m = model(vec![domain(node("f0", &["x"], &["y"]), "loc")], &["2"]);
        for level in 0..levels {
            let next = format!("f{}", level + 1);
            let last = level + 1 == levels;
            let step = |i: usize| {
                let (a, b) = (format!("v{i}"), format!("v{}", i + 1));
                if last { node("Relu", &[&a], &[&b]) } else { domain(node(&next, &[&a], &[&b]), "loc") }
            };
            let body = (0..times).map(step).collect();
            m.functions.push(function(&format!("f{level}"), &["v0"], &[&format!("v{times}")], body));
        }
        m
    };
    assert_eq!(import(&chain(60, 1)).graph.node_count(), 1);
    assert_eq!(errors(&chain(70, 1))[0].code, Code::ExpansionLimit);
    assert_eq!(import(&chain(4, 5)).graph.node_count(), 625);
    assert_eq!(errors(&chain(30, 10))[0].code, Code::ExpansionLimit);
}

#[test]
fn names_are_defined_once() {
    let twice = model(vec![node("Relu", &["x"], &["y"]), node("Relu", &["x"], &["y"])], &["2"]);
    assert_eq!(texts(&errors(&twice)), ["node \"y\" (Relu, opset 17): its result \"y\" is already defined"]);
    let input = model(vec![node("Relu", &["x"], &["x"]), node("Relu", &["x"], &["y"])], &["2"]);
    assert_eq!(errors(&input)[0].code, Code::Graph);
    let undefined = model(vec![node("Relu", &["nope"], &["y"])], &["2"]);
    assert_eq!(errors(&undefined)[0].message, "nothing defines its operand \"nope\"");
    let mut output = model(vec![node("Relu", &["x"], &["h"])], &["2"]);
    output.graph.mut_or_insert_default().output[0].name = "z".into();
    assert_eq!(errors(&output)[0].message, "nothing defines the output \"z\"");
}

#[test]
fn declarations_are_compared_and_not_trusted() {
    let mut m = model(vec![node("Relu", &["x"], &["h"]), node("Relu", &["h"], &["y"])], &["2", "3"]);
    graph(&mut m).value_info.push(value("h", 1, &["2", "4"]));
    let i = import(&m);
    assert_eq!(outputs(&i.graph), ["y: f32[2,3]"]);
    assert_eq!(
        i.warnings,
        ["the value \"h\" is declared with the shape [2,4], is f32[2,3]; the declaration is ignored"]
    );
    graph(&mut m).value_info[0] = value("h", 7, &[]);
    assert_eq!(errors(&m)[0].code, Code::Type);
}

#[test]
fn shapes_and_dims_can_be_given() {
    let m = model(vec![node("Relu", &["x"], &["y"])], &["N", "", "3"]);
    assert_eq!(outputs(&import(&m).graph), ["y: f32[N,x.d1,3]"]);
    let mut options = Options::default();
    options.dims.insert("N".into(), 4);
    assert_eq!(outputs(&import_with(&m, &options).unwrap().graph), ["y: f32[4,x.d1,3]"]);
    let shape = |dims: &[i64]| dims.iter().map(|d| Dim::from(*d)).collect::<Vec<_>>();
    options.shapes.insert("x".into(), shape(&[1, 2, 3]));
    assert_eq!(outputs(&import_with(&m, &options).unwrap().graph), ["y: f32[1,2,3]"]);
    for wrong in [shape(&[1, 2, 4]), shape(&[1, 2])] {
        options.shapes.insert("x".into(), wrong);
        assert_eq!(import_with(&m, &options).unwrap_err()[0].code, Code::Override);
    }
    for (dim, value) in [("M", 4), ("N", -1)] {
        let mut options = Options::default();
        options.dims.insert(dim.into(), value);
        assert_eq!(import_with(&m, &options).unwrap_err()[0].code, Code::Override);
    }
    let mut options = Options::default();
    options.shapes.insert("z".into(), shape(&[1]));
    assert_eq!(import_with(&m, &options).unwrap_err()[0].code, Code::Override);
}

#[test]
fn versions_are_checked() {
    let relu = || model(vec![node("Relu", &["x"], &["y"])], &["2"]);
    let code = |imports: &[(&str, i64)], ir: i64| {
        let mut m = relu();
        m.ir_version = ir;
        m.opset_import = imports.iter().map(|(d, v)| opset(d, *v)).collect();
        import_with(&m, &Options::default()).map(|_| ()).map_err(|e| e[0].code)
    };
    assert_eq!(code(&[("ai.onnx", 28)], 14), Ok(()));
    assert_eq!(code(&[("", 7)], 3), Ok(()));
    assert_eq!(code(&[("", 17)], 2), Err(Code::IrVersion));
    assert_eq!(code(&[("", 17)], 15), Err(Code::IrVersion));
    assert_eq!(code(&[], 8), Err(Code::Opset));
    assert_eq!(code(&[("", 29)], 8), Err(Code::OpsetTooNew));
    assert_eq!(code(&[("", 17)], 0), Err(Code::NotOnnx));
    assert_eq!(code(&[("", 17), ("ai.onnx", 16)], 8), Err(Code::Opset));
    assert_eq!(code(&[("com.example", 1)], 8), Err(Code::UnsupportedOp));
}

#[test]
fn attributes_are_checked_against_the_row() {
    let reshape = |name: &str, attr| {
        let mut m = model(vec![with(node("Reshape", &["x", "s"], &["y"]), name, attr)], &["2"]);
        graph(&mut m).initializer.push(int64s("s", &[1], &[2]));
        m
    };
    assert!(import_with(&reshape("allowzero", int_attr(1)), &Options::default()).is_ok());
    for (name, attr) in [
        ("allowzero", float_attr(1.0)),
        ("allowzer", int_attr(1)),
        ("allowzero", reference(int_attr(1), "outside")),
        ("allowzero", undefined_attr()),
    ] {
        assert_eq!(errors(&reshape(name, attr))[0].code, Code::Attribute, "{name}");
    }
    let mut old = reshape("allowzero", int_attr(1));
    old.opset_import = vec![OperatorSetIdProto { version: 13, ..OperatorSetIdProto::new() }];
    assert_eq!(errors(&old)[0].message, "the attribute \"allowzero\" exists since opset 14 only");
}

/// An If whose branches read `x` and the constant `w` from around them.
fn branching(then: &str, other: &str) -> ModelProto {
    let branch = |op: &str, result: &str| subgraph(&[], vec![node(op, &["x", "w"], &[result])], &[result]);
    let choose = with(
        with(node("If", &["c"], &["y"]), "else_branch", graph_attr(branch(other, "e"))),
        "then_branch",
        graph_attr(branch(then, "t")),
    );
    let mut m = model(vec![choose], &["N"]);
    graph(&mut m).input.push(value("c", 9, &[]));
    graph(&mut m).initializer.push(floats("w", &[1], &[1.0]));
    m
}

#[test]
fn subgraphs_list_what_they_capture() {
    let g = import(&branching("Add", "Sub")).graph;
    assert_eq!(outputs(&g), ["y: f32[N]"]);
    let node = g.node(g.order()[0]);
    let names: Vec<&str> = node.subgraphs.iter().map(|s| &*s.name).collect();
    assert_eq!(names.len(), 2);
    for s in &node.subgraphs {
        // The constant is the subgraph's own: inference sees its elements.
        let outer: Vec<&str> = s.captures.iter().map(|c| &*g.value(c.outer).name).collect();
        assert_eq!(outer, ["x"]);
        assert!(s.graph.constant(s.graph.find("w").unwrap()).is_some());
        assert_eq!(listing(&s.graph).len(), 1);
    }
}

#[test]
fn unsupported_nodes_of_subgraphs_are_reported_with_their_place() {
    let e = errors(&branching("Frobnicate", "Twist"));
    let mut shown: Vec<String> = e.iter().map(ToString::to_string).collect();
    shown.sort();
    assert_eq!(e.len(), 2, "{shown:?}");
    assert!(shown[0].starts_with("node \"e\" (Twist, opset 17)") && shown[0].contains("(at y."), "{shown:?}");
}

#[test]
fn subgraphs_nest_and_capture_through_each_other() {
    let inner = subgraph(&[], vec![node("Add", &["x", "h"], &["r"])], &["r"]);
    let choose = with(
        with(node("If", &["c"], &["s"]), "then_branch", graph_attr(inner.clone())),
        "else_branch",
        graph_attr(inner),
    );
    let outer = subgraph(&[], vec![node("Relu", &["x"], &["h"]), choose], &["s"]);
    let top = with(
        with(node("If", &["c"], &["y"]), "then_branch", graph_attr(outer.clone())),
        "else_branch",
        graph_attr(outer),
    );
    let mut m = model(vec![top], &["N"]);
    graph(&mut m).input.push(value("c", 9, &[]));
    let g = import(&m).graph;
    assert_eq!(outputs(&g), ["y: f32[N]"]);
    let middle = &g.node(g.order()[0]).subgraphs[0];
    let mut outer: Vec<&str> = middle.captures.iter().map(|c| &*g.value(c.outer).name).collect();
    outer.sort();
    assert_eq!(outer, ["c", "x"]);
}

#[test]
fn loops_see_names_around_them_and_run_functions() {
    let body = subgraph(
        &[("i", 7, &[]), ("go", 9, &[]), ("state", 1, &["N"])],
        vec![
            node("Add", &["state", "x"], &["sum"]),
            domain(node("F", &["sum"], &["next"]), "loc"),
            node("Identity", &["go"], &["more"]),
        ],
        &["more", "next"],
    );
    let m = || {
        let mut m = model(vec![with(node("Loop", &["n", "", "x"], &["y"]), "body", graph_attr(body.clone()))], &["N"]);
        graph(&mut m).initializer.push(int64s("n", &[], &[3]));
        m.functions.push(function("F", &["p"], &["q"], vec![node("Relu", &["p"], &["q"])]));
        m
    };
    let i = import(&m());
    assert_eq!(i.metadata.inlined_functions, [("loc.F".to_owned(), 1)]);
    let inner = &i.graph.node(i.graph.order()[0]).subgraphs[0];
    assert_eq!(listing(&inner.graph), ["sum = Add(state, x)", "next = Relu(sum)", "more = Identity(go)"]);
    // Inputs of a body need no types: the loop knows them.
    let mut untyped = m();
    graph(&mut untyped).input[0] = value("x", 11, &["N"]);
    let body = graph(&mut untyped).node[0].attribute[0].g.mut_or_insert_default();
    body.input.iter_mut().for_each(|i| i.type_ = None.into());
    assert_eq!(outputs(&import(&untyped).graph), ["y: f64[N]"]);
    // A function sees nothing of what is around its call.
    let mut blind = m();
    blind.functions[0].node[0].input[0] = "x".into();
    assert_eq!(errors(&blind)[0].message, "nothing defines its operand \"x\"");
}

#[test]
fn a_name_defined_again_in_a_subgraph_gives_a_warning() {
    let branch =
        |result: &str| subgraph(&[], vec![node("Relu", &["x"], &["h"]), node("Relu", &["h"], &[result])], &[result]);
    let choose = with(
        with(node("If", &["c"], &["k"]), "then_branch", graph_attr(branch("t"))),
        "else_branch",
        graph_attr(branch("e")),
    );
    let mut m = model(vec![node("Neg", &["x"], &["h"]), choose, node("Add", &["k", "h"], &["y"])], &["N"]);
    graph(&mut m).input.push(value("c", 9, &[]));
    let i = import(&m);
    assert_eq!(i.warnings.len(), 2);
    let inner = &i.graph.node(i.graph.order()[1]).subgraphs[0];
    let outer: Vec<&str> = inner.captures.iter().map(|c| &*i.graph.value(c.outer).name).collect();
    assert_eq!(outer, ["x"]);
}

#[test]
fn malformed_models_are_refused() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/malformed");
    let expected: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{root}/expected.json")).unwrap()).unwrap();
    let mut seen = 0;
    for (name, case) in expected.as_object().unwrap() {
        let result = import_file(format!("{root}/{name}/model.onnx").as_ref(), &Options::default());
        seen += 1;
        match (case["expect"].as_str().unwrap(), result) {
            ("accept", Err(e)) => {
                let unsupported = e.iter().all(|e| e.category() == Category::Unsupported);
                assert!(unsupported, "{name}: {}", texts(&e).join("\n"));
            }
            ("reject", Ok(_)) => {
                assert!(case["phase"] == "run" || case["kind"] == "limit", "{name} is accepted");
            }
            _ => {}
        }
    }
    assert!(seen > 100);
}

fn rich() -> Vec<u8> {
    let f = function("F", &["p"], &["q"], vec![node("Relu", &["p"], &["q"])]);
    let mut m = model(
        vec![
            node("Add", &["x", "w"], &["a"]),
            with(node("Constant", &[], &["s"]), "value_ints", ints_attr(&[-1])),
            node("Reshape", &["a", "s"], &["b"]),
            domain(node("F", &["b"], &["y"]), "loc"),
        ],
        &["N", "2"],
    );
    graph(&mut m).initializer.push(floats("w", &[2], &[1.0, 2.0]));
    graph(&mut m).value_info.push(value("a", 1, &["N", "2"]));
    m.functions.push(f);
    bytes(&m)
}

#[test]
fn the_mutated_model_is_sound() {
    let i = import_bytes(Bytes::new(rich()), &Options::default()).unwrap();
    assert_eq!(outputs(&i.graph), ["y: f32[N*2]"]);
    assert!(matches!(i.graph.value(i.graph.inputs()[0]).def, Def::Input(0)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a model's bytes, an import ends with a graph or with errors.
    #[test]
    fn mutations_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..5)
    ) {
        let mut bytes = rich();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] = bytes[at].wrapping_add(byte % 3).wrapping_sub(1),
                2 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Err(errors) = import_bytes(Bytes::new(bytes), &Options::default()) {
            prop_assert!(!errors.is_empty());
        }
    }
}
