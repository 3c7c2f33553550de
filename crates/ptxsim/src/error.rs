//! What can be wrong: with the text of a module (`ParseError`), with a use of the device (`DeviceError`), and with a kernel
//! while it runs (`Fault`). Every message says where.

use std::fmt;

/// The text is not PTX that this interpreter knows. Nothing unknown is ever skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line in the text, from 1.
    pub line: u32,
    /// What is wrong there.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> ParseError {
        ParseError { line, message: message.into() }
    }
}

/// A host call that the device refuses, before or after any kernel ran.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No live allocation holds the whole range.
    #[error("no allocation holds the {len} bytes at {address:#x}")]
    Range {
        /// First byte.
        address: u64,
        /// Bytes asked for.
        len: usize,
    },
    /// `free` of something that `alloc` did not return.
    #[error("{address:#x} is not the start of an allocation")]
    NotAllocated {
        /// The address given.
        address: u64,
    },
    /// The host reads bytes that nobody wrote.
    #[error("the host reads {address:#x}, which nothing has written")]
    Unwritten {
        /// First unwritten byte.
        address: u64,
    },
    /// The device memory given by the options is used up.
    #[error("out of device memory: {asked} bytes asked for, {free} are free")]
    OutOfMemory {
        /// Bytes asked for.
        asked: u64,
        /// Bytes left.
        free: u64,
    },
}

/// What a kernel, or its launch, did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The launch does not fit the entry or the device: sizes, parameters, shared memory.
    Launch,
    /// An access outside of every allocation, or across the end of one.
    OutOfBounds,
    /// An address that is not a multiple of the size of the access.
    Misaligned,
    /// A read of a register, of shared, local or global memory that nothing wrote.
    Uninitialised,
    /// A read or write of shared memory that an asynchronous copy is still entitled to write.
    AsyncPending,
    /// Two threads of a block touch the same shared memory, one of them writing, with no barrier between them.
    SharedRace,
    /// Two blocks of a launch touch the same global memory, one of them writing, with no atomic order between them.
    GlobalRace,
    /// Lanes of one store write different values to one address.
    WriteConflict,
    /// An aligned instruction that not all live threads of the warp execute together, or a mask that does not fit.
    Divergence,
    /// A shuffle or vote that reads a lane which does not take part.
    InactiveLane,
    /// Integer division or remainder by zero.
    DivisionByZero,
    /// All threads wait for something that no thread will do.
    Deadlock,
    /// The instruction budget of the launch is spent.
    Budget,
    /// An operand value that the instruction set forbids, such as a copy size or a barrier number.
    BadOperand,
}

impl FaultKind {
    /// The stable name, as messages print it.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Launch => "bad launch",
            FaultKind::OutOfBounds => "out of bounds",
            FaultKind::Misaligned => "misaligned",
            FaultKind::Uninitialised => "uninitialised read",
            FaultKind::AsyncPending => "asynchronous copy in flight",
            FaultKind::SharedRace => "race in shared memory",
            FaultKind::GlobalRace => "race between blocks",
            FaultKind::WriteConflict => "conflicting writes",
            FaultKind::Divergence => "divergence",
            FaultKind::InactiveLane => "inactive lane",
            FaultKind::DivisionByZero => "division by zero",
            FaultKind::Deadlock => "deadlock",
            FaultKind::Budget => "instruction budget",
            FaultKind::BadOperand => "bad operand",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kernel's mistake: what, and which thread made it on which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in {entry}, line {line}, block {block:?}, thread {thread:?}: {message}")]
pub struct Fault {
    /// The class of the mistake.
    pub kind: FaultKind,
    /// Name of the entry.
    pub entry: String,
    /// Line of the instruction in the module's text; 0 for a launch that did not start.
    pub line: u32,
    /// `%ctaid` of the block.
    pub block: [u32; 3],
    /// `%tid` of the first thread concerned.
    pub thread: [u32; 3],
    /// Addresses, values, and the other party of a race.
    pub message: String,
}

/// A fault before it is known where: the executing code adds lane, line and block.
#[derive(Debug)]
pub(crate) struct Trap {
    pub kind: FaultKind,
    pub lane: u32,
    pub message: String,
}

impl Trap {
    pub(crate) fn new(kind: FaultKind, lane: u32, message: impl Into<String>) -> Trap {
        Trap { kind, lane, message: message.into() }
    }
}
