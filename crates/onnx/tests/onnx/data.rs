//! Value files: what is written is read, by us and by the protobuf crate.

use onnx_protobuf::{Message, TensorProto};
use planc_onnx::Code;
use planc_onnx::data::{Kind, Value, read, read_tensor, write, write_tensor};
use planc_tensor::{Bytes, DType, Tensor};
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
fn bad_files_are_refused() {
    let code = |bytes: &[u8], kind| read(&Bytes::new(bytes.to_vec()), kind).unwrap_err().code;
    // A map.
    assert_eq!(code(&[6 << 3 | 2, 0], Kind::Sequence), Code::UnsupportedFeature);
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
        for kind in [Kind::Tensor, Kind::Sequence, Kind::Optional] {
            let _ = read(&Bytes::new(bytes.clone()), kind);
        }
    }
}
