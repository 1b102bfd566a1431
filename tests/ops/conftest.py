"""The design on Kafka and Cassandra, once for all tests of this folder that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.url_shortener.processes.driving import running
from workbench.launch import RunningDesign


@pytest.fixture(scope="package")
def on_real_servers(kafka_bootstrap: str, cassandra_hosts: str) -> Iterator[RunningDesign]:
    """With everything that has metrics of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA_BOOTSTRAP", kafka_bootstrap)
        patch.setenv("CASSANDRA_HOSTS", cassandra_hosts)
        with running(store="cassandra", clicks="kafka", cache="write-behind", traces=1, faults=True) as design:
            yield design
