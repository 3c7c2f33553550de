//! What a PTX section holds: how steps are launched on a device, and the module's text.
//!
//! The section is a little-endian `u32` length, that many bytes of a postcard-encoded list of [`DeviceStep`], then PTX text.
//! A step whose `code` is `n` is run by entry `n` of the list; a step without code runs on the host. [`Module::parse`]
//! checks every index and count against the manifest, so that a launch may be put together without looking again. What
//! depends on extents (the grid, sizes) is computed, and checked, in each run. Whether a kernel stays within its operands
//! is not checked: it follows from the step that names it, and the section's hash says that nobody changed either.

use crate::program::{Action, Manifest, Step};
use planc_tensor::Dim;
use serde::{Deserialize, Serialize};

/// How a step runs on the device: its launches follow each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceStep {
    /// Bytes of each temporary buffer, which the launches share. Its bytes are not initialised.
    pub scratch: Vec<Dim>,
    /// Launches, in order.
    pub launches: Vec<Launch>,
}

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Name of the kernel in the module.
    pub entry: String,
    /// Blocks along x, y and z. A grid with a 0 launches nothing.
    pub grid: [Dim; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Parameters, in order: each is 8 bytes (`.u64`) or 4 bytes (`.u32`) at its natural alignment.
    pub params: Vec<Param>,
    /// Extents of operands that are only seen to broadcast when the launch is made, each with the extent that it broadcasts
    /// to: the first has to be 1 or the second.
    pub broadcasts: Vec<(Dim, Dim)>,
}

/// A parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Param {
    /// `.u64`: address of the step's operand with this position.
    Input(u32),
    /// `.u64`: address of the step's result with this position.
    Output(u32),
    /// `.u64`: address of the temporary buffer with this number.
    Scratch(u32),
    /// `.u32`: an extent, or a function of extents.
    Size(Dim),
}

/// Threads of a block at most, on every device.
pub const MAX_BLOCK: u32 = 1024;

/// Why a PTX section is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The bytes are not a table followed by text.
    #[error("not a table of launches followed by text")]
    Encoding,
    /// A launch names what does not exist.
    #[error("step {step} of the table: {message}")]
    Step {
        /// Number of the entry.
        step: usize,
        /// What is wrong.
        message: String,
    },
}

/// A PTX section that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Module<'a> {
    /// How each step is launched.
    pub steps: Vec<DeviceStep>,
    /// PTX.
    pub text: &'a str,
}

/// The bytes of a PTX section.
pub fn encode(steps: &[DeviceStep], text: &str) -> Vec<u8> {
    let table = postcard::to_stdvec(steps).expect("this is a bug: encoding to memory cannot fail");
    let len = u32::try_from(table.len()).expect("this is a bug: a table of launches above 4 GiB");
    [&len.to_le_bytes()[..], &table, text.as_bytes()].concat()
}

impl<'a> Module<'a> {
    /// Reads and checks a section for the steps of `manifest`.
    ///
    /// # Errors
    /// When it is not what [`encode`] writes, or does not fit the manifest.
    pub fn parse(section: &'a [u8], manifest: &Manifest) -> Result<Module<'a>, LaunchError> {
        let (len, rest) = section.split_first_chunk::<4>().ok_or(LaunchError::Encoding)?;
        let (table, text) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(LaunchError::Encoding)?;
        let text = std::str::from_utf8(text).map_err(|_| LaunchError::Encoding)?;
        let (steps, left) = postcard::take_from_bytes::<Vec<DeviceStep>>(table).map_err(|_| LaunchError::Encoding)?;
        if !left.is_empty() || text.contains('\0') {
            return Err(LaunchError::Encoding);
        }
        for (i, s) in steps.iter().enumerate() {
            s.check().map_err(|message| LaunchError::Step { step: i, message })?;
        }
        for step in manifest.programs.iter().flat_map(|p| &p.steps) {
            let Action::Kernel { code: Some(n), .. } = step.action else { continue };
            let index = n as usize;
            let device = steps.get(index).ok_or_else(|| "is missing".to_string());
            device.and_then(|d| d.fits(step)).map_err(|message| LaunchError::Step {
                step: index,
                message: format!("{message} ({:?})", step.name),
            })?;
        }
        Ok(Module { steps, text })
    }
}

impl DeviceStep {
    fn check(&self) -> Result<(), String> {
        for l in &self.launches {
            let threads = l.block.iter().try_fold(1u32, |n, b| n.checked_mul(*b)).unwrap_or(0);
            if threads == 0 || threads > MAX_BLOCK {
                return Err(format!("{:?} has blocks of {:?} threads", l.entry, l.block));
            }
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if l.entry.is_empty() || !l.entry.chars().all(name) {
                return Err(format!("{:?} is no name of a kernel", l.entry));
            }
            let missing = |p: &Param| matches!(p, Param::Scratch(n) if *n as usize >= self.scratch.len());
            if l.params.iter().any(missing) {
                return Err(format!("{:?} takes a temporary buffer that does not exist", l.entry));
            }
        }
        Ok(())
    }

    /// Whether every operand that a launch takes is one of `step`.
    fn fits(&self, step: &Step) -> Result<(), String> {
        let there = |list: &[Option<u32>], n: u32| list.get(n as usize).is_some_and(Option::is_some);
        for l in &self.launches {
            let fits = |p: &Param| match p {
                Param::Input(n) => there(&step.inputs, *n),
                Param::Output(n) => there(&step.outputs, *n),
                Param::Scratch(_) | Param::Size(_) => true,
            };
            if !l.params.iter().all(fits) {
                return Err(format!("{:?} takes an operand that the step does not have", l.entry));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Program, Storage, ValueDecl};
    use planc_kir::Kernel;
    use planc_tensor::{DType, Layout};

    fn manifest(code: Option<u32>) -> Manifest {
        let value = |name: &str, storage| ValueDecl {
            name: name.into(),
            dtype: DType::F32,
            shape: Some(vec![Dim::from(4usize)]),
            layout: Layout::RowMajor,
            storage,
        };
        let action = Action::Kernel { kernel: Kernel::Tile, epilogue: None, code };
        let step = Step { name: "s".into(), action, inputs: vec![Some(0), None], outputs: vec![Some(1)] };
        let program = Program {
            values: vec![value("x", Storage::Input), value("y", Storage::Arena)],
            inputs: vec![0],
            outputs: vec![1],
            steps: vec![step],
        };
        Manifest { name: "m".into(), programs: vec![program], packed: vec![] }
    }

    fn device(params: Vec<Param>) -> DeviceStep {
        let one = || Dim::from(1usize);
        let grid = [Dim::sym("N"), one(), one()];
        let broadcasts = vec![(Dim::sym("N"), Dim::sym("M"))];
        let launch = Launch { entry: "k_0".into(), grid, block: [256, 1, 1], shared: 0, params, broadcasts };
        DeviceStep { scratch: vec![one()], launches: vec![launch] }
    }

    #[test]
    fn a_section_round_trips() {
        let params = vec![Param::Input(0), Param::Output(0), Param::Scratch(0), Param::Size(Dim::sym("N"))];
        let steps = vec![device(params)];
        let bytes = encode(&steps, ".version 7.0\n");
        assert_eq!(Module::parse(&bytes, &manifest(Some(0))), Ok(Module { steps, text: ".version 7.0\n" }));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused =
            |d: DeviceStep, code| Module::parse(&encode(&[d], ""), &manifest(Some(code))).unwrap_err().to_string();
        assert!(refused(device(vec![]), 1).contains("is missing (\"s\")"));
        assert!(refused(device(vec![Param::Input(1)]), 0).contains("does not have"));
        assert!(refused(device(vec![Param::Output(1)]), 0).contains("does not have"));
        assert!(refused(device(vec![Param::Scratch(1)]), 0).contains("does not exist"));
        let mut wide = device(vec![]);
        wide.launches[0].block = [1 << 16, 1 << 16, 1];
        assert!(refused(wide, 0).contains("threads"));
        let mut unnamed = device(vec![]);
        unnamed.launches[0].entry = "k;".into();
        assert!(refused(unnamed, 0).contains("no name"));
    }

    #[test]
    fn cut_sections_are_refused() {
        let bytes = encode(&[device(vec![])], "text");
        for len in 0..bytes.len() - 4 {
            assert_eq!(Module::parse(&bytes[..len], &manifest(None)), Err(LaunchError::Encoding), "{len}");
        }
    }
}
