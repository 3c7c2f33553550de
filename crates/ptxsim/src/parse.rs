//! From tokens to modules: directives, declarations, and the statements of bodies, which `decode` turns into instructions.

use crate::decode::Decoder;
use crate::error::ParseError;
use crate::isa::{Instr, RowKind, Type};
use crate::lex::{Token, lex};

/// A parsed and decoded PTX module.
#[derive(Debug)]
pub struct Module {
    /// `.version`, such as (7, 0).
    pub version: (u32, u32),
    /// `.target`, such as `sm_80`.
    pub target: String,
    pub(crate) entries: Vec<Entry>,
}

/// One parameter of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the text.
    pub name: String,
    /// Its type; `B8` for byte arrays.
    pub ty: Type,
    /// Distance from the start of the parameter block in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub bytes: usize,
}

/// A variable in shared or local memory.
#[derive(Clone, Debug)]
pub(crate) struct Symbol {
    pub name: String,
    pub space: VarSpace,
    pub align: u64,
    /// None: the dynamic part, `.extern .shared name[]`.
    pub bytes: Option<u64>,
    /// Address in its space; of dynamic symbols once the static ones are placed.
    pub address: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarSpace {
    Shared,
    Local,
}

/// A kernel of a module.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its parameters in order.
    pub params: Vec<Parameter>,
    /// `.maxntid`: most threads per dimension.
    pub maxntid: Option<[u32; 3]>,
    /// `.reqntid`: exactly so many threads per dimension.
    pub reqntid: Option<[u32; 3]>,
    /// Bytes of statically declared shared memory.
    pub shared_bytes: usize,
    /// Bytes of local memory per thread.
    pub local_bytes: usize,
    pub(crate) dynamic_shared: u64,
    pub(crate) rows: Vec<RowKind>,
    pub(crate) preds: Vec<String>,
    pub(crate) code: Vec<Instr>,
}

impl Entry {
    /// Size of the parameter block.
    pub fn param_bytes(&self) -> usize {
        self.params.last().map_or(0, |p| p.offset + p.bytes)
    }

    /// How many instructions the body has.
    pub fn instructions(&self) -> usize {
        self.code.len()
    }
}

impl Module {
    /// Parses and decodes a whole module.
    ///
    /// # Errors
    /// The first line with something that is malformed, ill-typed, or not known to this interpreter.
    pub fn parse(text: &str) -> Result<Module, ParseError> {
        let tokens = lex(text)?;
        Parser { tokens: &tokens, at: 0 }.module()
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }

    /// All entries in the order of the text.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arg<'a> {
    Name(&'a str),
    Not(&'a str),
    Int(i128),
    /// Bits of `0f...`.
    F32(u32),
    /// Bits of `0d...`, or a decimal number.
    F64(u64),
    Vector(Vec<Arg<'a>>),
    Address(Box<Arg<'a>>, i64),
    /// `d|p`
    Pair(Box<Arg<'a>>, Box<Arg<'a>>),
    Sink,
}

/// An instruction as written.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub line: u32,
    pub guard: Option<(&'a str, bool)>,
    pub opcode: &'a str,
    pub args: Vec<Arg<'a>>,
}

struct Parser<'t, 'a> {
    tokens: &'t [(Token<'a>, u32)],
    at: usize,
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(ParseError::new(self.line(), message))
    }

    fn next(&mut self) -> Result<Token<'a>> {
        let Some(t) = self.peek() else { return self.fail("the text ends too early") };
        self.at += 1;
        Ok(t)
    }

    fn word(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(Token::Word(w)) => {
                self.at += 1;
                Ok(w)
            }
            _ => self.fail("a word is expected here"),
        }
    }

    fn eat(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(Token::Punct(c));
        self.at += usize::from(found);
        found
    }

    fn eat_word(&mut self, w: &str) -> bool {
        let found = self.peek() == Some(Token::Word(w));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, c: u8) -> Result<()> {
        if self.eat(c) { Ok(()) } else { self.fail(format!("{:?} is expected here", char::from(c))) }
    }

    fn unsigned(&mut self) -> Result<u64> {
        let line = self.line();
        match number(self.word()?) {
            Some(Arg::Int(v)) => {
                u64::try_from(v).map_err(|_| ParseError::new(line, "a number that is not negative is expected here"))
            }
            _ => Err(ParseError::new(line, "a whole number is expected here")),
        }
    }

    fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.line() == line {
            self.at += 1;
        }
    }

    fn module(&mut self) -> Result<Module> {
        let mut module = Module { version: (0, 0), target: String::new(), entries: vec![] };
        let (mut shared, mut target) = (vec![], 0);
        while self.peek().is_some() {
            let line = self.line();
            match self.word()? {
                ".version" => {
                    let text = self.word()?;
                    let parts = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                    module.version = parts.ok_or_else(|| ParseError::new(line, format!("version {text}")))?;
                }
                ".target" => {
                    module.target = self.word()?.to_string();
                    let digits = module.target.strip_prefix("sm_").unwrap_or_default();
                    let digits = digits.trim_end_matches(|c: char| c.is_ascii_lowercase());
                    target = digits.parse().map_err(|_| ParseError::new(line, format!("target {}", module.target)))?;
                    while self.eat(b',') {
                        self.word()?;
                    }
                }
                ".address_size" => {
                    if self.unsigned()? != 64 {
                        return Err(ParseError::new(line, "addresses have 64 bits"));
                    }
                }
                ".file" => self.skip_line(),
                ".visible" | ".weak" | ".extern" => {}
                ".shared" => shared.extend(self.variables(VarSpace::Shared)?),
                ".entry" => {
                    if module.version == (0, 0) || module.target.is_empty() {
                        return Err(ParseError::new(line, ".version and .target come first"));
                    }
                    let entry = self.entry(&shared, target)?;
                    if module.entry(&entry.name).is_some() {
                        return Err(ParseError::new(line, format!("two entries are named {}", entry.name)));
                    }
                    module.entries.push(entry);
                }
                other => return Err(ParseError::new(line, format!("{other} is not known to this interpreter"))),
            }
        }
        Ok(module)
    }

    /// After `.shared` or `.local`: `[.align n] .type name[n]..., name...;`
    fn variables(&mut self, space: VarSpace) -> Result<Vec<Symbol>> {
        let line = self.line();
        let align = if self.eat_word(".align") { Some(self.unsigned()?) } else { None };
        let word = self.word()?;
        let ty = word.strip_prefix('.').and_then(Type::parse).filter(|t| *t != Type::Pred);
        let ty = ty.ok_or_else(|| ParseError::new(line, format!("{word} is not a type of variables")))?;
        let align = align.unwrap_or(ty.bytes() as u64);
        if !align.is_power_of_two() || align > 1 << 16 {
            return Err(ParseError::new(line, format!("alignment {align}")));
        }
        let mut out = vec![];
        loop {
            let name = self.word()?.to_string();
            let mut bytes = Some(ty.bytes() as u64);
            while self.eat(b'[') {
                if self.eat(b']') {
                    bytes = None;
                } else {
                    let n = self.unsigned()?;
                    bytes = bytes.and_then(|b| b.checked_mul(n)).filter(|b| *b <= 1 << 31);
                    if bytes.is_none() {
                        return Err(ParseError::new(line, format!("{name} is too large")));
                    }
                    self.expect(b']')?;
                }
            }
            if bytes.is_none() && space == VarSpace::Local {
                return Err(ParseError::new(line, format!("{name} needs a size")));
            }
            out.push(Symbol { name, space, align, bytes, address: 0 });
            if !self.eat(b',') {
                break;
            }
        }
        self.expect(b';')?;
        Ok(out)
    }

    fn params(&mut self) -> Result<Vec<Parameter>> {
        let mut out: Vec<Parameter> = vec![];
        if !self.eat(b'(') || self.eat(b')') {
            return Ok(out);
        }
        loop {
            let line = self.line();
            if !self.eat_word(".param") {
                return self.fail(".param is expected here");
            }
            let (mut align, mut ty) = (None, None);
            let name = loop {
                match self.word()? {
                    ".align" => align = Some(self.unsigned()?),
                    ".ptr" | ".global" | ".const" | ".shared" | ".local" => {}
                    w if w.starts_with('.') => {
                        ty = Type::parse(&w[1..]).filter(|t| *t != Type::Pred);
                        if ty.is_none() {
                            return Err(ParseError::new(line, format!("{w} is not a type of parameters")));
                        }
                    }
                    w => break w.to_string(),
                }
            };
            let ty = ty.ok_or_else(|| ParseError::new(line, format!("parameter {name} has no type")))?;
            let (mut bytes, mut natural) = (ty.bytes(), ty.bytes());
            if self.eat(b'[') {
                bytes *= self.unsigned()? as usize;
                natural = align.unwrap_or(natural as u64) as usize;
                self.expect(b']')?;
            }
            let end = out.last().map_or(0, |p| p.offset + p.bytes);
            if !natural.is_power_of_two() || bytes > 1 << 15 || out.iter().any(|p| p.name == name) {
                return Err(ParseError::new(line, format!("bad parameter {name}")));
            }
            out.push(Parameter { name, ty, offset: end.next_multiple_of(natural), bytes });
            if !self.eat(b',') {
                break;
            }
        }
        self.expect(b')')?;
        Ok(out)
    }

    fn extent(&mut self) -> Result<[u32; 3]> {
        let mut out = [1; 3];
        for (i, v) in out.iter_mut().enumerate() {
            if i > 0 && !self.eat(b',') {
                break;
            }
            *v = u32::try_from(self.unsigned()?).unwrap_or(u32::MAX);
        }
        Ok(out)
    }

    fn entry(&mut self, shared: &[Symbol], target: u32) -> Result<Entry> {
        let name = self.word()?.to_string();
        let params = self.params()?;
        let (mut maxntid, mut reqntid) = (None, None);
        while !self.eat(b'{') {
            let line = self.line();
            match self.word()? {
                ".maxntid" => maxntid = Some(self.extent()?),
                ".reqntid" => reqntid = Some(self.extent()?),
                ".minnctapersm" | ".maxnreg" => {
                    self.unsigned()?;
                }
                ".pragma" => {
                    self.next()?;
                    self.expect(b';')?;
                }
                other => return Err(ParseError::new(line, format!("{other} is not known to this interpreter"))),
            }
        }
        let mut decoder = Decoder::new(params, target);
        for symbol in shared {
            decoder.declare_variable(symbol.clone(), self.line())?;
        }
        self.body(&mut decoder)?;
        let body = decoder.finish(self.line())?;
        Ok(Entry { name, maxntid, reqntid, ..body })
    }

    /// Statements up to the brace that closes the body.
    fn body(&mut self, decoder: &mut Decoder) -> Result<()> {
        let mut depth = 1;
        while depth > 0 {
            let line = self.line();
            match self.next()? {
                Token::Punct(b'{') => {
                    depth += 1;
                    decoder.open();
                }
                Token::Punct(b'}') => {
                    depth -= 1;
                    decoder.close();
                }
                Token::Punct(b';') => {}
                Token::Punct(b'@') => {
                    let negate = self.eat(b'!');
                    let p = self.word()?;
                    let opcode = self.word()?;
                    self.instruction(decoder, line, Some((p, negate)), opcode)?;
                }
                Token::Word(".reg") => self.registers(decoder)?,
                Token::Word(".shared") => {
                    for v in self.variables(VarSpace::Shared)? {
                        decoder.declare_variable(v, line)?;
                    }
                }
                Token::Word(".local") => {
                    for v in self.variables(VarSpace::Local)? {
                        decoder.declare_variable(v, line)?;
                    }
                }
                Token::Word(".loc" | ".file") => {
                    self.at -= 1;
                    self.skip_line();
                }
                Token::Word(".pragma") => {
                    self.next()?;
                    self.expect(b';')?;
                }
                Token::Word(w) if self.eat(b':') => decoder.label(w, line)?,
                Token::Word(w) if w.starts_with('.') => {
                    return Err(ParseError::new(line, format!("{w} is not known to this interpreter")));
                }
                Token::Word(opcode) => self.instruction(decoder, line, None, opcode)?,
                Token::Punct(_) | Token::Text => return Err(ParseError::new(line, "a statement is expected here")),
            }
        }
        Ok(())
    }

    /// After `.reg`: `.type %r<10>, %x;`
    fn registers(&mut self, decoder: &mut Decoder) -> Result<()> {
        let line = self.line();
        let word = self.word()?;
        let ty = word.strip_prefix('.').and_then(Type::parse);
        let ty = ty.ok_or_else(|| ParseError::new(line, format!("{word} is not a type of registers")))?;
        loop {
            let name = self.word()?;
            if self.eat(b'<') {
                let n = self.unsigned()?;
                if n > 1 << 16 {
                    return self.fail(format!("{n} registers are too many"));
                }
                self.expect(b'>')?;
                for i in 0..n {
                    decoder.declare_register(format!("{name}{i}"), ty, line)?;
                }
            } else {
                decoder.declare_register(name.to_string(), ty, line)?;
            }
            if !self.eat(b',') {
                return self.expect(b';');
            }
        }
    }

    fn instruction(
        &mut self,
        decoder: &mut Decoder,
        line: u32,
        guard: Option<(&'a str, bool)>,
        opcode: &'a str,
    ) -> Result<()> {
        let mut args = vec![];
        while !self.eat(b';') {
            if !args.is_empty() {
                self.expect(b',')?;
            }
            args.push(self.arg()?);
        }
        decoder.instruction(&Statement { line, guard, opcode, args })
    }

    fn arg(&mut self) -> Result<Arg<'a>> {
        let first = self.simple()?;
        if self.eat(b'|') { Ok(Arg::Pair(Box::new(first), Box::new(self.simple()?))) } else { Ok(first) }
    }

    fn simple(&mut self) -> Result<Arg<'a>> {
        match self.next()? {
            Token::Punct(b'!') => Ok(Arg::Not(self.word()?)),
            Token::Punct(b'-') => match number(self.word()?) {
                Some(Arg::Int(v)) => Ok(Arg::Int(-v)),
                Some(Arg::F64(v)) => Ok(Arg::F64((-f64::from_bits(v)).to_bits())),
                _ => self.fail("a number is expected after the minus sign"),
            },
            Token::Punct(b'{') => {
                let mut parts = vec![];
                while !self.eat(b'}') {
                    if !parts.is_empty() {
                        self.expect(b',')?;
                    }
                    parts.push(self.simple()?);
                }
                Ok(Arg::Vector(parts))
            }
            Token::Punct(b'[') => {
                let base = self.simple()?;
                let mut offset = 0i64;
                while !self.eat(b']') {
                    let minus = self.eat(b'-');
                    if !minus {
                        self.expect(b'+')?;
                    }
                    let minus = self.eat(b'-') != minus;
                    let v = i64::try_from(self.unsigned()?).unwrap_or(i64::MAX);
                    offset = offset.saturating_add(if minus { -v } else { v });
                }
                Ok(Arg::Address(Box::new(base), offset))
            }
            Token::Word("_") => Ok(Arg::Sink),
            Token::Word(w) if w.as_bytes()[0].is_ascii_digit() => {
                number(w).map_or_else(|| self.fail(format!("{w} is not a number")), Ok)
            }
            Token::Word(w) => Ok(Arg::Name(w)),
            _ => {
                self.at -= 1;
                self.fail("an operand is expected here")
            }
        }
    }
}

/// Literals: decimal, `0x`, `0b`, octal, an optional `U`, `0f` and `0d` bit patterns, decimal fractions.
fn number(w: &str) -> Option<Arg<'static>> {
    let lower = w.to_ascii_lowercase();
    let whole = lower.strip_suffix('u').unwrap_or(&lower);
    if let Some(hex) = lower.strip_prefix("0f") {
        return (hex.len() == 8).then(|| u32::from_str_radix(hex, 16).ok().map(Arg::F32))?;
    }
    if let Some(hex) = lower.strip_prefix("0d") {
        return (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok().map(Arg::F64))?;
    }
    let parse = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|v| Arg::Int(i128::from(v)));
    if let Some(hex) = whole.strip_prefix("0x") {
        return parse(hex, 16);
    }
    if let Some(binary) = whole.strip_prefix("0b") {
        return parse(binary, 2);
    }
    if whole.len() > 1 && whole.starts_with('0') && whole.bytes().all(|c| c.is_ascii_digit()) {
        return parse(&whole[1..], 8);
    }
    if lower.bytes().next().is_some_and(|c| c.is_ascii_digit()) && lower.contains(['.', 'e']) {
        return lower.parse::<f64>().ok().map(|v| Arg::F64(v.to_bits()));
    }
    parse(whole, 10)
}
