//! Reads plans: validates every byte that it hands out, and copies none.

use std::ops::Range;

use super::{
    Digest, ENTRY_SIZE, FORMAT_VERSION, HASHED_HEADER, HEADER_SIZE, MAGIC, MAX_SECTIONS, align_up, content_digest,
    error::FormatError, section::SectionKind,
};

/// One entry of the section table, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the section holds.
    pub kind: SectionKind,
    /// Where it lies in the file, in bytes; within the bytes given to [`Container::parse`].
    pub range: Range<usize>,
    /// BLAKE3-256 of its content.
    pub hash: Digest,
}

/// A validated view of the bytes of a plan.
///
/// Alignments hold relative to the start of the file: the bytes themselves should start a page (a mapping does), or
/// sections are not aligned in memory.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
}

impl<'a> Container<'a> {
    /// Validates everything but the content of the weights section.
    ///
    /// # Errors
    /// [`FormatError`], whose class tells foreign files, other versions, truncation and damage apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let have = bytes.len() as u64;
        let start = bytes.len().min(MAGIC.len());
        if bytes.is_empty() || bytes[..start] != MAGIC[..start] {
            return Err(FormatError::NotAPlan);
        }
        let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(FormatError::Truncated { needed: HEADER_SIZE as u64, have });
        };
        // The version comes before the hash: another version may hash other bytes.
        let version = u32_at(header, 8);
        if version != FORMAT_VERSION {
            return Err(FormatError::Version { found: version, supported: FORMAT_VERSION });
        }
        let count = u32_at(header, 12);
        if count > MAX_SECTIONS {
            return Err(FormatError::TooManySections { count, limit: MAX_SECTIONS });
        }
        let table_end = HEADER_SIZE + ENTRY_SIZE * count as usize;
        let Some(table) = bytes.get(HEADER_SIZE..table_end) else {
            return Err(FormatError::Truncated { needed: table_end as u64, have });
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header[..HASHED_HEADER]).update(table);
        if hasher.finalize().as_bytes()[..] != header[HASHED_HEADER..] {
            return Err(FormatError::TableHash);
        }
        if u64_at(header, 24) != 0 {
            return Err(FormatError::Reserved { offset: 24 });
        }
        let declared = u64_at(header, 16);
        if have < declared {
            return Err(FormatError::Truncated { needed: declared, have });
        }
        if have > declared {
            return Err(FormatError::TrailingBytes { declared, have });
        }
        let sections = read_table(table, table_end, declared)?;
        let container = Self { bytes, sections };
        container.check_padding(table_end)?;
        for section in &container.sections {
            if section.kind != SectionKind::Weights {
                container.check_hash(section)?;
            }
        }
        Ok(container)
    }

    /// Checks the hash of the weights section, if there is one; with this, each bit of the file has been checked.
    pub fn verify_weights(&self) -> Result<(), FormatError> {
        self.entry(SectionKind::Weights).map_or(Ok(()), |section| self.check_hash(section))
    }

    /// The content of a section, or `None` if the plan has no such section.
    pub fn section(&self, kind: SectionKind) -> Option<&'a [u8]> {
        self.entry(kind).map(|section| self.content(section))
    }

    /// The content of a section that a plan cannot do without.
    pub fn require(&self, kind: SectionKind) -> Result<&'a [u8], FormatError> {
        self.section(kind).ok_or(FormatError::MissingSection { section: kind })
    }

    /// The table entry of a section.
    pub fn entry(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }

    /// All sections in file order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The digest that a signature signs: of all sections but the signature itself. Two plans have the same digest
    /// exactly if they have the same content.
    pub fn content_digest(&self) -> Digest {
        content_digest(self.sections.iter().map(|s| (s.kind, s.range.len() as u64, &s.hash)))
    }

    fn content(&self, section: &Section) -> &'a [u8] {
        &self.bytes[section.range.clone()]
    }

    fn check_hash(&self, section: &Section) -> Result<(), FormatError> {
        if blake3::hash(self.content(section)).as_bytes() == &section.hash {
            Ok(())
        } else {
            Err(FormatError::SectionHash { section: section.kind, offset: section.range.start as u64 })
        }
    }

    /// What lies between the table and the sections must be zero.
    fn check_padding(&self, table_end: usize) -> Result<(), FormatError> {
        let mut end = table_end;
        for section in &self.sections {
            if let Some(at) = self.bytes[end..section.range.start].iter().position(|byte| *byte != 0) {
                return Err(FormatError::Padding { offset: (end + at) as u64 });
            }
            end = section.range.end;
        }
        Ok(())
    }
}

/// Validates the section table of a file of `length` bytes: after this, each range lies within the file, the ranges are
/// ascending, disjoint and aligned, and the last one ends the file.
fn read_table(table: &[u8], table_end: usize, length: u64) -> Result<Vec<Section>, FormatError> {
    let mut sections: Vec<Section> = Vec::with_capacity(table.len() / ENTRY_SIZE);
    let mut end = table_end as u64;
    for (index, entry) in table.as_chunks::<ENTRY_SIZE>().0.iter().enumerate() {
        let (kind, id) = (u32_at(entry, 0), u32_at(entry, 4));
        let Some(section) = SectionKind::from_disk(kind, id) else {
            return Err(FormatError::UnknownSection { index, kind, id });
        };
        if sections.last().is_some_and(|previous| previous.kind >= section) {
            return Err(FormatError::SectionOrder { index, section });
        }
        let (offset, size, alignment) = (u64_at(entry, 8), u64_at(entry, 16), u32_at(entry, 24));
        if alignment != section.alignment() {
            return Err(FormatError::SectionAlignment { section, found: alignment, expected: section.alignment() });
        }
        if u32_at(entry, 28) != 0 {
            return Err(FormatError::Reserved { offset: (HEADER_SIZE + index * ENTRY_SIZE + 28) as u64 });
        }
        let too_large = FormatError::SectionSize { section, size };
        let Some(expected) = align_up(end, u64::from(alignment)) else { return Err(too_large) };
        if offset != expected {
            return Err(FormatError::SectionPlacement { section, found: offset, expected });
        }
        end = match offset.checked_add(size) {
            Some(end) if end <= length => end,
            Some(end) => return Err(FormatError::Length { declared: length, end }),
            None => return Err(too_large),
        };
        let (Ok(first), Ok(last)) = (usize::try_from(offset), usize::try_from(end)) else { return Err(too_large) };
        let mut hash = [0; 32];
        hash.copy_from_slice(&entry[32..]);
        sections.push(Section { kind: section, range: first..last, hash });
    }
    if end == length { Ok(sections) } else { Err(FormatError::Length { declared: length, end }) }
}

/// The little-endian number at a fixed place of a header or an entry.
fn u32_at(bytes: &[u8; 64], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// As [`u32_at`], for 64 bits.
fn u64_at(bytes: &[u8; 64], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
