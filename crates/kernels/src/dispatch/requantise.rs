//! Recognising the epilogues of integer sums that kernels run in registers.
//!
//! The form is `to(factor(activation(curve(f32(sum + i32 bias) * scale + bias) + residual)))`, any part of which may be
//! missing; scale and biases are one number or one per channel, the residual lies as the result does, and a curve is hard
//! swish, SiLU or the like ([`Curve`]). Operands of one element count as numbers. What is not recognised runs as a program over the sums in L1, so this decides speed, not what is
//! possible, and never the result.

use super::Operand;
use super::epilogue::activation;
use crate::epilogue::Activation;
use crate::integer::{Clamp, Curve, Factor, Gate, To};
use planc_kir::{BinOp, Expr, Inst, Reg, UnOp};
use planc_tensor::DType;

/// A number for all channels or one per channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Term {
    /// For all.
    Number(f64),
    /// Per channel, by the side's position.
    Channels(usize),
}

/// A tensor that is added, by the side's position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    /// f32.
    Floats(usize),
    /// `(byte - zero) * scale`.
    Bytes(usize, i32, f32),
}

/// The parts of the form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recognised {
    /// Added to the sum, i32.
    pub(super) start: Option<Term>,
    /// Factor of the sum.
    pub(super) scale: Option<Term>,
    /// Added to that.
    pub(super) bias: Option<Term>,
    /// Applied to that.
    pub(super) curve: Option<Curve>,
    /// Added to that.
    pub(super) residual: Option<Side>,
    /// Applied to that.
    pub(super) activation: Clamp,
    /// Factor of that.
    pub(super) factor: Factor,
    /// Type of the result.
    pub(super) to: To,
}

/// What `expr` over `sides` is, if it is of that form. `per_channel` and `full` say whether a side has one element per
/// channel, or lies as the result does.
pub(super) fn recognise(
    expr: &Expr,
    sides: &[Operand<'_>],
    per_channel: &dyn Fn(&Operand<'_>) -> bool,
    full: &dyn Fn(&Operand<'_>) -> bool,
) -> Option<Recognised> {
    let m = Matcher { expr, sides, per_channel, full };
    let root = (expr.insts().len() - 1) as Reg;
    let (to, r) = match expr.result_type() {
        DType::F32 => (To::F32, root),
        t => m.byte(t, root)?,
    };
    if let Some((x, f)) = m.with_number(r, BinOp::Mul)
        && let Some(rest) = m.activated(x)
    {
        return Some(Recognised { factor: Factor::Times(f as f32), to, ..rest });
    }
    if let Inst::Binary(BinOp::Div, x, by) = m.at(r) {
        let by = m.number(by)? as f32;
        return Some(Recognised { factor: Factor::Over(by), to, ..m.activated(x)? });
    }
    Some(Recognised { to, ..m.activated(r)? })
}

struct Matcher<'a> {
    expr: &'a Expr,
    sides: &'a [Operand<'a>],
    per_channel: &'a dyn Fn(&Operand<'_>) -> bool,
    full: &'a dyn Fn(&Operand<'_>) -> bool,
}

impl Matcher<'_> {
    fn at(&self, r: Reg) -> Inst {
        self.expr.insts()[usize::from(r)]
    }

    fn ty(&self, r: Reg) -> DType {
        self.expr.type_of(r)
    }

    /// The side that is operand `n` of the program.
    fn side(&self, n: u16) -> Option<(usize, &Operand<'_>)> {
        let i = usize::from(n).checked_sub(1)?;
        Some((i, self.sides.get(i)?))
    }

    /// The value of a constant, or of an operand of one element.
    fn number(&self, r: Reg) -> Option<f64> {
        match self.at(r) {
            Inst::Const(t, n) if t.is_int() => Some(n.as_i64() as f64),
            Inst::Const(DType::F32, n) => Some((n.as_f64() as f32).into()),
            Inst::Cast(DType::F32, a) => self.number(a).map(|v| (v as f32).into()),
            Inst::Cast(DType::I32, a) if matches!(self.ty(a), DType::U8 | DType::I8) => self.number(a),
            Inst::Arg(n) => {
                let (_, side) = self.side(n)?;
                if side.shape.iter().product::<usize>() != 1 {
                    return None;
                }
                match side.dtype {
                    DType::F32 => side.elements::<f32>().ok()?.first().map(|v| f64::from(*v)),
                    DType::I32 => side.elements::<i32>().ok()?.first().map(|v| f64::from(*v)),
                    DType::U8 => side.bytes.first().map(|v| f64::from(*v)),
                    DType::I8 => side.bytes.first().map(|v| f64::from(*v as i8)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The operands of a commutative operation, a number last.
    fn with_number(&self, r: Reg, op: BinOp) -> Option<(Reg, f64)> {
        let (a, b) = self.operands(r, op)?;
        self.number(b).map(|n| (a, n)).or_else(|| self.number(a).map(|n| (b, n)))
    }

    fn operands(&self, r: Reg, op: BinOp) -> Option<(Reg, Reg)> {
        match self.at(r) {
            Inst::Binary(found, a, b) if found == op => Some((a, b)),
            _ => None,
        }
    }

    /// A rounded and saturated byte, and what is rounded.
    fn byte(&self, t: DType, root: Reg) -> Option<(To, Reg)> {
        let (signed, lowest) = match t {
            DType::U8 => (false, 0.0),
            DType::I8 => (true, -128.0),
            _ => return None,
        };
        let Inst::Cast(_, mut r) = self.at(root) else { return None };
        if self.ty(r) != DType::F32 {
            return None;
        }
        // The conversion saturates: bounds of the type change nothing.
        for _ in 0..2 {
            if let Some((x, bound)) = self.with_number(r, BinOp::Max)
                && bound == lowest
            {
                r = x;
            } else if let Some((x, bound)) = self.with_number(r, BinOp::Min)
                && bound == lowest + 255.0
            {
                r = x;
            }
        }
        let zero = match self.with_number(r, BinOp::Add) {
            Some((x, zero)) => {
                r = x;
                zero
            }
            None => 0.0,
        };
        let within = zero.fract() == 0.0 && (lowest..=lowest + 255.0).contains(&zero);
        match self.at(r) {
            Inst::Unary(UnOp::Round, x) if within => Some((To::Byte { signed, zero: zero as i32 }, x)),
            _ => None,
        }
    }

    fn activated(&self, r: Reg) -> Option<Recognised> {
        let (clamp, inner) = match activation(self.expr, r) {
            Some((Activation::Relu, x)) => (Clamp::Range(0.0, f32::INFINITY), x),
            Some((Activation::Clip(lo, hi), x)) => (Clamp::Range(lo, hi), x),
            Some((Activation::LeakyRelu(a), x)) => (Clamp::Leaky(a), x),
            _ => (Clamp::None, r),
        };
        Some(Recognised { activation: clamp, ..self.sum(inner)? })
    }

    /// With a residual or without.
    fn sum(&self, r: Reg) -> Option<Recognised> {
        if let Some((a, b)) = self.operands(r, BinOp::Add) {
            for (x, side) in [(a, b), (b, a)] {
                if let Some(residual) = self.residual(side)
                    && let Some(rest) = self.curved(x)
                {
                    return Some(Recognised { residual: Some(residual), ..rest });
                }
            }
        }
        self.curved(r)
    }

    fn curved(&self, r: Reg) -> Option<Recognised> {
        self.biased(r).or_else(|| {
            let (curve, x) = self.curve(r)?;
            Some(Recognised { curve: Some(curve), ..self.biased(x)? })
        })
    }

    /// `inner op number`, or what changes nothing; `end` is not looked into.
    fn maybe(&self, r: Reg, op: BinOp, nothing: f32, end: &dyn Fn(Reg) -> bool) -> (Reg, f32) {
        self.with_number(r, op).filter(|_| !end(r)).map_or((r, nothing), |(x, n)| (x, n as f32))
    }

    /// The curve that `r` is, and of what.
    fn curve(&self, r: Reg) -> Option<(Curve, Reg)> {
        let end = |r: Reg| self.biased(r).is_some();
        let (scaled, offset) = self.maybe(r, BinOp::Add, -0.0, &end);
        let (rest, slope) = self.maybe(scaled, BinOp::Mul, 1.0, &end);
        let (inner, factor) = match self.at(rest) {
            Inst::Binary(BinOp::Div, x, by) => (x, Factor::Over(self.number(by)? as f32)),
            _ => match self.maybe(rest, BinOp::Mul, 1.0, &end) {
                (x, _) if x == rest => (x, Factor::None),
                (x, n) => (x, Factor::Times(n)),
            },
        };
        if let Some((a, b)) = self.operands(inner, BinOp::Mul) {
            for (x, g) in [(a, b), (b, a)] {
                if let Some(gate) = self.gate(g, &|r| r == x).filter(|(_, of)| *of == x).map(|(gate, _)| gate) {
                    return Some((Curve { gate, times: true, factor, slope, offset }, x));
                }
            }
        }
        let (gate, x) = self.gate(inner, &end).unwrap_or((Gate::Same, inner));
        (x != r).then_some((Curve { gate, times: false, factor, slope, offset }, x))
    }

    /// The inner function of a curve that `r` is, and of what; `end` is not looked into.
    fn gate(&self, r: Reg, end: &dyn Fn(Reg) -> bool) -> Option<(Gate, Reg)> {
        if let Inst::Unary(UnOp::Sigmoid, x) = self.at(r) {
            return Some((Gate::Sigmoid, x));
        }
        let (mut low, mut high, mut x) = (f32::NEG_INFINITY, f32::INFINITY, r);
        for _ in 0..2 {
            if let Some((y, n)) = self.with_number(x, BinOp::Max).filter(|_| low == f32::NEG_INFINITY) {
                (x, low) = (y, n as f32);
            } else if let Some((y, n)) = self.with_number(x, BinOp::Min).filter(|_| high == f32::INFINITY) {
                (x, high) = (y, n as f32);
            }
        }
        let (scaled, offset) = self.maybe(x, BinOp::Add, -0.0, end);
        let (x, slope) = self.maybe(scaled, BinOp::Mul, 1.0, end);
        (low <= high && x != r).then_some((Gate::Line { slope, offset, low, high }, x))
    }

    fn residual(&self, r: Reg) -> Option<Side> {
        let whole =
            |n: u16, t: &[DType]| self.side(n).filter(|(_, o)| t.contains(&o.dtype) && (self.full)(o)).map(|(i, _)| i);
        if let Inst::Arg(n) = self.at(r) {
            return whole(n, &[DType::F32]).map(Side::Floats);
        }
        let (r, scale) = self.with_number(r, BinOp::Mul).unwrap_or((r, 1.0));
        // Differences of bytes are the same in i32 and in f32.
        let mut r = r;
        let mut zero = 0.0;
        loop {
            r = match self.at(r) {
                Inst::Cast(DType::F32 | DType::I32, a) if self.ty(a) != DType::F32 => a,
                Inst::Binary(BinOp::Sub, a, b) if zero == 0.0 && self.ty(a) != DType::U8 && self.ty(a) != DType::I8 => {
                    zero = self.number(b)?;
                    a
                }
                Inst::Arg(n) => {
                    let within = zero.fract() == 0.0 && zero.abs() <= 255.0;
                    let side = whole(n, &[DType::U8, DType::I8]).filter(|_| within)?;
                    return Some(Side::Bytes(side, zero as i32, scale as f32));
                }
                _ => return None,
            }
        }
    }

    fn term(&self, r: Reg, t: DType) -> Option<Term> {
        if let Some(n) = self.number(r) {
            return Some(Term::Number(n));
        }
        let Inst::Arg(n) = self.at(r) else { return None };
        self.side(n).filter(|(_, o)| o.dtype == t && (self.per_channel)(o)).map(|(i, _)| Term::Channels(i))
    }

    /// `inner op term`, in either order.
    fn with_term<T>(&self, r: Reg, op: BinOp, t: DType, inner: impl Fn(Reg) -> Option<T>) -> Option<(T, Term)> {
        let (a, b) = self.operands(r, op)?;
        [(a, b), (b, a)].into_iter().find_map(|(x, term)| Some((inner(x)?, self.term(term, t)?)))
    }

    fn biased(&self, r: Reg) -> Option<Recognised> {
        let with = self.with_term(r, BinOp::Add, DType::F32, |x| self.scaled(x));
        with.map(|(rest, bias)| Recognised { bias: Some(bias), ..rest }).or_else(|| self.scaled(r))
    }

    fn scaled(&self, r: Reg) -> Option<Recognised> {
        let with = self.with_term(r, BinOp::Mul, DType::F32, |x| self.sums(x));
        with.map(|(rest, scale)| Recognised { scale: Some(scale), ..rest }).or_else(|| self.sums(r))
    }

    fn sums(&self, r: Reg) -> Option<Recognised> {
        let Inst::Cast(DType::F32, r) = self.at(r) else { return None };
        let found = Recognised {
            start: None,
            scale: None,
            bias: None,
            curve: None,
            residual: None,
            activation: Clamp::None,
            factor: Factor::None,
            to: To::F32,
        };
        let is_sum = |r: Reg| (self.at(r) == Inst::Arg(0)).then_some(());
        if is_sum(r).is_some() {
            return Some(found);
        }
        let (_, start) = self.with_term(r, BinOp::Add, DType::I32, is_sum)?;
        Some(Recognised { start: Some(start), ..found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use planc_kir::parse_expr;
    use planc_tensor::Layout;

    #[test]
    fn usual_epilogues_are_recognised() {
        let floats = [0u8; 8];
        let channels = Operand { dtype: DType::F32, shape: &[2, 1, 1], layout: Layout::RowMajor, bytes: &floats };
        let ints = Operand { dtype: DType::I32, ..channels };
        let whole = Operand { dtype: DType::U8, shape: &[1, 2, 2, 2], layout: Layout::Nchw16c, bytes: &floats };
        let per_channel = |o: &Operand<'_>| o.shape == [2, 1, 1];
        let full = |o: &Operand<'_>| o.layout == Layout::Nchw16c;
        let none = Recognised {
            start: None,
            scale: None,
            bias: None,
            curve: None,
            residual: None,
            activation: Clamp::None,
            factor: Factor::None,
            to: To::F32,
        };
        let byte = To::Byte { signed: false, zero: 3 };
        let relu = Clamp::Range(0.0, f32::INFINITY);
        let cases: [(&str, &[Operand<'_>], Recognised); 5] = [
            ("(i32, f32) mul(f32(a0), a1)", &[channels], Recognised { scale: Some(Term::Channels(0)), ..none }),
            (
                "(i32, i32, f32) u8(min(max(add(round(div(max(mul(f32(add(a0, a1)), a2), 0.0:f32), 0.5:f32)), 3.0:f32), 0.0:f32), 255.0:f32))",
                &[ints, channels],
                Recognised {
                    start: Some(Term::Channels(0)),
                    scale: Some(Term::Channels(1)),
                    activation: relu,
                    factor: Factor::Over(0.5),
                    to: byte,
                    ..none
                },
            ),
            (
                "(i32, u8) i8(round(add(mul(f32(sub(i32(a1), 7i32)), 0.25:f32), mul(f32(a0), 0.5:f32))))",
                &[whole],
                Recognised {
                    scale: Some(Term::Number(0.5)),
                    residual: Some(Side::Bytes(0, 7, 0.25)),
                    to: To::Byte { signed: true, zero: 0 },
                    ..none
                },
            ),
            (
                "(i32, f32, f32) add(a2, mul(f32(a0), a1))",
                &[channels, channels],
                Recognised { scale: Some(Term::Channels(0)), bias: Some(Term::Channels(1)), ..none },
            ),
            (
                "(i32) u8(round(mul(mul(f32(a0), 0.5:f32), 2.0:f32)))",
                &[],
                Recognised {
                    scale: Some(Term::Number(0.5)),
                    factor: Factor::Times(2.0),
                    to: To::Byte { signed: false, zero: 0 },
                    ..none
                },
            ),
        ];
        for (text, sides, want) in cases {
            let (e, _) = parse_expr(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            assert_eq!(recognise(&e, sides, &per_channel, &full), Some(want), "{text}");
        }
        // Hard swish and its spellings, SiLU, sigmoids, and what is added after them.
        let line = |slope, offset, low, high| Gate::Line { slope, offset, low, high };
        let curve = |gate, times, factor, slope, offset| Recognised {
            scale: Some(Term::Number(0.5)),
            curve: Some(Curve { gate, times, factor, slope, offset }),
            ..none
        };
        let swish = curve(line(1.0, 3.0, 0.0, 6.0), true, Factor::Over(6.0), 2.0, -1.0);
        let cases: [(&str, &[Operand<'_>], Recognised); 7] = [
            (
                "(i32) let t0 = mul(f32(a0), 0.5:f32) in u8(round(div(add(mul(2.0:f32, div(mul(t0, min(max(add(t0, 3.0:f32), 0.0:f32), 6.0:f32)), 6.0:f32)), -1.0:f32), 0.25:f32)))",
                &[],
                Recognised { factor: Factor::Over(0.25), to: To::Byte { signed: false, zero: 0 }, ..swish },
            ),
            (
                "(i32) let t0 = mul(f32(a0), 0.5:f32) in add(mul(max(min(add(mul(t0, 0.2:f32), 0.5:f32), 1.0:f32), 0.0:f32), t0), 3.0:f32)",
                &[],
                curve(line(0.2, 0.5, 0.0, 1.0), true, Factor::None, 1.0, 3.0),
            ),
            (
                "(i32, u8) let t0 = mul(f32(a0), 0.5:f32) in add(mul(f32(sub(i32(a1), 7i32)), 0.25:f32), mul(t0, sigmoid(t0)))",
                &[whole],
                Recognised {
                    residual: Some(Side::Bytes(0, 7, 0.25)),
                    ..curve(Gate::Sigmoid, true, Factor::None, 1.0, -0.0)
                },
            ),
            ("(i32) sigmoid(mul(f32(a0), 0.5:f32))", &[], curve(Gate::Sigmoid, false, Factor::None, 1.0, -0.0)),
            (
                "(i32) max(min(add(mul(mul(f32(a0), 0.5:f32), 0.2:f32), 0.25:f32), 1.0:f32), 0.0:f32)",
                &[],
                curve(line(0.2, 0.25, 0.0, 1.0), false, Factor::None, 1.0, -0.0),
            ),
            (
                "(i32) max(add(mul(max(mul(f32(a0), 0.5:f32), 0.0:f32), 0.2:f32), 0.25:f32), 1.0:f32)",
                &[],
                Recognised {
                    activation: Clamp::Range(1.0, f32::INFINITY),
                    ..curve(line(1.0, -0.0, 0.0, f32::INFINITY), false, Factor::None, 0.2, 0.25)
                },
            ),
            (
                "(i32) add(mul(mul(f32(a0), 0.5:f32), 0.2:f32), 0.25:f32)",
                &[],
                curve(Gate::Same, false, Factor::None, 0.2, 0.25),
            ),
        ];
        for (text, sides, want) in cases {
            let (e, _) = parse_expr(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            assert_eq!(recognise(&e, sides, &per_channel, &full), Some(want), "{text}");
        }
        for text in ["(i32) u8(f32(a0))", "(i32) exp(f32(a0))", "(i32) a0"] {
            let (e, _) = parse_expr(text).unwrap();
            assert_eq!(recognise(&e, &[], &per_channel, &full), None, "{text}");
        }
    }
}
