"""The generator before everybody else on its own CPU, where the system allows it, so that a neighbour does not make it late.

Linux gives an ordinary process on a busy CPU its turn within some milliseconds; a real-time one, at once. The lowest real-time
priority is enough. Only for a generator pinned to a CPU without servers: elsewhere it would take the time that it measures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PRIORITY = 1


@contextmanager
def real_time(wanted: bool) -> Iterator[bool]:
    """Whether the calling thread now comes first (SCHED_FIFO); afterwards it is as before. Children and other threads do not.

    Needs root or CAP_SYS_NICE; without, nothing changes. The kernel keeps a share of each second for everybody else.
    """
    if not wanted or not hasattr(os, "sched_setscheduler"):
        yield False
        return
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except OSError:  # PermissionError, or a container that knows no real time
        yield False
        return
    try:
        yield True
    finally:
        try:
            os.sched_setscheduler(0, policy, param)
        except PermissionError:  # real time may be granted without the right to take the mark off the children again
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, param)
