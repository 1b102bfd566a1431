"""The invariant of clicks: counted once, or declared lost, or gone with a process that was ended and had promised no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtests.result import SafetyCheck
from loadtests.url_shortener import promises
from loadtests.url_shortener.evidence import Evidence
from loadtests.url_shortener.excuses import REDIS, Window, click_windows, declared_losses, restarts
from loadtests.url_shortener.history import History
from loadtests.url_shortener.witness import told_ask
from loadtests.verdict import Line, told, told_strike, verdict

SHOWN_VISITS = 4


@dataclass(frozen=True, slots=True)
class Tally:
    """The clicks of one link: visits that were redirected, those that may have been, and what was counted after the load.

    `with_replica` and `with_redis`: of the redirected ones, how many a fault excuses.
    """

    code: str
    accepted: int
    undecided: int
    stored: int
    with_replica: int
    with_redis: int

    @property
    def twice(self) -> int:
        return max(0, self.stored - self.accepted - self.undecided)

    @property
    def missing(self) -> int:
        return max(0, self.accepted - self.stored)

    @property
    def lost_with_replica(self) -> int:
        return min(self.missing, self.with_replica)

    @property
    def lost_with_redis(self) -> int:
        return min(self.missing - self.lost_with_replica, self.with_redis)

    @property
    def unexplained(self) -> int:
        return self.missing - self.lost_with_replica - self.lost_with_redis


def clicks_conserved(evidence: Evidence) -> SafetyCheck:
    """Accepted redirects = stored clicks + declared losses + what went with a process that was ended, and none is counted twice.

    Visits without an answer may have been counted: a code may have up to that many clicks more. A deleted link has no count any
    more, so nothing is known of its clicks. With clicks off, none is counted.
    """
    history, counting = evidence.history, evidence.promises.counting
    declared = declared_losses(history.observations)
    tallies = list(tallies_of(evidence))
    complete = is_complete(evidence)
    counted = {tally.code for tally in tallies}
    uncounted = sum(clicks for code, clicks in history.accepted_clicks().items() if code not in counted)
    missing = sum(tally.missing for tally in tallies)
    unexplained = sum(tally.unexplained for tally in tallies)
    # A drop may have been of an undecided visit, which was never expected to be stored; more than that is a false declaration.
    # A Redis that forgets may have a batch given up twice.
    room = missing + uncounted + sum(len(asks) for asks in history.undecided.values())
    forgetful = bool(restarts(history.strikes, REDIS))
    counts = {
        "clicks_accepted": sum(tally.accepted for tally in tallies),
        "clicks_undecided": sum(tally.undecided for tally in tallies),
        "clicks_stored": sum(tally.stored for tally in tallies),
        "clicks_of_deleted_links": uncounted if counting else 0,
        "declared_drops": declared["dropped"],
        "declared_unsure": declared["unsure"],
        "lost_with_a_killed_replica": sum(tally.lost_with_replica for tally in tallies),
        "lost_with_redis": sum(tally.lost_with_redis for tally in tallies),
        "counted_twice": sum(tally.twice for tally in tallies),
        "lost_undeclared": max(0, unexplained - declared["dropped"] - declared["unsure"]),
        "declared_but_not_missing": max(0, declared["dropped"] - room) if counting and not forgetful else 0,
    }
    # While clicks may still be on their way, too few prove nothing; too many do.
    wrong = ("counted_twice", "lost_undeclared", "declared_but_not_missing") if complete else ("counted_twice",)
    twice = [tally for tally in tallies if tally.twice]
    offenders = [
        *twice,
        *sorted((tally for tally in tallies if tally.unexplained), key=lambda tally: (-tally.unexplained, tally.code)),
    ]
    return verdict(
        promises.CLICKS if counting else promises.NO_CLICKS,
        counts,
        wrong=wrong,
        judged=len(tallies) if history.answers and complete else 0,
        offenders=[tally.code for tally in offenders],
        witness=_uncounted(evidence, offenders[0]) if offenders else (),
        unknown_because="" if complete else "the queue was not empty in time, or a count could not be read",
    )


def may_be_uncounted(evidence: Evidence, code: str) -> bool:
    """A link that may not be there has no count that could be read: deleted, taken with Redis, or perhaps never made."""
    made = evidence.made.get(code)
    if made is None:
        return bool(evidence.taken) or code not in evidence.history.answers
    return evidence.is_taken(made, float("inf")) or bool(evidence.deletions(code))


def is_complete(evidence: Evidence) -> bool:
    """Whether nothing waited any more when the counts were read, and all could be."""
    said = [each for each in evidence.history.observations if each.f == "drained"]
    drained = bool(said) and bool(max(said, key=lambda each: each.at_s).value.get("complete"))
    tallies = evidence.history.tallies
    return drained and all(clicks_told(evidence, code) is not None or may_be_uncounted(evidence, code) for code in tallies)


def clicks_told(evidence: Evidence, code: str) -> int | None:
    """Where clicks are off, having no counts is having counted none."""
    _, clicks = evidence.history.tallies[code]
    return 0 if clicks is None and not evidence.promises.counting and code in evidence.history.uncounted else clicks


def tallies_of(evidence: Evidence) -> Iterable[Tally]:
    """One for each link whose count was read and must be right."""
    history, counting = evidence.history, evidence.promises.counting
    windows = click_windows(history.strikes, history.observations, evidence.promises)
    accepted = history.accepted_clicks() if counting else {}
    for code in sorted(history.tallies):
        clicks = clicks_told(evidence, code)
        if clicks is None or evidence.stands_for_several(code):
            continue
        yield Tally(
            code,
            accepted=accepted.get(code, 0),
            undecided=len(history.undecided.get(code, [])) if counting else 0,
            stored=clicks - history.clicks_before.get(code, 0),
            **_excused(history, code, windows),
        )


def _excused(history: History, code: str, windows: Sequence[Window]) -> dict[str, int]:
    """How many redirects of this link each kind of window holds; one that both hold went with the replica."""
    counts = {"with_replica": 0, "with_redis": 0}
    for answers in history.answers.get(code, {}).values() if windows else ():
        for end_s, node in zip(answers.end_s, answers.nodes, strict=True):
            causes = {window.cause for window in windows if window.holds(end_s, history.nodes[node])}
            if causes:
                counts["with_redis" if causes == {REDIS} else "with_replica"] += 1
    return counts


def _uncounted(evidence: Evidence, tally: Tally) -> list[Line]:
    """The count, the visits it does not fit, and what had ended a process."""
    visits = evidence.history.redirects(tally.code)
    status = evidence.promises.redirect_status
    read_s = evidence.history.tallies[tally.code][0]
    endings = [struck for struck in evidence.history.strikes if struck.kind in ("kill", "wipe", "power_loss")]
    others = len(visits) - SHOWN_VISITS
    said = f"{tally.code} was redirected {tally.accepted} times{f', perhaps {tally.undecided} more' * bool(tally.undecided)}"
    return [
        *(told_ask(tally.code, ask, status=status) for ask in visits[: SHOWN_VISITS - bool(endings)]),
        *(told_strike(struck) for struck in sorted(endings, key=lambda struck: struck.began_s)[:1]),
        told(read_s, f"{said}{f' ({others} of them not shown)' * (others > 0)}, and has {tally.stored} clicks"),
    ]
