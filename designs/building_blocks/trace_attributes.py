"""What the attributes of spans are called, all in one place: the conventions for databases and queues still change.

The names are those of OpenTelemetry's semantic conventions; those of messaging are still in development. Values are bounded as
labels are: no key, no address, no message of an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SERVICE_NAME = "service.name"
SERVICE_INSTANCE = "service.instance.id"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
ERROR_TYPE = "error.type"
DB_SYSTEM = "db.system.name"
DB_OPERATION = "db.operation.name"
MESSAGING_SYSTEM = "messaging.system"
MESSAGING_DESTINATION = "messaging.destination.name"
MESSAGING_OPERATION = "messaging.operation.name"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
MESSAGING_BATCH_SIZE = "messaging.batch.message_count"

# A queue's verbs are those of `ClickQueue` in every design that has one; all other verbs are a database's.
QUEUE_OPERATIONS: Mapping[str, str] = MappingProxyType(
    {"publish": "send", "receive": "receive", "done": "settle", "retry_later": "settle", "park": "settle"}
)


def of_call(backend: str, verb: str, op: str) -> dict[str, str]:
    """The attributes of one call of a port: `verb` is the port's, `op` what the metrics call it."""
    if verb in QUEUE_OPERATIONS:
        return {MESSAGING_SYSTEM: backend, MESSAGING_OPERATION: op, MESSAGING_OPERATION_TYPE: QUEUE_OPERATIONS[verb]}
    return {DB_SYSTEM: backend, DB_OPERATION: op}


def of_batch(system: str, destination: str, operation: str, operation_type: str) -> dict[str, str]:
    """The attributes of work on a batch. `operation_type` is "send" or "process"."""
    return {
        MESSAGING_SYSTEM: system,
        MESSAGING_DESTINATION: destination,
        MESSAGING_OPERATION: operation,
        MESSAGING_OPERATION_TYPE: operation_type,
    }
