"""The limiter's own core on a clock of our own, asked by the real load, with answers that get lost and a store that goes away.

Each request takes effect at one moment between its question and its answer. With a flaw it is wrong in one respect. No process, no
socket, no waiting: a minute of load takes a second.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.headers import headers_of, limits_of, problem_of, status_of
from designs.rate_limiter.limiter import Limiter, Request, RuleDecision, Verdict
from designs.rate_limiter.limits import AlgorithmName
from designs.rate_limiter.ports import Demand, NotKept, SlotDemand, StoreError, Taken
from designs.rate_limiter.rule_file import parse_rules
from designs.rate_limiter.settings import EXAMPLE_RULES
from loadtests.generator.arrivals import make_plan
from loadtests.history.operation import HistoryItem, Struck
from loadtests.history.recorded import Header
from loadtests.rate_limiter import promises
from loadtests.rate_limiter.judge import judge
from loadtests.rate_limiter.mixes import MIXES
from loadtests.rate_limiter.operations import operations
from loadtests.rate_limiter.promises import promises_of
from loadtests.rate_limiter.steps import Question, Steps
from loadtests.result import SafetyCheck
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange, Mix

WALL_S = 1_800_000_000.0  # the wall clock at second 0
NODES = ("replica-1", "replica-2")
RULES_TEXT = EXAMPLE_RULES.read_text("utf-8")
GIVE_UP_S = 0.03
CAREFUL = ("debits what it refuses", "takes each limit by itself")

# flaw -> the check that has to see it
FLAWS = {
    "checks first and counts later": promises.BOUND,
    "each replica counts for itself": promises.BOUND,
    "knows whole seconds only": promises.BOUND,
    "ignores the cost": promises.BOUND,
    "forgets whom it has not seen for a while": promises.BOUND,
    "gives back twice": promises.BOUND,
    "counts all users as one": promises.ROOM,
    "debits what it refuses": promises.NOTHING_USED,
    "counts a look": promises.NOTHING_USED,
    "takes each limit by itself": promises.TOGETHER,
    "tells half the wait": promises.RETRY,
    "tells twice the wait": promises.RETRY,
    "never gives a slot back": promises.SLOTS,
    "gives slots without looking twice": promises.SLOTS,
    "forgets renewals": promises.SLOTS,
    "tells more than is left in its header": promises.TOLD,
    "refuses with 200": promises.TOLD,
    "leaves a rule out": promises.TOLD,
    "says that it is degraded": promises.DEGRADED,
    "lets orders through without the store": promises.DEGRADED,
    "fails now and then": promises.ANSWERED,
    "fails without the store": promises.ANSWERED,
    "waits without the store": promises.ANSWERED,
}


@dataclass
class SimulatedLimiter:
    """`away`: from when until when the store can't be reached; `struck` says so in the history."""

    seed: int = 1
    flaw: str = ""
    algorithm: AlgorithmName = "gcra"
    lossy: float = 0.0  # share of answers that get lost
    away: Sequence[tuple[float, float]] = ()
    wiped_s: float = float("inf")
    knobs: dict[str, Any] = field(default_factory=dict)
    now_s: float = 0.0
    items: list[HistoryItem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed} {self.flaw}")
        self.rules = parse_rules(RULES_TEXT, self.algorithm)
        self.stores = [MemoryLimitStore(self._clock_us) for _ in NODES]
        self.limiters = [
            Limiter(_Reached(self, self._store_of(place)), MemoryLimitStore(self._clock_us), lambda: self.rules)  # type: ignore[arg-type]
            for place in range(len(NODES))
        ]
        self.wiped = False

    def run(self, mix: Mix = MIXES["mixed"], seconds: float = 6.0, rate_per_s: float = 0.0) -> SimulatedLimiter:
        """The mix as a plan, every step carried out in the order in which it is decided."""
        plan = make_plan(mix, rate_per_s or mix.rate_per_s, seconds, self.seed)
        self.mix = mix
        steps = Steps("n", promises_of(self.header).per_user, lambda: WALL_S + self.now_s)
        followers: dict[int, list[int]] = {}
        for row, before in enumerate(plan.follows):
            followers.setdefault(before, []).append(row)
        exchanges: dict[int, Exchange] = {}
        due = [(plan.intended_s[row], row) for row in followers.get(-1, ())]
        deciding: list[tuple[float, int]] = []
        heapq.heapify(due)
        while due or deciding:
            if deciding and (not due or deciding[0][0] <= due[0][0]):
                self.now_s, row = heapq.heappop(deciding)
                self._decide(steps, exchanges[row])
                for later in followers.get(row, ()):
                    heapq.heappush(due, (max(plan.intended_s[later], exchanges[row].end_s), later))
                continue
            self.now_s, row = heapq.heappop(due)
            op, before = plan.ops[plan.op_indexes[row]], plan.follows[row]
            exchange = Exchange(op, plan.keys[row], row, plan.intended_s[row], self.now_s, 0.0, self.now_s, NOT_SENT, b"")
            exchanges[row] = exchange
            if steps.questions(exchange, exchanges.get(before) if before >= 0 else None):
                heapq.heappush(deciding, (self.now_s + self.rng.uniform(0, 0.01), row))
            else:
                for later in followers.get(row, ()):
                    heapq.heappush(due, (max(plan.intended_s[later], self.now_s), later))
        for from_s, to_s in self.away:
            self.items.append(Struck("timeout", "redis", from_s, to_s))
        if self.wiped_s < float("inf"):
            self.items.append(Struck("wipe", "redis", self.wiped_s, self.wiped_s + 0.1))
        return self

    @property
    def header(self) -> Header:
        mix = getattr(self, "mix", MIXES["mixed"])
        return Header(
            design="rate_limiter",
            mix=mix.name,
            seed=self.seed,
            knobs={"algorithm": self.algorithm, **self.knobs},
            started_at="2027-01-15T08:00:00Z",
            clock=WALL_S,
            nodes=NODES,
            ops=tuple(dict.fromkeys([*mix.ratios, *(op for op, _ in mix.then.values())])),
        )

    def checks(self) -> dict[str, SafetyCheck]:
        return {check.name: check for check in judge(self.header, self.items)}

    def invalid(self) -> dict[str, SafetyCheck]:
        return {name: check for name, check in self.checks().items() if check.verdict == "invalid"}

    def _clock_us(self) -> int:
        if self.flaw == "knows whole seconds only":
            return int(WALL_S + self.now_s) * 1_000_000
        return round((WALL_S + self.now_s) * 1e6)

    def _store_of(self, place: int) -> MemoryLimitStore:
        return self.stores[place if self.flaw == "each replica counts for itself" else 0]

    @property
    def is_away(self) -> bool:
        return any(from_s <= self.now_s < to_s for from_s, to_s in self.away)

    def _decide(self, steps: Steps, exchange: Exchange) -> None:
        if not self.wiped and self.now_s > self.wiped_s:
            self.wiped = True
            self.stores[0].__init__(self._clock_us)  # type: ignore[misc]
        place = exchange.serial % len(NODES)
        questions = steps.asked(exchange)
        degrading = self.is_away
        exchange.status, exchange.response = self._answer(place, questions)
        exchange.end_s = self.now_s + self.rng.uniform(0, 0.01) + (GIVE_UP_S if degrading else 0.0)
        if degrading and self.flaw == "waits without the store":
            exchange.end_s += max(to_s - self.now_s for _, to_s in self.away)
        if self.rng.random() < self.lossy:
            exchange.status, exchange.response = NO_ANSWER, b""
        elif self.flaw == "fails now and then" and self.rng.random() < 0.02:
            exchange.status, exchange.response = 500, b"HTTP/1.1 500 X\r\n\r\n{}"
        self.items += operations(questions, exchange, NODES[place], lambda at_s: at_s)

    def _answer(self, place: int, questions: Sequence[Question]) -> tuple[int, bytes]:
        limiter = self.limiters[place]
        if questions[0].batched:
            items = []
            for question in questions:
                verdict = self._verdict(limiter, question)
                body = orjson.loads(self._body(verdict))
                items.append({"status": self._status(verdict), "verdict" if verdict.allowed else "problem": body})
            return 200, b"HTTP/1.1 200 OK\r\n\r\n" + orjson.dumps({"items": items})
        [question] = questions
        request = self._request(question)
        try:
            match question.f:
                case "refund":
                    for _ in range(2 if self.flaw == "gives back twice" else 1):
                        done(limiter.refund(request))
                    return 204, b"HTTP/1.1 204 No Content\r\n\r\n"
                case "renew":
                    return self._renewed(limiter, request, question.token)
                case "release":
                    lazy = self.flaw == "never gives a slot back"
                    released = True if lazy else done(limiter.release(request, question.token))
                    return 200, b"HTTP/1.1 200 OK\r\n\r\n" + orjson.dumps({"released": released})
        except NotKept:
            return 422, b"HTTP/1.1 422 X\r\n\r\n{}"
        except StoreError as error:
            said = orjson.dumps({"type": "t", "may_have_happened": error.may_have_happened})
            return 503, b"HTTP/1.1 503 X\r\n\r\n" + said
        if self.is_away and self.flaw == "fails without the store":
            return 503, b"HTTP/1.1 503 X\r\n\r\n" + orjson.dumps({"type": "/problems/temporarily-unavailable"})
        verdict = self._verdict(limiter, question)
        status = 200 if question.f == "peek" else self._status(verdict)
        return status, self._head(verdict, status) + self._body(verdict, plain=question.f == "peek")

    def _renewed(self, limiter: Limiter, request: Request, token: str) -> tuple[int, bytes]:
        held = self.flaw == "forgets renewals" or done(limiter.renew(request, token))
        body = orjson.dumps({"held": True} if held else {"status": 409})
        return (200, b"HTTP/1.1 200 OK\r\n\r\n" + body) if held else (409, b"HTTP/1.1 409 X\r\n\r\n" + body)

    def _request(self, question: Question) -> Request:
        descriptor = dict(question.descriptor)
        if self.flaw == "counts all users as one" and "user" in descriptor:
            descriptor["user"] = "somebody"
        return Request(promises.DOMAIN, descriptor, question.tier, 1 if self.flaw == "ignores the cost" else question.cost)

    def _verdict(self, limiter: Limiter, question: Question) -> Verdict:
        request = self._request(question)
        verb: Callable[[Request], Awaitable[Verdict]] = limiter.peek if question.f == "peek" else limiter.check
        if question.f == "acquire":
            verdict: Verdict = done(limiter.acquire(request, question.token))
        else:
            verdict = done((limiter.check if self.flaw == "counts a look" else verb)(request))
        if self.flaw == "says that it is degraded" and self.rng.random() < 0.02:
            verdict = replace(verdict, rules=tuple(replace(rule, degraded=True) for rule in verdict.rules))
        if self.flaw == "lets orders through without the store" and verdict.unavailable:
            verdict = Verdict(True, tuple(_let_through(rule) for rule in verdict.rules))
        if self.flaw == "leaves a rule out" and len(verdict.rules) > 1:
            verdict = replace(verdict, rules=verdict.rules[1:])
        factor = {"tells half the wait": 0.5, "tells twice the wait": 2}.get(self.flaw)
        if factor:
            verdict = replace(verdict, rules=tuple(_waiting(rule, factor) for rule in verdict.rules))
        return verdict

    def _status(self, verdict: Verdict) -> int:
        return 200 if self.flaw == "refuses with 200" else status_of(verdict)

    def _head(self, verdict: Verdict, status: int) -> bytes:
        told = verdict
        if self.flaw == "tells more than is left in its header":
            more = [replace(rule, decision=replace(rule.decision, remaining=rule.decision.remaining + 1)) for rule in verdict.rules]
            told = replace(verdict, rules=tuple(more))
        style = self.knobs.get("headers", "current")
        lines = [b"%b: %b" % header for header in headers_of(told, style, clock_us=self._clock_us)]
        return b"\r\n".join([b"HTTP/1.1 %d X" % status, *lines, b"", b""])

    def _body(self, verdict: Verdict, plain: bool = False) -> bytes:
        if verdict.allowed or plain or self.flaw == "refuses with 200":
            said: dict[str, Any] = {
                "allowed": verdict.allowed,
                "degraded": verdict.degraded,
                "delay_us": verdict.delay_us,
                "limits": limits_of(verdict, with_shadows=True),
            }
            return orjson.dumps(said)
        return orjson.dumps(problem_of(verdict, with_shadows=True).document())


def _let_through(rule: RuleDecision) -> RuleDecision:
    return replace(rule, decision=replace(rule.decision, allowed=True, retry_after_us=0))


def _waiting(rule: RuleDecision, factor: float) -> RuleDecision:
    wait_us = rule.decision.retry_after_us
    return replace(rule, decision=replace(rule.decision, retry_after_us=round(wait_us * factor) if wait_us else wait_us))


@dataclass
class _Reached:
    """The way to a store, with the flaws that sit there."""

    simulated: SimulatedLimiter
    store: MemoryLimitStore
    later: list[tuple[float, Sequence[Demand]]] = field(default_factory=list)
    last_seen_s: dict[str, float] = field(default_factory=dict)

    def _try(self) -> None:
        if self.simulated.is_away:
            raise StoreError("it is away", may_have_happened=False)

    async def take(self, demands: Sequence[Demand]) -> Taken:
        self._try()
        flaw, now_s = self.simulated.flaw, self.simulated.now_s
        if flaw == "checks first and counts later":
            while self.later and self.later[0][0] <= now_s:
                await self.store.take(self.later.pop(0)[1])
            seen = await self.store.peek(demands)
            if seen.allowed:
                self.later.append((now_s + 0.05, demands))
            return seen
        if flaw == "forgets whom it has not seen for a while":
            for demand in demands:
                if now_s - self.last_seen_s.get(demand.key, now_s) > 0.3:
                    await self.store.reset([demand])
                self.last_seen_s[demand.key] = now_s
        if flaw in CAREFUL and len(demands) > (flaw == "takes each limit by itself"):
            each = [await self.store.take([demand]) for demand in demands]
            if flaw == "debits what it refuses" and not each[0].allowed:
                await self.store.take([replace(demands[0], cost=1, shadow=True)])
                await self._debit(demands[0])
            return Taken(all(taken.allowed for taken in each), tuple(taken.decisions[0] for taken in each))
        return await self.store.take(demands)

    async def _debit(self, demand: Demand) -> None:
        """Push what is used a little further, as a counter that is incremented before it is looked at."""
        state, until_us = self.store._states.get(demand.key, ((), 0))
        if state and demand.limit.algorithm == "gcra":
            self.store._states[demand.key] = ((state[0] + demand.limit.gap_us,), until_us)

    async def peek(self, demands: Sequence[Demand]) -> Taken:
        self._try()
        return await self.store.peek(demands)

    async def give_back(self, demands: Sequence[Demand]) -> None:
        self._try()
        await self.store.give_back(demands)

    async def acquire(self, demands: Sequence[SlotDemand], token: str) -> Taken:
        self._try()
        if self.simulated.flaw == "gives slots without looking twice" and self.simulated.rng.random() < 0.3:
            for demand in demands:
                self.store._held.get(demand.key, {}).clear()
        return await self.store.acquire(demands, token)

    async def renew(self, demands: Sequence[SlotDemand], token: str) -> bool:
        self._try()
        return await self.store.renew(demands, token)

    async def release(self, demands: Sequence[SlotDemand], token: str) -> bool:
        self._try()
        return await self.store.release(demands, token)


def done(work: Awaitable[Any]) -> Any:
    """The result of a coroutine that never waits."""
    coroutine: Any = work
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")
