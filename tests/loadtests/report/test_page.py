"""The report: what stands where, what never gets in, and how numbers become words."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from loadtests.report import page as report
from loadtests.report.block_chart import block_chart, block_ratio
from loadtests.report.card import render_card, rich_card
from loadtests.report.markdown import render_markdown
from loadtests.report.number_format import change, interval, number
from loadtests.report.offline_page import TEMPLATE_DIR
from loadtests.report.ratio_scale import ratio_scale
from loadtests.report.six_questions import six_questions
from loadtests.report.tables import PERCENTILES, missing_percentiles
from loadtests.report.verdict import safety_findings, verdict
from loadtests.result import Ratio, Result
from tests.loadtests.sample_result import large_result, sample_result

THREE = ("cache=none", "cache=aside", "cache=refresh-ahead")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>[bold]`|\x1b[31m"
VENDOR = TEMPLATE_DIR / "vendor"


class Page(HTMLParser):
    """What a browser would see: the elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))
        if "h1" in self._open:
            self.headings.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def inside(self, tag: str) -> list[str]:
        return [data.strip() for name, data in self.texts if name == tag and data.strip()]

    @property
    def heading(self) -> str:
        """All lines of the main heading, as one."""
        return "".join(self.headings).replace("\N{NO-BREAK SPACE}", " ").strip()

    @property
    def text(self) -> str:
        seen = " ".join(data for tag, data in self.texts if tag not in ("script", "style"))
        return re.sub(r"\s+", " ", seen)


def page_of(result: Result) -> Page:
    return Page(report.render_page(result))


def with_limits(low: float | None, estimate: float, high: float | None) -> Ratio:
    return Ratio(estimate=estimate, low=low, high=high, confidence=0.95, blocks=10, sd_log=0.03)


def test_a_report_is_a_page_a_markdown_file_and_the_record_itself(tmp_path: Path) -> None:
    result = sample_result()
    page = report.write_report(result, tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", "report.md", "result.json"]
    assert Result.model_validate_json((page.parent / "result.json").read_text(encoding="utf-8")) == result


def test_the_page_tells_its_story_in_order() -> None:
    page = page_of(sample_result())
    assert page.heading == sample_result().headline
    assert page.inside("h2") == [
        "What you buy",
        "What you pay",
        "Safety",
        "CPU per request",
        "Work and time, side by side",
        "Latency",
        "Blocks",
        "Statuses",
        "Six questions to ask of any benchmark",
        "Conditions",
        "Repeat it",
    ]
    assert page.inside("dt")[:6] == [
        "Why not double?",
        "Did it break limits?",
        "Did it error?",
        "Does it reproduce?",
        "Does it matter?",
        "Did it even happen?",
    ]


@pytest.mark.parametrize("names", [THREE[:2], THREE])
def test_each_figure_of_each_variant_stands_in_a_table_that_needs_no_script(names: tuple[str, ...]) -> None:
    result = sample_result(names)
    text = page_of(result).text
    for variant, comparisons in zip(result.variants[1:], result.comparisons, strict=True):
        assert f"{variant.name} against {result.baseline}" in text.replace("= ", "=")
        for comparison in comparisons:
            assert comparison.title in text
            if comparison.ratio:
                assert change(comparison.ratio.estimate).replace("\xa0", " ") in text.replace("\xa0", " ")
                assert interval(comparison.ratio) in text
    for sentence in [result.noise_sentence, result.manifest.command]:
        assert sentence in text


def test_the_page_fetches_nothing() -> None:
    page = page_of(sample_result(THREE))
    for _, attrs in page.elements:
        assert not {"src", "href", "style", "onclick"} & attrs.keys()
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "url(" not in (TEMPLATE_DIR / "report.css").read_text(encoding="utf-8")


def test_the_page_lets_run_exactly_the_scripts_it_brings() -> None:
    html = report.render_page(sample_result())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 4
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1].replace("&#39;", "'")


def test_the_page_of_four_variants_and_twenty_blocks_is_small_enough_to_mail(tmp_path: Path) -> None:
    result = large_result()
    assert [len(variant.over_time) for variant in result.variants] == 4 * [240]
    page = report.write_report(result, tmp_path)
    assert page.stat().st_size < 400_000


def test_vendored_files_are_the_ones_their_readme_names() -> None:
    named = dict(re.findall(r"\| `(\S+)` \| `([0-9a-f]{64})` \|", (VENDOR / "README.md").read_text(encoding="utf-8")))
    assert named == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.name != "README.md"
    }


def test_the_page_carries_what_its_script_draws_and_leaves_the_rest_to_the_record() -> None:
    result = sample_result(THREE)
    html = report.render_page(result)
    carried = re.search(r'<script type="application/json" id="result">(.*?)</script>', html, flags=re.DOTALL)
    assert carried is not None
    assert "<" not in carried[1]
    drawn = json.loads(carried[1])
    assert drawn["bands"] == [band.model_dump() for band in result.bands]
    for shown, variant in zip(drawn["variants"], result.variants, strict=True):
        assert shown["name"] == variant.name
        assert shown["latency_intended"]["samples"] == variant.latency_intended.samples
        assert len(shown["latency_sent"]["ecdf"]) == len(variant.latency_sent.ecdf)
        for row, recorded in zip(shown["over_time"], variant.over_time, strict=True):
            assert row == pytest.approx(recorded, rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(name=st.text(min_size=1, max_size=40))
@example(name=HOSTILE)
def test_text_of_a_record_is_shown_and_never_becomes_markup(name: str) -> None:
    plain = page_of(sample_result(("cache=none", "x")))
    hostile = page_of(sample_result(("cache=none", f"x{name}")))
    tags = [tag for tag, _ in hostile.elements if tag != "wbr"]
    assert tags == [tag for tag, _ in plain.elements if tag != "wbr"]
    assert [set(attrs) for tag, attrs in hostile.elements if tag != "wbr"] == [
        set(attrs) for tag, attrs in plain.elements if tag != "wbr"
    ]


def test_text_of_a_record_is_inert_in_markdown_and_in_the_terminal() -> None:
    result = sample_result(("cache=none", HOSTILE), headline=f"{HOSTILE} wins")
    markdown = render_markdown(result)
    assert "<script" not in markdown
    assert "<img" not in markdown
    rows = [line for line in markdown.splitlines() if "(primary)" in line or "CPU per request, all" in line]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert "\x1b" not in render_card(result, 80)
    shown = io.StringIO()
    Console(width=120, file=shown, color_system=None).print(rich_card(result))
    assert "\x1b" not in shown.getvalue()
    assert "[bold]" in shown.getvalue()


def test_broken_safety_is_said_before_any_speed() -> None:
    result = sample_result(unsafe=True)
    said = verdict(result)
    assert said.headline == "Not safe: cache=aside breaks “no acknowledged link is lost”"
    assert result.headline in said.subline
    page = page_of(result)
    assert [page.heading] == page.inside("title")[:1] == [said.headline]
    assert page.all("header")[0]["class"] == "invalid"
    assert render_markdown(result).startswith("# Not safe")
    card = render_card(result, 80)
    assert card.startswith("Not safe")
    assert "Safety: INVALID" in card
    first = safety_findings(result)[0]
    assert (first.verdict, first.variants, first.counts) == ("invalid", "cache=aside", "acknowledged 118, lost 2")


def test_safety_that_nobody_checked_is_unknown_and_says_so() -> None:
    result = sample_result().model_copy(update={"safety": {}})
    assert "Safety is unknown: nothing was checked" in verdict(result).subline
    assert "nothing was checked" in page_of(result).text
    assert "Safety: UNKNOWN" in render_card(result, 80)


def test_invariants_that_hold_everywhere_share_a_line_with_their_counts_side_by_side() -> None:
    findings = safety_findings(sample_result())
    assert [f.invariant for f in findings] == [
        "no acknowledged link is lost",
        "no code names two links",
        "no answer is staler than the TTL",
    ]
    assert findings[2].counts == "stale 0 / 37, too stale 0"


def test_a_percentile_without_enough_samples_is_grey_and_says_why() -> None:
    result = sample_result(blocks=6)
    page = page_of(result)
    grey = [attrs for attrs in page.all("td") if attrs.get("class") == "n none"]
    assert len(grey) == 4  # p99.9 of two variants, from the planned start and from the actual send
    assert "p99.9 needs 10,000 samples; cache=none has 7,164 and cache=aside has 7,164." in page.text
    assert missing_percentiles(sample_result(blocks=10)) == []


def test_an_overloaded_variant_has_no_percentiles_and_says_why() -> None:
    result = sample_result()
    last = result.variants[-1]
    silent = last.latency_intended.model_copy(update=dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "p999_ms")))
    overloaded = last.model_copy(update={"latency_intended": silent, "latency_sent": silent})
    text = page_of(result.model_copy(update={"variants": [result.variants[0], overloaded]})).text
    assert text.count("overloaded") == 8
    assert "cache=aside could not keep up with the load" in text


def test_below_six_blocks_no_interval_is_pretended() -> None:
    result = sample_result(blocks=4)
    assert "no interval" in page_of(result).text
    reproduces = six_questions(result)[3]
    assert reproduces.tone == "caution"
    assert "no 95 % interval exists" in reproduces.text


def test_a_rejected_block_is_shown_with_its_reason_and_crossed_out() -> None:
    result = sample_result()
    chart = block_chart(result)
    rejected = [dot for dot in chart.dots if not dot.accepted]
    assert len(rejected) == 1
    assert "rejected: generator lag p99 3.4 ms" in rejected[0].label
    assert sum("rejected" in attrs.get("class", "") for attrs in page_of(result).all("svg")) == 1


def test_a_rejected_block_and_its_repetition_share_an_index_and_keep_their_own_places() -> None:
    result = sample_result()
    blocks = [block.model_copy(update={"index": min(block.index, 3)}) for block in result.blocks]
    again = result.model_copy(update={"blocks": blocks})
    assert [dot.place for dot in block_chart(again).dots] == list(range(len(blocks)))
    cells = [cell for cell in page_of(again).inside("td") if cell.startswith("cache=aside: ")]
    assert len(cells) == len(blocks)
    assert not any(";" in cell for cell in cells)


def test_each_block_of_each_variant_has_its_mark_and_the_control_stands_beside_them() -> None:
    result = sample_result(THREE)
    chart = block_chart(result)
    assert len(chart.dots) == 2 * len(result.blocks)
    assert [span.variant for span in chart.spans] == [1, 2, 0]
    assert chart.spans[-1].label.startswith("A/A control")
    marks = [(dot.x, dot.y) for dot in chart.dots] + [(span.x, span.y) for span in chart.spans]
    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in marks)
    assert max(dot.x for dot in chart.dots) < 75 < min(span.x for span in chart.spans)


def test_a_figure_that_counted_nothing_has_no_ratio() -> None:
    block = sample_result().blocks[0]
    empty = block.model_copy(update={"figures": {"a": {"f": 0.0, "g": 2.0}, "b": {"f": 3.0, "g": 1.0}}})
    assert block_ratio(empty, "f", "a", "b") is None
    assert block_ratio(empty, "missing", "a", "b") is None
    assert block_ratio(empty, "g", "a", "b") == 0.5


@pytest.mark.parametrize(
    ("statuses", "short", "tone"),
    [({"307": 1_000}, "No", "good"), ({"307": 995, "503": 3, "error": 2}, "Yes", "caution"), ({"500": 9, "307": 1}, "Yes", "bad")],
)
def test_errors_are_told_by_their_share(statuses: dict[str, int], short: str, tone: str) -> None:
    result = sample_result()
    variants = [variant.model_copy(update={"statuses": statuses}) for variant in result.variants]
    answer = six_questions(result.model_copy(update={"variants": variants}))[2]
    assert (answer.short, answer.tone) == (short, tone)


def test_a_filled_core_is_called_a_limit() -> None:
    result = sample_result()
    busy = result.model_copy(update={"manifest": result.manifest.model_copy(update={"rate_per_s": 6_000.0})})
    assert six_questions(result)[1].short == "No"
    assert six_questions(busy)[1].tone == "bad"


def test_a_baseline_that_differs_from_itself_casts_doubt() -> None:
    result = sample_result().model_copy(update={"noise_floor": with_limits(1.04, 1.09, 1.13)})
    assert six_questions(result)[3].short == "Doubtful"


def test_requests_that_were_planned_but_not_sent_are_noticed() -> None:
    result = sample_result()
    variants = [variant.model_copy(update={"statuses": {"307": 500}}) for variant in result.variants]
    answer = six_questions(result.model_copy(update={"variants": variants}))[5]
    assert (answer.short, answer.tone) == ("Not all of it", "bad")


def test_a_result_without_samples_blocks_or_errors_still_renders() -> None:
    result = sample_result()
    nothing = result.variants[0].latency_sent.model_copy(update={"samples": 0, "ecdf": [], **dict.fromkeys(PERCENTILES.values())})
    gone = {"latency_intended": nothing, "latency_sent": nothing, "over_time": [], "statuses": {}, "figures": {}, "requests": 0}
    variants = [variant.model_copy(update=gone) for variant in result.variants]
    empty = result.model_copy(update={"variants": variants, "blocks": [], "bought": [], "paid": [], "comparisons": [[]]})
    assert page_of(empty).heading == result.headline
    assert "nothing this run could see" in render_markdown(empty)
    assert "nothing this run could see" in render_card(empty, 60)


def test_equal_stands_in_the_middle_of_the_table_of_figures_although_all_of_them_shrank() -> None:
    assert re.search(r'<text x="50\.0%"[^>]*>equal<', report.render_page(sample_result()))


@settings(max_examples=30)
@given(width=st.integers(20, 200))
def test_the_card_fits_the_terminal(width: int) -> None:
    card = render_card(sample_result(), width)
    assert max(len(line) for line in card.splitlines()) <= width
    unwrapped = " ".join(card.split())
    assert unwrapped.index("What you buy") < unwrapped.index("What you pay") < unwrapped.index("Safety: VALID")
    assert unwrapped.index("Safety: VALID") < unwrapped.index("Noise floor")


def test_the_coloured_card_says_what_the_plain_one_says() -> None:
    result = sample_result()
    shown = io.StringIO()
    Console(width=400, file=shown, color_system=None).print(rich_card(result))
    for sentence in [result.headline, *result.bought, *result.paid, result.noise_sentence]:
        assert sentence in shown.getvalue()


def test_markdown_has_the_same_numbers_as_the_page() -> None:
    markdown = render_markdown(sample_result())
    primary = next(line for line in markdown.splitlines() if "(primary)" in line)
    assert primary.count("|") == 8
    assert interval(sample_result().comparisons[0][2].ratio or with_limits(1, 1, 1)).strip("[]") in primary
    assert "    designs compare url\\_shortener" not in markdown  # a command is copied, so it is not escaped
    assert "    designs compare url_shortener" in markdown


@given(ratio=st.floats(0.01, 100.0), other=st.floats(0.01, 100.0), margin=st.floats(0.01, 0.3))
def test_the_axis_keeps_order_and_puts_half_as_far_from_equal_as_double(ratio: float, other: float, margin: float) -> None:
    scale = ratio_scale([ratio, 1 / ratio], margin)
    low, high = sorted((ratio, other))
    assert 0 <= scale.at(low) <= scale.at(high) <= 100
    assert math.isclose(scale.at(1.0), 50.0, abs_tol=0.02)
    assert math.isclose(scale.at(other) - 50.0, 50.0 - scale.at(1 / other), abs_tol=0.05)
    assert scale.at(0.0) <= scale.band[0] < 50.0 < scale.band[1]
    positions = [x for x, _ in scale.ticks]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(0.62, "−38 %"), (1.0, "0.0 %"), (1.013, "+1.3 %"), (0.9996, "0.0 %"), (1.5, "+50 %"), (3.2, "3.2 ×"), (40.0, "40 ×")],
)
def test_a_ratio_is_said_as_people_say_it(ratio: float, said: str) -> None:
    assert change(ratio) == said.replace(" ", "\N{NO-BREAK SPACE}")


def test_an_interval_speaks_the_unit_of_its_estimate() -> None:
    assert interval(with_limits(0.59, 0.62, 0.64)) == "[−41, −36]"
    assert interval(with_limits(0.99, 1.013, 1.04)) == "[−1.0, +4.0]"
    assert interval(with_limits(1.9, 3.2, 3.51)) == "[1.9, 3.51]"
    assert interval(with_limits(None, 0.62, None)) == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (0.18239, "0.182"), (0.5, "0.5"), (14.0, "14"), (149.2, "149"), (12_034.4, "12,034"), (-2.5, "-2.5")],
)
def test_numbers_carry_three_digits(value: float, said: str) -> None:
    assert number(value) == said


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_can_be_said(value: float) -> None:
    said = number(value)
    if math.isfinite(value) and abs(value) >= 1e-3:
        assert math.isclose(float(said.replace(",", "")), value, rel_tol=0.006)


@given(st.text(alphabet=st.characters(exclude_characters="<>&'\""), max_size=60))
def test_a_breakable_name_is_the_name(name: str) -> None:
    assert "".join(str(report.breakable(name)).split("<wbr>")) == name
