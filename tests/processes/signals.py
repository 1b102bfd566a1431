"""What processes of any design show of themselves, for a test to read: their metrics, their logs and their spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import httpx2
import orjson
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from loadtests.plain_http import TRUSTS_NOBODY
from tests.processes.span_collector import Span
from workbench.launch import RunningDesign

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}

# What every process has: name without suffix -> type and labels.
METRICS_EVERYWHERE: Mapping[str, tuple[str, set[str]]] = MappingProxyType(
    {
        "sd_build_info": ("gauge", {"design", "version"}),
        "sd_degraded": ("gauge", {"dependency"}),
        "sd_event_loop_lag_seconds": ("gauge", set[str]()),
        "sd_fault_active": ("gauge", {"fault"}),
        "sd_backend_calls": ("counter", {"backend", "op", "outcome"}),
        "sd_backend_call_duration_seconds": ("histogram", {"backend", "op"}),
        "sd_spans": ("counter", {"outcome"}),
        "process_cpu_seconds": ("counter", set()),
        "process_resident_memory_bytes": ("gauge", set()),
        "process_virtual_memory_bytes": ("gauge", set()),
        "process_start_time_seconds": ("gauge", set()),
        "process_open_fds": ("gauge", set()),
        "process_max_fds": ("gauge", set()),
    }
)


@dataclass
class Signals:
    """Of one run, by process."""

    secrets: tuple[str, ...]
    pages: dict[str, str] = field(default_factory=dict)  # of metrics
    logs: dict[str, str] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)

    def lines(self, process: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.logs[process].splitlines()]

    def families(self, process: str) -> list[Any]:
        return [*text_string_to_metric_families(self.pages[process])]


def page(url: str) -> str:
    """The metrics of the process that answers there."""
    return httpx2.get(f"{url}/metrics", headers=OPENMETRICS, verify=TRUSTS_NOBODY).text


def logs_of(design: RunningDesign, processes: Iterable[str]) -> dict[str, str]:
    return {process: (design.supervisor.log_dir / f"{process}.log").read_text() for process in processes}


def traceparent(trace: str) -> str:
    """Of a caller who sampled the trace; its span is that of the trace's first letters."""
    return f"00-{trace}-{trace[:16]}-01"


def assert_each_line_says_whose_it_is(signals: Signals, design: str, process: str) -> None:
    """JSON with time, level, event, design and process."""
    lines = signals.lines(process)
    assert lines
    for line in lines:
        assert {"timestamp", "level", "event"} <= line.keys()
        assert (line["design"], line["process"]) == (design, process)


def assert_no_signal_tells(signals: Signals, process: str, *untold: str) -> None:
    """No secret, and nothing of what else is given."""
    spans = "".join(span.written for span in signals.spans if span.process == process)
    for signal in (signals.pages[process], signals.logs[process], spans):
        assert signal
        assert not [each for each in untold if each in signal]
        for secret in signals.secrets:
            assert len(secret) >= 16
            assert secret not in signal
