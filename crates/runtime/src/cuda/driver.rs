//! What a session asks of a device.

use std::fmt;

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name.
    pub name: String,
    /// Compute capability times ten: 80 for `sm_80`.
    pub capability: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// A module that was loaded, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleId(pub u64);

/// A kernel of a loaded module, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionId(pub u64);

/// The value of a kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamValue {
    /// `.u64`: an address.
    Address(u64),
    /// `.u32`: a size.
    Size(u32),
}

/// A device and the queue of work on it. Calls are carried out in order; copies wait for the launches before them.
pub trait Driver: Send + Sync + fmt::Debug {
    /// What the device is.
    fn info(&self) -> &DeviceInfo;

    /// Memory of `bytes` bytes (at least 1), aligned to 256, not initialised.
    ///
    /// # Errors
    /// When there is not enough.
    fn alloc(&self, bytes: usize) -> Result<u64, DriverError>;

    /// Gives memory back; `address` came from [`Driver::alloc`].
    fn free(&self, address: u64);

    /// Copies to the device.
    ///
    /// # Errors
    /// When the range is not the caller's, or the device failed.
    fn upload(&self, to: u64, from: &[u8]) -> Result<(), DriverError>;

    /// Copies from the device, after everything that was launched.
    ///
    /// # Errors
    /// When the range is not the caller's, or a launch before it failed.
    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), DriverError>;

    /// Compiles PTX for the device.
    ///
    /// # Errors
    /// When the device does not take it; with what the compiler says.
    fn load(&self, ptx: &str) -> Result<ModuleId, DriverError>;

    /// The kernel called `name`.
    ///
    /// # Errors
    /// When the module has none.
    fn function(&self, module: ModuleId, name: &str) -> Result<FunctionId, DriverError>;

    /// Starts a kernel. No extent of the grid is 0.
    ///
    /// # Errors
    /// When the device does not take it. What goes wrong while it runs is an error of a later call.
    fn launch(
        &self,
        function: FunctionId,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &[ParamValue],
    ) -> Result<(), DriverError>;

    /// Waits for everything that was launched.
    ///
    /// # Errors
    /// When a launch failed.
    fn synchronize(&self) -> Result<(), DriverError>;
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The driver's library is not installed.
    #[error("no CUDA driver is installed: {0}")]
    NoLibrary(String),
    /// The driver's library lacks a function.
    #[error("the CUDA driver is too old: it has no {0}")]
    Missing(&'static str),
    /// The driver supports an older CUDA than needed.
    #[error("the CUDA driver is too old: it supports CUDA {have}, needed is {need}")]
    TooOld {
        /// What it supports.
        have: String,
        /// What is needed.
        need: String,
    },
    /// There is no device.
    #[error("there is no CUDA device: {0}")]
    NoDevice(String),
    /// The device cannot run what the plan contains.
    #[error("{device} is sm_{capability}, the plan has code for {offered}")]
    Architecture {
        /// The device's name.
        device: String,
        /// Its compute capability times ten.
        capability: u32,
        /// What the plan offers.
        offered: String,
    },
    /// A call failed.
    #[error("{call} failed: {message}")]
    Call {
        /// The call.
        call: &'static str,
        /// What the driver says.
        message: String,
    },
}
