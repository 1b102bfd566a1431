"""The limiter's mixes: the service accepts each alternative under the one that shows it, and each gives something to judge by."""

from __future__ import annotations

from typing import Any

import pytest

from designs.building_blocks.knobs import KnobError, build, knob_table
from designs.rate_limiter.knobs import LimiterKnobs
from loadtests.rate_limiter.mixes import DEFAULT_MIX, MIXES, SLOT_OPS, UNIT_OPS
from loadtests.workload import Mix


@pytest.mark.parametrize("mix", MIXES.values(), ids=lambda mix: mix.name)
def test_a_mix_asks_for_units_or_for_slots(mix: Mix) -> None:
    assert {*mix.ratios, *(op for op, _ in mix.then.values())} & (UNIT_OPS | SLOT_OPS)


def test_the_service_can_run_each_alternative_of_a_knob_under_the_mix_that_shows_it() -> None:
    """A refusal is fine where the knobs say so with any mix; the mix itself must not be why."""
    for row in knob_table(LimiterKnobs):
        for choice in row.choices:
            values: dict[str, Any] = {row.name: choice}
            try:
                build(LimiterKnobs, values)
            except KnobError:
                continue
            build(LimiterKnobs, {**MIXES[DEFAULT_MIX[row.name]].knobs, **values})
