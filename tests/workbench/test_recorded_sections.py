"""What of a record stands in a document: its verdicts, its figures, how sure they are, how safe, and the command again."""

import re
from dataclasses import replace
from pathlib import Path

from designs.building_blocks.claims import more
from loadtests.result import Result, Steadiness
from loadtests.url_shortener.mixes import CARD
from tests.loadtests.sample_result import sample_result
from tests.workbench.recorded_claims import (
    CHEAPER,
    DEARER,
    DESIGN,
    SAFE,
    SMALL,
    record_growth,
    record_run,
    result_of,
    with_comparison,
)
from workbench.claims import review
from workbench.measurements import BenchRecord, compact
from workbench.recorded_sections import across_section, bench_section, claims_section, measured_section, run_sentence

SPACE = "\N{NO-BREAK SPACE}"


# -- claims ---------------------------------------------------------------------------------------------------------------


def rows_of(folder: Path, *claims: object) -> list[list[str]]:
    judged = review(DESIGN, folder, claims).judged  # type: ignore[arg-type]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in claims_section("url_shortener", judged, 0.05)[2:]]


def test_claims_are_a_row_each_with_verdict_and_figure_and_one_command_a_run(tmp_path: Path) -> None:
    record_run(tmp_path)
    record_growth(tmp_path)
    cpu, safe, small = rows_of(tmp_path, CHEAPER, SAFE, SMALL)
    assert re.fullmatch(rf"CPU per request, all processes: \d+ us → [\d.]+ us \(−39{SPACE}% \[−40, −38\]\)", cpu[1])
    assert (cpu[0], *cpu[2:]) == ("A cache saves CPU", "holds", "`designs claims url_shortener cache.redirects`")
    assert safe == ["A cache keeps its promises", "3 invariants held on every side", "holds"]
    assert small == ["It stays small", "2 MB", "holds", "`designs claims url_shortener bench-growth`"]


def test_a_claim_that_a_run_contradicts_or_leaves_open_says_so(tmp_path: Path) -> None:
    record_run(tmp_path)
    [row] = rows_of(tmp_path, replace(CHEAPER, expects=more()))
    assert row[2] == "**contradicted**"
    result = result_of()
    wide = result.comparisons[0][0].ratio
    assert wide is not None
    record_run(tmp_path, with_comparison(result, ratio=wide.model_copy(update={"low": 0.8, "high": 1.3}), verdict="inconclusive"))
    [row] = rows_of(tmp_path, CHEAPER)
    assert row[2] == "not settled by this run"
    assert row[1].endswith("[−20, +30])")
    assert "inconclusive" not in row[1]


def test_the_section_of_a_run_says_first_what_was_found_and_what_it_says_of_its_claims(tmp_path: Path) -> None:
    record_run(tmp_path)
    judged = review(DESIGN, tmp_path, (CHEAPER, SAFE)).judged
    assert measured_section(result_of(), lambda other: CARD["cache"], judged)[1:4] == ["", "All 2 claims about this run hold.", ""]
    judged = review(DESIGN, tmp_path, (DEARER, SAFE)).judged
    assert measured_section(result_of(), lambda other: CARD["cache"], judged)[1:6] == [
        "",
        "1 of 2 claims hold:",
        "",
        "- **contradicted**: A cache costs CPU",
        "",
    ]


def test_several_variants_have_a_verdict_each() -> None:
    result = sample_result(("cache=none", "cache=aside", "cache=refresh-ahead"))
    found = [compared.sentence for side in result.comparisons for compared in side if compared.primary]
    lines = shown(result.model_copy(update={"headline": "; ".join(found)})).splitlines()
    assert lines[:2] == [f"- **{sentence}.**" for sentence in found]


# -- comparisons ----------------------------------------------------------------------------------------------------------


def shown(result: Result) -> str:
    return "\n".join(measured_section(compact(result), lambda other: CARD["cache"]))


def test_a_recorded_comparison_says_what_was_found_how_sure_how_safe_and_how_to_repeat_it() -> None:
    result = sample_result()
    text = shown(result)
    assert text.startswith(f"**{result.headline}.**\n")
    [primary] = [comparison for comparison in result.comparisons[0] if comparison.primary]
    figures = f"{primary.baseline:.0f} us | {primary.other:.1f} us (−39\N{NO-BREAK SPACE}% [−40, −38])"
    assert f"| **CPU per request, all processes** | {figures} |" in text
    assert "Safety: valid: no acknowledged link is lost; " in text
    assert result.noise_sentence in text
    assert "10 blocks counted and 1 rejected, turns of 2 s at 300 requests/s of the mix redirects, 2025-06-01." in text
    assert f"```sh\n{result.manifest.command}\n```" in text


def test_a_broken_promise_stands_in_the_section() -> None:
    assert "Safety: invalid: cache=aside: invalid: no acknowledged link is lost (acknowledged 118, lost 2)" in shown(
        sample_result(unsafe=True)
    )


def test_only_figures_of_the_card_are_shown_and_an_open_question_is_called_one() -> None:
    text = shown(sample_result(blocks=3))
    assert "Stale answers" not in text
    assert "(inconclusive: −" in text


def test_a_recorded_bench_has_its_verdicts_its_table_and_its_command() -> None:
    record = BenchRecord(
        design="url_shortener",
        name="growth",
        command="designs bench growth",
        columns=["links", "CPU us"],
        rows=[["10", "1.5"]],
        sentences=["met: it stays small"],
        recorded_at="2025-06-01T09:30:00+00:00",
        commit="0f3c2ab97d1e5b64",
        dirty=True,
        versions={"python": "CPython 3.11.7"},
        machine={"cpu": "AMD EPYC", "cpus": "2", "kernel": "Linux 6.18", "load_average_before": "0.9 0.8 0.7"},
    )
    text = "\n".join(bench_section(record))
    assert text.startswith("- met: it stays small.\n\n| links | CPU us |\n|---|---|\n| 10 | 1.5 |\n\n2025-06-01. AMD EPYC, 2 CPUs")
    assert "commit 0f3c2ab97d with uncommitted changes" in text
    assert text.endswith("```sh\ndesigns bench growth\n```")


def test_a_variant_that_had_not_settled_is_named() -> None:
    result = sample_result()
    steady = Steadiness(change_per_block=0.001, low=-0.01, high=0.01, steady=True)
    rising = Steadiness(change_per_block=0.02, low=0.01, high=0.03, steady=False)
    variants = [
        variant.model_copy(update={"steadiness": each}) for variant, each in zip(result.variants, (steady, rising), strict=True)
    ]
    assert f"- Not steady from block to block: cache=aside (+2.0{SPACE}% a block)." in shown(
        result.model_copy(update={"variants": variants})
    )
    assert "Not steady" not in shown(result)


def test_one_knob_under_several_mixes_is_a_row_per_figure_and_mix() -> None:
    first = sample_result()
    second = first.model_copy(update={"manifest": first.manifest.model_copy(update={"mix": "hot"})})
    lines = across_section(["cpu_us_per_request", "tea_per_request"], [first, second])
    assert lines[0] == "|  | mix | cache=none | cache=aside |"
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| CPU per request, all processes", "`redirects`"],
        ["| CPU per request, all processes", "`hot`"],
    ]


def test_the_conditions_of_a_run_are_one_sentence() -> None:
    assert run_sentence(sample_result()).endswith("Services and stores on CPU 0, generator on CPU 1.")
