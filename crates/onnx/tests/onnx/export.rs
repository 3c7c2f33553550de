//! Exported models: they import again as the same graph, and the protobuf crate reads them.

use crate::builder::*;
use onnx_protobuf::{Message, ModelProto};
use planc_ir::{Graph, Layout, TensorType};
use planc_onnx::export::{Exported, OLDEST_OPSET, Weights, export};
use planc_onnx::{Category, Imported, Metadata, Options, import_bytes, import_file};
use planc_tensor::Bytes;

fn import(bytes: Vec<u8>) -> Imported {
    import_bytes(Bytes::new(bytes), &Options::default()).unwrap_or_else(|e| panic!("{e:?}"))
}

fn sample() -> Imported {
    let mut m = model(
        vec![
            node("Add", &["x", "w"], &["a"]),
            with(node("Reshape", &["a", "s"], &["b"]), "allowzero", int_attr(0)),
            domain(node("F", &["b"], &["y"]), "loc"),
        ],
        &["N", "2", ""],
    );
    let w: Vec<f32> = (0..600).map(|i| i as f32).collect();
    graph(&mut m).initializer.push(floats("w", &[2, 300], &w));
    graph(&mut m).initializer.push(int64s("s", &[3], &[0, 2, -1]));
    m.functions.push(function("F", &["p"], &["q"], vec![node("Relu", &["p"], &["q"])]));
    m.metadata_props.push(Default::default());
    import(bytes(&m))
}

fn written(graph: &Graph, metadata: &Metadata, weights: &Weights) -> Exported {
    export(graph, metadata, weights).unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn a_model_survives_the_round_trip() {
    let first = sample();
    let file = written(&first.graph, &first.metadata, &Weights::Inline);
    let second = import(file.model.clone());
    assert!(first.graph.same_as(&second.graph));
    assert_eq!(second.metadata.properties, first.metadata.properties);
    assert_eq!(written(&second.graph, &second.metadata, &Weights::Inline), file);
}

#[test]
fn the_opset_is_kept_or_raised() {
    let opset_of = |opset_read: i64| {
        let mut m = model(vec![node("Relu", &["x"], &["h"]), node("Reshape", &["h", "s"], &["y"])], &["2"]);
        graph(&mut m).initializer.push(int64s("s", &[1], &[-1]));
        m.opset_import = vec![opset("", opset_read)];
        let i = import(bytes(&m));
        written(&i.graph, &i.metadata, &Weights::Inline)
    };
    assert_eq!(opset_of(7).opset, OLDEST_OPSET);
    assert_eq!(opset_of(17).opset, 17);
    let newest = opset_of(28);
    assert_eq!(newest.opset, 28);
    let proto = ModelProto::parse_from_bytes(&newest.model).unwrap();
    assert_eq!((proto.ir_version, proto.opset_import.len(), proto.graph.node.len()), (14, 1, 2));
}

#[test]
fn large_weights_go_to_external_data() {
    let first = sample();
    let folder = tempfile::tempdir().unwrap();
    let file = written(&first.graph, &first.metadata, &Weights::External("m.data".into()));
    assert_eq!(file.weights.len(), 2400);
    std::fs::write(folder.path().join("m.onnx"), &file.model).unwrap();
    std::fs::write(folder.path().join("m.data"), &file.weights).unwrap();
    let second = import_file(&folder.path().join("m.onnx"), &Options::default()).unwrap();
    assert!(first.graph.same_as(&second.graph));
}

#[test]
fn what_onnx_cannot_say_is_declined() {
    let mut i = sample();
    let y = i.graph.outputs()[0];
    let blocked = TensorType { layout: Layout::Nchw16c, ..i.graph.tensor_type(y).unwrap().clone() };
    i.graph.set_type(y, blocked);
    let errors = export(&i.graph, &i.metadata, &Weights::Inline).unwrap_err();
    assert_eq!((errors.len(), errors[0].category()), (1, Category::Unsupported));
    assert!(errors[0].to_string().starts_with("node \"y\" (Relu, opset 17): fused"), "{}", errors[0]);
}
