//! What can be wrong with plan bytes, and what can go wrong while writing them.

use std::io;

use thiserror::Error;

use super::section::SectionKind;

/// The reason why bytes were refused as a plan. [`class`](Self::class) says what kind of reason it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The first bytes are not the magic number.
    #[error("not a plan file: the magic number is missing")]
    NotAPlan,
    /// Written in a format that this version does not read.
    #[error(
        "the plan has format version {found}, this planc reads format version {supported}: compile the model again, or \
         use the planc that wrote the plan"
    )]
    Version {
        /// The version in the file.
        found: u32,
        /// The version that this reader understands.
        supported: u32,
    },
    /// The bytes end before the plan does.
    #[error("the plan is truncated: {needed} bytes expected, {have} present")]
    Truncated {
        /// The length that what was read so far implies, in bytes.
        needed: u64,
        /// The length given, in bytes.
        have: u64,
    },
    /// Bytes follow the end of the plan.
    #[error("the plan has {have} bytes, but its header declares {declared}")]
    TrailingBytes {
        /// The length in the header, in bytes.
        declared: u64,
        /// The length given, in bytes.
        have: u64,
    },
    /// The header or the section table does not match its hash.
    #[error("the header or section table of the plan is damaged: its hash does not match")]
    TableHash,
    /// The content of a section does not match its hash.
    #[error("the {section} section of the plan (at byte {offset}) is damaged: its hash does not match")]
    SectionHash {
        /// The damaged section.
        section: SectionKind,
        /// Where it starts in the file.
        offset: u64,
    },
    /// A padding byte is not zero.
    #[error("the padding of the plan is damaged: the byte at {offset} is not zero")]
    Padding {
        /// Where the byte is in the file.
        offset: u64,
    },
    /// More sections than a plan can have.
    #[error("the plan declares {count} sections, more than the limit of {limit}")]
    TooManySections {
        /// The number in the header.
        count: u32,
        /// The largest number accepted.
        limit: u32,
    },
    /// A field that must be zero is not.
    #[error("a reserved field of the plan, at byte {offset}, is not zero")]
    Reserved {
        /// Where the field is in the file.
        offset: u64,
    },
    /// A kind or id that the format does not define.
    #[error("section {index} of the plan has the unknown kind {kind} with id {id}")]
    UnknownSection {
        /// Position in the section table.
        index: usize,
        /// The kind as written.
        kind: u32,
        /// The id as written.
        id: u32,
    },
    /// A section is out of order or appears twice.
    #[error("section {index} of the plan ({section}) is out of order or appears twice")]
    SectionOrder {
        /// Position in the section table.
        index: usize,
        /// The section.
        section: SectionKind,
    },
    /// A section declares an alignment other than that of its kind.
    #[error("the {section} section of the plan declares alignment {found}, {expected} expected")]
    SectionAlignment {
        /// The section.
        section: SectionKind,
        /// The alignment in the table, in bytes.
        found: u32,
        /// The alignment of the kind, in bytes.
        expected: u32,
    },
    /// A section does not start directly (but for alignment) behind the one before it: it is misaligned, overlaps, or
    /// leaves a gap.
    #[error("the {section} section of the plan starts at byte {found}, {expected} expected")]
    SectionPlacement {
        /// The section.
        section: SectionKind,
        /// The offset in the table.
        found: u64,
        /// The only valid offset.
        expected: u64,
    },
    /// A size or an offset does not fit the address space.
    #[error("the {section} section of the plan declares {size} bytes, more than can be addressed")]
    SectionSize {
        /// The section.
        section: SectionKind,
        /// The size in the table, in bytes.
        size: u64,
    },
    /// The length in the header is not where the last section ends.
    #[error("the header of the plan declares {declared} bytes, but its sections end at {end}")]
    Length {
        /// The length in the header, in bytes.
        declared: u64,
        /// Where the last section ends.
        end: u64,
    },
    /// A section that the reader needs is not there.
    #[error("the plan has no {section} section")]
    MissingSection {
        /// The section asked for.
        section: SectionKind,
    },
}

/// What kind of problem a [`FormatError`] is: a command line maps each class to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// These bytes never were a plan: an invalid input.
    NotAPlan,
    /// A plan of another format version.
    Version,
    /// A plan that was cut short: an integrity failure.
    Truncated,
    /// A plan whose bytes were changed: an integrity failure.
    Integrity,
    /// The hashes match but the structure breaks the rules, so that the writer was wrong or hostile.
    Malformed,
}

impl FormatError {
    /// The class of this error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotAPlan => ErrorClass::NotAPlan,
            Self::Version { .. } => ErrorClass::Version,
            Self::Truncated { .. } => ErrorClass::Truncated,
            Self::TrailingBytes { .. } | Self::TableHash | Self::SectionHash { .. } | Self::Padding { .. } => {
                ErrorClass::Integrity
            }
            // The number of sections is read before the hash that covers it can be found.
            Self::TooManySections { .. } => ErrorClass::Integrity,
            Self::Reserved { .. }
            | Self::UnknownSection { .. }
            | Self::SectionOrder { .. }
            | Self::SectionAlignment { .. }
            | Self::SectionPlacement { .. }
            | Self::SectionSize { .. }
            | Self::Length { .. }
            | Self::MissingSection { .. } => ErrorClass::Malformed,
        }
    }
}

/// The reason why a plan could not be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The section was added before, or its id is zero where the kind needs one.
    #[error("the {0} section cannot be added: it is there already or its id is zero")]
    Section(SectionKind),
    /// More sections than a reader accepts.
    #[error("a plan cannot have more than {limit} sections")]
    TooManySections {
        /// The largest number accepted.
        limit: u32,
    },
    /// The file would be longer than 2^63 bytes.
    #[error("the plan is too large")]
    TooLarge,
    /// The destination failed.
    #[error("cannot write the plan: {0}")]
    Io(#[from] io::Error),
}
