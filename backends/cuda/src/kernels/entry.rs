//! A kernel together with how it is launched: each parameter is declared where it is first used.

use crate::ptx::{Builder, Class, Int2, Kernel, Op, Operand, Reg, Special, Ty};
use planc_plan::launch::{Launch, Param};
use planc_tensor::Dim;

/// An extent within a kernel, a `u32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// Known when the kernel is generated.
    Const(u32),
    /// In a register.
    Reg(Reg),
}

impl From<Size> for Operand {
    fn from(s: Size) -> Operand {
        match s {
            Size::Const(v) => v.into(),
            Size::Reg(r) => r.into(),
        }
    }
}

impl Size {
    /// The value, if it is known.
    pub fn known(self) -> Option<u32> {
        match self {
            Size::Const(v) => Some(v),
            Size::Reg(_) => None,
        }
    }
}

/// The product of extents.
///
/// # Errors
/// When it is known to be 2^31 or more, which 32-bit indices do not reach.
pub fn count(shape: &[Dim]) -> Result<Dim, String> {
    let n = shape.iter().fold(Dim::from(1usize), |n, d| n * d.clone());
    match n.as_const() {
        Some(n) if !(0..1 << 31).contains(&n) => Err(format!("{n} elements are too many for 32-bit indices")),
        _ => Ok(n),
    }
}

/// A kernel and its parameters under construction.
#[derive(Debug)]
pub struct Entry {
    /// The instructions.
    pub b: Builder,
    threads: [u32; 3],
    params: Vec<(Param, Reg)>,
    broadcasts: Vec<(Dim, Dim)>,
}

impl Entry {
    /// A kernel for blocks of `threads`; `stem` is what its name starts with.
    pub fn new(stem: &str, threads: [u32; 3]) -> Entry {
        Entry { b: Builder::new(stem, threads), threads, params: vec![], broadcasts: vec![] }
    }

    fn param(&mut self, p: Param) -> Reg {
        if let Some((_, r)) = self.params.iter().find(|(q, _)| *q == p) {
            return *r;
        }
        let ty = if matches!(p, Param::Size(_)) { Ty::U32 } else { Ty::U64 };
        let r = self.b.param(ty);
        self.params.push((p, r));
        r
    }

    /// The address of operand `n` of the step.
    pub fn input(&mut self, n: usize) -> Reg {
        self.param(Param::Input(n as u32))
    }

    /// The address of result `n` of the step.
    pub fn output(&mut self, n: usize) -> Reg {
        self.param(Param::Output(n as u32))
    }

    /// The address of temporary buffer `n`.
    pub fn scratch(&mut self, n: usize) -> Reg {
        self.param(Param::Scratch(n as u32))
    }

    /// An extent that is not negative.
    ///
    /// # Errors
    /// When it is a constant that does not fit 31 bits.
    pub fn size(&mut self, d: &Dim) -> Result<Size, String> {
        match d.as_const() {
            Some(v) if (0..1 << 31).contains(&v) => Ok(Size::Const(v as u32)),
            Some(v) => Err(format!("an extent of {v}")),
            None => Ok(Size::Reg(self.param(Param::Size(d.clone())))),
        }
    }

    /// Makes the launch check that the extent `own` is 1 or `extent`.
    pub fn broadcasts(&mut self, own: &Dim, extent: &Dim) {
        let pair = (own.clone(), extent.clone());
        if !self.broadcasts.contains(&pair) {
            self.broadcasts.push(pair);
        }
    }

    /// The number of this thread among all of the launch, along x.
    pub fn thread(&mut self) -> Reg {
        let tid = self.b.special(Special::TidX);
        let block = self.b.special(Special::CtaidX);
        self.b.mad(Ty::U32, block, self.threads[0], tid)
    }

    /// Quotient and remainder of a number below 2^31.
    pub fn div_rem(&mut self, n: Reg, by: Size) -> (Reg, Reg) {
        let q = divide(&mut self.b, n, by);
        let b = &mut self.b;
        let r = match by {
            Size::Const(1) => b.mov(Class::B32, 0u32),
            Size::Const(d) if d.is_power_of_two() => b.int2(Int2::And, Ty::B32, n, d - 1),
            _ => {
                let product = b.mul(Ty::U32, q, by);
                b.sub(Ty::U32, n, product)
            }
        };
        (q, r)
    }

    /// Runs `f` for a block of statements of the builder.
    fn within<T>(&mut self, b: &mut Builder, f: impl FnOnce(&mut Entry) -> T) -> T {
        std::mem::swap(&mut self.b, b);
        let result = f(self);
        std::mem::swap(&mut self.b, b);
        result
    }

    /// Runs `then` where `cond` is set, else `other`.
    ///
    /// # Errors
    /// Those of the two.
    pub fn branch(
        &mut self,
        cond: Reg,
        then: impl FnOnce(&mut Entry) -> Result<(), String>,
        other: impl FnOnce(&mut Entry) -> Result<(), String>,
    ) -> Result<(), String> {
        let (mut first, mut second) = (Ok(()), Ok(()));
        let mut b = self.take();
        // Both ways need the entry, one after the other.
        let cell = std::cell::RefCell::new(&mut *self);
        b.if_else(cond, |b| first = cell.borrow_mut().within(b, then), |b| second = cell.borrow_mut().within(b, other));
        self.b = b;
        first.and(second)
    }

    /// Runs `then` where `cond` is set.
    ///
    /// # Errors
    /// Those of `then`.
    pub fn when(&mut self, cond: Reg, then: impl FnOnce(&mut Entry) -> Result<(), String>) -> Result<(), String> {
        let mut result = Ok(());
        let mut b = self.take();
        b.if_then(cond, |b| result = self.within(b, then));
        self.b = b;
        result
    }

    /// `for i in (start..end).step_by(step)`.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn steps(
        &mut self,
        start: impl Into<Operand>,
        end: impl Into<Operand>,
        step: impl Into<Operand>,
        body: impl FnOnce(&mut Entry, Reg) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut result = Ok(());
        let mut b = self.take();
        b.range(start, end, step, |b, i| result = self.within(b, |e| body(e, i)));
        self.b = b;
        result
    }

    /// `for i in start..end`.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn repeat(
        &mut self,
        start: impl Into<Operand>,
        end: impl Into<Operand>,
        body: impl FnOnce(&mut Entry, Reg) -> Result<(), String>,
    ) -> Result<(), String> {
        self.steps(start, end, 1u32, body)
    }

    /// The builder, for a while.
    fn take(&mut self) -> Builder {
        std::mem::replace(&mut self.b, Builder::new("", [1; 3]))
    }

    /// The kernel, and its launch over `grid`.
    pub fn launch(self, grid: [Dim; 3], shared: u32) -> (Kernel, Launch) {
        let params = self.params.into_iter().map(|(p, _)| p).collect();
        let broadcasts = self.broadcasts;
        let launch = Launch { entry: String::new(), grid, block: self.threads, shared, params, broadcasts };
        (self.b.finish(), launch)
    }

    /// As [`Entry::launch`], with one thread for each of `n` along x.
    pub fn launch_threads(self, n: Dim) -> (Kernel, Launch) {
        let blocks = n.ceil_div(&Dim::from(self.threads[0] as usize));
        self.launch([blocks, Dim::from(1usize), Dim::from(1usize)], 0)
    }
}

/// The quotient of a number below 2^31. By a constant `d`, it is a product (Granlund and Montgomery, "Division by invariant
/// integers using multiplication", 1994): with `2^(l-1) < d <= 2^l` and `m = floor(2^(31+l) / d) + 1`, it is
/// `floor(n m / 2^(31+l))`.
pub(super) fn divide(b: &mut Builder, n: Reg, by: Size) -> Reg {
    match by {
        Size::Const(0 | 1) => n,
        Size::Const(d) if d.is_power_of_two() => b.int2(Int2::Shr, Ty::U32, n, d.trailing_zeros()),
        Size::Const(d) => {
            let l = 32 - (d - 1).leading_zeros();
            let m = ((1u64 << (31 + l)) / u64::from(d) + 1) as u32;
            let high = b.op(Op::Mul(crate::ptx::Half::Hi, Ty::U32), &[n.into(), m.into()]);
            b.int2(Int2::Shr, Ty::U32, high, l - 1)
        }
        Size::Reg(r) => b.int2(Int2::Div, Ty::U32, n, r),
    }
}
