//! `planc completions`: a completion script on stdout.

use crate::Outcome;
use crate::args::Cli;
use crate::args::verbs::Completions;
use crate::error::Exit;
use crate::report;
use clap::CommandFactory;

/// Prints the script for the shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "planc", &mut script);
    report::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
