"""What a fault excuses, as times: pure functions from the strikes and observations of a history and what the knobs promise.

An excuse is no verdict: it says when something may have been lost that nobody promised to keep. What then was lost is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.faults.kinds import SERVERS
from loadtests.history.operation import Observation, Struck
from loadtests.url_shortener.promises import Promises

REDIS, KAFKA, HOST = "redis", "kafka", "host"
ENDING = frozenset({"kill", "wipe", "power_loss"})
HOLDING = frozenset({"pause", "slow_store", "disk_full"})  # of a replica: its clicks wait
SLACK_S = 0.5  # between what a client sees and what a process does on a busy machine
UNDER_WAY_S = 15.0  # how long a batch of clicks may be on its way to a server that does not answer, after another one that was
CARRIED_WITHIN_S = 5.0  # undisturbed, what waits in Redis is in the store by then
UNSYNCED_S = 2.0  # Redis promises to sync each second, and writes up to two seconds late while it waits for a disk
# A lone broker that was killed answers before it serves: its old session has to expire first. Until then a replica sends nothing.
KAFKA_SERVES_S = 12.0
BREAKER_S = 1.5  # after a fault of Redis it may be left alone for so long


@dataclass(frozen=True, slots=True)
class Window:
    """From when until when; `node` None: whoever it was. `cause` is the process that was struck."""

    from_s: float
    to_s: float
    node: str | None
    cause: str

    def holds(self, at_s: float, node: str) -> bool:
        return self.from_s <= at_s <= self.to_s and self.node in (None, node)


def touches_redis(struck: Struck, node: str = "") -> bool:
    """Whether this process may have had to do without Redis: the server, its host or the connection was struck."""
    return touches(REDIS, struck, node)


def touches(server: str, struck: Struck, node: str = "") -> bool:
    """Whether this process may have had to do without this server. The host, where it falls, has only Redis on it."""
    return struck.target in (server, f"{server}@{node}") or (server == REDIS and struck.target == HOST)


def restarts(strikes: Iterable[Struck], node: str) -> list[Struck]:
    return [each for each in strikes if each.kind in ENDING and each.target in (node, HOST)]


def click_windows(strikes: Sequence[Struck], observations: Sequence[Observation], promises: Promises) -> list[Window]:
    """Visits answered in these times, by these nodes, may have lost their click.

    A replica that is ended takes with it what it had not sent yet: the clicks of the last `click_flush_ms`, and of as long as it
    could not send any. It also takes its own count of what it had dropped since it last told. Where clicks wait in Redis, one that
    is ended takes what its log had not kept yet, and a wiped one all that waited in it. What Kafka or Cassandra has is never
    excused: they are killed and no more, and what they acknowledge no SIGKILL takes.
    """
    windows = []
    replicas = sorted({each.node for each in observations if each.f == "losses"} | {each.target for each in strikes})
    for node in replicas:
        if node in (*SERVERS, HOST) or "@" in node:
            continue
        told_s = [each.at_s for each in observations if each.f == "losses" and each.node == node]
        for struck in restarts(strikes, node):
            in_the_way = [
                each
                for each in strikes
                if any(touches(server, each, node) for server in promises.click_servers)
                or (each.target == node and each.kind in HOLDING)
            ]
            sent_s = _since(in_the_way, struck.began_s) - promises.flush_s
            heard_s = max((at_s for at_s in told_s if at_s < struck.began_s), default=float("-inf"))
            windows.append(Window(min(sent_s, heard_s) - SLACK_S, struck.ended_s, node, node))
    for struck in restarts(strikes, REDIS) if promises.queue_server == REDIS else ():
        windows.append(Window(_gone_since(strikes, struck) - promises.flush_s, struck.began_s + SLACK_S, None, REDIS))
    return windows


def _gone_since(strikes: Sequence[Struck], ended: Struck) -> float:
    """What Redis was given since then may have gone with it: what its log had not kept, or, if wiped, what waited in it."""
    if ended.kind == "wipe":
        return _since([each for each in strikes if each is not ended], ended.began_s) - CARRIED_WITHIN_S
    return _since([each for each in strikes if touches_redis(each)], ended.began_s) - UNSYNCED_S - SLACK_S


def _since(in_the_way: Iterable[Struck], at_s: float) -> float:
    """The beginning of the earliest of these that was not long over then, or the moment itself."""
    return min([at_s, *(each.began_s for each in in_the_way if each.began_s < at_s <= _felt_until_s(each))])


def _felt_until_s(struck: Struck) -> float:
    """How long a batch of clicks may not get through because of it."""
    serves_s = KAFKA_SERVES_S if struck.target == KAFKA and struck.kind in ENDING else 0.0
    return struck.ended_s + serves_s + UNDER_WAY_S


def links_taken(strikes: Sequence[Struck], promises: Promises) -> list[Window]:
    """Links acknowledged in these times, and not in the store yet, may be gone: what write-behind says of a power loss."""
    if not promises.write_behind:
        return []
    ended = restarts(strikes, REDIS)
    return [Window(_gone_since(strikes, struck), struck.began_s + SLACK_S, None, REDIS) for struck in ended]


def without_redis(strikes: Iterable[Struck], observations: Iterable[Observation], nodes: Iterable[str]) -> list[Window]:
    """When one of these processes may have had no shared cache: it was struck, or it told of calls that failed."""
    wanted = set(nodes)
    windows = [
        Window(struck.began_s, struck.ended_s + BREAKER_S, None, struck.target)
        for struck in strikes
        if struck.target in wanted or any(touches_redis(struck, node) for node in wanted)
    ]
    for earlier, later in _following(observations, "cache"):
        if later.node in wanted and _count(later, "errors") > _count(earlier, "errors"):
            windows.append(Window(earlier.at_s - SLACK_S, later.at_s + BREAKER_S, None, later.node))
    return windows


def largest_clock_offset_s(strikes: Iterable[Struck]) -> float:
    return max((abs(each.attributes.get("seconds", 0.0)) for each in strikes if each.kind == "clock_offset"), default=0.0)


def declared_losses(observations: Iterable[Observation]) -> dict[str, int]:
    """Clicks that the processes say they dropped, and those they are unsure of, since each was first heard.

    A count that is lower than the last one began anew with its process, so all of it is new (as in Prometheus's `increase`).
    """
    declared = {"dropped": 0, "unsure": 0}
    for earlier, later in _following(observations, "losses"):
        for name in declared:
            before, now = _count(earlier, name), _count(later, name)
            declared[name] += now - before if now >= before else now
    return declared


def _following(observations: Iterable[Observation], f: str) -> Iterator[tuple[Observation, Observation]]:
    """Each observation of this kind with the one before it of the same node."""
    last: dict[str, Observation] = {}
    for each in sorted(observations, key=lambda observation: observation.at_s):
        if each.f == f:
            if each.node in last:
                yield last[each.node], each
            last[each.node] = each


def _count(observation: Observation, name: str) -> int:
    value: Mapping[str, Any] = observation.value
    return int(value.get(name, 0))
