"""Runs planc on a model and says whether its outputs are those of the oracle.

Element types, extents, integers, booleans and the places of NaN and infinity have to be equal. Floats may differ by the bound of
their type, relative to the largest magnitude of the output. Where one element is further away, the model is evaluated again
with every inexact operator moved by a unit in the last place (`oracle.spread`): what moves as far by that is ill conditioned.
"""

import dataclasses
import shutil

import numpy as np
import onnx
from onnx import numpy_helper

import oracle
import process

LIMIT_S = 20
ADDRESS_MIB = 8192
# Relative to the largest magnitude of the output. Half precision: two units in the last place, as onnxruntime rounds where it likes.
BOUNDS = {"float32": 1e-5, "float64": 1e-12, "float16": 2.0**-9, "bfloat16": 2.0**-6}
# How many times the spread under noise a difference may be: both sides are wrong, and some rounds do not find the worst.
SPREADS = 4
# Rounds of noise, the second number only where the first explains too little: whether an integer moves is a matter of chance.
ROUNDS = (8, 64)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """`verdict`: equal, differs, refused, crash, timeout. `fault` says what is wrong; `output` is the first that differs; `noise` tells
    that it took the spread under noise to call the outputs equal."""

    verdict: str
    fault: str = ""
    output: int | None = None
    noise: bool = False


def planc_run(planc, flags, model, inputs, scratch):
    """How planc ended, and the folder of its outputs where it did its work. With `--plan` among the flags it compiles to a file and
    runs that."""
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "inputs").mkdir(parents=True)
    subject, flags = scratch / "model.onnx", list(flags)
    subject.write_bytes(model.SerializeToString())
    constants = {i.name for i in model.graph.initializer}
    for k, info in enumerate(i for i in model.graph.input if i.name not in constants):
        tensor = numpy_helper.from_array(inputs[info.name], info.name)
        (scratch / "inputs" / f"input_{k}.pb").write_bytes(tensor.SerializeToString())
    if "--plan" in flags:
        flags.remove("--plan")
        level = [f for f in flags if f.startswith("-O")]
        flags = [f for f in flags if f not in level]
        model, subject = subject, scratch / "model.plan"
        ended = process.run([planc, "compile", str(model), "-o", str(subject), *level], LIMIT_S, address_mib=ADDRESS_MIB)
        if not ended.ok:
            return ended, None
    folders = ["--inputs", str(scratch / "inputs"), "--outputs", str(scratch / "out")]
    return process.run([planc, "run", str(subject), *folders, *flags], LIMIT_S, address_mib=ADDRESS_MIB), scratch / "out"


def excess(got, want):
    """For each element, whether it differs by more than the bound."""
    if want.dtype.kind not in "fV" or want.dtype.name not in BOUNDS:
        return got != want
    with np.errstate(all="ignore"):
        a, b = got.astype(np.float64), want.astype(np.float64)
        finite = np.isfinite(b)
        scale = np.max(np.abs(b), where=finite, initial=0)
        near = np.abs(a - b) <= BOUNDS[want.dtype.name] * scale
    return ~((a == b) | (np.isnan(a) & np.isnan(b)) | (finite & np.isfinite(a) & near))


def unexplained(got, want, wrong, spread):
    """Which of the wrong elements move too little under noise to be that far away."""
    if spread is None:
        return wrong
    if want.dtype.kind not in "fV":
        return wrong & ~np.isinf(spread)
    with np.errstate(all="ignore"):
        distance = np.abs(got.astype(np.float64) - want.astype(np.float64))
        return wrong & ~((distance <= SPREADS * spread) | np.isinf(spread))


def fault(got, want, spread_of):
    """Why `got` is not `want`, or None; `spread_of(rounds)` gives how far each element moves in some rounds of noise."""
    if got.dtype != want.dtype:
        return f"dtype {got.dtype}, expected {want.dtype}"
    if got.shape != want.shape:
        spread = spread_of(ROUNDS[0])
        if spread is not None and want.size and np.isinf(spread).all():
            return None
        return f"shape {list(got.shape)}, expected {list(want.shape)}"
    wrong = excess(got, want)
    for rounds in ROUNDS:
        if not np.any(wrong):
            return None
        wrong = unexplained(got, want, wrong, spread_of(rounds))
    if not np.any(wrong):
        return None
    at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return f"{np.count_nonzero(wrong)} of {wrong.size} elements differ, the first at {[int(i) for i in at]}: {got[at]!r}, " \
        f"expected {want[at]!r}"


def compare(planc, flags, model, inputs, wanted, scratch):
    """The outcome of one model."""
    ended, out = planc_run(planc, flags, model, inputs, scratch)
    if ended.timed_out:
        return Outcome("timeout", ended.verdict())
    if ended.code is None or ended.code >= 70 or "panicked" in ended.stderr:
        return Outcome("crash", ended.reason())
    if not ended.ok:
        return Outcome("refused", ended.reason())
    spreads = {}

    def spread_of(k, rounds):
        if rounds not in spreads:
            spreads[rounds] = oracle.spread(model, inputs, wanted, rounds)
        return spreads[rounds][k] if spreads[rounds] is not None else None

    for k, want in enumerate(wanted):
        got = numpy_helper.to_array(onnx.load_tensor(str(out / f"output_{k}.pb")))
        why = fault(got, want, lambda rounds: spread_of(k, rounds))
        if why:
            return Outcome("differs", f"{model.graph.output[k].name}: {why}", k)
    return Outcome("equal", noise=bool(spreads))
