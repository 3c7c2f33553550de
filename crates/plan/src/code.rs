//! What a code section holds: the functions of one CPU target, by number.
//!
//! Little-endian: the number of functions, then offset and length of each (all `u32`, offsets from the start of the
//! section), then the functions, each on a multiple of [`ALIGNMENT`], zeros between. [`CodeTable::parse`] checks all of
//! it, so that an offset it gives is the start of a whole function within the section. What a function does is not
//! checked: it follows from the step that names it, and the section's hash says that nobody changed either.
//!
//! A function is `extern "C" fn(*const Call)` in the target's standard calling convention (System V on x86-64). It
//! calls nothing, keeps no state and refers to nothing outside of itself.

use planc_kir::ReduceOp;
use planc_tensor::DType;
use std::ops::Range;

/// Alignment of a function within its section, in bytes.
pub const ALIGNMENT: usize = 16;

/// Functions at most: more than any model has distinct steps.
pub const MAX_FUNCTIONS: usize = 1 << 20;

/// What a function is told: a run of consecutive elements.
///
/// Operand `i` of element `k` lies at `args[i] + k * steps[i]`.
///
/// The function of a `Map` computes the element of the result at `out + k * step`.
///
/// The function of a `Reduce` has two parts. [`FOLD`] combines what the kernel's program makes of element `k` with the
/// accumulator at `out + k * step`; with a `step` of 0 all elements go into one accumulator, each time in the same order
/// for the same `len`. Accumulators are of the type that [`Accumulator::of`] says; the caller sets and finishes them.
/// [`EPILOGUE`] is a map by the step's epilogue, of which operand 0 is the finished result; a step without one is never
/// called for it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Call {
    /// First element of each operand.
    pub args: *const *const u8,
    /// Bytes from one element of each operand to the next: its width, or 0 for one that stays.
    pub steps: *const usize,
    /// First element of the result, or first accumulator.
    pub out: *mut u8,
    /// Elements, at least 1.
    pub len: usize,
    /// Bytes from one result or accumulator to the next: its width, or 0 for one that stays.
    pub step: usize,
    /// Which part of the function runs; 0 where it has one only.
    pub part: usize,
}

/// The part of a reduction that accumulates.
pub const FOLD: usize = 0;

/// The part of a reduction that runs the epilogue.
pub const EPILOGUE: usize = 1;

/// What a generated reduction keeps while it runs, little-endian at a multiple of its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulator {
    /// Sums and products of floats, and what becomes a float: f64.
    F64,
    /// Extremes of floats of 32 bits and less: f32.
    F32,
    /// Of integers of 32 bits and less, extended to 32: sums and products wrap.
    I32,
    /// Of integers of 64 bits: sums and products wrap.
    I64,
    /// Means of integers, whose sum is exact.
    I128,
}

impl Accumulator {
    /// What a reduction of elements of this type keeps; `None` for what no code is generated for.
    pub fn of(op: ReduceOp, dtype: DType) -> Option<Accumulator> {
        use DType::{BF16, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        let extreme = matches!(op, ReduceOp::Max | ReduceOp::Min);
        match (dtype, op) {
            (_, ReduceOp::LogSumExp) => None,
            (F32 | F16 | BF16, _) if extreme => Some(Accumulator::F32),
            (F64 | F32 | F16 | BF16, _) => Some(Accumulator::F64),
            (I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64, ReduceOp::L2 | ReduceOp::LogSum) => Some(Accumulator::F64),
            (I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64, ReduceOp::Mean) => Some(Accumulator::I128),
            (I64 | U64, _) => Some(Accumulator::I64),
            (I8 | I16 | I32 | U8 | U16 | U32, _) => Some(Accumulator::I32),
            _ => None,
        }
    }

    /// Bytes.
    pub const fn size(self) -> usize {
        match self {
            Accumulator::F32 | Accumulator::I32 => 4,
            Accumulator::F64 | Accumulator::I64 => 8,
            Accumulator::I128 => 16,
        }
    }
}

/// Why a code section is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// The section ends within its table.
    #[error("the table of functions is cut off")]
    Truncated,
    /// There are more functions than a plan may have.
    #[error("{0} functions are too many")]
    Count(usize),
    /// A function is not where it must be.
    #[error("function {index} at bytes {offset}+{len} is misplaced")]
    Misplaced {
        /// Its number.
        index: usize,
        /// Its offset.
        offset: u32,
        /// Its length.
        len: u32,
    },
    /// Bytes between or behind the functions are not zero.
    #[error("there are stray bytes before offset {0}")]
    Stray(usize),
}

/// Where the functions of a code section are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeTable {
    functions: Vec<Range<usize>>,
}

impl CodeTable {
    /// Reads and checks the table of a section.
    ///
    /// # Errors
    /// When it is not what [`encode`] writes.
    pub fn parse(section: &[u8]) -> Result<CodeTable, CodeError> {
        let word = |i: usize| -> Result<u32, CodeError> {
            let bytes = section.get(i * 4..i * 4 + 4).and_then(|b| b.first_chunk::<4>());
            bytes.map(|b| u32::from_le_bytes(*b)).ok_or(CodeError::Truncated)
        };
        let count = word(0)? as usize;
        if count > MAX_FUNCTIONS {
            return Err(CodeError::Count(count));
        }
        // The last word of the table before anything is allocated for the others.
        word(2 * count)?;
        let mut end = 4 + 8 * count;
        let mut functions = Vec::with_capacity(count);
        for index in 0..count {
            let (offset, len) = (word(1 + 2 * index)?, word(2 + 2 * index)?);
            let start = end.next_multiple_of(ALIGNMENT);
            let misplaced = CodeError::Misplaced { index, offset, len };
            let range = start..start.saturating_add(len as usize);
            if offset as usize != start || len == 0 || range.end > section.len() {
                return Err(misplaced);
            }
            if section[end..start].iter().any(|b| *b != 0) {
                return Err(CodeError::Stray(start));
            }
            end = range.end;
            functions.push(range);
        }
        if end == section.len() { Ok(CodeTable { functions }) } else { Err(CodeError::Stray(section.len())) }
    }

    /// Number of functions.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Where function `index` is within the section.
    pub fn function(&self, index: usize) -> Option<Range<usize>> {
        self.functions.get(index).cloned()
    }
}

/// The section of these functions; `None` when it would be larger than the format allows.
pub fn encode(functions: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut end = 4 + 8 * functions.len();
    let mut section = u32::try_from(functions.len()).ok()?.to_le_bytes().to_vec();
    for f in functions {
        let start = end.next_multiple_of(ALIGNMENT);
        section.extend(u32::try_from(start).ok()?.to_le_bytes());
        section.extend(u32::try_from(f.len()).ok()?.to_le_bytes());
        end = start + f.len();
    }
    for f in functions {
        section.resize(section.len().next_multiple_of(ALIGNMENT), 0);
        section.extend(f);
    }
    (functions.len() <= MAX_FUNCTIONS && u32::try_from(section.len()).is_ok()).then_some(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for functions in [vec![], vec![vec![1; 3]], vec![vec![2; 16], vec![3; 1], vec![4; 40]]] {
            let section = encode(&functions).unwrap();
            let table = CodeTable::parse(&section).unwrap();
            assert_eq!(table.len(), functions.len());
            for (i, f) in functions.iter().enumerate() {
                let range = table.function(i).unwrap();
                assert_eq!(range.start % ALIGNMENT, 0);
                assert_eq!(&section[range], f);
            }
            assert_eq!(table.function(functions.len()), None);
        }
    }

    #[test]
    fn no_cut_and_no_change_outside_the_functions_moves_one() {
        let section = encode(&[vec![0xc3; 5], vec![0xc3; 17]]).unwrap();
        let table = CodeTable::parse(&section).unwrap();
        for end in 0..section.len() {
            assert!(CodeTable::parse(&section[..end]).is_err(), "cut at {end}");
        }
        for at in 0..section.len() {
            let inside = (0..table.len()).any(|i| table.function(i).unwrap().contains(&at));
            for bit in 0..8 {
                let mut other = section.clone();
                other[at] ^= 1 << bit;
                // A length may take in the zeros behind its function or leave out its end; where functions start, stays.
                let starts = |t: &CodeTable| t.functions.iter().map(|f| f.start).collect::<Vec<_>>();
                match CodeTable::parse(&other) {
                    Ok(t) => assert_eq!(starts(&t), starts(&table), "bit {bit} of byte {at}"),
                    Err(e) => assert!(!inside, "bit {bit} of byte {at}: {e}"),
                }
            }
        }
        assert_eq!(CodeTable::parse(&[0xff; 64]), Err(CodeError::Count(u32::MAX as usize)));
    }
}
