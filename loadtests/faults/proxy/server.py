"""One proxy: where it listens, where it leads, what is wrong with it, what went through it.

Promises. A toxic that is added, changed or removed is so on open connections at once. A proxy that is down refuses connections, and
keeps its port, so that the system gives it to nobody else meanwhile. The seed alone decides whether the n-th connection is spoilt.

Bounds: `MAX_TOXICS`, refused beyond; `MAX_CONNECTIONS`, of which further ones are reset and counted as turned away.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from loadtests.faults.proxy.addresses import BadAddress, format_address, parse_address
from loadtests.faults.proxy.connection import Clock, Connection, Pump, reset
from loadtests.faults.proxy.link import Striking
from loadtests.faults.proxy.toxics import Stream, Toxic

MAX_TOXICS = 20
MAX_CONNECTIONS = 1_000
BACKLOG = 1_024


class Refused(Exception):
    """A wish that is not granted; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Counters:
    """Since the proxy was made. Bytes in the direction upstream are the client's."""

    connections: int = 0
    turned_away: int = 0
    received_upstream: int = 0
    sent_upstream: int = 0
    received_downstream: int = 0
    sent_downstream: int = 0

    def add(self, upstream: Pump | None, downstream: Pump | None) -> None:
        if upstream is not None and downstream is not None:
            self.received_upstream += upstream.received_bytes
            self.sent_upstream += upstream.sent_bytes
            self.received_downstream += downstream.received_bytes
            self.sent_downstream += downstream.sent_bytes


class Proxy:
    """One way from an address here to a server. Made stopped."""

    def __init__(self, name: str, listen: str, upstream: str, seed: int, clock: Clock, *, any_upstream: bool) -> None:
        try:
            self._listen_to, self._upstream_to = parse_address(listen), parse_address(upstream, anywhere=any_upstream)
        except BadAddress as error:
            raise Refused(400, str(error)) from error
        self.name = name
        self.upstream = format_address(*self._upstream_to)
        self.enabled = False
        self.toxics: dict[str, Toxic] = {}  # in the order in which data passes them
        self._seed, self._clock = seed, clock
        self._connections: dict[Connection, None] = {}
        self._ended = Counters()
        self._draws: dict[str, random.Random] = {}
        self._added = 0
        self._held_port: socket.socket | None = None
        self._server: asyncio.Server | None = None

    @property
    def listen(self) -> str:
        return format_address(*self._listen_to)

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def counters(self) -> Counters:
        counters = Counters(**{field: getattr(self._ended, field) for field in Counters.__slots__})
        for connection in self._connections:
            counters.add(connection.upstream, connection.downstream)
        return counters

    def as_json(self) -> dict[str, Any]:
        toxics = [toxic.as_json() for toxic in self.toxics.values()]
        return {"name": self.name, "listen": self.listen, "upstream": self.upstream, "enabled": self.enabled, "toxics": toxics}

    async def start(self) -> None:
        """Listen. Nothing when it does already. `Refused` when the port cannot be had."""
        if self.enabled:
            return
        with contextlib.ExitStack() as undone:
            undone.callback(self.let_port_go)
            try:
                self._hold_port()
                listener = undone.enter_context(_bound(self._listen_to))
                self._server = await asyncio.get_running_loop().create_server(self._accept, sock=listener, backlog=BACKLOG)
            except OSError as error:
                raise Refused(500, f"listen tcp {self.listen}: {error.strerror}") from error
            undone.pop_all()
        self.enabled = True

    def stop(self) -> None:
        """Refuse connections and break those that are open."""
        self.enabled = False
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()

    def let_port_go(self) -> None:
        self.stop()
        if self._held_port is not None:
            self._held_port.close()
            self._held_port = None

    def add_toxic(self, toxic: Toxic) -> None:
        if toxic.name in self.toxics:
            raise Refused(409, "toxic already exists")
        if len(self.toxics) >= MAX_TOXICS:
            raise Refused(400, f"a proxy has at most {MAX_TOXICS} toxics")
        self.toxics[toxic.name] = toxic
        self._added += 1
        self._draws[toxic.name] = random.Random(f"{self._seed} {self.name} {toxic.name} {self._added}")
        self._apply(self._connections)

    def change_toxic(self, toxic: Toxic) -> None:
        self.toxics[self.toxic(toxic.name).name] = toxic
        self._apply(self._connections)

    def remove_toxic(self, name: str) -> None:
        del self.toxics[self.toxic(name).name]
        del self._draws[name]
        self._apply(self._connections)
        for connection in self._connections:
            connection.draws.pop(name, None)

    def remove_all_toxics(self) -> None:
        for name in list(self.toxics):
            self.remove_toxic(name)

    def toxic(self, name: str) -> Toxic:
        if name not in self.toxics:
            raise Refused(404, "toxic not found")
        return self.toxics[name]

    def _accept(self) -> asyncio.Protocol:
        if len(self._connections) >= MAX_CONNECTIONS:
            self._ended.turned_away += 1
            return _TurnedAway()
        connection = Connection(self._upstream_to, self._begin, self._forget, self._clock)
        self._connections[connection] = None
        self._ended.connections += 1
        return connection.client

    def _begin(self, connection: Connection) -> None:
        self._apply([connection])

    def _forget(self, connection: Connection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._ended.add(connection.upstream, connection.downstream)

    def _apply(self, connections: Iterable[Connection]) -> None:
        for connection in list(connections):
            if connection.upstream is None or connection.downstream is None:
                continue  # it will get them when the server's side is there
            connection.upstream.set_toxics(self._striking(connection, "upstream"))
            connection.downstream.set_toxics(self._striking(connection, "downstream"))

    def _striking(self, connection: Connection, stream: Stream) -> list[Striking]:
        """The toxics that spoil this connection. It draws once per toxic, so that raising a toxicity spoils more, and the same."""
        striking = []
        for toxic in self.toxics.values():
            if toxic.stream == stream:
                if toxic.name not in connection.draws:
                    connection.draws[toxic.name] = self._draws[toxic.name].random()
                draw = connection.draws[toxic.name]
                if draw < toxic.toxicity:
                    striking.append(Striking(toxic, draw))
        return striking

    def _hold_port(self) -> None:
        """A second socket bound to the port, that never listens: while it is there the system gives the port to nobody else."""
        if self._held_port is None:
            self._held_port = _bound(self._listen_to)
            self._listen_to = (self._listen_to[0], self._held_port.getsockname()[1])


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reset(transport)


def _bound(address: tuple[str, int]) -> socket.socket:
    """Bound, not listening. Several of ours may be bound to one port, of which one listens (SO_REUSEADDR)."""
    bound = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
