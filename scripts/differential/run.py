#!/usr/bin/env python3
"""Makes random valid models and compares what planc computes with onnxruntime.

Each seed gives one model of a few operators (`builder.py`), the same each time. The oracle is onnxruntime without optimisations
or, where that refuses, the reference evaluator of ONNX; what both refuse is skipped and counted. planc runs the model with one or
two threads, on some instruction set, and once more with other extents where inputs have symbolic ones. What counts as equal is
said in `comparison.py`; the differences where the oracle is wrong or the specification says nothing are listed in `known.py`.

    run.py --seed 1 --count 1000        models 1 to 1000; ends with `N passed, N failed`
    run.py --seed 17 --reduce DIR       makes the failing model of a seed small, and saves it
    run.py --model DIR                  compares a saved model again
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np
import onnx
from onnx import numpy_helper

import builder
import classical
import comparison
import elementwise
import known
import movement
import neural
import oracle
import process
import reduction
import structure

ROOT = HERE.parent.parent
RULES = [*classical.RULES, *elementwise.RULES, *movement.RULES, *neural.RULES, *structure.RULES]
CHUNK = 25
CHUNK_LIMIT_S = 300
# Other extents than the model was made for, by symbol, in the second run.
RESIZED = (1, 3, 6, 18)


def flags_of(seed):
    """How planc runs the model of a seed."""
    rng = random.Random(f"flags {seed}")
    features = rng.choices((None, "avx2", "scalar"), (70, 20, 10))[0]
    level = rng.choices((None, "-O0"), (92, 8))[0]
    return ["--threads", rng.choice("12"), *(["--cpu-features", features] if features else []), *([level] if level else []),
            *(["--data-only"] if rng.random() < 0.05 else []), *(["--plan"] if rng.random() < 0.3 else [])]


def operators(model):
    """Names of the operators of a model, bodies included."""
    found, graphs = set(), [model.graph]
    while graphs:
        for node in graphs.pop().node:
            found.add(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
            graphs += [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return found


def resized(model, inputs, seed):
    """The inputs with other extents where they have symbolic ones; None where none has."""
    rng = random.Random(f"resize {seed}")
    extents, changed = {}, dict(inputs)
    for info in model.graph.input:
        if info.name not in inputs:
            continue
        array = inputs[info.name]
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.dim_param:
                extent = extents.setdefault(dim.dim_param, rng.choice(RESIZED))
                if array.shape[axis] == 0:
                    return None
                array = np.take(array, np.arange(extent) % array.shape[axis], axis)
        changed[info.name] = array
    return changed if extents else None


def check(planc, seed, scratch):
    """The record of one seed."""
    model, inputs = builder.generate(seed, RULES)
    record = {"seed": seed, "ops": sorted(operators(model)), "runs": 0, "oracle": None, "fault": None}
    for variant, values in (("", inputs), ("other extents, ", resized(model, inputs, seed))):
        if values is None:
            continue
        try:
            which, wanted = oracle.run(model, values)
        except oracle.Refused as error:
            if not variant:
                record["skipped"] = str(error)
            continue
        if variant and which != "onnxruntime":
            # The reference evaluator is lenient about extents that do not fit, so that what it makes of other ones says little.
            continue
        record["runs"] += 1
        record["oracle"] = record["oracle"] or which
        outcome = comparison.compare(planc, flags_of(seed), model, values, wanted, scratch)
        record["noise"] = record.get("noise", 0) + outcome.noise
        if outcome.verdict != "equal":
            reason = known.explained(model, values) if variant else None
            record["explained" if reason else "fault"] = reason or f"{variant}{outcome.verdict}: {outcome.fault} ({which})"
            break
    return record


def worker(args):
    """Checks a few seeds and prints a record per line; a crash of the oracle ends only this process."""
    with tempfile.TemporaryDirectory(prefix="planc-differential-") as scratch:
        for seed in range(args.seed, args.seed + args.count):
            print(json.dumps(check(args.planc, seed, pathlib.Path(scratch) / "case")), flush=True)
    return 0


def chunk(planc, first, count):
    """The records of some seeds, from child processes; a seed whose oracle crashed has a record that says so."""
    records = []
    while len(records) < count:
        seed = first + len(records)
        ended = process.run([sys.executable, __file__, "--worker", "--planc", planc, "--seed", str(seed), "--count",
                             str(count - len(records))], CHUNK_LIMIT_S)
        lines = ended.stdout.decode().splitlines()
        records += [json.loads(line) for line in lines if line.endswith("}")]
        if not ended.ok and len(records) < count:
            if ended.code is not None:
                raise RuntimeError(f"seed {first + len(records)}: {ended.stderr[-2000:]}")
            records.append({"seed": first + len(records), "ops": [], "runs": 0, "oracle": None, "fault": None,
                            "skipped": f"the oracle ended with {ended.verdict()}"})
    return records


def save(folder, model, inputs, wanted):
    """Writes a model, its inputs and expected outputs in the layout of the ONNX backend tests."""
    data = folder / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    constants = {i.name for i in model.graph.initializer}
    for k, info in enumerate(i for i in model.graph.input if i.name not in constants):
        (data / f"input_{k}.pb").write_bytes(numpy_helper.from_array(inputs[info.name], info.name).SerializeToString())
    for k, (info, want) in enumerate(zip(model.graph.output, wanted)):
        (data / f"output_{k}.pb").write_bytes(numpy_helper.from_array(np.asarray(want), info.name).SerializeToString())


def reduce_seed(args):
    """Makes the failing model of a seed small and saves it."""
    model, inputs = builder.generate(args.seed, RULES)
    flags = flags_of(args.seed)
    with tempfile.TemporaryDirectory(prefix="planc-differential-") as scratch:
        scratch = pathlib.Path(scratch)
        for values in (inputs, resized(model, inputs, args.seed)):
            if values is None:
                continue
            try:
                _, wanted = oracle.run(model, values)
            except oracle.Refused as error:
                print(f"skipped: {error}")
                continue
            outcome = comparison.compare(args.planc, flags, model, values, wanted, scratch / "case")
            if outcome.verdict == "equal":
                continue
            model, values = reduction.reduce(args.planc, flags, model, values, outcome, scratch / "case")
            which, wanted = oracle.run(model, values)
            outcome = comparison.compare(args.planc, flags, model, values, wanted, scratch / "case")
            save(args.reduce, model, values, wanted)
            print(onnx.printer.to_text(model))
            for name, value in values.items():
                print(f"{name}: {value.dtype}{list(value.shape)} {value.reshape(-1)[:12].tolist()}")
            print(f"{' '.join(flags)}: {outcome.verdict}: {outcome.fault} ({which}); saved in {args.reduce}")
            return 1
    print("equal")
    return 0


def compare_saved(args):
    """Compares a saved model with what is stored beside it."""
    data = args.model / "test_data_set_0"
    model = onnx.load(args.model / "model.onnx")
    constants = {i.name for i in model.graph.initializer}
    read = lambda kind, k: numpy_helper.to_array(onnx.load_tensor(str(data / f"{kind}_{k}.pb")))
    inputs = {info.name: read("input", k) for k, info in enumerate(i for i in model.graph.input if i.name not in constants)}
    wanted = [read("output", k) for k in range(len(model.graph.output))]
    with tempfile.TemporaryDirectory(prefix="planc-differential-") as scratch:
        outcome = comparison.compare(args.planc, [], model, inputs, wanted, pathlib.Path(scratch) / "case")
    print(f"{outcome.verdict} {outcome.fault}")
    return 0 if outcome.verdict == "equal" else 1


def report(records, seconds, verbose):
    """Prints what was covered and what failed; the exit status."""
    covered = collections.Counter(op for r in records for op in r["ops"])
    oracles = collections.Counter(r["oracle"] for r in records if r["oracle"])
    skipped = [r for r in records if "skipped" in r]
    failed = [r for r in records if r["fault"]]
    explained = collections.Counter(r["explained"] for r in records if "explained" in r)
    for r in failed:
        print(f"FAILED {r['seed']}: {r['fault']}")
    if verbose:
        for r in skipped:
            print(f"skipped {r['seed']}: {r['skipped']}")
        print("models with each operator: " + ", ".join(f"{op} {n}" for op, n in sorted(covered.items())))
    for reason, n in sorted(explained.items()):
        print(f"explained {n}: {reason}")
    by = ", ".join(f"{name} {n}" for name, n in sorted(oracles.items()))
    runs, noise = (sum(r.get(key, 0) for r in records) for key in ("runs", "noise"))
    print(f"{len(records)} models of {len(covered)} operators in {seconds:.0f} s; {runs} comparisons, {noise} of them equal but for what "
          f"moves under noise; the oracle {by}; {len(skipped)} skipped, {sum(explained.values())} explained")
    print(f"{len(records) - len(failed) - len(skipped)} passed, {len(failed)} failed")
    return 1 if failed or not records else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planc", default=str(ROOT / "target/release/planc"), help="the binary to test")
    parser.add_argument("--seed", type=int, default=1, help="the first model (default: %(default)s)")
    parser.add_argument("--count", type=int, default=1000, help="how many models (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time (default: %(default)s)")
    parser.add_argument("--reduce", type=pathlib.Path, metavar="DIR", help="make the failing model of --seed small and save it here")
    parser.add_argument("--model", type=pathlib.Path, metavar="DIR", help="compare a saved model with what is stored beside it")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was skipped, and how often each operator occurred")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not pathlib.Path(args.planc).is_file():
        print(f"error: no binary at {args.planc}: cargo build --release", file=sys.stderr)
        return 2
    args.planc = str(pathlib.Path(args.planc).resolve())
    for wanted, action in ((args.worker, worker), (args.reduce, reduce_seed), (args.model, compare_saved)):
        if wanted:
            return action(args)
    started, last = time.monotonic(), args.seed + args.count
    chunks = [(first, min(CHUNK, last - first)) for first in range(args.seed, last, CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        records = [r for part in pool.map(lambda c: chunk(args.planc, *c), chunks) for r in part]
    return report(records, time.monotonic() - started, args.verbose)


if __name__ == "__main__":
    sys.exit(main())
