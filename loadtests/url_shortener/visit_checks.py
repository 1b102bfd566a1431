"""The invariants of visits: where they lead, how old that may be, how often and until when a limited link may be opened."""

from __future__ import annotations

from collections.abc import Callable

from loadtests.result import SafetyCheck
from loadtests.url_shortener import promises
from loadtests.url_shortener.evidence import Evidence, by_time
from loadtests.url_shortener.history import Ask, Write
from loadtests.url_shortener.witness import told_ask, told_write
from loadtests.verdict import Line, told, verdict

EDGE_SLACK_S = 0.05  # between the wall clock and the monotonic one


def right_targets(evidence: Evidence) -> SafetyCheck:
    """Every redirect led to a URL that its link had been given by then, with the status the knob asks for."""
    history, wanted = evidence.history, evidence.promises.redirect_status
    undecided = {write.url for write in history.creates if write.indefinite}
    total = wrong = early = 0
    offenders: list[tuple[float, str, str]] = []  # first seen at, code, URL
    for code, by_url in history.answers.items():
        given_s: dict[str, float] = {}
        for write in evidence.values(code):
            given_s[write.url] = min(write.sent_s, given_s.get(write.url, write.sent_s))
        for url, answers in by_url.items():
            total += len(answers.sent_s)
            if url in undecided:
                continue
            if url not in given_s:
                wrong += len(answers.sent_s)
            elif min(answers.end_s) < given_s[url]:
                early += 1
            else:
                continue
            offenders.append((min(answers.sent_s), code, url))
    counts = {
        "redirects": total,
        "wrong_target": wrong,
        "before_it_was_asked_for": early,
        "wrong_status": sum(count for status, count in history.statuses.items() if status != wanted),
    }
    return verdict(
        promises.TARGETS,
        counts,
        wrong=("wrong_target", "before_it_was_asked_for", "wrong_status"),
        judged=total,
        offenders=[code for _, code, _ in sorted(offenders)],
        witness=_led_to(evidence, *min(offenders)[1:]) if offenders else (),
    )


def _led_to(evidence: Evidence, code: str, url: str) -> list[Line]:
    """The link, whoever asked for that URL, and the first visit that was sent there."""
    visit = next(ask for ask in evidence.history.redirects(code) if ask.url == url)
    owners = [write for write in evidence.history.creates if write.url == url and write.code != code]
    return [
        *(told_write(write) for write in evidence.values(code)[:2]),
        *(told_write(write) for write in owners[:1]),
        told_ask(code, visit, status=evidence.promises.redirect_status),
    ]


def staleness(evidence: Evidence) -> SafetyCheck:
    """No old URL is answered to a request sent later than S (+ allowance) after the acknowledgement of its successor.

    A deletion is a successor too. The age of a stale answer is a lower bound (from the acknowledgement's arrival to the request's
    departure), so the real one can be higher by a round trip, and what is flagged is certain.
    """
    history, promised = evidence.history, evidence.promises
    checked = stale = beyond = deleted = 0
    worst_s = 0.0
    offenders: list[tuple[float, str, str]] = []  # sent at, code, URL
    for code in history.changes:
        for url in dict.fromkeys(value.url for value in evidence.values(code)):
            answers = history.answers.get(code, {}).get(url)
            if answers is None:
                continue
            checked += len(answers.sent_s)
            until_s = evidence.old_since_s(code, url)
            if until_s is None:
                continue
            old = [sent_s for sent_s in answers.sent_s if sent_s > until_s]
            too_old = [sent_s for sent_s in old if sent_s - until_s > promised.bound_s]
            stale += len(old)
            beyond += len(too_old)
            deleted += len(too_old) if evidence.deletions(code) else 0
            worst_s = max(worst_s, max(old, default=until_s) - until_s)
            offenders += [(sent_s, code, url) for sent_s in sorted(too_old)[:1]]
    changes = [write for writes in history.changes.values() for write in writes]
    counts = {
        "edits_acknowledged": sum(write.acknowledged for write in changes if write.f == "edit"),
        "edits_undecided": sum(write.indefinite for write in changes if write.f == "edit"),
        "deletions_acknowledged": sum(write.acknowledged for write in changes if write.f == "delete"),
        "deletions_undecided": sum(write.indefinite for write in changes if write.f == "delete"),
        "redirects_of_changed_links": checked,
        "stale_answers": stale,
        "worst_stale_ms": round(worst_s * 1_000),
        "bound_ms": round(promised.staleness_s * 1_000),
        "allowance_ms": round(promised.allowance_s * 1_000),
        "beyond_bound": beyond,
        "beyond_bound_of_deleted": deleted,
    }
    offenders.sort()
    return verdict(
        promises.STALENESS,
        counts,
        wrong=("beyond_bound",),
        judged=checked if any(write.acknowledged for write in changes) else 0,
        offenders=[code for _, code, _ in offenders],
        witness=_stale(evidence, *offenders[0]) if offenders else (),
    )


def _stale(evidence: Evidence, sent_s: float, code: str, url: str) -> list[Line]:
    given = [write for write in evidence.values(code) if write.url == url]
    successor = evidence.end_of(code, url)
    visit = next(ask for ask in evidence.history.redirects(code) if ask.url == url and ask.sent_s == sent_s)
    return [
        told_write(given[-1]),
        *([told_write(successor)] if successor else []),
        told_ask(code, visit, status=evidence.promises.redirect_status),
    ]


def caps(evidence: Evidence) -> SafetyCheck:
    """No more visits of a capped link are let in than its cap. Those nobody answered may have been let in, and prove nothing."""
    limited = _limited(evidence, lambda write: write.max_visits is not None)
    over: list[tuple[str, Write, list[Ask]]] = []
    admitted = full = below = 0
    for code, write in sorted(limited.items()):
        cap, visits = write.max_visits or 0, evidence.history.redirects(code)
        admitted += len(visits)
        full += len(visits) >= cap
        refused = [ask for ask in evidence.history.refused.get(code, []) if ask.status == 410]
        below += bool(refused) and len(visits) + len(evidence.history.undecided.get(code, [])) < cap
        if len(visits) > cap:
            over.append((code, write, visits))
    counts = {
        "capped_links": len(limited),
        "caps_reached": full,
        "visits_let_in": admitted,
        "visits_undecided": sum(len(evidence.history.undecided.get(code, [])) for code in limited),
        "refused_below_the_cap": below,
        "over_the_cap": sum(len(visits) - (write.max_visits or 0) for _, write, visits in over),
    }
    witness = []
    if over:
        code, write, visits = over[0]
        status = evidence.promises.redirect_status
        witness = [told_write(write), *(told_ask(code, ask, status=status) for ask in visits[: (write.max_visits or 0) + 1][-5:])]
    return verdict(
        promises.CAPS, counts, wrong=("over_the_cap",), judged=admitted, offenders=[code for code, _, _ in over], witness=witness
    )


def expiries(evidence: Evidence) -> SafetyCheck:
    """No redirect is answered to a request sent after the link's end, and no visit is told of that end before it.

    The edge is on the client's wall clock; a clock that was put wrong on purpose may be wrong by so much.
    """
    limited = _limited(evidence, lambda write: write.expires_at is not None)
    allowance_s = evidence.clock_offset_s + EDGE_SLACK_S
    late: list[tuple[str, Ask]] = []
    early: list[tuple[str, Ask]] = []
    before = after = 0
    for code, write in limited.items():
        edge_s = (write.expires_at or 0.0) - evidence.promises.clock
        opened = evidence.history.redirects(code)
        refused = [ask for ask in evidence.history.refused.get(code, []) if ask.status == 410]
        before += len(opened)
        after += len(refused)
        late += [(code, ask) for ask in opened if ask.sent_s > edge_s + allowance_s]
        if write.max_visits is None:
            early += [(code, ask) for ask in refused if ask.end_s < edge_s - allowance_s]
    counts = {
        "expiring_links": len(limited),
        "opened": before,
        "refused_as_expired": after,
        "allowance_ms": round(allowance_s * 1_000),
        "opened_too_late": len(late),
        "refused_too_early": len(early),
    }
    offenders = sorted(late + early, key=by_time)
    witness = []
    if offenders:
        code, ask = offenders[0]
        edge_s = (limited[code].expires_at or 0.0) - evidence.promises.clock
        status = evidence.promises.redirect_status
        witness = [
            told_write(limited[code]),
            told(edge_s, f"{code} expires"),
            told_ask(code, ask, status=status),
        ]
    return verdict(
        promises.EXPIRIES,
        counts,
        wrong=("opened_too_late", "refused_too_early"),
        judged=before + after,
        offenders=[code for code, _ in offenders],
        witness=witness,
    )


def _limited(evidence: Evidence, by: Callable[[Write], bool]) -> dict[str, Write]:
    """The links that were made once, with such a limit, by code."""
    return {code: made[0] for code, made in evidence.made.items() if len(made) == 1 and by(made[0])}
