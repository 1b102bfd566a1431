"""The full stack in Docker: `docker-compose.yml` with its secrets made, started until all is ready, and taken away again.

secrets   at random, once, in data/compose: a folder that only its owner enters, files that any user of a container can read
rules     of the rate limiter, beside them: a copy of the example, which is taken up again whenever it is edited
up        build the image, start the profiles, wait until every health check is well; within `READY_WITHIN_S`
down      containers, networks, volumes and secrets go; the image stays, as a cache
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from designs.rate_limiter.processes import rules_of
from workbench.processes import port_is_free
from workbench.terminal import say, say_aside

PROJECT = "system-designs"  # `name` in docker-compose.yml
ROOT = Path(__file__).resolve().parent.parent
DESIGN_PROFILES = ("url_shortener", "rate_limiter")
OBSERVE, LOAD, ALL = "observe", "load", "*"
TRACED = "0.1"  # of all requests, while there is somebody to send the spans to
BUILT_BY = "url-shortener-1"  # one of those that share the image
NOT_HTTP = ("redis", "kafka", "cassandra")
GRPC = 8081  # where a container that speaks gRPC does
BUILD_WITHIN_S = 1_800
READY_WITHIN_S = 300
ASKED_WITHIN_S = 60
STOP_S = 20
LOG_LINES = 15
STDERR = 2  # what docker says on its standard output belongs to its progress, not to our answer


class NoDocker(RuntimeError):
    """Docker, its compose plugin, its daemon, or the memory the stack may take is not there. The message says which."""


class StackRefused(ValueError):
    """The stack can't be started like this: a port is taken, or the compose file is not here."""


class StackFailed(RuntimeError):
    """It was started and did not become ready, or did not go away."""


@dataclass(frozen=True, slots=True)
class Published:
    """A port of this machine that a service answers on."""

    service: str
    port: int
    speaks: Literal["http", "grpc", ""] = "http"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address alone where a driver wants it so."""
        return f"{self.speaks}://{self.address}" if self.speaks else self.address


@dataclass(frozen=True, slots=True)
class Stack:
    """The compose file of `folder` with some of its profiles; `variables` stand above those of its `.env`."""

    folder: Path = ROOT
    profiles: tuple[str, ...] = DESIGN_PROFILES
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def secrets_dir(self) -> Path:
        return self.folder / "data" / "compose"

    @property
    def rules_dir(self) -> Path:
        return self.secrets_dir / "rules"

    def secret(self, name: str) -> str:
        file = self.secrets_dir / name
        if not file.exists():
            raise StackRefused("the stack is not up: start it with make up")
        return file.read_text().strip()

    def compose(self, *words: str, within_s: float) -> int:
        """The exit code of `docker compose`, whose output goes to standard error."""
        try:
            return subprocess.run(self._argv(words), env=self._env(), stdout=STDERR, timeout=within_s, check=False).returncode
        except subprocess.TimeoutExpired:
            raise StackFailed(f"docker compose {words[0]} took longer than {within_s:g} s") from None

    def asked(self, *words: str) -> str:
        """What `docker compose` answers. Raises `StackFailed`."""
        return _answer(self._argv(words), self._env())

    def services(self) -> dict[str, dict[str, Any]]:
        """The services of the profiles, with every variable filled in."""
        found: dict[str, dict[str, Any]] = json.loads(self.asked("config", "--format", "json"))["services"]
        return found

    def containers(self) -> list[dict[str, Any]]:
        """Those there are, also the ended: Service, State, Health, Publishers and more of each."""
        text = self.asked("ps", "--all", "--format", "json")
        # An array in older versions, an object a line in newer.
        return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line]

    def _argv(self, words: Sequence[str]) -> list[str]:
        profiles = [word for profile in self.profiles for word in ("--profile", profile)]
        return ["docker", "compose", "--file", str(self.folder / "docker-compose.yml"), *profiles, *words]

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


def stack_with(*, observe: bool, load: bool, folder: Path = ROOT) -> Stack:
    """All designs, and who watches and loads them as asked. Without anybody to send spans to, nothing is traced."""
    profiles = (*DESIGN_PROFILES, *([OBSERVE] if observe else []), *([LOAD] if load else []))
    return Stack(folder, profiles, {"TRACES": os.environ.get("TRACES", TRACED)} if observe else {})


def up_command(*, observe: bool, load: bool, folder: Path = ROOT) -> int:
    """Raises `NoDocker`, `StackRefused` or `StackFailed`; what was started then stays, for a look at it."""
    stack = stack_with(observe=observe, load=load, folder=folder)
    there_bytes = memory_of_docker(folder)
    services = stack.services()
    limit_bytes = memory_limit(services)
    if limit_bytes > there_bytes:
        raise NoDocker(f"the stack may take {_mb(limit_bytes)}, and Docker has {_mb(there_bytes)}; less will do in .env")
    refuse_taken_ports(published(services), held_by(stack.containers()), variables_of(folder))
    make_secrets(stack.secrets_dir)
    rules_of(stack.rules_dir).chmod(0o644)  # the container's user is another, and the folder above is closed
    say_aside("designs: building the image (a minute or two the first time)")
    if stack.compose("build", BUILT_BY, within_s=BUILD_WITHIN_S):
        raise StackFailed("the image could not be built; the lines above say why (without the buildx plugin: DOCKER_BUILDKIT=0)")
    waiting = ("--detach", "--wait", "--wait-timeout", str(READY_WITHIN_S))
    if stack.compose("up", *waiting, "--no-build", within_s=2 * READY_WITHIN_S):
        raise StackFailed(what_is_wrong(stack))
    introduce(stack, services, limit_bytes, there_bytes)
    return 0


def down_command(*, keep_data: bool, folder: Path = ROOT) -> int:
    """Raises `NoDocker`, or `StackFailed` where something is left."""
    memory_of_docker(folder)
    stack = Stack(folder, (ALL,))
    volumes = [] if keep_data else ["--volumes"]
    failed = stack.compose("down", "--remove-orphans", "--timeout", str(STOP_S), *volumes, within_s=10 * STOP_S)
    left = leftovers(keep_data)
    if failed or left:
        raise StackFailed(f"docker compose down left something behind: {', '.join(left) or 'see the lines above'}")
    if keep_data:
        say("down: volumes and secrets are kept, and the next start goes on with them")
    else:
        shutil.rmtree(stack.secrets_dir, ignore_errors=True)
        say("down: no container, network, volume or secret is left; the built image stays (docker image rm system-designs:local)")
    return 0


def memory_of_docker(folder: Path) -> int:
    """Bytes the daemon has for containers. Raises `NoDocker` or `StackRefused` when there is no way to start the stack."""
    if not (folder / "docker-compose.yml").exists():
        raise StackRefused(f"there is no docker-compose.yml in {folder}: the stack is started from a clone of the project")
    if shutil.which("docker") is None:
        raise NoDocker("there is no docker on the PATH: install Docker (https://docs.docker.com/get-started/get-docker/)")
    try:
        _answer(["docker", "compose", "version"])
    except StackFailed:
        raise NoDocker("docker has no compose plugin: install it (Debian, Ubuntu: apt install docker-compose-plugin)") from None
    try:
        return int(_answer(["docker", "info", "--format", "{{.MemTotal}}"]) or 0)
    except (StackFailed, ValueError) as error:
        raise NoDocker(f"the Docker daemon does not answer; is it running, and may you use it? ({error})") from None


def memory_limit(services: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes that all containers together may take."""
    return sum(int(each.get("mem_limit", 0)) * int(each.get("deploy", {}).get("replicas", 1)) for each in services.values())


def published(services: Mapping[str, Mapping[str, Any]]) -> list[Published]:
    return [
        Published(name, int(port["published"]), "" if name in NOT_HTTP else "grpc" if port.get("target") == GRPC else "http")
        for name, each in services.items()
        for port in each.get("ports", [])
    ]


def held_by(containers: Iterable[Mapping[str, Any]]) -> set[int]:
    """Ports that the stack's own containers hold already."""
    return {port["PublishedPort"] for each in containers for port in each.get("Publishers") or []}


def refuse_taken_ports(wanted: Iterable[Published], own: set[int], variables: Mapping[str, str]) -> None:
    taken = [each for each in wanted if each.port not in own and not port_is_free(each.port)]
    if taken:
        names = {value: name for name, value in variables.items() if name.endswith("_PORT")}
        said = [f"{each.port} ({each.service}; {names.get(str(each.port), 'a port')} moves it)" for each in taken]
        raise StackRefused(f"somebody listens on {', '.join(said)}; end that, or choose another in .env")


def variables_of(folder: Path) -> dict[str, str]:
    """The lines of `.env`, where the shell does not say otherwise."""
    lines = (folder / ".env").read_text("utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: os.environ.get(name, value) for name, value in pairs}


def make_secrets(folder: Path) -> None:
    """What is missing of the secrets.

    A container's user is another number than ours, so that a file only we may read would be none of its use: the folder is closed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    chosen = {
        name: _kept(folder / name, secrets.token_hex(32))
        for name in ("redis_password", "api_key", "admin_key", "code_key", "pk_key", "grpc_key", "grafana_password")
    }
    _kept(folder / "redis.conf", f"requirepass {chosen['redis_password']}\n")
    _kept(folder / "redis_url", f"redis://:{chosen['redis_password']}@redis:6379/0")
    _kept(folder / "api_keys", f"demo:{chosen['api_key']}")


def _kept(file: Path, text: str) -> str:
    """What the file says, which is `text` if it is new. It never stands there half written."""
    if not file.exists():
        half = file.with_suffix(".new")
        half.write_text(text)
        half.chmod(0o444)
        half.replace(file)
    return file.read_text()


def unwell(containers: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(service, state) of those that do not run, or whose health check fails."""
    for each in containers:
        health = each.get("Health") or ""
        if each["State"] != "running" or health not in ("", "healthy"):
            yield each["Service"], health or each["State"]


def what_is_wrong(stack: Stack) -> str:
    """A sentence; the last log lines of who is to blame go before it."""
    found = dict(unwell(stack.containers()))
    begun = {service: state for service, state in found.items() if state != "created"}  # these wait for the others
    for service, state in begun.items():
        say_aside(f"--- {service} ({state}) ---")
        say_aside(stack.asked("logs", "--no-color", "--no-log-prefix", "--tail", str(LOG_LINES), service).rstrip())
    said = ", ".join(f"{service} is {state}" for service, state in (begun or found).items())
    return f"the stack is not ready: {said or 'see the lines above'} (it stays for a look; make down takes it away)"


def introduce(stack: Stack, services: Mapping[str, Mapping[str, Any]], limit_bytes: int, there_bytes: int) -> None:
    ports = published(services)
    where = {each.service: each.address for each in ports if each.speaks != "grpc"}
    for each in ports:
        say(f"{each.service:<16} {each.url}")
    shown = stack.secrets_dir.relative_to(stack.folder)
    say(f"{'api key':<16} {shown / 'api_key'} (the operator's: {shown / 'admin_key'})")
    say(f"{'rules':<16} {stack.rules_dir.relative_to(stack.folder) / 'rules.yaml'} (edit them: the rate limiter reads them again)")
    if OBSERVE in stack.profiles:
        say(f"{'Grafana':<16} open to look at; user admin, password in {shown / 'grafana_password'}")
    say(f"{'memory':<16} at most {_mb(limit_bytes)}, of {_mb(there_bytes)} that Docker has")
    say(f"export KAFKA_BOOTSTRAP={where['kafka']} CASSANDRA_HOSTS={where['cassandra']}")
    url = f"http://{where[BUILT_BY]}/knobs"
    say(f"Try: curl -s {url}. `make smoke` tries everything, `make down` takes it away.")


def leftovers(keep_data: bool) -> list[str]:
    """Names of what Docker still has of the stack."""
    mine = ("--filter", f"label=com.docker.compose.project={PROJECT}", "--format")
    found = _answer(["docker", "ps", "--all", *mine, "{{.Names}}"]).split()
    found += _answer(["docker", "network", "ls", *mine, "{{.Name}}"]).split()
    return found if keep_data else found + _answer(["docker", "volume", "ls", *mine, "{{.Name}}"]).split()


def _answer(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=ASKED_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        raise StackFailed(f"{' '.join(argv[:2])} did not answer within {ASKED_WITHIN_S} s") from None
    if done.returncode:
        raise StackFailed((done.stderr.strip().splitlines() or [f"{' '.join(argv)} failed"])[-1])
    return done.stdout.strip()


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MB"
