//! Recognising epilogues that kernels run before the store: sums with at most two operands, then an activation.
//!
//! What is not recognised runs as a `Map` over the stored result, so this decides speed, not what is possible.

use crate::epilogue::Activation;
use planc_kir::{BinOp, Expr, Inst, Reg, UnOp};

/// `y = activation(result + sides) (+ side)`; sides by operand number of the expression, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recognised {
    /// Added before the activation.
    pub(super) before: Vec<u16>,
    /// The activation.
    pub(super) activation: Activation,
    /// Added after the activation.
    pub(super) after: Option<u16>,
}

/// What the expression is, if it is of that form.
pub(super) fn recognise(expr: &Expr) -> Option<Recognised> {
    let e = Matcher(expr);
    let root = (expr.insts().len() - 1) as Reg;
    if let Some((activation, inner)) = e.activation(root) {
        return Some(Recognised { before: e.sum(inner)?, activation, after: None });
    }
    if let Some(before) = e.sum(root) {
        return Some(Recognised { before, activation: Activation::None, after: None });
    }
    let Inst::Binary(BinOp::Add, a, b) = e.at(root) else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(inner, side)| {
        let Inst::Arg(after @ 1..) = e.at(side) else { return None };
        let (activation, inner) = e.activation(inner)?;
        Some(Recognised { before: e.sum(inner)?, activation, after: Some(after) })
    })
}

/// The activation that instruction `r` is, and of what.
pub(super) fn activation(expr: &Expr, r: Reg) -> Option<(Activation, Reg)> {
    Matcher(expr).activation(r)
}

struct Matcher<'a>(&'a Expr);

impl Matcher<'_> {
    fn at(&self, r: Reg) -> Inst {
        self.0.insts()[usize::from(r)]
    }

    fn constant(&self, r: Reg) -> Option<f32> {
        if let Inst::Const(_, n) = self.at(r) { Some(n.as_f64() as f32) } else { None }
    }

    /// The operands of a commutative operation, a constant one last.
    fn with_constant(&self, r: Reg, op: BinOp) -> Option<(Reg, f32)> {
        let Inst::Binary(found, a, b) = self.at(r) else { return None };
        if found != op {
            return None;
        }
        self.constant(b).map(|c| (a, c)).or_else(|| self.constant(a).map(|c| (b, c)))
    }

    /// The sides of a sum that holds operand 0 once and nothing but operands, two sides at most.
    fn sum(&self, r: Reg) -> Option<Vec<u16>> {
        let (mut todo, mut sides, mut results) = (vec![r], vec![], 0);
        while let Some(r) = todo.pop() {
            match self.at(r) {
                Inst::Arg(0) => results += 1,
                Inst::Arg(n) => sides.push(n),
                Inst::Binary(BinOp::Add, a, b) if sides.len() + todo.len() < 4 => todo.extend([b, a]),
                _ => return None,
            }
        }
        (results == 1 && sides.len() <= 2).then_some(sides)
    }

    /// The activation that `r` is, and of what.
    fn activation(&self, r: Reg) -> Option<(Activation, Reg)> {
        self.clip(r).or_else(|| self.product(r)).or_else(|| match self.at(r) {
            Inst::Unary(UnOp::Sigmoid, x) => Some((Activation::Sigmoid, x)),
            Inst::Unary(UnOp::Tanh, x) => Some((Activation::Tanh, x)),
            Inst::Select(c, a, b) => self.leaky(c, a, b),
            _ => None,
        })
    }

    fn clip(&self, r: Reg) -> Option<(Activation, Reg)> {
        let (x, lo, hi) = if let Some((x, hi)) = self.with_constant(r, BinOp::Min) {
            match self.with_constant(x, BinOp::Max) {
                Some((x, lo)) => (x, lo, hi),
                None => (x, f32::NEG_INFINITY, hi),
            }
        } else {
            let (x, lo) = self.with_constant(r, BinOp::Max)?;
            match self.with_constant(x, BinOp::Min) {
                Some((x, hi)) => (x, lo, hi),
                None => (x, lo, f32::INFINITY),
            }
        };
        if (lo, hi) == (0.0, 1.0)
            && let Some((scaled, b)) = self.with_constant(x, BinOp::Add)
            && let Some((x, a)) = self.with_constant(scaled, BinOp::Mul)
        {
            return Some((Activation::HardSigmoid(a, b), x));
        }
        let relu = (lo, hi) == (0.0, f32::INFINITY);
        (lo <= hi).then_some((if relu { Activation::Relu } else { Activation::Clip(lo, hi) }, x))
    }

    /// `x < 0 ? a x : x`, or the same with `x >= 0`.
    fn leaky(&self, c: Reg, a: Reg, b: Reg) -> Option<(Activation, Reg)> {
        let Inst::Binary(op, x, zero) = self.at(c) else { return None };
        let (scaled, same) = match op {
            BinOp::Lt | BinOp::Le => (a, b),
            BinOp::Gt | BinOp::Ge => (b, a),
            _ => return None,
        };
        let (y, slope) = self.with_constant(scaled, BinOp::Mul)?;
        (self.constant(zero)? == 0.0 && same == x && y == x).then_some((Activation::LeakyRelu(slope), x))
    }

    /// Products of x and a function of x, with constant factors: SiLU, hard swish, both GELUs.
    fn product(&self, r: Reg) -> Option<(Activation, Reg)> {
        let (mut todo, mut factors, mut scale) = (vec![r], vec![], 1f32);
        while let Some(r) = todo.pop() {
            match self.at(r) {
                Inst::Binary(BinOp::Mul, a, b) if factors.len() + todo.len() < 5 => todo.extend([b, a]),
                Inst::Binary(BinOp::Div, a, b) if self.constant(b).is_some() => {
                    scale /= self.constant(b)?;
                    todo.push(a);
                }
                Inst::Const(_, n) => scale *= n.as_f64() as f32,
                _ => factors.push(r),
            }
        }
        let [a, b] = factors[..] else { return None };
        let near = |v: f32, w: f32| (v - w).abs() <= 1e-5 * w.abs();
        [(a, b), (b, a)].into_iter().find_map(|(x, f)| {
            if let Inst::Unary(UnOp::Sigmoid, y) = self.at(f) {
                return (y == x && scale == 1.0).then_some((Activation::Silu, x));
            }
            if let Some((Activation::HardSigmoid(a, b), y)) = self.clip(f)
                && y == x
                && near(a, 1.0 / 6.0)
                && b == 0.5
                && scale == 1.0
            {
                return Some((Activation::HardSwish, x));
            }
            // x min(max(x + 3, 0), 6) / 6
            if let Some((Activation::Clip(0.0, 6.0), y)) = self.clip(f)
                && self.with_constant(y, BinOp::Add) == Some((x, 3.0))
                && near(scale, 1.0 / 6.0)
            {
                return Some((Activation::HardSwish, x));
            }
            let (g, one) = self.with_constant(f, BinOp::Add)?;
            if one != 1.0 || !near(scale, 0.5) {
                return None;
            }
            match self.at(g) {
                Inst::Unary(UnOp::Erf, y) => {
                    self.scaled(y, std::f32::consts::FRAC_1_SQRT_2, x).then_some((Activation::Gelu, x))
                }
                Inst::Unary(UnOp::Tanh, y) => self.gelu_tanh(y, x).then_some((Activation::GeluTanh, x)),
                _ => None,
            }
        })
    }

    /// Whether `y` is `x` times about `by`.
    fn scaled(&self, y: Reg, by: f32, x: Reg) -> bool {
        let times = self.with_constant(y, BinOp::Mul);
        let over = match self.at(y) {
            Inst::Binary(BinOp::Div, a, b) => self.constant(b).map(|c| (a, 1.0 / c)),
            _ => None,
        };
        times.or(over).is_some_and(|(of, c)| of == x && (c - by).abs() < 1e-5)
    }

    /// Whether `y` is `sqrt(2/pi) (x + 0.044715 x^3)`.
    fn gelu_tanh(&self, y: Reg, x: Reg) -> bool {
        let Some((sum, c)) = self.with_constant(y, BinOp::Mul) else { return false };
        let Inst::Binary(BinOp::Add, a, b) = self.at(sum) else { return false };
        let cubic = if a == x { b } else { a };
        let Some((cube, k)) = self.with_constant(cubic, BinOp::Mul) else { return false };
        let is_cube = match self.at(cube) {
            Inst::Binary(BinOp::Pow, base, e) => base == x && self.constant(e) == Some(3.0),
            Inst::Binary(BinOp::Mul, p, q) => {
                let square = |r: Reg| self.at(r) == Inst::Binary(BinOp::Mul, x, x);
                (p == x && square(q)) || (q == x && square(p))
            }
            _ => false,
        };
        (a == x || b == x) && is_cube && (k - 0.044_715).abs() < 1e-6 && (c - 0.797_884_6).abs() < 1e-5
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use planc_kir::parse_expr;

    #[test]
    fn common_epilogues_are_recognised() {
        let cases = [
            ("(f32) max(a0, 0.0:f32)", vec![], Activation::Relu, None),
            ("(f32, f32) max(add(a0, a1), 0.0:f32)", vec![1], Activation::Relu, None),
            ("(f32, f32, f32) add(add(a0, a1), a2)", vec![1, 2], Activation::None, None),
            ("(f32) min(max(a0, 0.0:f32), 6.0:f32)", vec![], Activation::Clip(0.0, 6.0), None),
            ("(f32, f32) let t0 = add(a0, a1) in mul(t0, sigmoid(t0))", vec![1], Activation::Silu, None),
            ("(f32, f32) add(mul(a0, sigmoid(a0)), a1)", vec![], Activation::Silu, Some(1)),
            ("(f32) mul(mul(a0, add(erf(div(a0, 1.4142135:f32)), 1.0:f32)), 0.5:f32)", vec![], Activation::Gelu, None),
            (
                "(f32) mul(mul(0.5:f32, a0), add(tanh(mul(add(a0, mul(pow(a0, 3.0:f32), 0.044715:f32)), 0.79788458:f32)), 1.0:f32))",
                vec![],
                Activation::GeluTanh,
                None,
            ),
            (
                "(f32) div(mul(a0, min(max(add(a0, 3.0:f32), 0.0:f32), 6.0:f32)), 6.0:f32)",
                vec![],
                Activation::HardSwish,
                None,
            ),
            ("(f32) select(lt(a0, 0.0:f32), mul(a0, 0.25:f32), a0)", vec![], Activation::LeakyRelu(0.25), None),
        ];
        for (text, before, activation, after) in cases {
            let (e, _) = parse_expr(text).unwrap();
            assert_eq!(recognise(&e), Some(Recognised { before, activation, after }), "{text}");
        }
        for text in ["(f32) exp(a0)", "(f32, f32) mul(a0, a1)", "(f32) add(a0, a0)"] {
            assert_eq!(recognise(&parse_expr(text).unwrap().0), None, "{text}");
        }
    }
}
