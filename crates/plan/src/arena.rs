//! Places buffers with known lifetimes in one arena, so that buffers alive at the same time never overlap.
//!
//! The algorithm is "greedy by size" (Pisarchyk and Lee, "Efficient memory management for deep neural net inference",
//! 2020, arXiv 2001.03288, section 5.2): the largest buffer first, each in the smallest gap between the buffers placed
//! before that are alive together with it. Ties are broken by index, so that the result is a function of the input.
//! The total is never more than the sum of the sizes, each rounded up to the largest alignment.
//!
//! What may be computed in place is for the caller to know: [`Buffer::in_place_of`] is taken as said.

use thiserror::Error;

/// One buffer to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Size in bytes; a buffer of size zero takes no room.
    pub size: u64,
    /// Alignment of the offset in bytes, a power of two.
    pub align: u64,
    /// The first step that writes the buffer.
    pub first_step: usize,
    /// The last step that reads or writes the buffer; not before `first_step`.
    pub last_step: usize,
    /// The buffer whose memory this one takes over, starting at the same offset.
    ///
    /// It must come earlier in the list. The two buffers may be alive together (the step that reads one writes the
    /// other over it), so that the size of the chain is that of its largest member, and its life that from the first
    /// step of any member to the last.
    pub in_place_of: Option<usize>,
}

/// Where the buffers lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The offset of each buffer in the arena, in bytes; 0 for those of size zero.
    pub offsets: Vec<u64>,
    /// The size of the arena in bytes.
    pub total: u64,
    /// The alignment that the arena needs, in bytes: the largest of the buffers, at least 1.
    pub align: u64,
}

/// Why buffers cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ArenaError {
    /// The alignment is not a power of two.
    #[error("buffer {buffer} has alignment {align}, which is not a power of two")]
    Alignment {
        /// Index of the buffer.
        buffer: usize,
        /// Its alignment.
        align: u64,
    },
    /// The life ends before it starts.
    #[error("buffer {buffer} lives from step {first_step} to step {last_step}")]
    Lifetime {
        /// Index of the buffer.
        buffer: usize,
        /// Its first step.
        first_step: usize,
        /// Its last step.
        last_step: usize,
    },
    /// The buffer to take over does not come before the one that takes over.
    #[error("buffer {buffer} takes over buffer {source_buffer}, which does not come before it")]
    InPlace {
        /// Index of the buffer.
        buffer: usize,
        /// The buffer that it names.
        source_buffer: usize,
    },
    /// The arena would be larger than 2^63 bytes.
    #[error("buffer {buffer} does not fit the address space")]
    TooLarge {
        /// Index of the buffer.
        buffer: usize,
    },
}

/// A chain of buffers that share their memory.
#[derive(Clone, Copy)]
struct Chain {
    /// Index of the first member.
    head: usize,
    size: u64,
    align: u64,
    first_step: usize,
    last_step: usize,
}

/// Assigns an offset to each buffer.
///
/// # Errors
/// [`ArenaError`] if a buffer contradicts its description, or if the arena would be too large.
pub fn assign(buffers: &[Buffer]) -> Result<Assignment, ArenaError> {
    let (chains, chain_of) = chains(buffers)?;
    let align = chains.iter().map(|chain| chain.align).max().unwrap_or(1);
    let mut order: Vec<usize> = (0..chains.len()).filter(|&index| chains[index].size > 0).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(chains[index].size), index));
    let mut placed = Placed::default();
    let mut offsets = vec![0; chains.len()];
    let mut total = 0;
    for index in order {
        let chain = &chains[index];
        let (offset, end) = placed.place(chain).ok_or(ArenaError::TooLarge { buffer: chain.head })?;
        offsets[index] = offset;
        total = total.max(end);
    }
    Ok(Assignment { offsets: chain_of.iter().map(|&chain| offsets[chain]).collect(), total, align })
}

/// Checks the buffers and joins those that share memory; also gives the chain of each buffer.
fn chains(buffers: &[Buffer]) -> Result<(Vec<Chain>, Vec<usize>), ArenaError> {
    let mut chains: Vec<Chain> = Vec::with_capacity(buffers.len());
    let mut chain_of: Vec<usize> = Vec::with_capacity(buffers.len());
    for (index, buffer) in buffers.iter().enumerate() {
        let &Buffer { size, align, first_step, last_step, in_place_of } = buffer;
        if !align.is_power_of_two() {
            return Err(ArenaError::Alignment { buffer: index, align });
        }
        if last_step < first_step {
            return Err(ArenaError::Lifetime { buffer: index, first_step, last_step });
        }
        let Some(source) = in_place_of else {
            chain_of.push(chains.len());
            chains.push(Chain { head: index, size, align, first_step, last_step });
            continue;
        };
        let Some(&id) = chain_of.get(source) else {
            return Err(ArenaError::InPlace { buffer: index, source_buffer: source });
        };
        let chain = &mut chains[id];
        chain.size = chain.size.max(size);
        chain.align = chain.align.max(align);
        chain.first_step = chain.first_step.min(first_step);
        chain.last_step = chain.last_step.max(last_step);
        chain_of.push(id);
    }
    Ok((chains, chain_of))
}

/// The chains placed so far, in order of their offsets.
#[derive(Default)]
struct Placed {
    blocks: Vec<Block>,
}

#[derive(Clone, Copy)]
struct Block {
    offset: u64,
    end: u64,
    first_step: usize,
    last_step: usize,
}

impl Placed {
    /// Places a chain and returns its offset and end, or `None` if it ends behind 2^63.
    fn place(&mut self, chain: &Chain) -> Option<(u64, u64)> {
        // The best gap so far, and the end of what is occupied in front of the blocks not yet seen.
        let mut best: Option<(u64, u64)> = None;
        let mut occupied = 0u64;
        for block in &self.blocks {
            if block.first_step > chain.last_step || block.last_step < chain.first_step {
                continue;
            }
            if block.offset > occupied {
                let start = occupied.next_multiple_of(chain.align);
                let gap = block.offset - occupied;
                let fits = start <= block.offset && block.offset - start >= chain.size;
                if fits && best.is_none_or(|(smallest, _)| gap < smallest) {
                    best = Some((gap, start));
                }
            }
            occupied = occupied.max(block.end);
        }
        let offset = match best {
            Some((_, start)) => start,
            None => occupied.checked_next_multiple_of(chain.align)?,
        };
        let end = offset.checked_add(chain.size).filter(|&end| end <= i64::MAX as u64)?;
        let at = self.blocks.partition_point(|block| block.offset <= offset);
        self.blocks.insert(at, Block { offset, end, first_step: chain.first_step, last_step: chain.last_step });
        Some((offset, end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buffer(size: u64, first_step: usize, last_step: usize) -> Buffer {
        Buffer { size, align: 64, first_step, last_step, in_place_of: None }
    }

    #[test]
    fn nothing_takes_no_room() {
        assert_eq!(assign(&[]).unwrap(), Assignment { offsets: vec![], total: 0, align: 1 });
        let zero = assign(&[buffer(0, 0, 9), buffer(64, 0, 9), buffer(0, 3, 4)]).unwrap();
        assert_eq!((zero.offsets, zero.total), (vec![0, 0, 0], 64));
    }

    #[test]
    fn memory_is_reused_once_a_buffer_is_dead() {
        let chain: Vec<Buffer> = (0..10).map(|step| buffer(128, step, step + 1)).collect();
        let assignment = assign(&chain).unwrap();
        assert_eq!(assignment.total, 256);
        assert_eq!(assignment.offsets, [0, 128, 0, 128, 0, 128, 0, 128, 0, 128]);
    }

    #[test]
    fn the_smallest_gap_is_taken() {
        let buffers = [
            buffer(1024, 0, 9), // at 0
            buffer(960, 0, 4),  // at 1024, leaves a large gap in steps 5 to 9
            buffer(896, 0, 9),  // at 1984
            buffer(256, 0, 4),  // at 2880, leaves a small gap in steps 5 to 9
            buffer(192, 0, 9),  // at 3136
            buffer(128, 5, 9),  // fits both gaps
        ];
        let assignment = assign(&buffers).unwrap();
        assert_eq!(assignment.offsets, [0, 1024, 1984, 2880, 3136, 2880]);
    }

    #[test]
    fn offsets_are_aligned() {
        let mut buffers = [buffer(65, 0, 1), buffer(10, 0, 1), buffer(4, 0, 1)];
        buffers[1].align = 4096;
        buffers[2].align = 1;
        let assignment = assign(&buffers).unwrap();
        assert_eq!((assignment.offsets, assignment.total, assignment.align), (vec![0, 4096, 65], 4106, 4096));
    }

    #[test]
    fn in_place_buffers_share_one_block_for_their_joint_life() {
        let mut buffers = vec![buffer(100, 0, 2), buffer(200, 2, 5), buffer(64, 1, 4), buffer(50, 5, 7)];
        buffers[1].in_place_of = Some(0);
        buffers[3].in_place_of = Some(1);
        let assignment = assign(&buffers).unwrap();
        assert_eq!((assignment.offsets, assignment.total), (vec![0, 0, 256, 0], 320));
    }

    #[test]
    fn contradictions_are_errors() {
        let case = |change: fn(&mut Buffer)| {
            let mut buffers = [buffer(1, 0, 0), buffer(1, 2, 3)];
            change(&mut buffers[1]);
            assign(&buffers).unwrap_err()
        };
        assert_eq!(case(|b| b.align = 0), ArenaError::Alignment { buffer: 1, align: 0 });
        assert_eq!(case(|b| b.align = 48), ArenaError::Alignment { buffer: 1, align: 48 });
        assert_eq!(case(|b| b.last_step = 1), ArenaError::Lifetime { buffer: 1, first_step: 2, last_step: 1 });
        assert_eq!(case(|b| b.in_place_of = Some(1)), ArenaError::InPlace { buffer: 1, source_buffer: 1 });
        assert!(case(|b| b.in_place_of = Some(usize::MAX)).to_string().contains("does not come before"));
        assert_eq!(case(|b| b.size = u64::MAX), ArenaError::TooLarge { buffer: 1 });
        let huge = [buffer(i64::MAX as u64 - 100, 0, 1), buffer(128, 1, 1)];
        assert_eq!(assign(&huge), Err(ArenaError::TooLarge { buffer: 1 }));
        let far = Buffer { align: 1 << 63, ..buffer(1, 0, 1) };
        assert_eq!(assign(&[buffer(1, 0, 1), far]), Err(ArenaError::TooLarge { buffer: 1 }));
    }

    /// A net of 10,000 values with mixed lifetimes: an upper bound on the work, not a timing.
    #[test]
    fn many_buffers() {
        let buffers: Vec<Buffer> =
            (0..10_000usize).map(|i| buffer((i as u64 * 7919) % 4096 + 1, i, i + 1 + (i * 31) % 40)).collect();
        let assignment = assign(&buffers).unwrap();
        let live = (0..10_100)
            .map(|step| {
                let alive = buffers.iter().filter(|b| b.first_step <= step && step <= b.last_step);
                alive.map(|b| b.size.next_multiple_of(64)).sum::<u64>()
            })
            .max();
        assert!(assignment.total <= live.unwrap() * 3 / 2, "{} against a bound of {live:?}", assignment.total);
    }

    fn any_buffers() -> impl Strategy<Value = Vec<Buffer>> {
        let one =
            (0u64..2000, 0u32..9, 0usize..40, 0usize..12, prop::option::weighted(0.2, any::<prop::sample::Index>()));
        prop::collection::vec(one, 0..80).prop_map(|raw| {
            let plain =
                |(size, align, first_step, life, source): (u64, u32, usize, usize, Option<prop::sample::Index>)| {
                    (
                        Buffer { size, align: 1 << align, first_step, last_step: first_step + life, in_place_of: None },
                        source,
                    )
                };
            raw.into_iter()
                .map(plain)
                .enumerate()
                .map(|(index, (mut buffer, source))| {
                    buffer.in_place_of = source.filter(|_| index > 0).map(|source| source.index(index));
                    buffer
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn live_buffers_never_overlap(buffers in any_buffers()) {
            let assignment = assign(&buffers).unwrap();
            prop_assert_eq!(&assignment, &assign(&buffers).unwrap());
            let root = |mut index: usize| {
                while let Some(source) = buffers[index].in_place_of {
                    index = source;
                }
                index
            };
            for (i, a) in buffers.iter().enumerate() {
                let start = assignment.offsets[i];
                prop_assert!(start.is_multiple_of(a.align) || a.size == 0);
                prop_assert!(start + a.size <= assignment.total);
                prop_assert!(a.in_place_of.is_none_or(|source| assignment.offsets[source] == start));
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let together = a.first_step <= b.last_step && b.first_step <= a.last_step;
                    if together && root(i) != root(j) && a.size > 0 && b.size > 0 {
                        let other = assignment.offsets[j];
                        prop_assert!(start + a.size <= other || other + b.size <= start, "{} and {} overlap", i, j);
                    }
                }
            }
            let sum: u64 = buffers.iter().map(|b| b.size.next_multiple_of(assignment.align)).sum();
            prop_assert!(assignment.total <= sum);
        }
    }
}
