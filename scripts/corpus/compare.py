#!/usr/bin/env python3
"""Compares planc with onnxruntime on the corpus of real models.

Fetches what is missing, makes deterministic inputs, compiles and runs each model, and holds every float output to 1e-3 of its
largest magnitude; scripts/equivalence.py says what holds for quantised models and other types. Ends with `N passed, N failed`.
Run it with the Python of scripts/setup.sh.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import fetch
import numpy as np
import onnx

import equivalence

TOLERANCE = 1e-3


def make_input(model_id, name, dtype, recipe):
    """One input as its recipe says: a value, integers in [low, high), or by default normal values of deviation 0.5."""
    shape = recipe["shape"]
    if "value" in recipe:
        return np.full(shape, recipe["value"], dtype)
    rng = equivalence.seeded("corpus", model_id, name, *shape)
    if "low" in recipe:
        return rng.integers(recipe["low"], recipe["high"], shape).astype(dtype)
    return (0.5 * rng.standard_normal(shape)).astype(dtype)


def load(entry, folder, which):
    """The model file of a manifest entry and its inputs; `which` is 0 or 1, the first or second set of shapes."""
    path = folder / f"{entry['id']}.onnx"
    graph = onnx.load(path, load_external_data=False).graph
    dtypes = {i.name: onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in graph.input}
    recipes = entry["inputs"][which]
    return path, {name: make_input(entry["id"], name, dtypes[name], recipe) for name, recipe in recipes.items()}


def main():
    parser = equivalence.arguments(__doc__, TOLERANCE)
    parser.add_argument("ids", nargs="*", help="models of the manifest")
    parser.add_argument("--all", action="store_true", help="every model")
    parser.add_argument("--subset", metavar="TAG", help="the models with this tag: ci, aarch64, bench")
    parser.add_argument("--shapes", choices=["first", "second", "both"], default="first",
                        help="which set of input shapes; only models with free dims have a second")
    parser.add_argument("--models", type=pathlib.Path, default=fetch.CACHE, help="folder of the models")
    args = parser.parse_args()
    manifest = fetch.load_manifest()
    unknown = set(args.ids) - set(manifest)
    if unknown:
        parser.error(f"unknown ids: {', '.join(sorted(unknown))}")
    chosen = [m for m in manifest.values()
              if args.all or m["id"] in args.ids or (args.subset and args.subset in m.get("tags", []))]
    if not chosen:
        parser.error("name models, or give --all or --subset")
    fetch.fetch(chosen, args.models, lambda text: print(text, file=sys.stderr, flush=True))
    cases = []
    for entry in chosen:
        for which in {"first": [0], "second": [1], "both": [0, 1]}[args.shapes]:
            if which < len(entry["inputs"]):
                cases.append(equivalence.Case(
                    entry["id"] + ("@2" if which else ""), lambda e=entry, w=which: load(e, args.models, w),
                    entry.get("quantised", False), entry.get("decision"), tolerance=entry.get("tolerance"),
                    fixed=entry.get("fixed_shapes", False)))
    return equivalence.main(args, cases)


if __name__ == "__main__":
    sys.exit(main())
