"""A hybrid: units are counted in the shared store and spent here, a block at a time.

    u1: [ 7 left of 10, until 12:00:01 ]     hit  -> 6 left, no round trip
    u2: [ 0 left,       until 12:00:01 ]     hit  -> take 10 from the store, spend 1, 9 left
    u3: unknown                              hit  -> take 1 from the store; if it comes again soon it gets a block

A block is taken when its key comes for the second time within `lease_us`, so that keys which come once waste nothing. It is at most
`lease_size`, and at most a tenth of what the limit allows at once. What is not spent by the end of the lease is lost.

Promises. Every unit that is spent was taken from the store before, at most `lease_us` ago. So beside what the store's own bound
admits in a span, at most one block of each replica is spent in it: the overshoot is at most replicas x lease_size.
A key that the store has refused is refused here, without asking, for as long as the store said, and for `lease_us` at most: what is
given back or reset by another replica is seen that much later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from designs.rate_limiter.limits import Decision, Limit
from designs.rate_limiter.ports import Demand, LimitStore, SlotDemand, Taken

MAX_KEYS = 100_000  # beyond, the lease that was used longest ago is lost: its units are, and nobody gets more for it


@dataclass(slots=True)
class Lease:
    """What is left of a block, and what the store said when it gave it. `asking`: somebody fetches the next one."""

    limit: Limit
    left: int
    size: int
    until_us: int
    said: Decision
    said_at_us: int
    asking: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the store will not admit before `until_us`: this cost, nor a larger one."""

    cost: int
    until_us: int
    said: Decision
    said_at_us: int


class LocalLeaseStore:
    """`LimitStore` over another one, for one process. `clock_us()` is monotonic: nothing but the life of leases depends on it."""

    def __init__(self, inner: LimitStore, lease_size: int, lease_us: int, clock_us: Callable[[], int]) -> None:
        self._inner = inner
        self._lease_size = lease_size
        self._lease_us = lease_us
        self._clock_us = clock_us
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        self._refusals: OrderedDict[tuple[str, Limit], Refusal] = OrderedDict()
        self.trips = 0  # calls of the store to decide something
        self.leased = 0  # units taken in blocks
        self.here = 0  # demands that were decided without a trip

    async def take(self, demands: Sequence[Demand]) -> Taken:
        now_us = self._clock_us()
        if refused := self._refused_here(demands, now_us):
            self.here += len(demands)
            return refused
        reserved = [self._reserve(demand, now_us) for demand in demands]
        asked = [demand for demand, lease in zip(demands, reserved, strict=True) if lease is None]
        try:
            answers = await self._ask(asked, now_us) if asked else Taken(True, ())
        except BaseException:
            self._return(demands, reserved)
            raise
        if not answers.allowed:
            self._return(demands, reserved)
        self.here += len(demands) - len(asked)
        said = iter(answers.decisions)
        decisions = tuple(next(said) if lease is None else self._said_here(lease, now_us) for lease in reserved)
        return Taken(answers.allowed, decisions)

    async def peek(self, demands: Sequence[Demand]) -> Taken:
        """What the store says. What is leased here counts as taken, though it may pass yet."""
        return await self._inner.peek(demands)

    async def give_back(self, demands: Sequence[Demand]) -> None:
        await self._inner.give_back(demands)
        self._forget_refusals(demands)

    async def reset(self, demands: Sequence[Demand]) -> None:
        await self._inner.reset(demands)
        for demand in demands:
            self._leases.pop(demand.key, None)
        self._forget_refusals(demands)

    async def acquire(self, demands: Sequence[SlotDemand], token: str) -> Taken:
        return await self._inner.acquire(demands, token)

    async def renew(self, demands: Sequence[SlotDemand], token: str) -> bool:
        return await self._inner.renew(demands, token)

    async def release(self, demands: Sequence[SlotDemand], token: str) -> bool:
        return await self._inner.release(demands, token)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()

    def _reserve(self, demand: Demand, now_us: int) -> Lease | None:
        """Spend from the lease of this key; None when it has not enough."""
        lease = self._live(demand, now_us)
        if lease is None or not demand.cost or lease.left < demand.cost:
            return None
        lease.left -= demand.cost
        return lease

    def _return(self, demands: Sequence[Demand], reserved: Sequence[Lease | None]) -> None:
        for demand, lease in zip(demands, reserved, strict=True):
            if lease is not None:  # it may hold the next block by now, and never holds more than one
                lease.left = min(lease.size, lease.left + demand.cost)

    def _live(self, demand: Demand, now_us: int) -> Lease | None:
        """The lease of this key, unless it has ended or was for another limit: a rule that changed is obeyed at once."""
        lease = self._leases.get(demand.key)
        if lease is None or lease.until_us <= now_us or lease.limit != demand.limit:
            return None
        self._leases.move_to_end(demand.key)
        return lease

    async def _ask(self, demands: Sequence[Demand], now_us: int) -> Taken:
        """Take from the store, a block where the key comes often; what is too much for a block may pass alone."""
        leases = [self._live(demand, now_us) for demand in demands]
        blocks = [self._block(demand, lease) for demand, lease in zip(demands, leases, strict=True)]
        fetching = [lease for lease, block in zip(leases, blocks, strict=True) if lease is not None and block]
        for lease in fetching:
            lease.asking = True
        try:
            wanted = [replace(demand, cost=block or demand.cost) for demand, block in zip(demands, blocks, strict=True)]
            self.trips += 1
            taken = await self._inner.take(wanted)
            if not taken.allowed and any(blocks):
                blocks = [0] * len(demands)
                self.trips += 1
                taken = await self._inner.take(demands)
        finally:
            for lease in fetching:
                lease.asking = False
        for demand, block, said in zip(demands, blocks, taken.decisions, strict=True):
            self._learn(demand, block if taken.allowed else 0, said)
        # What is left of a block here is still to have.
        decisions = tuple(
            replace(said, remaining=said.remaining + block - demand.cost) if block and taken.allowed and said.allowed else said
            for demand, block, said in zip(demands, blocks, taken.decisions, strict=True)
        )
        return Taken(taken.allowed, decisions)

    def _block(self, demand: Demand, lease: Lease | None) -> int:
        """How much to take at once; 0 for the cost alone. One block of a key is on its way at any time, so that one is the most."""
        limit = demand.limit
        size = min(self._lease_size, limit.burst // 10)
        known = lease is not None and not lease.asking
        if not known or limit.algorithm in ("sketch", "leaky_queue") or not 0 < demand.cost < size:
            return 0
        return size

    def _learn(self, demand: Demand, block: int, said: Decision) -> None:
        now_us = self._clock_us()
        if demand.limit.algorithm == "sketch" or not demand.cost:
            return
        if not said.allowed:
            if not block:  # a shadow that refused a block may pass alone
                self._remember_refusal(demand, said, now_us)
            return
        self.leased += block
        lease = self._live(demand, now_us)
        if lease is None:
            lease = self._leases[demand.key] = Lease(demand.limit, 0, 0, 0, said, now_us)
            if len(self._leases) > MAX_KEYS:
                self._leases.popitem(last=False)
        if block:
            # What was left of the block before is lost: one block is all that may be spent beyond the bound.
            lease.left, lease.size = block - demand.cost, block
        if block or not lease.left:  # units are never kept longer than they were leased for
            lease.until_us, lease.said, lease.said_at_us = now_us + self._lease_us, said, now_us

    def _said_here(self, lease: Lease, now_us: int) -> Decision:
        """As of the last trip, less what was spent here since."""
        reset_us = max(0, lease.said.reset_after_us - (now_us - lease.said_at_us))
        return replace(lease.said, remaining=min(lease.said.limit, lease.said.remaining + lease.left), reset_after_us=reset_us)

    def _refused_here(self, demands: Sequence[Demand], now_us: int) -> Taken | None:
        """What the store has refused lately; None when it has to be asked. Takes nothing, like every refusal."""
        found = [self._refusal(demand, now_us) for demand in demands]
        if not any(refusal is not None and not demand.shadow for demand, refusal in zip(demands, found, strict=True)):
            return None
        decisions = []
        for demand, refusal in zip(demands, found, strict=True):
            if refusal is not None:
                gone_us = now_us - refusal.said_at_us
                wait_us = max(1, (refusal.said.retry_after_us or 0) - gone_us)
                reset_us = max(0, refusal.said.reset_after_us - gone_us)
                decisions.append(replace(refusal.said, retry_after_us=wait_us, reset_after_us=reset_us))
            elif (lease := self._live(demand, now_us)) is not None:
                decisions.append(self._said_here(lease, now_us))
            else:
                decisions.append(Decision(True, demand.limit.burst, demand.limit.burst, 0, 0))
        return Taken(False, tuple(decisions))

    def _refusal(self, demand: Demand, now_us: int) -> Refusal | None:
        refusal = self._refusals.get((demand.key, demand.limit))
        if refusal is None or not demand.cost or demand.cost < refusal.cost or refusal.until_us <= now_us:
            return None
        return refusal

    def _remember_refusal(self, demand: Demand, said: Decision, now_us: int) -> None:
        if said.retry_after_us is None:
            return  # never: it is quick to say for the store as well, and rare
        until_us = now_us + min(said.retry_after_us, self._lease_us)
        self._refusals[demand.key, demand.limit] = Refusal(demand.cost, until_us, said, now_us)
        if len(self._refusals) > MAX_KEYS:
            self._refusals.popitem(last=False)

    def _forget_refusals(self, demands: Sequence[Demand]) -> None:
        for demand in demands:
            self._refusals.pop((demand.key, demand.limit), None)
