//! Shared, immutable bytes: owned vectors, 64-byte aligned buffers, or a part of a mapped file.

use std::fmt;
use std::sync::Arc;

/// A cache line of zeroed or written bytes: gives [`AlignedBuf`] its alignment.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A mutable byte buffer aligned to 64 bytes, zeroed on creation.
pub struct AlignedBuf {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBuf {
        AlignedBuf { lines: vec![bytemuck::Zeroable::zeroed(); len.div_ceil(64)], len }
    }

    /// The bytes, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

/// Whoever keeps bytes alive: a vector, an aligned buffer, a file mapping.
type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A shared, immutable range of bytes. Cloning shares; slicing shares.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    start: usize,
    len: usize,
}

impl Bytes {
    /// All bytes of `owner`, which is kept alive.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Bytes {
        Bytes::from_arc(Arc::new(owner))
    }

    /// All bytes of a shared owner (a file mapping that many tensors point into).
    pub fn from_arc(owner: Owner) -> Bytes {
        let len = (*owner).as_ref().len();
        Bytes { owner, start: 0, len }
    }

    /// The bytes `start..start + len` of these; `None` when that is out of range.
    pub fn slice(&self, start: usize, len: usize) -> Option<Bytes> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| Bytes { owner: self.owner.clone(), start: self.start + start, len })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.start..self.start + self.len]
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len)
    }
}
