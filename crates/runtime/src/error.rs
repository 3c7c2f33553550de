//! What can go wrong when a plan is opened or run.

use crate::cuda::DriverError;
use crate::map::MapError;
use crate::pool::PoolError;
use crate::session::Refusal;
use planc_plan::container::{FormatError, PtxArch, TargetId};
use planc_plan::program::ManifestError;

/// Why a plan cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The container is damaged, or of another version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The manifest is inconsistent.
    #[error("the manifest is inconsistent: {0}")]
    Manifest(#[from] ManifestError),
    /// A code section does not fit the manifest.
    #[error("section code {target}: {message}")]
    Code {
        /// The section's target.
        target: TargetId,
        /// What is wrong.
        message: String,
    },
    /// A PTX section does not fit the manifest.
    #[error("section ptx {arch}: {message}")]
    Device {
        /// The section's architecture.
        arch: PtxArch,
        /// What is wrong.
        message: String,
    },
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The threads cannot be started.
    #[error("cannot start the threads: {0}")]
    Threads(#[from] PoolError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DriverError),
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The inputs do not fit the plan.
    #[error("{0}")]
    Input(String),
    /// A step cannot do its work on these values.
    #[error("step {step:?}: {message}")]
    Step {
        /// Name of the step.
        step: String,
        /// What is wrong.
        message: String,
    },
    /// A step would have to do what is not supported.
    #[error("step {step:?}: {message}")]
    Unsupported {
        /// Name of the step.
        step: String,
        /// What is not supported.
        message: String,
    },
    /// The run needs more memory than allowed.
    #[error("step {step:?}: {message}")]
    Memory {
        /// Name of the step.
        step: String,
        /// What is too large.
        message: String,
    },
}

impl RunError {
    /// An evaluation at `step` that gave nothing.
    pub(crate) fn refused(step: String, why: Refusal) -> RunError {
        match why {
            Refusal::Unsupported(message) => RunError::Unsupported { step, message },
            Refusal::Limit(message) => RunError::Memory { step, message },
            Refusal::Values(message) => RunError::Step { step, message },
        }
    }
}
