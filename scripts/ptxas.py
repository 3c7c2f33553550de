#!/usr/bin/env python3
"""Assembles PTX with NVIDIA's assembler for every architecture, and fails on anything a kernel should not do.

Arguments are models (compiled with planc) or .ptx files. The assembler comes from a PyPI wheel, fetched by name once; it needs no
GPU. A kernel must assemble, keep its registers (no spills), use no local memory, and cause none of the notes (C75xx) that say
that the assembler had to serialise something. Run it with the Python of scripts/setup.sh.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "ptxas"
PACKAGE = "nvidia-cuda-nvcc==13.0.88"
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
TIMEOUT_S = 900


def assembler():
    """The path of ptxas, fetched where it is not there yet."""
    path = CACHE / "ptxas"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary=:all:", "--dest", folder, PACKAGE]
        subprocess.run(command, check=True, timeout=TIMEOUT_S)
        wheel = next(pathlib.Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as z:
            member = next(n for n in z.namelist() if n.endswith("/bin/ptxas"))
            part = path.with_suffix(".part")
            part.write_bytes(z.read(member))
    part.chmod(0o755)
    part.rename(path)
    return path


def complaints(output):
    """What is wrong in the assembler's verbose output, line by line."""
    wrong = []
    kernel = "?"
    for line in output.splitlines():
        entry = re.search(r"(?:Compiling entry function|Function properties for) '?(\w+)", line)
        if entry:
            kernel = entry.group(1)
        numbers = re.findall(r"(\d+) bytes (stack frame|spill stores|spill loads|lmem)", line)
        if any(int(n) > 0 for n, _ in numbers) or re.search(r"\bC75\d\d\b|error|fatal", line):
            wrong.append(f"{kernel}: {line.strip()}")
    return wrong


def assemble(ptxas, path, arch):
    command = [ptxas, "-v", "-warn-spills", f"-arch={arch}", "-o", "/dev/null", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    wrong = complaints(done.stdout + done.stderr)
    if done.returncode != 0 and not wrong:
        wrong.append(f"exit status {done.returncode}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planc", default="planc", help="the binary that compiles models")
    parser.add_argument("--arch", default=",".join(ARCHITECTURES), help="architectures, separated by commas")
    parser.add_argument("--target", default="cuda:sm_80", help="the target that models are compiled for")
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="models or .ptx files")
    args = parser.parse_args()
    ptxas = assembler()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(args.files):
            path = file
            if file.suffix != ".ptx":
                path = pathlib.Path(folder) / f"{number}.ptx"
                command = [args.planc, "compile", file, "--target", args.target, "--emit", "ptx", "-o", path]
                subprocess.run(command, check=True, timeout=TIMEOUT_S)
            for arch in args.arch.split(","):
                wrong = assemble(ptxas, path, arch)
                passed += not wrong
                failed += bool(wrong)
                for line in wrong[:20]:
                    print(f"{file} for {arch}: {line}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
