"""Each property is one check; the right design passes it and the known-bad variant beside it fails it."""

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice, pairwise
from random import Random
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.building_blocks.id_generation import (
    BASE62,
    ClockMovedBack,
    KeyedPermutation,
    LeaseCancelled,
    RangeLease,
    SequenceExhausted,
    Snowflake,
    decode_base62,
    encode_base62,
    hash_code,
    next_id,
    random_code,
)
from tests.known_bad.id_generation import (
    NonAtomicCounter,
    OverwritingTable,
    UncheckedSnowflake,
    byte_modulo_code,
    counter_code,
    md5_prefix_code,
    multiplied_code,
)

KEY, OTHER_KEY = b"0123456789abcdef", b"0123456789abcdeF"
CODES = 62**7

# --- base 62 ---


@given(st.integers(min_value=0, max_value=2**200), st.integers(min_value=0, max_value=40))
def test_a_number_survives_base_62_and_the_padding(number: int, length: int) -> None:
    code = encode_base62(number, length)
    assert decode_base62(code) == number
    assert len(code) >= max(length, 1)
    assert code == encode_base62(number).rjust(length, "0")


@given(st.integers(min_value=0, max_value=CODES - 1), st.integers(min_value=0, max_value=CODES - 1))
def test_codes_of_equal_length_sort_like_their_numbers(left: int, right: int) -> None:
    assert (encode_base62(left, 7) < encode_base62(right, 7)) == (left < right)


def test_base_62_in_the_head() -> None:
    assert [encode_base62(n) for n in (0, 9, 10, 61, 62, 62**7 - 1)] == ["0", "9", "A", "z", "10", "zzzzzzz"]
    assert encode_base62(61, 3) == "00z"
    assert encode_base62(62**3, 3) == "1000"


@pytest.mark.parametrize("code", ["", "ab-c", "a b", "é", "１", "abc\n", "+1", "_1"])
def test_what_is_not_base_62_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"code|symbol|letters"):
        decode_base62(code)


def test_there_is_no_code_for_a_negative_number() -> None:
    with pytest.raises(ValueError, match="-1"):
        encode_base62(-1)


# --- uniform codes ---

# Chi-square with 61 degrees of freedom exceeds this once in ten million (Wilson and Hilferty); the seeds are fixed.
CHI_SQUARE_LIMIT = 135.0


def biased_positions(codes: Sequence[str]) -> list[int]:
    """The positions whose symbols are too unevenly spread to be uniform."""
    expected = len(codes) / 62
    biased = []
    for position, symbols in enumerate(zip(*codes, strict=True)):
        seen = Counter(symbols)
        if sum((seen[symbol] - expected) ** 2 for symbol in BASE62) / expected > CHI_SQUARE_LIMIT:
            biased.append(position)
    return biased


URLS = [f"https://example.com/page/{n}" for n in range(40_000)]


def test_random_codes_are_uniform_at_every_position() -> None:
    draw = Random(1).randrange
    assert biased_positions([random_code(7, draw) for _ in URLS]) == []


@pytest.mark.parametrize(("length", "attempt"), [(7, 0), (7, 1), (32, 0)])
def test_hash_codes_are_uniform_at_every_position(length: int, attempt: int) -> None:
    assert biased_positions([hash_code(url, length, attempt) for url in URLS]) == []


def test_permuted_consecutive_numbers_are_uniform_at_every_position() -> None:
    permutation = KeyedPermutation(CODES, KEY)
    assert biased_positions([encode_base62(permutation.encode(n), 7) for n in range(len(URLS))]) == []


def test_known_bad_the_prefix_of_a_base_62_digest_is_biased_at_its_leading_symbols() -> None:
    codes = [md5_prefix_code(url, 7) for url in URLS]
    assert biased_positions(codes) == [0, 1]
    assert sum(code[0] in "1234567" for code in codes) > 0.85 * len(codes)


def test_known_bad_bytes_modulo_62_are_biased_everywhere() -> None:
    draw = Random(1).randbytes
    assert biased_positions([byte_modulo_code(7, draw) for _ in URLS]) == [0, 1, 2, 3, 4, 5, 6]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 32), st.integers(0, 9))
def test_a_hash_code_has_its_length_and_depends_on_nothing_but_its_arguments(text: str, length: int, attempt: int) -> None:
    code = hash_code(text, length, attempt)
    assert len(code) == length
    assert set(code) <= set(BASE62)
    assert code == hash_code(text, length, attempt)


def test_each_attempt_at_a_hash_code_is_another_code() -> None:
    assert len({hash_code(URLS[0], 7, attempt) for attempt in range(1_000)}) == 1_000


def test_attempts_and_texts_do_not_run_into_each_other() -> None:
    assert hash_code("2x", 7, 1) != hash_code("x", 7, 12)


def test_a_random_code_reaches_both_ends_of_the_code_space() -> None:
    assert random_code(4, lambda _: 0) == "0000"
    assert random_code(4, lambda bound: bound - 1) == "zzzz"
    assert len(random_code(7)) == 7


def test_codes_of_no_symbols_or_of_more_than_a_hash_can_fill_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one symbol"):
        random_code(0)
    with pytest.raises(ValueError, match="at least one symbol"):
        hash_code("x", 0)
    with pytest.raises(ValueError, match="at most 32"):
        hash_code("x", 33)


# --- an attacker guesses the next code ---


def predicted_codes(codes: Sequence[str]) -> int:
    """How many codes an attacker guessed who takes the last difference for the next one."""
    numbers = [decode_base62(code) for code in codes]
    return sum((2 * b - a) % CODES == c for a, b, c in zip(numbers, numbers[1:], numbers[2:], strict=False))


def test_an_attacker_does_not_predict_the_next_permuted_or_random_code() -> None:
    permutation = KeyedPermutation(CODES, KEY)
    draw = Random(2).randrange
    assert predicted_codes([encode_base62(permutation.encode(n), 7) for n in range(5_000)]) == 0
    assert predicted_codes([random_code(7, draw) for _ in range(5_000)]) == 0


@pytest.mark.parametrize("known_bad", [counter_code, multiplied_code])
def test_known_bad_an_attacker_predicts_the_next_code(known_bad: Callable[[int, int], str]) -> None:
    assert predicted_codes([known_bad(n, 7) for n in range(1_000, 2_000)]) == 998


# --- keyed permutation ---


@pytest.mark.parametrize("size", [2, 3, 4, 5, 16, 17, 255, 1_000, 2**13, 2**13 + 1, 2**14, 40_000])
def test_a_keyed_permutation_is_a_bijection_of_the_whole_domain(size: int) -> None:
    permutation = KeyedPermutation(size, KEY)
    assert {permutation.encode(n) for n in range(size)} == set(range(size))
    step = max(1, size // 5_000)
    assert all(permutation.decode(permutation.encode(n)) == n for n in range(0, size, step))


@settings(deadline=None)
@given(st.data(), st.integers(4, 10), st.binary(min_size=16, max_size=64))
def test_what_is_encoded_lies_in_the_code_space_and_decodes_to_itself(data: st.DataObject, length: int, key: bytes) -> None:
    permutation = KeyedPermutation(62**length, key)
    number = data.draw(st.integers(0, 62**length - 1))
    code = permutation.encode(number)
    assert 0 <= code < 62**length
    assert permutation.decode(code) == number
    assert permutation.encode(permutation.decode(number)) == number


def test_a_new_key_changes_nearly_everything() -> None:
    old, new = KeyedPermutation(CODES, KEY), KeyedPermutation(CODES, OTHER_KEY)
    assert sum(old.encode(n) == new.encode(n) for n in range(10_000)) == 0


def test_consecutive_numbers_show_no_repeated_difference() -> None:
    permutation = KeyedPermutation(CODES, KEY)
    codes = [permutation.encode(n) for n in range(5_001)]
    assert len({(b - a) % CODES for a, b in pairwise(codes)}) == 5_000


def test_the_rounds_differ_so_that_a_code_with_its_halves_swapped_does_not_lead_back() -> None:
    permutation = KeyedPermutation(2**32, KEY)

    def swapped(number: int) -> int:
        return (number & 0xFFFF) << 16 | number >> 16

    # With equal rounds, decoding is encoding between two swaps: each code would give its number away.
    assert sum(swapped(permutation.encode(swapped(permutation.encode(n)))) == n for n in range(1_000)) == 0


def test_a_number_outside_the_domain_a_short_key_and_an_empty_domain_are_refused() -> None:
    permutation = KeyedPermutation(CODES, KEY)
    for number in (-1, CODES):
        with pytest.raises(ValueError, match="outside"):
            permutation.encode(number)
        with pytest.raises(ValueError, match="outside"):
            permutation.decode(number)
    for key in (b"", b"short", b"x" * 65):
        with pytest.raises(ValueError, match="16 to 64 bytes"):
            KeyedPermutation(CODES, key)
    with pytest.raises(ValueError, match="at least 2"):
        KeyedPermutation(1, KEY)
    with pytest.raises(ValueError, match="1024 bits"):
        KeyedPermutation(2**1024 + 1, KEY)


# --- ranges leased from a counter ---


class LeaseCounter:
    """The shared counter: each lease is atomic, and its request and its answer take a seeded number of turns."""

    def __init__(self, value: int = 0, seed: int = 0) -> None:
        self.value = value
        self.leases = 0
        self.under_way = 0
        self.most_under_way = 0
        self._random = Random(seed)

    async def lease(self, size: int) -> int:
        self.leases += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await turns(self._random.randrange(4))
            low, self.value = self.value, self.value + size
            await turns(self._random.randrange(4))
            return low
        finally:
            self.under_way -= 1


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def take(ids: RangeLease, count: int) -> list[int]:
    return [await ids.next() for _ in range(count)]


async def take_from_processes(lease: Callable[[int], Awaitable[int]], processes: int, size: int) -> list[int]:
    """Several processes, each with a few callers at a time, draw numbers from one counter."""
    owners = [RangeLease(lease, size) for _ in range(processes)]
    drawn = await asyncio.gather(*(take(owner, 7) for owner in owners for _ in range(3)))
    return [number for numbers in drawn for number in numbers]


def repeated(numbers: Iterable[int]) -> set[int]:
    return {number for number, count in Counter(numbers).items() if count > 1}


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**32))
def test_processes_on_one_counter_never_get_the_same_number(processes: int, size: int, seed: int) -> None:
    counter = LeaseCounter(seed=seed)
    numbers = asyncio.run(take_from_processes(counter.lease, processes, size))
    assert len(numbers) == processes * 3 * 7
    assert repeated(numbers) == set()


def test_known_bad_a_counter_read_and_written_in_two_steps_gives_a_number_twice() -> None:
    assert repeated(asyncio.run(take_from_processes(NonAtomicCounter().lease, 3, 10))) != set()


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 30), st.integers(0, 2**32))
def test_callers_who_wait_share_one_lease_and_nobody_is_lost(size: int, callers: int, seed: int) -> None:
    counter = LeaseCounter(seed=seed)

    async def run() -> list[int]:
        ids = RangeLease(counter.lease, size)
        return await asyncio.gather(*(ids.next() for _ in range(callers)))

    assert sorted(asyncio.run(run())) == list(range(callers))
    assert counter.most_under_way == 1
    assert counter.leases == math.ceil(callers / size)


def test_a_counter_per_id_lets_its_callers_ask_side_by_side() -> None:
    counter = LeaseCounter()

    async def run() -> list[int]:
        ids = RangeLease(counter.lease, 1)
        return await asyncio.gather(*(ids.next() for _ in range(10)))

    assert sorted(asyncio.run(run())) == list(range(10))
    assert counter.most_under_way == 10


@settings(deadline=None)
@given(st.integers(1, 50), st.lists(st.integers(0, 120), min_size=1, max_size=8))
def test_a_crash_loses_at_most_one_range(size: int, drawn_before_each_crash: list[int]) -> None:
    counter = LeaseCounter()
    for drawn in drawn_before_each_crash:
        before = counter.value
        numbers = asyncio.run(take(RangeLease(counter.lease, size), drawn))
        assert counter.value - before - len(numbers) < size
        assert numbers == list(range(before, before + drawn))


def test_all_who_wait_see_a_failed_lease_and_the_next_call_leases_again() -> None:
    async def run() -> None:
        broken = [True]

        async def lease(size: int) -> int:
            await asyncio.sleep(0)
            if broken[0]:
                raise ConnectionError("the counter is away")
            return 100

        ids = RangeLease(lease, 10)
        failed = await asyncio.gather(*(ids.next() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in failed] == [ConnectionError] * 3
        broken[0] = False
        assert await ids.next() == 100

    asyncio.run(run())


def test_a_caller_who_gives_up_takes_nobody_along_and_loses_no_number() -> None:
    async def run() -> None:
        counter = LeaseCounter()
        answer = asyncio.Event()

        async def lease(size: int) -> int:
            await answer.wait()
            return await counter.lease(size)

        ids = RangeLease(lease, 10)
        first, second, third = (asyncio.create_task(ids.next()) for _ in range(3))
        await turns(2)
        first.cancel()
        await turns(2)
        assert first.cancelled()
        answer.set()
        assert [await second, await third, await ids.next()] == [0, 1, 2]
        assert counter.leases == 1

    asyncio.run(run())


def test_a_cancelled_lease_tells_those_who_wait_and_wedges_nobody() -> None:
    async def run() -> None:
        cancelled = [True]

        async def lease(size: int) -> int:
            await asyncio.sleep(0)
            if cancelled[0]:
                raise asyncio.CancelledError
            return 7

        ids = RangeLease(lease, 10)
        failed = await asyncio.gather(*(ids.next() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in failed] == [LeaseCancelled] * 3
        cancelled[0] = False
        assert await ids.next() == 7

    asyncio.run(run())


def test_a_lease_that_fails_after_everybody_left_is_not_reported_as_forgotten() -> None:
    async def run() -> list[dict[str, object]]:
        forgotten: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(context))
        answer = asyncio.Event()

        async def lease(size: int) -> int:
            await answer.wait()
            raise ConnectionError("the counter is away")

        caller = asyncio.create_task(RangeLease(lease, 10).next())
        await turns(2)
        caller.cancel()
        await turns(2)
        answer.set()
        await turns(4)
        # The loop reports a forgotten error when its task is collected.
        del caller
        gc.collect()
        return forgotten

    assert asyncio.run(run()) == []


def test_a_range_of_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one number"):
        RangeLease(LeaseCounter().lease, 0)


# --- an old counter is restored ---


class Table(Protocol):
    rows: dict[int, str]

    async def insert_if_absent(self, number: int, url: str) -> bool: ...


class InsertIfAbsentTable:
    def __init__(self) -> None:
        self.rows: dict[int, str] = {}

    async def insert_if_absent(self, number: int, url: str) -> bool:
        await asyncio.sleep(0)
        if number in self.rows:
            return False
        self.rows[number] = url
        return True


async def create(table: Table, ids: RangeLease, url: str) -> tuple[int, int]:
    """The number the link got, and how many refusals that took."""
    for refusals in range(10_000):
        number = await ids.next()
        if await table.insert_if_absent(number, url):
            ids.accepted()
            return number, refusals
        ids.collided(number)
    raise AssertionError("the rollback was not escaped")


async def lost_after_restore(table: Table, size: int, rollback: int, seed: int) -> int:
    """How many links lost their code to another, when the counter falls back while processes create links."""
    counter = LeaseCounter(seed=seed)
    processes = [RangeLease(counter.lease, size) for _ in range(3)]
    made: dict[str, int] = {}

    async def client(name: str, ids: RangeLease, links: int) -> None:
        for n in range(links):
            made[f"{name}/{n}"], _ = await create(table, ids, f"{name}/{n}")

    await asyncio.gather(*(client(f"before/{i}", ids, 40) for i, ids in enumerate(processes)))
    counter.value = max(0, counter.value - rollback)
    both = [(i, ids, j) for i, ids in enumerate(processes) for j in range(3)]
    await asyncio.gather(*(client(f"after/{i}/{j}", ids, 15) for i, ids, j in both))
    assert len(made) == 3 * 40 + 9 * 15
    return sum(table.rows[number] != url for url, number in made.items())


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(0, 150), st.integers(0, 2**32))
def test_after_an_old_counter_is_restored_no_code_is_given_twice(size: int, rollback: int, seed: int) -> None:
    assert asyncio.run(lost_after_restore(InsertIfAbsentTable(), size, rollback, seed)) == 0


def test_known_bad_without_insert_if_absent_a_restored_counter_overwrites_links() -> None:
    assert asyncio.run(lost_after_restore(OverwritingTable(), 10, 100, seed=1)) > 0


class SpentTable(InsertIfAbsentTable):
    """All numbers below `spent` are taken, without keeping a row for each."""

    def __init__(self, spent: int) -> None:
        super().__init__()
        self.spent = spent

    async def insert_if_absent(self, number: int, url: str) -> bool:
        return number >= self.spent and await super().insert_if_absent(number, url)


@settings(deadline=None)
@given(st.integers(1, 2_000), st.integers(1, 10**9))
def test_a_rollback_of_n_numbers_is_escaped_in_log_n_refusals_for_fewer_than_2n_numbers(size: int, rolled_back: int) -> None:
    async def run() -> None:
        counter = LeaseCounter()
        ids = RangeLease(counter.lease, size)
        _, refusals = await create(SpentTable(rolled_back), ids, "x")
        assert refusals <= max(0, math.ceil(math.log2(rolled_back / size))) + 1
        assert counter.value - (refusals + 1) * size < max(2 * rolled_back, size + 1)

    asyncio.run(run())


@settings(deadline=None)
@given(st.sampled_from([1, 5, 100]), st.integers(1, 40), st.integers(0, 2**32))
def test_many_callers_at_once_skip_no_further_than_one_would(size: int, callers: int, seed: int) -> None:
    spent = 10_000

    async def run() -> None:
        counter = LeaseCounter(seed=seed)
        ids = RangeLease(counter.lease, size)
        table = SpentTable(spent)
        refusals = [refused for _, refused in await asyncio.gather(*(create(table, ids, "x") for _ in range(callers)))]
        # Each holds a number of its own from the same spent range, and their refusals count as one collision:
        # doubling for each of 40 would skip 2**40 numbers.
        assert max(refusals) <= math.ceil(math.log2(spent / size)) + 3
        assert counter.value < 4 * spent

    asyncio.run(run())


def test_an_accepted_number_ends_the_gallop() -> None:
    async def run() -> None:
        counter = LeaseCounter()
        ids = RangeLease(counter.lease, 10)
        await create(SpentTable(1_000), ids, "x")
        before = counter.value
        await take(ids, 9)
        assert counter.value == before
        assert await ids.next() == before
        assert counter.value == before + 10

    asyncio.run(run())


def test_a_skip_never_grows_beyond_its_limit() -> None:
    async def run() -> None:
        counter = LeaseCounter()
        ids = RangeLease(counter.lease, 10)
        for _ in range(60):
            ids.collided(await ids.next())
        before = counter.value
        await ids.next()
        assert counter.value - before == RangeLease.MAX_SKIP + 10

    asyncio.run(run())


def test_a_range_on_its_way_while_another_collides_is_not_used() -> None:
    async def run() -> None:
        counter = LeaseCounter()
        answers = asyncio.Semaphore(1)

        async def lease(size: int) -> int:
            low = await counter.lease(size)
            await answers.acquire()
            return low

        ids = RangeLease(lease, 2)
        spent = await take(ids, 2)
        waiting = asyncio.create_task(ids.next())
        while counter.value < 4:
            await turns(1)
        ids.collided(spent[0])
        ids.collided(spent[1])
        answers.release()
        answers.release()
        # [2, 4) was under way and is dropped; the lease after it is [4, 8) and skips 2.
        assert await waiting == 6

    asyncio.run(run())


# --- snowflake ---


class MovedClock:
    def __init__(self, now_ms: int = Snowflake.EPOCH_MS + 1_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    async def sleep(self, delay_s: float) -> None:
        self.now_ms += round(delay_s * 1_000)


# Each step: how the clock moves, how many ids are asked for, whether the process restarts first.
STEPS = st.lists(st.tuples(st.integers(-20, 20), st.sampled_from([1, 2, 50, 4_096, 4_097]), st.booleans()), min_size=1, max_size=12)


def ids_made(make: type[Snowflake], steps: Iterable[tuple[int, int, bool]]) -> list[int]:
    clock = MovedClock()
    snowflake = make(5, clock)
    used_until_ms = clock.now_ms
    made = []
    for move_ms, wanted, restarted in steps:
        used_until_ms = max(used_until_ms, clock.now_ms)
        clock.now_ms += move_ms
        if restarted:
            snowflake = make(5, clock, used_until_ms=used_until_ms)
        for _ in range(wanted):
            try:
                made.append(snowflake.next())
            except (ClockMovedBack, SequenceExhausted):
                break
    return made


def strictly_rising(ids: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(ids))


@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_snowflakes_rise_strictly_through_full_milliseconds_steps_back_and_restarts(steps: list[tuple[int, int, bool]]) -> None:
    assert strictly_rising(ids_made(Snowflake, steps))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([(1, 50, False), (-1, 50, False), (1, 50, False)], id="clock steps back"),
        pytest.param([(1, 4_097, False)], id="more than 4,096 in a millisecond"),
        pytest.param([(1, 50, False), (0, 50, True)], id="restart in the same millisecond"),
    ],
)
def test_known_bad_a_snowflake_without_a_clock_check_repeats_ids(steps: list[tuple[int, int, bool]]) -> None:
    made = ids_made(UncheckedSnowflake, steps)
    assert not strictly_rising(made)
    assert repeated(made) != set()
    assert strictly_rising(ids_made(Snowflake, steps))


def test_a_snowflake_is_time_then_worker_then_sequence() -> None:
    clock = MovedClock()
    snowflake = Snowflake(777, clock)
    clock.now_ms += 5
    parts = [(id >> 22, id >> 12 & 1_023, id & 4_095) for id in (snowflake.next(), snowflake.next())]
    assert parts == [(1_000_005, 777, 0), (1_000_005, 777, 1)]


def test_two_workers_on_one_clock_never_make_the_same_id() -> None:
    clock = MovedClock()
    workers = [Snowflake(n, clock) for n in (0, 1, 1_023)]
    clock.now_ms += 1
    assert repeated(worker.next() for worker in workers for _ in range(1_000)) == set()


def test_the_4097th_id_of_a_millisecond_is_refused_not_wrapped() -> None:
    clock = MovedClock()
    snowflake = Snowflake(1, clock)
    clock.now_ms += 1
    assert len({snowflake.next() for _ in range(4_096)}) == 4_096
    with pytest.raises(SequenceExhausted):
        snowflake.next()
    clock.now_ms += 1
    assert snowflake.next() & 4_095 == 0


def test_a_clock_that_moved_back_says_by_how_much() -> None:
    clock = MovedClock()
    snowflake = Snowflake(1, clock)
    clock.now_ms -= 42
    with pytest.raises(ClockMovedBack) as caught:
        snowflake.next()
    assert caught.value.back_ms == 42


def test_a_worker_or_a_time_that_does_not_fit_its_bits_is_refused() -> None:
    for worker in (-1, 1_024):
        with pytest.raises(ValueError, match="from 0 to 1023"):
            Snowflake(worker, MovedClock())
    for now_ms in (Snowflake.EPOCH_MS - 1, Snowflake.EPOCH_MS + 2**41):
        with pytest.raises(OverflowError, match="41 bits"):
            Snowflake(1, MovedClock(now_ms)).next()


def test_waiting_for_ids_goes_through_full_milliseconds_without_a_repeat() -> None:
    async def run() -> list[int]:
        clock = MovedClock()
        snowflake = Snowflake(1, clock)
        return [await next_id(snowflake, clock.sleep) for _ in range(10_000)]

    made = asyncio.run(run())
    assert strictly_rising(made)
    assert made[-1] >> 22 == (made[0] >> 22) + 2


@settings(deadline=None)
@given(st.integers(1, 10_000))
def test_a_step_back_is_waited_out_up_to_five_seconds(back_ms: int) -> None:
    async def run() -> None:
        clock = MovedClock()
        snowflake = Snowflake(1, clock)
        before = await next_id(snowflake, clock.sleep)
        clock.now_ms -= back_ms
        stepped_back_ms = clock.now_ms
        if back_ms <= 5_000:
            assert await next_id(snowflake, clock.sleep) > before
        else:
            with pytest.raises(ClockMovedBack):
                await next_id(snowflake, clock.sleep)
            assert clock.now_ms == stepped_back_ms

    asyncio.run(run())


def test_a_clock_that_stands_still_is_not_waited_for_forever() -> None:
    async def run() -> None:
        clock = MovedClock()
        waits: list[float] = []

        async def sleep(delay_s: float) -> None:
            waits.append(delay_s)

        snowflake = Snowflake(1, clock)
        with pytest.raises(SequenceExhausted):
            await next_id(snowflake, sleep)
        assert round(sum(waits) * 1_000) == 5_001
        clock.now_ms -= 3_000
        waits.clear()
        with pytest.raises(ClockMovedBack):
            await next_id(snowflake, sleep)
        assert list(islice(waits, 3)) == [3.0, 3.0]

    asyncio.run(run())
