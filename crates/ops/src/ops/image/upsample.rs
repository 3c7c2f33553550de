//! Upsample: what `Resize` was called before opset 10.

use super::resize;
use crate::{AttrDef, AttrKind, OpDef, OpError, Upgrade};
use planc_ir::OpName;
use planc_tensor::Tensor;

/// The row of Upsample, whose nodes become `Resize`.
pub const OP: OpDef = OpDef {
    name: "Upsample",
    since: 1,
    until: 10,
    attrs: &[
        AttrDef::str("mode", "nearest"),
        AttrDef::optional("height_scale", AttrKind::Float).until(7),
        AttrDef::optional("width_scale", AttrKind::Float).until(7),
        AttrDef::optional("scales", AttrKind::Floats).since(7).until(9),
    ],
    upgrades: &[
        Upgrade {
            to: 7,
            step: |cx| {
                if let (Some(h), Some(w)) = (cx.attrs.float("height_scale"), cx.attrs.float("width_scale")) {
                    cx.attrs.take("height_scale");
                    cx.attrs.take("width_scale");
                    cx.attrs.set("scales", vec![1.0, 1.0, h, w]);
                }
                Ok(())
            },
        },
        Upgrade {
            to: 9,
            step: |cx| {
                let scales = cx.attrs.floats("scales").map(<[f32]>::to_vec);
                let scales = scales.ok_or_else(|| OpError::attribute("attribute scales is missing"))?;
                cx.attrs.take("scales");
                cx.const_input("scales", 1, Tensor::vector(scales));
                Ok(())
            },
        },
        Upgrade {
            to: 10,
            step: |cx| {
                *cx.op = OpName::onnx("Resize");
                // Caffe2's name of linear interpolation, which old exporters wrote.
                if cx.attrs.str("mode") == Some("bilinear") {
                    cx.attrs.set("mode", "linear");
                }
                resize::from_scales(cx)
            },
        },
    ],
    ..resize::OP
};
