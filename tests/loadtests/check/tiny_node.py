"""A process of a design, as far as a check looks at it: answers everything, says how it is, can be silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class TinyNode:
    ready: str = '{"status": "ready"}'
    ready_status: int = 200
    metrics: str = "sd_up 1.0\n"
    silent: bool = False
    asked: int = 0

    def answer(self, path: str) -> tuple[int, str]:
        if path == "/readyz":
            return self.ready_status, self.ready
        if path == "/metrics":
            return 200, self.metrics
        self.asked += 1
        return 200, "ok"


@asynccontextmanager
async def serving(node: TinyNode) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if node.silent:
                    continue
                status, body = node.answer(head.split(b" ")[1].decode())
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
