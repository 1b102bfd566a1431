"""The page `FAULTS.md`: every kind of fault, and every schedule that has a name, made from their declarations."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.faults.kinds import KINDS, Attribute, Kind
from loadtests.faults.named import NamedSchedule, TimedFault, read_schedule, schedule_names
from loadtests.faults.pattern import MAX_FOR_S, MIN_FOR_S, Amount
from loadtests.faults.plan import CALM_START_S, STRUCK_SHARE
from loadtests.faults.schedule import NETWORK_KINDS

OPENING = f"""# Faults

What a check, or a comparison, breaks on purpose. Made from `kinds.py` and the files of `schedules/`.

    designs faults
    designs check url_shortener --faults redis_black_hole,worker_kill_loop --seed 7

A schedule says which fault strikes what, when and for how long. Whatever is left to chance is drawn from the seed, so the same
names, seed and length give the same schedule again, on every machine. What really happened, and when, is in the history of the run
and behind the plots of its report.

Nothing begins in the first {CALM_START_S:g} s of the load, and all has ended after {100 * STRUCK_SHARE:g} % of it, so that a report
shows calm on both sides. What ends or stops a process, or fills its disk, never overlaps another such fault of that process; most
else may overlap, and everything may be down at once. Where two schedules want what can't be, the later fault is dropped.
"""

CONNECTIONS = """## Faults of connections

A proxy stands between each process of the design and each server it uses, and does as it is told, in the words of
[Toxiproxy](https://github.com/Shopify/toxiproxy). It is there only when faults are wanted; in a comparison it is in the way of all
variants or of none (`designs bench fault-proxy` says what it costs).

- `target` is a server, `"redis"`, `"kafka"` or `"cassandra"`, for the connections of all processes to it, or one process's,
  `"redis@replica-1"`.
- `stream` is the direction that is spoilt: `"downstream"`, from the server (the usual one), `"upstream"`, to it, or `"both"`.
- `toxicity` is the share of **connections** that are spoilt. With a pool of connections 0.3 is not 30 % of the requests: some
  connections are always bad, the others never.
- A proxy is no wire. It reads and writes streams, so it can delay, hold back, cut and end a connection; it can't lose, double or
  reorder packets, and TCP's own repairs (retransmission, window, slow start) take no part.
"""

PROCESSES = """## Faults of processes

They come from outside (signals, limits, files), but for the clock and the slow store, which need a hook inside a process of ours;
without faults there is no hook.

- `target` is a process of the design, `"replica-1"` or `"click-worker"`, a server, `"redis"`, `"kafka"` or `"cassandra"`, or
  `"host"`.
- Redis is started for the run and belongs to it. Kafka and Cassandra are given, and others may use them: they can be killed and
  held still, where they are containers of `make up` or `SERVERS_CONTROL` names a command that understands `kill NAME`, `up NAME`,
  `stop NAME` and `cont NAME`; never on another machine, and never so that data is lost.
"""

OWN = f"""## Schedules of your own

`--faults ./mine.toml` reads a file of yours. One `[[fault]]` for each thing that strikes:

    what = "One replica after another is killed, while answers of Redis are late."

    [[fault]]
    kind = "kill"
    target = "replica-*"            # one that fits, drawn for each strike; with pick = "all" every one that fits
    first_s = 0.8                   # seconds since the load began
    every_s = 2.0                   # again and again; left out: once
    for_s = [0.2, 0.6]              # a number, or [least, most] to draw from for each strike
    jitter_s = 0.3                  # each start is moved by up to this, either way

    [[fault]]
    kind = "latency"
    target = "redis"
    attributes = {{ latency = [5, 80], jitter = 5 }}
    stream = "both"
    toxicity = 0.5
    first_s = 0.5
    for_s = 3.0

A fault lasts {MIN_FOR_S:g} s to {MAX_FOR_S:,.0f} s. Several schedules are given with commas between them.

`--faults random` draws everything: one to four strikes in every 5 s, from the menu of the design, which is in
`loadtests/<design>/faults.py`.
"""


def faults_page() -> str:
    """The whole page, from `KINDS` and the files."""
    network = {name: kind for name, kind in KINDS.items() if name in NETWORK_KINDS}
    process = {name: kind for name, kind in KINDS.items() if name not in NETWORK_KINDS}
    schedules = [read_schedule(name) for name in schedule_names()]
    parts = [OPENING, CONNECTIONS, *map(_section, network.items()), PROCESSES, *map(_section, process.items())]
    return "\n".join([*parts, _named(schedules), OWN])


def _section(item: tuple[str, Kind]) -> str:
    name, kind = item
    lines = [f"### {name}", "", kind.does, "", f"- Stands for: {kind.stands_for}."]
    if kind.attributes:
        lines.append(f"- Attributes: {', '.join(_attribute(each, attribute) for each, attribute in kind.attributes.items())}.")
    if kind.limits:
        lines.append(f"- Limits: {kind.limits}")
    return "\n".join([*lines, ""])


def _attribute(name: str, attribute: Attribute) -> str:
    return f"`{name}` in {attribute.unit}" + ("" if attribute.required else " (may be left out)")


def _named(schedules: Sequence[NamedSchedule]) -> str:
    rows = [
        f"| [`{each.name}`](schedules/{each.name}.toml) | {each.what} | {'<br>'.join(map(_when, each.faults))} |"
        for each in schedules
    ]
    return "\n".join(["## Schedules", "", "| name | what happens | faults |", "|---|---|---|", *rows, ""])


def _when(timed: TimedFault) -> str:
    pattern = timed.pattern
    everyone = "all of " if pattern.pick == "all" else ""
    share = "" if pattern.toxicity == 1.0 else f", on {_percent(pattern.toxicity)} of the connections"
    attributes = ", ".join(f"{name} {_amount(given)}" for name, given in pattern.attributes.items())
    stream = f", {pattern.stream}" if pattern.stream != "downstream" else ""
    again = f", every {timed.every_s:g} s" if timed.every_s is not None else ""
    words = f"`{pattern.kind}` of {everyone}`{pattern.target}`" + (f" ({attributes}{stream})" if attributes else "")
    return f"{words}{share}, at {timed.first_s:g} s for {_amount(pattern.for_s)} s{again}"


def _amount(given: Amount) -> str:
    return f"{given[0]:g} to {given[1]:g}" if isinstance(given, tuple) else f"{given:g}"


def _percent(given: Amount) -> str:
    return f"{_amount((100 * given[0], 100 * given[1]) if isinstance(given, tuple) else 100 * given)} %"
