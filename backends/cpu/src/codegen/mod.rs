//! Cranelift code for maps and reductions over element types that the block kernels do not take.
//!
//! Guarantees: a function is the same bytes for the same program and target on any host; it calls nothing and refers to
//! nothing outside of itself, so that it runs wherever it is mapped; it computes what `planc_kir::interp` says, but for
//! the last bit of functions that have no exact result. A program that cannot be generated is declined with a reason.
//!
//! Deliberately absent: the walk over outer axes and the threads, which are the runtime's; f32 programs, for which
//! precompiled kernels are faster, unless they are asked for.

mod emit;
mod float16;
mod fold;
mod scalar;
mod wide;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetFrontendConfig, lookup_by_name};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError, Context};
use cranelift_frontend::FunctionBuilderContext;
use planc_kir::{BinOp, Expr, Inst, Reduce, ReduceOp, Reg, UnOp};
use planc_plan::code::{self, Accumulator};
use planc_plan::container::TargetId;
use planc_tensor::DType;
use std::collections::HashMap;

/// A processor family that code is generated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// x86-64 with AVX2 and FMA: what every tier above scalar has.
    X86_64,
    /// AArch64 with Advanced SIMD.
    Aarch64,
}

impl Target {
    /// Every target.
    pub const ALL: &'static [Target] = &[Target::X86_64, Target::Aarch64];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Target::X86_64 => "x86-64",
            Target::Aarch64 => "aarch64",
        }
    }

    /// The target with this name.
    pub fn from_name(name: &str) -> Option<Target> {
        Target::ALL.iter().copied().find(|t| t.name() == name)
    }

    /// The section of a plan that holds its code.
    pub const fn id(self) -> TargetId {
        match self {
            Target::X86_64 => TargetId::X86_64_AVX2,
            Target::Aarch64 => TargetId::AARCH64_NEON,
        }
    }

    /// The code generator with every setting fixed: nothing follows from the host.
    fn isa(self) -> Result<OwnedTargetIsa, CodegenError> {
        let (triple, features): (&str, &[&str]) = match self {
            Target::X86_64 => (
                "x86_64-unknown-linux-gnu",
                &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_avx", "has_avx2", "has_fma"],
            ),
            Target::Aarch64 => ("aarch64-unknown-linux-gnu", &[]),
        };
        let fixed = |e: settings::SetError| CodegenError::Unsupported(e.to_string());
        let mut flags = settings::builder();
        for (name, value) in [
            ("opt_level", "speed"),
            ("enable_probestack", "false"),
            ("unwind_info", "false"),
            ("is_pic", "true"),
            // It changes no byte of the code.
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ] {
            flags.set(name, value).map_err(fixed)?;
        }
        let mut isa = lookup_by_name(triple).map_err(|e| CodegenError::Unsupported(e.to_string()))?;
        for feature in features {
            isa.enable(feature).map_err(fixed)?;
        }
        isa.finish(settings::Flags::new(flags))
    }
}

/// Instructions of a program at most: beyond, compiling it takes longer than it saves.
const MAX_INSTS: usize = 2048;

/// Operands of a program at most.
const MAX_ARGS: usize = 64;

/// Why no code is generated for a program; `None` when it is.
pub fn declined(expr: &Expr) -> Option<String> {
    if expr.insts().len() > MAX_INSTS || expr.args().len() > MAX_ARGS {
        return Some("the program is too long for generated code".into());
    }
    for (i, inst) in expr.insts().iter().enumerate() {
        let dtype = expr.type_of(i as Reg);
        if !scalar::is_known(dtype) {
            return Some(format!("no generated code over {dtype}"));
        }
        let name = match *inst {
            Inst::Unary(op, a) if !unary_is_known(op, expr.type_of(a)) => op.name(),
            Inst::Binary(BinOp::Pow, a, b) if expr.type_of(a).is_float() && exponent(expr, b).is_none() => "pow",
            _ => continue,
        };
        return Some(format!("no generated code for {name} of {dtype}"));
    }
    None
}

fn unary_is_known(op: UnOp, dtype: DType) -> bool {
    use UnOp::{Abs, Ceil, Floor, IsNan, Neg, Not, Round, Sign, Sqrt};
    !dtype.is_float() || matches!(op, Neg | Abs | Sign | Not | Floor | Ceil | Round | Sqrt | IsNan)
}

/// The exponent of a float power that is made of products: 1, 2 or 3.
fn exponent(expr: &Expr, reg: Reg) -> Option<u32> {
    let Inst::Const(_, v) = expr.insts()[usize::from(reg)] else { return None };
    [1u32, 2, 3].into_iter().find(|e| v.as_f64() == f64::from(*e))
}

/// Why no code is generated for a reduction; `None` when it is.
pub fn declined_reduction(spec: &Reduce, epilogue: Option<&Expr>) -> Option<String> {
    let dtype = spec.map.result_type();
    if Accumulator::of(spec.op, dtype).is_none() {
        return Some(format!("no generated code for {} of {dtype}", spec.op.name()));
    }
    declined(&spec.map).or_else(|| epilogue.and_then(declined))
}

/// The code of `out = expr(args)` over a run of elements: a function of [`code::Call`].
///
/// # Errors
/// When the program is declined, or the generator fails; one sentence.
pub fn map(expr: &Expr, target: Target) -> Result<Vec<u8>, String> {
    if let Some(reason) = declined(expr) {
        return Err(reason);
    }
    compile(target, |func, memory, config| {
        emit::function(func, memory, config, |b, call, exit| emit::map(b, expr, call, exit));
    })
}

/// The code of a reduction, whatever its axes are, and of the epilogue over its result: a function of [`code::Call`].
///
/// # Errors
/// As [`map`].
pub fn reduce(spec: &Reduce, epilogue: Option<&Expr>, target: Target) -> Result<Vec<u8>, String> {
    if let Some(reason) = declined_reduction(spec, epilogue) {
        return Err(reason);
    }
    let kept = Accumulator::of(spec.op, spec.map.result_type()).ok_or("no accumulator")?;
    compile(target, |func, memory, config| fold::reduce(func, memory, (spec, kept, epilogue), config))
}

/// The bytes of the function that `build` makes.
fn compile(
    target: Target,
    build: impl FnOnce(&mut Function, &mut FunctionBuilderContext, TargetFrontendConfig),
) -> Result<Vec<u8>, String> {
    let isa = target.isa().map_err(|e| e.to_string())?;
    let mut context = Context::new();
    context.func.signature = emit::signature(isa.default_call_conv());
    build(&mut context.func, &mut FunctionBuilderContext::new(), isa.frontend_config());
    let compiled = context.compile(&*isa, &mut ControlPlane::default()).map_err(|e| fault(&e.inner))?;
    let alone = compiled.buffer.relocs().is_empty() && compiled.buffer.alignment as usize <= code::ALIGNMENT;
    if alone { Ok(compiled.code_buffer().to_vec()) } else { Err("the generated code does not stand alone".into()) }
}

/// What the generator reports; mistakes in what it was given are listed.
fn fault(e: &CodegenError) -> String {
    if let CodegenError::Verifier(all) = e { all.to_string() } else { e.to_string() }
}

/// What a function is generated from; axes and extents are not part of it.
type Source = (Option<ReduceOp>, Expr, Option<Expr>);

/// The functions of a plan: each distinct one once.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    targets: Vec<Target>,
    numbers: HashMap<Source, u32>,
    /// Per target, the code of every function.
    code: Vec<Vec<Vec<u8>>>,
}

impl Functions {
    pub(crate) fn new(targets: &[Target]) -> Functions {
        let mut targets = targets.to_vec();
        targets.sort_unstable();
        targets.dedup();
        Functions { code: vec![vec![]; targets.len()], targets, numbers: HashMap::new() }
    }

    /// The number of the function that computes `expr`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn map(&mut self, expr: &Expr) -> Result<u32, String> {
        self.add((None, expr.clone(), None), |t| map(expr, t))
    }

    /// The number of the function that computes a reduction and its epilogue.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn reduce(&mut self, spec: &Reduce, epilogue: Option<&Expr>) -> Result<u32, String> {
        self.add((Some(spec.op), spec.map.clone(), epilogue.cloned()), |t| reduce(spec, epilogue, t))
    }

    fn add(&mut self, source: Source, make: impl Fn(Target) -> Result<Vec<u8>, String>) -> Result<u32, String> {
        if let Some(number) = self.numbers.get(&source) {
            return Ok(*number);
        }
        if self.targets.is_empty() || self.numbers.len() >= code::MAX_FUNCTIONS {
            return Err("no code is generated".into());
        }
        let made = self.targets.iter().map(|t| make(*t)).collect::<Result<Vec<_>, _>>()?;
        let number = self.numbers.len() as u32;
        self.code.iter_mut().zip(made).for_each(|(all, f)| all.push(f));
        self.numbers.insert(source, number);
        Ok(number)
    }

    /// The code sections; none when there are no functions.
    pub(crate) fn sections(&self) -> Vec<(TargetId, Vec<u8>)> {
        if self.numbers.is_empty() {
            return vec![];
        }
        let section = |(t, f): (&Target, &Vec<Vec<u8>>)| code::encode(f).map(|bytes| (t.id(), bytes));
        self.targets.iter().zip(&self.code).filter_map(section).collect()
    }
}
