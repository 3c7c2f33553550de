//! The plan file as a container of hashed sections; `docs/plan-format.md` describes every byte.
//!
//! Guarantees:
//! - The bytes are a function of the sections: the order, the offsets and the padding follow from kinds and sizes, and
//!   the reader accepts no other placement.
//! - [`Container::parse`] trusts nothing. It checks header, table, placement, padding and total length, and the hash of
//!   each section but the weights, before it hands out a byte. [`Container::verify_weights`] checks that last hash:
//!   hashing hundreds of megabytes would cost more than a whole cold start.
//! - No input makes the reader panic, or allocate more than a small multiple of the section table.
//!
//! What sections mean is left to the modules that read them; signatures are not checked here.

mod error;
mod reader;
mod section;
#[cfg(test)]
mod tests;
mod weights;
mod writer;

pub use error::{ErrorClass, FormatError, WriteError};
pub use reader::{Container, Section};
pub use section::{PtxArch, SectionKind, TargetId};
pub use weights::{WEIGHT_ALIGNMENT, Weights};
pub use writer::Writer;

/// The first eight bytes: a zero byte and a line ending, so that a transfer in text mode is noticed at once.
pub const MAGIC: [u8; 8] = *b"PLANC\0\r\n";

/// The format version that is written, and the only one that is read.
pub const FORMAT_VERSION: u32 = 1;

/// The largest number of sections in a plan.
pub const MAX_SECTIONS: u32 = 256;

/// A BLAKE3 hash of 256 bits.
pub type Digest = [u8; 32];

/// The size of the header, in bytes: the section table starts here.
const HEADER_SIZE: usize = 64;
/// The bytes of the header in front of its hash; the hash covers them and the table.
const HASHED_HEADER: usize = 32;
/// The size of one entry of the section table, in bytes.
const ENTRY_SIZE: usize = 64;

/// The smallest multiple of `alignment` (a power of two) that is not below `value`.
fn align_up(value: u64, alignment: u64) -> Option<u64> {
    Some(value.checked_add(alignment - 1)? & !(alignment - 1))
}

/// Hashes what identifies the content of a plan, without the signature section: the sections in file order, each as
/// kind, id, size and hash.
fn content_digest<'s>(sections: impl Iterator<Item = (SectionKind, u64, &'s Digest)>) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("planc 2026 plan content digest v1");
    for (section, size, hash) in sections {
        if section == SectionKind::Signature {
            continue;
        }
        let (kind, id) = section.to_disk();
        hasher.update(&kind.to_le_bytes());
        hasher.update(&id.to_le_bytes());
        hasher.update(&size.to_le_bytes());
        hasher.update(hash);
    }
    *hasher.finalize().as_bytes()
}
