"""Logs: one JSON object a line, on standard output, with the request's id and its trace where there are such.

What libraries say through `logging`, from "warning" on, becomes such a line too, the event `library_said`: else a driver that finds
its server gone would write among ours what no reader of JSON understands.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, BinaryIO

import orjson
import structlog

MAX_SAID = 500  # characters of a line that is not ours


def configure_logs(level: str, design: str, process: str, trace_ids: Callable[[], Mapping[str, str]] = dict) -> None:
    """JSON lines on standard output, as long as it takes them. Tracebacks carry no local variables, because those hold secrets.

    `trace_ids` gives the fields of the current trace, where there is tracing.
    """

    def add_origin(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.update(design=design, process=process, **trace_ids())  # not from the context: drivers log from threads of their own
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_origin,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(BestEffort(sys.stdout.buffer)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    _hear_libraries()
    structlog.contextvars.clear_contextvars()


class LibraryLines(logging.Handler):
    """Passes the records of `logging` on to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
            said = record.getMessage()[:MAX_SAID]
            structlog.get_logger().log(level, "library_said", library=record.name, said=said, exc_info=record.exc_info)
        except Exception:  # as every handler does: a line that can't be written is no reason to fail
            self.handleError(record)


def _hear_libraries() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, LibraryLines) for handler in root.handlers):
        root.addHandler(LibraryLines(logging.WARNING))


def ids_of(traceparent: str) -> dict[str, str]:
    """The log fields of a W3C traceparent, for a line that is about a request and not written during it; empty for none."""
    parts = traceparent.split("-")
    if len(parts) != 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return {}
    return {"trace_id": parts[1], "span_id": parts[2]}


class BestEffort:
    """An output that takes what it can: on a full disk a line is lost, and not the request that it tells of.

    What the buffer of the output holds (8 KiB) is written with the first line that gets through again.
    """

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            self._output.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._output.flush()
