//! Where the terms of an epilogue go: the operands of an expression as bias and residual of a kernel.

use super::epilogue::{Recognised, recognise};
use super::{Operand, Output, map};
use crate::dispatch::Cx;
use crate::epilogue::{Activation, Bias, Epilogue, Residual};
use planc_kir::Expr;

/// What a kernel takes over of a bias operand and an epilogue, and what is left.
pub(super) struct Terms<'a> {
    bias: Option<&'a [f32]>,
    per_row: bool,
    residual: Option<&'a [f32]>,
    activation: Activation,
    after: bool,
    /// The expression that must run over the stored result, with its sides.
    left: Option<(&'a Expr, Vec<Operand<'a>>)>,
    /// The bias operand could not be taken over.
    pub(super) bias_left: bool,
}

/// How a kernel sees operands that are added to its result.
pub(super) struct Places<'a> {
    /// Whether an operand holds one value per channel (or column).
    pub(super) per_channel: &'a dyn Fn(&Operand<'_>) -> bool,
    /// Channels are rows of the product rather than columns.
    pub(super) per_row: bool,
    /// Whether the kernel adds factors of its own after the product, so that nothing can be taken over.
    pub(super) plain: bool,
}

impl<'a> Terms<'a> {
    /// Finds places for `bias` and the terms of `epilogue` over `sides`, whose result is `out`.
    pub(super) fn place(
        bias: Option<Operand<'a>>,
        epilogue: Option<&'a Expr>,
        sides: Vec<Operand<'a>>,
        out: &Output<'_>,
        places: &Places<'_>,
    ) -> Result<Terms<'a>, String> {
        let nothing = Recognised { before: vec![], activation: Activation::None, after: None };
        let usual = match epilogue {
            Some(e) => recognise(e).map(|r| Terms::try_place(&r, bias, &sides, out, places)).transpose()?.flatten(),
            None => Terms::try_place(&nothing, bias, &[], out, places)?,
        };
        if let Some(terms) = usual {
            return Ok(terms);
        }
        let bias_only = Terms::try_place(&nothing, bias, &[], out, places)?;
        let mut terms = bias_only.unwrap_or(Terms {
            bias: None,
            per_row: places.per_row,
            residual: None,
            activation: Activation::None,
            after: false,
            left: None,
            bias_left: true,
        });
        terms.left = epilogue.map(|e| (e, sides));
        Ok(terms)
    }

    fn try_place(
        r: &Recognised,
        bias: Option<Operand<'a>>,
        sides: &[Operand<'a>],
        out: &Output<'_>,
        places: &Places<'_>,
    ) -> Result<Option<Terms<'a>>, String> {
        if !places.plain {
            return Ok(None);
        }
        let mut terms = Terms {
            bias: None,
            per_row: places.per_row,
            residual: None,
            activation: r.activation,
            after: false,
            left: None,
            bias_left: false,
        };
        let side = |i: &u16| sides.get(usize::from(*i) - 1).copied();
        for o in bias.into_iter().chain(r.before.iter().filter_map(side)) {
            let same = o.shape == out.shape && o.layout == out.layout;
            if terms.bias.is_none() && (places.per_channel)(&o) {
                terms.bias = Some(o.elements()?);
            } else if terms.residual.is_none() && same {
                terms.residual = Some(o.elements()?);
            } else {
                return Ok(None);
            }
        }
        if let Some(o) = r.after.as_ref().and_then(side) {
            if terms.residual.is_some() || o.shape != out.shape || o.layout != out.layout {
                return Ok(None);
            }
            terms.residual = Some(o.elements()?);
            terms.after = true;
        }
        Ok(Some(terms))
    }

    /// The kernel's epilogue for elements `part` of the result, whose rows are `ld` apart.
    pub(super) fn epilogue(&self, part: std::ops::Range<usize>, ld: usize) -> Epilogue<'a> {
        Epilogue {
            bias: match self.bias {
                None => Bias::None,
                Some(b) if self.per_row => Bias::PerRow(b),
                Some(b) => Bias::PerCol(b),
            },
            residual: self.residual.map(|r| Residual::new(&r[part], ld)),
            activation: self.activation,
            residual_after_activation: self.after,
        }
    }

    /// Runs what is left over the stored result.
    pub(super) fn finish(self, cx: &mut Cx<'_>, out: &mut Output<'_>) -> Result<(), String> {
        match self.left {
            Some((e, sides)) => map::run_in_place(cx, e, &sides, out),
            None => Ok(()),
        }
    }
}
