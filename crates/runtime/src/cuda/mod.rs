//! CUDA devices: what runs launches, and the driver of the system.
//!
//! Guarantees: without a driver library, without a device, or with a driver that is too old, opening a device is an error
//! that says what is missing; nothing is linked against CUDA. Whoever implements [`Driver`] can stand in for a device, as
//! tests do. Deliberately absent: PTX (the plan has it), choice of kernels (the compiler made it).

mod device;
mod driver;
mod libcuda;

pub(crate) use device::{Device, DeviceFrame, DeviceMemory};
pub use driver::{DeviceInfo, Driver, DriverError, FunctionId, ModuleId, ParamValue};
pub use libcuda::LibCuda;
