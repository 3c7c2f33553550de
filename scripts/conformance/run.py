#!/usr/bin/env python3
"""Runs the backend test suites of ONNX, all versions of them, and compares with what is expected.

Each case is one `planc run` that has to reproduce the outputs within the tolerances of the suite: equal strings, types and shapes;
|got - want| <= atol + rtol * |want| for numbers. expectations.txt lists every case that does not pass, with the verdict:

    unsupported  exit code 4: the message names what planc does not do
    refused      exit code 3: the message says what is wrong with the case
    mismatch     other outputs than expected

The reason ends with what is known beyond it, such as the suite that planc follows where that has other data for a case.

counts.txt holds, per operator, how many of the cases about it pass: `planc ops` and docs/ops.md show it.

Anything else a case can do (another exit code, a crash, a panic, no end) is always a failure. A listed case that passes fails
too, so that the list stays true. Ends with `N passed, N failed`. Run it with the Python of scripts/setup.sh.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper

import process
import suites

EXPECTATIONS = HERE / "expectations.txt"
COUNTS = HERE / "counts.txt"
EXITS = {3: "refused", 4: "unsupported"}
LIMIT_S = 60
LISTED = ("unsupported", "refused", "mismatch")
VERDICTS = ("pass", *LISTED, "error", "crash", "timeout")


# Why cases do not pass, by a part of their ids, where the verdict does not say it.
NOTES = {
    "test_dft_inverse": "theirs is computed in f32, planc's in f64",
    "test_image_decoder_decode_jpeg_": "JPEG leaves rounding open, and planc's decoder is another",
    "test_castlike_": "the data contradict the model's declared shape",
    "test_shrink": "the data contradict the model's declared shape",
    "_FLOAT_to_BFLOAT16": "they store bf16 as u16, which nothing tells planc here",
    "test_gradient_": "training is out of scope",
}


def array(tensor):
    """A TensorProto's elements; strings as bytes, which need not be text."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return np.array(list(tensor.string_data), dtype=object).reshape(list(tensor.dims))
    return numpy_helper.to_array(tensor)


def sequence(proto):
    """A SequenceProto's elements."""
    if proto.elem_type == onnx.SequenceProto.SEQUENCE:
        return [sequence(s) for s in proto.sequence_values]
    if proto.elem_type == onnx.SequenceProto.OPTIONAL:
        return [optional(o) for o in proto.optional_values]
    return [array(t) for t in proto.tensor_values]


def optional(proto):
    """An OptionalProto's value, None when it has none."""
    if proto.elem_type == onnx.OptionalProto.TENSOR:
        return array(proto.tensor_value)
    if proto.elem_type == onnx.OptionalProto.SEQUENCE:
        return sequence(proto.sequence_value)
    return None


def read(path, kind):
    """The value in a file."""
    data = path.read_bytes()
    if kind == "sequence":
        return sequence(onnx.SequenceProto.FromString(data))
    if kind == "optional":
        return optional(onnx.OptionalProto.FromString(data))
    return array(onnx.TensorProto.FromString(data))


def difference(got, want, case):
    """Why `got` is not `want`; None when it is."""
    if want is None or got is None:
        return None if want is got else "only one of both is an empty optional"
    if isinstance(want, list) != isinstance(got, list):
        return "only one of both is a sequence"
    if isinstance(want, list):
        if len(got) != len(want):
            return f"a sequence of {len(got)}, expected {len(want)}"
        parts = ((i, difference(g, w, case)) for i, (g, w) in enumerate(zip(got, want)))
        return next((f"element {i}: {why}" for i, why in parts if why), None)
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype}{list(got.shape)}, expected {want.dtype}{list(want.shape)}"
    if case.random:
        return None
    if want.dtype.kind in "biuO" and want.dtype.itemsize <= 8:
        wrong = got != want
    else:
        rtol = case.rtol
        if want.dtype.name == "bfloat16":
            # Two units in the last place: one rounding of theirs and one of ours.
            rtol = max(rtol, 2.0**-6)
        wide = np.complex128 if want.dtype.kind == "c" else np.float64
        narrow = want.dtype.kind not in "cfiu"
        got, want = ((v.astype(np.float32) if narrow else v).astype(wide) for v in (got, want))
        with np.errstate(all="ignore"):
            wrong = ~np.isclose(got, want, rtol=rtol, atol=case.atol, equal_nan=True)
    if not np.any(wrong):
        return None
    at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return f"{np.count_nonzero(wrong)} of {wrong.size} elements differ, the first at {[int(i) for i in at]}: " \
        f"{got[at]!r}, expected {want[at]!r}"


def refusal(ended, folder):
    """What the message says, without where the case lies."""
    line = next((line for line in ended.stderr.splitlines() if line.startswith("error")), ended.verdict())
    return re.sub(r"^error(\[\w+\])?: ", "", line).replace(f"{folder}/", "")[:200]


def run_set(planc, case, data, out):
    """(verdict, reason) of one set of inputs."""
    folder = case.folder / data
    command = [*planc, "run", str(case.folder / "model.onnx"), "--inputs", str(folder), "--outputs", str(out), "--threads", "1"]
    ended = process.run(command, LIMIT_S)
    if ended.timed_out:
        return "timeout", ended.verdict()
    if ended.code is None or ended.code >= 70 or "panicked" in ended.stderr:
        return "crash", ended.reason()
    if ended.code in EXITS:
        return EXITS[ended.code], refusal(ended, case.folder)
    if ended.code != 0:
        return "error", ended.reason()
    for k, kind in enumerate(case.outputs):
        want = folder / f"output_{k}.pb"
        got = out / want.name
        if want.exists() != got.exists():
            return "mismatch", f"output {k} was {'not ' if want.exists() else ''}written"
        if want.exists():
            try:
                expected = read(want, kind)
            except ValueError as error:
                return "mismatch", f"the expected output {k} is not valid: {error}"
            found = read(got, kind)
            if kind == "bfloat16" and found.dtype == expected.dtype == np.uint16:
                found, expected = (np.asarray(bits).view(ml_dtypes.bfloat16) for bits in (found, expected))
            why = difference(found, expected, case)
            if why:
                return "mismatch", f"output {k}: {why}"
    return "pass", ""


def run_case(planc, case):
    """The verdict of the first set that does not pass."""
    for data in case.sets:
        with tempfile.TemporaryDirectory() as out:
            verdict, reason = run_set(planc, case, data, pathlib.Path(out))
        if verdict != "pass":
            return verdict, " ".join(reason.split())
    return ("pass", "") if case.sets else ("error", "the case has no data")


def load_expectations():
    """The listed cases: id to verdict."""
    listed = {}
    for number, line in enumerate(EXPECTATIONS.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        found = re.fullmatch(r"(\S+)  (\w+): (.+)", line)
        if not found or found[2] not in LISTED or found[1] in listed or found[1] < max(listed, default=""):
            raise ValueError(f"{EXPECTATIONS.name}, line {number}: not `ID  VERDICT: REASON`, or out of order")
        listed[found[1]] = found[2]
    return listed


def fault(verdict, reason, expected):
    """What is wrong with a verdict where `expected` was; None when it is as expected."""
    if verdict == expected:
        return None
    if verdict == "pass":
        return f"passes, but is listed as {expected}"
    return f"{verdict} ({reason})" + (f", but is listed as {expected}" if expected != "pass" else "")


def remark(id_, results):
    """What is known of a case beyond its verdict: the reason, and the newest suite with a case of this name that passes."""
    suite, rest = id_.split("/", 1)
    newer = [other for other in {i.split("/")[0] for i in results}
             if suites.version_key(other[5:]) > suites.version_key(suite[5:]) and results.get(f"{other}/{rest}", ("",))[0] == "pass"]
    newest = max(newer, key=lambda other: suites.version_key(other[5:]), default=None)
    parts = [note for part, note in NOTES.items() if part in id_][:1] + ([f"planc follows {newest}"] if newest else [])
    return f" ({'; '.join(parts)})" if parts else ""


def write_expectations(results):
    head = "# The cases that do not pass, and why; run.py --write makes this file. See there for the verdicts.\n"
    lines = [f"{id_}  {verdict}: {reason}{remark(id_, results)}\n"
             for id_, (verdict, reason) in sorted(results.items()) if verdict in LISTED]
    EXPECTATIONS.write_text(head + "".join(lines))


def counts_text(cases, results):
    """The text of counts.txt: an operator, how many of its cases pass, and how many there are, in each line."""
    counts = collections.defaultdict(collections.Counter)
    for case in cases:
        if case.op:
            counts[case.op][results[case.id][0]] += 1
    head = "# Operator, cases that pass, cases; run.py --write makes this file.\n"
    return head + "".join(f"{op} {counts[op]['pass']} {counts[op].total()}\n" for op in sorted(counts))


def show(cases, results):
    """A table of verdicts by suite, of the tensor slice of all suites (see suites.py), and of everything."""
    counts = collections.defaultdict(collections.Counter)
    for case in cases:
        for row in (case.id.split("/")[0], *(["tensor slice"] if case.slice else []), "all"):
            counts[row][results[case.id][0]] += 1
    print(f"{'suite':14} {'cases':>6} " + " ".join(f"{c:>11}" for c in VERDICTS) + f" {'rate':>7}")
    order = lambda row: (row == "all", row == "tensor slice", suites.version_key(row[5:]) if row.startswith("onnx-") else ())
    for row in sorted(counts, key=order):
        total = counts[row].total()
        print(f"{row:14} {total:6} " + " ".join(f"{counts[row][c]:11}" for c in VERDICTS)
              + f" {100 * counts[row]['pass'] / total:6.2f}%")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", help="only cases whose id contains one of these")
    parser.add_argument("--planc", default="target/release/planc", help="the binary, or a command line that runs it")
    parser.add_argument("--suite", help="only this suite, such as onnx-1.23.2")
    parser.add_argument("--cache", type=pathlib.Path, default=suites.CACHE, help="folder of wheels and cases")
    parser.add_argument("--write", action="store_true", help="write expectations.txt and counts.txt anew from this run (of all cases)")
    parser.add_argument("--list", action="store_true", help="print every case that does not pass, expected or not")
    args = parser.parse_args()
    if args.write and (args.patterns or args.suite):
        parser.error("--write needs a run of all cases")
    cases = [c for c in suites.load(args.cache, lambda text: print(text, file=sys.stderr, flush=True))
             if (not args.patterns or any(p in c.id for p in args.patterns))
             and (not args.suite or c.id.startswith(args.suite + "/"))]
    planc = args.planc.split()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        verdicts = list(pool.map(lambda case: run_case(planc, case), cases))
    results = {case.id: verdict for case, verdict in zip(cases, verdicts)}
    show(cases, results)
    if args.list:
        for id_, (verdict, reason) in results.items():
            if verdict != "pass":
                print(f"{id_}  {verdict}: {reason}")
    if args.write:
        write_expectations(results)
        COUNTS.write_text(counts_text(cases, results))
    expected = load_expectations()
    faults = [(id_, fault(*verdict, expected.get(id_, "pass"))) for id_, verdict in results.items()]
    if not args.patterns and not args.suite:
        faults += [(id_, "is listed, but there is no such case") for id_ in expected if id_ not in results]
        if counts_text(cases, results) != COUNTS.read_text():
            faults.append((COUNTS.name, "does not hold the counts of this run"))
    faults = [(id_, why) for id_, why in faults if why]
    for id_, why in faults:
        print(f"FAILED {id_}: {why}")
    print(f"{len(results) - len(faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
