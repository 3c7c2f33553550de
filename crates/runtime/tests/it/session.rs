//! Extents, memory, errors, and several threads at once.

use crate::plans::*;
use planc_kir::Kernel;
use planc_plan::container::Weights;
use planc_plan::program::{Program, Storage};
use planc_runtime::{OpenOptions, Plan, RunError};
use planc_tensor::{DType, Tensor};

/// y = (x + x) * x, with x of shape [N, M].
fn polynomial() -> Program {
    Program {
        values: vec![
            value("x", DType::F32, "N,M", Storage::Input),
            value("sum", DType::F32, "N,M", Storage::Arena),
            value("flat", DType::F32, "N*M", Storage::Alias(1)),
            value("xflat", DType::F32, "N*M", Storage::Alias(0)),
            value("y", DType::F32, "N*M", Storage::Arena),
        ],
        inputs: vec![0],
        outputs: vec![4, 1],
        steps: vec![
            step("sum", map("(f32, f32) add(a0, a1)"), &[0, 0], &[1]),
            step("flat", kernel(Kernel::Reshape), &[1], &[2]),
            step("xflat", kernel(Kernel::Reshape), &[0], &[3]),
            step("y", map("(f32, f32) mul(a0, a1)"), &[2, 3], &[4]),
        ],
    }
}

fn matrix(n: usize, m: usize) -> Tensor {
    Tensor::new([n, m], (0..n * m).map(|i| i as f32 - 3.0).collect::<Vec<f32>>()).unwrap()
}

fn check(n: usize, m: usize, outputs: &[Tensor]) {
    let x = floats(&matrix(n, m));
    assert_eq!(outputs[0].shape(), [n * m]);
    assert_eq!(outputs[1].shape(), [n, m]);
    assert_eq!(floats(&outputs[0]), x.iter().map(|v| 2.0 * v * v).collect::<Vec<f32>>());
    assert_eq!(floats(&outputs[1]), x.iter().map(|v| 2.0 * v).collect::<Vec<f32>>());
}

#[test]
fn extents_are_bound_per_run() {
    let s = session(vec![polynomial()], 1);
    for (n, m) in [(2, 3), (1, 1), (0, 4), (7, 100), (2, 3)] {
        check(n, m, &s.run(&[matrix(n, m).view()]).unwrap());
    }
}

#[test]
fn several_threads_run_one_session() {
    let s = session(vec![polynomial()], 2);
    std::thread::scope(|scope| {
        for t in 1..5usize {
            let s = &s;
            scope.spawn(move || {
                for i in 0..50 {
                    let (n, m) = (t, 1 + (i * 37) % 300);
                    check(n, m, &s.run(&[matrix(n, m).view()]).unwrap());
                }
            });
        }
    });
}

/// [x + x, x * x, x] by two concatenations, the first also read by itself, and so is x + x.
fn joined() -> Program {
    let concat = || kernel(Kernel::Concat { axis: 0 });
    Program {
        values: vec![
            value("x", DType::F32, "N", Storage::Input),
            value("sum", DType::F32, "N", Storage::Arena),
            value("same", DType::F32, "N", Storage::Alias(1)),
            value("square", DType::F32, "N", Storage::Arena),
            value("two", DType::F32, "2*N", Storage::Arena),
            value("twice", DType::F32, "2*N", Storage::Arena),
            value("copy", DType::F32, "N", Storage::Arena),
            value("three", DType::F32, "3*N", Storage::Arena),
            value("again", DType::F32, "N", Storage::Arena),
        ],
        inputs: vec![0],
        outputs: vec![7, 5, 8],
        steps: vec![
            step("sum", map("(f32, f32) add(a0, a1)"), &[0, 0], &[1]),
            step("same", kernel(Kernel::Reshape), &[1], &[2]),
            step("square", map("(f32, f32) mul(a0, a1)"), &[0, 0], &[3]),
            step("two", concat(), &[2, 3], &[4]),
            step("twice", map("(f32, f32) add(a0, a1)"), &[4, 4], &[5]),
            step("copy", map("(f32) abs(a0)"), &[0], &[6]),
            step("three", concat(), &[4, 6], &[7]),
            step("again", map("(f32, f32) add(a0, a1)"), &[1, 3], &[8]),
        ],
    }
}

#[test]
fn operands_of_concatenations_are_computed_in_place() {
    let s = session(vec![joined()], 1);
    for n in [16, 5, 0, 160, 1] {
        let x: Vec<f32> = (0..n).map(|i| i as f32 + 0.5).collect();
        let outputs = s.run(&[Tensor::vector(x.clone()).view()]).unwrap();
        let (sum, square) = (x.iter().map(|x| x + x), x.iter().map(|x| x * x));
        assert_eq!(floats(&outputs[0]), sum.clone().chain(square.clone()).chain(x.clone()).collect::<Vec<f32>>());
        assert_eq!(floats(&outputs[1]), sum.clone().chain(square.clone()).map(|x| x + x).collect::<Vec<f32>>());
        assert_eq!(floats(&outputs[2]), sum.zip(square).map(|(a, b)| a + b).collect::<Vec<f32>>());
    }
    let bytes = |n: i64| s.plan().arena_bytes(&|_| Some(n));
    // `three`, which holds all but `twice` and `again`.
    assert_eq!(bytes(16), Some(4 * 16 * (3 + 2 + 1)));
    // Rows of 20 bytes cannot lie one after the other: all values are apart, each in a line, six of them at once.
    assert_eq!(bytes(5), Some(5 * 64 + 20));
}

#[test]
fn wrong_inputs_are_refused() {
    let s = session(vec![polynomial()], 1);
    let integers = Tensor::new([1, 1], vec![1i64]).unwrap();
    let vector = Tensor::vector(vec![1f32]);
    let cases: [&[&Tensor]; 3] = [&[], &[&integers], &[&vector]];
    for inputs in cases {
        let views: Vec<_> = inputs.iter().map(|t| t.view()).collect();
        assert!(matches!(s.run(&views), Err(RunError::Input(_))));
    }
}

#[test]
fn equal_symbols_must_be_equal() {
    let p = Program {
        values: vec![
            value("a", DType::F32, "N", Storage::Input),
            value("b", DType::F32, "N", Storage::Input),
            value("y", DType::F32, "N", Storage::Arena),
        ],
        inputs: vec![0, 1],
        outputs: vec![2],
        steps: vec![step("y", map("(f32, f32) add(a0, a1)"), &[0, 1], &[2])],
    };
    let s = session(vec![p], 1);
    let (a, b) = (Tensor::vector(vec![1f32, 2.0]), Tensor::vector(vec![1f32]));
    assert_eq!(floats(&s.run(&[a.view(), a.view()]).unwrap()[0]), [2.0, 4.0]);
    let e = s.run(&[a.view(), b.view()]).unwrap_err();
    assert_eq!(e.to_string(), "input \"b\" has shape [1], the plan says [N] with N = 2");
}

#[test]
fn memory_is_limited() {
    let s = session(vec![polynomial()], 1);
    let e = s.run(&[matrix(1000, 1000).view()]).unwrap_err();
    assert!(matches!(e, RunError::Memory { .. }), "{e}");
}

/// The positive elements of x, doubled: how many there are is known only after the first step.
fn filter() -> Program {
    Program {
        values: vec![
            value("x", DType::F32, "N", Storage::Input),
            value("kept", DType::F32, "K", Storage::Pool),
            value("y", DType::F32, "K", Storage::Pool),
        ],
        inputs: vec![0],
        outputs: vec![2],
        steps: vec![
            step("kept", reference("positive", &[DType::F32]), &[0], &[1]),
            step("y", map("(f32, f32) add(a0, a1)"), &[1, 1], &[2]),
        ],
    }
}

#[test]
fn extents_may_depend_on_data() {
    let s = session(vec![filter()], 1);
    for (x, y) in [(vec![1f32, -1.0, 2.5], vec![2f32, 5.0]), (vec![-1.0], vec![]), (vec![], vec![])] {
        let x = Tensor::vector(x);
        assert_eq!(floats(&s.run(&[x.view()]).unwrap()[0]), y);
    }
}

#[test]
fn failing_steps_are_named() {
    let mut p = filter();
    p.steps[0].action = reference("fail", &[DType::F32]);
    let e = session(vec![p], 1).run(&[Tensor::vector(vec![1f32]).view()]).unwrap_err();
    assert_eq!(e.to_string(), "step \"kept\": fail does not work");
    // The kind of a refusal is kept.
    let kind = |op: &str| {
        let mut p = filter();
        p.steps[0].action = reference(op, &[DType::F32]);
        session(vec![p], 1).run(&[Tensor::vector(vec![1f32]).view()]).unwrap_err()
    };
    assert!(matches!(kind("later"), RunError::Unsupported { step, .. } if step == "kept"));
    assert!(matches!(kind("large"), RunError::Memory { step, .. } if step == "kept"));
}

#[test]
fn inconsistent_manifests_are_refused() {
    type Edit = fn(&mut Program);
    let edits: [(&str, Edit); 8] = [
        ("value out of range", |p| p.steps[0].inputs = vec![Some(9)]),
        ("read before defined", |p| p.steps.swap(0, 3)),
        ("defined twice", |p| p.steps[3].outputs = vec![Some(1)]),
        ("input is a result", |p| p.inputs = vec![1]),
        ("alias of a later value", |p| p.values[2].storage = Storage::Alias(4)),
        ("alias of another value than the step reads", |p| p.steps[1].inputs = vec![Some(0)]),
        ("weight outside the section", |p| p.values[4].storage = Storage::Weight { offset: 64, len: 4 }),
        ("output not defined", |p| {
            p.steps.pop();
        }),
    ];
    for (what, edit) in edits {
        let mut p = polynomial();
        edit(&mut p);
        let bytes = plan_bytes(vec![p], Weights::new());
        assert!(Plan::from_bytes(&bytes, OpenOptions::default()).is_err(), "{what}");
    }
}
