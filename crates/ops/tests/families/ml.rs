//! Operators of ai.onnx.ml.

use crate::cases::{attrs, close, f, run};
use planc_tensor::{Attr, Tensor};

fn ml(op: &str, list: &[(&str, Attr)], x: Tensor) -> Result<Tensor, planc_ops::OpError> {
    run("ai.onnx.ml", op, attrs(list), &[Some(x)], 1).map(|mut r| r.remove(0))
}

fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}

fn strs(v: &[&str]) -> Attr {
    Attr::Strs(v.iter().map(ToString::to_string).collect())
}

#[test]
fn columns() {
    let x = f(&[2, 2], &[3., -4., 0., 0.]);
    close("Normalizer", &ml("Normalizer", &[("norm", Attr::from("L2"))], x.clone()).unwrap(), &[0.6, -0.8, 0., 0.]);
    close("Normalizer", &ml("Normalizer", &[], x.clone()).unwrap(), &[1., -4. / 3., 0., 0.]);
    let list = [("offset", Attr::Floats(vec![1., 0.])), ("scale", Attr::Floats(vec![2.]))];
    close("Scaler", &ml("Scaler", &list, x.clone()).unwrap(), &[4., -8., -2., 0.]);
    close("Binarizer", &ml("Binarizer", &[], x.clone()).unwrap(), &[1., 0., 0., 0.]);
    let list = [("imputed_value_floats", Attr::Floats(vec![7., 8.]))];
    close("Imputer", &ml("Imputer", &list, x.clone()).unwrap(), &[3., -4., 7., 8.]);
    let list = [("coefficients", Attr::Floats(vec![1., 2., 3., 4.])), ("targets", Attr::Int(2))];
    close("LinearRegressor", &ml("LinearRegressor", &list, x.clone()).unwrap(), &[-5., -7., 0., 0.]);
    assert!(ml("LinearRegressor", &[], x).unwrap_err().message.contains("do not fit"));
}

#[test]
fn labels() {
    let names = Tensor::from_strings(vec![3], vec!["b".into(), "x".into(), "a".into()]).unwrap();
    let keys = ("keys_strings", strs(&["a", "b", "a"]));
    let got = ml("LabelEncoder", &[keys.clone(), ("values_int64s", ints(&[0, 1, 2]))], names.clone()).unwrap();
    assert_eq!(got, Tensor::vector(vec![1i64, -1, 2]));
    assert!(ml("LabelEncoder", &[keys, ("values_int64s", ints(&[0]))], names.clone()).is_err());
    let back = [("keys_floats", Attr::Floats(vec![f32::NAN, 0.])), ("values_strings", strs(&["nan", "zero"]))];
    let got = ml("LabelEncoder", &back, f(&[3], &[-f32::NAN, -0.0, 1.])).unwrap();
    assert_eq!(got.view().as_strings(), ["nan", "zero", "_Unused"]);
    let hot = ml("OneHotEncoder", &[("cats_strings", strs(&["a", "b"]))], names.clone()).unwrap();
    close("OneHotEncoder", &hot, &[0., 1., 0., 0., 1., 0.]);
    let strict = [("cats_strings", strs(&["a", "b"])), ("zeros", Attr::Int(0))];
    assert!(ml("OneHotEncoder", &strict, names).unwrap_err().message.contains("no category"));
}

#[test]
fn trees() {
    let tensor = |v: &[f32]| Attr::Tensor(Tensor::vector(v.to_vec()));
    let tree = |falses: &[i64]| {
        vec![
            ("leaf_targetids", ints(&[0, 1, 0])),
            ("leaf_weights", tensor(&[1., 2., 4.])),
            ("nodes_falseleafs", ints(&[0, 1])),
            ("nodes_falsenodeids", ints(falses)),
            ("nodes_featureids", ints(&[0, 1])),
            ("nodes_modes", Attr::Tensor(Tensor::vector(vec![0u8, 3]))),
            ("nodes_splits", tensor(&[0., 5.])),
            ("nodes_trueleafs", ints(&[1, 1])),
            ("nodes_truenodeids", ints(&[0, 1])),
            ("tree_roots", ints(&[0])),
        ]
    };
    let x = f(&[3, 2], &[-1., 0., 1., 6., 1., 5.]);
    close("TreeEnsemble", &ml("TreeEnsemble", &tree(&[1, 2]), x.clone()).unwrap(), &[1., 0., 0., 2., 4., 0.]);
    assert!(ml("TreeEnsemble", &tree(&[1, 3]), x.clone()).unwrap_err().message.contains("does not exist"));
    assert!(ml("TreeEnsemble", &tree(&[0, 2]), x.clone()).unwrap_err().message.contains("leads back"));
    let list = [
        ("nodes_falsenodeids", ints(&[2, 0, 0])),
        ("nodes_featureids", ints(&[1, 0, 0])),
        ("nodes_modes", strs(&["BRANCH_LT", "LEAF", "LEAF"])),
        ("nodes_nodeids", ints(&[0, 1, 2])),
        ("nodes_treeids", ints(&[0, 0, 0])),
        ("nodes_truenodeids", ints(&[1, 0, 0])),
        ("nodes_values", Attr::Floats(vec![5., 0., 0.])),
        ("target_ids", ints(&[0, 0])),
        ("target_nodeids", ints(&[1, 2])),
        ("target_treeids", ints(&[0, 0])),
        ("target_weights", Attr::Floats(vec![10., 20.])),
        ("base_values", Attr::Floats(vec![0.5])),
    ];
    close("TreeEnsembleRegressor", &ml("TreeEnsembleRegressor", &list, x).unwrap(), &[10.5, 20.5, 20.5]);
}
