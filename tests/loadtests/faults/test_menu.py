"""The menu of every design: everything on it can happen to the processes and servers that the design really has."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from designs.building_blocks.knobs import KnobError, build, knob_table
from loadtests.faults.kinds import KINDS, SERVERS
from loadtests.faults.pattern import FaultPattern, targets_of
from workbench.catalogue import DESIGNS


def menu(design: str) -> Sequence[FaultPattern]:
    found: Sequence[FaultPattern] = importlib.import_module(f"loadtests.{design}.faults").MENU
    return found


def servers_of(design: str) -> set[str]:
    """Those that some turn of one of its knobs needs."""
    module = DESIGNS[design].processes()
    found = set(module.needs(module.KNOBS()))
    for row in knob_table(module.KNOBS):
        for choice in row.choices:
            try:
                found |= module.needs(build(module.KNOBS, {row.name: choice}))
            except KnobError:
                continue  # not without another knob
    return found & SERVERS


@pytest.mark.parametrize("design", DESIGNS)
def test_each_fault_of_the_menu_finds_what_it_strikes(design: str, tmp_path: Path) -> None:
    module = DESIGNS[design].processes()
    specs = module.processes(module.KNOBS(), data_dir=tmp_path, ports=lambda: 1, servers={}, replicas=2, env={})
    nodes = [*(spec.name for spec in specs), *servers_of(design)]
    for pattern in menu(design):
        assert targets_of(pattern, nodes), f"{pattern.kind} of {pattern.target}"


@pytest.mark.parametrize("design", DESIGNS)
def test_every_kind_of_fault_is_on_the_menu(design: str) -> None:
    assert {pattern.kind for pattern in menu(design)} == set(KINDS)
