//! Decoding of images: formats of pixels, streams that are no images, and streams that claim too much.

use crate::cases::{attrs, refuse, run};
use planc_ops::{ErrorKind, EvalCx, find};
use planc_tensor::{Attr, DType, Tensor};

fn stream(parts: &[&[u8]]) -> Tensor {
    Tensor::vector(parts.concat())
}

/// What `pixel_format` makes of a stream: extents and elements.
fn decoded(format: &str, stream: &Tensor, limit: usize) -> Result<(Vec<usize>, Vec<u8>), ErrorKind> {
    let row = find("", "ImageDecoder").unwrap();
    let attrs = attrs(&[("pixel_format", Attr::Str(format.into()))]);
    let cx = EvalCx::new(row, &attrs, &[DType::U8], limit);
    let image = row.eval.unwrap()(&cx, &[Some(stream.view())]).map_err(|e| e.kind)?.remove(0);
    Ok((image.shape().to_vec(), image.view().to_vec().unwrap()))
}

#[test]
fn pixels_come_in_the_order_asked_for() {
    let pixels = [255, 0, 0, 0, 255, 0, 10, 20, 30, 0, 0, 0, 255, 255, 255, 0, 0, 255];
    let ppm = stream(&[b"P6\n3 2\n255\n", &pixels]);
    let swapped: Vec<u8> = pixels.chunks(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
    let of = |format: &str| decoded(format, &ppm, 1 << 20).unwrap();
    assert_eq!(of("RGB"), (vec![2, 3, 3], pixels.to_vec()));
    assert_eq!(of("BGR"), (vec![2, 3, 3], swapped));
    // 0.299 R + 0.587 G + 0.114 B.
    assert_eq!(of("Grayscale"), (vec![2, 3, 1], vec![76, 150, 18, 0, 255, 29]));
    let pgm = stream(&[b"P5\n2 1\n255\n", &[7, 200]]);
    assert_eq!(decoded("Grayscale", &pgm, 1 << 20), Ok((vec![1, 2, 1], vec![7, 200])));
    assert_eq!(decoded("RGB", &pgm, 1 << 20), Ok((vec![1, 2, 3], vec![7, 7, 7, 200, 200, 200])));
    // Bottom row first, rows of 6 bytes filled up to 8, blue first.
    let rows = [3, 2, 1, 6, 5, 4, 0, 0, 13, 12, 11, 16, 15, 14, 0, 0];
    let header = [&[70, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 24][..], &[0; 25]];
    let bmp = stream(&[b"BM", header[0], header[1], &rows]);
    assert_eq!(decoded("RGB", &bmp, 1 << 20), Ok((vec![2, 2, 3], vec![11, 12, 13, 14, 15, 16, 1, 2, 3, 4, 5, 6])));
}

#[test]
fn what_is_no_image_is_empty() {
    for bytes in [&b""[..], b"P6\n3 2\n255\n\0\0", b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xd8\xff\xe0\0\x10JFIF", b"hello"] {
        assert_eq!(decoded("BGR", &stream(&[bytes]), 1 << 20), Ok((vec![0, 0, 3], vec![])), "{bytes:?}");
        assert_eq!(decoded("Grayscale", &stream(&[bytes]), 1 << 20), Ok((vec![0, 0, 1], vec![])));
    }
}

#[test]
fn claims_beyond_the_limit_are_refused() {
    let ppm = stream(&[b"P6\n60000 60000\n255\n", &[0; 64]]);
    assert_eq!(decoded("RGB", &ppm, 1 << 30), Err(ErrorKind::Limit));
    let jpeg_2000 = stream(&[b"\x00\x00\x00\x0cjP  \r\n\x87\n"]);
    assert_eq!(decoded("RGB", &jpeg_2000, 1 << 30), Err(ErrorKind::Unsupported));
    refuse("ImageDecoder", &[("pixel_format", Attr::Str("YUV".into()))], std::slice::from_ref(&ppm), "none of RGB");
    let matrix = Tensor::new([1, 2], vec![0u8, 0]).unwrap();
    assert!(run("", "ImageDecoder", attrs(&[]), &[Some(matrix)], 1).unwrap_err().message.contains("not one"));
}
