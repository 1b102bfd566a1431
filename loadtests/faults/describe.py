"""A fault in a few plain words, for a band on a plot and a line of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from loadtests.faults.kinds import HOST
from loadtests.faults.schedule import NETWORK_KINDS, Fault

Words = Callable[[str, Fault], str]  # (who, fault) -> a short main clause


def describe(fault: Fault) -> str:
    """Short and plain: "Redis answers nothing", "replica-1 is killed"."""
    server, _, process = fault.target.partition("@")
    words = _WORDS[fault.kind](shown(server), fault)
    if fault.kind in NETWORK_KINDS and fault.toxicity < 1:
        words += f", on {100 * fault.toxicity:.3g} % of the connections"
    return f"{words}, for {process} alone" if process else words


def shown(name: str) -> str:
    """A process or server as a sentence says it."""
    return {"redis": "Redis", "kafka": "Kafka", "cassandra": "Cassandra", HOST: "the host"}.get(name, name)


def _latency(who: str, fault: Fault) -> str:
    jitter = fault.attributes.get("jitter", 0)
    varied = f" (give or take {jitter:g})" if jitter else ""
    verb = {"downstream": "answers", "upstream": "is asked", "both": "is asked and answers"}[fault.stream]
    return f"{who} {verb} {fault.attributes['latency']:g} ms late{varied}"


def _timeout(who: str, fault: Fault) -> str:
    verb = {"downstream": "answers nothing", "upstream": "hears nothing", "both": "is cut off"}[fault.stream]
    after_ms = fault.attributes["timeout"]
    return f"{who} {verb}" + (f", and the connection ends after {after_ms:g} ms" if after_ms else "")


def _bandwidth(who: str, fault: Fault) -> str:
    verb = {"downstream": "sends", "upstream": "is sent", "both": "sends and is sent"}[fault.stream]
    return f"{who} {verb} at most {fault.attributes['rate']:g} KB/s"


def _slicer(who: str, fault: Fault) -> str:
    what = {"downstream": f"answers of {who}", "upstream": f"questions to {who}", "both": f"all that passes to and from {who}"}
    verb = "comes" if fault.stream == "both" else "come"
    return f"{what[fault.stream]} {verb} in pieces of {fault.attributes['average_size']:g} bytes"


def _reset_peer(who: str, fault: Fault) -> str:
    after_ms = fault.attributes["timeout"]
    return f"connections to {who} are reset" + (f" after {after_ms:g} ms" if after_ms else "")


def _clock_offset(who: str, fault: Fault) -> str:
    seconds = fault.attributes["seconds"]
    return f"the clock of {who} is {abs(seconds):g} s {'ahead' if seconds >= 0 else 'behind'}"


def _disk_full(who: str, fault: Fault) -> str:
    at_bytes = fault.attributes["bytes"]
    return f"the disk is full for {who}" if not at_bytes else f"{who} can write no file beyond {at_bytes:,.0f} bytes"


_WORDS: Mapping[str, Words] = MappingProxyType(
    {
        "latency": _latency,
        "bandwidth": _bandwidth,
        "slow_close": lambda who, fault: f"connections to {who} close {fault.attributes['delay']:g} ms late",
        "timeout": _timeout,
        "reset_peer": _reset_peer,
        "slicer": _slicer,
        "limit_data": lambda who, fault: f"connections to {who} end after {fault.attributes['bytes']:,.0f} bytes",
        "down": lambda who, fault: f"{who} refuses connections",
        "kill": lambda who, fault: f"{who} is killed",
        "wipe": lambda who, fault: f"{who} is killed and loses its data",
        "pause": lambda who, fault: f"{who} stands still",
        "power_loss": lambda who, fault: f"{who} loses its power",
        "clock_offset": _clock_offset,
        "slow_store": lambda who, fault: f"the store is {fault.attributes['delay']:g} ms slower for {who}",
        "disk_full": _disk_full,
    }
)
