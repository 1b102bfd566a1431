"""The shortener's mixes: the service accepts each alternative under the one that shows it, and popularity does what they say."""

from __future__ import annotations

from typing import Any

import pytest

from designs.building_blocks.knobs import KnobError, build, knob_table
from designs.url_shortener.knobs import ShortenerKnobs
from loadtests.url_shortener.mixes import DEFAULT_MIX, MIXES
from loadtests.workload import Mix


def test_the_service_can_run_each_alternative_of_a_knob_under_the_mix_that_shows_it() -> None:
    """A refusal is fine where the knobs say so with any mix; the mix itself must not be why."""
    for row in knob_table(ShortenerKnobs):
        for choice in row.choices:
            values: dict[str, Any] = {**MIXES[DEFAULT_MIX[row.name]].knobs, row.name: choice}
            build(ShortenerKnobs, values)


def test_each_mix_lifts_the_limit_on_misses_since_all_load_comes_from_one_address() -> None:
    assert all(mix.knobs["misses_per_minute"] == "0" for mix in MIXES.values())


def test_a_mix_with_a_knob_the_service_does_not_have_would_be_refused() -> None:
    with pytest.raises(KnobError):
        build(ShortenerKnobs, {**MIXES["expiring"].knobs, "cache_time": "1"})


def test_the_expiring_mix_lets_hot_entries_die_often_and_keeps_them_hot() -> None:
    mix = MIXES["expiring"]
    knobs = build(ShortenerKnobs, mix.knobs)
    requests_per_life = mix.rate_per_s * min(knobs.cache_ttl_s, knobs.staleness_s) / mix.keys
    assert knobs.cache_ttl_s <= 1
    assert requests_per_life > 10


def test_caches_are_warm_before_every_mix_in_which_links_are_opened_unless_cold_is_the_point() -> None:
    cold = {name for name, mix in MIXES.items() if not mix.touch}
    assert cold == {"create", "expiring", "journeys"}
    assert {mix.touch for mix in MIXES.values() if mix.touch} == {"redirect"}


def test_under_zipf_the_most_popular_links_fit_into_a_replicas_memory_and_the_others_do_not() -> None:
    """The popularity alone decides then what share of the visits the process layer can answer."""

    def share(mix: Mix) -> float:
        weights = [rank**-mix.zipf_s for rank in range(1, mix.keys + 1)]
        return sum(weights[: int(mix.knobs["cache_entries"])]) / sum(weights)

    shares = [share(MIXES[f"zipf-{zipf_s}"]) for zipf_s in (0.8, 1.0, 1.2)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[1] < 0.8 < shares[2]
