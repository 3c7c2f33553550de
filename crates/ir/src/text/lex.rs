//! Tokens of the text form, read on demand. White space and `//` comments separate tokens and mean nothing else.
//!
//! Quoting is this module's own rather than Rust's `{:?}`: it must never change with a Unicode table.

use std::fmt::Write;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A keyword, an operator's name, an attribute's name.
    Word(&'a str),
    /// `%name`, `%"name"`.
    Value(String),
    /// `@name`, `@"name"`.
    At(String),
    /// `#digits`.
    Hash(&'a str),
    /// A quoted string.
    Str(String),
    /// Digits with sign, fraction and exponent as written.
    Num(&'a str),
    /// `::`.
    Path,
    /// Any other character.
    Punct(char),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// The token as messages show it.
    pub(super) fn show(&self) -> String {
        match self {
            Token::Word(w) | Token::Num(w) => format!("`{w}`"),
            Token::Value(n) => format!("`%{}`", name(n)),
            Token::At(n) => format!("`@{}`", name(n)),
            Token::Hash(h) => format!("`#{h}`"),
            Token::Str(s) => quote(s),
            Token::Path => "`::`".into(),
            Token::Punct(c) => format!("`{}`", c.escape_debug()),
            Token::End => "the end of the text".into(),
        }
    }
}

/// Reads tokens of a text.
pub(super) struct Lexer<'a> {
    pub(super) text: &'a str,
    /// Byte offset of what was not read yet.
    pub(super) at: usize,
}

/// Whether a character belongs to names written without quotes after a sigil.
fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

/// Whether a character belongs to words.
fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.')
}

impl<'a> Lexer<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips white space and comments.
    pub(super) fn skip(&mut self) {
        loop {
            self.at = self.text.len() - self.rest().trim_start().len();
            if !self.rest().starts_with("//") {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn take_while(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// The next token; the error is a message about the place where the lexer stands.
    pub(super) fn next(&mut self) -> Result<Token<'a>, String> {
        self.skip();
        let Some(c) = self.rest().chars().next() else { return Ok(Token::End) };
        match c {
            '%' => self.sigil().map(Token::Value),
            '@' => self.sigil().map(Token::At),
            '#' => {
                self.at += 1;
                Ok(Token::Hash(self.take_while(|c| c.is_ascii_alphanumeric())))
            }
            '"' => self.string().map(Token::Str),
            '-' | '0'..='9' => Ok(Token::Num(self.number())),
            c if in_word(c) => Ok(Token::Word(self.take_while(in_word))),
            ':' if self.rest().starts_with("::") => {
                self.at += 2;
                Ok(Token::Path)
            }
            c => {
                self.at += c.len_utf8();
                Ok(Token::Punct(c))
            }
        }
    }

    /// The next token, not taken.
    pub(super) fn peek(&mut self) -> Result<Token<'a>, String> {
        self.skip();
        let at = self.at;
        let token = self.next();
        self.at = at;
        token
    }

    fn sigil(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.rest().starts_with('"') {
            return self.string();
        }
        match self.take_while(in_name) {
            "" => Err("expected a name after the sigil".into()),
            n => Ok(n.to_string()),
        }
    }

    /// A number: `-`, then letters, digits and points; a sign may follow an exponent's `e`.
    fn number(&mut self) -> &'a str {
        let rest = self.rest();
        let mut before = ' ';
        let mut len = 0;
        for c in rest.chars() {
            let sign = c == '-' && len == 0 || matches!(c, '-' | '+') && before == 'e';
            if !sign && !in_word(c) {
                break;
            }
            len += c.len_utf8();
            before = c;
        }
        self.at += len;
        &rest[..len]
    }

    /// Undoes [`quote`]; the lexer stands at the opening quote.
    fn string(&mut self) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(c @ ('\\' | '"')) => out.push(c),
                    Some('u') => {
                        let open = chars.next().map(|(_, c)| c) == Some('{');
                        let hex: String = chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').take(8).collect();
                        let c = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32).filter(|_| open);
                        out.push(c.ok_or("bad character in an escape")?);
                    }
                    _ => return Err("unknown escape in a string".into()),
                },
                c => out.push(c),
            }
        }
        Err("a string does not end".into())
    }
}

/// `s` in quotes. Control characters, line separators and characters that change the direction of text are escaped, so
/// that a review shows what is there.
pub(super) fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name after a sigil: quoted where it has to be.
pub(super) fn name(s: &str) -> String {
    if !s.is_empty() && s.chars().all(in_name) { s.to_string() } else { quote(s) }
}

/// A name without a sigil: quoted where it is not a word.
pub(super) fn word(s: &str) -> String {
    let start = s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if start && s != "_" && s.chars().all(in_word) { s.to_string() } else { quote(s) }
}
