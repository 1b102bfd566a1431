"""A server in virtual time: one first-come-first-served worker with a known service time, that can be made to pause.

It stands where the network would: an event loop whose connections all lead here.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.virtual_time import VirtualTimeLoop

RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class SimulatedServer:
    def __init__(self, service_s: float, pauses: tuple[tuple[float, float], ...] = ()) -> None:
        self.served = 0
        self._service_s = service_s
        self._pauses = pauses
        self._free_s = 0.0

    def finish_s(self, now_s: float) -> float:
        """When a request that comes now is answered."""
        begin_s = max(now_s, self._free_s)
        for pause_s, resume_s in self._pauses:
            if pause_s <= begin_s < resume_s:
                begin_s = resume_s
        self._free_s = begin_s + self._service_s
        self.served += 1
        return self._free_s


class SimulatedTransport(asyncio.Transport):
    def __init__(self, server: SimulatedServer, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._server, self._protocol, self._loop = server, protocol, loop
        self._aborted = False

    def write(self, data: Any) -> None:
        self._loop.call_at(self._server.finish_s(self._loop.time()), self._answer)

    def _answer(self) -> None:
        if not self._aborted:
            self._protocol.data_received(RESPONSE)

    def abort(self) -> None:
        if not self._aborted:
            self._aborted = True
            self._loop.call_soon(self._protocol.connection_lost, None)


class SimulatedNetwork(VirtualTimeLoop):
    """Every connection made on this loop leads to `server`."""

    def __init__(self, server: SimulatedServer) -> None:
        super().__init__()
        self._server = server

    async def create_connection(self, protocol_factory: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        protocol = protocol_factory()
        transport = SimulatedTransport(self._server, protocol, self)
        protocol.connection_made(transport)
        return transport, protocol

    def busy_for(self, duration_s: float) -> None:
        """As if a callback had computed for so long."""
        self._jumping.now_s += duration_s
