"""The invariants of limits: no more than promised, no refusal while there is room, all or nothing, and waits that are worth it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import groupby

from loadtests.rate_limiter import promises
from loadtests.rate_limiter.evidence import Count, Evidence, meets_any
from loadtests.rate_limiter.history import Ask, Said
from loadtests.rate_limiter.promises import Met
from loadtests.rate_limiter.room import SLEW, TINY, Excess, Interval, excess
from loadtests.rate_limiter.witness import told_ask
from loadtests.result import SafetyCheck
from loadtests.verdict import Line, told, verdict

CLOCK_S = 0.002  # between two clocks that are read one after the other
SHOWN_BEFORE, SHOWN_AFTER = 2, 3


def bound(evidence: Evidence) -> SafetyCheck:
    """The cost of what was certainly admitted within a span is never more than the rule's algorithm promises for it.

    Between one loss of the count and the next; what only a loss explains is counted apart. An answer that did without the store
    counts where it was given: `local` for that replica, `open` nowhere.
    """
    over: list[tuple[Count, Excess, list[Ask]]] = []
    admitted = leased = by_a_loss = 0
    for _, count in sorted(evidence.counts.items()):
        allowance = 0 if count.alone else evidence.promises.leased(count.limit)
        admitted += len(count.admitted)
        leased = max(leased, allowance)
        found = [(each, asks) for asks, each in _excesses(evidence, count, allowance)]
        over += [(count, each, asks) for each, asks in found]
        if not found and sum(ask.cost for ask in count.admitted) > count.limit.capacity:
            all_of_it = excess(count.limit, _intervals(count.admitted), count.given_back, allowance, evidence.promises.clock)
            by_a_loss += all_of_it.units if all_of_it is not None else 0
    degraded = [ask for ask in evidence.asks if ask.f == "check" and ask.degraded and ask.allowed]
    counts = {
        "counts": len(evidence.counts),
        "admissions": admitted,
        "admitted_without_the_store": len(degraded),
        "lease_allowance": leased,
        "beyond_by_a_loss_of_the_count": by_a_loss,
        "over_admitted": sum(each.units for _, each, _ in over),
        "limits_broken": len(over),
    }
    over.sort(key=lambda each: (each[1].from_s, each[0].limit.key))
    return verdict(
        promises.BOUND,
        counts,
        wrong=("over_admitted",),
        judged=admitted + len(degraded),
        offenders=[f"{count.limit.rule} of {count.limit.item}" for count, _, _ in over],
        witness=_too_many(*over[0]) if over else (),
    )


def _excesses(evidence: Evidence, count: Count, allowance: int) -> Iterator[tuple[list[Ask], Excess]]:
    limit, clock = count.limit, evidence.promises.clock
    if sum(ask.cost for ask in count.admitted) <= limit.capacity and limit.algorithm != "leaky_queue":
        return  # no span holds more than all of it
    for admitted, given_back in evidence.stretches(count):
        found = excess(limit, _intervals(admitted), given_back, allowance, clock)
        if found is None and limit.algorithm == "leaky_queue":
            # What leaves, each at the end of its wait, is evenly spaced. Where several rules made it wait, nobody can say whose.
            alone = [ask for ask in admitted if len(evidence.met(ask)) == 1]
            leaving = [(ask.sent_s + ask.delay_us / 1e6, ask.end_s + ask.delay_us / 1e6, ask.cost) for ask in alone]
            if leaving and len(alone) == len(admitted):
                at_once = max(ask.cost for ask in alone)
                # Who comes after what was given back may leave beside those who were told to wait behind it.
                beside = [(sent_s, end_s + limit.horizon_s, units) for sent_s, end_s, units in given_back]
                found = excess(_queue(limit, at_once), leaving, beside, allowance, clock)
        if found is not None:
            yield admitted, found


def _queue(limit: Met, at_once: int) -> Met:
    return Met(limit.rule, limit.item, "bucket", limit.algorithm, limit.quota, limit.period_s, at_once, limit.policy)


def _intervals(asks: Iterable[Ask]) -> list[Interval]:
    return [(ask.sent_s, ask.end_s, ask.cost) for ask in asks]


def _too_many(count: Count, over: Excess, admitted: list[Ask]) -> list[Line]:
    """The first and last of what passed in the span."""
    limit = count.limit
    within = [ask for ask in admitted if ask.sent_s >= over.from_s and ask.end_s <= over.to_s]
    span_ms = 1e3 * (over.to_s - over.from_s)
    said = (
        f"{limit.rule} of {limit.item} ({limit.algorithm}, {limit.quota} per {limit.period_s:g} s, {limit.capacity} at once): "
        f"{sum(ask.cost for ask in within)} units within {span_ms:.0f} ms, {over.units} too many"
    )
    shown = within if len(within) <= SHOWN_BEFORE + SHOWN_AFTER else within[:SHOWN_BEFORE] + within[-SHOWN_AFTER:]
    return [told(over.from_s, said), *(told_ask(ask) for ask in shown)]


def room(evidence: Evidence) -> SafetyCheck:
    """A refusal is wrong when there was room even if all that may have been decided before it was, as late as can be.

    A sketch may refuse who has done nothing, and so may a replica whose memory is full; a clock that was put wrong may lock out for
    as long as it was wrong. These are not judged.
    """
    judged = unjudged = 0
    wrong: list[tuple[Count, Ask]] = []
    for _, count in sorted(evidence.counts.items()):
        limit = count.limit
        refused = [(ask, said) for ask, said in count.seen if not said.allowed]
        if limit.kind == "sketch" or (count.where and evidence.shares_buckets):
            unjudged += len(refused)
            continue
        out, held_back = evidence.locked_out(count), evidence.held_back(limit)
        for ask, said in refused:
            if meets_any(out, ask.sent_s, ask.end_s):
                unjudged += 1
                continue
            judged += 1
            room = limit.capacity * (1 - SLEW) - count.use.most(ask.sent_s, ask.end_s) - held_back
            never = said.retry_us is None and ask.cost <= limit.capacity
            if never or ask.cost <= room - TINY:
                wrong.append((count, ask))
    answered = sum(len(count.seen) for count in evidence.counts.values())
    counts = {"answers": answered, "refusals": judged, "refusals_not_judged": unjudged, "refused_wrongly": len(wrong)}
    wrong.sort(key=lambda each: each[1].sent_s)
    return verdict(
        promises.ROOM,
        counts,
        wrong=("refused_wrongly",),
        judged=answered,
        offenders=[f"{count.limit.rule} of {count.limit.item}" for count, _ in wrong],
        witness=_before(*wrong[0]) if wrong else (),
    )


def _before(count: Count, ask: Ask) -> list[Line]:
    """What passed last before an answer that does not fit, and the answer."""
    earlier = [each for each in count.admitted if each.sent_s < ask.end_s and each is not ask]
    limit = count.limit
    left = limit.capacity - count.use.most(ask.sent_s, ask.end_s)
    said = f"{limit.rule} of {limit.item}: at least {left:.1f} of {limit.capacity} were left"
    return [*(told_ask(each) for each in earlier[-4:]), told(ask.sent_s, said), told_ask(ask)]


def nothing_used(evidence: Evidence) -> SafetyCheck:
    """What a rule says is left is never less than what the admitted can have left: a refusal and a look take nothing."""
    return _left(evidence, promises.NOTHING_USED, innocent=False)


def together(evidence: Evidence) -> SafetyCheck:
    """The same for limits that had room for a request which another one refused: the request took nothing from them either.

    A request of several limits that all of them admitted is counted by all, which `bound` judges.
    """
    several = sum(ask.f == "check" and len(ask.said) > 1 for ask in evidence.asks)
    found = _left(evidence, promises.TOGETHER, innocent=True)
    counts = {"requests_of_several_limits": several, **found.counts}
    verdict = "valid" if found.verdict == "unknown" and several else found.verdict
    return found.model_copy(update={"counts": counts, "verdict": verdict, "detail": found.detail if verdict == "invalid" else ""})


def _left(evidence: Evidence, name: str, *, innocent: bool) -> SafetyCheck:
    judged = refusals = unjudged = 0
    short: list[tuple[Count, Ask]] = []
    for _, count in sorted(evidence.counts.items()):
        limit = count.limit
        if count.innocent != innocent:
            continue
        if limit.kind == "sketch" or evidence.promises.leased(limit) or (count.where and evidence.shares_buckets):
            unjudged += len(count.seen)
            continue
        out = evidence.locked_out(count)
        for ask, said in count.seen:
            refusals += not ask.allowed
            if meets_any(out, ask.sent_s, ask.end_s):
                unjudged += 1
                continue
            judged += 1
            left = limit.capacity * (1 - SLEW) - count.use.most(ask.sent_s, ask.end_s)
            # What is left is told in whole units, rounded down twice where an estimate is.
            if said.remaining < left - 2:
                short.append((count, ask))
    counts = {"answers": judged, "answers_not_judged": unjudged, "refusals": refusals, "less_left_than_can_be": len(short)}
    short.sort(key=lambda each: each[1].sent_s)
    return verdict(
        name,
        counts,
        wrong=("less_left_than_can_be",),
        judged=judged + unjudged,
        offenders=[f"{count.limit.rule} of {count.limit.item}" for count, _ in short],
        witness=_before(*short[0]) if short else (),
    )


def retry(evidence: Evidence) -> SafetyCheck:
    """Who asks the same again when his wait is over and nobody came before, is admitted; no wait is longer than it must be."""
    came_back = raced = unpromised = 0
    wrong: list[tuple[Ask, Ask]] = []
    too_long: list[Ask] = []
    waits = 0
    checks = sorted((ask for ask in evidence.asks if ask.f == "check"), key=_same)
    for _, alike in groupby(checks, key=lambda ask: (ask.about, ask.cost)):
        asks = list(alike)
        sent_s = [ask.sent_s for ask in asks]
        for ask in asks:
            wait_s = _wait_s(ask)
            if wait_s is None:
                continue
            waits += 1
            if not _all_known(evidence, ask):
                unpromised += 1
                continue
            if _too_long(evidence, ask):
                too_long.append(ask)
            place = bisect_left(sent_s, ask.end_s + wait_s * (1 + SLEW) + CLOCK_S)
            again = asks[place] if place < len(asks) else None
            if again is None or not again.answered or again.degraded or not again.said or not _all_known(evidence, again):
                continue
            if any(count.use.begun_between(ask.sent_s, again.end_s) > _own(again) for count in _counts(evidence, ask)):
                raced += 1
            elif again.allowed:
                came_back += 1
            else:
                wrong.append((ask, again))
    counts = {
        "waits_told": waits,
        "waits_not_judged": unpromised,
        "came_back_and_got_in": came_back,
        "others_came_first": raced,
        "refused_again": len(wrong),
        "told_to_wait_too_long": len(too_long),
    }
    wrong.sort(key=lambda each: each[0].sent_s)
    too_long.sort(key=lambda each: each.sent_s)
    witness = [told_ask(wrong[0][0]), told_ask(wrong[0][1])] if wrong else [told_ask(ask) for ask in too_long[:1]]
    return verdict(
        promises.RETRY,
        counts,
        wrong=("refused_again", "told_to_wait_too_long"),
        judged=sum(ask.answered for ask in checks),
        offenders=[ask.about for ask, _ in wrong] + [ask.about for ask in too_long],
        witness=witness,
    )


def _same(ask: Ask) -> tuple[str, int, float, float]:
    return ask.about, ask.cost, ask.sent_s, ask.end_s


def _own(ask: Ask) -> int:
    return ask.cost if ask.allowed else 0


def _wait_s(ask: Ask) -> float | None:
    """How long it was told to wait; None where it was not, or will never get in."""
    if ask.allowed or ask.degraded or not ask.answered or ask.garbled:
        return None
    waits = [said.retry_us for said in ask.said if not said.allowed]
    if not waits or any(wait is None for wait in waits):
        return None
    return max(wait for wait in waits if wait is not None) / 1e6


def _counts(evidence: Evidence, ask: Ask) -> list[Count]:
    here = evidence.store_of(ask.node)
    return [count for limit in evidence.met(ask) if (count := evidence.counts.get((*limit.key, here))) is not None]


def _all_known(evidence: Evidence, ask: Ask) -> bool:
    """Whether no clock, sketch, lease or full memory may have a part in how long it has to wait."""
    for count in _counts(evidence, ask):
        if count.limit.kind == "sketch" or evidence.promises.leased(count.limit):
            return False
        if meets_any(evidence.locked_out(count), ask.sent_s, ask.end_s) or (count.where and evidence.shares_buckets):
            return False
    return True


def _too_long(evidence: Evidence, ask: Ask) -> bool:
    said: dict[str, Said] = {each.rule: each for each in ask.said}
    for count in _counts(evidence, ask):
        limit, one = count.limit, said.get(count.limit.rule)
        if one is None or one.allowed or one.retry_us is None:
            continue
        longest_s = limit.horizon_s
        if limit.kind == "bucket":
            longest_s = (count.use.most(ask.sent_s, ask.end_s) + ask.cost - limit.capacity) * limit.gap_s
        if one.retry_us / 1e6 > longest_s * (1 + SLEW) + CLOCK_S:
            return True
    return False
