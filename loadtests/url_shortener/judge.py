"""The verdicts on a history, from what was recorded alone: pure, and the same whether it was just made or read from a file."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.history.operation import HistoryItem
from loadtests.history.recorded import Header
from loadtests.recording import take_all
from loadtests.result import SafetyCheck
from loadtests.url_shortener.click_checks import clicks_conserved
from loadtests.url_shortener.evidence import Evidence
from loadtests.url_shortener.excuses import restarts
from loadtests.url_shortener.history import History
from loadtests.url_shortener.link_checks import aliases, found_at_once, links_kept, repeats, unique_codes
from loadtests.url_shortener.promises import promises_of
from loadtests.url_shortener.visit_checks import caps, expiries, right_targets, staleness

# Which operations of a mix give something to judge by.
VISITS = frozenset({"redirect", "open_new", "open_claimed", "open_race", "capped", "open_brief"})
CHECKS = (
    (right_targets, VISITS),
    (clicks_conserved, VISITS),
    (staleness, frozenset({"edit", "delete"})),
    (links_kept, None),
    (found_at_once, frozenset({"open_new", "open_claimed", "open_race", "open_brief"})),
    (aliases, frozenset({"claim", "race", "cap"})),
    (repeats, frozenset({"repeat"})),
    (caps, frozenset({"capped"})),
    (expiries, frozenset({"brief"})),
)


def judge(header: Header, items: Sequence[HistoryItem]) -> list[SafetyCheck]:
    """Every invariant that the header's operations can show."""
    return verdicts(header, take_all(History(), items))


def verdicts(header: Header, history: History) -> list[SafetyCheck]:
    evidence, ops = Evidence(history, promises_of(header)), set(header.ops)
    checks = [unique_codes(evidence), *(check(evidence) for check, shown_by in CHECKS if shown_by is None or shown_by & ops)]
    forgetful = [struck for node in header.nodes for struck in restarts(history.strikes, node)]
    if forgetful and not evidence.promises.durable:
        because = "store=memory keeps nothing over the end of its process, and that was ended"
        return [check.model_copy(update={"verdict": "unknown", "detail": because, "witness": []}) for check in checks]
    return checks
