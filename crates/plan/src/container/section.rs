//! What a plan can hold: section kinds, their identifiers on disk, and their alignment.
//!
//! Guarantees: a [`SectionKind`] and its pair of numbers on disk map to each other one to one, and `Ord` on kinds is the
//! order of sections in the file.

use std::fmt;

/// The CPU a code section was generated for, as a number on disk.
///
/// The container accepts any number but zero: a loader skips the targets that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u32);

impl TargetId {
    /// x86-64 with AVX2 and FMA.
    pub const X86_64_AVX2: Self = Self(1);
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    pub const X86_64_AVX512: Self = Self(2);
    /// x86-64 with AVX-512 as above and VNNI.
    pub const X86_64_VNNI: Self = Self(3);
    /// AArch64 with NEON.
    pub const AARCH64_NEON: Self = Self(4);
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::X86_64_AVX2 => f.write_str("x86-64-avx2"),
            Self::X86_64_AVX512 => f.write_str("x86-64-avx512"),
            Self::X86_64_VNNI => f.write_str("x86-64-vnni"),
            Self::AARCH64_NEON => f.write_str("aarch64-neon"),
            Self(other) => write!(f, "target-{other}"),
        }
    }
}

/// The NVIDIA architecture a PTX section needs: compute capability times ten, plus a bit for the `a` variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PtxArch(pub u32);

impl PtxArch {
    /// Set in the number on disk for architecture-specific code (`sm_90a`), which runs on that architecture only.
    const SPECIFIC: u32 = 1 << 16;

    /// `sm_<sm>`, for example `PtxArch::sm(80)`.
    pub const fn sm(sm: u16) -> Self {
        Self(sm as u32)
    }

    /// `sm_<sm>a`, for example `PtxArch::sm_a(90)`.
    pub const fn sm_a(sm: u16) -> Self {
        Self(sm as u32 | Self::SPECIFIC)
    }

    /// The compute capability times ten.
    pub const fn number(self) -> u32 {
        self.0 & !Self::SPECIFIC
    }

    /// Whether this is an `a` variant.
    pub const fn is_specific(self) -> bool {
        self.0 & Self::SPECIFIC != 0
    }
}

impl fmt::Display for PtxArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.number(), if self.is_specific() { "a" } else { "" })
    }
}

/// One kind of section; a plan holds each at most once. The order of the variants is the order in the file.
///
/// Code comes directly before the weights: both are page-aligned, so that a page mapped executable holds nothing but
/// code and padding where pages are 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectionKind {
    /// Steps, buffers, shapes and the input/output schema.
    Manifest,
    /// Why each fusion, layout and kernel was chosen.
    Decisions,
    /// Source digest, flags, compiler version, passes.
    Provenance,
    /// PTX text for one architecture.
    Ptx(PtxArch),
    /// Native code for one CPU target.
    Code(TargetId),
    /// Packed constants; the only section whose hash is not checked on open.
    Weights,
    /// Golden input and output vectors.
    Golden,
    /// A signature over [`content_digest`](super::Container::content_digest).
    Signature,
}

impl SectionKind {
    /// The kind and id written to the section table.
    pub const fn to_disk(self) -> (u32, u32) {
        match self {
            Self::Manifest => (1, 0),
            Self::Decisions => (2, 0),
            Self::Provenance => (3, 0),
            Self::Ptx(arch) => (4, arch.0),
            Self::Code(target) => (5, target.0),
            Self::Weights => (6, 0),
            Self::Golden => (7, 0),
            Self::Signature => (8, 0),
        }
    }

    /// The inverse of [`to_disk`](Self::to_disk); `None` for a pair that this format version does not define.
    pub const fn from_disk(kind: u32, id: u32) -> Option<Self> {
        match (kind, id) {
            (1, 0) => Some(Self::Manifest),
            (2, 0) => Some(Self::Decisions),
            (3, 0) => Some(Self::Provenance),
            (4, 1..) => Some(Self::Ptx(PtxArch(id))),
            (5, 1..) => Some(Self::Code(TargetId(id))),
            (6, 0) => Some(Self::Weights),
            (7, 0) => Some(Self::Golden),
            (8, 0) => Some(Self::Signature),
            _ => None,
        }
    }

    /// The alignment of the section's first byte in the file, in bytes, a power of two.
    ///
    /// Weights start a 4 KiB page. Code starts a 16 KiB page, so that it can be mapped alone on AArch64 systems with
    /// that page size too. All other sections start a cache line.
    pub const fn alignment(self) -> u32 {
        match self {
            Self::Weights => 4096,
            Self::Code(_) => 16384,
            _ => 64,
        }
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest"),
            Self::Decisions => f.write_str("decisions"),
            Self::Provenance => f.write_str("provenance"),
            Self::Ptx(arch) => write!(f, "ptx {arch}"),
            Self::Code(target) => write!(f, "code {target}"),
            Self::Weights => f.write_str("weights"),
            Self::Golden => f.write_str("golden"),
            Self::Signature => f.write_str("signature"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_numbers_round_trip_and_follow_the_file_order() {
        let kinds = [
            SectionKind::Manifest,
            SectionKind::Decisions,
            SectionKind::Provenance,
            SectionKind::Ptx(PtxArch::sm(75)),
            SectionKind::Ptx(PtxArch::sm(80)),
            SectionKind::Ptx(PtxArch::sm_a(90)),
            SectionKind::Code(TargetId::X86_64_AVX2),
            SectionKind::Code(TargetId::AARCH64_NEON),
            SectionKind::Weights,
            SectionKind::Golden,
            SectionKind::Signature,
        ];
        for kind in kinds {
            let (number, id) = kind.to_disk();
            assert_eq!(SectionKind::from_disk(number, id), Some(kind));
            assert!(kind.alignment().is_power_of_two());
        }
        assert!(kinds.is_sorted());
        assert!(kinds.map(SectionKind::to_disk).is_sorted());
        assert_eq!(kinds[5].to_string(), "ptx sm_90a");
    }

    #[test]
    fn undefined_pairs_are_refused() {
        for (kind, id) in [(0, 0), (1, 1), (4, 0), (5, 0), (6, 7), (9, 0), (u32::MAX, u32::MAX)] {
            assert_eq!(SectionKind::from_disk(kind, id), None);
        }
    }
}
