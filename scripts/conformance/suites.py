"""The backend test suites of ONNX, newest to oldest, as files.

Fetches the wheels that carry the suites (suites.json: by package name and version, checked by sha256) and lays every case out as

    SUITE/GROUP/NAME/model.onnx, test_data_set_N/{input,output}_K.pb

with an index of tolerances and kinds of outputs beside them. The newest suite is that of the installed onnx package, whose
node cases are made by its own code. An older suite adds only the cases whose graph and opset no newer one has, so what is left
of it are old opsets. Nothing is made twice: the index says from what it was made.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
import sys
import tempfile
import warnings
import zipfile

import numpy as np
import onnx
import onnx.backend.test
import onnx.backend.test.case.model
import onnx.backend.test.loader
import onnx.backend.test.runner
from onnx import numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "corpus"))

import fetch

CACHE = HERE.parent.parent / ".cache" / "conformance"
# Groups whose cases are files in all wheels.
GROUPS = ["node", "simple", "pytorch-converted", "pytorch-operator"]
# onnx's own defaults.
RTOL, ATOL = 1e-3, 1e-7
# Operators whose results no other implementation can repeat.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# The element types of the tensor slice.
SLICE = ["FLOAT", "FLOAT16", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"]
KINDS = {"tensor_type": "tensor", "sparse_tensor_type": "tensor", "sequence_type": "sequence", "optional_type": "optional"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One test: a model, sets of inputs and expected outputs, and how exact they are."""

    id: str
    folder: pathlib.Path
    sets: list
    rtol: float
    atol: float
    # Per output: tensor, bfloat16 (a tensor, which older suites store as uint16), sequence or optional.
    outputs: list
    # Only types and shapes of the outputs can be expected.
    random: bool
    # The operator that the case is about, as `domain::Type` outside of ai.onnx; None where it is about several.
    op: str | None
    # In the tensor slice: see `in_slice`.
    slice: bool


def manifest():
    return json.loads((HERE / "suites.json").read_text())


def version_key(version):
    return tuple(int(part) for part in version.split("."))


def fetch_wheels(folder, report):
    """Makes sure that the wheels of the older suites are in `folder`; returns (version, path), newest first."""
    folder.mkdir(parents=True, exist_ok=True)
    wheels = []
    for suite in sorted(manifest(), key=lambda suite: version_key(suite["version"]), reverse=True):
        path = folder / suite["archive"]
        if not path.exists() or fetch.sha256(path) != suite["sha256"]:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                fetch.pip_download({"package": "onnx", **suite}, pathlib.Path(scratch))
                (archive,) = pathlib.Path(scratch).iterdir()
                if fetch.sha256(archive) != suite["sha256"]:
                    raise fetch.FetchError(f"{archive.name} has another sha256 than suites.json says")
                archive.replace(path)
            report(f"fetched onnx {suite['version']}")
        wheels.append((suite["version"], path))
    return wheels


def identity(data):
    """What makes two cases the same test: graph, opsets and functions, but not names of graphs or producers."""
    model = onnx.ModelProto.FromString(data)
    model.graph.name = model.graph.doc_string = ""
    hasher = hashlib.sha256(model.graph.SerializeToString(deterministic=True))
    hasher.update(repr(sorted((o.domain or "ai.onnx", o.version) for o in model.opset_import)).encode())
    for function in model.functions:
        hasher.update(function.SerializeToString(deterministic=True))
    return hasher.digest()


def encode(value, info):
    """An input or output as the bytes of its file."""
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name).SerializeToString()
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name).SerializeToString()
    if isinstance(value, onnx.TensorProto):
        named = onnx.TensorProto()
        named.CopyFrom(value)
        named.name = info.name
        return named.SerializeToString()
    return numpy_helper.from_array(np.asarray(value), info.name).SerializeToString()


def operators(graph):
    """The operators of a graph and its subgraphs."""
    for part in graphs(graph):
        yield from (node.op_type for node in part.node)


def graphs(graph):
    """A graph and its subgraphs."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from graphs(body)


def kind(type_):
    """How an output of this type is stored and compared."""
    if type_.tensor_type.elem_type == onnx.TensorProto.BFLOAT16:
        return "bfloat16"
    return KINDS.get(type_.WhichOneof("value"), "tensor")


def in_slice(model):
    """Whether a model is of the widely used part of ONNX: opset 7 to 24 of ai.onnx, and tensors only, of floats of 16 to 64
    bits but bf16, integers of 8 to 64 bits, and bool."""
    opsets = {o.domain or "ai.onnx": o.version for o in model.opset_import}
    types = {onnx.TensorProto.DataType.Value(name) for name in SLICE}
    used = set()
    for graph in graphs(model.graph):
        used.update(t.data_type for t in graph.initializer)
        for value in [*graph.input, *graph.output, *graph.value_info]:
            kind = value.type.WhichOneof("value")
            if kind not in (None, "tensor_type"):
                return False
            used.add(value.type.tensor_type.elem_type if kind else onnx.TensorProto.FLOAT)
        for node in graph.node:
            used.update(a.t.data_type for a in node.attribute if a.type == onnx.AttributeProto.TENSOR)
            # The types that nodes are told to give.
            used.update(a.i for a in node.attribute if a.name in ("to", "dtype", "output_dtype") and a.i)
    return set(opsets) == {"ai.onnx"} and 7 <= opsets["ai.onnx"] <= 24 and used <= types


def operator(model, name, seen):
    """The operator that a case is about: its only one, or that of the case whose expansion it is."""
    nodes = model.graph.node
    twin = re.sub(r"_expanded(_ver\d+)?$", "", name)
    if twin != name:
        return seen.get(twin)
    if len(nodes) != 1:
        return None
    domain = nodes[0].domain
    return nodes[0].op_type if domain in ("", "ai.onnx") else f"{domain}::{nodes[0].op_type}"


def is_random(model, name):
    """Dropout in training mode drops at random, unless the case says with which probability of zero."""
    dropout = re.search(r"training_dropout(?!_zero)(?!_default(_mask)?$)", name)
    return bool(dropout or "bernoulli" in name or RANDOM & set(operators(model.graph)))


class Writer:
    """Collects cases below `root`; a case that was written before under another suite is left out."""

    def __init__(self, root):
        self.root = root
        self.index = {}
        self.seen = set()
        # What the cases of each name are about.
        self.ops = {}

    def add(self, suite, group, name, data, files, rtol, atol, once=True):
        """`files` maps `test_data_set_N/...` to bytes."""
        key = identity(data)
        id_ = f"{suite}/{group}/{name}"
        if id_ in self.index or (once and key in self.seen):
            return
        self.seen.add(key)
        for path, content in {"model.onnx": data, **files}.items():
            path = self.root / id_ / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        model = onnx.ModelProto.FromString(data)
        sets = sorted({path.split("/")[0] for path in files}, key=lambda s: int(s.rsplit("_", 1)[1]))
        op = operator(model, name, self.ops)
        if op is not None:
            self.ops.setdefault(name, op)
        self.index[id_] = {
            "op": op, "slice": in_slice(model),
            "sets": sets, "rtol": rtol, "atol": atol, "random": is_random(model, name),
            "outputs": [kind(o.type) for o in model.graph.output],
        }


def add_installed(writer):
    """The suite of the installed package."""
    suite = f"onnx-{onnx.__version__}"
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [("node", case) for case in onnx.backend.test.loader.load_node_model_tests()]
        made += [("simple", case) for case in onnx.backend.test.case.model.collect_testcases()
                 if case.kind == "simple" and case.model is not None]
    data = pathlib.Path(onnx.backend.test.__file__).parent / "data"
    for group in GROUPS[1:]:
        for model in sorted(data.glob(f"{group}/*/model.onnx")):
            files = {p.relative_to(model.parent).as_posix(): p.read_bytes() for p in model.parent.glob("test_data_set_*/*.pb")}
            writer.add(suite, group, model.parent.name, model.read_bytes(), files,
                       *tolerances(model.parent / "data.json"), once=False)
    for group, case in made:
        files = {}
        for n, (inputs, outputs) in enumerate(case.data_sets):
            for what, values, infos in (("input", inputs, case.model.graph.input), ("output", outputs, case.model.graph.output)):
                for k, (value, info) in enumerate(zip(values, infos)):
                    files[f"test_data_set_{n}/{what}_{k}.pb"] = encode(value, info)
        writer.add(suite, group, case.name, case.model.SerializeToString(), files, case.rtol, case.atol, once=False)
    # Real architectures without weights worth mentioning; their inputs are a ramp, by the rule of onnx's own runner.
    exactness = {json.loads(p.read_text())["url"].rsplit("/", 1)[-1]: p for p in data.glob("real/*/data.json")}
    for path in sorted(data.glob("light/*.onnx")):
        model = onnx.load(path)
        weights = {tensor.name for tensor in model.graph.initializer}
        files = {}
        for k, info in enumerate(i for i in model.graph.input if i.name not in weights):
            value = onnx.backend.test.runner.Runner.generate_dummy_data(info, seed=0, name=path.stem, random=False)
            files[f"test_data_set_0/input_{k}.pb"] = encode(value, info)
        for k in range(len(model.graph.output)):
            files[f"test_data_set_0/output_{k}.pb"] = path.with_name(f"{path.stem}_output_{k}.pb").read_bytes()
        writer.add(suite, "light", f"test_{path.stem}", path.read_bytes(), files,
                   *tolerances(exactness.get(path.name)), once=False)


def tolerances(path):
    """rtol and atol as a data.json says."""
    said = json.loads(path.read_text()) if path is not None and path.exists() else {}
    return said.get("rtol", RTOL), said.get("atol", ATOL)


def add_wheel(writer, version, path):
    """The cases of an older suite that no newer one has."""
    with zipfile.ZipFile(path) as wheel:
        folders = {}
        for name in wheel.namelist():
            found = re.fullmatch(r"onnx/backend/test/data/([^/]+)/([^/]+)/(.+)", name)
            if found and found[1] in GROUPS:
                folders.setdefault((found[1], found[2]), {})[found[3]] = name
        for (group, case), members in sorted(folders.items()):
            files = {short: name for short, name in members.items()
                     if re.fullmatch(r"test_data_set_\d+/(in|out)put_\d+\.pb", short)}
            # Cases of the first suites that hold their data in another format have none of these.
            if "model.onnx" not in members or not any("/output_" in short for short in files):
                continue
            said = json.loads(wheel.read(members["data.json"])) if "data.json" in members else {}
            writer.add(f"onnx-{version}", group, case, wheel.read(members["model.onnx"]),
                       {short: wheel.read(name) for short, name in files.items()},
                       said.get("rtol", RTOL), said.get("atol", ATOL))


def fingerprint():
    """Of everything the cases are made from."""
    sources = [pathlib.Path(__file__).read_bytes(), (HERE / "suites.json").read_bytes(),
               onnx.__version__.encode(), np.__version__.encode()]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def load(folder=CACHE, report=print):
    """All cases, sorted by id, fetched and written below `folder` if they are not there yet."""
    index_path = folder / "index.json"
    stored = json.loads(index_path.read_text()) if index_path.exists() else {}
    if stored.get("fingerprint") != fingerprint():
        wheels = fetch_wheels(folder / "wheels", report)
        shutil.rmtree(folder / "cases", ignore_errors=True)
        writer = Writer(folder / "cases")
        add_installed(writer)
        for version, path in wheels:
            add_wheel(writer, version, path)
        stored = {"fingerprint": fingerprint(), "cases": writer.index}
        # Written last: what was interrupted is made again.
        index_path.write_text(json.dumps(stored))
        report(f"{len(writer.index)} cases in {folder / 'cases'}")
    return [Case(id=id_, folder=folder / "cases" / id_, **about) for id_, about in sorted(stored["cases"].items())]
