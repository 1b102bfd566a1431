"""The invariants of links: codes, aliases and keys stand for one link each, and what was acknowledged stays."""

from __future__ import annotations

from collections.abc import Iterator

from loadtests.result import SafetyCheck
from loadtests.url_shortener import promises
from loadtests.url_shortener.evidence import Evidence, by_time
from loadtests.url_shortener.history import GONE_STATUSES, Ask, Write, when
from loadtests.url_shortener.witness import told_ask, told_write
from loadtests.verdict import Line, verdict


def unique_codes(evidence: Evidence) -> SafetyCheck:
    """No two links share a code, deleted ones among them, and nobody is handed a link that leads elsewhere.

    Two creates of one alias are not judged here, but as what they are. A link that a power loss may have taken (write-behind) has
    given its code back.
    """
    creates = evidence.history.creates
    duplicates = [pair for made in evidence.made.values() for pair in _pairs_of_two_links(made)]
    duplicates.sort(key=lambda pair: when(pair[1]))
    taken = [
        (first, again)
        for first, again in duplicates
        if evidence.is_taken([first], again.end_s) and not _is_there(evidence, first, again)
    ]
    duplicates = [pair for pair in duplicates if pair not in taken]
    elsewhere = [write for made in evidence.made.values() for write in made if write.answered_url not in ("", write.url)]
    counts = {
        "links_made": sum(write.new and not write.seeded for write in creates),
        "links_seeded": sum(write.new and write.seeded for write in creates),
        "creates_undecided": sum(write.indefinite for write in creates),
        "duplicate_codes": len(duplicates),
        "handed_out_leading_elsewhere": len(elsewhere),
        "codes_a_power_loss_gave_back": len(taken),
    }
    witness = [told_write(write) for write in (duplicates[0] if duplicates else elsewhere[:1])]
    return verdict(
        promises.UNIQUE,
        counts,
        wrong=("duplicate_codes", "handed_out_leading_elsewhere"),
        judged=len(evidence.made),
        offenders=[write.code for write, _ in duplicates] + [write.code for write in elsewhere],
        witness=witness,
    )


def _is_there(evidence: Evidence, first: Write, again: Write) -> bool:
    """Whether the first link was still seen when its code had been given away, and longer than an old answer may be."""
    answers = evidence.history.answers.get(first.code, {}).get(first.url)
    seen_s = [*(answers.sent_s if answers else ())]
    seen_s += [ask.sent_s for asks in evidence.history.looks.get(first.code, {}).values() for ask in asks if ask.url == first.url]
    return max(seen_s, default=0.0) > again.end_s + evidence.promises.bound_s


def _pairs_of_two_links(made: list[Write]) -> Iterator[tuple[Write, Write]]:
    """Creates that were both told they had made a link, under one code. A repeat with the same key is one of the same link."""
    new = [write for write in made if write.new]
    for place, write in enumerate(new):
        others = [
            other
            for other in new[:place]
            if not (other.request_key and other.request_key == write.request_key)
            and not (other.alias and other.alias == write.alias)
        ]
        if others:
            yield others[0], write


def aliases(evidence: Evidence) -> SafetyCheck:
    """Of all who wanted one alias, at most one got it; and one did, where nobody's fate is unknown and nobody has it now."""
    wanted: dict[str, list[Write]] = {}
    for write in sorted(evidence.history.creates, key=when):
        if write.alias:
            wanted.setdefault(write.alias, []).append(write)
    twice, nobody = [], []
    for alias, creates in wanted.items():
        got = [write for write in creates if write.new]
        if evidence.stands_for_several(alias):
            twice.append((alias, got))
        refused = [write for write in creates if write.outcome == "fail" and write.status == 409]
        if len(refused) == len(creates) and _is_nobodys(evidence, alias):
            nobody.append((alias, refused))
    counts = {
        "aliases": len(wanted),
        "wanted_by_several": sum(len(creates) > 1 for creates in wanted.values()),
        "creates_undecided": sum(write.indefinite for creates in wanted.values() for write in creates),
        "given_twice": len(twice),
        "refused_to_all": len(nobody),
    }
    offenders = twice + nobody
    return verdict(
        promises.ALIASES,
        counts,
        wrong=("given_twice", "refused_to_all"),
        judged=sum(write.acknowledged for creates in wanted.values() for write in creates),
        offenders=[alias for alias, _ in offenders],
        witness=[told_write(write) for write in offenders[0][1]] if offenders else (),
    )


def _is_nobodys(evidence: Evidence, alias: str) -> bool:
    looks = [ask for asks in evidence.history.looks.get(alias, {}).values() for ask in asks]
    return bool(looks) and all(ask.status in GONE_STATUSES for ask in looks)


def repeats(evidence: Evidence) -> SafetyCheck:
    """The same key and the same body get the same link, whenever and wherever it is asked for again."""
    asked: dict[str, list[Write]] = {}
    for write in sorted(evidence.history.creates, key=when):
        if write.request_key:
            asked.setdefault(write.request_key, []).append(write)
    told = {key: [write for write in creates if write.acknowledged] for key, creates in asked.items()}
    differing = [writes for writes in told.values() if len({write.code for write in writes}) > 1]
    refused = [write for creates in asked.values() for write in creates if write.status == 409 and not write.alias]
    counts = {
        "keys": len(asked),
        "answered_again": sum(len(writes) - 1 for writes in told.values() if writes),
        "another_link": len(differing),
        "refused": len(refused),
    }
    return verdict(
        promises.REPEATS,
        counts,
        wrong=("another_link", "refused"),
        judged=counts["answered_again"],
        offenders=[writes[0].request_key for writes in differing] + [write.request_key for write in refused],
        witness=[told_write(write) for write in (differing[0] if differing else asked[refused[0].request_key] if refused else [])],
    )


def found_at_once(evidence: Evidence) -> SafetyCheck:
    """A link that was made during the load is opened by whoever asks for it after the 201, also where it was missed before."""
    new = {code: made[0] for code, made in evidence.made.items() if not made[0].seeded}
    missed = [(code, ask) for code, ask in evidence.refused_wrongly if code in new]
    opened = sum(len(answers.sent_s) for code in new for answers in evidence.history.answers.get(code, {}).values())
    counts = {
        "links_made": len(new),
        "opened": opened,
        "missed_first": sum(any(ask.sent_s < new[code].end_s for ask in evidence.history.refused.get(code, [])) for code in new),
        "not_found": len(missed),
        "not_found_without_redis": evidence.refused_with_excuse,
    }
    return verdict(
        promises.FOUND_AT_ONCE,
        counts,
        wrong=("not_found",),
        judged=opened,
        offenders=[code for code, _ in missed],
        witness=_refusal(evidence, *missed[0]) if missed else (),
    )


def links_kept(evidence: Evidence) -> SafetyCheck:
    """Every acknowledged link leads where its last acknowledged write sends it, on every node; a deleted one nowhere.

    Judges the links that were asked for after the load; a refusal of one during it counts too. An answer may be old for as long as
    the staleness bound says.
    """
    shown = ("lost", "wrong_target", "came_back", "excused", "taken", "unanswered")
    found: dict[str, list[tuple[str, Ask]]] = {name: [] for name in shown}
    asked = 0
    for code, by_node in evidence.history.looks.items():
        asked += code in evidence.made
        for looks in by_node.values() if code in evidence.made else ():
            last = max(looks, key=lambda ask: ask.sent_s)
            for ask in looks:
                said = evidence.judge_look(code, ask)
                if said in found and (said != "unanswered" or ask is last):
                    found[said].append((code, ask))
    refused = evidence.refused_wrongly
    counts = {
        "links_acknowledged": len(evidence.made),
        "links_asked_for_again": asked,
        "lost": len({code for code, _ in found["lost"]}),
        "wrong_target": len({code for code, _ in found["wrong_target"]}),
        "deleted_and_back": len({code for code, _ in found["came_back"]}),
        "refused_under_load": len(refused),
        "gone_with_redis": len({code for code, _ in found["excused"] + found["taken"]}) + evidence.refused_with_excuse,
        "unanswered": len(found["unanswered"]),
    }
    unanswered = counts["unanswered"]
    wrong = [*found["lost"], *found["wrong_target"], *found["came_back"]]
    offenders = sorted(wrong, key=by_time) + refused
    return verdict(
        promises.KEPT,
        counts,
        wrong=("lost", "wrong_target", "deleted_and_back", "refused_under_load"),
        judged=0 if unanswered else asked,
        offenders=[code for code, _ in offenders],
        witness=_refusal(evidence, *offenders[0]) if offenders else (),
        unknown_because=f"{unanswered} links could not be asked for" if unanswered else "no link was asked for",
    )


def _refusal(evidence: Evidence, code: str, ask: Ask) -> list[Line]:
    """The create, the last change before, and the answer that does not fit."""
    looked = any(ask is look for looks in evidence.history.looks.get(code, {}).values() for look in looks)
    changes = sorted(evidence.history.changes.get(code, []), key=when)
    before = [write for write in changes if write.sent_s < ask.end_s]
    asked = sorted(evidence.history.refused.get(code, []), key=lambda each: each.sent_s)
    missed = [each for each in asked if each.sent_s < evidence.made[code][0].end_s]
    return [
        *(told_ask(code, each) for each in missed[-1:]),
        told_write(evidence.made[code][0]),
        *(told_write(write) for write in before[-2:]),
        told_ask(code, ask, "look at" if looked else "visit"),
    ]
