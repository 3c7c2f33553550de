//! If, Loop and Scan.

use crate::plans::*;
use planc_plan::program::{Action, Program, Storage};
use planc_tensor::{DType, Tensor};

/// One program of one step over its inputs.
fn body(inputs: &[(&str, DType, &str)], text: &str, out: (&str, DType, &str)) -> Program {
    let n = inputs.len() as u32;
    let mut values: Vec<_> = inputs.iter().map(|(name, t, s)| value(name, *t, s, Storage::Input)).collect();
    values.push(value(out.0, out.1, out.2, Storage::Arena));
    let operands: Vec<u32> = (0..n).collect();
    Program {
        values,
        inputs: operands.clone(),
        outputs: vec![n],
        steps: vec![step("body", map(text), &operands, &[n])],
    }
}

#[test]
fn if_takes_one_branch() {
    let main = Program {
        values: vec![
            value("c", DType::Bool, "", Storage::Input),
            value("x", DType::F32, "N", Storage::Input),
            value("y", DType::F32, "N", Storage::Pool),
        ],
        inputs: vec![0, 1],
        outputs: vec![2],
        steps: vec![step(
            "if",
            Action::If { then_program: 1, else_program: 2, then_inputs: vec![1], else_inputs: vec![1] },
            &[0, 1],
            &[2],
        )],
    };
    let x = ("x", DType::F32, "N");
    let then_program = body(&[x], "(f32) neg(a0)", ("y", DType::F32, "N"));
    let else_program = body(&[x], "(f32) mul(a0, 3.0:f32)", ("y", DType::F32, "N"));
    let s = session(vec![main, then_program, else_program], 1);
    let x = Tensor::vector(vec![1f32, 2.0]);
    let run = |c: bool| floats(&s.run(&[Tensor::scalar(c).view(), x.view()]).unwrap()[0]);
    assert_eq!(run(true), [-1.0, -2.0]);
    assert_eq!(run(false), [3.0, 6.0]);
}

/// Doubles the carried value per iteration, and stacks what it was.
fn doubling() -> Vec<Program> {
    let main = Program {
        values: vec![
            value("trips", DType::I64, "", Storage::Input),
            value("go", DType::Bool, "", Storage::Input),
            value("x", DType::F32, "N", Storage::Input),
            value("last", DType::F32, "N", Storage::Pool),
            value("all", DType::F32, "T,N", Storage::Pool),
        ],
        inputs: vec![0, 1, 2],
        outputs: vec![3, 4],
        steps: vec![step("loop", Action::Loop { body: 1, carried: 1 }, &[0, 1, 2], &[3, 4])],
    };
    let inner = Program {
        values: vec![
            value("i", DType::I64, "", Storage::Input),
            value("go", DType::Bool, "", Storage::Input),
            value("x", DType::F32, "N", Storage::Input),
            value("twice", DType::F32, "N", Storage::Arena),
        ],
        inputs: vec![0, 1, 2],
        outputs: vec![1, 3, 2],
        steps: vec![step("twice", map("(f32, f32) add(a0, a1)"), &[2, 2], &[3])],
    };
    vec![main, inner]
}

#[test]
fn loops_carry_and_stack() {
    let s = session(doubling(), 1);
    let x = Tensor::vector(vec![1f32, -3.0]);
    let run =
        |trips: i64, go: bool| s.run(&[Tensor::scalar(trips).view(), Tensor::scalar(go).view(), x.view()]).unwrap();
    let out = run(3, true);
    assert_eq!(floats(&out[0]), [8.0, -24.0]);
    assert_eq!((out[1].shape(), floats(&out[1])), (&[3, 2][..], vec![1.0, -3.0, 2.0, -6.0, 4.0, -12.0]));
    for (trips, go) in [(0, true), (-5, true), (4, false)] {
        let out = run(trips, go);
        assert_eq!(floats(&out[0]), [1.0, -3.0]);
        assert_eq!(out[1].shape(), [0, 2]);
    }
}

#[test]
fn loop_results_are_limited() {
    let s = session(doubling(), 1);
    let x = Tensor::vector(vec![0f32; 1000]);
    let e = s.run(&[Tensor::scalar(i64::MAX).view(), Tensor::scalar(true).view(), x.view()]).unwrap_err();
    assert!(e.to_string().contains("beyond"), "{e}");
}

#[test]
fn scans_slice_and_stack_along_axes() {
    let main = Program {
        values: vec![
            value("s", DType::F32, "A", Storage::Input),
            value("x", DType::F32, "A,T", Storage::Input),
            value("last", DType::F32, "A", Storage::Pool),
            value("sums", DType::F32, "A,T", Storage::Pool),
        ],
        inputs: vec![0, 1],
        outputs: vec![2, 3],
        steps: vec![step(
            "scan",
            Action::Scan { body: 1, carried: 1, scanned: vec![(1, true)], results: vec![(1, true)] },
            &[0, 1],
            &[2, 3],
        )],
    };
    let mut inner =
        body(&[("s", DType::F32, "A"), ("x", DType::F32, "A")], "(f32, f32) add(a0, a1)", ("sum", DType::F32, "A"));
    inner.outputs = vec![2, 2];
    let s = session(vec![main, inner], 1);
    let start = Tensor::vector(vec![10f32, 20.0]);
    let x = Tensor::new([2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let out = s.run(&[start.view(), x.view()]).unwrap();
    // Read from the end, written from the end.
    assert_eq!(floats(&out[0]), [16.0, 35.0]);
    assert_eq!(floats(&out[1]), [16.0, 15.0, 13.0, 35.0, 31.0, 26.0]);
}
