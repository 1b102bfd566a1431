"""Locust against a design: user journeys, its web page, distributed load. For a look, and for capacity; it decides nothing.

Locust lives in its own process (it patches the interpreter on import). A design's `loadtests/<design>/locustfile.py` reads
from its environment what a command line should not show:

    DESIGNS_URLS          the replicas, separated by commas (Locust's own --host is the first)
    DESIGNS_API_KEY       the key of this run's clients
    DESIGNS_MIX           the name of the mix, empty for the design's usual one
    DESIGNS_ALLOW_REMOTE  1 where the owner of a remote host agreed to be loaded
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from workbench.catalogue import Design
from workbench.parent_death import tied_to_this_process
from workbench.processes import free_port, port_is_free

PAGE_PORT = 8089
END_WITHIN_S = 15.0


class LoadRefused(ValueError):
    """This load is not run. The message says why, and what would be."""


class NoLoadTest(RuntimeError):
    """Locust, or the design's Locust file, is missing."""


def locust_file(design: Design) -> Path:
    package = importlib.util.find_spec("loadtests")
    if importlib.util.find_spec("locust") is None:
        raise NoLoadTest("Locust is not installed: pip install 'system-designs[load]', or run make demo once.")
    if package is None or package.origin is None:
        raise NoLoadTest("The load tests are not installed: run this from the project's folder.")
    file = Path(package.origin).parent / design.name / "locustfile.py"
    if not file.exists():
        raise NoLoadTest(f"{design.name} has no Locust file ({file.parent.name}/{file.name} in loadtests).")
    return file


def refuse_remote(host: str) -> None:
    """A load test against somebody else's machine is an attack unless they agreed. Raises `LoadRefused`."""
    if not is_loopback(host):
        raise LoadRefused(f"{host} is not this machine; with its owner's consent, say --allow-remote")


def is_loopback(url: str) -> bool:
    """Does the URL name this machine? Names other than localhost are not looked up: an answer could change."""
    name = urlsplit(url).hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def locust_argv(file: Path, host: str, *, users: int, spawn_rate: float, run_time: str | None, page_port: int | None) -> list[str]:
    """Locust's command line. `page_port` None runs headless and ends by itself; else a page on 127.0.0.1 starts the load."""
    argv = [sys.executable, "-m", "locust", "-f", str(file), "--host", host, "-u", str(users), "-r", f"{spawn_rate:g}"]
    if run_time:
        argv += ["--run-time", run_time]
    if page_port is None:
        return [*argv, "--headless", "--only-summary"]
    return [*argv, "--web-host", "127.0.0.1", "--web-port", str(page_port)]


def page_port() -> int:
    """Locust's usual port when it is free."""
    return PAGE_PORT if port_is_free(PAGE_PORT) else free_port()


def run_locust(argv: Sequence[str], env: dict[str, str], cpus: Iterable[int] | None = None) -> int:
    """Run to the end and give its exit code. Ctrl-C is passed on, so that Locust still prints its summary.

    It is passed on as SIGTERM, which a shell's background job does not ignore.
    """
    process = subprocess.Popen(tied_to_this_process(argv, signal.SIGKILL, cpus), env=env, stdin=subprocess.DEVNULL, process_group=0)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_WITHIN_S)
        raise
    finally:
        process.kill()
        process.wait()
