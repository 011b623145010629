"""Runs evalkit as a process, bounded in time and memory, and says what no run may do.

The exit codes are those of docs/reference: 0 done, 1 the answer is no, 2 bad input, 3 surroundings,
4 inconclusive, 130 interrupted. Anything else is a fault, and so is a run over `LIMIT_SECONDS` or
`LIMIT_BYTES` of resident memory.
"""

import dataclasses
import os
import re
import resource
import signal
import subprocess
import threading

LIMIT_SECONDS = 30
LIMIT_BYTES = 2 << 30
# Keeps a fault from taking the whole machine: far over what is allowed, far under what is there.
ADDRESS_SPACE_BYTES = 14 << 30
ALLOWED = {0, 1, 2, 3, 4, 130}


@dataclasses.dataclass
class Outcome:
    """What became of one process."""

    code: int
    """Exit code, or the negative number of the signal that ended it."""
    peak_bytes: int
    timed_out: bool
    stdout: bytes
    stderr: bytes

    def fault(self):
        """Why this is a fault, or None."""
        if self.timed_out:
            return f"no end within {LIMIT_SECONDS} s"
        if self.code not in ALLOWED:
            return f"exit code {self.code}"
        if self.peak_bytes > LIMIT_BYTES:
            return f"{self.peak_bytes} bytes resident"
        if b"panicked at" in self.stderr:
            return "a panic"
        # `devices` has the reason in its table.
        said = self.stdout + self.stderr
        if self.code in (2, 3) and not re.search(b"(error|warning): |does not answer", said):
            return f"exit code {self.code} without a reason"
        return None


def run(
    program, arguments, folder, kill_after_s=None, by=signal.SIGKILL, wrapper=(),
    limit_seconds=LIMIT_SECONDS,
):
    """Runs `program` with `arguments` in `folder`; sends it `by` after `kill_after_s` if that is given."""

    def bound():
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "RUST_BACKTRACE": "0",
        "HF_HUB_OFFLINE": "1",
    }
    child = subprocess.Popen(
        [*wrapper, program, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=bound,
        start_new_session=True,
    )
    timed_out = threading.Event()

    def stop(because_of_time):
        if because_of_time:
            timed_out.set()
        try:
            os.killpg(child.pid, signal.SIGKILL if because_of_time else by)
        except ProcessLookupError:
            pass

    timer = threading.Timer(
        kill_after_s if kill_after_s is not None else limit_seconds,
        stop,
        [kill_after_s is None],
    )
    timer.start()
    errors = []
    reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    reader.start()
    stdout = child.stdout.read()
    reader.join()
    _, status, usage = os.wait4(child.pid, 0)
    timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    child.stderr.close()
    return Outcome(
        child.returncode, usage.ru_maxrss * 1024, timed_out.is_set(), stdout, errors[0]
    )
