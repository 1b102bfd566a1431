"""The back-of-envelope estimate of a URL shortener as a function: what the assumptions make of rates, storage and codes.

Pure arithmetic, no measurement in it: CPU per request is an input, so that a measured figure can replace the assumed one. A
month is 30 days; sources disagree whether a year is twelve of those or 365 days (1.4 % apart), so that is an assumption too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from designs.building_blocks.estimation import Row, above_zero, peak_over_mean, shares, shares_above_zero, zero_or_above

SYMBOLS = 62
SECONDS_PER_DAY = 86_400
DAYS_PER_MONTH = 30


@dataclass(frozen=True, slots=True)
class Estimate:
    """What follows from the assumptions. Bytes are bytes (a GB is 1e9), rates are means unless they say peak."""

    links_per_month: float
    reads_per_write: float
    bytes_per_link: float
    years: float
    code_length: int
    cache_share: float
    peak_factor: float
    writes_per_s: float
    reads_per_s: float
    peak_writes_per_s: float
    peak_reads_per_s: float
    links_total: float
    storage_bytes_per_month: float
    storage_bytes: float
    codes: int
    code_space_share: float
    guess_hit_ratio: float
    colliding_pairs: float
    key_pool_bytes: int
    reads_per_day: float
    day_of_reads_bytes: float
    cache_bytes: float
    peak_cores: float
    servers: int

    def rows(self) -> list[Row]:
        """The estimate as a table, in the order in which an interview asks for it."""
        return [
            Row("writes", f"{_number(self.writes_per_s)} /s", f"{_number(self.links_per_month)} links a month / 2.592 M s"),
            Row("reads", f"{_number(self.reads_per_s)} /s", f"writes x {_number(self.reads_per_write)} reads per link"),
            Row("writes at peak", f"{_number(self.peak_writes_per_s)} /s", f"mean x {_number(self.peak_factor)}"),
            Row("reads at peak", f"{_number(self.peak_reads_per_s)} /s", f"mean x {_number(self.peak_factor)}"),
            Row("links", _number(self.links_total), f"after {_number(self.years)} years"),
            Row("storage a month", _bytes(self.storage_bytes_per_month), f"{_bytes(self.bytes_per_link)} a link"),
            Row("storage", _bytes(self.storage_bytes), "links x bytes per link, one copy, no indexes"),
            Row("codes", _number(self.codes), f"{SYMBOLS}^{self.code_length}"),
            Row("code space used", _ratio(self.code_space_share), "above 100 % the codes run out: take one character more"),
            Row("blind guess hits", _ratio(self.guess_hit_ratio), "links / codes: the same number, seen by a scanner"),
            Row("colliding pairs", _number(self.colliding_pairs), "n(n-1)/2 / codes, were each code drawn at random"),
            Row("pool of all codes", _bytes(self.key_pool_bytes), f"{self.code_length} B x codes, were they made beforehand"),
            Row("a day of reads", _bytes(self.day_of_reads_bytes), f"{_number(self.reads_per_day)} reads x bytes per link"),
            Row("cache", _bytes(self.cache_bytes), f"{_ratio(self.cache_share)} of a day's links; less, since reads repeat"),
            Row("cores at peak", _number(self.peak_cores), "peak rates x CPU per request"),
            Row("servers", str(self.servers), "cores / what a server may use, rounded up, one to spare"),
        ]


def estimate(
    *,
    links_per_month: float = 100e6,
    reads_per_write: float = 100.0,
    bytes_per_link: float = 500.0,
    years: float = 10.0,
    code_length: int = 7,
    cache_share: float = 0.2,
    peak_factor: float = 2.0,
    days_per_year: float = 360.0,
    cpu_us_per_read: float = 100.0,
    cpu_us_per_write: float = 1_000.0,
    cores_per_server: float = 4.0,
    cpu_busy_share: float = 0.5,
) -> Estimate:
    """The whole estimate. `ValueError` with a sentence for an assumption that can't be.

    The CPU figures are assumptions to be replaced by measured ones. `cpu_busy_share` is how busy a server may be at peak.
    """
    above_zero(
        links_per_month=links_per_month,
        bytes_per_link=bytes_per_link,
        years=years,
        cores_per_server=cores_per_server,
    )
    zero_or_above(reads_per_write=reads_per_write, cpu_us_per_read=cpu_us_per_read, cpu_us_per_write=cpu_us_per_write)
    shares(cache_share=cache_share)
    shares_above_zero(cpu_busy_share=cpu_busy_share)
    peak_over_mean(peak_factor)
    if not 360 <= days_per_year <= 366:
        raise ValueError(f"days_per_year={days_per_year} must be 360 (twelve months of 30 days) to 366")
    if code_length != int(code_length) or not 1 <= code_length <= 20:
        raise ValueError(f"code_length={code_length} must be a whole number from 1 to 20")

    code_length = int(code_length)
    writes_per_s = links_per_month / (DAYS_PER_MONTH * SECONDS_PER_DAY)
    reads_per_s = writes_per_s * reads_per_write
    links_total = links_per_month * years * days_per_year / DAYS_PER_MONTH
    codes = code_space(code_length)
    reads_per_day = reads_per_s * SECONDS_PER_DAY
    peak_cores = peak_factor * (reads_per_s * cpu_us_per_read + writes_per_s * cpu_us_per_write) / 1e6
    return Estimate(
        links_per_month=links_per_month,
        reads_per_write=reads_per_write,
        bytes_per_link=bytes_per_link,
        years=years,
        code_length=code_length,
        cache_share=cache_share,
        peak_factor=peak_factor,
        writes_per_s=writes_per_s,
        reads_per_s=reads_per_s,
        peak_writes_per_s=writes_per_s * peak_factor,
        peak_reads_per_s=reads_per_s * peak_factor,
        links_total=links_total,
        storage_bytes_per_month=links_per_month * bytes_per_link,
        storage_bytes=links_total * bytes_per_link,
        codes=codes,
        code_space_share=links_total / codes,
        guess_hit_ratio=min(1.0, links_total / codes),
        colliding_pairs=colliding_pairs(links_total, code_length),
        key_pool_bytes=code_length * codes,
        reads_per_day=reads_per_day,
        day_of_reads_bytes=reads_per_day * bytes_per_link,
        cache_bytes=cache_share * min(reads_per_day, links_total) * bytes_per_link,
        peak_cores=peak_cores,
        servers=math.ceil(peak_cores / (cores_per_server * cpu_busy_share)) + 1,
    )


def code_space(length: int, symbols: int = SYMBOLS) -> int:
    """How many codes of this length there are."""
    return int(symbols**length)


def colliding_pairs(links: float, length: int) -> float:
    """Pairs that would share a code, were each drawn uniformly and never checked: n(n-1)/2 over the number of codes."""
    return links * max(0.0, links - 1) / 2 / code_space(length)


PRESETS: Mapping[str, Mapping[str, float | int]] = MappingProxyType(
    {
        # 100 million links a day, ten reads each, ten years of 365 days at 100 B: the number most answers start from.
        "interview classic": {
            "links_per_month": 100e6 * DAYS_PER_MONTH,
            "reads_per_write": 10.0,
            "bytes_per_link": 100.0,
            "years": 10.0,
            "code_length": 6,
            "days_per_year": 365.0,
        },
        # What Bitly, the largest public shortener, has said of itself: 256 M links and 9.9 G redirects a month.
        "public reality": {
            "links_per_month": 256e6,
            "reads_per_write": 9.9e9 / 256e6,
            "years": 10.0,
            "days_per_year": 365.0,
        },
        # donnemartin/system-design-primer: 10 M writes and 100 M reads a month, 1.27 kB a link, three years.
        "system-design-primer": {
            "links_per_month": 10e6,
            "reads_per_write": 10.0,
            "bytes_per_link": 1_270.0,
            "years": 3.0,
            "days_per_year": 360.0,
        },
        # What the load tests ask of one small machine (the mix `mixed`: 400 requests/s), were it kept up for a year.
        "ours": {
            "links_per_month": 20.0 * DAYS_PER_MONTH * SECONDS_PER_DAY,
            "reads_per_write": 18.0,
            "years": 1.0,
            "peak_factor": 1.0,
            "days_per_year": 365.0,
        },
    }
)


def _number(value: float) -> str:
    """Three digits that count, with the short scale's letters: 365 bn reads better than 365000000000."""
    for size, unit in ((1e15, ""), (1e12, " tn"), (1e9, " bn"), (1e6, " M")):
        if value >= size:
            return f"{value:.3g}" if not unit else f"{value / size:.3g}{unit}"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _bytes(value: float) -> str:
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} B"


def _ratio(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 1e-3 else f"{100 * value:.3g} %"
