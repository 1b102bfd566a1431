"""Every request of a traced service arrives at the collector as one span, and the service tells how many there were in all."""

from __future__ import annotations

from designs.building_blocks.knobs import build
from designs.url_shortener.knobs import ShortenerKnobs
from tests.processes.driving import wait_until
from tests.processes.span_collector import SpanCollector
from tests.url_shortener.processes.driving import DESIGN, Api
from workbench.launch import RunningDesign

VISITS = 40


def test_with_traces_1_each_request_is_one_server_span_at_the_collector_and_each_span_that_was_sent_arrives() -> None:
    knobs = build(ShortenerKnobs, {"traces": 1, "store": "memory", "cache": "none", "clicks": "off"})
    with SpanCollector() as collector:
        env = {"URL_SHORTENER_TRACES_ENDPOINT": collector.url}
        with RunningDesign(DESIGN, knobs, env=env) as design, Api(design.urls[0], design.api_key) as api:
            code = api.create("https://example.org/traced")["code"]
            assert {api.visit(code).status_code for _ in range(VISITS)} == {302}
            wait_until(lambda: sum(span.kind == "server" for span in collector.spans) == 1 + VISITS, "the spans arrive")
            wait_until(lambda: api.metric("sd_spans_total", outcome="sent") == len(collector.spans), "as many were sent")
            assert api.metric("sd_spans_total", outcome="dropped") == 0
            assert api.metric("sd_spans_total", outcome="failed") == 0
