"""Whether a server answers in its own protocol, and what it says it is: its port may be held by something else, as by Docker.

Questions that need no login and change nothing, spoken by hand so that nobody loads a driver for them.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Mapping

# Request header v1 (length, key 18 ApiVersions, version 0, correlation id, no client id); an answer repeats the id.
KAFKA_ID = 20_931
KAFKA_QUESTION = struct.pack(">ihhih", 10, 18, 0, KAFKA_ID, -1)
# Frame of the native protocol v4 (version, flags, stream, opcode OPTIONS, length); an answer has opcode SUPPORTED.
CASSANDRA_QUESTION = struct.pack(">BBhBi", 4, 0, 0, 0x05, 0)
CASSANDRA_SUPPORTED = 0x06
RESPONSE = 0x80
LONGEST_ANSWER = 1_000_000


def answers(server: str, host: str, port: int, timeout_s: float) -> bool:
    """Does "kafka" or "cassandra" answer at this address? Waits no longer than `timeout_s` for each of a connection and a word."""
    question, is_answer = PROBES[server]
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(question)
            return is_answer(_exactly(connection, 8))
    except OSError:
        return False


def version(server: str, host: str, port: int, timeout_s: float) -> str:
    """What the server says it is, such as "5.0.9"; "" when it does not say.

    A broker tells no release, but the level of its features: 30 is that of Kafka 4.3.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            return VERSIONS[server](connection)
    except (OSError, ValueError, struct.error):
        return ""


def kafka_version(connection: socket.socket) -> str:
    """The finalized feature `metadata.version` of ApiVersions v3. Each feature is named as supported, and then as finalized."""
    client = b"\x02a\x02a\x00"  # name, version, no tags; compact strings: length + 1, then the text
    request = struct.pack(">hhih", 18, 3, KAFKA_ID, -1) + b"\x00" + client
    connection.sendall(struct.pack(">i", len(request)) + request)
    (length,) = struct.unpack(">i", _exactly(connection, 4))
    named = _exactly(connection, length).split(b"\x11metadata.version")
    return f"metadata.version {struct.unpack('>h', named[-1][:2])[0]}" if len(named) > 2 else ""


def cassandra_version(connection: socket.socket) -> str:
    """`release_version` of system.local: the one column of the one row, at the end of the answer."""
    name, value, query = b"CQL_VERSION", b"3.0.0", b"SELECT release_version FROM system.local"
    startup = b"".join([struct.pack(">hh", 1, len(name)), name, struct.pack(">h", len(value)), value])
    body = b""
    for opcode, frame in ((0x01, startup), (0x07, struct.pack(">i", len(query)) + query + struct.pack(">hB", 1, 0))):
        connection.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(frame)) + frame)
        (length,) = struct.unpack(">i", _exactly(connection, 9)[5:])
        body = _exactly(connection, length)
    said = re.search(rb"\d+\.\d+[\w.-]*\Z", body)
    return said[0].decode() if said else ""


def _exactly(connection: socket.socket, size: int) -> bytes:
    if not 0 <= size <= LONGEST_ANSWER:
        raise ValueError(f"an answer of {size} bytes")
    read = b""
    while len(read) < size:
        piece = connection.recv(size - len(read))
        if not piece:
            raise ConnectionError("closed in the middle of an answer")
        read += piece
    return read


def is_kafka(head: bytes) -> bool:
    """length, correlation id"""
    length, correlation_id = struct.unpack(">ii", head)
    return bool(length >= 4 and correlation_id == KAFKA_ID)


def is_cassandra(head: bytes) -> bool:
    """version, flags, stream, opcode, the first three bytes of the length"""
    frame_version, _, _, opcode = struct.unpack(">BBhB", head[:5])
    return frame_version >= RESPONSE and bool(opcode == CASSANDRA_SUPPORTED)


PROBES: Mapping[str, tuple[bytes, Callable[[bytes], bool]]] = {
    "kafka": (KAFKA_QUESTION, is_kafka),
    "cassandra": (CASSANDRA_QUESTION, is_cassandra),
}
VERSIONS: Mapping[str, Callable[[socket.socket], str]] = {"kafka": kafka_version, "cassandra": cassandra_version}
