"""A process of a design that is started alone, and ends by itself because it can't run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Protocol

from workbench.processes import free_port

WITHIN_S = 60


class Ended(Protocol):
    """Exit code and error output of a process that would run with the settings a test gives it, but for the port."""

    def __call__(self, *, port: int) -> tuple[int, str]: ...


def ended(design: str, environment: Mapping[str, str | None], *, role: str = "service", port: int | None = None) -> tuple[int, str]:
    """Exit code and error output. No setting of the design is inherited, nor where Redis is; None takes a variable away."""
    mine = (f"{design.upper()}_", "REDIS_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    env = {name: value for name, value in {**inherited, **environment}.items() if value is not None}
    command = [sys.executable, "-m", f"designs.{design}.serve", role, "--port", str(port or free_port())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    return done.returncode, done.stderr


def assert_a_port_that_is_taken_or_is_none_ends_it(ended_at: Ended) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = ended_at(port=taken.getsockname()[1])
    assert code != 0
    assert "address already in use" in said
    code, said = ended_at(port=99_999_999)
    assert code == 2
    assert "--port lies between 1 and 65535" in said
