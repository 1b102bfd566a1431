"""Children tied to this process, whoever asks for them: one thread starts them all, because the kernel ties a child to a thread.

`parent_death.py` has the kernel kill a child when the *thread* that started it ends. A thread that only injects a fault must not
take a restarted process along when it is done, so no caller starts a child itself: a thread of this module does, made at first
use, and it lives until the process ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from workbench.parent_death import tied_to_this_process

Child = subprocess.Popen[bytes]


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    on_parent_death: signal.Signals,
    cpus: Iterable[int] | None = None,
) -> Child:
    """A child in its own process group, with no stdin, its output appended to `log`, tied to this process. From any thread."""

    def start() -> Child:
        with log.open("ab") as output:
            return subprocess.Popen(
                tied_to_this_process(argv, on_parent_death, cpus),
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    return _SPAWNER.do(start)


def signal_group(child: Child, what: signal.Signals) -> None:
    """Send it to the child and to all it started; nothing happens when they are gone."""
    # macOS answers PermissionError for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, what)


def pause(child: Child) -> None:
    """SIGSTOP; returns when the child stands still, or is gone."""
    signal_group(child, signal.SIGSTOP)
    # The signal is taken at once, yet each of its threads runs on to its next chance to stop.
    with contextlib.suppress(ChildProcessError, AttributeError):  # gone; or a system without waitid, such as an older macOS
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def resume(child: Child) -> None:
    """SIGCONT."""
    signal_group(child, signal.SIGCONT)


class _Spawner:
    """A thread that carries out one start after the other, and ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._orders: queue.SimpleQueue[tuple[Callable[[], Child], Future[Child]]] = queue.SimpleQueue()

    def do(self, start: Callable[[], Child]) -> Child:
        """What `start` returns or raises, run in that thread."""
        done: Future[Child] = Future()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # a fork takes no threads along
                self._orders = queue.SimpleQueue()
                self._thread = threading.Thread(target=self._work, args=(self._orders,), name="spawner", daemon=True)
                self._thread.start()
            self._orders.put((start, done))
        return done.result()

    @staticmethod
    def _work(orders: queue.SimpleQueue[tuple[Callable[[], Child], Future[Child]]]) -> None:
        while True:
            start, done = orders.get()
            try:
                done.set_result(start())
            except BaseException as error:
                done.set_exception(error)


_SPAWNER = _Spawner()
