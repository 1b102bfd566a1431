"""Envoy's rate limit service, asked by a real gRPC client over a real connection, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import grpc
import pytest
import uvloop
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter import envoy_service
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.envoy_service import MAX_BYTES, MAX_DESCRIPTORS, MAX_ENTRIES, EnvoyService, Refused, call_of, serve
from designs.rate_limiter.limiter import Limiter, Request
from designs.rate_limiter.limits import Limit
from designs.rate_limiter.ports import Demand, StoreError, Taken
from designs.rate_limiter.rule_file import MAX_TOGETHER
from designs.rate_limiter.rules import Domain, Rule, RuleSet

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
UNIT = rls_pb2.RateLimitResponse.RateLimit
NOW_US = 1_800_000_000_000_000
SECOND_US, MINUTE_US = 1_000_000, 60_000_000
RULES = (
    Rule("per-user", {"user": "*"}, Limit("gcra", 5, MINUTE_US, 5)),
    Rule("per-tenant", {"tenant": "*"}, Limit("fixed_window", 2, SECOND_US, 2), tiers={"pro": Limit("gcra", 9, SECOND_US, 9)}),
    Rule("odd-period", {"ip": "*"}, Limit("gcra", 100, 10 * SECOND_US, 7)),
    Rule("tried-out", {"route": "*"}, Limit("gcra", 1, MINUTE_US, 1), mode="shadow"),
    Rule("login", {"user": "*", "route": "/login"}, Limit("gcra", 1, MINUTE_US, 1), on_store_down="closed"),
    Rule("search", {"user": "*", "route": "/search"}, Limit("gcra", 1, MINUTE_US, 1), on_store_down="open"),
    Rule("two", {"pair": "*"}, Limit("gcra", 3, MINUTE_US, 3)),
    Rule("two-daily", {"pair": "*"}, Limit("gcra", 2, 1440 * MINUTE_US, 2)),
)

Entries = dict[str, str]


class Clock:
    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


class CountedStore(MemoryLimitStore):
    """Memory that can be away, or slow until it is let go on, and knows how often it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.takes = 0
        self.away = False
        self.held: asyncio.Event | None = None
        self.error: Exception | None = None
        self._came = asyncio.Semaphore(0)

    async def asked(self, times: int) -> None:
        """Returns when it has been asked so often."""
        for _ in range(times):
            await self._came.acquire()

    async def take(self, demands: Sequence[Demand]) -> Taken:
        self.takes += 1
        self._came.release()
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            raise self.error
        if self.away:
            raise StoreError("gone", may_have_happened=False)
        return await super().take(demands)


class Asking:
    """A service and a client of it."""

    def __init__(self, service: EnvoyService, limiter: Limiter, store: CountedStore, clock: Clock, channel: grpc.aio.Channel):
        self.service, self.limiter, self.store, self.clock, self.channel = service, limiter, store, clock, channel
        self.stub = rls_pb2_grpc.RateLimitServiceStub(channel)

    async def ask(
        self, *descriptors: Entries, hits: int = 0, domain: str = "demo", metadata: Any = None
    ) -> rls_pb2.RateLimitResponse:
        return await self.stub.ShouldRateLimit(request(*descriptors, hits=hits, domain=domain), metadata=metadata, timeout=10)

    async def raw(self, raw: bytes, path: str = f"/{envoy_service.SERVICE}/ShouldRateLimit") -> bytes:
        return bytes(await self.channel.unary_unary(path)(raw, timeout=10))

    async def codes(self, *descriptors: Entries, times: int) -> list[int]:
        return [(await self.ask(*descriptors)).overall_code for _ in range(times)]


def request(*descriptors: Entries, hits: int = 0, domain: str = "demo") -> rls_pb2.RateLimitRequest:
    call = rls_pb2.RateLimitRequest(domain=domain, hits_addend=hits)
    for entries in descriptors:
        descriptor = call.descriptors.add()
        for key, value in entries.items():
            descriptor.entries.add(key=key, value=value)
    return call


@contextlib.asynccontextmanager
async def asking(**options: Any) -> AsyncIterator[Asking]:
    clock = Clock()
    store = CountedStore(clock)
    limiter = Limiter(store, MemoryLimitStore(clock), lambda: RuleSet({"demo": Domain("demo", RULES)}, "1"))
    service = await serve(limiter, **options)
    try:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{service.port}", options=[("grpc.max_send_message_length", -1)]
        ) as channel:
            yield Asking(service, limiter, store, clock, channel)
    finally:
        await service.stop(0)


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both loops, one after the other in one process."""
    chosen: Run = request.param
    return chosen


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


def headers(response: rls_pb2.RateLimitResponse) -> dict[str, str]:
    return {header.key: header.value for header in response.response_headers_to_add}


def test_exactly_the_limit_passes_and_the_rest_is_told_when_to_come_back(run: Run) -> None:
    async def scene() -> None:
        async with asking() as here:
            assert await here.codes({"user": "u1"}, times=8) == [OK] * 5 + [OVER_LIMIT] * 3
            assert await here.codes({"user": "u2"}, times=1) == [OK]
            over = await here.ask({"user": "u1"})
            assert headers(over)["retry-after"] == "12"
            assert headers(over)["ratelimit"] == '"per-user";r=0;t=12'
            assert headers(over)["cache-control"] == "no-store"
            here.clock.now_us += 12 * SECOND_US
            assert await here.codes({"user": "u1"}, times=2) == [OK, OVER_LIMIT]
            assert here.service.calls == {"OK": 7, "OVER_LIMIT": 5}

    run(scene())


def test_a_status_says_of_each_descriptor_what_its_limit_is_and_what_is_left() -> None:
    async def scene() -> None:
        async with asking() as here:
            said = await here.ask({"user": "u1"}, {"ip": "192.0.2.1"}, {"nobody": "knows"}, {"route": "/x"})
            user, ip, unknown, shadow = said.statuses
            assert (user.code, user.limit_remaining, user.duration_until_reset.ToSeconds()) == (OK, 4, 12)
            assert (user.current_limit.name, user.current_limit.requests_per_unit, user.current_limit.unit) == (
                "per-user",
                5,
                UNIT.MINUTE,
            )
            # 100 in ten seconds is no number in any of Envoy's units.
            assert (ip.code, ip.limit_remaining, ip.HasField("current_limit")) == (OK, 6, False)
            assert unknown == shadow == rls_pb2.RateLimitResponse.DescriptorStatus(code=OK)

    asyncio.run(scene())


def test_of_two_limits_on_one_descriptor_the_nearer_one_is_told() -> None:
    async def scene() -> None:
        async with asking() as here:
            said = [(await here.ask({"pair": "p"})).statuses[0] for _ in range(3)]
            assert [(one.current_limit.name, one.limit_remaining, one.code) for one in said] == [
                ("two-daily", 1, OK),
                ("two-daily", 0, OK),
                ("two-daily", 0, OVER_LIMIT),
            ]

    asyncio.run(scene())


def test_one_descriptor_that_is_over_refuses_the_request_and_nothing_is_taken_from_the_others() -> None:
    async def scene() -> None:
        async with asking() as here:
            assert await here.codes({"tenant": "acme"}, times=2) == [OK, OK]
            both = await here.ask({"user": "u1"}, {"tenant": "acme"})
            assert both.overall_code == OVER_LIMIT
            assert [status.code for status in both.statuses] == [OK, OVER_LIMIT]
            assert await here.codes({"user": "u1"}, times=6) == [OK] * 5 + [OVER_LIMIT]

    asyncio.run(scene())


def test_all_descriptors_are_one_round_trip() -> None:
    async def scene() -> None:
        async with asking() as here:
            await here.ask({"user": "u1"}, {"user": "u2"}, {"tenant": "t"}, {"ip": "i"}, {"pair": "p"}, {"user": "u1"})
            assert here.store.takes == 1

    asyncio.run(scene())


def test_hits_are_one_unless_the_call_or_the_descriptor_says_otherwise_and_none_only_reads() -> None:
    async def scene() -> None:
        async with asking() as here:
            assert (await here.ask({"user": "a"}, hits=3)).statuses[0].limit_remaining == 2
            call = request({"user": "b"}, {"user": "c"}, {"user": "d"}, hits=2)
            call.descriptors[1].hits_addend.value = 4
            call.descriptors[2].hits_addend.value = 0
            said = await here.stub.ShouldRateLimit(call)
            assert [status.limit_remaining for status in said.statuses] == [3, 1, 5]
            # A descriptor that comes twice costs twice, as if it had come in two calls.
            assert [status.limit_remaining for status in (await here.ask({"user": "e"}, {"user": "e"})).statuses] == [3, 3]
            assert (await here.ask({"user": "f"}, hits=6)).overall_code == OVER_LIMIT
            assert "retry-after" not in headers(await here.ask({"user": "f"}, hits=6))

    asyncio.run(scene())


def test_a_domain_that_nobody_has_is_ok_without_a_limit_and_the_store_is_not_asked() -> None:
    async def scene() -> None:
        async with asking() as here:
            said = await here.ask({"user": "u1"}, domain="elsewhere")
            assert (said.overall_code, list(said.statuses)) == (OK, [rls_pb2.RateLimitResponse.DescriptorStatus(code=OK)])
            assert here.store.takes == 0
            assert here.limiter.totals.unmatched == 1

    asyncio.run(scene())


def test_more_rules_than_one_round_trip_decides_are_over_limit_and_no_error_that_lets_through() -> None:
    async def scene() -> None:
        async with asking() as here:
            most = [{"user": str(n)} for n in range(MAX_TOGETHER - 2)]
            assert (await here.ask(*most, {"pair": "p"})).overall_code == OK
            over = await here.ask(*most, {"pair": "p"}, {"tenant": "t"})
            assert (over.overall_code, len(over.statuses)) == (OVER_LIMIT, MAX_TOGETHER)
            assert here.store.takes == 1
            assert here.service.calls == {"OK": 1, "TOO_MANY_RULES": 1}

    asyncio.run(scene())


def test_both_doors_count_one_limit() -> None:
    async def scene() -> None:
        async with asking() as here:
            for _ in range(3):
                assert (await here.limiter.check(Request("demo", {"user": "u1"}))).allowed
            assert await here.codes({"user": "u1"}, times=3) == [OK, OK, OVER_LIMIT]
            assert here.limiter.totals.decisions["demo", "per-user", "allowed"] == 5

    asyncio.run(scene())


def test_a_refusal_is_a_problem_document_for_envoys_client_without_what_shadow_rules_say() -> None:
    async def scene() -> None:
        async with asking() as here:
            await here.codes({"user": "u1"}, {"route": "/x"}, times=5)
            over = await here.ask({"user": "u1"}, {"route": "/x"})
            assert headers(over)["content-type"] == "application/problem+json"
            document = json.loads(over.raw_body)
            assert document["type"].endswith("quota-exceeded")
            assert document["violated-policies"] == ["per-user"]
            assert b"tried-out" not in over.SerializeToString()
            assert "status" not in document  # it is Envoy that chooses it
            assert (await here.ask({"user": "u2"})).raw_body == b""

    asyncio.run(scene())


def test_while_the_store_is_away_each_rule_decides_and_a_closed_one_is_over_limit() -> None:
    async def scene() -> None:
        async with asking() as here:
            here.store.away = True
            closed = await here.ask({"user": "u1", "route": "/login"})
            assert closed.overall_code == OVER_LIMIT
            assert json.loads(closed.raw_body)["type"].endswith("temporary-reduced-capacity")
            assert headers(closed)["retry-after"] == "1"
            assert await here.codes({"user": "u1", "route": "/search"}, times=3) == [OK] * 3
            assert await here.codes({"user": "u1"}, times=6) == [OK] * 5 + [OVER_LIMIT]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (request({"user": "u1"}, domain=""), "names no domain"),
        (request(), "from 1 to 16 descriptors, this one has 0"),
        (request(*[{"user": "u1"}] * (MAX_DESCRIPTORS + 1)), "this one has 17"),
        (request({}), "descriptor 0 has 0 entries"),
        (request({"user": "u1"}, {f"key{n}": "" for n in range(MAX_ENTRIES + 1)}), "descriptor 1 has 17 entries"),
        (request({"": "u1"}), "without a key"),
    ],
)
def test_what_only_a_wrong_configuration_can_ask_is_refused_with_a_sentence(call: rls_pb2.RateLimitRequest, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as error:
        call_of(call.SerializeToString())
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_limit_that_a_descriptor_brings_and_a_key_that_comes_twice_are_refused() -> None:
    own = request({"user": "u1"})
    own.descriptors[0].limit.requests_per_unit = 1_000_000
    with pytest.raises(Refused, match="a limit of its own"):
        call_of(own.SerializeToString())
    twice = request({"generic_key": "a"})
    twice.descriptors[0].entries.add(key="generic_key", value="b")
    with pytest.raises(Refused, match="a key twice"):
        call_of(twice.SerializeToString())


def test_a_refused_call_reaches_the_client_as_a_status_and_is_counted() -> None:
    async def scene() -> None:
        async with asking() as here:
            code, sentence = await refused(here.ask(domain="demo"))
            assert (code, "descriptors" in sentence) == (grpc.StatusCode.INVALID_ARGUMENT, True)
            assert (await refused(here.raw(b"\xff\xff")))[0] is grpc.StatusCode.INVALID_ARGUMENT
            assert here.service.calls == {"INVALID_ARGUMENT": 2}

    asyncio.run(scene())


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_a_call_or_a_refusal(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        call_of(raw)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4, unique=True))
def test_a_header_that_is_no_text_is_counted_and_as_nobody_elses(found: list[bytes]) -> None:
    values = [value.replace(b"\0", b"") for value in found]  # no header holds a NUL
    raw = b"\x0a\x04demo" + b"".join(_descriptor(b"user", value) for value in values)
    _, descriptors = call_of(raw)
    texts = [descriptor.entries["user"] for descriptor in descriptors]
    assert len(set(texts)) == len(set(values))
    for text, value in zip(texts, values, strict=True):
        with contextlib.suppress(UnicodeDecodeError):
            assert text == value.decode()
        text.encode()  # so that it can be a key


def test_bytes_that_are_no_text_are_not_the_text_they_would_be_in_another_encoding() -> None:
    _, [one, other] = call_of(b"\x0a\x04demo" + _descriptor(b"user", b"\xff") + _descriptor(b"user", "ÿ".encode()))
    assert one.entries != other.entries


def _descriptor(key: bytes, value: bytes) -> bytes:
    entry = b"\x0a%c%s\x12%c%s" % (len(key), key, len(value), value)
    return b"\x12%c\x0a%c%s" % (len(entry) + 2, len(entry), entry)


def test_what_the_generated_class_writes_is_read_as_it_was_meant() -> None:
    call = request({"user": "ü", "route": ""}, {"tenant": "t"}, hits=7)
    call.descriptors[1].hits_addend.value = 1 << 63
    domain, descriptors = call_of(call.SerializeToString())
    assert domain == "demo"
    assert [(dict(one.entries), one.hits) for one in descriptors] == [
        ({"user": "ü", "route": ""}, 7),
        ({"tenant": "t"}, 1 << 63),
    ]


def test_no_header_a_client_of_envoy_can_write_is_let_through_uncounted() -> None:
    async def scene() -> None:
        async with asking() as here:
            for value in (b"\xff\xfe", b"", "ü".encode(), b"%41", b":"):
                raw = b"\x0a\x04demo" + _descriptor(b"user", value)
                codes = [rls_pb2.RateLimitResponse.FromString(await here.raw(raw)).overall_code for _ in range(6)]
                assert codes == [OK] * 5 + [OVER_LIMIT], value
            # All the headers Envoy takes, in each of as many descriptors as there may be.
            large = {"user": "x" * 60 * 1024}
            assert (await here.ask(*[large] * MAX_DESCRIPTORS)).overall_code == OVER_LIMIT
            assert here.service.calls["INVALID_ARGUMENT"] == 0

    asyncio.run(scene())


def test_a_message_that_is_too_large_and_a_call_too_many_are_refused_by_the_server_itself() -> None:
    async def scene() -> None:
        async with asking(max_calls=2) as here:
            assert (await refused(here.raw(b"x" * (MAX_BYTES + 1))))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            here.store.held = asyncio.Event()
            under_way = [asyncio.ensure_future(here.ask({"user": str(n)})) for n in range(2)]
            await here.store.asked(2)
            assert (await refused(here.ask({"user": "one more"})))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            here.store.held.set()
            assert [(await one).overall_code for one in under_way] == [OK, OK]

    asyncio.run(scene())


def test_who_does_not_bring_the_secret_is_refused_and_nothing_is_counted() -> None:
    async def scene() -> None:
        async with asking(secret="a-secret-of-some-length") as here:
            for metadata in (None, [("authorization", "Bearer wrong")], [("authorization", "")]):
                assert (await refused(here.ask({"user": "u1"}, metadata=metadata)))[0] is grpc.StatusCode.UNAUTHENTICATED
            assert here.store.takes == 0
            right = [("authorization", "Bearer a-secret-of-some-length")]
            assert (await here.ask({"user": "u1"}, metadata=right)).overall_code == OK

    asyncio.run(scene())


def test_a_mistake_of_ours_is_internal_and_says_nothing_of_what_went_wrong() -> None:
    async def scene() -> None:
        async with asking() as here:
            here.store.error = ZeroDivisionError("inner words")
            code, sentence = await refused(here.ask({"user": "u1"}))
            assert code is grpc.StatusCode.INTERNAL
            assert "inner words" not in sentence
            assert here.service.calls == {"INTERNAL": 1}

    asyncio.run(scene())


def test_the_health_of_the_service_is_what_a_health_checker_asks_for(run: Run) -> None:
    async def scene() -> None:
        async with asking() as here:
            check = "/grpc.health.v1.Health/Check"
            name = envoy_service.SERVICE.encode()
            assert await here.raw(b"", check) == b"\x08\x01"
            assert await here.raw(b"\x0a" + bytes([len(name)]) + name, check) == b"\x08\x01"
            assert (await refused(here.raw(b"\x0a\x05other", check)))[0] is grpc.StatusCode.NOT_FOUND

    run(scene())


def test_a_stop_ends_calls_that_wait_for_the_store_and_can_be_asked_twice(run: Run) -> None:
    async def scene() -> None:
        async with asking() as here:
            here.store.held = asyncio.Event()
            waiting = asyncio.ensure_future(here.ask({"user": "u1"}))
            await here.store.asked(1)
            await here.service.stop(0)
            await here.service.stop(0)
            assert (await refused(waiting))[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            assert (await refused(here.ask({"user": "u1"})))[0] is grpc.StatusCode.UNAVAILABLE

    run(scene())


def test_a_call_under_way_is_answered_within_the_grace_of_a_stop() -> None:
    async def scene() -> None:
        async with asking() as here:
            here.store.held = asyncio.Event()
            waiting = asyncio.ensure_future(here.ask({"user": "u1"}))
            await here.store.asked(1)
            stopping = asyncio.ensure_future(here.service.stop(30))
            await asyncio.wait([stopping], timeout=0.05)  # one that did not wait would be done by then
            assert not stopping.done()
            here.store.held.set()
            assert (await waiting).overall_code == OK
            await stopping

    asyncio.run(scene())


def test_a_port_that_is_taken_is_an_error_and_not_half_of_the_calls() -> None:
    async def scene() -> None:
        async with asking() as here:
            with pytest.raises(OSError, match=f"nothing can listen on 127.0.0.1:{here.service.port}"):
                await serve(here.limiter, port=here.service.port)

    asyncio.run(scene())
