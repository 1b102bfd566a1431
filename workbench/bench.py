"""`designs bench NAME`: the book's own measurements, the ones that no comparison of two knob values can show."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Imported when it is asked for: module and function, called with `record`.
BENCHES: Mapping[str, tuple[str, str]] = {
    "redirect": ("workbench.redirect_cost", "redirect_command"),
    "growth": ("workbench.growth", "growth_command"),
    "limiter": ("workbench.limiter_bench.command", "limiter_command"),
    "leases": ("workbench.lease_bench", "leases_command"),
    "black-hole": ("workbench.black_hole_bench", "black_hole_command"),
    "generator": ("workbench.generator_bench", "generator_command"),
    "fault-proxy": ("workbench.proxy_bench", "fault_proxy_command"),
    "selftest": ("workbench.selftest", "selftest_command"),
}
MAX_LINKS = 10_000_000


class UnknownBench(ValueError):
    """There is no such bench, or it can't be asked that. The message says what there is."""


class BenchFailed(RuntimeError):
    """A service answered what it must not, so what was measured says nothing."""


def bench_command(name: str, *, record: bool = False, links: str = "", peers: str | None = None, remove_peers: bool = False) -> int:
    """Run a bench, and with `record` keep its figures for the documents. 0 when its requirements hold, 1 when one does not.

    `links` are the sizes that growth compares, such as "10000,1000000"; `peers` the limiters that ours is measured beside, such as
    "limits,slowapi" or "none" (None: all of them). `remove_peers` takes their environments away and measures nothing.
    """
    if name != "limiter" and (peers is not None or remove_peers):
        raise UnknownBench(f"--peers and --remove-peers belong to limiter, not to {name}")
    if name != "growth" and links:
        raise UnknownBench(f"--links belongs to growth, not to {name}")
    if name not in BENCHES:
        raise UnknownBench(f"there is no bench {name!r}; the benches are {', '.join(BENCHES)}")
    module, function = BENCHES[name]
    options: dict[str, Any] = {"sizes": parsed_sizes(links)} if links else {}
    if name == "limiter":
        from workbench.limiter_bench.command import remove_command
        from workbench.limiter_bench.environments import chosen_peers

        if remove_peers:
            return remove_command()
        options["peers"] = chosen_peers(peers)
    command: Callable[..., int] = getattr(importlib.import_module(module), function)
    return command(record=record, **options)


def parsed_sizes(words: str) -> Sequence[int]:
    """Numbers of links from "10000,100_000 1000000", each once, the smallest first."""
    try:
        sizes = sorted({int(word) for word in re.split(r"[,\s]+", words.strip())})
    except ValueError:
        raise UnknownBench(f"--links {words}: write numbers with commas between them, such as 10000,1000000") from None
    if len(sizes) < 2 or not 1 <= sizes[0] <= sizes[-1] <= MAX_LINKS:
        raise UnknownBench(f"--links {words}: growth compares two sizes or more, from 1 to {MAX_LINKS:,}")
    return sizes
