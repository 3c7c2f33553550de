//! TfIdfVectorizer: how often each n-gram of a pool occurs in a row of tokens, weighted.
//!
//! The tokens of an n-gram lie `1..=max_skip_count + 1` apart.

use crate::elementwise::only;
use crate::indexing::integers;
use crate::{AttrDef, AttrKind, OpDef, OpError, Param, TypeSet, known};
use planc_ir::Attrs;
use planc_tensor::{DType, Dim, Tensor, View};
use std::collections::HashMap;

/// The row of TfIdfVectorizer.
pub const OP: OpDef = OpDef {
    name: "TfIdfVectorizer",
    since: 9,
    types: &[("T", TypeSet::STRING.or(TypeSet::INDEX)), ("T1", TypeSet::F32)],
    inputs: &[Param::req("X", "T")],
    outputs: &[Param::req("Y", "T1")],
    attrs: &[
        AttrDef::required("max_gram_length", AttrKind::Int),
        AttrDef::required("max_skip_count", AttrKind::Int),
        AttrDef::required("min_gram_length", AttrKind::Int),
        AttrDef::required("mode", AttrKind::Str),
        AttrDef::required("ngram_counts", AttrKind::Ints),
        AttrDef::required("ngram_indexes", AttrKind::Ints),
        AttrDef::optional("pool_int64s", AttrKind::Ints),
        AttrDef::optional("pool_strings", AttrKind::Strs),
        AttrDef::optional("weights", AttrKind::Floats),
    ],
    infer: |cx| {
        let width = Dim::from(Pool::of(cx.attrs())?.width);
        let shape = match cx.shape(0)? {
            Some([] | [_]) => Some(vec![width]),
            Some([n, _]) => Some(vec![n.clone(), width]),
            Some(s) => return Err(OpError::shape(format!("{} is not of rank 1 or 2", known::text(s)))),
            None => None,
        };
        cx.set_shape(0, DType::F32, shape);
        Ok(())
    },
    eval: Some(|cx, inputs| {
        let x = only(inputs)?;
        let pool = Pool::of(cx.attrs())?;
        let (rows, shape) = match *x.shape() {
            [] | [_] => (1, vec![pool.width]),
            [n, _] => (n, vec![n, pool.width]),
            _ => return Err(OpError::shape("the operand is not of rank 1 or 2")),
        };
        let mut out = Vec::with_capacity(cx.reserve(DType::F32, &shape)?);
        let tokens = tokens(x)?;
        let weights = cx.attrs().floats("weights");
        if weights.is_some_and(|w| w.len() < pool.width) {
            return Err(OpError::attribute("there are fewer weights than result elements"));
        }
        let weight = |i: usize| weights.map_or(1.0, |w| w[i]);
        let length = tokens.len().checked_div(rows).unwrap_or(0);
        for row in 0..rows {
            let counts = pool.count(&tokens[row * length..(row + 1) * length]);
            let element = |(i, n): (usize, u32)| match cx.str("mode") {
                "TF" => Ok(n as f32),
                "IDF" => Ok(if n > 0 { weight(i) } else { 0.0 }),
                "TFIDF" => Ok(n as f32 * weight(i)),
                mode => Err(OpError::attribute(format!("mode {mode:?} is not TF, IDF or TFIDF"))),
            };
            let elements: Result<Vec<f32>, OpError> = counts.into_iter().enumerate().map(element).collect();
            out.extend(elements?);
        }
        Ok(vec![Tensor::new(shape, out)?])
    }),
    ..OpDef::NEW
};

#[derive(Clone, PartialEq, Eq, Hash)]
enum Token {
    Int(i64),
    Text(String),
}

fn tokens(x: View<'_>) -> Result<Vec<Token>, OpError> {
    if x.dtype() == DType::String {
        return Ok(x.as_strings().iter().cloned().map(Token::Text).collect());
    }
    Ok(integers(x)?.into_iter().map(Token::Int).collect())
}

/// Result elements at most: they come from attributes, not from data.
const MAX_WIDTH: i64 = 1 << 30;

/// The n-grams to look for.
struct Pool {
    /// The result element of each n-gram.
    places: HashMap<Vec<Token>, usize>,
    lengths: std::ops::RangeInclusive<usize>,
    max_skip: usize,
    /// Result elements per row.
    width: usize,
}

impl Pool {
    fn of(attrs: &Attrs) -> Result<Pool, OpError> {
        let wrong = |name: &str| OpError::attribute(format!("attribute {name} has a wrong value"));
        let number = |name: &str| attrs.int(name).and_then(|v| usize::try_from(v).ok()).ok_or_else(|| wrong(name));
        let all: Vec<Token> = match (attrs.ints("pool_int64s"), attrs.strs("pool_strings")) {
            (Some(v), None) => v.iter().map(|v| Token::Int(*v)).collect(),
            (None, Some(v)) => v.iter().cloned().map(Token::Text).collect(),
            _ => return Err(OpError::attribute("needs one of pool_int64s and pool_strings")),
        };
        let indexes = attrs.ints("ngram_indexes").ok_or_else(|| wrong("ngram_indexes"))?;
        let place = |i: &i64| usize::try_from(*i).ok().filter(|_| *i < MAX_WIDTH).ok_or_else(|| wrong("ngram_indexes"));
        let indexes = indexes.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let starts = attrs.ints("ngram_counts").ok_or_else(|| wrong("ngram_counts"))?;
        let lengths = number("min_gram_length")?.max(1)..=number("max_gram_length")?;
        let mut next = indexes.iter();
        let mut places = HashMap::new();
        for (i, start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(all.len() as i64);
            let range = usize::try_from(*start).ok().zip(usize::try_from(end).ok());
            let part = range.and_then(|(start, end)| all.get(start..end)).ok_or_else(|| wrong("ngram_counts"))?;
            for gram in part.chunks_exact(i + 1) {
                let place = *next.next().ok_or_else(|| wrong("ngram_indexes"))?;
                if lengths.contains(&gram.len()) {
                    places.insert(gram.to_vec(), place);
                }
            }
        }
        let width = indexes.iter().max().map_or(0, |i| i + 1);
        Ok(Pool { places, lengths, max_skip: number("max_skip_count")?, width })
    }

    /// How often each n-gram occurs, by result element.
    fn count(&self, tokens: &[Token]) -> Vec<u32> {
        let mut counts = vec![0u32; self.width];
        let longest = (*self.lengths.end()).min(tokens.len());
        for length in *self.lengths.start()..=longest {
            // One token has no distances: it counts once, however far others may be apart.
            let furthest = if length == 1 { 1 } else { self.max_skip.saturating_add(1).min(tokens.len()) };
            for distance in 1..=furthest {
                let Some(span) = (length - 1).checked_mul(distance).filter(|s| *s < tokens.len()) else { break };
                for start in 0..tokens.len() - span {
                    let gram: Vec<Token> = tokens[start..=start + span].iter().step_by(distance).cloned().collect();
                    if let Some(place) = self.places.get(&gram) {
                        counts[*place] += 1;
                    }
                }
            }
        }
        counts
    }
}
