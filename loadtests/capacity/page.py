"""The report of a capacity test as files: a page to show, a Markdown page to paste, the record itself.

Each sentence and number is read from the record or computed from it. The page is one file that opens without a network; its tables
need no script. `capacity_view` is all that the part with the plots needs (`capacity_section.html.j2`, `charts.js` and
`capacity.js`), so that another page can show it too.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from loadtests.capacity.result import CapacityResult, OpenStep
from loadtests.capacity.tables import (
    CLOSED_COLUMNS,
    OPEN_COLUMNS,
    bracket_rows,
    by_rate,
    closed_rows,
    conditions,
    fit_rows,
    knob_rows,
    open_rows,
    promise_rows,
)
from loadtests.capacity.words import NOT_ABSOLUTE, findings, lead
from loadtests.report.markdown_text import escaped, escaped_table
from loadtests.report.number_format import change, count, interval
from loadtests.report.offline_page import asset, inlined_json, policy, templates
from loadtests.report.page import breakable, unbroken
from loadtests.report.verdict import MARKS

SAME_RATE = 1.04  # steps whose rates differ by less are one point of the curve


def write_capacity_report(result: CapacityResult, out_dir: Path) -> Path:
    """Write `index.html`, `report.md` and `result.json` into `out_dir` (made if missing); returns the path of the page."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out_dir / "report.md").write_text(render_capacity_markdown(result), encoding="utf-8")
    page = out_dir / "index.html"
    page.write_text(render_capacity_page(result), encoding="utf-8")
    return page


@dataclass(frozen=True, slots=True)
class VariantView:
    name: str
    findings: Sequence[str]
    brackets: Sequence[Sequence[str]]
    fit: Sequence[Sequence[str]]
    closed: Sequence[Sequence[str]]
    open: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class CapacityView:
    """What `capacity_section.html.j2` shows, under the name `capacity`. `data` is JSON for `capacity.js`."""

    objective: str
    variants: Sequence[VariantView]
    closed_columns: Sequence[str]
    open_columns: Sequence[str]
    not_absolute: str
    data: str


def capacity_view(result: CapacityResult) -> CapacityView:
    return CapacityView(
        objective=result.manifest.objective,
        variants=[
            VariantView(
                name=variant.name,
                findings=findings(variant, result.manifest.objective),
                brackets=bracket_rows(variant),
                fit=fit_rows(variant),
                closed=closed_rows(variant),
                open=open_rows(variant),
            )
            for variant in result.variants
        ],
        closed_columns=CLOSED_COLUMNS,
        open_columns=OPEN_COLUMNS,
        not_absolute=NOT_ABSOLUTE,
        data=inlined_json(orjson.dumps(chart_data(result)).decode()),
    )


def chart_data(result: CapacityResult) -> dict[str, object]:
    """What the plots draw, and no more of the record."""
    return {
        "objective": result.manifest.objective,
        "percentile": result.manifest.objective_percentile,
        "limit_ms": result.manifest.objective_limit_ms,
        "variants": [
            {
                "name": variant.name,
                "closed": [(step.clients, step.throughput_per_s, bool(step.void_because)) for step in variant.closed],
                "fit": variant.fit.curve if variant.fit else [],
                "one_core_per_s": variant.one_core_per_s,
                "open": [(step.planned_per_s, step.objective_ms, step.outcome) for step in by_rate(variant)],
                "latency": latency_curve(by_rate(variant)),
                "knee": [variant.knee.low_per_s, variant.knee.estimate_per_s, variant.knee.high_per_s],
            }
            for variant in result.variants
        ],
    }


def latency_curve(steps: Sequence[OpenStep]) -> list[tuple[float, float | None, float | None]]:
    """(requests/s, objective's percentile in ms, p50 in ms) by rate; steps at nearly the same rate are one point, their medians.

    Void steps are left out: they tell of the generator.
    """
    groups: list[list[OpenStep]] = []
    for step in steps:
        if step.outcome == "void":
            continue
        if groups and step.planned_per_s < SAME_RATE * groups[-1][0].planned_per_s:
            groups[-1].append(step)
        else:
            groups.append([step])
    return [
        (
            statistics.median(step.planned_per_s for step in group),
            _median(step.objective_ms for step in group),
            _median(step.p50_ms for step in group),
        )
        for group in groups
    ]


def render_capacity_page(result: CapacityResult) -> str:
    """The whole page as one HTML string: styles, chart library, scripts and data inlined."""
    styles = asset("vendor/uPlot.min.css") + asset("report.css") + asset("capacity.css")
    scripts = [asset("vendor/uPlot.iife.min.js"), asset("charts.js"), asset("capacity.js"), asset("copy.js")]
    environment = templates()
    environment.filters |= {"breakable": breakable, "together": together}
    # What marks.html.j2 has beside marks; Jinja wants to know these even where nobody draws it.
    environment.filters |= {"unbroken": unbroken, "change": change, "interval": interval}
    return environment.get_template("capacity.html.j2").render(
        result=result,
        headline=result.headline.split("; "),
        promises=promise_rows(result.safety),
        safety=result.safety_verdict(),
        marks=MARKS,
        lead=lead(result.manifest),
        capacity=capacity_view(result),
        knobs=knob_rows(result.variants),
        conditions=conditions(result.manifest),
        styles=styles,
        scripts=scripts,
        policy=policy(styles, scripts),
    )


def together(sentence: str) -> str:
    """A number and its unit stay on one line, and so do the ends of an interval, however narrow the page."""
    sentence = re.sub(r"\[([\d.,]+), ", "[\\1,\N{NO-BREAK SPACE}", sentence)
    for unit in (" %", " ms", " < "):
        sentence = sentence.replace(unit, unit.replace(" ", "\N{NO-BREAK SPACE}"))
    return sentence


def render_capacity_markdown(result: CapacityResult) -> str:
    """The page without its charts. Text from the record is escaped."""
    lines = [f"# {escaped(result.headline)}", "", escaped(lead(result.manifest)), "", f"Safety: **{result.safety_verdict()}**", ""]
    checks = [
        [name, check.name, check.verdict, ", ".join(f"{label} {count(n)}" for label, n in check.counts.items()), check.detail]
        for name, found in result.safety.items()
        for check in found
    ]
    for variant in result.variants:
        lines += [
            f"## {escaped(variant.name)}",
            "",
            *[f"- {escaped(said)}" for said in findings(variant, result.manifest.objective)],
            "",
        ]
        lines += [*escaped_table(("search", "last pass /s", "first fail /s", "because", "steps"), bracket_rows(variant)), ""]
        lines += [*escaped_table(("scalability law", "estimate", "interval"), fit_rows(variant)), ""]
        lines += [*escaped_table(CLOSED_COLUMNS, closed_rows(variant)), ""]
        lines += [*escaped_table(OPEN_COLUMNS, open_rows(variant)), ""]
    lines += [
        "## Safety",
        "",
        *escaped_table(("variant", "invariant", "verdict", "counts", "detail"), checks),
        "",
        "## Conditions",
        "",
    ]
    lines += [*escaped_table(("knob", *(variant.name for variant in result.variants)), knob_rows(result.variants)), ""]
    lines += [*escaped_table(("condition", "value"), [list(pair) for pair in conditions(result.manifest).items()]), ""]
    lines += [f"- {escaped(note)}" for note in result.manifest.notes]
    return "\n".join([*lines, "", "## Repeat it", "", f"    {' '.join(result.manifest.command.split())}", ""])


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None
