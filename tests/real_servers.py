"""Where the real servers of a test run come from. They are real or the test does not count: nothing here imitates one.

    server      its setting is given    else, TEST_SERVERS=containers    else
    redis       REDIS_URL               a container                      a redis-server of this machine, embedded
    kafka       KAFKA_BOOTSTRAP         a container                      a container where a Docker engine answers
    cassandra   CASSANDRA_HOSTS         a container                      a container where a Docker engine answers

What can't be had is a skip that says how to get it. It is a failure where a run must not pass by skipping (CI=1), where
containers were asked for, and where a server was given and is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.server_containers import engine_answers, image_of, in_container
from tests.server_versions import ServerFailed, cassandra_version, kafka_version, redis_version, version_once_it_answers
from workbench.embedded_redis import EmbeddedRedis, find_server

SETTINGS = {"redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP", "cassandra": "CASSANDRA_HOSTS"}
VERSIONS: dict[str, Callable[[str], str]] = {"redis": redis_version, "kafka": kafka_version, "cassandra": cassandra_version}
REDIS_DATABASE = 15  # of a server that is not ours alone: the tests flush it
GIVEN_ANSWERS_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Given:
    """A server that runs already: the environment's `setting` says where."""

    address: str
    setting: str


@dataclass(frozen=True, slots=True)
class Container:
    """One of our own, by the Docker engine."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A process of our own, from a program of this machine."""


@dataclass(frozen=True, slots=True)
class Missing:
    """None to be had. `how` is a sentence on getting one; `is_failure` where a skip would hide that nothing was tested."""

    how: str
    is_failure: bool


Choice = Given | Container | Embedded | Missing


class NoServer(RuntimeError):
    """The choice was `Missing`."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.how)
        self.is_failure = missing.is_failure


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `origin` reads on after the version: "at KAFKA_BOOTSTRAP", "from apache/kafka:4.3.1"."""

    address: str
    version: str
    origin: str


def choose(name: str, environment: Mapping[str, str], an_engine_answers: Callable[[], bool]) -> Choice:
    """`an_engine_answers` costs up to seconds, and is asked only where it decides."""
    setting, wanted = SETTINGS[name], environment.get("TEST_SERVERS", "")
    if wanted not in ("", "containers"):
        return Missing(f"TEST_SERVERS={wanted} means nothing: write TEST_SERVERS=containers, or leave it out", is_failure=True)
    if address := environment.get(setting):
        return Given(_for_tests(name, address), setting)
    if name == "redis" and not wanted:
        return Embedded()
    if an_engine_answers():
        return Container()
    if wanted:
        return Missing(f"TEST_SERVERS=containers, and no Docker engine answers: start one, or set {setting}", is_failure=True)
    how = f"no {name.capitalize()}: set {setting} to one that runs, or start Docker, and the tests run one in a container"
    return Missing(how, is_failure=bool(environment.get("CI")))


def expected(name: str, environment: Mapping[str, str]) -> str:
    """A line for the head of a run: where this server will come from, as far as it can be said at once."""
    choice = choose(name, environment, an_engine_answers=lambda: True)
    if isinstance(choice, Given):
        try:
            return f"{name}: {VERSIONS[name](choice.address)} {_at(name, choice)}"
        except (OSError, ValueError) as error:
            return f"{name}: {choice.setting} does not answer ({type(error).__name__}), the tests that need it will fail"
    if isinstance(choice, Embedded):
        found = find_server()
        return f"{name}: {found.version} from {found.origin}" if found else f"{name}: none found, the tests that need one will fail"
    if isinstance(choice, Missing):
        return f"{name}: {choice.how}"
    try:
        return f"{name}: {image_of(name)} in a container where Docker answers, once a test asks"
    except ServerFailed as error:
        return f"{name}: {error}"


@contextmanager
def running(name: str, environment: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """The server, as long as the block. Raises NoServer, ServerFailed. `folder` is for the files of one that is embedded."""
    choice = choose(name, environment, engine_answers)
    if isinstance(choice, Missing):
        raise NoServer(choice)
    elif isinstance(choice, Given):
        try:
            version = version_once_it_answers(VERSIONS[name], choice.address, GIVEN_ANSWERS_WITHIN_S)
        except ServerFailed as error:
            raise ServerFailed(f"{choice.setting} names a server that can't be used: {error}") from error
        yield Running(choice.address, version, _at(name, choice))
    elif isinstance(choice, Container):
        image = image_of(name)
        with in_container(name, image, VERSIONS[name]) as (address, version):
            yield Running(_for_tests(name, address), version, f"from {image}")
    else:
        with EmbeddedRedis(folder) as server:
            yield Running(server.url, redis_version(server.url), "embedded")


def _at(name: str, given: Given) -> str:
    return f"at {given.setting}, database {REDIS_DATABASE}" if name == "redis" else f"at {given.setting}"


def _for_tests(name: str, address: str) -> str:
    """Of a Redis that has no password of ours, the tests use one database, whoever started it."""
    return urlunsplit(urlsplit(address)._replace(path=f"/{REDIS_DATABASE}")) if name == "redis" else address
