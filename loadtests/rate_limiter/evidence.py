"""A history by limit: for each rule and whom it counts, what passed, what may have been used, and what was refused.

A limit has one count in the shared store and, for answers that had to do without it, one in each replica. Each is judged by itself,
which is how a limit that all replicas share becomes at most one more limit per replica while they are on their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from loadtests.rate_limiter.excuses import Window, Windows, away, counted_anew, latest_s, locked_out, open_for_s
from loadtests.rate_limiter.history import Ask, History, Said, when
from loadtests.rate_limiter.promises import Met, Promises
from loadtests.rate_limiter.room import Interval, PossibleUse

Place: TypeAlias = tuple[str, str, str]  # rule, item, where
LATE_SHARE = 0.9  # of the deadline
UNAVAILABLE = 503
ALONE = " alone"  # ends the place of what a replica counts when it has to do without its store


@dataclass
class Count:
    """One count of one limit.

    `where`: "" in the store that all share, else the node, and `ALONE` for what it counts without its store.
    """

    limit: Met
    where: str
    admitted: list[Ask] = field(default_factory=list)
    unknown: list[Interval] = field(default_factory=list)
    given_back: list[Interval] = field(default_factory=list)  # certainly or perhaps
    surely_given_back: list[Interval] = field(default_factory=list)
    seen: list[tuple[Ask, Said]] = field(default_factory=list)  # answers from this count: admitted, refused or only looked at
    innocent: bool = False  # it had room for a request that another limit refused

    @property
    def node(self) -> str:
        return self.where.removesuffix(ALONE)

    @property
    def alone(self) -> bool:
        return self.where.endswith(ALONE)

    @cached_property
    def use(self) -> PossibleUse:
        taken = [(ask.sent_s, ask.end_s, ask.cost) for ask in self.admitted]
        return PossibleUse(self.limit, taken + self.unknown, self.surely_given_back)


@dataclass
class Evidence:
    """A history and what was promised, with what follows from both. Made once, when all is taken in."""

    history: History
    promises: Promises

    @cached_property
    def asks(self) -> list[Ask]:
        return sorted(self.history.asks, key=when)

    @cached_property
    def _met(self) -> dict[tuple[str, bool], list[Met]]:
        return {}

    def met(self, ask: Ask) -> list[Met]:
        """The limits it meets: those of slots for an acquire, a renewal and a release, of units for all else."""
        of_slots = ask.f in ("acquire", "renew", "release")
        found = self._met.get((ask.about, of_slots))
        if found is None:
            limits = self.promises.slots if of_slots else self.promises.met
            found = self._met[ask.about, of_slots] = limits(ask.descriptor, ask.tier)
        return found

    def store_of(self, node: str) -> str:
        """Where the usual count is."""
        return node if self.promises.store == "memory" else ""

    @cached_property
    def counts(self) -> dict[Place, Count]:
        """All counts of units by rule, item and place."""
        found: dict[Place, Count] = {}
        for ask in self.asks:
            if ask.f not in ("check", "peek", "refund"):
                continue
            met, here = self.met(ask), self.store_of(ask.node)

            def count(limit: Met, where: str) -> Count:
                place = (*limit.key, where)
                if place not in found:
                    found[place] = Count(limit, where)
                return found[place]

            if ask.f == "refund":
                for limit in met:
                    self._give_back(count(limit, here), ask)
            elif not ask.answered or ask.garbled:
                if ask.f == "check":
                    for limit in met:
                        self._unknown(count(limit, here), ask)
                        if limit.policy == "local":
                            self._unknown(count(limit, ask.node + ALONE), ask)
            else:
                said = {each.rule: each for each in ask.said}
                for limit in met:
                    if limit.rule not in said:
                        continue
                    one = said[limit.rule]
                    where = ask.node + ALONE if one.degraded else here
                    if one.degraded and ask.f == "check":
                        self._unknown(count(limit, here), ask)  # the store may have counted it before it was given up
                    if one.degraded and limit.policy != "local":
                        continue
                    its = count(limit, where)
                    its.seen.append((ask, one))
                    if ask.f == "check" and ask.allowed and ask.cost:
                        its.admitted.append(ask)
                    its.innocent |= ask.f == "check" and not ask.allowed and one.allowed
        return found

    def _unknown(self, count: Count, ask: Ask) -> None:
        until_s = latest_s(ask.sent_s, ask.end_s, self.history.strikes, ask.node, self.promises)
        count.unknown.append((ask.sent_s, until_s, ask.cost))

    def _give_back(self, count: Count, ask: Ask) -> None:
        if ask.outcome == "info":
            until_s = latest_s(ask.sent_s, ask.end_s, self.history.strikes, ask.node, self.promises)
            count.given_back.append((ask.sent_s, until_s, ask.cost))
        elif ask.outcome == "ok":
            count.given_back.append((ask.sent_s, ask.end_s, ask.cost))
            count.surely_given_back.append((ask.sent_s, ask.end_s, ask.cost))

    def stretches(self, count: Count) -> Iterator[tuple[list[Ask], list[Interval]]]:
        """What was admitted between one loss of the count and the next, and what was given back then.

        What lies across is not judged.
        """
        from_s = float("-inf")
        for lost in [*counted_anew(self.history.strikes, count.node, self.promises), Window(float("inf"), float("inf"))]:
            admitted = [ask for ask in count.admitted if ask.sent_s >= from_s and ask.end_s <= lost.from_s]
            given_back = [each for each in count.given_back if each[1] >= from_s and each[0] <= lost.from_s]
            if admitted:
                yield admitted, given_back
            from_s = max(from_s, lost.to_s)

    def away(self, node: str) -> Windows:
        """When this node may have had to do without its store: a fault, a breaker that opened, an answer that was late itself."""
        if node not in self._away:
            late = [
                Window(ask.sent_s, ask.end_s + open_for_s(self.promises))
                for ask in self.asks
                if ask.node == node and self.is_late(ask) and (ask.degraded or ask.status == UNAVAILABLE)
            ]
            struck = away(self.history.strikes, self.history.observations, node, self.promises)
            self._away[node] = Windows([*struck, *late])
        return self._away[node]

    def is_late(self, ask: Ask) -> bool:
        """Whether it took so long that it may have waited for the store in vain."""
        return ask.end_s - ask.sent_s >= LATE_SHARE * self.promises.deadline_s

    @cached_property
    def _away(self) -> dict[str, Windows]:
        return {}

    def locked_out(self, count: Count) -> list[Window]:
        return locked_out(self.history.strikes, count.node, count.limit.horizon_s, self.promises)

    @cached_property
    def shares_buckets(self) -> bool:
        """Whether a replica's own memory may have been full, so that keys share buckets: they are refused for each other's use."""
        told = any(
            int(said) > 0 for each in self.history.observations if isinstance(said := each.value.get("shared", 0), int | float)
        )
        return told or len({(rule, item) for rule, item, _ in self.counts}) >= self.promises.memory_keys

    def held_back(self, limit: Met) -> float:
        """Units that replicas may have leased and let run out within the time that counts; with `local_lease` alone.

        A process that is started again leases anew.
        """
        leased = self.promises.leased(limit)
        if not leased:
            return 0.0
        leases = 2 + limit.horizon_s / self.promises.lease_s + len(self.history.strikes)
        return leased * leases


def meets_any(windows: Iterable[Window], sent_s: float, end_s: float) -> bool:
    return any(window.meets(sent_s, end_s) for window in windows)
