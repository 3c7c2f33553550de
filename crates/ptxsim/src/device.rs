//! The device as a host sees it: memory to allocate, write and read, and kernels to launch.

use crate::error::{DeviceError, Fault, FaultKind};
use crate::exec::Stats;
use crate::global::Global;
use crate::machine::Launch;
use crate::parse::{Module, Parameter};

/// When an asynchronous copy writes its destination. A correct kernel cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// When it is waited for; until then the destination may not be touched.
    #[default]
    Deferred,
    /// At once.
    Eager,
}

/// How a device behaves where the instruction set leaves it free, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Chooses the order of blocks and of the turns of warps. The same seed gives the same run.
    pub seed: u64,
    /// When asynchronous copies arrive.
    pub delivery: Delivery,
    /// Whether lanes of one warp that are ordered by nothing but running in step count as racing.
    pub lane_races: bool,
    /// Bytes of shared memory a block may have, static and dynamic together.
    pub shared_limit: usize,
    /// Bytes of global memory.
    pub memory_limit: u64,
    /// Instructions (of warps) that one launch may execute.
    pub budget: u64,
}

impl Default for Options {
    /// 227 KiB of shared memory as on sm_90, 4 GiB of memory, 500 million instructions.
    fn default() -> Options {
        Options {
            seed: 0,
            delivery: Delivery::Deferred,
            lane_races: true,
            shared_limit: 227 << 10,
            memory_limit: 4 << 30,
            budget: 500_000_000,
        }
    }
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A device address or another 64-bit integer.
    U64(u64),
    /// A 32-bit integer.
    U32(u32),
    /// A signed 32-bit integer.
    S32(i32),
    /// A 64-bit signed integer.
    S64(i64),
    /// A single precision number.
    F32(f32),
    /// A double precision number.
    F64(f64),
    /// Anything else, by its bytes.
    Bytes(Vec<u8>),
}

impl Param {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Param::U64(v) => v.to_le_bytes().to_vec(),
            Param::U32(v) => v.to_le_bytes().to_vec(),
            Param::S32(v) => v.to_le_bytes().to_vec(),
            Param::S64(v) => v.to_le_bytes().to_vec(),
            Param::F32(v) => v.to_le_bytes().to_vec(),
            Param::F64(v) => v.to_le_bytes().to_vec(),
            Param::Bytes(v) => v.clone(),
        }
    }
}

/// A device with memory of its own.
pub struct Device {
    options: Options,
    global: Global,
    launches: u64,
}

impl Device {
    /// An empty device.
    pub fn new(options: Options) -> Device {
        let global = Global::new(options.memory_limit);
        Device { options, global, launches: 0 }
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Bytes allocated now.
    pub fn used(&self) -> u64 {
        self.global.used()
    }

    /// Allocates `bytes` of unwritten memory, aligned to 512, far from any other allocation. No address is used twice.
    ///
    /// # Errors
    /// `OutOfMemory` beyond the limit of the options.
    pub fn alloc(&mut self, bytes: usize) -> Result<u64, DeviceError> {
        self.global.alloc(bytes)
    }

    /// Allocates and writes.
    ///
    /// # Errors
    /// As `alloc`.
    pub fn upload(&mut self, bytes: &[u8]) -> Result<u64, DeviceError> {
        let address = self.alloc(bytes.len())?;
        self.write(address, bytes)?;
        Ok(address)
    }

    /// Gives an allocation back; using it from then on is out of bounds.
    ///
    /// # Errors
    /// `NotAllocated` unless `address` came from `alloc`.
    pub fn free(&mut self, address: u64) -> Result<(), DeviceError> {
        self.global.free(address)
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// `Range` unless one allocation holds it all.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let (data, init) = self.global.host(address, bytes.len())?;
        data.copy_from_slice(bytes);
        init.fill(true);
        Ok(())
    }

    /// Fills with one byte.
    ///
    /// # Errors
    /// `Range` unless one allocation holds it all.
    pub fn fill(&mut self, address: u64, len: usize, value: u8) -> Result<(), DeviceError> {
        let (data, init) = self.global.host(address, len)?;
        data.fill(value);
        init.fill(true);
        Ok(())
    }

    /// Forgets what was written, as when a planner hands the bytes to another value: they must be written before they are
    /// read again.
    ///
    /// # Errors
    /// `Range` unless one allocation holds it all.
    pub fn forget(&mut self, address: u64, len: usize) -> Result<(), DeviceError> {
        let (data, init) = self.global.host(address, len)?;
        data.fill(0xcd);
        init.fill(false);
        Ok(())
    }

    /// Copies to the host.
    ///
    /// # Errors
    /// `Range` unless one allocation holds it all; `Unwritten` where a byte was never written.
    pub fn read(&mut self, address: u64, len: usize) -> Result<Vec<u8>, DeviceError> {
        let (data, init) = self.global.host(address, len)?;
        match init.iter().position(|b| !b) {
            Some(at) => Err(DeviceError::Unwritten { address: address + at as u64 }),
            None => Ok(data.to_vec()),
        }
    }

    /// Copies within the device. What was not written stays so.
    ///
    /// # Errors
    /// `Range` unless one allocation holds each side.
    pub fn copy(&mut self, to: u64, from: u64, len: usize) -> Result<(), DeviceError> {
        let (data, init) = self.global.host(from, len)?;
        let (data, init) = (data.to_vec(), init.to_vec());
        let (to_data, to_init) = self.global.host(to, len)?;
        to_data.copy_from_slice(&data);
        to_init.copy_from_slice(&init);
        Ok(())
    }

    /// Runs a kernel with typed arguments, one per parameter, each of the size of its parameter.
    ///
    /// # Errors
    /// The first fault. Memory is then as the kernel left it.
    pub fn launch(
        &mut self,
        module: &Module,
        entry: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: usize,
        params: &[Param],
    ) -> Result<Stats, Fault> {
        let Some(found) = module.entry(entry) else {
            return Err(refused(entry, "the module has no such entry".to_string()));
        };
        if params.len() != found.params.len() {
            let message = format!("{} arguments, the entry takes {}", params.len(), found.params.len());
            return Err(refused(entry, message));
        }
        let mut packed = vec![0; found.param_bytes()];
        for (Parameter { name, offset, bytes, .. }, arg) in found.params.iter().zip(params) {
            let arg = arg.bytes();
            if arg.len() != *bytes {
                return Err(refused(entry, format!("{} bytes for parameter {name} of {bytes}", arg.len())));
            }
            packed[*offset..offset + bytes].copy_from_slice(&arg);
        }
        self.launch_packed(module, entry, grid, block, shared_bytes, &packed)
    }

    /// Runs a kernel with the bytes of its parameter block.
    ///
    /// # Errors
    /// The first fault. Memory is then as the kernel left it.
    pub fn launch_packed(
        &mut self,
        module: &Module,
        entry: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: usize,
        params: &[u8],
    ) -> Result<Stats, Fault> {
        let Some(found) = module.entry(entry) else {
            return Err(refused(entry, "the module has no such entry".to_string()));
        };
        self.launches += 1;
        let seed = self.options.seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(self.launches);
        let launch = Launch { entry: found, grid, block, shared: shared_bytes, params };
        launch.run(&mut self.global, &self.options, seed)
    }
}

fn refused(entry: &str, message: String) -> Fault {
    Fault { kind: FaultKind::Launch, entry: entry.to_string(), line: 0, block: [0; 3], thread: [0; 3], message }
}
