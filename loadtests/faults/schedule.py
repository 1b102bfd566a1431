"""Which fault strikes what, when and for how long: plain data, drawn from names and a seed.

The same names, seed and length give the same schedule on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# What a proxy does to connections (Toxiproxy's names; `down` refuses and breaks them all).
NETWORK_KINDS = frozenset({"latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "down"})
# What happens to a process or to what it stands on.
PROCESS_KINDS = frozenset(
    {
        "kill",  # SIGKILL; started again with its data when the fault ends
        "wipe",  # SIGKILL; started again without its data
        "pause",  # SIGSTOP; SIGCONT when the fault ends
        "power_loss",  # SIGKILL, and what was not synced to disk is gone; started again when the fault ends
        "clock_offset",  # its clock is `seconds` off
        "slow_store",  # each operation of its store takes `delay` ms longer
        "disk_full",  # it can write no more than `bytes` to any file
    }
)
Stream = Literal["upstream", "downstream", "both"]  # towards the server, from it, or a toxic in each direction


class BadSchedule(ValueError):
    """A schedule that can't be carried out. The message is a sentence with its name, the key and what would be right."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a schedule; times are seconds since the load began.

    `target`: for a network kind a link, "redis" (the links of all processes to Redis) or "redis@replica-1" (of this one alone);
    for a process kind a process, "redis", "kafka", "replica-1", "click-worker", or "host" (all processes of the design and its
    Redis at once). `attributes` as Toxiproxy names them, or as above; `loadtests.faults.kinds` has their units. `toxicity` is the
    share of connections that are spoilt.
    """

    kind: str
    target: str
    at_s: float
    for_s: float
    attributes: Mapping[str, float] = field(default_factory=dict)
    stream: Stream = "downstream"
    toxicity: float = 1.0
    schedule: str = ""

    @property
    def until_s(self) -> float:
        return round(self.at_s + self.for_s, 6)
