//! Reductions: every operation, every type, awkward shapes, programs before and after.

use crate::{Case, TYPES, check, host, open, plan, tame, values};
use planc_cpu::codegen::{self, Target};
use planc_kir::{BinOp, Expr, ExprBuilder, Kernel, Reduce, ReduceOp, UnOp, interp};
use planc_plan::container::{SectionKind, Writer};
use planc_plan::program::{Action, Step};
use planc_runtime::{OpenOptions, Plan, SessionOptions};
use planc_tensor::{DType, Tensor, View};
use std::slice::from_ref;

/// Extents of an operand, reduced axes, extents of the result.
type Shape = (Vec<usize>, Vec<usize>, Vec<usize>);

fn shapes() -> Vec<Shape> {
    let mut all: Vec<Shape> = vec![
        (vec![3, 5], vec![0], vec![5]),
        (vec![3, 5], vec![1], vec![3]),
        (vec![3, 5], vec![], vec![3, 5]),
        (vec![2, 3, 4], vec![0, 2], vec![3]),
        (vec![2, 3, 4], vec![1], vec![2, 1, 4]),
        (vec![2, 3, 4], vec![0, 1, 2], vec![1, 1, 1]),
        (vec![4, 0, 3], vec![1], vec![4, 3]),
        (vec![0, 4], vec![1], vec![0]),
        (vec![0, 4], vec![0], vec![4]),
        (vec![], vec![], vec![]),
        (vec![1, 1], vec![0], vec![1]),
        (vec![301, 2], vec![0], vec![2]),
        (vec![2, 301], vec![0], vec![301]),
        (vec![1000, 1], vec![0], vec![1]),
        (vec![2, 3, 1, 70], vec![1, 3], vec![2, 1]),
        (vec![3, 2, 5, 3], vec![0, 2], vec![2, 3]),
        (vec![2, 5, 2, 3, 2], vec![1, 3], vec![2, 2, 2]),
    ];
    all.extend([0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 1027].map(|n| (vec![n], vec![0], vec![])));
    all
}

/// A reduction of operands of one extent each, whose sums are exact where the result is a float.
fn case(op: ReduceOp, map: &Expr, operands: &[Vec<usize>], axes: &[usize], out: &[usize]) -> Case {
    let dtype = map.result_type();
    let exact = dtype.is_int() && !matches!(op, ReduceOp::L2 | ReduceOp::LogSum);
    Case {
        kernel: Kernel::Reduce(Reduce { op, axes: axes.to_vec(), map: map.clone() }),
        epilogue: None,
        operands: map.args().iter().copied().zip(operands.iter().cloned()).collect(),
        out: (dtype, out.to_vec()),
        tame: !exact && !matches!(op, ReduceOp::Max | ReduceOp::Min),
    }
}

fn generated() -> Vec<(ReduceOp, DType)> {
    let pairs = ReduceOp::ALL.iter().flat_map(|op| TYPES.map(|t| (*op, t)));
    pairs.filter(|(op, t)| codegen::declined_reduction(&Reduce::plain(*op, *t, vec![0]), None).is_none()).collect()
}

#[test]
fn every_operation_agrees_with_the_interpreter() {
    let pairs = generated();
    assert_eq!(pairs.len(), 9 * 12);
    for (op, dtype) in pairs {
        let map = Expr::identity(dtype);
        let cases: Vec<Case> = shapes().iter().map(|(x, axes, out)| case(op, &map, from_ref(x), axes, out)).collect();
        check(&cases, 1, 3);
    }
}

/// Programs before a reduction, for each kind of register.
fn programs() -> Vec<Expr> {
    let mut all = vec![];
    for (x, y, to) in [
        (DType::F32, DType::F32, DType::F32),
        (DType::F16, DType::F32, DType::F32),
        (DType::F64, DType::F32, DType::F64),
        (DType::U8, DType::I8, DType::I32),
        (DType::I32, DType::I64, DType::I64),
        (DType::BF16, DType::BF16, DType::BF16),
    ] {
        let mut b = ExprBuilder::new(&[x, y]);
        let (p, q) = (b.arg(0), b.arg(1));
        let (p, q) = (b.cast(to, p), b.cast(to, q));
        let product = b.binary(BinOp::Mul, p, q);
        all.push(b.clone().finish(product));
        let sum = b.binary(BinOp::Add, product, p);
        let sum = b.unary(UnOp::Abs, sum);
        let sum = b.binary(BinOp::Max, sum, q);
        all.push(b.finish(sum));
    }
    all
}

#[test]
fn programs_run_before_and_operands_broadcast() {
    let shapes: [[&[usize]; 4]; 9] = [
        [&[4, 1, 5], &[3, 1], &[1], &[4, 5]],
        [&[4, 1, 5], &[3, 1], &[0, 2], &[3]],
        [&[4, 1, 5], &[3, 1], &[2], &[4, 3, 1]],
        [&[4, 1, 5], &[3, 1], &[0, 1, 2], &[]],
        [&[7, 300], &[300], &[1], &[7]],
        [&[7, 300], &[7, 1], &[1], &[7]],
        [&[7, 300], &[], &[0], &[300]],
        [&[2, 0, 5], &[5], &[1], &[2, 5]],
        [&[1, 1], &[40, 50], &[0], &[50]],
    ];
    for map in programs() {
        for op in [ReduceOp::Sum, ReduceOp::Max, ReduceOp::SumSquare, ReduceOp::Mean, ReduceOp::L2] {
            let cases: Vec<Case> =
                shapes.iter().map(|[x, y, axes, out]| case(op, &map, &[x.to_vec(), y.to_vec()], axes, out)).collect();
            for threads in [1, 3] {
                check(&cases, threads, 11);
            }
        }
    }
}

#[test]
fn an_epilogue_runs_after() {
    for (dtype, to) in
        [(DType::I64, DType::I32), (DType::F64, DType::F16), (DType::F16, DType::F16), (DType::F32, DType::Bool)]
    {
        let mut b = ExprBuilder::new(&[dtype, dtype]);
        let (x, y) = (b.arg(0), b.arg(1));
        let sum = b.binary(BinOp::Sub, x, y);
        let last = b.cast(to, sum);
        let epilogue = b.finish(last);
        let cases: Vec<Case> = [(vec![6, 50], vec![1], vec![6]), (vec![6, 50], vec![0], vec![50])]
            .into_iter()
            .map(|(x, axes, out): Shape| Case {
                epilogue: Some(epilogue.clone()),
                operands: vec![(dtype, x), (dtype, out.clone())],
                out: (to, out),
                tame: true,
                kernel: Kernel::Reduce(Reduce::plain(ReduceOp::Sum, dtype, axes)),
            })
            .collect();
        check(&cases, 2, 4);
    }
}

#[test]
fn long_sums_stay_close_and_do_not_depend_on_threads() {
    for dtype in [DType::F32, DType::F64] {
        let mut b = ExprBuilder::new(&[dtype]);
        let x = b.arg(0);
        let scaled = b.binary_const(BinOp::Mul, x, 1.0 / 3.0);
        let map = b.finish(scaled);
        for (x, axes, out) in
            [(vec![100_003], vec![0], vec![]), (vec![5, 20_011], vec![1], vec![5]), (vec![9_001, 7], vec![0], vec![7])]
        {
            let case = case(ReduceOp::Sum, &map, from_ref(&x), &axes, &out);
            let n: usize = x.iter().product();
            let flat = tame(dtype, n, 8);
            let x = Tensor::from_bytes(dtype, x, flat.shared_bytes().unwrap().clone()).unwrap();
            let want = interp::interpret(&case.kernel, &[Some(x.view())], from_ref(&case.out), &|_| None).unwrap();
            let bytes = plan(&[case]);
            let run = |threads: usize| {
                let session = open(&bytes, SessionOptions { threads, ..Default::default() });
                session.run(&[x.view()]).unwrap().remove(0)
            };
            let one = run(1);
            assert_eq!(one.view().bytes(), run(3).view().bytes());
            let floats = |t: &Tensor| -> Vec<f64> {
                match dtype {
                    DType::F32 => t.view().to_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
                    _ => t.view().to_vec::<f64>().unwrap(),
                }
            };
            let unit = if dtype == DType::F32 { 1.2e-7 } else { 1e-12 };
            for (got, want) in floats(&one).iter().zip(floats(&want[0])) {
                assert!((got - want).abs() <= unit * want.abs(), "{dtype}: {got}, should be {want}");
            }
        }
    }
}

#[test]
fn without_code_the_same_is_interpreted() {
    // A precompiled kernel stands in for f32, whose logarithm differs in the last bit.
    for (op, dtype) in generated().into_iter().filter(|p| *p != (ReduceOp::LogSum, DType::F32)) {
        let map = Expr::identity(dtype);
        let mut cases = vec![];
        for (x, axes, out) in [(vec![6, 35], vec![1], vec![6]), (vec![6, 35], vec![0], vec![35])] {
            cases.push(case(op, &map, &[x], &axes, &out));
        }
        let bytes = plan(&cases);
        let make = if cases[0].tame { tame } else { values };
        let flat = make(dtype, 210, 2);
        let x = Tensor::from_bytes(dtype, [6, 35], flat.shared_bytes().unwrap().clone()).unwrap();
        let given: [View<'_>; 2] = [x.view(), x.view()];
        let run = |options: SessionOptions| open(&bytes, options).run(&given).unwrap();
        let want = run(SessionOptions::default());
        let got = run(SessionOptions { data_only: true, ..Default::default() });
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(crate::numbers(got), crate::numbers(want), "{} of {dtype}", op.name());
        }
    }
}

#[test]
fn code_is_the_same_each_time_and_stands_alone_on_every_target() {
    let plain = generated().into_iter().map(|(op, t)| Reduce::plain(op, t, vec![0]));
    let mapped = programs().into_iter().map(|map| Reduce { op: ReduceOp::Sum, axes: vec![0], map });
    for r in plain.chain(mapped) {
        let epilogue = Expr::identity(r.map.result_type());
        for target in Target::ALL {
            let make = || codegen::reduce(&r, Some(&epilogue), *target);
            let code = make().unwrap_or_else(|e| panic!("{r:?} for {}: {e}", target.name()));
            assert!(!code.is_empty());
            assert_eq!(make().as_ref(), Ok(&code), "{r:?} for {}", target.name());
        }
    }
    let declined = Reduce::plain(ReduceOp::LogSumExp, DType::F32, vec![0]);
    assert!(codegen::reduce(&declined, None, host()).is_err());
}

#[test]
fn a_manifest_whose_reduction_does_not_fit_is_refused() {
    let map = Expr::identity(DType::I32);
    let bytes = plan(&[case(ReduceOp::Sum, &map, &[vec![2, 3]], &[0, 1], &[])]);
    let opened = Plan::from_bytes(&bytes, OpenOptions::default()).unwrap();
    let changes: [&dyn Fn(&mut Step); 5] = [
        &|s| reduction(s).axes = vec![1, 0],
        &|s| reduction(s).axes = vec![0, 64],
        &|s| reduction(s).map = Expr::identity(DType::I64),
        &|s| s.inputs.push(None),
        &|s| s.inputs.clear(),
    ];
    for change in changes {
        let mut manifest = opened.manifest().clone();
        change(&mut manifest.programs[0].steps[0]);
        let mut writer = Writer::new();
        writer.add(SectionKind::Manifest, manifest.encode()).unwrap();
        let error = Plan::from_bytes(&writer.to_bytes().unwrap(), OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains("reduces what its program does not take or give"), "{error}");
    }
}

fn reduction(s: &mut Step) -> &mut Reduce {
    match &mut s.action {
        Action::Kernel { kernel: Kernel::Reduce(r), .. } => r,
        other => panic!("{other:?}"),
    }
}
