//! Any bytes as a model, and as a file of values: both end with a result or with errors, and what is read as a value is
//! what its written form reads as.

#![no_main]

use libfuzzer_sys::fuzz_target;
use planc_onnx::data::{Kind, read, write};
use planc_onnx::{Options, import_bytes};
use planc_tensor::Bytes;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::new(data.to_vec());
    if let Err(errors) = import_bytes(bytes.clone(), &Options::default()) {
        assert!(!errors.is_empty());
    }
    for kind in [Kind::Tensor, Kind::Sequence, Kind::Optional, Kind::Map] {
        if let Ok(value) = read(&bytes, kind) {
            assert_eq!(read(&Bytes::new(write("", &value)), kind).as_ref(), Ok(&value));
        }
    }
});
