//! Files mapped into memory as shared bytes.

use crate::Bytes;
use std::fs::File;
use std::io;

impl Bytes {
    /// The content of `file`, mapped read-only: pages are read when they are first touched and never copied.
    ///
    /// The file must not change while the bytes are in use. Another process that truncates it ends this one with a
    /// bus error, as with every mapped file.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn map(file: &File) -> io::Result<Bytes> {
        // Mapping nothing is an error on some systems.
        if file.metadata()?.len() == 0 {
            return Ok(Bytes::new(Vec::new()));
        }
        // SAFETY: the mapping is private to this value, read-only, and lives as long as any slice of it. What is
        // undefined is a change of the file by others meanwhile; the documentation passes that duty on, and no
        // code relies on two reads of a byte being equal for memory safety.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
        Ok(Bytes::new(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_mapped() {
        let path = std::env::temp_dir().join(format!("planc-map-{}", std::process::id()));
        std::fs::write(&path, b"abc").unwrap();
        let bytes = Bytes::map(&File::open(&path).unwrap()).unwrap();
        assert_eq!(bytes.slice(1, 2).unwrap().as_slice(), b"bc");
        std::fs::write(&path, b"").unwrap();
        assert!(Bytes::map(&File::open(&path).unwrap()).unwrap().is_empty());
        std::fs::remove_file(&path).unwrap();
    }
}
