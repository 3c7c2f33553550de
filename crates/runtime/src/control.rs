//! If, Loop and Scan: steps that run other programs.

use crate::error::RunError;
use crate::frame::Frame;
use planc_plan::program::{Action, Step};
use planc_tensor::{AlignedBuf, Bytes, DType, Tensor, View, ViewData};

impl Frame<'_> {
    /// The results of a control-flow step.
    pub(crate) fn control(&self, step: &Step) -> Result<Vec<Tensor>, RunError> {
        match &step.action {
            Action::If { then_program, else_program, then_inputs, else_inputs } => {
                let holds = self.flag(step, 0)?.unwrap_or(false);
                let (program, inputs) = if holds { (then_program, then_inputs) } else { (else_program, else_inputs) };
                let inputs: Vec<u32> = inputs.iter().filter_map(|i| step.inputs[*i as usize]).collect();
                let views = inputs.iter().map(|v| self.view(*v)).collect::<Result<Vec<_>, _>>()?;
                self.run.program(*program as usize, &views, &self.symbols)
            }
            Action::Loop { body, carried } => self.loop_(step, *body as usize, *carried as usize),
            Action::Scan { body, carried, scanned, results } => {
                self.scan(step, *body as usize, *carried as usize, scanned, results)
            }
            Action::Kernel { .. } => Ok(vec![]),
        }
    }

    /// Operand `i`, a boolean of one element.
    fn flag(&self, step: &Step, i: usize) -> Result<Option<bool>, RunError> {
        let Some(v) = step.inputs[i] else { return Ok(None) };
        first_bool(self.view(v)?).map(Some).ok_or_else(|| wrong(step, "the condition is not one boolean"))
    }

    /// ONNX Loop: `for i in 0..trips while condition`.
    fn loop_(&self, step: &Step, body: usize, carried: usize) -> Result<Vec<Tensor>, RunError> {
        let trips = match step.inputs[0] {
            Some(v) => {
                let trips = self.view(v)?.to_i64().and_then(|t| t.first().copied());
                Some(trips.ok_or_else(|| wrong(step, "the trip count is not one integer"))?)
            }
            None => None,
        };
        let mut go_on = self.flag(step, 1)?.unwrap_or(true);
        let operands: Vec<u32> = step.inputs[2..].iter().flatten().copied().collect();
        let views = operands.iter().map(|v| self.view(*v)).collect::<Result<Vec<_>, _>>()?;
        let mut state: Vec<Tensor> = views[..carried].iter().map(View::to_tensor).collect();
        let mut scans = Stacks::new(step.outputs.len() - carried);
        let mut i = 0i64;
        while go_on && trips.is_none_or(|t| i < t) {
            let (index, condition) = (Tensor::scalar(i), Tensor::scalar(go_on));
            // Bodies declare the iteration number and condition as scalars or as vectors of one.
            let program = &self.run.session.plan.manifest().programs[body];
            let shaped = |t: Tensor, at: usize| match &program.values[program.inputs[at] as usize].shape {
                Some(dims) if dims.len() == 1 => t.reshaped(vec![1]).unwrap_or(t),
                _ => t,
            };
            let (index, condition) = (shaped(index, 0), shaped(condition, 1));
            let mut inputs = vec![index.view(), condition.view()];
            inputs.extend(state.iter().map(Tensor::view));
            inputs.extend(&views[carried..]);
            let mut results = self.run.program(body, &inputs, &self.symbols)?.into_iter();
            let condition = results.next().ok_or_else(|| wrong(step, "the body gave no condition"))?;
            go_on = first_bool(condition.view()).ok_or_else(|| wrong(step, "the condition is not one boolean"))?;
            state = results.by_ref().take(carried).collect();
            scans.push(step, results, self.run.session.options.memory_limit)?;
            i += 1;
        }
        let decls = self.result_types(step, carried);
        state.extend(scans.stack(step, &decls, &vec![(0, false); decls.len()])?);
        Ok(state)
    }

    /// ONNX Scan (opset 9): the body once per slice of the scanned operands.
    fn scan(
        &self,
        step: &Step,
        body: usize,
        carried: usize,
        scanned: &[(u32, bool)],
        results: &[(u32, bool)],
    ) -> Result<Vec<Tensor>, RunError> {
        let operands: Vec<u32> = step.inputs.iter().flatten().copied().collect();
        let views = operands.iter().map(|v| self.view(*v)).collect::<Result<Vec<_>, _>>()?;
        let (state, rest) = views.split_at(carried);
        let (sequences, captured) = rest.split_at(scanned.len());
        let mut state: Vec<Tensor> = state.iter().map(View::to_tensor).collect();
        let mut trips = None;
        for (s, (axis, _)) in sequences.iter().zip(scanned) {
            let extent = *s.shape().get(*axis as usize).ok_or_else(|| wrong(step, "a scanned axis does not exist"))?;
            if trips.is_some_and(|t| t != extent) {
                return Err(wrong(step, "scanned operands differ in length"));
            }
            trips = Some(extent);
        }
        let trips = trips.unwrap_or(0);
        let mut scans = Stacks::new(results.len());
        for i in 0..trips {
            let slices: Option<Vec<Tensor>> = sequences
                .iter()
                .zip(scanned)
                .map(|(s, (axis, back))| slice_at(*s, *axis as usize, if *back { trips - 1 - i } else { i }))
                .collect();
            let slices = slices.ok_or_else(|| wrong(step, "a scanned operand cannot be sliced"))?;
            let inputs: Vec<View<'_>> = state
                .iter()
                .map(Tensor::view)
                .chain(slices.iter().map(Tensor::view))
                .chain(captured.iter().copied())
                .collect();
            let mut out = self.run.program(body, &inputs, &self.symbols)?.into_iter();
            state = out.by_ref().take(carried).collect();
            scans.push(step, out, self.run.session.options.memory_limit)?;
        }
        let decls = self.result_types(step, carried);
        state.extend(scans.stack(step, &decls, results)?);
        Ok(state)
    }

    /// Element type and, as far as known, extents of the stacked results from `first` on: for loops that ran no time.
    fn result_types(&self, step: &Step, first: usize) -> Vec<(DType, Vec<usize>)> {
        step.outputs[first..]
            .iter()
            .map(|v| {
                let Some(decl) = v.map(|v| self.decl(v)) else { return (DType::F32, vec![]) };
                let inner = decl.shape.iter().flatten().skip(1).map(|d| self.symbols.eval(d).unwrap_or(0)).collect();
                (decl.dtype, inner)
            })
            .collect()
    }
}

fn wrong(step: &Step, message: &str) -> RunError {
    RunError::Step { step: step.name.clone(), message: message.to_string() }
}

fn first_bool(v: View<'_>) -> Option<bool> {
    v.to_vec::<bool>().filter(|b| b.len() == 1).map(|b| b[0])
}

/// Scan results: one tensor per iteration, stacked at the end.
struct Stacks {
    parts: Vec<Vec<Tensor>>,
    bytes: usize,
}

impl Stacks {
    fn new(n: usize) -> Stacks {
        Stacks { parts: vec![vec![]; n], bytes: 0 }
    }

    fn push(&mut self, step: &Step, results: impl Iterator<Item = Tensor>, limit: usize) -> Result<(), RunError> {
        for (stack, t) in self.parts.iter_mut().zip(results) {
            self.bytes = self.bytes.saturating_add(t.byte_len());
            stack.push(t);
        }
        if self.bytes > limit {
            let message = format!("its results are beyond {limit} bytes");
            return Err(RunError::Memory { step: step.name.clone(), message });
        }
        Ok(())
    }

    fn stack(self, step: &Step, empty: &[(DType, Vec<usize>)], axes: &[(u32, bool)]) -> Result<Vec<Tensor>, RunError> {
        let stacks = self.parts.into_iter().zip(empty).zip(axes);
        stacks
            .map(|((mut parts, (dtype, inner)), (axis, back))| {
                if *back {
                    parts.reverse();
                }
                stack(&parts, *axis as usize, *dtype, inner).ok_or_else(|| wrong(step, "results differ in shape"))
            })
            .collect()
    }
}

/// `parts` along a new axis; no part: zero extents.
fn stack(parts: &[Tensor], axis: usize, dtype: DType, inner: &[usize]) -> Option<Tensor> {
    let Some(first) = parts.first() else {
        let mut shape = inner.to_vec();
        shape.insert(axis.min(inner.len()), 0);
        return Tensor::zeros(dtype, shape).ok();
    };
    if parts.iter().any(|p| p.shape() != first.shape() || p.dtype() != first.dtype()) || axis > first.rank() {
        return None;
    }
    let mut shape = first.shape().to_vec();
    shape.insert(axis, parts.len());
    if first.dtype() == DType::String {
        let strings: Vec<String> = parts.iter().flat_map(|p| p.view().as_strings().to_vec()).collect();
        return if axis == 0 { Tensor::from_strings(shape, strings).ok() } else { None };
    }
    let size = first.dtype().size()?;
    let run = first.shape()[axis..].iter().product::<usize>() * size;
    let outer = first.shape()[..axis].iter().product::<usize>();
    let mut out = AlignedBuf::zeroed(run.checked_mul(outer)?.checked_mul(parts.len())?);
    let bytes = out.as_mut_slice();
    for (k, p) in parts.iter().enumerate() {
        let source = p.view().bytes();
        for o in 0..outer {
            let to = (o * parts.len() + k) * run;
            bytes[to..to + run].copy_from_slice(&source[o * run..(o + 1) * run]);
        }
    }
    Tensor::from_bytes(first.dtype(), shape, Bytes::new(out)).ok()
}

/// The slice of `v` at position `i` of `axis`, without that axis.
fn slice_at(v: View<'_>, axis: usize, i: usize) -> Option<Tensor> {
    let mut shape = v.shape().to_vec();
    let extent = shape.remove(axis);
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis..].iter().product();
    if let ViewData::Strings(s) = v.data() {
        let pick = |o: usize| s[(o * extent + i) * inner..(o * extent + i + 1) * inner].to_vec();
        return Tensor::from_strings(shape, (0..outer).flat_map(pick).collect()).ok();
    }
    let run = inner * v.dtype().size()?;
    let mut out = Vec::with_capacity(outer * run);
    for o in 0..outer {
        out.extend_from_slice(&v.bytes()[(o * extent + i) * run..(o * extent + i + 1) * run]);
    }
    Tensor::from_bytes(v.dtype(), shape, Bytes::new(out)).ok()
}
