//! The command line as users see it: the binary is run and what it prints is compared. And the rules of the whole
//! repository.

mod architecture;
mod check;
mod device;
mod errors;
mod help;
mod models;
mod plans;
mod quantise;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A model of `testdata/models`.
fn model(name: &str) -> PathBuf {
    root().join("testdata/models").join(name).join("model.onnx")
}

/// What a run of the binary came to.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what is printed is UTF-8");
        let code = output.status.code().expect("the process was not killed");
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Both streams and the exit code, with `folder` named as FOLDER.
    fn shown(&self, folder: &Path) -> String {
        let all = format!("exit {}\n-- stdout\n{}-- stderr\n{}", self.code, self.stdout, self.stderr);
        all.replace(&folder.display().to_string(), "FOLDER").replace(&root().display().to_string(), "ROOT")
    }

    /// Stdout of a run that succeeded.
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// Stdout of a run that succeeded, as JSON.
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("stdout is JSON")
    }
}

/// Runs the binary.
fn planc<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_planc")).args(args).output().expect("the binary runs");
    Ran::new(output)
}

/// Runs the binary with arguments in one line, `{}` standing for `path`.
fn planc_at(line: &str, path: &Path) -> Ran {
    planc(line.split(' ').map(|word| word.replace("{}", &path.display().to_string())))
}
