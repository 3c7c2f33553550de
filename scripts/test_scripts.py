"""Tests of the test scripts: that they can fail, and for the right reason. Run: python -m unittest discover -s scripts"""

import pathlib
import signal
import sys
import tempfile
import unittest

import numpy as np
import onnx

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "conformance"), str(HERE / "differential")]

import builder
import check_licences
import comparison
import elementwise
import equivalence
import flip_bytes
import gpu
import hot_loops
import known
import malformed
import oracle
import peers
import process
import reduction
import run as conformance
import suites


def python(code, limit_s=20, **limits):
    return process.run([sys.executable, "-c", code], limit_s, **limits)


class Process(unittest.TestCase):
    def test_the_exit_code_and_both_streams_are_kept(self):
        ended = python("import sys; print('data'); print('error[E0001]: talk', file=sys.stderr); sys.exit(3)")
        self.assertEqual((ended.code, ended.stdout), (3, b"data\n"))
        self.assertEqual(ended.reason(), "exit 3: error[E0001]: talk")

    def test_a_hang_is_killed_with_its_children(self):
        ended = python("import subprocess; subprocess.run(['sleep', '60'])", limit_s=0.5)
        self.assertTrue(ended.timed_out)
        self.assertLess(ended.seconds, 10)

    def test_a_crash_is_a_signal_and_no_timeout(self):
        ended = python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        self.assertEqual((ended.code, ended.signal, ended.timed_out), (None, signal.SIGSEGV.name, False))

    def test_memory_is_measured_and_limited(self):
        self.assertGreater(python("x = bytearray(b'x') * (300 << 20)").peak_mib, 300)
        self.assertNotEqual(python("x = bytearray(b'x') * (600 << 20)", address_mib=500).code, 0)


class Malformed(unittest.TestCase):
    def ended(self, stderr, code=3, peak=10.0):
        return process.Ended(code, "" if code is not None else "SIGSEGV", False, 0.1, peak, b"", stderr)

    def test_a_located_message_is_accepted(self):
        message = 'error[E0412]: node "conv1" (Conv, opset 17): strides has a zero\n'
        self.assertIsNone(malformed.message_fault(self.ended(message), "m.onnx"))

    def test_messages_without_code_or_place_are_refused(self):
        for message in ("", "oh no\n", "error: bad\n", "error[E0412]: that is wrong\n"):
            self.assertIsNotNone(malformed.message_fault(self.ended(message), "m.onnx"), message)

    def test_crash_panic_and_memory_are_faults(self):
        self.assertIsNone(malformed.survival_fault(self.ended(""), 100))
        for ended in (self.ended("", None), self.ended("", 101), self.ended("thread 'main' panicked at x"), self.ended("", 70),
                      self.ended("", 3, 101.0)):
            self.assertIsNotNone(malformed.survival_fault(ended, 100))


class FlipBytes(unittest.TestCase):
    def plan(self):
        sections = [(1, 0, 192, 100), (6, 0, 4096, 10)]
        table = b"".join(flip_bytes.ENTRY.pack(kind, i, offset, size, 64, 0, bytes(32)) for kind, i, offset, size in sections)
        head = flip_bytes.HEADER.pack(b"PLANC\0\r\n", 1, 2, 4106, 0, bytes(32))
        return (head + table).ljust(4106, b"\0")

    def test_regions_cover_every_byte_once(self):
        parts = flip_bytes.regions(self.plan())
        self.assertEqual([p.name for p in parts],
                         ["magic", "version", "header", "table", "manifest", "padding before weights", "weights"])
        self.assertEqual([p.start for p in parts], [0] + [p.end for p in parts[:-1]])
        self.assertEqual(parts[-1].end, 4106)

    def test_another_file_is_refused(self):
        with self.assertRaises(ValueError):
            flip_bytes.regions(self.plan() + b"x")


class Gpu(unittest.TestCase):
    OUTPUT = "test maps::casts ... ok\n---- maps::casts stdout ----\nmap on interpreter: 0.0e0\nmap on NVIDIA H200: 2.5e-1\n" \
             "map on NVIDIA H200: 1.0e-2\ngemm_mma on NVIDIA H200: 3.1e-1\nkernels run in the interpreter alone: no driver\n"

    def test_rows_hold_the_worst_case_of_each_kernel_on_a_device(self):
        rows = gpu.kernel_rows(self.OUTPUT, lambda device: device != gpu.INTERPRETER)
        self.assertEqual(rows, [["gemm_mma", "1", "3.1e-01"], ["map", "2", "2.5e-01"]])

    def ran(self, output, code):
        program = f"import sys; sys.stdout.write({output!r}); sys.exit({code})"
        return gpu.check_kernels([sys.executable, "-c", program], lambda device: device == gpu.INTERPRETER)

    def test_failures_are_told_by_the_name_of_the_test(self):
        self.assertEqual(self.ran(self.OUTPUT, 0), ([["map", "1", "0.0e+00"]], []))
        failed = self.OUTPUT + "\nfailures:\n\n---- rows::softmax stdout ----\n\nfailures:\n    rows::softmax\n\ntest result: FAILED.\n"
        self.assertEqual(self.ran(failed, 101)[1], ["rows::softmax"])
        self.assertEqual(self.ran("", 0)[1], ["the tests of kernels ran nowhere"])
        self.assertEqual(self.ran("", 101)[1], ["the tests of kernels: exit 101"])


class Licences(unittest.TestCase):
    def test_expressions(self):
        accepted = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"}
        for expression in ("MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR MIT) AND Unicode-3.0",
                           "Apache-2.0 WITH LLVM-exception"):
            self.assertTrue(check_licences.allowed(expression, accepted), expression)
        for expression in ("GPL-3.0", "MIT AND GPL-3.0", "MIT WITH LLVM-exception", "GPL-3.0 OR MIT AND ISC"):
            self.assertFalse(check_licences.allowed(expression, accepted), expression)
        for expression in ("", "MIT OR", "(MIT", "MIT MIT"):
            with self.assertRaises(ValueError, msg=expression):
                check_licences.allowed(expression, accepted)


class Comparison(unittest.TestCase):
    plain = equivalence.Case("plain", lambda rounds: None)
    quantised = equivalence.Case("quantised", lambda rounds: None, quantised=True, decision="argmax")

    def compare(self, got, want, case=plain, spread=0.0):
        return equivalence.compare_output(case, 1e-3, np.asarray(got), np.asarray(want), spread)

    def test_the_error_is_relative_to_the_largest_magnitude(self):
        want = np.array([0.0, -100.0, 1.0], np.float32)
        result = self.compare(want + np.float32(0.05), want)
        self.assertTrue(result["passed"])
        self.assertAlmostEqual(result["error"], 5e-4, places=6)
        self.assertFalse(self.compare(want + np.float32(0.2), want)["passed"])

    def test_dtype_shape_and_integers_have_to_agree(self):
        self.assertFalse(self.compare(np.zeros(3, np.float32), np.zeros(3, np.float64))["passed"])
        self.assertFalse(self.compare(np.zeros((1, 3), np.float32), np.zeros(3, np.float32))["passed"])
        self.assertFalse(self.compare([1, 2, 3], [1, 2, 4])["passed"])
        self.assertTrue(self.compare([1, 2, 3], [1, 2, 3])["passed"])

    def test_nan_and_infinity_keep_their_places(self):
        want = np.array([1.0, np.nan, np.inf], np.float32)
        self.assertTrue(self.compare(want, want)["passed"])
        for got in ([1.0, 0.0, np.inf], [1.0, np.nan, -np.inf], [np.nan, np.nan, np.inf]):
            self.assertFalse(self.compare(np.array(got, np.float32), want)["passed"])

    def test_zeros_and_empty_outputs(self):
        self.assertTrue(self.compare(np.zeros(3, np.float32), np.zeros(3, np.float32))["passed"])
        self.assertFalse(self.compare(np.array([0, 1e-9, 0], np.float32), np.zeros(3, np.float32))["passed"])
        self.assertTrue(self.compare(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32))["passed"])

    def test_quantised_outputs_may_be_one_step_off_but_decide_the_same(self):
        want = np.array([0.0, 200.0, 254.5, 255.0], np.float32)
        self.assertTrue(self.compare(want - np.float32(0.9), want, self.quantised)["passed"])
        self.assertFalse(self.compare(want - np.float32(1.5), want, self.quantised)["passed"])
        self.assertTrue(self.compare(want - np.float32(1.5), want, self.quantised, spread=1.1)["passed"])
        self.assertFalse(self.compare(want - np.float32(2.5), want, self.quantised, spread=1.1)["passed"])
        swapped = want[[0, 1, 3, 2]]
        self.assertIn("decisions", self.compare(swapped, want, self.quantised)["fault"])

    def test_detections_are_paired_but_scores_stay_in_place(self):
        want = [np.array([[0, 0, 1, 1], [5, 5, 9, 9.0]]), np.array([0.5, 0.4999]), np.array([3, 4])]
        got = equivalence.pair_rows([o[::-1] for o in want], want)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[2], want[2])
        np.testing.assert_array_equal(got[1], want[1][::-1])

    def test_streams_depend_on_the_key_alone(self):
        draw = [equivalence.seeded("a", 1).random(), equivalence.seeded("a", 1).random(), equivalence.seeded("a", 2).random()]
        self.assertEqual(draw[0], draw[1])
        self.assertNotEqual(draw[0], draw[2])


class Conformance(unittest.TestCase):
    def compare(self, got, want, rtol=1e-3, atol=1e-7, random=False):
        case = suites.Case("x", pathlib.Path(), [], rtol, atol, [], random, None, False)
        return conformance.difference(np.asarray(got), np.asarray(want), case)

    def test_numbers_are_held_to_the_tolerances_of_their_case(self):
        want = np.array([1.0, np.nan, np.inf, 0.0], np.float32)
        self.assertIsNone(self.compare(want + np.float32(5e-8), want))
        self.assertIn("2 of 4", self.compare(np.array([1.1, 0.0, np.inf, 0.0], np.float32), want))
        self.assertIsNone(self.compare(np.array([1, 2]), np.array([1, 2])))
        self.assertIn("expected", self.compare(np.array([1, 2**60 + 1]), np.array([1, 2**60])))

    def test_types_and_shapes_count_even_where_values_are_random(self):
        self.assertIsNone(self.compare(np.zeros(3), np.ones(3), random=True))
        self.assertIsNotNone(self.compare(np.zeros(3), np.ones(3, np.float32), random=True))
        self.assertIsNotNone(self.compare(np.zeros((1, 3)), np.zeros(3), random=True))

    def test_sequences_and_optionals_are_compared_inside(self):
        case = suites.Case("x", pathlib.Path(), [], 0, 0, [], False, None, False)
        a, b = np.zeros(2), np.ones(2)
        self.assertIsNone(conformance.difference([a, b], [a, b], case))
        self.assertIn("element 1", conformance.difference([a, a], [a, b], case))
        self.assertIsNotNone(conformance.difference([a], [a, b], case))
        self.assertIsNotNone(conformance.difference(None, a, case))
        self.assertIsNone(conformance.difference(None, None, case))

    def test_both_directions_of_the_expectations_fail(self):
        self.assertIsNone(conformance.fault("pass", "", "pass"))
        self.assertIsNone(conformance.fault("unsupported", "no X", "unsupported"))
        for verdict, expected in (("pass", "mismatch"), ("mismatch", "pass"), ("crash", "unsupported")):
            self.assertIsNotNone(conformance.fault(verdict, "", expected))

    def test_the_newest_suite_that_passes_is_followed(self):
        results = {"onnx-1.9.0/node/a": ("mismatch", "x"), "onnx-1.10.2/node/a": ("pass", ""),
                   "onnx-1.21.0/node/a": ("mismatch", "x"), "onnx-1.9.0/node/b": ("mismatch", "x")}
        self.assertEqual(conformance.remark("onnx-1.9.0/node/a", results), " (planc follows onnx-1.10.2)")
        self.assertEqual(conformance.remark("onnx-1.21.0/node/a", results), "")
        self.assertEqual(conformance.remark("onnx-1.9.0/node/b", results), "")
        self.assertIn("out of scope", conformance.remark("onnx-1.9.0/simple/test_gradient_x", results))

    def test_expansions_count_for_their_operator(self):
        case = lambda name, op: suites.Case(name, pathlib.Path(), [], 0, 0, [], False, op, True)
        cases = [case("a", "Relu"), case("b", "Relu"), case("c", None), case("d", "x::Y")]
        results = {"a": ("pass", ""), "b": ("mismatch", ""), "c": ("pass", ""), "d": ("pass", "")}
        self.assertEqual(conformance.counts_text(cases, results).splitlines()[1:], ["Relu 1 2", "x::Y 1 1"])
        node = onnx.helper.make_node("Relu", ["x"], ["y"])
        value = lambda name, kind: onnx.helper.make_tensor_value_info(name, kind, [1])
        model = lambda kind, opset: onnx.helper.make_model(
            onnx.helper.make_graph([node], "g", [value("x", kind)], [value("y", kind)]),
            opset_imports=[onnx.helper.make_opsetid("", opset)])
        self.assertEqual(suites.operator(model(1, 14), "test_relu", {}), "Relu")
        self.assertEqual(suites.operator(model(1, 14), "test_x_expanded_ver18", {"test_x": "X"}), "X")
        inside = [suites.in_slice(model(kind, opset)) for kind, opset in [(1, 7), (1, 6), (10, 24), (1, 25), (16, 14)]]
        self.assertEqual(inside, [True, False, True, False, False])

    def test_the_checked_in_expectations_are_well_formed(self):
        self.assertTrue(set(conformance.load_expectations().values()) <= set(conformance.LISTED))


class Peers(unittest.TestCase):
    def printing(self, wall, cpu, log=None):
        """A command line of a peer whose inferences take these milliseconds."""
        said = {"wall_ms": {"samples": wall}, "cpu_ms": {"samples": cpu}}
        note = f"open({str(log[0])!r}, 'a').write({log[1]!r} + ' ')" if log else ""
        return [sys.executable, "-c", f"{note}\nprint({peers.json.dumps(said)!r})"]

    def test_a_sample_is_the_median_of_a_process(self):
        got = peers.sample(self.printing([3.0, 1.0, 2.0], [30.0, 10.0, 20.0]))
        self.assertEqual((got.wall, got.cpu), (2.0, 20.0))
        with self.assertRaisesRegex(peers.Failed, "no such model"):
            peers.sample([sys.executable, "-c", "import sys; sys.exit('no such model')"])

    def test_what_others_use_is_what_is_not_ours(self):
        self.assertAlmostEqual(peers.foreign_share((100, 1000, 7), (112, 1020, 10)), 9 / 20)
        # The clocks differ in resolution.
        self.assertEqual(peers.foreign_share((100, 1000, 7), (101, 1020, 9)), 0.0)

    def test_peers_take_turns_in_rotated_order(self):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            names = {"planc": "p", "onnxruntime": "o", "openvino": "v"}
            commands = {name: lambda n, mark=mark: self.printing([1.0], [1.0], (log, f"{mark}{n}")) for name, mark in names.items()}
            taken = peers.measure(commands, 1, 4, 4, millis=5)
            self.assertEqual({name: len(samples) for name, samples in taken.items()}, dict.fromkeys(names, 4))
            # One inference each to size the samples, then as many as fit 5 ms.
            rounds = ["p1 o1 v1", "p5 o5 v5", "o5 v5 p5", "v5 p5 o5", "p5 o5 v5"]
            self.assertEqual(log.read_text().split(), " ".join(rounds).split())

    def test_a_peer_that_fails_is_left_out_and_planc_is_not(self):
        fails = lambda n: [sys.executable, "-c", "import sys; sys.exit('cannot')"]
        works = lambda n: self.printing([1.0], [1.0])
        with self.assertRaisesRegex(peers.Failed, "planc: cannot"):
            peers.measure({"planc": fails, "openvino": works}, 1, 1, 1, 1)
        with self.assertRaisesRegex(peers.Failed, "openvino: cannot"):
            peers.measure({"planc": works, "openvino": fails}, 1, 1, 1, 1)

    def samples(self, *triples):
        return [peers.Sample(wall, cpu, foreign) for wall, cpu, foreign in triples]

    def test_ratios_are_of_rounds_and_to_the_better_peer(self):
        taken = {"planc": self.samples((9, 4, 0.5), (9, 10, 0.5), (9, 6, 0.5)), "onnxruntime": self.samples(*[(9, 30, 0)] * 3),
                 "openvino": self.samples((9, 8, 0), (9, 8, 0), (9, 10, 0))}
        got = peers.evaluate("x", 1, taken)
        # Per round 0.5, 1.25 and 0.6.
        self.assertEqual((got.better, got.times["openvino"], got.ratio, got.rounds), ("openvino", 8, 0.6, 3))

    def test_with_threads_only_quiet_rounds_count(self):
        taken = {"planc": self.samples((50, 1, 0.3), (6, 1, 0.01), (6, 1, 0.01)),
                 "onnxruntime": self.samples((10, 1, 0.0), (90, 1, 0.2), (12, 1, 0.0))}
        got = peers.evaluate("x", 2, taken)
        self.assertEqual((got.times, got.ratio, got.rounds), ({"planc": 6, "onnxruntime": 11}, 0.5, 1))
        loud = {name: self.samples(*[(10, 1, 0.5)] * 3) for name in taken}
        self.assertEqual((peers.evaluate("x", 2, loud).ratio, peers.evaluate("x", 2, loud).rounds), (1.0, 0))

    def test_the_table_says_mean_and_worst_and_what_is_noisy(self):
        times = {"planc": 5.0, "onnxruntime": 10.0, "openvino": 20.0}
        results = [peers.Result("a", 1, times, "onnxruntime", 0.5, 9), peers.Result("b", 1, {"planc": 4, "openvino": 2}, "openvino", 2.0, 9),
                   peers.Result("a", 2, times, "onnxruntime", 0.5, 0)]
        text = peers.table(results, {"planc": "1", "openvino": "2"}, "a CPU, 2 processors")
        self.assertIn("| a | 5.00 | 10.00 | 20.00 | 0.50 |\n| b | 4.00 | - | 2.00 | 2.00 |", text)
        self.assertIn("Geometric mean 1.00, worst 2.00 (b).", text)
        self.assertIn("| 2 threads, wall time | planc | onnxruntime | openvino | ratio |", text)
        self.assertIn("0.50 (noisy) |", text)

    def test_a_page_is_written_between_the_markers(self):
        page = f"before\n{peers.BEGIN}\nold\n{peers.END}\nafter\n"
        self.assertEqual(peers.replaced(page, "new\n"), f"before\n{peers.BEGIN}\nnew\n{peers.END}\nafter\n")
        for wrong in ("", page + page, f"{peers.END}\n{peers.BEGIN}\n"):
            with self.assertRaises(ValueError):
                peers.replaced(wrong, "new")

    def test_the_readme_has_the_markers(self):
        peers.replaced((peers.HERE.parent / "README.md").read_text(), "new")


class HotLoops(unittest.TestCase):
    """Each disassembly is one function; addresses are those of jumps and products only where they matter."""

    def hot(self, *instructions):
        lines = ["0000000000001000 <shim>:"]
        lines += [f"    {0x1000 + 4 * i:x}:\t{text}" for i, text in enumerate(instructions)]
        [code] = hot_loops.functions(lines).values()
        return hot_loops.hot(code)

    def kinds(self, *instructions):
        return [[kind for kind, _ in loop.faults] for loop in self.hot(*instructions)]

    fma = "vfmadd231ps %zmm1,%zmm2,%zmm3"

    def test_a_loop_in_registers_is_fine(self):
        [loop] = self.hot("xor    %eax,%eax", "vmovups (%rdi,%rax,4),%zmm1", self.fma, "cmp    %rsi,%rax", "jne    1004 <shim+0x4>", "ret")
        self.assertEqual((loop.address, loop.product, loop.products, loop.size, loop.faults), (0x1004, 0x1008, 1, 4, ()))

    def test_spills_reloads_and_calls_are_told_apart(self):
        for fault, kind in (("vmovaps %zmm3,0x40(%rsp)", "spill"), ("vmulps 0x20(%rsp),%ymm1,%ymm2", "spill"),
                            ("mov    0x8(%rsp),%rcx", "reload"), ("add    (%rsp,%rax,8),%rcx", "reload"), ("call   2000 <memcpy>", "call"),
                            ("call   *%rax", "call")):
            self.assertEqual(self.kinds("nop", self.fma, fault, "jne    1004 <shim+0x4>", "ret"), [[kind]], fault)
        for fine in ("lea    0x40(%rsp),%rcx", "prefetcht0 (%rsp)", "mov    (%rdi),%rcx", "vmovups 0x40(%rdi),%zmm1"):
            self.assertEqual(self.kinds("nop", self.fma, fine, "jne    1004 <shim+0x4>", "ret"), [[]], fine)

    def test_the_frame_pointer_counts_where_it_is_one(self):
        body = ("push   %rbp", "mov    %rsp,%rbp", self.fma, "vmovaps %ymm3,-0x40(%rbp)", "jne    1008 <shim+0x8>", "ret")
        self.assertEqual(self.kinds(*body), [["spill"]])
        self.assertEqual(self.kinds("nop", *body[1:]), [["spill"]])
        self.assertEqual(self.kinds(body[0], "mov    %rdi,%rbp", *body[2:]), [[]])

    def test_only_innermost_loops_that_multiply_count(self):
        # The outer loop spills between two runs of the inner one; a loop that only moves is none of ours.
        outer = ("nop", "vmovaps %zmm3,(%rsp)", self.fma, "jne    1008 <shim+0x8>", "jne    1004 <shim+0x4>", "ret")
        self.assertEqual(self.kinds(*outer), [[]])
        self.assertEqual(self.kinds("nop", "vmovaps (%rsp),%zmm3", "jne    1004 <shim+0x4>", "ret"), [])
        self.assertEqual(self.kinds("nop", self.fma, "vmovaps (%rsp),%zmm3", "ret"), [])

    def test_two_ways_back_to_one_head_are_one_loop(self):
        body = ("nop", self.fma, "je     1004 <shim+0x4>", "vmovaps (%rsp),%zmm3", "jmp    1004 <shim+0x4>")
        self.assertEqual(self.kinds(*body), [["spill"]])

    def test_a_block_that_was_moved_behind_is_no_loop(self):
        # The function jumps to its last block, which jumps back into the middle, once.
        moved = ("je     1010 <shim+0x10>", self.fma, "vmovaps (%rsp),%zmm3", "ret", "nop", "jmp    1004 <shim+0x4>")
        self.assertEqual(self.kinds(*moved), [])

    def test_neighbours_are_disassembled_together(self):
        self.assertEqual(hot_loops.ranges([(0x5000000, 16), (0x1000, 16), (0x1020, 64)]), [[0x1000, 0x1060], [0x5000000, 0x5000010]])

    def test_both_directions_of_the_expectations_fail(self):
        [loop] = self.hot("nop", self.fma, "vmovaps (%rsp),%zmm3", "jne    1004 <shim+0x4>", "ret")
        found = [("avx2", "micro::Run<1,3,4>", loop)]
        for known, expected in (("avx2 micro::Run<1,3,4> spill why", (0, 0)), ("avx2 micro::Run<1,* spill why", (0, 0)), ("", (1, 0)),
                                ("avx512 micro::Run<1,3,4> spill why", (1, 1)), ("avx2 micro::Run<1,3,4> call why", (1, 1))):
            faults, gone = hot_loops.check(found, hot_loops.expectations(known))
            self.assertEqual((len(faults), len(gone)), expected, known)

    def test_the_checked_in_expectations_are_well_formed(self):
        known = hot_loops.expectations(hot_loops.EXPECTATIONS.read_text())
        self.assertTrue(known and {kind for _, _, kind in known} <= {"spill", "reload", "call"})
class Differential(unittest.TestCase):
    def model(self, *nodes, **inputs):
        """Nodes as (operator, operands, result), the last of which makes the output."""
        made = [onnx.helper.make_node(op, operands, [result]) for op, operands, result in nodes]
        kind = onnx.helper.np_dtype_to_tensor_dtype
        infos = [onnx.helper.make_tensor_value_info(n, kind(v.dtype), v.shape) for n, v in inputs.items()]
        graph = onnx.helper.make_graph(made, "g", infos, [onnx.ValueInfoProto(name=nodes[-1][2])])
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)

    def test_a_seed_gives_one_model(self):
        first, second = (builder.generate(3, elementwise.RULES) for _ in range(2))
        self.assertEqual(first[0].SerializeToString(), second[0].SerializeToString())
        self.assertTrue(all(np.array_equal(first[1][n], second[1][n], equal_nan=True) for n in first[1]))
        self.assertNotEqual(first[0].SerializeToString(), builder.generate(4, elementwise.RULES)[0].SerializeToString())

    def test_types_extents_numbers_and_places_of_nan_count(self):
        want = np.array([1.0, np.nan, 100.0], np.float32)
        self.assertIsNone(comparison.fault(want + np.float32(5e-4), want, lambda rounds: None))
        for got in (want.astype(np.float64), want[None], want + np.float32(5e-3), np.array([1.0, 2.0, 100.0], np.float32)):
            self.assertIsNotNone(comparison.fault(got, want, lambda rounds: None))
        self.assertIsNotNone(comparison.fault(np.array([1, 2]), np.array([1, 3]), lambda rounds: None))

    def test_only_what_moves_under_noise_may_differ(self):
        x = np.array([0.5, 2.0], np.float32)
        exact = self.model(("Floor", ["x"], "y"), x=x)
        self.assertEqual(oracle.spread(exact, {"x": x}, [np.floor(x)], 8)[0].tolist(), [0, 0])
        # exp(log(2)) is 2 but for rounding.
        x = np.array([0.5, np.log(np.float32(2))], np.float32)
        tie = self.model(("Exp", ["x"], "e"), ("Floor", ["e"], "y"), x=x)
        _, wanted = oracle.run(tie, {"x": x})
        spread = oracle.spread(tie, {"x": x}, wanted, 8)[0]
        self.assertEqual((spread > 0).tolist(), [False, True])
        self.assertIsNone(comparison.fault(wanted[0] + np.float32([0, spread[1]]), wanted[0], lambda rounds: spread))
        self.assertIsNotNone(comparison.fault(wanted[0] + np.float32([1, 0]), wanted[0], lambda rounds: spread))

    def test_known_differences_are_narrow(self):
        node = onnx.helper.make_node("Erf", ["x"], ["y"])
        self.assertIsNone(known.known_difference(node, 17, [np.zeros(2, np.float32)]))
        self.assertIsNotNone(known.known_difference(node, 17, [np.zeros(2)]))

    def test_a_failing_model_becomes_small(self):
        x = np.ones((4, 7), np.float32)
        model = self.model(("Neg", ["x"], "a"), ("Tanh", ["a"], "b"), ("Abs", ["b"], "c"), ("Relu", ["c"], "y"), x=x)
        with tempfile.TemporaryDirectory() as folder:
            # Refuses what has a hyperbolic tangent, and crashes otherwise.
            planc = pathlib.Path(folder) / "planc"
            planc.write_text('#!/bin/sh\ngrep -q Tanh "$2" && exit 3\nkill -9 $$\n')
            planc.chmod(0o755)
            refused = comparison.Outcome("refused")
            model, inputs = reduction.reduce(str(planc), [], model, {"x": x}, refused, pathlib.Path(folder) / "case")
        self.assertEqual([n.op_type for n in model.graph.node], ["Tanh"])
        self.assertEqual([v.shape for v in inputs.values()], [(1, 1)])


class TestData(unittest.TestCase):
    def test_the_checked_in_models_are_what_the_script_makes(self):
        import make_testdata

        checked_in = make_testdata.ROOT / "testdata/models"
        with tempfile.TemporaryDirectory() as folder:
            for build in make_testdata.MODELS:
                make_testdata.write(build, pathlib.Path(folder), report=lambda line: None)
            made = {p.relative_to(folder) for p in pathlib.Path(folder).rglob("*") if p.is_file()}
            self.assertEqual(made, {p.relative_to(checked_in) for p in checked_in.rglob("*") if p.is_file()})
            for path in sorted(made):
                # The expected outputs come from onnxruntime, whose last bits depend on the CPU.
                if not path.name.startswith("output_"):
                    self.assertEqual((checked_in / path).read_bytes(), (pathlib.Path(folder) / path).read_bytes(), path)


if __name__ == "__main__":
    unittest.main()
