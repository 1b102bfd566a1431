"""The proxy's own cost can be measured, and a round trip through it is one that went through it."""

from __future__ import annotations

import asyncio

from loadtests.faults.proxy.cost import cost


def test_the_cost_is_that_of_as_many_round_trips_each_way() -> None:
    measured = asyncio.run(asyncio.wait_for(cost(200, 2), 30))
    assert measured.round_trips == 200
    assert measured.direct_us > 0
    assert measured.proxy_cpu_us > 0
    assert measured.added_us == measured.through_proxy_us - measured.direct_us
