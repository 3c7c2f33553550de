#!/usr/bin/env python3
"""Runs planc over the malformed models of testdata/malformed and checks that it survives them.

No case may crash, panic, hang, or use more memory than its limit; a rejection has to exit with the code of its class and
say where the fault is. The meaning of expected.json is in testdata/malformed/README.md. Standard library only.
"""

import argparse
import json
import pathlib
import re
import sys
import tempfile

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Exit codes of a rejection: input invalid, unsupported, does not fit this machine, resource limit.
REJECTED = {3, 4, 5, 7}
MAX_MESSAGE_BYTES = 64 << 10
# The reader's tables and thread stacks may be mapped without being touched, hence more address space than memory.
ADDRESS_FACTOR = 4


def message_fault(ended, model):
    """What is wrong with the message of a rejection, or None."""
    head = re.search(r"^error\[E\d{4}\]: (.+)", ended.stderr, re.MULTILINE)
    if head is None:
        return "no line `error[E....]: ...` on stderr"
    if len(ended.stderr.encode()) > MAX_MESSAGE_BYTES:
        return f"a message of {len(ended.stderr)} characters"
    located = re.search(r'["\'`]|\b(node|input|output|initializer|tensor|graph|function|opset|byte|offset|field)\b', ended.stderr)
    if not located and str(model) not in ended.stderr:
        return f"the message does not say where: {head.group(1)[:80]}"
    return None


def survival_fault(ended, limit_mb):
    """A crash, panic, hang or memory bomb, or None."""
    if ended.timed_out or ended.code is None:
        return ended.verdict()
    if ended.code in (70, 101) or "panicked at" in ended.stderr:
        return f"internal error, {ended.reason()}"
    if ended.peak_mib > limit_mb:
        return f"peak memory {ended.peak_mib:.0f} MiB"
    return None


def check(case_dir, rule, planc, scratch):
    """Returns (fault or None, what happened, seconds, peak MiB)."""
    model, plan, outputs = case_dir / "model.onnx", scratch / "out.plan", scratch / "outputs"
    limit_s, limit_mb = rule.get("limit_s", 10), rule.get("limit_mb", 2048)
    commands = {"compile": [planc, "compile", str(model), "-o", str(plan)]}
    if rule.get("run", True):
        commands["run"] = [planc, "run", str(plan), "--inputs", str(case_dir / "inputs"), "--outputs", str(outputs)]
    seconds = peak = 0.0
    rejected = None
    for phase, command in commands.items():
        ended = process.run(command, limit_s, address_mib=ADDRESS_FACTOR * limit_mb, cwd=scratch)
        seconds, peak = seconds + ended.seconds, max(peak, ended.peak_mib)
        what = f"{phase}: {ended.reason()}"
        fault = survival_fault(ended, limit_mb)
        if fault:
            return f"{phase}: {fault}", what, seconds, peak
        secret = bytes.fromhex(rule.get("secret", ""))
        written = [f.read_bytes() for f in (plan, *outputs.glob("*")) if f.is_file()]
        if secret and any(secret in data for data in (*written, ended.stdout)):
            return f"{phase}: leaks a file outside the model's folder", what, seconds, peak
        if not ended.ok:
            if ended.code not in REJECTED:
                return f"{phase}: exit {ended.code} is not a rejection of the input", what, seconds, peak
            fault = message_fault(ended, model)
            if fault:
                return f"{phase}: {fault}", what, seconds, peak
            rejected = phase
            break
    expect = rule["expect"]
    if expect == "accept" and rejected:
        return "should be accepted", what, seconds, peak
    if expect == "reject" and not rejected:
        return "should be rejected", what, seconds, peak
    if expect == "reject" and rule["phase"] == "compile" and rejected == "run":
        return "should be rejected when compiled", what, seconds, peak
    return None, what if rejected else "accepted", seconds, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="names of cases (default: all)")
    parser.add_argument("--planc", default=str(ROOT / "target/release/planc"), help="the binary to test")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "testdata/malformed", help="folder of the cases")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("-v", "--verbose", action="store_true", help="list passing cases with their messages too")
    args = parser.parse_args()

    rules = json.loads((args.data / "expected.json").read_text())
    unknown = set(args.cases) - set(rules)
    if unknown:
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    planc = pathlib.Path(args.planc).resolve()
    if not planc.is_file():
        parser.error(f"no binary at {planc}: cargo build --release")
    rows = []
    for name in args.cases or rules:
        with tempfile.TemporaryDirectory(prefix="malformed-") as scratch:
            fault, what, seconds, peak = check((args.data / name).resolve(), rules[name], str(planc), pathlib.Path(scratch))
        rows.append({"case": name, "expect": rules[name]["expect"], "passed": fault is None, "fault": fault, "what": what,
                     "seconds": round(seconds, 3), "peak_mib": round(peak, 1)})
        if not args.json and (fault or args.verbose):
            status = "FAIL" if fault else "ok"
            print(f"{status:4} {name:34} {rules[name]['expect']:6} {seconds:6.2f} s {peak:7.1f} MiB  {fault or what}")
            if fault and what not in fault:
                print(f"     {what}")
            sys.stdout.flush()
    failed = sum(not row["passed"] for row in rows)
    if args.json:
        print(json.dumps({"schema_version": 1, "passed": len(rows) - failed, "failed": failed, "cases": rows}))
    else:
        print(f"slowest {max(r['seconds'] for r in rows):.2f} s, largest {max(r['peak_mib'] for r in rows):.0f} MiB")
        print(f"{len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
