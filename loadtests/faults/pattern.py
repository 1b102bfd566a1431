"""A fault before chance has had its say: numbers may be ranges and the target a choice, and each strike draws anew.

Files of schedules and menus of designs are made of these. A pattern that can't be is refused when it is made.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, TypeVar, get_args

from loadtests.faults.kinds import DATA_KINDS, HOOKED_KINDS, HOST, KINDS, OWN_KINDS, OWN_SERVERS, SERVERS, Attribute
from loadtests.faults.schedule import NETWORK_KINDS, BadSchedule, Fault, Stream

MIN_FOR_S = 0.1  # what is shorter is noise
MAX_FOR_S = 3_600.0

Amount: TypeAlias = float | tuple[float, float]  # the number, or (least, most) of a range it is drawn from
Pick = Literal["one", "all"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FaultPattern:
    """What may strike; see `Fault` for the words. `BadSchedule` with a sentence for what can't be.

    A `target` may hold `*`: "replica-*", "redis@replica-*" or "*" strikes one of those that fit, drawn for each strike; with
    `pick="all"` all of them at the same time, each as badly.
    """

    kind: str
    target: str
    for_s: Amount
    attributes: Mapping[str, Amount] = field(default_factory=dict)
    stream: Stream = "downstream"
    toxicity: Amount = 1.0
    pick: Pick = "one"

    def __post_init__(self) -> None:
        refuse_the_impossible(self)


def strike(pattern: FaultPattern, at_s: float, rng: random.Random, nodes: Sequence[str], schedule: str) -> list[Fault]:
    """The faults of one strike: one, or with `pick="all"` one for each target. Empty when nothing of `nodes` fits."""
    targets = targets_of(pattern, nodes)
    if not targets:
        return []
    drawn = Fault(
        kind=pattern.kind,
        target=one_of(targets, rng),
        at_s=round(at_s, 3),
        for_s=round(amount(pattern.for_s, rng), 3),
        attributes={
            name: amount(given, rng, whole=KINDS[pattern.kind].attributes[name].whole)
            for name, given in sorted(pattern.attributes.items())
        },
        stream=pattern.stream,
        toxicity=amount(pattern.toxicity, rng),
        schedule=schedule,
    )
    return [replace(drawn, target=target) for target in targets] if pattern.pick == "all" else [drawn]


def targets_of(pattern: FaultPattern, nodes: Sequence[str]) -> list[str]:
    """What the pattern's target can mean among `nodes`: names of the design's processes, and of its servers ("redis", "kafka")."""
    processes = [node for node in nodes if node not in SERVERS]
    if pattern.kind in NETWORK_KINDS:
        server, at, process = pattern.target.partition("@")
        if server not in nodes or not processes:
            return []
        return [f"{server}@{node}" for node in processes if fnmatchcase(node, process)] if at else [server]
    if pattern.target == HOST:
        return [HOST]
    if pattern.kind in HOOKED_KINDS:
        struck = processes
    elif pattern.kind in DATA_KINDS:
        struck = [node for node in nodes if node in OWN_SERVERS]
    elif pattern.kind in OWN_KINDS:
        struck = [node for node in nodes if node in OWN_SERVERS or node not in SERVERS]
    else:
        struck = list(nodes)
    return [node for node in struck if fnmatchcase(node, pattern.target)]


def amount(given: Amount, rng: random.Random, *, whole: bool = False) -> float:
    """The number, or one drawn evenly from its range, to a thousandth or to a whole."""
    if isinstance(given, tuple):
        least, most = given
        # random() is the one draw that Python promises never to change.
        drawn = least + (most - least) * rng.random()
    else:
        drawn = given
    return round(drawn) if whole else round(drawn, 3)


def one_of(choices: Sequence[T], rng: random.Random) -> T:
    return choices[int(rng.random() * len(choices))]


def refuse_the_impossible(pattern: FaultPattern) -> None:
    """`BadSchedule`: the key, what is wrong with it, and what would be right."""
    kind = KINDS.get(pattern.kind)
    if kind is None:
        raise BadSchedule(f"kind: there is no {pattern.kind!r}; there is {', '.join(KINDS)}")
    _refuse_target(pattern)
    _refuse_amount("for_s", pattern.for_s, Attribute("s", MAX_FOR_S, least=MIN_FOR_S, whole=False))
    for name, given in pattern.attributes.items():
        if name not in kind.attributes:
            there = f"there is {', '.join(kind.attributes)}" if kind.attributes else "it has none"
            raise BadSchedule(f"attributes: {pattern.kind} has no {name!r}; {there}")
        _refuse_amount(name, given, kind.attributes[name])
    for name, attribute in kind.attributes.items():
        if attribute.required and name not in pattern.attributes:
            raise BadSchedule(f"attributes: {pattern.kind} needs {name}, in {attribute.unit}")
    if pattern.stream not in get_args(Stream):
        raise BadSchedule(f"stream: there is no {pattern.stream!r}; there is {', '.join(get_args(Stream))}")
    if pattern.pick not in get_args(Pick):
        raise BadSchedule(f"pick: there is no {pattern.pick!r}; there is {', '.join(get_args(Pick))}")
    if pattern.kind == "slicer" and _most(pattern.attributes.get("size_variation", 0)) >= _least(
        pattern.attributes["average_size"]
    ):
        raise BadSchedule("size_variation: should be smaller than average_size, or a piece could be empty")
    toxic = pattern.kind in NETWORK_KINDS and pattern.kind != "down"
    if not toxic and (pattern.toxicity != 1.0 or pattern.stream != "downstream"):
        raise BadSchedule(f"toxicity and stream are for what spoils single connections; {pattern.kind} has neither")
    _refuse_amount("toxicity", pattern.toxicity, Attribute("of the connections", 1.0, least=0.01, whole=False))


def _refuse_target(pattern: FaultPattern) -> None:
    server, at, _ = pattern.target.partition("@")
    servers = ", ".join(sorted(SERVERS))
    if pattern.kind in NETWORK_KINDS:
        if server not in SERVERS:
            raise BadSchedule(
                f"target: {pattern.kind} strikes connections to a server ({servers}), all or those of one process, such as redis "
                f"or redis@replica-1; it can't strike {pattern.target!r}"
            )
        return
    if at:
        raise BadSchedule(f"target: {pattern.kind} strikes processes, and {pattern.target!r} is a connection")
    if pattern.target == HOST and pattern.kind != "power_loss":
        raise BadSchedule(f"target: {HOST} can only lose its power; {pattern.kind} strikes a process")
    if pattern.kind in OWN_KINDS and pattern.target in SERVERS - OWN_SERVERS:
        raise BadSchedule(
            f"target: {pattern.kind} strikes what a run has for itself, and {pattern.target} may hold what is others'; kill and "
            "pause strike it"
        )
    if pattern.kind in DATA_KINDS and pattern.target not in OWN_SERVERS and pattern.target != HOST:
        own = ", ".join(sorted(OWN_SERVERS))
        raise BadSchedule(f"target: {pattern.kind} strikes what has data of its own ({own}), not {pattern.target!r}")
    if pattern.kind in HOOKED_KINDS and pattern.target in SERVERS:
        raise BadSchedule(f"target: {pattern.kind} strikes processes of the design, not {pattern.target!r}")


def _refuse_amount(name: str, given: Amount, allowed: Attribute) -> None:
    least, most = _least(given), _most(given)
    if not allowed.least <= least <= most <= allowed.most:
        raise BadSchedule(
            f"{name}: should be from {allowed.least:g} to {allowed.most:g} {allowed.unit}, a number or [least, most]; it is "
            f"{_shown(given)}"
        )
    if allowed.whole and (least != int(least) or most != int(most)):
        raise BadSchedule(f"{name}: should be a whole number of {allowed.unit}; it is {_shown(given)}")


def _least(given: Amount) -> float:
    return given[0] if isinstance(given, tuple) else given


def _most(given: Amount) -> float:
    return given[1] if isinstance(given, tuple) else given


def _shown(given: Amount) -> str:
    return f"[{given[0]:g}, {given[1]:g}]" if isinstance(given, tuple) else f"{given:g}"
