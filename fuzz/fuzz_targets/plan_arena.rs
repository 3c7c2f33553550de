//! Any buffers: they are refused, or placed so that those alive together do not overlap.

#![no_main]

use libfuzzer_sys::fuzz_target;
use planc_plan::arena::{Buffer, assign};

fn root(buffers: &[Buffer], mut index: usize) -> usize {
    while let Some(source) = buffers[index].in_place_of {
        index = source;
    }
    index
}

fuzz_target!(|data: &[u8]| {
    let buffers: Vec<Buffer> = data
        .as_chunks::<6>()
        .0
        .iter()
        .take(64)
        .map(|&[size, exponent, align, first, life, source]| Buffer {
            size: u64::from(size) << (exponent % 64),
            // One in sixteen is no power of two.
            align: if align < 16 { u64::from(align) } else { 1 << (align % 64) },
            first_step: usize::from(first),
            last_step: usize::from(first) + usize::from(life % 32),
            in_place_of: (source >= 192).then_some(usize::from(source - 192)),
        })
        .collect();
    let Ok(assignment) = assign(&buffers) else { return };
    for (i, a) in buffers.iter().enumerate().filter(|(_, buffer)| buffer.size > 0) {
        let start = assignment.offsets[i];
        assert!(start % a.align == 0 && start + a.size <= assignment.total);
        for (j, b) in buffers.iter().enumerate().skip(i + 1).filter(|(_, buffer)| buffer.size > 0) {
            let together = a.first_step <= b.last_step && b.first_step <= a.last_step;
            if together && root(&buffers, i) != root(&buffers, j) {
                let other = assignment.offsets[j];
                assert!(start + a.size <= other || other + b.size <= start, "{i} and {j} overlap");
            }
        }
    }
});
