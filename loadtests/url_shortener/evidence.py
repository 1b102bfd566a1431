"""What a history says of each link: which URLs it may have had and when, and which refusals nothing explains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from loadtests.url_shortener.excuses import SLACK_S, Window, largest_clock_offset_s, links_taken, without_redis
from loadtests.url_shortener.history import GONE_STATUSES, REDIRECT_STATUSES, Ask, History, Write, when
from loadtests.url_shortener.promises import Promises

Seen = Literal["right", "old", "excused", "taken", "lost", "wrong_target", "came_back", "unanswered"]


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


def by_time(seen: tuple[str, Ask]) -> tuple[float, float, str, str]:
    """Sorts what was seen of some links."""
    code, ask = seen
    return ask.sent_s, ask.end_s, code, ask.node


@dataclass
class Evidence:
    """A history and what was promised, with what follows from both. Made once, when all is taken in."""

    history: History
    promises: Promises

    @cached_property
    def made(self) -> dict[str, list[Write]]:
        """Acknowledged creates by code, the first one first."""
        return self.history.links()

    @cached_property
    def taken(self) -> list[Window]:
        return links_taken(self.history.strikes, self.promises)

    @cached_property
    def clock_offset_s(self) -> float:
        return largest_clock_offset_s(self.history.strikes)

    def values(self, code: str) -> list[Write]:
        """Every URL the link had or may have had: those it was made with, then those of edits that may have happened."""
        first: dict[str, Write] = {}
        for number, write in enumerate(self.made.get(code, [])):
            first.setdefault(write.request_key or (str(number) if write.new else write.url), write)
        return [*first.values(), *self._changes(code, "edit")]

    def stands_for_several(self, code: str) -> bool:
        """Whether more than one link was made with this code: by mistake, or because Redis took the first one with it."""
        new = [write for write in self.made.get(code, []) if write.new]
        return len({write.request_key or str(place) for place, write in enumerate(new)}) > 1

    def deletions(self, code: str) -> list[Write]:
        return self._changes(code, "delete")

    def _changes(self, code: str, f: str) -> list[Write]:
        return sorted((write for write in self.history.changes.get(code, []) if write.f == f), key=when)

    def end_of(self, code: str, url: str) -> Write | None:
        """The write from whose acknowledgement on the link certainly does not lead there any more; None while it may."""
        until_s = self.old_since_s(code, url)
        writes = [*self.values(code), *self.deletions(code)]
        return next((write for write in writes if write.acknowledged and write.end_s == until_s and write.url != url), None)

    def old_since_s(self, code: str, url: str) -> float | None:
        """When it was known that the code does not lead there any more. A deletion is final, so it ends them all."""
        ends = [write.end_s for write in self.deletions(code) if write.acknowledged]
        superseded = url_superseded_s(url, self.values(code))
        return min([*ends, *([] if superseded is None else [superseded])], default=None)

    @cached_property
    def refused_wrongly(self) -> list[tuple[str, Ask]]:
        """Visits of acknowledged links that were refused, and nothing explains it; the first one first."""
        found = [(code, ask) for code in self.history.refused for ask, excused in self._refusals(code) if not excused]
        return sorted(found, key=by_time)

    @cached_property
    def refused_with_excuse(self) -> int:
        return sum(excused for code in self.history.refused for _, excused in self._refusals(code))

    def _refusals(self, code: str) -> Iterator[tuple[Ask, bool]]:
        """Refusals of a link that should have been there, and whether a fault excuses each."""
        made = self.made.get(code)
        if not made:
            return
        acknowledged_s = min(write.end_s for write in made)
        gone_s = min((write.sent_s for write in self.deletions(code)), default=float("inf"))
        limited = any(write.limited for write in made)
        for ask in self.history.refused[code]:
            if ask.sent_s >= acknowledged_s and ask.end_s <= gone_s and not (limited and ask.status == 410):
                yield ask, self.is_excused(code, ask)

    def is_excused(self, code: str, ask: Ask) -> bool:
        """Whether an acknowledged link may have been missing when it was asked for.

        Write-behind may lose it with Redis. Else somebody must have missed the code before it was handed out: that miss may be
        remembered by another replica that shares no cache, or by Redis when it could not be told of the create, and whoever was
        waiting for it on the way may hand it to others who came meanwhile.
        """
        made = self.made[code]
        create = min(made, key=lambda write: write.end_s)
        if self.is_taken(made, ask.end_s):
            return True
        earlier = [each for each in self._asks(code) if each is not ask and each.sent_s < create.end_s]
        if not earlier or not self.promises.cached:
            return False
        after_s = ask.sent_s - create.end_s - self.promises.allowance_s
        same_node = [each for each in earlier if each.node == ask.node]
        on_the_way = [each for each in same_node if each.end_s > ask.sent_s or not each.status]
        if any(ask.sent_s <= each.sent_s + self.promises.bound_s for each in on_the_way):
            return True
        if not self.promises.shared_layer:
            remembered_s = min(self.promises.unseen_s, self.promises.staleness_s)
            return bool(same_node) and ask.node != create.node and after_s <= remembered_s
        untold = without_redis(self.history.strikes, self.history.observations, (create.node, ask.node))
        return after_s <= self.promises.unseen_s and any(
            window.from_s <= ask.end_s and window.to_s >= create.sent_s for window in untold
        )

    def is_taken(self, made: Sequence[Write], by_s: float) -> bool:
        """Whether a fault may have taken the link by then, for good: nobody was told of it after that fault."""
        if not made or not self.taken:
            return False
        last = max(made, key=lambda write: write.end_s)
        return any(window.holds(last.end_s, last.node) and by_s >= window.to_s - SLACK_S for window in self.taken)

    def _asks(self, code: str) -> Iterable[Ask]:
        yield from self.history.refused.get(code, [])
        yield from self.history.undecided.get(code, [])
        for looks in self.history.looks.get(code, {}).values():
            yield from looks

    def judge_look(self, code: str, ask: Ask) -> Seen:
        """A link asked for once more after the load. `old` and `excused` will not be allowed for ever."""
        deletions = self.deletions(code)
        if ask.status in REDIRECT_STATUSES:
            if not any(value.url == ask.url for value in self.values(code)):
                return "wrong_target"
            until_s = self.old_since_s(code, ask.url)
            if until_s is None or ask.end_s <= until_s:
                return "right"
            if ask.sent_s <= until_s + self.promises.bound_s:
                return "old"
            return "came_back" if any(write.acknowledged for write in deletions) else "wrong_target"
        if ask.status not in GONE_STATUSES:
            return "unanswered"
        if any(write.sent_s <= ask.end_s for write in deletions):
            return "right"
        if not self.made.get(code):
            return "right"
        if self.is_taken(self.made[code], ask.end_s):
            return "taken"
        return "excused" if self.is_excused(code, ask) else "lost"
