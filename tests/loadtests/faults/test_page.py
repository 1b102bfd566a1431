"""The page of faults: made from the declarations, in date, and its example is a schedule that works."""

from __future__ import annotations

import textwrap
from pathlib import Path

import loadtests.faults
from loadtests.faults.kinds import KINDS
from loadtests.faults.named import parse_schedule, schedule_names
from loadtests.faults.page import OWN, faults_page

PAGE = Path(loadtests.faults.__file__).parent / "FAULTS.md"


def test_the_page_is_in_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == faults_page()


def test_every_kind_and_every_schedule_is_on_the_page() -> None:
    page = faults_page()

    assert all(f"\n### {kind}\n" in page for kind in KINDS)
    assert all(f"| [`{name}`](schedules/{name}.toml) |" in page for name in schedule_names())


def test_the_example_of_the_page_is_a_schedule() -> None:
    example = textwrap.dedent("\n".join(line for line in OWN.splitlines() if line.startswith("    ")))

    assert [timed.pattern.kind for timed in parse_schedule("example", example).faults] == ["kill", "latency"]
