"""What it costs to be watched, as two knobs that every design has, so that a comparison can put a figure to it.

>>> class LimiterKnobs(Knobs):
...     metrics: MetricsKnob = "on"
...     traces: TracesKnob = 0.0
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

MetricsKnob = Annotated[
    Literal["on", "off"],
    Field(
        description=(
            "on: every request and every call of a port is counted and timed, at some CPU each. off: none is, and slow requests "
            "are not logged: cheaper, and blind; /metrics still says what the design counts for its own promises."
        )
    ),
]
TracesKnob = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        examples=[0, 0.01, 1],
        description=(
            "Share of requests that leave a trace, unless their caller has decided already (0: no tracing at all). One in a "
            "hundred shows what is usual, at a small cost to every request; all show the one that went wrong, and cost most."
        ),
    ),
]
