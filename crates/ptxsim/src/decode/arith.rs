//! Moves, arithmetic, comparisons, selections and conversions.

use super::{Decoder, Mods, Name, Result};
use crate::alu::{self, Flags};
use crate::isa::{Bool, Combine, Convert, Op, Rounding, Type};
use crate::parse::{Arg, Statement};

impl Decoder {
    pub(super) fn mov(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let ty = m.ty()?;
        Self::arity(m, s, 2)?;
        if ty == Type::Pred {
            let d = self.pred(m, &s.args[0])?;
            if d.1 {
                return m.fail("the destination is negated");
            }
            if let Arg::Int(v @ (0 | 1)) = s.args[1] {
                return Ok(Op::SetPred { d: d.0, value: v == 1 });
            }
            let (a, negate) = self.pred(m, &s.args[1])?;
            return Ok(Op::MovPred { d: d.0, a, negate });
        }
        let part = |n: usize| match ty.bits() as usize / n {
            8 => Ok(Type::B8),
            16 => Ok(Type::B16),
            32 => Ok(Type::B32),
            _ => m.fail(format_args!("{n} parts of .{ty:?}")),
        };
        match (&s.args[0], &s.args[1]) {
            (Arg::Vector(v), a) if matches!(v.len(), 2 | 4) => {
                let of = part(v.len())?;
                let parts = self.dests(m, &s.args[0], v.len(), of, false)?.0;
                Ok(Op::Unpack { parts, n: v.len(), bits: of.bits(), a: self.source(m, a, ty)? })
            }
            (d, Arg::Vector(v)) if matches!(v.len(), 2 | 4) => {
                let of = part(v.len())?;
                let parts = self.sources(m, &s.args[1], v.len(), of, false)?;
                Ok(Op::Pack { d: self.dest(m, d, ty)?, parts, n: v.len(), bits: of.bits() })
            }
            (d, a) => {
                let a = self.source(m, a, ty)?;
                Ok(Op::Row1 { f: |x, d| *d = *x, d: self.dest(m, d, ty)?, a })
            }
        }
    }

    /// Rounding and `.ftz`, `.sat` of arithmetic. Only rounding to nearest is computed.
    fn flags(m: &mut Mods, name: &str, ty: Type) -> Result<Flags> {
        let single = ty == Type::F32;
        let halves = matches!(ty, Type::F16 | Type::F16x2);
        let mut flags = Flags { ftz: (single || halves) && m.take("ftz"), ..Flags::default() };
        if halves && flags.ftz {
            return m.fail("flushing of halves is not computed");
        }
        let sums = matches!(name, "add" | "sub" | "mul" | "fma" | "mad");
        flags.sat = (sums && (single || halves) || matches!(name, "add" | "sub") && ty == Type::S32) && m.take("sat");
        flags.nan = matches!(name, "min" | "max") && m.take("NaN");
        flags.relu = name == "fma" && !single && m.take("relu");
        Ok(flags)
    }

    /// The precision of the instruction must be said where the instruction set wants it said.
    fn precision(m: &mut Mods, name: &str, ty: Type) -> Result<()> {
        let halves = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
        let float = ty.float() || halves;
        if !float {
            return Ok(());
        }
        let said = m.any(&["rn", "rz", "rm", "rp", "approx", "full"]);
        let allowed: &[Option<&str>] = match name {
            "add" | "sub" | "mul" => &[None, Some("rn")],
            "fma" | "mad" => &[Some("rn")],
            "div" if ty == Type::F32 => &[Some("rn"), Some("approx"), Some("full")],
            "div" => &[Some("rn")],
            "rcp" | "sqrt" if ty == Type::F32 => &[Some("rn"), Some("approx")],
            "rcp" | "sqrt" => &[Some("rn")],
            "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => &[Some("approx")],
            _ => &[None],
        };
        if allowed.contains(&said) {
            return Ok(());
        }
        match said {
            Some(r) => m.fail(format_args!(".{r} is not computed for this instruction")),
            None => m.fail("the rounding is missing"),
        }
    }

    pub(super) fn arithmetic(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        let wide = m.any(&["lo", "hi", "wide"]);
        let ty = m.ty()?;
        let float = ty.float() || matches!(ty, Type::F16x2 | Type::Bf16x2);
        Self::precision(m, name, ty)?;
        let flags = Self::flags(m, name, ty)?;
        let untyped = matches!(name, "and" | "or" | "xor" | "not" | "shl" | "popc" | "clz" | "brev" | "bfind");
        let bits = matches!(ty, Type::B16 | Type::B32 | Type::B64);
        if bits != untyped && !(name == "bfind" || name == "shr") && ty != Type::Pred {
            return m.fail(format_args!(".{ty:?} is not a type of this instruction"));
        }
        if ty == Type::Pred {
            return self.predicates(name, m, s);
        }
        let product = matches!(name, "mul" | "mad") && !float;
        if product != wide.is_some() {
            return m.fail("exactly integer products say .lo, .hi or .wide");
        }
        let full = match wide {
            Some(w @ ("hi" | "wide")) => format!("{name}.{w}"),
            _ if name == "mad" && float => "fma".to_string(),
            _ => name.to_string(),
        };
        let result = match (wide, name) {
            (Some("wide"), _) => match ty {
                Type::U16 => Type::U32,
                Type::S16 => Type::S32,
                Type::U32 => Type::U64,
                _ => Type::S64,
            },
            (_, "popc" | "clz" | "bfind") => Type::U32,
            _ => ty,
        };
        let Some(d) = s.args.first() else {
            return m.fail("there are no operands");
        };
        let d = self.dest(m, d, result)?;
        let missing = |m: &Mods| m.fail::<Op>(format_args!(".{ty:?} is not a type of this instruction"));
        match s.args.len() {
            2 => match alu::unary(&full, ty, flags) {
                Some(f) => Ok(Op::Row1 { f, d, a: self.source(m, &s.args[1], ty)? }),
                None => missing(m),
            },
            3 => match alu::binary(&full, ty, flags) {
                Some(f) => {
                    let second = if matches!(name, "shl" | "shr") { Type::U32 } else { ty };
                    let (a, b) = (self.source(m, &s.args[1], ty)?, self.source(m, &s.args[2], second)?);
                    let divides = matches!(name, "div" | "rem") && !float;
                    Ok(if divides { Op::Divide { f, d, a, b } } else { Op::Row2 { f, d, a, b } })
                }
                None => missing(m),
            },
            4 => match alu::ternary(&full, ty, flags) {
                Some(f) => {
                    let (second, third) = match name {
                        "bfe" => (Type::U32, Type::U32),
                        "sad" => (ty, ty),
                        _ => (ty, result),
                    };
                    let (a, b) = (self.source(m, &s.args[1], ty)?, self.source(m, &s.args[2], second)?);
                    Ok(Op::Row3 { f, d, a, b, c: self.source(m, &s.args[3], third)? })
                }
                None => missing(m),
            },
            n => m.fail(format_args!("{n} operands")),
        }
    }

    /// `and`, `or`, `xor`, `not` of predicates.
    fn predicates(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        let p = |i: usize| match self.pred(m, &s.args[i])? {
            (p, false) => Ok(p),
            _ => m.fail("operands of this instruction are not negated"),
        };
        let op = match name {
            "and" => Bool::And,
            "or" => Bool::Or,
            "xor" => Bool::Xor,
            "not" => {
                Self::arity(m, s, 2)?;
                return Ok(Op::MovPred { d: p(0)?, a: p(1)?, negate: true });
            }
            _ => return m.fail("predicates have no such instruction"),
        };
        Self::arity(m, s, 3)?;
        Ok(Op::BoolPred { op, d: p(0)?, a: p(1)?, b: p(2)? })
    }

    /// The instructions on bit fields, and the selections by value.
    pub(super) fn bits(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        let ty = m.ty();
        let three = |d: &mut Decoder, m: &Mods, f, ty: Type, c: Type| -> Result<Op> {
            Self::arity(m, s, 4)?;
            let (a, b) = (d.source(m, &s.args[1], ty)?, d.source(m, &s.args[2], ty)?);
            Ok(Op::Row3 { f, d: d.dest(m, &s.args[0], ty)?, a, b, c: d.source(m, &s.args[3], c)? })
        };
        let named = |m: &Mods, full: &str| match alu::ternary(full, Type::B32, Flags::default()) {
            Some(f) => Ok(f),
            None => m.fail("this form is not known to this interpreter"),
        };
        let ty = ty?;
        match name {
            "dp4a" => {
                let other = m.ty()?;
                let Some(f) = alu::dp4a(ty, other) else {
                    return m.fail("the types are .u32 or .s32");
                };
                three(self, m, f, Type::B32, Type::B32)
            }
            "slct" => {
                let by = m.ty()?;
                m.take("ftz");
                let f = match by {
                    Type::S32 => named(m, "slct.s32")?,
                    Type::F32 => named(m, "slct.f32")?,
                    _ => return m.fail("the third operand is .s32 or .f32"),
                };
                three(self, m, f, ty, by)
            }
            "prmt" => three(self, m, named(m, "prmt")?, Type::B32, Type::U32),
            "shf" => {
                let full = format!("shf.{}.{}", m.need(&["l", "r"])?, m.need(&["wrap", "clamp"])?);
                three(self, m, named(m, &full)?, Type::B32, Type::U32)
            }
            "lop3" => {
                Self::arity(m, s, 5)?;
                let Arg::Int(table @ 0..=255) = s.args[4] else {
                    return m.fail("the table is a constant from 0 to 255");
                };
                let d = self.dest(m, &s.args[0], Type::B32)?;
                let mut of = |i: usize| self.source(m, &s.args[i], Type::B32);
                Ok(Op::Lop3 { table: table as u8, d, a: of(1)?, b: of(2)?, c: of(3)? })
            }
            _ => {
                if !matches!(ty, Type::B32 | Type::B64) {
                    return m.fail("the type is .b32 or .b64");
                }
                Self::arity(m, s, 5)?;
                let d = self.dest(m, &s.args[0], ty)?;
                let (a, b) = (self.source(m, &s.args[1], ty)?, self.source(m, &s.args[2], ty)?);
                let (c, len) = (self.source(m, &s.args[3], Type::U32)?, self.source(m, &s.args[4], Type::U32)?);
                Ok(Op::Bfi { bits: ty.bits(), d, a, b, c, len })
            }
        }
    }

    pub(super) fn setp(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let ty = m.ty()?;
        let ftz = m.take("ftz");
        let combine = match m.any(&["and", "or", "xor"]) {
            Some("and") => Some(Bool::And),
            Some("or") => Some(Bool::Or),
            Some(_) => Some(Bool::Xor),
            None => None,
        };
        Self::arity(m, s, 3 + usize::from(combine.is_some()))?;
        let f = Self::comparison(m, ty, ftz)?;
        let sink_or = |d: &mut Decoder, arg: &Arg| match arg {
            Arg::Sink => Ok(d.scratch_pred()),
            Arg::Name(n) => d.pred_named(m, n),
            other => m.fail(format_args!("{other:?} is not a predicate")),
        };
        let (d, complement) = match &s.args[0] {
            Arg::Pair(p, q) => (sink_or(self, p)?, Some(sink_or(self, q)?)),
            one => (sink_or(self, one)?, None),
        };
        let (a, b) = (self.source(m, &s.args[1], ty)?, self.source(m, &s.args[2], ty)?);
        let combine = match combine {
            None => Combine::None,
            Some(op) => {
                let (p, negate) = self.pred(m, &s.args[3])?;
                Combine::With(op, p, negate)
            }
        };
        Ok(Op::Setp { f, d, complement, a, b, combine })
    }

    fn comparison(m: &mut Mods, ty: Type, ftz: bool) -> Result<crate::isa::Compare> {
        const NAMES: &[&str] = &[
            "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu",
            "num", "nan",
        ];
        let name = m.need(NAMES)?;
        match alu::comparison(name, ty, ftz) {
            Some(f) => Ok(f),
            None => m.fail(format_args!(".{name} does not compare .{ty:?}")),
        }
    }

    /// A predicate that nothing reads.
    pub(super) fn scratch_pred(&mut self) -> u32 {
        self.preds.push("_".to_string());
        self.preds.len() as u32 - 1
    }

    pub(super) fn set(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let (to, ty) = (m.ty()?, m.ty()?);
        let ftz = m.take("ftz");
        if !matches!(to, Type::U32 | Type::S32 | Type::F32) {
            return m.fail("the result is .u32, .s32 or .f32");
        }
        Self::arity(m, s, 3)?;
        let f = Self::comparison(m, ty, ftz)?;
        let (a, b) = (self.source(m, &s.args[1], ty)?, self.source(m, &s.args[2], ty)?);
        Ok(Op::Set { f, float: to == Type::F32, d: self.dest(m, &s.args[0], to)?, a, b })
    }

    pub(super) fn selp(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let ty = m.ty()?;
        Self::arity(m, s, 4)?;
        let (a, b) = (self.source(m, &s.args[1], ty)?, self.source(m, &s.args[2], ty)?);
        let (p, negate) = self.pred(m, &s.args[3])?;
        Ok(Op::Selp { d: self.dest(m, &s.args[0], ty)?, a, b, p, negate })
    }

    pub(super) fn cvt(&mut self, m: &mut Mods, s: &Statement) -> Result<Op> {
        let (to, from) = (m.ty()?, m.ty()?);
        let round = m.any(&["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"]);
        let rounding = match round {
            Some("rz" | "rzi") => Rounding::Zero,
            Some("rm" | "rmi") => Rounding::Down,
            Some("rp" | "rpi") => Rounding::Up,
            Some("rna") => Rounding::Away,
            _ => Rounding::Even,
        };
        let integral = round.is_some_and(|r| r.len() == 3 && r.ends_with('i'));
        let pair = matches!(to, Type::F16x2 | Type::Bf16x2);
        let floats = (to.float() || pair, from.float());
        let narrows = to.bits() < from.bits() || to == Type::Tf32 || pair || (to == Type::Bf16 && from == Type::F16);
        let legal = match floats {
            // To an integer: a rounding to integers. From an integer: one to floats.
            (false, true) => integral,
            (true, false) => round.is_some() && !integral,
            (true, true) => integral || round.is_some() == narrows,
            (false, false) => round.is_none(),
        };
        if !legal || (rounding == Rounding::Away && to != Type::Tf32) {
            return m.fail("the rounding does not fit the types");
        }
        if matches!(from, Type::F16x2 | Type::Bf16x2) || [to, from].contains(&Type::Pred) {
            return m.fail("this conversion is not known to this interpreter");
        }
        let mut spec = Convert { to, from, rounding, integral, ftz: false, sat: false, relu: false, width: to.bits() };
        spec.ftz = (to == Type::F32 || from == Type::F32) && m.take("ftz");
        spec.sat = m.take("sat");
        spec.relu = m.take("relu");
        let sources = if to == Type::Tf32 { Type::F32 } else { from };
        if pair {
            Self::arity(m, s, 3)?;
            if from != Type::F32 {
                return m.fail("pairs are made of .f32");
            }
            spec.to = if to == Type::F16x2 { Type::F16 } else { Type::Bf16 };
            let (a, b) = (self.source(m, &s.args[1], from)?, self.source(m, &s.args[2], from)?);
            return Ok(Op::ConvertPair { spec, d: self.dest(m, &s.args[0], Type::B32)?, a, b });
        }
        Self::arity(m, s, 2)?;
        let (d, width) = self.dest_of(m, &s.args[0], to, !to.float())?;
        spec.width = width;
        let (a, _) = self.source_of(m, &s.args[1], sources, !from.float())?;
        Ok(match (to, from, round, spec.sat, width) {
            (Type::U64, Type::U32, ..) => Op::Row1 { f: |x, d| *d = x.map(|v| v & 0xffff_ffff), d, a },
            (Type::U32 | Type::S32, Type::U32 | Type::S32 | Type::U64 | Type::S64, _, false, 32) => {
                Op::Row1 { f: |x, d| *d = x.map(|v| v & 0xffff_ffff), d, a }
            }
            (Type::S64, Type::S32, ..) => Op::Row1 { f: |x, d| *d = x.map(|v| v as i32 as i64 as u64), d, a },
            _ => Op::Convert { spec, d, a },
        })
    }

    /// Whether the operand is a declared register; `cvta` takes names of variables too.
    pub(super) fn is_symbol(&self, arg: &Arg) -> bool {
        matches!(arg, Arg::Name(n) if matches!(self.find(n), Some(Name::Symbol(_))))
    }
}
