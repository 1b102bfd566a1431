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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

from loadtests.workload import Mix

MAX_REQUESTS = 5_000_000
MAX_JOURNEY = 16  # steps


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Five columns of equal length, one row a request.

    intended_s   seconds from the start of the round, rising
    op_indexes   index into `ops`
    keys         0 .. mix.keys-1
    follows      the earlier row that has to end before this one can be sent, -1 for none
    clients      who asks: 0 .. mix.clients-1; 0 where nobody is remembered
    """

    ops: tuple[str, ...]
    intended_s: array[float]
    op_indexes: array[int]
    keys: array[int]
    follows: array[int]
    clients: array[int]

    def __len__(self) -> int:
        return len(self.intended_s)

    @property
    def hash(self) -> str:
        """SHA-256 over the operations' names and the columns."""
        digest = hashlib.sha256("\0".join(self.ops).encode())
        for column in (self.intended_s, self.op_indexes, self.keys, self.follows, self.clients):
            digest.update(column.tobytes())
        return digest.hexdigest()


def make_plan(mix: Mix, rate_per_s: float, duration_s: float, seed: int, round_index: int = 0) -> Plan:
    """Poisson arrivals at `rate_per_s`; otherwise as `stepped_plan`."""
    return stepped_plan(mix, [(rate_per_s, duration_s)], seed, round_index)


def stepped_plan(mix: Mix, steps: Sequence[tuple[float, float]], seed: int, round_index: int = 0) -> Plan:
    """Poisson arrivals at one rate after the other, (rate_per_s, duration_s) each; operations by ratio, keys by popularity.

    Each round index has arrivals of its own; which keys are popular depends on the seed alone, so a cache that is warm after
    one round is still warm in the next.

    Where `mix.then` makes journeys, the rate still counts requests: fewer of them begin. A journey keeps its key and its client,
    and it is never cut, so its last steps may be due after the last rate step. Each step is due a pause after the one before it
    was *due*, not after it ended: else a slow answer would put off the next question, and hide that it did. Where the mix has
    clients, what a client asks again follows the last time that it asked the same.

    ValueError when rates, durations or mix make no plan, or more than `MAX_REQUESTS`.
    """
    for rate_per_s, duration_s in steps:
        if not (rate_per_s > 0 and duration_s > 0):
            raise ValueError(f"rate and duration must be above 0, not {rate_per_s}/s for {duration_s} s")
    requests = sum(rate_per_s * duration_s for rate_per_s, duration_s in steps)
    if requests > MAX_REQUESTS:
        raise ValueError(f"{requests:,.0f} requests are more than {MAX_REQUESTS:,}; take a lower rate or shorter rounds")
    op_bounds = cumulative_ratios(mix.ratios)
    popularity, key_of_rank = key_popularity(mix.keys, mix.zipf_s, seed)
    ops, later_steps = journeys(mix)
    shares = [high - low for low, high in pairwise([0.0, *op_bounds])]
    mean_steps = 1 + sum(share * len(later) for share, later in zip(shares, later_steps, strict=True))
    rng = random.Random(f"{seed} round {round_index}")
    plan = Plan(ops, array("d"), array("B"), array("Q"), array("q"), array("I"))
    for due_s in poisson([(rate_per_s / mean_steps, duration_s) for rate_per_s, duration_s in steps], rng):
        first = draw(op_bounds, rng.random())
        key = key_of_rank[draw(popularity, rng.random())]
        client = rng.randrange(mix.clients) if mix.clients else 0
        _append(plan, due_s, first, key, -1, client)
        for op_index, pause_s in later_steps[first]:
            due_s += pause_s
            _append(plan, due_s, op_index, key, len(plan) - 1, client)
    if mix.then:
        plan = _in_time_order(plan)
    if mix.clients:
        _follow_own_requests(plan)
    return plan


def poisson(steps: Iterable[tuple[float, float]], rng: random.Random) -> Iterator[float]:
    """Times of a Poisson process, one (rate_per_s, duration_s) after the other.

    Where the rate changes the gap is drawn anew: an exponential has no memory of how long one has waited.
    """
    start_s = 0.0
    for rate_per_s, duration_s in steps:
        due_s, end_s = start_s, start_s + duration_s
        while (due_s := due_s - math.log(1.0 - rng.random()) / rate_per_s) < end_s:
            yield due_s
        start_s = end_s


def journeys(mix: Mix) -> tuple[tuple[str, ...], list[list[tuple[int, float]]]]:
    """All operations of the mix, and for each that begins a journey the steps after it: (index of the operation, pause before)."""
    indexes = {op: index for index, op in enumerate(mix.ratios)}
    later_steps = []
    for first in mix.ratios:
        op, later = first, list[tuple[int, float]]()
        while op in mix.then:
            op, pause_s = mix.then[op]
            later.append((indexes.setdefault(op, len(indexes)), pause_s))
            if not 0 <= pause_s < math.inf:
                raise ValueError(f"a pause is 0 s or more, not {pause_s} s before {op!r}")
            if len(later) >= MAX_JOURNEY:
                raise ValueError(f"the journey that begins with {first!r} does not end within {MAX_JOURNEY} steps")
        later_steps.append(later)
    return tuple(indexes), later_steps


def _append(plan: Plan, due_s: float, op_index: int, key: int, follows: int, client: int) -> None:
    plan.intended_s.append(due_s)
    plan.op_indexes.append(op_index)
    plan.keys.append(key)
    plan.follows.append(follows)
    plan.clients.append(client)


def _in_time_order(plan: Plan) -> Plan:
    """The same rows by their intended time; a step stays behind the one it follows, since sorting keeps the order of equals."""
    order = sorted(range(len(plan)), key=plan.intended_s.__getitem__)
    place = array("q", order)
    for row, old_row in enumerate(order):
        place[old_row] = row
    return Plan(
        plan.ops,
        array("d", (plan.intended_s[row] for row in order)),
        array("B", (plan.op_indexes[row] for row in order)),
        array("Q", (plan.keys[row] for row in order)),
        array("q", (place[plan.follows[row]] if plan.follows[row] >= 0 else -1 for row in order)),
        array("I", (plan.clients[row] for row in order)),
    )


def _follow_own_requests(plan: Plan) -> None:
    """A first step follows the last row of the same client, operation and key, so that the client can know the answer."""
    last: dict[tuple[int, int, int], int] = {}
    for row, same in enumerate(zip(plan.clients, plan.op_indexes, plan.keys, strict=True)):
        if plan.follows[row] < 0:
            plan.follows[row] = last.get(same, -1)
        last[same] = row


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
