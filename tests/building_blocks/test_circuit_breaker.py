import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from designs.building_blocks.circuit_breaker import CircuitBreaker, State


class MovedClock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def state_of(breaker: CircuitBreaker) -> State:
    # A call, because a type checker believes that a property it has just seen keeps its value.
    return breaker.state


def opened(clock: MovedClock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, failures=3, window_s=10, open_s=2)
    for _ in range(3):
        assert breaker.allow()
        breaker.failure()
    return breaker


def test_it_opens_on_enough_failures_in_the_window_and_allows_nothing() -> None:
    breaker = opened(MovedClock())
    assert state_of(breaker) == "open"
    assert not breaker.allow()
    assert breaker.opened_total == 1


def test_failures_count_in_a_row_or_not_until_they_leave_the_window() -> None:
    clock = MovedClock()
    breaker = CircuitBreaker(clock, failures=3, window_s=10)
    for _ in range(20):
        breaker.failure()
        breaker.success()
        clock.now_s += 5
    assert state_of(breaker) == "closed"
    breaker.failure()
    breaker.success()
    assert state_of(breaker) == "closed"
    breaker.failure()
    assert state_of(breaker) == "open"


def test_half_open_admits_exactly_one_probe() -> None:
    clock = MovedClock()
    breaker = opened(clock)
    clock.now_s += 2
    assert state_of(breaker) == "half-open"
    assert [breaker.allow() for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_succeeds_closes_and_forgets_the_failures() -> None:
    clock = MovedClock()
    breaker = opened(clock)
    clock.now_s += 2
    assert breaker.allow()
    breaker.success()
    assert state_of(breaker) == "closed"
    breaker.failure()
    breaker.failure()
    assert state_of(breaker) == "closed"


def test_a_probe_that_fails_opens_for_the_whole_time_again() -> None:
    clock = MovedClock()
    breaker = opened(clock)
    clock.now_s += 3
    assert breaker.allow()
    breaker.failure()
    assert breaker.opened_total == 2
    clock.now_s += 1.9
    assert state_of(breaker) == "open"
    clock.now_s += 0.2
    assert state_of(breaker) == "half-open"


def test_a_probe_that_never_reports_frees_its_slot() -> None:
    clock = MovedClock()
    breaker = opened(clock)
    clock.now_s += 2
    assert breaker.allow()
    clock.now_s += 1.9
    assert not breaker.allow()
    clock.now_s += 0.2
    assert [breaker.allow() for _ in range(3)] == [True, False, False]


def test_calls_that_started_before_it_opened_and_report_late_change_nothing() -> None:
    clock = MovedClock()
    breaker = opened(clock)
    breaker.success()
    assert state_of(breaker) == "open"
    clock.now_s += 1.5
    breaker.failure()
    clock.now_s += 0.5
    assert state_of(breaker) == "half-open"
    breaker.failure()
    breaker.success()
    assert state_of(breaker) == "half-open"
    assert breaker.opened_total == 1


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"window_s": 0}, {"open_s": 0}])
def test_a_breaker_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one failure"):
        CircuitBreaker(MovedClock(), **wrong)


class AgainstAModel(RuleBasedStateMachine):
    """The model keeps the whole history in whole seconds, and decides by reading it again from the start."""

    FAILURES, WINDOW_S, OPEN_S = 3, 10, 4

    def __init__(self) -> None:
        super().__init__()
        self.clock = MovedClock()
        self.breaker = CircuitBreaker(self.clock, self.FAILURES, self.WINDOW_S, self.OPEN_S)
        self.history: list[tuple[float, str]] = []

    def replayed(self) -> tuple[str, bool, int]:
        """State, whether a call is allowed, how often it opened."""
        mode, since, probe, opened_total = "closed", 0.0, -1.0, 0
        failed: list[float] = []
        for at_s, event in self.history:
            if mode == "closed" and event == "failure":
                failed = [f for f in failed if at_s - f < self.WINDOW_S] + [at_s]
                if len(failed) >= self.FAILURES:
                    mode, since, probe, opened_total = "tripped", at_s, -1.0, opened_total + 1
            elif mode == "tripped" and event == "probe":
                probe = at_s
            elif mode == "tripped" and probe >= 0 and event == "failure":
                since, probe, opened_total = at_s, -1.0, opened_total + 1
            elif mode == "tripped" and probe >= 0 and event == "success":
                mode, failed = "closed", []
        if mode == "closed":
            return "closed", True, opened_total
        now_s = self.clock.now_s
        if now_s - since < self.OPEN_S:
            return "open", False, opened_total
        return "half-open", probe < 0 or now_s - probe >= self.OPEN_S, opened_total

    @rule(seconds=st.integers(1, 6))
    def time_passes(self, seconds: int) -> None:
        self.clock.now_s += seconds

    @rule()
    def somebody_asks(self) -> None:
        state, allowed, _ = self.replayed()
        assert self.breaker.allow() == allowed
        if state == "half-open" and allowed:
            self.history.append((self.clock.now_s, "probe"))

    @rule()
    def a_call_fails(self) -> None:
        self.breaker.failure()
        self.history.append((self.clock.now_s, "failure"))

    @precondition(lambda self: self.history)
    @rule()
    def a_call_succeeds(self) -> None:
        self.breaker.success()
        self.history.append((self.clock.now_s, "success"))

    @invariant()
    def it_is_what_its_history_says(self) -> None:
        state, _, opened_total = self.replayed()
        assert (self.breaker.state, self.breaker.opened_total) == (state, opened_total)


AgainstAModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTheBreakerAgainstAModel = AgainstAModel.TestCase
