//! Any bytes as a plan: the reader must refuse them or describe sections that lie within them, and what it accepts must
//! be what the writer writes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use planc_plan::container::{Container, SectionKind, Writer};

/// The header is 64 bytes, as is an entry of the table; the hash of both is in the second half of the header.
const LINE: usize = 64;

/// Makes the hashes right, so that the fuzzer reaches what lies behind them. Section hashes are in the second half of
/// each entry.
fn rehash(plan: &mut [u8]) {
    let Some(&[a, b, c, d]) = plan.get(12..16).and_then(<[u8]>::first_chunk) else { return };
    let table_end = LINE + LINE * (u32::from_le_bytes([a, b, c, d]) as usize).min(256);
    if plan.len() < table_end {
        return;
    }
    for entry in (LINE..table_end).step_by(LINE) {
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&plan[entry + at..entry + at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (start, size) = (number(8), number(16));
        let end = start.saturating_add(size).min(plan.len() as u64) as usize;
        let start = (start as usize).min(end);
        let hash = *blake3::hash(&plan[start..end]).as_bytes();
        plan[entry + 32..entry + 64].copy_from_slice(&hash);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&plan[..32]).update(&plan[LINE..table_end]);
    plan[32..64].copy_from_slice(hasher.finalize().as_bytes());
}

fn check(bytes: &[u8]) {
    let Ok(plan) = Container::parse(bytes) else { return };
    let mut writer = Writer::new();
    for section in plan.sections() {
        let content = &bytes[section.range.clone()];
        assert_eq!(plan.section(section.kind), Some(content));
        writer.add(section.kind, content).expect("kinds are valid and unique");
    }
    if plan.verify_weights().is_ok() {
        assert_eq!(writer.to_bytes().expect("memory does not fail"), bytes);
        assert_eq!(writer.content_digest(), plan.content_digest());
    } else {
        assert!(plan.section(SectionKind::Weights).is_some());
    }
}

fuzz_target!(|data: &[u8]| {
    check(data);
    let mut headed = b"PLANC\0\r\n\x01\0\0\0".to_vec();
    headed.extend_from_slice(data);
    rehash(&mut headed);
    check(&headed);
});
