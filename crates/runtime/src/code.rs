//! Generated code of a plan, and what runs in its place where it may not or cannot run.
//!
//! Guarantees: only functions of a section whose hash and table were checked are called, on a processor that has what
//! the section's target promises, and only on memory that the step's shapes and types cover. Where there is no such
//! section, or the caller wants no code, the interpreter of kernel IR computes the same, slowly.

use crate::folding::Folding;
use crate::map::CodeMap;
use crate::plan::Plan;
use planc_kernels::dispatch::{self, Accumulators, Cx, Operand, Output, Row, fold, walk};
use planc_kernels::isa::Tier;
use planc_kir::{Expr, Kernel, Reduce, interp};
use planc_plan::code::{Call, CodeTable, EPILOGUE, FOLD};
use planc_plan::container::TargetId;
use planc_tensor::{AlignedBuf, Tensor, View, element_count};
use std::sync::{Mutex, PoisonError};

/// A generated function in the standard calling convention of its target.
#[cfg(target_arch = "x86_64")]
type Function = unsafe extern "sysv64" fn(*const Call);
/// A generated function in the standard calling convention of its target.
#[cfg(not(target_arch = "x86_64"))]
type Function = unsafe extern "C" fn(*const Call);

/// The target whose code a processor of this tier runs.
fn target(tier: Tier) -> Option<TargetId> {
    match tier {
        Tier::Scalar => None,
        Tier::Neon => Some(TargetId::AARCH64_NEON),
        Tier::Avx2 | Tier::AvxVnni | Tier::Avx512 | Tier::Avx512Vnni => Some(TargetId::X86_64_AVX2),
    }
}

/// The code of a plan, executable.
#[derive(Debug)]
pub(crate) struct Code {
    map: CodeMap,
    table: CodeTable,
}

impl Code {
    /// The plan's code for a processor of this tier; `None` when it has none, or the system lets nothing be executed.
    /// `tier` must not be above what the processor has.
    pub(crate) fn load(plan: &Plan, tier: Tier) -> Option<Code> {
        let (map, table) = plan.map_code(target(tier)?)?;
        Some(Code { map, table })
    }

    /// The function that the manifest says computes a step.
    fn function(&self, index: u32) -> Result<Function, String> {
        let range = self.table.function(index as usize);
        let address = range.and_then(|r| self.map.function(r.start));
        let address = address.ok_or_else(|| format!("there is no function {index}"))?;
        // SAFETY: the address is the start of a whole function of this type in executable memory, as the plan's reader
        // and the table's promise; it stays mapped as long as `self`, which outlives the caller's use.
        Ok(unsafe { std::mem::transmute::<*const u8, Function>(address) })
    }
}

/// Runs part `part` of a function on a row.
fn call(function: Function, row: &Row<'_>, part: usize) {
    let (args, steps) = (row.args.as_ptr(), row.steps.as_ptr());
    let call = Call { args, steps, out: row.out, len: row.len, step: row.step, part };
    // SAFETY: the section's hash was checked when the plan was opened, so the function is what the compiler made of the
    // step's kernel for a target this processor supports: it reads `len` elements of each operand by its step and writes
    // `len` results, or accumulators, at `out`, all of which the row allows; it keeps nothing.
    unsafe { function(&raw const call) };
}

/// Computes a step that has generated code: by function `index` of `code`, or without code, by a precompiled kernel where
/// there is one.
///
/// # Errors
/// When operands do not fit.
pub(crate) fn run(
    code: Option<(&Code, u32)>,
    cx: &mut Cx<'_>,
    kernel: &Kernel,
    epilogue: Option<&Expr>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [Option<Output<'_>>],
) -> Result<(), String> {
    let forms = |i: &Option<Operand<'_>>| i.map(|x| (x.dtype, x.layout));
    let results: Vec<_> = outputs.iter().map(|o| o.as_ref().map(|o| (o.dtype, o.layout))).collect();
    let precompiled = || dispatch::supports(kernel, epilogue, &inputs.iter().map(forms).collect::<Vec<_>>(), &results);
    if code.is_none() && precompiled() {
        return dispatch::run(cx, kernel, epilogue, inputs, outputs);
    }
    let function = code.map(|(code, index)| code.function(index)).transpose()?;
    let Some(Some(out)) = outputs.first_mut() else { return Err("the result is missing".into()) };
    match (kernel, epilogue) {
        (Kernel::Map(expr), None) => map(function, cx, expr, 0, inputs, out),
        (Kernel::Reduce(r), None) => reduce(function, cx, r, inputs, out),
        (Kernel::Reduce(r), Some(epilogue)) => {
            let (own, sides) = inputs.split_at_checked(r.map.args().len()).ok_or("an operand is missing")?;
            let dtype = r.map.result_type();
            let bytes = element_count(out.shape).and_then(|n| dtype.bytes_for(n)).ok_or("the result is too large")?;
            let mut memory = AlignedBuf::zeroed(bytes);
            let (shape, layout) = (out.shape, out.layout);
            reduce(function, cx, r, own, &mut Output { dtype, shape, layout, bytes: memory.as_mut_slice() })?;
            let reduced = Operand { dtype, shape, layout, bytes: memory.as_ref() };
            let operands: Vec<Option<Operand<'_>>> = [Some(reduced)].into_iter().chain(sides.iter().copied()).collect();
            map(function, cx, epilogue, EPILOGUE, &operands, out)
        }
        _ => Err(format!("there is no generated {}", kernel.name())),
    }
}

/// `out = expr(inputs)`.
fn map(
    function: Option<Function>,
    cx: &Cx<'_>,
    expr: &Expr,
    part: usize,
    inputs: &[Option<Operand<'_>>],
    out: &mut Output<'_>,
) -> Result<(), String> {
    match function {
        Some(function) => walk(cx, expr, inputs, out, &|row| call(function, &row, part)),
        None => interpret(cx, expr, inputs, out),
    }
}

/// A reduction without its epilogue.
fn reduce(
    function: Option<Function>,
    cx: &mut Cx<'_>,
    r: &Reduce,
    inputs: &[Option<Operand<'_>>],
    out: &mut Output<'_>,
) -> Result<(), String> {
    let folding = Folding::new(r)?;
    let start = folding.start();
    let accumulators = Accumulators { start: &start, finish: &|from, to, count| folding.finish(from, to, count) };
    if let Some(function) = function {
        return fold(cx, r, inputs, out, &accumulators, &|row| call(function, &row, FOLD));
    }
    let failed = Failure::default();
    fold(cx, r, inputs, out, &accumulators, &|row| {
        failed.note(chunks(&r.map, &row, &mut |at, elements| {
            // SAFETY: the accumulators of the row belong to it alone, and there are as many as it has elements, or one.
            let acc = |k: usize| unsafe {
                std::slice::from_raw_parts_mut(row.out.wrapping_add((at + k) * row.step), start.len())
            };
            folding.combine(elements, &acc)
        }));
    })?;
    failed.result()
}

/// The first thing that went wrong on any thread.
#[derive(Default)]
struct Failure(Mutex<Option<String>>);

impl Failure {
    fn note(&self, result: Result<(), String>) {
        if let Err(e) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
        }
    }

    fn result(self) -> Result<(), String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// Elements interpreted at once: the interpreter's values are large.
const CHUNK: usize = 4096;

/// What `expr` makes of the elements of a row, some at a time, each with the number of its first one.
fn chunks(expr: &Expr, row: &Row<'_>, f: &mut dyn FnMut(usize, &Tensor) -> Result<(), String>) -> Result<(), String> {
    let kernel = Kernel::Map(expr.clone());
    for start in (0..row.len).step_by(CHUNK) {
        let n = CHUNK.min(row.len - start);
        let part = |i: usize| {
            let step = row.steps[i];
            (expr.args()[i], if step == 0 { 1 } else { n }, row.args[i].wrapping_add(start * step))
        };
        let parts: Vec<_> = (0..row.args.len()).map(part).collect();
        let shapes: Vec<[usize; 1]> = parts.iter().map(|(_, count, _)| [*count]).collect();
        let views: Vec<Option<View<'_>>> = parts
            .iter()
            .zip(&shapes)
            .map(|((dtype, count, p), shape)| {
                // SAFETY: these elements of the operand belong to the row, which may be read.
                let bytes = unsafe { std::slice::from_raw_parts(*p, count * dtype.bits() / 8) };
                View::new(*dtype, shape, bytes)
            })
            .collect();
        let results = interp::interpret(&kernel, &views, &[(expr.result_type(), vec![n])], &|_| None);
        f(start, &results.map_err(|e| e.to_string())?[0])?;
    }
    Ok(())
}

/// `out = expr(inputs)` without generated code.
fn interpret(cx: &Cx<'_>, expr: &Expr, inputs: &[Option<Operand<'_>>], out: &mut Output<'_>) -> Result<(), String> {
    let failed = Failure::default();
    walk(cx, expr, inputs, out, &|row| {
        failed.note(chunks(expr, &row, &mut |at, elements| {
            let bytes = elements.view().bytes();
            let to = row.out.wrapping_add(at * row.step);
            // SAFETY: these elements of the result belong to this row alone; the interpreter's result has as many of the
            // same type and is memory of its own.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
            Ok(())
        }));
    })?;
    failed.result()
}
