//! The verifier: what a kernel must be before it is printed.
//!
//! Checks, for a declared architecture: each instruction exists for its types, takes operands of the right number and
//! class, and is there on the architecture; each register is written before it is read on every path (a write under a
//! guard does not count: it may not happen); loops can end; parameters and shared buffers exist; static shared memory
//! fits. Not checked: barriers in divergent code, addresses, races; the interpreter of the tests does that.

use super::op::Slot;
use super::print;
use super::types::{Class, Needs, Operand, Reg, Ty};
use super::{Inst, Kernel, Stmt};
use planc_plan::container::PtxArch;
use std::collections::BTreeSet;

/// Bytes of static shared memory at most, on every architecture.
pub const MAX_STATIC_SHARED: u32 = 48 << 10;

/// What is wrong with a kernel: always a bug of its generator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No name, or one that exists.
    #[error("this is a bug: {0:?} is no name of a kernel, or that of two")]
    Name(String),
    /// The architecture is too old for any kernel.
    #[error("this is a bug: no PTX is generated for {0}")]
    Arch(String),
    /// Something about the kernel as a whole.
    #[error("this is a bug: kernel {kernel}: {message}")]
    Kernel {
        /// Name.
        kernel: String,
        /// What.
        message: String,
    },
    /// Something about one instruction.
    #[error("this is a bug: kernel {kernel}: `{inst}`: {message}")]
    Inst {
        /// Name.
        kernel: String,
        /// The instruction as it would be printed.
        inst: String,
        /// What.
        message: String,
    },
}

/// Registers that are written on every way to a place; `None` where no way leads.
type Defined = Option<BTreeSet<Reg>>;

fn meet(a: Defined, b: Defined) -> Defined {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.intersection(&b).copied().collect()),
        (a, b) => a.or(b),
    }
}

/// Checks `k` for `arch`.
pub(super) fn kernel(k: &Kernel, arch: PtxArch) -> Result<(), VerifyError> {
    let fail = |message: String| VerifyError::Kernel { kernel: k.name.clone(), message };
    let starts = k.name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts || !k.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(VerifyError::Name(k.name.clone()));
    }
    if Needs::version_of(arch).is_none() {
        return Err(VerifyError::Arch(arch.to_string()));
    }
    let threads = k.threads.iter().try_fold(1u32, |n, t| n.checked_mul(*t)).unwrap_or(0);
    if threads == 0 || threads > planc_plan::launch::MAX_BLOCK {
        return Err(fail(format!("blocks of {:?} threads", k.threads)));
    }
    if let Some(t) = k.params.iter().find(|t| !matches!(t, Ty::U32 | Ty::U64)) {
        return Err(fail(format!("a parameter of type {}", t.name())));
    }
    let mut shared = 0u64;
    for (bytes, align) in &k.shared {
        if !align.is_power_of_two() || *align > 128 {
            return Err(fail(format!("a shared buffer aligned to {align}")));
        }
        shared = shared.next_multiple_of(u64::from(*align)) + u64::from(*bytes);
    }
    if shared > u64::from(MAX_STATIC_SHARED) {
        return Err(fail(format!("{shared} bytes of static shared memory")));
    }
    let mut v = Verifier { k, arch, breaks: vec![] };
    v.block(&k.body, Some(BTreeSet::new())).map(|_| ())
}

struct Verifier<'k> {
    k: &'k Kernel,
    arch: PtxArch,
    /// What is defined where the loops around here are left.
    breaks: Vec<Defined>,
}

impl Verifier<'_> {
    fn fail<T>(&self, message: String) -> Result<T, VerifyError> {
        Err(VerifyError::Kernel { kernel: self.k.name.clone(), message })
    }

    fn condition(&self, cond: Reg, defined: &Defined) -> Result<(), VerifyError> {
        if cond.class != Class::Pred || defined.as_ref().is_some_and(|d| !d.contains(&cond)) {
            return self.fail(format!("a branch on register {} of {:?}, which is not set", cond.index, cond.class));
        }
        Ok(())
    }

    fn block(&mut self, body: &[Stmt], mut defined: Defined) -> Result<Defined, VerifyError> {
        for s in body {
            if defined.is_none() {
                return self.fail("statements that are never reached".into());
            }
            match s {
                Stmt::Inst(i) => {
                    if let Err(message) = self.inst(i, defined.as_mut()) {
                        let (kernel, inst) = (self.k.name.clone(), print::inst(i));
                        return Err(VerifyError::Inst { kernel, inst, message });
                    }
                }
                Stmt::If { cond, then, other, .. } => {
                    self.condition(*cond, &defined)?;
                    let first = self.block(then, defined.clone())?;
                    let second = self.block(other, defined)?;
                    defined = meet(first, second);
                }
                Stmt::Loop(body) => {
                    self.breaks.push(None);
                    self.block(body, defined)?;
                    defined = self.breaks.pop().flatten();
                    if defined.is_none() {
                        return self.fail("a loop that never ends".into());
                    }
                }
                Stmt::BreakIf(cond, _) => {
                    self.condition(*cond, &defined)?;
                    let Some(at) = self.breaks.last_mut() else {
                        return self.fail("a break outside of a loop".into());
                    };
                    *at = meet(at.take(), defined.clone());
                }
                Stmt::Exit => defined = None,
            }
        }
        Ok(defined)
    }

    fn inst(&self, i: &Inst, defined: Option<&mut BTreeSet<Reg>>) -> Result<(), String> {
        let Some(defined) = defined else { return Ok(()) };
        if !i.op.exists() {
            return Err("there is no such instruction".into());
        }
        let (needs, has) = (i.op.needs(), self.arch);
        if has.number() < needs.sm {
            return Err(format!("needs sm_{}, the target is {has}", needs.sm));
        }
        let signature = i.op.signature();
        let dst: Vec<Slot> = signature.dst.into_iter().flatten().collect();
        let src: Vec<Slot> = signature.src.into_iter().flatten().collect();
        if dst.len() != i.dst.len() || src.len() != i.src.len() {
            return Err(format!("takes {} and gives {} operands", src.len(), dst.len()));
        }
        for (n, (slot, o)) in src.iter().zip(&i.src).enumerate() {
            if !self.fits(*slot, o) {
                return Err(format!("operand {n} is {o:?}, {slot:?} expected"));
            }
            let read = match o {
                Operand::Reg(r) => Some(*r),
                Operand::Addr(a) => Some(a.base),
                _ => None,
            };
            if let Some(r) = read.filter(|r| !defined.contains(r)) {
                return Err(format!("operand {n}, {r:?}, is not set on every path"));
            }
        }
        if let (super::Op::LdParam(t), [Operand::Param(n)]) = (i.op, i.src.as_slice())
            && self.k.params.get(*n as usize) != Some(&t)
        {
            return Err("the parameter has another type".into());
        }
        if let Some((p, _)) = i.guard
            && (p.class != Class::Pred || !defined.contains(&p))
        {
            return Err("the guard is no predicate that is set".into());
        }
        for (n, (slot, r)) in dst.iter().zip(&i.dst).enumerate() {
            if !self.fits(*slot, &Operand::Reg(*r)) {
                return Err(format!("result {n} is {r:?}, {slot:?} expected"));
            }
            if i.dst[..n].contains(r) {
                return Err(format!("result {n}, {r:?}, is written twice"));
            }
            if i.guard.is_none() {
                defined.insert(*r);
            }
        }
        Ok(())
    }

    fn fits(&self, slot: Slot, o: &Operand) -> bool {
        if let Operand::Reg(r) | Operand::Addr(super::Addr { base: r, .. }) = o
            && Class::ALL.iter().zip(self.k.registers).any(|(c, n)| *c == r.class && r.index >= n)
        {
            return false;
        }
        let bits = |c: Class| c.ty().bytes() * 8;
        match (slot, o) {
            (Slot::Value(c), Operand::Reg(r)) => r.class == c,
            (Slot::Bits(n), Operand::Reg(r)) => bits(r.class) == n,
            (Slot::AtLeast(n), Operand::Reg(r)) => {
                bits(r.class) >= n.max(16) && !matches!(r.class, Class::F32 | Class::F64)
            }
            (Slot::Addr(space), Operand::Addr(a)) => {
                a.base.class == if space == super::Space::Global { Class::B64 } else { Class::B32 }
            }
            (Slot::Param, Operand::Param(n)) => (*n as usize) < self.k.params.len(),
            (Slot::Value(Class::F32) | Slot::Bits(32), Operand::F32(_)) => true,
            (Slot::Value(Class::F64) | Slot::Bits(64), Operand::F64(_)) => true,
            (Slot::Value(Class::B16) | Slot::Bits(16), Operand::Int(v)) => (-(1 << 15)..1 << 16).contains(v),
            (Slot::Value(Class::B32) | Slot::Bits(32), Operand::Int(v)) => (-(1 << 31)..1 << 32).contains(v),
            (Slot::Value(Class::B64) | Slot::Bits(64), Operand::Int(_)) => true,
            (Slot::Bits(32), Operand::Shared(s)) => (s.0 as usize) < self.k.shared.len(),
            (Slot::Bits(32), Operand::Dynamic) => self.k.dynamic_shared,
            _ => false,
        }
    }
}
