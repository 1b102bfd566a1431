"""Each kind of fault: what it does exactly, what it stands for, what it can't do, and its attributes with their units.

THE declaration: schedules are checked against it, and the page of faults is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# Names of processes that are servers of somebody else's make: they have data of their own, and no hooks of ours.
SERVERS = frozenset({"redis", "kafka", "cassandra"})
# Of these, those that a run starts for itself. What others may use too can be killed and held still, and keeps its data.
OWN_SERVERS = frozenset({"redis"})
# All processes and servers of a design at once.
HOST = "host"
# Kinds that a process of ours does to itself, by a hook. They outlive a kill, and bear any other fault beside them.
HOOKED_KINDS = frozenset({"clock_offset", "slow_store"})
# Kinds that take a server's data: its processes beside it have none of their own to lose.
DATA_KINDS = frozenset({"wipe", "power_loss"})
# What is not done to a server that is not the run's own.
OWN_KINDS = DATA_KINDS | {"disk_full"}

HOUR_S = 3_600.0
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Attribute:
    """A number that says how bad a fault is. Toxiproxy takes whole numbers only."""

    unit: str
    most: float
    least: float = 0.0
    required: bool = True
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault, in sentences for people."""

    does: str
    stands_for: str
    limits: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "latency": Kind(
            does="Each piece of data arrives `latency` ms later, give or take up to `jitter` ms. Order is kept, and the delays of "
            "pieces that follow one another do not add up.",
            stands_for="a server in another zone, a busy network, a long queue in a switch",
            attributes={"latency": Attribute("ms", HOUR_S * 1e3), "jitter": Attribute("ms", HOUR_S * 1e3, required=False)},
        ),
        "bandwidth": Kind(
            does="No more than `rate` KB pass in a second; what does not fit waits, and at last the sender does.",
            stands_for="a narrow or crowded link",
            attributes={"rate": Attribute("KB/s", GIGABYTE / 1e3, least=1)},
        ),
        "slow_close": Kind(
            does="A connection that one side closes stays open for the other for `delay` ms.",
            stands_for="a peer that is slow to hang up, so that sockets pile up",
            limits="Bites only where connections are closed; a pool that keeps its connections hardly notices.",
            attributes={"delay": Attribute("ms", HOUR_S * 1e3)},
        ),
        "timeout": Kind(
            does="What is sent is dropped, and the connection closed after `timeout` ms; with 0 it stays open and silent until the "
            "fault ends, and is closed then.",
            stands_for="a black hole: a firewall that drops, a host that is gone without a word, a server that hangs",
            limits="A lost packet is sent again by TCP and arrives late; what a proxy drops is gone, and the connection with it. "
            "New connections are accepted, so a client sees silence, never a connect that times out.",
            attributes={"timeout": Attribute("ms", HOUR_S * 1e3)},
        ),
        "reset_peer": Kind(
            does="`timeout` ms after the next data came, the connection is reset (RST) for both sides; what was under way is gone.",
            stands_for="a load balancer that is restarted, a process that crashes, a table of connections that is full",
            attributes={"timeout": Attribute("ms", HOUR_S * 1e3)},
        ),
        "slicer": Kind(
            does="Data is cut into pieces of `average_size` bytes, give or take `size_variation`, sent `delay` us apart.",
            stands_for="small packets; finds a reader that takes one read for one message",
            attributes={
                "average_size": Attribute("bytes", GIGABYTE, least=1),
                "size_variation": Attribute("bytes", GIGABYTE, required=False),
                "delay": Attribute("us", HOUR_S * 1e6, required=False),
            },
        ),
        "limit_data": Kind(
            does="The connection is closed once `bytes` bytes have passed: the last message is cut anywhere.",
            stands_for="a connection that breaks in the middle of an answer",
            attributes={"bytes": Attribute("bytes", GIGABYTE)},
        ),
        "down": Kind(
            does="All connections are broken, and new ones are refused, until the fault ends.",
            stands_for="a server that is not there, a failover, a wrong address",
        ),
        "kill": Kind(
            does="SIGKILL. When the fault ends the process is started again on its port, with its data; it then takes its time "
            "until it is ready.",
            stands_for="a crash, the out-of-memory killer, a deployment without a farewell",
            limits="The operating system goes on and still writes what the process had handed to it; for less, see power_loss. "
            "Kafka and Cassandra take seconds to start, and the fault is over when they answer; Kafka serves about ten later.",
        ),
        "wipe": Kind(
            does="SIGKILL of a server; when the fault ends it is started again, empty.",
            stands_for="a lost volume, a cache without persistence, a failover to a replica that has nothing yet",
            limits="Redis only: a process of the design has no data of its own, and Kafka and Cassandra may hold what is others'.",
        ),
        "pause": Kind(
            does="SIGSTOP, and SIGCONT when the fault ends: connections stay open and are not served, and its clock goes on.",
            stands_for="a long garbage collection, a virtual machine that is moved, a lease that runs out unnoticed",
        ),
        "power_loss": Kind(
            does="SIGKILL, and what the server had acknowledged but not synced to disk is dropped: Redis with "
            "`appendfsync everysec` loses its last second. On `host` all processes of the design and its Redis fall at once, and "
            "are started again when the fault ends, Redis first; Kafka and Cassandra, which are not the run's own, go on.",
            stands_for="a power cut, a kernel panic, a hypervisor that dies",
            limits="A loss drops all that the sync promise does not cover, which is the worst that is allowed, not the usual. A "
            "SQLite commit that was acknowledged has been synced, so nothing of it is dropped; disks that lie about a sync are not "
            "played.",
        ),
        "clock_offset": Kind(
            does="The wall clock of the process is `seconds` off, at once, and right again at once when the fault ends.",
            stands_for="a clock that is stepped by NTP, a host with a wrong time",
            limits="Only for processes of ours, by an injected clock. Monotonic clocks, timers and the servers' clocks stay right.",
            attributes={"seconds": Attribute("s", HOUR_S, least=-HOUR_S, whole=False)},
        ),
        "slow_store": Kind(
            does="Each operation of the process on its store takes `delay` ms longer, without keeping others waiting.",
            stands_for="a store that is busy, far away, or compacts its files",
            limits="Only for processes of ours, by a hook. The delay comes before the operation, so it holds no lock of the store.",
            attributes={"delay": Attribute("ms", 60_000)},
        ),
        "disk_full": Kind(
            does="The process can write no file beyond its first `bytes` bytes; with 0 no write to a file succeeds. Lifted when "
            "the fault ends.",
            stands_for="a full disk, a quota, a log that nobody rotates",
            limits="Done with a limit on the size of files (RLIMIT_FSIZE) of a process that runs, so Linux only. The error is "
            "EFBIG where a full disk says ENOSPC, and files can still be made and removed.",
            attributes={"bytes": Attribute("bytes", GIGABYTE)},
        ),
    }
)
