#!/usr/bin/env python3
"""Checks kernels and plans on the CUDA device of this machine, and writes docs/gpu-results.md.

Kernels: the cases of backends/cuda/tests/device run on the device as well, and are compared with the interpreter of kernel IR. Plans:
each model is compiled for a device and for the CPU and run on the same made-up inputs; outputs may differ by `--tolerance` of the
output's largest magnitude. Without a device it says in one line what is missing, and exits with 5; `--interpreter` runs the kernels in
the interpreter of PTX instead, and prints their table. Needs numpy, and cargo unless `--kernels` names the built test.
"""

import argparse
import json
import pathlib
import re
import sys
import tempfile

import numpy

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "gpu-results.md"
UNFIT = 5
LIMIT_S = 300
KERNELS_LIMIT_S = 3600
KERNELS = ["cargo", "test", "--quiet", "-p", "planc-cuda", "--test", "device", "--"]
INTERPRETER = "interpreter"


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


def kernel_rows(output, on):
    """Rows about what the kernel tests printed for devices that `on` accepts: kernel, cases, largest share of what is allowed."""
    shares = {}
    for kernel, device, share in re.findall(r"^(\w+) on (.+): ([0-9.]+e-?[0-9]+)$", output, re.MULTILINE):
        if on(device):
            shares.setdefault(kernel, []).append(float(share))
    return [[kernel, str(len(all)), f"{max(all):.1e}"] for kernel, all in sorted(shares.items())]


def check_kernels(command, on):
    """The rows of the kernels, and what is wrong with them."""
    ended = process.run([*command, "--show-output"], KERNELS_LIMIT_S, cwd=ROOT)
    output = ended.stdout.decode(errors="replace")
    rows = kernel_rows(output, on)
    # The runner closes with the names of the tests that failed.
    wrong = re.findall(r"^    (\S+)$", output.rpartition("\nfailures:\n")[2], re.MULTILINE) if not ended.ok else []
    if not ended.ok and not wrong:
        wrong = [f"the tests of kernels: {ended.reason()}"]
    if ended.ok and not rows:
        wrong = ["the tests of kernels ran nowhere"]
    return rows, wrong


def table(head, rows):
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path, help="models (default: those of testdata/models)")
    parser.add_argument("--planc", type=pathlib.Path, default=ROOT / "target" / "release" / "planc")
    parser.add_argument("--target", default="cuda:sm_80")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--kernels", type=pathlib.Path, help="the built test binary of kernels (default: cargo builds it)")
    parser.add_argument("--interpreter", action="store_true", help="only run the kernels, in the interpreter")
    args = parser.parse_args()
    kernels = [args.kernels] if args.kernels else KERNELS
    kernel_head = ["kernel", "cases", "largest error, of what is allowed"]
    if args.interpreter:
        rows, wrong = check_kernels(kernels, lambda device: device == INTERPRETER)
        print("\n".join([*table(kernel_head, rows), *wrong]))
        return 1 if wrong else 0
    if not args.planc.exists():
        parser.error(f"there is no {args.planc}: build it, or name it with --planc")
    models = args.models or [folder / "model.onnx" for folder in sorted((ROOT / "testdata").glob("*/*")) if (folder / "model.onnx").exists()]
    probe = process.run([args.planc, "run", models[0], "--random", "1", "--device", "cuda"], LIMIT_S)
    if probe.code == UNFIT:
        print(probe.reason(), file=sys.stderr)
        return UNFIT
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    device = process.run(query, LIMIT_S).stdout.decode().splitlines()[0]
    kernel_table, wrong = check_kernels(kernels, lambda device: device != INTERPRETER)
    print("\n".join([*table(kernel_head, kernel_table), *wrong]))
    rows, passed = [], 0
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            ok, row = check(args.planc, model, args.target, args.tolerance, pathlib.Path(folder))
        passed += ok
        rows.append([*row, *[""] * (4 - len(row)), "ok" if ok else "FAILED"])
        print("  ".join(rows[-1]))
    head = ["model", "difference from the CPU, of the output's largest magnitude", "device ms", "CPU ms, 1 thread", ""]
    lines = ["# Results on a GPU", "", f"Written by `scripts/gpu.py` on: {device} (driver, compute capability), code for {args.target}.",
             "", "## Kernels", "", *table(kernel_head, kernel_table), "", *[f"FAILED: {w}" for w in wrong], *([""] if wrong else []),
             "## Plans", "", *table(head, rows)]
    RESULTS.write_text("\n".join(lines) + "\n")
    passed += len(kernel_table)
    failed = len(models) + len(kernel_table) - passed + len(wrong)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
