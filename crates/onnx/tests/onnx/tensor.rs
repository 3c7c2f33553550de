//! Tensor records: every element type in every storage, and what is refused.

use onnx_protobuf::{Message, TensorProto};
use planc_onnx::error::{Code, ImportError};
use planc_onnx::files::Files;
use planc_onnx::model::{SparseTensorRecord, TensorRecord};
use planc_onnx::tensor::{dense, sparse};
use planc_onnx::{proto, tensor};
use planc_tensor::{Bytes, Complex, DType, Tensor};

fn none() -> Files {
    Files::from_bytes(Bytes::new(Vec::new()), None).unwrap()
}

fn record(dtype: DType, dims: &[i64]) -> TensorRecord {
    TensorRecord { element: dtype.onnx(), dims: dims.to_vec(), ..TensorRecord::default() }
}

/// The tensor of `record` with `raw` as its data, at an odd offset of the file.
fn raw(record: TensorRecord, raw: &[u8]) -> Result<Tensor, ImportError> {
    let mut bytes = vec![0xEE];
    bytes.extend_from_slice(raw);
    let mut files = Files::from_bytes(Bytes::new(bytes), None).unwrap();
    dense(TensorRecord { raw: Some(1..1 + raw.len()), ..record }, &mut files)
}

fn code(result: Result<Tensor, ImportError>) -> Code {
    result.unwrap_err().code
}

#[test]
fn typed_values_of_every_element_type() {
    use DType::*;
    for dtype in DType::ALL {
        let mut r = record(*dtype, &[4]);
        match dtype {
            F32 => r.float_data = vec![1.0, 2.0, 3.0, 4.0],
            C64 => r.float_data = vec![1.0; 8],
            F64 => r.double_data = vec![1.0, 2.0, 3.0, 4.0],
            C128 => r.double_data = vec![1.0; 8],
            I64 => r.int64_data = vec![1, 2, 3, 4],
            U32 | U64 => r.uint64_data = vec![1, 2, 3, 4],
            String => r.string_data = vec![b"a".to_vec(), vec![], b"c".to_vec(), b"d".to_vec()],
            U4 | I4 | F4E2M1 => r.int32_data = vec![0x21, 0x43],
            U2 | I2 => r.int32_data = vec![0xE4],
            _ => r.int32_data = vec![1, 2, 3, 4],
        }
        let mut fewer = r.clone();
        fewer.int32_data.pop();
        fewer.float_data.pop();
        fewer.double_data.pop();
        fewer.int64_data.pop();
        fewer.uint64_data.pop();
        fewer.string_data.pop();
        assert_eq!(code(dense(fewer, &mut none())), Code::TensorData, "{dtype}");
        let t = dense(r, &mut none()).unwrap_or_else(|e| panic!("{dtype}: {e}"));
        assert_eq!((t.dtype(), t.shape()), (*dtype, &[4][..]));
    }
}

#[test]
fn raw_values_agree_with_typed_ones() {
    let mut r = record(DType::F32, &[2]);
    r.float_data = vec![1.0, -2.5];
    let bytes: Vec<u8> = [1.0f32, -2.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (a, b) = (dense(r, &mut none()).unwrap(), raw(record(DType::F32, &[2]), &bytes).unwrap());
    assert_eq!(a, b);
    // Whole elements are aligned, so that they can be borrowed.
    assert_eq!(b.as_slice::<f32>(), Some(&[1.0, -2.5][..]));

    let mut r = record(DType::F16, &[2]);
    r.int32_data = vec![0x3c00, -0x8000];
    assert_eq!(dense(r, &mut none()).unwrap(), raw(record(DType::F16, &[2]), &[0, 0x3c, 0, 0x80]).unwrap());

    let mut r = record(DType::I4, &[3]);
    r.int32_data = vec![-0x0f, 8];
    assert_eq!(dense(r, &mut none()).unwrap(), raw(record(DType::I4, &[3]), &[0xf1, 8]).unwrap());

    let mut r = record(DType::C64, &[1]);
    r.float_data = vec![1.0, 2.0];
    assert_eq!(dense(r, &mut none()).unwrap().as_slice(), Some(&[Complex { re: 1.0f32, im: 2.0 }][..]));

    let mut r = record(DType::Bool, &[3]);
    r.int32_data = vec![0, 1, 300];
    assert_eq!(dense(r, &mut none()).unwrap(), raw(record(DType::Bool, &[3]), &[0, 2, 255]).unwrap());
}

#[test]
fn scalars_and_empty_tensors() {
    assert_eq!(raw(record(DType::I8, &[]), &[0xff]).unwrap(), Tensor::scalar(-1i8));
    assert!(dense(record(DType::F32, &[0, 7]), &mut none()).unwrap().is_empty());
    assert!(dense(record(DType::F32, &[0, i64::MAX, i64::MAX]), &mut none()).is_ok());
}

#[test]
fn contradictions_are_refused() {
    let mut both = record(DType::F32, &[1]);
    both.float_data = vec![1.0];
    assert_eq!(code(raw(both, &[0; 4])), Code::TensorData);
    let mut wrong = record(DType::F32, &[1]);
    wrong.int64_data = vec![1];
    let e = dense(wrong, &mut none()).unwrap_err();
    assert_eq!(e.message, "the values sit in int64_data, those of f32 belong in float_data");
    assert_eq!(code(raw(record(DType::F32, &[2]), &[0; 7])), Code::TensorData);
    assert_eq!(code(raw(record(DType::F32, &[2]), &[])), Code::TensorData);
    assert_eq!(code(dense(record(DType::F32, &[-1]), &mut none())), Code::TensorData);
    assert_eq!(code(dense(record(DType::F32, &[i64::MAX, 2]), &mut none())), Code::TensorData);
    // 2^62 * 4 elements wrap to nothing.
    assert_eq!(code(raw(record(DType::F32, &[1 << 62, 4]), &[])), Code::TensorData);
    assert_eq!(code(dense(record(DType::F32, &[1; 256]), &mut none())), Code::TensorData);
    let unknown = |element| TensorRecord { element, ..TensorRecord::default() };
    assert_eq!(code(dense(unknown(0), &mut none())), Code::ElementType);
    assert_eq!(code(dense(unknown(999), &mut none())), Code::ElementType);
    assert_eq!(code(dense(unknown(27), &mut none())), Code::UnsupportedFeature);
    for (dtype, value) in [(DType::U8, 256), (DType::I8, -129), (DType::F16, 1 << 16), (DType::U4, 256)] {
        let mut r = record(dtype, &[1]);
        r.int32_data = vec![value];
        assert_eq!(code(dense(r, &mut none())), Code::TensorData, "{dtype}");
    }
    let mut text = record(DType::String, &[1]);
    text.string_data = vec![vec![0xff]];
    assert_eq!(code(dense(text, &mut none())), Code::Utf8);
}

fn coo(dims: &[i64], index_dims: &[i64], indices: &[i64], values: &[f32]) -> Result<Tensor, ImportError> {
    let mut v = record(DType::F32, &[values.len() as i64]);
    v.float_data = values.to_vec();
    let mut i = record(DType::I64, index_dims);
    i.int64_data = indices.to_vec();
    sparse(SparseTensorRecord { values: Some(v), indices: Some(i), dims: dims.to_vec() }, &mut none())
}

#[test]
fn sparse_tensors_become_dense() {
    let expected = Tensor::new([2, 3], vec![0f32, 1.0, 0.0, 0.0, 0.0, 2.0]).unwrap();
    assert_eq!(coo(&[2, 3], &[2], &[1, 5], &[1.0, 2.0]).unwrap(), expected);
    assert_eq!(coo(&[2, 3], &[2, 2], &[0, 1, 1, 2], &[1.0, 2.0]).unwrap(), expected);
    assert!(coo(&[2], &[0], &[], &[]).is_ok());
    for (dims, index_dims, indices) in [
        (&[6][..], &[2][..], &[1, 6][..]),
        (&[6], &[2], &[-1, 5]),
        (&[6], &[2], &[3, 3]),
        (&[6], &[2], &[4, 3]),
        (&[2, 3], &[2, 2], &[0, 3, 1, 0]),
        (&[6], &[1, 2], &[0, 1]),
        (&[6], &[3], &[0, 1, 2]),
        (&[0], &[2], &[0, 1]),
    ] {
        assert_eq!(code(coo(dims, index_dims, indices, &[1.0, 2.0])), Code::TensorData, "{dims:?} {indices:?}");
    }
    assert_eq!(code(coo(&[1 << 20, 1 << 22], &[1], &[0], &[1.0])), Code::TensorLimit);
}

fn external(keys: &[(&str, &str)]) -> TensorRecord {
    TensorRecord {
        external: keys.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        is_external: true,
        ..record(DType::F32, &[2])
    }
}

#[test]
fn external_data_stays_in_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    let data: Vec<u8> = [0f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.join("sub/w.bin"), &data).unwrap();
    std::fs::write(outer.path().join("secret.bin"), &data).unwrap();
    let mut proto = TensorProto::new();
    proto.name = "unused".into();
    std::fs::write(folder.join("model.onnx"), proto.write_to_bytes().unwrap()).unwrap();
    let mut files = Files::open(&folder.join("model.onnx")).unwrap();

    let t = dense(external(&[("location", "sub/w.bin"), ("offset", "4"), ("length", "8")]), &mut files).unwrap();
    assert_eq!(t.as_slice(), Some(&[1f32, 2.0][..]));
    let t = dense(external(&[("location", "./sub/w.bin")]), &mut files).unwrap();
    assert_eq!(t.as_slice(), Some(&[0f32, 1.0][..]));
    // Misaligned: copied.
    let odd = dense(external(&[("location", "sub/w.bin"), ("offset", "1")]), &mut files).unwrap();
    assert_eq!(odd.shared_bytes().unwrap().as_slice(), &data[1..9]);

    let absolute = outer.path().join("secret.bin");
    let mut bad: Vec<Vec<(&str, &str)>> = [
        "",
        "../secret.bin",
        "sub/../../secret.bin",
        "sub",
        "none.bin",
        "sub/w.bin\0",
        "/dev/zero",
        absolute.to_str().unwrap(),
    ]
    .iter()
    .map(|l| vec![("location", *l)])
    .collect();
    for (key, value) in [
        ("offset", "-4"),
        ("offset", "+4"),
        ("offset", "8"),
        ("offset", "18446744073709551615"),
        ("offset", "18446744073709551616"),
        ("offset", "four"),
        ("length", "4"),
        ("length", "12"),
        ("length", "-8"),
        ("location", "sub/w.bin"),
    ] {
        bad.push(vec![("location", "sub/w.bin"), (key, value)]);
    }
    bad.push(vec![("offset", "0")]);
    for keys in bad {
        assert_eq!(code(dense(external(&keys), &mut files)), Code::ExternalData, "{keys:?}");
    }
    assert!(dense(external(&[("location", "sub/w.bin"), ("color", "red")]), &mut files).is_ok());
    assert_eq!(code(dense(external(&[("location", "w")]), &mut none())), Code::ExternalData);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, folder.join("link.bin")).unwrap();
        let e = dense(external(&[("location", "link.bin")]), &mut files).unwrap_err();
        assert!(e.message.contains("symbolic link"), "{e}");
    }
}

#[test]
fn a_tensor_file_is_read() {
    let mut proto = TensorProto::new();
    proto.dims = vec![2];
    proto.data_type = 7;
    proto.int64_data = vec![3, -4];
    let record = proto::tensor(&proto.write_to_bytes().unwrap()).unwrap();
    assert_eq!(tensor::dense(record, &mut none()).unwrap(), Tensor::vector(vec![3i64, -4]));
}
