//! ImageDecoder: the pixels of an encoded image, as `[height, width, channels]`.
//!
//! What cannot be decoded gives an empty result, as the specification says; what needs more memory than allowed is refused,
//! whatever the stream claims. The decoders are those of the crate `image`. Rotations that metadata ask for are not applied,
//! and transparency is dropped. JPEG 2000 is refused: its streams can ask for memory out of proportion to their pixels.

use crate::{AttrDef, EvalCx, InferCx, OpDef, OpError, Param, TypeSet, operand};
use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use planc_tensor::{DType, Dim, Tensor, View};
use std::io::Cursor;
use std::panic::AssertUnwindSafe;

/// The row of ImageDecoder.
pub const OP: OpDef = OpDef {
    name: "ImageDecoder",
    since: 20,
    types: &[("T1", TypeSet::of(&[DType::U8])), ("T2", TypeSet::of(&[DType::U8]))],
    inputs: &[Param::req("encoded_stream", "T1")],
    outputs: &[Param::req("image", "T2")],
    attrs: &[AttrDef::str("pixel_format", "RGB")],
    infer,
    eval: Some(eval),
    ..OpDef::NEW
};

/// Bytes of working memory for a pixel: four channels of 16 bits each in the decoder, its result, and ours.
const PER_PIXEL: usize = 32;

/// How a JPEG 2000 file and a bare JPEG 2000 stream begin (ISO/IEC 15444-1, I.5.1 and A.4.1).
const JPEG_2000: [&[u8]; 2] = [b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"];

/// What a pixel of the result is.
#[derive(Clone, Copy, PartialEq)]
enum Pixels {
    Rgb,
    Bgr,
    Grey,
}

impl Pixels {
    fn of(name: &str) -> Result<Pixels, OpError> {
        match name {
            "RGB" => Ok(Pixels::Rgb),
            "BGR" => Ok(Pixels::Bgr),
            "Grayscale" => Ok(Pixels::Grey),
            _ => Err(OpError::attribute(format!("pixel_format {name:?} is none of RGB, BGR and Grayscale"))),
        }
    }

    fn channels(self) -> usize {
        if self == Pixels::Grey { 1 } else { 3 }
    }

    /// The pixels of `image` in this format.
    fn take(self, image: DynamicImage) -> Vec<u8> {
        if self == Pixels::Grey
            && let DynamicImage::ImageLuma8(grey) = image
        {
            return grey.into_raw();
        }
        let mut rgb = image.into_rgb8().into_raw();
        match self {
            Pixels::Rgb => rgb,
            Pixels::Bgr => {
                rgb.chunks_exact_mut(3).for_each(|p| p.swap(0, 2));
                rgb
            }
            // The luma of Rec. 601, in 16 bits of fraction.
            Pixels::Grey => {
                let luma = |p: &[u8]| {
                    (19595 * u32::from(p[0]) + 38470 * u32::from(p[1]) + 7471 * u32::from(p[2]) + 0x8000) >> 16
                };
                rgb.chunks_exact(3).map(|p| luma(p) as u8).collect()
            }
        }
    }
}

fn infer(cx: &mut InferCx<'_>) -> Result<(), OpError> {
    let pixels = Pixels::of(cx.str("pixel_format"))?;
    if let Some(shape) = cx.shape(0)?
        && shape.len() != 1
    {
        return Err(OpError::shape(format!("the stream has {} axes, not one", shape.len())));
    }
    let shape = vec![cx.fresh(0, 0), cx.fresh(0, 1), Dim::from(pixels.channels())];
    cx.set_tensor(0, DType::U8, shape);
    Ok(())
}

fn eval(cx: &EvalCx<'_>, inputs: &[Option<View<'_>>]) -> Result<Vec<Tensor>, OpError> {
    let pixels = Pixels::of(cx.str("pixel_format"))?;
    let stream = operand(inputs, 0)?.bytes();
    if JPEG_2000.iter().any(|magic| stream.starts_with(magic)) {
        return Err(OpError::unsupported("the stream is JPEG 2000, which planc does not decode"));
    }
    // A decoder that panics about damage has not decoded it.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| decode(cx, stream)));
    let (shape, data) = match decoded.unwrap_or(Ok(None))? {
        Some(image) => {
            let extents = [image.height() as usize, image.width() as usize, pixels.channels()];
            (extents, pixels.take(image))
        }
        None => ([0, 0, pixels.channels()], vec![]),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

/// The image in a stream; `None` where there is none.
///
/// # Errors
/// When it needs more memory than allowed.
fn decode(cx: &EvalCx<'_>, stream: &[u8]) -> Result<Option<DynamicImage>, OpError> {
    let failed = |e: ImageError| match e {
        ImageError::Limits(_) => Err(OpError::limit(format!("the image needs more than {} bytes", cx.memory_limit))),
        _ => Ok(None),
    };
    let Ok(mut reader) = ImageReader::new(Cursor::new(stream)).with_guessed_format() else { return Ok(None) };
    let mut limits = Limits::default();
    limits.max_alloc = Some(cx.memory_limit as u64);
    reader.limits(limits);
    let decoder = match reader.into_decoder() {
        Ok(decoder) => decoder,
        Err(e) => return failed(e),
    };
    let (width, height) = decoder.dimensions();
    // Before anything is allocated for what the header claims.
    cx.reserve(DType::U8, &[height as usize, width as usize, PER_PIXEL])?;
    DynamicImage::from_decoder(decoder).map(Some).or_else(failed)
}
