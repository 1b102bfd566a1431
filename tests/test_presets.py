"""The presets of every design's estimate, as `designs capacity` prints them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest

from workbench.catalogue import DESIGNS


def presets(design: str) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = importlib.import_module(f"{DESIGNS[design].module}.capacity").PRESETS
    return found


@pytest.mark.parametrize(("design", "name"), [(design, name) for design in DESIGNS for name in presets(design)])
def test_every_preset_prints_as_a_table(design: str, name: str) -> None:
    rows = DESIGNS[design].estimate()(**presets(design)[name]).rows()
    assert len({row.figure for row in rows}) == len(rows)
    assert all(row.value and row.how for row in rows)
