//! Builds a kernel: instructions go where the builder stands, control flow takes closures.
//!
//! Registers are not SSA: [`Builder::assign`] writes one again, which is how loops carry values. Constructors choose
//! registers and never fail; what they are wrongly given, the verifier reports.

use super::op::{Cmp, Half, Int2, Op, Round, Shuffle, Slot, Space, Special};
use super::types::{Addr, Class, Operand, Reg, Shared, Ty};
use super::{Inst, Kernel, Stmt};

/// A kernel under construction.
#[derive(Debug)]
pub struct Builder {
    kernel: Kernel,
    /// Statements of the blocks around here, the innermost last.
    open: Vec<Vec<Stmt>>,
    guard: Option<(Reg, bool)>,
    /// Number of statements at the start of the body that read parameters and addresses: they hold everywhere.
    entry: usize,
}

impl Builder {
    /// A kernel for blocks of `threads`.
    pub fn new(name: &str, threads: [u32; 3]) -> Builder {
        let kernel = Kernel {
            name: name.into(),
            params: vec![],
            shared: vec![],
            dynamic_shared: false,
            threads,
            min_blocks: None,
            registers: [0; Class::ALL.len()],
            body: vec![],
        };
        Builder { kernel, open: vec![vec![]], guard: None, entry: 0 }
    }

    /// The kernel.
    pub fn finish(mut self) -> Kernel {
        self.kernel.body = self.open.pop().unwrap_or_default();
        self.kernel
    }

    /// Asks for `n` blocks per multiprocessor at least, which bounds the registers of a thread.
    pub fn min_blocks(&mut self, n: u32) {
        self.kernel.min_blocks = Some(n);
    }

    /// The next parameter, read when the kernel starts. A `U64` is an address in global memory.
    pub fn param(&mut self, ty: Ty) -> Reg {
        self.kernel.params.push(ty);
        let n = self.kernel.params.len() as u32 - 1;
        self.at_entry(Op::LdParam(ty), ty.class(), Operand::Param(n))
    }

    /// A buffer in static shared memory; the register holds its address.
    pub fn shared(&mut self, bytes: u32, align: u32) -> Reg {
        self.kernel.shared.push((bytes, align));
        let buffer = Shared(self.kernel.shared.len() as u32 - 1);
        self.at_entry(Op::Mov(Ty::B32), Class::B32, Operand::Shared(buffer))
    }

    /// The address of dynamic shared memory, aligned to 128 bytes.
    pub fn dynamic_shared(&mut self) -> Reg {
        self.kernel.dynamic_shared = true;
        self.at_entry(Op::Mov(Ty::B32), Class::B32, Operand::Dynamic)
    }

    /// An instruction at the start of the kernel, wherever the builder stands.
    fn at_entry(&mut self, op: Op, class: Class, src: Operand) -> Reg {
        let dst = self.reg(class);
        let inst = Inst { op, guard: None, dst: vec![dst], src: vec![src] };
        self.open[0].insert(self.entry, Stmt::Inst(inst));
        self.entry += 1;
        dst
    }

    /// A register that nothing was written to yet.
    pub fn reg(&mut self, class: Class) -> Reg {
        let slot = Class::ALL.iter().position(|c| *c == class).unwrap_or_default();
        let index = self.kernel.registers[slot];
        self.kernel.registers[slot] += 1;
        Reg { class, index }
    }

    pub(super) fn push(&mut self, s: Stmt) {
        // The outermost block is there until `finish`.
        if let Some(block) = self.open.last_mut() {
            block.push(s);
        }
    }

    /// An instruction with results given.
    pub fn emit(&mut self, op: Op, dst: &[Reg], src: &[Operand]) {
        let inst = Inst { op, guard: self.guard, dst: dst.to_vec(), src: src.to_vec() };
        self.push(Stmt::Inst(inst));
    }

    /// An instruction with new registers for its results.
    pub fn results(&mut self, op: Op, src: &[Operand]) -> Vec<Reg> {
        let slots: Vec<Slot> = op.signature().dst.into_iter().flatten().collect();
        let dst: Vec<Reg> = slots.into_iter().map(|s| self.reg(result_class(op, s, src))).collect();
        self.emit(op, &dst, src);
        dst
    }

    /// An instruction with one result, in a new register.
    pub fn op(&mut self, op: Op, src: &[Operand]) -> Reg {
        let mut results = self.results(op, src);
        results.pop().unwrap_or(Reg { class: Class::Pred, index: u32::MAX })
    }

    /// An instruction with one result, into `dst`.
    pub fn assign(&mut self, dst: Reg, op: Op, src: &[Operand]) {
        self.emit(op, &[dst], src);
    }

    /// `dst = v`.
    pub fn set(&mut self, dst: Reg, v: impl Into<Operand>) {
        self.assign(dst, Op::Mov(dst.class.ty()), &[v.into()]);
    }

    /// A new register holding `v`.
    pub fn mov(&mut self, class: Class, v: impl Into<Operand>) -> Reg {
        self.op(Op::Mov(class.ty()), &[v.into()])
    }

    /// The bits of `v` in a register of another class of the same width.
    pub fn bits(&mut self, class: Class, v: Reg) -> Reg {
        if v.class == class { v } else { self.mov(class, v) }
    }

    /// A special register.
    pub fn special(&mut self, s: Special) -> Reg {
        self.op(Op::Special(s), &[])
    }

    // Control flow.

    fn block(&mut self, f: impl FnOnce(&mut Builder)) -> Vec<Stmt> {
        self.open.push(vec![]);
        let guard = self.guard.take();
        f(self);
        self.guard = guard;
        self.open.pop().unwrap_or_default()
    }

    /// Runs `then` where `cond` is set.
    pub fn if_then(&mut self, cond: Reg, then: impl FnOnce(&mut Builder)) {
        let then = self.block(then);
        self.push(Stmt::If { cond, negate: false, then, other: vec![] });
    }

    /// Runs `then` where `cond` is not set.
    pub fn if_not(&mut self, cond: Reg, then: impl FnOnce(&mut Builder)) {
        let then = self.block(then);
        self.push(Stmt::If { cond, negate: true, then, other: vec![] });
    }

    /// Runs `then` where `cond` is set, else `other`.
    pub fn if_else(&mut self, cond: Reg, then: impl FnOnce(&mut Builder), other: impl FnOnce(&mut Builder)) {
        let then = self.block(then);
        let other = self.block(other);
        self.push(Stmt::If { cond, negate: false, then, other });
    }

    /// Ends the thread where `cond` is set. Not before a barrier that others wait at.
    pub fn exit_if(&mut self, cond: Reg) {
        self.push(Stmt::If { cond, negate: false, then: vec![Stmt::Exit], other: vec![] });
    }

    /// Repeats `body` while the predicate that `cond` gives is set.
    pub fn while_loop(&mut self, cond: impl FnOnce(&mut Builder) -> Reg, body: impl FnOnce(&mut Builder)) {
        let all = self.block(|b| {
            let p = cond(b);
            b.push(Stmt::BreakIf(p, true));
            body(b);
        });
        self.push(Stmt::Loop(all));
    }

    /// Leaves the loop around here where `cond` is set.
    pub fn break_if(&mut self, cond: Reg) {
        self.push(Stmt::BreakIf(cond, false));
    }

    /// `for i in (start..end).step_by(step)`, in `u32`; `end + step` must not wrap.
    pub fn range(
        &mut self,
        start: impl Into<Operand>,
        end: impl Into<Operand>,
        step: impl Into<Operand>,
        body: impl FnOnce(&mut Builder, Reg),
    ) {
        let (end, step) = (end.into(), step.into());
        let i = self.mov(Class::B32, start);
        self.while_loop(
            |b| b.setp(Cmp::Lt, Ty::U32, i, end),
            |b| {
                body(b, i);
                b.assign(i, Op::Int2(Int2::Add, Ty::U32), &[i.into(), step]);
            },
        );
    }

    /// `body` for each `i < n`, one after the other in the text.
    pub fn unrolled(&mut self, n: u32, mut body: impl FnMut(&mut Builder, u32)) {
        (0..n).for_each(|i| body(self, i));
    }

    /// Puts all instructions of `body`, which has no control flow, under a guard. What they write counts as written
    /// only if it was before.
    pub fn guarded(&mut self, cond: Reg, negate: bool, body: impl FnOnce(&mut Builder)) {
        let before = self.guard.replace((cond, negate));
        body(self);
        self.guard = before;
    }

    // Arithmetic. Operands are registers or constants.

    /// `a + b`.
    pub fn add(&mut self, t: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        let op = if t.is_float() { Op::Add(t) } else { Op::Int2(Int2::Add, t) };
        self.op(op, &[a.into(), b.into()])
    }

    /// `a - b`.
    pub fn sub(&mut self, t: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        let op = if t.is_float() { Op::Sub(t) } else { Op::Int2(Int2::Sub, t) };
        self.op(op, &[a.into(), b.into()])
    }

    /// `a b`, the lower half for integers.
    pub fn mul(&mut self, t: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        let op = if t.is_float() { Op::FMul(t) } else { Op::Mul(Half::Lo, t) };
        self.op(op, &[a.into(), b.into()])
    }

    /// `a b + c`: rounded once for floats, the lower half for integers.
    pub fn mad(&mut self, t: Ty, a: impl Into<Operand>, b: impl Into<Operand>, c: impl Into<Operand>) -> Reg {
        let op = if t.is_float() { Op::Fma(t) } else { Op::Mad(t) };
        self.op(op, &[a.into(), b.into(), c.into()])
    }

    /// An integer instruction of two operands.
    pub fn int2(&mut self, op: Int2, t: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.op(Op::Int2(op, t), &[a.into(), b.into()])
    }

    /// Comparison.
    pub fn setp(&mut self, c: Cmp, t: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.op(Op::Setp(c, t), &[a.into(), b.into()])
    }

    /// `a` where `p` is set, else `b`.
    pub fn selp(&mut self, t: Ty, a: impl Into<Operand>, b: impl Into<Operand>, p: Reg) -> Reg {
        self.op(Op::Selp(t), &[a.into(), b.into(), p.into()])
    }

    /// Both predicates.
    pub fn both(&mut self, a: Reg, b: Reg) -> Reg {
        self.int2(Int2::And, Ty::Pred, a, b)
    }

    /// Either predicate.
    pub fn either(&mut self, a: Reg, b: Reg) -> Reg {
        self.int2(Int2::Or, Ty::Pred, a, b)
    }

    /// Conversion without clamping.
    pub fn cvt(&mut self, to: Ty, from: Ty, round: Option<Round>, v: impl Into<Operand>) -> Reg {
        self.op(Op::Cvt { to, from, round, sat: false }, &[v.into()])
    }

    // Memory.

    /// The address `base + index * size` in global memory; `index` is a `u32` register.
    pub fn element(&mut self, base: Reg, index: Reg, size: u32) -> Reg {
        self.op(Op::MadWide(Ty::U32), &[index.into(), size.into(), base.into()])
    }

    /// Reads one value.
    pub fn ld(&mut self, space: Space, t: Ty, at: impl Into<Addr>) -> Reg {
        self.op(Op::Ld(space, t, 1), &[at.into().into()])
    }

    /// Reads `n` (2 or 4) consecutive values; the address is a multiple of their size.
    pub fn ld_vector(&mut self, space: Space, t: Ty, n: u8, at: impl Into<Addr>) -> Vec<Reg> {
        self.results(Op::Ld(space, t, n), &[at.into().into()])
    }

    /// Writes one value.
    pub fn st(&mut self, space: Space, t: Ty, at: impl Into<Addr>, v: impl Into<Operand>) {
        self.emit(Op::St(space, t, 1), &[], &[at.into().into(), v.into()]);
    }

    /// Writes 2 or 4 consecutive values; the address is a multiple of their size.
    pub fn st_vector(&mut self, space: Space, t: Ty, at: impl Into<Addr>, values: &[Reg]) {
        let mut src = vec![at.into().into()];
        src.extend(values.iter().map(|r| Operand::Reg(*r)));
        self.emit(Op::St(space, t, values.len() as u8), &[], &src);
    }

    /// Waits for the block.
    pub fn barrier(&mut self) {
        self.emit(Op::BarSync, &[], &[]);
    }

    /// A 32-bit value of another lane of a full warp. `by`: mask, distance or lane.
    pub fn shuffle(&mut self, how: Shuffle, v: Reg, by: impl Into<Operand>) -> Reg {
        let clamp = if how == Shuffle::Up { 0u32 } else { 31 };
        self.op(Op::Shfl(how), &[v.into(), by.into(), clamp.into()])
    }
}

/// The class of a new register for a result.
fn result_class(op: Op, slot: Slot, src: &[Operand]) -> Class {
    match (op, slot) {
        (_, Slot::Value(c)) => c,
        (Op::Unpack(Ty::B32), _) => Class::B16,
        (Op::Unpack(_), _) => Class::B32,
        (Op::Mov(t) | Op::Pack(t) | Op::Selp(t) | Op::Ld(_, t, _), _) => t.class(),
        (Op::Shfl(_), _) => match src.first() {
            Some(Operand::Reg(r)) => r.class,
            _ => Class::B32,
        },
        _ => Class::B32,
    }
}
