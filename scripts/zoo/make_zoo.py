#!/usr/bin/env python3
"""Rebuilds the zoo: the graphs of well-known architectures with seeded random weights.

skeletons/NAME.onnx is the exported graph with every large float initializer emptied, skeletons/NAME.json says how each of them
is filled. A tensor is drawn from its own PCG64 stream, keyed by the SHA-256 of `seed/model/tensor`, so its bytes depend
neither on order nor on other tensors. Models land in .cache/zoo. Run it with the Python of scripts/setup.sh.
"""

import argparse
import hashlib
import json
import pathlib
import sys

import numpy as np
import onnx

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "zoo"
SEED = 0


def generator(*key):
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def draw_weight(model, recipe):
    """The values of one initializer; arithmetic stays in float32, which the recipes were measured with."""
    rng, shape, kind = generator(SEED, model, recipe["name"]), tuple(recipe["shape"]), recipe["kind"]
    if kind == "const":
        values = np.full(shape, recipe["value"], np.float32)
    elif kind == "uniform":
        values = rng.random(shape, dtype=np.float32) * np.float32(recipe["high"] - recipe["low"]) + np.float32(recipe["low"])
    elif kind in ("normal", "lognormal"):
        values = rng.standard_normal(shape, dtype=np.float32) * np.float32(recipe["std"]) + np.float32(recipe["mean"])
        values = np.exp(values) if kind == "lognormal" else values
    else:
        raise ValueError(f"{model}: {recipe['name']} is filled by {kind!r}, which is not known")
    if "center" in recipe:
        # Filters that sum to zero keep deep nets without batch statistics from drifting.
        values -= values.mean(axis=tuple(recipe["center"]), keepdims=True, dtype=np.float64).astype(np.float32)
    return values.astype(recipe["dtype"])


def draw_input(model, name, recipe):
    """The values of one input of a case."""
    rng, shape, kind = generator(SEED, "input", model, name), tuple(recipe["shape"]), recipe["kind"]
    draw = {
        "normal": lambda: rng.standard_normal(shape, dtype=np.float32),
        "uniform": lambda: rng.random(shape, dtype=np.float32),
        "ones": lambda: np.ones(shape),
        "zeros": lambda: np.zeros(shape),
        "randint": lambda: rng.integers(0, recipe["high"], shape),
        "arange": lambda: np.broadcast_to(np.arange(recipe["start"], recipe["start"] + shape[-1]), shape),
    }[kind]
    return np.ascontiguousarray(draw(), dtype=recipe["dtype"])


def graphs(graph):
    """The graph and all graphs nested in its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def build(name):
    """The whole model as bytes."""
    model = onnx.load(HERE / "skeletons" / f"{name}.onnx", load_external_data=False)
    described = json.loads((HERE / "skeletons" / f"{name}.json").read_text())
    recipes = {recipe["name"]: recipe for recipe in described["recipes"]}
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.name in recipes:
                tensor.raw_data = draw_weight(described["model"], recipes[tensor.name]).tobytes()
    return model.SerializeToString()


def names():
    return sorted(path.stem for path in (HERE / "skeletons").glob("*.onnx"))


def ensure(name, folder=CACHE):
    """The path of a model of the zoo, which is built when it is not there."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(build(name))
        part.replace(path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"models to build (default: all of {', '.join(names())}; 3.4 GB)")
    parser.add_argument("--out", type=pathlib.Path, default=CACHE, help="folder to write to")
    args = parser.parse_args()
    unknown = set(args.names) - set(names())
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or names():
        data = build(name)
        (args.out / f"{name}.onnx").write_bytes(data)
        print(f"{name:22} {len(data) / 1e6:7.1f} MB  sha256 {hashlib.sha256(data).hexdigest()[:16]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
