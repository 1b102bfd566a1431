"""A claim is bound to a recorded run: what has no run, what no claim speaks of, and what disagrees is found."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.claims import SAFETY, Claim, Expectation, Run, at_most, less, more, same
from loadtests.analysis.statistics import verdict
from loadtests.result import Comparison, Ratio
from tests.workbench.recorded_claims import (
    CHEAPER,
    DEARER,
    DESIGN,
    RUN,
    SAFE,
    SMALL,
    primary,
    record_growth,
    record_run,
    result_of,
    with_comparison,
)
from workbench.catalogue import DESIGNS, Design
from workbench.claims import BadClaims, NoClaims, Outcome, claims_of, judge, outcome, review, runs_of
from workbench.comparison import chosen_mix, variant_knobs, workload_of

CLAIMS = (CHEAPER, SAFE, SMALL)
MARGIN = 0.05


def faults(folder: Path, claims: Sequence[Claim] = CLAIMS) -> list[str]:
    return list(review(DESIGN, folder, claims).faults)


def outcomes(folder: Path, claims: Sequence[Claim] = CLAIMS) -> list[Outcome]:
    return [judged.outcome for judged in review(DESIGN, folder, claims).judged]


# -- the designs' own claims ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: str(design.name))
def test_every_claim_has_its_run_and_every_run_its_claim(design: Design) -> None:
    assert list(review(design).faults) == []


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: str(design.name))
def test_no_recorded_run_contradicts_what_the_chapter_claims(design: Design) -> None:
    assert [(judged.claim.sentence, judged.said) for judged in review(design).of("contradicted")] == []


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: str(design.name))
def test_every_run_of_a_design_can_be_made_and_judges_safety_too(design: Design) -> None:
    claims, workload = claims_of(design), workload_of(design)
    assert len({claim.sentence for claim in claims}) == len(claims)
    for run in runs_of(claims).values():
        if isinstance(run, Run):
            mix = chosen_mix(workload, run.knob, run.mix)
            for value in run.values:
                variant_knobs(design, mix, run.assignments, run.knob, value)
            assert any(claim.figure == SAFETY for claim in claims if claim.run == run)
    for claim in claims:
        if isinstance(claim.run, Run):
            assert claim.variant in ("", *claim.run.values[1:])
            assert (claim.variant == "") == (claim.figure == SAFETY)


# -- what is found ----------------------------------------------------------------------------------------------------------


def test_claims_whose_runs_are_recorded_as_they_say_have_no_faults(tmp_path: Path) -> None:
    record_run(tmp_path)
    record_growth(tmp_path)
    assert faults(tmp_path) == []
    assert outcomes(tmp_path) == ["holds", "holds", "holds"]


def test_a_claim_without_a_run_is_found_and_told_how_to_get_one(tmp_path: Path) -> None:
    record_growth(tmp_path)
    assert faults(tmp_path) == ["cache.redirects: not recorded yet; `designs claims url_shortener cache.redirects` does it"]
    assert outcomes(tmp_path) == ["not measured", "not measured", "holds"]


def test_a_run_without_a_claim_is_found(tmp_path: Path) -> None:
    record_run(tmp_path)
    record_growth(tmp_path)
    assert faults(tmp_path, (CHEAPER, SAFE)) == ["bench-growth: recorded, and no claim speaks of it"]
    assert faults(tmp_path, (SMALL,)) == ["cache.redirects: recorded, and no claim speaks of it"]


def test_a_sign_that_disagrees_is_found(tmp_path: Path) -> None:
    record_run(tmp_path)
    assert outcomes(tmp_path, (DEARER,)) == ["contradicted"]


@pytest.mark.parametrize(
    "other",
    [
        replace(RUN, values=("none", "write-through")),
        replace(RUN, values=("aside", "none")),
        replace(RUN, rate_per_s=301.0),
        replace(RUN, blocks=11),
        replace(RUN, round_s=1.0),
        replace(RUN, assignments=("cache_layers=redis",)),
    ],
    ids=["values", "baseline", "rate", "blocks", "seconds a round", "shared knobs"],
)
def test_a_record_that_another_command_made_is_found(tmp_path: Path, other: Run) -> None:
    record_run(tmp_path, result_of(other))
    [fault] = faults(tmp_path, (CHEAPER,)) if other.values == RUN.values else faults(tmp_path, (CHEAPER,))[:1]
    assert fault.startswith("cache.redirects: recorded by `designs compare url_shortener cache ")


def test_a_record_of_other_knobs_than_the_run_has_today_is_found(tmp_path: Path) -> None:
    result = result_of()
    older = [variant.model_copy(update={"knobs": {**variant.knobs, "staleness_s": 9.0}}) for variant in result.variants]
    record_run(tmp_path, result.model_copy(update={"variants": older}))
    assert [fault.partition("; ")[0] for fault in faults(tmp_path, (CHEAPER,))] == [
        f"cache.redirects: cache={value} was recorded with staleness_s=9.0, which is not what it runs with now"
        for value in ("none", "aside")
    ]


def test_a_knob_that_the_design_got_later_leaves_its_records_standing(tmp_path: Path) -> None:
    result = result_of()
    older = [
        variant.model_copy(update={"knobs": {name: there for name, there in variant.knobs.items() if name != "staleness_s"}})
        for variant in result.variants
    ]
    record_run(tmp_path, result.model_copy(update={"variants": older}))
    assert faults(tmp_path, (CHEAPER,)) == []


def test_records_of_another_schema_are_found(tmp_path: Path) -> None:
    record_run(tmp_path, result_of().model_copy(update={"schema_version": 1}))
    path = record_growth(tmp_path)
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    assert [fault.partition(";")[0] for fault in faults(tmp_path)] == [
        "cache.redirects: recorded in schema 1, now it is 2",
        "bench-growth: recorded in schema 1, now it is 2",
    ]
    path.write_text("{}")
    assert "bench-growth: bench-growth.json is no record of this version" in faults(tmp_path)[1]


def test_a_record_of_other_requests_than_the_mix_makes_now_is_found(tmp_path: Path) -> None:
    record_run(tmp_path, result_of(plan_hash="of another mix"))
    assert faults(tmp_path, (CHEAPER,))[0].startswith("cache.redirects: the mix redirects now makes other requests")


def test_a_bench_that_was_run_in_part_is_found(tmp_path: Path) -> None:
    record_growth(tmp_path, options="--links 10,20")
    assert "recorded by `designs bench growth --links 10,20`, which is not the whole bench" in faults(tmp_path, (SMALL,))[0]


def test_a_requirement_that_was_missed_contradicts_its_claim(tmp_path: Path) -> None:
    record_growth(tmp_path, "MISSED: it stays small: 900 MB")
    assert outcomes(tmp_path, (SMALL,)) == ["contradicted"]


def test_a_figure_nobody_measured_is_found(tmp_path: Path) -> None:
    record_run(tmp_path)
    record_growth(tmp_path)
    unknown = (replace(CHEAPER, figure="tea_per_request"), replace(SMALL, figure="it tastes"))
    assert faults(tmp_path, unknown) == [
        "cache.redirects: tea_per_request of “A cache saves CPU” was not measured",
        "bench-growth: it tastes of “It stays small” was not measured",
    ]
    assert outcomes(tmp_path, unknown) == ["not measured", "not measured"]


def test_a_broken_promise_is_a_fault_and_contradicts_the_claim_of_safety(tmp_path: Path) -> None:
    record_run(tmp_path, result_of(unsafe=True))
    found = review(DESIGN, tmp_path, (CHEAPER, SAFE))
    assert [judged.outcome for judged in found.judged] == ["holds", "contradicted"]
    assert found.faults == [
        "cache.redirects: safety is invalid: cache=aside: invalid: no acknowledged link is lost (acknowledged 118, lost 2)"
    ]


def test_two_runs_that_would_leave_one_record_are_refused() -> None:
    with pytest.raises(BadClaims, match=r"two different runs are called cache\.redirects"):
        runs_of((CHEAPER, replace(SAFE, run=replace(RUN, blocks=12))))


def test_a_design_without_claims_says_so(toy_design: Design) -> None:
    with pytest.raises(NoClaims, match="toy_design makes no claims"):
        claims_of(toy_design)


# -- how a claim is judged --------------------------------------------------------------------------------------------------


MEASURED = primary(result_of())


def compared(low: float | None, high: float | None, blocks: int = 10) -> Comparison:
    middle = ((low or 1.0) * (high or 1.0)) ** 0.5
    ratio = Ratio(estimate=middle, low=low, high=high, confidence=0.95, blocks=blocks, sd_log=0.05)
    return MEASURED.model_copy(update={"ratio": ratio, "verdict": verdict(ratio, MARGIN)})


@pytest.mark.parametrize(
    ("expected", "low", "high", "said"),
    [
        (less(), 0.7, 0.9, "holds"),
        (less(), 0.9, 1.2, "unsettled"),
        (less(), 1.1, 1.3, "contradicted"),
        (less(), 0.96, 0.99, "contradicted"),  # inside the margin: the run says there is no difference
        (less(0.3), 0.5, 0.69, "holds"),
        (less(0.3), 0.6, 0.8, "unsettled"),
        (less(0.3), 0.75, 0.9, "contradicted"),
        (more(), 1.1, 1.3, "holds"),
        (more(), 0.97, 1.02, "contradicted"),
        (more(0.5), 1.2, 1.6, "unsettled"),
        (same(), 0.97, 1.02, "holds"),
        (same(), 0.9, 1.02, "unsettled"),
        (same(), 0.8, 0.9, "contradicted"),
        (same(0.2), 0.9, 1.1, "holds"),
        (at_most(0.1), 0.8, 0.9, "holds"),
        (at_most(0.1), 0.98, 1.08, "holds"),
        (at_most(0.1), 1.02, 1.12, "unsettled"),
        (at_most(0.1), 1.11, 1.3, "contradicted"),
        (less(), None, None, "unsettled"),
        (at_most(0.1), None, None, "unsettled"),
    ],
)
def test_a_claim_is_judged_by_the_whole_interval(expected: Expectation, low: float | None, high: float | None, said: str) -> None:
    assert outcome(expected, compared(low, high), MARGIN, planned=10) == said


@given(ends=st.tuples(st.floats(0.2, 5.0), st.floats(0.2, 5.0)), share=st.floats(0.06, 0.9))
def test_no_interval_keeps_a_claim_and_its_opposite(ends: tuple[float, float], share: float) -> None:
    measured = compared(min(ends), max(ends))
    kept = [outcome(expected, measured, MARGIN, 10) for expected in (less(share), same(), more(share))]
    assert kept.count("holds") <= 1
    if "holds" in kept:
        assert "unsettled" not in kept


def test_what_a_run_too_noisy_to_finish_found_settles_nothing() -> None:
    noisy = compared(0.5, 0.6, blocks=7).model_copy(update={"verdict": "inconclusive"})
    assert outcome(less(), noisy, MARGIN, planned=10) == "unsettled"
    assert outcome(at_most(0.1), noisy, MARGIN, planned=10) == "unsettled"
    assert outcome(less(), compared(0.5, 0.6, blocks=7), MARGIN, planned=10) == "holds"


@pytest.mark.parametrize(
    ("baseline", "other", "expected", "said"),
    [
        (1.0, 0.0, less(0.9), "holds"),
        (1.0, 0.0, more(), "contradicted"),
        (0.0, 0.4, more(2.0), "holds"),
        (0.0, 0.4, less(), "contradicted"),
        (0.4, 0.4, same(), "holds"),
    ],
)
def test_a_count_that_is_zero_on_a_side_is_judged_by_its_medians(
    baseline: float, other: float, expected: Expectation, said: str
) -> None:
    counted = with_comparison(result_of(), baseline=baseline, other=other, ratio=None, verdict="count")
    assert judge(replace(CHEAPER, expects=expected), counted).outcome == said
