"""Every metric, label and value that a rule or a dashboard names is one that the running designs really expose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import httpx2
import pytest

from loadtests.metrics_page import samples_of
from loadtests.plain_http import TRUSTS_NOBODY
from tests.ops.dashboard_files import CHOSEN, dashboards, queries
from tests.ops.limiter_scene import running_limiter, try_out
from tests.ops.promql_names import Selector, names
from tests.ops.real_prometheus import eventually, rules
from tests.ops.traffic import ask_envoys_door
from tests.url_shortener.processes.driving import Api, running
from workbench.catalogue import DESIGNS
from workbench.launch import RunningDesign

Exposed = dict[str, dict[str, set[str]]]  # metric -> label -> its values

# What Prometheus adds to a sample, and the series it makes itself.
TARGET = {"job": {"designs"}, "instance": set[str](), "design": {*DESIGNS}, "process": {"replica-1", "click-worker"}}
OWN: Exposed = {"up": {}, "ALERTS": {"alertname": set(), "alertstate": {"pending", "firing"}, "severity": set()}}
RECORDED: Exposed = {
    rule["record"]: {label: set() for label in names(rule["expr"]).grouping} for rule in rules() if "record" in rule
}
ONLY_WITH_OTHER_KNOBS = {"sd_queue_lag", "sd_write_behind_stored_total", "sd_write_behind_conflicts_total"}
GREEDY = {"domain": "demo", "descriptor": {"user": "greedy", "route": "/search", "tenant": "t"}}
MORE_THAN_ALLOWED = 50
NOT_YET = {"status"}  # a value of these may never have occurred, and is right all the same


def every_expression() -> Iterator[tuple[str, str, str]]:
    """(where, the expression, the legend or summary that is made of its labels)."""
    for rule in rules():
        labels = re.findall(r"\$labels\.(\w+)", str(rule.get("annotations", "")))
        yield rule.get("alert") or rule["record"], rule["expr"], " ".join(f"{{{{{label}}}}}" for label in labels)
    for asked in queries():
        yield asked.where, asked.expr, asked.legend
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            metric = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert metric is not None
            expr = metric[1]
            for choice, value in CHOSEN.items():
                expr = expr.replace(choice, value)
            yield f"{name}: ${variable['name']}", expr, f"{{{{{metric[2]}}}}}"


def exposed_by(design: RunningDesign) -> Exposed:
    """Of all processes together."""
    found: Exposed = {}
    for url in design.metrics_urls:
        for name, labels, _ in samples_of(httpx2.get(url, verify=TRUSTS_NOBODY).text):
            known = found.setdefault(name, {})
            for label, value in labels.items():
                known.setdefault(label, set()).add(value)
    return found


def driven(design: RunningDesign) -> Exposed:
    """What it exposes once it has made links, followed them, and counted the clicks."""
    with Api(design.urls[0], design.api_key) as api:
        code = api.create("https://example.org/named")["code"]
        api.create_many(["https://example.org/1"])
        assert api.visit(code).status_code == 302
        seen: Exposed = {}

        def complete() -> bool:
            seen.update(exposed_by(design))
            return "sd_queue_oldest_age_seconds" in seen

        eventually(complete, lambda: "the worker has looked at its queue")
    return seen


@pytest.fixture(scope="module")
def of_the_limiter() -> Exposed:
    """What a limiter exposes once it has refused, would have refused, held a slot, answered Envoy, and been without its store."""
    with running_limiter() as design, httpx2.Client(base_url=design.urls[0], verify=TRUSTS_NOBODY) as http:
        try_out(design, quota=1)
        http.headers["Authorization"] = f"Bearer {design.api_key}"

        def exposes(metric: str, label: str, value: str) -> bool:
            assert http.post("/v1/check/batch", json={"items": [GREEDY] * MORE_THAN_ALLOWED}).status_code == 200
            return value in exposed_by(design).get(metric, {}).get(label, set())

        http.post("/v1/acquire", json={**GREEDY, "token": "t"})
        ask_envoys_door(design)
        for outcome in ("refused", "shadow_refused"):
            eventually(
                partial(exposes, "sd_limiter_decisions_total", "outcome", outcome), partial("no decision is {}".format, outcome)
            )
        assert design.redis is not None
        design.redis.kill()
        eventually(partial(exposes, "sd_limiter_degraded_total", "policy", "open"), lambda: "decided without the store")
        return exposed_by(design)


def both(one: Exposed, other: Exposed) -> Exposed:
    return {
        metric: {
            label: one.get(metric, {}).get(label, set()) | other.get(metric, {}).get(label, set())
            for label in one.get(metric, {}).keys() | other.get(metric, {}).keys()
        }
        for metric in one.keys() | other.keys()
    }


def wrong(exposed: Exposed, *, leave_out: set[str]) -> list[str]:
    """A sentence for each name that is not there."""
    known = exposed | OWN | RECORDED
    return [
        f"{where}: {sentence}" for where, expr, legend in every_expression() for sentence in _wrong(expr, legend, known, leave_out)
    ]


def _wrong(expr: str, legend: str, known: Exposed, leave_out: set[str]) -> Iterator[str]:
    named = names(expr)
    labels = set(TARGET)
    for selector in named.selectors:
        if selector.metric in leave_out:
            return
        if selector.metric not in known:
            yield f"there is no metric {selector.metric}"
            continue
        labels |= known[selector.metric].keys()
        yield from _wrong_matchers(selector, known[selector.metric] | TARGET)
    for label in sorted(named.grouping | set(re.findall(r"\{\{(\w+)\}\}", legend))):
        if label not in labels:
            yield f"no metric of it has a label {label}"


def _wrong_matchers(selector: Selector, labels: dict[str, set[str]]) -> Iterator[str]:
    for label, how, value in selector.matchers:
        if label not in labels:
            yield f"{selector.metric} has no label {label}"
        elif label not in NOT_YET and labels[label]:
            meant = re.compile(value if how in {"=~", "!~"} else re.escape(value))
            if not any(meant.fullmatch(each) for each in labels[label]) and (how in {"=", "=~"} or value != "unmatched"):
                yield f'{selector.metric} never has {label}{how}"{value}"'


def test_every_name_in_rules_and_dashboards_is_exposed_by_the_running_designs(of_the_limiter: Exposed) -> None:
    with running(traces=1, faults=True) as design:
        assert not wrong(both(driven(design), of_the_limiter), leave_out=ONLY_WITH_OTHER_KNOBS)


def test_every_name_is_exposed_on_kafka_and_cassandra_too(on_real_servers: RunningDesign, of_the_limiter: Exposed) -> None:
    assert not wrong(both(driven(on_real_servers), of_the_limiter), leave_out=set())


@pytest.mark.parametrize(
    ("expr", "legend", "sentence"),
    [
        ("sum(sd_no_such_total)", "", "there is no metric sd_no_such_total"),
        ('sd_queue_depth{queue="click"}', "", 'sd_queue_depth never has queue="click"'),
        ('sd_queue_depth{quue="clicks"}', "", "sd_queue_depth has no label quue"),
        ("sum by (quue) (sd_queue_depth)", "", "no metric of it has a label quue"),
        ("sd_queue_depth", "{{quue}}", "no metric of it has a label quue"),
    ],
)
def test_a_name_that_is_misspelt_is_noticed(expr: str, legend: str, sentence: str) -> None:
    assert list(_wrong(expr, legend, {"sd_queue_depth": {"queue": {"clicks"}}}, set())) == [sentence]
