"""Every request of a traced service arrives at the collector as one span, and the service tells the same number."""

from __future__ import annotations

import httpx2

from tests.url_shortener.processes.driving import Api, running, wait_until

VISITS = 40


def test_with_traces_1_each_request_is_one_span_at_the_collector() -> None:
    with running(traces=1, store="memory", cache="none", clicks="off") as design:
        with Api(design.urls[0], design.api_key) as api:
            code = api.create("https://example.org/traced")["code"]
            assert {api.visit(code).status_code for _ in range(VISITS)} == {302}
            wait_until(lambda: api.metric("sd_spans_total", outcome="sent") == 1 + VISITS, "the spans are sent")
            assert api.metric("sd_spans_total", outcome="dropped") == 0
        assert httpx2.get(f"{design.collector_url}/counts").json()["spans"] == 1 + VISITS
