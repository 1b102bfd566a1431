"""A server that was given, and may be broken on purpose: killed, started again, held still; always one of this machine.

Two ways, and neither is guessed at when it matters:

- `SERVERS_CONTROL` names a command that understands `kill NAME`, `up NAME` (returns when the port is open), `stop NAME` (SIGSTOP)
  and `cont NAME` (SIGCONT), where NAME is kafka or cassandra; words may follow it, as in `env PORT=1 ./servers`.
- Without it, the containers of the compose project of this checkout, if the one of that name is who publishes the server's port.

A server that is on another machine is never touched.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from workbench.given_servers import GivenServer
from workbench.port_owner import PortOwner

SETTING = "SERVERS_CONTROL"
PROJECT = Path(__file__).parents[1]
DONE_WITHIN_S = 60.0  # a command; a Java server starts in 5 to 20 s
ANSWERS_WITHIN_S = 60.0
POLL_S = 0.1


class ServerFailed(RuntimeError):
    """A server could not be broken, or not be brought back. The message is a sentence."""


class Control(Protocol):
    """How servers of this machine are reached. Every verb returns when it is done, and raises `ServerFailed`."""

    def kill(self, name: str) -> None:
        """SIGKILL; the data stays."""

    def start(self, name: str) -> None:
        """Start it again on its data."""

    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None: ...
    def owner(self, server: GivenServer) -> PortOwner:
        """Its process, for the account of CPU time."""


class CommandControl:
    """A command that controls them; see the module."""

    def __init__(self, command: str) -> None:
        self._words = shlex.split(command)

    def kill(self, name: str) -> None:
        run([*self._words, "kill", name])

    def start(self, name: str) -> None:
        run([*self._words, "up", name])

    def pause(self, name: str) -> None:
        run([*self._words, "stop", name])

    def resume(self, name: str) -> None:
        run([*self._words, "cont", name])

    def owner(self, server: GivenServer) -> PortOwner:
        return server.owner()


class ComposeControl:
    """The containers of this checkout's compose project."""

    def kill(self, name: str) -> None:
        run([*compose(), "kill", "-s", "KILL", name])

    def start(self, name: str) -> None:
        run([*compose(), "start", name])

    def pause(self, name: str) -> None:
        run([*compose(), "pause", name])

    def resume(self, name: str) -> None:
        run([*compose(), "unpause", name])

    def owner(self, server: GivenServer) -> PortOwner:
        found = container(server.name)
        pid = int(found.get("State", {}).get("Pid", 0)) if found else 0
        return PortOwner((pid,)) if pid else PortOwner(unknown_because="its container does not run")


def compose() -> Sequence[str]:
    return ("docker", "compose", "--file", str(PROJECT / "docker-compose.yml"))


class GivenServerFaults:
    """Verbs as those of an `EmbeddedRedis`, for a server that was given. Blocks; from any thread, one change at a time."""

    def __init__(self, server: GivenServer, control: Control) -> None:
        self.server = server
        self._control = control
        self._down = self._still = False
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        """None while it is down by our hand, or where its process is not known; see `runs`."""
        pids = () if self._down else self._control.owner(self.server).pids
        return pids[0] if pids else None

    @property
    def runs(self) -> bool:
        """Not taken down here, and it answers, or is held still."""
        return not self._down and (self._still or self.server.answers())

    def kill(self) -> None:
        """SIGKILL. Raises `ServerFailed`, also when somebody else than who was killed answers at the address."""
        with self._lock:
            self._control.kill(self.server.name)
            self._down, self._still = True, False
            if self.server.answers():
                self._down = False
                raise ServerFailed(
                    f"{self.server.name} was killed, and {self.server.written} still answers: {SETTING} controls another one"
                )

    def start(self) -> None:
        """Start it, and wait until it answers in its own protocol; then it may still take seconds until it serves."""
        with self._lock:
            if self._down:
                self._control.start(self.server.name)
                self._wait()
                self._down = False

    def pause(self) -> None:
        with self._lock:
            if not self._still:
                self._control.pause(self.server.name)
                self._still = True

    def resume(self) -> None:
        with self._lock:
            if self._still:
                self._control.resume(self.server.name)
                self._still = False

    def _wait(self) -> None:
        deadline_s = time.monotonic() + ANSWERS_WITHIN_S
        while not self.server.answers():
            if time.monotonic() > deadline_s:
                raise ServerFailed(f"{self.server.name} did not answer within {ANSWERS_WITHIN_S:g} s of its start")
            time.sleep(POLL_S)


def controls_of(servers: Mapping[str, GivenServer], environ: Mapping[str, str]) -> dict[str, Control]:
    """How those that may be broken are reached; who is missing may not be. Asks Docker where no command is set."""
    controls: dict[str, Control] = {}
    for name, server in servers.items():
        if not server.is_here:
            continue
        if command := environ.get(SETTING):
            controls[name] = CommandControl(command)
        elif publishes(server):
            controls[name] = ComposeControl()
    return controls


def why_not(server: GivenServer) -> str:
    """Why a server has no control, and what to do about it."""
    if not server.is_here:
        return f"{server.name} is at {server.written}, which is not this machine, and nothing is broken there"
    return (
        f"{server.name} at {server.written} is not ours to break: it is no container of `make up`; set {SETTING} to a command "
        "that understands kill, up, stop and cont NAME, if it is yours"
    )


def process_of(server: GivenServer) -> PortOwner:
    """Whose CPU the server's work is, or why that is not known."""
    owner = server.owner()
    if owner.pids or not server.is_here or not publishes(server):
        return owner
    return ComposeControl().owner(server)


def publishes(server: GivenServer) -> bool:
    """Whether the container of this name in the compose project of this checkout is who answers at the server's port."""
    found = container(server.name)
    bindings = (found.get("NetworkSettings", {}).get("Ports") or {}).values() if found else ()
    ports = {int(each["HostPort"]) for binding in bindings for each in binding or ()}
    return bool(server.addresses) and all(port in ports for _, port in server.addresses)


def container(service: str) -> Mapping[str, Any] | None:
    """What `docker inspect` says of the service's container, running or not; None where there is none, or no Docker."""
    if not (PROJECT / "docker-compose.yml").exists():
        return None
    try:
        identity = run([*compose(), "ps", "-a", "-q", service]).split()
        found = json.loads(run(["docker", "inspect", identity[0]])) if identity else []
    except (ServerFailed, ValueError):
        return None
    return found[0] if found else None


def run(argv: Sequence[str]) -> str:
    """What the command prints. Its output goes to files: a server that it starts may keep a pipe open for ever."""
    what = shlex.join(argv)
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        try:
            ended = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=said, stderr=complained, timeout=DONE_WITHIN_S, check=False
            )
        except OSError as error:
            raise ServerFailed(f"{what}: {(error.strerror or str(error)).lower()}") from None
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"{what} was not done within {DONE_WITHIN_S:g} s") from None
        if ended.returncode:
            complained.seek(0)
            lines = complained.read().decode(errors="replace").strip().splitlines()
            raise ServerFailed(f"{what} ended with exit code {ended.returncode}{f': {lines[-1]}' if lines else ''}")
        said.seek(0)
        return said.read().decode(errors="replace")
