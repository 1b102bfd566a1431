"""Faults inside a comparison: the same schedule strikes every variant in its turn, at the same moments of its round.

Only faults that leave processes alive: a comparison counts the CPU time of processes from the start of a round to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType

from loadtests.comparison.experiment import Experiment
from loadtests.faults.plan import plan
from loadtests.faults.schedule import NETWORK_KINDS, BadSchedule, Fault
from loadtests.history.operation import Struck
from workbench.fault_injection.injector import Injector
from workbench.launch import RunningDesign

PLANS = 1_000_003  # more than a comparison has, so that seeds next to each other share no schedule
ENDING_A_PROCESS = frozenset({"kill", "wipe", "power_loss"})


class EndsProcesses(ValueError):
    """A schedule that ends processes, where they have to live. The message says what would be right."""


def refuse_ended_processes(faults: Sequence[Fault]) -> None:
    """Raises `EndsProcesses`."""
    ending = next((fault for fault in faults if fault.kind in ENDING_A_PROCESS), None)
    if ending is not None:
        raise EndsProcesses(
            f"{ending.schedule} ends processes ({ending.kind} of {ending.target}), and a comparison counts the CPU of processes "
            "that live; take another schedule, or judge this one with: designs check"
        )


def strikes_planned(
    design: str,
    nodes: Sequence[str],
    names: Sequence[str],
    seed: int,
    seconds: float,
    unbreakable: Mapping[str, str] = MappingProxyType({}),
) -> list[Fault]:
    """What strikes and when; `random` draws from the design's own menu. Raises `BadSchedule`.

    `unbreakable`: servers of which only connections can be struck, and why. What is drawn leaves the servers themselves alone, a
    schedule that names one is refused.
    """
    if not names:
        return []
    menu = importlib.import_module(f"loadtests.{design}.faults").MENU
    possible = [pattern for pattern in menu if pattern.kind in NETWORK_KINDS or pattern.target not in unbreakable]
    faults = plan(names, seed=seed, seconds=seconds, nodes=nodes, menu=possible)
    refused = next((fault for fault in faults if fault.kind not in NETWORK_KINDS and fault.target in unbreakable), None)
    if refused is not None:
        raise BadSchedule(f"{refused.schedule}: {unbreakable[refused.target]}")
    return faults


def drawn_for_round(
    experiment: Experiment,
    nodes: Sequence[str],
    plan_index: int,
    seconds: float,
    unbreakable: Mapping[str, str] = MappingProxyType({}),
) -> list[Fault]:
    """The schedule of a round: another for each plan, the same for each variant. Raises `BadSchedule`."""
    seed = experiment.seed * PLANS + plan_index
    return strikes_planned(experiment.design, nodes, experiment.faults, seed, seconds, unbreakable)


class RoundStrikes:
    """`loadtests.comparison.rounds.Strikes` for designs that run behind a fault proxy.

    `running(variant)` is the design that runs now, which changes from block to block; `drawn(plan_index, seconds)` the schedule of
    a round.
    """

    def __init__(self, running: Callable[[int], RunningDesign], drawn: Callable[[int, float], Sequence[Fault]]) -> None:
        self._running = running
        self._drawn = drawn

    @contextlib.asynccontextmanager
    async def during(self, variant: int, plan_index: int, seconds: float) -> AsyncIterator[list[Struck]]:
        injector = Injector(self._running(variant), self._drawn(plan_index, seconds))
        striking = asyncio.create_task(asyncio.to_thread(injector.run, time.monotonic()))
        struck: list[Struck] = []
        try:
            yield struck
        finally:
            await asyncio.to_thread(injector.stop)
            struck.extend(await striking)
