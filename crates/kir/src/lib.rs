//! Kernel IR: what backends implement.
//!
//! The vocabulary between operators and backends: a small closed set of [`Kernel`]s over row-major operands, and
//! scalar programs ([`Expr`]) that `Map` kernels run per element and that other kernels run on their results before
//! the store (epilogues). Operators lower to it, backends match on it exhaustively, plans store it.
//! Deliberately absent: operator names, layouts, devices.

pub mod approx;
mod cost;
mod expr;
mod expr_text;
pub mod interp;
mod kernel;

pub use cost::{Cost, Extents, cost};
pub use expr::{BinOp, Expr, ExprBuilder, Inst, Num, Reg, UnOp};
pub use expr_text::{ExprParseError, parse_expr};
pub use kernel::*;
