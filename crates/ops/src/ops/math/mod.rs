//! Arithmetic, functions of numbers, and conversions between element types.

mod abs;
mod acos;
mod acosh;
mod add;
mod asin;
mod asinh;
mod atan;
mod atanh;
mod cast;
mod cast_like;
mod ceil;
mod clip;
mod cos;
mod cosh;
mod div;
mod erf;
mod exp;
mod floor;
pub(crate) mod legacy_broadcast;
mod log;
mod max;
mod mean;
mod min;
mod modulo;
mod mul;
mod neg;
mod pow;
mod reciprocal;
mod round;
mod sign;
mod sin;
mod sinh;
mod sqrt;
mod sub;
mod sum;
mod tan;

use crate::def::OpDef;

/// The rows of the family.
pub const ROWS: &[&OpDef] = &[
    &abs::OP,
    &acos::OP,
    &acosh::OP,
    &add::OP,
    &asin::OP,
    &asinh::OP,
    &atan::OP,
    &atanh::OP,
    &cast::OP,
    &cast_like::OP,
    &ceil::OP,
    &clip::OP,
    &cos::OP,
    &cosh::OP,
    &div::OP,
    &erf::OP,
    &exp::OP,
    &floor::OP,
    &log::OP,
    &max::OP,
    &mean::OP,
    &min::OP,
    &modulo::OP,
    &mul::OP,
    &neg::OP,
    &pow::OP,
    &reciprocal::OP,
    &round::OP,
    &sign::OP,
    &sin::OP,
    &sinh::OP,
    &sqrt::OP,
    &sub::OP,
    &sum::OP,
    &tan::OP,
];
