"""The comparison: variants that run side by side take turns under the same load, and what each turn cost is put together.

The caller starts the variants, and for each further block starts them anew if it can; this measures them, judges their histories,
and gives back a `Result` that carries its own conditions. The primary figure is CPU time per request, because that is what a
small, shared machine can compare; see `statistics` for what is claimed from it and `schedule` for which blocks count.

A block: all variants fresh, seeded alike, every key touched where the mix says so, a warm-up round of each; then the rounds in
turns; then the check of what was promised. So the interval covers the luck of a single process too (its memory layout, its hash
seed), which many rounds against the same two processes would take for a difference between variants (Kalibera and Jones, "Rigorous
benchmarking in reasonable time", ISMM 2013).
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from loadtests.analysis.findings import block_figures
from loadtests.analysis.statistics import paired_log_ratios, ratio
from loadtests.comparison.block_taker import BlockTaker, Phase
from loadtests.comparison.experiment import Experiment
from loadtests.comparison.fold import fold
from loadtests.comparison.rounds import Strikes
from loadtests.comparison.safety import merged
from loadtests.comparison.schedule import MeasuredBlock, run_blocks
from loadtests.generator.open_loop import CONNECTIONS_PER_URL, TIMEOUT_S, LoadGenerator
from loadtests.generator.placement import current_cpus, generator_placed
from loadtests.manifest import conditions, pinning
from loadtests.result import Ratio, Result
from loadtests.workload import Target, Workload


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after each step. `ratio` is the primary figure of the first other variant so far, None before the first block."""

    phase: Phase
    variant: str
    blocks_accepted: int
    blocks_planned: int
    blocks_void: int
    void_because: str
    elapsed_s: float
    ratio: Ratio | None


async def compare(
    experiment: Experiment,
    targets: Sequence[Target],
    workload: Workload,
    *,
    renew: Callable[[], Sequence[Target]] | None = None,
    cpus: Collection[int] | None = None,
    connections_per_url: int = CONNECTIONS_PER_URL,
    timeout_s: float = TIMEOUT_S,
    allow_remote: bool = False,
    versions: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
    progress: Callable[[Progress], None] = lambda progress: None,
    keep: Callable[[Sequence[MeasuredBlock]], None] = lambda blocks: None,
    strikes: Strikes | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> Result:
    """Measure `targets`, the first being the baseline. Best run on uvloop (`open_loop.run`).

    `renew` ends all variants and starts them anew without data; it is called before every block but the first, if and only if
    the experiment is `fresh`. `cpus` are the generator's, held for the length of the run where the system allows it. `versions`
    are those only the caller knows, such as a Redis server's, and `remarks` what readers must know beside them. `keep` is given
    all blocks at the end, with their raw samples. `strikes` breaks what the experiment's `faults` name. `cpu_clock.Unreadable`
    when a process of a variant has ended; ValueError for fewer than two variants, names that are not the experiment's, or an
    address that is not this machine's unless `allow_remote`.
    """
    names = [target.name for target in targets]
    if len(set(names)) != len(names) or len(names) < 2 or names != list(experiment.variants):
        raise ValueError(f"a comparison needs two or more variants with the names {list(experiment.variants)}, not {names}")
    if experiment.fresh and renew is None:
        raise ValueError("an experiment with fresh blocks needs somebody who starts its variants anew")
    if bool(experiment.faults) != (strikes is not None):
        raise ValueError("an experiment with faults needs somebody who strikes, and one without needs nobody")
    around = conditions()
    around.versions.update(versions or {})
    started_at, started_s = now(), clock()
    measured: list[MeasuredBlock] = []

    def tell(phase: Phase, variant: str = "") -> None:
        accepted = [block for block in measured if block.accepted]
        last_void = measured[-1].void_because if measured else ""
        so_far = primary_ratio(accepted, experiment.primary)
        void = len(measured) - len(accepted)
        progress(Progress(phase, variant, len(accepted), experiment.blocks, void, last_void, clock() - started_s, so_far))

    def on_block(so_far: Sequence[MeasuredBlock]) -> None:
        measured[:] = so_far
        tell("block")

    def load(target: Target) -> LoadGenerator:
        return LoadGenerator(
            target.urls, connections_per_url=connections_per_url, timeout_s=timeout_s, allow_remote=allow_remote, clock=clock
        )

    with generator_placed(cpus) as first:
        pinned = pinning(current_cpus(), (pid for target in targets for pids in target.pids.values() for pid in pids), first)
        taker = BlockTaker(experiment, targets, workload, renew, load, tell, clock, sleep, strikes)
        try:
            limits = experiment.rules.calibrated(await taker.begin())
            tell("block")
            await run_blocks(
                taker.take,
                variants=len(targets),
                planned=experiment.blocks,
                seed=experiment.seed,
                rules=limits,
                on_block=on_block,
            )
            await taker.finish()
        finally:
            await taker.close()
    keep(measured)
    others = names[1:-1] if experiment.control else names[1:]
    cards = [workload.card(experiment.knob, names[0], other) for other in others]
    safety = {name: merged(checks) for name, checks in taker.safety.items()}
    duration_s = clock() - started_s
    return fold(
        experiment, limits, targets, measured, safety, cards, around, pinned, started_at.isoformat(), duration_s, remarks=remarks
    )


def primary_ratio(accepted: Sequence[MeasuredBlock], primary: str) -> Ratio | None:
    """The first other variant against the baseline so far."""
    pairs = [(block_figures(block, 0), block_figures(block, 1)) for block in accepted]
    if not pairs or any(min(a.get(primary, 0.0), b.get(primary, 0.0)) <= 0 for a, b in pairs):
        return None
    return ratio(paired_log_ratios([a[primary] for a, _ in pairs], [b[primary] for _, b in pairs]))
