"""The schedule `random`: what strikes, what it strikes, when and how badly is drawn from a design's menu and a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from loadtests.faults.named import RANDOM
from loadtests.faults.pattern import FaultPattern, one_of, strike, targets_of
from loadtests.faults.schedule import BadSchedule, Fault

STRETCH_S = 5.0
MOST_IN_A_STRETCH = 4
ROOM_S = 0.5  # the last strike begins so long before the end, or it would be over at once


def random_strikes(
    menu: Sequence[FaultPattern], *, seed: int, nodes: Sequence[str], from_s: float, until_s: float
) -> Iterator[Fault]:
    """One to four strikes in every 5 s, each at any moment of them. Only what has a target among `nodes` is drawn.

    The time is cut into equal stretches, as near to 5 s as they go, and each has one to four. Raises `BadSchedule` where nothing
    of the menu fits.
    """
    possible = [pattern for pattern in menu if targets_of(pattern, nodes)]
    if not possible:
        raise BadSchedule(f"{RANDOM}: nothing of the design's menu can strike {', '.join(nodes) or 'nothing'}")
    rng = random.Random(f"{seed}/{RANDOM}")
    until_s = max(until_s - ROOM_S, from_s)
    stretches = max(1, round((until_s - from_s) / STRETCH_S))
    length_s = (until_s - from_s) / stretches
    for number in range(stretches):
        for _ in range(1 + int(rng.random() * MOST_IN_A_STRETCH)):
            at_s = from_s + (number + rng.random()) * length_s
            yield from strike(one_of(possible, rng), at_s, rng, nodes, RANDOM)
