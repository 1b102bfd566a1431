"""Whether two recorded runs may be laid side by side: the same experiment, on the same kind of machine, both of them sound.

Pure functions over two records. What must be equal is listed in one table; each thing that is not is a reason of its own, so that
a reader learns all of them at once. What may differ, because it is what the runs are compared for, is listed beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from loadtests.report.number_format import enumeration, number
from loadtests.result import SCHEMA_VERSION, Result

MEMORY_TOLERANCE = 0.05  # the kernel of the day keeps a little more or less for itself


def reasons(first: Result, second: Result) -> list[str]:
    """Why the two can't be compared, a phrase for each reason; empty where they can."""
    found = [
        f"{which} run is schema {run.schema_version}, this version reads {SCHEMA_VERSION}"
        for which, run in (("the first", first), ("the second", second))
        if run.schema_version != SCHEMA_VERSION
    ]
    found += [
        f"{what} differs ({told_first} and {told_second})"
        for what, read in MUST_AGREE.items()
        if (told_first := read(first)) != (told_second := read(second))
    ]
    found += [f"{name} has other knobs ({what})" for name, what in _other_knobs(first, second).items()]
    if not _same_memory(first.manifest.machine.get("memory", ""), second.manifest.machine.get("memory", "")):
        found.append(f"memory differs ({first.manifest.machine.get('memory')} and {second.manifest.machine.get('memory')})")
    if _unnamed_rule(first, second):
        found.append("the experiment differs in something else that was fixed before the run, such as warm-up or rules")
    for which, run in (("the first", first), ("the second", second)):
        found += [f"{which} run is {why}" for why in _unsound(run)]
    return found


def differences(first: Result, second: Result) -> list[str]:
    """What may differ, and does: usually the point of comparing the two."""
    a, b = first.manifest, second.manifest
    said: dict[str, tuple[str, str]] = {
        "commit": (_commit(first), _commit(second)),
        **{name: (a.versions.get(name, "none"), b.versions.get(name, "none")) for name in {**a.versions, **b.versions}},
        **{name.replace("_", " "): (a.machine.get(name, "unknown"), b.machine.get(name, "unknown")) for name in _kept(a.machine)},
        "blocks": (str(blocks_of(first)), str(blocks_of(second))),
        "rejected blocks": (str(a.blocks_rejected), str(b.blocks_rejected)),
        "pinning": (a.pinning, b.pinning),
        "limits of a block": (_rules(a.rules), _rules(b.rules)),
        "safety": (first.safety_verdict(), second.safety_verdict()),
        "started": (a.started_at, b.started_at),
    }
    return [f"{what}: {one}, then {other}" for what, (one, other) in said.items() if one != other]


def blocks_of(run: Result) -> int:
    """How many blocks counted; a compact record, which has no blocks, still says it in its noise floor."""
    return sum(block.accepted for block in run.blocks) if run.blocks else run.noise_floor.blocks


def series(version: str) -> str:
    """The first two numbers of a version, with what stands before them: "CPython 3.11.7" -> "CPython 3.11"."""
    found = re.match(r"\D*\d+(\.\d+)?", version)
    return found.group() if found else version


def pinned(pinning: str) -> str:
    return "unpinned" if pinning.startswith("unpinned") else "pinned"


MUST_AGREE: Mapping[str, Callable[[Result], str]] = {
    "the design": lambda run: run.manifest.design,
    "the knob": lambda run: run.manifest.knob,
    "what is compared": lambda run: ", ".join(variant.name for variant in run.variants),
    "the baseline": lambda run: run.baseline,
    "the mix": lambda run: f"{run.manifest.mix}: {run.manifest.mix_description}",
    "the faults": lambda run: ", ".join(run.manifest.faults) or "none",
    "the rate": lambda run: f"{run.manifest.rate_per_s:g}/s",
    "the round": lambda run: f"{run.manifest.round_s:g} s",
    "the seed": lambda run: str(run.manifest.seed),
    "the plan": lambda run: run.manifest.plan_hash[:12],
    "the margin": lambda run: f"{run.manifest.margin * 100:g} %",
    "the primary figure": lambda run: run.manifest.primary_figure,
    "the processor": lambda run: run.manifest.machine.get("cpu", "unknown"),
    "the number of CPUs": lambda run: run.manifest.machine.get("cpus", "unknown"),
    "the kernel": lambda run: series(run.manifest.machine.get("kernel", "unknown")),
    "Python": lambda run: series(run.manifest.versions.get("python", "unknown")),
    "the pinning": lambda run: pinned(run.manifest.pinning),
}


def _other_knobs(first: Result, second: Result) -> dict[str, str]:
    """Variant -> the knobs it had another value of in the second run. A knob that only one of the runs knew is no difference."""
    others = {variant.name: variant.knobs for variant in second.variants}
    found = {}
    for variant in first.variants:
        other = others.get(variant.name, variant.knobs)
        changed = [f"{knob} {value} and {other[knob]}" for knob, value in variant.knobs.items() if other.get(knob, value) != value]
        if changed:
            found[variant.name] = enumeration(changed)
    return found


def _same_memory(first: str, second: str) -> bool:
    """Within a tolerance where both are a number with a unit ("8137212 kB"), else letter by letter."""
    sizes = [re.fullmatch(r"([\d.]+)\s*(\w+)", each) for each in (first, second)]
    if sizes[0] is None or sizes[1] is None or sizes[0][2] != sizes[1][2]:
        return first == second
    return math.isclose(float(sizes[0][1]), float(sizes[1][1]), rel_tol=MEMORY_TOLERANCE)


def _unnamed_rule(first: Result, second: Result) -> bool:
    """Whether the experiments differ although all that is named here agrees. More blocks alone also change the hash."""
    a, b = first.manifest, second.manifest
    if not a.experiment_hash or not b.experiment_hash or a.experiment_hash == b.experiment_hash:
        return False
    return a.blocks_planned == b.blocks_planned and all(read(first) == read(second) for read in MUST_AGREE.values())


def _unsound(run: Result) -> list[str]:
    told = []
    if run.safety_verdict() == "invalid":
        told.append("not safe, and a wrong answer has no speed")
    if blocks_of(run) < run.manifest.blocks_planned:
        told.append(f"too noisy: {blocks_of(run)} of {run.manifest.blocks_planned} blocks counted")
    return told


def _commit(run: Result) -> str:
    return run.manifest.commit + (" with uncommitted changes" if run.manifest.dirty else "")


def _rules(rules: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number(limit)}" for name, limit in rules.items()) or "not recorded"


def _kept(machine: Mapping[str, str]) -> list[str]:
    return [name for name in machine if name not in ("cpu", "cpus", "memory")]
