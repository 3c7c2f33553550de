//! The interpreter in the place of a device's driver, so that whole plans run on it.
//!
//! Launches run at once. As with a device, what a kernel does wrong is an error of the calls that follow, and of all of them;
//! [`MockDriver::fault`] tells it in full. Reading back bytes that no kernel wrote is an error too.

use crate::{Delivery, Device, DeviceError, Fault, FaultKind, Module, Options, Param, Stats};
use planc_runtime::cuda::{DeviceInfo, Driver, DriverError, FunctionId, ModuleId, ParamValue};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A device of some compute capability that interprets its kernels.
pub struct MockDriver {
    info: DeviceInfo,
    state: Mutex<State>,
}

struct State {
    device: Device,
    modules: Vec<Module>,
    /// Module and entry of each function.
    functions: Vec<(usize, String)>,
    live: Vec<u64>,
    fault: Option<Fault>,
    counts: Counts,
}

/// What a mock was asked for since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels launched.
    pub launches: u64,
    /// Bytes copied to the device.
    pub uploaded: u64,
    /// Bytes copied from it.
    pub downloaded: u64,
    /// Sums over all launches.
    pub stats: Stats,
}

impl fmt::Debug for MockDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockDriver").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Shared memory that a block of such a device may ask for. CUDA C++ Programming Guide, "Technical specifications per
/// compute capability".
fn shared_limit(capability: u32) -> usize {
    let kib = match capability {
        0..80 => 64,
        80 | 87 => 163,
        81..90 | 120.. => 99,
        _ => 227,
    };
    kib << 10
}

fn failed(call: &'static str, message: impl fmt::Display) -> DriverError {
    DriverError::Call { call, message: message.to_string() }
}

impl MockDriver {
    /// A device of compute capability `capability` (80 for `sm_80`), with the shared memory that such devices have.
    pub fn new(capability: u32, seed: u64, delivery: Delivery) -> MockDriver {
        let shared_limit = shared_limit(capability);
        MockDriver::with_options(capability, Options { seed, delivery, shared_limit, ..Options::default() })
    }

    /// A device with these options.
    pub fn with_options(capability: u32, options: Options) -> MockDriver {
        let info = DeviceInfo { name: "interpreter".to_string(), capability, memory: options.memory_limit };
        let state = State {
            device: Device::new(options),
            modules: vec![],
            functions: vec![],
            live: vec![],
            fault: None,
            counts: Counts::default(),
        };
        MockDriver { info, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first fault of a kernel, or of a `free` of what was not allocated.
    pub fn fault(&self) -> Option<Fault> {
        self.state().fault.clone()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// How many allocations were not given back.
    pub fn live(&self) -> usize {
        self.state().live.len()
    }

    /// The state, unless a kernel failed before.
    fn ready(&self, call: &'static str) -> Result<MutexGuard<'_, State>, DriverError> {
        let state = self.state();
        match &state.fault {
            Some(f) => Err(failed(call, f)),
            None => Ok(state),
        }
    }
}

/// Number of an architecture such as `sm_90a`, and whether only that one runs it.
fn target(name: &str) -> Option<(u32, bool)> {
    let digits = name.strip_prefix("sm_")?;
    let number = digits.trim_end_matches(|c: char| c.is_ascii_lowercase());
    Some((number.parse().ok()?, number.len() < digits.len()))
}

impl Driver for MockDriver {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: usize) -> Result<u64, DriverError> {
        const CALL: &str = "cuMemAlloc";
        let mut s = self.ready(CALL)?;
        if bytes == 0 {
            return Err(failed(CALL, "0 bytes"));
        }
        let address = s.device.alloc(bytes).map_err(|e| failed(CALL, e))?;
        s.live.push(address);
        Ok(address)
    }

    fn free(&self, address: u64) {
        let mut s = self.state();
        match s.live.iter().position(|a| *a == address) {
            Some(at) => {
                s.live.swap_remove(at);
            }
            None => {
                let message = format!("{address:#x} is given back, which is not allocated");
                let fault = Fault {
                    kind: FaultKind::Launch,
                    entry: "cuMemFree".to_string(),
                    line: 0,
                    block: [0; 3],
                    thread: [0; 3],
                    message,
                };
                s.fault.get_or_insert(fault);
                return;
            }
        }
        // It was live, so the device knows it.
        let freed: Result<(), DeviceError> = s.device.free(address);
        debug_assert!(freed.is_ok(), "{freed:?}");
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), DriverError> {
        const CALL: &str = "cuMemcpyHtoD";
        let mut s = self.ready(CALL)?;
        s.counts.uploaded += from.len() as u64;
        s.device.write(to, from).map_err(|e| failed(CALL, e))
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), DriverError> {
        const CALL: &str = "cuMemcpyDtoH";
        let mut s = self.ready(CALL)?;
        s.counts.downloaded += to.len() as u64;
        let bytes = s.device.read(from, to.len()).map_err(|e| failed(CALL, e))?;
        to.copy_from_slice(&bytes);
        Ok(())
    }

    fn load(&self, ptx: &str) -> Result<ModuleId, DriverError> {
        const CALL: &str = "cuModuleLoadData";
        let mut s = self.ready(CALL)?;
        let module = Module::parse(ptx).map_err(|e| failed(CALL, e))?;
        let have = self.info.capability;
        let fits = target(&module.target).is_some_and(|(n, only)| if only { n == have } else { n <= have });
        if !fits {
            return Err(failed(CALL, format_args!("{} does not run on sm_{have}", module.target)));
        }
        s.modules.push(module);
        Ok(ModuleId(s.modules.len() as u64 - 1))
    }

    fn function(&self, module: ModuleId, name: &str) -> Result<FunctionId, DriverError> {
        const CALL: &str = "cuModuleGetFunction";
        let mut s = self.ready(CALL)?;
        let at = module.0 as usize;
        if s.modules.get(at).and_then(|m| m.entry(name)).is_none() {
            return Err(failed(CALL, format_args!("there is no {name}")));
        }
        s.functions.push((at, name.to_string()));
        Ok(FunctionId(s.functions.len() as u64 - 1))
    }

    fn launch(
        &self,
        function: FunctionId,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &[ParamValue],
    ) -> Result<(), DriverError> {
        const CALL: &str = "cuLaunchKernel";
        let mut s = self.ready(CALL)?;
        let s = &mut *s;
        let Some((module, name)) = s.functions.get(function.0 as usize) else {
            return Err(failed(CALL, "there is no such function"));
        };
        let value = |p: &ParamValue| match p {
            ParamValue::Address(v) => Param::U64(*v),
            ParamValue::Size(v) => Param::U32(*v),
        };
        let params: Vec<Param> = params.iter().map(value).collect();
        s.counts.launches += 1;
        match s.device.launch(&s.modules[*module], name, grid, block, shared as usize, &params) {
            Ok(stats) => s.counts.stats.add(&stats),
            Err(fault) if fault.kind == FaultKind::Launch => return Err(failed(CALL, fault)),
            Err(fault) => s.fault = Some(fault),
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.ready("cuStreamSynchronize").map(|_| ())
    }
}
