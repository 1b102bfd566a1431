from dataclasses import replace

import pytest

from workbench.bench_verdicts import all_met
from workbench.limiter_bench import requirements
from workbench.limiter_bench.candidates import CANDIDATES, FLOOR, GCRA, GCRA_AGAIN, OURS, THREE, TIME_FLOOR, Candidate
from workbench.limiter_bench.figures import COLUMNS, Figures, ranks, rows

LOG = Candidate(OURS, "sliding_log", "any window")
THEIRS = Candidate("throttled", "gcra", "burst and rate")
LEAKING = Candidate("throttled", "leaking_bucket", "burst and rate")
WOBBLE = (1.0, 1.05, 0.97, 1.02, 0.99, 1.03, 0.98, 1.01)


def figures(us: float, **more: object) -> Figures:
    """Of a candidate that takes so long, with the same small noise for all."""
    spread = [us * each for each in WOBBLE]
    usual = Figures(spread, spread, [30.0] * 5, [200.0] * 5, [4_000.0] * 5, 1.0, 1.0, 50, 200, 200, 200, 9_000, 74, 0)
    return replace(usual, **more)  # type: ignore[arg-type]


def found() -> dict[Candidate, Figures]:
    return {
        FLOOR: figures(0.6, race_limit=0, greedy_asked=0),
        TIME_FLOOR: figures(1.1),
        GCRA: figures(4.4),
        GCRA_AGAIN: figures(4.5),
        THREE: figures(9.6),
        LOG: figures(6.0),
        THEIRS: figures(5.6),
        LEAKING: figures(3.0),
    }


def row_of(candidate: Candidate, everything: dict[Candidate, Figures]) -> dict[str, str]:
    return next(dict(zip(COLUMNS, row, strict=True)) for row in rows(everything, FLOOR) if row[0] == candidate.name)


def test_all_is_met_where_each_figure_is_within_what_was_asked() -> None:
    sentences = requirements.verdicts(found())
    assert len(sentences) == 7
    assert all(sentence.startswith("met: ") for sentence in sentences)


@pytest.mark.parametrize(
    ("candidate", "change", "missed"),
    [
        (
            THREE,
            {"trips_refused": 2.0},
            "one round trip per decision, header fields and three limits at once included: ours: gcra x3",
        ),
        (GCRA, {"allowed_us": [4.6] * 8}, "an allowed GCRA decision takes at most 4.5 us of Redis: 4.6 us"),
        (GCRA, {"bytes_beside_keys": 73}, "a client costs GCRA at most 72 bytes beside its key: 73"),
        (
            LOG,
            {"bytes_beside_keys": 301},
            "an allowed decision of sliding_log takes at most 12.5 scripts that return 1, and a client",
        ),
        (
            LOG,
            {"allowed_us": [7.6] * 8},
            "an allowed decision of sliding_log takes at most 12.5 scripts that return 1, and a client",
        ),
        (LOG, {"race_admitted": 199}, "8 processes racing on one key get exactly its limit: ours: sliding_log 199 of 200"),
        (LOG, {"greedy_excess": 3}, "none of ours lets in more than it promises: ours: sliding_log"),
    ],
)
def test_each_requirement_is_missed_by_its_own_figure(candidate: Candidate, change: dict[str, object], missed: str) -> None:
    everything = found()
    everything[candidate] = replace(everything[candidate], **change)  # type: ignore[arg-type]
    sentences = requirements.verdicts(everything)
    assert [sentence for sentence in sentences if sentence.startswith(f"MISSED: {missed}")]
    assert sum(sentence.startswith("MISSED") for sentence in sentences) == 1


def test_what_a_sketch_keeps_for_all_clients_together_is_not_asked_of_each() -> None:
    everything = found() | {Candidate(OURS, "sketch", "window edges"): figures(14.0, bytes_beside_keys=40_000)}
    sentences = requirements.verdicts(everything)
    assert all_met(sentences)
    assert [sentence for sentence in sentences if "decision of sketch" in sentence and "bytes" not in sentence]


def test_each_of_our_algorithms_has_a_bar_for_what_it_costs() -> None:
    ours = {candidate.how for candidate in CANDIDATES if candidate.peer == OURS and candidate.promise and candidate.limits == 1}
    assert ours - {"gcra"} == set(requirements.COSTS)


def test_a_slower_machine_is_named_and_not_an_excuse() -> None:
    everything = found()
    everything[FLOOR], everything[GCRA] = figures(1.16), figures(8.0)
    sentences = requirements.verdicts(everything)
    assert sentences[1].startswith("MISSED: ")
    assert "2.0 times slower here" in sentences[1]
    assert "4.0 us there" in sentences[1]
    assert sentences[2].startswith("met: ")
    everything[GCRA] = figures(9.2)
    assert requirements.verdicts(everything)[2].startswith("MISSED: ")


def test_a_peer_that_breaks_its_promise_breaks_no_requirement_of_ours_and_is_listed_with_its_count() -> None:
    everything = found()
    everything[LEAKING] = figures(3.0, greedy_excess=35)
    sentences = requirements.verdicts(everything)
    assert all_met(sentences)
    said = [remark for remark in requirements.remarks(everything) if remark.startswith("disqualified: ")]
    assert len(said) == 1
    assert "throttled-py: leaking_bucket" in said[0]
    assert "9,000" in said[0]
    assert "35 more than it promises" in said[0]


def test_the_cheaper_ranks_first_among_those_with_one_promise() -> None:
    assert ranks(found()) == {GCRA: 2, THEIRS: 3, LEAKING: 1, LOG: 1}


def test_who_lets_in_too_much_is_listed_without_a_rank_and_nobody_ranks_behind_it() -> None:
    everything = found()
    everything[LEAKING] = figures(3.0, race_admitted=201)
    assert ranks(everything) == {GCRA: 1, THEIRS: 2, LOG: 1}
    row = row_of(LEAKING, everything)
    assert row["rank"] == "disqualified"
    assert row["8 racing"] == "201 of 200"


def test_those_that_cannot_be_told_apart_share_a_rank() -> None:
    everything = found()
    del everything[LEAKING]
    everything[THEIRS] = replace(figures(4.4), allowed_us=[4.4 * each for each in reversed(WOBBLE)])
    assert ranks(everything)[GCRA] == ranks(everything)[THEIRS] == 1


def test_without_rounds_enough_for_an_interval_nobody_is_ranked() -> None:
    everything = {candidate: replace(each, allowed_us=each.allowed_us[:5]) for candidate, each in found().items()}
    assert ranks(everything) == {}
    assert all_met(requirements.verdicts(everything))


def test_who_failed_is_listed_with_the_reason_and_without_figures() -> None:
    everything = found()
    everything[THEIRS] = Figures(failed="throttled raised ConnectionError: gone")
    assert row_of(THEIRS, everything)["rank"] == "failed"
    assert THEIRS not in ranks(everything)
    assert any(remark.startswith("failed: throttled-py: gcra: throttled raised") for remark in requirements.remarks(everything))


def test_a_row_shows_medians_with_their_ranges_and_the_cost_in_floors() -> None:
    row = row_of(GCRA, found())
    assert row["Redis us, allowed"] == "4.4 (4.3 to 4.6)"
    assert row["in floors"] == "7.3"
    assert row["client CPU us"] == "200 (200 to 200)"
    assert row_of(FLOOR, found())["8 racing"] == ""


def test_floors_come_first_and_then_ours() -> None:
    names = [row[0] for row in rows(found(), FLOOR)]
    assert names[:2] == [FLOOR.name, TIME_FLOOR.name]
    assert [name.partition(":")[0] for name in names[2:6]] == ["ours"] * 4


def test_each_candidate_has_a_name_of_its_own() -> None:
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)
