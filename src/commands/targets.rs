//! `planc targets`: what plans can be made for, and what this machine is.

use crate::Outcome;
use crate::args::verbs::Listing;
use crate::driver::{NATIVE, TARGETS};
use crate::error::Exit;
use crate::report;
use planc_kernels::isa::Tier;
use serde_json::json;

/// Prints the targets.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Listing) -> Outcome {
    let host = std::env::consts::ARCH.replace('_', "-");
    if args.json {
        let host = json!({"arch": host, "cpu_features": Tier::detect().name()});
        report::print_json(&json!({"targets": TARGETS, "default": TARGETS[0].name, "host": host}))?;
        return Ok(Exit::Ok);
    }
    let rows = TARGETS.iter().enumerate().map(|(i, t)| {
        let note = if i == 0 { " (default)" } else { "" };
        vec![t.name.to_string(), format!("{}{note}", t.about)]
    });
    let native = vec![NATIVE.to_string(), format!("the target of this machine: {host}, {} at best", Tier::detect())];
    report::print(&report::table(&["target", "what"], rows.chain([native])))?;
    Ok(Exit::Ok)
}
