//! PTX as data: a typed program under construction, its verifier, and the one place that prints it.
//!
//! Guarantees: every instruction knows which architecture and PTX version it needs ([`Op::needs`]) and which operands it
//! takes ([`Op::signature`]); [`Module::text`] prints a module only after [`verify`] has accepted it, with the lowest
//! `.version` that works; control flow is structured, so that each label exists once; equal programs print equal text.
//! Instruction semantics are those of the PTX ISA manual. Deliberately absent: optimisation and register allocation
//! (the driver's assembler does both), and kernels.

mod builder;
mod op;
mod print;
#[cfg(test)]
mod tests;
mod types;
mod verify;

pub use builder::Builder;
pub use op::{Cmp, Half, Int2, Op, Round, Shuffle, Signature, Slot, Space, Special};
pub use types::{Addr, Class, Needs, Operand, Reg, Shared, Ty};
pub use verify::{MAX_STATIC_SHARED, VerifyError};

use planc_plan::container::PtxArch;

/// One instruction, perhaps under a guard.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Runs only where the predicate is set (or, with `true`, is not).
    pub guard: Option<(Reg, bool)>,
    /// Registers written.
    pub dst: Vec<Reg>,
    /// Operands read.
    pub src: Vec<Operand>,
}

/// A statement of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// An instruction.
    Inst(Inst),
    /// Two ways; `negate` exchanges them.
    If {
        /// Predicate.
        cond: Reg,
        /// The first way is taken where the predicate is not set.
        negate: bool,
        /// First way.
        then: Vec<Stmt>,
        /// Second way.
        other: Vec<Stmt>,
    },
    /// Repeats until a `BreakIf` directly within it leaves.
    Loop(Vec<Stmt>),
    /// Leaves the innermost loop where the predicate is set (or, with `true`, is not).
    BreakIf(Reg, bool),
    /// Ends the thread.
    Exit,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name.
    pub name: String,
    /// Parameters in order; `U32` or `U64`.
    pub params: Vec<Ty>,
    /// Static shared memory: bytes and alignment of each buffer.
    pub shared: Vec<(u32, u32)>,
    /// Uses dynamic shared memory.
    pub dynamic_shared: bool,
    /// Threads of a block at most (`.maxntid`).
    pub threads: [u32; 3],
    /// Blocks that a multiprocessor should hold at least (`.minnctapersm`).
    pub min_blocks: Option<u32>,
    /// Registers of each class.
    pub registers: [u32; Class::ALL.len()],
    /// Statements.
    pub body: Vec<Stmt>,
}

impl Kernel {
    /// What the kernel needs: the most of what its instructions do.
    pub fn needs(&self) -> Needs {
        fn walk(body: &[Stmt], needs: &mut Needs) {
            for s in body {
                match s {
                    Stmt::Inst(i) => *needs = needs.and(i.op.needs()),
                    Stmt::If { then, other, .. } => {
                        walk(then, needs);
                        walk(other, needs);
                    }
                    Stmt::Loop(body) => walk(body, needs),
                    Stmt::BreakIf(..) | Stmt::Exit => {}
                }
            }
        }
        let mut needs = Needs::BASE;
        walk(&self.body, &mut needs);
        needs
    }

    /// Checks the kernel for `arch`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self, arch: PtxArch) -> Result<(), VerifyError> {
        verify::kernel(self, arch)
    }
}

/// A module: kernels for one architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// Architecture.
    pub arch: PtxArch,
    /// Kernels, in order.
    pub kernels: Vec<Kernel>,
}

impl Module {
    /// The module's text.
    ///
    /// # Errors
    /// When a kernel does not verify, or two have one name.
    pub fn text(&self) -> Result<String, VerifyError> {
        for (i, k) in self.kernels.iter().enumerate() {
            k.verify(self.arch)?;
            if self.kernels[..i].iter().any(|o| o.name == k.name) {
                return Err(VerifyError::Name(k.name.clone()));
            }
        }
        Ok(print::module(self))
    }
}
