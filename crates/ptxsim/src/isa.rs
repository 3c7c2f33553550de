//! The decoded form of a kernel: what the text says, with names turned into numbers.
//!
//! Registers, constants and special registers are all *rows* of 32 lanes, so an executing warp reads every operand the same
//! way. Predicates are lane masks in a file of their own. Arithmetic is decoded to functions over whole rows.

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;
/// One register of a warp: a value per lane, zero-extended from the width of the register.
pub(crate) type Row = [u64; LANES];
/// Index of a row.
pub(crate) type Reg = u32;
/// Index of a predicate.
pub(crate) type Pred = u32;

pub(crate) type Row1 = fn(&Row, &mut Row);
pub(crate) type Row2 = fn(&Row, &Row, &mut Row);
pub(crate) type Row3 = fn(&Row, &Row, &Row, &mut Row);
/// A comparison of rows, as a lane mask.
pub(crate) type Compare = fn(&Row, &Row) -> u32;

/// Types of the instruction set that this interpreter knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Untyped, 8 bits.
    B8,
    /// Untyped, 16 bits.
    B16,
    /// Untyped, 32 bits.
    B32,
    /// Untyped, 64 bits.
    B64,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 8 bits.
    S8,
    /// Signed, 16 bits.
    S16,
    /// Signed, 32 bits.
    S32,
    /// Signed, 64 bits.
    S64,
    /// IEEE half precision.
    F16,
    /// Two halves in 32 bits.
    F16x2,
    /// The upper half of an `f32`.
    Bf16,
    /// Two of them in 32 bits.
    Bf16x2,
    /// An `f32` of which 10 bits of the fraction count.
    Tf32,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// One bit.
    Pred,
}

/// Which registers hold a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Bits,
    Int,
    Float,
    Pred,
}

impl Type {
    pub(crate) fn parse(name: &str) -> Option<Type> {
        Some(match name {
            "b8" => Type::B8,
            "b16" => Type::B16,
            "b32" => Type::B32,
            "b64" => Type::B64,
            "u8" => Type::U8,
            "u16" => Type::U16,
            "u32" => Type::U32,
            "u64" => Type::U64,
            "s8" => Type::S8,
            "s16" => Type::S16,
            "s32" => Type::S32,
            "s64" => Type::S64,
            "f16" => Type::F16,
            "f16x2" => Type::F16x2,
            "bf16" => Type::Bf16,
            "bf16x2" => Type::Bf16x2,
            "tf32" => Type::Tf32,
            "f32" => Type::F32,
            "f64" => Type::F64,
            "pred" => Type::Pred,
            _ => return None,
        })
    }

    /// Width in bits; 1 for a predicate.
    pub fn bits(self) -> u32 {
        match self {
            Type::Pred => 1,
            Type::B8 | Type::U8 | Type::S8 => 8,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 16,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 64,
            _ => 32,
        }
    }

    /// Width in bytes.
    pub fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    pub(crate) fn class(self) -> Class {
        match self {
            Type::Pred => Class::Pred,
            Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::F16x2 | Type::Bf16x2 | Type::Bf16 | Type::Tf32 => {
                Class::Bits
            }
            Type::F16 | Type::F32 | Type::F64 => Class::Float,
            _ => Class::Int,
        }
    }

    pub(crate) fn signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    pub(crate) fn float(self) -> bool {
        matches!(self, Type::F16 | Type::Bf16 | Type::F32 | Type::F64 | Type::Tf32)
    }
}

/// Ones in the low `bits`.
pub(crate) fn ones(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// What a row holds before the first instruction.
#[derive(Clone, Debug)]
pub(crate) enum RowKind {
    /// A register; nothing yet.
    Register {
        name: String,
    },
    /// The same value in every lane.
    Constant(u64),
    /// Address of a variable, as index into the symbols of the entry; becomes a constant when all are placed.
    Symbol(u32),
    Special(Special),
    /// Where results for `_` go.
    Sink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    LaneId,
    WarpId,
    NwarpId,
    LaneMask(Lanes),
    DynamicShared,
    TotalShared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    Eq,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Shared,
    Local,
    Generic,
}

/// A place in memory: a row and a distance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub space: Space,
    pub base: Reg,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bool {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Even,
    Zero,
    Down,
    Up,
    /// Ties away from zero; only conversions to tf32 have it.
    Away,
}

/// A conversion. `integral` asks for a float that is a whole number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convert {
    pub to: Type,
    pub from: Type,
    pub rounding: Rounding,
    pub integral: bool,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    /// Width of the destination register, to which integers are extended.
    pub width: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uni,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Min,
    Max,
    Inc,
    Dec,
    And,
    Or,
    Xor,
    Exch,
    Cas,
}

/// What an access says about order between blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Order {
    pub acquire: bool,
    pub release: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MmaKind {
    /// `m16n8k8` and `m16n8k16` with halves.
    F16,
    Bf16,
    /// `m16n8k4` and `m16n8k8`.
    Tf32,
    /// `m16n8k16` and `m16n8k32` with bytes; signedness of a and b.
    Int8 {
        a: bool,
        b: bool,
        sat: bool,
    },
}

/// `mma.sync`: sizes are m16, n8, `k`. Fragments are rows in the order of the instruction.
#[derive(Clone, Debug)]
pub(crate) struct Mma {
    pub kind: MmaKind,
    pub k: usize,
    /// Accumulators are halves, two to a register.
    pub half_acc: bool,
    pub d: [Reg; 4],
    pub a: [Reg; 4],
    pub b: [Reg; 2],
    pub c: [Reg; 4],
}

impl Mma {
    /// Registers of a, b, and c (or d).
    pub(crate) fn lens(&self) -> (usize, usize, usize) {
        let bits = match self.kind {
            MmaKind::F16 | MmaKind::Bf16 => 16,
            MmaKind::Tf32 => 32,
            MmaKind::Int8 { .. } => 8,
        };
        (16 * self.k * bits / 1024, 8 * self.k * bits / 1024, if self.half_acc { 2 } else { 4 })
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Combine {
    None,
    With(Bool, Pred, bool),
}

/// One instruction without its guard.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Nop,
    Bra {
        target: u32,
    },
    Exit,
    Trap,
    /// `barrier`: number, how many threads (all if none), whether to wait, whether the whole warp must come.
    Bar {
        id: Reg,
        count: Option<Reg>,
        wait: bool,
        aligned: bool,
    },
    WarpSync {
        mask: Reg,
    },
    /// `membar`, `fence`: whether other blocks see it.
    Fence {
        global: bool,
    },
    Row1 {
        f: Row1,
        d: Reg,
        a: Reg,
    },
    Row2 {
        f: Row2,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    Row3 {
        f: Row3,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    /// Division or remainder of integers: `b` must not be zero.
    Divide {
        f: Row2,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    Bfi {
        bits: u32,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        len: Reg,
    },
    Lop3 {
        table: u8,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Convert {
        spec: Convert,
        d: Reg,
        a: Reg,
    },
    /// `cvt` of two `f32` to one packed register: `a` is the upper half.
    ConvertPair {
        spec: Convert,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    /// `mov` from a vector of equal parts to one register, lowest first.
    Pack {
        d: Reg,
        parts: [Reg; 4],
        n: usize,
        bits: u32,
    },
    Unpack {
        parts: [Reg; 4],
        n: usize,
        bits: u32,
        a: Reg,
    },
    MovPred {
        d: Pred,
        a: Pred,
        negate: bool,
    },
    SetPred {
        d: Pred,
        value: bool,
    },
    BoolPred {
        op: Bool,
        d: Pred,
        a: Pred,
        b: Pred,
    },
    Setp {
        f: Compare,
        d: Pred,
        complement: Option<Pred>,
        a: Reg,
        b: Reg,
        combine: Combine,
    },
    Set {
        f: Compare,
        float: bool,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    Selp {
        d: Reg,
        a: Reg,
        b: Reg,
        p: Pred,
        negate: bool,
    },
    LdParam {
        ty: Type,
        n: usize,
        d: [Reg; 4],
        width: u32,
        offset: u32,
    },
    /// `constant`: `.nc`, of what the launch does not write.
    Ld {
        ty: Type,
        n: usize,
        d: [Reg; 4],
        width: u32,
        from: Address,
        order: Order,
        constant: bool,
    },
    St {
        ty: Type,
        n: usize,
        a: [Reg; 4],
        to: Address,
        order: Order,
    },
    Atomic {
        op: AtomicOp,
        ty: Type,
        d: Option<Reg>,
        at: Address,
        b: Reg,
        c: Reg,
        order: Order,
    },
    /// To or from the generic address of something in a window.
    ToGeneric {
        d: Reg,
        a: Reg,
        window: u64,
    },
    FromGeneric {
        d: Reg,
        a: Reg,
        space: Space,
    },
    IsSpace {
        d: Pred,
        a: Reg,
        space: Space,
    },
    Shuffle {
        mode: Shuffle,
        d: Reg,
        p: Option<Pred>,
        a: Reg,
        b: Reg,
        c: Reg,
        mask: Reg,
    },
    VotePred {
        vote: Vote,
        d: Pred,
        a: Pred,
        negate: bool,
        mask: Reg,
    },
    Ballot {
        d: Reg,
        a: Pred,
        negate: bool,
        mask: Reg,
    },
    ActiveMask {
        d: Reg,
    },
    Redux {
        op: AtomicOp,
        ty: Type,
        d: Reg,
        a: Reg,
        mask: Reg,
    },
    LdMatrix {
        n: usize,
        trans: bool,
        d: [Reg; 4],
        from: Address,
    },
    StMatrix {
        n: usize,
        trans: bool,
        a: [Reg; 4],
        to: Address,
    },
    Mma(Box<Mma>),
    CpAsync {
        bytes: usize,
        to: Address,
        from: Address,
        source_bytes: Option<Reg>,
        ignore: Option<(Pred, bool)>,
    },
    CpCommit,
    /// Wait until at most so many groups are pending.
    CpWait {
        pending: u32,
    },
    CpWaitAll,
}

/// One instruction: `guard` is the predicate and whether it is negated.
#[derive(Clone, Debug)]
pub(crate) struct Instr {
    pub op: Op,
    pub guard: Option<(Pred, bool)>,
    pub line: u32,
}
