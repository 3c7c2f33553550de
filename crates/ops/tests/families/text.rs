//! Operators on strings.

use crate::cases::attrs;
use planc_ops::{EvalCx, OpError, find};
use planc_tensor::{Attr, DType, Tensor};

fn text(shape: &[usize], v: &[&str]) -> Tensor {
    Tensor::from_strings(shape, v.iter().map(ToString::to_string).collect()).unwrap()
}

fn tokens(more: &[(&str, Attr)], x: &Tensor) -> Result<Tensor, OpError> {
    let given = [("mark", Attr::Int(0)), ("mincharnum", Attr::Int(1)), ("pad_value", Attr::from("#"))];
    let row = find("com.microsoft", "Tokenizer").unwrap();
    let attrs = attrs(&[&given, more].concat());
    row.eval.unwrap()(&EvalCx::new(row, &attrs, &[DType::String], 1 << 20), &[Some(x.view())]).map(|mut r| r.remove(0))
}

/// Expected values are onnxruntime's.
#[test]
fn strings_become_tokens() {
    let at = |v: &[&str]| ("separators", Attr::Strs(v.iter().map(ToString::to_string).collect()));
    let (mark, least) = (("mark", Attr::Int(1)), |n| ("mincharnum", Attr::Int(n)));
    let x = text(&[3], &["Hello World", "I love cs !", ""]);
    let words = ["Hello", "World", "#", "#", "I", "love", "cs", "!", "#", "#", "#", "#"];
    assert_eq!(tokens(&[at(&[" "])], &x).unwrap(), text(&[3, 4], &words));
    let marked = "\u{2} Hello World \u{3} # # \u{2} I love cs ! \u{3} \u{2} \u{3} # # # #";
    assert_eq!(tokens(&[at(&[" "]), mark.clone()], &x).unwrap(), text(&[3, 6], &marked.split(' ').collect::<Vec<_>>()));
    assert_eq!(tokens(&[at(&[" "]), least(3)], &x).unwrap(), text(&[3, 2], &["Hello", "World", "love", "#", "#", "#"]));
    let x = text(&[3], &["aé", "b", ""]);
    assert_eq!(tokens(&[at(&[""])], &x).unwrap(), text(&[3, 2], &["a", "é", "b", "#", "#", "#"]));
    assert!(tokens(&[at(&[""]), least(2)], &x).unwrap_err().message.contains("mincharnum"));
    let x = text(&[1, 2], &["ab,c;d", " x  y "]);
    assert_eq!(tokens(&[at(&[",", ";"])], &x).unwrap(), text(&[1, 2, 3], &["ab", "c", "d", " x  y ", "#", "#"]));
    let expression = |p: &str| ("tokenexp", Attr::from(p));
    let x = text(&[1], &["one two_3, x"]);
    assert_eq!(tokens(&[expression("[a-zA-Z0-9_]+")], &x).unwrap(), text(&[1, 3], &["one", "two_3", "x"]));
    assert_eq!(tokens(&[expression("[a-zA-Z0-9_]+"), least(2)], &x).unwrap(), text(&[1, 2], &["one", "two_3"]));
    assert_eq!(tokens(&[expression("z*"), mark], &x).unwrap(), text(&[1, 0], &[]));
    assert!(tokens(&[expression("(")], &x).unwrap_err().message.contains("no regular expression"));
    assert!(tokens(&[], &x).unwrap_err().message.contains("neither separators nor tokenexp"));
}
