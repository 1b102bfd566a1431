from __future__ import annotations

import pytest

from workbench.bench import UnknownBench, bench_command
from workbench.proxy_bench import fault_proxy_command


def test_the_proxys_cost_is_measured_with_and_without_a_toxic_in_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert fault_proxy_command(round_trips=200) == 0
    said = capsys.readouterr().out
    assert "no toxic" in said
    assert "a latency toxic of 0 ms" in said
    assert said.count(" us") >= 8


def test_a_cost_that_nothing_quotes_is_not_recorded() -> None:
    with pytest.raises(UnknownBench, match="leave out --record"):
        bench_command("fault-proxy", record=True)
