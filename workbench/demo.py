"""`designs demo`: one trade-off, end to end, in about two minutes: should a redirect wait until its click is counted?"""

from __future__ import annotations

from pathlib import Path

from workbench.catalogue import design_named
from workbench.comparison import compare_command
from workbench.terminal import say

QUESTION = """\
Question    Design a URL shortener that counts clicks. Should a redirect wait until its click is counted?
Trade-off   clicks=sync writes each click to the store before it redirects: nothing is lost, every visitor pays.
            clicks=redis_streams redirects at once and queues the click: a killed replica loses {flush_ms:g} ms of clicks.
What runs   two URL shorteners side by side, each on SQLite and a redis-server of its own, under the same seeded plan of
            browsers that open links, in alternating rounds. About two minutes.
"""


def demo_command() -> int:
    """Exit code as `designs compare`."""
    design = design_named("url_shortener")
    flush_ms = design.processes().KNOBS().model_dump()["click_flush_ms"]
    say(QUESTION.format(flush_ms=flush_ms))
    return compare_command(design, "clicks", ("sync", "redis_streams"), blocks=8, out_dir=Path("results") / "demo")
