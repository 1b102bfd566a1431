"""A check from its seeding to its verdicts, against a server in the same loop, with a workload and an injector of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from loadtests.check.run import WENT_AS_PLANNED, Bounds, CheckedLoad, judged, run_check
from loadtests.check.watch import Node
from loadtests.generator.open_loop import run
from loadtests.history.operation import Struck
from loadtests.result import SafetyCheck
from loadtests.workload import Exchange, Mix, SeedingFailed, Target
from tests.loadtests.check.exchanges import struck
from tests.loadtests.check.tiny_node import TinyNode, serving

MIX = Mix(name="reads", who="readers", ratios={"get": 1.0}, keys=5, zipf_s=0.0, rate_per_s=200)
SHORT = Bounds(seed_s=0.2, request_s=0.5, heal_s=0.3, ready_s=0.3, closed_s=0.1, check_s=0.2)


class Remembering:
    """A workload that remembers in which order it was told what."""

    def __init__(self, verdict: str = "valid") -> None:
        self.verdict = verdict
        self.told: list[str] = []
        self.exchanges: list[Exchange] = []
        self.strikes: list[Struck] = []
        self.hangs_in = ""

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        await self._tell("seed")

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        return 0, b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n"

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        self.told.append("observe")
        self.exchanges = list(exchanges)

    def strike(self, target: Target, struck: Struck) -> None:
        self.told.append("strike")
        self.strikes.append(struck)

    def read_page(self, target: Target, node: str, at_s: float, metrics_text: str) -> None:
        if "page" not in self.told:
            self.told.append("page")

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        await self._tell("check")
        return [SafetyCheck(name="it holds", verdict=self.verdict, counts={"asked": len(self.exchanges)})]  # type: ignore[arg-type]

    def deadline_s(self, target: Target) -> float | None:
        return 0.05

    async def _tell(self, what: str) -> None:
        self.told.append(what)
        if self.hangs_in == what:
            await asyncio.Event().wait()


class Striking:
    """An injector whose fault lasts until it is told to stop."""

    def __init__(self, *, problem: str = "", hangs: bool = False) -> None:
        self.began_s = 0.0
        self.stopped = threading.Event()
        self._problem, self._hangs = problem, hangs

    def run(self, began_s: float) -> list[Struck]:
        self.began_s = began_s
        self.stopped.wait(10)
        return [struck(began_s + 0.01, time.monotonic())]

    def stop(self) -> None:
        if self._hangs:
            threading.Event().wait(2)
        self.stopped.set()
        if self._problem:
            raise RuntimeError(self._problem)


def checked(workload: Remembering, node: TinyNode | None = None, injector: Striking | None = None) -> CheckedLoad:
    node = node or TinyNode()

    async def main() -> CheckedLoad:
        async with serving(node) as url:
            target = Target("toy", {}, [url], "", [f"{url}/metrics"], {})
            nodes = [Node("replica-1", f"{url}/readyz", f"{url}/metrics")]
            load: Any = workload
            return await run_check(
                target, load, MIX, seed=3, seconds=0.2, rate_per_s=200, nodes=nodes, injector=injector, bounds=SHORT
            )

    return run(main())


def test_a_check_seeds_loads_heals_and_asks_in_this_order_and_tells_what_struck_before_what_was_answered() -> None:
    workload, injector = Remembering(), Striking()
    load = checked(workload, injector=injector)
    assert workload.told == ["seed", "page", "strike", "observe", "check"]
    assert load.problems == ()
    assert [check.verdict for check in judged(load)] == ["valid"]
    assert len(load.exchanges) == load.checks[0].counts["asked"] > 10
    assert {exchange.status for exchange in load.exchanges} == {200}
    assert abs(injector.began_s - load.began_s) < 1
    assert load.struck[0].ended_s <= load.ended_s
    assert {look.node for look in load.looks} == {"replica-1"}


def test_the_same_seed_is_the_same_plan() -> None:
    assert checked(Remembering()).plan_hash == checked(Remembering()).plan_hash


def test_a_design_that_cannot_be_seeded_in_time_is_an_expected_error() -> None:
    workload = Remembering()
    workload.hangs_in = "seed"
    with pytest.raises(SeedingFailed, match="not seeded within"):
        checked(workload)


def test_questions_without_an_end_make_the_verdict_unknown() -> None:
    workload = Remembering()
    workload.hangs_in = "check"
    (check,) = judged(checked(workload))
    assert (check.name, check.verdict) == (WENT_AS_PLANNED, "unknown")
    assert "not answered within" in check.detail


def test_a_process_that_does_not_come_back_makes_the_verdict_unknown() -> None:
    load = checked(Remembering(), TinyNode(ready='{"status": "degraded"}'))
    assert [check.verdict for check in judged(load)] == ["valid", "unknown"]
    assert load.problems == ("replica-1 was degraded 0.3 s after the faults",)


def test_faults_that_cannot_be_healed_end_the_check_and_prove_nothing() -> None:
    load = checked(Remembering("invalid"), injector=Striking(hangs=True))
    assert [check.verdict for check in judged(load)] == ["unknown", "unknown"]
    assert "not healed within" in load.problems[0]


def test_a_fault_that_failed_is_told_and_proves_nothing_while_what_else_struck_is_known() -> None:
    load = checked(Remembering("invalid"), injector=Striking(problem="replica-9 does not run"))
    assert [check.verdict for check in judged(load)] == ["unknown", "unknown"]
    assert load.problems == ("a fault failed: replica-9 does not run",)
    assert len(load.struck) == 1


def test_a_server_that_never_answers_leaves_requests_without_answer_and_no_hang() -> None:
    workload = Remembering()
    load = checked(workload, TinyNode(silent=True))
    assert {exchange.status for exchange in load.exchanges} == {0}
    assert load.problems == ("replica-1 was gone 0.3 s after the faults",)


def test_a_mistake_of_the_workload_still_heals() -> None:
    class Mistaken(Remembering):
        def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
            raise ValueError("there is no op 'get'")

    injector = Striking()
    with pytest.raises(ValueError, match="no op"):
        checked(Mistaken(), injector=injector)
    assert injector.stopped.is_set()
