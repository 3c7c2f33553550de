//! The verbs, one file each.

mod accuracy;
mod bench;
mod calibrate;
mod check;
mod compile;
mod completions;
mod diff;
mod explain;
mod inspect;
mod ops;
mod passes;
mod run;
mod targets;
mod tune;
mod verify;

use crate::Outcome;
use crate::args::{Cli, Command};

/// Does what the command line says.
///
/// # Errors
/// Those of the verb.
pub fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Compile(args) => compile::run(&args, cli.verbose),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Accuracy(args) => accuracy::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Ops(args) => ops::run(&args),
        Command::Passes(args) => passes::run(&args),
        Command::Targets(args) => targets::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
