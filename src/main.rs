//! The command line of planc: compile ONNX models to plans, run, measure, inspect and compare them.
//!
//! Guarantees: stdout is data and stderr is talk; a failure is a located error with a documented exit code; a panic
//! becomes "internal error" with exit code 70; a closed stdout ends the process quietly.

mod args;
mod calibration;
mod commands;
mod driver;
mod error;
mod io;
mod machine;
mod panics;
mod reference;
mod report;
mod source;

use error::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let given: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let json = given.iter().any(|a| a == "--json");
    let cli = match args::parse(given) {
        Ok(cli) => cli,
        Err(stop) => return report::usage(&stop, json),
    };
    let result = panics::caught(move || commands::run(cli));
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            report::error(&error, json);
            ExitCode::from(error.exit() as u8)
        }
    }
}

/// What a verb ends with: 0, or 1 where the answer is "no".
type Outcome = Result<Exit, error::CliError>;
