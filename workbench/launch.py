"""A design that runs: its processes, the servers it needs, and what to know to talk to it and to measure it.

>>> with RunningDesign(design, knobs, replicas=2) as running:
...     running.urls, running.api_key, running.pids_by_role()

Leaving the block ends everything. Two runs share no data: each has its ports, its data folder, unless told otherwise its own Redis,
and in the Kafka and the Cassandra that are given to it a namespace. What is temporary, data folder and namespace, is removed at the
end (a SIGKILL of this process ends the processes, and leaves both).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from designs.building_blocks.knobs import Knobs
from designs.building_blocks.processes import ProcessSpec
from workbench.catalogue import Design
from workbench.embedded_redis import EmbeddedRedis
from workbench.given_servers import GivenServer, given_servers
from workbench.namespaces import delete_namespace, kept_namespace, new_namespace
from workbench.processes import Supervisor, free_port, port_is_free
from workbench.servers import GivenServerFaults, controls_of, process_of

if TYPE_CHECKING:
    from loadtests.faults.proxy.client import ProxyControl


READY_WITHIN_S = 60.0
WITH_SERVERS_READY_WITHIN_S = 90.0  # a design makes its topics and tables, and a schema takes a busy Cassandra a while


class DataFolderBusy(RuntimeError):
    """Another run uses the data folder: two would corrupt each other's files."""


class PortTaken(RuntimeError):
    """Somebody listens on the port that was asked for."""


def bytecode_kept_in(folder: Path) -> Mapping[str, str]:
    """What to hand to processes that are started again and again, so that they read their modules compiled from the second time on.

    Empty where Python keeps compiled modules by itself; it does not with PYTHONDONTWRITEBYTECODE, which images often set.
    """
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder)} if sys.dont_write_bytecode else {}


class RunningDesign:
    """A design between `start` and `stop`, also as a context manager. Everything below `urls` is valid in between.

    `redis_url`: a Redis that already runs, else an embedded one is started where the knobs need it. Kafka and Cassandra are never
    started, but given by KAFKA_BOOTSTRAP and CASSANDRA_HOSTS of `environ` (else of the environment). `first_port`: the port of the
    first service, the others take the free ones after it. `env` is handed to every process. Where the knobs have traces and
    neither `env` nor the environment says where to send them (`<DESIGN>_TRACES_ENDPOINT`), a collector that keeps nothing is
    started too, and `collector_url` says where. `respecify` may change how a process of the design is started (never its name).

    With `faults` it can be broken on purpose: a proxy stands in the way of each process to each server (`proxy` is its control;
    which connections suffer is drawn from `fault_seed`), and clock and store of each process listen to its `fault_file`. A proxy
    costs time and CPU, so compare only designs that all have one. `breakable` are the given servers that can be killed and held
    still.
    """

    def __init__(
        self,
        design: Design,
        knobs: Knobs | None = None,
        *,
        replicas: int = 1,
        data_dir: Path | None = None,
        first_port: int | None = None,
        redis_url: str | None = None,
        environ: Mapping[str, str] | None = None,
        cpus: Iterable[int] | None = None,
        env: Mapping[str, str] | None = None,
        respecify: Callable[[ProcessSpec], ProcessSpec] = lambda spec: spec,
        faults: bool = False,
        fault_seed: int = 0,
    ) -> None:
        self.design = design
        self.knobs = knobs if knobs is not None else design.processes().KNOBS()
        self.replicas = replicas
        self.redis: EmbeddedRedis | None = None
        self.redis_url = redis_url
        self.given: dict[str, GivenServer] = {}
        self.breakable: dict[str, GivenServerFaults] = {}
        self.namespace = ""
        self.collector_url: str | None = None
        self.proxy: ProxyControl | None = None
        self.specs: list[ProcessSpec] = []
        self._asked_data_dir = data_dir
        self._first_port = first_port
        self._cpus = frozenset(cpus) if cpus else None
        self._env = dict(env or {})
        self._environ = os.environ if environ is None else environ
        self._respecify = respecify
        self._data_dir: Path | None = None
        self._lock: int | None = None
        self._supervisor: Supervisor | None = None
        self._collector: Supervisor | None = None
        self._faults = faults
        self._fault_seed = fault_seed
        self._proxies: Supervisor | None = None

    @property
    def data_dir(self) -> Path:
        if self._data_dir is None:
            raise RuntimeError("the design does not run")
        return self._data_dir

    @property
    def supervisor(self) -> Supervisor:
        """To kill and restart single processes."""
        if self._supervisor is None:
            raise RuntimeError("the design does not run")
        return self._supervisor

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the replicas of the service answer, in the order of their names."""
        return tuple(spec.url for spec in self.specs if spec.role == "service" and spec.url)

    @property
    def metrics_urls(self) -> tuple[str, ...]:
        return tuple(spec.metrics_url for spec in self.specs if spec.metrics_url)

    @property
    def api_key(self) -> str:
        """The key for this run's clients; empty for a design that wants none. A secret."""
        file = self.data_dir / "api_key"
        return file.read_text().strip() if file.exists() else ""

    def fault_file(self, name: str) -> Path:
        """Where the process of this name looks how wrong its clock and how slow its store is (`fault_hooks.py`)."""
        if not self._faults:
            raise RuntimeError("the design was not started to be broken: faults=True")
        return self.data_dir / "faults" / name

    def pids_by_role(self) -> dict[str, list[int]]:
        """Role -> ids of the running processes. A given server is among them where its process is known, shared as it is.

        Roles: service, worker, store (an embedded Redis, Cassandra), broker (Kafka), collector (of traces), proxy.
        """
        pids = self.supervisor.pids_by_role()
        for beside in (self._collector, self._proxies):
            pids |= beside.pids_by_role() if beside is not None else {}
        if self.redis and self.redis.pid:
            pids["store"] = [self.redis.pid]
        for server in self.given.values():
            if known := process_of(server).pids:
                pids.setdefault(server.kind.role, []).extend(known)
        return pids

    def start(self) -> RunningDesign:
        """Raises `NoServer`, `NoRedisServer`, `DataFolderBusy`, `PortTaken`, `RedisFailed` or `ProcessFailed`.

        Nothing is left running then.
        """
        try:
            self._data_dir = self._take_data_dir()
            declared = self.design.processes()
            needs = declared.needs(self.knobs)
            self.given = given_servers(needs, self._environ)
            ready_within_s = WITH_SERVERS_READY_WITHIN_S if self.given else READY_WITHIN_S
            self._supervisor = Supervisor(self._data_dir / "logs", cpus=self._cpus, ready_within_s=ready_within_s)
            if self.given:
                asked = self._asked_data_dir is not None
                self.namespace = kept_namespace(self._data_dir, self.design.name) if asked else new_namespace(self.design.name)
            if "redis" in needs and self.redis_url is None:
                self.redis = EmbeddedRedis(self._data_dir / "redis", cpus=self._cpus, may_lose_power=self._faults)
                self.redis.start()
            env = {**self._env, **(self._start_collector() if "traces" in needs else {})}
            specs = declared.processes(
                self.knobs,
                data_dir=self._data_dir,
                ports=self._ports(),
                servers=self._servers(needs),
                replicas=self.replicas,
                env=env,
            )
            self.specs = [self._respecify(spec) for spec in specs]
            if self._faults:
                controls = controls_of(self.given, self._environ)
                self.breakable = {name: GivenServerFaults(self.given[name], control) for name, control in controls.items()}
                self.specs = self._exposed(self.specs)
            self._supervisor.start_all(self.specs)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Services and workers first, so that they can hand over what they hold; then the servers. Safe to call again."""
        with contextlib.ExitStack() as ending:  # the last named goes first, and the others go whatever becomes of it
            ending.callback(self._release_data_dir)
            ending.callback(self._leave_servers)
            for part in (self.redis, self._proxies, self._collector, self._supervisor):
                if part is not None:
                    ending.callback(part.stop)

    def __enter__(self) -> RunningDesign:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _servers(self, needs: frozenset[str]) -> Mapping[str, str]:
        """Where the servers that it needs are, as lines of an environment."""
        redis_url = self.redis.url if self.redis else self.redis_url
        return {
            **({"REDIS_URL": redis_url} if "redis" in needs and redis_url else {}),
            **self._given_settings(),
            **({"NAMESPACE": self.namespace} if self.namespace else {}),
        }

    def _given_settings(self) -> dict[str, str]:
        return {server.kind.setting: server.written for server in self.given.values()}

    def _leave_servers(self) -> None:
        """Delete what this run has in the servers that were given, unless its data folder is kept. What fails is left there."""
        if self.namespace and self._asked_data_dir is None:
            delete_namespace(self.namespace, self._given_settings())
        self.namespace, self.given, self.breakable = "", {}, {}

    def _start_collector(self) -> Mapping[str, str]:
        """Where spans go: nothing to add when that is said already, else the address of a collector that is started here."""
        setting = f"{self.design.name.upper()}_TRACES_ENDPOINT"
        if setting in self._env or setting in os.environ:
            return {}
        port = free_port()
        self.collector_url = url = f"http://127.0.0.1:{port}"
        argv = (sys.executable, "-m", "workbench.trace_sink", "--port", str(port))
        self._collector = Supervisor(self.data_dir / "logs", cpus=self._cpus)
        self._collector.start_all([ProcessSpec("collector", "collector", argv, self._env, url, ready_url=f"{url}/healthz")])
        return {setting: f"{url}/v1/traces"}

    def _exposed(self, specs: Iterable[ProcessSpec]) -> list[ProcessSpec]:
        """The processes with a proxy on the way to each server, and a fault file that says that all is well."""
        from designs.building_blocks.fault_hooks import write_fault_file
        from workbench.fault_injection.links import start_proxy, through_proxy

        self._proxies, self.proxy = start_proxy(self.data_dir / "logs", seed=self._fault_seed, cpus=self._cpus)
        (self.data_dir / "faults").mkdir(exist_ok=True)
        exposed = []
        for spec in specs:
            file = self.fault_file(spec.name)
            write_fault_file(file, clock_offset_us=0, store_delay_us=0)
            prefix = f"{self.design.name.upper()}_"
            env = {**spec.env, f"{prefix}FAULT_FILE": str(file)}
            exposed.append(through_proxy(replace(spec, env=env), self.proxy, prefix))
        return exposed

    def _take_data_dir(self) -> Path:
        folder = self._asked_data_dir
        if folder is None:
            return Path(tempfile.mkdtemp(prefix=f"{self.design.name}-"))
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderBusy(f"{folder} is in use by another run; give --data another folder, or end that run") from None
        return folder.resolve()

    def _release_data_dir(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._data_dir is not None and self._asked_data_dir is None:
            shutil.rmtree(self._data_dir, ignore_errors=True)

    def _ports(self) -> Callable[[], int]:
        """A source of ports, no two alike. Only the first is owed to `first_port`; the rest take what is free."""
        given: set[int] = set()

        def next_port() -> int:
            if self._first_port is not None and not given:
                if not port_is_free(self._first_port):
                    raise PortTaken(f"port {self._first_port} is taken; give --port another one, or none")
                port = self._first_port
            elif self._first_port is not None:
                port = next(p for p in range(max(given) + 1, max(given) + 1000) if port_is_free(p))
            else:
                port = next(p for p in iter(free_port, None) if p not in given)
            given.add(port)
            return port

        return next_port
