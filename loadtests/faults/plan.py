"""From the names of schedules to what strikes when: one list, in the order of time, by rules that are the same for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from loadtests.faults.drawn import random_strikes
from loadtests.faults.kinds import HOOKED_KINDS, HOST
from loadtests.faults.named import RANDOM, NamedSchedule, read_schedule, strikes
from loadtests.faults.pattern import MIN_FOR_S, FaultPattern
from loadtests.faults.schedule import NETWORK_KINDS, BadSchedule, Fault

CALM_START_S = 0.3
STRUCK_SHARE = 0.9  # of the load; the rest shows how the design comes back


def plan(
    names: Sequence[str], *, seed: int, seconds: float, nodes: Sequence[str], menu: Sequence[FaultPattern] = ()
) -> list[Fault]:
    """The faults of a load of `seconds`, sorted by their start: the same for the same arguments, on every machine.

    `names` are schedules by name or path, or "random", which draws from `menu`; their order does not matter. `nodes` are what can
    be struck: the names of the design's processes, and of the servers it runs with. The rules:

    - Nothing begins in the first 0.3 s, all ends by nine tenths of the load. What goes on for longer is cut, and dropped when
      less than 0.1 s is left of it.
    - What ends or stops a process, or fills its disk, never overlaps another such fault of that process; `host` is all of them.
      Neither do two faults of one kind on one process, or of one kind and direction on one connection. The later one is dropped.
    - All else may overlap: a slow store or a wrong clock outlives a kill, and everything may be down at once.

    Raises `BadSchedule` for a name there isn't, a target there isn't, and a load that ends before the schedule has begun.
    """
    until_s = round(STRUCK_SHARE * seconds, 3)
    wanted: list[Fault] = []
    for name in dict.fromkeys(names):
        if name == RANDOM:
            found = within(random_strikes(menu, seed=seed, nodes=nodes, from_s=CALM_START_S, until_s=until_s), until_s)
        else:
            found = _of(read_schedule(name), seed=seed, nodes=nodes, until_s=until_s)
        if not found:
            raise BadSchedule(f"{name}: nothing of it fits into a load of {seconds:g} s; make it longer")
        wanted += found
    return without_clashes(wanted)


def _of(schedule: NamedSchedule, *, seed: int, nodes: Sequence[str], until_s: float) -> list[Fault]:
    return within(strikes(schedule, seed=seed, nodes=nodes, until_s=until_s), until_s)


def within(faults: Iterable[Fault], until_s: float) -> list[Fault]:
    """Cut to the time there is, without what gets too short."""
    cut = []
    for fault in faults:
        at_s = max(fault.at_s, CALM_START_S)
        for_s = round(min(at_s + fault.for_s, until_s) - at_s, 3)
        if for_s >= MIN_FOR_S:
            cut.append(replace(fault, at_s=at_s, for_s=for_s))
    return cut


def without_clashes(faults: Iterable[Fault]) -> list[Fault]:
    """Sorted by their start, without those that clash with an earlier one that stays."""
    kept: list[Fault] = []
    lasting: list[Fault] = []
    for fault in sorted(faults, key=_order):
        lasting = [each for each in lasting if each.until_s > fault.at_s]
        if not any(clash(each, fault) for each in lasting):
            kept.append(fault)
            lasting.append(fault)
    return kept


def clash(one: Fault, other: Fault) -> bool:
    """May these two not overlap in time?"""
    if ends_or_stops(one) and ends_or_stops(other):
        return one.target == other.target or HOST in (one.target, other.target)
    if one.kind != other.kind:
        return False
    if one.kind not in NETWORK_KINDS:
        return one.target == other.target
    same_link = one.target == other.target or f"{one.target}@" in other.target or f"{other.target}@" in one.target
    return same_link and (one.stream == other.stream or "both" in (one.stream, other.stream))


def ends_or_stops(fault: Fault) -> bool:
    """Does it strike the process itself, rather than its connections or its hooks?"""
    return fault.kind not in NETWORK_KINDS and fault.kind not in HOOKED_KINDS


def _order(fault: Fault) -> tuple[float, str, str, str, float]:
    return fault.at_s, fault.target, fault.kind, fault.schedule, fault.for_s
