//! Value files: what is written is read, by us and by the protobuf crate.

use onnx_protobuf::{Message, TensorProto};
use planc_onnx::Code;
use planc_onnx::data::{Kind, Value, read, read_tensor, write, write_tensor};
use planc_tensor::{Bytes, DType, Map, Tensor};
use proptest::prelude::*;

fn strings() -> Tensor {
    Tensor::from_strings([2, 1], vec!["a".into(), String::new()]).unwrap()
}

fn tensors() -> Vec<Tensor> {
    vec![
        Tensor::scalar(1.5f32),
        Tensor::new([2, 0], Vec::<f64>::new()).unwrap(),
        Tensor::vector(vec![true, false]),
        Tensor::from_bytes(DType::I4, [3], Bytes::new(vec![0xf1u8, 8])).unwrap(),
        strings(),
    ]
}

#[test]
fn tensors_read_back() {
    for t in tensors() {
        let bytes = write_tensor("x", t.view());
        assert_eq!(read_tensor(&Bytes::new(bytes)).unwrap(), t);
    }
}

#[test]
fn other_readers_understand_it() {
    let bytes = write_tensor("x", Tensor::new([1, 2], vec![3i64, -1]).unwrap().view());
    let proto = TensorProto::parse_from_bytes(&bytes).unwrap();
    assert_eq!((proto.name.as_str(), proto.dims, proto.data_type), ("x", vec![1, 2], 7));
    assert_eq!(proto.raw_data.len(), 16);
}

#[test]
fn sequences_and_optionals_read_back() {
    let list = Value::Sequence(tensors().into_iter().map(Value::Tensor).collect());
    let nested = Value::Sequence(vec![list.clone(), Value::Sequence(vec![])]);
    let some = Value::Optional(Some(Box::new(list.clone())));
    for (value, kind) in [
        (list, Kind::Sequence),
        (nested, Kind::Sequence),
        (some, Kind::Optional),
        (Value::Optional(None), Kind::Optional),
        (Value::Optional(Some(Box::new(Value::Tensor(strings())))), Kind::Optional),
    ] {
        assert_eq!(read(&Bytes::new(write("v", &value)), kind).unwrap(), value);
    }
}

#[test]
fn maps_read_back() {
    let map = |keys: &Tensor, values: &Tensor| Value::Map(Map::new(keys, values).unwrap());
    let numbers = Tensor::vector(vec![-3i64, 0, 300]);
    let some = map(&numbers, &Tensor::vector(vec![1f32, 2.0, f32::INFINITY]));
    for (value, kind) in [
        (some.clone(), Kind::Map),
        (map(&strings(), &Tensor::vector(vec![7i64, -7])), Kind::Map),
        (map(&strings(), &Tensor::vector(vec![1f64, 0.1])), Kind::Map),
        (map(&Tensor::vector(vec![2i64, 1]), &strings()), Kind::Map),
        (Value::Sequence(vec![some.clone(), some]), Kind::Sequence),
    ] {
        assert_eq!(read(&Bytes::new(write("v", &value)), kind).unwrap(), value);
    }
    // Keys that are not packed, as other writers may write them; no value fits them.
    let unpacked = read(&Bytes::new(vec![3 << 3, 5, 3 << 3, 6]), Kind::Map).unwrap_err();
    assert!(unpacked.message.contains("2 keys and 0 values"), "{}", unpacked.message);
}

#[test]
fn bad_files_are_refused() {
    let code = |bytes: &[u8], kind| read(&Bytes::new(bytes.to_vec()), kind).unwrap_err().code;
    // A sparse tensor.
    assert_eq!(code(&[4 << 3 | 2, 0], Kind::Sequence), Code::UnsupportedFeature);
    // A number where a tensor belongs.
    assert_eq!(code(&[3 << 3, 0], Kind::Sequence), Code::Wire);
    // Longer than the file.
    assert_eq!(code(&[3 << 3 | 2, 9], Kind::Sequence), Code::Wire);
    let mut deep = Vec::new();
    for _ in 0..40 {
        deep = [vec![5 << 3 | 2, deep.len() as u8], deep].concat();
    }
    assert_eq!(code(&deep, Kind::Sequence), Code::WireLimit);
    assert_eq!(code(b"plain text is not a tensor at all", Kind::Tensor), Code::NotOnnx);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for kind in [Kind::Tensor, Kind::Sequence, Kind::Optional, Kind::Map] {
            let _ = read(&Bytes::new(bytes.clone()), kind);
        }
    }
}
