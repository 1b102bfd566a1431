import math

import pytest

from loadtests.check.policy import policy_figures, recovered_after_s
from loadtests.check.record import PolicyFigure
from loadtests.check.watch import Look
from loadtests.history.operation import Struck
from loadtests.workload import NO_ANSWER
from tests.loadtests.check.exchanges import asked, struck


def looks(node: str, said: str, opened: int = 0) -> list[Look]:
    """One letter for each tenth of a second: r ready, o ready with its breaker open, d degraded, x gone."""
    states = {"r": ("ready", "closed"), "o": ("ready", "open"), "d": ("degraded", "open"), "x": ("gone", "")}
    return [Look(place / 10, node, *states[letter], opened) for place, letter in enumerate(said)]  # type: ignore[arg-type]


def figures(**asked_for: object) -> dict[str, PolicyFigure]:
    given = {"op": "redirect", "exchanges": [], "struck": [], "looks": [], "deadline_s": 0.05, **asked_for}
    return {figure.name: figure for figure in policy_figures(**given)}  # type: ignore[arg-type]


def test_a_redirect_under_a_black_hole_is_held_to_the_deadline_and_its_slack() -> None:
    exchanges = [asked(number / 1_000, 0.06) for number in range(2_000)]
    found = figures(exchanges=exchanges, struck=[struck(0.5, 1.9)])["redirect p99 under redis_black_hole"]
    assert (found.value, found.bound) == (60, 100)
    assert "within the 100 ms" in found.sentence


def test_a_slower_one_is_beyond_it() -> None:
    exchanges = [asked(number / 1_000, 0.06 if number % 50 else 0.3) for number in range(2_000)]
    found = figures(exchanges=exchanges, struck=[struck(0.5, 1.9)])["redirect p99 under redis_black_hole"]
    assert found.value == 300
    assert "beyond the 100 ms" in found.sentence


def test_what_the_design_cannot_do_without_has_no_bound() -> None:
    exchanges = [asked(number / 1_000) for number in range(2_000)]
    strikes = [struck(0.5, 1.9, "replica-1", "replica_kill_loop")]
    assert figures(exchanges=exchanges, struck=strikes)["redirect p99 under replica_kill_loop"].bound is None
    assert (
        figures(exchanges=exchanges, struck=[struck(0.5, 1.9)], deadline_s=None)["redirect p99 under redis_black_hole"].bound
        is None
    )


def test_too_few_requests_carry_no_p99_and_the_sentence_says_so() -> None:
    found = figures(exchanges=[asked(0.6), asked(0.7, 5.0, NO_ANSWER)], struck=[struck(0.5, 1.0)])
    assert found["redirect p99 under redis_black_hole"].value is None
    assert "too few for a p99 (1 of 2 answered)" in found["redirect p99 under redis_black_hole"].sentence


def test_the_share_of_answers_is_told_for_each_schedule_and_for_calm_times() -> None:
    calm = [asked(number / 100) for number in range(50)]
    under = [asked(2 + number / 100, status=302 if number % 2 else 503) for number in range(50)]
    found = figures(exchanges=[*calm, *under], struck=[struck(1.9, 3.0)])
    assert found["redirect answered when calm"].value == 100
    assert found["redirect answered under redis_black_hole"].value == 50


def test_only_the_hottest_request_is_timed() -> None:
    assert figures(exchanges=[asked(0.1, op="create")]) == {}


def test_recovery_is_from_the_end_of_the_fault_until_ready_with_a_closed_breaker() -> None:
    found = figures(struck=[struck(0.15, 0.65)], looks=looks("replica-1", "rrddddddooorrr"))["recovery after redis_black_hole"]
    assert found.value == pytest.approx(1.1 - 0.65)
    assert found.bound == pytest.approx(1.25)
    assert "within" in found.sentence


def test_the_slowest_process_counts() -> None:
    seen = looks("replica-1", "rrdddddrr") + looks("replica-2", "rrddddddddrr")
    found = figures(struck=[struck(0.15, 0.45)], looks=seen)["recovery after redis_black_hole"]
    assert found.value == pytest.approx(1.0 - 0.45)
    assert "replica-2 last" in found.sentence


def test_one_that_does_not_recover_has_no_figure_and_a_sentence() -> None:
    found = figures(struck=[struck(0.15, 0.45)], looks=looks("replica-1", "rrddddddd"))["recovery after redis_black_hole"]
    assert found.value is None
    assert "replica-1 was not ready again" in found.sentence


@pytest.mark.parametrize(
    ("said", "until_s", "expected"),
    [
        ("rrrrrrrr", math.inf, None),  # never hit
        ("rrddddddrr", 0.7, None),  # struck again before
        ("rrdddddddd", math.inf, math.inf),
        ("rrdddrrrrr", math.inf, 0.05),
    ],
)
def test_recovery_of_one_process(said: str, until_s: float, expected: float | None) -> None:
    found = recovered_after_s(struck(0.15, 0.45), looks("replica-1", said), until_s)
    assert found == (pytest.approx(expected) if expected is not None else None)


def test_a_process_that_was_struck_itself_is_no_measure_of_the_recovery_from_redis() -> None:
    killed = Struck("kill", "replica-1", 0.3, 0.9, "replica_kill_loop")
    seen = looks("replica-1", "rrddxxxxxxrr") + looks("replica-2", "rrdddrrrrrrr")
    found = figures(struck=[struck(0.15, 0.45), killed], looks=seen)["recovery after redis_black_hole"]
    assert found.value == pytest.approx(0.05)


def test_who_said_degraded_under_the_fault_is_named() -> None:
    seen = looks("replica-1", "rrdddrrr") + looks("replica-2", "rrrrrrrr")
    found = figures(struck=[struck(0.15, 0.45)], looks=seen)["degraded under redis_black_hole"]
    assert found.sentence == "degraded under redis_black_hole: replica-1 said so, of 2 processes"


def test_openings_of_breakers_are_counted_across_restarts_of_their_process() -> None:
    said = [(0.1, 1), (0.2, 2), (0.3, 3), (0.4, 0), (0.5, 1)]
    seen = [Look(at_s, "replica-1", "ready", "closed", opened) for at_s, opened in said]
    assert figures(looks=seen)["breakers opened"].value == 3
