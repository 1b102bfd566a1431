"""The invariants of single answers: they say one thing, they come, and they do without the store only when they must."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache

from loadtests.faults.kinds import HOST
from loadtests.rate_limiter import promises
from loadtests.rate_limiter.evidence import Evidence
from loadtests.rate_limiter.excuses import SLACK_S, Window, Windows, open_for_s, touches_store, unable
from loadtests.rate_limiter.history import DECIDES, Ask, Said
from loadtests.rate_limiter.promises import Met
from loadtests.rate_limiter.witness import told_ask
from loadtests.result import SafetyCheck
from loadtests.verdict import verdict

VERDICTS = frozenset({200, 422, 429, 503})
SHED = 503
IN_LINE_S = 5.0  # so long a request waits for its turn and its answer together
STORE_FAILED = "temporarily-unavailable"  # ends the type of the problem that says so; who is turned away is told another one
MANY = 0.4  # of the answers while the store is away: so many are kept waiting by nothing but the store
WAITED_S = 1.0  # and by so much more than the deadline, where answers are fast while nothing is wrong
SLOWER = 5.0  # and so many times as long as the slowest of these
FEW = 20
_ITEM = re.compile(r'"([^"]*)"((?:;[a-z]+=[^;,]*)*)(?:, |$)')


def told_alike(evidence: Evidence) -> SafetyCheck:
    """Every answer names the rules that apply with their limits, and its status and its headers say what its body says."""
    judged = 0
    wrong: list[tuple[Ask, str]] = []
    for ask in evidence.asks:
        if ask.f not in DECIDES or not ask.answered or (not ask.said and ask.status not in (200, 422, 429)):
            continue
        judged += 1
        if fault := contradiction(ask, evidence.met(ask), evidence.promises.headers):
            wrong.append((ask, fault))
    counts = {"answers": judged, "contradictions": len(wrong)}
    return verdict(
        promises.TOLD,
        counts,
        wrong=("contradictions",),
        judged=judged,
        offenders=[fault for _, fault in wrong],
        witness=[told_ask(ask) for ask, _ in wrong[:3]],
    )


def contradiction(ask: Ask, met: list[Met], style: str) -> str:
    """What is wrong with an answer by itself, "" where nothing is."""
    said = {each.rule: each for each in ask.said}
    if ask.garbled:
        return "the body is not what it should be"
    if list(said) != [limit.rule for limit in met]:
        return f"it speaks of {', '.join(said) or 'no rule'}, and met {', '.join(limit.rule for limit in met) or 'none'}"
    for limit in met:
        one = said[limit.rule]
        if one.limit != limit.capacity:
            return f"it says that {limit.rule} has {one.limit}, and it has {limit.capacity}"
        if not 0 <= one.remaining <= one.limit:
            return f"{one.remaining} of {one.limit} are left"
        took = ask.cost if ask.f == "check" and ask.allowed and not (one.degraded and limit.policy == "open") else 0
        if not limit.lease_s and one.remaining > one.limit - took:
            return f"{one.remaining} of {one.limit} are left after {took} were taken"
        if one.allowed and one.retry_us != 0:
            return "a rule that admits tells to wait"
    if ask.allowed != all(one.allowed for one in ask.said):
        return f"it {'admits' if ask.allowed else 'refuses'}, and its rules don't"
    if ask.degraded != any(one.degraded for one in ask.said):
        return "it is degraded, and its rules are not" if ask.degraded else "a rule is degraded, and it is not"
    expected = _status(ask, {limit.rule: limit for limit in met})
    if ask.f != "peek" and ask.status != expected:
        return f"its status is {ask.status} where {expected} is meant"
    return "" if ask.batched else _headers(ask, said, style)


def _status(ask: Ask, met: Mapping[str, Met]) -> int:
    if ask.allowed:
        return 200
    refusing = [one for one in ask.said if not one.allowed]
    if all(one.degraded and met[one.rule].policy == "closed" for one in refusing):
        return 503
    return 422 if any(one.retry_us is None for one in refusing) else 429


def _headers(ask: Ask, said: Mapping[str, Said], style: str) -> str:
    headers = ask.headers
    waits = [one.retry_us for one in said.values() if not one.allowed]
    never = any(wait is None for wait in waits)
    expected = "" if ask.allowed or never else str(max(1, math.ceil(max(wait or 0 for wait in waits) / 1e6)))
    if headers.get("retry-after", "") != expected:
        return f"Retry-After is {headers.get('retry-after') or 'missing'} where {expected or 'none'} is meant"
    if style == "current" and said:
        told = listed(headers.get("ratelimit", ""))
        if told is None or {name: item.get("r") for name, item in told.items()} != {
            rule: str(one.remaining) for rule, one in said.items()
        }:
            return f"RateLimit is {headers.get('ratelimit')!r}"
        policy = listed(headers.get("ratelimit-policy", ""))
        if policy is None or {name: item.get("q") for name, item in policy.items()} != {
            rule: str(one.limit) for rule, one in said.items()
        }:
            return f"RateLimit-Policy is {headers.get('ratelimit-policy')!r}"
    elif style in ("draft-06", "x-ratelimit") and said:
        prefix = "ratelimit" if style == "draft-06" else "x-ratelimit"
        pair = headers.get(f"{prefix}-limit", ""), headers.get(f"{prefix}-remaining", "")
        if pair not in {(str(one.limit), str(one.remaining)) for one in said.values()}:
            return f"{prefix}-limit and -remaining are {' and '.join(pair)!r}"
        if not headers.get(f"{prefix}-reset", "").isdecimal():
            return f"{prefix}-reset is {headers.get(f'{prefix}-reset')!r}"
    elif any("ratelimit" in name for name in headers):
        return "there are headers of limits, and there should be none"
    return ""


@lru_cache(maxsize=4_096)
def listed(field: str) -> Mapping[str, Mapping[str, str]] | None:
    """The items of a list of strings with parameters (RFC 9651), as far as limits use it; None where it is none."""
    items, at = {}, 0
    while at < len(field):
        found = _ITEM.match(field, at)
        if found is None:
            return None
        items[found[1]] = dict(pair.split("=", 1) for pair in found[2].split(";") if pair)
        at = found.end()
    return items


def degraded(evidence: Evidence) -> SafetyCheck:
    """Answers do without the store only from a fault on until its breaker has had time, or when they were late themselves.

    And they say what the rule's `on_store_down` says: closed refuses, open admits.
    """
    answers = late = 0
    without: list[Ask] = []
    against: list[Ask] = []
    for ask in evidence.asks:
        if ask.f not in DECIDES or not ask.said:
            continue
        answers += 1
        if not ask.degraded:
            continue
        policies = {limit.rule: limit.policy for limit in evidence.met(ask)}
        for one in ask.said:
            meant = {"closed": False, "open": True}.get(policies.get(one.rule, "local"))
            if one.degraded and meant is not None and one.allowed != meant:
                against.append(ask)
        late += evidence.is_late(ask)
        if not evidence.away(ask.node).meet(ask.sent_s, ask.end_s):
            without.append(ask)
    counts = {
        "answers": answers,
        "degraded": sum(ask.degraded for ask in evidence.asks),
        "degraded_and_late": late,
        "degraded_without_a_reason": len(without),
        "against_the_rules_policy": len(against),
    }
    offenders = [*without, *against]
    return verdict(
        promises.DEGRADED,
        counts,
        wrong=("degraded_without_a_reason", "against_the_rules_policy"),
        judged=answers,
        offenders=[f"{ask.about} on {ask.node}" for ask in offenders],
        witness=[told_ask(ask) for ask in offenders[:3]],
    )


def _nodes(evidence: Evidence) -> list[str]:
    return sorted({ask.node for ask in evidence.asks})


def answered(evidence: Evidence) -> SafetyCheck:
    """A limiter that fails takes down what it protects: a question gets a verdict, whatever became of the store, and gets it soon.

    Not while its process is ended or held still. What changes something in the store (a refund, a release) may be 503 while that is
    away, and a process that is asked more than it can do may turn some away by 503. Where others were answered after a second, or
    not even sent in time, one that was given up proves nothing: there was more to do than this process or its machine can.
    """
    asked = shed = excused = unsent = overwhelmed = 0
    wrong: list[Ask] = []
    waiting: list[Ask] = []
    for node in _nodes(evidence):
        gone = Windows(unable(evidence.history.strikes, node))
        its = [ask for ask in evidence.asks if ask.node == node]
        slow = Windows(Window(ask.sent_s, ask.end_s) for ask in its if ask.status and ask.end_s - ask.sent_s >= WAITED_S)
        in_line = Windows(Window(ask.end_s - IN_LINE_S, ask.end_s + IN_LINE_S) for ask in its if _is_unsent(ask))
        waiting += _kept_waiting(evidence, node, gone)
        asked += len(its)
        for ask in its:
            if _is_unsent(ask):
                unsent += 1
            elif ask.status == 0:
                if gone.meet(ask.sent_s, ask.end_s):
                    excused += 1
                elif slow.meet(ask.sent_s, ask.end_s) or (
                    ask.end_s - ask.sent_s < IN_LINE_S / 2 and in_line.meet(ask.sent_s, ask.end_s)
                ):
                    overwhelmed += 1
                else:
                    wrong.append(ask)
            elif ask.status == SHED and not ask.said and ask.f in DECIDES:
                failed = ask.problem.endswith(STORE_FAILED)
                shed += not failed
                wrong += [ask] if failed else []
            elif ask.status == SHED and ask.f not in DECIDES:
                away = evidence.away(node).meet(ask.sent_s, ask.end_s)
                excused += away
                wrong += [] if away else [ask]
            elif ask.status not in _meant(ask, evidence):
                wrong.append(ask)
    counts = {
        "asked": asked,
        "not_sent": unsent,
        "turned_away": shed,
        "failed_with_its_process_or_store": excused,
        "given_up_while_overwhelmed": overwhelmed,
        "failed": len(wrong),
        "kept_waiting": len(waiting),
    }
    wrong.sort(key=lambda ask: ask.sent_s)
    waiting.sort(key=lambda ask: ask.sent_s)
    return verdict(
        promises.ANSWERED,
        counts,
        wrong=("failed", "kept_waiting"),
        judged=0 if overwhelmed else asked - unsent,
        offenders=[f"{ask.f} -> {ask.status or 'no answer'}" for ask in wrong] + [f"{ask.f}, kept waiting" for ask in waiting],
        witness=[told_ask(ask) for ask in (wrong or waiting)[:3]],
        unknown_because=f"{overwhelmed} were given up while others had to wait for a second and more" if overwhelmed else "",
    )


def _is_unsent(ask: Ask) -> bool:
    return ask.status == 0 and ask.outcome == "fail"


def _kept_waiting(evidence: Evidence, node: str, gone: Windows) -> list[Ask]:
    """What a store that is slow or silent kept waiting far beyond its deadline, if that was no exception.

    No time is judged for itself, since a busy machine may take its time: but where answers are fast while nothing is wrong, and
    many take seconds as soon as the store is away, they have waited for it.
    """
    deadline_s, strikes = evidence.promises.deadline_s, evidence.history.strikes
    after_s = open_for_s(evidence.promises)
    struck = Windows(Window(each.began_s - SLACK_S, each.ended_s + after_s) for each in strikes)
    away = Windows(
        Window(each.began_s, each.ended_s)
        for each in strikes
        if touches_store(each, node, evidence.promises) and each.target != HOST
    )
    its = [ask for ask in evidence.asks if ask.node == node and (ask.status or ask.outcome != "fail")]
    calm = [ask.end_s - ask.sent_s for ask in its if not struck.meet(ask.sent_s, ask.end_s)]
    without = [ask for ask in its if away.meet(ask.sent_s, ask.end_s) and not gone.meet(ask.sent_s, ask.end_s)]
    if len(calm) < FEW:
        return []
    longest_s = deadline_s + max(WAITED_S, SLOWER * max(calm))
    waiting = [ask for ask in without if ask.end_s - ask.sent_s > longest_s]
    return waiting if len(waiting) > MANY * len(without) else []


def _meant(ask: Ask, evidence: Evidence) -> frozenset[int]:
    """The statuses that a question may have."""
    if ask.f in ("check", "acquire"):
        return VERDICTS
    if ask.f == "peek":
        return frozenset({200})
    if ask.f == "refund":
        sketch = any(limit.kind == "sketch" for limit in evidence.met(ask))
        return frozenset({204, 422} if sketch else {204})
    return frozenset({200, 409} if ask.f == "renew" else {200})
