"""The invariant of slots: never more held than there are, and whatever was given up or forgotten comes back."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from loadtests.rate_limiter import promises
from loadtests.rate_limiter.evidence import ALONE, Evidence, Place, meets_any
from loadtests.rate_limiter.excuses import Window, counted_anew, latest_s, locked_out
from loadtests.rate_limiter.history import Ask
from loadtests.rate_limiter.promises import Met
from loadtests.rate_limiter.room import SLEW, Interval, most_at_once
from loadtests.rate_limiter.witness import told_ask
from loadtests.result import SafetyCheck
from loadtests.verdict import Line, told, verdict

CLOCK_S = 0.005


@dataclass
class Slots:
    """The slots of one limit in one place. `sure`: surely held then; `perhaps`: held then at most."""

    limit: Met
    where: str
    sure: list[tuple[Interval, str]] = field(default_factory=list)  # with the token
    perhaps: list[Interval] = field(default_factory=list)
    refused: list[Ask] = field(default_factory=list)

    @property
    def node(self) -> str:
        return self.where.removesuffix(ALONE)

    @property
    def capacity(self) -> int:
        return self.limit.quota


def slots(evidence: Evidence) -> SafetyCheck:
    """Overlapping holds that are sure are no more than there are slots, and nobody is refused while fewer than that can be held.

    A hold is sure from its answer until it is given back or its lease may have run out, whichever comes first; it may last from its
    question until it certainly was given back, or its lease has certainly run out. So dead clients' slots are back in time.
    """
    places: dict[Place, Slots] = {}
    lost_early: list[tuple[Ask, list[Ask]]] = []
    acquired = refused = died = 0
    by_token: dict[str, list[Ask]] = {}
    for ask in evidence.asks:
        if ask.token:
            by_token.setdefault(ask.token, []).append(ask)
    for asks in by_token.values():
        admitted = [ask for ask in asks if ask.f == "acquire" and ask.allowed]
        acquired += len(admitted)
        refused += sum(ask.f == "acquire" and ask.answered and not ask.allowed for ask in asks)
        died += bool(admitted) and not any(ask.f == "release" for ask in asks)
        lost_early += _held(evidence, asks, places)
    over: list[tuple[Slots, int, float]] = []
    wrongly: list[tuple[Slots, Ask]] = []
    unjudged = 0
    for _, each in sorted(places.items()):
        most, at_s = most_at_once(_between_losses(evidence, each))
        if most > each.capacity:
            over.append((each, most, at_s))
        out = locked_out(evidence.history.strikes, each.node, each.limit.lease_s, evidence.promises)
        begins = sorted(from_s for from_s, _, _ in each.perhaps)
        ends = sorted(to_s for _, to_s, _ in each.perhaps)
        for ask in each.refused:
            if meets_any(out, ask.sent_s, ask.end_s) or (each.where and evidence.shares_buckets):
                unjudged += 1
            elif bisect_right(begins, ask.end_s) - bisect_left(ends, ask.sent_s) < each.capacity:
                wrongly.append((each, ask))
    counts = {
        "acquired": acquired,
        "refused": refused,
        "refusals_not_judged": unjudged,
        "never_given_back": died,
        "beyond_the_slots": sum(most - each.capacity for each, most, _ in over),
        "refused_while_free": len(wrongly),
        "lost_before_the_lease_ended": len(lost_early),
    }
    over.sort(key=lambda each: each[2])
    wrongly.sort(key=lambda each: each[1].sent_s)
    lost_early.sort(key=lambda each: each[0].sent_s)
    offenders = [f"{each.limit.rule} of {each.limit.item}" for each, _, _ in over]
    offenders += [f"{each.limit.rule} of {each.limit.item}" for each, _ in wrongly] + [ask.token for ask, _ in lost_early]
    return verdict(
        promises.SLOTS,
        counts,
        wrong=("beyond_the_slots", "refused_while_free", "lost_before_the_lease_ended"),
        judged=acquired,
        offenders=offenders,
        witness=_witness(evidence, over, wrongly, lost_early),
    )


@dataclass
class _Token:
    """What one token held of one limit, step by step: it holds one thing surely, and may hold more than it was told of."""

    limit: Met
    here: str  # where the usual count is
    places: dict[Place, Slots]
    token: str
    held: bool = False
    at: str = ""  # where it surely holds a slot, from when until when
    from_s: float = 0.0
    until_s: float = 0.0
    perhaps: dict[str, tuple[float, float]] = field(default_factory=dict)  # where -> from, until

    def place(self, where: str) -> Slots:
        return self.places.setdefault((*self.limit.key, where), Slots(self.limit, where))

    def surely(self, where: str, ask: Ask) -> None:
        """It has a new lease."""
        if self.held and (where != self.at or ask.sent_s > self.until_s):
            self.no_more(self.until_s)
        if not self.held:
            self.held, self.at, self.from_s = True, where, ask.end_s
        self.until_s = ask.sent_s + self.limit.lease_s * (1 - SLEW) - CLOCK_S
        self.may(where, ask, ask.end_s + self.limit.lease_s * (1 + SLEW) + CLOCK_S)

    def renewed(self, ask: Ask) -> None:
        """What the replica has given by itself is renewed there, all else in the store; it does not tell which."""
        alone = ask.node + ALONE
        if self.held and self.at == alone and ask.end_s < self.until_s:
            self.surely(alone, ask)
        elif alone not in self.perhaps:
            self.surely(self.here, ask)
        else:
            for where in (self.here, alone):
                self.may(where, ask, ask.end_s + self.limit.lease_s * (1 + SLEW) + CLOCK_S)

    def may(self, where: str, ask: Ask, until_s: float) -> None:
        from_s, earlier_s = self.perhaps.get(where, (ask.sent_s, until_s))
        self.perhaps[where] = from_s, max(earlier_s, until_s)

    def no_more(self, at_s: float) -> None:
        if self.held and (to_s := min(self.until_s, at_s)) > self.from_s:
            self.place(self.at).sure.append(((self.from_s, to_s, 1), self.token))
        self.held = False

    def nothing_left(self, at_s: float, where: str) -> None:
        """By then it certainly holds nothing there."""
        if where in self.perhaps:
            from_s, until_s = self.perhaps.pop(where)
            self.place(where).perhaps.append((from_s, min(until_s, at_s), 1))


def _held(evidence: Evidence, asks: Sequence[Ask], places: dict[Place, Slots]) -> Iterator[tuple[Ask, list[Ask]]]:
    """Put what one token held where it belongs; gives what it was told not to hold any more although it must have."""
    for limit in evidence.met(asks[0]):
        its = _Token(limit, evidence.store_of(asks[0].node), places, asks[0].token)
        for ask in asks:
            its.here = evidence.store_of(ask.node)
            if ask.f == "acquire":
                _acquired(evidence, its, ask)
                continue
            knows = its.at in (its.here, ask.node + ALONE)  # what a replica gave without its store, only it knows of
            must_hold = its.held and knows and ask.end_s < its.until_s
            if ask.held is False and must_hold and not _disturbed(evidence, its.at, its.from_s, ask.end_s):
                yield ask, list(asks)
            if ask.held and ask.f == "renew":
                its.renewed(ask)
                continue
            its.no_more(ask.sent_s)  # even where it failed, something may have been given back
            if ask.held is None and ask.f == "renew":
                its.may(its.here, ask, _late_s(evidence, ask) + limit.lease_s)
            elif ask.held is not None and ask.f == "release":
                for where in (its.here, ask.node + ALONE):
                    its.nothing_left(ask.end_s, where)
        its.no_more(float("inf"))
        for where in list(its.perhaps):
            its.nothing_left(float("inf"), where)


def _acquired(evidence: Evidence, its: _Token, ask: Ask) -> None:
    limit, late_s = its.limit, _late_s(evidence, ask) + its.limit.lease_s
    said = next((each for each in ask.said if each.rule == limit.rule), None)
    if said is None:
        if not ask.answered:
            its.may(its.here, ask, late_s)
            its.may(ask.node + ALONE, ask, late_s)
        return
    if said.degraded:
        its.may(its.here, ask, late_s)  # the store may have given it before it was given up
        if limit.policy != "local":
            return
    where = ask.node + ALONE if said.degraded else its.here
    if not said.allowed:
        its.place(where).refused.append(ask)
    elif ask.allowed:
        its.surely(where, ask)


def _late_s(evidence: Evidence, ask: Ask) -> float:
    return latest_s(ask.sent_s, ask.end_s, evidence.history.strikes, ask.node, evidence.promises)


def _disturbed(evidence: Evidence, where: str, from_s: float, to_s: float) -> bool:
    """Whether its slots may have been forgotten since."""
    return meets_any(counted_anew(evidence.history.strikes, where.removesuffix(ALONE), evidence.promises), from_s, to_s)


def _between_losses(evidence: Evidence, each: Slots) -> list[Interval]:
    """What was surely held, cut where the count may have been lost."""
    lost: list[Window] = counted_anew(evidence.history.strikes, each.node, evidence.promises)
    held = []
    for (from_s, to_s, units), _ in each.sure:
        cut_s = min((window.from_s for window in lost if window.to_s >= from_s), default=to_s)
        held.append((from_s, min(to_s, cut_s), units))
    return held


def _witness(
    evidence: Evidence,
    over: list[tuple[Slots, int, float]],
    wrongly: list[tuple[Slots, Ask]],
    lost_early: list[tuple[Ask, list[Ask]]],
) -> list[Line]:
    if over:
        each, most, at_s = over[0]
        holders = [token for (from_s, to_s, _), token in each.sure if from_s <= at_s < to_s]
        asks = [ask for ask in evidence.asks if ask.f == "acquire" and ask.token in holders and ask.allowed]
        said = f"{each.limit.rule} of {each.limit.item}: {most} slots held, and there are {each.capacity}"
        return [*(told_ask(ask) for ask in asks[-5:]), told(at_s, said)]
    if wrongly:
        each, ask = wrongly[0]
        can = [hold for hold in each.perhaps if hold[0] <= ask.end_s and hold[1] >= ask.sent_s]
        said = f"{each.limit.rule} of {each.limit.item}: at most {len(can)} of {each.capacity} slots can be held"
        return [told(ask.sent_s, said), told_ask(ask)]
    if lost_early:
        ask, asks = lost_early[0]
        return [told_ask(each) for each in asks if each.sent_s <= ask.sent_s][-6:]
    return []
