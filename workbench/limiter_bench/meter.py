"""What Redis says of its own work: time per command, requests read, CPU of its process, bytes of a key, and every command it ran.

Three figures, since each leaves something out. The microseconds of a command (INFO commandstats) are those of its execution, for
a script with all that it calls; what scripts call is listed as well, so only the names that came from a client count. They pass on
the wall clock, so a neighbour on the CPU is in them. The CPU of the process has no neighbour in it, but reading, parsing and
answering. Round trips are read events (`total_reads_processed`): a request that fits into one packet is one, and what a script
calls is none, while `total_commands_processed` counts that too.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Command: TypeAlias = tuple[bytes, ...]

END_OF_CAPTURE = b"the end of what was watched"
MONITORED = re.compile(rb'^\S+ \[\d+ (?P<who>\S+)\] (?P<words>".*")$', re.DOTALL)
WORD = re.compile(rb'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters since the server started. `commands`: name -> (calls, microseconds)."""

    commands: dict[str, tuple[int, int]]
    reads: int = 0
    cpu_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Captured:
    """What Redis ran: the commands of clients in their order, and how often each command was called by scripts."""

    commands: Sequence[Command]
    by_scripts: Counter[str]

    @property
    def names(self) -> frozenset[str]:
        """What clients sent. Where a script called the same their time can't be told apart: see `time_us`."""
        return frozenset(name_of(command) for command in self.commands)

    @property
    def calls(self) -> Counter[str]:
        return Counter(map(name_of, self.commands)) + self.by_scripts


class Meter:
    """Two connections of its own to the server that is measured: one that asks, and one that watches."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis = redis.Redis.from_url(url, socket_timeout=30.0)
        self._watcher = redis.Redis.from_url(url, socket_timeout=30.0)

    def read(self) -> Reading:
        info = self._redis.info("all")
        cpu_us = 1e6 * (info["used_cpu_user"] + info["used_cpu_sys"])
        return Reading(_commands(info), info["total_reads_processed"], cpu_us)

    def read_commands(self) -> Reading:
        """The commands alone, which is the least work for a server under the meter."""
        return Reading(_commands(self._redis.info("commandstats")))

    def empty(self) -> None:
        self._redis.flushdb()

    def without_a_log_on_disk(self) -> None:
        """Else a decision that writes pays for the append-only file too: counters of limits are hardly worth one."""
        self._redis.config_set("appendonly", "no")

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[bytes]]:
        """Everything that Redis runs meanwhile, as MONITOR says it: with the source of each command, a client or `lua`.

        The lines are there when the `with` has ended.
        """
        lines: list[bytes] = []
        self._redis.ping()  # a connection that is made while it is watched would be seen
        with self._watcher.monitor() as monitor:  # type: ignore[no-untyped-call]
            yield lines
            self._redis.echo(END_OF_CAPTURE)
            while not (line := monitor.connection.read_response(disable_decoding=True)).endswith(b'"%b"' % END_OF_CAPTURE):
                lines.append(line)

    def replayed(self, commands: Sequence[Command]) -> None:
        """The same again in one pipeline, so that Redis is busy with nothing but them. Raises where one of them now fails."""
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        pipeline.execute()

    def size(self) -> tuple[int, int]:
        """(what MEMORY USAGE says of all keys together, bytes of their names)."""
        keys = list(self._redis.scan_iter(count=1_000))
        return sum(self._redis.memory_usage(key, samples=0) or 0 for key in keys), sum(map(len, keys))

    def server_version(self) -> str:
        return str(self._redis.info("server")["redis_version"])

    def close(self) -> None:
        self._watcher.close()
        self._redis.close()


def captured(lines: Iterable[bytes]) -> Captured:
    """From the lines of MONITOR: `1790000000.123456 [0 127.0.0.1:5000] "evalsha" "..."`, of a script `[0 lua] "set" ...`."""
    commands: list[Command] = []
    by_scripts: Counter[str] = Counter()
    for line in lines:
        found = MONITORED.match(line)
        if found is None:
            raise ValueError(f"MONITOR said {line!r}")
        # The escapes are those of a Python literal.
        words = tuple(ast.literal_eval("b" + word.decode("latin-1")) for word in WORD.findall(found["words"]))
        if found["who"] == b"lua":
            by_scripts[name_of(words)] += 1
        else:
            commands.append(words)
    return Captured(commands, by_scripts)


def time_us(before: Reading, after: Reading, names: Iterable[str]) -> int:
    """Microseconds of these commands between two readings."""
    return sum(after.commands.get(name, (0, 0))[1] - before.commands.get(name, (0, 0))[1] for name in names)


def calls(before: Reading, after: Reading) -> Counter[str]:
    """How often each command was called between two readings, without the reading itself."""
    counted = {name: number - before.commands.get(name, (0, 0))[0] for name, (number, _) in after.commands.items()}
    return Counter({name: number for name, number in counted.items() if number and name not in ("info", "flushdb")})


def round_trips(before: Reading, after: Reading) -> int:
    """Requests that clients sent between two readings, without the second reading's own."""
    return after.reads - before.reads - 1


def name_of(command: Command) -> str:
    return command[0].decode().lower()


def _commands(info: dict[str, Any]) -> dict[str, tuple[int, int]]:
    stats = {name: each for name, each in info.items() if name.startswith("cmdstat_")}
    return {name.removeprefix("cmdstat_"): (each["calls"], each["usec"]) for name, each in stats.items()}
