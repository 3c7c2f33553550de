//! An interpreter of PTX that checks kernels while it runs them. For tests only: nothing that ships depends on it.
//!
//! ```
//! use planc_ptxsim::{Device, Module, Options, Param};
//! let text = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry twice(.param .u64 p) {
//!     .reg .b32 %r<3>; .reg .b64 %rd<3>;
//!     ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4; add.u64 %rd2, %rd0, %rd1;
//!     ld.global.u32 %r1, [%rd2]; add.u32 %r1, %r1, %r1; st.global.u32 [%rd2], %r1; ret; }";
//! let module = Module::parse(text).unwrap();
//! let mut device = Device::new(Options::default());
//! let p = device.upload(&[1, 0, 0, 0, 2, 0, 0, 0]).unwrap();
//! device.launch(&module, "twice", [1, 1, 1], [2, 1, 1], 0, &[Param::U64(p)]).unwrap();
//! assert_eq!(device.read(p, 8).unwrap(), [2, 0, 0, 0, 4, 0, 0, 0]);
//! let fault = device.launch(&module, "twice", [1, 1, 1], [3, 1, 1], 0, &[Param::U64(p)]).unwrap_err();
//! assert_eq!((fault.kind, fault.line, fault.thread), (planc_ptxsim::FaultKind::OutOfBounds, 7, [2, 0, 0]));
//! ```
//!
//! What it guarantees: a kernel that runs to the end without a `Fault` accessed only memory that is allocated, aligned and
//! written; its threads and blocks had no race that the accesses of this run show, whatever order they ran in; no aligned
//! instruction was divergent; no asynchronous copy was used before it was waited for. The same seed gives the same run.
//!
//! What it leaves out: what an assembler does, timing, the rounding inside of tensor cores, the error of approximate
//! instructions, order between blocks beyond fences and atomics, clusters, TMA, wgmma. What is left out of the instruction
//! set is a `ParseError` when the text is read, never something silently skipped.

mod alu;
mod decode;
mod device;
mod error;
mod exec;
mod global;
mod isa;
mod lex;
mod machine;
mod mock;
mod num;
mod parse;
mod shared;

pub use device::{Delivery, Device, Options, Param};
pub use error::{DeviceError, Fault, FaultKind, ParseError};
pub use exec::Stats;
pub use isa::Type;
pub use mock::{Counts, MockDriver};
pub use parse::{Entry, Module, Parameter};
