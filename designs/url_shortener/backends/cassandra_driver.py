"""How the Cassandra driver is set up: whom it asks, how many answers it waits for and how long, and what its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from cassandra import ConsistencyLevel, DriverException, RequestValidationException, Unavailable
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    NoSpeculativeExecutionPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage, SyntaxException
from cassandra.query import dict_factory, tuple_factory

from designs.url_shortener.ports import StoreError

PROTOCOL_VERSION = 5  # of Cassandra 4.0 and later; named, so that the driver need not find out by failing
REQUEST_S = 1.5
SCHEMA_S = 10.0
RECONNECT_S = 0.5
HEARTBEAT_S = 1.0  # a connection on which nothing came for so long is asked, and given up when it says nothing for as long again
LEVELS = {
    "local_quorum": ConsistencyLevel.LOCAL_QUORUM,
    "one": ConsistencyLevel.ONE,
    "all": ConsistencyLevel.ALL,
}
Kind: TypeAlias = Literal["read", "serial_read", "write", "conditional"]
DRIVER_ERRORS = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage, OSError)
# What the driver has to say reaches the caller as an error. Whoever wants its own words adds a handler.
logging.getLogger("cassandra").addHandler(logging.NullHandler())


def profiles(consistency: str, speculative_s: float = 0.0, request_s: float = REQUEST_S) -> dict[Any, Any]:
    """The driver's execution profiles: one for each kind of statement, and "schema"."""
    nearest = TokenAwarePolicy(DCAwareRoundRobinPolicy())
    knob = LEVELS[consistency]

    def profile(level: int = knob, request_s: float = request_s, rows: Any = tuple_factory, second_s: float = 0.0) -> Any:
        return ExecutionProfile(
            load_balancing_policy=nearest,
            retry_policy=FallthroughRetryPolicy(),  # nothing is sent twice by itself
            consistency_level=level,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=request_s,
            row_factory=rows,
            speculative_execution_policy=(
                ConstantSpeculativeExecutionPolicy(second_s, 1) if second_s else NoSpeculativeExecutionPolicy()
            ),
        )

    return {
        EXEC_PROFILE_DEFAULT: profile(),
        "read": profile(second_s=speculative_s),
        "serial_read": profile(ConsistencyLevel.LOCAL_SERIAL),
        "write": profile(),
        "conditional": profile(rows=dict_factory),
        "schema": profile(request_s=SCHEMA_S),
    }


def connect(addresses: Sequence[tuple[str, int]], profiles: dict[Any, Any]) -> tuple[Any, Any]:
    """(driver, session) with a connection to every node of the nearest data centre. Waits; raises one of `DRIVER_ERRORS`."""
    driver = Cluster(
        addresses,
        port=addresses[0][1],
        protocol_version=PROTOCOL_VERSION,
        compression=False,
        execution_profiles=profiles,
        reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, max_attempts=None),
        connect_timeout=REQUEST_S,
        control_connection_timeout=REQUEST_S,
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=HEARTBEAT_S,
        monitor_reporting_enabled=False,
    )
    try:
        session = driver.connect(wait_for_all_pools=True)
    except BaseException:
        driver.shutdown()
        raise
    session.default_fetch_size = None  # no pages: whatever is asked here has a bound of its own
    return driver, session


def store_error(error: Exception, kind: Kind) -> StoreError:
    """What an error of the driver means for whoever wanted it done.

    NoHostAvailable      it was sent to nobody
    invalid in itself    it was refused before anything was done
    Unavailable          too few copies were up, and a plain write was not begun. A conditional one may have been: it takes several
                         rounds, and in each of them the copies are counted
    anything else        it was sent, and nobody knows: a time-out on either side, a connection that broke, Paxos without an end
    """
    definite: tuple[type[Exception], ...] = (NoHostAvailable, RequestValidationException, SyntaxException)
    if kind != "conditional":
        definite = (*definite, Unavailable)
    maybe = kind in ("write", "conditional") and not isinstance(error, definite)
    sentence = " ".join(str(error).split())[:200]
    return StoreError(f"Cassandra: {type(error).__name__}: {sentence}", may_have_happened=maybe)
