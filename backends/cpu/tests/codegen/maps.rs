//! Maps: every operation, every type, awkward lengths, edge values.

use crate::{Case, TYPES, check, host, open, plan, values};
use planc_cpu::codegen::{self, Target};
use planc_kir::{BinOp, Expr, ExprBuilder, Kernel, UnOp};
use planc_plan::code;
use planc_plan::container::{SectionKind, Writer};
use planc_plan::program::Action;
use planc_runtime::{OpenOptions, Plan, SessionOptions};
use planc_tensor::{DType, Tensor};

/// A program over operands of these extents.
fn case(expr: &Expr, shapes: &[Vec<usize>], out: &[usize]) -> Case {
    Case {
        kernel: Kernel::Map(expr.clone()),
        epilogue: None,
        operands: expr.args().iter().copied().zip(shapes.iter().cloned()).collect(),
        out: (expr.result_type(), out.to_vec()),
        tame: false,
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
        let cases: Vec<_> = programs.iter().map(|e| case(e, &vec![vec![1031]; e.args().len()], &[1031])).collect();
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
    let mut cases: Vec<Case> = vec![];
    for n in [0, 1, 2, 3, 15, 16, 17, 33, 1023, 1024, 1025, 5000] {
        cases.push(case(&expr, &vec![vec![n]; 3], &[n]));
    }
    for (shapes, out) in [
        ([vec![4, 1, 5], vec![1], vec![3, 1]], vec![4, 3, 5]),
        ([vec![2, 3, 4, 5], vec![3, 1, 1], vec![5]], vec![2, 3, 4, 5]),
        ([vec![], vec![7, 300], vec![7, 1]], vec![7, 300]),
        ([vec![1, 1], vec![1, 1], vec![1]], vec![40, 50]),
        ([vec![100, 1], vec![1, 100], vec![100, 100]], vec![100, 100]),
        ([vec![], vec![], vec![]], vec![]),
    ] {
        cases.push(case(&expr, &shapes, &out));
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
    let bytes = plan(&[case(&expr, &[vec![9, 1000], vec![1000]], &[9, 1000])]);
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
        case(&b.finish(c), &[vec![3]], &[3])
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
    let bytes = plan(&[case(&expr, &[vec![2]], &[2])]);
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
