"""The report of a capacity test: what it says where a bound is missing, and what never gets in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loadtests.capacity.page import (
    chart_data,
    latency_curve,
    render_capacity_markdown,
    render_capacity_page,
    write_capacity_report,
)
from loadtests.capacity.result import CapacityResult, Interval, Knee
from loadtests.capacity.tables import CLOSED_COLUMNS, OPEN_COLUMNS, STEP_COLUMNS, closed_rows, open_rows, promise_rows, step_rows
from loadtests.capacity.words import findings, fit_sentence, headline, knee_sentence, littles_law_sentence, notes, serves
from loadtests.report.offline_page import policy
from loadtests.result import SafetyCheck
from loadtests.workload import Mix
from tests.loadtests.sample_capacity import open_step, sample_capacity, sample_variant

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>`|"
MIX = Mix(name="mixed", who="", ratios={"get": 1.0}, keys=1, zipf_s=0, rate_per_s=1)


def test_a_report_is_a_page_a_markdown_file_and_the_record_itself(tmp_path: Path) -> None:
    result = sample_capacity()
    page = write_capacity_report(result, tmp_path / "new")

    assert CapacityResult.model_validate_json((tmp_path / "new" / "result.json").read_text()) == result
    assert (tmp_path / "new" / "report.md").read_text() == render_capacity_markdown(result)
    assert page.read_text() == render_capacity_page(result)
    assert page.stat().st_size < 400_000


def test_the_page_opens_without_a_network_and_runs_nothing_but_its_own_scripts() -> None:
    html = render_capacity_page(sample_capacity())
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (styles,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)

    assert policy(styles, scripts).replace("'", "&#39;") in html
    assert len(scripts) == 4
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?\w+:""", html)
    assert "style=" not in html.replace("<style", "")


def test_text_of_a_record_is_shown_and_never_run() -> None:
    result = sample_capacity(sample_variant(HOSTILE), note=HOSTILE)
    html, markdown = render_capacity_page(result), render_capacity_markdown(result)

    assert "<script>alert" not in html
    assert "<img" not in html
    assert "<script>" not in markdown
    (data,) = re.findall(r'<script type="application/json" id="capacity-data">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data)["variants"][0]["name"] == HOSTILE


def test_every_number_of_the_curves_is_in_a_table_too() -> None:
    result = sample_capacity(sample_variant("cache=none"), sample_variant("cache=aside", 1.5))
    html = render_capacity_page(result)

    for variant in result.variants:
        for row in [*closed_rows(variant), *open_rows(variant)]:
            for cell in row:
                assert f">{cell}</td>" in html
        assert len(closed_rows(variant)[0]) == len(CLOSED_COLUMNS)
        assert len(open_rows(variant)[0]) == len(OPEN_COLUMNS)
    assert {len(row) for row in step_rows(result)} == {len(STEP_COLUMNS)}


def test_void_steps_are_no_points_of_the_curve_and_steps_at_nearly_one_rate_are_one() -> None:
    steps = [
        open_step(100, 2.0),
        open_step(1_000, 5.0),
        open_step(1_010, 7.0),
        open_step(1_020, 99.0),
        open_step(2_000, 1.0, "void"),
    ]
    assert [(rate, p99) for rate, p99, _ in latency_curve(steps)] == [(100, 2.0), (1_010, 7.0)]
    assert len(chart_data(sample_capacity())) == 4


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((4_100.0, 4_300.0, 4_600.0), "serves 4,300 requests/s [4,100, 4,600]"),
        (
            (500.0, 520.0, 1_330.0),
            "serves somewhere between 500 and 1,330 requests/s (the searches disagree: too noisy to name one rate)",
        ),
        ((4_100.0, 4_300.0, None), "serves at least 4,300 requests/s"),
        ((None, 4_300.0, 4_600.0), "serves 4,300 requests/s, though not in every repetition,"),
        ((None, None, None), "was not measured: every step was void"),
    ],
)
def test_a_bound_that_was_not_found_is_not_made_up(ends: tuple[float | None, float | None, float | None], said: str) -> None:
    low, estimate, high = ends
    assert serves(Knee(low_per_s=low, estimate_per_s=estimate, high_per_s=high, brackets=[])) == said


def test_all_brackets_and_why_a_search_ended_early_are_said() -> None:
    knee = sample_variant().knee
    assert knee_sentence(knee, "p99 < 50 ms") == (
        "In 3 searches the last rate to meet p99 < 50 ms was 4,300 to 4,400 and the first to miss it 4,500 to 4,600 requests/s."
    )
    early = knee.brackets[0].model_copy(update={"first_fail_per_s": None, "ended": "void"})
    one = knee.model_copy(update={"brackets": [early]})
    assert knee_sentence(one, "p99 < 50 ms") == (
        "In 1 search the last rate to meet p99 < 50 ms was 4,300 requests/s; 1 of them ended early, "
        "the generator was late or busy each time."
    )


def test_no_peak_is_said_and_one_beyond_what_was_tried_is_said_to_be_there() -> None:
    law = sample_variant().fit
    assert law is not None
    none = law.model_copy(update={"peak_clients": None, "peak_per_s": None})
    far = law.model_copy(update={"peak_clients": Interval(low=50, estimate=90, high=200)})

    assert "no peak found up to 32 clients" in fit_sentence(none, "")
    assert "a peak at 26.5 [22, 37] clients" in fit_sentence(law, "")
    assert "beyond the 32 tried" in fit_sentence(far, "")
    assert fit_sentence(None, "too few points") == "No scalability law: too few points."
    assert "no peak found" in render_capacity_page(sample_capacity(sample_variant().model_copy(update={"fit": none})))


def test_three_to_five_sentences_tell_of_a_variant_and_its_limiter() -> None:
    said = findings(sample_variant(), "p99 < 50 ms")
    assert 3 <= len(said) <= 5
    assert "The limit there was service CPU: the service's process used 97 % of a core." in said
    assert littles_law_sentence(sample_variant()).startswith("Throughput times response was 99")


def test_a_broken_promise_comes_before_any_rate() -> None:
    variant = sample_variant()
    broken = SafetyCheck(name="no link is lost", verdict="invalid", counts={})
    assert headline([variant], {variant.name: [broken]}, "p99 < 50 ms") == (
        "Not safe: url_shortener breaks “no link is lost”; url_shortener serves 4,350 requests/s [4,300, 4,600] within p99 < 50 ms"
    )


def test_the_notes_say_what_sigma_and_kappa_are_good_for_and_how_many_steps_were_void() -> None:
    void = open_step(5_000, 90, "void").model_copy(update={"because": "the generator was late: p99 12 ms"})
    variant = sample_variant()
    told = notes([variant.model_copy(update={"open": [*variant.open, void]})], {}, MIX)

    assert "may be compared between variants of one run" in told[0]
    assert told[1] == "url_shortener: 1 of 29 steps were void, 1 because the generator was late"


def test_variants_with_one_verdict_share_a_line_and_the_worst_comes_first() -> None:
    def check(name: str, verdict: str, lost: int) -> SafetyCheck:
        return SafetyCheck(name=name, verdict=verdict, counts={"links": 10, "links_lost": lost})  # type: ignore[arg-type]

    safety = {
        "a": [check("no link is lost", "valid", 0), check("codes differ", "valid", 0)],
        "b": [check("no link is lost", "invalid", 2), check("codes differ", "valid", 1)],
    }
    assert promise_rows(safety) == [
        ("invalid", "no link is lost", "b", "links 10, links lost 2", ""),
        ("valid", "no link is lost", "a", "links 10, links lost 0", ""),
        ("valid", "codes differ", "", "links 10, links lost 0 / 1", ""),
    ]
