//! The text form of dims: `N`, `N*8 + 1`, `ceil(H/2)`, `max(N, 3)`. What is printed parses back to an equal dim.

use crate::dim::Term;
use crate::{Atom, Dim};
use std::fmt;

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(v) = self.as_const() {
            return write!(f, "{v}");
        }
        for (i, t) in self.terms().iter().enumerate() {
            match (i, t.coef < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            write_term(f, t)?;
        }
        Ok(())
    }
}

fn write_term(f: &mut fmt::Formatter<'_>, t: &Term) -> fmt::Result {
    let coef = t.coef.unsigned_abs();
    for (i, a) in t.factors.iter().enumerate() {
        if i > 0 {
            f.write_str("*")?;
        }
        write!(f, "{a}")?;
    }
    match (t.factors.is_empty(), coef) {
        (true, _) => write!(f, "{coef}"),
        (false, 1) => Ok(()),
        (false, _) => write!(f, "*{coef}"),
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Sym(name) if is_bare(name) => f.write_str(name),
            Atom::Sym(name) => write!(f, "{:?}", &**name),
            Atom::Floor(a, b) => write!(f, "floor({}/{})", Group(a), Group(b)),
            Atom::Ceil(a, b) => write!(f, "ceil({}/{})", Group(a), Group(b)),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
        }
    }
}

/// An operand of a division: sums and products in parentheses.
struct Group<'a>(&'a Dim);

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.as_const().is_some_and(|v| v >= 0) || self.0.as_sym().is_some();
        if plain { write!(f, "{}", self.0) } else { write!(f, "({})", self.0) }
    }
}

/// Whether a symbol prints without quotes.
fn is_bare(name: &str) -> bool {
    let mut chars = name.chars();
    let start = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    start
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        && !["floor", "ceil", "max", "min"].contains(&name)
}

/// Where a dim's text is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct DimParseError {
    /// Byte offset of the problem, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses the text form of a dim.
///
/// # Errors
/// When the text is not one dim.
pub fn parse_dim(text: &str) -> Result<Dim, DimParseError> {
    let mut p = Parser { text, at: 0, depth: 0 };
    let dim = p.sum()?;
    p.skip_space();
    if p.at < text.len() { Err(p.error("trailing text after the dim")) } else { Ok(dim) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// Deeper nesting than any printed dim has; keeps hostile text from exhausting the stack.
const MAX_DEPTH: usize = 64;

impl Parser<'_> {
    fn error(&self, message: &str) -> DimParseError {
        DimParseError { column: self.at + 1, message: message.to_string() }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: char) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, token: char) -> Result<(), DimParseError> {
        if self.eat(token) { Ok(()) } else { Err(self.error(&format!("expected `{token}`"))) }
    }

    fn sum(&mut self) -> Result<Dim, DimParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let negative = self.eat('-');
        let first = self.product()?;
        let mut dim = if negative { -first } else { first };
        loop {
            if self.eat('+') {
                dim = dim + self.product()?;
            } else if self.eat('-') {
                dim = dim - self.product()?;
            } else {
                self.depth -= 1;
                return Ok(dim);
            }
        }
    }

    fn product(&mut self) -> Result<Dim, DimParseError> {
        let mut dim = self.factor()?;
        while self.eat('*') {
            dim = dim * self.factor()?;
        }
        Ok(dim)
    }

    fn factor(&mut self) -> Result<Dim, DimParseError> {
        if self.eat('(') {
            let dim = self.sum()?;
            self.expect(')')?;
            return Ok(dim);
        }
        if self.rest().starts_with('"') {
            let (name, used) = crate::dim_text::unquote(self.rest()).ok_or_else(|| self.error("bad quoted symbol"))?;
            self.at += used;
            return Ok(Dim::sym(&name));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let len = self.rest().find(|c| !word(c)).unwrap_or(self.rest().len());
        let token = self.rest()[..len].to_string();
        self.at += len;
        if token.is_empty() {
            return Err(self.error("expected a number, a symbol or `(`"));
        }
        if token.starts_with(|c: char| c.is_ascii_digit()) {
            return token.parse::<i64>().map(Dim::from).map_err(|_| self.error("not a 64-bit integer"));
        }
        let by_two = |p: &mut Self, separator: char| {
            p.expect('(')?;
            let a = if separator == '/' { p.product()? } else { p.sum()? };
            p.expect(separator)?;
            let b = if separator == '/' { p.product()? } else { p.sum()? };
            p.expect(')')?;
            Ok((a, b))
        };
        match token.as_str() {
            "floor" => by_two(self, '/').map(|(a, b)| a.floor_div(&b)),
            "ceil" => by_two(self, '/').map(|(a, b)| a.ceil_div(&b)),
            "max" => by_two(self, ',').map(|(a, b)| a.maximum(&b)),
            "min" => by_two(self, ',').map(|(a, b)| a.minimum(&b)),
            _ => Ok(Dim::sym(&token)),
        }
    }
}

/// Undoes `{:?}` of a string at the start of `text`; the string and the bytes used.
pub(crate) fn unquote(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((out, i + 1)),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                '0' => out.push('\0'),
                'u' => {
                    let (_, open) = chars.next()?;
                    let hex: String = chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    out.push(
                        (open == '{').then(|| u32::from_str_radix(&hex, 16).ok()).flatten().and_then(char::from_u32)?,
                    );
                }
                c @ ('\\' | '"' | '\'') => out.push(c),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dim(text: &str) -> Dim {
        parse_dim(text).unwrap()
    }

    #[test]
    fn normal_form_is_unique() {
        assert_eq!(dim("N*8 + N"), dim("9*N"));
        assert_eq!(dim("(N + 1)*(N - 1)"), dim("N*N - 1"));
        assert_eq!(dim("floor((N*4 + 3)/4)"), dim("N"));
        assert_eq!(dim("floor(N*H*8/(H*2))"), dim("4*N"));
        assert_eq!(dim("max(N, N + 2)"), dim("N + 2"));
        assert_eq!(dim("max(H, N)"), dim("max(N, H)"));
        assert_eq!(dim("N - N"), Dim::from(0i64));
    }

    #[test]
    fn printed_dims_parse_back() {
        for text in
            ["N*8", "ceil(H/2)", "floor((H - 3)/2) + 1", "-N + 2", "\"a b\"*3", "max(N, H*2)", "ceil(ceil(H/2)/2)"]
        {
            let d = dim(text);
            assert_eq!(parse_dim(&d.to_string()).unwrap(), d, "{text} -> {d}");
        }
        assert_eq!(dim("8*N").to_string(), "N*8");
        assert_eq!(dim("1 + floor((H - 3)/2)").to_string(), "floor((H - 3)/2) + 1");
    }

    #[test]
    fn evaluation_matches_substitution() {
        let d = dim("floor((H - 3)/2)*N + ceil(H/4) - 7");
        let at = |s: &str| match s {
            "H" => Some(11),
            "N" => Some(3),
            _ => None,
        };
        assert_eq!(d.eval(&at), Some(8));
        assert_eq!(d.substitute(&|s| at(s).map(Dim::from)).as_const(), Some(8));
        assert_eq!(d.eval(&|_| None), None);
    }

    #[test]
    fn hostile_text_is_an_error() {
        for text in ["", "N +", "floor(N)", "((((", &"(".repeat(100_000), "9223372036854775808", "\"x"] {
            assert!(parse_dim(text).is_err());
        }
    }
}
