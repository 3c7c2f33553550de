//! Generated code against the interpreter of kernel IR.

mod graphs;
mod maps;
mod reductions;

use planc_cpu::codegen::{self, Target};
use planc_kir::{Expr, Kernel, interp};
use planc_plan::code;
use planc_plan::container::{SectionKind, Writer};
use planc_plan::program::{Action, Manifest, Program, Step, Storage, ValueDecl};
use planc_runtime::{NoReference, OpenOptions, Plan, Session, SessionOptions};
use planc_tensor::{Bytes, DType, Dim, Layout, Tensor, View, bf16, f16};
use std::collections::HashMap;
use std::sync::Arc;

const TYPES: [DType; 13] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::Bool,
];

fn host() -> Target {
    if cfg!(target_arch = "aarch64") { Target::Aarch64 } else { Target::X86_64 }
}

/// A generator of numbers (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// `n` elements: edge values first, in an order that pairs each with each as the seed changes, then random ones.
fn values(dtype: DType, n: usize, seed: u64) -> Tensor {
    let mut r = Random(seed * 77 + 1);
    let small = |r: &mut Random| (r.next() % 17) as i64 - 8;
    let edges: Vec<f64> = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        3.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e-45,
        -1e-40,
        6e-8,
        -6.1e-5,
        65504.0,
        65519.9,
        65520.0,
        3.4e38,
        -1e300,
        2147483647.0,
        -2147483648.0,
        2147483648.0,
        4294967295.0,
        4294967296.0,
        9.223372036854776e18,
        -9.223372036854776e18,
        1.8446744073709552e19,
        127.5,
        -128.5,
        255.5,
        32767.5,
        -0.9,
        300.0,
        70000.0,
    ];
    let mut float = |k: usize| -> f64 {
        let pick = r.next();
        match k % 4 {
            0 => edges[(pick % edges.len() as u64) as usize],
            1 => small(&mut r) as f64 / 2.0,
            2 => (pick as i64 as f64) / 2f64.powi((r.next() % 80) as i32),
            _ => (pick as i32 as f64) / 65536.0,
        }
    };
    let bytes: Vec<u8> = match dtype {
        DType::F32 => (0..n).flat_map(|k| (float(k) as f32).to_le_bytes()).collect(),
        DType::F64 => (0..n).flat_map(|k| float(k).to_le_bytes()).collect(),
        DType::F16 => (0..n).flat_map(|k| f16::from_f32(float(k) as f32).to_le_bytes()).collect(),
        DType::BF16 => (0..n).flat_map(|k| bf16::from_f32(float(k) as f32).to_le_bytes()).collect(),
        DType::Bool => (0..n).map(|_| (r.next() >> 40) as u8 & 1).collect(),
        _ => {
            let (size, bits) = (dtype.bits() / 8, dtype.bits() as u32);
            let edges = [0i64, 1, -1, 1 << (bits - 1), !(-1i64 << (bits - 1)), bits as i64, bits as i64 - 1, 2];
            let mut int = |k: usize| match k % 3 {
                0 => edges[(r.next() % 8) as usize],
                1 => small(&mut r),
                _ => r.next() as i64,
            };
            (0..n).flat_map(|k| int(k).to_le_bytes().into_iter().take(size)).collect()
        }
    };
    Tensor::from_bytes(dtype, [n], Bytes::new(bytes)).unwrap()
}

/// Elements whose sums are exact in any order, and whose products are of few bits.
fn tame(dtype: DType, n: usize, seed: u64) -> Tensor {
    let mut r = Random(seed * 91 + 5);
    let choices = [1.0, 2.0, -1.0, 0.5, 1.0, -2.0, 1.0, 4.0, -0.5, 1.0];
    let v: Vec<f64> = (0..n).map(|_| choices[(r.next() % 10) as usize]).collect();
    let bytes: Vec<u8> = match dtype {
        DType::F32 => v.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
        DType::F64 => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => v.iter().flat_map(|v| f16::from_f64(*v).to_le_bytes()).collect(),
        DType::BF16 => v.iter().flat_map(|v| bf16::from_f64(*v).to_le_bytes()).collect(),
        DType::Bool => v.iter().map(|v| u8::from(*v > 0.0)).collect(),
        _ => v.iter().flat_map(|v| (v.abs() as i64).to_le_bytes().into_iter().take(dtype.bits() / 8)).collect(),
    };
    Tensor::from_bytes(dtype, [n], Bytes::new(bytes)).unwrap()
}

/// A kernel that code is generated for.
struct Case {
    kernel: Kernel,
    epilogue: Option<Expr>,
    /// Types and extents of the operands, the epilogue's sides last.
    operands: Vec<(DType, Vec<usize>)>,
    /// Type and extents of the result.
    out: (DType, Vec<usize>),
    /// Operands whose sums are exact, rather than edge values.
    tame: bool,
}

/// A plan whose steps are these kernels, each with operands of its own, and the code for them.
fn plan(cases: &[Case]) -> Vec<u8> {
    let mut p = Program::default();
    let mut functions = vec![];
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for (i, case) in cases.iter().enumerate() {
        let declare = |p: &mut Program, form: &(DType, Vec<usize>), storage: Storage| {
            let shape = Some(form.1.iter().map(|d| Dim::from(*d)).collect());
            let (dtype, layout) = (form.0, Layout::RowMajor);
            p.values.push(ValueDecl { name: format!("v{i}"), dtype, shape, layout, storage });
            (p.values.len() - 1) as u32
        };
        let inputs: Vec<u32> = case.operands.iter().map(|o| declare(&mut p, o, Storage::Input)).collect();
        let output = declare(&mut p, &case.out, Storage::Arena);
        p.inputs.extend(&inputs);
        p.outputs.push(output);
        let (kernel, epilogue) = (case.kernel.clone(), case.epilogue.clone());
        let (key, make): (_, &dyn Fn() -> Result<Vec<u8>, String>) = match &kernel {
            Kernel::Map(expr) => (format!("{expr}"), &|| codegen::map(expr, host())),
            Kernel::Reduce(r) => {
                let key = format!("{} {} {epilogue:?}", r.op.name(), r.map);
                (key, &|| codegen::reduce(r, epilogue.as_ref(), host()))
            }
            other => panic!("no code is generated for {other:?}"),
        };
        let number = *numbers.entry(key).or_insert_with_key(|key| {
            functions.push(make().unwrap_or_else(|e| panic!("{key}: {e}")));
            functions.len() as u32 - 1
        });
        let action = Action::Kernel { kernel: kernel.clone(), epilogue: epilogue.clone(), code: Some(number) };
        let inputs = inputs.into_iter().map(Some).collect();
        p.steps.push(Step { name: format!("s{i}"), action, inputs, outputs: vec![Some(output)] });
    }
    let manifest = Manifest { name: "kernels".into(), programs: vec![p], packed: vec![] };
    let mut writer = Writer::new();
    writer.add(SectionKind::Manifest, manifest.encode()).unwrap();
    writer.add(SectionKind::Code(host().id()), code::encode(&functions).unwrap()).unwrap();
    writer.to_bytes().unwrap()
}

fn open(bytes: &[u8], options: SessionOptions) -> Session {
    let plan = Plan::from_bytes(bytes, OpenOptions::default()).unwrap();
    Session::new(Arc::new(plan), options, Arc::new(NoReference)).unwrap()
}

/// Elements as numbers that are equal where results agree: any NaN is as good as another, zeros have no sign.
fn numbers(t: &Tensor) -> Vec<String> {
    let float = |v: f64| if v.is_nan() { "nan".to_string() } else { format!("{:?}", v + 0.0) };
    match t.dtype() {
        DType::F32 => t.view().to_vec::<f32>().unwrap().into_iter().map(|v| float(v.into())).collect(),
        DType::F64 => t.view().to_vec::<f64>().unwrap().into_iter().map(float).collect(),
        DType::F16 => t.view().to_vec::<f16>().unwrap().into_iter().map(|v| float(v.to_f64())).collect(),
        DType::BF16 => t.view().to_vec::<bf16>().unwrap().into_iter().map(|v| float(v.to_f64())).collect(),
        _ => t.view().bytes().chunks(t.dtype().bits() / 8).map(|b| format!("{b:?}")).collect(),
    }
}

/// Runs kernels as generated code and compares each with the interpreter.
fn check(cases: &[Case], threads: usize, seed: u64) {
    let session = open(&plan(cases), SessionOptions { threads, ..Default::default() });
    let mut given = vec![];
    for (k, case) in cases.iter().enumerate() {
        for (i, (t, s)) in case.operands.iter().enumerate() {
            let make = if case.tame { tame } else { values };
            let flat = make(*t, s.iter().product(), seed + (k * 7 + i) as u64);
            let bytes = flat.shared_bytes().unwrap().clone();
            given.push(Tensor::from_bytes(*t, s.clone(), bytes).unwrap());
        }
    }
    let views: Vec<View<'_>> = given.iter().map(Tensor::view).collect();
    let results = session.run(&views).unwrap();
    let mut at = 0;
    for (case, result) in cases.iter().zip(&results) {
        let operands: Vec<Option<View<'_>>> = views[at..at + case.operands.len()].iter().copied().map(Some).collect();
        at += case.operands.len();
        for (i, (got, want)) in numbers(result).iter().zip(&numbers(&interpreted(case, &operands))).enumerate() {
            if got != want {
                let shown: Vec<String> = operands
                    .iter()
                    .flatten()
                    .map(|v| numbers(&v.to_tensor()).get(i).cloned().unwrap_or_default())
                    .collect();
                let shapes: Vec<_> = case.operands.iter().map(|o| &o.1).collect();
                panic!("{:?} of {shapes:?}, element {i} of {shown:?}: {got}, should be {want}", case.kernel);
            }
        }
    }
}

/// What the interpreter makes of a case.
fn interpreted(case: &Case, operands: &[Option<View<'_>>]) -> Tensor {
    let Some(epilogue) = &case.epilogue else {
        let mut all = interp::interpret(&case.kernel, operands, std::slice::from_ref(&case.out), &|_| None).unwrap();
        return all.remove(0);
    };
    let (own, sides) = operands.split_at(operands.len() + 1 - epilogue.args().len());
    let between = [(epilogue.args()[0], case.out.1.clone())];
    let reduced = interp::interpret(&case.kernel, own, &between, &|_| None).unwrap();
    let all: Vec<Option<View<'_>>> = [Some(reduced[0].view())].into_iter().chain(sides.iter().copied()).collect();
    let last = Kernel::Map(epilogue.clone());
    interp::interpret(&last, &all, std::slice::from_ref(&case.out), &|_| None).unwrap().remove(0)
}
