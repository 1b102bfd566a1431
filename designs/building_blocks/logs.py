"""Logs: one JSON object a line, on standard output, with the request's id and its trace where there are such."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, BinaryIO

import orjson
import structlog


def configure_logs(level: str, design: str, process: str, trace_ids: Callable[[], Mapping[str, str]] = dict) -> None:
    """JSON lines on standard output, as long as it takes them. Tracebacks carry no local variables, because those hold secrets.

    `trace_ids` gives the fields of the current trace, where there is tracing.
    """

    def add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.update(trace_ids())
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(BestEffort(sys.stdout.buffer)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(design=design, process=process)


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
