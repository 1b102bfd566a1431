"""What a real server says of itself, asked over its own protocol with nothing but a socket: no driver, threads or retries.

It serves twice: a server that answers is ready for clients, and a report of tests names what they ran on. A function named
`..._version` raises OSError while the server does not answer, ValueError when the answer is none of its protocol's.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from urllib.parse import urlsplit

PATIENCE_S = 2.0
POLL_S = 0.1
LONGEST_ANSWER = 1_000_000
# Kafka: org.apache.kafka.server.common.MetadataVersion.
METADATA_VERSIONS = {22: "4.0-IV0", 23: "4.0-IV1", 24: "4.0-IV2", 25: "4.0-IV3", 26: "4.1-IV0", 27: "4.1-IV1", 28: "4.2-IV0"}
METADATA_VERSIONS |= {29: "4.2-IV1", 30: "4.3-IV0"}


class ServerFailed(RuntimeError):
    """A server does not answer, or not as its kind does. The message is a sentence."""


def version_once_it_answers(
    version_at: Callable[[str], str], address: str, within_s: float, is_starting: Callable[[], bool] = lambda: True
) -> str:
    """The version of a server that may still be starting, and of which `is_starting` knows whether waiting makes sense."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return version_at(address)
        except (OSError, ValueError) as error:
            if not is_starting() or time.monotonic() > deadline:
                raise ServerFailed(f"it does not answer ({error or type(error).__name__})") from error
        time.sleep(POLL_S)


def redis_version(url: str, patience_s: float = PATIENCE_S) -> str:
    """`redis_version` of INFO, such as 8.0.2."""
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=patience_s, socket_connect_timeout=patience_s) as client:
            return str(client.info("server")["redis_version"])
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise ConnectionError(str(error)) from error
    except redis.RedisError as error:
        raise ValueError(str(error)) from error


def kafka_version(bootstrap: str, patience_s: float = PATIENCE_S) -> str:
    """The finalized feature `metadata.version` of ApiVersions, such as "metadata.version 4.3-IV0".

    A broker does not tell its release; this is the newest one whose features the cluster has switched on.
    """
    key, version, correlation, client = 18, 3, 1, b"tests"
    request = struct.pack(">hhih", key, version, correlation, len(client)) + client + b"\0"  # header v2: an empty tag section
    request += b"\6tests" + b"\2" + b"0" + b"\0"  # software name and version: lengths are one more than the bytes
    with _connected(bootstrap, patience_s) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return finalized_metadata_version(_exactly(connection, _length(_exactly(connection, 4))))


def finalized_metadata_version(answer: bytes) -> str:
    """The answer to ApiVersions names each feature twice: as supported, and after that as finalized, highest level first."""
    _, *named = answer.split(b"\x11metadata.version")
    if len(named) < 2:
        raise ValueError("no finalized metadata.version in the answer")
    (level,) = struct.unpack(">h", named[-1][:2])
    return f"metadata.version {METADATA_VERSIONS.get(level, f'level {level}')}"


def cassandra_version(hosts: str, patience_s: float = PATIENCE_S) -> str:
    """`release_version` of system.local on the first host, such as 5.0.9."""
    with _connected(hosts.split(",")[0], patience_s) as connection:
        _cql(connection, 0x01, struct.pack(">H", 1) + _string("CQL_VERSION") + _string("3.0.0"))
        query = b"SELECT release_version FROM system.local"
        answer = _cql(connection, 0x07, struct.pack(">i", len(query)) + query + struct.pack(">HB", 1, 0))  # consistency ONE
    return only_value(answer, "release_version")


def only_value(rows: bytes, column: str) -> str:
    """The text in a CQL result of one row and one column: (column's name, type 13), number of rows, length, bytes."""
    _, named, after = rows.partition(column.encode() + b"\0\x0d")
    if not named:
        raise ValueError(f"no column {column} in the answer")
    length = _length(after[4:8])
    return after[8 : 8 + length].decode()


def _cql(connection: socket.socket, opcode: int, body: bytes) -> bytes:
    """One request of the native protocol v4 and the body of its answer (READY or RESULT)."""
    connection.sendall(struct.pack(">BBhBi", 0x04, 0, 0, opcode, len(body)) + body)
    header = _exactly(connection, 9)
    answer = _exactly(connection, _length(header[5:]))
    if header[4] not in (0x02, 0x08):
        raise ValueError(f"opcode {header[4]} instead of READY or RESULT")
    return answer


def _connected(hosts: str, patience_s: float) -> socket.socket:
    address = urlsplit(f"//{hosts.split(',')[0]}")
    if not address.hostname or not address.port:
        raise ValueError(f"{hosts!r} is not host:port")
    return socket.create_connection((address.hostname, address.port), patience_s)


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        if not (more := connection.recv(length - len(received))):
            raise ConnectionError("the server hung up")
        received += more
    return received


def _length(packed: bytes) -> int:
    (length,) = struct.unpack(">i", packed)
    if not 0 <= length <= LONGEST_ANSWER:
        raise ValueError(f"an answer of {length} bytes")
    return int(length)


def _string(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
