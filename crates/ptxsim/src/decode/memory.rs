//! Loads, stores, atomics, address conversions, asynchronous copies and matrix transfers.

use super::{Decoder, LOCAL_WINDOW, Mods, Result, SHARED_WINDOW};
use crate::isa::{Address, AtomicOp, Op, Order, Space, Type};
use crate::parse::{Arg, Statement};

/// Hints to the caches, which change nothing here.
const HINTS: &[&str] = &[
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
];
const SCOPES: &[&str] = &["cta", "cluster", "gpu", "sys"];

impl Decoder {
    fn space(m: &mut Mods) -> Space {
        match m.any(&["global", "shared", "shared::cta", "local"]) {
            Some("global") => Space::Global,
            Some("local") => Space::Local,
            Some(_) => Space::Shared,
            None => Space::Generic,
        }
    }

    /// Semantics and scope. Only orders that other blocks can see are recorded.
    fn order(m: &mut Mods) -> Order {
        let semantics = m.any(&["weak", "relaxed", "acquire", "release", "acq_rel", "volatile"]);
        let scope = m.any(SCOPES);
        let wide = matches!(scope, Some("gpu" | "sys"));
        Order {
            acquire: wide && matches!(semantics, Some("acquire" | "acq_rel")),
            release: wide && matches!(semantics, Some("release" | "acq_rel")),
        }
    }

    fn vector(m: &mut Mods, ty: Type) -> Result<usize> {
        let n = match m.any(&["v2", "v4"]) {
            Some("v2") => 2,
            Some(_) => 4,
            None => 1,
        };
        if n * ty.bytes() > 16 {
            return m.fail("vectors have at most 16 bytes");
        }
        if matches!(ty, Type::Pred | Type::F16x2 | Type::Bf16x2 | Type::Bf16 | Type::Tf32 | Type::F16) {
            return m.fail(format_args!(".{ty:?} is not a type of loads and stores"));
        }
        Ok(n)
    }

    pub(super) fn ld(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let ty = m.ty()?;
        let n = Self::vector(m, ty)?;
        Self::arity(m, s, 2)?;
        let (d, width) = self.dests(m, &s.args[0], n, ty, true)?;
        if m.take("param") {
            let Arg::Address(base, offset) = &s.args[1] else {
                return m.fail("an address in brackets is expected");
            };
            let param = match &**base {
                Arg::Name(name) => self.params.iter().find(|p| p.name == *name),
                _ => None,
            };
            let Some(param) = param else {
                return m.fail("the address is the name of a parameter");
            };
            let (size, at) = ((n * ty.bytes()) as i64, *offset);
            if at < 0 || at + size > param.bytes as i64 {
                return m.fail(format_args!("{size} bytes at {at} are not inside of {}", param.name));
            }
            let offset = param.offset as i64 + at;
            if offset % size != 0 {
                return m.fail("the offset is not aligned");
            }
            return Ok(Op::LdParam { ty, n, d, width, offset: offset as u32 });
        }
        let space = Self::space(m);
        let constant = m.take("nc");
        if constant && space != Space::Global {
            return m.fail(".nc is for global memory");
        }
        let order = Self::order(m);
        while m.any(HINTS).is_some() {}
        Ok(Op::Ld { ty, n, d, width, from: self.address(m, &s.args[1], space)?, order, constant })
    }

    pub(super) fn st(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let ty = m.ty()?;
        let n = Self::vector(m, ty)?;
        Self::arity(m, s, 2)?;
        let space = Self::space(m);
        let order = Self::order(m);
        while m.any(HINTS).is_some() {}
        let to = self.address(m, &s.args[0], space)?;
        Ok(Op::St { ty, n, a: self.sources(m, &s.args[1], n, ty, true)?, to, order })
    }

    pub(super) fn atomic(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        let ty = m.ty()?;
        let space = Self::space(m);
        let order = Self::order(m);
        m.take("noftz");
        let op = match m.need(&["add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas"])? {
            "add" => AtomicOp::Add,
            "min" => AtomicOp::Min,
            "max" => AtomicOp::Max,
            "inc" => AtomicOp::Inc,
            "dec" => AtomicOp::Dec,
            "and" => AtomicOp::And,
            "or" => AtomicOp::Or,
            "xor" => AtomicOp::Xor,
            "exch" => AtomicOp::Exch,
            _ => AtomicOp::Cas,
        };
        use AtomicOp::{Add, And, Cas, Dec, Exch, Inc, Max, Min, Or, Xor};
        let legal = match ty {
            Type::U32 => matches!(op, Add | Min | Max | Inc | Dec),
            Type::S32 | Type::U64 | Type::S64 => matches!(op, Add | Min | Max),
            Type::B32 | Type::B64 => matches!(op, And | Or | Xor | Exch | Cas),
            Type::F32 | Type::F64 | Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => op == Add,
            _ => false,
        };
        if !legal || space == Space::Local {
            return m.fail("this operation does not exist for this type or space");
        }
        let returns = name == "atom";
        Self::arity(m, s, 2 + usize::from(returns) + usize::from(op == Cas))?;
        let d = if returns { Some(self.dest(m, &s.args[0], ty)?) } else { None };
        let rest = &s.args[usize::from(returns)..];
        let at = self.address(m, &rest[0], space)?;
        let b = self.source(m, &rest[1], ty)?;
        let c = if op == Cas { self.source(m, &rest[2], ty)? } else { b };
        Ok(Op::Atomic { op, ty, d, at, b, c, order })
    }

    pub(super) fn cvta(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let back = m.take("to");
        let space = Self::space(m);
        let ty = m.ty()?;
        Self::arity(m, s, 2)?;
        if ty != Type::U64 {
            return m.fail("addresses are .u64");
        }
        let a = self.source(m, &s.args[1], ty)?;
        let d = self.dest(m, &s.args[0], ty)?;
        Ok(match (space, back) {
            (Space::Generic, _) => return m.fail("the space is missing"),
            (_, true) if self.is_symbol(&s.args[1]) => return m.fail("a variable has no generic address yet"),
            (space, true) => Op::FromGeneric { d, a, space },
            (Space::Global, false) => Op::ToGeneric { d, a, window: 0 },
            (Space::Shared, false) => Op::ToGeneric { d, a, window: SHARED_WINDOW },
            (Space::Local, false) => Op::ToGeneric { d, a, window: LOCAL_WINDOW },
        })
    }

    pub(super) fn isspacep(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let space = Self::space(m);
        Self::arity(m, s, 2)?;
        if space == Space::Generic {
            return m.fail("the space is missing");
        }
        let (d, negated) = self.pred(m, &s.args[0])?;
        if negated {
            return m.fail("the destination is negated");
        }
        Ok(Op::IsSpace { d, a: self.source(m, &s.args[1], Type::U64)?, space })
    }

    /// Prefetches and their kin: the address must be one, and that is all.
    pub(super) fn hint(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let space = Self::space(m);
        m.need(&["L1", "L2", "L2::evict_normal", "L2::evict_last"])?;
        let Some(first) = s.args.first() else {
            return m.fail("the address is missing");
        };
        self.address(m, first, space)?;
        Ok(Op::Nop)
    }

    pub(super) fn cp(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        if !m.take("async") {
            return m.fail("only cp.async is known to this interpreter");
        }
        if m.take("commit_group") {
            Self::arity(m, s, 0)?;
            return Ok(Op::CpCommit);
        }
        if m.take("wait_all") {
            Self::arity(m, s, 0)?;
            return Ok(Op::CpWaitAll);
        }
        if m.take("wait_group") {
            Self::arity(m, s, 1)?;
            return match s.args[0] {
                Arg::Int(n @ 0..=255) => Ok(Op::CpWait { pending: n as u32 }),
                _ => m.fail("the number of groups is a constant"),
            };
        }
        let cache = m.need(&["ca", "cg"])?;
        if !(m.take("shared") || m.take("shared::cta")) || !m.take("global") {
            return m.fail("copies go from global to shared memory");
        }
        while m.any(&["L2::64B", "L2::128B", "L2::256B"]).is_some() {}
        let (Some(to), Some(from), Some(Arg::Int(bytes))) = (s.args.first(), s.args.get(1), s.args.get(2)) else {
            return m.fail("the operands are [to], [from] and a constant size");
        };
        let bytes = *bytes as usize;
        if !matches!((cache, bytes), ("ca", 4 | 8 | 16) | ("cg", 16)) {
            return m.fail(format_args!("{bytes} bytes cannot be copied with .{cache}"));
        }
        let to = self.address(m, to, Space::Shared)?;
        let from = self.address(m, from, Space::Global)?;
        let (mut source_bytes, mut ignore) = (None, None);
        match s.args.get(3) {
            None => {}
            Some(arg) => match self.pred(m, arg) {
                Ok(p) => ignore = Some(p),
                Err(_) => source_bytes = Some(self.source(m, arg, Type::U32)?),
            },
        }
        if s.args.len() > 4 {
            return m.fail("cache policies are not known to this interpreter");
        }
        Ok(Op::CpAsync { bytes, to, from, source_bytes, ignore })
    }

    /// `ldmatrix` and `stmatrix` of 8x8 matrices of 16-bit elements.
    pub(super) fn matrix(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        for part in ["sync", "aligned", "m8n8", "b16"] {
            m.need(&[part])?;
        }
        let n = match m.need(&["x1", "x2", "x4"])? {
            "x1" => 1,
            "x2" => 2,
            _ => 4,
        };
        let trans = m.take("trans");
        m.need(&["shared", "shared::cta"])?;
        Self::arity(m, s, 2)?;
        let at = |d: &mut Decoder, arg: &Arg| -> Result<Address> { d.address(m, arg, Space::Shared) };
        if name == "ldmatrix" {
            let from = at(self, &s.args[1])?;
            return Ok(Op::LdMatrix { n, trans, d: self.dests(m, &s.args[0], n, Type::B32, false)?.0, from });
        }
        let to = at(self, &s.args[0])?;
        Ok(Op::StMatrix { n, trans, a: self.sources(m, &s.args[1], n, Type::B32, false)?, to })
    }
}
