//! Generated code against the interpreter of kernel IR: every operation, every type, awkward lengths, edge values.

use planc_cpu::codegen::{self, Target};
use planc_kir::{BinOp, Expr, ExprBuilder, Kernel, UnOp, interp};
use planc_plan::code;
use planc_plan::container::{SectionKind, Writer};
use planc_plan::program::{Action, Manifest, Program, Step, Storage, ValueDecl};
use planc_runtime::{NoReference, OpenOptions, Plan, Session, SessionOptions};
use planc_tensor::{Bytes, DType, Dim, Layout, Tensor, View, bf16, f16};
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

/// A program, its operands' extents, its result's extents.
type Case = (Expr, Vec<Vec<usize>>, Vec<usize>);

/// A plan whose steps are these maps, each with operands of its own, and the code for them.
fn plan(cases: &[Case]) -> Vec<u8> {
    let mut p = Program::default();
    let mut functions = vec![];
    for (i, (expr, shapes, out)) in cases.iter().enumerate() {
        let declare = |p: &mut Program, dtype: DType, shape: &[usize], storage: Storage| {
            let shape = Some(shape.iter().map(|d| Dim::from(*d)).collect());
            p.values.push(ValueDecl { name: format!("v{i}"), dtype, shape, layout: Layout::RowMajor, storage });
            (p.values.len() - 1) as u32
        };
        let inputs: Vec<u32> =
            expr.args().iter().zip(shapes).map(|(t, s)| declare(&mut p, *t, s, Storage::Input)).collect();
        let output = declare(&mut p, expr.result_type(), out, Storage::Arena);
        p.inputs.extend(&inputs);
        p.outputs.push(output);
        functions.push(codegen::map(expr, host()).unwrap_or_else(|e| panic!("{expr}: {e}")));
        let action = Action::Kernel { kernel: Kernel::Map(expr.clone()), epilogue: None, code: Some(i as u32) };
        let inputs = inputs.into_iter().map(Some).collect();
        p.steps.push(Step { name: format!("s{i}"), action, inputs, outputs: vec![Some(output)] });
    }
    let manifest = Manifest { name: "maps".into(), programs: vec![p] };
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

/// Runs programs over operands of these shapes as generated code and compares each with the interpreter.
fn check(cases: &[Case], threads: usize, seed: u64) {
    let session = open(&plan(cases), SessionOptions { threads, ..Default::default() });
    let mut given = vec![];
    for (k, (expr, shapes, _)) in cases.iter().enumerate() {
        for (i, (t, s)) in expr.args().iter().zip(shapes).enumerate() {
            let flat = values(*t, s.iter().product(), seed + (k * 7 + i) as u64);
            let bytes = flat.shared_bytes().unwrap().clone();
            given.push(Tensor::from_bytes(*t, s.clone(), bytes).unwrap());
        }
    }
    let views: Vec<View<'_>> = given.iter().map(Tensor::view).collect();
    let results = session.run(&views).unwrap();
    let mut at = 0;
    for ((expr, shapes, out), result) in cases.iter().zip(&results) {
        let operands: Vec<Option<View<'_>>> = views[at..at + shapes.len()].iter().copied().map(Some).collect();
        at += shapes.len();
        let form = (expr.result_type(), out.clone());
        let want = interp::interpret(&Kernel::Map(expr.clone()), &operands, &[form], &|_| None).unwrap();
        for (i, (got, want)) in numbers(result).iter().zip(&numbers(&want[0])).enumerate() {
            if got != want {
                let shown: Vec<String> = operands
                    .iter()
                    .flatten()
                    .map(|v| numbers(&v.to_tensor()).get(i).cloned().unwrap_or_default())
                    .collect();
                panic!("{expr} element {i} of {shown:?}: {got}, should be {want}");
            }
        }
    }
}

/// All programs of one operation over operands of a type, and all conversions of it.
fn programs(dtype: DType) -> Vec<Expr> {
    let mut found = vec![];
    let mut keep = |b: ExprBuilder, reg: Result<u16, String>| {
        let Ok(reg) = reg else { return };
        let expr = b.finish(reg);
        if codegen::declined(&expr).is_none() {
            found.push(expr);
        }
    };
    use planc_kir::Inst;
    for op in UnOp::ALL {
        let mut b = ExprBuilder::new(&[dtype]);
        let a = b.arg(0);
        let reg = b.push(Inst::Unary(*op, a));
        keep(b, reg);
    }
    for op in BinOp::ALL {
        let mut b = ExprBuilder::new(&[dtype, dtype]);
        let (x, y) = (b.arg(0), b.arg(1));
        let reg = b.push(Inst::Binary(*op, x, y));
        keep(b, reg);
        for c in [0.0, 1.0, -1.0, 2.0, 3.0, 7.0, 10.0, 100.0] {
            if dtype == DType::Bool || dtype.is_unsigned() && c < 0.0 {
                continue;
            }
            let mut b = ExprBuilder::new(&[dtype]);
            let (x, y) = (b.arg(0), b.constant(dtype, c));
            let reg = b.push(Inst::Binary(*op, x, y));
            // A cube of floats is rounded twice, and the interpreter's power of f64 is a library's: the last bit differs.
            let inexact = *op == BinOp::Pow && (c == 3.0 && dtype.is_float() || c != 1.0 && dtype == DType::F64);
            if !inexact {
                keep(b, reg);
            }
        }
    }
    for to in TYPES {
        let mut b = ExprBuilder::new(&[dtype]);
        let a = b.arg(0);
        let reg = b.push(Inst::Cast(to, a));
        keep(b, reg);
    }
    let mut b = ExprBuilder::new(&[DType::Bool, dtype, dtype]);
    let (c, x, y) = (b.arg(0), b.arg(1), b.arg(2));
    let reg = b.push(Inst::Select(c, x, y));
    keep(b, reg);
    found
}

#[test]
fn every_operation_agrees_with_the_interpreter() {
    for dtype in TYPES {
        let programs = programs(dtype);
        assert!(programs.len() > 14, "{dtype}: {}", programs.len());
        let cases: Vec<_> =
            programs.into_iter().map(|e| (e.clone(), vec![vec![1031]; e.args().len()], vec![1031])).collect();
        check(&cases, 1, 5);
    }
}

#[test]
fn every_length_and_broadcast_is_walked() {
    let mut b = ExprBuilder::new(&[DType::I32, DType::I64, DType::F16]);
    let (x, y, z) = (b.arg(0), b.arg(1), b.arg(2));
    let (x, z) = (b.cast(DType::I64, x), b.cast(DType::I64, z));
    let sum = b.binary(BinOp::Add, x, y);
    let sum = b.binary(BinOp::Mul, sum, z);
    let expr = b.finish(sum);
    let mut cases: Vec<(Expr, Vec<Vec<usize>>, Vec<usize>)> = vec![];
    for n in [0, 1, 2, 3, 15, 16, 17, 33, 1023, 1024, 1025, 5000] {
        cases.push((expr.clone(), vec![vec![n]; 3], vec![n]));
    }
    for (shapes, out) in [
        ([vec![4, 1, 5], vec![1], vec![3, 1]], vec![4, 3, 5]),
        ([vec![2, 3, 4, 5], vec![3, 1, 1], vec![5]], vec![2, 3, 4, 5]),
        ([vec![], vec![7, 300], vec![7, 1]], vec![7, 300]),
        ([vec![1, 1], vec![1, 1], vec![1]], vec![40, 50]),
        ([vec![100, 1], vec![1, 100], vec![100, 100]], vec![100, 100]),
        ([vec![], vec![], vec![]], vec![]),
    ] {
        cases.push((expr.clone(), shapes.to_vec(), out));
    }
    for threads in [1, 3] {
        check(&cases, threads, 9);
    }
}

#[test]
fn without_code_the_same_is_interpreted() {
    let mut b = ExprBuilder::new(&[DType::I64, DType::I64]);
    let (x, y) = (b.arg(0), b.arg(1));
    let q = b.binary(BinOp::Div, x, y);
    let expr = b.finish(q);
    let bytes = plan(&[(expr, vec![vec![9, 1000], vec![1000]], vec![9, 1000])]);
    let (x, y) = (values(DType::I64, 9000, 1), values(DType::I64, 1000, 2));
    let x = Tensor::from_bytes(DType::I64, [9, 1000], x.shared_bytes().unwrap().clone()).unwrap();
    let run = |options: SessionOptions| {
        let session = open(&bytes, options);
        (session.runs_code(), session.run(&[x.view(), y.view()]).unwrap())
    };
    let fast = SessionOptions::default();
    let (runs, want) = run(fast);
    assert_eq!(runs, fast.tier != planc_kernels::isa::Tier::Scalar);
    for slow in [
        SessionOptions { data_only: true, ..fast },
        SessionOptions { tier: planc_kernels::isa::Tier::Scalar, ..fast },
        SessionOptions { data_only: true, threads: 2, ..fast },
    ] {
        let (runs, got) = run(slow);
        assert!(!runs);
        assert_eq!(got[0].view().bytes(), want[0].view().bytes());
    }
}

#[test]
fn code_is_the_same_each_time_and_stands_alone_on_every_target() {
    for dtype in TYPES {
        for expr in programs(dtype) {
            for target in Target::ALL {
                let code = codegen::map(&expr, *target).unwrap_or_else(|e| panic!("{expr} for {}: {e}", target.name()));
                assert!(!code.is_empty());
                assert_eq!(codegen::map(&expr, *target).as_ref(), Ok(&code), "{expr} for {}", target.name());
            }
        }
    }
}

#[test]
fn one_rounding_from_f64_to_16_bits() {
    let cast = |to: DType| {
        let mut b = ExprBuilder::new(&[DType::F64]);
        let a = b.arg(0);
        let c = b.cast(to, a);
        (b.finish(c), vec![vec![3]], vec![3])
    };
    let session = open(&plan(&[cast(DType::F16), cast(DType::BF16)]), SessionOptions::default());
    // Just above, at and just below the middle between 1 and the next value.
    let near = |unit: f64| {
        Tensor::new([3], vec![1.0 + unit / 2.0 + 2f64.powi(-50), 1.0 + unit / 2.0, 1.0 + unit / 2.0 - 2f64.powi(-50)])
            .unwrap()
    };
    let (x, y) = (near(2f64.powi(-10)), near(2f64.powi(-7)));
    let results = session.run(&[x.view(), y.view()]).unwrap();
    let bits: Vec<Vec<u16>> = results.iter().map(|t| bytemuck::cast_slice(t.view().bytes()).to_vec()).collect();
    assert_eq!(bits, [[0x3c01, 0x3c00, 0x3c00], [0x3f81, 0x3f80, 0x3f80]]);
}

#[test]
fn a_manifest_that_names_no_function_is_refused() {
    let expr = Expr::identity(DType::I8);
    let bytes = plan(&[(expr.clone(), vec![vec![2]], vec![2])]);
    let opened = Plan::from_bytes(&bytes, OpenOptions::default()).unwrap();
    let mut manifest = opened.manifest().clone();
    let Action::Kernel { code, .. } = &mut manifest.programs[0].steps[0].action else { panic!() };
    *code = Some(1);
    let mut writer = Writer::new();
    writer.add(SectionKind::Manifest, manifest.encode()).unwrap();
    let function = codegen::map(&expr, host()).unwrap();
    writer.add(SectionKind::Code(host().id()), code::encode(&[function]).unwrap()).unwrap();
    let error = Plan::from_bytes(&writer.to_bytes().unwrap(), OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains("1 functions, the manifest names 2"), "{error}");
}
