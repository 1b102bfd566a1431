"""The generator's ceiling: which steps count, what the verdict says, and that the null server answers whatever it is asked."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest

from loadtests.generator import open_loop
from loadtests.workload import Exchange
from workbench import generator_bench
from workbench.bench import BenchFailed
from workbench.generator_bench import REQUIRED_PER_S, Step, ceiling, measure, step_of, verdict
from workbench.null_server import ANSWER, Null, null_server

FINE = Step(15_000, 15_100, 15_090, lag_p50_ms=0.02, lag_p99_ms=1.9, cpu_us=25.0, cpu_ratio=0.4)


def exchanges(count: int, rate_per_s: float, took_s: float = 0.001, status: int = 200) -> list[Exchange]:
    due_s = [10 + number / rate_per_s for number in range(count)]
    return [Exchange("get", 0, 0, at_s, at_s, at_s + took_s, at_s + took_s, status, b"") for at_s in due_s]


@pytest.mark.parametrize(
    ("step", "met"),
    [
        (FINE, True),
        (replace(FINE, lag_p99_ms=2.0), False),
        (replace(FINE, cpu_ratio=0.8), False),
        (replace(FINE, achieved_per_s=14_700), False),
    ],
)
def test_a_rate_is_met_when_the_generator_is_neither_late_nor_busy_nor_behind(step: Step, met: bool) -> None:
    assert step.met is met


def test_the_ceiling_is_the_highest_rate_that_was_met() -> None:
    late = replace(FINE, lag_p99_ms=9.0)
    steps = [replace(late, rate_per_s=10_000), replace(FINE, tries=3), replace(late, rate_per_s=20_000)]

    assert ceiling(steps) == steps[1]
    assert verdict(steps).startswith("met")
    assert "15,000 requests/s, on try 3" in verdict(steps)
    assert ceiling([late]) is None
    assert verdict([late]).startswith("MISSED")
    assert verdict([replace(FINE, rate_per_s=REQUIRED_PER_S - 1)]).startswith("MISSED")


def test_a_step_is_measured_against_what_its_plan_drew() -> None:
    step = step_of(1_000, 2.0, exchanges(2_100, 1_050), array("d", [0.0001] * 2_079 + [0.003] * 21), cpu_s=0.1, cpu_ratio=0.05)

    assert step.planned_per_s == 1_050
    assert step.achieved_per_s == pytest.approx(1_050, rel=0.01)
    assert step.lag_p50_ms == pytest.approx(0.1)
    assert step.lag_p99_ms == pytest.approx(0.1)
    assert step.cpu_us == pytest.approx(1e5 / 2_100)
    assert not step_of(1_000, 2.0, exchanges(2_100, 1_000), [0.0], 0.1, 0.05).met, "the last answer came 5 % late"


def test_a_null_server_that_does_not_answer_is_no_measure_of_anything() -> None:
    with pytest.raises(BenchFailed, match="5 of 5"):
        step_of(1_000, 2.0, exchanges(5, 1_000, status=0), [0.0], 0.1, 0.05)
    with pytest.raises(BenchFailed):
        step_of(1_000, 2.0, [], [], 0.0, 0.0)


@pytest.mark.parametrize("cut", [1, 7, 20, 41, 1_000])
def test_the_null_server_answers_each_head_once_however_it_is_cut(cut: int) -> None:
    written: list[bytes] = []

    class Wire:
        def write(self, data: bytes) -> None:
            written.append(data)

    sent = b"".join(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % number for number in range(5))
    null = Null()
    null.connection_made(Wire())  # type: ignore[arg-type]
    for at in range(0, len(sent), cut):
        null.data_received(sent[at : at + cut])

    assert b"".join(written) == 5 * ANSWER


def test_steps_rise_until_one_is_missed_and_a_closed_loop_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_bench, "PAUSE_S", 0.0)
    monkeypatch.setattr(generator_bench, "TRIES", 2)
    with null_server(None) as (url, _):
        steps, closed = open_loop.run(measure(url, rates_per_s=(200, 400), step_s=0.1))

    assert [step.rate_per_s for step in steps] == [200, 400]
    assert all(step.tries >= 1 and step.cpu_us > 0 for step in steps)
    assert closed.planned_per_s > 0
