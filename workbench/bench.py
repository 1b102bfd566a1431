"""`designs bench NAME`: the book's own measurements, the ones that no comparison of two knob values can show."""

from __future__ import annotations

import re
from collections.abc import Sequence

BENCHES = ("redirect", "growth", "limiter", "leases", "black-hole", "generator", "fault-proxy", "selftest")
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
    if name == "limiter" and not links:
        from workbench.limiter_bench.command import limiter_command, remove_command
        from workbench.limiter_bench.environments import chosen_peers

        return remove_command() if remove_peers else limiter_command(record=record, peers=chosen_peers(peers))
    if peers is not None or remove_peers:
        raise UnknownBench(f"--peers and --remove-peers belong to limiter, not to {name}")
    if name == "growth":
        from workbench.growth import SIZES, growth_command

        return growth_command(record=record, sizes=parsed_sizes(links) if links else SIZES)
    if links:
        raise UnknownBench(f"--links belongs to growth, not to {name}")
    if name == "redirect":
        from workbench.redirect_cost import redirect_command

        return redirect_command(record=record)
    if name == "leases":
        from workbench.lease_bench import leases_command

        return leases_command(record=record)
    if name == "black-hole":
        from workbench.black_hole_bench import black_hole_command

        return black_hole_command(record=record)
    if name == "generator":
        from workbench.generator_bench import generator_command

        return generator_command(record=record)
    if name == "fault-proxy":
        from workbench.proxy_bench import fault_proxy_command

        return fault_proxy_command(record=record)
    if name == "selftest":
        from workbench.selftest import selftest_command

        return selftest_command(record=record)
    raise UnknownBench(f"there is no bench {name!r}; the benches are {', '.join(BENCHES)}")


def parsed_sizes(words: str) -> Sequence[int]:
    """Numbers of links from "10000,100_000 1000000", each once, the smallest first."""
    try:
        sizes = sorted({int(word) for word in re.split(r"[,\s]+", words.strip())})
    except ValueError:
        raise UnknownBench(f"--links {words}: write numbers with commas between them, such as 10000,1000000") from None
    if len(sizes) < 2 or not 1 <= sizes[0] <= sizes[-1] <= MAX_LINKS:
        raise UnknownBench(f"--links {words}: growth compares two sizes or more, from 1 to {MAX_LINKS:,}")
    return sizes
