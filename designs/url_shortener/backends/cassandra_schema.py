"""The tables of `cassandra_schema.cql`, made by whichever process comes first. Called in a thread: everything here waits.

Two changes of a schema at once can leave nodes that disagree about it. So who changes it holds a lock (insert-if-absent, with a
TTL in case its holder dies), and the others wait until the version they need is written down. A usual start reads one row.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cassandra import InvalidRequest

from designs.url_shortener.ports import StoreError

FILE = Path(__file__).with_name("cassandra_schema.cql")
VERSION = 1
LOCK_TTL_S, PAUSE_S, WAITS = 20, 0.1, 300
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


class NewerSchema(StoreError):
    """The keyspace was made by a later version of this program."""


class SchemaNotReady(StoreError):
    """Somebody else is changing the schema, and has not finished."""


def keyspace_name(text: str) -> str:
    """The name, fit to stand in a statement. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"a keyspace is named by up to 48 of a-z, 0-9 and _, beginning with a letter, not {text!r}")
    return text


def statements(text: str) -> Sequence[str]:
    """The statements of a file of CQL whose comments are whole lines.

    >>> statements("-- one\\nCREATE TABLE a (b int);\\nDROP TABLE c;\\n")
    ['CREATE TABLE a (b int)', 'DROP TABLE c']
    """
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in code.split(";") if statement.strip()]


def ensure_schema(
    run: Callable[..., Any], keyspace: str, data_center: str, copies: int, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return when `keyspace` has the tables of `VERSION`. `run(cql, *values)` executes a statement, and answers its rows as tuples.

    Raises NewerSchema, SchemaNotReady, and whatever `run` raises.
    """
    keyspace_name(keyspace)
    for _ in range(WAITS):
        if _held(run, keyspace) == VERSION:
            return
        if _locked(run, keyspace, data_center, copies):
            for statement in statements(FILE.read_text())[1:]:
                run(statement.replace("IF NOT EXISTS ", f"IF NOT EXISTS {keyspace}.", 1))
            run(f"INSERT INTO {keyspace}.schema_version (name, version) VALUES ('schema', {VERSION})")  # noqa: S608
            run(f"DELETE FROM {keyspace}.schema_version WHERE name = 'lock' IF EXISTS")  # noqa: S608
            return
        sleep(PAUSE_S)
    raise SchemaNotReady(f"another process has been changing the keyspace {keyspace} for long", may_have_happened=False)


def _held(run: Callable[..., Any], keyspace: str) -> int:
    """The version the keyspace has; 0 when there is none."""
    try:
        rows = run(f"SELECT version FROM {keyspace}.schema_version WHERE name = 'schema'")  # noqa: S608
    except InvalidRequest:  # no such keyspace, or no such table
        return 0
    version = int(rows[0][0]) if rows else 0
    if version > VERSION:
        raise NewerSchema(
            f"the keyspace {keyspace} has version {version} of the schema and this program knows {VERSION}: start a newer one",
            may_have_happened=False,
        )
    return version


def _locked(run: Callable[..., Any], keyspace: str, data_center: str, copies: int) -> bool:
    """Is it ours to change the schema? Makes the keyspace and the table that holds the lock."""
    lock = f"INSERT INTO {keyspace}.schema_version (name, owner) VALUES ('lock', %s) IF NOT EXISTS USING TTL {LOCK_TTL_S}"  # noqa: S608
    owner = secrets.token_hex(8)
    try:
        return bool(run(lock, owner)[0][0])
    except InvalidRequest:  # nothing is there yet to hold a lock
        run(
            f"CREATE KEYSPACE IF NOT EXISTS {keyspace} "
            f"WITH replication = {{'class': 'NetworkTopologyStrategy', '{data_center}': {int(copies)}}}"
        )
        run(statements(FILE.read_text())[0].replace("IF NOT EXISTS ", f"IF NOT EXISTS {keyspace}.", 1))
        return bool(run(lock, owner)[0][0])
