//! What the user sees: data on stdout, talk on stderr.
//!
//! Guarantees: a closed stdout ends the process quietly; progress is shown on terminals only.

pub mod program;

use crate::error::{CliError, Fault, SCHEMA_VERSION};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Prints `text` to stdout as it is.
///
/// # Errors
/// When stdout cannot be written; a reader that went away is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // Nobody reads on, as in `planc ops | head`.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(CliError::new(Fault::Write, format!("cannot write to stdout: {e}"))),
    }
}

/// Prints one JSON object with the schema version in front.
///
/// # Errors
/// As [`print`].
pub fn print_json(object: &impl Serialize) -> Result<(), CliError> {
    print(&format!("{}\n", versioned(object)?))
}

/// `object` as JSON with the schema version in front.
///
/// # Errors
/// When it has no JSON form, which is a bug.
pub fn versioned(object: &impl Serialize) -> Result<Value, CliError> {
    let value =
        serde_json::to_value(object).map_err(|e| CliError::new(Fault::Internal, format!("no JSON form: {e}")))?;
    let mut out = json!({"schema_version": SCHEMA_VERSION});
    if let (Some(out), Value::Object(fields)) = (out.as_object_mut(), value) {
        out.extend(fields);
    }
    Ok(out)
}

/// Says something to the user that is not data.
pub fn say(text: &str) {
    // Nothing can be done about a closed stderr.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Warns the user.
pub fn warn(text: &str) {
    say(&format!("warning: {text}"));
}

/// Reports a failure.
pub fn error(error: &CliError, json: bool) {
    if json { say(&error.json().to_string()) } else { say(&error.text()) }
}

/// Reports what stopped the command line from being parsed: an error, or a request for help.
pub fn usage(stop: &clap::Error, json: bool) -> ExitCode {
    if json && stop.use_stderr() {
        let text = stop.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        error(&CliError::new(Fault::Usage, message).help("see `planc --help`"), true);
    } else if let Some(rest) = stop.render().to_string().strip_prefix("error: ") {
        say(&format!("error[{}]: {}", Fault::Usage.code(), rest.trim_end()));
    } else {
        // A closed stream is no reason to fail.
        let _ = stop.print();
    }
    ExitCode::from(u8::try_from(stop.exit_code()).unwrap_or(2))
}

/// A table without lines, columns aligned.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// A number of bytes for people.
pub fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// A hash as printed.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// What is being done now, on a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Shown on a terminal unless `quiet`.
    pub fn new(quiet: bool) -> Progress {
        let bar = ProgressBar::new_spinner();
        let shown = !quiet && std::io::stderr().is_terminal();
        bar.set_draw_target(if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        bar.set_style(ProgressStyle::default_spinner());
        if shown {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Progress(bar)
    }

    /// Names the stage that starts.
    pub fn stage(&self, name: &str) {
        self.0.set_message(name.to_string());
    }

    /// Names what is done, and how much of it.
    pub fn share(&self, name: &str, done: usize, of: usize) {
        self.0.set_message(format!("{name} {done}/{of}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".to_string(), "1".to_string()], vec!["long".to_string(), "22".to_string()]];
        assert_eq!(table(&["name", "n"], rows), "name  n\na     1\nlong  22\n");
    }

    #[test]
    fn objects_have_a_version() {
        assert_eq!(versioned(&json!({"ok": true})).unwrap().to_string(), "{\"schema_version\":1,\"ok\":true}");
    }
}
