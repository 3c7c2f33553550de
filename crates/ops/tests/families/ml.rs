//! Operators of ai.onnx.ml.

use crate::cases::{attrs, close, f, run};
use planc_ir::{Attrs, Graph, NodeBuilder, OpName, TensorType, Type};
use planc_ops::{EvalCx, OpError, find, infer_graph};
use planc_tensor::{Attr, DType, Map, Tensor, Value, View, pack, unpack};

fn ml(op: &str, list: &[(&str, Attr)], x: Tensor) -> Result<Tensor, OpError> {
    run("ai.onnx.ml", op, attrs(list), &[Some(x)], 1).map(|mut r| r.remove(0))
}

/// Labels and scores of a classifier over -1 and 1.
fn classes(op: &str, list: &[(&str, Attr)]) -> (Tensor, Tensor) {
    let mut results =
        run("ai.onnx.ml", op, attrs(list), &[Some(f(&[2, 1], &[-1., 1.]))], 2).unwrap_or_else(|e| panic!("{op}: {e}"));
    let scores = results.remove(1);
    (results.remove(0), scores)
}

/// The classifier gives these labels and scores.
fn classified(op: &str, list: &[(&str, Attr)], labels: &[i64], scores: &[f32]) {
    let (y, z) = classes(op, list);
    assert_eq!(y, Tensor::vector(labels.to_vec()), "{op} {list:?}");
    close(op, &z, scores);
}

fn floats(v: &[f32]) -> Attr {
    Attr::Floats(v.to_vec())
}

fn text(v: &[&str]) -> Tensor {
    Tensor::from_strings([v.len()], v.iter().map(ToString::to_string).collect()).unwrap()
}

fn with<'a>(list: &[(&'a str, Attr)], more: &[(&'a str, Attr)]) -> Vec<(&'a str, Attr)> {
    [list, more].concat()
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
    close("Normalizer", &ml("Normalizer", &[], f(&[1, 2], &[-1., -2.])).unwrap(), &[1., 2.]);
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
    let hot = ml("OneHotEncoder", &[("cats_int64s", ints(&[1, -1]))], f(&[3], &[1.75, -1.5, 0.5])).unwrap();
    close("OneHotEncoder", &hot, &[1., 0., 0., 1., 0., 0.]);
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
    close("TreeEnsembleRegressor", &ml("TreeEnsembleRegressor", &list, x.clone()).unwrap(), &[10.5, 20.5, 20.5]);
    let twice = with(&list, &[("nodes_nodeids", ints(&[0, 1, 1]))]);
    assert!(ml("TreeEnsembleRegressor", &twice, x).unwrap_err().message.contains("is there twice"));
}

#[test]
fn members_missing_values_and_joins() {
    let tensor = |v: &[f32]| Attr::Tensor(Tensor::vector(v.to_vec()));
    // Two trees of one node: x0 is 1 or 3; x1 is 2, or missing.
    let trees = |join: i64| {
        [
            ("aggregate_function", Attr::Int(join)),
            ("leaf_targetids", ints(&[0, 0, 0, 1])),
            ("leaf_weights", tensor(&[1., 2., 4., 8.])),
            ("membership_values", tensor(&[1., 3., f32::NAN, 2., f32::NAN])),
            ("n_targets", Attr::Int(2)),
            ("nodes_falseleafs", ints(&[1, 1])),
            ("nodes_falsenodeids", ints(&[1, 3])),
            ("nodes_featureids", ints(&[0, 1])),
            ("nodes_missing_value_tracks_true", ints(&[0, 1])),
            ("nodes_modes", Attr::Tensor(Tensor::vector(vec![6u8, 6]))),
            ("nodes_splits", tensor(&[0., 0.])),
            ("nodes_trueleafs", ints(&[1, 1])),
            ("nodes_truenodeids", ints(&[0, 2])),
            ("tree_roots", ints(&[0, 1])),
        ]
    };
    let x = f(&[3, 2], &[3., 2., f32::NAN, f32::NAN, 2., 1.]);
    for (join, want) in [
        (0, [2.5, 0., 3., 0., 1., 4.]),
        (1, [5., 0., 6., 0., 2., 8.]),
        (2, [1., 0., 2., 0., 2., 8.]),
        (3, [4., 0., 4., 0., 2., 8.]),
    ] {
        close("TreeEnsemble", &ml("TreeEnsemble", &trees(join), x.clone()).unwrap(), &want);
    }
    let none = Tensor::new([0, 2], Vec::<f64>::new()).unwrap();
    assert_eq!(ml("TreeEnsemble", &trees(1), none).unwrap().shape(), [0, 2]);
    assert!(ml("TreeEnsemble", &trees(4), x.clone()).unwrap_err().message.contains("aggregate_function is 4"));
    let narrow = f(&[1, 1], &[0.]);
    assert!(ml("TreeEnsemble", &trees(1), narrow).unwrap_err().message.contains("asks for feature 1 of 1"));
}

/// A tree of one node, x <= 0, whose leaves 1 and 2 have these votes.
fn stump(ids: &[i64], nodes: &[i64], weights: &[f32], labels: &[i64], transform: &str) -> Vec<(&'static str, Attr)> {
    vec![
        ("nodes_treeids", ints(&[0, 0, 0])),
        ("nodes_nodeids", ints(&[0, 1, 2])),
        ("nodes_featureids", ints(&[0, 0, 0])),
        ("nodes_modes", strs(&["BRANCH_LEQ", "LEAF", "LEAF"])),
        ("nodes_values", floats(&[0.; 3])),
        ("nodes_truenodeids", ints(&[1, 0, 0])),
        ("nodes_falsenodeids", ints(&[2, 0, 0])),
        ("class_treeids", ints(&vec![0; ids.len()])),
        ("class_nodeids", ints(nodes)),
        ("class_ids", ints(ids)),
        ("class_weights", floats(weights)),
        ("classlabels_int64s", ints(labels)),
        ("post_transform", Attr::from(transform)),
    ]
}

/// Expected values are onnxruntime's.
#[test]
fn tree_classifiers() {
    const OP: &str = "TreeEnsembleClassifier";
    let three = |t: &str| stump(&[0, 1, 2, 1], &[1, 1, 2, 2], &[1., 2., 3., -1.], &[5, 7, 9], t);
    classified(OP, &three("NONE"), &[7, 9], &[1., 2., 0., 0., -1., 3.]);
    classified(OP, &three("LOGISTIC"), &[7, 9], &[0.731059, 0.880797, 0.5, 0.5, 0.268941, 0.952574]);
    classified(OP, &three("SOFTMAX"), &[7, 9], &[0.244728, 0.665241, 0.0900306, 0.0466126, 0.0171478, 0.936240]);
    classified(
        OP,
        &with(&three("NONE"), &[("base_values", floats(&[0.5; 3]))]),
        &[7, 9],
        &[1.5, 2.5, 0.5, 0.5, -0.5, 3.5],
    );
    // Two classes, and weights of one of them.
    let two = |id: i64, w: &[f32], t: &str| stump(&[id, id], &[1, 2], w, &[5, 7], t);
    let based = |list: &[(&'static str, Attr)], b: &[f32]| with(list, &[("base_values", floats(b))]);
    let (positive, mixed) = ([0.25, 0.75], [-0.5, 1.5]);
    classified(OP, &two(0, &positive, "NONE"), &[5, 7], &[0.75, 0.25, 0.25, 0.75]);
    classified(OP, &two(0, &positive, "LOGISTIC"), &[5, 7], &[0.437823, 0.562177, 0.320821, 0.679179]);
    classified(OP, &two(0, &mixed, "NONE"), &[5, 7], &[0.5, -0.5, -1.5, 1.5]);
    classified(OP, &two(0, &mixed, "LOGISTIC"), &[5, 7], &[0.622459, 0.377541, 0.182426, 0.817574]);
    classified(OP, &two(1, &positive, "NONE"), &[5, 7], &[0., 0.25, 0., 0.75]);
    classified(OP, &two(1, &mixed, "SOFTMAX"), &[5, 7], &[0.622459, 0.377541, 0.182426, 0.817574]);
    classified(OP, &based(&two(0, &positive, "NONE"), &[0.5]), &[7, 7], &[0.25, 0.75, -0.25, 1.25]);
    classified(OP, &based(&two(0, &positive, "NONE"), &[0.25, 1.]), &[5, 7], &[0.5, 0., 1., 0.]);
    classified(OP, &based(&two(1, &mixed, "NONE"), &[0.25, 1.]), &[7, 7], &[0., 1., 0., 1.]);
    let both = |t: &str| stump(&[0, 1, 0, 1], &[1, 1, 2, 2], &[0.75, 0.25, 0.125, 0.875], &[0, 1], t);
    classified(OP, &both("NONE"), &[1, 1], &[0.75, 0.25, 0.125, 0.875]);
    classified(OP, &based(&both("NONE"), &[0.25, 1.]), &[1, 1], &[-1.75, 1.75, -1.125, 1.125]);
    classified(OP, &stump(&[0, 0], &[1, 2], &mixed, &[5], "LOGISTIC"), &[0, 1], &[-0.5, 1.5]);
    let named = with(&two(0, &positive, "NONE"), &[("classlabels_strings", strs(&["no", "yes"]))]);
    assert_eq!(classes(OP, &named).0, text(&["no", "yes"]));
    // Doubles, from attributes that are tensors; the split lies between two floats.
    let split = 0.1f64 + 1e-12;
    let fine = with(
        &two(0, &positive, "NONE"),
        &[
            ("nodes_values_as_tensor", Attr::Tensor(Tensor::vector(vec![split, 0., 0.]))),
            ("class_weights_as_tensor", Attr::Tensor(Tensor::vector(vec![0.25f64, 0.75]))),
        ],
    );
    let fine: Vec<_> = fine.into_iter().filter(|(n, _)| !["nodes_values", "class_weights"].contains(n)).collect();
    let x = Tensor::new([2, 1], vec![0.1f64, 0.1 + 2e-12]).unwrap();
    assert_eq!(ml(OP, &fine, x).unwrap(), Tensor::vector(vec![5i64, 7]));
    assert!(
        ml(OP, &based(&three("NONE"), &[1., 2.]), f(&[1, 1], &[0.])).unwrap_err().message.contains("2 base values")
    );
    assert!(ml(OP, &three("SIGMOID"), f(&[1, 1], &[0.])).unwrap_err().message.contains("post_transform"));
    let wide = stump(&[3], &[1], &[1.], &[5, 7], "NONE");
    assert!(ml(OP, &wide, f(&[1, 1], &[0.])).unwrap_err().message.contains("votes for target 3 of 2"));
}

/// The ensembles of domain planc say the same as those that they replace.
#[test]
fn trees_as_operands() {
    let tensor = |v: &[f32]| Attr::Tensor(Tensor::vector(v.to_vec()));
    let members = vec![
        ("leaf_targetids", ints(&[0, 1, 0])),
        ("leaf_weights", tensor(&[1., 2., 4.])),
        ("membership_values", tensor(&[1., 3.])),
        ("nodes_falseleafs", ints(&[0, 1])),
        ("nodes_falsenodeids", ints(&[1, 2])),
        ("nodes_featureids", ints(&[0, 0])),
        ("nodes_missing_value_tracks_true", ints(&[1, 0])),
        ("nodes_modes", Attr::Tensor(Tensor::vector(vec![6u8, 3]))),
        ("nodes_splits", tensor(&[0., 5.])),
        ("nodes_trueleafs", ints(&[1, 1])),
        ("nodes_truenodeids", ints(&[0, 1])),
        ("tree_roots", ints(&[0])),
        ("aggregate_function", Attr::Int(0)),
    ];
    let votes = stump(&[0, 1, 2, 1], &[1, 1, 2, 2], &[1., 2., 3., -1.], &[5, 7, 9], "SOFTMAX");
    let based = with(&votes, &[("base_values", floats(&[0.5, 0., 0.25]))]);
    let renamed = |n: &'static str| match n {
        "class_ids" => "target_ids",
        "class_nodeids" => "target_nodeids",
        "class_treeids" => "target_treeids",
        "class_weights" => "target_weights",
        n => n,
    };
    let targets: Vec<_> =
        based.iter().filter(|a| a.0 != "classlabels_int64s").map(|(n, a)| (renamed(n), a.clone())).collect();
    let x = f(&[5, 1], &[-1., 1., 3., 7., f32::NAN]);
    for (op, list, results) in
        [("TreeEnsemble", members, 1), ("TreeEnsembleClassifier", based, 2), ("TreeEnsembleRegressor", targets, 1)]
    {
        let mut g = Graph::new("case");
        let value = g.add_const("x", x.clone());
        let node =
            NodeBuilder::new(OpName::new("ai.onnx.ml", op)).optional_inputs(vec![Some(value)]).attrs(attrs(&list));
        let any = |i: usize| Some((format!("r{i}"), Type::from(TensorType::unranked(DType::F32))));
        let id = g.add_node(node, (0..results).map(any).collect());
        infer_graph(&mut g).unwrap();
        let made = find("ai.onnx.ml", op).unwrap().decompose.unwrap()(&mut g, id).unwrap();
        let node = g.node(g.producer(made[0].unwrap()).unwrap().0);
        assert_eq!((&*node.op.domain, &*node.op.name), ("planc", op));
        let types =
            |id| g.node(id).outputs().iter().map(|v| g.tensor_type(v.unwrap()).unwrap().clone()).collect::<Vec<_>>();
        assert_eq!(types(g.producer(made[0].unwrap()).unwrap().0), types(id));
        let operands: Vec<Tensor> =
            node.inputs().iter().map(|v| g.value(v.unwrap()).as_const().unwrap().clone()).collect();
        let dtypes: Vec<DType> = types(id).iter().map(|t| t.dtype).collect();
        let row = find("planc", op).unwrap();
        let eval = |operands: &[Tensor]| {
            let views: Vec<Option<View<'_>>> = operands.iter().map(|t| Some(t.view())).collect();
            row.eval.unwrap()(&EvalCx::new(row, &node.attrs, &dtypes, 1 << 20), &views)
        };
        let want = run("ai.onnx.ml", op, attrs(&list), &[Some(x.clone())], results).unwrap();
        assert_eq!(eval(&operands).unwrap(), want, "{op}");
        // Whatever a plan says, there is an answer.
        for i in 1..operands.len() - 1 {
            let mut damaged = operands.clone();
            damaged[i] = Tensor::vector(vec![9i32; operands[i].len()]);
            assert!(eval(&damaged).is_err(), "{op}: operand {i}");
            damaged[i] = Tensor::vector(vec![9f64; operands[i].len() + 1]);
            assert!(eval(&damaged).is_err(), "{op}: operand {i}");
        }
    }
}

/// Expected values are onnxruntime's.
#[test]
fn linear_classifiers() {
    const OP: &str = "LinearClassifier";
    let list = |coefficients: &[f32], intercepts: &[f32], t: &str| {
        vec![
            ("coefficients", floats(coefficients)),
            ("intercepts", floats(intercepts)),
            ("classlabels_ints", ints(&[3, 4])),
            ("post_transform", Attr::from(t)),
        ]
    };
    let one = |t: &str| list(&[0.25], &[0.5], t);
    classified(OP, &one("NONE"), &[4, 4], &[0.75, 0.25, 0.25, 0.75]);
    classified(OP, &one("LOGISTIC"), &[4, 4], &[0.437823, 0.562177, 0.320821, 0.679179]);
    classified(OP, &one("SOFTMAX"), &[4, 4], &[0.75, 0.25, 0.25, 0.75]);
    let two = |t: &str| list(&[0.25, 0.125], &[0.5, 0.6], t);
    classified(OP, &two("NONE"), &[4, 3], &[0.25, 0.475, 0.75, 0.725]);
    classified(OP, &two("SOFTMAX"), &[4, 3], &[0.443986, 0.556014, 0.506250, 0.493750]);
    classified(OP, &two("LOGISTIC"), &[4, 3], &[0.562176, 0.616566, 0.679179, 0.673707]);
    classified(OP, &two("PROBIT"), &[4, 3], &[-0.674574, -0.0627057, 0.674574, 0.597824]);
    assert!(ml(OP, &one("NONE"), f(&[1, 2], &[0., 0.])).unwrap_err().message.contains("do not fit"));
    let four = list(&[1.; 4], &[0.; 4], "NONE");
    assert!(ml(OP, &four, f(&[1, 1], &[-1.])).is_ok() && ml(OP, &four[..2], f(&[1, 1], &[0.])).is_err());
    let zeros = list(&[0., 0.25], &[0., 0.], "SOFTMAX_ZERO");
    classified(OP, &zeros, &[3, 4], &[0., 1., 0., 1.]);
}

/// Expected values are onnxruntime's.
#[test]
fn support_vector_machines() {
    const OP: &str = "SVMClassifier";
    let two = |t: &str| {
        vec![
            ("kernel_type", Attr::from("RBF")),
            ("kernel_params", floats(&[0.5, 0., 3.])),
            ("support_vectors", floats(&[0., 1., 2.])),
            ("vectors_per_class", ints(&[1, 2])),
            ("coefficients", floats(&[1., -0.5, -0.25])),
            ("rho", floats(&[0.125])),
            ("classlabels_ints", ints(&[3, 4])),
            ("post_transform", Attr::from(t)),
        ]
    };
    let sure = |list: &[(&'static str, Attr)], a: &[f32], b: &[f32]| {
        with(list, &[("prob_a", floats(a)), ("prob_b", floats(b))])
    };
    classified(OP, &two("NONE"), &[3, 3], &[-0.661086, 0.661086, -0.0798980, 0.0798980]);
    classified(OP, &two("LOGISTIC"), &[3, 3], &[0.340496, 0.659504, 0.480036, 0.519964]);
    classified(OP, &two("SOFTMAX"), &[3, 3], &[0.338914, 0.661086, 0.920102, 0.0798980]);
    classified(OP, &sure(&two("NONE"), &[-1.], &[0.25]), &[3, 3], &[0.600734, 0.399266, 0.457549, 0.542451]);
    let three = |t: &str| {
        vec![
            ("kernel_type", Attr::from("POLY")),
            ("kernel_params", floats(&[0.5, 1., 2.])),
            ("support_vectors", floats(&[0., 1., 2., -1.])),
            ("vectors_per_class", ints(&[1, 2, 1])),
            ("coefficients", floats(&[1., -0.5, -0.25, 0.5, 0.5, 0.25, -1., -0.75])),
            ("rho", floats(&[0.125, -0.25, 0.5])),
            ("classlabels_ints", ints(&[3, 4, 9])),
            ("post_transform", Attr::from(t)),
        ]
    };
    classified(OP, &three("NONE"), &[3, 3], &[1., 1.375, -1.125, -1., 0.375, -3.125]);
    let coupled = sure(&three("NONE"), &[-1., -2., -0.5], &[0.25, 0., -0.25]);
    classified(OP, &coupled, &[3, 3], &[0.665922, 0.231756, 0.102322, 0.309271, 0.298539, 0.392190]);
    let linear = |coefficients: &[f32]| {
        vec![
            ("coefficients", floats(coefficients)),
            ("rho", floats(&[0.125])),
            ("classlabels_ints", ints(&[3, 4, 5][..coefficients.len()])),
        ]
    };
    // Of two linear scores, the larger one being above the border means the second label.
    classified(OP, &linear(&[0.5, -0.25]), &[4, 4], &[-0.375, 0.375, 0.625, -0.125]);
    classified(OP, &linear(&[0.5, -0.25, 0.75]), &[4, 5], &[-0.375, 0.375, -0.625, 0.625, -0.125, 0.875]);
    let few = with(&two("NONE"), &[("rho", floats(&[])), ("classlabels_ints", ints(&[3, 4]))]);
    assert!(ml(OP, &few, f(&[1, 1], &[0.])).unwrap_err().message.contains("do not fit 2 classes"));
    assert!(ml(OP, &two("NONE"), f(&[1, 2], &[0., 0.])).unwrap_err().message.contains("3 vectors of 2 features"));

    let regressor = [
        ("kernel_type", Attr::from("SIGMOID")),
        ("kernel_params", floats(&[0.5, 0.25, 0.])),
        ("support_vectors", floats(&[0., 1., 2.])),
        ("n_supports", Attr::Int(3)),
        ("coefficients", floats(&[1., -0.5, 0.25])),
        ("rho", floats(&[0.125])),
    ];
    let x = f(&[2, 1], &[-1., 1.]);
    close("SVMRegressor", &ml("SVMRegressor", &regressor, x.clone()).unwrap(), &[0.333591, 0.264415]);
    let side = [("coefficients", floats(&[0.5])), ("rho", floats(&[0.125])), ("one_class", Attr::Int(1))];
    close("SVMRegressor", &ml("SVMRegressor", &side, x).unwrap(), &[-1., 1.]);
}

#[test]
fn categories_and_features() {
    let cats = [("cats_int64s", ints(&[1, 2])), ("cats_strings", strs(&["a", "b"]))];
    let got = ml("CategoryMapper", &cats, text(&["b", "c"])).unwrap();
    assert_eq!(got, Tensor::vector(vec![2i64, -1]));
    let back = with(&cats, &[("default_string", Attr::from("?"))]);
    assert_eq!(ml("CategoryMapper", &back, Tensor::vector(vec![1i64, 7])).unwrap(), text(&["a", "?"]));
    assert!(ml("CategoryMapper", &cats[..1], text(&["b"])).unwrap_err().message.contains("2 integers and 0 texts"));

    let operands = [Some(f(&[2, 1], &[1., 2.])), Some(f(&[2, 3], &[3., 4., 5., 6., 7., 8.]))];
    let join = |d: &[i64]| run("ai.onnx.ml", "FeatureVectorizer", attrs(&[("inputdimensions", ints(d))]), &operands, 1);
    close("FeatureVectorizer", &join(&[1, 3]).unwrap()[0], &[1., 3., 4., 5., 2., 6., 7., 8.]);
    close("FeatureVectorizer", &join(&[2, 2]).unwrap()[0], &[1., 0., 3., 4., 2., 0., 6., 7.]);
    assert!(join(&[1]).unwrap_err().message.contains("says nothing about operand 1"));
}

/// What an operator of maps infers, and gives for operand `x` of type `ty`.
fn mapped(op: &str, list: &[(&str, Attr)], ty: Type, x: &Tensor) -> Result<(Type, Tensor), OpError> {
    let mut g = Graph::new("case");
    let value = g.add_input("x", ty);
    let node = NodeBuilder::new(OpName::new("ai.onnx.ml", op)).optional_inputs(vec![Some(value)]).attrs(attrs(list));
    let node = g.add_node(node, vec![Some(("y".into(), TensorType::unranked(DType::F32).into()))]);
    infer_graph(&mut g).map_err(|e| e[0].error.clone())?;
    let ty = g.value(g.node(node).output(0).unwrap()).ty.clone();
    let row = find("ai.onnx.ml", op).unwrap();
    let attrs: Attrs = attrs(list);
    let dtype = ty.as_tensor().map_or(DType::U8, |t| t.dtype);
    let y = row.eval.unwrap()(&EvalCx::new(row, &attrs, &[dtype], 1 << 20), &[Some(x.view())] as &[Option<View<'_>>])?;
    Ok((ty, y.into_iter().next().unwrap()))
}

#[test]
fn maps() {
    let map = |k: &Tensor, v: &Tensor| Value::Map(Map::new(k, v).unwrap());
    let of = |key, value| Type::Map { key, value };
    let matrix = TensorType::fixed(DType::F32, &[2, 2]);
    let scores = f(&[2, 2], &[0.25, 0.75, 1., 0.]);
    let (ty, y) =
        mapped("ZipMap", &[("classlabels_strings", strs(&["z", "a"]))], matrix.clone().into(), &scores).unwrap();
    assert_eq!(ty.to_string(), "seq(map(string,f32))");
    let row = |v: &[f32]| map(&text(&["z", "a"]), &f(&[2], v));
    assert_eq!(unpack(y.view()), Ok(Value::Sequence(vec![row(&[0.25, 0.75]), row(&[1., 0.])])));
    let (ty, _) = mapped("ZipMap", &[("classlabels_int64s", ints(&[1, 0]))], matrix.clone().into(), &scores).unwrap();
    assert_eq!(ty.to_string(), "seq(map(i64,f32))");
    let fails = |list: &[(&str, Attr)]| mapped("ZipMap", list, matrix.clone().into(), &scores).unwrap_err().message;
    assert!(fails(&[("classlabels_int64s", ints(&[1, 2, 3]))]).contains("2 scores for 3 labels"));
    assert!(fails(&[("classlabels_int64s", ints(&[1, 1]))]).contains("is there twice"));
    assert!(fails(&[]).contains("no class labels"));

    let packed = pack(&map(&text(&["b", "a", "x"]), &Tensor::vector(vec![2i64, 1, 9])));
    let words = [("string_vocabulary", strs(&["a", "c", "b"]))];
    let (ty, y) = mapped("DictVectorizer", &words, of(DType::String, DType::I64), &packed).unwrap();
    assert_eq!((ty.to_string().as_str(), y), ("i64[1,3]", Tensor::new([1, 3], vec![1i64, 0, 2]).unwrap()));
    let wrong = mapped("DictVectorizer", &words, of(DType::I64, DType::I64), &packed).unwrap_err();
    assert!(wrong.message.contains("the map's keys are i64"), "{wrong}");
    assert!(mapped("DictVectorizer", &words, matrix.into(), &packed).unwrap_err().message.contains("not a map"));

    let packed = pack(&map(&Tensor::vector(vec![3i64, 0]), &text(&["7", "-1"])));
    let cast = |list: &[(&str, Attr)]| mapped("CastMap", list, of(DType::I64, DType::String), &packed);
    let (ty, y) = cast(&[("cast_to", Attr::from("TO_INT64"))]).unwrap();
    assert_eq!((ty.to_string().as_str(), y), ("i64[1,y.d1]", Tensor::new([1, 2], vec![-1i64, 7]).unwrap()));
    let numbers = pack(&map(&Tensor::vector(vec![2i64, 1]), &f(&[2], &[0.5, -1.])));
    let text_of = [("cast_to", Attr::from("TO_STRING"))];
    let (_, y) = mapped("CastMap", &text_of, of(DType::I64, DType::F32), &numbers).unwrap();
    assert_eq!(y.view().as_strings(), ["-1.000000", "0.500000"]);
    let sparse = |most| [("map_form", Attr::from("SPARSE")), ("max_map", Attr::Int(most))];
    assert_eq!(cast(&sparse(5)).unwrap().1, f(&[1, 5], &[-1., 0., 0., 7., 0.]));
    assert!(cast(&sparse(3)).unwrap_err().message.contains("not in 0..3"));
    assert!(cast(&sparse(0)).unwrap_err().message.contains("max_map is 0"));
}
