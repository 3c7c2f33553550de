//! Loads a plan and runs it.
//!
//! [`Plan::open`] maps and checks a file; [`Session::run`] runs it, from several threads at once if they like. Weights
//! are read where the file is mapped. Buffers whose extents follow from the inputs' extents lie in one arena; what is
//! known only after a step ran is allocated then. Operators that have no kernel are evaluated by whoever implements
//! [`ReferenceOps`], so that this crate knows no operator. A plan for a device runs through whoever implements
//! [`cuda::Driver`]; steps without a launch run here as they do on CPUs.
//!
//! Deliberately absent: compilation, protobuf, command-line talk, files other than plans.
#![allow(unsafe_code, reason = "maps files, hands out disjoint parts of an arena, shares work between threads")]

mod arena;
mod code;
mod control;
pub mod cuda;
mod error;
mod folding;
mod frame;
pub mod map;
mod plan;
pub mod pool;
mod profile;
mod session;
mod symbols;

pub use error::{OpenError, RunError, SessionError};
pub use plan::{OpenOptions, Plan};
pub use profile::{Profile, StepTime, TaskTime};
pub use session::{NoReference, Observer, ReferenceOps, Refusal, Session, SessionOptions};
