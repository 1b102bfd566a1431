"""The verdicts on a history, from what was recorded alone: pure, and the same whether it was just made or read from a file."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.history.operation import HistoryItem
from loadtests.history.recorded import Header
from loadtests.rate_limiter.answer_checks import answered, degraded, told_alike
from loadtests.rate_limiter.evidence import Evidence
from loadtests.rate_limiter.history import History
from loadtests.rate_limiter.limit_checks import bound, nothing_used, retry, room, together
from loadtests.rate_limiter.mixes import SEVERAL, SLOT_OPS, UNIT_OPS, WAITING
from loadtests.rate_limiter.promises import promises_of
from loadtests.rate_limiter.slot_checks import slots
from loadtests.recording import take_all
from loadtests.result import SafetyCheck

# Which operations of a mix give something to judge by.
CHECKS = (
    (bound, UNIT_OPS),
    (room, UNIT_OPS),
    (nothing_used, UNIT_OPS),
    (together, SEVERAL),
    (retry, WAITING),
    (slots, SLOT_OPS),
    (told_alike, None),
    (degraded, None),
    (answered, None),
)


def judge(header: Header, items: Sequence[HistoryItem]) -> list[SafetyCheck]:
    """Every invariant that the header's operations can show."""
    return verdicts(header, take_all(History(), items))


def verdicts(header: Header, history: History) -> list[SafetyCheck]:
    evidence, ops = Evidence(history, promises_of(header)), set(header.ops)
    return [check(evidence) for check, shown_by in CHECKS if shown_by is None or shown_by & ops]
