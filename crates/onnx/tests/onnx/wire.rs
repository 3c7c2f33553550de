//! The scan of raw bytes: what it lets through, what it refuses and where it says so.

use onnx_protobuf::{GraphProto, Message, ModelProto, NodeProto, TensorProto, attribute_proto::AttributeType};
use planc_onnx::error::{Category, Code, ImportError};
use planc_onnx::{proto, wire};
use proptest::prelude::*;

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let mut node = NodeProto::new();
    node.op_type = op.into();
    node.input = inputs.iter().map(|s| (*s).into()).collect();
    node.output = outputs.iter().map(|s| (*s).into()).collect();
    node
}

fn model() -> ModelProto {
    let mut graph = GraphProto::new();
    graph.doc_string = "dropped".into();
    graph.node.push(node("Relu", &["x"], &["y"]));
    graph.node.push(node("Add", &["y", "w"], &["z"]));
    let mut w = TensorProto::new();
    w.name = "w".into();
    w.dims = vec![2];
    w.data_type = 1;
    w.raw_data = vec![0, 0, 128, 63, 0, 0, 0, 64];
    graph.initializer.push(w);
    let mut model = ModelProto::new();
    model.ir_version = 8;
    model.graph = Some(graph).into();
    model
}

fn bytes(model: &ModelProto) -> Vec<u8> {
    model.write_to_bytes().unwrap()
}

fn error(bytes: &[u8]) -> ImportError {
    proto::model(bytes).unwrap_err()
}

/// `content` as field `number` with a length.
fn wrap(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut n = content.len();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(content);
    out
}

#[test]
fn raw_data_becomes_a_span() {
    let bytes = bytes(&model());
    let (record, warnings) = proto::model(&bytes).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let graph = record.graph.unwrap();
    assert_eq!(graph.nodes.len(), 2);
    assert_eq!(graph.nodes[1].inputs, ["y", "w"]);
    let span = graph.initializers[0].raw.clone().unwrap();
    assert_eq!(bytes[span], [0, 0, 128, 63, 0, 0, 0, 64]);
}

#[test]
fn empty_raw_data_is_told_from_absent() {
    let mut w = TensorProto::new();
    assert_eq!(proto::tensor(&[0x10, 1]).unwrap().raw, None);
    w.data_type = 1;
    let mut bytes = w.write_to_bytes().unwrap();
    bytes.extend([9 << 3 | 2, 0]);
    assert!(proto::tensor(&bytes).unwrap().raw.unwrap().is_empty());
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_model() {
    let bytes = bytes(&model());
    for end in 0..bytes.len() {
        if let Err(e) = proto::model(&bytes[..end]) {
            assert!(matches!(e.code, Code::Wire | Code::NotOnnx), "{e}");
        }
    }
    let e = error(&bytes[..bytes.len() - 1]);
    assert_eq!((e.code, e.path.as_str()), (Code::Wire, ""));
    assert!(e.message.contains("runs past the end"), "{e}");
}

#[test]
fn groups_are_refused_at_any_depth() {
    let group = [11 << 3 | 3, 11 << 3 | 4];
    let e = error(&group);
    assert_eq!((e.code, e.byte), (Code::Wire, Some(0)));
    let e = error(&wrap(7, &wrap(1, &[0x1b])));
    assert_eq!((e.code, e.path.as_str(), e.byte), (Code::Wire, "graph.node[0]", Some(4)));
}

#[test]
fn numbers_are_at_most_64_bits() {
    let mut long = vec![0x08];
    long.extend([0xff; 10]);
    long.push(1);
    assert!(error(&long).message.contains("longer than 64 bits"));
    let mut most = vec![0x08];
    most.extend([0xff; 9]);
    most.push(1);
    assert_eq!(proto::model(&most).unwrap().0.ir_version, -1);
}

#[test]
fn wire_types_follow_the_schema() {
    let e = error(&wrap(7, &[1 << 3, 5]));
    assert_eq!((e.code, e.path.as_str()), (Code::Wire, "graph.node[0]"));
    assert!(error(&[0x0f]).message.contains("invalid wire type 7"));
    assert!(error(&[0x02, 0x00]).message.contains("invalid field number 0"));
}

#[test]
fn names_must_be_utf8() {
    let e = error(&wrap(7, &wrap(1, &wrap(4, b"Re\xfflu"))));
    assert_eq!((e.code, e.path.as_str(), e.byte), (Code::Utf8, "graph.node[0].op_type", Some(8)));
}

#[test]
fn unknown_fields_are_dropped_with_a_warning() {
    let mut bytes = bytes(&model());
    bytes.extend(wrap(15, b"something"));
    let (record, warnings) = proto::model(&bytes).unwrap();
    assert_eq!(record.graph.unwrap().nodes.len(), 2);
    assert!(warnings[0].starts_with("unknown field 15 of the model"), "{warnings:?}");
}

/// `levels` of If: graph, node, attribute, graph, ...
fn nested(levels: usize) -> Vec<u8> {
    let mut graph = wrap(2, b"leaf");
    for _ in 0..levels {
        let mut attribute = wrap(6, &graph);
        attribute.extend([20 << 3 & 0x7f | 0x80, 1, AttributeType::GRAPH as u8]);
        graph = wrap(1, &wrap(5, &attribute));
    }
    wrap(7, &graph)
}

#[test]
fn nesting_is_limited_before_the_parser_is() {
    for levels in 0..=31 {
        assert!(proto::model(&nested(levels)).is_ok(), "{levels} levels");
    }
    for levels in [32, 100, 10_000] {
        let e = error(&nested(levels));
        assert_eq!((e.code, e.category()), (Code::WireLimit, Category::Limit));
    }
}

#[test]
fn too_many_empty_messages_are_refused() {
    let e = error(&wrap(7, &[0x0a, 0].repeat(wire::MAX_MESSAGES)));
    assert_eq!(e.code, Code::WireLimit);
}

#[test]
fn other_files_are_recognised() {
    for (bytes, what) in [
        (&b""[..], "empty"),
        (b"this is not an ONNX model, it is a letter to the editor", "it is text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs"),
        (b"PK\x03\x04\x14\0\0\0", "zip"),
        (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
        (b"\x28\0\0\0ORTM\0\0", "ONNX Runtime"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ] {
        let e = error(bytes);
        assert_eq!(e.code, Code::NotOnnx);
        assert!(e.message.contains(what), "{e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Flipped, removed and inserted bytes give a model or an error.
    #[test]
    fn mutations_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6)) {
        let mut bytes = bytes(&model());
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        let _ = proto::model(&bytes);
    }

    /// What the scan accepts, the protobuf runtime accepts as well.
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if wire::scan(&bytes, wire::Message::Model).is_ok() {
            proto::model(&bytes).unwrap();
        }
    }
}
