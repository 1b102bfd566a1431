"""What one variant was asked and what it answered, kept small, and the invariants judged on it: pure functions.

The history knows only what a client saw. A request that got an answer is definite; one that timed out or lost its connection
is *indefinite*: it may have happened, now or later, so it widens what is allowed and never proves a fault. A verdict is
`invalid` only when no order of events could explain the answers, and `unknown` where there is nothing to judge by. That holds
for any number of replicas behind any number of caches; all times are seconds of the client's one monotonic clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loadtests.result import SafetyCheck

REDIRECT_STATUSES = frozenset({301, 302, 307, 308})
GONE_STATUSES = frozenset({404, 410, 451})
SHOWN = 3  # codes named in a check's detail


@dataclass(frozen=True, slots=True)
class Write:
    """A create or an edit. `status` 0: no answer, so it may have happened. `version` 0: the answer did not say."""

    code: str
    url: str
    sent_s: float
    end_s: float
    status: int
    version: int = 0

    @property
    def acknowledged(self) -> bool:
        return 200 <= self.status < 300

    @property
    def indefinite(self) -> bool:
        return self.status == 0 or self.status >= 500


@dataclass(slots=True)
class Answers:
    """All redirects of one code to one URL: when each was asked for, and when the first of them had come back."""

    first_end_s: float
    sent_s: array[float] = field(default_factory=lambda: array("d"))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A link asked for once more after the load. `url` is where it leads, "" when the answer was no redirect."""

    sent_s: float
    status: int
    url: str


@dataclass(slots=True)
class History:
    """Everything one variant was asked. Grows by one `Write` per write and by 8 bytes per redirect."""

    seeded: dict[str, Write] = field(default_factory=dict)
    twice_seeded: int = 0
    creates: list[Write] = field(default_factory=list)
    edits: dict[str, list[Write]] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answers] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    undecided_clicks: dict[str, int] = field(default_factory=dict)
    wrong_status: int = 0

    def seed(self, write: Write) -> None:
        """A link made before the load."""
        self.twice_seeded += write.code in self.seeded
        self.seeded[write.code] = write

    def edit(self, write: Write) -> None:
        self.edits.setdefault(write.code, []).append(write)

    def visit(self, code: str, sent_s: float, end_s: float, status: int, url: str, wanted_status: int, real: bool) -> None:
        """A `GET /{code}`. `real`: the code was handed out, so a refusal of it is remembered."""
        if status in REDIRECT_STATUSES:
            answers = self.answers.get((code, url))
            if answers is None:
                answers = self.answers[code, url] = Answers(end_s)
            answers.first_end_s = min(answers.first_end_s, end_s)
            answers.sent_s.append(sent_s)
            self.wrong_status += status != wanted_status
        elif status == 0 or status >= 500:
            if real:
                self.undecided_clicks[code] = self.undecided_clicks.get(code, 0) + 1
        elif real and status in GONE_STATUSES:
            self.refused[code] = self.refused.get(code, 0) + 1

    def accepted_clicks(self) -> dict[str, int]:
        """Redirects answered, by code."""
        clicks: dict[str, int] = {}
        for (code, _), answers in self.answers.items():
            clicks[code] = clicks.get(code, 0) + len(answers.sent_s)
        return clicks

    def acknowledged(self) -> dict[str, Write]:
        """Links somebody was told they have, by code."""
        return self.seeded | {write.code: write for write in self.creates if write.acknowledged}

    def values(self, code: str) -> list[Write]:
        """Every URL the link had or may have had: the one it was made with, then those of edits that may have happened."""
        made = self.acknowledged().get(code)
        edits = [edit for edit in self.edits.get(code, []) if edit.acknowledged or edit.indefinite]
        return ([made] if made else []) + edits


def sample_evenly(codes: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of them, first and last included, evenly spread over the time they were made."""
    if len(codes) <= limit:
        return list(codes)
    return [codes[round(index * (len(codes) - 1) / (limit - 1))] for index in range(limit)]


def superseded_s(value: Write, values: Sequence[Write]) -> float | None:
    """When it was known that the link no longer has this URL; None while it may still have it.

    Another write supersedes it once that one is acknowledged and certainly later: its version is higher, or, where a version
    is missing, it was sent after this one's answer. An indefinite write may take effect at any time, so nothing supersedes it.
    """
    if not value.acknowledged:
        return None
    ends = [
        other.end_s
        for other in values
        if other is not value
        and other.acknowledged
        and (other.version > value.version if other.version and value.version else other.sent_s >= value.end_s)
    ]
    return min(ends, default=None)


def url_superseded_s(url: str, values: Sequence[Write]) -> float | None:
    """`superseded_s` for a URL the link may have been given more than once: the latest of them counts."""
    ends = [superseded_s(value, values) for value in values if value.url == url]
    known = [end_s for end_s in ends if end_s is not None]
    return max(known) if known and len(known) == len(ends) else None


def unique_codes(history: History) -> SafetyCheck:
    """No two links share a code, among all that were made and those there were before."""
    seen = set(history.seeded)
    duplicates = []
    acknowledged = [write for write in history.creates if write.acknowledged]
    for write in acknowledged:
        if write.code in seen:
            duplicates.append(write.code)
        seen.add(write.code)
    counts = {
        "links_made": len(acknowledged),
        "links_seeded": len(history.seeded) + history.twice_seeded,
        "creates_undecided": sum(write.indefinite for write in history.creates),
        "duplicate_codes": len(duplicates) + history.twice_seeded,
    }
    return _check("no two links share a code", counts, wrong=("duplicate_codes",), judged=len(seen), codes=duplicates)


def links_kept(history: History, fetched: Mapping[str, Fetched], bound_s: float) -> SafetyCheck:
    """Every acknowledged link, asked for after the load, leads where its last acknowledged write sends it.

    Judges the links in `fetched`; a refusal of one during the load counts too. An answer may be old for `bound_s`.
    """
    made = history.acknowledged()
    lost, wrong, unanswered = [], [], 0
    for code, answer in fetched.items():
        if answer.status in REDIRECT_STATUSES:
            if not _may_lead(history, code, made.get(code), answer, bound_s):
                wrong.append(code)
        elif answer.status in GONE_STATUSES:
            lost.append(code)
        else:
            unanswered += 1
    refused = [code for code in history.refused if code in made]
    counts = {
        "links_acknowledged": len(made),
        "links_asked_for_again": len(fetched),
        "lost": len(lost),
        "wrong_target": len(wrong),
        "refused_under_load": sum(history.refused[code] for code in refused),
        "unanswered": unanswered,
    }
    return _check(
        "no acknowledged link is lost",
        counts,
        wrong=("lost", "wrong_target", "refused_under_load"),
        judged=0 if unanswered else len(fetched),
        codes=[*lost, *wrong, *refused],
        unknown_because=f"{unanswered} links could not be asked for" if unanswered else "no link was asked for",
    )


def _may_lead(history: History, code: str, made: Write | None, answer: Fetched, bound_s: float) -> bool:
    values = history.values(code) if code in history.edits else [made] if made else []
    if not any(value.url == answer.url for value in values):
        return False
    until_s = url_superseded_s(answer.url, values)
    return until_s is None or answer.sent_s <= until_s + bound_s


def right_targets(history: History) -> SafetyCheck:
    """Every redirect led to a URL that its link had been given by then, with the status the knob asks for."""
    made = history.acknowledged()
    possible: dict[str, dict[str, float]] = {}  # code -> URL -> when it was first asked for
    for write in [*made.values(), *(edit for edits in history.edits.values() for edit in edits)]:
        if write.acknowledged or write.indefinite:
            urls = possible.setdefault(write.code, {})
            urls[write.url] = min(write.sent_s, urls.get(write.url, write.sent_s))
    undecided = {write.url for write in history.creates if write.indefinite}
    total = wrong = early = 0
    codes = []
    for (code, url), answers in history.answers.items():
        total += len(answers.sent_s)
        asked_s = possible.get(code, {}).get(url)
        if asked_s is None and url not in undecided:
            wrong += len(answers.sent_s)
            codes.append(code)
        elif asked_s is not None and answers.first_end_s < asked_s:
            early += 1
            codes.append(code)
    counts = {
        "redirects": total,
        "wrong_target": wrong,
        "before_it_was_asked_for": early,
        "wrong_status": history.wrong_status,
    }
    return _check(
        "every redirect leads where its link was sent",
        counts,
        wrong=("wrong_target", "before_it_was_asked_for", "wrong_status"),
        judged=total,
        codes=codes,
    )


def staleness(history: History, staleness_s: float, allowance_s: float) -> SafetyCheck:
    """No old URL is answered to a request sent later than `staleness_s` (+ allowance) after its successor's acknowledgement.

    The age of a stale answer is a lower bound (from the acknowledgement's arrival to the request's departure), so the real
    one can be higher by a round trip, and what is flagged is certain.
    """
    checked = stale = beyond = acknowledged = 0
    worst_s = 0.0
    codes = []
    for code, edits in history.edits.items():
        acknowledged += sum(edit.acknowledged for edit in edits)
        values = history.values(code)
        for url in dict.fromkeys(value.url for value in values):
            answers = history.answers.get((code, url))
            if answers is None:
                continue
            checked += len(answers.sent_s)
            until_s = url_superseded_s(url, values)
            if until_s is None:
                continue
            ages_s = [sent_s - until_s for sent_s in answers.sent_s if sent_s > until_s]
            too_old = sum(age_s > staleness_s + allowance_s for age_s in ages_s)
            stale += len(ages_s)
            beyond += too_old
            worst_s = max(worst_s, max(ages_s, default=0.0))
            if too_old:
                codes.append(code)
    counts = {
        "edits_acknowledged": acknowledged,
        "edits_undecided": sum(edit.indefinite for edits in history.edits.values() for edit in edits),
        "redirects_of_edited_links": checked,
        "stale_answers": stale,
        "worst_stale_ms": round(worst_s * 1_000),
        "bound_ms": round(staleness_s * 1_000),
        "allowance_ms": round(allowance_s * 1_000),
        "beyond_bound": beyond,
    }
    judged = checked if acknowledged else 0
    return _check("no answer is older than the staleness bound", counts, wrong=("beyond_bound",), judged=judged, codes=codes)


@dataclass(frozen=True, slots=True)
class StoredClicks:
    """What the variant says of its clicks once its queue is empty, less what it said before the load.

    `by_code`: clicks and bots together. `dropped`: declared as dropped or parked as a dead letter. `unsure`: declared as sent
    without learning whether they arrived. `complete` is False when some count could not be read, or the queue was not empty
    in time.
    """

    by_code: Mapping[str, int]
    dropped: int
    complete: bool
    unsure: int = 0


def clicks_conserved(history: History, stored: StoredClicks, counting: bool) -> SafetyCheck:
    """Accepted redirects = stored clicks + declared losses, and none is counted twice. With clicks off, none is counted.

    Indefinite visits may have been counted: a code may have up to that many clicks more.
    """
    accepted = history.accepted_clicks() if counting else {}
    undecided = history.undecided_clicks if counting else {}
    twice = {
        code: clicks - accepted.get(code, 0) - undecided.get(code, 0)
        for code, clicks in stored.by_code.items()
        if clicks > accepted.get(code, 0) + undecided.get(code, 0)
    }
    missing = {code: clicks - stored.by_code.get(code, 0) for code, clicks in accepted.items()}
    missing = {code: clicks for code, clicks in missing.items() if clicks > 0}
    lost = sum(missing.values())
    # A drop may have been of an undecided visit, which was never expected to be stored; more than that is a false declaration.
    room = lost + sum(undecided.values())
    counts = {
        "clicks_accepted": sum(accepted.values()),
        "clicks_undecided": sum(undecided.values()),
        "clicks_stored": sum(stored.by_code.values()),
        "declared_drops": stored.dropped,
        "declared_unsure": stored.unsure,
        "counted_twice": sum(twice.values()),
        "lost_undeclared": max(0, lost - stored.dropped - stored.unsure),
        "declared_but_not_missing": max(0, stored.dropped - room) if counting else 0,
    }
    # While clicks may still be on their way, too few prove nothing; too many do.
    wrong = ("counted_twice", "lost_undeclared", "declared_but_not_missing") if stored.complete else ("counted_twice",)
    return _check(
        "every click is counted once or declared lost" if counting else "no click is counted",
        counts,
        wrong=wrong,
        judged=len(stored.by_code) if history.answers and stored.complete else 0,
        codes=[*twice, *missing],
        unknown_because="" if stored.complete else "the queue was not empty in time, or a count could not be read",
    )


def _check(
    name: str,
    counts: dict[str, int],
    *,
    wrong: Sequence[str],
    judged: int,
    codes: Sequence[str],
    unknown_because: str = "",
) -> SafetyCheck:
    """`judged`: how many observations the check rests on; without any it is unknown, unless something is wrong already."""
    verdict: Literal["valid", "invalid", "unknown"] = "valid" if judged else "unknown"
    detail = "" if judged else unknown_because or "nothing to judge by"
    if any(counts[name] for name in wrong):
        verdict = "invalid"
        shown = ", ".join(dict.fromkeys(codes[:SHOWN]))
        detail = f"for example {shown}" if shown else ""
    return SafetyCheck(name=name, verdict=verdict, counts=counts, detail=detail)
