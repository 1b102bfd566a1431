"""Fixtures: the real servers a test may ask for, one of each per session; and what is said of them before and after the run.

`real_servers` says where they come from. A backend's tests run on the server itself or they are not run. With several workers
(`pytest -n auto`, which is what `make test` does) each has a session of its own, and so a Redis of its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from dataclasses import asdict
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.real_servers import SETTINGS, NoServer, Running, expected, running
from tests.server_report import lines, used_by
from tests.server_versions import ServerFailed

# Half of Hypothesis's own number of examples, so that a run takes minutes; `make test-thorough` looks for what that misses. No
# example fails for the time it takes: with several workers that says something of the machine.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", UNTIMED, max_examples=50)
settings.register_profile("thorough", UNTIMED, max_examples=1_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

SERVERS = pytest.StashKey[dict[str, Running]]()
MAX_WORKERS = 3


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, since half of the time a test waits for the processes and servers that it has started.

    One process for a Redis that was given: the tests empty it, count its commands and hear all that is published on it.
    """
    return 0 if os.environ.get("REDIS_URL") else min(MAX_WORKERS, 1 + (os.cpu_count() or 1))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker has found out about its servers, for the summary."""
    for name, told in getattr(node, "workeroutput", {}).get("servers", {}).items():
        node.config.stash[SERVERS].setdefault(name, Running(**told))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["servers"] = {name: asdict(server) for name, server in session.config.stash[SERVERS].items()}


def pytest_sessionstart(session: pytest.Session) -> None:
    """As lines of their own: pytest's header is not shown to who asked for quiet."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and session.config.get_verbosity() >= -1:
        for name in SETTINGS:
            reporter.write_line(expected(name, os.environ))


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a Redis that runs as long as the session."""
    yield from _session_server("redis", request)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The address of an empty database."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushdb()
    return redis_server


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """host:port of a Kafka broker."""
    yield from _session_server("kafka", request)


@pytest.fixture(scope="session")
def cassandra_hosts(request: pytest.FixtureRequest) -> Iterator[str]:
    """host:port of a Cassandra node."""
    yield from _session_server("cassandra", request)


@pytest.fixture
def namespace() -> str:
    """A name that no other test uses, for a keyspace or for topics."""
    return f"test_{secrets.token_hex(6)}"


def _session_server(name: str, request: pytest.FixtureRequest) -> Iterator[str]:
    folder = request.getfixturevalue("tmp_path_factory").mktemp(name)
    try:
        with running(name, os.environ, folder) as server:
            request.config.stash[SERVERS][name] = server
            yield server.address
    except (NoServer, ServerFailed) as error:
        may_skip = isinstance(error, NoServer) and not error.is_failure
        outcome = pytest.skip.Exception(str(error)) if may_skip else pytest.fail.Exception(str(error), pytrace=False)
        outcome.server = name
        raise outcome from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A report knows the servers its test used. Those asked for by `getfixturevalue` only the request knows, and the one that
    could not be had only the exception.
    """
    report = yield
    missing = getattr(call.excinfo.value, "server", None) if call.excinfo else None
    report.servers = used_by(item._request.fixturenames, missing) if isinstance(item, pytest.Function) else frozenset()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = [
        (category, getattr(report, "servers", frozenset()))
        for category, reports in terminalreporter.stats.items()
        for report in reports
    ]
    if said := lines(outcomes, config.stash[SERVERS]):
        terminalreporter.section("real servers")
        for line in said:
            terminalreporter.write_line(line)
