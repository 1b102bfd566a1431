"""A page of Prometheus metrics as samples: parsed as a whole, or as the few lines that are looked at several times a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families

Sample: TypeAlias = tuple[str, Mapping[str, str], float]


def samples_of(metrics_text: str) -> list[Sample]:
    """(name, labels, value) of every sample."""
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(metrics_text)
        for sample in family.samples
    ]


def samples_named(pages: Iterable[str], *starts: str) -> Iterator[str]:
    """Lines of samples that start so, unparsed."""
    return (line for page in pages for line in page.splitlines() if line.startswith(starts))
