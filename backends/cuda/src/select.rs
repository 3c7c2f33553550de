//! Which steps run on the device, and what becomes of the others.
//!
//! Equal kernels are emitted once, whatever asked for them; names number them in order of first use.

use crate::kernels::{self, Generated, Request, Value};
use crate::ptx;
use crate::{Form, Host};
use planc_ir::{NodeId, ValueId};
use planc_kir::{Expr, Kernel};
use planc_lower::{Builder, Chosen, Compiler, Select};
use planc_ops::OpError;
use planc_plan::container::PtxArch;
use planc_plan::launch::DeviceStep;
use planc_plan::program::Action;
use planc_tensor::{DType, Layout};

/// Whether there is a device kernel for operands (an epilogue's sides last) and results of these forms: what fusion may
/// rely on.
pub fn supports(kernel: &Kernel, epilogue: Option<&Expr>, inputs: &[Option<Form>], outputs: &[Option<Form>]) -> bool {
    let row_major = inputs.iter().chain(outputs).flatten().all(|(_, l)| *l == Layout::RowMajor);
    let types = |forms: &[Option<Form>]| forms.iter().map(|f| f.map(|(t, _)| t)).collect::<Vec<Option<DType>>>();
    row_major && kernels::supports(kernel, epilogue, &types(inputs), &types(outputs)).is_ok()
}

/// The module under construction, and the choices.
pub(crate) struct Selector {
    arch: PtxArch,
    host: Host,
    pub(crate) steps: Vec<DeviceStep>,
    /// Kernels without their names, which are a stem and their position.
    kernels: Vec<(String, ptx::Kernel)>,
}

impl Selector {
    pub(crate) fn new(arch: PtxArch, host: Host) -> Selector {
        Selector { arch, host, steps: vec![], kernels: vec![] }
    }

    /// The kernels under their names.
    pub(crate) fn into_kernels(self) -> Vec<ptx::Kernel> {
        let named = |(n, (stem, k)): (usize, (String, ptx::Kernel))| ptx::Kernel { name: format!("{stem}_{n}"), ..k };
        self.kernels.into_iter().enumerate().map(named).collect()
    }

    /// The number in the launch table of what was generated; equal entries share one.
    fn add(&mut self, generated: Generated) -> Result<u32, OpError> {
        let mut step = DeviceStep { scratch: generated.scratch, launches: vec![] };
        for (mut kernel, mut launch) in generated.launches {
            kernel.verify(self.arch).map_err(|e| OpError::unsupported(e.to_string()))?;
            let stem = std::mem::take(&mut kernel.name);
            let known = self.kernels.iter().position(|(s, k)| *s == stem && *k == kernel);
            let number = known.unwrap_or(self.kernels.len());
            launch.entry = format!("{stem}_{number}");
            step.launches.push(launch);
            if known.is_none() {
                self.kernels.push((stem, kernel));
            }
        }
        let at = self.steps.iter().position(|s| *s == step);
        let at = at.unwrap_or_else(|| {
            self.steps.push(step);
            self.steps.len() - 1
        });
        Ok(at as u32)
    }
}

impl Select for Selector {
    fn select(
        &mut self,
        c: &mut Compiler,
        b: &mut Builder<'_>,
        id: NodeId,
        kernel: Kernel,
        operands: &[Option<ValueId>],
    ) -> Result<Chosen, OpError> {
        let node = b.graph.node(id);
        let sides: &[ValueId] = node.epilogue().map_or(&[], |e| &e.sides);
        let operands: Vec<Option<ValueId>> = operands.iter().copied().chain(sides.iter().map(|v| Some(*v))).collect();
        let epilogue = node.epilogue().map(|e| e.expr.clone());
        let form = |v: ValueId| b.graph.tensor_type(v).map(|t| (t.dtype, t.layout));
        let inputs: Vec<Option<Form>> = operands.iter().map(|v| v.and_then(form)).collect();
        let outputs: Vec<Option<Form>> = node.outputs().iter().map(|v| v.and_then(form)).collect();
        let value = |v: ValueId| {
            let t = b.graph.tensor_type(v)?;
            Some(Value { dtype: t.dtype, shape: t.shape.clone()? })
        };
        let known = |v: &Option<ValueId>| v.is_none_or(|v| value(v).is_some());
        let row_major = inputs.iter().chain(&outputs).flatten().all(|(_, l)| *l == Layout::RowMajor);
        let generated = if !row_major {
            Err("a value is not row-major".to_string())
        } else if operands.iter().chain(node.outputs()).all(known) {
            let inputs: Vec<Option<Value>> = operands.iter().map(|v| v.and_then(value)).collect();
            let outputs: Vec<Option<Value>> = node.outputs().iter().map(|v| v.and_then(value)).collect();
            let (epilogue, arch) = (epilogue.as_ref(), self.arch);
            kernels::generate(&Request { kernel: &kernel, epilogue, inputs: &inputs, outputs: &outputs, arch })
        } else {
            Err("the rank of an operand is not known".to_string())
        };
        let code = match generated {
            Ok(generated) => {
                let names: Vec<&str> = generated.launches.iter().map(|(k, _)| k.name.as_str()).collect();
                let choice = format!("device {}", names.join(", "));
                let n = self.add(generated)?;
                c.decide(b, id, &choice, "there is a generator for it");
                Some(n)
            }
            Err(reason) if (self.host)(&kernel, epilogue.as_ref(), &inputs, &outputs) => {
                c.fall_back(b, id, "host", &reason)?;
                None
            }
            Err(reason) => return Ok(Chosen::Reference(reason)),
        };
        let inputs = operands.iter().map(|v| v.map(|v| c.value(b, v))).collect();
        Ok(Chosen::Step { action: Action::Kernel { kernel, epilogue, code }, inputs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fallback, Options, compile};
    use planc_plan::launch::Module;

    const ARCH: PtxArch = PtxArch::sm(80);

    fn graph() -> planc_ir::Graph {
        let text = "graph @g (format 1, opset 17) {\n  in %x: f32[2,8]\n  %a: f32[2,8] = Relu(%x)\n  \
                    %b: f32[2,8] = Relu(%a)\n  %c: f32[8,2] = Transpose(%b) {perm=[1,0]}\n  out %c\n}\n";
        planc_ir::text::parse(text).expect("the text is a graph")
    }

    #[test]
    fn all_that_falls_back_is_refused_together() {
        let text = "graph @g (format 1, opset 17) {\n  in %x: f32[2,8]\n  %a: f64[2,8] = Cast(%x) {to=11}\n  \
                    %b: f64[2,8] = Sin(%a)\n  %c: f64[2,8] = Tan(%b)\n  %n: i64[2,N] = NonZero(%x)\n  out %c\n  out %n\n}\n";
        let graph = planc_ir::text::parse(text).expect("the text is a graph");
        let options = Options { arch: ARCH, fallback: Fallback::Refused, host: |_, _, _, _| true };
        let errors = compile(&graph, &options).map(drop).unwrap_err();
        assert_eq!(errors.iter().map(|e| e.node.as_str()).collect::<Vec<_>>(), ["b", "c", "n"]);
        let located = |e: &planc_ops::NodeError| !e.op.is_empty() && e.operands.len() == 1;
        let reason = |e: &planc_ops::NodeError| e.to_string().contains("does not run on the device: ");
        assert!(errors.iter().all(|e| located(e) && reason(e)), "{errors:?}");
        let compiled = compile(&graph, &Options { fallback: Fallback::Allowed, ..options }).expect("it falls back");
        let choices = compiled.lowered.decisions.iter().map(|d| d.choice.as_str());
        assert_eq!(choices.collect::<Vec<_>>(), ["device map", "host", "host", "reference"]);
    }

    #[test]
    fn equal_kernels_are_emitted_once() {
        let options = Options { arch: ARCH, fallback: Fallback::Refused, host: |_, _, _, _| false };
        let compiled = compile(&graph(), &options).expect("every step runs on the device");
        let (arch, section) = &compiled.sections[0];
        let module = Module::parse(section, &compiled.lowered.manifest).expect("the section fits");
        let entries: Vec<&str> = module.steps.iter().flat_map(|s| &s.launches).map(|l| l.entry.as_str()).collect();
        assert_eq!((*arch, entries), (ARCH, vec!["map_0", "transpose_1"]));
        let steps = &compiled.lowered.manifest.programs[0].steps;
        let code = |i: usize| match steps[i].action {
            Action::Kernel { code, .. } => code,
            _ => None,
        };
        assert_eq!([code(0), code(1), code(2)], [Some(0), Some(0), Some(1)]);
        let again = compile(&graph(), &options).expect("every step runs on the device");
        assert_eq!(again.sections, compiled.sections, "the same bytes");
    }
}
