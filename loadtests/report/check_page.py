"""The report of a check as files: a page to show, and the record itself.

Each sentence and number is read from the record or computed from it. The page is one file that opens without a network: verdict,
tables, faults and states need no script, only the plots of the load do. Text from the record is shown and never run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment

from loadtests.check.record import CheckRecord
from loadtests.report.check_tables import (
    Value,
    changed_knobs,
    check_rows,
    conditions,
    facts,
    operation_rows,
    outcomes_seen,
    policy_rows,
    what_was_run,
)
from loadtests.report.check_timeline import timeline
from loadtests.report.number_format import number
from loadtests.report.offline_page import asset, policy, templates
from loadtests.report.page import breakable, unbroken
from loadtests.report.verdict import MARKS


def write_check_page(record: CheckRecord, folder: Path, usual: Mapping[str, Value] | None = None) -> Path:
    """Write `index.html` and `check.json` into `folder` (made if missing); returns the path of the page.

    `usual`: the defaults of the design's knobs, which the record does not hold; with them the page says which ones were turned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "check.json").write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    page = folder / "index.html"
    page.write_text(render_check_page(record, usual), encoding="utf-8")
    return page


def render_check_page(record: CheckRecord, usual: Mapping[str, Value] | None = None) -> str:
    """The whole page as one HTML string: styles, chart library, scripts and data inlined."""
    styles = asset("vendor/uPlot.min.css") + asset("report.css") + asset("check.css")
    scripts = [asset("vendor/uPlot.iife.min.js"), asset("charts.js"), asset("check.js"), asset("copy.js")]
    return (
        _environment()
        .get_template("check.html.j2")
        .render(
            record=record,
            run=what_was_run(record),
            facts=facts(record, usual),
            checks=check_rows(record),
            timeline=timeline(record),
            policy_rows=policy_rows(record),
            outcomes=outcomes_seen(record),
            operations=operation_rows(record),
            changed=changed_knobs(record, usual),
            conditions=conditions(record),
            marks=MARKS,
            styles=styles,
            scripts=scripts,
            policy=policy(styles, scripts),
        )
    )


def check_schema() -> str:
    """`check.schema.json`: JSON Schema 2020-12 of a record as it is written."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **CheckRecord.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


@cache
def _environment() -> Environment:
    """The templates, compiled once."""
    environment = templates()
    environment.filters |= {"number": number, "breakable": breakable, "unbroken": unbroken}
    return environment
