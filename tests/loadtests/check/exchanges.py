"""Exchanges and strikes as a test writes them."""

from __future__ import annotations

from loadtests.history.operation import Struck
from loadtests.workload import Exchange


def asked(at_s: float, took_s: float = 0.001, status: int = 302, op: str = "redirect") -> Exchange:
    """One that was sent when it was due."""
    return Exchange(op, 0, 0, at_s, at_s, at_s + took_s, at_s + took_s, status, b"")


def struck(began_s: float, ended_s: float, target: str = "redis", schedule: str = "redis_black_hole") -> Struck:
    return Struck("timeout", target, began_s, ended_s, schedule, {"timeout": 0.0}, "Redis answers nothing")
