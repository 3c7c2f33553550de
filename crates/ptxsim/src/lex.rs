//! From text to tokens. Comments go, lines are counted, opcodes stay one word with their modifiers
//! (`ld.global.v4.f32`, `mbarrier.init.shared::cta.b64`).

use crate::error::ParseError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A directive, opcode, name or number.
    Word(&'a str),
    /// One character of punctuation.
    Punct(u8),
    /// The inside of a quoted string; only debugging directives have them.
    Text,
}

/// Whether `c` may stand inside a word.
fn word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

/// All tokens with their lines.
pub(crate) fn lex(text: &str) -> Result<Vec<(Token<'_>, u32)>, ParseError> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut out) = (0, 1, vec![]);
    let byte = |i: usize| bytes.get(i).copied().unwrap_or(0);
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            c if c.is_ascii_whitespace() => at += 1,
            b'/' if byte(at + 1) == b'/' => {
                at = text[at..].find('\n').map_or(bytes.len(), |n| at + n);
            }
            b'/' if byte(at + 1) == b'*' => {
                let Some(n) = text[at..].find("*/") else {
                    return Err(ParseError::new(line, "the comment does not end"));
                };
                line += text[at..at + n].matches('\n').count() as u32;
                at += n + 2;
            }
            b'"' => {
                let Some(n) = text[at + 1..].find(['"', '\n']).filter(|n| byte(at + 1 + n) == b'"') else {
                    return Err(ParseError::new(line, "the string does not end on its line"));
                };
                out.push((Token::Text, line));
                at += n + 2;
            }
            c if word(c) => {
                let start = at;
                loop {
                    let number = bytes[start].is_ascii_digit() && !matches!(byte(start + 1) | 0x20, b'x' | b'f' | b'd');
                    if word(byte(at)) {
                        at += 1;
                    } else if byte(at) == b':' && byte(at + 1) == b':' {
                        at += 2;
                    } else if number && matches!(byte(at), b'+' | b'-') && matches!(byte(at - 1), b'e' | b'E') {
                        at += 1;
                    } else {
                        break;
                    }
                }
                out.push((Token::Word(&text[start..at]), line));
            }
            c if b",;{}[]()@!|+-<>=:".contains(&c) => {
                out.push((Token::Punct(c), line));
                at += 1;
            }
            c => return Err(ParseError::new(line, format!("unexpected character {:?}", char::from(c)))),
        }
    }
    Ok(out)
}
