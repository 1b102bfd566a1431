"""`designs demo [NAME]`: things to watch, end to end.

Without a name, one trade-off in minutes: should a redirect wait until its click is counted?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from workbench.terminal import say

BLOCKS = 6  # the fewest of which an interval of 95 % can be had
QUESTION = """\
Question    Design a URL shortener that counts clicks. Should a redirect wait until its click is counted?
Trade-off   clicks=sync writes each click to the store before it redirects: nothing is lost, every visitor pays.
            clicks=redis_streams redirects at once and queues the click: a killed replica loses {flush_ms:g} ms of clicks.
What runs   two URL shorteners side by side, each on SQLite and a redis-server of its own, under the same seeded plan of
            browsers that open links, in alternating rounds. Two minutes on a machine that is left alone; where others
            disturb it, what was disturbed is measured again.
"""


def clicks_demo() -> int:
    """Exit code as `designs compare`."""
    from workbench.catalogue import design_named
    from workbench.comparison import compare_command

    design = design_named("url_shortener")
    flush_ms = design.processes().KNOBS().model_dump()["click_flush_ms"]
    say(QUESTION.format(flush_ms=flush_ms))
    out_dir = Path("results") / "demo"
    return compare_command(design, "clicks", ("sync", "redis_streams"), blocks=BLOCKS, round_s=1.0, out_dir=out_dir)


def coordinated_omission_demo() -> int:
    from workbench.coordinated_omission import coordinated_omission_command

    return coordinated_omission_command()


DEMOS: Mapping[str, Callable[[], int]] = {"clicks": clicks_demo, "coordinated-omission": coordinated_omission_demo}


def demo_command(name: str = "clicks") -> int:
    """Exit code of that demo."""
    return DEMOS[name]()
