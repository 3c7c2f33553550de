//! The text form of expressions: `relu` is `max(a0, 0f32)`; registers used more than once are named by `let`.
//!
//! ```text
//! (f32, f32) let t0 = add(a0, a1) in mul(t0, sigmoid(t0))
//! ```
//! The operand types come first; an instruction that is used once is written where it is used, unless it is so deep that
//! the parser would refuse it.

use crate::{BinOp, Expr, ExprBuilder, Inst, Num, Reg, UnOp};
use planc_tensor::DType;
use std::fmt;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let insts = self.insts();
        let mut uses = vec![0usize; insts.len()];
        insts.iter().flat_map(Inst::operands).for_each(|r| uses[usize::from(r)] += 1);
        let mut text: Vec<String> = Vec::with_capacity(insts.len());
        let mut depth: Vec<usize> = Vec::with_capacity(insts.len());
        write!(f, "(")?;
        for (i, t) in self.args().iter().enumerate() {
            write!(f, "{}{t}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, ") ")?;
        let mut named = 0;
        for (i, inst) in insts.iter().enumerate() {
            let at = |r: Reg| text[usize::from(r)].as_str();
            let body = match *inst {
                Inst::Arg(n) => format!("a{n}"),
                Inst::Const(t, n) => number(t, n),
                Inst::Unary(op, a) => format!("{}({})", op.name(), at(a)),
                Inst::Binary(op, a, b) => format!("{}({}, {})", op.name(), at(a), at(b)),
                Inst::Select(c, a, b) => format!("select({}, {}, {})", at(c), at(a), at(b)),
                Inst::Cast(t, a) => format!("{t}({})", at(a)),
            };
            let leaf = matches!(inst, Inst::Arg(_) | Inst::Const(..));
            let below = inst.operands().map(|r| depth[usize::from(r)]).max().unwrap_or(0);
            if uses[i] > 1 && !leaf || below >= MAX_PRINTED {
                write!(f, "let t{named} = {body} in ")?;
                text.push(format!("t{named}"));
                depth.push(0);
                named += 1;
            } else {
                text.push(body);
                depth.push(below + 1);
            }
        }
        f.write_str(text.last().map_or("", String::as_str))
    }
}

fn number(t: DType, n: Num) -> String {
    match n {
        Num::Int(v) => format!("{v}{t}"),
        // `{:?}` prints the shortest digits that read back exactly.
        Num::Float(bits) if f64::from_bits(bits).is_nan() => format!("nan:{t}"),
        Num::Float(bits) => format!("{:?}:{t}", f64::from_bits(bits)),
    }
}

/// What is wrong with an expression's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprParseError {
    /// Byte offset, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ExprParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for ExprParseError {}

/// Parses the text form of an expression from the start of `text`; the expression and the bytes used.
///
/// # Errors
/// When the text is not a well-typed expression.
pub fn parse_expr(text: &str) -> Result<(Expr, usize), ExprParseError> {
    let mut p = Parser { text, at: 0, depth: 0, names: vec![], b: ExprBuilder::new(&[]) };
    p.expect('(')?;
    while !p.eat(')') {
        let word = p.word();
        let t = DType::from_name(word).ok_or_else(|| p.error(format!("`{word}` is not an element type")))?;
        p.b.add_arg(t);
        p.eat(',');
    }
    let result = p.body()?;
    Ok((p.b.finish(result), p.at))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    names: Vec<Reg>,
    b: ExprBuilder,
}

/// No printed expression nests deeper; keeps hostile text from exhausting the stack.
const MAX_DEPTH: usize = 200;

/// What nests this deep is named.
const MAX_PRINTED: usize = 64;

impl<'a> Parser<'a> {
    fn error(&self, message: impl Into<String>) -> ExprParseError {
        ExprParseError { column: self.at + 1, message: message.into() }
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.text[self.at..].trim_start();
        let found = rest.starts_with(c);
        if found {
            self.at = self.text.len() - rest.len() + c.len_utf8();
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), ExprParseError> {
        if self.eat(c) { Ok(()) } else { Err(self.error(format!("expected `{c}`"))) }
    }

    fn word(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim_start();
        let start = self.text.len() - rest.len();
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
        // A sign belongs to a number at its start or after an exponent: `-1.5e-7:f32`.
        let mut end = start;
        let mut before = ' ';
        for c in rest.chars() {
            if !(part(c) || matches!(c, '-' | '+') && (end == start || before == 'e')) {
                break;
            }
            end += c.len_utf8();
            before = c;
        }
        self.at = end;
        &self.text[start..end]
    }

    fn body(&mut self) -> Result<Reg, ExprParseError> {
        loop {
            let start = self.at;
            if self.word() != "let" {
                self.at = start;
                return self.value();
            }
            let name = self.word();
            if name != format!("t{}", self.names.len()) {
                return Err(self.error(format!("expected `t{}`", self.names.len())));
            }
            self.expect('=')?;
            let reg = self.value()?;
            self.names.push(reg);
            if self.word() != "in" {
                return Err(self.error("expected `in`"));
            }
        }
    }

    fn value(&mut self) -> Result<Reg, ExprParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let word = self.word();
        let inst = if self.eat('(') {
            let mut operands = vec![];
            while !self.eat(')') {
                operands.push(self.value()?);
                if !self.eat(',') {
                    self.expect(')')?;
                    break;
                }
            }
            match *operands.as_slice() {
                [a] if UnOp::from_name(word).is_some() => UnOp::from_name(word).map(|op| Inst::Unary(op, a)),
                [a] => DType::from_name(word).map(|t| Inst::Cast(t, a)),
                [a, b] => BinOp::from_name(word).map(|op| Inst::Binary(op, a, b)),
                [c, a, b] if word == "select" => Some(Inst::Select(c, a, b)),
                _ => None,
            }
            .ok_or_else(|| self.error(format!("no operation `{word}` of {} operands", operands.len())))?
        } else {
            match leaf(word) {
                Some(Leaf::Inst(inst)) => inst,
                Some(Leaf::Name(n)) => {
                    self.depth -= 1;
                    return self.names.get(n).copied().ok_or_else(|| self.error(format!("`{word}` is not defined")));
                }
                None => return Err(self.error(format!("`{word}` is not a value"))),
            }
        };
        self.depth -= 1;
        self.b.push(inst).map_err(|m| self.error(m))
    }
}

enum Leaf {
    Inst(Inst),
    Name(usize),
}

fn leaf(word: &str) -> Option<Leaf> {
    if let Some((digits, t)) = word.split_once(':') {
        let value = if digits == "nan" { f64::NAN } else { digits.parse().ok()? };
        return Some(Leaf::Inst(Inst::Const(DType::from_name(t)?, Num::float(value))));
    }
    if let Some(n) = word.strip_prefix('a') {
        return n.parse().ok().map(|n| Leaf::Inst(Inst::Arg(n)));
    }
    if let Some(n) = word.strip_prefix('t') {
        return n.parse().ok().map(Leaf::Name);
    }
    let letters = word.find(|c: char| c.is_ascii_alphabetic())?;
    let (digits, t) = word.split_at(letters);
    Some(Leaf::Inst(Inst::Const(DType::from_name(t)?, Num::Int(digits.parse().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silu_of_sum() -> Expr {
        let mut b = ExprBuilder::new(&[DType::F32, DType::F32]);
        let (x, y) = (b.arg(0), b.arg(1));
        let s = b.binary(BinOp::Add, x, y);
        let g = b.unary(UnOp::Sigmoid, s);
        let r = b.binary(BinOp::Mul, s, g);
        b.finish(r)
    }

    #[test]
    fn printed_expressions_parse_back() {
        let e = silu_of_sum();
        assert_eq!(e.to_string(), "(f32, f32) let t0 = add(a0, a1) in mul(t0, sigmoid(t0))");
        assert_eq!(parse_expr(&e.to_string()).unwrap().0, e);
        for text in [
            "(f32) max(a0, 0.0:f32)",
            "(i64, bool) select(a1, neg(a0), -3i64)",
            "(f16) f16(mul(f32(a0), -1.5e-7:f32))",
            "(f32) min(a0, inf:f32)",
        ] {
            let e = parse_expr(text).unwrap().0;
            assert_eq!(e.to_string(), text);
        }
    }

    #[test]
    fn long_chains_parse_back() {
        let mut b = ExprBuilder::new(&[DType::F32]);
        let mut x = b.arg(0);
        for i in 0..1000 {
            x = b.binary_const(BinOp::Add, x, f64::from(i));
        }
        let e = b.finish(x);
        let (again, used) = parse_expr(&e.to_string()).unwrap();
        assert_eq!((again.to_string(), used), (e.to_string(), e.to_string().len()));
        assert_eq!(again.insts().len(), e.insts().len());
    }

    #[test]
    fn ill_typed_text_is_an_error() {
        for text in ["(f32) and(a0, a0)", "(f32, i64) add(a0, a1)", "(f32) a1", "(f32) frob(a0)", "(f32) t0", "("] {
            assert!(parse_expr(text).is_err(), "{text}");
        }
        assert!(parse_expr(&format!("(f32) {}", "neg(".repeat(10_000))).is_err());
    }
}
