"""Recorded measurements: what the documents quote, one JSON file per run under `designs/<design>/measurements/`.

<knob>.<mix>.json   a comparison: the `Result` of the run without what only its charts need; under faults, their names follow
bench-<name>.json   a bench: its table and its verdicts

A record carries its conditions, and neither a place on the machine it was made on nor a secret. A newer run of the same
comparison or bench takes the place of the older.
"""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from loadtests.manifest import REPOSITORY, Conditions, conditions
from loadtests.result import SCHEMA_VERSION, LatencySummary, Record, Result
from workbench.catalogue import design_named

R = TypeVar("R", bound=Record)

FOLDER = "measurements"
# An absolute path, but not the path of a URL or a route such as `/{code}`: those do not start in a system's folders.
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|var|usr|opt|mnt|srv|etc|Users|private)/")
KEY_WORDS = re.compile(r"Bearer\s+\S+|redis://[^@\s]*:[^@\s]+@|\b(?:api|admin|code)_key\b", re.IGNORECASE)


class NoRecord(LookupError):
    """Nobody has recorded this measurement. The message names the command that does."""


class BadRecord(ValueError):
    """A record that must not be kept, or can't be read. The message says why."""


class BenchRecord(Record):
    """One run of a bench: its table, its verdict sentences and its conditions."""

    schema_version: int = SCHEMA_VERSION
    design: str
    name: str
    command: str
    columns: list[str]
    rows: list[list[str]]
    sentences: list[str] = Field(description="a verdict per requirement")
    recorded_at: str = Field(description="RFC 3339, UTC")
    commit: str
    dirty: bool
    versions: dict[str, str]
    machine: dict[str, str]


def record_comparison(result: Result, folder: Path | None = None) -> Path:
    """Keep a comparison as the record of its knob, mix and faults; returns the file."""
    return _write((folder or records_of(result.manifest.design)) / f"{record_name(result)}.json", compact(result))


def record_name(result: Result) -> str:
    """KNOB.MIX, and under faults their names after it."""
    return ".".join([result.manifest.knob, result.manifest.mix, *result.manifest.faults])


def compact(result: Result) -> Result:
    """The same result without distributions, time lines and single blocks; how many blocks counted is in its noise floor."""

    def summary(latency: LatencySummary) -> LatencySummary:
        return latency.model_copy(update={"ecdf": []})

    variants = [
        variant.model_copy(
            update={
                "latency_intended": summary(variant.latency_intended),
                "latency_sent": summary(variant.latency_sent),
                "over_time": [],
            }
        )
        for variant in result.variants
    ]
    manifest = result.manifest.model_copy(update={"machine": kind_of(result.manifest.machine)})
    left_out: dict[str, list[Any]] = {"blocks": [], "ratio_functions": [], "bands": []}
    return result.model_copy(update={"variants": variants, "manifest": manifest, **left_out})


def kind_of(machine: Mapping[str, str]) -> dict[str, str]:
    """The machine without what only tells it from others of its kind: the suffix of a kernel names whoever built it."""
    return {name: said.split("-")[0] if name == "kernel" else said for name, said in machine.items()}


def record_bench(
    design: str,
    name: str,
    table_headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    sentences: Sequence[str],
    around: Conditions | None = None,
    folder: Path | None = None,
    options: str = "",
) -> Path:
    """Keep a bench's figures; returns the file.

    `around`: the conditions before the load, else those of now. `options`: what the command needs to repeat just this run.
    """
    around = around or conditions()
    record = BenchRecord(
        design=design,
        name=name,
        command=f"designs bench {name} {options}".rstrip(),
        columns=list(table_headers),
        rows=[list(row) for row in rows],
        sentences=list(sentences),
        recorded_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=around.commit,
        dirty=around.dirty,
        versions=around.versions,
        machine=kind_of(around.machine),
    )
    return _write((folder or records_of(design)) / f"bench-{name}.json", record)


def read_comparison(design: str, name: str, folder: Path | None = None) -> Result:
    """The record `KNOB.MIX`. Raises `NoRecord` or `BadRecord`."""
    knob, _, mix = name.partition(".")
    how = f"designs compare {design} {knob} --mix {mix} --record" if mix else "its name is KNOB.MIX"
    return _read(Result, (folder or records_of(design)) / f"{name}.json", how)


def read_bench(design: str, name: str, folder: Path | None = None) -> BenchRecord:
    """Raises `NoRecord` or `BadRecord`."""
    return _read(BenchRecord, (folder or records_of(design)) / f"bench-{name}.json", f"designs bench {name} --record")


def recorded_comparisons(design: str, folder: Path | None = None) -> list[Result]:
    """All comparisons of a design that were recorded, by the name of their file."""
    paths = sorted((folder or records_of(design)).glob("*.json"))
    return [read_comparison(design, path.stem, path.parent) for path in paths if not path.stem.startswith("bench-")]


def records_of(design: str) -> Path:
    """Where the records of a design are."""
    return design_named(design).chapter().parent / FOLDER


def betrays(text: str) -> str:
    """The first place on a machine or secret that a record's text gives away; "" for none."""
    own_folders = {str(folder) for folder in (REPOSITORY, Path.home(), Path(tempfile.gettempdir())) if len(folder.parts) > 1}
    own = next((folder for folder in sorted(own_folders) if f"{folder}/" in text or f'{folder}"' in text), "")
    found = MACHINE_PATH.search(text) or KEY_WORDS.search(text)
    return own or (found.group() if found else "")


def _write(path: Path, record: Record) -> Path:
    text = record.model_dump_json(indent=1) + "\n"
    if told := betrays(text):
        raise BadRecord(f"{path.name} would tell readers {told!r}, which belongs to this machine alone; nothing was recorded")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _read(kind: type[R], path: Path, how: str) -> R:
    if not path.exists():
        raise NoRecord(f"there is no record {path.stem}; make it with: {how}")
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise BadRecord(f"{path.name} is no record of this version: {error.errors()[0]['msg']}; make it anew with: {how}") from None
