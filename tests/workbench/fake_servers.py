"""Stand-ins for servers that are given, as far as the workbench itself talks to them, and a command that controls one."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.server_probes import KAFKA_ID

KAFKA_ANSWER = struct.pack(">iihi", 10, KAFKA_ID, 0, 0)
CASSANDRA_ANSWER = struct.pack(">BBhBi", 0x84, 0, 0, 0x06, 0)
ANSWERS = {"kafka": KAFKA_ANSWER, "cassandra": CASSANDRA_ANSWER, "other": b"HTTP/1.1 400 Bad Request\r\n\r\n", "silent": b""}
# Writes down how it was called, and does what is told; the marker file is how long the server is down.
SCRIPT = """#!{python}
import pathlib, sys
here = pathlib.Path({folder!r})
(here / "calls").open("a").write(" ".join(sys.argv[1:]) + "\\n")
if (here / "broken").exists():
    print("one line", "nothing works today", sep="\\n", file=sys.stderr)
    sys.exit(3)
print("export SOMETHING=1")
"""


@contextlib.contextmanager
def answering(kind: str) -> Iterator[str]:
    """host:port of something that gives every connection the first answer of such a server, and closes it then."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1024)
                        connection.sendall(ANSWERS[kind])

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)


def control_script(folder: Path) -> Path:
    """A command for SERVERS_CONTROL; see `calls`."""
    script = folder / "servers"
    script.write_text(SCRIPT.format(python=sys.executable, folder=str(folder)))
    script.chmod(0o755)
    return script


def calls(folder: Path) -> Sequence[str]:
    """How the script was called so far."""
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []
