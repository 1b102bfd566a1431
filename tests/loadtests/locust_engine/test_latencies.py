from loadtests.locust_engine.latencies import Latencies


def test_the_table_shows_both_latencies_to_the_hundredth_of_a_millisecond() -> None:
    latencies = Latencies(planned=1_003, failed=1, in_line=40)
    for number in range(1_000):
        latencies.answered((number + 1) / 1e5, 0.000876)
        latencies.lateness_s.append(0.0004)
    lines = latencies.table(600.0, 128).splitlines()

    assert lines[0] == "open loop, 600/s: 1003 planned, 1000 answered, 1 failed, 2 without an end"
    assert lines[1].split() == ["p50", "p90", "p99", "max"]
    assert lines[2].split("  ")[1] == "from the intended start"
    assert [figure.strip() for figure in lines[2].split("ms")[:-1]][1:] == ["9.00", "9.90", "10.00"]
    assert lines[3].split("start")[-1].count("0.88 ms") == 4
    assert lines[4] == "  Locust itself was late by 0.40 ms (p99); 40 requests waited in line for one of 128 connections"


def test_a_percentile_that_so_few_answers_do_not_carry_is_left_out() -> None:
    latencies = Latencies(planned=100)
    for _ in range(100):
        latencies.answered(0.001, 0.001)

    assert latencies.table(10.0, 128).splitlines()[2].split()[4:] == ["1.00", "ms", "1.00", "ms", "-", "1.00", "ms"]


def test_a_late_locust_says_that_it_cannot_be_trusted() -> None:
    latencies = Latencies(planned=1_000)
    latencies.lateness_s.extend([0.0201] * 1_000)

    assert "late by 20.10 ms (p99); too late to trust" in latencies.table(10.0, 128)


def test_a_run_that_was_ended_before_any_answer_has_a_table_too() -> None:
    assert "10 planned, 0 answered, 0 failed, 10 without an end" in Latencies(planned=10).table(10.0, 128)
