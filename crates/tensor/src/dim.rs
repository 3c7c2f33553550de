//! Symbolic extents: integer polynomials over named symbols, kept in one normal form.
//!
//! Two dims that are equal as polynomials compare equal, print equally and hash equally. Division, minimum and
//! maximum that do not reduce become opaque atoms whose operands are normalised themselves. Arithmetic saturates at
//! the ends of `i64`; a saturated extent is far above every size limit, so it is refused where sizes are checked.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An indivisible factor of a [`Dim`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Atom {
    /// A named, non-negative extent bound at run time.
    Sym(Arc<str>),
    /// Quotient rounded down.
    Floor(Dim, Dim),
    /// Quotient rounded up.
    Ceil(Dim, Dim),
    /// The larger.
    Max(Dim, Dim),
    /// The smaller.
    Min(Dim, Dim),
}

/// `coef` times a sorted product of atoms; no factors: the constant term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Term {
    pub(crate) factors: Vec<Atom>,
    pub(crate) coef: i64,
}

/// An extent: a constant or a polynomial over symbols. See the module header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dim(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Repr {
    Const(i64),
    /// At least one term with factors; sorted; no zero coefficients; constant term last.
    Sum(Arc<[Term]>),
}

impl From<i64> for Dim {
    fn from(v: i64) -> Dim {
        Dim(Repr::Const(v))
    }
}

impl From<usize> for Dim {
    fn from(v: usize) -> Dim {
        Dim::from(i64::try_from(v).unwrap_or(i64::MAX))
    }
}

impl Dim {
    /// A named extent.
    pub fn sym(name: &str) -> Dim {
        Dim::atom(Atom::Sym(name.into()))
    }

    fn atom(atom: Atom) -> Dim {
        Dim(Repr::Sum([Term { factors: vec![atom], coef: 1 }].into()))
    }

    /// The value of a constant dim.
    pub fn as_const(&self) -> Option<i64> {
        match &self.0 {
            Repr::Const(v) => Some(*v),
            Repr::Sum(_) => None,
        }
    }

    /// The value of a constant, non-negative dim.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_const().and_then(|v| usize::try_from(v).ok())
    }

    /// The name of a dim that is just a symbol.
    pub fn as_sym(&self) -> Option<&Arc<str>> {
        match &self.0 {
            Repr::Sum(terms) => match &**terms {
                [Term { factors, coef: 1 }] => match factors.as_slice() {
                    [Atom::Sym(name)] => Some(name),
                    _ => None,
                },
                _ => None,
            },
            Repr::Const(_) => None,
        }
    }

    pub(crate) fn terms(&self) -> Vec<Term> {
        match &self.0 {
            Repr::Const(0) => vec![],
            Repr::Const(v) => vec![Term { factors: vec![], coef: *v }],
            Repr::Sum(terms) => terms.to_vec(),
        }
    }

    fn from_terms(mut terms: Vec<Term>) -> Dim {
        // The constant term sorts last so that `N + 1` prints in the usual order.
        terms.sort_by(|a, b| (a.factors.is_empty(), &a.factors).cmp(&(b.factors.is_empty(), &b.factors)));
        let mut merged: Vec<Term> = Vec::with_capacity(terms.len());
        for t in terms {
            match merged.last_mut() {
                Some(last) if last.factors == t.factors => last.coef = last.coef.saturating_add(t.coef),
                _ => merged.push(t),
            }
        }
        merged.retain(|t| t.coef != 0);
        match merged.as_slice() {
            [] => Dim::from(0i64),
            [t] if t.factors.is_empty() => Dim::from(t.coef),
            _ => Dim(Repr::Sum(merged.into())),
        }
    }

    /// `self / divisor` when the division is exact as polynomials.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        if divisor.as_const() == Some(0) {
            return None;
        }
        if self == divisor {
            return Some(Dim::from(1i64));
        }
        let d = divisor.terms();
        let [d] = d.as_slice() else { return None };
        let terms = self.terms().iter().map(|t| divide_term(t, d)).collect::<Option<Vec<_>>>()?;
        Some(Dim::from_terms(terms))
    }

    /// Quotient rounded towards negative infinity; dividing by constant 0 stays an opaque atom that never evaluates.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        self.divide(divisor, i64::div_euclid, Atom::Floor)
    }

    /// Quotient rounded towards positive infinity.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        self.divide(divisor, |a, b| -((-a).div_euclid(b)), Atom::Ceil)
    }

    fn divide(&self, divisor: &Dim, constant: fn(i64, i64) -> i64, atom: fn(Dim, Dim) -> Atom) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), divisor.as_const())
            && b > 0
            && a != i64::MIN
        {
            return Dim::from(constant(a, b));
        }
        if let Some(q) = self.exact_div(divisor) {
            return q;
        }
        // Terms that divide exactly leave the quotient: floor((4*N + 3)/4) = N + floor(3/4).
        if let Some(b) = divisor.as_const().filter(|b| *b > 0) {
            let (exact, rest): (Vec<_>, Vec<_>) = self.terms().into_iter().partition(|t| t.coef % b == 0);
            if !exact.is_empty() {
                let exact = exact.into_iter().map(|t| Term { coef: t.coef / b, ..t }).collect();
                let rest = Dim::from_terms(rest).divide(divisor, constant, atom);
                return Dim::from_terms(exact) + rest;
            }
        }
        Dim::atom(atom(self.clone(), divisor.clone()))
    }

    /// Remainder of [`floor_div`](Dim::floor_div).
    pub fn modulo(&self, divisor: &Dim) -> Dim {
        self.clone() - self.floor_div(divisor) * divisor.clone()
    }

    /// The larger of the two.
    pub fn maximum(&self, other: &Dim) -> Dim {
        self.extremum(other, i64::max, Atom::Max)
    }

    /// The smaller of the two.
    pub fn minimum(&self, other: &Dim) -> Dim {
        self.extremum(other, i64::min, Atom::Min)
    }

    fn extremum(&self, other: &Dim, constant: fn(i64, i64) -> i64, atom: fn(Dim, Dim) -> Atom) -> Dim {
        if self == other {
            return self.clone();
        }
        // The operands differ by a constant: the order is known.
        if let Some(d) = (self.clone() - other.clone()).as_const() {
            return other.clone() + Dim::from(constant(d, 0));
        }
        let larger = constant(0, 1) == 1;
        for (a, b) in [(self, other), (other, self)] {
            if (a.clone() - b.clone()).at_least() >= Some(0) {
                return if larger { a.clone() } else { b.clone() };
            }
            // max(a, min(a, _)) = a and max(a, max(a, _)) = max(a, _); the same with both exchanged.
            match b.as_atom() {
                Some(Atom::Min(x, y)) if x == a || y == a => return if larger { a.clone() } else { b.clone() },
                Some(Atom::Max(x, y)) if x == a || y == a => return if larger { b.clone() } else { a.clone() },
                _ => {}
            }
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        Dim::atom(atom(a.clone(), b.clone()))
    }

    fn as_atom(&self) -> Option<&Atom> {
        match &self.0 {
            Repr::Sum(terms) => match &**terms {
                [Term { factors, coef: 1 }] if factors.len() == 1 => factors.first(),
                _ => None,
            },
            Repr::Const(_) => None,
        }
    }

    /// A lower bound that holds whatever the symbols are, which are never negative; `None` where none is found.
    pub fn at_least(&self) -> Option<i64> {
        let mut sum = 0i64;
        for t in self.terms() {
            let mut bound = t.coef;
            for f in &t.factors {
                let f = f.at_least().filter(|f| *f >= 0)?;
                bound = bound.saturating_mul(f);
            }
            if t.coef < 0 && !t.factors.is_empty() {
                return None;
            }
            sum = sum.saturating_add(bound);
        }
        Some(sum)
    }

    /// The value under `bind`; `None` when a symbol is not bound, a divisor is not positive, or on overflow.
    pub fn eval(&self, bind: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let terms = match &self.0 {
            Repr::Const(v) => return Some(*v),
            Repr::Sum(terms) => terms,
        };
        let mut sum = 0i64;
        for t in terms.iter() {
            let mut product = t.coef;
            for f in &t.factors {
                product = product.checked_mul(f.eval(bind)?)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }

    /// The dim with symbols replaced; symbols for which `replace` gives `None` stay.
    pub fn substitute(&self, replace: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let Repr::Sum(terms) = &self.0 else { return self.clone() };
        let mut sum = Dim::from(0i64);
        for t in terms.iter() {
            let product = t.factors.iter().fold(Dim::from(t.coef), |p, f| p * f.substitute(replace));
            sum = sum + product;
        }
        sum
    }

    /// Calls `visit` with every symbol, in a fixed order, repeated as often as it occurs.
    pub fn symbols(&self, visit: &mut dyn FnMut(&Arc<str>)) {
        let Repr::Sum(terms) = &self.0 else { return };
        for f in terms.iter().flat_map(|t| &t.factors) {
            match f {
                Atom::Sym(name) => visit(name),
                Atom::Floor(a, b) | Atom::Ceil(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                    a.symbols(visit);
                    b.symbols(visit);
                }
            }
        }
    }
}

impl Atom {
    fn at_least(&self) -> Option<i64> {
        let quotient = |a: &Dim, b: &Dim| {
            let a = a.at_least()?;
            match b.as_const() {
                Some(b) if b > 0 => Some((a, b)),
                _ if a >= 0 && b.at_least() >= Some(0) => Some((0, 1)),
                _ => None,
            }
        };
        match self {
            Atom::Sym(_) => Some(0),
            Atom::Floor(a, b) => quotient(a, b).map(|(a, b)| a.div_euclid(b)),
            Atom::Ceil(a, b) => quotient(a, b).map(|(a, b)| a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0)),
            Atom::Max(a, b) => a.at_least().max(b.at_least()),
            Atom::Min(a, b) => Some(a.at_least()?.min(b.at_least()?)),
        }
    }

    fn eval(&self, bind: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let two = |a: &Dim, b: &Dim| Some((a.eval(bind)?, b.eval(bind)?));
        match self {
            Atom::Sym(name) => bind(name),
            Atom::Floor(a, b) => two(a, b).filter(|(_, b)| *b > 0).map(|(a, b)| a.div_euclid(b)),
            Atom::Ceil(a, b) => two(a, b).filter(|(a, b)| *b > 0 && *a != i64::MIN).map(|(a, b)| -((-a).div_euclid(b))),
            Atom::Max(a, b) => two(a, b).map(|(a, b)| a.max(b)),
            Atom::Min(a, b) => two(a, b).map(|(a, b)| a.min(b)),
        }
    }

    fn substitute(&self, replace: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        match self {
            Atom::Sym(name) => replace(name).unwrap_or_else(|| Dim::atom(self.clone())),
            Atom::Floor(a, b) => a.substitute(replace).floor_div(&b.substitute(replace)),
            Atom::Ceil(a, b) => a.substitute(replace).ceil_div(&b.substitute(replace)),
            Atom::Max(a, b) => a.substitute(replace).maximum(&b.substitute(replace)),
            Atom::Min(a, b) => a.substitute(replace).minimum(&b.substitute(replace)),
        }
    }
}

/// `t / d` when `d` divides it.
fn divide_term(t: &Term, d: &Term) -> Option<Term> {
    let mut factors = t.factors.clone();
    for f in &d.factors {
        let at = factors.iter().position(|g| g == f)?;
        factors.remove(at);
    }
    (t.coef.checked_rem(d.coef) == Some(0)).then(|| Term { factors, coef: t.coef / d.coef })
}

impl std::ops::Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), other.as_const()) {
            return Dim::from(a.saturating_add(b));
        }
        let mut terms = self.terms();
        terms.extend(other.terms());
        Dim::from_terms(terms)
    }
}

impl std::ops::Neg for Dim {
    type Output = Dim;
    fn neg(self) -> Dim {
        self * Dim::from(-1i64)
    }
}

impl std::ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + -other
    }
}

impl std::ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), other.as_const()) {
            return Dim::from(a.saturating_mul(b));
        }
        let mut terms = Vec::new();
        for a in &self.terms() {
            for b in &other.terms() {
                let mut factors: Vec<Atom> = a.factors.iter().chain(&b.factors).cloned().collect();
                factors.sort();
                terms.push(Term { factors, coef: a.coef.saturating_mul(b.coef) });
            }
        }
        Dim::from_terms(terms)
    }
}

impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::from(1i64), |a, b| a * b)
    }
}

impl std::iter::Sum for Dim {
    fn sum<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::from(0i64), |a, b| a + b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extrema_reduce_where_the_order_is_certain() {
        let (n, c) = (Dim::sym("N"), |v: i64| Dim::from(v));
        assert_eq!(n.maximum(&c(0)), n);
        assert_eq!(c(0).minimum(&n), c(0));
        assert_eq!((n.clone() + c(1)).maximum(&c(1)), n.clone() + c(1));
        let capped = n.minimum(&c(512));
        assert_eq!(capped.maximum(&n), n);
        assert_eq!(capped.minimum(&n), capped);
        assert_eq!((n.clone() - c(1)).at_least(), Some(-1));
        assert_eq!((c(5) - n).at_least(), None);
    }
}
