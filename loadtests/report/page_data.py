"""What the page's script draws, as JSON: the curves and the bands, with as many digits as a pixel can show.

The record itself lies beside the page; a page that carried all of it twice would be too large to mail.
"""

from __future__ import annotations

import json
from typing import Any

from loadtests.result import LatencySummary, Result

DIGITS = 4


def page_data(result: Result) -> str:
    """JSON that holds no "<", so that no text of a record can end the element it stands in."""
    data = {
        "variants": [
            {
                "name": variant.name,
                "latency_intended": _summary(variant.latency_intended),
                "latency_sent": _summary(variant.latency_sent),
                "over_time": [_short(row) for row in variant.over_time],
            }
            for variant in result.variants
        ],
        "bands": [band.model_dump() for band in result.bands],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _summary(latency: LatencySummary) -> dict[str, Any]:
    # A fraction keeps more digits: what is left of it is drawn in the tail, down to one request in all.
    points = [[_rounded(ms), _rounded(fraction, 8)] for ms, fraction in latency.ecdf]
    return {"samples": latency.samples, "ecdf": points}


def _short(row: tuple[float, ...]) -> list[float]:
    return [_rounded(row[0], 6), *map(_rounded, row[1:])]


def _rounded(value: float, digits: int = DIGITS) -> float:
    return float(f"{value:.{digits}g}")
