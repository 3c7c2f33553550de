"""Compares what planc computes with onnxruntime: the shared part of corpus/compare.py and zoo/compare.py.

A `Case` is a model with inputs. `main` runs every case at every asked-for thread count, compares each output and prints a
table that ends with `N passed, N failed`. What counts as equal:

- float outputs: the largest absolute error, divided by the largest magnitude of the expected output, is at most the
  tolerance (the case's own where it has one); NaN and infinities stand in the same places;
- integer, bool and string outputs: equal;
- detections, which a near tie of two scores may swap: the scores (the float output of rank 1) are compared in place, the other
  outputs after each expected row has been paired with the nearest computed one;
- outputs of quantised models: the largest absolute error is at most one step of an 8-bit quantisation of the expected output
  (its range with zero, over 255), and each decision is the same (the index of the largest value of the last axis, or which
  side of 0.5 a value lies on). A difference in the last bit of a float can move a dynamically quantised value by one step and
  everything behind it; where onnxruntime differs from itself by more than one step (graph optimisations on or off, inputs
  moved by a few ulps), the bound is twice that, as two results may lie to both sides of a third, and the table says so.

Dtypes and shapes always have to agree. Reference outputs are cached in .cache/reference by the hash of model and inputs.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import shlex
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import numpy_helper

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent
REFERENCES = ROOT / ".cache" / "reference"


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and its inputs by name, in model order; `load` is called when it is the case's turn."""

    name: str
    load: Callable[[], tuple[pathlib.Path, dict[str, np.ndarray]]]
    quantised: bool = False
    decision: str | None = None
    detections: bool = False
    tolerance: float | None = None
    fixed: bool = False  # compiled for the inputs' shapes: the model gives one name to dims that differ


@dataclasses.dataclass
class Reference:
    """Expected outputs in model order, and how far apart onnxruntime's own results for each lie (quantised models only)."""

    names: list[str]
    outputs: list[np.ndarray]
    spreads: list[float]


def seeded(*key):
    """A random generator that depends on nothing but `key`, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def input_names(model):
    """The inputs that have to be given, by position: initializers listed as inputs (before IR 4) are not among them."""
    graph = onnx.load(model, load_external_data=False).graph
    constants = {w.name for w in graph.initializer}
    return [i.name for i in graph.input if i.name not in constants]


def session(model, optimise=True):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def self_spread(model, inputs, outputs):
    """The largest difference of each output from what onnxruntime itself makes of the model under harmless changes."""
    moved = {n: v * v.dtype.type(1 + 2**-21) if v.dtype.kind == "f" else v for n, v in inputs.items()}
    variants = [session(model, optimise=False).run(None, inputs), session(model).run(None, moved)]
    return [max(float(np.max(np.abs(v[k] - out), initial=0)) for v in variants) if out.dtype.kind == "f" else 0.0
            for k, out in enumerate(outputs)]


def reference(case, model, inputs):
    """What onnxruntime computes, from the cache where it is known."""
    key = hashlib.sha256(f"{onnxruntime.__version__} {case.quantised} {file_digest(model)}".encode())
    for name, value in inputs.items():
        key.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    path = REFERENCES / f"{key.hexdigest()[:32]}.npz"
    if path.exists():
        with np.load(path) as stored:
            names = [str(n) for n in stored["names"]]
            return Reference(names, [stored[f"output_{k}"] for k in range(len(names))], stored["spreads"].tolist())
    s = session(model)
    names, outputs = [o.name for o in s.get_outputs()], [np.asarray(o) for o in s.run(None, inputs)]
    del s
    spreads = self_spread(model, inputs, outputs) if case.quantised else [0.0] * len(outputs)
    REFERENCES.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=REFERENCES, suffix=".part", delete=False) as file:
        np.savez(file, names=np.array(names), spreads=np.array(spreads), **{f"output_{k}": v for k, v in enumerate(outputs)})
    pathlib.Path(file.name).replace(path)
    return Reference(names, outputs, spreads)


def float_fault(got, want, bound_of):
    """(fault or None, largest absolute error); `bound_of` maps the finite expected values to the error that is allowed."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)) or not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return "NaN or infinity in other places", float("inf")
    if not finite.any():
        return None, 0.0
    error = float(np.max(np.abs(got[finite] - want[finite])))
    bound = bound_of(want[finite])
    return (None if error <= bound else f"error {error:.3g} over {bound:.3g}"), error


def decision_fault(got, want, decision):
    """Which decisions of a classifier differ, or None."""
    if decision == "argmax":
        different = int(np.sum(got.argmax(-1) != want.argmax(-1)))
    elif decision == "threshold":
        different = int(np.sum((got > 0.5) != (want > 0.5)))
    else:
        return None
    return f"{different} decisions differ" if different else None


def compare_output(case, tolerance, got, want, spread):
    """Returns {"passed", "fault", "error": relative to the expected output's largest magnitude, and "note"}."""
    fault, error, note = None, 0.0, ""
    if got.dtype != want.dtype:
        fault = f"dtype {got.dtype}, expected {want.dtype}"
    elif got.shape != want.shape:
        fault = f"shape {list(got.shape)}, expected {list(want.shape)}"
    elif want.dtype.kind != "f":
        different = int(np.sum(got != want))
        fault = f"{different} of {want.size} values differ" if different else None
    elif want.size:
        magnitude = float(np.max(np.abs(want), where=np.isfinite(want), initial=0))

        def step(finite):
            return (max(finite.max(), 0) - min(finite.min(), 0)) / 255

        def bound(finite):
            if case.quantised:
                return step(finite) if spread <= step(finite) else 2 * spread
            return (case.tolerance or tolerance) * magnitude

        fault, absolute = float_fault(got, want, bound)
        error = absolute / magnitude if magnitude else absolute
        if case.quantised:
            width = step(want[np.isfinite(want)])
            note = f"{absolute / width:.2f} steps" if width else ""
            if spread > width:
                note += f", onnxruntime itself {spread / width:.2f}"
            fault = fault or decision_fault(got, want, case.decision)
    return {"passed": fault is None, "fault": fault, "error": error, "note": note}


def pair_rows(got, want):
    """`got` with the rows of all outputs but the scores in the order of the nearest rows of `want`."""
    if any(g.shape != w.shape or g.ndim == 0 or len(g) != len(got[0]) for g, w in zip(got, want)):
        return got

    def rows(outputs):
        scales = [max(float(np.max(np.abs(w), initial=0)), 1e-30) for w in want]
        return np.concatenate([o.reshape(len(o), -1) / s for o, s in zip(outputs, scales)], axis=1)

    distances = np.abs(rows(want)[:, None, :] - rows(got)[None, :, :]).max(axis=2)
    order = np.empty(len(distances), np.int64)
    for row in range(len(distances)):
        order[row] = distances[row].argmin()
        distances[:, order[row]] = np.inf
    return [g if g.ndim == 1 and g.dtype.kind == "f" else g[order] for g in got]


def write_inputs(folder, model, inputs):
    folder.mkdir()
    for index, name in enumerate(input_names(model)):
        (folder / f"input_{index}.pb").write_bytes(numpy_helper.from_array(inputs[name], name).SerializeToString())


def read_output(folder, index):
    path = folder / f"output_{index}.pb"
    if not path.exists():
        raise FileNotFoundError(f"no {path.name}")
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


class Failure(Exception):
    """A command of planc that did not do its work."""


def command_json(ended, what):
    """The JSON object on the stdout of a command that succeeded."""
    if not ended.ok:
        raise Failure(f"{what}: {ended.reason()}")
    try:
        return json.loads(ended.stdout)
    except ValueError as error:
        raise Failure(f"{what}: stdout is not JSON: {error}") from None


def run_planc(args, model, inputs, expected, scratch, fixed):
    """Yields (threads, outputs, compile ms, run ms) or (threads, Failure, ...) for each thread count."""
    planc, runner = [args.planc], shlex.split(args.runner) if args.runner else [args.planc]
    level = ["-O0"] if args.no_opt else []
    target = ["--target", args.target] if args.target else []
    features = ["--cpu-features", args.cpu_features] if args.cpu_features else []
    shapes = [f"--shape={name}={'x'.join(map(str, value.shape))}" for name, value in inputs.items()] if fixed else []
    subject, compile_ms = model, 0.0
    write_inputs(scratch / "inputs", model, inputs)
    if not args.direct:
        subject = scratch / "model.plan"
        ended = process.run([*planc, "compile", str(model), "-o", str(subject), *level, *target, *shapes], args.timeout)
        if not ended.ok:
            yield 0, Failure(f"compile: {ended.reason()}"), ended.seconds * 1000, 0.0
            return
        compile_ms = ended.seconds * 1000
    for threads in args.threads:
        outputs = scratch / f"outputs_{threads}"
        ended = process.run(
            [*runner, "run", str(subject), "--inputs", str(scratch / "inputs"), "--outputs", str(outputs), "--threads",
             str(threads), "--json", *features, *([*level, *shapes] if args.direct else [])],
            args.timeout,
        )
        try:
            said = command_json(ended, "run")
            got = [read_output(outputs, k) for k in range(expected)]
            yield threads, got, compile_ms or said.get("compile_ms", 0.0), said.get("run_ms", ended.seconds * 1000)
        except (Failure, OSError, DecodeError, ValueError) as error:
            yield threads, Failure(str(error)), compile_ms, 0.0


def check(case, args):
    """Yields one row of the table per thread count."""
    try:
        model, inputs = case.load()
        want = reference(case, model, inputs)
    except Exception as error:  # any failure of the reference side is a failed row, not the end of the table
        yield {"case": case.name, "threads": 0, "passed": False, "fault": f"reference: {error}", "outputs": [], "error": None}
        return
    with tempfile.TemporaryDirectory(prefix="planc-compare-") as scratch:
        results = run_planc(args, model, inputs, len(want.outputs), pathlib.Path(scratch), case.fixed)
        for threads, got, compile_ms, run_ms in results:
            row = {"case": case.name, "threads": threads, "compile_ms": compile_ms, "run_ms": run_ms}
            if isinstance(got, Failure):
                yield row | {"passed": False, "fault": str(got), "outputs": [], "error": None}
                continue
            got = pair_rows(got, want.outputs) if case.detections else got
            results = [{"name": n} | compare_output(case, args.tolerance, g, w, s)
                       for n, g, w, s in zip(want.names, got, want.outputs, want.spreads)]
            faults = [f"{r['name']}: {r['fault']}" for r in results if r["fault"]]
            yield row | {"passed": not faults, "fault": "; ".join(faults) or None, "outputs": results,
                         "error": max((r["error"] for r in results), default=0.0)}


def line(row, verbose):
    error = "-" if row["error"] is None else f"{row['error']:.2e}"
    notes = [r["note"] for r in row["outputs"] if r["note"]]
    detail = (row["fault"] or "") + (f"  [{notes[0]}]" if notes else "")
    text = (f"{'ok' if row['passed'] else 'FAIL':4} {row['case']:30} {row['threads']:2}  {error:>9} "
            f"{row.get('compile_ms', 0):9.0f} {row.get('run_ms', 0):9.2f}  {detail[:400]}").rstrip()
    if verbose:
        text += "".join(f"\n       {r['name']}: {r['error']:.2e} {r['note']}" for r in row["outputs"])
    return text


def thread_counts(text):
    counts = [int(part) for part in text.split(",")]
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError("thread counts are positive, such as 1,2")
    return counts


def arguments(description, tolerance):
    """The parser both front ends share; they add how cases are chosen."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planc", default=str(ROOT / "target/release/planc"), help="the binary to test")
    parser.add_argument("--threads", type=thread_counts, default=[1], metavar="LIST", help="thread counts, such as 1,2")
    parser.add_argument("--no-opt", action="store_true", help="compile with -O0")
    parser.add_argument("--cpu-features", metavar="X", help="given to run: the highest instruction set to use")
    parser.add_argument("--target", metavar="LIST", help="given to compile, such as aarch64")
    parser.add_argument("--runner", metavar="COMMAND", help="what runs plans instead of --planc, such as an emulator and a binary")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plan", dest="direct", action="store_false", help="compile to a plan, then run it (default)")
    how.add_argument("--direct", action="store_true", help="run the model itself, compiled in memory")
    parser.set_defaults(direct=False)
    parser.add_argument("--tolerance", type=float, default=tolerance, help="of float outputs (default: %(default)g)")
    parser.add_argument("--timeout", type=float, default=900, metavar="S", help="limit of one command (default: %(default)g s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each output")
    return parser


def main(args, cases):
    """Runs the cases and prints the table; returns the exit status."""
    if not pathlib.Path(args.planc).is_file():
        print(f"error: no binary at {args.planc}: cargo build --release", file=sys.stderr)
        return 2
    args.planc = str(pathlib.Path(args.planc).resolve())
    rows, started = [], time.monotonic()
    if not args.json:
        print(f"{'':4} {'case':30} thr {'rel error':>9} {'compile ms':>9} {'run ms':>8}")
    for number, case in enumerate(cases, 1):
        if sys.stderr.isatty():
            print(f"\r\x1b[K[{number}/{len(cases)}] {case.name}", end="", file=sys.stderr, flush=True)
        for row in check(case, args):
            rows.append(row)
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            if not args.json:
                print(line(row, args.verbose), flush=True)
    failed = sum(not row["passed"] for row in rows)
    if args.json:
        print(json.dumps({"schema_version": 1, "passed": len(rows) - failed, "failed": failed, "rows": rows}))
    else:
        worst = max((r["error"] for r in rows if r["error"] is not None), default=0.0)
        print(f"{len(cases)} cases in {time.monotonic() - started:.0f} s, worst relative error {worst:.2e}")
        print(f"{len(rows) - failed} passed, {failed} failed")
    return 1 if failed or not rows else 0
