"""A server that does nothing: whatever is asked, the same bytes come back. What is slow against it is the generator itself.

`python -m workbench.null_server --port N`. It looks for the blank line that ends a head and for nothing else, so it takes
requests without a body only.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from designs.building_blocks.processes import ProcessSpec
from loadtests.generator import open_loop
from workbench.processes import Supervisor, free_port

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
END = b"\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: null\r\nAccept: text/plain\r\n\r\n"


@contextmanager
def null_server(cpus: Collection[int] | None) -> Iterator[tuple[str, int]]:
    """One in a process of its own, on these CPUs: its URL and its process id."""
    with TemporaryDirectory(prefix="null-server-") as folder, Supervisor(Path(folder), cpus=cpus) as supervisor:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        argv = (sys.executable, "-m", "workbench.null_server", "--port", str(port))
        supervisor.start_all([ProcessSpec("null", "service", argv, url=url, ready_url=url)])
        yield url, supervisor.pids_by_role()["service"][0]


class Null(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        self._transport.write(ANSWER * data.count(END))
        self._rest = data[data.rfind(END) + len(END) :] if END in data else data


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Null, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    open_loop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
