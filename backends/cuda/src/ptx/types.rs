//! Types, registers, operands, and what an instruction needs.

use planc_plan::container::PtxArch;

/// A type of an instruction.
#[allow(missing_docs, reason = "the names of PTX")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ty {
    Pred,
    B8,
    U8,
    S8,
    B16,
    U16,
    S16,
    F16,
    BF16,
    B32,
    U32,
    S32,
    F32,
    F16x2,
    BF16x2,
    B64,
    U64,
    S64,
    F64,
}

impl Ty {
    /// The name in an instruction, without its dot.
    pub const fn name(self) -> &'static str {
        match self {
            Ty::Pred => "pred",
            Ty::B8 => "b8",
            Ty::U8 => "u8",
            Ty::S8 => "s8",
            Ty::B16 => "b16",
            Ty::U16 => "u16",
            Ty::S16 => "s16",
            Ty::F16 => "f16",
            Ty::BF16 => "bf16",
            Ty::B32 => "b32",
            Ty::U32 => "u32",
            Ty::S32 => "s32",
            Ty::F32 => "f32",
            Ty::F16x2 => "f16x2",
            Ty::BF16x2 => "bf16x2",
            Ty::B64 => "b64",
            Ty::U64 => "u64",
            Ty::S64 => "s64",
            Ty::F64 => "f64",
        }
    }

    /// Bytes of one value in memory; 0 for predicates.
    pub const fn bytes(self) -> u32 {
        match self {
            Ty::Pred => 0,
            Ty::B8 | Ty::U8 | Ty::S8 => 1,
            Ty::B16 | Ty::U16 | Ty::S16 | Ty::F16 | Ty::BF16 => 2,
            Ty::B32 | Ty::U32 | Ty::S32 | Ty::F32 | Ty::F16x2 | Ty::BF16x2 => 4,
            Ty::B64 | Ty::U64 | Ty::S64 | Ty::F64 => 8,
        }
    }

    /// The class of registers that hold a value of this type. Bytes are held in 32 bits.
    pub const fn class(self) -> Class {
        match self {
            Ty::Pred => Class::Pred,
            Ty::B16 | Ty::U16 | Ty::S16 | Ty::F16 | Ty::BF16 => Class::B16,
            Ty::B8 | Ty::U8 | Ty::S8 | Ty::B32 | Ty::U32 | Ty::S32 | Ty::F16x2 | Ty::BF16x2 => Class::B32,
            Ty::F32 => Class::F32,
            Ty::B64 | Ty::U64 | Ty::S64 => Class::B64,
            Ty::F64 => Class::F64,
        }
    }

    /// Floating-point, one value or two.
    pub const fn is_float(self) -> bool {
        matches!(self, Ty::F16 | Ty::BF16 | Ty::F32 | Ty::F64 | Ty::F16x2 | Ty::BF16x2)
    }

    /// Signed integer.
    pub const fn is_signed(self) -> bool {
        matches!(self, Ty::S8 | Ty::S16 | Ty::S32 | Ty::S64)
    }
}

/// A class of registers. Integers of a width share one; 16-bit floats are 16 bits, pairs of them 32.
#[allow(missing_docs, reason = "the names of PTX")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Pred,
    B16,
    B32,
    B64,
    F32,
    F64,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 6] = [Class::Pred, Class::B16, Class::B32, Class::B64, Class::F32, Class::F64];

    /// The type that registers of the class are declared with.
    pub const fn ty(self) -> Ty {
        match self {
            Class::Pred => Ty::Pred,
            Class::B16 => Ty::B16,
            Class::B32 => Ty::B32,
            Class::B64 => Ty::B64,
            Class::F32 => Ty::F32,
            Class::F64 => Ty::F64,
        }
    }

    /// How the names of its registers start.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Class::Pred => "%p",
            Class::B16 => "%h",
            Class::B32 => "%r",
            Class::B64 => "%rd",
            Class::F32 => "%f",
            Class::F64 => "%fd",
        }
    }
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg {
    /// Class.
    pub class: Class,
    /// Number within its class.
    pub index: u32,
}

/// A buffer in static shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shared(pub(super) u32);

/// A place in memory: a base and a constant number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    /// Base.
    pub base: Reg,
    /// Bytes from there.
    pub offset: i32,
}

impl Addr {
    /// `bytes` further on.
    pub fn plus(self, bytes: i32) -> Addr {
        Addr { offset: self.offset + bytes, ..self }
    }
}

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An integer.
    Int(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// A place in memory.
    Addr(Addr),
    /// Parameter `n` of the kernel.
    Param(u32),
    /// The address of a shared buffer, a 32-bit integer.
    Shared(Shared),
    /// The address of dynamic shared memory, a 32-bit integer.
    Dynamic,
}

macro_rules! operand {
    ($($t:ty => $v:ident $(as $w:ty)?,)*) => {$(
        impl From<$t> for Operand {
            fn from(v: $t) -> Operand {
                Operand::$v($(<$w>::from)?(v))
            }
        }
    )*};
}
operand! { Reg => Reg, u32 => Int as i64, i32 => Int as i64, i64 => Int, Addr => Addr, }

impl From<f32> for Operand {
    fn from(v: f32) -> Operand {
        Operand::F32(v.to_bits())
    }
}

impl From<f64> for Operand {
    fn from(v: f64) -> Operand {
        Operand::F64(v.to_bits())
    }
}

impl From<Reg> for Addr {
    fn from(base: Reg) -> Addr {
        Addr { base, offset: 0 }
    }
}

/// The lowest architecture and PTX version that have something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// Compute capability times ten.
    pub sm: u32,
    /// PTX version: major and minor.
    pub version: (u8, u8),
}

impl Needs {
    /// What everything here needs at least: independent threads of a warp.
    pub const BASE: Needs = Needs { sm: 75, version: (6, 3) };

    /// Something that architectures from `sm` on have, since a PTX version.
    pub const fn new(sm: u32, version: (u8, u8)) -> Needs {
        Needs { sm, version }
    }

    /// What both need.
    pub fn and(self, other: Needs) -> Needs {
        Needs { sm: self.sm.max(other.sm), version: self.version.max(other.version) }
    }

    /// The PTX version that introduced an architecture (PTX ISA manual, release notes); `None` before sm_75.
    pub fn version_of(arch: PtxArch) -> Option<(u8, u8)> {
        Some(match (arch.number(), arch.is_specific()) {
            (..75, _) => return None,
            (75..80, false) => (6, 3),
            (80..86, false) => (7, 0),
            (86, false) => (7, 1),
            (87, false) => (7, 4),
            (88..=90, false) => (7, 8),
            (..=90, true) => (8, 0),
            (..=100, _) => (8, 6),
            _ => (8, 7),
        })
    }
}
