"""What a Redis server says it has done, from its own INFO: commands and bytes, or whatever else a design reads there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

HOUSEKEEPING = frozenset({"info", "auth", "hello", "client", "select", "command", "config", "ping"})
INFO_TIMEOUT_S = 5.0


def redis_counters(info: str) -> dict[str, int]:
    """Commands and bytes from the text of `INFO all`. Subcommands count as their command."""
    commands, total_bytes = 0, 0
    for line in info.splitlines():
        name, _, value = line.partition(":")
        if name.startswith("cmdstat_"):
            command = name.removeprefix("cmdstat_").split("|")[0]
            if command not in HOUSEKEEPING:
                commands += int(value.partition("calls=")[2].partition(",")[0])
        elif name in ("total_net_input_bytes", "total_net_output_bytes"):
            total_bytes += int(value)
    return {"redis_commands": commands, "redis_bytes": total_bytes}


@dataclass(slots=True)
class RedisCounter:
    """Reads a Redis server's own counters and takes its own traffic out of them.

    Redis counts what arrives before it answers INFO and what leaves only afterwards, so the reply to this reading is found in
    the next one: all bytes received by earlier readings are subtracted, and all bytes sent by them and by this one.
    """

    url: str
    own: Counter[str] = field(default_factory=Counter)
    counted: Callable[[str], Mapping[str, int]] = redis_counters  # what of INFO, all of it rising; `redis_bytes` among it
    info: str = ""  # of the last reading, for what does not only rise

    async def read(self) -> dict[str, float]:
        """OSError when Redis can't be reached, ValueError for an answer that is none."""
        text, sent, received = await info_of(self.url)
        self.info = text
        self.own["redis_bytes"] += sent
        counts = {name: float(count - self.own[name]) for name, count in self.counted(text).items()}
        self.own["redis_bytes"] += received
        return counts

    async def disown_since(self, earlier: Mapping[str, float]) -> None:
        """What Redis did after that reading was done on our account: a worker asks it for the metrics we scrape."""
        now = await self.read()
        for name, count in earlier.items():
            self.own[name] += int(now[name] - count)


async def info_of(url: str) -> tuple[str, int, int]:
    """The text of `INFO all`, bytes sent, bytes received. Spoken by hand, since a driver does not tell how much it sends."""
    parts = urlsplit(url)
    if parts.scheme != "redis":
        raise ValueError(f"the counters of Redis are read over redis://, not over {parts.scheme}://")
    request = _command("INFO", "all")
    replies = 1
    if parts.password:
        login = [unquote(parts.username)] if parts.username else []
        request = _command("AUTH", *login, unquote(parts.password)) + request
        replies = 2
    async with asyncio.timeout(INFO_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(parts.hostname or "127.0.0.1", parts.port or 6379)
        try:
            writer.write(request)
            received = 0
            for _ in range(replies):
                line = await reader.readline()
                received += len(line)
                if line[:1] == b"-" or not line:
                    raise ValueError(f"Redis did not give its INFO: {line.decode(errors='replace').strip() or 'connection closed'}")
            body = await reader.readexactly(int(line[1:]) + 2)
            return body.decode(), len(request), received + len(body)
        finally:
            writer.close()
            await writer.wait_closed()


def _command(*words: str) -> bytes:
    """A command in RESP: *<words> then $<bytes> and the word, each ended by CR LF."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
