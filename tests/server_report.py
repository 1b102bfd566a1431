"""What a run of tests says at its end of the servers it used: each one's version, and what became of the tests on it.

redis 6.2.14 embedded: 214 passed
kafka metadata.version 4.3-IV0 at KAFKA_BOOTSTRAP: 41 passed, 1 failed
cassandra: 38 skipped
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tests.real_servers import Running

FIXTURES = {"redis_server": "redis", "kafka_bootstrap": "kafka", "cassandra_hosts": "cassandra"}
OUTCOMES = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped", "xfailed": "failed as expected"}


def used_by(fixtures: Iterable[str], missing: str | None = None) -> frozenset[str]:
    """The servers a test uses, by the names of its fixtures; `missing` is the one it did not get."""
    used = {FIXTURES[name] for name in fixtures if name in FIXTURES}
    return frozenset(used | {missing} if missing else used)


def lines(outcomes: Iterable[tuple[str, frozenset[str]]], servers: Mapping[str, Running]) -> list[str]:
    """`outcomes` is a pair per report: pytest's category and the servers the test uses."""
    counts: dict[str, Counter[str]] = {}
    for category, used in outcomes:
        if outcome := OUTCOMES.get(category):
            for name in used:
                counts.setdefault(name, Counter())[outcome] += 1
    return [f"{_called(name, servers)}: {_counted(counts[name])}" for name in FIXTURES.values() if name in counts]


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in dict.fromkeys(OUTCOMES.values()) if counts[outcome])


def _called(name: str, servers: Mapping[str, Running]) -> str:
    server = servers.get(name)
    return f"{name} {server.version} {server.origin}" if server else name
