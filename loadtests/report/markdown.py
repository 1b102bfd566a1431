"""The report as Markdown, for a pull request or a wiki: the page without its charts.

Promises. Text from the record is escaped, so that no name or note becomes markup; only the command is given as it is, indented as
code on one line, because it is there to be copied.
"""

from __future__ import annotations

from loadtests.report.cpu_split import cpu_split
from loadtests.report.markdown_text import escaped, escaped_table
from loadtests.report.number_format import change, count, interval, number
from loadtests.report.ratio_curve import percentile_name
from loadtests.report.six_questions import six_questions
from loadtests.report.tables import (
    PERCENTILES,
    band_told,
    conditions,
    differing_knobs,
    family_sentence,
    missing_because,
    missing_percentiles,
    statuses_seen,
)
from loadtests.report.verdict import verdict
from loadtests.result import Comparison, LatencySummary, Result


def render_markdown(result: Result) -> str:
    """The page without its charts, for a pull request or a wiki. Text from the record is escaped."""
    said = verdict(result)
    lines = [f"# {escaped(said.headline)}", "", escaped(said.subline), "", f"Safety: **{result.safety_verdict()}**", ""]
    for title, sentences in (("What you buy", result.bought), ("What you pay", result.paid)):
        lines += [f"## {title}", "", *[f"- {escaped(sentence)}" for sentence in sentences or ["nothing this run could see"]], ""]
    lines += ["## Safety", "", *escaped_table(["variant", "invariant", "verdict", "counts", "detail"], _safety_rows(result)), ""]
    if splits := cpu_split(result):
        header = ["variant", *(part.role for part in splits[0].parts), "all"]
        cells = [[s.name, *("none" if p.us is None else number(p.us) for p in s.parts), number(s.total_us)] for s in splits]
        lines += ["## CPU per request, us", "", *escaped_table(header, cells), ""]
    for variant, comparisons in zip(result.variants[1:], result.comparisons, strict=True):
        lines += [f"## {escaped(variant.name)} against {escaped(result.baseline)}", ""]
        header = ["figure", "unit", result.baseline, variant.name, "change", "interval", "verdict"]
        lines += [*escaped_table(header, [_comparison_cells(c) for c in comparisons]), ""]
    lines += [escaped(sentence) for sentence in (family_sentence(result), result.noise_sentence) if sentence]
    lines += ["", "## Latency, ms", ""]
    rows = [
        [variant.name, clock, count(summary.samples), *_percentile_cells(summary)]
        for variant in result.variants
        for clock, summary in (("planned start", variant.latency_intended), ("actual send", variant.latency_sent))
    ]
    lines += [
        *escaped_table(["variant", "from", "samples", *PERCENTILES], rows),
        "",
        *map(escaped, missing_percentiles(result)),
        "",
    ]
    names = [variant.name for variant in result.variants]
    lines += _ratio_functions(result)
    if result.bands:
        lines += ["## Done on purpose", "", *(f"- {escaped(band_told(band))}" for band in result.bands), ""]
    lines += ["## Statuses", ""]
    lines += [*escaped_table(["status", *names], [[s, *map(count, ns)] for s, ns in statuses_seen(result).items()]), ""]
    lines += ["## Six questions", ""]
    lines += [f"- **{a.question}** {escaped(a.short)}. {escaped(a.text)}" for a in six_questions(result)]
    lines += ["", "## Conditions", ""]
    lines += escaped_table(["knob", *names], [[knob, *values] for knob, values in differing_knobs(result).items()])
    lines += ["", *escaped_table(["condition", "value"], [list(pair) for pair in conditions(result).items()]), ""]
    lines += [f"- {escaped(note)}" for note in result.manifest.notes]
    lines += ["", "## Repeat it", "", f"    {' '.join(result.manifest.command.split())}", ""]
    return "\n".join(lines)


def _ratio_functions(result: Result) -> list[str]:
    """Latency at each quantile against the baseline, a column for each other variant."""
    quantiles = sorted({point.q for function in result.ratio_functions for point in function})
    if not quantiles:
        return []
    found = [{point.q: point.ratio for point in function} for function in result.ratio_functions]
    rows = [
        [percentile_name(q), *(f"{change(at[q].estimate)} {interval(at[q])}".rstrip() if q in at else "" for at in found)]
        for q in quantiles
    ]
    title = f"## Ratio function: latency against {escaped(result.baseline)} at each percentile"
    return [title, "", *escaped_table(["percentile", *(v.name for v in result.variants[1:])], rows), ""]


def _safety_rows(result: Result) -> list[list[str]]:
    return [
        [name, check.name, check.verdict, _counts(check.counts), check.detail]
        for name, checks in result.safety.items()
        for check in checks
    ]


def _comparison_cells(c: Comparison) -> list[str]:
    shown = [change(c.ratio.estimate), interval(c.ratio)] if c.ratio else ["", ""]
    title = f"{c.title} (primary)" if c.primary else c.title
    return [title, c.unit, number(c.baseline), number(c.other), *shown, c.verdict]


def _percentile_cells(summary: LatencySummary) -> list[str]:
    return [missing_because(summary, field) or number(getattr(summary, field)) for field in PERCENTILES.values()]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count(n)}" for name, n in counts.items())
