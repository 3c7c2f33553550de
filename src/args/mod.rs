//! The command line as types: clap structs, parsers of values, and the spellings of trtexec.
//!
//! Deliberately absent: anything a verb does.

mod trtexec;
pub mod values;
pub mod verbs;

use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// Ahead-of-time compiler for ONNX models: one binary, one serialized plan.
#[derive(Debug, Parser)]
#[command(name = "planc", version, max_term_width = 110, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 ok, 1 the answer is no, 2 usage, 3 invalid input, 4 unsupported, 5 wrong machine or \
                        version, 6 integrity failure, 7 resource limit, 70 internal bug."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Accepted for scripts written for trtexec.
    #[arg(long, global = true, hide = true)]
    pub verbose: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a model to a plan
    Compile(verbs::Compile),
    /// Run a plan, or a model that is compiled in memory first
    Run(verbs::Run),
    /// Measure how long inferences take
    Bench(verbs::Bench),
    /// Say whether a model can be compiled, or a plan can be run here; writes nothing
    Check(verbs::Check),
    /// Show what is in a model or plan
    Inspect(verbs::Inspect),
    /// Compare two models, IR texts or plans by name
    Diff(verbs::Diff),
    /// Check every byte of a plan
    Verify(verbs::Verify),
    /// Show the decisions behind a plan and their reasons
    Explain(verbs::Explain),
    /// Measure the ranges of a model's values on samples, for --precision int8
    Calibrate(verbs::Calibrate),
    /// Compare the results of a plan with those of its model in f32
    Accuracy(verbs::Accuracy),
    /// Measure which algorithms are the fastest on this machine, for --tuning
    Tune(verbs::Tune),
    /// List the operators that are supported
    Ops(verbs::Ops),
    /// List the passes in their order
    Passes(verbs::Listing),
    /// List the targets that code is generated for
    Targets(verbs::Listing),
    /// Print a completion script for a shell
    Completions(verbs::Completions),
}

/// The parsed command line.
///
/// # Errors
/// When it is wrong, or asks for help or the version.
pub fn parse(given: Vec<OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(trtexec::translated(given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
