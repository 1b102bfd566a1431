"""The menu of the URL shortener: everything on it can happen to the processes it really runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.processes import processes
from loadtests.faults.kinds import KINDS
from loadtests.faults.pattern import FaultPattern, targets_of
from loadtests.url_shortener.faults import MENU


@pytest.fixture
def nodes(tmp_path: Path) -> list[str]:
    specs = processes(ShortenerKnobs(), data_dir=tmp_path, ports=lambda: 1, servers={}, replicas=2, env={})
    return [*(spec.name for spec in specs), "redis", "kafka", "cassandra"]


@pytest.mark.parametrize("pattern", MENU, ids=lambda pattern: f"{pattern.kind} of {pattern.target}")
def test_each_fault_of_the_menu_finds_what_it_strikes(pattern: FaultPattern, nodes: list[str]) -> None:
    assert targets_of(pattern, nodes)


def test_every_kind_of_fault_is_on_the_menu() -> None:
    assert {pattern.kind for pattern in MENU} == set(KINDS)
