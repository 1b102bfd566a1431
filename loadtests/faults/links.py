"""Faults of connections, done by the proxy that stands in their way: a fault may mean several links, and a link two toxics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Protocol

from loadtests.faults.describe import describe
from loadtests.faults.schedule import Fault, Stream

STREAMS: Mapping[Stream, tuple[Stream, ...]] = {
    "downstream": ("downstream",),
    "upstream": ("upstream",),
    "both": ("upstream", "downstream"),
}


class NoLink(RuntimeError):
    """The proxy has no link of that name, so that the fault would do nothing."""


class Links(Protocol):
    """What this needs of a proxy's control; `loadtests.faults.proxy.client.ProxyControl` has it."""

    def proxies(self) -> Iterable[str]:
        """Names of the links, such as "redis@replica-1"."""

    def add_toxic(
        self,
        proxy: str,
        type: str,
        attributes: Mapping[str, float],
        *,
        stream: Stream = "downstream",
        toxicity: float = 1.0,
        name: str | None = None,
    ) -> str: ...
    def remove_toxic(self, proxy: str, name: str) -> None: ...
    def set_enabled(self, proxy: str, enabled: bool) -> None: ...
    def reset(self) -> None: ...


class LinkFaults:
    """Begins and ends faults of connections. May be called from several threads; `end` and `reset` may be called again."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._lock = threading.Lock()
        self._serial = count(1)
        self._undo: dict[tuple[object, ...], list[Callable[[], object]]] = {}

    def begin(self, fault: Fault) -> str:
        """Spoil every link that the target means. Raises `NoLink` where it means none, and what the control raises."""
        names = [name for name in self._links.proxies() if name == fault.target or name.startswith(f"{fault.target}@")]
        if not names:
            raise NoLink(f"the proxy has no link {fault.target!r}")
        with self._lock:
            undo = self._undo.setdefault(_key(fault), [])
        for name in names:
            if fault.kind == "down":
                undo.append(partial(self._links.set_enabled, name, True))
                self._links.set_enabled(name, False)
                continue
            for stream in STREAMS[fault.stream]:
                toxic = f"{fault.kind}_{stream}_{next(self._serial)}"  # a link may have two of one kind
                self._links.add_toxic(name, fault.kind, fault.attributes, stream=stream, toxicity=fault.toxicity, name=toxic)
                undo.append(partial(self._links.remove_toxic, name, toxic))
        return describe(fault)

    def end(self, fault: Fault) -> str:
        """Take back what this fault did, and leave what others did."""
        with self._lock:
            undo = self._undo.get(_key(fault), [])
        while undo:
            undo[-1]()
            undo.pop()
        with self._lock:
            self._undo.pop(_key(fault), None)
        return f"no longer: {describe(fault)}"

    def reset(self) -> None:
        """Every link as new, whoever spoilt it."""
        self._links.reset()
        with self._lock:
            self._undo.clear()


def _key(fault: Fault) -> tuple[object, ...]:
    return fault.kind, fault.target, fault.at_s, fault.stream
