#!/usr/bin/env python3
"""Trains models with scikit-learn, exports them with skl2onnx, and compares what planc makes of them with onnxruntime.

Every family of estimators that skl2onnx exports to operators of its own is there: forests, boosting, linear models, support
vector machines, neighbours, naive Bayes, neural networks, and pipelines over numbers, categories and texts. Classifiers are
exported twice, with probabilities as a matrix and as a list of maps (ZipMap). Labels have to be equal, numbers within 1e-5
(of 1, or of their magnitude where that is more). Data and seeds are fixed. Ends with `N passed, N failed`. Run it with the
Python of scripts/setup.sh.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DictionaryType, FloatTensorType, StringTensorType
from sklearn import datasets
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier, BaggingClassifier, ExtraTreesClassifier, GradientBoostingClassifier, GradientBoostingRegressor,
    HistGradientBoostingClassifier, HistGradientBoostingRegressor, IsolationForest, RandomForestClassifier, RandomForestRegressor,
    StackingClassifier,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer, MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder, PolynomialFeatures, StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPSETS = {"": 21, "ai.onnx.ml": 3}
TOLERANCE = 1e-5
TIMEOUT_S = 120
SEED = {"random_state": 0}


@dataclasses.dataclass(frozen=True)
class Data:
    """What a model is fitted to, the types of its inputs if they are not one matrix, and what it is compared on."""

    x: object
    y: np.ndarray | None
    inputs: dict[str, object]
    types: list | None = None


def numbers(x, y):
    """A matrix of floats; compared on its first 60 rows and on rows beside them, where trees and borders decide otherwise."""
    x = x.astype(np.float32)
    moved = x[:60] + np.random.default_rng(1).normal(0, 0.3, x[:60].shape).astype(np.float32) * x.std(axis=0)
    return Data(x, y, {"X": np.concatenate([x[:60], moved.astype(np.float32)])})


def flowers(binary=False):
    x, y = datasets.load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    names = np.array(["setosa", "versicolor", "virginica"])
    return numbers(x[order], (y[order] > 1).astype(np.int64) if binary else names[y[order]])


def patients():
    return numbers(*datasets.load_diabetes(return_X_y=True))


def columns():
    """Two columns of numbers, some missing, and two of strings, one with a category that is not in the training data."""
    r = np.random.default_rng(0)
    table = np.empty((200, 4), object)
    table[:, 0], table[:, 1] = r.normal(size=200), r.normal(5, 2, 200)
    table[::7, 1] = np.nan
    table[:, 2], table[:, 3] = r.choice(["red", "green", "blue"], 200), r.choice(["S", "M", "L"], 200)
    y = ((table[:, 2] == "red") | (table[:, 0].astype(float) > 0.5)).astype(np.int64)
    shown = table[:50].copy()
    shown[3, 2] = "purple"
    types = [("age", FloatTensorType([None, 1])), ("size", FloatTensorType([None, 1])), ("colour", StringTensorType([None, 1])),
             ("class", StringTensorType([None, 1]))]
    cast = [np.float32, np.float32, str, str]
    inputs = {name: shown[:, [i]].astype(cast[i]) for i, (name, _) in enumerate(types)}
    return Data(table, y, inputs, types)


def tabular(estimator):
    parts = [("numbers", make_pipeline(SimpleImputer(), StandardScaler()), [0, 1]),
             ("colour", OneHotEncoder(handle_unknown="ignore"), [2]), ("class", OrdinalEncoder(), [3])]
    return make_pipeline(ColumnTransformer(parts), estimator)


def texts():
    r = np.random.default_rng(0)
    topics = {"pets": "cat dog fish bird barks purrs sleeps feeds 2_eyes".split(),
              "markets": "stocks bonds yields fell rose sharply gained 10 points".split()}
    both = "the a and of on today".split()
    labels = np.array(list(topics) * 40)
    lines = np.array([" ".join(r.choice(topics[t] + both, 8)) + r.choice(["", ".", "!", ", again"]) for t in labels])
    shown = np.concatenate([lines[:20], ["", "Unknown WORDS only", "cat, stocks; Cat"]]).reshape(-1, 1)
    return Data(lines, labels, {"text": shown}, [("text", StringTensorType([None, 1]))])


def dictionaries():
    rows = [{"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 1.0}, {"a": 0.5}] * 5
    y = np.array([r.get("a", 0) + 2 * r.get("b", 0) - r.get("c", 0) for r in rows])
    types = [("features", DictionaryType(StringTensorType([1]), FloatTensorType([1])))]
    return Data(rows, y, {"features": {"c": 2.5, "a": 1.0, "unknown": 9.0}}, types)


# Name, what makes the model, what makes its data.
MODELS: list[tuple[str, Callable, Callable]] = [
    ("random forest", lambda: RandomForestClassifier(30, **SEED), flowers),
    ("random forest, two classes", lambda: RandomForestClassifier(30, **SEED), lambda: flowers(True)),
    ("random forest regressor", lambda: RandomForestRegressor(30, **SEED), patients),
    ("extra trees", lambda: ExtraTreesClassifier(20, **SEED), flowers),
    ("decision tree", lambda: DecisionTreeClassifier(**SEED), flowers),
    ("gradient boosting", lambda: GradientBoostingClassifier(n_estimators=20, **SEED), flowers),
    ("gradient boosting, two classes", lambda: GradientBoostingClassifier(n_estimators=20, **SEED), lambda: flowers(True)),
    ("gradient boosting regressor", lambda: GradientBoostingRegressor(n_estimators=20, **SEED), patients),
    ("histogram boosting", lambda: HistGradientBoostingClassifier(max_iter=20, **SEED), flowers),
    ("histogram boosting, two classes", lambda: HistGradientBoostingClassifier(max_iter=20, **SEED), lambda: flowers(True)),
    ("histogram boosting regressor", lambda: HistGradientBoostingRegressor(max_iter=20, **SEED), patients),
    ("AdaBoost", lambda: AdaBoostClassifier(n_estimators=10, **SEED), flowers),
    ("bagging", lambda: BaggingClassifier(n_estimators=5, **SEED), flowers),
    ("stacking", lambda: StackingClassifier([("linear", LogisticRegression(max_iter=500)),
                                             ("tree", DecisionTreeClassifier(**SEED))]), flowers),
    ("isolation forest", lambda: IsolationForest(n_estimators=20, **SEED), flowers),
    ("linear regression", LinearRegression, patients),
    ("logistic regression", lambda: LogisticRegression(max_iter=500), flowers),
    ("logistic regression, two classes", lambda: LogisticRegression(max_iter=500), lambda: flowers(True)),
    ("SGD", lambda: SGDClassifier(loss="modified_huber", **SEED), flowers),
    ("SVC", lambda: SVC(**SEED), flowers),
    ("SVC with probabilities", lambda: SVC(probability=True, **SEED), flowers),
    ("SVC, two classes", lambda: make_pipeline(StandardScaler(), SVC(kernel="poly", **SEED)), lambda: flowers(True)),
    ("SVC with probabilities, two classes", lambda: SVC(probability=True, kernel="sigmoid", **SEED), lambda: flowers(True)),
    ("linear SVC", lambda: LinearSVC(**SEED), flowers),
    ("SVR", lambda: SVR(C=100), patients),
    ("one-class SVM", lambda: OneClassSVM(nu=0.2), flowers),
    ("k nearest neighbours", lambda: KNeighborsClassifier(5), flowers),
    ("k nearest neighbours regressor", lambda: KNeighborsRegressor(5), patients),
    ("Gaussian naive Bayes", GaussianNB, flowers),
    ("multinomial naive Bayes", lambda: make_pipeline(MinMaxScaler(clip=True), MultinomialNB()), flowers),
    ("Bernoulli naive Bayes", lambda: BernoulliNB(binarize=2.0), flowers),
    ("MLP", lambda: MLPClassifier((16,), max_iter=300, **SEED), flowers),
    ("MLP regressor", lambda: MLPRegressor(hidden_layer_sizes=(16,), max_iter=300, **SEED), patients),
    ("scaler, PCA, polynomials", lambda: make_pipeline(StandardScaler(), PCA(2), PolynomialFeatures(),
                                                       LogisticRegression(max_iter=500)), flowers),
    ("scaler, normalizer, bins", lambda: make_pipeline(MinMaxScaler(), Normalizer(), KBinsDiscretizer(
        3, encode="onehot-dense", quantile_method="averaged_inverted_cdf"), LogisticRegression(max_iter=500)), flowers),
    ("columns, forest", lambda: tabular(RandomForestClassifier(20, **SEED)), columns),
    ("columns, logistic regression", lambda: tabular(LogisticRegression()), columns),
    ("TF-IDF of words", lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), texts),
    ("counts of pairs of words", lambda: make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB()), texts),
    ("dictionaries", lambda: make_pipeline(DictVectorizer(sparse=False), LinearRegression()), dictionaries),
]


def strict_attributes():
    """skl2onnx writes truth values into lists of integers for histogram boosting, which newer protobuf refuses."""
    plain = onnx.helper.make_attribute

    def make_attribute(key, value, *rest, **named):
        if isinstance(value, list) and any(isinstance(v, (bool, np.bool_)) for v in value):
            value = [int(v) for v in value]
        return plain(key, value, *rest, **named)

    onnx.helper.make_attribute = make_attribute


def has_probabilities(model):
    return is_classifier(model) and hasattr(model, "predict_proba")


def export(model, data, maps):
    """The fitted model as ONNX; classifiers give probabilities as a matrix or as maps."""
    options = {id(model): {"zipmap": maps}} if has_probabilities(model) else {}
    for part in (model.named_steps.values() if isinstance(model, Pipeline) else []):
        if isinstance(part, CountVectorizer):
            # onnxruntime asks the system for the locale, and every system has this one.
            options[id(part)] = {"locale": "C"}
    first = None if data.types else data.x[:1]
    return to_onnx(model, first, initial_types=data.types, target_opset=OPSETS, options=options or None)


def expected(model, data):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {n: v.astype(object) if isinstance(v, np.ndarray) and v.dtype.kind == "U" else v for n, v in data.inputs.items()}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))


def computed(planc, path, data, scratch):
    """What `planc run` writes, by name."""
    given, written = scratch / "inputs", scratch / "outputs"
    given.mkdir()
    for name, value in data.inputs.items():
        if isinstance(value, dict):
            (given / f"{name}.json").write_text(json.dumps(value))
        else:
            np.save(given / f"{name}.npy", value)
    ended = process.run([str(planc), "run", str(path), "--inputs", str(given), "--outputs", str(written)], TIMEOUT_S)
    if not ended.ok:
        raise RuntimeError(ended.reason())
    outputs = {file.stem: np.load(file) for file in written.glob("*.npy")}
    return outputs | {file.stem: json.loads(file.read_text()) for file in written.glob("*.json")}


def difference(got, want):
    """How far a result is from what was expected, as a share of the tolerance's base; infinity where it is something else."""
    if isinstance(want, list):
        if len(got) != len(want) or any(set(g) != set(map(str, w)) for g, w in zip(got, want)):
            return float("inf")
        return max((difference(np.array([g[str(k)] for k in w]), np.array(list(w.values()))) for g, w in zip(got, want)),
                   default=0.0)
    want = np.asarray(want)
    if got.shape != want.shape:
        return float("inf")
    if want.dtype.kind in "OUSib":
        return 0.0 if (got.astype(str) == want.astype(str)).all() else float("inf")
    got, want = got.astype(np.float64), want.astype(np.float64)
    apart = np.where(got == want, 0.0, np.abs(got - want) / np.maximum(np.abs(want), 1))
    return float(np.nan_to_num(np.max(apart, initial=0.0), nan=np.inf))


def compare(planc, model, data, maps):
    """Whether one export agrees, and the line about it."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        exported = export(model, data, maps)
        path = scratch / "model.onnx"
        onnx.save(exported, path)
        want, got = expected(exported, data), computed(planc, path, data, scratch)
        if set(got) != set(want):
            return False, f"gives {', '.join(sorted(got))} instead of {', '.join(sorted(want))}"
        worst = max(difference(got[name], value) for name, value in want.items())
        return worst <= TOLERANCE, "differs in a label, key or shape" if worst == float("inf") else f"{worst:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="models by (a part of) their name (default: all)")
    parser.add_argument("--planc", default=ROOT / "target" / "release" / "planc", type=pathlib.Path, help="binary")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the exported models")
    args = parser.parse_args()
    chosen = [m for m in MODELS if not args.names or any(name in m[0] for name in args.names)]
    if not chosen:
        parser.error(f"no such models; there are {', '.join(m[0] for m in MODELS)}")
    strict_attributes()
    # Not converging, deprecations: nothing about what is compared here.
    warnings.filterwarnings("ignore")
    passed = failed = 0
    for name, make, load in chosen:
        data = load()
        model = make().fit(data.x, data.y)
        for maps in (False, True) if has_probabilities(model) else (False,):
            try:
                ok, detail = compare(args.planc, model, data, maps)
            except Exception as error:
                ok, detail = False, f"{type(error).__name__}: {str(error)[:300]}"
            passed, failed = passed + ok, failed + (not ok)
            print(f"{name + (', maps' if maps else ''):<44} {'ok' if ok else 'FAILED':<7} {detail}", flush=True)
            if args.keep:
                args.keep.mkdir(parents=True, exist_ok=True)
                onnx.save(export(model, data, maps), args.keep / f"{name.replace(' ', '_')}{'_maps' if maps else ''}.onnx")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
