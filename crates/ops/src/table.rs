//! Finding rows.

use crate::def::OpDef;
use crate::ops::FAMILIES;
use planc_ir::OpName;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The newest opset of ai.onnx that planc reads.
pub const NEWEST_OPSET: u32 = 28;

/// All rows, family by family.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    FAMILIES.iter().flat_map(|f| f.iter().copied())
}

/// The row of an operator, whatever its opset.
pub fn row(op: &OpName) -> Option<&'static OpDef> {
    find(&op.domain, &op.name)
}

/// The row of operator `name` in `domain` (`ai.onnx` is the empty domain).
pub fn find(domain: &str, name: &str) -> Option<&'static OpDef> {
    static BY_NAME: OnceLock<HashMap<(&str, &str), &OpDef>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| all().map(|r| ((r.domain, r.name), r)).collect());
    let domain = if domain == "ai.onnx" { "" } else { domain };
    by_name.get(&(domain, name)).copied()
}
