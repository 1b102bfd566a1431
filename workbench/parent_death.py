"""Run a command that ends when its parent does, even when the parent is killed with SIGKILL and can clean up nothing.

The parent starts this file in front of the command: `python parent_death.py PARENT SIGNAL CPUS command ...`. It asks the
kernel to send SIGNAL to this process when its parent dies (Linux prctl(2), PR_SET_PDEATHSIG), pins it to CPUS, and becomes
the command by exec, which keeps process id, signal and pinning. About 15 ms, once. A preexec_fn would do the same between
fork and exec, where a parent with threads may deadlock.

A file that grows beyond its limit is an error the command is told of (EFBIG), and not its death: SIGXFSZ is ignored.

Limits: the signal comes when the *thread* that started the command ends, so start from one that lives as long as the run, as
`spawner.py` does. It does not reach the command's own children. Elsewhere than on Linux there is no such signal, and only a
parent that ends in order takes its children along.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Sequence

PR_SET_PDEATHSIG = 1
PARENT_IS_GONE = 70


def tied_to_this_process(argv: Sequence[str], on_parent_death: signal.Signals, cpus: Iterable[int] | None = None) -> list[str]:
    """The command line that runs `argv` tied to the calling process, on the given CPUs only (None: on any)."""
    pinning = ",".join(str(cpu) for cpu in sorted(cpus)) if cpus else "any"
    shim = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(on_parent_death)), pinning]
    return [*shim, *argv]


def main(parent: int, on_parent_death: int, pinning: str, argv: Sequence[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, on_parent_death, 0, 0, 0)
        if pinning != "any":
            os.sched_setaffinity(0, {int(cpu) for cpu in pinning.split(",")})
    # Inherited across exec, as all that is ignored; Python ignores it at its start as well, other programs do not.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # A parent that died before the call above will never be heard of again.
    if os.getppid() != parent:
        raise SystemExit(PARENT_IS_GONE)
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - no shell is the point
    except OSError as error:
        raise SystemExit(f"cannot run {argv[0]}: {error.strerror}") from None


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
