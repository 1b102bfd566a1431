"""What a process does without is known from its use, told once a change, and found out also where nobody uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from designs.building_blocks.dependencies import BELIEVED_S, LOOK_AGAIN_S, LOOK_EVERY_S, Dependency, keep_watch
from designs.building_blocks.telemetry import Telemetry
from tests.virtual_time import now_s, run


class Told:
    """A dependency on a clock that is moved, and all that was told of it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.changes: list[tuple[bool, float, Sequence[str]]] = []
        self.server = Dependency("redis", lambda: self.now_s, lambda name, bad, s, signals: self.changes.append((bad, s, signals)))


def test_a_server_that_nobody_had_trouble_with_is_well() -> None:
    told = Told()
    told.server.hear("clicks", True)
    told.server.probed(True)
    assert not told.server.degraded
    assert told.changes == []


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends_with_its_length() -> None:
    told = Told()
    told.now_s += 5
    for _ in range(100):
        told.server.hear("clicks", False)
        assert told.server.degraded
    told.now_s += 3.5
    for _ in range(100):
        told.server.hear("clicks", True)
        assert not told.server.degraded
    assert told.changes == [(True, 5.0, ["clicks"]), (False, 3.5, [])]


def test_it_is_well_again_only_when_all_that_failed_is() -> None:
    told = Told()
    told.server.hear("reads", False)
    told.server.hear("writes", False)
    told.server.hear("reads", True)
    assert told.server.bad_signals() == ["writes"]
    told.server.hear("writes", True)
    assert not told.server.degraded
    assert len(told.changes) == 2


def test_a_state_is_looked_at_when_somebody_asks() -> None:
    told, closed = Told(), [True]
    told.server.watch("shared_cache", lambda: closed[0])
    assert not told.server.degraded
    closed[0] = False
    assert told.server.bad_signals() == ["shared_cache"]
    told.server.probed(True)
    assert told.server.degraded, "a ping says nothing about what is watched"
    closed[0] = True
    assert not told.server.degraded


def test_a_good_probe_forgives_what_failed_a_while_ago_and_was_not_tried_since() -> None:
    told = Told()
    told.server.hear("clicks", False)
    told.now_s += BELIEVED_S / 2
    told.server.probed(True)
    assert told.server.degraded, "what fails just now outweighs a ping"
    told.now_s += BELIEVED_S
    told.server.probed(False)
    assert told.server.bad_signals() == ["clicks", "probe"]
    told.server.probed(True)
    assert not told.server.degraded


def test_the_metric_is_true_without_anybody_having_looked_before() -> None:
    told, telemetry, closed = Told(), Telemetry("toy", "1"), [True]
    telemetry.dependencies.append(told.server)
    told.server.watch("breaker", lambda: closed[0])

    def degraded() -> float | None:
        return telemetry.registry.get_sample_value("sd_degraded", {"dependency": "redis"})

    assert degraded() == 0
    closed[0] = False
    assert degraded() == 1
    assert len(told.changes) == 1
    closed[0] = True
    assert degraded() == 0


@pytest.mark.parametrize("up_again_s", [5.0, 7.4, 30.0])
def test_where_nobody_uses_a_server_its_end_and_its_return_are_found_out_all_the_same(up_again_s: float) -> None:
    async def scene() -> None:
        changes: list[tuple[float, bool]] = []
        server = Dependency("redis", now_s, lambda name, bad, lasted_s, signals: changes.append((now_s(), bad)))

        async def probe() -> None:
            server.probed(not 3.2 < now_s() < up_again_s)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keep_watch(server, probe), up_again_s + 10)
        (down_s, down), (up_s, still_down) = changes
        assert (down, still_down) == (True, False)
        assert 3.2 <= down_s <= 3.2 + LOOK_EVERY_S
        assert up_again_s <= up_s <= up_again_s + LOOK_AGAIN_S

    run(scene())
