//! From statements to instructions: names are resolved, types are checked as an assembler would, modifiers are all accounted
//! for. A modifier, type or operand that this interpreter does not model is an error, never ignored.

mod arith;
mod control;
mod memory;

use crate::error::ParseError;
use crate::isa::{Address, Class, Instr, Lanes, MmaKind, Op, Pred, Reg, RowKind, Space, Special, Type, ones};
use crate::parse::{Arg, Entry, Parameter, Statement, Symbol, VarSpace};
use std::collections::BTreeMap;

/// Where the first byte of shared memory is, in its window; 0 stays free so that a forgotten address is out of bounds.
pub(crate) const SHARED_BASE: u64 = 1024;
/// Where the first byte of local memory is, in its window.
pub(crate) const LOCAL_BASE: u64 = 64;
/// Generic addresses of shared memory start here.
pub(crate) const SHARED_WINDOW: u64 = 1 << 40;
/// Generic addresses of local memory start here.
pub(crate) const LOCAL_WINDOW: u64 = 1 << 41;

type Result<T> = std::result::Result<T, ParseError>;

#[derive(Clone, Copy, Debug)]
enum Name {
    Reg(Reg, Type),
    Pred(Pred),
    Symbol(u32),
}

/// Collects the code of one entry.
pub(crate) struct Decoder {
    /// Number of the module's target.
    target: u32,
    params: Vec<Parameter>,
    rows: Vec<RowKind>,
    preds: Vec<String>,
    symbols: Vec<Symbol>,
    constants: BTreeMap<u64, Reg>,
    specials: BTreeMap<String, Reg>,
    symbol_rows: BTreeMap<u32, Reg>,
    sink: Option<Reg>,
    scopes: Vec<BTreeMap<String, Name>>,
    labels: BTreeMap<String, u32>,
    /// Branches whose label may come later: instruction, label, line.
    branches: Vec<(usize, String, u32)>,
    code: Vec<Instr>,
}

/// The modifiers of an opcode; each must be taken by somebody.
struct Mods<'a> {
    opcode: &'a str,
    parts: Vec<&'a str>,
    line: u32,
}

impl<'a> Mods<'a> {
    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(ParseError::new(self.line, format!("{}: {message}", self.opcode)))
    }

    fn take(&mut self, name: &str) -> bool {
        let at = self.parts.iter().position(|p| *p == name);
        at.map(|i| self.parts.remove(i)).is_some()
    }

    fn any(&mut self, names: &[&str]) -> Option<&'a str> {
        let at = self.parts.iter().position(|p| names.contains(p))?;
        Some(self.parts.remove(at))
    }

    fn need(&mut self, names: &[&str]) -> Result<&'a str> {
        match self.any(names) {
            Some(n) => Ok(n),
            None => self.fail(format_args!("one of {} is needed", names.join(", "))),
        }
    }

    /// The first modifier that is a type.
    fn ty(&mut self) -> Result<Type> {
        let at = self.parts.iter().position(|p| Type::parse(p).is_some());
        match at.and_then(|i| Type::parse(self.parts.remove(i))) {
            Some(t) => Ok(t),
            None => self.fail("the type is missing"),
        }
    }

    fn done(&self) -> Result<()> {
        match self.parts.first() {
            None => Ok(()),
            Some(p) => self.fail(format_args!(".{p} is not known to this interpreter")),
        }
    }
}

impl Decoder {
    pub(crate) fn new(params: Vec<Parameter>, target: u32) -> Decoder {
        Decoder {
            target,
            params,
            rows: vec![],
            preds: vec![],
            symbols: vec![],
            constants: BTreeMap::new(),
            specials: BTreeMap::new(),
            symbol_rows: BTreeMap::new(),
            sink: None,
            scopes: vec![BTreeMap::new()],
            labels: BTreeMap::new(),
            branches: vec![],
            code: vec![],
        }
    }

    pub(crate) fn open(&mut self) {
        self.scopes.push(BTreeMap::new());
    }

    pub(crate) fn close(&mut self) {
        self.scopes.pop();
    }

    fn declare(&mut self, name: String, what: Name, line: u32) -> Result<()> {
        match self.scopes.last_mut() {
            Some(scope) if scope.contains_key(&name) => Err(ParseError::new(line, format!("{name} is declared twice"))),
            Some(scope) => {
                scope.insert(name, what);
                Ok(())
            }
            None => Err(ParseError::new(line, "a declaration outside of the body")),
        }
    }

    pub(crate) fn declare_register(&mut self, name: String, ty: Type, line: u32) -> Result<()> {
        if ty == Type::Pred {
            self.preds.push(name.clone());
            let p = Name::Pred(self.preds.len() as Pred - 1);
            return self.declare(name, p, line);
        }
        let r = self.row(RowKind::Register { name: name.clone() });
        self.declare(name, Name::Reg(r, ty), line)
    }

    pub(crate) fn declare_variable(&mut self, symbol: Symbol, line: u32) -> Result<()> {
        let name = symbol.name.clone();
        self.symbols.push(symbol);
        self.declare(name, Name::Symbol(self.symbols.len() as u32 - 1), line)
    }

    pub(crate) fn label(&mut self, name: &str, line: u32) -> Result<()> {
        match self.labels.insert(name.to_string(), self.code.len() as u32) {
            None => Ok(()),
            Some(_) => Err(ParseError::new(line, format!("the label {name} stands twice"))),
        }
    }

    fn row(&mut self, kind: RowKind) -> Reg {
        self.rows.push(kind);
        self.rows.len() as Reg - 1
    }

    fn constant(&mut self, value: u64) -> Reg {
        if let Some(r) = self.constants.get(&value) {
            return *r;
        }
        let r = self.row(RowKind::Constant(value));
        self.constants.insert(value, r);
        r
    }

    fn sink(&mut self) -> Reg {
        if let Some(r) = self.sink {
            return r;
        }
        let r = self.row(RowKind::Sink);
        self.sink = Some(r);
        r
    }

    fn find(&self, name: &str) -> Option<Name> {
        self.scopes.iter().rev().find_map(|s| s.get(name).copied())
    }

    /// The row and width of a special register.
    fn special(&mut self, name: &str) -> Option<(Reg, Type)> {
        let axis = |n: &str| match n {
            "x" => Some(0),
            "y" => Some(1),
            "z" => Some(2),
            _ => None,
        };
        let kind = match name.strip_prefix('%')?.split_once('.') {
            Some(("tid", a)) => Special::Tid(axis(a)?),
            Some(("ntid", a)) => Special::Ntid(axis(a)?),
            Some(("ctaid", a)) => Special::Ctaid(axis(a)?),
            Some(("nctaid", a)) => Special::Nctaid(axis(a)?),
            _ => match name {
                "%laneid" => Special::LaneId,
                "%warpid" => Special::WarpId,
                "%nwarpid" => Special::NwarpId,
                "%lanemask_eq" => Special::LaneMask(Lanes::Eq),
                "%lanemask_lt" => Special::LaneMask(Lanes::Lt),
                "%lanemask_le" => Special::LaneMask(Lanes::Le),
                "%lanemask_gt" => Special::LaneMask(Lanes::Gt),
                "%lanemask_ge" => Special::LaneMask(Lanes::Ge),
                "%dynamic_smem_size" => Special::DynamicShared,
                "%total_smem_size" => Special::TotalShared,
                _ => return None,
            },
        };
        let r = match self.specials.get(name) {
            Some(r) => *r,
            None => {
                let r = self.row(RowKind::Special(kind));
                self.specials.insert(name.to_string(), r);
                r
            }
        };
        Some((r, Type::U32))
    }

    /// Whether a register of type `have` may stand where `want` is asked for; `wider` as loads, stores and `cvt` allow.
    fn fits(have: Type, want: Type, wider: bool) -> bool {
        if wider && have.bits() > want.bits() {
            return have.class() != Class::Float;
        }
        let (h, w) = (have.class(), want.class());
        have.bits() == want.bits() && (h == w || h == Class::Bits || w == Class::Bits)
    }

    fn register(&mut self, m: &Mods, name: &str, ty: Type, wider: bool) -> Result<(Reg, Type)> {
        let found = match self.find(name) {
            Some(Name::Reg(r, have)) => Some((r, have)),
            Some(Name::Pred(_)) => return m.fail(format_args!("{name} is a predicate")),
            Some(Name::Symbol(s)) => {
                if !(ty.bits() == 64 || ty.bits() == 32) || ty.float() {
                    return m.fail(format_args!("the address {name} does not fit .{ty:?}"));
                }
                let r = match self.symbol_rows.get(&s) {
                    Some(r) => *r,
                    None => {
                        let r = self.row(RowKind::Symbol(s));
                        self.symbol_rows.insert(s, r);
                        r
                    }
                };
                return Ok((r, ty));
            }
            None => self.special(name),
        };
        match found {
            Some((r, have)) if Self::fits(have, ty, wider) => Ok((r, have)),
            Some((_, have)) => m.fail(format_args!("{name} is .{have:?}, which does not fit .{ty:?}")),
            None => m.fail(format_args!("{name} is not declared")),
        }
    }

    fn source(&mut self, m: &Mods, arg: &Arg, ty: Type) -> Result<Reg> {
        self.source_of(m, arg, ty, false).map(|s| s.0)
    }

    /// A source operand: a register, or a constant of that type.
    fn source_of(&mut self, m: &Mods, arg: &Arg, ty: Type, wider: bool) -> Result<(Reg, Type)> {
        let value = match arg {
            Arg::Name(n) => return self.register(m, n, ty, wider),
            Arg::Int(v) if !ty.float() => {
                let bits = ty.bits();
                if *v >= 1 << bits || *v < -(1 << (bits - 1)) {
                    return m.fail(format_args!("{v} does not fit .{ty:?}"));
                }
                *v as u64 & ones(bits)
            }
            Arg::F32(v) if matches!(ty, Type::F32 | Type::B32) => u64::from(*v),
            Arg::F64(v) if matches!(ty, Type::F64 | Type::B64) => *v,
            Arg::F64(v) if ty == Type::F32 => u64::from((f64::from_bits(*v) as f32).to_bits()),
            other => return m.fail(format_args!("{other:?} is no operand of .{ty:?}")),
        };
        Ok((self.constant(value), ty))
    }

    fn dest(&mut self, m: &Mods, arg: &Arg, ty: Type) -> Result<Reg> {
        self.dest_of(m, arg, ty, false).map(|d| d.0)
    }

    /// A destination register, and the width results are extended to.
    fn dest_of(&mut self, m: &Mods, arg: &Arg, ty: Type, wider: bool) -> Result<(Reg, u32)> {
        match arg {
            Arg::Sink => Ok((self.sink(), ty.bits())),
            Arg::Name(n) => match self.find(n) {
                Some(Name::Reg(..)) => self.register(m, n, ty, wider).map(|(r, t)| (r, t.bits())),
                _ => m.fail(format_args!("{n} is not a declared register, which could be written")),
            },
            other => m.fail(format_args!("{other:?} is not a register")),
        }
    }

    fn pred_named(&self, m: &Mods, name: &str) -> Result<Pred> {
        match self.find(name) {
            Some(Name::Pred(p)) => Ok(p),
            _ => m.fail(format_args!("{name} is not a declared predicate")),
        }
    }

    /// A predicate source and whether it is negated.
    fn pred(&self, m: &Mods, arg: &Arg) -> Result<(Pred, bool)> {
        match arg {
            Arg::Name(n) => Ok((self.pred_named(m, n)?, false)),
            Arg::Not(n) => Ok((self.pred_named(m, n)?, true)),
            other => m.fail(format_args!("{other:?} is not a predicate")),
        }
    }

    /// `[base+offset]` in a space.
    fn address(&mut self, m: &Mods, arg: &Arg, space: Space) -> Result<Address> {
        let Arg::Address(base, offset) = arg else {
            return m.fail("an address in brackets is expected");
        };
        let base = match &**base {
            Arg::Int(v) => self.constant(*v as u64),
            Arg::Name(n) => match self.find(n) {
                Some(Name::Symbol(s)) => {
                    let of = self.symbols[s as usize].space;
                    let same =
                        matches!((of, space), (VarSpace::Shared, Space::Shared) | (VarSpace::Local, Space::Local));
                    if !same {
                        return m.fail(format_args!("{n} is not in {space:?} memory"));
                    }
                    self.register(m, n, Type::U64, false)?.0
                }
                Some(Name::Reg(r, ty)) => {
                    let window = matches!(space, Space::Shared | Space::Local);
                    let width = ty.bits() == 64 || ty.bits() == 32 && window;
                    if !width || ty.class() == Class::Float {
                        return m.fail(format_args!("{n} is .{ty:?}, which is no address in {space:?} memory"));
                    }
                    r
                }
                _ => return m.fail(format_args!("{n} is no address in {space:?} memory")),
            },
            other => return m.fail(format_args!("{other:?} is no address")),
        };
        Ok(Address { space, base, offset: *offset })
    }

    /// The operands in braces, or a single one, as destinations or sources of `n` elements.
    fn elements<'s, 'a>(m: &Mods, arg: &'s Arg<'a>, n: usize) -> Result<Vec<&'s Arg<'a>>> {
        let parts: Vec<&Arg> = match arg {
            Arg::Vector(v) => v.iter().collect(),
            one => vec![one],
        };
        if parts.len() == n { Ok(parts) } else { m.fail(format_args!("{} operands where {n} belong", parts.len())) }
    }

    fn sources(&mut self, m: &Mods, arg: &Arg, n: usize, ty: Type, wider: bool) -> Result<[Reg; 4]> {
        let mut out = [0; 4];
        for (slot, part) in out.iter_mut().zip(Self::elements(m, arg, n)?) {
            *slot = self.source_of(m, part, ty, wider)?.0;
        }
        Ok(out)
    }

    fn dests(&mut self, m: &Mods, arg: &Arg, n: usize, ty: Type, wider: bool) -> Result<([Reg; 4], u32)> {
        let (mut out, mut width) = ([0; 4], ty.bits());
        for (slot, part) in out.iter_mut().zip(Self::elements(m, arg, n)?) {
            let (r, w) = self.dest_of(m, part, ty, wider)?;
            (*slot, width) = (r, width.max(w));
        }
        Ok((out, width))
    }

    /// Checks the number of operands.
    fn arity(m: &Mods, s: &Statement, n: usize) -> Result<()> {
        if s.args.len() == n { Ok(()) } else { m.fail(format_args!("{} operands where {n} belong", s.args.len())) }
    }

    pub(crate) fn instruction(&mut self, s: &Statement) -> Result<()> {
        let mut parts = s.opcode.split('.');
        let name = parts.next().unwrap_or_default();
        let mut m = Mods { opcode: s.opcode, parts: parts.collect(), line: s.line };
        let guard = match s.guard {
            Some((p, negate)) => Some((self.pred_named(&m, p)?, negate)),
            None => None,
        };
        let op = self.operation(name, &mut m, s)?;
        m.done()?;
        let need = least_target(&op);
        if self.target < need {
            return m.fail(format_args!("needs sm_{need}, the module is for sm_{}", self.target));
        }
        self.code.push(Instr { op, guard, line: s.line });
        Ok(())
    }

    fn operation(&mut self, name: &str, m: &mut Mods, s: &Statement) -> Result<Op> {
        match name {
            "mov" => self.mov(m, s),
            "cvt" => self.cvt(m, s),
            "setp" => self.setp(m, s),
            "set" => self.set(m, s),
            "selp" => self.selp(m, s),
            "slct" | "prmt" | "shf" | "lop3" | "bfi" | "dp4a" => self.bits(name, m, s),
            "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "neg" | "abs" | "shl" | "shr"
            | "and" | "or" | "xor" | "not" | "bfe" | "popc" | "clz" | "brev" | "bfind" | "rcp" | "sqrt" | "rsqrt"
            | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign" | "sad" => self.arithmetic(name, m, s),
            "ld" | "ldu" => self.ld(m, s),
            "st" => self.st(m, s),
            "atom" | "red" => self.atomic(name, m, s),
            "cvta" => self.cvta(m, s),
            "isspacep" => self.isspacep(m, s),
            "prefetch" | "prefetchu" | "discard" | "applypriority" => self.hint(m, s),
            "cp" => self.cp(m, s),
            "ldmatrix" | "stmatrix" => self.matrix(name, m, s),
            "mma" => self.mma(m, s),
            "bra" => self.bra(m, s),
            "ret" | "exit" | "trap" | "nop" => self.end(name, m, s),
            "bar" | "barrier" => self.barrier(name, m, s),
            "membar" | "fence" => self.fence(m, s),
            "shfl" => self.shfl(m, s),
            "vote" => self.vote(m, s),
            "activemask" => self.activemask(m, s),
            "redux" => self.redux(m, s),
            _ => m.fail("this instruction is not known to this interpreter"),
        }
    }

    /// Places variables and resolves labels.
    pub(crate) fn finish(mut self, line: u32) -> Result<Entry> {
        let place = |symbols: &mut [Symbol], space: VarSpace, base: u64| {
            let mut end = base;
            for s in symbols.iter_mut().filter(|s| s.space == space) {
                if let Some(bytes) = s.bytes {
                    s.address = end.next_multiple_of(s.align);
                    end = s.address + bytes;
                }
            }
            end
        };
        let shared = place(&mut self.symbols, VarSpace::Shared, SHARED_BASE);
        let local = place(&mut self.symbols, VarSpace::Local, LOCAL_BASE);
        let dynamic: Vec<&mut Symbol> = self.symbols.iter_mut().filter(|s| s.bytes.is_none()).collect();
        let align = dynamic.iter().map(|s| s.align).max().unwrap_or(16).max(16);
        let start = shared.next_multiple_of(align);
        for s in dynamic {
            s.address = start;
        }
        for row in &mut self.rows {
            if let RowKind::Symbol(s) = row {
                *row = RowKind::Constant(self.symbols[*s as usize].address);
            }
        }
        for (at, label, line) in &self.branches {
            let Some(found) = self.labels.get(label) else {
                return Err(ParseError::new(*line, format!("the label {label} does not exist")));
            };
            self.code[*at].op = Op::Bra { target: *found };
        }
        // Running off the end is an exit, and labels may stand there.
        self.code.push(Instr { op: Op::Exit, guard: None, line });
        Ok(Entry {
            name: String::new(),
            params: self.params,
            maxntid: None,
            reqntid: None,
            shared_bytes: (shared - SHARED_BASE) as usize,
            local_bytes: (local - LOCAL_BASE) as usize,
            dynamic_shared: start,
            rows: self.rows,
            preds: self.preds,
            code: self.code,
        })
    }
}

/// The first target that has an instruction, as far as it is later than sm_70. PTX ISA, "Target ISA notes".
fn least_target(op: &Op) -> u32 {
    match op {
        Op::StMatrix { .. } => 90,
        Op::CpAsync { .. } | Op::CpCommit | Op::CpWait { .. } | Op::CpWaitAll => 80,
        Op::Redux { .. } | Op::ConvertPair { .. } => 80,
        Op::Convert { spec, .. } if matches!(spec.to, Type::Bf16 | Type::Tf32) => 80,
        Op::Mma(m) if m.kind == MmaKind::F16 && m.k == 8 => 75,
        Op::Mma(_) => 80,
        Op::LdMatrix { .. } => 75,
        _ => 0,
    }
}
