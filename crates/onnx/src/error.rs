//! What can be wrong with a model, as typed and located errors.
//!
//! Guarantees: every error carries a stable code, a category (which the command line maps to
//! its exit code), the place it was found at, and where it helps a hint. Messages are lower
//! case without a full stop. An import returns all problems of the stage that failed, so that
//! one run reports every unsupported node of a model.

use std::fmt;

/// Whose problem an error is; the command line maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// The model is unreadable, malformed or contradicts itself (exit code 3).
    Invalid,
    /// The model is sound but uses something this compiler does not support (exit code 4).
    Unsupported,
    /// The model asks for more than a documented limit (exit code 7).
    Limit,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $category:ident;)*) => {
        /// The stable code of an import error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }
        impl Code {
            /// All codes, in order of their text.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];
            /// The code as printed, for example `E0101`.
            pub fn text(self) -> &'static str { match self { $(Code::$variant => $text),* } }
            /// Whose problem it is.
            pub fn category(self) -> Category { match self { $(Code::$variant => Category::$category),* } }
        }
    };
}

codes! {
    /// A file could not be read.
    Io = "E0101", Invalid;
    /// The file is something else than an ONNX model.
    NotOnnx = "E0102", Invalid;
    /// The protobuf encoding is broken: truncated, over-long, or a wrong wire type.
    Wire = "E0103", Invalid;
    /// A name or another text field is not UTF-8.
    Utf8 = "E0104", Invalid;
    /// Messages are nested too deeply, or there are too many of them.
    WireLimit = "E0105", Limit;
    /// The IR version is too old or too new.
    IrVersion = "E0201", Unsupported;
    /// The table of opset imports is missing, contradictory or out of range.
    Opset = "E0202", Invalid;
    /// An opset newer than this compiler.
    OpsetTooNew = "E0203", Unsupported;
    /// A tensor's element type is undefined or unknown.
    ElementType = "E0301", Invalid;
    /// A tensor's dims and data do not agree, or data sits in the wrong field.
    TensorData = "E0302", Invalid;
    /// External data that is missing, too short, or outside the model's folder.
    ExternalData = "E0303", Invalid;
    /// A tensor too large for this machine or the limits given.
    TensorLimit = "E0304", Limit;
    /// The graph is inconsistent: undefined or duplicate names, cycles, counts.
    Graph = "E0401", Invalid;
    /// A type declaration is missing, unusable, or contradicts what is inferred.
    Type = "E0402", Invalid;
    /// An attribute is unknown, duplicate, missing or of the wrong type.
    Attribute = "E0403", Invalid;
    /// A node has too few or too many inputs or outputs.
    Arity = "E0404", Invalid;
    /// Inference over a node failed: the shapes or types do not fit the operator.
    Inference = "E0405", Invalid;
    /// A local function is recursive, duplicate or inconsistent.
    Function = "E0406", Invalid;
    /// Inlining of functions or nesting of subgraphs exceeds the limits.
    ExpansionLimit = "E0407", Limit;
    /// A shape or a value given by the caller that does not fit the model's inputs.
    Override = "E0408", Invalid;
    /// No such operator (in this opset) in this compiler.
    UnsupportedOp = "E0501", Unsupported;
    /// A feature of the format that this compiler does not support.
    UnsupportedFeature = "E0502", Unsupported;
    /// A result or shape beyond what can be addressed.
    ShapeLimit = "E0601", Limit;
}

/// Which node an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlace {
    /// Name of the node, or of its first output where it has none.
    pub name: String,
    /// Operator as written in the model.
    pub op: String,
    /// Domain as written; the default domain is empty.
    pub domain: String,
    /// Opset version the model imports for the domain.
    pub opset: Option<i64>,
    /// Types of the operands as printed, where they are known; `none` for an omitted one.
    pub operands: Vec<String>,
}

impl NodePlace {
    /// Whether both are the same node, whatever is known of its operands.
    pub(crate) fn is(&self, other: &NodePlace) -> bool {
        (&self.name, &self.op, &self.domain) == (&other.name, &other.op, &other.domain)
    }
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {:?} (", clip(&self.name))?;
        if !self.domain.is_empty() {
            write!(f, "{}.", clip(&self.domain))?;
        }
        write!(f, "{}", clip(&self.op))?;
        if let Some(opset) = self.opset {
            write!(f, ", opset {opset}")?;
        }
        f.write_str(")")
    }
}

/// One located problem of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// What kind of problem.
    pub code: Code,
    /// What is wrong, lower case, without the place.
    pub message: String,
    /// Path inside the model, for example `graph.node[12].attribute[0]`; may be empty.
    pub path: String,
    /// Byte offset in the file, for encoding errors.
    pub byte: Option<u64>,
    /// The node concerned.
    pub node: Option<Box<NodePlace>>,
    /// What to do about it.
    pub help: Option<Box<str>>,
}

impl ImportError {
    /// An error without a place.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), path: String::new(), byte: None, node: None, help: None }
    }

    /// Adds the path inside the model.
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Adds the byte offset in the file.
    pub fn at_byte(mut self, byte: usize) -> Self {
        self.byte = Some(byte as u64);
        self
    }

    /// Adds the node.
    pub fn on(mut self, node: NodePlace) -> Self {
        self.node = Some(Box::new(node));
        self
    }

    /// Adds a hint.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into_boxed_str());
        self
    }

    /// Whose problem it is.
    pub fn category(&self) -> Category {
        self.code.category()
    }
}

impl fmt::Display for ImportError {
    /// `node "conv1" (Conv, opset 17): message (at graph.node[3], byte 1234)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        f.write_str(&self.message)?;
        match (self.path.is_empty(), self.byte) {
            (true, None) => Ok(()),
            (false, None) => write!(f, " (at {})", self.path),
            (true, Some(byte)) => write!(f, " (at byte {byte})"),
            (false, Some(byte)) => write!(f, " (at {}, byte {byte})", self.path),
        }
    }
}

impl std::error::Error for ImportError {}

/// The category of a list of errors: invalid outweighs a limit, which outweighs unsupported.
pub fn category(errors: &[ImportError]) -> Category {
    let has = |c| errors.iter().any(|e| e.category() == c);
    if has(Category::Invalid) {
        Category::Invalid
    } else if has(Category::Limit) {
        Category::Limit
    } else {
        Category::Unsupported
    }
}

/// At most 80 characters of a name, so that a message stays readable whatever a file holds.
pub(crate) fn clip(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(80) {
        None => text.into(),
        Some((at, _)) => format!("{}...", &text[..at]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted() {
        assert!(Code::ALL.windows(2).all(|w| w[0].text() < w[1].text()));
    }

    #[test]
    fn place_is_printed() {
        let node = NodePlace {
            name: "conv1".into(),
            op: "Conv".into(),
            domain: String::new(),
            opset: Some(17),
            operands: vec![],
        };
        let error = ImportError::new(Code::Attribute, "unknown attribute \"foo\"").at("graph.node[3]").on(node);
        assert_eq!(error.to_string(), "node \"conv1\" (Conv, opset 17): unknown attribute \"foo\" (at graph.node[3])");
    }

    #[test]
    fn long_names_are_clipped() {
        assert_eq!(clip(&"x".repeat(1 << 20)).len(), 83);
    }
}
