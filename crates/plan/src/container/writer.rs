//! Writes plans: deterministic bytes, and files that appear whole or not at all.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    Digest, ENTRY_SIZE, FORMAT_VERSION, HASHED_HEADER, HEADER_SIZE, MAGIC, MAX_SECTIONS, align_up, content_digest,
    error::WriteError, section::SectionKind, weights::Weights,
};

/// The largest run of padding is one byte less than the largest alignment.
static ZEROS: [u8; 16384] = [0; 16384];

struct Payload<'a> {
    chunks: Vec<Cow<'a, [u8]>>,
    size: u64,
    hash: Digest,
}

/// Collects sections, in any order, and writes them as one plan.
///
/// Borrowed bytes stay where they are until they are written: a plan of many gigabytes is never assembled in memory.
///
/// ```
/// use planc_plan::container::{Container, SectionKind, Writer};
///
/// let mut writer = Writer::new();
/// writer.add(SectionKind::Manifest, &b"steps"[..])?;
/// let bytes = writer.to_bytes()?;
/// let plan = Container::parse(&bytes)?;
/// assert_eq!(plan.require(SectionKind::Manifest)?, b"steps");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Writer<'a> {
    sections: BTreeMap<SectionKind, Payload<'a>>,
}

impl<'a> Writer<'a> {
    /// A plan without sections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section that is one slice or vector.
    pub fn add(&mut self, kind: SectionKind, bytes: impl Into<Cow<'a, [u8]>>) -> Result<(), WriteError> {
        self.add_chunks(kind, [bytes.into()])
    }

    /// Adds a section that is the concatenation of `chunks`.
    pub fn add_chunks<C: Into<Cow<'a, [u8]>>>(
        &mut self,
        kind: SectionKind,
        chunks: impl IntoIterator<Item = C>,
    ) -> Result<(), WriteError> {
        let (number, id) = kind.to_disk();
        if SectionKind::from_disk(number, id).is_none() || self.sections.contains_key(&kind) {
            return Err(WriteError::Section(kind));
        }
        if self.sections.len() >= MAX_SECTIONS as usize {
            return Err(WriteError::TooManySections { limit: MAX_SECTIONS });
        }
        let chunks: Vec<Cow<'a, [u8]>> = chunks.into_iter().map(Into::into).collect();
        let mut hasher = blake3::Hasher::new();
        let mut size = 0u64;
        for chunk in &chunks {
            hasher.update(chunk);
            size = size.checked_add(chunk.len() as u64).ok_or(WriteError::TooLarge)?;
        }
        self.sections.insert(kind, Payload { chunks, size, hash: *hasher.finalize().as_bytes() });
        Ok(())
    }

    /// Adds the weights section.
    pub fn add_weights(&mut self, weights: Weights<'a>) -> Result<(), WriteError> {
        self.add_chunks(SectionKind::Weights, weights.into_chunks())
    }

    /// The digest that a signature signs: of all sections added so far, a signature excepted.
    pub fn content_digest(&self) -> Digest {
        content_digest(self.sections.iter().map(|(kind, payload)| (*kind, payload.size, &payload.hash)))
    }

    /// The offset of each section, and the length of the file.
    fn layout(&self) -> Result<(Vec<u64>, u64), WriteError> {
        let mut end = (HEADER_SIZE + ENTRY_SIZE * self.sections.len()) as u64;
        let mut offsets = Vec::with_capacity(self.sections.len());
        for (kind, payload) in &self.sections {
            let offset = align_up(end, u64::from(kind.alignment())).ok_or(WriteError::TooLarge)?;
            end = offset.checked_add(payload.size).ok_or(WriteError::TooLarge)?;
            offsets.push(offset);
        }
        if end > i64::MAX as u64 { Err(WriteError::TooLarge) } else { Ok((offsets, end)) }
    }

    /// Header and section table.
    fn head(&self, offsets: &[u64], length: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_SIZE + ENTRY_SIZE * offsets.len());
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        header.extend_from_slice(&(offsets.len() as u32).to_le_bytes());
        header.extend_from_slice(&length.to_le_bytes());
        header.resize(HASHED_HEADER, 0);
        let mut table = Vec::with_capacity(ENTRY_SIZE * offsets.len());
        for ((kind, payload), offset) in self.sections.iter().zip(offsets) {
            let (number, id) = kind.to_disk();
            table.extend_from_slice(&number.to_le_bytes());
            table.extend_from_slice(&id.to_le_bytes());
            table.extend_from_slice(&offset.to_le_bytes());
            table.extend_from_slice(&payload.size.to_le_bytes());
            table.extend_from_slice(&kind.alignment().to_le_bytes());
            table.extend_from_slice(&[0; 4]);
            table.extend_from_slice(&payload.hash);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header).update(&table);
        header.extend_from_slice(hasher.finalize().as_bytes());
        header.extend_from_slice(&table);
        header
    }

    /// Writes the plan and returns its length in bytes. Nothing is flushed or synced.
    pub fn write_to(&self, out: &mut impl Write) -> Result<u64, WriteError> {
        let (offsets, length) = self.layout()?;
        let head = self.head(&offsets, length);
        out.write_all(&head)?;
        let mut position = head.len() as u64;
        for (payload, offset) in self.sections.values().zip(offsets) {
            // Less than the largest alignment, which is the size of `ZEROS`.
            out.write_all(&ZEROS[..(offset - position) as usize])?;
            for chunk in &payload.chunks {
                out.write_all(chunk)?;
            }
            position = offset + payload.size;
        }
        Ok(length)
    }

    /// The plan as bytes in memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the plan to `path` and returns its length in bytes.
    ///
    /// The bytes go to a new file in the same folder, which then takes the place of `path` in one step: whoever opens
    /// `path` sees the old plan or the new one, and a failure leaves the old one and no other file behind. A symbolic
    /// link is followed; a device or a pipe is written directly. The file is not synced to the disk: the reader notices
    /// what a power failure leaves behind.
    pub fn write_file(&self, path: &Path) -> Result<u64, WriteError> {
        let path = match fs::canonicalize(path) {
            Ok(existing) => existing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_path_buf(),
            Err(error) => return Err(error.into()),
        };
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
            return self.write_to(&mut fs::OpenOptions::new().write(true).open(&path)?);
        }
        let (mut file, pending) = PendingFile::create(&path)?;
        let length = {
            let mut out = io::BufWriter::with_capacity(1 << 16, &mut file);
            let length = self.write_to(&mut out)?;
            out.flush()?;
            length
        };
        drop(file);
        pending.rename_to(&path)?;
        Ok(length)
    }
}

/// A file that is removed when dropped, unless it was renamed before.
struct PendingFile {
    path: PathBuf,
    keep: bool,
}

impl PendingFile {
    /// Creates a new, empty, hidden file beside `target`.
    fn create(target: &Path) -> io::Result<(fs::File, Self)> {
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"))?;
        for attempt in 0u32.. {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{attempt}.tmp", std::process::id()));
            let path = target.with_file_name(hidden);
            match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, Self { path, keep: false })),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    fn rename_to(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.keep {
            // The failure that led here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}
