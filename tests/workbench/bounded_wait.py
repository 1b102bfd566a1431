"""Waiting for another process: poll until it is so, or fail. The bound is there for a test that fails, no test counts on it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

BOUND_S = 15.0


def wait_until(so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not so():
        assert time.monotonic() < deadline, f"not within {BOUND_S} s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """False for a process that is gone, and for a zombie whose parent has not looked yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
