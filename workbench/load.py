"""Locust against a design: user journeys, shapes, its web page, distributed load, an open loop. For a look; it decides nothing.

Locust lives in its own process (it patches the interpreter on import). A design's `loadtests/<design>/locustfile.py` reads
from its environment what a command line should not show:

    DESIGNS_URLS          the replicas, separated by commas (Locust's own --host is the first)
    DESIGNS_API_KEY       the key of this run's clients
    DESIGNS_MIX           the name of the mix, empty for the design's usual one
    DESIGNS_ALLOW_REMOTE  1 where the owner of a remote host agreed to be loaded

It is one process, or a master that counts and workers that load: those that it forks itself (--processes), or those started
elsewhere (`designs load D --worker`), which need the same key and hear the rest from the master.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workbench.catalogue import Design
from workbench.parent_death import tied_to_this_process
from workbench.processes import CpuPlan, cpu_plan, free_port, port_is_free

PAGE_PORT = 8089
MASTER_PORT = 5557  # Locust's own, where its workers look
HERE = "127.0.0.1"
EVERY_ADDRESS = ("*", "0.0.0.0", "::")  # noqa: S104 - asked for, not bound here
HEADLESS_RUN_TIME = "30s"
END_WITHIN_S = 15.0


class LoadRefused(ValueError):
    """This load is not run. The message says why, and what would be."""


class NoLoadTest(RuntimeError):
    """Locust, or the design's Locust file, is missing."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the command line says of the load. Raises `LoadRefused` for words that contradict each other.

    `spawn_rate` None: 10 users a second. `plan_rate` in requests/s, None: the mix's own. `out`: a folder for Locust's report
    and tables. `page_port` None where there is no page.
    """

    users: int = 20
    spawn_rate: float | None = None
    run_time: str | None = None
    page_port: int | None = None
    shape: str = ""
    open_loop: bool = False
    plan_rate: float | None = None
    plan_seed: int | None = None
    processes: int = 1
    master: bool = False
    expect_workers: int = 1
    master_bind: str = HERE
    worker: bool = False
    master_host: str = HERE
    master_port: int = MASTER_PORT
    out: Path | None = None

    def __post_init__(self) -> None:
        reasons = {
            "a shape says by itself when users come; leave out --shape or --spawn-rate": self.shape and self.spawn_rate,
            "an open loop has a plan instead of users; leave out --open-loop or --shape": self.open_loop and self.shape,
            "--rate and --seed are those of a plan; say --open-loop too": not self.open_loop
            and (self.plan_rate, self.plan_seed) != (None, None),
            "one process walks the plan of an open loop; leave out --open-loop, or the other processes": self.open_loop
            and (self.processes > 1 or self.master or self.worker),
            "a process is master or worker; leave out --master or --worker": self.master and self.worker,
            "--processes starts its own master; leave out --processes or --master": self.processes > 1 and self.master,
        }
        for reason, so in reasons.items():
            if so:
                raise LoadRefused(reason)


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


def locust_argv(file: Path, urls: Sequence[str], options: LoadOptions) -> list[str]:
    """Locust's command line; a worker needs no URLs.

    Without a page the load begins at once and ends by itself; a page on 127.0.0.1 lets somebody begin and end it.
    """
    argv = [sys.executable, "-m", "locust", "-f", str(file)]
    if options.processes > 1:
        argv += ["--processes", str(options.processes)]
    if options.worker:
        # Users, run time and host come from the master.
        return [*argv, "--headless", "--worker", "--master-host", options.master_host, "--master-port", str(options.master_port)]
    argv += ["--host", urls[0], "-u", str(options.users)]
    if not options.shape:
        argv += ["-r", f"{options.spawn_rate or 10.0:g}"]
    if options.master:
        argv += ["--master", "--expect-workers", str(options.expect_workers)]
    if options.master or options.processes > 1:
        argv += ["--master-bind-host", options.master_bind, "--master-bind-port", str(options.master_port)]
        argv += ["--master-port", str(options.master_port)]
    if options.shape:
        argv += ["--shape", options.shape]
    if options.open_loop:
        argv += ["--open-loop"]
        argv += ["--plan-rate", f"{options.plan_rate:g}"] if options.plan_rate else []
        argv += ["--plan-seed", str(options.plan_seed)] if options.plan_seed is not None else []
    if options.out:
        argv += ["--html", str(options.out / "locust.html"), "--csv", str(options.out / "locust")]
    run_time = options.run_time or (HEADLESS_RUN_TIME if options.page_port is None else None)
    argv += ["--run-time", run_time] if run_time else []
    if options.page_port is None:
        return [*argv, "--headless", "--only-summary"]
    return [*argv, "--web-host", HERE, "--web-port", str(options.page_port)]


def locust_environment(urls: Sequence[str], api_key: str, mix: str, allow_remote: bool) -> dict[str, str]:
    return {
        **os.environ,
        "DESIGNS_URLS": ",".join(urls),
        "DESIGNS_API_KEY": api_key,
        "DESIGNS_MIX": mix,
        "DESIGNS_ALLOW_REMOTE": "1" if allow_remote else "",
    }


def load_cpus(processes: int, cpus: Iterable[int] | None = None) -> CpuPlan:
    """As `cpu_plan`, with a CPU for each worker process as far as the design keeps one of its own."""
    plan = cpu_plan(cpus)
    if plan.servers is None or plan.generator is None or processes < 2:
        return plan
    known = sorted(plan.servers | plan.generator)
    first = max(1, len(known) - processes)
    return CpuPlan(frozenset(known[:first]), frozenset(known[first:]))


def free_master_port() -> int:
    """Locust's usual one when it is free."""
    return MASTER_PORT if port_is_free(MASTER_PORT) else free_port()


def worker_command(design: Design, options: LoadOptions, api_key: str) -> str:
    """What to type elsewhere, so that a worker joins this master."""
    words = [f"DESIGNS_API_KEY={api_key} designs load {design.name} --worker"]
    if options.master_bind != HERE:
        words.append(f"--master-host {'THIS_MACHINE' if options.master_bind in EVERY_ADDRESS else options.master_bind}")
    if options.master_port != MASTER_PORT:
        words.append(f"--master-port {options.master_port}")
    return " ".join(words)


def crowding(processes: int, cpus: int) -> str:
    """Why so many worker processes are no use, "" when they are. The design and the master want a CPU too."""
    if processes < 2 or processes < cpus:
        return ""
    return (
        f"{processes} worker processes, the design and Locust's master share {cpus} CPUs: expect no more load than from one process"
    )


def page_port() -> int:
    """Locust's usual port when it is free."""
    return PAGE_PORT if port_is_free(PAGE_PORT) else free_port()


def run_locust(argv: Sequence[str], env: dict[str, str], cpus: Iterable[int] | None = None) -> int:
    """Run to the end and give its exit code. Ctrl-C is passed on, so that Locust still prints its summary and writes its report.

    Worker processes of its own end with it. Should it be killed, those that are left end after a minute without a word from it.
    """
    process = subprocess.Popen(tied_to_this_process(argv, signal.SIGKILL, cpus), env=env, stdin=subprocess.DEVNULL, process_group=0)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # After SIGTERM Locust writes no report; but a shell's background job ignores SIGINT, and so do its children.
        process.send_signal(signal.SIGTERM if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_WITHIN_S)
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
