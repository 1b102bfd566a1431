"""The estimate against arithmetic that was done by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.capacity import ANCHORS, PRESETS, SKETCH_BYTES, Estimate, estimate
from designs.rate_limiter.limits import ALGORITHM_NAMES


def preset(name: str) -> Estimate:
    assumptions: dict[str, Any] = dict(PRESETS[name])
    return estimate(**assumptions)


def test_a_million_checks_a_second_keep_a_dozen_redis_cores_busy_and_hundreds_of_the_service() -> None:
    classic = preset("interview classic")
    assert classic.peak_decisions_per_s == 1e6
    assert classic.redis_cores == pytest.approx(0.95 * 4.4 + 0.05 * 2.9 + 8, rel=1e-6)
    assert classic.shards == 25
    assert classic.replica_cores == pytest.approx(300)
    assert classic.replicas == 601


def test_the_log_of_figma_holds_five_million_stamps_and_takes_35_times_the_memory_of_gcra() -> None:
    log, gcra = preset("Figma, a log"), preset("Figma, GCRA")
    assert log.keys == gcra.keys == 10_000
    assert log.memory_bytes - log.keys * (64 + 32 + 138) == pytest.approx(10 * 5e6)
    assert log.memory_bytes / gcra.memory_bytes == pytest.approx(35, abs=1)


def test_a_further_limit_of_a_request_costs_a_part_of_the_first_and_no_round_trip() -> None:
    one, three = estimate(limits_per_request=1), estimate(limits_per_request=3)
    assert one.script_us < three.script_us < 3 * one.script_us
    assert three.redis_us - three.script_us == pytest.approx(one.redis_us - one.script_us)
    assert three.keys == 3 * one.keys


def test_a_sketch_takes_the_same_memory_for_any_number_of_keys() -> None:
    few, many = estimate(algorithm="sketch", active_keys=1e4), estimate(algorithm="sketch", active_keys=1e9)
    assert few.memory_bytes == many.memory_bytes == SKETCH_BYTES * few.shards


def test_leases_spare_the_trips_of_keys_that_many_come_for_and_none_of_the_others() -> None:
    flat, hot = estimate(hot_share=0.0), estimate(hot_share=1.0, hot_keys=1.0)
    assert flat.trips_per_decision == pytest.approx(1.0, rel=1e-2)
    assert hot.trips_per_decision == pytest.approx(1 / 10)
    assert hot.leased_shards < flat.leased_shards


def test_leases_let_as_many_units_over_the_limit_as_all_replicas_may_hold() -> None:
    leased = estimate(lease_size=50, quota_per_key=1_000_000)
    assert leased.overshoot_units == leased.replicas * 50
    assert leased.overshoot_share == pytest.approx(leased.replicas * 50 / 1_000_000)


def test_and_no_more_than_come_back_while_a_lease_lives() -> None:
    slow = estimate(lease_size=50, quota_per_key=600, period_s=60.0, lease_s=2.0)
    assert slow.overshoot_units == pytest.approx(20)
    assert estimate(lease_size=1).overshoot_units == 0


def test_a_key_whose_leases_end_unspent_makes_a_trip_for_itself_and_one_for_each_block() -> None:
    one_replica = estimate(
        decisions_per_s=10, peak_factor=1, active_keys=1, hot_keys=1, hot_share=1.0, service_us=1, lease_size=100, lease_s=1.0
    )
    assert one_replica.replicas == 2
    assert one_replica.hot_units_per_trip == pytest.approx(1 + 10 / 2 / 2)


def test_a_lease_is_a_tenth_of_the_quota_at_most() -> None:
    assert estimate(lease_size=50, quota_per_key=100).lease_size == 10
    assert estimate(lease_size=50, quota_per_key=5).lease_size == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decisions_per_s", 0),
        ("decisions_per_s", math.nan),
        ("peak_factor", 0.5),
        ("active_keys", 0),
        ("limits_per_request", 0),
        ("limits_per_request", 1.5),
        ("algorithm", "guesswork"),
        ("units_per_key", -1),
        ("key_bytes", math.inf),
        ("refused_share", 1.1),
        ("socket_us", -1),
        ("service_us", 0),
        ("busy_share", 0),
        ("request_bytes", -1),
        ("http_bytes", -1),
        ("hot_keys", 0),
        ("hot_keys", 2e6),
        ("hot_share", -0.1),
        ("quota_per_key", 0),
        ("period_s", 0),
        ("lease_size", 0),
        ("lease_s", 0),
    ],
)
def test_an_assumption_that_cannot_be_is_refused_by_name(name: str, value: float | str) -> None:
    assumptions: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        estimate(**assumptions)


def test_a_log_that_no_rule_may_have_is_refused() -> None:
    with pytest.raises(ValueError, match="units_per_key"):
        estimate(algorithm="sliding_log", units_per_key=70_000)


@given(
    algorithm=st.sampled_from(ALGORITHM_NAMES),
    rate=st.floats(1, 1e7),
    keys=st.floats(1_000, 1e9),
    limits=st.integers(1, 20),
    hot=st.floats(0, 1),
    lease=st.integers(1, 1_000),
)
def test_twice_the_decisions_are_twice_the_cores_and_no_lease_makes_more_trips_than_none(
    algorithm: str, rate: float, keys: float, limits: int, hot: float, lease: int
) -> None:
    def at(decisions_per_s: float) -> Estimate:
        return estimate(
            algorithm=algorithm,
            decisions_per_s=decisions_per_s,
            active_keys=keys,
            limits_per_request=limits,
            hot_share=hot,
            lease_size=lease,
        )

    one, two = at(rate), at(2 * rate)
    assert two.redis_cores == pytest.approx(2 * one.redis_cores)
    assert two.replica_cores == pytest.approx(2 * one.replica_cores)
    assert two.shards >= one.shards >= 1
    assert 0 < one.trips_per_decision <= 1
    assert one.leased_shards <= one.shards
    assert one.memory_per_shard_bytes * one.shards == pytest.approx(one.memory_bytes)
    assert min(one.memory_bytes, one.local_fallback_units) > 0
    assert 0 <= one.overshoot_units <= one.replicas * one.lease_size


def test_every_algorithm_has_its_anchor() -> None:
    assert set(ANCHORS) == set(ALGORITHM_NAMES)
    assert all(anchor.script_us[1] <= anchor.script_us[0] for anchor in ANCHORS.values())


def test_the_table_prints_numbers_for_people() -> None:
    table = {row.figure: row.value for row in preset("interview classic").rows()}
    assert table["decisions at peak"] == "1 M /s"
    assert table["memory"] == "14.8 GB"
    assert table["keys"] == "100 M"
