//! Generated code of a plan, and what runs in its place where it may not or cannot run.
//!
//! Guarantees: only functions of a section whose hash and table were checked are called, on a processor that has what
//! the section's target promises, and only on memory that the step's shapes and types cover. Where there is no such
//! section, or the caller wants no code, the interpreter of kernel IR computes the same, slowly.

use crate::map::CodeMap;
use crate::plan::Plan;
use planc_kernels::dispatch::{Cx, Operand, Output, walk};
use planc_kernels::isa::Tier;
use planc_kir::{Expr, Kernel, interp};
use planc_plan::code::{Call, CodeTable};
use planc_plan::container::TargetId;
use planc_tensor::View;
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
        Tier::Avx2 | Tier::Avx512 | Tier::Avx512Vnni => Some(TargetId::X86_64_AVX2),
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

    /// `out = expr(inputs)` by function `index`, which the manifest says computes `expr`.
    pub(crate) fn map(
        &self,
        cx: &Cx<'_>,
        index: u32,
        expr: &Expr,
        inputs: &[Option<Operand<'_>>],
        out: &mut Output<'_>,
    ) -> Result<(), String> {
        let range = self.table.function(index as usize);
        let address = range.and_then(|r| self.map.function(r.start));
        let address = address.ok_or_else(|| format!("there is no function {index}"))?;
        // SAFETY: the address is the start of a whole function of this type in executable memory, as the plan's reader
        // and the table's promise; it stays mapped as long as `self`, which outlives the call below.
        let function = unsafe { std::mem::transmute::<*const u8, Function>(address) };
        walk(cx, expr, inputs, out, &|row| {
            let call = Call { args: row.args.as_ptr(), steps: row.steps.as_ptr(), out: row.out, len: row.len };
            // SAFETY: the section's hash was checked when the plan was opened, so the function is what the compiler made
            // of `expr` for a target this processor supports: it reads `len` elements of each operand by its step and
            // writes `len` elements at `out`, all of which the row allows; it keeps nothing.
            unsafe { function(&raw const call) };
        })
    }
}

/// Elements interpreted at once: the interpreter's values are large.
const CHUNK: usize = 4096;

/// `out = expr(inputs)` without generated code.
pub(crate) fn interpret(
    cx: &Cx<'_>,
    kernel: &Kernel,
    expr: &Expr,
    inputs: &[Option<Operand<'_>>],
    out: &mut Output<'_>,
) -> Result<(), String> {
    let size = out.dtype.bits() / 8;
    let failed: Mutex<Option<String>> = Mutex::default();
    walk(cx, expr, inputs, out, &|row| {
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
            match interp::interpret(kernel, &views, &[(expr.result_type(), vec![n])], &|_| None) {
                Ok(results) => {
                    let bytes = results[0].view().bytes();
                    // SAFETY: these elements of the result belong to this row alone; the interpreter's result has `n`
                    // elements of the same type and is memory of its own.
                    unsafe {
                        std::ptr::copy_nonoverlapping(bytes.as_ptr(), row.out.wrapping_add(start * size), n * size)
                    };
                }
                Err(e) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e.to_string());
                }
            }
        }
    })?;
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
