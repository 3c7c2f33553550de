//! `planc check` of models that cannot be compiled: everything that is not supported, at once.

use crate::{planc, planc_at};
use serde_json::{Value, json};

/// A field of a protobuf message: bytes, or a number.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    [varint(u64::from(number << 3 | 2)), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn number(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field << 3)), varint(value)].concat()
}

fn varint(mut v: u64) -> Vec<u8> {
    let mut out = vec![];
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
    out
}

/// A NodeProto `result = domain.op(operand)`, named after its result.
fn node(domain: &str, op: &str, operand: &str, result: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes.iter().flat_map(|a| field(5, a)).collect();
    let text = |n, s: &str| field(n, s.as_bytes());
    [text(1, operand), text(2, result), text(3, result), text(4, op), text(7, domain), attributes].concat()
}

/// An AttributeProto that holds a graph of these nodes.
fn branch(name: &str, nodes: &[Vec<u8>], result: &str) -> Vec<u8> {
    let nodes: Vec<u8> = nodes.iter().flat_map(|n| field(1, n)).collect();
    let graph = [nodes, field(2, name.as_bytes()), field(12, &field(1, result.as_bytes()))].concat();
    [field(1, name.as_bytes()), field(6, &graph), number(20, 5)].concat()
}

/// A ValueInfoProto of a tensor.
fn value(name: &str, dtype: u64, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| field(1, &number(1, *d))).collect();
    let tensor = [number(1, dtype), field(2, &dims)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn opset(domain: &str, version: u64) -> Vec<u8> {
    [field(1, domain.as_bytes()), number(2, version)].concat()
}

/// A model with everything that is not supported: unknown operators and domains, also in branches and in a function that
/// is called twice, an operator of another opset, and training.
fn model() -> Vec<u8> {
    let function = [
        field(1, b"F"),
        field(4, b"p"),
        field(5, b"r"),
        field(7, &node("com.example", "Inside", "p", "r", &[])),
        field(9, &opset("com.example", 2)),
        field(10, b"loc"),
    ];
    let branches = [
        branch("then_branch", &[node("", "Mystery", "x", "t", &[])], "t"),
        branch("else_branch", &[node("", "Relu", "x", "e", &[])], "e"),
    ];
    let nodes = [
        node("", "Enigma", "x", "a", &[]),
        node("", "Relu", "a", "after", &[]),
        node("com.example", "Custom", "after", "b", &[]),
        node("", "If", "c", "chosen", &branches),
        node("loc", "F", "x", "f", &[]),
        node("loc", "F", "x", "g", &[]),
        node("", "Gelu", "x", "early", &[]),
        node("ai.onnx.preview.training", "Gradient", "x", "grad", &[]),
        node("org.nobody", "Unimported", "x", "u", &[]),
        node("", "Relu", "x", "fine", &[]),
    ];
    let nodes: Vec<u8> = nodes.iter().flat_map(|n| field(1, n)).collect();
    let inputs = [field(11, &value("x", 1, &[2, 3])), field(11, &value("c", 9, &[]))].concat();
    let graph = [nodes, field(2, b"g"), inputs, field(12, &field(1, b"b"))].concat();
    let imports = [opset("", 17), opset("com.example", 2), opset("loc", 1), opset("ai.onnx.preview.training", 1)];
    let imports: Vec<u8> = imports.iter().flat_map(|o| field(8, o)).collect();
    [number(1, 8), imports, field(7, &graph), field(25, &function.concat())].concat()
}

#[test]
fn all_unsupported_nodes_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, model()).unwrap();
    let ran = planc_at("check {} --json", &path);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let listed: Vec<Value> = report["unsupported"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| json!([u["node"], u["domain"], u["op"], u["opset"], u["operands"]]))
        .collect();
    let x = json!(["f32[2,3]"]);
    let want = [
        json!(["a", "", "Enigma", 17, x]),
        // Its operand comes out of what is not supported.
        json!(["b", "com.example", "Custom", 2, ["unknown"]]),
        json!(["t", "", "Mystery", 17, x]),
        json!(["early", "", "Gelu", 17, x]),
        json!(["grad", "ai.onnx.preview.training", "Gradient", 1, x]),
        json!(["u", "org.nobody", "Unimported", null, x]),
        json!(["r", "com.example", "Inside", 2, x]),
    ];
    assert_eq!(listed, want);
    let of = |node: &str, key: &str| {
        let all = report["unsupported"].as_array().unwrap();
        all.iter().find(|u| u["node"] == node).unwrap()[key].as_str().unwrap_or_default().to_string()
    };
    assert!(of("grad", "reason").contains("training is not supported"));
    assert!(of("grad", "help").contains("for inference"));
    assert!(of("early", "help").contains("opset 20 or newer"));
    assert!(of("u", "help").contains("opset imports"));
    assert!(of("b", "help").contains("function"));
    assert!(report["unsupported"].as_array().unwrap().iter().all(|u| u["help"].is_string()));
    let text = planc_at("check {}", &path);
    assert_eq!((text.code, text.stderr.as_str()), (4, ""));
    for word in ["com.example::Custom", "f32[2,3]", "unsupported: 7 nodes", "help: "] {
        assert!(text.stdout.contains(word), "{word}: {}", text.stdout);
    }
    // Other verbs end with the same code.
    assert_eq!(planc(["inspect".as_ref(), path.as_os_str()]).code, 4);
}
