"""Runs one child process under limits and says how it ended.

Guarantees that the call returns: a child that outlives its time limit is killed with everything it started. Standard
library only and nothing imported that is large, because Linux counts the memory of the parent at fork into the peak
of the child.
"""

import dataclasses
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a child ended: `code` is its exit status, or None when `signal` (a name) ended it."""

    code: int | None
    signal: str
    timed_out: bool
    seconds: float
    peak_mib: float
    stdout: bytes
    stderr: str

    @property
    def ok(self):
        return self.code == 0

    def verdict(self):
        """The ending in a few words."""
        if self.timed_out:
            return f"no end after {self.seconds:.0f} s"
        return self.signal if self.code is None else f"exit {self.code}"

    def reason(self):
        """The ending and the first line of what the child said about it."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("error")), lines[-1] if lines else "")
        return f"{self.verdict()}: {said[:300]}" if said else self.verdict()


def run(command, limit_s, address_mib=None, cwd=None, env=None):
    """Runs `command` (a list) for at most `limit_s` seconds, with `address_mib` of address space where given."""

    def limits():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if address_mib is not None:
            resource.setrlimit(resource.RLIMIT_AS, (address_mib * MIB, address_mib * MIB))

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env=env, preexec_fn=limits,
            start_new_session=True,
        )
        expired = threading.Event()

        def kill():
            expired.set()
            os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(limit_s, kill)
        timer.start()
        try:
            # Waiting without reaping keeps the process id ours until the timer can no longer fire at it.
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            timer.cancel()
            timer.join()
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            timer.cancel()
            os.killpg(child.pid, signal.SIGKILL)
            raise
        seconds = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Ended(
            code=child.returncode if child.returncode >= 0 else None,
            signal=signal.Signals(-child.returncode).name if child.returncode < 0 else "",
            timed_out=expired.is_set() and child.returncode < 0,
            seconds=seconds,
            peak_mib=usage.ru_maxrss / 1024,
            stdout=out.read(),
            stderr=err.read().decode("utf-8", "replace"),
        )
