"""Grafana's dashboards from short declarations: rows of panels with their queries, laid out from left to right.

>>> up = Panel("Processes up", "Worry when one is missing.", [Query('up{process=~"$process"}', "{{process}}")])
>>> dashboard("overview", "Overview", "All at a glance.", [Row("Now", [up])], [Variable("process", "sd_build_info")])

A query is PromQL in which `$name` is a variable of the dashboard and `$__rate_interval` the shortest window with enough scrapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 39  # that of Grafana 11; newer ones migrate it as they load it
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
GRID_WIDTH = 24
ROW_HEIGHT = 1

Kind = Literal["timeseries", "stat", "state-timeline"]


@dataclass(frozen=True, slots=True)
class Query:
    """`legend` names each series by its labels, `{{label}}`. With `exemplars` single traced requests are drawn too."""

    expr: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What a value is called, and its colour."""

    value: int
    name: str
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One question. `says` tells the reader what is shown and when to worry; `unit` is one of Grafana's.

    `worry_at` colours a stat red from that value on, and draws a line there in a time series. A `width` is a part of 24.
    """

    title: str
    says: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    max: float | None = None
    worry_at: float | None = None
    states: Sequence[State] = ()
    stacked: bool = False
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice of one or more values of the label `name`, among the series of `metric` (a selector)."""

    name: str
    metric: str


def dashboard(uid: str, title: str, says: str, rows: Sequence[Row], variables: Sequence[Variable]) -> str:
    """The dashboard as the text of a file that Grafana provisions."""
    whole = {
        "uid": uid,
        "title": title,
        "description": says,
        "tags": ["system-designs"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "5s",
        "time": {"from": "now-5m", "to": "now"},
        "timepicker": {"refresh_intervals": ["1s", "5s", "30s", "1m"]},
        "timezone": "browser",
        "links": [_links()],
        "annotations": {"list": [_alerts_annotation()]},
        "templating": {"list": [_variable(each) for each in variables]},
        "panels": list(_laid_out(rows)),
    }
    return json.dumps(whole, indent=2) + "\n"


def _laid_out(rows: Sequence[Row]) -> Iterator[Mapping[str, Any]]:
    """Panels from left to right; a line that is full, or a new row, begins below the highest of the last line."""
    number = top = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": GRID_WIDTH, "h": ROW_HEIGHT},
            "panels": [],
        }
        top += ROW_HEIGHT
        left = line_height = 0
        for panel in row.panels:
            if left + panel.width > GRID_WIDTH:
                top, left, line_height = top + line_height, 0, 0
            number += 1
            yield {"id": number, "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height}, **_panel(panel)}
            left, line_height = left + panel.width, max(line_height, panel.height)
        top += line_height


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": PROMETHEUS,
        "targets": [_target(letter, query, panel.kind) for letter, query in zip("ABCDEFGH", panel.queries, strict=False)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(letter: str, query: Query, kind: Kind) -> dict[str, Any]:
    return {
        "refId": letter,
        "datasource": PROMETHEUS,
        "expr": query.expr,
        "legendFormat": query.legend,
        "editorMode": "code",
        "range": kind != "stat",
        "instant": kind == "stat",
        "exemplar": query.exemplars,
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.worry_at is not None:
        steps.append({"color": "red", "value": panel.worry_at})
    field: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.max is not None:
        field["max"] = panel.max
    if panel.decimals is not None:
        field["decimals"] = panel.decimals
    if panel.states:
        options = {str(state.value): {"text": state.name, "color": state.color} for state in panel.states}
        field["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        field["color"] = {"mode": "palette-classic"}
        field["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.worry_at is not None else "off"},
        }
    else:
        field["color"] = {"mode": "thresholds"}
    return field


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if panel.worry_at is not None else "value",
            "graphMode": "none",
            "textMode": "auto",
        }
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    if panel.kind == "state-timeline":
        return {"mergeValues": True, "showValue": "never", "rowHeight": 0.8, "legend": legend, "tooltip": {"mode": "single"}}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.name})"
    return {
        "name": variable.name,
        "label": variable.name,
        "type": "query",
        "datasource": PROMETHEUS,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{variable.name}"},
        "refresh": 2,  # whenever the time range changes, so that a process that comes later is offered
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _alerts_annotation() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": PROMETHEUS,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}} {{process}} {{queue}}",
        "step": "5s",
    }


def _links() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Dashboards",
        "tags": ["system-designs"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
