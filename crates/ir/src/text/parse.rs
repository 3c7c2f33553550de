//! Parsing graphs. Hostile text gives an error with its place, never a panic, deep recursion or huge allocations.

use super::lex::{Lexer, Token};
use super::literal::{self, Element};
use super::{FORMAT, Header};
use crate::{
    Attrs, Capture, Epilogue, Graph, Layout, NodeBuilder, OpName, Origin, Subgraph, TensorType, Type, ValueId,
};
use planc_tensor::{Attr, DType, Dim, Map, Tensor, element_count, parse_dim};

/// Where a text is wrong, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Finds the constant with a content hash; `None` when there is none.
pub type Resolver<'a> = dyn Fn(&str) -> Option<Tensor> + 'a;

/// The graph that `text` describes. Constants by hash are not accepted, see [`parse_with`].
///
/// # Errors
/// When the text is not a graph: the first mistake with its place.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_with(text, &|_| None).map(|(g, _)| g)
}

/// The graph and header that `text` describes; `resolver` finds constants by their hashes.
///
/// # Errors
/// As [`parse`]; also when a hash is not found or belongs to another tensor.
pub fn parse_with(text: &str, resolver: &Resolver<'_>) -> Result<(Graph, Header), ParseError> {
    let mut p = Parser { lex: Lexer { text, at: 0 }, start: 0, resolver, opset: 0, depth: 0, filler: MAX_FILLER };
    p.graph().map_err(|message| {
        let before = &text[..p.start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ParseError { line, column, message }
    })
}

/// Subgraphs and types nest less in any model; keeps hostile text from exhausting the stack.
const MAX_DEPTH: usize = 32;

/// Elements that `seeded` and `splat` may make in one text.
const MAX_FILLER: usize = 1 << 24;

type Result1<T> = Result<T, String>;

struct Parser<'a> {
    lex: Lexer<'a>,
    /// Where the token starts that a message is about.
    start: usize,
    resolver: &'a Resolver<'a>,
    opset: u32,
    depth: usize,
    filler: usize,
}

/// The enclosing graph of the body being read, and the captures found so far.
struct Enclosing<'g> {
    graph: &'g Graph,
    captures: Vec<Capture>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result1<Token<'a>> {
        self.lex.skip();
        self.start = self.lex.at;
        self.lex.next()
    }

    fn peek(&mut self) -> Result1<Token<'a>> {
        self.lex.skip();
        self.start = self.lex.at;
        self.lex.peek()
    }

    /// Takes the next token if it is this character.
    fn eat(&mut self, c: char) -> Result1<bool> {
        let found = self.peek()? == Token::Punct(c);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    /// Takes the next token if it is this word.
    fn eat_word(&mut self, word: &str) -> Result1<bool> {
        let found = self.peek()? == Token::Word(word);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn expect(&mut self, c: char) -> Result1<()> {
        match self.next()? {
            Token::Punct(d) if c == d => Ok(()),
            t => Err(format!("expected `{c}`, found {}", t.show())),
        }
    }

    fn expect_word(&mut self, word: &str) -> Result1<()> {
        match self.next()? {
            Token::Word(w) if w == word => Ok(()),
            t => Err(format!("expected `{word}`, found {}", t.show())),
        }
    }

    /// A word or a quoted name.
    fn word(&mut self, what: &str) -> Result1<String> {
        match self.next()? {
            Token::Word(w) => Ok(w.to_string()),
            Token::Str(s) => Ok(s),
            t => Err(format!("expected {what}, found {}", t.show())),
        }
    }

    fn at_name(&mut self) -> Result1<String> {
        match self.next()? {
            Token::At(n) => Ok(n),
            t => Err(format!("expected `@` and the graph's name, found {}", t.show())),
        }
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result1<T> {
        match self.next()? {
            Token::Num(n) => n.parse().map_err(|_| format!("`{n}` is not {what}")),
            t => Err(format!("expected {what}, found {}", t.show())),
        }
    }

    fn descend(&mut self) -> Result1<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err("nested too deeply".into()) } else { Ok(()) }
    }

    fn graph(&mut self) -> Result1<(Graph, Header)> {
        self.expect_word("graph")?;
        let mut g = Graph::new(self.at_name()?);
        self.expect('(')?;
        self.expect_word("format")?;
        let format: u32 = self.number("a format number")?;
        if format != FORMAT {
            return Err(format!("this is format {format}, only format {FORMAT} is read"));
        }
        let mut header = Header::default();
        while self.eat(',')? {
            match self.next()? {
                Token::Word("opset") if header.opset.is_none() => header.opset = Some(self.number("an opset version")?),
                Token::Word("after") if header.after.is_none() => match self.next()? {
                    Token::Str(pass) => header.after = Some(pass),
                    t => return Err(format!("expected the quoted name of a pass, found {}", t.show())),
                },
                t => return Err(format!("expected `opset` or `after`, found {}", t.show())),
            }
        }
        self.expect(')')?;
        self.opset = header.opset.unwrap_or(0);
        self.body(&mut g, None)?;
        match self.next()? {
            Token::End => Ok((g, header)),
            t => Err(format!("expected the end of the text, found {}", t.show())),
        }
    }

    fn body(&mut self, g: &mut Graph, mut enclosing: Option<&mut Enclosing<'_>>) -> Result1<()> {
        self.descend()?;
        self.expect('{')?;
        let mut outputs = vec![];
        while !self.eat('}')? {
            match self.peek()? {
                Token::Word("in") => {
                    self.next()?;
                    let (name, ty) = self.typed(g)?;
                    g.add_input(&name, ty);
                }
                Token::Word("capture") => {
                    let Some(e) = enclosing.as_deref_mut() else {
                        return Err("only subgraphs have captures".into());
                    };
                    self.next()?;
                    let (name, ty) = self.typed(g)?;
                    self.expect('=')?;
                    let outer = self.value(e.graph)?;
                    let inner = g.add_capture(&name, ty);
                    e.captures.push(Capture { outer, inner });
                }
                Token::Word("const") => {
                    self.next()?;
                    let (name, ty) = self.typed(g)?;
                    self.expect('=')?;
                    let tensor = self.const_data(&ty)?;
                    let id = g.add_const(&name, tensor);
                    g.set_type(id, ty);
                }
                Token::Word("out") => {
                    self.next()?;
                    outputs.push(self.value(g)?);
                }
                _ => self.node(g)?,
            }
        }
        g.set_outputs(outputs);
        self.depth -= 1;
        Ok(())
    }

    /// A value that is defined already.
    fn value(&mut self, g: &Graph) -> Result1<ValueId> {
        match self.next()? {
            Token::Value(n) => g.find(&n).ok_or_else(|| format!("%{n} is not defined")),
            t => Err(format!("expected a value, found {}", t.show())),
        }
    }

    /// A value or `_`.
    fn operand(&mut self, g: &Graph) -> Result1<Option<ValueId>> {
        if self.eat_word("_")? { Ok(None) } else { self.value(g).map(Some) }
    }

    /// A new name with its type.
    fn typed(&mut self, g: &Graph) -> Result1<(String, Type)> {
        let name = match self.next()? {
            Token::Value(n) => n,
            t => return Err(format!("expected a new value, found {}", t.show())),
        };
        if name.is_empty() {
            return Err("a value needs a name".into());
        }
        if g.find(&name).is_some() {
            return Err(format!("%{name} is defined twice"));
        }
        self.expect(':')?;
        Ok((name, self.ty()?))
    }

    fn ty(&mut self) -> Result1<Type> {
        self.descend()?;
        let word = match self.next()? {
            Token::Word(w) => w,
            t => return Err(format!("expected a type, found {}", t.show())),
        };
        let ty = match word {
            "seq" | "optional" => {
                self.expect('(')?;
                let of = Box::new(self.ty()?);
                self.expect(')')?;
                if word == "seq" { Type::Sequence(of) } else { Type::Optional(of) }
            }
            "map" => {
                self.expect('(')?;
                let key = self.dtype()?;
                self.expect(',')?;
                let value = self.dtype()?;
                self.expect(')')?;
                if !Map::has_types(key, value) {
                    return Err(format!("there are no maps from {key} to {value}"));
                }
                Type::Map { key, value }
            }
            _ => Type::Tensor(self.tensor_type(element_type(word)?)?),
        };
        self.depth -= 1;
        Ok(ty)
    }

    fn dtype(&mut self) -> Result1<DType> {
        match self.next()? {
            Token::Word(w) => element_type(w),
            t => Err(format!("expected an element type, found {}", t.show())),
        }
    }

    fn tensor_type(&mut self, dtype: DType) -> Result1<TensorType> {
        let shape = self.dims()?;
        let layout = match self.peek()? {
            Token::At(name) => {
                self.next()?;
                let known = [Layout::Nchw16c, Layout::RowMajor].into_iter().find(|l| l.to_string() == name);
                known.ok_or_else(|| format!("`{name}` is not a layout"))?
            }
            _ => Layout::RowMajor,
        };
        Ok(TensorType { dtype, shape, layout })
    }

    /// Extents in brackets; `None` for `[..]`.
    fn dims(&mut self) -> Result1<Option<Vec<Dim>>> {
        self.expect('[')?;
        if self.lex.rest().starts_with("..]") {
            self.lex.at += 3;
            return Ok(None);
        }
        self.lex.skip();
        if self.eat(']')? {
            return Ok(Some(vec![]));
        }
        let mut dims = vec![];
        loop {
            self.lex.skip();
            self.start = self.lex.at;
            let text = self.lex.rest();
            let len = dim_len(text).ok_or("a list of extents does not end")?;
            dims.push(parse_dim(&text[..len]).map_err(|e| {
                self.start += e.column - 1;
                e.message
            })?);
            self.lex.at += len + 1;
            if text[len..].starts_with(']') {
                return Ok(Some(dims));
            }
        }
    }

    fn node(&mut self, g: &mut Graph) -> Result1<()> {
        let outputs = if self.eat_word("do")? { vec![] } else { self.results(g)? };
        let mut name = self.word("an operator")?;
        let mut domain = String::new();
        if self.peek()? == Token::Path {
            self.next()?;
            domain = std::mem::replace(&mut name, self.word("an operator")?);
        }
        let mut inputs = vec![];
        self.expect('(')?;
        while !self.eat(')')? {
            inputs.push(self.operand(g)?);
            if !self.eat(',')? {
                self.expect(')')?;
                break;
            }
        }
        let mut attrs = Attrs::new();
        if self.eat('{')? {
            self.attrs(&mut attrs)?;
        }
        let epilogue = if self.eat_word("epilogue")? { Some(self.epilogue(g)?) } else { None };
        let mut subgraphs = vec![];
        while self.eat_word("subgraph")? {
            let name = self.word("the subgraph's attribute")?;
            let mut graph = Graph::new(self.at_name()?);
            let mut enclosing = Enclosing { graph: g, captures: vec![] };
            self.body(&mut graph, Some(&mut enclosing))?;
            subgraphs.push(Subgraph { name: name.into(), graph, captures: enclosing.captures });
        }
        let b = NodeBuilder::new(OpName::new(&domain, &name))
            .optional_inputs(inputs)
            .attrs(attrs)
            .epilogue(epilogue)
            .subgraphs(subgraphs)
            .origin(Origin { node: "".into(), opset: self.opset });
        g.add_node(b, outputs);
        Ok(())
    }

    fn results(&mut self, g: &Graph) -> Result1<Vec<Option<(String, Type)>>> {
        let mut results: Vec<Option<(String, Type)>> = vec![];
        loop {
            match self.peek()? {
                Token::Word("_") => {
                    self.next()?;
                    results.push(None);
                }
                Token::Value(n) => {
                    if results.iter().flatten().any(|(m, _)| *m == n) {
                        return Err(format!("%{n} is defined twice"));
                    }
                    results.push(Some(self.typed(g)?));
                }
                t => return Err(format!("expected a statement or `}}`, found {}", t.show())),
            }
            if !self.eat(',')? {
                self.expect('=')?;
                return Ok(results);
            }
        }
    }

    fn epilogue(&mut self, g: &Graph) -> Result1<Epilogue> {
        self.lex.skip();
        self.start = self.lex.at;
        let (expr, used) = planc_kir::parse_expr(self.lex.rest()).map_err(|e| {
            // The column may lie past the end when the text ends too early.
            let at = self.start + e.column - 1;
            self.start = if self.lex.text.is_char_boundary(at) { at } else { self.start };
            e.message
        })?;
        self.lex.at += used;
        let mut sides = vec![];
        if self.eat_word("with")? {
            self.expect('(')?;
            while !self.eat(')')? {
                sides.push(self.value(g)?);
                if !self.eat(',')? {
                    self.expect(')')?;
                    break;
                }
            }
        }
        Ok(Epilogue { expr, sides })
    }

    fn attrs(&mut self, attrs: &mut Attrs) -> Result1<()> {
        while !self.eat('}')? {
            let name = self.word("an attribute")?;
            if attrs.get(&name).is_some() {
                return Err(format!("attribute {name} is there twice"));
            }
            self.expect('=')?;
            let value = self.attr()?;
            attrs.set(name, value);
            if !self.eat(',')? {
                self.expect('}')?;
                return Ok(());
            }
        }
        Ok(())
    }

    fn attr(&mut self) -> Result1<Attr> {
        match self.peek()? {
            Token::Word("tensor") => {
                self.next()?;
                self.typed_tensor().map(Attr::Tensor)
            }
            Token::Word(kind @ ("floats" | "strings")) => {
                self.next()?;
                self.expect('[')?;
                self.expect(']')?;
                Ok(if kind == "floats" { Attr::Floats(vec![]) } else { Attr::Strs(vec![]) })
            }
            Token::Punct('[') => {
                let items = self.elements()?;
                if items.iter().all(is_int) {
                    items.iter().map(int).collect::<Result1<_>>().map(Attr::Ints)
                } else if items.iter().all(|e| matches!(e, Element::Str(_))) {
                    Ok(Attr::Strs(items.into_iter().filter_map(text).collect()))
                } else {
                    items.iter().map(Element::f32).collect::<Result1<_>>().map(Attr::Floats)
                }
            }
            _ => match self.element()? {
                Element::Str(s) => Ok(Attr::Str(s)),
                e if is_int(&e) => int(&e).map(Attr::Int),
                e => e.f32().map(Attr::Float),
            },
        }
    }

    /// `[a, b, ...]`.
    fn elements(&mut self) -> Result1<Vec<Element>> {
        self.expect('[')?;
        let mut items = vec![];
        while !self.eat(']')? {
            items.push(self.element()?);
            if !self.eat(',')? {
                self.expect(']')?;
                break;
            }
        }
        Ok(items)
    }

    fn element(&mut self) -> Result1<Element> {
        match self.next()? {
            Token::Num(n) => Ok(Element::Num(n.to_string())),
            Token::Str(s) => Ok(Element::Str(s)),
            Token::Word(w @ ("true" | "false" | "inf")) => Ok(Element::Num(w.to_string())),
            Token::Word("nan") if self.eat('(')? => {
                let bits = match self.next()? {
                    Token::Num(n) => n.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok()),
                    _ => None,
                };
                self.expect(')')?;
                bits.map(Element::Nan).ok_or_else(|| "expected the bits of the NaN in hex".into())
            }
            Token::Word("nan") => Ok(Element::Num("nan".into())),
            t => Err(format!("expected a number or a string, found {}", t.show())),
        }
    }

    /// The tensor of a constant of type `ty`: with a type of its own, or of `ty`.
    fn const_data(&mut self, ty: &Type) -> Result1<Tensor> {
        if self.eat_word("tensor")? {
            return self.typed_tensor();
        }
        let ty = ty.as_tensor().ok_or("a constant is a tensor")?;
        let shape = ty.static_shape().ok_or("a constant needs extents that are numbers")?;
        self.data(ty.dtype, &shape)
    }

    fn typed_tensor(&mut self) -> Result1<Tensor> {
        let ty = self.ty()?;
        let ty = ty.as_tensor().filter(|t| t.layout == Layout::RowMajor).ok_or("expected a row-major tensor type")?;
        let shape = ty.static_shape().ok_or("a tensor needs extents that are numbers")?;
        self.data(ty.dtype, &shape)
    }

    fn data(&mut self, dtype: DType, shape: &[usize]) -> Result1<Tensor> {
        match self.peek()? {
            Token::Hash(hash) => {
                self.next()?;
                let t = (self.resolver)(hash).ok_or_else(|| format!("there is no constant #{hash}"))?;
                if t.dtype() != dtype || t.shape() != shape || literal::content_hash(&t) != hash {
                    return Err(format!("the constant found for #{hash} is another"));
                }
                Ok(t)
            }
            Token::Word(filler @ ("seeded" | "splat")) => {
                let start = self.start;
                self.next()?;
                let count = element_count(shape).filter(|n| *n <= self.filler).ok_or("the filler is too large")?;
                self.filler -= count;
                self.expect('(')?;
                let t = if filler == "seeded" {
                    literal::seeded(dtype, shape, self.number("a seed")?)
                } else {
                    literal::splat(dtype, shape, &self.element()?)
                };
                self.expect(')')?;
                self.start = start;
                t
            }
            Token::Word("hex") => {
                self.next()?;
                match self.next()? {
                    Token::Str(hex) => literal::from_hex(dtype, shape, &hex),
                    t => Err(format!("expected quoted hex digits, found {}", t.show())),
                }
            }
            Token::Punct('[') => {
                let start = self.start;
                let elements = self.elements()?;
                self.start = start;
                literal::tensor_of(dtype, shape, &elements)
            }
            _ => {
                let element = self.element()?;
                literal::tensor_of(dtype, shape, &[element])
            }
        }
    }
}

/// Bytes of a dim at the start of `text`: up to a comma or closing bracket outside of parentheses and quotes.
fn dim_len(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' | ']' if depth == 0 => return Some(i),
            '\n' | '[' | '{' | '}' => return None,
            _ => {}
        }
    }
    None
}

fn element_type(word: &str) -> Result1<DType> {
    DType::from_name(word).ok_or_else(|| format!("`{word}` is not an element type"))
}

/// Whether an element is written as an integer.
fn is_int(e: &Element) -> bool {
    matches!(e, Element::Num(n) if n.chars().all(|c| c.is_ascii_digit() || c == '-'))
}

fn int(e: &Element) -> Result1<i64> {
    match e {
        Element::Num(n) => n.parse().map_err(|_| format!("`{n}` is not a 64-bit integer")),
        _ => Err("expected an integer".into()),
    }
}

fn text(e: Element) -> Option<String> {
    match e {
        Element::Str(s) => Some(s),
        _ => None,
    }
}
