"""How a design's failure policy worked, in figures: what requests cost while a server was away, and how soon all was well again.

Pure: from what was asked, what struck and what the processes said of themselves. The figures are shown beside the verdict and
decide none of it: times on a shared machine are no proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from loadtests.analysis.statistics import percentile
from loadtests.check.record import PolicyFigure
from loadtests.check.watch import EVERY_S, Look, is_well
from loadtests.comparison.rounds import is_answered
from loadtests.generator.replay import is_sent
from loadtests.history.operation import Struck
from loadtests.report.number_format import count, enumeration, number
from loadtests.workload import Exchange

SLACK_S = 0.05  # what a request may take beyond the deadline of the server it does without
BREAKER_OPEN_S = 1.0  # a breaker lets a probe through after this long
AFTERMATH_S = 1.5  # so long after a fault nothing is called calm
LEAST_FOR_SHARE = 20


def policy_figures(
    op: str, exchanges: Sequence[Exchange], struck: Sequence[Struck], looks: Sequence[Look], deadline_s: float | None
) -> list[PolicyFigure]:
    """The figures of a run, schedule after schedule in the order in which they struck. All times on one clock.

    `op` is what is timed, the design's hottest request. `deadline_s`: how long an answer may take longer than usual while a server
    is away that the design can do without, which Redis is; None where there is no such promise.
    """
    asked = [exchange for exchange in exchanges if exchange.op == op and is_sent(exchange)]
    calm = [exchange for exchange in asked if not any(_meets(exchange, each, AFTERMATH_S) for each in struck)]
    figures = _latency(op, "when calm", calm, None)
    for schedule, strikes in by_schedule(struck).items():
        of_redis = all(strikes_redis(each) for each in strikes)
        under = [exchange for exchange in asked if any(_meets(exchange, each) for each in strikes)]
        bound_s = deadline_s + SLACK_S if of_redis and deadline_s is not None else None
        figures += _latency(op, f"under {schedule}", under, bound_s)
        if of_redis and looks:
            figures += [*_noticed(schedule, strikes, looks), *_recovery(schedule, strikes, struck, looks, deadline_s or 0.0)]
    return [*figures, *_opened(looks)]


def by_schedule(struck: Iterable[Struck]) -> dict[str, list[Struck]]:
    """The strikes of each schedule, in the order of their beginnings."""
    found: dict[str, list[Struck]] = {}
    for each in sorted(struck, key=lambda each: each.began_s):
        found.setdefault(each.schedule or each.kind, []).append(each)
    return found


def strikes_redis(struck: Struck) -> bool:
    """Redis itself, or a link to it."""
    return struck.target.partition("@")[0] == "redis"


def _meets(exchange: Exchange, struck: Struck, aftermath_s: float = 0.0) -> bool:
    """Whether the request was on its way, as a user counts it, during the fault or so long after it."""
    return exchange.intended_s < struck.ended_s + aftermath_s and exchange.end_s > struck.began_s


def _latency(op: str, when: str, asked: Sequence[Exchange], bound_s: float | None) -> list[PolicyFigure]:
    """p99 and worst of the answered ones from the planned start, and the share that was answered."""
    if not asked:
        return []
    waits_ms = sorted(1e3 * (exchange.end_s - exchange.intended_s) for exchange in asked if is_answered(exchange))
    p50, p99 = percentile(waits_ms, 0.5), percentile(waits_ms, 0.99)
    bound_ms = None if bound_s is None else 1e3 * bound_s
    answered = f"{count(len(waits_ms))} of {count(len(asked))} answered"
    spread = f"; p50 {number(p50)} ms, slowest {number(waits_ms[-1])} ms" if p50 is not None else ""
    if p99 is None:
        held_too = f", even so within the {number(bound_ms)} ms" if bound_ms and waits_ms and waits_ms[-1] <= bound_ms else ""
        said = f"{op} {when}: too few for a p99 ({answered}){spread}{held_too}"
    elif bound_ms is None:
        said = f"{op} {when}: p99 {number(p99)} ms{spread}"
    else:
        held = "within" if p99 <= bound_ms else "beyond"
        said = f"{op} {when}: p99 {number(p99)} ms, {held} the {number(bound_ms)} ms of its deadline and slack{spread}"
    figures = [PolicyFigure(name=f"{op} p99 {when}", value=_rounded(p99), unit="ms", bound=bound_ms, sentence=said)]
    if waits_ms:
        slowest = PolicyFigure(
            name=f"{op} slowest {when}",
            value=_rounded(waits_ms[-1]),
            unit="ms",
            sentence=f"{op} {when}: the slowest of {count(len(waits_ms))} answers took {number(waits_ms[-1])} ms",
        )
        figures.append(slowest)
    if len(asked) >= LEAST_FOR_SHARE:
        share = 100 * len(waits_ms) / len(asked)
        said = f"{op} {when}: {answered} ({number(math.floor(share * 100) / 100)} %)"
        figures.append(PolicyFigure(name=f"{op} answered {when}", value=_rounded(share), unit="%", sentence=said))
    return figures


def _noticed(schedule: str, strikes: Sequence[Struck], looks: Sequence[Look]) -> list[PolicyFigure]:
    """How many of the processes said, while the fault lasted, that they do without something."""
    nodes = sorted({look.node for look in looks})
    said_so = sorted(
        {
            look.node
            for look in looks
            if look.state in ("degraded", "down") and any(each.began_s < look.at_s < each.ended_s + AFTERMATH_S for each in strikes)
        }
    )
    who = f"{enumeration(said_so)} said so" if said_so else "no process said so"
    sentence = f"degraded under {schedule}: {who}, of {count(len(nodes))} processes"
    return [PolicyFigure(name=f"degraded under {schedule}", value=float(len(said_so)), unit="", sentence=sentence)]


def _recovery(
    schedule: str, strikes: Sequence[Struck], struck: Sequence[Struck], looks: Sequence[Look], deadline_s: float
) -> list[PolicyFigure]:
    """The longest time from the end of a strike until a process that it hit was ready again, its breaker closed."""
    of_node: dict[str, list[Look]] = {}
    for look in looks:
        of_node.setdefault(look.node, []).append(look)
    took: dict[str, float] = {}
    for strike in strikes:
        until_s = min((each.began_s for each in struck if strikes_redis(each) and each.began_s >= strike.ended_s), default=math.inf)
        for node, seen in of_node.items():
            recovered = recovered_after_s(strike, seen, until_s, partial(_hit, node, struck))
            if recovered is not None:
                took[node] = max(took.get(node, 0.0), recovered)
    name, bound_s = f"recovery after {schedule}", BREAKER_OPEN_S + deadline_s + EVERY_S
    if not took:
        sentence = f"{name}: no process was seen to be hit by it alone"
        return [PolicyFigure(name=name, value=None, unit="s", bound=bound_s, sentence=sentence)]
    slowest = max(took, key=took.__getitem__)
    if math.isinf(took[slowest]):
        sentence = f"{name}: {slowest} was not ready again while it was watched"
        return [PolicyFigure(name=name, value=None, unit="s", bound=bound_s, sentence=sentence)]
    held = "within" if took[slowest] <= bound_s else "beyond"
    sentence = (
        f"{name}: all ready again, breakers closed, {number(took[slowest])} s after its end ({slowest} last), {held} the "
        f"{number(bound_s)} s of one breaker interval, a deadline and a look"
    )
    return [PolicyFigure(name=name, value=_rounded(took[slowest]), unit="s", bound=bound_s, sentence=sentence)]


def recovered_after_s(
    strike: Struck, seen: Sequence[Look], until_s: float, disturbed: Callable[[float, float], bool] = lambda a, b: False
) -> float | None:
    """Seconds from the end of a strike until a process was seen ready with its breaker closed, by its looks in order of time.

    None for one that was well all the time, whom something else hit too, or who was struck again (at `until_s`) before; infinite
    for one that was watched on and did not recover.
    """
    well_at_s = next((look.at_s for look in seen if look.at_s >= strike.ended_s and is_well(look)), None)
    last_s = seen[-1].at_s if seen else strike.ended_s
    hit = any(not is_well(look) for look in seen if strike.began_s <= look.at_s <= (well_at_s or last_s))
    if not hit or (well_at_s or last_s) >= until_s or disturbed(strike.began_s, well_at_s or last_s):
        return None
    return math.inf if well_at_s is None else well_at_s - strike.ended_s


def _hit(node: str, struck: Iterable[Struck], from_s: float, until_s: float) -> bool:
    """Whether a fault of the process itself fell into this time."""
    return any(each.target in (node, "host") and each.began_s <= until_s and each.ended_s >= from_s for each in struck)


def _opened(looks: Sequence[Look]) -> list[PolicyFigure]:
    """How often breakers opened, as their processes count it; a count that falls began anew with its process."""
    if not any(look.breaker for look in looks):
        return []
    opened: dict[str, int] = {}
    last: dict[str, int] = {}
    for look in looks:
        if look.state == "gone":
            continue
        before = last.get(look.node, look.opened)
        opened[look.node] = opened.get(look.node, 0) + (look.opened - before if look.opened >= before else look.opened)
        last[look.node] = look.opened
    each = enumeration([f"{node} {count(times)}" for node, times in sorted(opened.items()) if times])
    sentence = f"circuit breakers opened {count(sum(opened.values()))} times{f': {each}' if each else ''}"
    return [PolicyFigure(name="breakers opened", value=float(sum(opened.values())), unit="", sentence=sentence)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
