"""The report of a check: what it shows of faults and states, what it says first, and what never gets in.

`python -m tests.loadtests.report.test_check_page` writes the golden cards anew.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.check.record import CheckRecord, NodeState, PolicyFigure, Slice
from loadtests.manifest import REPOSITORY
from loadtests.report.check_card import FAULTS_SHOWN, render_check_card
from loadtests.report.check_page import check_schema, render_check_page, write_check_page
from loadtests.report.check_tables import changed_knobs, check_rows, facts, operation_rows, outcomes_seen, policy_rows
from loadtests.report.check_timeline import chart_data, keys, lanes, packed, shown_seconds, ticks, timeline
from loadtests.report.offline_page import policy
from loadtests.result import Band, SafetyCheck
from tests.loadtests.report.test_page import Page
from tests.loadtests.sample_check import STATES, STRIKES, calm_check, sample_check

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>[bold]`|\x1b[31m"
USUAL = {"ids": "lease", "cache": "aside", "cache_ttl_s": 60, "clicks": "batched", "blocklist": False}
CARDS = {
    "check_valid.txt": lambda: render_check_card(sample_check(), 100),
    "check_invalid.txt": lambda: render_check_card(sample_check(broken=True), 100),
}


def page_of(record: CheckRecord) -> Page:
    return Page(render_check_page(record, USUAL))


def drawn(record: CheckRecord) -> dict[str, list[list[float | None]]]:
    return json.loads(chart_data(record, shown_seconds(record)))


def band(start_s: float, end_s: float, name: str = "Redis is killed", target: str = "redis") -> Band:
    return Band(name=name, variant=target, start_s=start_s, end_s=end_s)


@pytest.mark.parametrize("name", CARDS)
def test_the_card_of_a_fixed_record_is_word_by_word_the_one_that_was_reviewed(name: str) -> None:
    assert CARDS[name]() == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_published_schema_is_in_date() -> None:
    published = REPOSITORY / "loadtests" / "check" / "check.schema.json"
    assert published.read_text(encoding="utf-8") == check_schema(), "make docs regenerates it"
    assert json.loads(check_schema())["properties"].keys() == CheckRecord.model_fields.keys()


def test_a_report_is_a_page_and_the_record_itself(tmp_path: Path) -> None:
    record = sample_check(broken=True)
    page = write_check_page(record, tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["check.json", "index.html"]
    assert CheckRecord.model_validate_json((page.parent / "check.json").read_text(encoding="utf-8")) == record
    assert page.stat().st_size < 200_000


@pytest.mark.parametrize("record", [sample_check(), sample_check(broken=True), calm_check()], ids=lambda record: record.verdict)
def test_the_verdict_comes_first_as_a_word_and_in_its_colour(record: CheckRecord) -> None:
    page = page_of(record)
    assert page.heading == record.headline
    assert page.all("header")[0]["class"] == f"judged {record.verdict}"
    words = [attrs["class"] for attrs in page.all("span") if attrs.get("class", "").startswith("word")]
    assert words[0] == f"word {record.verdict}"
    assert page.inside("title")[0] == f"{record.verdict}: {record.headline}"
    assert render_check_card(record, 80).splitlines()[0].endswith(record.verdict.upper())


def test_the_page_tells_its_story_in_order() -> None:
    assert page_of(sample_check()).inside("h2") == [
        "Checks",
        "What struck, and what it did",
        "Failure policy",
        "Operations by outcome",
        "Repeat it",
        "Conditions",
    ]


def test_each_check_fault_state_figure_and_outcome_is_on_the_page_without_a_script() -> None:
    record = sample_check(broken=True)
    page = page_of(record)
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    for check in record.checks:
        assert check.name in text
        assert check.detail in text
        for name, n in check.counts.items():
            assert f"{name.replace('_', ' ')} {n:,}" in text
        for line in check.witness:
            assert line in page.inside("code")
    for name, target, start_s, end_s in STRIKES:
        assert f"{start_s:g} s to {end_s:g} s: {name} ({target})" in text
    for at_s, _, state, breaker in STATES:
        assert re.search(rf"{state}, {at_s:g} s to |{state} from {at_s:g} s|{breaker}, {at_s:g} s to", text)
    for figure in record.policy:
        assert figure.sentence in text
    for name, cells in operation_rows(record):
        assert " ".join([name.replace("_", "_ "), *(f"{n:,}" for n in cells)]) in re.sub(r"\s+", " ", text)
    for said in (record.command, record.history, record.plan_hash, *record.notes, *record.machine.values()):
        assert said in text


def test_the_witness_stands_under_its_check_and_nowhere_else() -> None:
    html = render_check_page(sample_check(broken=True))
    assert html.count('class="witness"') == 1
    rows = re.findall(r"<tbody class=.*?</tbody>", html, re.DOTALL)
    assert ["witness" in row for row in rows] == [True, False, False, False, False]
    assert 'class="witness"' not in render_check_page(sample_check())


def test_the_worst_check_comes_first_and_its_bad_counts_before_the_others() -> None:
    rows = check_rows(sample_check(broken=True))
    assert [row.verdict for row in rows] == ["invalid", "unknown", "valid", "valid", "valid"]
    assert [(each.label, each.tone) for each in rows[0].counts][:2] == [("duplicate codes", "bad"), ("links made", "")]
    assert {each.label: each.tone for each in rows[1].counts} == {"clicks accepted": "", "clicks stored": "zero"}


def test_what_was_declared_or_forgiven_is_no_bad_count() -> None:
    counts = {
        "declared_drops": 4,
        "lost_with_a_killed_replica": 2,
        "lost_undeclared": 1,
        "declared_but_not_missing": 1,
        "beyond_bound": 3,
        "wrong_status": 1,
        "bound_ms": 5,
    }
    record = sample_check().model_copy(update={"checks": [SafetyCheck(name="clicks", verdict="invalid", counts=counts)]})
    bad = {each.label for each in check_rows(record)[0].counts if each.tone == "bad"}
    assert bad == {"lost undeclared", "declared but not missing", "beyond bound", "wrong status"}


def test_in_a_valid_check_no_count_is_bad() -> None:
    record = sample_check().model_copy(
        update={"checks": [SafetyCheck(name="aliases", verdict="valid", counts={"refused": 5, "wrong_guesses": 2, "lost": 0})]}
    )
    assert [each.tone for each in check_rows(record)[0].counts] == ["", "", "zero"]


def test_the_page_opens_without_a_network_and_runs_nothing_but_its_own_scripts() -> None:
    html = render_check_page(sample_check(broken=True))
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (styles,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert policy(styles, scripts).replace("'", "&#39;") in html
    assert len(scripts) == 4
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {f"#fault-{i}" for i in range(6)} | {
        f"#state-{state}" for state in ("degraded", "down", "gone")
    }
    for _, attrs in Page(html).elements:
        assert not {"src", "href", "style", "onclick"} & attrs.keys()
    chrome = html.replace(scripts[0], "")  # the chart library names its own home in a comment
    for check in sample_check(broken=True).checks:
        for line in check.witness:
            chrome = chrome.replace(line.replace(">", "&gt;"), "")
    assert not re.findall(r"https?://", chrome)


def hostile_check() -> CheckRecord:
    record = sample_check(broken=True)
    broken = record.checks[0].model_copy(update={"witness": [HOSTILE], "detail": HOSTILE, "name": HOSTILE, "counts": {HOSTILE: 1}})
    return record.model_copy(
        update={
            "headline": HOSTILE,
            "design": HOSTILE,
            "checks": [broken],
            "bands": [band(1, 2, HOSTILE, HOSTILE)],
            "states": [NodeState(at_s=0, node=HOSTILE, state="ready", breaker="open")],
            "policy": [PolicyFigure(name=HOSTILE, value=1.0, unit=HOSTILE, sentence=HOSTILE)],
            "operations": {HOSTILE: {"ok": 1, HOSTILE: 2}},
            "knobs": {HOSTILE: HOSTILE},
            "schedules": [HOSTILE],
            "history": HOSTILE,
            "command": HOSTILE,
            "notes": [HOSTILE],
        }
    )


def test_text_of_a_record_is_shown_and_never_becomes_markup() -> None:
    html = render_check_page(hostile_check(), {})
    assert "<script>alert" not in html
    assert "<img" not in html
    assert len(re.findall(r"<script>", html)) == 4
    assert all("alert" not in value for _, attrs in Page(html).elements for name, value in attrs.items() if name != "aria-label")
    assert HOSTILE in Page(html).inside("code")


def test_text_of_a_record_is_inert_in_the_terminal() -> None:
    card = render_check_card(hostile_check(), 80)
    assert "\x1b" not in card
    assert "[bold]" in card


@pytest.mark.parametrize("width", [20, 60, 100])
def test_lines_of_the_card_fit_the_terminal(width: int) -> None:
    assert max(map(len, render_check_card(sample_check(broken=True), width).splitlines())) <= max(width, 45)


def test_a_run_without_faults_slices_or_states_says_so() -> None:
    text = page_of(calm_check()).text
    for said in ("nothing was checked", "Nothing was broken on purpose.", "No process was looked at.", "nothing was asked"):
        assert said in text
    assert drawn(calm_check())["slices"] == []
    assert "nothing was checked" in render_check_card(calm_check(), 80)


def test_a_run_of_no_time_still_has_an_axis() -> None:
    record = calm_check().model_copy(update={"seconds": 0.0})
    assert shown_seconds(record) == 1.0
    assert render_check_page(record)


def test_a_long_list_of_faults_is_cut_in_the_terminal_and_whole_on_the_page() -> None:
    record = sample_check().model_copy(update={"bands": [band(i, i + 0.5) for i in range(20)]})
    card = render_check_card(record, 100)
    assert card.count("Redis is killed") == FAULTS_SHOWN
    assert f"{20 - FAULTS_SHOWN} more in the report" in card
    assert render_check_page(record).count('class="strike ') == 20


def test_faults_that_overlap_on_one_target_lie_below_one_another() -> None:
    found = {lane.target: [len(row) for row in lane.rows] for lane in timeline(sample_check()).lanes}
    assert found == {"redis": [1], "click-worker": [3], "redis@replica-2": [1, 1], "replica-2": [1]}


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 9)), max_size=30))
def test_no_two_faults_are_drawn_over_each_other_and_none_is_left_out(spans: list[tuple[float, float]]) -> None:
    bands = [band(start_s, start_s + for_s) for start_s, for_s in sorted(spans)]
    rows = packed(bands)
    assert sorted(each.start_s for row in rows for each in row) == [each.start_s for each in bands]
    for row in rows:
        assert all(one.end_s <= next_one.start_s for one, next_one in pairwise(row))
    for lane in lanes(bands, 60.0):
        for bar in (bar for row in lane.rows for bar in row):
            assert 0 <= bar.start <= 100
            assert bar.width > 0


def test_the_shortest_fault_is_still_to_be_seen() -> None:
    ((bar,),) = lanes([band(59.999, 60.0)], 60.0)[0].rows
    assert bar.start + bar.width <= 100
    assert bar.width >= 0.4


def test_each_different_fault_has_a_letter_of_its_own_and_keeps_it() -> None:
    found = keys([band(2, 3, "b"), band(1, 2, "a"), band(4, 5, "a")])
    assert found == {"a": ("A", 0), "b": ("B", 1)}
    many = keys([band(i, i + 1, str(i)) for i in range(60)])
    assert [letter for letter, _ in many.values()][24:29] == ["Y", "Z", "AA", "AB", "AC"]
    assert len({letter for letter, _ in many.values()}) == 60


def test_states_of_a_node_follow_one_another_to_the_end_of_what_is_shown() -> None:
    strip = next(strip for strip in timeline(sample_check()).strips if strip.node == "replica-2")
    assert [stretch.state for stretch in strip.states] == ["ready", "degraded", "ready", "degraded", "ready", "gone", "ready"]
    for one, following in pairwise(strip.states):
        assert one.start + one.width == pytest.approx(following.start, abs=0.01)
    assert strip.states[-1].start + strip.states[-1].width == pytest.approx(100, abs=0.01)
    # Of a node that is gone nobody knows the breaker.
    assert sum(stretch.width for stretch in strip.breaker) == pytest.approx(100 - 100 * 1.4 / 30, abs=0.1)


def test_what_happened_after_the_load_is_shown_beyond_its_end() -> None:
    record = sample_check()
    late = NodeState(at_s=40.0, node="replica-1", state="degraded", breaker="closed")
    found = timeline(record.model_copy(update={"states": [*record.states, late]}))
    assert found.seconds == 40.0
    assert found.load_end == 75.0
    assert timeline(record).load_end is None


@given(st.floats(0.05, 5_000))
def test_an_axis_has_a_few_round_moments(seconds: float) -> None:
    found = ticks(seconds)
    assert 2 <= len(found) <= 8
    assert found[0] == (0.0, "0\N{NO-BREAK SPACE}s")
    assert all(0 <= x <= 100 for x, _ in found)


def test_the_plots_get_rates_in_the_middle_of_each_slice_and_gaps_where_nobody_answered() -> None:
    slices = [
        Slice(at_s=0.0, requests=40, failed=2, p50_ms=1.5, max_ms=9.0),
        Slice(at_s=0.2, requests=0, failed=0, p50_ms=None, max_ms=None),
    ]
    record = calm_check().model_copy(update={"slices": [*slices, slices[0].model_copy(update={"at_s": 0.4})], "seconds": 0.5})
    assert drawn(record)["slices"] == [
        [0.1, 200.0, 10.0, 1.5, 9.0],
        [0.3, 0.0, 0.0, None, None],
        [0.45, 400.0, 20.0, 1.5, 9.0],  # the last one is half as long
    ]


def test_knobs_are_called_changed_only_against_defaults_that_are_known() -> None:
    record = sample_check(broken=True)
    assert changed_knobs(record, USUAL) == ["ids", "cache_ttl_s"]
    assert facts(record, USUAL)["knobs that differ from their default"] == "ids=hash, cache_ttl_s=2"
    assert facts(sample_check(), dict(sample_check().knobs))["knobs that differ from their default"] == "none"
    assert changed_knobs(record, {}) == list(record.knobs)
    assert not any("knobs" in label for label in facts(record, None))
    assert "changed" not in Page(render_check_page(record)).inside("span")


def test_a_figure_is_held_against_its_bound() -> None:
    found = {row.name: (row.value, row.bound, row.within) for row in policy_rows(sample_check(broken=True))}
    assert found == {
        "redirect p99 under redis_black_hole": ("61.4\N{NO-BREAK SPACE}ms", "75\N{NO-BREAK SPACE}ms", "within"),
        "recovery after redis_black_hole": ("1.42\N{NO-BREAK SPACE}s", "1.2\N{NO-BREAK SPACE}s", "beyond"),
        "breaker opened": ("4", "", ""),
        "redirect p99 under worker_kill_loop": ("", "75\N{NO-BREAK SPACE}ms", "not seen"),
    }


def test_operations_are_added_up_and_an_outcome_nobody_knew_gets_a_column() -> None:
    record = sample_check().model_copy(update={"operations": {"a": {"ok": 2, "odd": 1}, "b": {"fail": 3}}})
    assert outcomes_seen(record) == ["ok", "fail", "info", "odd"]
    assert operation_rows(record) == [("a", [2, 0, 0, 1, 3]), ("b", [0, 3, 0, 0, 3]), ("all", [2, 3, 0, 1, 6])]


if __name__ == "__main__":
    for name, make in CARDS.items():
        (GOLDEN / name).write_text(make(), encoding="utf-8")
