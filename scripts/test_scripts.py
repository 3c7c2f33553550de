"""Tests of the test scripts: that they can fail, and for the right reason. Run: python -m unittest discover -s scripts"""

import pathlib
import signal
import sys
import tempfile
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "conformance"))

import check_licences
import equivalence
import flip_bytes
import malformed
import process
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
    plain = equivalence.Case("plain", lambda: None)
    quantised = equivalence.Case("quantised", lambda: None, quantised=True, decision="argmax")

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
        case = suites.Case("x", pathlib.Path(), [], rtol, atol, [], random)
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
        case = suites.Case("x", pathlib.Path(), [], 0, 0, [], False)
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

    def test_the_checked_in_expectations_are_well_formed(self):
        self.assertTrue(set(conformance.load_expectations().values()) <= set(conformance.LISTED))


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
