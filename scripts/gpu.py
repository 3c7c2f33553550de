#!/usr/bin/env python3
"""Checks plans on the CUDA device of this machine, and writes docs/gpu-results.md.

Each model is compiled for a device and for the CPU and run on the same made-up inputs; outputs may differ by `--tolerance` of the
output's largest magnitude. Without a device it says in one line what is missing, and exits with 5. Needs numpy.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "gpu-results.md"
UNFIT = 5
LIMIT_S = 300


def json_of(command):
    """What a command prints, or None and what went wrong."""
    ended = process.run(command, LIMIT_S)
    return (json.loads(ended.stdout), "") if ended.ok else (None, ended.reason())


def outputs(folder):
    return {path.name: numpy.load(path) for path in sorted(pathlib.Path(folder).glob("*.npy"))}


def worst(device, host):
    """The largest difference of two sets of outputs, each relative to its output's largest magnitude."""
    if device.keys() != host.keys():
        return float("inf")
    error = 0.0
    for name, want in host.items():
        have = device[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            return float("inf")
        if want.size:
            a, b = have.astype(numpy.float64), want.astype(numpy.float64)
            error = max(error, float(numpy.abs(a - b).max() / max(numpy.abs(b).max(), 1e-30)))
    return error


def name(model):
    return model.parent.name if model.stem == "model" else model.stem


def check(planc, model, target, tolerance, folder):
    """One row of the table: the model, whether it passes, and the figures."""
    plans = {"device": folder / "device.plan", "host": folder / "host.plan"}
    for place, flags in (("device", ["--target", target]), ("host", [])):
        ended = process.run([planc, "compile", model, "-o", plans[place], *flags], LIMIT_S)
        if not ended.ok:
            return False, [name(model), f"does not compile: {ended.reason()}"]
    found, bench = {}, {}
    for place, plan in plans.items():
        out = folder / place
        ended = process.run([planc, "run", plan, "--random", "1", "--outputs", out], LIMIT_S)
        if not ended.ok:
            return False, [name(model), f"does not run on the {place}: {ended.reason()}"]
        found[place] = outputs(out)
        bench[place], fault = json_of([planc, "bench", plan, "--random", "1", "--duration", "2", "--json"])
        if bench[place] is None:
            return False, [name(model), fault]
    error = worst(found["device"], found["host"])
    times = [f"{bench[p]['wall_ms']['p50']:.3f}" for p in ("device", "host")]
    return error <= tolerance, [name(model), f"{error:.1e}", *times]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path, help="models (default: those of testdata/models)")
    parser.add_argument("--planc", type=pathlib.Path, default=ROOT / "target" / "release" / "planc")
    parser.add_argument("--target", default="cuda:sm_80")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    models = args.models or [folder / "model.onnx" for folder in sorted((ROOT / "testdata").glob("*/*")) if (folder / "model.onnx").exists()]
    probe = process.run([args.planc, "run", models[0], "--random", "1", "--device", "cuda"], LIMIT_S)
    if probe.code == UNFIT:
        print(probe.reason(), file=sys.stderr)
        return UNFIT
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    device = process.run(query, LIMIT_S).stdout.decode().splitlines()[0]
    rows, passed = [], 0
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            ok, row = check(args.planc, model, args.target, args.tolerance, pathlib.Path(folder))
        passed += ok
        rows.append([*row, *[""] * (4 - len(row)), "ok" if ok else "FAILED"])
        print("  ".join(rows[-1]))
    head = ["model", "difference from the CPU, of the output's largest magnitude", "device ms", "CPU ms, 1 thread", ""]
    lines = ["# Results on a GPU", "", f"Written by `scripts/gpu.py` on: {device} (driver, compute capability), code for {args.target}.",
             ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
    RESULTS.write_text("\n".join(lines) + "\n")
    failed = len(models) - passed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
