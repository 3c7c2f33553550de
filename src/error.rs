//! Errors as the user sees them: a stable code, an exit code, the place, and what to do about it.
//!
//! Guarantees: every failure of every verb ends here; the text form is `error[E0412]: where: what` with an indented
//! `help:`, the JSON form one object on stderr; codes keep their meaning. The codes E0101 to E0699 are those of the importer.

use planc_onnx::{Category, ImportError};
use planc_ops::{ErrorKind, NodeError};
use planc_plan::container::{ErrorClass, FormatError, WriteError};
use planc_runtime::{OpenError, RunError, SessionError, map::MapError};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::Path;

/// Version of every JSON object that is printed.
pub const SCHEMA_VERSION: u32 = 1;

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// The verdict is "no".
    No = 1,
    /// The command line is wrong.
    Usage = 2,
    /// An input is unreadable or invalid.
    Invalid = 3,
    /// This compiler does not support it.
    Unsupported = 4,
    /// The plan does not fit this machine or version.
    Unfit = 5,
    /// A hash does not match.
    Integrity = 6,
    /// More than a limit allows.
    Limit = 7,
    /// A bug in planc.
    Internal = 70,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $exit:ident;)*) => {
        /// The kinds of failure that the command line adds to those of the importer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($(#[$doc])* $variant,)* }

        impl Fault {
            /// All kinds, in order of their codes.
            #[cfg(test)]
            const ALL: &'static [Fault] = &[$(Fault::$variant,)*];

            /// The code as printed.
            pub fn code(self) -> &'static str {
                match self { $(Fault::$variant => $code,)* }
            }

            fn exit(self) -> Exit {
                match self { $(Fault::$variant => Exit::$exit,)* }
            }
        }
    };
}

faults! {
    /// The command line is wrong.
    Usage = "E0001", Usage;
    /// A file that would be overwritten.
    Exists = "E0002", Usage;
    /// A result that cannot be written.
    Write = "E0003", Invalid;
    /// The IR text cannot be parsed.
    IrText = "E0011", Invalid;
    /// A node that inference refuses.
    Inference = "E0405", Invalid;
    /// A node that this compiler does not support.
    UnsupportedNode = "E0501", Unsupported;
    /// A node beyond a limit.
    NodeLimit = "E0601", Limit;
    /// A pass broke the graph.
    Pass = "E0651", Internal;
    /// The file is no plan.
    NotAPlan = "E0701", Invalid;
    /// The plan has another format version.
    PlanVersion = "E0702", Unfit;
    /// The plan was cut short.
    PlanTruncated = "E0703", Integrity;
    /// A hash of the plan does not match.
    PlanDamaged = "E0704", Integrity;
    /// The plan's structure breaks the rules.
    PlanMalformed = "E0705", Invalid;
    /// The plan file cannot be read.
    PlanFile = "E0706", Invalid;
    /// This machine cannot run the plan.
    Machine = "E0711", Unfit;
    /// No memory for the plan, or no threads.
    Resources = "E0712", Limit;
    /// A file with a tensor cannot be read.
    TensorFile = "E0801", Invalid;
    /// An input is not given.
    InputMissing = "E0802", Invalid;
    /// A given input is none of the model's.
    InputUnknown = "E0803", Invalid;
    /// An input of another element type.
    InputType = "E0804", Invalid;
    /// An input of another shape.
    InputShape = "E0805", Invalid;
    /// A step refuses its values.
    Step = "E0811", Invalid;
    /// A run needs more memory than allowed.
    Memory = "E0812", Limit;
    /// A file of an earlier measurement cannot be used.
    Baseline = "E0821", Invalid;
    /// A calibration that cannot be used.
    Calibration = "E0831", Invalid;
    /// A file of labels that cannot be used.
    Labels = "E0832", Invalid;
    /// A tuning file that cannot be used.
    Tuning = "E0833", Invalid;
    /// A bug in planc.
    Internal = "E0990", Internal;
}

/// A failure.
#[derive(Clone, Debug, PartialEq)]
pub struct CliError(Box<Details>);

#[derive(Clone, Debug, PartialEq)]
struct Details {
    code: &'static str,
    exit: Exit,
    message: String,
    /// Where, in the order it is printed under JSON.
    place: Map<String, Value>,
    help: Option<String>,
    /// Further failures that were found together with this one.
    more: Vec<CliError>,
}

impl Details {
    fn name_file(&mut self, shown: &str) {
        if self.place.is_empty() && !self.message.contains(shown) {
            self.message = format!("{shown}: {}", self.message);
        }
    }
}

impl CliError {
    /// A failure; `message` is lower case, without a full stop.
    pub fn new(fault: Fault, message: impl Into<String>) -> CliError {
        CliError(Box::new(Details {
            code: fault.code(),
            exit: fault.exit(),
            message: message.into(),
            place: Map::new(),
            help: None,
            more: Vec::new(),
        }))
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> CliError {
        self.0.help = Some(help.into());
        self
    }

    /// Adds where it is, for the JSON form.
    pub fn at(mut self, key: &str, value: impl Into<Value>) -> CliError {
        self.0.place.insert(key.to_string(), value.into());
        self
    }

    /// Adds the file concerned.
    pub fn file(self, path: &Path) -> CliError {
        self.at("file", path.display().to_string())
    }

    /// Adds the file that is read; it is named in messages that say no other place.
    pub fn reading(mut self, path: &Path) -> CliError {
        let shown = path.display().to_string();
        self.0.name_file(&shown);
        self.0.more.iter_mut().for_each(|e| e.0.name_file(&shown));
        self.file(path)
    }

    /// All failures, this one first.
    pub fn all(&self) -> impl Iterator<Item = &CliError> {
        std::iter::once(self).chain(&self.0.more)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// A part of where it is.
    pub fn place(&self, key: &str) -> Option<&Value> {
        self.0.place.get(key)
    }

    /// Several failures as one.
    fn together(errors: impl IntoIterator<Item = CliError>) -> Option<CliError> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        first.0.more.extend(errors);
        Some(first)
    }

    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The text form, without a final line ending.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for error in std::iter::once(self).chain(self.0.more.iter().take(MAX_SHOWN)) {
            if !out.is_empty() {
                out.push('\n');
            }
            let _ = write!(out, "error[{}]: {}", error.0.code, printable(&error.0.message));
            if let Some(help) = &error.0.help {
                let _ = write!(out, "\n  help: {}", printable(help));
            }
        }
        if let Some(hidden) = self.0.more.len().checked_sub(MAX_SHOWN).filter(|n| *n > 0) {
            let _ = write!(out, "\nand {hidden} more errors: use --json to see all of them");
        }
        out
    }

    /// The JSON form: `error` is the first failure, `errors` are all of them where there are several.
    pub fn json(&self) -> Value {
        let mut object = json!({"schema_version": SCHEMA_VERSION, "error": self.object()});
        if !self.0.more.is_empty() {
            let all: Vec<Value> = self.all().map(CliError::object).collect();
            object["errors"] = all.into();
        }
        object
    }

    fn object(&self) -> Value {
        let mut object = Map::new();
        object.insert("code".into(), self.0.code.into());
        object.insert("message".into(), self.0.message.clone().into());
        object.extend(self.0.place.clone());
        if let Some(help) = &self.0.help {
            object.insert("help".into(), help.clone().into());
        }
        object.insert("exit_code".into(), (self.0.exit as u8).into());
        object.into()
    }
}

/// Failures printed as text beside the first.
const MAX_SHOWN: usize = 50;
/// Characters of one message: names in hostile files are long.
const MAX_MESSAGE: usize = 2000;

/// `text` without control characters, so that a hostile name cannot drive the terminal, and not too long.
fn printable(text: &str) -> String {
    let mut clean = text.chars().flat_map(|c| {
        let escape = c.is_control() && c != '\n';
        let (a, b) = if escape { (Some(c.escape_default()), None) } else { (None, Some(c)) };
        a.into_iter().flatten().chain(b)
    });
    let mut out: String = clean.clone().take(MAX_MESSAGE).collect();
    if clean.nth(MAX_MESSAGE).is_some() {
        out.push_str("...");
    }
    out
}

impl From<ImportError> for CliError {
    fn from(e: ImportError) -> CliError {
        let exit = match e.category() {
            Category::Invalid => Exit::Invalid,
            Category::Unsupported => Exit::Unsupported,
            Category::Limit => Exit::Limit,
        };
        let mut place = Map::new();
        if let Some(node) = &e.node {
            place.insert("node".into(), node.name.clone().into());
            place.insert("op".into(), node.op.clone().into());
            place.insert("domain".into(), node.domain.clone().into());
            place.insert("opset".into(), node.opset.into());
            place.insert("operands".into(), node.operands.clone().into());
            place.insert("reason".into(), e.message.clone().into());
        }
        if !e.path.is_empty() {
            place.insert("path".into(), e.path.clone().into());
        }
        if let Some(byte) = e.byte {
            place.insert("byte".into(), byte.into());
        }
        let help = e.help.as_ref().map(ToString::to_string);
        CliError(Box::new(Details { code: e.code.text(), exit, message: e.to_string(), place, help, more: Vec::new() }))
    }
}

impl From<Vec<ImportError>> for CliError {
    fn from(errors: Vec<ImportError>) -> CliError {
        let worst = planc_onnx::error::category(&errors);
        let (mut first, rest): (Vec<_>, Vec<_>) = errors.into_iter().partition(|e| e.category() == worst);
        first.extend(rest);
        CliError::together(first.into_iter().map(CliError::from))
            .unwrap_or_else(|| CliError::new(Fault::Internal, "the import failed without an error"))
    }
}

impl From<NodeError> for CliError {
    fn from(e: NodeError) -> CliError {
        let fault = match e.error.kind {
            ErrorKind::Unsupported => Fault::UnsupportedNode,
            ErrorKind::Limit => Fault::NodeLimit,
            _ => Fault::Inference,
        };
        let message = e.to_string();
        let (domain, op) = e.op.split_once("::").unwrap_or(("", &e.op));
        CliError::new(fault, message)
            .at("node", e.node)
            .at("op", op)
            .at("domain", domain)
            .at("opset", e.opset)
            .at("operands", e.operands)
            .at("reason", e.error.message)
    }
}

impl From<Vec<NodeError>> for CliError {
    fn from(errors: Vec<NodeError>) -> CliError {
        CliError::together(errors.into_iter().map(CliError::from))
            .unwrap_or_else(|| CliError::new(Fault::Internal, "inference failed without an error"))
    }
}

impl From<FormatError> for CliError {
    fn from(e: FormatError) -> CliError {
        let (fault, help) = match e.class() {
            ErrorClass::NotAPlan => (Fault::NotAPlan, "plans are made by `planc compile MODEL -o PLAN`"),
            ErrorClass::Version => (Fault::PlanVersion, "compile the model again with this planc"),
            ErrorClass::Truncated => (Fault::PlanTruncated, "copy the plan again, or compile the model again"),
            ErrorClass::Integrity => (Fault::PlanDamaged, "copy the plan again, or compile the model again"),
            ErrorClass::Malformed => (Fault::PlanMalformed, "compile the model again"),
        };
        CliError::new(fault, e.to_string()).help(help)
    }
}

impl From<OpenError> for CliError {
    fn from(e: OpenError) -> CliError {
        match e {
            OpenError::Format(e) => e.into(),
            OpenError::Map(MapError::Allocate { .. }) => CliError::new(Fault::Resources, e.to_string()),
            OpenError::Map(_) => CliError::new(Fault::PlanFile, e.to_string()),
            OpenError::Manifest(_) | OpenError::Code { .. } | OpenError::Device { .. } => {
                CliError::new(Fault::PlanMalformed, e.to_string())
            }
        }
    }
}

impl From<SessionError> for CliError {
    fn from(e: SessionError) -> CliError {
        match e {
            SessionError::Threads(_) => CliError::new(Fault::Resources, e.to_string()),
            SessionError::Device(_) => CliError::new(Fault::Machine, e.to_string()),
        }
    }
}

impl From<RunError> for CliError {
    fn from(e: RunError) -> CliError {
        let message = e.to_string();
        match e {
            RunError::Input(_) => CliError::new(Fault::InputShape, message),
            RunError::Step { step, .. } => CliError::new(Fault::Step, message).at("node", step),
            RunError::Unsupported { step, .. } => CliError::new(Fault::UnsupportedNode, message).at("node", step),
            RunError::Memory { step, .. } => CliError::new(Fault::Memory, message)
                .at("node", step)
                .help("give more with --max-memory, or smaller inputs"),
        }
    }
}

impl From<WriteError> for CliError {
    fn from(e: WriteError) -> CliError {
        match e {
            WriteError::Io(e) => CliError::new(Fault::Write, format!("cannot write: {}", crate::io::system(&e))),
            e => CliError::new(Fault::Resources, e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted() {
        assert!(Fault::ALL.windows(2).all(|w| w[0].code() < w[1].code()));
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let error = CliError::new(Fault::Usage, "node \"\u{1b}[2J\"").help("a\u{7}b");
        assert_eq!(error.text(), "error[E0001]: node \"\\u{1b}[2J\"\n  help: a\\u{7}b");
    }

    #[test]
    fn the_json_form_names_the_place() {
        let error = CliError::new(Fault::InputMissing, "input \"x\" is not given").at("input", "x");
        let expected = json!({"schema_version": 1, "error": {
            "code": "E0802", "message": "input \"x\" is not given", "input": "x", "exit_code": 3}});
        assert_eq!(error.json(), expected);
    }

    #[test]
    fn the_worst_category_decides() {
        let unsupported = ImportError::new(planc_onnx::Code::UnsupportedOp, "no operator Foo");
        let invalid = ImportError::new(planc_onnx::Code::Graph, "a cycle");
        let error = CliError::from(vec![unsupported, invalid]);
        assert_eq!(error.exit(), Exit::Invalid);
        assert_eq!(error.text(), "error[E0401]: a cycle\nerror[E0501]: no operator Foo");
    }
}
