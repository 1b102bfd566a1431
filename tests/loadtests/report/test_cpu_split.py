"""The bars of CPU by process."""

from __future__ import annotations

import pytest

from loadtests.report.cpu_split import cpu_split
from loadtests.result import Result
from tests.loadtests.sample_result import sample_result


def with_figures(*figures: dict[str, float]) -> Result:
    result = sample_result()
    variants = [variant.model_copy(update={"figures": own}) for variant, own in zip(result.variants, figures, strict=True)]
    return result.model_copy(update={"variants": variants})


def cpu(**roles: float) -> dict[str, float]:
    return {"cpu_us_per_request": sum(roles.values()), **{f"cpu_us_per_request_{role}": us for role, us in roles.items()}}


def test_the_longest_bar_fills_the_plot_and_the_others_are_in_proportion() -> None:
    long, short = cpu_split(with_figures(cpu(service=60.0, store=40.0), cpu(service=30.0, store=20.0)))
    assert [(part.role, part.start, part.width) for part in long.parts] == [("service", 0.0, 60.0), ("store", 60.0, 40.0)]
    assert [(part.start, part.width) for part in short.parts] == [(0.0, 30.0), (30.0, 20.0)]
    assert (long.total_us, short.total_us) == (100.0, 50.0)


def test_roles_stand_in_the_order_a_request_meets_them_in_every_bar() -> None:
    splits = cpu_split(with_figures(cpu(store=1.0, service=1.0), cpu(broker=1.0, worker=1.0, service=1.0, cache=1.0)))
    assert [[part.role for part in split.parts] for split in splits] == 2 * [["service", "worker", "store", "broker", "cache"]]
    assert [part.us for part in splits[0].parts] == [1.0, None, 1.0, None, None]


@pytest.mark.parametrize("figures", [{}, {"cpu_us_per_request": 12.0}])
def test_cpu_that_was_not_measured_by_role_has_no_bars(figures: dict[str, float]) -> None:
    assert cpu_split(with_figures(figures, figures)) == []
