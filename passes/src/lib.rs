//! Graph passes and their manager.
//!
//! A pass is one file with one row in [`PIPELINE`] and one folder of cases in `testdata/passes`; its header says what
//! it does and why, and shows an example that a test runs. Guarantees: passes are deterministic and never look at the
//! host; after each pass the graph is proper and its types are inferred; a rewrite that is declined says why.
//! Deliberately absent: kernels and layouts of a backend; what passes must know of one comes in through
//! [`PassOptions`].

mod assign_layout;
mod decompose;
mod eliminate_common;
mod eliminate_dead;
mod fold_constants;
mod fold_quantization;
mod fuse_attention;
mod fuse_elementwise;
mod fuse_epilogue;
mod fuse_linear;
mod fuse_norm;
mod fuse_reduce;
mod infer;
mod inline;
mod manager;
mod narrow_weights;
mod plan_memory;
mod quantised;
mod quantize;
mod rewrite;
mod simplify;
mod widen_half;

pub use manager::{
    Decision, Decline, Form, PIPELINE, Pass, PassCx, PassError, PassOptions, PassRun, QuantisedValue, Report, run_pass,
    run_pipeline,
};
pub use narrow_weights::{NarrowWeights, Narrowed, WeightForm};
pub use quantize::{Quantise, observed};
