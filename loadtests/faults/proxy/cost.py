"""What the proxy itself costs: `python -m loadtests.faults.proxy.cost`.

It stands in the way of every variant or of none; by so much it shifts them all.

One connection asks a small question and waits for the answer, as a Redis client does, by turns directly and through a proxy in a
process of its own. The proxy's CPU time is read from outside, before and after each turn.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import asdict, dataclass

from loadtests.analysis.statistics import percentile
from loadtests.cpu_clock import cpu_ns
from loadtests.faults.proxy.addresses import LOOPBACK
from loadtests.faults.proxy.client import ProxyControl, ProxyRefused

QUESTION = b"*2\r\n$3\r\nGET\r\n$16\r\nurl_shortener:ab\r\n"
ANSWER = b"$200\r\n" + b"x" * 200 + b"\r\n"
START_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over all round trips, and the proxy's CPU time per round trip."""

    round_trips: int
    direct_us: float
    through_proxy_us: float
    proxy_cpu_us: float

    @property
    def added_us(self) -> float:
        return self.through_proxy_us - self.direct_us


async def cost(round_trips: int = 5_000, blocks: int = 10, *, toxic: str = "") -> Cost:
    """`round_trips` each way in `blocks` turns. With `toxic` (a type), one lies in the way that delays nothing."""
    server = await asyncio.start_server(_answer, LOOPBACK, 0)
    address = f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    port = _free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "loadtests.faults.proxy", "--control-port", str(port))
    try:
        control = ProxyControl(f"http://{LOOPBACK}:{port}")
        listen = await _created(control, address, process)
        if toxic:
            control.add_toxic("measured", toxic, {}, stream="upstream")
            control.add_toxic("measured", toxic, {})
        ways = {"direct": await _open(address), "proxy": await _open(listen)}
        for way in ways.values():
            await _ask(*way, 200)
        taken_us: dict[str, list[float]] = {"direct": [], "proxy": []}
        spent_ns = 0
        for block in range(blocks):
            for name in ("direct", "proxy") if block % 2 else ("proxy", "direct"):
                before_ns = cpu_ns(process.pid)
                taken_us[name] += await _ask(*ways[name], round_trips // blocks)
                if name == "proxy":
                    spent_ns += cpu_ns(process.pid) - before_ns
        for _, writer in ways.values():
            writer.close()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        server.close()
    done = len(taken_us["proxy"])
    return Cost(done, _median(taken_us["direct"]), _median(taken_us["proxy"]), spent_ns / 1e3 / done)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        writer.write(ANSWER)
    writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, times: int) -> list[float]:
    """Microseconds of each round trip."""
    taken_us = []
    for _ in range(times):
        began_ns = time.perf_counter_ns()
        writer.write(QUESTION)
        await reader.readexactly(len(ANSWER))
        taken_us.append((time.perf_counter_ns() - began_ns) / 1e3)
    return taken_us


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _created(control: ProxyControl, upstream: str, process: asyncio.subprocess.Process) -> str:
    """The proxy's address, as soon as its process answers."""
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        try:
            return await asyncio.to_thread(control.create, "measured", f"{LOOPBACK}:0", upstream)
        except ProxyRefused:
            if process.returncode is not None or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _median(values: list[float]) -> float:
    value = percentile(sorted(values), 0.5)
    assert value is not None
    return value


if __name__ == "__main__":
    for kind in ("", "latency"):
        measured = asyncio.run(cost(toxic=kind))
        print(kind or "no toxics", {**asdict(measured), "added_us": measured.added_us})
