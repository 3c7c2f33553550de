//! An opened plan: checked bytes and what is derived from them once.

use crate::error::OpenError;
use crate::map::{CodeMap, PlanBytes};
use planc_plan::code::CodeTable;
use planc_plan::container::{Container, PtxArch, SectionKind, TargetId};
use planc_plan::launch::{DeviceStep, Module};
use planc_plan::program::{Action, Manifest, PackedType, Program, Storage, ValueDecl};
use planc_tensor::{Bytes, Dim, Tensor};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// How to open a plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Check the hash of the weights too. It costs more than everything else of opening a plan.
    pub check_weights: bool,
}

/// A plan that was checked and may be run.
#[derive(Debug)]
pub struct Plan {
    bytes: Arc<PlanBytes>,
    manifest: Manifest,
    prepared: Vec<Prepared>,
    code: Vec<CodeSection>,
    device: Vec<DeviceSection>,
}

/// A PTX section whose hash and table were checked.
#[derive(Debug)]
pub(crate) struct DeviceSection {
    /// What it needs.
    pub(crate) arch: PtxArch,
    /// How each step is launched.
    pub(crate) steps: Vec<DeviceStep>,
    /// Where the module's text is in the plan.
    text: Range<usize>,
}

/// A code section whose hash and table were checked.
#[derive(Debug)]
struct CodeSection {
    target: TargetId,
    table: CodeTable,
    /// Where it is in the plan.
    range: Range<usize>,
}

/// Targets whose code this runtime can run somewhere; other sections are of no concern.
const CODE_TARGETS: [TargetId; 2] = [TargetId::X86_64_AVX2, TargetId::AARCH64_NEON];

/// What is derived of a program once, rather than trusted or found again in each run.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Constants, by value.
    pub(crate) weights: Vec<Option<Weight>>,
    /// For each value that others share bytes with, itself for the rest: where the bytes are.
    pub(crate) root: Vec<u32>,
    /// First and last step at which the bytes of a root are needed.
    pub(crate) live: Vec<(usize, usize)>,
    /// For each step, the roots whose last reader it is.
    pub(crate) released: Vec<Vec<u32>>,
}

/// A constant.
#[derive(Debug)]
pub(crate) enum Weight {
    /// Bytes in the plan, in the value's layout.
    Bytes(Vec<usize>, Bytes),
    /// Strings.
    Strings(Tensor),
}

impl Plan {
    /// Maps and checks a plan file.
    ///
    /// # Errors
    /// When the file cannot be mapped or is not a consistent plan of this format version.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Plan, OpenError> {
        Plan::new(PlanBytes::map(path)?, options)
    }

    /// A plan in memory, such as one that was just compiled.
    ///
    /// # Errors
    /// When it is not a consistent plan of this format version.
    pub fn from_bytes(bytes: &[u8], options: OpenOptions) -> Result<Plan, OpenError> {
        Plan::new(PlanBytes::copy(bytes)?, options)
    }

    fn new(bytes: PlanBytes, options: OpenOptions) -> Result<Plan, OpenError> {
        let bytes = Arc::new(bytes);
        let container = Container::parse(bytes.bytes())?;
        if options.check_weights {
            container.verify_weights()?;
        }
        let weights = container.entry(SectionKind::Weights).map_or(0..0, |s| s.range.clone());
        let manifest = Manifest::decode(container.require(SectionKind::Manifest)?, weights.len() as u64)?;
        let all = Bytes::from_arc(bytes.clone());
        let weights = all.slice(weights.start, weights.len()).expect("this is a bug: the container checked the range");
        let prepared = manifest.programs.iter().map(|p| Prepared::new(p, &weights)).collect();
        let code = code_sections(&container, &manifest)?;
        let device = device_sections(&container, &manifest)?;
        Ok(Plan { bytes, manifest, prepared, code, device })
    }

    /// What the plan runs.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }

    /// The sections.
    ///
    /// # Errors
    /// None that opening the plan did not report.
    pub fn container(&self) -> Result<Container<'_>, OpenError> {
        Ok(Container::parse(self.bytes.bytes())?)
    }

    /// Declarations of the inputs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = &ValueDecl> {
        let main = self.main();
        main.inputs.iter().map(|v| &main.values[*v as usize])
    }

    /// Declarations of the outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &ValueDecl> {
        let main = self.main();
        main.outputs.iter().map(|v| &main.values[*v as usize])
    }

    /// What each input is, where it is no tensor.
    pub fn packed_inputs(&self) -> Vec<Option<&PackedType>> {
        self.main().inputs.iter().map(|v| self.manifest.packed(*v)).collect()
    }

    /// What each output is, where it is no tensor.
    pub fn packed_outputs(&self) -> Vec<Option<&PackedType>> {
        self.main().outputs.iter().map(|v| self.manifest.packed(*v)).collect()
    }

    /// The program of the model itself.
    pub fn main(&self) -> &Program {
        &self.manifest.programs[0]
    }

    /// The functions for a target, mapped read+execute; `None` when there are none or the system refuses.
    pub(crate) fn map_code(&self, target: TargetId) -> Option<(CodeMap, CodeTable)> {
        let section = self.code.iter().find(|s| s.target == target)?;
        let map = self.bytes.map_code(section.range.clone()).ok()?;
        Some((map, section.table.clone()))
    }

    /// The architectures of CUDA devices that the plan has kernels for; none when it is for CPUs.
    pub fn device_archs(&self) -> impl Iterator<Item = PtxArch> {
        self.device.iter().map(|s| s.arch)
    }

    pub(crate) fn device_sections(&self) -> &[DeviceSection] {
        &self.device
    }

    /// The module of a section.
    pub(crate) fn device_text(&self, section: &DeviceSection) -> &str {
        std::str::from_utf8(&self.bytes()[section.text.clone()]).expect("this is a bug: the text was checked")
    }

    pub(crate) fn prepared(&self, program: usize) -> &Prepared {
        &self.prepared[program]
    }

    /// Bytes of the arena that a run with these extents needs; `None` when a symbol is missing.
    pub fn arena_bytes(&self, bind: &dyn Fn(&str) -> Option<i64>) -> Option<u64> {
        let shape = |d: &[Dim]| d.iter().map(|d| d.eval(bind).and_then(|v| usize::try_from(v).ok())).collect();
        crate::arena::place(self.main(), &self.prepared[0], &shape, true).ok().map(|p| p.total)
    }
}

/// The code sections that may be run, each of which has every function that the manifest names.
fn code_sections(container: &Container<'_>, manifest: &Manifest) -> Result<Vec<CodeSection>, OpenError> {
    let steps = manifest.programs.iter().flat_map(|p| &p.steps);
    let named = |a: &Action| if let Action::Kernel { code, .. } = a { *code } else { None };
    let needed = steps.filter_map(|s| named(&s.action)).max().map_or(0, |last| last as usize + 1);
    let mut sections = vec![];
    for target in CODE_TARGETS {
        let kind = SectionKind::Code(target);
        let (Some(entry), Some(bytes)) = (container.entry(kind), container.section(kind)) else { continue };
        let wrong = |message: String| OpenError::Code { target, message };
        let table = CodeTable::parse(bytes).map_err(|e| wrong(e.to_string()))?;
        if table.len() < needed {
            return Err(wrong(format!("has {} functions, the manifest names {needed}", table.len())));
        }
        sections.push(CodeSection { target, table, range: entry.range.clone() });
    }
    Ok(sections)
}

/// The PTX sections, each of which has every entry that the manifest names.
fn device_sections(container: &Container<'_>, manifest: &Manifest) -> Result<Vec<DeviceSection>, OpenError> {
    let mut sections = vec![];
    for entry in container.sections() {
        let SectionKind::Ptx(arch) = entry.kind else { continue };
        let Some(bytes) = container.section(entry.kind) else { continue };
        let wrong = |e: planc_plan::launch::LaunchError| OpenError::Device { arch, message: e.to_string() };
        let module = Module::parse(bytes, manifest).map_err(wrong)?;
        let start = entry.range.end - module.text.len();
        sections.push(DeviceSection { arch, steps: module.steps, text: start..entry.range.end });
    }
    Ok(sections)
}

impl Prepared {
    fn new(p: &Program, weights: &Bytes) -> Prepared {
        let mut root: Vec<u32> = (0..p.values.len() as u32).collect();
        let mut constants = Vec::with_capacity(p.values.len());
        for (i, v) in p.values.iter().enumerate() {
            let part = |offset: u64, len: u64| {
                weights.slice(offset as usize, len as usize).expect("this is a bug: the manifest checked the range")
            };
            let shape = || v.shape.iter().flatten().map(|d| d.as_usize().unwrap_or(0)).collect::<Vec<_>>();
            constants.push(match v.storage {
                Storage::Weight { offset, len } => Some(Weight::Bytes(shape(), part(offset, len))),
                Storage::Strings { offset, len } => {
                    let strings: Vec<String> = planc_plan::program::decode_strings(part(offset, len).as_slice());
                    Tensor::from_strings(shape(), strings).ok().map(Weight::Strings)
                }
                // Aliases refer to earlier values, whose root is known.
                Storage::Alias(of) => {
                    root[i] = root[of as usize];
                    None
                }
                _ => None,
            });
        }
        let mut live = vec![(usize::MAX, 0); p.values.len()];
        for (at, step) in p.steps.iter().enumerate() {
            for v in step.inputs.iter().chain(&step.outputs).flatten() {
                let (first, last) = &mut live[root[*v as usize] as usize];
                *first = (*first).min(at);
                *last = (*last).max(at);
            }
        }
        for v in &p.outputs {
            live[root[*v as usize] as usize].1 = p.steps.len();
        }
        let mut released = vec![Vec::new(); p.steps.len()];
        for (v, (first, last)) in live.iter().enumerate() {
            if *first != usize::MAX && *last < p.steps.len() && root[v] as usize == v {
                released[*last].push(v as u32);
            }
        }
        Prepared { weights: constants, root, live, released }
    }
}
