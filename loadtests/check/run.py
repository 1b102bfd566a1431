"""One check of a running design: load by a plan while faults strike, heal, wait until all is well, ask, judge.

Promises. It ends: each part has a bound, and a part that does not end within it makes the verdict `unknown` with the reason, never
a hang. However it ends, the injector was told to heal. Requests go to a replica that is down as they go to any other, since its
clients would not know; one that is started again is expected on its old port.

    seed -> [ load || faults || looks at every process ] -> heal -> all ready again -> questions -> verdicts
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from loadtests.analysis.statistics import percentile
from loadtests.check.watch import Look, Node, Watch, is_well
from loadtests.generator.arrivals import Plan, make_plan
from loadtests.generator.open_loop import LEAD_S, LoadGenerator
from loadtests.generator.replay import Encode
from loadtests.history.operation import Struck
from loadtests.report.number_format import enumeration
from loadtests.result import SafetyCheck
from loadtests.workload import Exchange, Mix, SeedingFailed, Target, Workload

T = TypeVar("T")

GENERATOR_SLACK_S = 5.0
WENT_AS_PLANNED = "the run went as planned"


class Injecting(Protocol):
    """Carries out a schedule; both verbs block, and are called from threads of their own."""

    def run(self, began_s: float) -> list[Struck]:
        """Strike, from second `began_s` of the monotonic clock on, until the schedule or `stop` ends it; what really happened."""

    def stop(self) -> None:
        """End the schedule and heal everything, whatever happened."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long each part may take, in seconds."""

    seed_s: float = 60.0
    request_s: float = 5.0  # from its planned start until a request counts as unanswered
    heal_s: float = 270.0  # no more than seconds, unless a Java server does not come back
    ready_s: float = 60.0  # from the end of the faults until every process says that it is ready
    closed_s: float = 3.0  # from then until the breakers are closed, which decides nothing
    check_s: float = 120.0


@dataclass(frozen=True, slots=True)
class CheckedLoad:
    """What a check saw, on one monotonic clock.

    `problems`: why it is not known whether the design held, a sentence each. `faults_known`: whether `struck` is all that struck.
    """

    plan_hash: str
    began_s: float
    ended_s: float
    exchanges: Sequence[Exchange]
    struck: Sequence[Struck]
    looks: Sequence[Look]
    checks: Sequence[SafetyCheck]
    deadline_s: float | None
    problems: Sequence[str] = ()
    faults_known: bool = True
    lag_p99_s: float = 0.0  # how late the generator itself was


async def run_check(
    target: Target,
    workload: Workload,
    mix: Mix,
    *,
    seed: int,
    seconds: float,
    rate_per_s: float,
    nodes: Sequence[Node] = (),
    injector: Injecting | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
    bounds: Bounds = Bounds(),
    clock: Callable[[], float] = time.monotonic,
) -> CheckedLoad:
    """Check `target` once. Best run on uvloop (`open_loop.run`). Raises `SeedingFailed`, with nothing sent but the seeding.

    `nodes` are looked at during the load and must be ready after it; the workload reads their metrics pages.
    """
    plan = make_plan(mix, rate_per_s, seconds, seed)
    problems: list[str] = []
    tell("seeding")
    try:
        async with asyncio.timeout(bounds.seed_s):
            await workload.seed(target, mix, seed)
    except TimeoutError:
        raise SeedingFailed(f"{target.name} was not seeded within {bounds.seed_s:g} s") from None
    watch = Watch(nodes, partial(workload.read_page, target), clock)
    generator = LoadGenerator(target.urls, timeout_s=bounds.request_s, clock=clock)
    try:
        async with watch.looking():
            await generator.open()
            tell(f"{len(plan):,} requests in {seconds:g} s")
            began_s = clock() + LEAD_S
            async with _striking(injector, began_s, bounds.heal_s, problems) as struck:
                exchanges = await _replayed(generator, plan, partial(workload.encode, target), bounds.request_s, problems)
            faults_known = not problems
            if exchanges:
                began_s = exchanges[0].intended_s - plan.intended_s[0]
            ended_s = clock()
            tell("waiting until all are ready")
            await _all_ready(watch, ended_s, bounds, problems)
    finally:
        await generator.close()
    for each in struck:
        workload.strike(target, each)
    workload.observe(target, exchanges)
    tell("asking what it kept")
    checks: Sequence[SafetyCheck] = ()
    try:
        async with asyncio.timeout(bounds.check_s):
            checks = await workload.check(target)
    except TimeoutError:
        problems.append(f"the questions after the load were not answered within {bounds.check_s:g} s")
    return CheckedLoad(
        plan_hash=plan.hash,
        began_s=began_s,
        ended_s=ended_s,
        exchanges=exchanges,
        struck=struck,
        looks=watch.looks,
        checks=checks,
        deadline_s=workload.deadline_s(target),
        problems=tuple(problems),
        faults_known=faults_known,
        lag_p99_s=percentile(sorted(generator.lags_s), 0.99) or max(generator.lags_s, default=0.0),
    )


def judged(load: CheckedLoad) -> list[SafetyCheck]:
    """The checks, and one more that is unknown where the run did not go as planned.

    Where it is not known what struck, nothing is proved against the design either: a fault may explain what looks wrong.
    """
    checks = list(load.checks)
    if not load.faults_known:
        checks = [check.model_copy(update={"verdict": "unknown"}) if check.verdict == "invalid" else check for check in checks]
    if not load.problems:
        return checks
    detail, counts = "; ".join(load.problems), {"problems": len(load.problems)}
    return [*checks, SafetyCheck(name=WENT_AS_PLANNED, verdict="unknown", counts=counts, detail=detail)]


async def _replayed(
    generator: LoadGenerator, plan: Plan, encode: Encode, request_s: float, problems: list[str]
) -> Sequence[Exchange]:
    """The generator bounds itself; this bounds the generator."""
    last_due_s = plan.intended_s[-1] if len(plan) else 0.0
    try:
        async with asyncio.timeout(last_due_s + 2 * request_s + GENERATOR_SLACK_S):
            return await generator.replay(plan, encode)
    except TimeoutError:
        problems.append("the load did not end in time")
        return ()


@contextlib.asynccontextmanager
async def _striking(
    injector: Injecting | None, began_s: float, within_s: float, problems: list[str]
) -> AsyncIterator[list[Struck]]:
    """Faults while the block runs. When it is left all is healed, or a problem says why not, and the list holds what happened."""
    struck: list[Struck] = []
    if injector is None:
        yield struck
        return
    striking = in_thread(lambda: injector.run(began_s))
    try:
        yield struck
    finally:
        deadline_s = asyncio.get_running_loop().time() + within_s
        for what, work in (("healed", in_thread(injector.stop)), ("over", striking)):
            try:
                async with asyncio.timeout_at(deadline_s):
                    happened = await asyncio.shield(work)
            except TimeoutError:
                problems.append(f"the faults were not {what} within {within_s:g} s after the load")
            except RuntimeError as error:
                problems.append(f"a fault failed: {error}")
            else:
                struck.extend(happened or ())


async def _all_ready(watch: Watch, since_s: float, bounds: Bounds, problems: list[str]) -> None:
    """Wait for the looks; a problem for who is not ready in time."""

    def late() -> list[str]:
        latest = [watch.latest.get(node.name) or Look(0.0, node.name, "gone") for node in watch.nodes]
        return [f"{look.node} was {look.state}" for look in latest if look.at_s < since_s or look.state != "ready"]

    if not await watch.until(lambda: not late(), bounds.ready_s):
        problems.append(f"{enumeration(late())} {bounds.ready_s:g} s after the faults")
        return
    await watch.until(lambda: all(map(is_well, watch.latest.values())), bounds.closed_s)


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs in a daemon thread of its own: a thread of the loop's pool that hangs would keep the interpreter from ending."""
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return asyncio.wrap_future(outcome)
