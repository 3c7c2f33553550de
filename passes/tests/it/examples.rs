//! The examples in the headers of passes: what stands after "before" becomes what stands after "after".

use crate::cases::{apply, graph};
use planc_ir::text::{self, Header};
use planc_passes::PIPELINE;
use std::path::Path;

/// The example of a pass: the text block of its header.
fn example(pass: &str) -> Option<(String, String)> {
    let stem = pass.replace('-', "_");
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source = [src.join(format!("{stem}.rs")), src.join(&stem).join("mod.rs")];
    let source = source.iter().find_map(|p| std::fs::read_to_string(p).ok())?;
    let header: Vec<&str> = source.lines().map_while(|l| l.strip_prefix("//!")).collect();
    let header = header.join("\n");
    let block = header.split("```ir").nth(1)?.split("```").next()?;
    let (before, after) = block.split_once("// after")?;
    Some((before.into(), after.into()))
}

#[test]
fn headers_show_what_passes_do() {
    for pass in PIPELINE {
        let (before, after) =
            example(pass.name).unwrap_or_else(|| panic!("the header of {} has no example", pass.name));
        let mut g = graph(&before);
        apply(pass.name, &mut g, &before);
        let plain = Header::default();
        // Not inferred again: layouts are written, not inferred.
        let after = text::parse(&after).unwrap_or_else(|e| panic!("{e}\n{after}"));
        assert_eq!(text::print(&g, &plain), text::print(&after, &plain), "{}", pass.name);
    }
}
