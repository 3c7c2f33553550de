//! Scalar programs: straight-line SSA over typed scalars.
//!
//! An [`Expr`] is well typed by construction: [`ExprBuilder`] checks every operand. Semantics, the same for the
//! interpreter and every generator: integers wrap; integer division and remainder by zero give 0;
//! float arithmetic is IEEE in the instruction's type, 16-bit floats compute in f32 and round once per instruction;
//! casts from float to integer truncate and saturate, NaN gives 0.

use planc_tensor::DType;
use serde::{Deserialize, Serialize};

/// The number of an instruction within its expression.
pub type Reg = u16;

macro_rules! ops {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $v:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* $v,)* }
        impl $name {
            /// Every operation.
            pub const ALL: &'static [$name] = &[$($name::$v,)*];
            /// The name in the text form.
            pub const fn name(self) -> &'static str { match self { $($name::$v => $text,)* } }
            /// The operation with this name.
            pub fn from_name(name: &str) -> Option<$name> { $name::ALL.iter().copied().find(|o| o.name() == name) }
        }
    };
}

ops! {
    /// Operations of one operand. The result has the operand's type unless said otherwise.
    UnOp {
        /// Negation.
        Neg = "neg",
        /// Absolute value.
        Abs = "abs",
        /// -1, 0 or 1; NaN stays NaN.
        Sign = "sign",
        /// Logical not of bool, bitwise not of integers.
        Not = "not",
        /// Rounded down.
        Floor = "floor",
        /// Rounded up.
        Ceil = "ceil",
        /// Rounded to nearest, ties to even.
        Round = "round",
        /// Square root.
        Sqrt = "sqrt",
        /// e to the power.
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
        /// Tangent.
        Tan = "tan",
        /// Inverse sine.
        Asin = "asin",
        /// Inverse cosine.
        Acos = "acos",
        /// Inverse tangent.
        Atan = "atan",
        /// Hyperbolic sine.
        Sinh = "sinh",
        /// Hyperbolic cosine.
        Cosh = "cosh",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Inverse hyperbolic sine.
        Asinh = "asinh",
        /// Inverse hyperbolic cosine.
        Acosh = "acosh",
        /// Inverse hyperbolic tangent.
        Atanh = "atanh",
        /// Gauss error function.
        Erf = "erf",
        /// 1 / (1 + exp(-x)).
        Sigmoid = "sigmoid",
        /// Whether NaN; gives bool.
        IsNan = "isnan",
    }
}

ops! {
    /// Operations of two operands of one type; comparisons give bool.
    BinOp {
        /// Sum.
        Add = "add",
        /// Difference.
        Sub = "sub",
        /// Product.
        Mul = "mul",
        /// Quotient; integers truncate.
        Div = "div",
        /// Remainder with the sign of the dividend (C's `fmod`).
        Rem = "rem",
        /// Remainder with the sign of the divisor (Python's `%`).
        Mod = "mod",
        /// Power.
        Pow = "pow",
        /// The smaller; NaN if either is NaN.
        Min = "min",
        /// The larger; NaN if either is NaN.
        Max = "max",
        /// Logical or bitwise and.
        And = "and",
        /// Logical or bitwise or.
        Or = "or",
        /// Logical or bitwise exclusive or.
        Xor = "xor",
        /// Shift left; 0 when the count is the width or more.
        Shl = "shl",
        /// Logical shift right; 0 when the count is the width or more.
        Shr = "shr",
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
    }
}

impl BinOp {
    /// Whether the result is bool whatever the operands are.
    pub const fn is_comparison(self) -> bool {
        matches!(self, BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge)
    }
}

/// A constant. Floats are kept as `f64` bits so that expressions are `Eq` and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Num {
    /// The bits of an `f64`, for float types.
    Float(u64),
    /// For integers and bool (0 or 1).
    Int(i64),
}

impl Num {
    /// A float constant.
    pub fn float(v: f64) -> Num {
        Num::Float(v.to_bits())
    }

    /// The value as `f64`.
    pub fn as_f64(self) -> f64 {
        match self {
            Num::Float(bits) => f64::from_bits(bits),
            Num::Int(v) => v as f64,
        }
    }

    /// The value as `i64`; floats truncate.
    pub fn as_i64(self) -> i64 {
        match self {
            Num::Float(bits) => f64::from_bits(bits) as i64,
            Num::Int(v) => v,
        }
    }
}

/// One instruction; operands are earlier instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Inst {
    /// The element of operand number `.0`.
    Arg(u16),
    /// A constant of a type.
    Const(DType, Num),
    /// An operation of one operand.
    Unary(UnOp, Reg),
    /// An operation of two operands.
    Binary(BinOp, Reg, Reg),
    /// The second operand where the first (bool) holds, else the third.
    Select(Reg, Reg, Reg),
    /// Conversion to a type.
    Cast(DType, Reg),
}

impl Inst {
    /// The registers the instruction reads.
    pub fn operands(&self) -> impl Iterator<Item = Reg> {
        let regs = match *self {
            Inst::Arg(_) | Inst::Const(..) => [None, None, None],
            Inst::Unary(_, a) | Inst::Cast(_, a) => [Some(a), None, None],
            Inst::Binary(_, a, b) => [Some(a), Some(b), None],
            Inst::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        regs.into_iter().flatten()
    }
}

/// A scalar program; its result is its last instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Expr {
    args: Vec<DType>,
    insts: Vec<Inst>,
    #[serde(skip_serializing)]
    types: Vec<DType>,
}

/// What is stored of an expression; types are derived again, and checked, on reading.
#[derive(Deserialize)]
struct Unchecked {
    args: Vec<DType>,
    insts: Vec<Inst>,
}

impl TryFrom<Unchecked> for Expr {
    type Error = String;
    fn try_from(u: Unchecked) -> Result<Expr, String> {
        let mut b = ExprBuilder { args: u.args, insts: vec![], types: vec![] };
        for inst in u.insts {
            b.push(inst)?;
        }
        if b.insts.is_empty() { Err("an expression needs an instruction".into()) } else { Ok(b.into_expr()) }
    }
}

impl Expr {
    /// Operand types, by argument number.
    pub fn args(&self) -> &[DType] {
        &self.args
    }

    /// The instructions, operands before users.
    pub fn insts(&self) -> &[Inst] {
        &self.insts
    }

    /// The type of instruction `reg`.
    pub fn type_of(&self, reg: Reg) -> DType {
        self.types[usize::from(reg)]
    }

    /// The type of the result.
    pub fn result_type(&self) -> DType {
        *self.types.last().expect("this is a bug: expressions are never empty")
    }

    /// The expression that is its only operand.
    pub fn identity(dtype: DType) -> Expr {
        let mut b = ExprBuilder::new(&[dtype]);
        b.arg(0);
        b.into_expr()
    }
}

/// Builds an [`Expr`]. Equal instructions are made once. Operations panic on ill-typed operands (a bug of the caller);
/// [`ExprBuilder::push`] checks instead.
#[derive(Clone, Debug)]
pub struct ExprBuilder {
    args: Vec<DType>,
    insts: Vec<Inst>,
    types: Vec<DType>,
}

impl ExprBuilder {
    /// A program over operands of these types.
    pub fn new(args: &[DType]) -> ExprBuilder {
        ExprBuilder { args: args.to_vec(), insts: vec![], types: vec![] }
    }

    /// Adds an operand; its number.
    pub fn add_arg(&mut self, dtype: DType) -> u16 {
        self.args.push(dtype);
        (self.args.len() - 1) as u16
    }

    /// The type of `reg`.
    pub fn type_of(&self, reg: Reg) -> DType {
        self.types[usize::from(reg)]
    }

    /// Adds a checked instruction, or finds it where it is already.
    ///
    /// # Errors
    /// When an operand does not exist or has the wrong type, or the program is too long.
    pub fn push(&mut self, inst: Inst) -> Result<Reg, String> {
        let ty = self.check(inst)?;
        if let Some(at) = self.insts.iter().position(|i| *i == inst) {
            return Ok(at as Reg);
        }
        if self.insts.len() >= usize::from(Reg::MAX) {
            return Err("the expression has too many instructions".into());
        }
        self.insts.push(inst);
        self.types.push(ty);
        Ok((self.insts.len() - 1) as Reg)
    }

    fn check(&self, inst: Inst) -> Result<DType, String> {
        let ty = |r: Reg| self.types.get(usize::from(r)).copied().ok_or_else(|| format!("no instruction {r}"));
        let fits = |ok: bool, what: &str, t: DType| if ok { Ok(()) } else { Err(format!("{what} does not take {t}")) };
        match inst {
            Inst::Arg(n) => self.args.get(usize::from(n)).copied().ok_or_else(|| format!("no operand {n}")),
            Inst::Const(t, n) => {
                let ok = t.size().is_some() && matches!(n, Num::Float(_)) == t.is_float();
                fits(ok, "a constant", t).map(|()| t)
            }
            Inst::Unary(op, a) => {
                let t = ty(a)?;
                let ok = match op {
                    UnOp::Not => t == DType::Bool || t.is_int(),
                    UnOp::Neg | UnOp::Abs | UnOp::Sign => t.is_int() || t.is_float(),
                    _ => t.is_float(),
                };
                fits(ok, op.name(), t)?;
                Ok(if op == UnOp::IsNan { DType::Bool } else { t })
            }
            Inst::Binary(op, a, b) => {
                let (t, u) = (ty(a)?, ty(b)?);
                if t != u {
                    return Err(format!("{} of {t} and {u}", op.name()));
                }
                let ok = match op {
                    BinOp::And | BinOp::Or | BinOp::Xor => t == DType::Bool || t.is_int(),
                    BinOp::Shl | BinOp::Shr => t.is_int(),
                    BinOp::Eq | BinOp::Ne => t != DType::String,
                    _ => t.is_int() || t.is_float(),
                };
                fits(ok, op.name(), t)?;
                Ok(if op.is_comparison() { DType::Bool } else { t })
            }
            Inst::Select(c, a, b) => {
                let (t, u) = (ty(a)?, ty(b)?);
                if ty(c)? != DType::Bool || t != u {
                    return Err(format!("select of {}, {t} and {u}", ty(c)?));
                }
                Ok(t)
            }
            Inst::Cast(t, a) => {
                fits(t != DType::String && ty(a)? != DType::String, "cast", t)?;
                Ok(t)
            }
        }
    }

    fn must(&mut self, inst: Inst) -> Reg {
        self.push(inst).unwrap_or_else(|e| panic!("this is a bug: ill-typed expression: {e}"))
    }

    /// Operand number `n`.
    pub fn arg(&mut self, n: u16) -> Reg {
        self.must(Inst::Arg(n))
    }

    /// A constant of type `dtype`.
    pub fn constant(&mut self, dtype: DType, v: f64) -> Reg {
        let n = if dtype.is_float() { Num::float(v) } else { Num::Int(v as i64) };
        self.must(Inst::Const(dtype, n))
    }

    /// An operation of one operand.
    pub fn unary(&mut self, op: UnOp, a: Reg) -> Reg {
        self.must(Inst::Unary(op, a))
    }

    /// An operation of two operands.
    pub fn binary(&mut self, op: BinOp, a: Reg, b: Reg) -> Reg {
        self.must(Inst::Binary(op, a, b))
    }

    /// An operation of an operand and a constant of its type.
    pub fn binary_const(&mut self, op: BinOp, a: Reg, b: f64) -> Reg {
        let b = self.constant(self.type_of(a), b);
        self.binary(op, a, b)
    }

    /// `a` where `c` holds, else `b`.
    pub fn select(&mut self, c: Reg, a: Reg, b: Reg) -> Reg {
        self.must(Inst::Select(c, a, b))
    }

    /// `a` converted; nothing when it has that type.
    pub fn cast(&mut self, dtype: DType, a: Reg) -> Reg {
        if self.type_of(a) == dtype { a } else { self.must(Inst::Cast(dtype, a)) }
    }

    /// Adds all of `e` with its operands replaced by `args`; the register of its result.
    pub fn inline(&mut self, e: &Expr, args: &[Reg]) -> Reg {
        let mut map: Vec<Reg> = Vec::with_capacity(e.insts.len());
        for inst in &e.insts {
            let at = |r: Reg| map[usize::from(r)];
            let reg = match *inst {
                Inst::Arg(n) => args[usize::from(n)],
                Inst::Const(..) => self.must(*inst),
                Inst::Unary(op, a) => self.must(Inst::Unary(op, at(a))),
                Inst::Binary(op, a, b) => self.must(Inst::Binary(op, at(a), at(b))),
                Inst::Select(c, a, b) => self.must(Inst::Select(at(c), at(a), at(b))),
                Inst::Cast(t, a) => self.must(Inst::Cast(t, at(a))),
            };
            map.push(reg);
        }
        *map.last().expect("this is a bug: expressions are never empty")
    }

    /// The program whose result is `result`, without what it does not need. Operands keep their numbers.
    pub fn finish(self, result: Reg) -> Expr {
        let mut needed = vec![false; self.insts.len()];
        needed[usize::from(result)] = true;
        for (i, inst) in self.insts.iter().enumerate().rev() {
            if needed[i] {
                inst.operands().for_each(|r| needed[usize::from(r)] = true);
            }
        }
        let mut out = ExprBuilder::new(&self.args);
        let mut map = vec![0; self.insts.len()];
        for (i, inst) in self.insts.iter().enumerate().take(usize::from(result) + 1) {
            if !needed[i] {
                continue;
            }
            let at = |r: Reg| map[usize::from(r)];
            map[i] = out.must(match *inst {
                Inst::Unary(op, a) => Inst::Unary(op, at(a)),
                Inst::Binary(op, a, b) => Inst::Binary(op, at(a), at(b)),
                Inst::Select(c, a, b) => Inst::Select(at(c), at(a), at(b)),
                Inst::Cast(t, a) => Inst::Cast(t, at(a)),
                leaf @ (Inst::Arg(_) | Inst::Const(..)) => leaf,
            });
        }
        out.into_expr()
    }

    fn into_expr(self) -> Expr {
        Expr { args: self.args, insts: self.insts, types: self.types }
    }
}
