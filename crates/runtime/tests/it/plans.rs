//! Small plans, written out.

use planc_kir::{Kernel, Reference, parse_expr};
use planc_plan::container::{SectionKind, Weights, Writer};
use planc_plan::program::{Action, Manifest, Program, Step, Storage, ValueDecl};
use planc_runtime::{OpenOptions, Plan, ReferenceOps, Refusal, Session, SessionOptions};
use planc_tensor::{DType, Dim, Layout, Tensor, View, parse_dim};
use std::sync::Arc;

/// A value; `shape` as in the text form: `"N,4"`, or `"?"` for an unknown rank.
pub fn value(name: &str, dtype: DType, shape: &str, storage: Storage) -> ValueDecl {
    let dims = |s: &str| s.split(',').filter(|d| !d.is_empty()).map(|d| parse_dim(d).unwrap()).collect::<Vec<Dim>>();
    let shape = (shape != "?").then(|| dims(shape));
    ValueDecl { name: name.into(), dtype, shape, layout: Layout::RowMajor, storage }
}

pub fn step(name: &str, action: Action, inputs: &[u32], outputs: &[u32]) -> Step {
    let some = |v: &[u32]| v.iter().map(|v| Some(*v)).collect();
    Step { name: name.into(), action, inputs: some(inputs), outputs: some(outputs) }
}

pub fn kernel(kernel: Kernel) -> Action {
    Action::Kernel { kernel, epilogue: None, code: None }
}

pub fn map(text: &str) -> Action {
    kernel(Kernel::Map(parse_expr(text).unwrap().0))
}

pub fn reference(name: &str, outputs: &[DType]) -> Action {
    let (domain, name) = ("test".into(), name.into());
    kernel(Kernel::Reference(Reference { domain, name, attrs: vec![], outputs: outputs.to_vec() }))
}

pub fn plan_bytes(programs: Vec<Program>, weights: Weights<'static>) -> Vec<u8> {
    let manifest = Manifest { name: "test".into(), programs, packed: vec![] };
    let mut w = Writer::new();
    w.add(SectionKind::Manifest, manifest.encode()).unwrap();
    w.add_weights(weights).unwrap();
    w.to_bytes().unwrap()
}

pub fn session(programs: Vec<Program>, threads: usize) -> Session {
    let plan = Plan::from_bytes(&plan_bytes(programs, Weights::new()), OpenOptions::default()).unwrap();
    let options = SessionOptions { threads, memory_limit: 1 << 20, ..SessionOptions::default() };
    Session::new(Arc::new(plan), options, Arc::new(TestOps)).unwrap()
}

/// `positive`: the elements above zero, however many there are. `fail`: an error.
pub struct TestOps;

impl ReferenceOps for TestOps {
    fn eval(&self, op: &Reference, inputs: &[Option<View<'_>>], _: usize) -> Result<Vec<Tensor>, Refusal> {
        let x = inputs[0].and_then(|x| x.to_vec::<f32>()).ok_or_else(|| Refusal::Values("no operand".into()))?;
        match &*op.name {
            "positive" => Ok(vec![Tensor::vector(x.into_iter().filter(|v| *v > 0.0).collect::<Vec<f32>>())]),
            "later" => Err(Refusal::Unsupported("not yet".into())),
            "large" => Err(Refusal::Limit("too much".into())),
            other => Err(Refusal::Values(format!("{other} does not work"))),
        }
    }
}

pub fn floats(t: &Tensor) -> Vec<f32> {
    t.view().to_vec::<f32>().unwrap()
}
