"""Each toxic bites: seen from both ends of real connections, by what arrives and never by how long it took."""

from __future__ import annotations

import asyncio
import hashlib
import socket

import pytest

from loadtests.faults.proxy import connection, server
from loadtests.faults.proxy.connection import MAX_HELD
from loadtests.faults.proxy.toxics import parse_change
from tests.loadtests.faults.proxy.loopback import LOOPS, Reader, Spoilt, Writer, run, spoilt

pytestmark = pytest.mark.parametrize("loop", LOOPS)
KILOBYTE = b"x" * 1_000


async def ask(reader: Reader, writer: Writer, what: bytes) -> bytes:
    writer.write(what)
    return await reader.readexactly(len(what))


def is_silent(reader: Reader) -> bool:
    """Nothing has arrived, not even an end."""
    return not reader._buffer and not reader.at_eof()  # type: ignore[attr-defined]


def test_without_toxics_bytes_pass_both_ways_and_a_half_close_is_passed_on(loop: str) -> None:
    async def count(reader: Reader, writer: Writer) -> None:
        writer.write(b"%d bytes" % len(await reader.read()))
        writer.close()

    async def main() -> None:
        async with spoilt(count) as ours:
            reader, writer = await ours.connect()
            writer.write(KILOBYTE * 300)  # before the proxy has reached the server
            writer.write_eof()
            assert await reader.read() == b"300000 bytes"
            await ours.until(lambda _: not ours.proxy.open_connections)
            counters = ours.proxy.counters()
            assert (counters.connections, counters.received_upstream, counters.sent_upstream) == (1, 300_000, 300_000)
            assert counters.received_downstream == counters.sent_downstream == len(b"300000 bytes")

    run(loop, main())


def test_latency_holds_an_answer_until_its_time_has_come(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            reader, writer = await ours.connect()
            assert await ask(reader, writer, b"before") == b"before"
            ours.add(b'{"type": "latency", "attributes": {"latency": 10}}')
            writer.write(b"ping")
            await ours.until(lambda counters: counters.received_downstream == 10)
            assert is_silent(reader)
            ours.clock.now_s += 0.01
            assert await reader.readexactly(4) == b"ping"

    run(loop, main())


def test_a_narrow_line_passes_so_much_in_a_second_and_no_more(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            reader, writer = await ours.connect()
            ours.add(b'{"type": "bandwidth", "attributes": {"rate": 1}}')
            writer.write(KILOBYTE * 5)
            await ours.until(lambda counters: counters.received_downstream == 5_000)
            assert is_silent(reader)
            ours.clock.now_s += 1
            await ours.until(lambda counters: counters.sent_downstream > 900)
            await reader.readexactly(ours.proxy.counters().sent_downstream)
            assert ours.proxy.counters().sent_downstream <= 1_000
            ours.proxy.remove_all_toxics()
            await ours.until(lambda counters: counters.sent_downstream == 5_000)

    run(loop, main())


def test_a_slow_close_keeps_the_end_from_the_other_side(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            reader, writer = await ours.connect()
            ours.add(b'{"type": "slow_close", "attributes": {"delay": 10}}')
            assert await ask(reader, writer, b"data") == b"data"
            ours.accepted[0].close()
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert is_silent(reader)
            ours.clock.now_s += 0.01
            assert await reader.read() == b""

    run(loop, main())


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_in_a_black_hole_data_is_gone_and_the_connection_closes_when_it_is_removed(loop: str, stream: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            reader, writer = await ours.connect()
            await ask(reader, writer, b"before")
            name = ours.add(b'{"type": "timeout", "stream": "%s"}' % stream.encode())
            writer.write(b"lost")
            await ours.until(lambda counters: getattr(counters, f"received_{stream}") == 10)
            assert is_silent(reader)
            assert getattr(ours.proxy.counters(), f"sent_{stream}") == 6
            ours.proxy.remove_toxic(name)
            assert await reader.read() == b""
            reader, writer = await ours.connect()
            assert await ask(reader, writer, b"healed") == b"healed"

    run(loop, main())


def test_a_timeout_closes_the_connection_when_its_time_has_come(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            reader, _ = await ours.connect()
            ours.add(b'{"type": "timeout", "attributes": {"timeout": 10}}')
            await ours.until(lambda _: bool(ours.accepted))
            assert is_silent(reader)
            ours.clock.now_s += 0.02
            assert await reader.read() == b""

    run(loop, main())


def test_a_reset_is_seen_as_one_by_both_sides_and_the_request_does_not_pass(loop: str) -> None:
    seen: list[object] = []

    async def listen(reader: Reader, writer: Writer) -> None:
        try:
            while data := await reader.read(100):
                seen.append(data)
                writer.write(data)
            seen.append("end")
        except ConnectionResetError as error:
            seen.append(type(error))

    async def main() -> None:
        async with spoilt(listen) as ours:
            reader, writer = await ours.connect()
            assert await ask(reader, writer, b"before") == b"before"
            ours.add(b'{"type": "reset_peer", "stream": "upstream"}')
            writer.write(b"after")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await ours.until(lambda _: len(seen) > 1)
            assert seen == [b"before", ConnectionResetError]

    run(loop, main())


def test_a_sliced_answer_arrives_in_slices(loop: str) -> None:
    class Sizes(asyncio.Protocol):
        sizes: list[int]

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.sizes = []

        def data_received(self, data: bytes) -> None:
            self.sizes.append(len(data))

    async def main() -> None:
        async with spoilt() as ours:
            ours.add(b'{"type": "slicer", "attributes": {"average_size": 100, "size_variation": 20}}')
            host, port = ours.proxy.listen.split(":")
            transport, sizes = await asyncio.get_running_loop().create_connection(Sizes, host, int(port))
            transport.write(KILOBYTE)
            await ours.until(lambda _: sum(sizes.sizes) == 1_000)
            assert len(sizes.sizes) >= 5, "whole, or nearly"
            transport.abort()

    run(loop, main())


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_a_limit_cuts_the_stream_after_exactly_so_many_bytes(loop: str, stream: str) -> None:
    got = bytearray()

    async def listen(reader: Reader, writer: Writer) -> None:
        while data := await reader.read(100):
            got.extend(data)
            writer.write(data)
        writer.close()

    async def main() -> None:
        async with spoilt(listen) as ours:
            ours.add(b'{"type": "limit_data", "stream": "%s", "attributes": {"bytes": 7}}' % stream.encode())
            reader, writer = await ours.connect()
            writer.write(b"0123456789")
            answer = await reader.read()
            if stream == "downstream":
                assert (answer, bytes(got)) == (b"0123456", b"0123456789")
            else:
                await ours.until(lambda _: not ours.proxy.open_connections)
                assert bytes(got) == b"0123456"

    run(loop, main())


def test_a_proxy_that_is_down_breaks_its_connections_refuses_new_ones_and_keeps_its_port(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            reader, writer = await ours.connect()
            await ask(reader, writer, b"before")
            where = ours.proxy.listen
            await ours.proxies.update("redis@replica-1", listen=None, upstream=None, enabled=False)
            assert await reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await ours.connect()
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", int(where.split(":")[1])))
            await ours.proxies.update("redis@replica-1", listen=None, upstream=None, enabled=True)
            assert ours.proxy.listen == where
            reader, writer = await ours.connect()
            assert await ask(reader, writer, b"after") == b"after"

    run(loop, main())


def test_a_server_that_is_not_there_looks_broken_and_works_when_it_is_back(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            with socket.socket() as nobody:
                nobody.bind(("127.0.0.1", 0))
                server = ours.proxy.upstream
                away = f"127.0.0.1:{nobody.getsockname()[1]}"
                ours.proxy = await ours.proxies.update("redis@replica-1", listen=None, upstream=away, enabled=None)
                reader, _ = await ours.connect()
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            ours.proxy = await ours.proxies.update("redis@replica-1", listen=None, upstream=server, enabled=None)
            assert await ask(*await ours.connect(), b"back") == b"back"

    run(loop, main())


def test_a_server_that_resets_is_seen_to_reset(loop: str) -> None:
    async def reset_at_once(reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        connection.reset(writer.transport)

    async def main() -> None:
        async with spoilt(reset_at_once) as ours:
            reader, writer = await ours.connect()
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()

    run(loop, main())


async def is_spoilt(ours: Spoilt) -> bool:
    reader, writer = await ours.connect()
    writer.write(b"x")
    return await reader.read(1) == b""


def test_the_seed_decides_which_connections_are_spoilt_and_the_toxicity_how_many(loop: str) -> None:
    async def pattern(seed: int, toxicity: bytes) -> list[bool]:
        async with spoilt(seed=seed) as ours:
            ours.add(b'{"type": "limit_data", "toxicity": %s}' % toxicity)
            return [await is_spoilt(ours) for _ in range(30)]

    async def main() -> None:
        half = await pattern(7, b"0.5")
        assert half == await pattern(7, b"0.5")
        assert half != await pattern(8, b"0.5")
        assert 5 <= sum(half) <= 25
        more = await pattern(7, b"0.8")
        assert sum(more) > sum(half)
        assert all(spoilt for spoilt, before in zip(more, half, strict=True) if before)
        assert sum(await pattern(7, b"0")) == 0
        assert sum(await pattern(7, b"1")) == 30

    run(loop, main())


def test_a_toxicity_that_is_changed_to_all_spoils_open_connections_too(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            reader, writer = await ours.connect()
            name = ours.add(b'{"type": "timeout", "toxicity": 0}')
            assert await ask(reader, writer, b"spared") == b"spared"
            ours.proxy.change_toxic(parse_change(ours.proxy.toxic(name), b'{"toxicity": 1}'))
            writer.write(b"lost")
            await ours.until(lambda counters: counters.received_downstream == 10)
            assert is_silent(reader)

    run(loop, main())


@pytest.mark.parametrize("toxic", [None, b'{"type": "bandwidth"}', b'{"type": "latency", "attributes": {"latency": 60000}}'])
def test_a_reader_that_does_not_read_stops_the_sender_within_bounded_memory(loop: str, toxic: bytes | None) -> None:
    flood, sent = hashlib.sha256(b"seed").digest() * 32_768, 0  # a megabyte
    size = 48 * len(flood)

    async def serve(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        for _ in range(48):
            writer.write(flood)
            await writer.drain()
            sent += len(flood)
        writer.close()

    async def main() -> None:
        async with spoilt(serve) as ours:
            if toxic:
                ours.add(toxic)
            reader, writer = await ours.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            before = -1
            while ours.proxy.counters().received_downstream > before:
                before = ours.proxy.counters().received_downstream
                for _ in range(100):
                    await asyncio.sleep(0.0005)
            (open_one,) = ours.proxy._connections
            assert open_one.downstream is not None
            assert 0 < before < size, "the sender went on"
            assert sent < size
            assert open_one.downstream.link.held <= MAX_HELD + 600_000
            ours.proxy.remove_all_toxics()
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            digest = hashlib.sha256()
            while data := await reader.read(1 << 20):
                digest.update(data)
            assert digest.hexdigest() == hashlib.sha256(flood * 48).hexdigest()

    run(loop, main())


def test_small_messages_are_sent_at_once_on_both_sides(loop: str) -> None:
    async def main() -> None:
        async with spoilt() as ours:
            await ask(*await ours.connect(), b"x")
            (open_one,) = ours.proxy._connections
            for end in (open_one.client, open_one._server):
                assert end.transport is not None
                assert end.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    run(loop, main())


def test_connections_beyond_the_bound_are_turned_away(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)

    async def main() -> None:
        async with spoilt() as ours:
            first, second = await ours.connect(), await ours.connect()
            await ask(*first, b"1")
            await ask(*second, b"2")
            reader, _ = await ours.connect()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            assert ours.proxy.counters().turned_away == 1
            first[1].close()
            await ours.until(lambda _: ours.proxy.open_connections == 1)
            assert await ask(*await ours.connect(), b"3") == b"3"

    run(loop, main())
