from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from designs.url_shortener.miss_limit import MissLimit


class Seconds:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def misses(limit: MissLimit, client: str, tries: int) -> int:
    """How many of the tries get through and miss."""
    let_through = 0
    for _ in range(tries):
        if limit.wait_s(client) == 0:
            limit.missed(client)
            let_through += 1
    return let_through


def test_a_client_may_miss_so_often_at_once_and_others_are_not_concerned() -> None:
    limit = MissLimit(60, Seconds())
    assert misses(limit, "scanner", 100) == 60
    assert limit.wait_s("scanner") > 0
    assert limit.wait_s("neighbour") == 0


def test_after_the_wait_it_was_told_a_client_may_miss_once_more() -> None:
    clock = Seconds()
    limit = MissLimit(60, clock)
    misses(limit, "scanner", 60)
    wait_s = limit.wait_s("scanner")
    clock.now_s += wait_s * 0.99
    assert limit.wait_s("scanner") > 0
    clock.now_s += wait_s * 0.02
    assert misses(limit, "scanner", 5) == 1


def test_a_host_that_chooses_a_new_address_in_its_network_for_each_request_stays_one_client() -> None:
    limit = MissLimit(60, Seconds())
    assert sum(misses(limit, f"2001:db8:1:2::{host:x}", 1) for host in range(100)) == 60
    assert limit.wait_s("2001:db8:1:3::1") == 0
    assert limit.wait_s("192.0.2.1") == 0


def test_no_limit_never_waits() -> None:
    assert misses(MissLimit(0, Seconds()), "scanner", 1_000) == 1_000


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=50))
def test_in_no_minute_a_client_misses_more_than_twice_its_rate(per_minute: int, pauses_s: list[float]) -> None:
    clock = Seconds()
    limit = MissLimit(per_minute, clock)
    missed_at_s: list[float] = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        missed_at_s += [clock.now_s] * misses(limit, "scanner", 3)
    for start_s in missed_at_s:
        # A full bucket, and what is refilled within the minute.
        assert sum(start_s <= at_s < start_s + 60 for at_s in missed_at_s) <= 2 * per_minute


def test_the_memory_of_clients_is_bounded_and_drops_the_one_that_was_quiet_longest() -> None:
    limit = MissLimit(1, Seconds(), max_clients=2)
    for client in ("a", "b", "a", "c"):
        limit.missed(client)
    assert limit.wait_s("a") > 0
    assert limit.wait_s("b") == 0
    assert limit.wait_s("c") > 0
