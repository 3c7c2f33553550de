//! The pass pipeline as the driver sees it.

use crate::error::{CliError, Fault};
use planc_ir::Graph;
use serde::{Deserialize, Serialize};

/// What a pass did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Pass.
    pub name: String,
    /// How many changes it made.
    pub changes: usize,
}

/// A row of the pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
}

/// The passes in their order.
pub fn list() -> Vec<Listed> {
    Vec::new()
}

/// Checks that there are passes of these names.
///
/// # Errors
/// When one is unknown.
pub fn check_names(names: &[String]) -> Result<(), CliError> {
    let all = list();
    match names.iter().find(|n| !all.iter().any(|p| p.name == n.as_str())) {
        Some(name) => {
            Err(CliError::new(Fault::Usage, format!("no pass {name:?}")).help("`planc passes` lists the passes"))
        }
        None => Ok(()),
    }
}

/// Runs the pipeline, up to and with `stop_after`.
///
/// # Errors
/// When there is no such pass, or one fails.
pub fn run(
    _: &mut Graph,
    _: u8,
    _: &[String],
    stop_after: Option<&str>,
    _: Option<usize>,
) -> Result<Vec<Ran>, CliError> {
    check_names(&stop_after.map(str::to_string).into_iter().collect::<Vec<_>>())?;
    Ok(Vec::new())
}
