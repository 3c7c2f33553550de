//! planc::Dropout: a Dropout that may be in training mode. Unlike Dropout it is random, and no reshape.

use crate::ops::activation::dropout;
use crate::{Lowered, OpDef, Props};

/// The row of planc::Dropout.
pub const OP: OpDef = OpDef {
    domain: "planc",
    upgrades: &[],
    props: Props::RANDOM,
    lower: |_| Lowered::Reference,
    decompose: None,
    ..dropout::OP
};
