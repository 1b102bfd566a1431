"""A Cassandra cluster for asyncio: what it is asked, how surely, and what its errors mean.

The driver has threads of its own. A request is handed to it without waiting, and its answer comes back to the event loop by
`call_soon_threadsafe`. What waits (contact, schema, preparing statements) does so in another thread, once for all who want it.

Contact is made at the first use. A node that was gone is found again by the driver, which tries every `RECONNECT_S`; when for
`RENEW_AFTER_S` there was no node to ask at all, everything is begun anew, names looked up again: addresses may have changed.

Nothing is ever sent twice by itself, except reads when `speculative_ms` is set. Each request ends within `request_s`.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cassandra.cluster import NoHostAvailable
from cassandra.query import BatchStatement, BatchType

from designs.building_blocks.deadline import within
from designs.building_blocks.settings import parse_addresses
from designs.url_shortener.backends.cassandra_driver import DRIVER_ERRORS, REQUEST_S, Kind, connect, profiles, store_error
from designs.url_shortener.backends.cassandra_schema import ensure_schema, keyspace_name
from designs.url_shortener.ports import StoreError

_TABLE = re.compile(r"\b(FROM|INTO|UPDATE) (\w+)(?![\w.])")
PAUSE_S = 0.25  # between attempts to make contact
RENEW_AFTER_S = 5.0
# The driver numbers the requests of a connection up to 32,767 and blocks its caller when all are used. Requests that timed out keep
# theirs until it replaces the connection, at three quarters.
MAX_IN_FLIGHT = 4_096


@dataclass(frozen=True, eq=False, slots=True)
class Statement:
    """A statement to be prepared. It is its own key, so a module makes each of its statements once.

    read          at the knob's consistency; may be asked of a second node when the first is slow
    serial_read   also sees what a conditional write has begun and not finished; of one partition only
    write         may be done twice without harm
    conditional   compare-and-set (a lightweight transaction); rows come as dicts, the verdict under "[applied]"
    """

    kind: Kind
    cql: str


class CassandraCluster:
    """The connections of one process to one keyspace, shared by its stores. `close` ends every thread it has."""

    def __init__(
        self,
        hosts: str,
        keyspace: str,
        *,
        consistency: str,
        speculative_ms: float,
        replication_factor: int = 1,
        request_s: float = REQUEST_S,
    ) -> None:
        self._addresses = parse_addresses(hosts)
        self._keyspace = keyspace_name(keyspace)
        self._profiles = partial(profiles, consistency, speculative_ms / 1000, request_s)
        self._replication_factor = replication_factor
        self._wanted: list[Statement] = []
        self._prepared: dict[Statement, Any] = {}
        self._driver: Any = None
        self._session: Any = None
        self._one_at_a_time = threading.Lock()
        self._readying: asyncio.Task[StoreError | None] | None = None
        self._failed: tuple[float, StoreError] | None = None
        self._nobody_since_s: float | None = None
        self._in_flight = 0
        self._closed = False

    def use(self, statements: Iterable[Statement]) -> None:
        """These are going to be run. They are prepared when contact is made, or before the next request."""
        self._wanted += [statement for statement in statements if statement not in self._wanted]

    async def ready(self, within_s: float = REQUEST_S) -> None:
        """Make contact, make the tables if they are missing, and prepare what will be run. Raises StoreError: nothing happened.

        After `within_s` it raises too, and what was begun goes on.
        """
        if self._closed:
            raise StoreError("the store is closed", may_have_happened=False)
        if self._is_ready:
            return
        if self._failed is not None and time.monotonic() < self._failed[0] + PAUSE_S:
            raise _again(self._failed[1])
        loop = asyncio.get_running_loop()
        if self._readying is None or self._readying.done() or self._readying.get_loop() is not loop:
            self._readying = loop.create_task(self._become_ready())
        try:
            async with within(within_s):
                error = await asyncio.shield(self._readying)
        except TimeoutError:
            raise StoreError(f"Cassandra could not be reached within {within_s:g} s", may_have_happened=False) from None
        if error is not None:
            raise _again(error)

    async def rows(self, statement: Statement, *values: Any) -> Sequence[Any]:
        """The rows of the answer, all of them: no statement here has more than fit into one. Raises StoreError."""
        if not self._is_ready:
            await self.ready()
        return await self._execute(self._found(statement).bind(values), statement.kind)

    async def applied(self, statement: Statement, *values: Any) -> dict[str, Any] | None:
        """None when a conditional statement was applied, else what was there instead (of the columns that were compared)."""
        return _verdict(await self.rows(statement, *values))

    async def applied_together(self, parts: Sequence[tuple[Statement, Sequence[Any]]]) -> bool:
        """Statements of one partition, done all or not at all, as the one among them that has a condition says."""
        if not self._is_ready:
            await self.ready()
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        for statement, values in parts:
            batch.add(self._found(statement), values)
        return _verdict(await self._execute(batch, "conditional")) is None

    async def close(self) -> None:
        """Let go of every connection and thread. What is in flight ends in an error."""
        self._closed = True
        if self._readying is not None and self._readying.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([self._readying])
        if self._driver is not None:
            await asyncio.to_thread(self._forget().shutdown)

    def _found(self, statement: Statement) -> Any:
        prepared = self._prepared.get(statement)
        if prepared is None:  # contact was lost for good since `ready`, or closed
            raise StoreError("the store is closed, or begins anew", may_have_happened=False)
        return prepared

    # -- requests -------------------------------------------------------------------------------------------------------

    async def _execute(self, query: Any, kind: Kind) -> Sequence[Any]:
        session = self._session
        if session is None:
            raise StoreError("the store is closed", may_have_happened=False)
        if self._in_flight >= MAX_IN_FLIGHT:
            raise StoreError(f"{MAX_IN_FLIGHT} requests wait for Cassandra already", may_have_happened=False)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Any]] = loop.create_future()
        self._in_flight += 1
        response = session.execute_async(query, execution_profile=kind)
        response.add_callbacks(
            partial(self._hand_over, loop, answer, answer.set_result), partial(self._hand_over, loop, answer, answer.set_exception)
        )
        try:
            rows = await answer or ()
        except NoHostAvailable as error:
            await self._nobody()
            raise store_error(error, kind) from error
        except Exception as error:  # whatever the driver gave as the answer
            raise store_error(error, kind) from error
        self._nobody_since_s = None
        return rows

    def _hand_over(
        self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], settle: Callable[[Any], None], value: Any
    ) -> None:
        """In the driver's thread, or in ours when the answer is there at once."""
        try:
            loop.call_soon_threadsafe(self._settle, answer, settle, value)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._in_flight -= 1

    def _settle(self, answer: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
        self._in_flight -= 1
        if not answer.done():  # else the caller gave up waiting
            settle(value)

    async def _nobody(self) -> None:
        """There was no node to ask. After a while of that, begin anew at the next request."""
        now_s = time.monotonic()
        if self._nobody_since_s is None:
            self._nobody_since_s = now_s
        elif now_s - self._nobody_since_s > RENEW_AFTER_S and self._driver is not None:
            self._nobody_since_s = None
            await asyncio.shield(asyncio.to_thread(self._forget().shutdown))

    # -- contact --------------------------------------------------------------------------------------------------------

    @property
    def _is_ready(self) -> bool:
        return self._session is not None and len(self._prepared) == len(self._wanted)

    async def _become_ready(self) -> StoreError | None:
        try:
            await asyncio.to_thread(self._make_ready)
        except StoreError as error:
            failed = error
        except DRIVER_ERRORS as error:
            failed = store_error(error, "read")
        else:
            self._failed = None
            return None
        self._failed = (time.monotonic(), failed)
        return failed

    def _make_ready(self) -> None:
        """In a thread of its own: everything here waits."""
        with self._one_at_a_time:
            if self._session is None:
                self._driver, self._session = self._contact()
            try:
                for statement in self._wanted:
                    if statement not in self._prepared:
                        prepared = self._session.prepare(qualified(statement.cql, self._keyspace))
                        prepared.is_idempotent = statement.kind != "conditional"
                        self._prepared[statement] = prepared
            except BaseException:
                self._forget().shutdown()
                raise

    def _forget(self) -> Any:
        """The driver, to be shut down by the caller; the next request begins anew."""
        driver, self._driver, self._session, self._prepared = self._driver, None, None, {}
        return driver

    def _contact(self) -> tuple[Any, Any]:
        driver, session = connect(self._addresses, self._profiles())
        try:

            def run(cql: str, *values: Any) -> Any:
                return session.execute(cql, values or None, execution_profile="schema").all()

            centre = run("SELECT data_center FROM system.local")[0][0]
            ensure_schema(run, self._keyspace, centre, self._replication_factor)
            driver.refresh_keyspace_metadata(self._keyspace)  # who holds which rows: another process may have made the tables
        except BaseException:
            driver.shutdown()
            raise
        return driver, session


def qualified(cql: str, keyspace: str) -> str:
    """The statement with its table named in full; in a session that is in a keyspace the server would warn at each.

    >>> qualified("SELECT url FROM links WHERE code = ?", "short")
    'SELECT url FROM short.links WHERE code = ?'
    """
    return _TABLE.sub(rf"\1 {keyspace}.\2", cql)


async def drop_keyspace(hosts: str, keyspace: str) -> None:
    """Delete a keyspace and all that is in it, if it is there. Raises StoreError."""

    def drop() -> None:
        driver, session = connect(parse_addresses(hosts), profiles("local_quorum"))
        try:
            session.execute(f"DROP KEYSPACE IF EXISTS {keyspace_name(keyspace)}", execution_profile="schema")
        finally:
            driver.shutdown()

    try:
        await asyncio.to_thread(drop)
    except DRIVER_ERRORS as error:
        raise store_error(error, "write") from error


def _verdict(rows: Sequence[Any]) -> dict[str, Any] | None:
    row: dict[str, Any] = rows[0]
    return None if row["[applied]"] else row


def _again(error: StoreError) -> StoreError:
    """An error of its own for each who waited, as each gets a traceback."""
    return type(error)(str(error), may_have_happened=False)
