"""`designs soak`: checks with random knobs under random faults, one after the other, as many as one has patience for.

Each number draws knobs and faults of its own, so the command that repeats a failure is printed with it. Every check is a process of
its own that is ended when it hangs; its temporary files are in a folder of its own, so that neither outlives it.
"""

from __future__ import annotations

import datetime
import importlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from designs.building_blocks.knobs import KnobError, Knobs, build
from loadtests.check.record import CheckRecord
from loadtests.faults.named import RANDOM
from loadtests.report.number_format import enumeration
from workbench.catalogue import Design
from workbench.given_servers import KINDS
from workbench.spawner import spawn
from workbench.terminal import say

HANG_S = 300.0  # beyond the load of a check: longer than all bounds of its healing together
ENDING_S = 20.0
POLL_S = 0.1
TURNED_SHARE = 0.4
DRAWS = 1_000

Outcome = Literal["valid", "invalid", "unknown", "hang", "failed"]
EXIT: Mapping[Outcome, int] = {"valid": 0, "unknown": 2, "invalid": 1, "hang": 1, "failed": 1}


@dataclass(frozen=True, slots=True)
class Soaked:
    """One check that is over. `why`: what is not valid, in words; empty for a valid one."""

    seed: int
    outcome: Outcome
    took_s: float
    why: str
    command: str


@dataclass(slots=True)
class Soaking:
    """One check that runs."""

    seed: int
    words: Sequence[str]
    folder: Path
    scratch: Path
    process: subprocess.Popen[bytes]
    began_s: float


def soak_command(design: Design, *, schedules: int, seconds: float, seed: int, parallel: int, out_dir: Path | None = None) -> int:
    """Run them all, a line each, then what was not valid. 0 all valid, 1 one was not, hung or failed, 2 one is unknown."""
    folder = out_dir or Path("results") / f"soak-{design.name}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    ended: list[Soaked] = []
    waiting = list(range(seed, seed + schedules))
    running: list[Soaking] = []
    began_s = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                running.append(start(design, waiting.pop(0), seconds, folder))
            time.sleep(POLL_S)
            for check in list(running):
                hangs = time.monotonic() - check.began_s > seconds + HANG_S
                if hangs:
                    end(check)
                if hangs or check.process.poll() is not None:
                    running.remove(check)
                    ended.append(over(check, hangs))
                    say(line_of(ended[-1], len(ended), schedules))
    finally:
        for check in running:  # interrupted
            end(check)
            for left in (check.scratch, check.folder):
                shutil.rmtree(left, ignore_errors=True)
    say(summary(ended, time.monotonic() - began_s))
    bad = [each for each in ended if each.outcome != "valid"]
    for each in bad:
        say(f"{each.outcome:8}  {each.why}")
        say(f"          {each.command}")
    if bad:
        say(f"kept      {folder}")
    elif folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return worst_exit(ended)


def drawn_knobs(
    model: type[Knobs],
    varied: Mapping[str, Sequence[str]],
    seed: int,
    possible: Callable[[Knobs], bool] = lambda knobs: True,
) -> dict[str, str]:
    """Knobs to turn, and to what: each with a chance of its own, drawn again until the design takes them together.

    `possible`: whether this machine can run it.
    """
    rng = random.Random(f"{seed} knobs")
    for _ in range(DRAWS):
        turned = {name: rng.choice(values) for name, values in varied.items() if rng.random() < TURNED_SHARE}
        try:
            knobs = build(model, turned)
        except KnobError:
            continue
        if possible(knobs):
            return turned
    raise RuntimeError(f"no combination of {', '.join(varied)} in {DRAWS} draws that the design takes")


def check_words(design: Design, seed: int, seconds: float, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The words after `designs` that make this check, and repeat it. Kafka and Cassandra take part where they are given."""
    varied = importlib.import_module(f"loadtests.{design.name}.swarm").VARIED
    declared = design.processes()
    absent = {name for name, kind in KINDS.items() if not environ.get(kind.setting)}
    turned = drawn_knobs(declared.KNOBS, varied, seed, lambda knobs: not declared.needs(knobs) & absent)
    words = [f"{name}={value}" for name, value in turned.items()]
    return ["check", design.name, *words, "--faults", RANDOM, "--seed", str(seed), "--minutes", f"{seconds / 60:.6g}"]


def start(design: Design, seed: int, seconds: float, folder: Path) -> Soaking:
    """Start one check in a process group of its own that ends with this process."""
    words, own = check_words(design, seed, seconds), folder / str(seed)
    own.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"soak-{seed}-"))
    argv = [sys.executable, "-m", "workbench.cli", *words, "--out", str(own)]
    process = spawn(argv, {"TMPDIR": str(scratch)}, own / "log", signal.SIGTERM)
    return Soaking(seed, words, own, scratch, process, time.monotonic())


def end(check: Soaking) -> None:
    """SIGTERM, so that it ends what it started; SIGKILL when it does not, which takes along what is tied to it."""
    for what in (signal.SIGTERM, signal.SIGKILL):
        if check.process.poll() is None:
            check.process.send_signal(what)
            try:
                check.process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                continue


def over(check: Soaking, hung: bool) -> Soaked:
    """What became of it; the files of a valid one are removed."""
    shutil.rmtree(check.scratch, ignore_errors=True)
    outcome, why = read_outcome(check.folder)
    if hung:
        outcome, why = "hang", f"not over {HANG_S:g} s after its load"
    if outcome == "valid":
        shutil.rmtree(check.folder, ignore_errors=True)
    took_s = time.monotonic() - check.began_s
    return Soaked(check.seed, outcome, took_s, why, shlex.join(["designs", *check.words]))


def read_outcome(folder: Path) -> tuple[Outcome, str]:
    """What the record in a check's folder says, else the end of its log."""
    try:
        record = CheckRecord.model_validate_json((folder / "check.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log = folder / "log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
        return "failed", lines[-1] if lines else "it said nothing"
    if record.verdict == "valid":
        return "valid", ""
    wrong = [check for check in record.checks if check.verdict == record.verdict]
    return record.verdict, enumeration([f"{check.name} ({check.detail or check.counts})" for check in wrong]) or record.headline


def line_of(soaked: Soaked, done: int, of: int) -> str:
    return f"{done:4} of {of}  seed {soaked.seed:5}  {soaked.took_s:5.1f} s  {soaked.outcome}" + (
        f": {soaked.why}" if soaked.why else ""
    )


def summary(ended: Sequence[Soaked], took_s: float) -> str:
    counts = Counter(each.outcome for each in ended)
    return f"{len(ended)} checks in {took_s:.0f} s: {enumeration([f'{count} {outcome}' for outcome, count in counts.items()])}"


def worst_exit(ended: Sequence[Soaked]) -> int:
    codes = {EXIT[each.outcome] for each in ended}
    return 1 if 1 in codes else max(codes, default=0)
