"""When requests are due, what they ask and of which key: an open-loop plan, drawn once from a seed.

A plan is drawn before the run and replayed on each variant, so both see the same load at the same offsets, and a slow answer
cannot delay the next question (Schroeder, Wierman, Harchol-Balter, NSDI 2006, "Open versus closed: a cautionary tale").
Same mix, rate, duration, seed and round: same plan, same hash.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from loadtests.workload import Mix

MAX_REQUESTS = 5_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Three columns of equal length, one row a request.

    intended_s   seconds from the start of the round, rising
    op_indexes   index into `ops`
    keys         0 .. mix.keys-1
    """

    ops: tuple[str, ...]
    intended_s: array[float]
    op_indexes: array[int]
    keys: array[int]

    def __len__(self) -> int:
        return len(self.intended_s)

    @property
    def hash(self) -> str:
        """SHA-256 over the operations' names and the three columns."""
        digest = hashlib.sha256("\0".join(self.ops).encode())
        for column in (self.intended_s, self.op_indexes, self.keys):
            digest.update(column.tobytes())
        return digest.hexdigest()


def make_plan(mix: Mix, rate_per_s: float, duration_s: float, seed: int, round_index: int = 0) -> Plan:
    """Poisson arrivals at `rate_per_s`, operations by ratio, keys by popularity.

    Each round index has arrivals of its own; which keys are popular depends on the seed alone, so a cache that is warm after
    one round is still warm in the next. ValueError when rate, duration or mix make no plan, or more than `MAX_REQUESTS`.
    """
    if not (rate_per_s > 0 and duration_s > 0):
        raise ValueError(f"rate and duration must be above 0, not {rate_per_s}/s for {duration_s} s")
    if rate_per_s * duration_s > MAX_REQUESTS:
        raise ValueError(f"{rate_per_s}/s for {duration_s} s is more than {MAX_REQUESTS:,} requests; take shorter rounds")
    ops = tuple(mix.ratios)
    op_bounds = cumulative_ratios(mix.ratios)
    popularity, key_of_rank = key_popularity(mix.keys, mix.zipf_s, seed)
    rng = random.Random(f"{seed} round {round_index}")
    plan = Plan(ops, array("d"), array("B"), array("Q"))
    due_s = 0.0
    while (due_s := due_s - math.log(1.0 - rng.random()) / rate_per_s) < duration_s:
        plan.intended_s.append(due_s)
        plan.op_indexes.append(draw(op_bounds, rng.random()))
        plan.keys.append(key_of_rank[draw(popularity, rng.random())])
    return plan


def cumulative_ratios(ratios: Mapping[str, float]) -> list[float]:
    """Running sums of the ratios, scaled to end at 1. Ratios need not add up to 1, but each must be 0 or more."""
    if not ratios or len(ratios) > 256:
        raise ValueError(f"a mix has 1 to 256 operations, not {len(ratios)}")
    if min(ratios.values()) < 0 or sum(ratios.values()) <= 0:
        raise ValueError(f"ratios must not be negative, and not all 0: {dict(ratios)}")
    bounds = list(accumulate(ratios.values()))
    return [bound / bounds[-1] for bound in bounds]


@lru_cache(maxsize=4)
def key_popularity(keys: int, zipf_s: float, seed: int) -> tuple[list[float], array[int]]:
    """Cumulative probability by rank, and the key that has each rank.

    Zipf: rank r (from 1) has weight r ** -zipf_s; 0 is uniform, about 1 is what web requests show (Breslau et al., INFOCOM
    1999). Ranks are dealt to keys by a seeded shuffle, else popular keys would be neighbours in any index.
    """
    if keys < 1 or zipf_s < 0:
        raise ValueError(f"a mix needs at least one key and an exponent of 0 or more, not {keys} and {zipf_s}")
    weights = list(accumulate(rank**-zipf_s for rank in range(1, keys + 1)))
    key_of_rank = list(range(keys))
    random.Random(f"{seed} ranks").shuffle(key_of_rank)
    return [weight / weights[-1] for weight in weights], array("Q", key_of_rank)


def draw(cumulative: Sequence[float], u: float) -> int:
    """The index whose share of the distribution holds `u`, 0 <= u < 1. The last bound is 1; weight 0 is never drawn."""
    return bisect_right(cumulative, u)
