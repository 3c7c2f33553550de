//! Branches, barriers, and what a warp does together: shuffles, votes, matrix products.

use super::{Decoder, Mods, Result};
use crate::isa::{AtomicOp, Mma, MmaKind, Op, Shuffle, Type, Vote};
use crate::parse::{Arg, Statement};

impl Decoder {
    pub(super) fn bra(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        m.take("uni");
        Self::arity(m, s, 1)?;
        let Arg::Name(label) = s.args[0] else {
            return m.fail("the operand is a label");
        };
        self.branches.push((self.code.len(), label.to_string(), s.line));
        Ok(Op::Bra { target: 0 })
    }

    pub(super) fn end(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        m.take("uni");
        Self::arity(m, s, 0)?;
        Ok(match name {
            "trap" => Op::Trap,
            "nop" => Op::Nop,
            _ => Op::Exit,
        })
    }

    pub(super) fn barrier(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        m.take("cta");
        if m.take("warp") {
            m.need(&["sync"])?;
            Self::arity(m, s, 1)?;
            return Ok(Op::WarpSync { mask: self.source(m, &s.args[0], Type::B32)? });
        }
        let wait = m.need(&["sync", "arrive"])? == "sync";
        let aligned = m.take("aligned") || name == "bar";
        if s.args.is_empty() || s.args.len() > 2 {
            return m.fail("the operands are a barrier and a number of threads");
        }
        let id = self.source(m, &s.args[0], Type::U32)?;
        let count = match s.args.get(1) {
            Some(arg) => Some(self.source(m, arg, Type::U32)?),
            None => None,
        };
        if !wait && count.is_none() {
            return m.fail("the number of threads is missing");
        }
        Ok(Op::Bar { id, count, wait, aligned })
    }

    pub(super) fn fence(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        Self::arity(m, s, 0)?;
        m.any(&["sc", "acq_rel", "acquire", "release"]);
        let scope = m.need(&["cta", "cluster", "gl", "gpu", "sys"])?;
        Ok(Op::Fence { global: matches!(scope, "gl" | "gpu" | "sys") })
    }

    pub(super) fn shfl(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        m.need(&["sync"])?;
        m.need(&["b32"])?;
        let mode = match m.need(&["up", "down", "bfly", "idx"])? {
            "up" => Shuffle::Up,
            "down" => Shuffle::Down,
            "bfly" => Shuffle::Bfly,
            _ => Shuffle::Idx,
        };
        Self::arity(m, s, 5)?;
        let (d, p) = match &s.args[0] {
            Arg::Pair(d, p) => (self.dest(m, d, Type::B32)?, Some(self.pred(m, p)?.0)),
            d => (self.dest(m, d, Type::B32)?, None),
        };
        let mut of = |i: usize| self.source(m, &s.args[i], Type::B32);
        Ok(Op::Shuffle { mode, d, p, a: of(1)?, b: of(2)?, c: of(3)?, mask: of(4)? })
    }

    pub(super) fn vote(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        m.need(&["sync"])?;
        let vote = match m.need(&["all", "any", "uni", "ballot"])? {
            "all" => Vote::All,
            "any" => Vote::Any,
            "uni" => Vote::Uni,
            _ => Vote::Ballot,
        };
        m.need(&[if vote == Vote::Ballot { "b32" } else { "pred" }])?;
        Self::arity(m, s, 3)?;
        let (a, negate) = self.pred(m, &s.args[1])?;
        let mask = self.source(m, &s.args[2], Type::B32)?;
        if vote == Vote::Ballot {
            return Ok(Op::Ballot { d: self.dest(m, &s.args[0], Type::B32)?, a, negate, mask });
        }
        Ok(Op::VotePred { vote, d: self.pred(m, &s.args[0])?.0, a, negate, mask })
    }

    pub(super) fn activemask(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        m.need(&["b32"])?;
        Self::arity(m, s, 1)?;
        Ok(Op::ActiveMask { d: self.dest(m, &s.args[0], Type::B32)? })
    }

    pub(super) fn redux(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        m.need(&["sync"])?;
        let ty = m.ty()?;
        let op = match m.need(&["add", "min", "max", "and", "or", "xor"])? {
            "add" => AtomicOp::Add,
            "min" => AtomicOp::Min,
            "max" => AtomicOp::Max,
            "and" => AtomicOp::And,
            "or" => AtomicOp::Or,
            _ => AtomicOp::Xor,
        };
        let bitwise = matches!(op, AtomicOp::And | AtomicOp::Or | AtomicOp::Xor);
        if !matches!((ty, bitwise), (Type::U32 | Type::S32, false) | (Type::B32, true)) {
            return m.fail("this operation does not exist for this type");
        }
        Self::arity(m, s, 3)?;
        let (a, mask) = (self.source(m, &s.args[1], ty)?, self.source(m, &s.args[2], Type::B32)?);
        Ok(Op::Redux { op, ty, d: self.dest(m, &s.args[0], ty)?, a, mask })
    }

    pub(super) fn mma(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        for part in ["sync", "aligned", "row", "col"] {
            m.need(&[part])?;
        }
        let shape = m.need(&["m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"])?;
        let k: usize = match shape {
            "m16n8k4" => 4,
            "m16n8k8" => 8,
            "m16n8k16" => 16,
            _ => 32,
        };
        let sat = m.take("satfinite");
        let byte = |m: &mut Mods| m.any(&["s8", "u8"]).map(|t| t == "s8");
        let (a8, b8) = (byte(m), byte(m));
        let kind = match (a8, b8) {
            (Some(a), Some(b)) => MmaKind::Int8 { a, b, sat },
            (None, None) => {
                // The result's type comes before those of the factors.
                let types: Vec<&str> = m.parts.clone();
                match types.get(1).copied() {
                    Some("f16") => MmaKind::F16,
                    Some("bf16") => MmaKind::Bf16,
                    Some("tf32") => MmaKind::Tf32,
                    _ => return m.fail("these factors are not known to this interpreter"),
                }
            }
            _ => return m.fail("the factors differ in width"),
        };
        let int = matches!(kind, MmaKind::Int8 { .. });
        let acc = if int { "s32" } else { m.need(&["f32", "f16"])? };
        let half_acc = acc == "f16";
        let factor = match kind {
            MmaKind::F16 => "f16",
            MmaKind::Bf16 => "bf16",
            _ => "tf32",
        };
        if int {
            m.need(&["s32"])?;
        } else {
            m.need(&[factor])?;
            m.need(&[factor])?;
        }
        m.need(&[acc])?;
        let legal = match kind {
            MmaKind::F16 => matches!(k, 8 | 16),
            MmaKind::Bf16 => matches!(k, 8 | 16) && !half_acc,
            MmaKind::Tf32 => matches!(k, 4 | 8) && !half_acc,
            MmaKind::Int8 { .. } => matches!(k, 16 | 32),
        };
        if !legal || (sat && !int) {
            return m.fail("this shape does not exist for these types");
        }
        Self::arity(m, s, 4)?;
        let mut mma = Mma { kind, k, half_acc, d: [0; 4], a: [0; 4], b: [0; 2], c: [0; 4] };
        let (na, nb, nc) = mma.lens();
        let acc = match (int, half_acc) {
            (true, _) => Type::S32,
            (_, true) => Type::B32,
            _ => Type::F32,
        };
        mma.d = self.dests(m, &s.args[0], nc, acc, false)?.0;
        mma.a = self.sources(m, &s.args[1], na, Type::B32, false)?;
        let b = self.sources(m, &s.args[2], nb, Type::B32, false)?;
        mma.b = [b[0], b[1]];
        mma.c = self.sources(m, &s.args[3], nc, acc, false)?;
        Ok(Op::Mma(Box::new(mma)))
    }
}
