#!/usr/bin/env python3
"""Checks that the hot loops of the release kernels stay in registers.

Disassembles the kernels of a release binary, finds the innermost loops that multiply and add in vectors, and fails where one of
them has on the stack what belongs in registers, or calls a function. There are three kinds of faults: `spill`, a vector that is stored or
loaded; `reload`, a pointer or count; `call`. Whether a loop has them depends on the compiler as much as on the source, and spills
cost up to half of the speed. hot_loops.txt lists where they are known, with the reason; a line that matches nothing fails too. Needs objdump, nm and addr2line (binutils, installed by apt if missing) and line tables.
Ends with `N passed, N failed`.
"""

import argparse
import collections
import dataclasses
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
EXPECTATIONS = HERE / "hot_loops.txt"
# Every kernel is inlined into the function that has the target features of its tier.
KERNELS = re.compile(r"planc_kernels::isa::(?P<tier>\w+)(?:::x86)?::(?P<shim>shim\w*)$")
# The portable tier has no registers to keep to: what LLVM makes of it is not tuned.
UNTUNED = {"scalar", "shim_scalar"}
# Products added to sums, the work of every kernel that is bound by arithmetic.
MULTIPLY_ADD = re.compile(r"vfn?m(add|sub)\d+ps|vpdpbusds?|vpmaddwd")
STACK_POINTER = re.compile(r"\(%rsp[,)]")
FRAME_POINTER = re.compile(r"\(%rbp[,)]")
VECTOR = re.compile(r"%[xyz]mm")
FUNCTION = re.compile(r"^([0-9a-f]+) <(.+)>:$")
INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(.*)$")
TARGET = re.compile(r"^([0-9a-f]+)(?: <.*>)?$")
# Neighbours in the binary are disassembled in one go.
GAP = 1 << 16


@dataclasses.dataclass(frozen=True)
class Instruction:
    address: int
    mnemonic: str
    operands: str

    @property
    def target(self):
        """Where a direct jump goes."""
        found = TARGET.match(self.operands) if self.mnemonic.startswith("j") else None
        return int(found[1], 16) if found else None

    @property
    def falls_through(self):
        return not re.match(r"jmp|ret|ud2|hlt", self.mnemonic)


@dataclasses.dataclass(frozen=True)
class Loop:
    """An innermost loop that multiplies and adds: where it begins and where its first product is."""

    address: int
    product: int
    products: int
    size: int
    faults: tuple


def functions(lines):
    """The functions of a disassembly by objdump, as lists of instructions by start address."""
    found, current = {}, None
    for line in lines:
        if header := FUNCTION.match(line):
            current = found.setdefault(int(header[1], 16), [])
        elif current is not None and (parts := INSTRUCTION.match(line)):
            mnemonic, _, operands = parts[2].split("#")[0].strip().partition(" ")
            # A prefix is no instruction of its own.
            if mnemonic in ("lock", "rep", "repz", "notrack", "bnd"):
                mnemonic, _, operands = operands.strip().partition(" ")
            current.append(Instruction(int(parts[1], 16), mnemonic, operands.strip()))
    return found


def loops(code):
    """The natural loops of a function, one for each head, as sets of indices into its instructions."""
    at = {instruction.address: i for i, instruction in enumerate(code)}
    before = collections.defaultdict(list)
    back = []
    for i, instruction in enumerate(code):
        target = at.get(instruction.target)
        if target is not None:
            before[target].append(i)
            if target <= i:
                back.append((target, i))
        if instruction.falls_through and i + 1 < len(code):
            before[i + 1].append(i)
    found = collections.defaultdict(set)
    for head, end in back:
        body, todo = {head, end}, [end] if end != head else []
        while todo:
            for earlier in before[todo.pop()]:
                if earlier not in body:
                    body.add(earlier)
                    todo.append(earlier)
        # What reaches the end other than through the head makes the jump no loop, but a block that was moved.
        if 0 not in body or head == 0:
            found[head] |= body
    return [(head, body) for head, body in sorted(found.items())]


def hot(code):
    """The innermost loops of a function that multiply and add, with what is wrong with each."""
    frame = any(i.mnemonic.startswith("mov") and i.operands == "%rsp,%rbp" for i in code[:24])
    every = loops(code)
    result = []
    for head, body in every:
        if any(other < body for _, other in every):
            continue
        inside = [code[i] for i in sorted(body)]
        products = [i.address for i in inside if MULTIPLY_ADD.match(i.mnemonic)]
        if products:
            faults = tuple((kind, f"{i.address:x}: {i.mnemonic} {i.operands}") for i in inside if (kind := fault(i, frame)))
            result.append(Loop(code[head].address, products[0], len(products), len(inside), faults))
    return result


def fault(instruction, frame):
    """What is wrong with an instruction in a hot loop, if anything; `frame` says whether rbp points at the stack."""
    if instruction.mnemonic.startswith("call"):
        return "call"
    on_stack = STACK_POINTER.search(instruction.operands) or (frame and FRAME_POINTER.search(instruction.operands))
    if not on_stack or instruction.mnemonic.startswith(("lea", "prefetch")):
        return None
    return "spill" if VECTOR.search(instruction.operands) else "reload"


def ranges(symbols):
    """Addresses to disassemble, from (start, size) of the kernels: neighbours joined."""
    joined = []
    for start, size in sorted(symbols):
        if joined and start - joined[-1][1] < GAP:
            joined[-1][1] = max(joined[-1][1], start + size)
        else:
            joined.append([start, start + size])
    return joined


def tool(name):
    if not shutil.which(name):
        subprocess.run(["apt-get", "install", "-y", "-q", "binutils"], check=True, stdout=subprocess.DEVNULL)
    return name


def output(*command, stdin=None):
    return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout


def kernels(binary):
    """Tier by address, and (start, size), of the kernels of a binary."""
    tiers, sizes = {}, []
    for line in output(tool("nm"), "-C", "-S", "--defined-only", str(binary)).splitlines():
        parts = line.split(maxsplit=3)
        found = KERNELS.search(parts[3]) if len(parts) == 4 else None
        if found and found["tier"] not in UNTUNED and found["shim"] not in UNTUNED:
            start, size = int(parts[0], 16), int(parts[1], 16)
            tiers[start] = found["shim"] if found["shim"] != "shim" else found["tier"]
            sizes.append((start, size))
    return tiers, sizes


def names(binary, addresses):
    """The kernel of each address: the type that the function with the tier's target features was made for."""
    text = output(tool("addr2line"), "-a", "-i", "-f", "-C", "-e", str(binary), stdin="\n".join(map(hex, addresses)) + "\n")
    found, current = {}, None
    for line in text.splitlines():
        if line.startswith("0x"):
            current = int(line, 16)
        elif (shim := re.match(r"shim\w*<(.*?)(, (true|false))?>$", line)) and current is not None:
            found[current] = shim[1].replace("planc_kernels::", "").replace(" ", "")
    return found


def expectations(text):
    """The known faults and their reasons, from lines `TIER KERNEL KIND reason`; kernels are patterns with * for anything."""
    known = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            tier, kernel, kind, reason = line.split(maxsplit=3)
            known[tier, kernel, kind] = reason
    return known


def check(found, known):
    """Faults that are not known, and known ones that are gone. `found` is (tier, kernel, loop) for each loop."""
    faults, seen = [], set()
    for tier, kernel, loop in found:
        for kind in sorted({kind for kind, _ in loop.faults}):
            listed = {key for key in known
                      if (key[0], key[2]) == (tier, kind) and re.fullmatch(re.escape(key[1]).replace(r"\*", ".*"), kernel)}
            seen |= listed
            if not listed:
                lines = [text for k, text in loop.faults if k == kind]
                faults.append(f"{tier} {kernel} {kind}: {len(lines)} in a loop of {loop.size} instructions, {loop.products} of them "
                              f"products; first {lines[0]}")
    return faults, [f"{' '.join(key)}: is listed, and no loop has it" for key in known if key not in seen]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planc", type=pathlib.Path, default=HERE.parent / "target/release/planc", help="release binary")
    parser.add_argument("--verbose", action="store_true", help="list every hot loop")
    args = parser.parse_args()
    tiers, sizes = kernels(args.planc)
    found = []
    for start, stop in ranges(sizes):
        text = output(tool("objdump"), "-d", "--no-show-raw-insn", f"--start-address={start:#x}", f"--stop-address={stop:#x}",
                      str(args.planc))
        for address, code in functions(text.splitlines()).items():
            if address in tiers:
                found += [(tiers[address], loop) for loop in hot(code)]
    if not found:
        print("error: no hot loop was found: is it a release build for x86-64 with symbols?", file=sys.stderr)
        return 1
    where = names(args.planc, [loop.product for _, loop in found])
    found = [(tier, where.get(loop.product, "?"), loop) for tier, loop in found]
    if args.verbose:
        for tier, kernel, loop in sorted(found, key=lambda f: (f[0], f[1], f[2].address)):
            print(f"{tier:14} {kernel:44} {loop.address:x} {loop.products:4} of {loop.size:5}  {' '.join(kind for kind, _ in loop.faults)}")
    known = expectations(EXPECTATIONS.read_text())
    faults, gone = check(found, known)
    for fault in faults + gone:
        print(f"FAILED {fault}")
    bad = sum(bool(loop.faults) for _, _, loop in found)
    print(f"{len(found)} hot loops, {bad} of them with faults, {len(known)} lines in {EXPECTATIONS.name}")
    print(f"{len(found) - len(faults)} passed, {len(faults) + len(gone)} failed")
    return 1 if faults or gone else 0


if __name__ == "__main__":
    sys.exit(main())
