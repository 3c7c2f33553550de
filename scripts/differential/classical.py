"""Rules for text, and for the operators of classical machine learning (domain ai.onnx.ml)."""

import numpy as np

from builder import F32, I64

ML = "ai.onnx.ml"
WORDS = ("", "a", "b", "ab", "A-1", "x y", "the End", "ß", "end")


def words(g, shape):
    return g.put(np.array([g.choice(WORDS) for _ in range(int(np.prod(shape)))], object).reshape(shape), "input")


def strings(g):
    """Strings are seen through operators that make numbers of them, or are outputs."""
    form = g.choice(("normalize", "concat", "match", "equal", "encode"))
    shape = g.shape(1, 7, empty=0)
    x = words(g, shape)
    if form == "normalize" and g.opset >= 10:
        return g.node("StringNormalizer", [x], case_change_action=g.choice((None, "LOWER", "UPPER", "NONE")),
                      is_case_sensitive=g.choice((None, 0, 1)), stopwords=g.choice((None, ["a", "end"])))
    if form == "concat" and g.opset >= 20:
        return g.node("StringConcat", [x, words(g, g.choice((shape, (1,), ())))])
    if form == "match" and g.opset >= 20:
        return g.node("RegexFullMatch", [x], pattern=g.choice(("a.*", "[a-z]+", "(a|b)*", r"\\w+")))
    if form == "equal" and g.opset >= 19:
        return g.node("Equal", [x, words(g, g.choice((shape, (1,))))])
    return g.node("LabelEncoder", [x], domain=ML, keys_strings=["a", "b", "ab"], values_int64s=[3, 1, 2], default_int64=-5)


def label_encoder(g):
    x = g.pick(I64)
    keys = sorted({int(v) for v in x.array.reshape(-1)[:3]} | {1, 2})
    g.node("LabelEncoder", [x], domain=ML, keys_int64s=keys, values_floats=[float(k) / 2 for k in keys], default_float=-1.0)


def features(g, op):
    x = g.pick(F32, rank=2, empty=0)
    c = x.shape[1]
    draw = lambda low, high: [float(v) for v in g.data(F32, (c,), low, high)]
    if op == "Scaler":
        return g.node(op, [x], domain=ML, offset=draw(-2, 2), scale=draw(0.25, 2))
    if op == "Normalizer":
        return g.node(op, [x], domain=ML, norm=g.choice(("MAX", "L1", "L2")))
    if op == "Binarizer":
        return g.node(op, [x], domain=ML, threshold=g.choice((0.0, 0.5)))
    if op == "Imputer":
        return g.node(op, [x], domain=ML, imputed_value_floats=[0.25], replaced_value_float=float(x.array.reshape(-1)[0]))
    if op == "ArrayFeatureExtractor":
        return g.node(op, [x, g.put(g.data(I64, (g.rng.randint(1, 4),), 0, c - 1))], domain=ML)
    targets = g.rng.randint(1, 3)
    post = g.choice((None, "NONE", "LOGISTIC", "SOFTMAX"))
    return g.node(op, [x], domain=ML, coefficients=[float(v) for v in g.data(F32, (targets * c,), -1, 1)],
                  intercepts=[float(v) for v in g.data(F32, (targets,))], targets=targets, post_transform=post)


def tree_ensemble(g):
    """Stumps: one comparison and two leaves per tree."""
    x = g.pick(F32, rank=2, empty=0)
    trees, targets = g.rng.randint(1, 4), g.rng.randint(1, 2)
    table = {"nodes_treeids": [], "nodes_nodeids": [], "nodes_featureids": [], "nodes_values": [], "nodes_modes": [],
             "nodes_truenodeids": [], "nodes_falsenodeids": [], "target_treeids": [], "target_nodeids": [], "target_ids": [],
             "target_weights": []}
    mode = g.choice(("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT"))
    for t in range(trees):
        for node in range(3):
            feature, value = g.rng.randrange(x.shape[1]), g.rng.randint(-8, 8) / 4
            row = (t, node, feature, value, *((mode, 1, 2) if node == 0 else ("LEAF", 0, 0)))
            for name, value in zip(list(table)[:7], row):
                table[name].append(value)
            if node:
                for name, value in zip(list(table)[7:], (t, node, g.rng.randrange(targets), g.rng.randint(-8, 8) / 4)):
                    table[name].append(value)
    how = g.choice((None, "SUM", "AVERAGE", "MIN", "MAX"))
    g.node("TreeEnsembleRegressor", [x], domain=ML, n_targets=targets, aggregate_function=how, **table)


def tf_idf(g):
    x = g.put(g.data(I64, (g.extent(3), g.rng.randint(3, 7)), 0, 4), "input")
    longest = g.rng.randint(1, 2)
    g.node("TfIdfVectorizer", [x], mode=g.choice(("TF", "IDF", "TFIDF")), min_gram_length=1, max_gram_length=longest,
           max_skip_count=g.choice((0, 1)), ngram_counts=[0, 3], ngram_indexes=[0, 1, 2, 3, 4], pool_int64s=[0, 1, 2, 1, 2, 2, 3],
           weights=[0.5, 1.0, 2.0, 0.25, 1.5] if g.chance(0.5) else None)


RULES = [
    ("strings", 2, 9, strings), ("LabelEncoder", 1, 9, label_encoder), ("TreeEnsembleRegressor", 1, 7, tree_ensemble),
    ("TfIdfVectorizer", 1, 9, tf_idf),
]
RULES += [(op, 1, 7, lambda g, op=op: features(g, op)) for op in
          ("Scaler", "Normalizer", "Binarizer", "Imputer", "ArrayFeatureExtractor", "LinearRegressor")]
