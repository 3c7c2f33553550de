//! Plan files in memory: mapped read-only, and their code mapped read+execute.
//!
//! Guarantees: no mapping is ever writable and executable at the same time, and those of a file are never writable at
//! all; nothing is copied from a file but the code on file systems that forbid execution; what is not a regular file
//! is refused instead of waited for.
//!
//! Left out: validation. [`planc_plan::container`] checks the bytes; code must not be mapped before its hash was.
//!
//! # Changes to a mapped file
//! A mapping shows what other processes write to the file afterwards, and a page that was cut off ends the process with
//! a bus error. No check at load time can exclude that; as with shared libraries, whoever may write to a plan may run
//! code in the processes that use it. planc replaces plans by renaming a new file over the old one, which leaves
//! existing mappings intact; other tools should do the same. A plan from a folder that others write to can be read
//! into memory instead ([`PlanBytes::read`]).

#![allow(unsafe_code, reason = "a file mapping is a promise about other processes")]

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::{Mmap, MmapMut, MmapOptions};
use thiserror::Error;

/// Why a plan file or its code cannot be mapped.
#[derive(Debug, Error)]
pub enum MapError {
    /// The file cannot be opened or read.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path names a folder, a pipe or a device.
    #[error("cannot open {}: it is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses the mapping.
    #[error("cannot map {}: {source}", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no memory for a copy.
    #[error("cannot allocate {size} bytes for a plan: {source}")]
    Allocate {
        /// The size in bytes.
        size: usize,
        /// What the system says.
        source: io::Error,
    },
    /// The range of the code is not within the plan.
    #[error("the code at bytes {start} to {end} is outside of the plan, which has {size} bytes")]
    OutOfRange {
        /// Start of the range.
        start: usize,
        /// End of the range.
        end: usize,
        /// The size of the plan in bytes.
        size: usize,
    },
    /// The system does not let this process execute code from memory.
    #[error("cannot make the code of the plan executable: {source}")]
    Execute {
        /// What the system says.
        source: io::Error,
    },
}

/// The bytes of a plan, starting on a page, so that alignments within the plan are alignments in memory.
#[derive(Debug)]
pub struct PlanBytes {
    map: Mmap,
    /// The file, if `map` is a mapping of it; `None` for private memory.
    file: Option<File>,
}

impl PlanBytes {
    /// Maps a file.
    ///
    /// # Errors
    /// [`MapError::Open`], [`MapError::NotAFile`] or [`MapError::Map`].
    pub fn map(path: &Path) -> Result<Self, MapError> {
        let file = open(path)?;
        // SAFETY: the mapping is read-only. That nobody changes the file meanwhile cannot be proved; the module header
        // says what happens if somebody does. The bytes are plain `u8`, for which any value is valid.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| MapError::Map { path: path.into(), source })?;
        Ok(Self { map, file: Some(file) })
    }

    /// Reads a file into private memory, which later changes to the file do not reach.
    ///
    /// # Errors
    /// [`MapError::Open`], [`MapError::NotAFile`] or [`MapError::Allocate`].
    pub fn read(path: &Path) -> Result<Self, MapError> {
        let mut bytes = Vec::new();
        open(path)?.read_to_end(&mut bytes).map_err(|source| MapError::Open { path: path.into(), source })?;
        Self::copy(&bytes)
    }

    /// Copies bytes, for example of a plan that was just compiled, into private memory.
    ///
    /// # Errors
    /// [`MapError::Allocate`].
    pub fn copy(bytes: &[u8]) -> Result<Self, MapError> {
        let map = copy(bytes)?.make_read_only().map_err(|source| MapError::Allocate { size: bytes.len(), source })?;
        Ok(Self { map, file: None })
    }

    /// All bytes of the plan.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Maps a code section read+execute. `range` is that of the section in the plan, whose hash must have been checked.
    ///
    /// The code is shared with the file where the file system allows execution, and copied where it does not.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`] or [`MapError::Execute`].
    pub fn map_code(&self, range: Range<usize>) -> Result<CodeMap, MapError> {
        let Range { start, end } = range;
        let Some(code) = self.bytes().get(start..end) else {
            return Err(MapError::OutOfRange { start, end, size: self.bytes().len() });
        };
        if let Some(file) = &self.file {
            // SAFETY: as in `map`; the mapping is readable and executable, never writable.
            let map = unsafe { MmapOptions::new().offset(start as u64).len(code.len()).map_exec(file) };
            // Other errors than "this file system forbids it" would hit the copy as well.
            if let Ok(map) = map {
                return Ok(CodeMap { map });
            }
        }
        let copied = copy(code)?;
        sync_instructions(&copied);
        let map = copied.make_exec().map_err(|source| MapError::Execute { source })?;
        Ok(CodeMap { map })
    }
}

impl AsRef<[u8]> for PlanBytes {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Executable code.
#[derive(Debug)]
pub struct CodeMap {
    map: Mmap,
}

impl CodeMap {
    /// The code as bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The address of the function at an offset; `None` if that is behind the end.
    ///
    /// The address is valid as long as this mapping lives. To call it is `unsafe`: the caller vouches for the signature,
    /// and for code from a plan whose hash was checked and whose target this machine supports.
    pub fn function(&self, offset: usize) -> Option<*const u8> {
        self.map.get(offset).map(std::ptr::from_ref)
    }
}

/// Opens a regular file; asks before opening, as opening a pipe would wait for a writer.
fn open(path: &Path) -> Result<File, MapError> {
    let fail = |source| MapError::Open { path: path.into(), source };
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Err(MapError::NotAFile { path: path.into() });
    }
    File::open(path).map_err(fail)
}

/// New pages that hold a copy of `bytes`.
fn copy(bytes: &[u8]) -> Result<MmapMut, MapError> {
    let mut map = MmapOptions::new()
        .len(bytes.len())
        .map_anon()
        .map_err(|source| MapError::Allocate { size: bytes.len(), source })?;
    map.copy_from_slice(bytes);
    Ok(map)
}

/// Makes the processor see `code` as instructions; x86-64 does so by itself.
#[cfg(not(target_arch = "aarch64"))]
fn sync_instructions(_code: &[u8]) {}

/// Makes the processor see `code` as instructions (Arm Architecture Reference Manual, B2.4.4: clean the data cache, then
/// invalidate the instruction cache, line by line).
#[cfg(target_arch = "aarch64")]
fn sync_instructions(code: &[u8]) {
    use std::arch::asm;
    let sizes: u64;
    // SAFETY: only reads a register, which Linux makes readable for user code.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) sizes, options(nomem, nostack, preserves_flags)) };
    let lines = |size: usize| {
        let Range { start, end } = code.as_ptr_range();
        (start as usize & !(size - 1)..end as usize).step_by(size)
    };
    for line in lines(4 << (sizes >> 16 & 0xf)) {
        // SAFETY: cleaning a cache line that holds mapped memory changes no value.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers only.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines(4 << (sizes & 0xf)) {
        // SAFETY: invalidating a line of the instruction cache changes no value.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers only.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

#[cfg(test)]
mod tests {
    use planc_plan::container::{Container, SectionKind, TargetId, Writer};

    use super::*;

    /// `fn() -> i32 { 42 }` for this machine.
    #[cfg(target_arch = "x86_64")]
    const CODE: &[u8] = &[0xb8, 42, 0, 0, 0, 0xc3];
    #[cfg(target_arch = "aarch64")]
    const CODE: &[u8] = &[0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];

    const KIND: SectionKind = SectionKind::Code(TargetId::X86_64_AVX2);

    fn plan() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.add(SectionKind::Manifest, &b"manifest"[..]).unwrap();
        writer.add(KIND, CODE).unwrap();
        writer.add(SectionKind::Weights, &[1u8; 100][..]).unwrap();
        writer.to_bytes().unwrap()
    }

    fn call(bytes: &PlanBytes) -> i32 {
        let container = Container::parse(bytes.bytes()).unwrap();
        let code = bytes.map_code(container.entry(KIND).unwrap().range.clone()).unwrap();
        assert_eq!(code.bytes(), CODE);
        assert!(code.function(CODE.len()).is_none());
        let address = code.function(0).unwrap();
        // SAFETY: `CODE` is a function of this type for this machine, and `code` lives until after the call.
        let function = unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> i32>(address) };
        function()
    }

    #[test]
    fn code_runs_from_a_file_and_from_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        std::fs::write(&path, plan()).unwrap();
        for bytes in [PlanBytes::map(&path), PlanBytes::read(&path), PlanBytes::copy(&plan())] {
            let bytes = bytes.unwrap();
            assert_eq!(bytes.bytes(), plan());
            assert_eq!(bytes.bytes().as_ptr() as usize % 4096, 0);
            assert_eq!(call(&bytes), 42);
        }
    }

    #[test]
    fn a_mapping_outlives_the_replacement_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        std::fs::write(&path, plan()).unwrap();
        let bytes = PlanBytes::map(&path).unwrap();
        Writer::new().write_file(&path).unwrap();
        assert_eq!(bytes.bytes(), plan());
        assert_eq!(call(&bytes), 42);
    }

    #[test]
    fn empty_files_are_empty_plans() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.plan");
        std::fs::write(&path, b"").unwrap();
        for bytes in [PlanBytes::map(&path).unwrap(), PlanBytes::copy(&[]).unwrap()] {
            assert!(bytes.bytes().is_empty());
            assert!(Container::parse(bytes.bytes()).is_err());
            assert!(bytes.map_code(0..0).unwrap().function(0).is_none());
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.plan");
        for open in [PlanBytes::map, PlanBytes::read] {
            assert!(matches!(open(&missing), Err(MapError::Open { .. })));
            assert!(matches!(open(folder.path()), Err(MapError::NotAFile { .. })));
        }
        let bytes = PlanBytes::copy(&plan()).unwrap();
        let size = bytes.bytes().len();
        #[expect(clippy::reversed_empty_ranges, reason = "it must be refused")]
        for range in [0..size + 1, usize::MAX - 1..usize::MAX, 9..3] {
            assert!(matches!(bytes.map_code(range), Err(MapError::OutOfRange { .. })));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_mapping_is_writable_and_executable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        std::fs::write(&path, plan()).unwrap();
        let mapped = PlanBytes::map(&path).unwrap();
        let copied = PlanBytes::copy(&plan()).unwrap();
        let code = [mapped.map_code(16384..16390).unwrap(), copied.map_code(16384..16390).unwrap()];
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let permissions = |address: usize| {
            let line = maps.lines().find(|line| {
                let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                (usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()).contains(&address)
            });
            line.unwrap().split(' ').nth(1).unwrap()[..3].to_string()
        };
        assert_eq!(permissions(mapped.bytes().as_ptr() as usize), "r--");
        assert_eq!(permissions(copied.bytes().as_ptr() as usize), "r--");
        assert!(code.iter().all(|code| permissions(code.bytes().as_ptr() as usize) == "r-x"));
    }
}
