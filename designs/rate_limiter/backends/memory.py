"""Every limit in the memory of one process: the reference that the other backends are compared with. Nothing survives it.

Bounded without forgetting: a key that was dropped while it counts would have its whole quota again, and whoever can make keys could
make others be dropped. So a key goes only when it is as if it had never come. When there is no room, new keys share: each rule has
`SHARED` buckets more, and a key that falls into one is limited together with the others there: refused too early, never too late.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

from designs.rate_limiter import concurrency
from designs.rate_limiter.algorithms import ALGORITHMS, answer
from designs.rate_limiter.count_min_sketch import CountMinSketch
from designs.rate_limiter.limits import NEVER_SEEN, State
from designs.rate_limiter.ports import Demand, NotKept, SlotDemand, Taken

SHARED = 64
LOOKED_AT = 4  # keys looked at for each new one: room is made as fast as it is needed, and nobody waits for a sweep


class MemoryLimitStore:
    """`LimitStore` in dicts. Atomic because nothing in a verb awaits. `clock_us()` may go back; see the algorithms."""

    def __init__(self, clock_us: Callable[[], int], max_keys: int = 100_000) -> None:
        self._clock_us = clock_us
        self._max_keys = max_keys
        self._states: OrderedDict[str, tuple[State, int]] = OrderedDict()  # key -> (state, from when on it says nothing)
        self._held: OrderedDict[str, dict[str, int]] = OrderedDict()  # key -> its leases
        self._sketches: dict[tuple[str, int], CountMinSketch] = {}  # as many as there are rules
        self.shared = 0  # decisions in a shared bucket so far

    @property
    def keys(self) -> int:
        """How many keys are kept."""
        return len(self._states) + len(self._held)

    async def take(self, demands: Sequence[Demand]) -> Taken:
        return self._decided(demands, spend=True)

    async def peek(self, demands: Sequence[Demand]) -> Taken:
        return self._decided(demands, spend=False)

    async def give_back(self, demands: Sequence[Demand]) -> None:
        refuse_sketches(demands)
        now_us = self._clock_us()
        for demand in demands:
            key = self._place(demand, now_us)
            if (state := self._state(key)) != NEVER_SEEN and demand.cost:
                self._keep(
                    key, demand, ALGORITHMS[demand.limit.algorithm].give_back(demand.limit, state, now_us, demand.cost), now_us
                )

    async def reset(self, demands: Sequence[Demand]) -> None:
        refuse_sketches(demands)
        for demand in demands:
            self._states.pop(demand.key, None)

    async def acquire(self, demands: Sequence[SlotDemand], token: str) -> Taken:
        now_us = self._clock_us()
        places = [self._slot_place(demand, now_us) for demand in demands]
        before = [concurrency.live(self._held.get(place, {}), now_us) for place in places]
        after = [concurrency.acquire(demand.slots, held, now_us, token) for demand, held in zip(demands, before, strict=True)]
        allowed = all(held is not None or demand.shadow for demand, held in zip(demands, after, strict=True))
        decisions = []
        for demand, place, was, held in zip(demands, places, before, after, strict=True):
            kept = held if allowed and held is not None else was
            if kept:
                self._held[place] = kept
            first_us = min(kept.values(), default=0)
            decisions.append(concurrency.decide(demand.slots, len(kept), first_us, now_us, held is not None))
        return Taken(allowed, tuple(decisions))

    async def renew(self, demands: Sequence[SlotDemand], token: str) -> bool:
        now_us = self._clock_us()
        places = [self._slot_place(demand, now_us) for demand in demands]
        after = [
            concurrency.renew(demand.slots, self._held.get(place, {}), now_us, token)
            for demand, place in zip(demands, places, strict=True)
        ]
        if any(held is None for held in after):
            return False
        self._held.update((place, held) for place, held in zip(places, after, strict=True) if held)
        return True

    async def release(self, demands: Sequence[SlotDemand], token: str) -> bool:
        now_us = self._clock_us()
        released = False
        for demand in demands:
            place = self._slot_place(demand, now_us)
            held = concurrency.live(self._held.get(place, {}), now_us)
            released |= held.pop(token, None) is not None
            if held:
                self._held[place] = held
            else:
                self._held.pop(place, None)
        return released

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None: ...

    def _decided(self, demands: Sequence[Demand], spend: bool) -> Taken:
        now_us = self._clock_us()
        found: list[tuple[Demand, str, State, State | None]] = []
        so_far: dict[str, State] = {}  # within this call: two keys of one rule may share a bucket, and then both count in it
        for demand in demands:
            key, state = self._found(demand, now_us)
            state = so_far.get(key, state)
            after = ALGORITHMS[demand.limit.algorithm].take(demand.limit, state, now_us, demand.cost)
            if after is not None:
                so_far[key] = after
            found.append((demand, key, state, after))
        allowed = all(after is not None or demand.shadow for demand, _, _, after in found)
        decisions = []
        for demand, key, state, after in found:
            taken = spend and allowed and after is not None and demand.cost > 0
            if taken and after is not None:
                self._keep(key, demand, after, now_us)
                state = after
            view = ALGORITHMS[demand.limit.algorithm].view(demand.limit, state, now_us, demand.cost)
            decisions.append(answer(demand, view, now_us, passed=after is not None, taken=taken))
        return Taken(allowed, tuple(decisions))

    def _found(self, demand: Demand, now_us: int) -> tuple[str, State]:
        if demand.limit.algorithm == "sketch":
            return demand.key, self._sketch(demand).state(demand.limit, demand.item, now_us)
        key = self._place(demand, now_us)
        return key, self._state(key)

    def _sketch(self, demand: Demand) -> CountMinSketch:
        return self._sketches.setdefault((demand.bucket, demand.limit.period_us), CountMinSketch())

    def _state(self, key: str) -> State:
        return self._states.get(key, (NEVER_SEEN, 0))[0]

    def _keep(self, key: str, demand: Demand, state: State, now_us: int) -> None:
        if demand.limit.algorithm == "sketch":
            self._sketch(demand).keep(demand.limit, demand.item, state)
            return
        algorithm = ALGORITHMS[demand.limit.algorithm]
        said = algorithm.decide(demand.limit, algorithm.view(demand.limit, state, now_us, 0), now_us, 0, True)
        self._states[key] = (state, now_us + said.reset_after_us)

    def _place(self, demand: Demand, now_us: int) -> str:
        """The key, or the shared bucket that stands for it while there is no room.

        What a shared bucket holds counts until it is over: room that comes back in between is no new quota.
        """
        if demand.key in self._states:
            return demand.key
        shared = _shared_bucket(demand.bucket, demand.item)
        counts_still = shared in self._states and self._states[shared][1] > now_us
        if not counts_still and (len(self._states) < self._max_keys or self._make_room(now_us)):
            return demand.key
        self.shared += 1
        return shared

    def _make_room(self, now_us: int) -> bool:
        for _ in range(min(LOOKED_AT, len(self._states))):
            key, (state, over_us) = self._states.popitem(last=False)
            if over_us > now_us:
                self._states[key] = (state, over_us)  # at the end: the next ones are looked at next time
        return len(self._states) < self._max_keys

    def _slot_place(self, demand: SlotDemand, now_us: int) -> str:
        if demand.key in self._held:
            return demand.key
        shared = _shared_bucket(demand.bucket, demand.item)
        if shared not in self._held and (len(self._held) < self._max_keys or self._make_slot_room(now_us)):
            return demand.key
        self.shared += 1
        return shared

    def _make_slot_room(self, now_us: int) -> bool:
        for _ in range(min(LOOKED_AT, len(self._held))):
            key, held = self._held.popitem(last=False)
            if live := concurrency.live(held, now_us):
                self._held[key] = live
        return len(self._held) < self._max_keys


def refuse_sketches(demands: Sequence[Demand]) -> None:
    """Raises `NotKept` for what a sketch can't do."""
    for demand in demands:
        if demand.limit.algorithm == "sketch":
            raise NotKept("a sketch keeps no key apart, so it can neither give back nor forget what one has used")


def _shared_bucket(bucket: str, item: str) -> str:
    return f"{bucket}:~{hashlib.blake2b(item.encode(), digest_size=2).digest()[0] % SHARED}"
