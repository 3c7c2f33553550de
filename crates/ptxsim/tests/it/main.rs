//! The interpreter's own tests: instructions against values computed by hand, kernels against the host, mutants against all.

mod instructions;
mod kernels;
mod mock;

use planc_ptxsim::{Device, Fault, Module, Options, Param, Stats};

/// An entry `k` for sm_80 around a body.
pub fn module(params: &str, body: &str) -> Module {
    let text = format!(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k({params}) {{\n{body}\n}}\n");
    Module::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Runs the entry of that name on a device.
pub fn run(
    device: &mut Device,
    module: &Module,
    grid: u32,
    block: u32,
    shared: usize,
    params: &[Param],
) -> Result<Stats, Fault> {
    let entry = module.entries()[0].name.clone();
    device.launch(module, &entry, [grid, 1, 1], [block, 1, 1], shared, params)
}

pub fn device() -> Device {
    Device::new(Options::default())
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
