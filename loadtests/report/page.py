"""The report of one comparison as files: a page to show, a Markdown page to paste, the record itself.

A report says first what was found, then what it costs, then how sure that is. It promises to add nothing to the `Result` it
is given: each sentence is read from the record or computed from it. A run whose safety is invalid is announced as such
before any speed. The page is one file that opens without a network; its tables need no JavaScript; text from the record
(names, notes, commands) is shown and never run.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from loadtests.report.block_chart import block_chart
from loadtests.report.cpu_split import cpu_split
from loadtests.report.markdown import render_markdown
from loadtests.report.number_format import change, interval, number
from loadtests.report.offline_page import asset, policy, templates
from loadtests.report.page_data import page_data
from loadtests.report.ratio_curve import percentile_name, ratio_curve
from loadtests.report.ratio_scale import ratio_scale
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
from loadtests.report.trade_off import LINES_AT_FIRST, trades
from loadtests.report.verdict import MARKS, safety_findings, verdict
from loadtests.result import Result


def write_report(result: Result, out_dir: Path) -> Path:
    """Write `index.html`, `report.md` and `result.json` into `out_dir` (made if missing); returns the path of the page."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out_dir / "report.md").write_text(render_markdown(result), encoding="utf-8")
    page = out_dir / "index.html"
    page.write_text(render_page(result), encoding="utf-8")
    return page


def render_page(result: Result) -> str:
    """The whole page as one HTML string: styles, chart library, scripts and data inlined."""
    styles = asset("vendor/uPlot.min.css") + asset("report.css")
    scripts = [asset("vendor/uPlot.iife.min.js"), asset("charts.js"), asset("copy.js"), asset("report.js")]
    scale = ratio_scale(_ratios_shown(result), result.manifest.margin)
    return (
        _environment()
        .get_template("index.html.j2")
        .render(
            result=result,
            verdict=verdict(result),
            safety=result.safety_verdict(),
            trades=trades(result),
            lines_at_first=LINES_AT_FIRST,
            findings=safety_findings(result),
            cpu=cpu_split(result),
            family=family_sentence(result),
            marks=MARKS,
            scale=scale,
            percentiles=PERCENTILES,
            missing=missing_percentiles(result),
            curve=ratio_curve(result),
            bands=[band_told(band) for band in result.bands],
            block_chart=block_chart(result),
            answers=six_questions(result),
            statuses=statuses_seen(result),
            differing=differing_knobs(result),
            conditions=conditions(result),
            styles=styles,
            scripts=scripts,
            policy=policy(styles, scripts),
            data=page_data(result),
        )
    )


@cache
def _environment() -> Environment:
    """The templates, compiled once."""
    environment = templates()
    environment.filters |= {
        "number": number,
        "change": change,
        "interval": interval,
        "breakable": breakable,
        "unbroken": unbroken,
        "missing_because": missing_because,
        "percentile_name": percentile_name,
    }
    return environment


def _ratios_shown(result: Result) -> list[float]:
    """Every estimate and interval end, and the mirror image of each: in a table of many figures "equal" stays in the middle."""
    shown = [c.ratio for comparisons in result.comparisons for c in comparisons if c.ratio] + [result.noise_floor]
    ends = [value for ratio in shown for value in (ratio.low, ratio.estimate, ratio.high) if value]
    return ends + [1 / value for value in ends]


def breakable(name: str) -> Markup:
    """A name that may wrap where a reader would break it, so that a narrow table need not scroll: `cache=` | `aside`."""
    return Markup("<wbr>").join(re.findall(r"[^=_/.:,]{1,16}[=_/.:,]*|[=_/.:,]+", name))


def unbroken(sentence: str) -> str:
    """A number and its per cent sign stay on one line, however narrow the page."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")
