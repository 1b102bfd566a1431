"""First on its CPU while it sends, as before afterwards, and never its children."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadtests.generator.real_time import real_time

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the system has no such policies")


def policy() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def interrupted() -> None:
    with real_time(True) as first:
        assert (policy() == os.SCHED_FIFO) is first
        words = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"]
        assert int(subprocess.run(words, capture_output=True, check=True).stdout) == os.SCHED_OTHER
        raise KeyError


def test_it_ends_with_the_block_and_is_not_handed_on() -> None:
    before = os.sched_getscheduler(0)
    with pytest.raises(KeyError):
        interrupted()
    assert os.sched_getscheduler(0) == before


def test_without_the_right_to_it_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    before = os.sched_getscheduler(0)
    with real_time(True) as first:
        assert not first
        assert os.sched_getscheduler(0) == before


def test_a_generator_that_shares_its_cpu_with_servers_does_not_come_first() -> None:
    before = os.sched_getscheduler(0)
    with real_time(False) as first:
        assert not first
        assert os.sched_getscheduler(0) == before
