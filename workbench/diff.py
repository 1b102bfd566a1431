"""`designs diff`: two recorded runs of the same experiment, before and after a change.

What is compared, and what refused, is `two_runs` and `comparable` of `loadtests.analysis`; here records are read and rows printed.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from loadtests.analysis.two_runs import RunDiff, compare_runs, summary
from loadtests.report.number_format import change, interval, number
from loadtests.result import SCHEMA_VERSION, Ratio, Result
from workbench.terminal import say, show_table

RECORD = "result.json"


class NoRun(LookupError):
    """There is no record of a run there, or none that can be read. The message says which."""


class NotComparable(ValueError):
    """The two runs are not of the same experiment, or one of them is not sound. The message lists every reason."""


def diff_command(first: Path, second: Path, *, as_json: bool = False) -> int:
    """Print what became of each ratio and figure. 0 whatever the difference; raises `NoRun` or `NotComparable`."""
    runs = read_run(first), read_run(second)
    diff = compare_runs(*runs)
    if as_json:
        say(diff.model_dump_json(indent=1))
    if not diff.comparable:
        raise NotComparable(f"these runs can't be compared: {'; '.join(diff.reasons)}")
    if not as_json:
        show(diff, summary(diff, *runs))
    return 0


def read_run(path: Path) -> Result:
    """The record in a run's folder, or in that file."""
    file = path / RECORD if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoRun(f"there is no record of a run in {path}: {_reason(error)}") from None
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        raise NoRun(f"{file} is no record of a comparison: {_schema_told(text) or error.errors()[0]['msg']}") from None


def show(diff: RunDiff, sentence: str) -> None:
    say(sentence)
    say()
    show_table(
        ("variant", "paired ratio", "first run", "second run", "change", "verdict"),
        [
            (c.variant, c.title, said(c.first), said(c.second), said(c.change) if c.change else "no blocks", c.agreement)
            for c in diff.ratios
        ],
    )
    if diff.figures:
        say()
        show_table(
            ("variant", "figure", "first run", "second run", "change", "verdict"),
            [
                (
                    f.variant,
                    f.title if not f.unit or f.unit in f.title else f"{f.title}, {f.unit}",
                    number(f.first),
                    number(f.second),
                    said(f.ratio) if f.ratio else "a count",
                    f.verdict,
                )
                for f in diff.figures
            ],
        )
    say()
    for line in [*(f"differs: {each}" for each in diff.differences), *diff.notes]:
        say(line)


def said(ratio: Ratio) -> str:
    """The estimate with its interval, as the report says it."""
    return f"{change(ratio.estimate)} {interval(ratio) or '(no interval)'}"


def _schema_told(text: str) -> str:
    """What a record of another schema says of itself; "" where the text is not even that."""
    try:
        version = json.loads(text).get("schema_version")
    except (ValueError, AttributeError):
        return ""
    return f"it is schema {version}, this version reads {SCHEMA_VERSION}" if version not in (None, SCHEMA_VERSION) else ""


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "it can't be read" if isinstance(error, OSError) else "it is not text"
