//! Instructions: what each takes, is called, and needs.
//!
//! Float arithmetic is always `.rn`, so that the assembler contracts nothing: a program computes what it says.

use super::types::{Class, Needs, Ty};

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $v:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "the names of PTX")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $v,)* }
        impl $name {
            /// The name in PTX.
            pub const fn name(self) -> &'static str { match self { $($name::$v => $text,)* } }
        }
    };
}

named! {
    /// A special register.
    Special {
        TidX = "%tid.x", TidY = "%tid.y", TidZ = "%tid.z",
        NtidX = "%ntid.x", NtidY = "%ntid.y", NtidZ = "%ntid.z",
        CtaidX = "%ctaid.x", CtaidY = "%ctaid.y", CtaidZ = "%ctaid.z",
        NctaidX = "%nctaid.x", NctaidY = "%nctaid.y", NctaidZ = "%nctaid.z",
        LaneId = "%laneid",
    }
}

named! {
    /// A state space.
    Space { Global = "global", Shared = "shared", }
}

named! {
    /// A comparison. The last six (but `Num` and `Nan`) hold where an operand is NaN.
    Cmp {
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge",
        Equ = "equ", Neu = "neu", Ltu = "ltu", Leu = "leu", Gtu = "gtu", Geu = "geu",
        /// Neither is NaN.
        Num = "num",
        /// One is NaN.
        Nan = "nan",
    }
}

named! {
    /// How a conversion rounds: `n z m p` to a float, with `i` to an integral value.
    Round {
        /// To nearest, ties to even.
        Rn = "rn", Rz = "rz", Rm = "rm", Rp = "rp",
        /// To an integer, to nearest, ties to even.
        Rni = "rni", Rzi = "rzi", Rmi = "rmi", Rpi = "rpi",
    }
}

named! {
    /// From which lane a shuffle reads: the one that differs by a mask, further up, further down, or this one.
    Shuffle { Bfly = "bfly", Up = "up", Down = "down", Idx = "idx", }
}

named! {
    /// Which half of a product is kept.
    Half { Lo = "lo", Hi = "hi", }
}

named! {
    /// Two operands, the result of their type. Shifts count in 32 bits, and give what is shifted out where the count is
    /// the width or more.
    Int2 {
        Add = "add", Sub = "sub", Div = "div", Rem = "rem", Min = "min", Max = "max",
        And = "and", Or = "or", Xor = "xor", Shl = "shl", Shr = "shr",
    }
}

/// An instruction without its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `d = a`; also between classes of one width.
    Mov(Ty),
    /// `d = special register`.
    Special(Special),
    /// `d = {low, high}`: two values of half the width.
    Pack(Ty),
    /// `{low, high} = a`.
    Unpack(Ty),
    /// Conversion; values of 8 bits lie in 32-bit registers.
    Cvt {
        /// Result.
        to: Ty,
        /// Operand.
        from: Ty,
        /// Rounding, where PTX wants one.
        round: Option<Round>,
        /// Clamped to the result's range.
        sat: bool,
    },
    /// `d = {cvt(high), cvt(low)}`: two f32 to a pair; the first operand is the upper half.
    CvtPair(Ty),
    /// Integer arithmetic and logic of registers and predicates.
    Int2(Int2, Ty),
    /// Product of integers, the lower or upper half.
    Mul(Half, Ty),
    /// Product of twice the width.
    MulWide(Ty),
    /// `a b + c`, lower half.
    Mad(Ty),
    /// `a b + c` with c of twice the width.
    MadWide(Ty),
    /// Bits in all.
    Not(Ty),
    /// Negation of integers and floats.
    Neg(Ty),
    /// Absolute value of signed integers and floats.
    Abs(Ty),
    /// Leading zeros.
    Clz(Ty),
    /// Number of ones.
    Popc(Ty),
    /// `b` bits of `a` from bit `c` on.
    Bfe(Ty),
    /// Four 8-bit products of each a and b, added to c: signedness of a and b.
    Dp4a(bool, bool),
    /// Bytes of `{b, a}` chosen by c.
    Prmt,
    /// Float sum, rounded to nearest.
    Add(Ty),
    /// Float difference.
    Sub(Ty),
    /// Float product.
    FMul(Ty),
    /// Float `a b + c`, rounded once.
    Fma(Ty),
    /// Float quotient, rounded to nearest.
    Div(Ty),
    /// The smaller number; NaN only if both are.
    FMin(Ty),
    /// The larger number; NaN only if both are.
    FMax(Ty),
    /// The smaller; NaN if either is. 32 bits.
    MinNan,
    /// The larger; NaN if either is. 32 bits.
    MaxNan,
    /// Square root, rounded to nearest.
    Sqrt(Ty),
    /// `1 / a`, rounded to nearest.
    Rcp(Ty),
    /// `1 / a`, 1 ulp.
    RcpApprox,
    /// `1 / sqrt(a)`, 2 ulp.
    RsqrtApprox,
    /// `2^a`, 2 ulp.
    Ex2Approx,
    /// `a` with the sign of the first operand.
    Copysign(Ty),
    /// Comparison.
    Setp(Cmp, Ty),
    /// The first operand where the third, a predicate, is set, else the second.
    Selp(Ty),
    /// A parameter of the kernel.
    LdParam(Ty),
    /// Reads `count` (1, 2 or 4) consecutive values. Values of 8 and 16 bits may go to wider registers.
    Ld(Space, Ty, u8),
    /// Writes `count` consecutive values.
    St(Space, Ty, u8),
    /// Adds to memory, gives nothing back.
    RedAdd(Space, Ty),
    /// Waits for all threads of the block.
    BarSync,
    /// Orders this thread's accesses before its later ones, for the whole device.
    MembarGl,
    /// `d = value of another lane`: operands value, lane (or distance, or mask), clamp; among all lanes of the warp.
    Shfl(Shuffle),
    /// Copies bytes (4, 8 or 16) from global to shared memory behind the program's back. 16 bypass the first cache. With
    /// `true`, a third operand says how many bytes are read; the rest is zero.
    CpAsync(u8, bool),
    /// Closes a group of copies.
    CpCommit,
    /// Waits until at most this many groups of the thread are under way.
    CpWait(u8),
    /// Loads 1, 2 or 4 matrices of 8 x 8 16-bit elements from shared memory, each lane giving a row's address;
    /// perhaps transposed.
    LdMatrix(u8, bool),
    /// `d = a b + c` of a warp, 16 x 8 x 16, operands of a 16-bit float type, sums in f32.
    Mma16816(Ty),
    /// `d = a b + c` of a warp, 16 x 8 x 8, TF32 operands in 32-bit registers, sums in f32.
    Mma1688Tf32,
    /// `d = a b + c` of a warp, 16 x 8 x 32, 8-bit operands (signed or not), sums in s32.
    Mma16832(Ty, Ty),
}

/// What an operand may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A register of the class, or a constant of its kind.
    Value(Class),
    /// A register of any class of that many bits, or a constant.
    Bits(u32),
    /// A register of that many bits or more, no predicate.
    AtLeast(u32),
    /// An address in a space.
    Addr(Space),
    /// A parameter of the kernel.
    Param,
}

/// Operands of an instruction, in groups that are printed in braces where they are longer than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Results.
    pub dst: Vec<Vec<Slot>>,
    /// Operands.
    pub src: Vec<Vec<Slot>>,
}

fn half(t: Ty) -> u32 {
    t.bytes() * 4
}

fn wide(t: Ty) -> Class {
    if t.bytes() == 2 { Class::B32 } else { Class::B64 }
}

impl Op {
    /// What the instruction takes and gives.
    pub fn signature(self) -> Signature {
        let one = |slots: &[Slot]| slots.iter().map(|s| vec![*s]).collect::<Vec<_>>();
        let of = |dst: &[Slot], src: &[Slot]| Signature { dst: one(dst), src: one(src) };
        let v = |t: Ty| Slot::Value(t.class());
        let bits = |t: Ty| if t == Ty::Pred { v(t) } else { Slot::Bits(t.bytes() * 8) };
        let memory = |t: Ty| if t.bytes() < 4 { Slot::AtLeast(t.bytes() * 8) } else { bits(t) };
        let b32 = Slot::Value(Class::B32);
        match self {
            Op::Mov(t) => of(&[bits(t)], &[bits(t)]),
            Op::Special(_) => of(&[b32], &[]),
            Op::Pack(t) => Signature { dst: one(&[bits(t)]), src: vec![vec![Slot::Bits(half(t)); 2]] },
            Op::Unpack(t) => Signature { dst: vec![vec![Slot::Bits(half(t)); 2]], src: one(&[bits(t)]) },
            Op::Cvt { to, from, .. } => of(&[v(to)], &[v(from)]),
            Op::CvtPair(t) => of(&[v(t)], &[v(Ty::F32), v(Ty::F32)]),
            Op::Int2(Int2::Shl | Int2::Shr, t) => of(&[v(t)], &[v(t), b32]),
            Op::Int2(_, t) | Op::Mul(_, t) => of(&[v(t)], &[v(t), v(t)]),
            Op::MulWide(t) => of(&[Slot::Value(wide(t))], &[v(t), v(t)]),
            Op::Mad(t) => of(&[v(t)], &[v(t), v(t), v(t)]),
            Op::MadWide(t) => of(&[Slot::Value(wide(t))], &[v(t), v(t), Slot::Value(wide(t))]),
            Op::Not(t) | Op::Neg(t) | Op::Abs(t) => of(&[v(t)], &[v(t)]),
            Op::Clz(t) | Op::Popc(t) => of(&[b32], &[v(t)]),
            Op::Bfe(t) => of(&[v(t)], &[v(t), b32, b32]),
            Op::Dp4a(..) | Op::Prmt => of(&[b32], &[b32, b32, b32]),
            Op::Add(t) | Op::Sub(t) | Op::FMul(t) | Op::Div(t) | Op::FMin(t) | Op::FMax(t) | Op::Copysign(t) => {
                of(&[v(t)], &[v(t), v(t)])
            }
            Op::Fma(t) => of(&[v(t)], &[v(t), v(t), v(t)]),
            Op::MinNan | Op::MaxNan => of(&[v(Ty::F32)], &[v(Ty::F32), v(Ty::F32)]),
            Op::Sqrt(t) | Op::Rcp(t) => of(&[v(t)], &[v(t)]),
            Op::RcpApprox | Op::RsqrtApprox | Op::Ex2Approx => of(&[v(Ty::F32)], &[v(Ty::F32)]),
            Op::Setp(_, t) => of(&[v(Ty::Pred)], &[v(t), v(t)]),
            Op::Selp(t) => of(&[bits(t)], &[bits(t), bits(t), v(Ty::Pred)]),
            Op::LdParam(t) => of(&[v(t)], &[Slot::Param]),
            Op::Ld(space, t, n) => {
                Signature { dst: vec![vec![memory(t); usize::from(n)]], src: one(&[Slot::Addr(space)]) }
            }
            Op::St(space, t, n) => {
                Signature { dst: vec![], src: vec![vec![Slot::Addr(space)], vec![memory(t); usize::from(n)]] }
            }
            Op::RedAdd(space, t) => of(&[], &[Slot::Addr(space), v(t)]),
            Op::BarSync | Op::MembarGl | Op::CpCommit | Op::CpWait(_) => of(&[], &[]),
            Op::Shfl(_) => of(&[Slot::Bits(32)], &[Slot::Bits(32), b32, b32]),
            Op::CpAsync(_, zero_fill) => {
                let all = [Slot::Addr(Space::Shared), Slot::Addr(Space::Global), b32];
                of(&[], &all[..2 + usize::from(zero_fill)])
            }
            Op::LdMatrix(n, _) => {
                Signature { dst: vec![vec![b32; usize::from(n)]], src: one(&[Slot::Addr(Space::Shared)]) }
            }
            Op::Mma16816(_) | Op::Mma1688Tf32 => {
                let sum = vec![v(Ty::F32); 4];
                Signature { dst: vec![sum.clone()], src: vec![vec![b32; 4], vec![b32; 2], sum] }
            }
            Op::Mma16832(..) => {
                Signature { dst: vec![vec![b32; 4]], src: vec![vec![b32; 4], vec![b32; 2], vec![b32; 4]] }
            }
        }
    }

    /// Whether PTX has the instruction for its types.
    pub fn exists(self) -> bool {
        let float = |t: Ty| matches!(t, Ty::F32 | Ty::F64);
        let int = |t: Ty| matches!(t, Ty::U16 | Ty::S16 | Ty::U32 | Ty::S32 | Ty::U64 | Ty::S64);
        let bits = |t: Ty| matches!(t, Ty::B16 | Ty::B32 | Ty::B64);
        match self {
            Op::Mov(t) => bits(t) || float(t) || t == Ty::Pred,
            Op::Pack(t) | Op::Unpack(t) => matches!(t, Ty::B32 | Ty::B64),
            Op::Cvt { to, from, round, sat } => {
                let narrowing = to.bytes() < from.bytes();
                let integral = matches!(round, Some(Round::Rni | Round::Rzi | Round::Rmi | Round::Rpi));
                let halves = |t: Ty| t == Ty::BF16;
                to != Ty::Pred
                    && from != Ty::Pred
                    && !(halves(from) || halves(to) && from != Ty::F32)
                    && match (to.is_float(), from.is_float()) {
                        (true, true) if to == from => integral,
                        (true, true) => round.is_some() == narrowing && !integral && !sat,
                        (true, false) => round.is_some() && !integral,
                        (false, true) => integral && !sat,
                        (false, false) => round.is_none(),
                    }
            }
            Op::CvtPair(t) => matches!(t, Ty::F16x2 | Ty::BF16x2),
            Op::Int2(Int2::And | Int2::Or | Int2::Xor, t) => bits(t) || t == Ty::Pred,
            Op::Int2(Int2::Shl, t) => bits(t),
            Op::Int2(_, t) | Op::Mul(_, t) | Op::Mad(t) => int(t),
            Op::MulWide(t) | Op::MadWide(t) => int(t) && t.bytes() < 8,
            Op::Not(t) => bits(t) || t == Ty::Pred,
            Op::Neg(t) | Op::Abs(t) => float(t) || t.is_signed() && int(t),
            Op::Clz(t) | Op::Popc(t) => matches!(t, Ty::B32 | Ty::B64),
            Op::Bfe(t) => int(t) && t.bytes() > 2,
            Op::Add(t) | Op::Sub(t) | Op::FMul(t) | Op::Div(t) | Op::FMin(t) | Op::FMax(t) => float(t),
            Op::Fma(t) | Op::Sqrt(t) | Op::Rcp(t) | Op::Copysign(t) => float(t),
            Op::Setp(c, t) => {
                let plain = matches!(c, Cmp::Eq | Cmp::Ne | Cmp::Lt | Cmp::Le | Cmp::Gt | Cmp::Ge);
                float(t) || plain && (int(t) || bits(t) && matches!(c, Cmp::Eq | Cmp::Ne))
            }
            Op::Selp(t) => bits(t) || float(t) || int(t),
            Op::LdParam(t) => matches!(t, Ty::U32 | Ty::U64),
            Op::Ld(_, t, n) | Op::St(_, t, n) => {
                let halves = matches!(t, Ty::F16 | Ty::BF16 | Ty::F16x2 | Ty::BF16x2 | Ty::Pred);
                !halves && matches!(n, 1 | 2 | 4) && t.bytes() * u32::from(n) <= 16
            }
            Op::RedAdd(_, t) => float(t) || matches!(t, Ty::U32 | Ty::S32 | Ty::U64),
            Op::CpAsync(n, _) => matches!(n, 4 | 8 | 16),
            Op::LdMatrix(n, _) => matches!(n, 1 | 2 | 4),
            Op::Mma16816(t) => matches!(t, Ty::F16 | Ty::BF16),
            Op::Mma16832(a, b) => matches!(a, Ty::U8 | Ty::S8) && matches!(b, Ty::U8 | Ty::S8),
            _ => true,
        }
    }

    /// The lowest architecture and PTX version that have the instruction (PTX ISA manual, "Target ISA Notes").
    pub fn needs(self) -> Needs {
        match self {
            Op::MinNan | Op::MaxNan | Op::CpAsync(..) | Op::CpCommit | Op::CpWait(_) => Needs::new(80, (7, 0)),
            Op::CvtPair(_) | Op::Cvt { to: Ty::BF16, .. } => Needs::new(80, (7, 0)),
            Op::Mma16816(_) | Op::Mma1688Tf32 | Op::Mma16832(..) => Needs::new(80, (7, 0)),
            Op::LdMatrix(..) => Needs::new(75, (6, 5)),
            _ => Needs::BASE,
        }
    }

    /// The instruction's name with its modifiers.
    pub fn mnemonic(self) -> String {
        let n = |t: Ty| t.name();
        let vector = |count: u8| if count == 1 { String::new() } else { format!(".v{count}") };
        match self {
            Op::Mov(t) | Op::Pack(t) | Op::Unpack(t) => format!("mov.{}", n(t)),
            Op::Special(_) => "mov.u32".into(),
            Op::Cvt { to, from, round, sat } => {
                let round = round.map_or(String::new(), |r| format!(".{}", r.name()));
                format!("cvt{round}{}.{}.{}", if sat { ".sat" } else { "" }, n(to), n(from))
            }
            Op::CvtPair(t) => format!("cvt.rn.{}.f32", n(t)),
            Op::Int2(op, t) => format!("{}.{}", op.name(), n(t)),
            Op::Mul(h, t) => format!("mul.{}.{}", h.name(), n(t)),
            Op::MulWide(t) => format!("mul.wide.{}", n(t)),
            Op::Mad(t) => format!("mad.lo.{}", n(t)),
            Op::MadWide(t) => format!("mad.wide.{}", n(t)),
            Op::Not(t) => format!("not.{}", n(t)),
            Op::Neg(t) => format!("neg.{}", n(t)),
            Op::Abs(t) => format!("abs.{}", n(t)),
            Op::Clz(t) => format!("clz.{}", n(t)),
            Op::Popc(t) => format!("popc.{}", n(t)),
            Op::Bfe(t) => format!("bfe.{}", n(t)),
            Op::Dp4a(a, b) => format!("dp4a.{}32.{}32", if a { "s" } else { "u" }, if b { "s" } else { "u" }),
            Op::Prmt => "prmt.b32".into(),
            Op::Add(t) => format!("add.rn.{}", n(t)),
            Op::Sub(t) => format!("sub.rn.{}", n(t)),
            Op::FMul(t) => format!("mul.rn.{}", n(t)),
            Op::Fma(t) => format!("fma.rn.{}", n(t)),
            Op::Div(t) => format!("div.rn.{}", n(t)),
            Op::FMin(t) => format!("min.{}", n(t)),
            Op::FMax(t) => format!("max.{}", n(t)),
            Op::MinNan => "min.NaN.f32".into(),
            Op::MaxNan => "max.NaN.f32".into(),
            Op::Sqrt(t) => format!("sqrt.rn.{}", n(t)),
            Op::Rcp(t) => format!("rcp.rn.{}", n(t)),
            Op::RcpApprox => "rcp.approx.f32".into(),
            Op::RsqrtApprox => "rsqrt.approx.f32".into(),
            Op::Ex2Approx => "ex2.approx.f32".into(),
            Op::Copysign(t) => format!("copysign.{}", n(t)),
            Op::Setp(c, t) => format!("setp.{}.{}", c.name(), n(t)),
            Op::Selp(t) => format!("selp.{}", n(t)),
            Op::LdParam(t) => format!("ld.param.{}", n(t)),
            Op::Ld(s, t, count) => format!("ld.{}{}.{}", s.name(), vector(count), n(t)),
            Op::St(s, t, count) => format!("st.{}{}.{}", s.name(), vector(count), n(t)),
            Op::RedAdd(s, t) => format!("red.{}.add.{}", s.name(), n(t)),
            Op::BarSync => "bar.sync".into(),
            Op::MembarGl => "membar.gl".into(),
            Op::Shfl(m) => format!("shfl.sync.{}.b32", m.name()),
            Op::CpAsync(16, _) => "cp.async.cg.shared.global".into(),
            Op::CpAsync(..) => "cp.async.ca.shared.global".into(),
            Op::CpCommit => "cp.async.commit_group".into(),
            Op::CpWait(_) => "cp.async.wait_group".into(),
            Op::LdMatrix(count, trans) => {
                format!("ldmatrix.sync.aligned.m8n8.x{count}{}.shared.b16", if trans { ".trans" } else { "" })
            }
            Op::Mma16816(t) => format!("mma.sync.aligned.m16n8k16.row.col.f32.{0}.{0}.f32", n(t)),
            Op::Mma1688Tf32 => "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32".into(),
            Op::Mma16832(a, b) => format!("mma.sync.aligned.m16n8k32.row.col.s32.{}.{}.s32", n(a), n(b)),
        }
    }

    /// What is printed after the operands, and where: constants that belong to the instruction.
    pub(super) fn constants(self) -> (usize, Option<String>) {
        match self {
            Op::Special(s) => (1, Some(s.name().into())),
            Op::BarSync => (0, Some("0".into())),
            Op::CpWait(n) => (0, Some(n.to_string())),
            Op::CpAsync(n, _) => (2, Some(n.to_string())),
            Op::Shfl(_) => (4, Some("0xffffffff".into())),
            _ => (0, None),
        }
    }
}
