//! A plan on a device: its module and weights there, and where the values of a run are.
//!
//! Guarantees: a launch gets addresses of memory that holds its operands' and results' bytes, whole and up to date; bytes
//! are copied between host and device only when the other side needs them. Values of the arena lie at the same offsets on
//! both sides, so one placement serves both.

use super::driver::{Driver, DriverError, FunctionId, ParamValue};
use crate::plan::{Plan, Prepared};
use crate::symbols::Symbols;
use planc_plan::container::SectionKind;
use planc_plan::launch::{DeviceStep, Launch, Param};
use planc_plan::program::{Program, Step, Storage};
use planc_tensor::Dim;
use std::sync::Arc;

/// Memory of a device, given back when dropped.
#[derive(Debug)]
pub(crate) struct Allocation {
    driver: Arc<dyn Driver>,
    address: u64,
    len: usize,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.driver.free(self.address);
    }
}

/// Memory of a device that runs reuse.
#[derive(Debug, Default)]
pub(crate) struct DeviceMemory {
    /// Values of the arena, then inputs.
    arena: Option<Allocation>,
    /// Temporary buffers of one step.
    scratch: Option<Allocation>,
}

/// A plan whose module is loaded.
#[derive(Debug)]
pub(crate) struct Device {
    driver: Arc<dyn Driver>,
    /// The entries of the launch table, and the kernel of each launch.
    steps: Vec<(DeviceStep, Vec<FunctionId>)>,
    /// The weights section.
    weights: Option<Allocation>,
}

/// Addresses that the driver gives are multiples of this; so are offsets that are added here.
const ALIGN: usize = 256;

impl Device {
    /// Loads the best module that the plan has for the device, and its weights.
    pub(crate) fn load(plan: &Plan, driver: Arc<dyn Driver>) -> Result<Device, DriverError> {
        let capability = driver.info().capability;
        let runs = |arch: planc_plan::container::PtxArch| {
            if arch.is_specific() { arch.number() == capability } else { arch.number() <= capability }
        };
        let offered = plan.device_sections();
        let best = offered.iter().filter(|s| runs(s.arch)).max_by_key(|s| (s.arch.number(), s.arch.is_specific()));
        let best = best.ok_or_else(|| DriverError::Architecture {
            device: driver.info().name.clone(),
            capability,
            offered: match offered {
                [] => "no CUDA device".to_string(),
                all => all.iter().map(|s| s.arch.to_string()).collect::<Vec<_>>().join(", "),
            },
        })?;
        let module = driver.load(plan.device_text(best))?;
        let mut steps = Vec::with_capacity(best.steps.len());
        for step in &best.steps {
            let functions = step.launches.iter().map(|l| driver.function(module, &l.entry));
            steps.push((step.clone(), functions.collect::<Result<_, _>>()?));
        }
        let mut device = Device { driver, steps, weights: None };
        let container = plan.container().ok();
        if let Some(bytes) = container.as_ref().and_then(|c| c.section(SectionKind::Weights))
            && !bytes.is_empty()
        {
            let memory = device.alloc(bytes.len())?;
            device.driver.upload(memory.address, bytes)?;
            device.weights = Some(memory);
        }
        Ok(device)
    }

    fn alloc(&self, len: usize) -> Result<Allocation, DriverError> {
        let address = self.driver.alloc(len.max(1))?;
        Ok(Allocation { driver: self.driver.clone(), address, len })
    }

    /// Makes `slot` hold at least `len` bytes. What it held is gone when it grows.
    fn reserve(&self, slot: &mut Option<Allocation>, len: usize) -> Result<u64, DriverError> {
        if let Some(a) = slot.as_ref().filter(|a| a.len >= len) {
            return Ok(a.address);
        }
        *slot = None;
        Ok(slot.insert(self.alloc(len)?).address)
    }
}

/// Where the bytes of a value are up to date.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    host: bool,
    device: bool,
}

/// A program while it runs on a device. Values are named by the root of their bytes.
#[derive(Debug)]
pub(crate) struct DeviceFrame<'a> {
    device: &'a Device,
    prepared: &'a Prepared,
    places: Vec<Place>,
    /// Where values have their memory, those of the pool once they have some.
    addresses: Vec<Option<u64>>,
    /// Memory of values of the pool.
    pool: Vec<Option<Allocation>>,
    scratch: Option<Allocation>,
    arena: Option<Allocation>,
}

impl<'a> DeviceFrame<'a> {
    /// Gives arena values, inputs (of `inputs` bytes each) and weights their addresses.
    pub(crate) fn new(
        device: &'a Device,
        (program, prepared): (&'a Program, &'a Prepared),
        slots: &[Option<(usize, usize)>],
        total: usize,
        inputs: &[usize],
        memory: DeviceMemory,
    ) -> Result<DeviceFrame<'a>, DriverError> {
        let n = program.values.len();
        let mut frame = DeviceFrame {
            device,
            prepared,
            places: vec![Place::default(); n],
            addresses: vec![None; n],
            pool: (0..n).map(|_| None).collect(),
            scratch: memory.scratch,
            arena: memory.arena,
        };
        let mut end = total.next_multiple_of(ALIGN);
        let mut offsets = Vec::with_capacity(inputs.len());
        for bytes in inputs {
            offsets.push(end);
            end += bytes.next_multiple_of(ALIGN);
        }
        let base = device.reserve(&mut frame.arena, end)?;
        for (v, slot) in slots.iter().enumerate() {
            frame.addresses[v] = slot.map(|(offset, _)| base + offset as u64);
        }
        for (v, offset) in program.inputs.iter().zip(offsets) {
            frame.addresses[*v as usize] = Some(base + offset as u64);
            frame.places[*v as usize].host = true;
        }
        for (v, decl) in program.values.iter().enumerate() {
            match decl.storage {
                Storage::Weight { offset, .. } => {
                    frame.addresses[v] = device.weights.as_ref().map(|w| w.address + offset);
                    frame.places[v] = Place { host: true, device: true };
                }
                Storage::Strings { .. } => frame.places[v].host = true,
                _ => {}
            }
        }
        Ok(frame)
    }

    /// Memory for the next run.
    pub(crate) fn into_memory(self) -> DeviceMemory {
        DeviceMemory { arena: self.arena, scratch: self.scratch }
    }

    /// The value whose bytes `v` has.
    pub(crate) fn root(&self, v: u32) -> u32 {
        self.prepared.root[v as usize]
    }

    /// Whether the host lacks the bytes of `v`.
    pub(crate) fn is_away(&self, v: u32) -> bool {
        !self.places[self.root(v) as usize].host
    }

    /// Copies a value of which the host has `to.len()` bytes of memory.
    pub(crate) fn download(&mut self, v: u32, to: &mut [u8]) -> Result<(), DriverError> {
        let root = self.root(v) as usize;
        if let Some(address) = self.addresses[root].filter(|_| !to.is_empty()) {
            self.device.driver.download(address, to)?;
        }
        self.places[root].host = true;
        Ok(())
    }

    /// The host has written `v`.
    pub(crate) fn wrote_on_host(&mut self, v: u32) {
        let root = self.root(v) as usize;
        self.places[root] = Place { host: true, device: false };
    }

    /// Nobody reads `root` any more.
    pub(crate) fn release(&mut self, root: u32) {
        if self.pool[root as usize].take().is_some() {
            self.addresses[root as usize] = None;
        }
    }

    /// The address of a value of `len` bytes, with memory behind it.
    fn address(&mut self, root: usize, len: usize) -> Result<u64, DriverError> {
        if let Some(address) = self.addresses[root] {
            return Ok(address);
        }
        let memory = self.device.alloc(len)?;
        let address = memory.address;
        self.pool[root] = Some(memory);
        self.addresses[root] = Some(address);
        Ok(address)
    }

    /// Runs `step` by entry `code` of the launch table. `host` gives the bytes of an operand that the host has; `lens` are
    /// those of the results.
    pub(crate) fn launch<'b>(
        &mut self,
        step: &Step,
        code: u32,
        symbols: &Symbols,
        host: &dyn Fn(u32) -> &'b [u8],
        lens: &[usize],
    ) -> Result<(), String> {
        let device = self.device;
        let (entry, functions) = device.steps.get(code as usize).ok_or("there is no such entry of the launch table")?;
        let failed = |e: DriverError| e.to_string();
        for v in step.inputs.iter().flatten() {
            let root = self.root(*v) as usize;
            if !self.places[root].device {
                let bytes = host(*v);
                let address = self.address(root, bytes.len()).map_err(failed)?;
                if !bytes.is_empty() {
                    device.driver.upload(address, bytes).map_err(failed)?;
                }
                self.places[root].device = true;
            }
        }
        for (v, len) in step.outputs.iter().zip(lens) {
            if let Some(v) = v {
                let root = self.root(*v) as usize;
                self.address(root, *len).map_err(failed)?;
                self.places[root] = Place { host: false, device: true };
            }
        }
        let size = |d: &Dim| symbols.eval(d).ok_or_else(|| format!("the extent {d} is not known"));
        let mut offsets = Vec::with_capacity(entry.scratch.len());
        let mut end = 0usize;
        for bytes in &entry.scratch {
            offsets.push(end as u64);
            let padded = size(bytes)?.checked_next_multiple_of(ALIGN).and_then(|n| end.checked_add(n));
            end = padded.ok_or("its temporary buffers are too large")?;
        }
        let scratch = if end == 0 { 0 } else { device.reserve(&mut self.scratch, end).map_err(failed)? };
        for (own, extent) in entry.launches.iter().flat_map(|l| &l.broadcasts) {
            let (have, want) = (size(own)?, size(extent)?);
            if have != 1 && have != want {
                return Err(format!("an extent of {have} ({own}) does not broadcast to {want} ({extent})"));
            }
        }
        for (launch, function) in entry.launches.iter().zip(functions) {
            let word = |d: &Dim| size(d).and_then(|n| u32::try_from(n).map_err(|_| format!("{d} = {n} is too large")));
            let [x, y, z] = &launch.grid;
            let grid = [word(x)?, word(y)?, word(z)?];
            if grid.contains(&0) {
                continue;
            }
            let params = self.params(step, launch, &word, scratch, &offsets)?;
            device.driver.launch(*function, grid, launch.block, launch.shared, &params).map_err(failed)?;
        }
        Ok(())
    }

    fn params(
        &self,
        step: &Step,
        launch: &Launch,
        word: &dyn Fn(&Dim) -> Result<u32, String>,
        scratch: u64,
        offsets: &[u64],
    ) -> Result<Vec<ParamValue>, String> {
        let operand = |list: &[Option<u32>], n: u32| {
            let v = list.get(n as usize).copied().flatten();
            let address = v.and_then(|v| self.addresses[self.root(v) as usize]);
            address.map(ParamValue::Address).ok_or_else(|| format!("operand {n} of {} is nowhere", launch.entry))
        };
        let value = |p: &Param| match p {
            Param::Input(n) => operand(&step.inputs, *n),
            Param::Output(n) => operand(&step.outputs, *n),
            Param::Scratch(n) => Ok(ParamValue::Address(scratch + offsets[*n as usize])),
            Param::Size(d) => word(d).map(ParamValue::Size),
        };
        launch.params.iter().map(value).collect()
    }
}
