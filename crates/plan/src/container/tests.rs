//! The container against damage, truncation, hostile tables and garbage.

use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;

const MANIFEST: &[u8] = b"three steps, two buffers";

fn writer() -> Writer<'static> {
    let mut weights = Weights::new();
    weights.push(&[7u8; 100][..]).unwrap();
    weights.push(vec![9u8; 33]).unwrap();
    let mut writer = Writer::new();
    // Not in file order on purpose.
    writer.add_weights(weights).unwrap();
    writer.add(SectionKind::Signature, &b"sig"[..]).unwrap();
    writer.add(SectionKind::Code(TargetId::X86_64_AVX512), &[0xc3u8; 5][..]).unwrap();
    writer.add(SectionKind::Golden, &b"in, out"[..]).unwrap();
    writer.add(SectionKind::Ptx(PtxArch::sm(80)), &b".version 7.0"[..]).unwrap();
    writer.add_chunks(SectionKind::Manifest, [&MANIFEST[..5], &MANIFEST[5..]]).unwrap();
    writer.add(SectionKind::Decisions, Vec::new()).unwrap();
    writer.add(SectionKind::Provenance, &b"from a model"[..]).unwrap();
    writer
}

fn plan() -> Vec<u8> {
    writer().to_bytes().unwrap()
}

/// Replaces the hash in the header, as a hostile writer would.
fn rehash(plan: &mut [u8]) {
    let table_end = HEADER_SIZE + ENTRY_SIZE * plan[12] as usize;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&plan[..HASHED_HEADER]).update(&plan[HEADER_SIZE..table_end]);
    let hash = *hasher.finalize().as_bytes();
    plan[HASHED_HEADER..HEADER_SIZE].copy_from_slice(&hash);
}

#[test]
fn sections_come_back() {
    let bytes = plan();
    let container = Container::parse(&bytes).unwrap();
    container.verify_weights().unwrap();
    assert_eq!(container.require(SectionKind::Manifest).unwrap(), MANIFEST);
    assert_eq!(container.section(SectionKind::Decisions), Some(&[][..]));
    assert_eq!(container.section(SectionKind::Golden), Some(&b"in, out"[..]));
    assert_eq!(container.section(SectionKind::Code(TargetId::X86_64_AVX512)), Some(&[0xc3u8; 5][..]));
    assert_eq!(container.section(SectionKind::Code(TargetId::X86_64_AVX2)), None);
    let missing = SectionKind::Ptx(PtxArch::sm(75));
    assert_eq!(container.require(missing), Err(FormatError::MissingSection { section: missing }));
    let weights = container.require(SectionKind::Weights).unwrap();
    assert_eq!((weights.len(), weights[99], weights[100], weights[128]), (161, 7, 0, 9));
    assert_eq!(container.sections().len(), 8);
    for section in container.sections() {
        assert_eq!(section.range.start % section.kind.alignment() as usize, 0);
    }
}

#[test]
fn bytes_do_not_depend_on_the_order_of_adding_or_on_chunks() {
    let mut other = Writer::new();
    let bytes = plan();
    let container = Container::parse(&bytes).unwrap();
    for section in container.sections() {
        other.add_chunks(section.kind, bytes[section.range.clone()].chunks(7)).unwrap();
    }
    assert_eq!(other.to_bytes().unwrap(), bytes);
}

#[test]
fn the_layout_is_pinned() {
    let mut writer = Writer::new();
    writer.add(SectionKind::Manifest, &b"m"[..]).unwrap();
    writer.add(SectionKind::Weights, &b"w"[..]).unwrap();
    let bytes = writer.to_bytes().unwrap();
    assert_eq!(bytes.len(), 4097);
    assert_eq!(&bytes[..16], b"PLANC\0\r\n\x01\0\0\0\x02\0\0\0");
    assert_eq!(bytes[16..32], [1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        bytes[64..96],
        [1, 0, 0, 0, 0, 0, 0, 0, 192, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(bytes[96..128], *blake3::hash(b"m").as_bytes());
    assert_eq!((bytes[192], bytes[4096]), (b'm', b'w'));
}

#[test]
fn an_empty_plan_is_valid() {
    let bytes = Writer::new().to_bytes().unwrap();
    assert_eq!(bytes.len(), HEADER_SIZE);
    let container = Container::parse(&bytes).unwrap();
    container.verify_weights().unwrap();
    assert!(container.sections().is_empty());
}

#[test]
fn the_signature_is_outside_the_content_digest() {
    let mut writer = writer();
    let digest = writer.content_digest();
    let bytes = writer.to_bytes().unwrap();
    assert_eq!(Container::parse(&bytes).unwrap().content_digest(), digest);
    let mut unsigned = Writer::new();
    let container = Container::parse(&bytes).unwrap();
    for section in container.sections().iter().filter(|section| section.kind != SectionKind::Signature) {
        unsigned.add(section.kind, &bytes[section.range.clone()]).unwrap();
    }
    assert_eq!(unsigned.content_digest(), digest);
    writer.add(SectionKind::Ptx(PtxArch::sm(75)), &b""[..]).unwrap();
    assert_ne!(writer.content_digest(), digest);
}

#[test]
fn the_writer_refuses_duplicates_and_zero_ids() {
    let mut writer = writer();
    for kind in [SectionKind::Manifest, SectionKind::Code(TargetId(0)), SectionKind::Ptx(PtxArch(0))] {
        assert!(matches!(writer.add(kind, &b""[..]), Err(WriteError::Section(refused)) if refused == kind));
    }
    let mut writer = Writer::new();
    for id in 1..=MAX_SECTIONS {
        writer.add(SectionKind::Code(TargetId(id)), &b""[..]).unwrap();
    }
    assert!(matches!(writer.add(SectionKind::Manifest, &b""[..]), Err(WriteError::TooManySections { limit: 256 })));
}

#[test]
fn every_flipped_bit_is_detected() {
    let mut bytes = plan();
    let weights = Container::parse(&bytes).unwrap().entry(SectionKind::Weights).unwrap().range.clone();
    for at in 0..bytes.len() {
        // All bits where it is cheap, one bit per byte in the long runs of padding.
        let bits = if at < 1024 || weights.contains(&at) { 0..8 } else { at as u32 % 8..at as u32 % 8 + 1 };
        for bit in bits {
            bytes[at] ^= 1 << bit;
            match Container::parse(&bytes) {
                Ok(container) => {
                    assert!(weights.contains(&at), "bit {bit} of byte {at} goes unnoticed on open");
                    let error = container.verify_weights().unwrap_err();
                    assert_eq!(error.class(), ErrorClass::Integrity);
                }
                Err(error) => {
                    assert!(!weights.contains(&at));
                    let expected: &[ErrorClass] = match at {
                        0..8 => &[ErrorClass::NotAPlan],
                        8..12 => &[ErrorClass::Version],
                        // A larger count can point behind the end of the file.
                        12..16 => &[ErrorClass::Integrity, ErrorClass::Truncated],
                        _ => &[ErrorClass::Integrity],
                    };
                    assert!(expected.contains(&error.class()), "byte {at}: {error}");
                }
            }
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn every_truncation_is_detected() {
    let bytes = plan();
    assert_eq!(Container::parse(&[]).unwrap_err(), FormatError::NotAPlan);
    for length in 1..bytes.len() {
        let error = Container::parse(&bytes[..length]).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Truncated, "length {length}: {error}");
    }
}

#[test]
fn bytes_behind_the_end_are_detected() {
    let mut bytes = plan();
    let declared = bytes.len() as u64;
    bytes.push(0);
    assert_eq!(Container::parse(&bytes).unwrap_err(), FormatError::TrailingBytes { declared, have: declared + 1 });
}

#[test]
fn another_version_names_both() {
    let mut bytes = plan();
    bytes[8] = 2;
    let error = Container::parse(&bytes).unwrap_err();
    assert_eq!(error, FormatError::Version { found: 2, supported: 1 });
    assert!(error.to_string().contains("format version 2") && error.to_string().contains("format version 1"));
}

/// Changes to the table that keep its hash right: `(offset in the file, bytes, class)`.
#[test]
fn hostile_tables_are_refused() {
    let entry = |index: usize, field: usize| HEADER_SIZE + index * ENTRY_SIZE + field;
    let cases: Vec<(usize, Vec<u8>, &str)> = vec![
        (24, vec![1], "reserved field of the plan, at byte 24"),
        (16, vec![0xff; 8], "truncated"),
        (entry(0, 0), vec![0], "unknown kind 0"),
        (entry(0, 0), vec![99], "unknown kind 99"),
        (entry(0, 4), vec![1], "unknown kind 1 with id 1"),
        (entry(1, 0), vec![1], "section 1 of the plan (manifest) is out of order"),
        (entry(1, 0), vec![8], "section 2 of the plan (provenance) is out of order"),
        (entry(0, 8), vec![0; 8], "starts at byte 0, 576 expected"),
        (entry(0, 8), vec![0xff; 8], "576 expected"),
        (entry(1, 8), vec![0x41, 2], "the decisions section of the plan starts at byte 577, 640 expected"),
        (entry(0, 16), vec![0xff; 8], "more than can be addressed"),
        (entry(0, 16), vec![0, 0, 0, 0, 0, 1], "declares"),
        (entry(0, 16), vec![200], "832 expected"),
        (entry(0, 24), vec![0], "declares alignment 0, 64 expected"),
        (entry(0, 24), vec![32], "declares alignment 32, 64 expected"),
        (entry(0, 28), vec![1], "reserved field of the plan, at byte 92"),
        (entry(7, 16), vec![2], "sections end at"),
        (entry(7, 16), vec![4], "sections end at"),
        (entry(0, 32), vec![0; 32], "manifest section of the plan (at byte 576) is damaged"),
    ];
    for (at, change, message) in cases {
        let mut bytes = plan();
        bytes[at..at + change.len()].copy_from_slice(&change);
        rehash(&mut bytes);
        let error = Container::parse(&bytes).unwrap_err();
        assert!(error.to_string().contains(message), "change at {at} gives: {error}");
    }
}

#[test]
fn a_huge_count_is_refused_before_it_is_used() {
    let mut bytes = plan();
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Container::parse(&bytes).unwrap_err(), FormatError::TooManySections { count: u32::MAX, limit: 256 });
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn names(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn files_are_written_whole_and_replaced() {
    let folder = folder();
    let path = folder.path().join("a.plan");
    assert_eq!(writer().write_file(&path).unwrap(), plan().len() as u64);
    assert_eq!(fs::read(&path).unwrap(), plan());
    assert_eq!(Writer::new().write_file(&path).unwrap(), 64);
    assert_eq!(fs::read(&path).unwrap().len(), 64);
    assert_eq!(names(&folder), [path]);
}

#[test]
fn failures_leave_nothing_behind() {
    let folder = folder();
    let blocked = folder.path().join("b.plan");
    fs::create_dir(&blocked).unwrap();
    assert!(matches!(writer().write_file(&blocked), Err(WriteError::Io(_))));
    assert_eq!(names(&folder), [blocked]);
    assert!(writer().write_file(&folder.path().join("no").join("c.plan")).is_err());
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_survive() {
    use std::os::unix::fs::FileTypeExt;
    let folder = folder();
    let (real, link) = (folder.path().join("real.plan"), folder.path().join("link.plan"));
    fs::write(&real, b"old").unwrap();
    std::os::unix::fs::symlink("real.plan", &link).unwrap();
    writer().write_file(&link).unwrap();
    assert_eq!(fs::read(&real).unwrap(), plan());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let null = PathBuf::from("/dev/null");
    writer().write_file(&null).unwrap();
    assert!(fs::metadata(&null).unwrap().file_type().is_char_device());
}

proptest! {
    #[test]
    fn any_sections_round_trip(
        contents in prop::collection::btree_map((4u32..6, 1u32..9), prop::collection::vec(any::<u8>(), 0..300), 0..6),
    ) {
        let mut writer = Writer::new();
        for ((kind, id), content) in &contents {
            writer.add(SectionKind::from_disk(*kind, *id).unwrap(), content).unwrap();
        }
        let bytes = writer.to_bytes().unwrap();
        let container = Container::parse(&bytes).unwrap();
        prop_assert_eq!(container.sections().len(), contents.len());
        for ((kind, id), content) in &contents {
            prop_assert_eq!(container.section(SectionKind::from_disk(*kind, *id).unwrap()), Some(&content[..]));
        }
    }

    #[test]
    fn garbage_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Container::parse(&garbage).is_err());
        let mut headed = garbage;
        headed.splice(0..headed.len().min(12), plan()[..12].iter().copied());
        prop_assert!(Container::parse(&headed).is_err());
    }

    /// Any table whatever, with the right hash, is refused or describes sections within the file.
    #[test]
    fn garbage_in_a_table_with_the_right_hash_is_safe(
        at in 12usize..64 + 8 * 64,
        change in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let mut bytes = plan();
        bytes[at..at + change.len()].copy_from_slice(&change);
        if bytes[13..16] == [0; 3] && HEADER_SIZE + ENTRY_SIZE * usize::from(bytes[12]) <= bytes.len() {
            rehash(&mut bytes);
        }
        if let Ok(container) = Container::parse(&bytes) {
            prop_assert!(container.sections().iter().all(|section| section.range.end <= bytes.len()));
        }
    }
}
