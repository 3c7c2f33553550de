//! The inside of the weights section: entries one behind the other, each at a multiple of 64 bytes, zeros between.
//!
//! What lies where is not stored here: the manifest refers to entries by offset and size.

use std::borrow::Cow;

use super::{align_up, error::WriteError};

/// The alignment of each entry within the weights section, in bytes: one cache line, one AVX-512 register.
pub const WEIGHT_ALIGNMENT: u64 = 64;

static ZEROS: [u8; WEIGHT_ALIGNMENT as usize] = [0; WEIGHT_ALIGNMENT as usize];

/// Collects the content of a weights section without copying what is borrowed.
#[derive(Clone, Debug, Default)]
pub struct Weights<'a> {
    chunks: Vec<Cow<'a, [u8]>>,
    len: u64,
}

impl<'a> Weights<'a> {
    /// An empty section.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one entry and returns its offset in the section, a multiple of [`WEIGHT_ALIGNMENT`].
    pub fn push(&mut self, bytes: impl Into<Cow<'a, [u8]>>) -> Result<u64, WriteError> {
        let bytes = bytes.into();
        let offset = align_up(self.len, WEIGHT_ALIGNMENT).ok_or(WriteError::TooLarge)?;
        let end = offset.checked_add(bytes.len() as u64).ok_or(WriteError::TooLarge)?;
        if offset > self.len {
            self.chunks.push(Cow::Borrowed(&ZEROS[..(offset - self.len) as usize]));
        }
        self.chunks.push(bytes);
        self.len = end;
        Ok(offset)
    }

    /// The size of the section so far, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the section holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn into_chunks(self) -> Vec<Cow<'a, [u8]>> {
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_padded_with_zeros() {
        let mut weights = Weights::new();
        assert!(weights.is_empty());
        assert_eq!(weights.push(&[1u8; 3][..]).unwrap(), 0);
        assert_eq!(weights.push(vec![2u8; 64]).unwrap(), 64);
        assert_eq!(weights.push(&[][..]).unwrap(), 128);
        assert_eq!(weights.push(&[3u8][..]).unwrap(), 128);
        assert_eq!(weights.len(), 129);
        let bytes: Vec<u8> = weights.into_chunks().concat();
        let expected = [vec![1; 3], vec![0; 61], vec![2; 64], vec![3]].concat();
        assert_eq!(bytes, expected);
    }
}
