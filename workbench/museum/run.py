"""`designs museum`: the list of exhibits, or each of them run, bad and right variant side by side."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from designs.building_blocks.processes import ProcessSpec
from loadtests.check.record import CheckRecord
from loadtests.result import SafetyCheck
from workbench.museum.exhibit import Exhibit, chosen, flawed_start
from workbench.museum.page import conditions
from workbench.terminal import say, say_aside, show_table

SIDE_BY_SIDE = 2  # exhibits at a time, each two designs: as much as two cores bear without a request that is late
WITNESS_LINES = 4
TRIES = 3
KEPT = Path("results")


@dataclass(frozen=True, slots=True)
class Showing:
    """An exhibit that was run."""

    exhibit: Exhibit
    bad: CheckRecord
    right: CheckRecord
    took_s: float

    @property
    def caught(self) -> SafetyCheck | None:
        """The check that was to find the flaw, where it did."""
        return next((each for each in self.bad.checks if each.name == self.exhibit.flagged_by and each.verdict == "invalid"), None)

    @property
    def as_it_must_be(self) -> bool:
        return self.caught is not None and self.right.verdict == "valid"


def museum_command(run: bool, names: Sequence[str]) -> int:
    """List these exhibits, or all; with `run` show them. 0 when each flaw was found and each right variant is valid, else 1.

    Raises `UnknownExhibit`.
    """
    wanted = chosen(names)
    if not run:
        show_table(
            ["exhibit", "what is wrong", "seen in", "faults, seed", "verdict"],
            [[each.name, each.wrong, each.seen_in, f"{conditions(each)}, {each.seed}", "invalid"] for each in wanted],
        )
        return 0
    began_s = time.monotonic()
    showings = show_all(wanted, lambda showing: say("\n".join(lines_of(showing))))
    good = sum(showing.as_it_must_be for showing in showings)
    say_aside(f"{good} of {len(wanted)} as they must be, in {time.monotonic() - began_s:.0f} s")
    return 0 if good == len(wanted) else 1


def show_all(wanted: Sequence[Exhibit], tell: Callable[[Showing], None] = lambda showing: None) -> list[Showing]:
    """Run each, some at a time. `tell` hears of each as it ends. When one can't be run, or it is interrupted, no other begins.

    The histories of what is not as it must be are kept in `KEPT`.
    """
    folder = Path(tempfile.mkdtemp(prefix="museum-"))
    lanes = ThreadPoolExecutor(SIDE_BY_SIDE)
    try:
        running = [lanes.submit(show, exhibit, folder / exhibit.name) for exhibit in wanted]
        for ended in as_completed(running):
            showing = ended.result()
            tell(showing)
            if not showing.as_it_must_be:
                keep(showing, folder / showing.exhibit.name)
        return [each.result() for each in running]
    finally:
        lanes.shutdown(cancel_futures=True)
        shutil.rmtree(folder, ignore_errors=True)


def show(exhibit: Exhibit, folder: Path) -> Showing:
    """Both variants at the same time, each in processes of its own, under the same plan and the same schedule.

    Shown again while a variant's verdict is `unknown`: the machine was too busy for the run to say anything.
    """
    began_s = time.monotonic()
    for left in reversed(range(TRIES)):
        with ThreadPoolExecutor(2) as pair:
            bad = pair.submit(checked, exhibit, folder / "bad", flawed=True)
            right = pair.submit(checked, exhibit, folder / "right", flawed=False)
            showing = Showing(exhibit, bad.result(), right.result(), time.monotonic() - began_s)
        if not left or "unknown" not in (showing.bad.verdict, showing.right.verdict):
            break
        say_aside(f"{exhibit.name}: once more: a verdict was unknown")
    return showing


def keep(showing: Showing, folder: Path) -> None:
    """For whoever looks for the cause: both histories, to be judged again with `designs check --history`."""
    kept = KEPT / f"museum-{showing.exhibit.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    if folder.exists():
        KEPT.mkdir(exist_ok=True)
        shutil.move(folder, kept)
        say_aside(f"{showing.exhibit.name}: its histories are in {kept}")


def checked(exhibit: Exhibit, folder: Path, *, flawed: bool) -> CheckRecord:
    """One variant, checked. A start that fails, since somebody took a port or the machine was too busy, is tried again."""
    from designs.building_blocks.knobs import build
    from loadtests.workload import SeedingFailed
    from workbench.catalogue import design_named
    from workbench.check import run_check_of
    from workbench.embedded_redis import RedisFailed
    from workbench.processes import ProcessFailed

    design = design_named(exhibit.design)
    knobs = build(design.processes().KNOBS, exhibit.knobs)
    start = partial(flawed_start, exhibit) if flawed else as_always
    for left in reversed(range(TRIES)):
        try:
            return run_check_of(
                design,
                knobs,
                names=exhibit.schedules,
                seed=exhibit.seed,
                seconds=exhibit.seconds,
                rate=exhibit.rate_per_s,
                mix=exhibit.mix,
                out_dir=folder,
                respecify=start,
            )
        except (ProcessFailed, RedisFailed, SeedingFailed) as error:
            if not left:
                raise
            say_aside(f"{exhibit.name}: once more: {error}")
    raise AssertionError("unreachable: the last try returns or raises")


def as_always(spec: ProcessSpec) -> ProcessSpec:
    return spec


def lines_of(showing: Showing) -> list[str]:
    """One line, the witness under it, and what is not as it must be."""
    exhibit, caught = showing.exhibit, showing.caught
    if caught is not None:
        found = ", ".join(f"{name} {count}" for name, count in caught.counts.items() if count)
        bad = f"bad: invalid, {caught.name} ({found})"
    else:
        others = [each.name for each in showing.bad.checks if each.verdict == "invalid"]
        bad = f"bad: {showing.bad.verdict}, not found: {exhibit.flagged_by}" + (f"; found: {', '.join(others)}" if others else "")
    lines = [f"{exhibit.name}  {bad}; right: {showing.right.verdict}; {showing.took_s:.0f} s"]
    lines += [f"    {line}" for line in (caught.witness if caught is not None else ())[:WITNESS_LINES]]
    if showing.right.verdict != "valid":
        for each in showing.right.checks:
            if each.verdict != "valid":
                lines += [f"    right, {each.verdict}: {each.name}: {each.detail}", *(f"        {line}" for line in each.witness)]
    return lines
