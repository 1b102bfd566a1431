"""How a report says its numbers: as many digits as they deserve, ratios as changes, in one voice on every surface.

Promises. Decimals end at the third significant digit; whole numbers are never cut. The space before a unit does not break, and
the sign of a change is a minus, not a hyphen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtests.result import Ratio


def number(value: float) -> str:
    """Three significant digits, thousands apart: `0.1824` -> `0.182`, `149.2` -> `149`, `12034` -> `12,034`."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def change(ratio: float) -> str:
    """A ratio as people say it: `0.62` -> `−38 %`, `1.013` -> `+1.3 %`, `3.2` -> `3.2 ×`, with a space that does not break."""
    return f"{ratio:.3g}\N{NO-BREAK SPACE}×" if ratio >= 2 else f"{_percent(ratio, ratio)}\N{NO-BREAK SPACE}%"


def interval(ratio: Ratio) -> str:
    """The interval in the unit `change` gives its estimate: `[−41, −36]`; empty when there are too few blocks for one."""
    if ratio.low is None or ratio.high is None:
        return ""
    if ratio.estimate >= 2:
        return f"[{ratio.low:.3g}, {ratio.high:.3g}]"
    return f"[{_percent(ratio.low, ratio.estimate)}, {_percent(ratio.high, ratio.estimate)}]"


def _percent(ratio: float, estimate: float) -> str:
    """Signed per cent with as many decimals as the estimate deserves: one below 10 %, none above."""
    decimals = 1 if abs(estimate - 1) < 0.1 else 0
    percent = round((ratio - 1) * 100, decimals)
    sign = "−" if percent < 0 else "+" if percent > 0 else ""
    return f"{sign}{abs(percent):.{decimals}f}"


def count(value: float) -> str:
    """A count, thousands apart, or a small mean of counts: `7164` -> `7,164`, `2.5` -> `2.5`."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else number(value)


def percentage(value: float) -> str:
    """A share of a whole: `0.071` -> `7.1 %`, `0.62` -> `62 %`, with a space that does not break."""
    return f"{value * 100:.2g}\N{NO-BREAK SPACE}%" if value < 0.1 else f"{value * 100:.0f}\N{NO-BREAK SPACE}%"


def enumeration(parts: Sequence[str]) -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
