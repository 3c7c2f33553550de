#!/usr/bin/env python3
"""Compares planc with onnxruntime on the zoo: well-known architectures with seeded random weights.

Builds what is missing and holds every float output to 1e-4 of its largest magnitude; cases.json lists models and inputs.
Ends with `N passed, N failed`. Run it with the Python of scripts/setup.sh.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import make_zoo

import equivalence

TOLERANCE = 1e-4


def load(case, folder):
    inputs = {name: make_zoo.draw_input(case["model"], name, recipe) for name, recipe in case["inputs"].items()}
    return make_zoo.ensure(case["model"], folder), inputs


def main():
    parser = equivalence.arguments(__doc__, TOLERANCE)
    parser.add_argument("cases", nargs="*", help="cases of cases.json; a model's name stands for all of its cases")
    parser.add_argument("--all", action="store_true", help="every case")
    parser.add_argument("--subset", metavar="TAG", help="the cases with this tag: ci")
    parser.add_argument("--models", type=pathlib.Path, default=make_zoo.CACHE, help="folder of the models")
    args = parser.parse_args()
    table = json.loads((make_zoo.HERE / "cases.json").read_text())
    unknown = set(args.cases) - set(table) - {case["model"] for case in table.values()}
    if unknown:
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    chosen = {name: case for name, case in table.items()
              if args.all or {name, case["model"]} & set(args.cases) or (args.subset and args.subset in case.get("tags", []))}
    if not chosen:
        parser.error("name cases, or give --all or --subset")
    cases = [equivalence.Case(name, lambda c=case: load(c, args.models), detections=case.get("detections", False))
             for name, case in chosen.items()]
    return equivalence.main(args, cases)


if __name__ == "__main__":
    sys.exit(main())
