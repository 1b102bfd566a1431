"""The kinds of faults: declared once, with words for all of them, and the same attributes as the proxy's toxics."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.faults.describe import describe
from loadtests.faults.kinds import KINDS
from loadtests.faults.pattern import FaultPattern
from loadtests.faults.proxy import toxics
from loadtests.faults.schedule import NETWORK_KINDS, PROCESS_KINDS, Fault


def test_every_kind_is_declared_and_none_is_both() -> None:
    assert set(KINDS) == NETWORK_KINDS | PROCESS_KINDS
    assert not NETWORK_KINDS & PROCESS_KINDS


def test_the_attributes_of_what_spoils_connections_are_those_the_proxy_takes() -> None:
    for kind in NETWORK_KINDS - {"down"}:
        assert set(KINDS[kind].attributes) == set(toxics.KINDS[kind].model_fields)


@pytest.mark.parametrize("kind", sorted(NETWORK_KINDS - {"down"}))
@pytest.mark.parametrize("end", ["least", "most"])
def test_the_proxy_takes_all_that_a_schedule_may_ask_of_it(kind: str, end: str) -> None:
    asked: dict[str, Any] = {name: int(getattr(attribute, end)) for name, attribute in KINDS[kind].attributes.items()}
    if kind == "slicer":
        asked["size_variation"] = 0
    FaultPattern(kind, "redis", 1, asked)

    toxics.KINDS[kind].model_validate(asked)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("timeout", "redis", 1, 1, {"timeout": 0}), "Redis answers nothing"),
        (Fault("timeout", "redis", 1, 1, {"timeout": 0}, stream="both"), "Redis is cut off"),
        (Fault("timeout", "redis@replica-2", 1, 1, {"timeout": 0}, stream="both"), "Redis is cut off, for replica-2 alone"),
        (Fault("timeout", "redis", 1, 1, {"timeout": 50}, "upstream"), "Redis hears nothing, and the connection ends after 50 ms"),
        (Fault("latency", "redis", 1, 1, {"latency": 20, "jitter": 5}), "Redis answers 20 ms late (give or take 5)"),
        (Fault("latency", "redis", 1, 1, {"latency": 20}, "upstream"), "Redis is asked 20 ms late"),
        (Fault("bandwidth", "redis", 1, 1, {"rate": 64}), "Redis sends at most 64 KB/s"),
        (Fault("slow_close", "redis", 1, 1, {"delay": 500}), "connections to Redis close 500 ms late"),
        (
            Fault("reset_peer", "redis", 1, 1, {"timeout": 0}, toxicity=0.3),
            "connections to Redis are reset, on 30 % of the connections",
        ),
        (Fault("slicer", "redis", 1, 1, {"average_size": 64}), "answers of Redis come in pieces of 64 bytes"),
        (Fault("limit_data", "redis", 1, 1, {"bytes": 2000}), "connections to Redis end after 2,000 bytes"),
        (Fault("down", "redis", 1, 1), "Redis refuses connections"),
        (Fault("kill", "replica-1", 1, 1), "replica-1 is killed"),
        (Fault("wipe", "redis", 1, 1), "Redis is killed and loses its data"),
        (Fault("pause", "click-worker", 1, 1), "click-worker stands still"),
        (Fault("power_loss", "host", 1, 1), "the host loses its power"),
        (Fault("clock_offset", "replica-1", 1, 1, {"seconds": -2.5}), "the clock of replica-1 is 2.5 s behind"),
        (Fault("slow_store", "replica-1", 1, 1, {"delay": 100}), "the store is 100 ms slower for replica-1"),
        (Fault("disk_full", "redis", 1, 1, {"bytes": 0}), "the disk is full for Redis"),
        (Fault("disk_full", "redis", 1, 1, {"bytes": 4096}), "Redis can write no file beyond 4,096 bytes"),
    ],
)
def test_a_fault_is_told_in_a_few_plain_words(fault: Fault, words: str) -> None:
    assert describe(fault) == words


def test_there_are_words_for_each_kind() -> None:
    for kind, declared in KINDS.items():
        fault = Fault(kind, "redis", 1, 1, dict.fromkeys(declared.attributes, 1.0), stream="downstream")
        assert describe(fault)
