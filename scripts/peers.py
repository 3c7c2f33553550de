#!/usr/bin/env python3
"""Measures planc beside onnxruntime and openvino on the zoo, and prints the comparison as a table.

Every sample is a process of its own that loads the model, warms up, and times some inferences; the peers take turns, in an order
that rotates from round to round, so that whatever else the machine does meets all of them. With one thread a sample is the
median processor time, which other processes disturb least. With more it is the median wall time, and only samples count during which
others used less than 12 % of the machine; rounds are added until there are enough of them. All compute in f32.

A ratio is planc's time over that of the better peer, the median over the rounds: below 1 planc is faster. Run it with the Python of
scripts/setup.sh after `pip install -r scripts/requirements-peers.txt`; prints Markdown, and exits with 1 where something failed.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "zoo"))

import make_zoo

CASES = HERE / "zoo" / "cases.json"
PLANC, PEERS = "planc", ("onnxruntime", "openvino")
# The share of the machine that other processes may use during a quiet sample.
QUIET = 0.12
# Quiet samples of each peer that a result with several threads needs.
ENOUGH = 5
WARMUP = 2
MOST_INFERENCES = 400
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


class Failed(Exception):
    """A peer did not run a model."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Medians of one process, in milliseconds per inference, and what others used of the machine meanwhile."""

    wall: float
    cpu: float
    foreign: float

    @property
    def quiet(self):
        return self.foreign < QUIET

    def time(self, threads):
        return self.cpu if threads == 1 else self.wall


@dataclasses.dataclass(frozen=True)
class Result:
    """A case with a number of threads: milliseconds by peer, which is the best of the others, planc's ratio to it, and on how many
    rounds that is based."""

    case: str
    threads: int
    times: dict
    better: str
    ratio: float
    rounds: int


def machine_time():
    """Busy and total processor seconds of the machine so far."""
    fields = [int(v) for v in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) / ticks, sum(fields) / ticks


def own_time():
    """Processor seconds of this process and of the children that it waited for."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def foreign_share(before, after):
    """What other processes used between two readings of (busy, total, own)."""
    busy, total, own = (b - a for a, b in zip(before, after))
    return max(0.0, busy - own) / max(total, 1e-3)


def sample(command):
    """Runs one process that prints `wall_ms.samples` and `cpu_ms.samples` as JSON."""
    before = (*machine_time(), own_time())
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    after = (*machine_time(), own_time())
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:300])
    said = json.loads(done.stdout.strip().splitlines()[-1])
    wall, cpu = (statistics.median(said[key]["samples"]) for key in ("wall_ms", "cpu_ms"))
    return Sample(wall, cpu, foreign_share(before, after))


def rotated(names, by):
    """The names in an order that puts each of them first once in as many rounds as there are names."""
    by %= len(names)
    return names[by:] + names[:by]


def measure(commands, threads, rounds, most_rounds, millis):
    """Samples by peer, as many of each; `commands` gives the command line of a peer for a number of inferences. A peer that does
    not run the model is left out, unless it is planc or none is left."""
    count, reasons = {}, []
    for name, command in commands.items():
        try:
            count[name] = max(1, min(MOST_INFERENCES, int(millis / max(sample(command(1)).wall, 1e-3))))
        except Failed as error:
            reasons.append(f"{name}: {error}")
    if PLANC not in count or len(count) < 2:
        raise Failed("; ".join(reasons))
    for reason in reasons:
        print(f"left out: {reason}", file=sys.stderr, flush=True)
    taken = {name: [] for name in count}
    for done in range(most_rounds):
        for name in rotated(list(count), done):
            taken[name].append(sample(commands[name](count[name])))
        enough = threads == 1 or all(sum(s.quiet for s in samples) >= ENOUGH for samples in taken.values())
        if done + 1 >= rounds and enough:
            break
    return taken


def evaluate(case, threads, taken):
    """The result of the samples of a case. Where none is quiet all of them count, and `rounds` is 0."""
    def good(s):
        return threads == 1 or s.quiet

    times = {name: statistics.median(s.time(threads) for s in (list(filter(good, samples)) or samples)) for name, samples in taken.items()}
    better = min((name for name in times if name != PLANC), key=times.get)
    pairs = list(zip(taken[PLANC], taken[better]))
    clean = [pair for pair in pairs if all(map(good, pair))]
    ratio = statistics.median(ours.time(threads) / theirs.time(threads) for ours, theirs in clean or pairs)
    return Result(case, threads, times, better, ratio, len(clean))


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def table(results, versions, cpu):
    """The results as Markdown: a table for each number of threads, and what it comes to."""
    text = [f"{cpu}; {', '.join(f'{name} {version}' for name, version in versions.items())}. Milliseconds per inference; the ratio is "
            "planc's time over the better peer's, below 1 planc is faster."]
    for threads in sorted({r.threads for r in results}):
        rows = [r for r in results if r.threads == threads]
        what = "1 thread, processor time" if threads == 1 else f"{threads} threads, wall time"
        text += ["", f"| {what} | {' | '.join((PLANC, *PEERS))} | ratio |", "|---|" + "---:|" * (len(PEERS) + 2)]
        for r in rows:
            cells = [f"{r.times[name]:.2f}" if name in r.times else "-" for name in (PLANC, *PEERS)]
            noisy = "" if r.rounds else " (noisy)"
            text.append(f"| {r.case} | {' | '.join(cells)} | {r.ratio:.2f}{noisy} |")
        worst = max(rows, key=lambda r: r.ratio)
        text += ["", f"Geometric mean {geometric_mean([r.ratio for r in rows]):.2f}, worst {worst.ratio:.2f} ({worst.case})."]
    return "\n".join(text) + "\n"


def replaced(page, text):
    """The page with `text` between the markers."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs the lines {BEGIN} and {END} once, in this order")
    return f"{page[:page.index(BEGIN)]}{BEGIN}\n{text}{page[page.index(END):]}"


def cpu_name():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} processors"


def prepare(case, models, folder):
    """The model of a case, and its inputs as files that all peers read."""
    import numpy as np

    model = make_zoo.ensure(case["model"], models)
    inputs = {name: make_zoo.draw_input(case["model"], name, recipe) for name, recipe in case["inputs"].items()}
    np.savez(folder / "inputs.npz", **inputs)
    return model, {name: list(value.shape) for name, value in inputs.items()}


def commands(args, case, model, shapes, folder, threads):
    """The command lines by peer, each a function of the number of inferences."""
    plan, inputs = folder / "model.plan", folder / "inputs.npz"
    if not plan.exists():
        flags = [flag for name, shape in shapes.items() for flag in ("--shape", f"{name}={'x'.join(map(str, shape)) or 'scalar'}")]
        done = subprocess.run([args.planc, "compile", model, "-o", plan, *flags, *args.planc_args.split()], capture_output=True, text=True)
        if done.returncode:
            raise Failed(done.stderr.strip()[-300:])
    made = {PLANC: lambda n: [str(args.planc), "bench", str(plan), "--inputs", str(inputs), "--threads", str(threads),
                              "--iterations", str(n), "--warmup", str(WARMUP), "--json"]}
    for peer in PEERS:
        dynamic = str(int(case.get("detections", False)))
        made[peer] = lambda n, peer=peer: [sys.executable, __file__, "--worker", peer, str(model), str(inputs), str(threads), str(n), dynamic]
    return made


def onnxruntime_runner(model, inputs, threads, dynamic):
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    for value in onnx.load(model, load_external_data=False).graph.input:
        for dim, extent in zip(value.type.tensor_type.shape.dim, inputs[value.name].shape if value.name in inputs else ()):
            if dim.HasField("dim_param"):
                options.add_free_dimension_override_by_name(dim.dim_param, extent)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    taken = {i.name: inputs[i.name] for i in session.get_inputs()}
    outputs = session.run(None, taken)
    if dynamic or any(o.size == 0 for o in outputs):
        return lambda: session.run(None, taken)
    # Bound once, so that nothing is copied or allocated in a run.
    binding, kept = session.io_binding(), []
    for name, value in taken.items():
        kept.append(ort.OrtValue.ortvalue_from_numpy(value))
        binding.bind_ortvalue_input(name, kept[-1])
    for output, value in zip(session.get_outputs(), outputs):
        kept.append(ort.OrtValue.ortvalue_from_numpy(value))
        binding.bind_ortvalue_output(output.name, kept[-1])
    return lambda kept=kept: session.run_with_iobinding(binding)


def openvino_runner(model, inputs, threads, dynamic):
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    names = {name for port in network.inputs for name in port.get_names()}
    network.reshape({name: list(value.shape) for name, value in inputs.items() if name in names})
    compiled = core.compile_model(network, "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",
    })
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        name = next(name for name in inputs if name in port.get_names())
        request.set_tensor(port, ov.Tensor(inputs[name], shared_memory=True))
    return request.infer


def worker(peer, model, inputs, threads, count, dynamic):
    """Times `count` inferences of a peer and prints them as `planc bench --json` does."""
    import numpy as np

    with np.load(inputs) as archive:
        given = {name: archive[name] for name in archive.files}
    make = {"onnxruntime": onnxruntime_runner, "openvino": openvino_runner}[peer]
    run = make(model, given, int(threads), dynamic == "1")
    for _ in range(WARMUP):
        run()
    wall, cpu = [], []
    for _ in range(int(count)):
        busy, started = time.process_time(), time.perf_counter()
        run()
        wall.append((time.perf_counter() - started) * 1e3)
        cpu.append((time.process_time() - busy) * 1e3)
    print(json.dumps({"wall_ms": {"samples": wall}, "cpu_ms": {"samples": cpu}}))


def versions(planc):
    from importlib import metadata

    said = subprocess.run([planc, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return {PLANC: said[-1], **{name: metadata.version(name) for name in PEERS}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", help="cases of zoo/cases.json, separated by commas (default: all)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each peer")
    parser.add_argument("--most-rounds", type=int, default=25, help="samples of each peer where few are quiet")
    parser.add_argument("--ms", type=float, default=300, help="milliseconds of inferences in a sample")
    parser.add_argument("--models", type=pathlib.Path, default=make_zoo.CACHE, help="folder of the models")
    parser.add_argument("--planc", type=pathlib.Path, default=HERE.parent / "target/release/planc", help="release binary")
    parser.add_argument("--planc-args", default="", help="more flags of planc compile")
    parser.add_argument("--json", type=pathlib.Path, help="write all samples to this file")
    parser.add_argument("--write", type=pathlib.Path, help="put the table between the markers of this page")
    args = parser.parse_args()
    cases = json.loads(CASES.read_text())
    chosen = args.cases.split(",") if args.cases else list(cases)
    if unknown := sorted(set(chosen) - set(cases)):
        parser.error(f"unknown cases: {', '.join(unknown)}")
    if args.write:
        # Before hours of measuring.
        replaced(args.write.read_text(), "")
    about = versions(args.planc)
    results, everything, failed = [], [], 0
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            try:
                model, shapes = prepare(cases[name], args.models, folder)
                for threads in map(int, args.threads.split(",")):
                    taken = measure(commands(args, cases[name], model, shapes, folder, threads), threads, args.rounds,
                                    max(args.rounds, args.most_rounds), args.ms)
                    results.append(evaluate(name, threads, taken))
                    samples = {peer: [dataclasses.asdict(s) for s in all_of] for peer, all_of in taken.items()}
                    everything.append({**dataclasses.asdict(results[-1]), "samples": samples})
                    print(f"{name} with {threads}: {results[-1].ratio:.3f} of {results[-1].better}", file=sys.stderr, flush=True)
            except Failed as error:
                failed += 1
                print(f"FAILED {name}: {error}", file=sys.stderr, flush=True)
        if args.json:
            args.json.write_text(json.dumps({"cpu": cpu_name(), "versions": about, "results": everything}, indent=1) + "\n")
    if results:
        text = table(results, about, cpu_name())
        print(text, end="")
        if args.write and not failed:
            args.write.write_text(replaced(args.write.read_text(), text))
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(worker(*sys.argv[2:]))
    sys.exit(main())
