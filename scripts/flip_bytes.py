#!/usr/bin/env python3
"""Damages plans and checks that planc notices.

Flips a byte at sampled places of the header, the section table, the padding and every section, cuts the file at every
boundary, and appends to it. `verify` has to exit 6 for each damage; `run` too, but for the bulk weights, which it checks under
--check-weights only (without, it may not crash). Damage to the magic or the version may be reported as what it looks like:
not a plan (3), another version (5). The table is read here from the bytes, as docs/plan-format.md describes them.
Standard library only.
"""

import argparse
import dataclasses
import json
import pathlib
import random
import struct
import sys
import tempfile

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = struct.Struct("<8sIIQQ32s")
ENTRY = struct.Struct("<IIQQII32s")
KINDS = {1: "manifest", 2: "decisions", 3: "provenance", 4: "ptx", 5: "code", 6: "weights", 7: "golden", 8: "signature"}
INTEGRITY = 6
LIMIT_S = 60


@dataclasses.dataclass(frozen=True)
class Region:
    """A range of the file and the exit codes that name its damage."""

    name: str
    start: int
    end: int
    codes: tuple[int, ...] = (INTEGRITY,)


def regions(data):
    """All bytes of a plan, as regions without gaps."""
    magic, _, count, length, _, _ = HEADER.unpack_from(data)
    if not magic.startswith(b"PLANC") or length != len(data):
        raise ValueError("not a plan of the known format")
    table_end = HEADER.size + count * ENTRY.size
    found = [Region("magic", 0, 8, (3, INTEGRITY)), Region("version", 8, 12, (5, INTEGRITY)), Region("header", 12, HEADER.size),
             Region("table", HEADER.size, table_end)]
    end = table_end
    for index in range(count):
        kind, number, offset, size = ENTRY.unpack_from(data, HEADER.size + index * ENTRY.size)[:4]
        if offset > end:
            found.append(Region(f"padding before {KINDS[kind]}", end, offset))
        if size:
            found.append(Region(f"{KINDS[kind]} {number}" if number else KINDS[kind], offset, offset + size))
        end = offset + size
    return found


def places(region, count, rng):
    """The first and last byte of a region, and others drawn from it."""
    size = region.end - region.start
    drawn = (rng.randrange(region.start, region.end) for _ in range(count - 2))
    return sorted({region.start, region.end - 1, *drawn})[: max(size, 1)]


class Checker:
    """Runs verify and run on damaged copies and counts."""

    def __init__(self, planc, scratch):
        self.planc, self.copy = planc, scratch / "damaged.plan"
        self.passed, self.failures = 0, []

    def expect(self, what, command, codes):
        ended = process.run([self.planc, *command], LIMIT_S)
        sound = ended.code in codes and (ended.ok or "error" in ended.stderr)
        if sound:
            self.passed += 1
        else:
            self.failures.append(f"{what}: {command[0]} {' '.join(command[2:])}: {ended.reason()}, expected {codes}")
            print(f"FAIL {self.failures[-1]}", flush=True)

    def damaged(self, what, data, codes, bulk=False):
        self.copy.write_bytes(data)
        self.expect(what, ["verify", str(self.copy)], codes)
        run = ["run", str(self.copy), "--random", "1"]
        if bulk:
            self.expect(what, [*run, "--check-weights"], codes)
            self.expect(what, run, (0, *codes))
        else:
            self.expect(what, run, codes)


def check(plan, args, checker):
    data = plan.read_bytes()
    checker.expect("undamaged", ["verify", str(plan)], (0,))
    rng = random.Random(args.seed)
    parts = regions(data)
    for region in parts:
        for place in places(region, args.samples, rng):
            flipped = bytearray(data)
            flipped[place] ^= 1 << rng.randrange(8)
            checker.damaged(f"{region.name}, byte {place}", flipped, region.codes, bulk=region.name == "weights")
    cuts = {0, 1, 8, 12, len(data) // 2, len(data) - 1} | {r.start for r in parts} | {r.end - 1 for r in parts}
    for cut in sorted(cuts):
        # Too little for the magic is not known to be a plan.
        checker.damaged(f"cut to {cut} bytes", data[:cut], (INTEGRITY,) if cut >= 8 else (3, INTEGRITY))
    for tail in (b"\0", b"x" * 4096):
        checker.damaged(f"{len(tail)} bytes appended", data + tail, (INTEGRITY,))
    return len(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", type=pathlib.Path, help="plans, or models to compile (default: two of testdata)")
    parser.add_argument("--planc", default=str(ROOT / "target/release/planc"), help="the binary to test")
    parser.add_argument("--samples", type=int, default=12, help="places per region (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the places (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    args = parser.parse_args()
    planc = pathlib.Path(args.planc).resolve()
    if not planc.is_file():
        parser.error(f"no binary at {planc}: cargo build --release")
    subjects = args.subjects or [ROOT / "testdata/models" / name / "model.onnx" for name in ("convnet", "transformer")]
    with tempfile.TemporaryDirectory(prefix="flip-bytes-") as folder:
        scratch = pathlib.Path(folder)
        checker = Checker(str(planc), scratch)
        for subject in subjects:
            plan = subject
            if subject.suffix == ".onnx":
                plan = scratch / "whole.plan"
                ended = process.run([str(planc), "compile", str(subject), "-o", str(plan)], LIMIT_S)
                if not ended.ok or not plan.exists():
                    checker.failures.append(f"{subject}: {ended.reason()}")
                    print(f"FAIL {checker.failures[-1]}")
                    continue
            count = check(plan, args, checker)
            if not args.json:
                print(f"{subject}: {count} regions, {plan.stat().st_size} bytes", flush=True)
    failed = len(checker.failures)
    if args.json:
        print(json.dumps({"schema_version": 1, "passed": checker.passed, "failed": failed, "failures": checker.failures}))
    else:
        print(f"{checker.passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
