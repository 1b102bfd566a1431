import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.kafka_retry import attempts_of, delay_after, delay_name, due_ms, put_off


@given(st.integers(0, 10), st.integers(1, 10**6), st.integers(0, 2**50))
def test_a_record_put_off_says_how_often_and_until_when_and_keeps_its_other_headers(times: int, delay: int, now: int) -> None:
    headers = {"traceparent": b"00-a-b-01"}
    for _ in range(times):
        headers = put_off(headers, delay, now)
    assert attempts_of(headers) == times
    assert due_ms(headers) == (now + delay if times else 0)
    assert headers["traceparent"] == b"00-a-b-01"


@pytest.mark.parametrize("junk", [b"", b"soon", b"-5", b"1e3", b"\xff"])
def test_a_header_that_says_nothing_sensible_means_at_once_and_never_before(junk: bytes) -> None:
    assert (attempts_of({"attempts": junk}), due_ms({"due-ms": junk})) == (0, 0)


def test_the_last_delay_is_that_of_every_later_try() -> None:
    assert [delay_after(attempts, (1_000, 10_000, 60_000)) for attempts in range(5)] == [1_000, 10_000, 60_000, 60_000, 60_000]


def test_delays_that_differ_have_names_that_differ() -> None:
    assert [delay_name(ms) for ms in (1_000, 10_000, 250, 1_500)] == ["1s", "10s", "250ms", "1500ms"]
