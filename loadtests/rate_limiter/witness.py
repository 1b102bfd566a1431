"""Questions and answers as lines of a witness."""

from __future__ import annotations

from loadtests.rate_limiter.history import Ask
from loadtests.verdict import Line, told_from


def told_ask(ask: Ask) -> Line:
    cost = f" x {ask.cost}" if ask.cost != 1 else ""
    token = f" by {ask.token}" if ask.token else ""
    said = f"{ask.f} {ask.about}{cost}{token} -> {ask.status or 'no answer'}"
    if ask.held is not None:
        said += " held" if ask.held else " not held"
    said += " degraded" if ask.degraded else ""
    for each in ask.said:
        wait = "never" if each.retry_us is None else f"retry in {each.retry_us / 1e6:.3f} s"
        said += f"; {each.rule} {'admits' if each.allowed else 'refuses'}, {each.remaining} of {each.limit} left"
        said += "" if each.allowed else f", {wait}"
    return told_from(ask.sent_s, ask.end_s, ask.node, said)
