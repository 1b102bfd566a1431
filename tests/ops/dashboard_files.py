"""The dashboards as they lie in the repository, and what their panels ask."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from loadtests.manifest import REPOSITORY
from workbench.ops_dashboards import FOLDER

# What Grafana puts in: everything is chosen, and the shortest window for a scrape interval of 1 s.
CHOSEN = {"$__rate_interval": "4s", "$design": ".+", "$process": ".+"}


class Asked(NamedTuple):
    """One query of one panel. `where` names both."""

    where: str
    expr: str
    legend: str


def dashboards() -> dict[str, Mapping[str, Any]]:
    """Name of the file -> the dashboard."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((REPOSITORY / FOLDER).glob("*.json"))}


def panels(dashboard: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those that ask something: rows are headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(**chosen: str) -> Iterator[Asked]:
    """Every query of every panel, with the variables put in: `design="rate_limiter"` chooses that one."""
    values = CHOSEN | {f"${name}": value for name, value in chosen.items()}
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                expr = target["expr"]
                for variable, value in values.items():
                    expr = expr.replace(variable, value)
                yield Asked(f"{name}: {panel['title']}", expr, target["legendFormat"])
