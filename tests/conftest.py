"""A real Redis for the tests that need one: the server at `REDIS_URL`, else one of our own, started once per session.

No server is a failure and never a skip: a suite that passes without the backend it is about says nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from workbench.embedded_redis import EmbeddedRedis, find_server

DATABASE = 15  # of a server that is not ours alone: the tests flush it


def _given_url() -> str | None:
    """`REDIS_URL` with a database number of our own."""
    url = os.environ.get("REDIS_URL")
    return urlunsplit(urlsplit(url)._replace(path=f"/{DATABASE}")) if url else None


def pytest_report_header() -> str:
    given = _given_url()
    if given is None:
        server = find_server()
        return f"redis: {server.version} from {server.origin}" if server else "redis: none found, the tests that need one will fail"
    try:
        with redis.Redis.from_url(given, socket_timeout=2, socket_connect_timeout=2) as client:
            return f"redis: {client.info('server')['redis_version']} at REDIS_URL, database {DATABASE}"
    except redis.RedisError as error:
        return f"redis: REDIS_URL does not answer ({type(error).__name__}), the tests that need it will fail"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs as long as the session."""
    given = _given_url()
    if given is not None:
        yield given
        return
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The address of an empty database."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushdb()
    return redis_server


@pytest.fixture(scope="session")
def kafka_bootstrap() -> str:
    """The address of a real broker."""
    return _given("KAFKA_BOOTSTRAP")


@pytest.fixture(scope="session")
def cassandra_hosts() -> str:
    """The address of a real node."""
    return _given("CASSANDRA_HOSTS")


@pytest.fixture
def namespace() -> str:
    """A name that no other test uses, for a keyspace or for topics."""
    return f"test_{secrets.token_hex(6)}"


def _given(setting: str) -> str:
    if address := os.environ.get(setting):
        return address
    how = f"set {setting} to a server that runs"
    if os.environ.get("CI"):
        pytest.fail(how)
    pytest.skip(how)
