"""`designs bench limiter`: what a decision costs Redis, ours and the public Python limiters', and who keeps its promise.

Everything is on one embedded Redis, in a process for each limiter with Python and packages of its own (`measuring`). Who lets in
more than it promises is disqualified: listed with the count, and not ranked.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.manifest import conditions
from workbench.bench_verdicts import conclude
from workbench.limiter_bench.candidates import FLOOR, OURS, PEERS, TITLES
from workbench.limiter_bench.environments import NotInstalled, python_of, remove, version_of
from workbench.limiter_bench.figures import COLUMNS, rows
from workbench.limiter_bench.measuring import Plan, measured
from workbench.limiter_bench.requirements import remarks, verdicts
from workbench.terminal import say


def remove_command() -> int:
    """Take the environments of the peers away; the next run makes them anew."""
    say("the environments of the other limiters are removed" if remove() else "there were none to remove")
    return 0


def limiter_command(*, record: bool = False, peers: Sequence[str] = PEERS, plan: Plan | None = None) -> int:
    """Measure, print, and answer 0 when every requirement is met, else 1."""
    around = conditions()
    pythons, missing = {OURS: Path(sys.executable)}, []
    for peer in peers:
        try:
            pythons[peer] = python_of(peer)
        except NotInstalled as error:
            missing.append(f"not run: {error}")
    found, redis_version = measured(pythons, plan or Plan())
    versions = {TITLES[peer]: version_of(peer) for peer in pythons if peer != OURS}
    named = "".join(f", {name} {version}" for name, version in versions.items())
    rounds = len(found[FLOOR].allowed_us)
    how = f"measured in {rounds} rounds on Redis {redis_version} without an append-only file{named}"
    return conclude(
        "rate_limiter",
        "limiter",
        COLUMNS,
        rows(found, FLOOR),
        [*verdicts(found), *remarks(found), *missing, how],
        record=record,
        around=dataclasses.replace(around, versions={**around.versions, **versions, "redis-server": redis_version}),
        options="" if tuple(peers) == PEERS and not missing else f"--peers {','.join(p for p in pythons if p != OURS) or 'none'}",
    )
