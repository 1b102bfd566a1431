"""All proxies of one process, by name: created, changed, populated, reset, deleted. `MAX_PROXIES` bounds them; more are refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from loadtests.faults.proxy.connection import Clock
from loadtests.faults.proxy.server import Proxy, Refused

MAX_PROXIES = 100


class Proxies:
    """The methods that wait are to be called one at a time: hold `lock`."""

    def __init__(self, *, seed: int = 0, any_upstream: bool = False, clock: Clock = time.monotonic) -> None:
        self.lock = asyncio.Lock()
        self._by_name: dict[str, Proxy] = {}
        self._seed, self._any_upstream, self._clock = seed, any_upstream, clock

    def __iter__(self) -> Iterator[Proxy]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Proxy:
        if name not in self._by_name:
            raise Refused(404, "proxy not found")
        return self._by_name[name]

    async def create(self, name: str, listen: str, upstream: str, *, enabled: bool = True) -> Proxy:
        if name in self._by_name:
            raise Refused(409, "proxy already exists")
        if len(self._by_name) >= MAX_PROXIES:
            raise Refused(400, f"there are at most {MAX_PROXIES} proxies")
        proxy = self._make(name, listen, upstream)
        if enabled:
            await proxy.start()
        self._by_name[name] = proxy
        return proxy

    async def update(self, name: str, *, listen: str | None, upstream: str | None, enabled: bool | None) -> Proxy:
        """Another address drops all connections, as does `enabled=False`; the toxics stay."""
        proxy = self.get(name)
        enabled = proxy.enabled if enabled is None else enabled
        moved = self._make(name, listen or proxy.listen, upstream or proxy.upstream)
        if (moved.listen, moved.upstream) != (proxy.listen, proxy.upstream):
            proxy.let_port_go()
            for toxic in proxy.toxics.values():
                moved.add_toxic(toxic)
            self._by_name[name] = proxy = moved
        if enabled:
            await proxy.start()
        else:
            proxy.stop()
        return proxy

    async def populate(self, wanted: Iterable[tuple[str, str, str, bool]]) -> list[Proxy]:
        """Name, listen, upstream, enabled of each: created, or replaced where one of that name leads elsewhere."""
        proxies = []
        for name, listen, upstream, enabled in wanted:
            there = self._by_name.get(name)
            if there is not None:
                new = self._make(name, listen, upstream)
                if (new.listen, new.upstream) == (there.listen, there.upstream):
                    proxies.append(there)
                    continue
                self.delete(name)
            proxies.append(await self.create(name, listen, upstream, enabled=enabled))
        return proxies

    def delete(self, name: str) -> None:
        self.get(name).let_port_go()
        del self._by_name[name]

    async def reset(self) -> None:
        """All proxies up, no toxics."""
        for proxy in list(self._by_name.values()):
            await proxy.start()
            proxy.remove_all_toxics()

    def close(self) -> None:
        for name in list(self._by_name):
            self.delete(name)

    def _make(self, name: str, listen: str, upstream: str) -> Proxy:
        return Proxy(name, listen, upstream, self._seed, self._clock, any_upstream=self._any_upstream)
