//! `planc passes`: the pipeline in its order.

use crate::Outcome;
use crate::args::verbs::Listing;
use crate::driver::passes;
use crate::error::Exit;
use crate::report;
use serde_json::json;

/// Prints the passes.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Listing) -> Outcome {
    let list = passes::list();
    if args.json {
        report::print_json(&json!({"passes": list}))?;
    } else {
        let rows = list.iter().map(|p| vec![p.name.to_string(), format!("-O{}", p.level), p.summary.to_string()]);
        report::print(&report::table(&["pass", "from", "what"], rows))?;
    }
    Ok(Exit::Ok)
}
