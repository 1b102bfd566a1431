"""A ratio over blocks as a sentence, and the numbers in it."""

from __future__ import annotations

import math

from loadtests.analysis.figures import Figure
from loadtests.analysis.statistics import CONFIDENCE, blocks_at_least, blocks_needed, verdict
from loadtests.result import Ratio

MORE_BLOCKS_SHOWN = 200


def sentence(name: str, words: Figure, paired: Ratio, margin: float, confidence: float = CONFIDENCE) -> str:
    """ "aside uses 38 % less CPU per request [36, 41]". `confidence`: what the interval was asked to cover."""
    low, high = paired.low, paired.high
    noisy = " (a noisy figure)" if words.noisy else ""
    if low is None or high is None:
        needed = blocks_at_least(confidence)
        return f"{name}: {words.noun} inconclusive, {paired.blocks} blocks are too few ({needed} needed){noisy}"
    found = verdict(paired, margin)
    if found == "same":
        return f"{name}: no difference above {number(margin * 100)} % in {words.noun}{noisy}"
    if found == "inconclusive":
        half = math.expm1(math.log(high / low) / 2) * 100
        missing = max(2, blocks_needed(paired.sd_log, margin, confidence) - paired.blocks)
        more = f"about {missing} more blocks" if missing <= MORE_BLOCKS_SHOWN else "only very many more blocks"
        return f"{name}: {words.noun} inconclusive, ±{number(half)} %; {more} would tell{noisy}"
    if found == "less":
        span = f"[{percent(1 - high)}, {percent(1 - low)}]"
        return f"{name} {words.verb} {percent(1 - paired.estimate)} % {words.less} {words.noun} {span}{noisy}"
    if paired.estimate >= 2:
        span = f"[{times(low)}, {times(high)}]"
        return f"{name} {words.verb} {times(paired.estimate)} times the {words.noun} {span}{noisy}"
    span = f"[{percent(low - 1)}, {percent(high - 1)}]"
    return f"{name} {words.verb} {percent(paired.estimate - 1)} % {words.more} {words.noun} {span}{noisy}"


def number(value: float) -> str:
    """Two or three figures that count: 41, 4.1, 0.41, 1,234."""
    if value >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    """0.184 -> "18"; close to all or nothing with a digit more, so that 99.7 does not read as everything."""
    value = share * 100
    return f"{value:.1f}" if abs(value) < 9.5 or 99 < value < 100 else f"{value:.0f}"


def signed(value: float) -> str:
    return f"{(value - 1) * 100:+.1f}"


def times(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
