"""From planned steps to questions: the same for every variant, but for what a clock or an answer decides."""

from __future__ import annotations

import pytest

from loadtests.generator.arrivals import make_plan
from loadtests.rate_limiter.mixes import MIXES, OPS
from loadtests.rate_limiter.steps import BATCH, FOLLOWERS, Question, Steps
from loadtests.workload import Exchange


def step(op: str, serial: int = 0, key: int = 3, status: int = 200) -> Exchange:
    return Exchange(op, key, serial, 0.0, 0.0, 0.0, 0.0, status, b"")


def asked(steps: Steps, *ops: str, statuses: tuple[int, ...] = ()) -> list[Question | None]:
    """The questions of a journey whose steps are answered so."""
    found: list[Question | None] = []
    before: Exchange | None = None
    for serial, op in enumerate(ops):
        exchange = step(op, serial)
        questions = steps.questions(exchange, before)
        found.append(questions[0] if questions else None)
        exchange.status = statuses[serial] if serial < len(statuses) else 200
        before = exchange
    return found


def test_every_operation_is_a_question() -> None:
    for op in set(OPS) - FOLLOWERS:
        assert Steps("n", 40).questions(step(op), None), op
    with pytest.raises(ValueError, match="no op"):
        Steps("n", 40).questions(step("dance"), None)


def test_the_same_plan_asks_the_same_of_every_variant() -> None:
    plan = make_plan(MIXES["mixed"], 200.0, 1.0, seed=7)
    one, other = Steps("n", 40), Steps("n", 40)
    for row, op_index in enumerate(plan.op_indexes):
        op = plan.ops[op_index]
        if op not in FOLLOWERS:
            exchange = step(op, row, plan.keys[row])
            assert one.questions(exchange, None) == other.questions(exchange, None)


def test_who_drains_a_user_waits_and_asks_the_same_again() -> None:
    drain, *waiting = asked(Steps("n", 40), "drain", "patient", "patient_soon", "patient_again", "patient_later")
    assert drain is not None
    assert drain.cost == 40
    assert {question.about for question in waiting if question} == {drain.about}
    assert {question.cost for question in waiting if question} == {2}
    assert len(waiting) == 4


def test_what_was_refused_is_not_given_back() -> None:
    assert asked(Steps("n", 40), "spend_back", "refund", statuses=(429,))[1] is None
    spent, refund = asked(Steps("n", 40), "spend_back", "refund")
    assert spent is not None
    assert refund is not None
    assert (refund.f, refund.about, refund.cost) == ("refund", spent.about, spent.cost)


def test_a_slot_that_was_refused_or_lost_is_neither_renewed_nor_released() -> None:
    hold, renew, let_go = asked(Steps("n", 40), "hold", "renew", "let_go")
    assert [question.f for question in (hold, renew, let_go) if question] == ["acquire", "renew", "release"]
    assert len({question.token for question in (hold, renew, let_go) if question}) == 1
    assert asked(Steps("n", 40), "hold", "renew", "let_go", statuses=(429,))[1:] == [None, None]
    assert asked(Steps("n", 40), "hold", "renew", "let_go", statuses=(200, 409))[2] is None


@pytest.mark.parametrize(("wall_s", "near"), [(100.0, True), (100.05, True), (101.96, True), (101.0, False), (100.5, False)])
def test_the_adversary_asks_around_every_other_edge_and_others_in_between(wall_s: float, near: bool) -> None:
    edge = asked(Steps("n", 40, lambda: wall_s), "arrive", "edge")[1]
    assert edge is not None
    assert (edge.descriptor["user"] == "ne3", edge.cost > 1) == (near, near)


def test_a_batch_is_of_several_users() -> None:
    questions = Steps("n", 40).questions(step("batch"), None)
    assert len({question.about for question in questions}) == BATCH
    assert all(question.batched for question in questions)


def test_answers_are_taken_in_once_and_forgotten() -> None:
    steps = Steps("n", 40)
    steps.questions(step("check", 5), None)
    assert len(steps.asked(step("check", 5))) == 1
    steps.all_answered()
    assert steps.asked(step("check", 5)) == ()
