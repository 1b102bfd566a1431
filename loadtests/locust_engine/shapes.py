"""How many users Locust runs at each moment: steps, a spike, a ramp, a soak. Pure functions of time, and the class Locust asks.

    steps    five equal stairs up to the peak                                       where does it begin to hurt?
    spike    a tenth, then the peak for a fifth of the time, then a tenth again     does it come back?
    ramp     evenly to the peak, reached for the last tenth of the time             the same question without stairs
    soak     to the peak within a tenth of the time, and there it stays             what grows, leaks or fills up?

The shape alone says who is there, so it replaces --spawn-rate. Locust asks about once a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

STEPS = 5
SPIKE_BASE = 0.1
SPIKE_FROM, SPIKE_TO = 0.4, 0.6
RAMP_RISE = 0.9
SOAK_RISE = 0.1
RUN_TIME_S = 60.0  # where no --run-time says otherwise
MAX_SPAWN_PER_S = 100  # Locust warns above it
USERS = 20


def steps(part: float) -> float:
    return (math.floor(part * STEPS) + 1) / STEPS


def spike(part: float) -> float:
    return 1.0 if SPIKE_FROM <= part < SPIKE_TO else SPIKE_BASE


def ramp(part: float) -> float:
    return min(1.0, part / RAMP_RISE)


def soak(part: float) -> float:
    return min(1.0, part / SOAK_RISE)


# Part of the run time gone by (0 <= part < 1) -> part of the peak that is there.
SHAPES: Mapping[str, Callable[[float], float]] = MappingProxyType({"steps": steps, "spike": spike, "ramp": ramp, "soak": soak})


def users_at(shape: str, t_s: float, users: int, run_time_s: float) -> int | None:
    """Users there are `t_s` after the start: 1 to `users`; None from the end of the run on.

    >>> [users_at("steps", t_s, 20, 10.0) for t_s in (0, 2, 4, 6, 8, 10)]
    [4, 8, 12, 16, 20, None]
    """
    if t_s >= run_time_s:
        return None
    part = max(0.0, t_s / run_time_s)
    return min(users, max(1, round(users * SHAPES[shape](part))))


def add_shape_option(parser: Any, default: str = "") -> None:
    parser.add_argument(
        "--shape",
        choices=("", *SHAPES),
        default=default,
        help="how the number of users changes until --run-time is over; --users is the peak",
        include_in_web_ui=False,  # read once, when Locust starts
    )


def install_shape(environment: Any) -> None:
    """Let the shape of the option say how many users there are. To be called on Locust's `init` event."""
    import locust

    options = environment.parsed_options
    untyped: Any = locust.LoadTestShape

    class Shape(untyped):  # type: ignore[misc]
        abstract = True  # or Locust would take it from a file that imports it
        use_common_options = True  # --users is the peak and --run-time the end; the page asks for both too

        def tick(self) -> tuple[int, int] | None:
            if self.runner.state == "ready":
                # The first users are still to come: the seeding may take seconds, and a changed number would begin it again.
                self.reset_time()
            there = users_at(options.shape, self.get_run_time(), options.num_users or USERS, options.run_time or RUN_TIME_S)
            return None if there is None else (there, MAX_SPAWN_PER_S)

    if options.shape:
        environment.shape_class = Shape()
        environment.shape_class.runner = environment.runner
