"""Clicks as data: from the headers of a redirect to counts by code, day and referrer. Pure functions.

A batch travels as one JSON document, made by a replica and counted once, by its id, however often it is delivered:

    {"id": "5f0c...", "from_s": 1795201938, "who": [[referrer, visitor, bot], ...],
     "clicks": [[code, seconds after from_s, index into who, times], ...], "traces": ["00-...-01", ...]}

No address and no user agent leaves the replica: `visitor` is a keyed hash that changes its key every day, so a visitor can be
counted within a day and not followed across days.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

import orjson

from designs.url_shortener.ports import ClickCount, ClickStats

TOP_REFERRERS = 20
MAX_REFERRER_CHARS = 128
_BOT = re.compile(r"bot|crawl|spider|slurp|preview|curl/|wget/|python-|headless", re.IGNORECASE)


# What the hot path notes of one redirect, raw: (code, Referer header, client's address, User-Agent header). A bare tuple, and
# the key under which equal visits are counted together (a combiner, as in MapReduce).
Visit: TypeAlias = tuple[str, bytes, str, bytes]


class Click(NamedTuple):
    """`times` equal redirects. `at_s` is Unix time; `referrer` a host or ""; `visitor` a daily keyed hash."""

    code: str
    at_s: int
    referrer: str
    visitor: str
    bot: bool
    times: int = 1


@dataclass(frozen=True, slots=True)
class ClickBatch:
    """What travels to the click store. `traces` are W3C traceparents of the sampled redirects among the clicks."""

    id: str
    clicks: Sequence[Click]
    traces: Sequence[str] = ()

    @property
    def total(self) -> int:
        """How many redirects these are."""
        return sum(click.times for click in self.clicks)


def clicks_of(visits: Mapping[Visit, int], at_s: float, secret: bytes) -> list[Click]:
    """The clicks that are kept of these visits (visit -> how often), all dated `at_s`."""
    day_number = int(at_s // 86_400)
    return [
        Click(code, int(at_s), *_who(secret, day_number, referrer, client, user_agent), times)
        for (code, referrer, client, user_agent), times in visits.items()
    ]


@functools.lru_cache(maxsize=16_384)
def _who(secret: bytes, day_number: int, referrer: bytes, client: str, user_agent: bytes) -> tuple[str, str, bool]:
    """(referrer host, visitor hash, says it is a robot): one look-up for the clicks of a visitor who keeps clicking."""
    return referrer_host(referrer), visitor_hash(secret, day_number, client, user_agent), is_bot(user_agent)


def referrer_host(header: bytes) -> str:
    """The host of a Referer header, lower case; "" for none and for what is not http(s)."""
    try:
        parts = urlsplit(header.decode("ascii"))
        host = parts.hostname or ""
    except ValueError:
        return ""
    return host[:MAX_REFERRER_CHARS] if parts.scheme in ("http", "https") else ""


def visitor_hash(secret: bytes, day_number: int, client: str, user_agent: bytes) -> str:
    """16 hex digits that are equal for one client and browser on one UTC day, and say nothing without the secret."""
    keyed = hashlib.blake2b(client.encode() + b"\n" + user_agent, key=secret, salt=day_number.to_bytes(8, "big"), digest_size=8)
    return keyed.hexdigest()


def is_bot(user_agent: bytes) -> bool:
    """Does the client say that it is a robot? (Those that lie are counted as people.)"""
    return not user_agent or _BOT.search(user_agent.decode("latin-1")) is not None


def encode_batch(batch: ClickBatch) -> bytes:
    from_s = min((click.at_s for click in batch.clicks), default=0)
    who: dict[tuple[str, str, bool], int] = {}
    clicks = [
        (code, at_s - from_s, who.setdefault((referrer, visitor, bot), len(who)), times)
        for code, at_s, referrer, visitor, bot, times in batch.clicks
    ]
    return orjson.dumps({"id": batch.id, "from_s": from_s, "who": [*who], "clicks": clicks, "traces": batch.traces})


def decode_batch(body: bytes) -> ClickBatch:
    """The batch, or a ValueError that says what is wrong with it."""
    document = orjson.loads(body)
    try:
        from_s = int(document["from_s"])
        who = [(str(referrer), str(visitor), bool(bot)) for referrer, visitor, bot in document["who"]]
        clicks = [
            Click(str(code), from_s + int(after_s), *who[int(index)], int(times))
            for code, after_s, index, times in document["clicks"]
        ]
        return ClickBatch(str(document["id"]), clicks, [str(trace) for trace in document["traces"]])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not a click batch: {type(error).__name__}") from error


def counted(clicks: Sequence[Click]) -> list[ClickCount]:
    """The clicks as counts by (code, day, referrer)."""
    people: Counter[tuple[str, str, str]] = Counter()
    robots: Counter[tuple[str, str, str]] = Counter()
    for code, at_s, referrer, _, bot, times in clicks:
        (robots if bot else people)[code, day_of(at_s), referrer] += times
    return [ClickCount(*place, people[place], robots[place]) for place in people | robots]


def visitors(clicks: Sequence[Click]) -> dict[tuple[str, str], list[str]]:
    """Visitors' hashes by (code, day), robots left out."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for click in clicks:
        if not click.bot:
            seen[click.code, day_of(click.at_s)].add(click.visitor)
    return {place: sorted(hashes) for place, hashes in seen.items()}


def summed(rows: Sequence[tuple[str, str, int, int]], days: int, today: str) -> ClickStats:
    """(day, referrer, clicks, bots) rows of one code as its stats over the last `days` days."""
    first = last_days(days, today)[0]
    by_day: Counter[str] = Counter()
    by_referrer: Counter[str] = Counter()
    bots = 0
    for day, referrer, clicks, robot_clicks in rows:
        if first <= day <= today:
            by_day[day] += clicks
            by_referrer[referrer] += clicks
            bots += robot_clicks
    return ClickStats(by_day.total(), bots, dict(sorted(by_day.items())), dict(by_referrer.most_common(TOP_REFERRERS)))


def last_days(days: int, today: str) -> list[str]:
    """The `days` UTC days up to and with `today`, oldest first, as "2026-01-31"."""
    end = dt.date.fromisoformat(today)
    return [(end - dt.timedelta(days=back)).isoformat() for back in reversed(range(days))]


@functools.lru_cache(maxsize=1024)
def _day_of_number(number: int) -> str:
    return dt.date.fromordinal(dt.date(1970, 1, 1).toordinal() + number).isoformat()


def day_of(at_s: float) -> str:
    """The UTC day of a Unix time."""
    return _day_of_number(int(at_s // 86_400))


def merged(counts: Sequence[ClickCount]) -> Mapping[tuple[str, str, str], tuple[int, int]]:
    """Counts of several batches added up by (code, day, referrer), so that a store writes each row once."""
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for count in counts:
        place = (count.code, count.day, count.referrer)
        clicks, bots = sums.get(place, (0, 0))
        sums[place] = (clicks + count.clicks, bots + count.bots)
    return sums
