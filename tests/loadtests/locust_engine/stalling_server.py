"""An HTTP server with a known delay that stalls once: each answer comes 20 ms after its request, and for 500 ms none comes at all.

As a process of its own it prints its ports, one a line, and serves until its stdin is closed. Each port has its own stall, 1 s
after its first request, so that several generators can be tried at once.
"""

import asyncio
import sys

DELAY_S = 0.020
STALL_FROM_S, STALL_S = 1.0, 0.5
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Port:
    def __init__(self) -> None:
        self.first_s = -1.0

    def due_s(self, now_s: float) -> float:
        if self.first_s < 0:
            self.first_s = now_s
        due_s = now_s + DELAY_S
        stall_s = self.first_s + STALL_FROM_S
        return stall_s + STALL_S if stall_s <= due_s < stall_s + STALL_S else due_s


class Connection(asyncio.Protocol):
    def __init__(self, port: Port) -> None:
        self.port = port
        self.read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        *requests, self.read = (self.read + data).split(b"\r\n\r\n")
        for _ in requests:
            loop.call_at(self.port.due_s(loop.time()), self.transport.write, RESPONSE)


async def main(ports: int) -> None:
    loop = asyncio.get_running_loop()
    for port in [Port() for _ in range(ports)]:
        server = await loop.create_server(lambda port=port: Connection(port), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
