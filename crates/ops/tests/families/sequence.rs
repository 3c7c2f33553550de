//! Sequences and optionals: positions, splitting and joining, and what inference says of elements.

use crate::cases::{attrs, f};
use planc_ir::{Attrs, Graph, NodeBuilder, OpName, TensorType, Type};
use planc_ops::{EvalCx, OpError, find, infer_graph};
use planc_tensor::{Attr, DType, Dim, Tensor, Value, View, pack, unpack};

fn list(tensors: &[Tensor]) -> Tensor {
    pack(&Value::Sequence(tensors.iter().cloned().map(Value::Tensor).collect()))
}

fn scalars(v: &[f32]) -> Tensor {
    list(&v.iter().map(|v| Tensor::scalar(*v)).collect::<Vec<_>>())
}

fn eval(op: &str, list: &[(&str, Attr)], inputs: &[Tensor]) -> Result<Tensor, OpError> {
    let row = find("", op).unwrap();
    let views: Vec<Option<View<'_>>> = inputs.iter().map(|t| Some(t.view())).collect();
    let attrs = attrs(list);
    row.eval.unwrap()(&EvalCx::new(row, &attrs, &[DType::U8], 1 << 20), &views).map(|mut r| r.remove(0))
}

fn fails(op: &str, inputs: &[Tensor], message: &str) {
    let error = eval(op, &[], inputs).expect_err(op);
    assert!(error.message.contains(message), "{op}: {error}");
}

#[test]
fn positions_count_from_both_ends() {
    let (three, at) = (scalars(&[1., 2., 3.]), |i: i64| Tensor::scalar(i));
    for (i, want) in [(0, 1.), (2, 3.), (-1, 3.), (-3, 1.)] {
        assert_eq!(eval("SequenceAt", &[], &[three.clone(), at(i)]).unwrap(), Tensor::scalar(want as f32));
    }
    for i in [3, -4, i64::MIN] {
        fails("SequenceAt", &[three.clone(), at(i)], "is out of range for a sequence of 3");
    }
    let insert = |i: i64| eval("SequenceInsert", &[], &[three.clone(), Tensor::scalar(9f32), at(i)]);
    assert_eq!(insert(-1).unwrap(), scalars(&[1., 2., 9., 3.]));
    assert_eq!(insert(3).unwrap(), scalars(&[1., 2., 3., 9.]));
    assert!(insert(4).is_err());
    let empty = eval("SequenceEmpty", &[], &[]).unwrap();
    assert_eq!(eval("SequenceInsert", &[], &[empty.clone(), Tensor::scalar(1f32)]).unwrap(), scalars(&[1.]));
    assert_eq!(eval("SequenceErase", &[], std::slice::from_ref(&three)).unwrap(), scalars(&[1., 2.]));
    assert_eq!(eval("SequenceErase", &[], &[three.clone(), at(0)]).unwrap(), scalars(&[2., 3.]));
    fails("SequenceErase", &[empty], "is empty");
    assert_eq!(eval("SequenceLength", &[], &[three]).unwrap(), Tensor::scalar(3i64));
    fails("SequenceLength", &[Tensor::vector(vec![7u8])], "not a packed sequence");
}

#[test]
fn tensors_are_split_and_joined() {
    let x = f(&[3, 2], &[0., 1., 2., 3., 4., 5.]);
    let rows = |v: &[(&[usize], &[f32])]| list(&v.iter().map(|(s, v)| f(s, v)).collect::<Vec<_>>());
    let two = eval("SplitToSequence", &[], &[x.clone(), Tensor::scalar(2i64)]).unwrap();
    assert_eq!(two, rows(&[(&[2, 2], &[0., 1., 2., 3.]), (&[1, 2], &[4., 5.])]));
    let by_size = [("axis", Attr::Int(-1))];
    let columns = eval("SplitToSequence", &by_size, &[x.clone(), Tensor::vector(vec![0i64, 2])]).unwrap();
    assert_eq!(columns, rows(&[(&[3, 0], &[]), (&[3, 2], &[0., 1., 2., 3., 4., 5.])]));
    let flat = eval("SplitToSequence", &[("keepdims", Attr::Int(0))], std::slice::from_ref(&x)).unwrap();
    assert_eq!(flat, rows(&[(&[2], &[0., 1.]), (&[2], &[2., 3.]), (&[2], &[4., 5.])]));
    fails("SplitToSequence", &[x.clone(), Tensor::vector(vec![1i64, 1])], "does not add up to 3");
    fails("SplitToSequence", &[x.clone(), Tensor::scalar(0i64)], "not positive");
    let axis = |new: i64| [("axis", Attr::Int(0)), ("new_axis", Attr::Int(new))];
    assert_eq!(eval("ConcatFromSequence", &axis(0), &[two]).unwrap(), x);
    assert_eq!(eval("ConcatFromSequence", &axis(1), &[flat]).unwrap(), x);
}

/// The type of the result of one node over inputs of these types.
fn inferred(op: &str, attrs: Attrs, inputs: &[Type]) -> Result<Type, OpError> {
    let mut g = Graph::new("case");
    let inputs: Vec<_> = inputs.iter().enumerate().map(|(i, t)| g.add_input(&format!("i{i}"), t.clone())).collect();
    let node = NodeBuilder::new(OpName::onnx(op)).inputs(inputs).attrs(attrs);
    let out = g.add_op(node, "out", TensorType::unranked(DType::F32));
    infer_graph(&mut g).map_err(|e| e[0].error.clone())?;
    Ok(g.value(out).ty.clone())
}

#[test]
fn elements_get_extents_of_their_own() {
    let n = |s: &str| Type::from(TensorType::new(DType::F32, vec![Dim::sym(s), Dim::from(2i64)]));
    let list = inferred("SequenceConstruct", Attrs::new(), &[n("A"), n("B")]).unwrap();
    assert_eq!(list.to_string(), "seq(f32[out.d0,2])");
    let position: Type = TensorType::new(DType::I64, vec![]).into();
    let one = inferred("SequenceAt", Attrs::new(), &[list.clone(), position]).unwrap();
    assert_eq!(one.to_string(), "f32[out.d0,2]");
    let error = inferred("SequenceConstruct", Attrs::new(), &[n("A"), TensorType::new(DType::I64, vec![]).into()]);
    assert!(error.unwrap_err().message.contains("another operand of its type"));
    assert!(
        inferred("Relu", Attrs::new(), std::slice::from_ref(&list)).unwrap_err().message.contains("does not take seq")
    );
    let nothing = inferred("Optional", Attrs::new().with("type", "seq(f32[N])"), &[]).unwrap();
    assert_eq!(nothing.to_string(), "optional(seq(f32[..]))");
    assert!(inferred("Optional", Attrs::new().with("type", "seq(q8)"), &[]).is_err());
}

#[test]
fn optionals_hold_something_or_not() {
    let run = |op: &str, list: &[(&str, Attr)], inputs: &[Tensor]| {
        let row = find("planc", op).unwrap();
        let views: Vec<Option<View<'_>>> = inputs.iter().map(|t| Some(t.view())).collect();
        row.eval.unwrap()(&EvalCx::new(row, &attrs(list), &[DType::U8], 1 << 20), &views).map(|mut r| r.remove(0))
    };
    let some = run("MakeOptional", &[], &[Tensor::scalar(5f32)]).unwrap();
    let none = run("MakeOptional", &[], &[]).unwrap();
    assert_eq!(unpack(none.view()), Ok(Value::Optional(None)));
    assert_eq!(run("HasElement", &[], std::slice::from_ref(&some)).unwrap(), Tensor::scalar(true));
    assert_eq!(run("HasElement", &[], std::slice::from_ref(&none)).unwrap(), Tensor::scalar(false));
    assert_eq!(run("GetElement", &[], &[some]).unwrap(), Tensor::scalar(5f32));
    assert!(run("GetElement", &[], &[none]).unwrap_err().message.contains("is empty"));
    let held = run("MakeOptional", &[("packed", Attr::Int(1))], &[scalars(&[1.])]).unwrap();
    assert_eq!(run("GetElement", &[], &[held]).unwrap(), scalars(&[1.]));
    // What a loop carries in place of an optional.
    assert_eq!(run("HasElement", &[], &[scalars(&[1.])]).unwrap(), Tensor::scalar(true));
    assert_eq!(run("GetElement", &[], &[scalars(&[1.])]).unwrap(), scalars(&[1.]));
}
