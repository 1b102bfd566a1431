"""The generator: against queueing theory in virtual time, and against real servers that misbehave."""

from __future__ import annotations

import asyncio
import gc
import statistics
from array import array
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.analysis.statistics import percentile
from loadtests.comparison.rounds import is_overloaded
from loadtests.comparison.schedule import Disturbance, Round, Rules, void_because
from loadtests.generator import open_loop
from loadtests.generator.arrivals import Plan, make_plan
from loadtests.generator.http_response import MAX_RESPONSE_BYTES, Response, parse_response
from loadtests.generator.one_shot_timer import LoopTimer
from loadtests.generator.open_loop import LoadGenerator, closed_loop, replay
from loadtests.workload import Exchange, Mix
from tests.loadtests.simulated_server import SimulatedNetwork, SimulatedServer

MIX = Mix(name="reads", who="readers", ratios={"get": 1.0}, keys=100, zipf_s=1.0, rate_per_s=500)
URL = "http://127.0.0.1:1"


def get(exchange: Exchange, before: Exchange | None = None) -> tuple[int, bytes]:
    return 0, get_path(exchange.serial)


def get_path(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % number


def simulate(
    server: SimulatedServer, plan: Plan, connections: int, busy: tuple[float, float] | None = None
) -> tuple[list[Exchange], array[float]]:
    """Replay in virtual time; `busy` makes the generator compute for a while: (from, for)."""
    loop = SimulatedNetwork(server)

    async def main() -> tuple[list[Exchange], array[float]]:
        generator = LoadGenerator([URL], connections_per_url=connections, clock=loop.time, make_timer=LoopTimer)
        if busy:
            loop.call_at(busy[0], loop.busy_for, busy[1])
        exchanges = await generator.replay(plan, get)
        await generator.close()
        return exchanges, generator.lags_s

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def p99_ms(values_s: list[float]) -> float:
    value_s = percentile(sorted(values_s), 0.99)
    assert value_s is not None
    return value_s * 1e3


@pytest.mark.parametrize("connections", [1, 32])
def test_latency_from_the_intended_start_is_lindleys_waiting_time_plus_service(connections: int) -> None:
    """W' = max(0, W + S - T), whether requests wait in the generator's line or in the server's."""
    service_s = 0.001
    plan = make_plan(MIX, 700, 10.0, seed=21)
    exchanges, lags_s = simulate(SimulatedServer(service_s), plan, connections)

    wait_s = 0.0
    for exchange, later in zip(exchanges, [*exchanges[1:], None], strict=True):
        assert exchange.end_s - exchange.intended_s == pytest.approx(wait_s + service_s, abs=1e-6)
        if later is not None:
            wait_s = max(0.0, wait_s + service_s - (later.intended_s - exchange.intended_s))
    assert max(lags_s) < 1e-6


def test_the_mean_wait_is_that_of_an_m_d_1_queue() -> None:
    """rho S / (2 (1 - rho))."""
    service_s, rate_per_s = 0.001, 500.0
    exchanges, _ = simulate(SimulatedServer(service_s), make_plan(MIX, rate_per_s, 40.0, seed=22), connections=32)
    waits_s = [exchange.end_s - exchange.intended_s - service_s for exchange in exchanges]
    rho = rate_per_s * service_s

    assert sum(waits_s) / len(waits_s) == pytest.approx(rho * service_s / (2 * (1 - rho)), rel=0.1)


def test_a_stall_is_seen_from_the_intended_start_and_hidden_from_the_actual_send() -> None:
    """1 % of 3,000 requests is the first 50 ms of a 500 ms stall; only 8 were sent into it, as many as there are connections.

    Who comes x after its start waits for the rest, 500 ms - x, and for those who came before him: rho x. At x = 50 ms and
    rho = 600/s * 0.4 ms that is 462 ms.
    """
    from_intended_ms, from_sent_ms = [], []
    for seed in range(9):
        server = SimulatedServer(0.0004, pauses=((2.0, 2.5),))
        exchanges, lags_s = simulate(server, make_plan(MIX, 600, 5.0, seed), connections=8)
        from_intended_ms.append(p99_ms([exchange.end_s - exchange.intended_s for exchange in exchanges]))
        from_sent_ms.append(p99_ms([exchange.end_s - exchange.sent_s for exchange in exchanges]))
        assert max(lags_s) < 1e-6, "the wait for a connection is the server's doing, not the generator's"

    assert statistics.median(from_intended_ms) == pytest.approx(462, abs=10)
    assert max(from_sent_ms) < 10


def test_a_busy_generator_is_late_by_its_own_account_and_its_block_is_void() -> None:
    _, lags_s = simulate(SimulatedServer(0.0004), make_plan(MIX, 600, 2.0, seed=24), connections=8, busy=(1.0, 0.2))
    late = Round(0, 0.0, {}, Disturbance(lag_p99_ms=p99_ms(list(lags_s))))

    assert max(lags_s) == pytest.approx(0.2, abs=0.01)
    assert void_because([late], [[], []], Rules()).startswith("generator late")


def test_a_server_that_cannot_keep_up_reads_as_overloaded_and_one_that_can_does_not() -> None:
    plan = make_plan(MIX, 600, 3.0, seed=25)
    behind, _ = simulate(SimulatedServer(0.002), plan, connections=8)
    ahead, _ = simulate(SimulatedServer(0.001), plan, connections=8)

    assert is_overloaded(behind)
    assert not is_overloaded(ahead)
    assert not is_overloaded([])


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serving(handler: Handler, client: Callable[[str], Awaitable[None]]) -> None:
    """Run `client` with the URL of a real server on a free port."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            handlers.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        await client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """Method and the number in the path."""
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.split(b" ", 2)
    return method, int(path[1:])


SHAPES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3;note=x\r\nhel\r\n2\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\nuntil the end",
)
STATUSES = (200, 201, 204, 304, 404, 200, 503)
BODIES = (b"hello", b"hello", b"", b"", b"no", b"ok", b"until the end")


@pytest.mark.parametrize("runner", [asyncio.run, open_loop.run])
def test_each_planned_request_is_answered_once_with_its_own_answer(runner: Callable[..., None]) -> None:
    asked: list[int] = []

    async def every_shape(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            method, serial = await read_request(reader)
            asked.append(serial)
            response = SHAPES[serial % len(SHAPES)]
            if method == b"HEAD":
                response = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
            for at in range(0, len(response), 20):  # in pieces
                writer.write(response[at : at + 20])
                await writer.drain()
            if b"connection: close" in response:
                return

    def encode(exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        request = get_path(exchange.serial)
        return 0, request.replace(b"GET", b"HEAD") if exchange.serial % 3 == 0 else request

    async def client(url: str) -> None:
        plan = make_plan(MIX, 1_000, 0.5, seed=31)
        exchanges = await replay(plan, encode, [url], first_serial=100, connections_per_url=4)

        assert sorted(asked) == [exchange.serial for exchange in exchanges] == list(range(100, 100 + len(plan)))
        for exchange in exchanges:
            shape = exchange.serial % len(SHAPES)
            head_only = exchange.serial % 3 == 0
            assert exchange.status == (200 if head_only else STATUSES[shape])
            assert exchange.response.startswith(b"HTTP/1.1 %d " % exchange.status)
            assert exchange.response.partition(b"\r\n\r\n")[2] == (b"" if head_only else BODIES[shape])
            assert exchange.intended_s <= exchange.sent_s <= exchange.first_byte_s <= exchange.end_s

    runner(serving(every_shape, client))
    assert gc.isenabled()


def test_several_urls_each_get_their_own_requests() -> None:
    async def client(first: str) -> None:
        async def second_client(second: str) -> None:
            plan = make_plan(MIX, 400, 0.25, seed=32)
            exchanges = await replay(plan, lambda e, before: (e.serial % 2, get_path(e.serial)), [first, second])

            assert [exchange.status for exchange in exchanges] == [(200, 201)[e.serial % 2] for e in exchanges]

        await serving(answering(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"), second_client)

    asyncio.run(serving(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), client))


def answering(response: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response)

    return handler


async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1_000):
        pass


async def slamming(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def breaking_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
    await writer.drain()


@pytest.mark.parametrize(
    "handler",
    [
        hanging,
        slamming,
        breaking_off,
        answering(b"SSH-2.0-OpenSSH_9.9\r\n"),
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n"),
    ],
)
def test_a_server_that_does_not_answer_properly_gives_status_0_and_an_end(handler: Handler) -> None:
    async def client(url: str) -> None:
        plan = make_plan(MIX, 200, 0.2, seed=33)
        exchanges = await asyncio.wait_for(replay(plan, get, [url], connections_per_url=2, timeout_s=0.2), timeout=30)

        assert len(exchanges) == len(plan)
        for exchange in exchanges:
            assert exchange.status == 0
            assert exchange.response == b""
            assert exchange.intended_s <= exchange.sent_s <= exchange.first_byte_s <= exchange.end_s

    asyncio.run(serving(handler, client))


def test_a_server_that_is_not_there_gives_status_0_for_every_request() -> None:
    async def find_free() -> str:
        server = await asyncio.start_server(hanging, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return f"http://127.0.0.1:{port}"

    async def main() -> None:
        url = await find_free()
        exchanges = await replay(make_plan(MIX, 200, 0.2, seed=34), get, [url])
        assert {exchange.status for exchange in exchanges} == {0}

    asyncio.run(main())


def test_a_connection_that_the_server_closed_between_rounds_is_dialled_again() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def remembering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")(reader, writer)

    async def client(url: str) -> None:
        generator = LoadGenerator([url], connections_per_url=3)
        for _ in range(3):
            exchanges = await generator.replay(make_plan(MIX, 200, 0.1, seed=35), get)
            assert {exchange.status for exchange in exchanges} == {200}
            for writer in writers:
                writer.close()
            for _ in range(20):  # turns of the loop: the server closes, the generator notices
                await asyncio.sleep(0)
        await generator.close()
        assert len(writers) == 9

    asyncio.run(serving(remembering, client))


def test_a_plan_without_requests_is_over_at_once() -> None:
    empty = Plan(("get",), array("d"), array("B"), array("Q"), array("q"), array("I"))

    assert asyncio.run(replay(empty, get, ["http://127.0.0.1:9"])) == []


def test_the_closed_loop_keeps_as_many_requests_open_as_it_has_clients() -> None:
    open_now, most = 0, 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        while True:
            await read_request(reader)
            open_now += 1
            most = max(most, open_now)
            for _ in range(3):
                await asyncio.sleep(0)
            open_now -= 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def client(url: str) -> None:
        requests = [(0, get_path(number)) for number in range(3)]
        exchanges = await closed_loop(requests, 4, [url], duration_s=60, count=100)

        assert len(exchanges) == 100
        assert {exchange.status for exchange in exchanges} == {200}
        assert all(exchange.sent_s >= exchange.intended_s for exchange in exchanges)

    asyncio.run(serving(counting, client))
    assert most == 4


def test_the_closed_loop_gives_up_on_a_dead_target() -> None:
    async def client(url: str) -> None:
        exchanges = await closed_loop([(0, get_path(0))], 2, [url], duration_s=60)
        assert {exchange.status for exchange in exchanges} == {0}
        assert len(exchanges) <= open_loop.MAX_CLOSED_LOOP_ERRORS + 2

    asyncio.run(serving(slamming, client))


@given(st.binary(max_size=200), st.integers(min_value=1, max_value=50), st.booleans())
def test_a_response_in_pieces_is_complete_at_its_last_byte_and_not_before(body: bytes, chunk: int, chunked: bool) -> None:
    if chunked:
        framed = b"".join(
            b"%x\r\n%s\r\n" % (len(body[at : at + chunk]), body[at : at + chunk]) for at in range(0, len(body), chunk)
        )
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        response = head + framed + b"0\r\n\r\n"
    else:
        head = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: %d\r\n\r\n" % len(body)
        response = head + body

    assert all(parse_response(response[:at]) is None for at in range(len(response)))
    assert parse_response(response) == Response(200, head + body, keep_alive=True)
    assert parse_response(response + b"x") == Response(200, head + body, keep_alive=False)


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: Close", False),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive", True),
        (b"HTTP/1.0 200 OK", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive", True),
    ],
)
def test_a_connection_is_kept_when_the_server_keeps_it(head: bytes, keep_alive: bool) -> None:
    response = parse_response(head + b"\r\nContent-Length: 0\r\n\r\n")

    assert response is not None
    assert response.keep_alive is keep_alive


@given(st.binary(max_size=300))
def test_no_bytes_at_all_break_the_parser_but_with_value_error(data: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"):
        try:
            parse_response(start + data)
        except ValueError:
            continue


def test_a_response_without_bound_is_cut_off() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_response(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_RESPONSE_BYTES))
