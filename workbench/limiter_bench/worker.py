"""The bench's end of a limiter's process: it asks a line and waits for a line (see `peers/line_protocol`)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from loadtests.manifest import REPOSITORY
from workbench.limiter_bench.candidates import Candidate

ANSWER_WITHIN_S = 60.0
END_WITHIN_S = 5.0


class PeerFailed(RuntimeError):
    """A limiter raised, or its process ended or was silent. The message is a sentence."""


class Worker:
    """The process of one peer, on the CPUs its maker is held to. It ends when its stdin does, so with its maker at the latest."""

    def __init__(self, python: Path, peer: str, url: str) -> None:
        self._peer = peer
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # Its environment is not ours: a PYTHONPATH would bring our packages in.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [str(python), "-m", f"workbench.limiter_bench.peers.{peer}"],
            cwd=REPOSITORY,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.ask(do="connect", url=url)
        except PeerFailed:
            self.close()
            raise

    def open(self, candidate: Candidate, limit: int, period_s: int) -> None:
        self.ask(do="open", how=candidate.how, limit=limit, period_s=period_s)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Raises `PeerFailed`."""
        self.send(**request)
        return self.receive()

    def send(self, **request: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise PeerFailed(self._end_of_it()) from None

    def receive(self) -> dict[str, Any]:
        """The answer to the oldest request that has none. Raises `PeerFailed`."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], ANSWER_WITHIN_S)[0]:
            self._process.kill()  # a late answer would be taken for that to the next question
            raise PeerFailed(f"{self._peer} did not answer within {ANSWER_WITHIN_S:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(self._end_of_it())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerFailed(f"{self._peer} raised {answer['error']}")
        return answer

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _end_of_it(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"the process of {self._peer} ended: {said[-1]}"
