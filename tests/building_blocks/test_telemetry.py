from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import structlog
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from designs.building_blocks.fault_hooks import FaultHooks, write_fault_file
from designs.building_blocks.logs import MAX_SAID, LibraryLines, configure_logs
from designs.building_blocks.telemetry import Telemetry, Timing
from designs.building_blocks.tracing import Traces
from tests.url_shortener.replicas import BROWSER, LONG_URL, OWNER, OWNER_KEY, PLAIN, knobs, running_replica

COUNT = "http_request_duration_seconds_count"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NOWHERE = "http://127.0.0.1:1/v1/traces"


def app_with_routers(telemetry: Telemetry) -> Any:
    """One router included under two prefixes, a route of the app itself, and errors of all kinds."""
    app, router = FastAPI(), APIRouter(prefix="/things")

    @router.get("/{thing}")
    async def thing(thing: str) -> str:
        return thing

    @router.get("/{thing}/missing")
    async def missing(thing: str) -> str:
        raise HTTPException(404)

    @router.get("/{thing}/broken")
    async def broken(thing: str) -> str:
        raise RuntimeError

    @app.get("/plain/{name}")
    async def plain(name: str, request: Request) -> str:
        return name

    @app.get("/number/{number:int}")
    async def number(number: int) -> int:
        return number

    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")
    return Timing(app, telemetry.http_seconds)


def counted(telemetry: Telemetry) -> dict[tuple[str, str, str], float]:
    """Requests by (method, route, status)."""
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == COUNT
    }


def test_a_request_is_labelled_by_the_whole_template_that_matched_and_never_by_what_was_asked_for() -> None:
    telemetry = Telemetry("toy", "1")

    async def scene() -> None:
        transport = httpx2.ASGITransport(app_with_routers(telemetry), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://toy.example") as client:
            for method, path in (
                ("GET", "/v1/things/a"),
                ("GET", "/v2/things/b"),
                ("GET", "/v1/things/c/missing"),
                ("GET", "/v2/things/d/broken"),
                ("PUT", "/v1/things/e"),
                ("GET", "/plain/f"),
                ("GET", "/number/none"),
                ("GET", "/nowhere/at/all"),
                ("BREW", "/v1/things/g"),
                ("GET", "/metrics"),
                ("GET", "/healthz"),
                ("GET", "/readyz"),
            ):
                await client.request(method, path)

    asyncio.run(scene())
    assert counted(telemetry) == {
        ("GET", "/v1/things/{thing}", "200"): 1,
        ("GET", "/v2/things/{thing}", "200"): 1,
        ("GET", "/v1/things/{thing}/missing", "404"): 1,
        ("GET", "/v2/things/{thing}/broken", "500"): 1,
        ("PUT", "/v1/things/{thing}", "405"): 1,
        ("GET", "/plain/{name}", "200"): 1,
        ("GET", "unmatched", "404"): 2,
        ("other", "/v1/things/{thing}", "405"): 1,
    }


def test_a_timed_port_counts_what_worked_and_what_failed_and_passes_everything_else_through() -> None:
    telemetry = Telemetry("toy", "1")

    class Port:
        size = 3

        async def get(self, key: str, *, default: str = "") -> str:
            if key == "bad":
                raise ValueError(key)
            if key == "slow":
                await asyncio.Event().wait()
            return key + default

        async def untimed(self) -> str:
            return "untimed"

    async def scene() -> None:
        port: Any = telemetry.timed_port(Port(), "toy", ["get"], prefix="toys_")
        assert await port.get("a", default="b") == "ab"
        assert (await port.untimed(), port.size) == ("untimed", 3)
        with pytest.raises(ValueError, match="bad"):
            await port.get("bad")
        waiting = asyncio.create_task(port.get("slow"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(AttributeError):
            _ = port.nothing

    asyncio.run(scene())
    read = telemetry.registry.get_sample_value
    labels = {"backend": "toy", "op": "toys_get"}
    assert read("sd_backend_calls_total", labels | {"outcome": "ok"}) == 1
    assert read("sd_backend_calls_total", labels | {"outcome": "error"}) == 2
    assert read("sd_backend_call_duration_seconds_count", labels) == 3


def test_without_metrics_a_port_is_handed_back_as_it_is_and_a_request_leaves_no_trace_and_reads_no_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telemetry = Telemetry("toy", "1", metrics=False)
    port = object()
    assert telemetry.timed_port(port, "toy", ["get"]) is port
    monkeypatch.setattr("designs.building_blocks.telemetry.time.perf_counter", lambda: pytest.fail("the clock was read"))
    scope = {"type": "http", "method": "GET", "path": "/x"}
    asyncio.run(Timing(Response("ok"), telemetry.http_seconds)(scope, _never, _nowhere))
    page = telemetry.exposition("")[0].decode()
    assert "http_request" not in page
    assert "sd_backend" not in page
    assert "sd_build_info" in page


def test_a_failed_request_is_logged_without_metrics_too(caplog: pytest.LogCaptureFixture) -> None:
    scope = {"type": "http", "method": "GET", "path": "/x"}
    with structlog.testing.capture_logs() as logged:
        asyncio.run(Timing(Response("no", 503), None)(scope, _never, _nowhere))
    assert logged == [{"event": "request_failed", "log_level": "warning", "route": "unmatched", "status": 503}]


@pytest.mark.parametrize("sampled", [True, False])
def test_a_call_within_a_sampled_trace_leaves_its_trace_as_an_exemplar_in_openmetrics_alone(sampled: bool) -> None:
    class Port:
        async def get(self) -> None: ...

    async def scene() -> None:
        traces = Traces("toy", "replica-1", "", float(sampled), exporter=InMemorySpanExporter())
        telemetry = Telemetry("toy", "1", traces=traces)
        with traces.span("request") as span:
            await telemetry.timed_port(Port(), "toy", ["get"]).get()
        traces.stop()
        trace_id = format(span.get_span_context().trace_id, "032x")
        assert (trace_id in telemetry.exposition(OPENMETRICS)[0].decode()) == sampled
        assert trace_id not in telemetry.exposition("text/plain")[0].decode()

    asyncio.run(scene())


def test_a_fault_that_a_process_was_told_to_have_is_shown_while_it_is_in_force(tmp_path: Path) -> None:
    def shown(telemetry: Telemetry) -> dict[str, float | None]:
        read = telemetry.registry.get_sample_value
        return {fault: read("sd_fault_active", {"fault": fault}) for fault in ("clock_offset", "slow_store")}

    telemetry = Telemetry("toy", "1")
    assert shown(telemetry) == {"clock_offset": None, "slow_store": None}, "without a fault file there is nothing to show"
    file = tmp_path / "replica-1"
    write_fault_file(file)
    telemetry.observe_faults(FaultHooks.open(file))
    assert shown(telemetry) == {"clock_offset": 0, "slow_store": 0}
    write_fault_file(file, clock_offset_us=-1)
    assert shown(telemetry) == {"clock_offset": 1, "slow_store": 0}
    write_fault_file(file, clock_offset_us=0, store_delay_us=1)
    assert shown(telemetry) == {"clock_offset": 0, "slow_store": 1}


# -- guards on a running service --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_a_thousand_random_codes_paths_methods_and_traces_leave_the_number_of_series_constant_and_that_of_exemplars_bounded(
    path: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designs.building_blocks.tracing.STOP_WITHIN_S", 0.01)
    draw, draw_trace = random.Random(7), random.Random(8)

    def word() -> str:
        return "".join(draw.choices("abcdefghijkmnopqrstuvwxyzABCDEFG23456789-_.+%/", k=draw.randrange(1, 20)))

    async def scene() -> None:
        turned = knobs(**PLAIN, redirect_path=path, misses_per_minute=0, traces=1)
        async with running_replica(turned, tmp_path, traces_endpoint=NOWHERE) as replica:
            code = (await replica.create())["code"]

            async def series() -> tuple[int, list[str]]:
                """How many series there are, and the buckets that have an exemplar."""
                lines = (await replica.http.get("/metrics", headers={"Accept": OPENMETRICS})).text.splitlines()
                return len(lines), [line.partition("} ")[0] for line in lines if " # {" in line]

            async def storm(times: int) -> None:
                for number in range(times):
                    method = draw.choice(["GET", "HEAD", "POST", "BREW", f"M{word().upper()[:3].strip('-_.+%/')}{number}X"])
                    try:
                        await replica.http.request(method, f"/{draw.choice(['', 'api/v1/links/', 'x/y/'])}{word()}", headers=OWNER)
                    except httpx2.InvalidURL:
                        continue
                    traceparent = f"00-{draw_trace.getrandbits(127) + 1:032x}-{draw_trace.getrandbits(63) + 1:016x}-01"
                    await replica.http.request("GET", f"/{code}", headers=BROWSER | {"traceparent": traceparent})

            await storm(500)
            settled, _ = await series()
            await storm(500)
            now, with_exemplar = await series()
            assert now == settled
            assert len(with_exemplar) == len({*with_exemplar})
            assert any(line.startswith("http_request_duration_seconds_bucket{") for line in with_exemplar)

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_redirects_are_labelled_alike_on_both_paths(path: str, tmp_path: Any) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN, redirect_path=path), tmp_path) as replica:
            code = (await replica.create())["code"]
            await replica.visit(code)
            await replica.visit(code, "HEAD")
            await replica.visit("never00")
            await replica.http.get(f"/{code}+")
            assert counted(replica.parts.telemetry) == {
                ("POST", "/api/v1/links", "201"): 1,
                ("GET", "/{code}", "302"): 1,
                ("HEAD", "/{code}", "302"): 1,
                ("GET", "/{code}", "404"): 1,
                ("GET", "/{code}+", "200"): 1,
            }

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_a_sampled_redirect_is_the_exemplar_of_its_bucket_on_both_paths(
    path: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designs.building_blocks.tracing.STOP_WITHIN_S", 0.01)
    sampled, unsampled = (f"00-{digit * 32}-{digit * 16}-{flags}" for digit, flags in (("a", "01"), ("b", "00")))

    async def scene() -> None:
        turned = knobs(**PLAIN, redirect_path=path, traces=0.5)
        async with running_replica(turned, tmp_path, traces_endpoint=NOWHERE) as replica:
            code = (await replica.create())["code"]
            for traceparent in (sampled, unsampled):
                await replica.http.get(f"/{code}", headers=BROWSER | {"traceparent": traceparent})
            modern = (await replica.http.get("/metrics", headers={"Accept": OPENMETRICS})).text
            plain = (await replica.http.get("/metrics")).text
        buckets: list[Any] = [*parse_openmetrics(modern)]  # type: ignore[no-untyped-call]
        redirects = {
            sample.exemplar.labels["trace_id"]
            for family in buckets
            if family.name == "http_request_duration_seconds"
            for sample in family.samples
            if sample.exemplar and sample.labels["route"] == "/{code}"
        }
        assert redirects == {"a" * 32}
        assert "a" * 32 not in plain

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_a_service_without_metrics_still_says_what_it_promises_to_count(path: str, tmp_path: Any, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(metrics="off", redirect_path=path, click_flush_ms=1)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            await replica.visit((await replica.create())["code"])
            assert replica.parts.recorder is not None
            await replica.parts.recorder.flush()
            page = (await replica.http.get("/metrics")).text
        families = {family.name: family.samples for family in parse_text(page)}
        assert not any(name.startswith(("http_request", "sd_backend")) for name in families)
        assert {"sd_clicks", "sd_degraded", "sd_build_info", "sd_store_syncs", "sd_queue_messages"} <= families.keys()
        assert {sample.value for sample in families["sd_clicks"] if sample.labels["outcome"] == "accepted"} == {1}

    asyncio.run(scene())


def test_metrics_can_be_read_in_both_formats_and_name_every_family_once(tmp_path: Any, redis_url: str) -> None:
    async def scene() -> None:
        async with running_replica(knobs(), tmp_path, redis_url=redis_url) as replica:
            await replica.visit((await replica.create())["code"])
            plain = await replica.http.get("/metrics")
            modern = await replica.http.get("/metrics", headers={"Accept": OPENMETRICS})
        assert (plain.status_code, modern.status_code) == (200, 200)
        assert plain.headers["content-type"].startswith("text/plain")
        assert modern.headers["content-type"].startswith("application/openmetrics-text")
        modern_families: list[Any] = [*parse_openmetrics(modern.text)]  # type: ignore[no-untyped-call]
        for families in ([*parse_text(plain.text)], modern_families):
            names = [family.name for family in families]
            assert len(names) == len({*names})
            assert {"http_request_duration_seconds", "sd_backend_calls", "sd_cache_requests", "sd_clicks", "sd_breaker_state"} <= {
                *names
            }
            labels = {name for family in families for sample in family.samples for name in sample.labels}
            assert labels <= {
                "backend",
                "breaker",
                "dependency",
                "design",
                "le",
                "method",
                "op",
                "outcome",
                "queue",
                "reason",
                "result",
                "route",
                "status",
                "version",
            }
        helped = [line.split()[2] for line in plain.text.splitlines() if line.startswith("# HELP")]
        assert len(helped) == len({*helped})

    asyncio.run(scene())


@pytest.fixture
def as_in_a_process() -> Iterator[None]:
    """Whatever a test does to the configuration of the logs is undone."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, LibraryLines)]
    structlog.contextvars.clear_contextvars()


def configured(level: str) -> None:
    configure_logs(level, "url_shortener", "replica-1")
    structlog.configure(cache_logger_on_first_use=False)  # a logger kept from here would write to this test's output for ever


def test_no_log_record_holds_a_secret_an_address_or_a_local_variable(
    as_in_a_process: None,
    capsysbinary: pytest.CaptureFixture[bytes],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Any,
    redis_url: str,
) -> None:
    configured("debug")
    caplog.set_level(logging.DEBUG)

    async def scene() -> None:
        async with running_replica(knobs(), tmp_path, redis_url=redis_url) as replica:
            code = (await replica.create())["code"]
            await replica.client_at("203.0.113.77").get(f"/{code}", headers=BROWSER)
            await replica.post({"url": LONG_URL}, headers={"Authorization": "Bearer wrong-key-0123456789"})

            async def breaks() -> None:
                a_local_secret = "local-hunter2"  # noqa: F841
                raise RuntimeError("told")

            replica.parts.background.append(breaks)
            logger = structlog.get_logger()
            try:
                await breaks()
            except RuntimeError:
                logger.exception("background_task_failed")

    asyncio.run(scene())
    written = capsysbinary.readouterr().out
    records = [orjson.loads(line) for line in written.splitlines()]
    assert {"starting", "background_task_failed"} <= {record["event"] for record in records}
    assert all({"timestamp", "level", "event", "design", "process"} <= record.keys() for record in records)
    everything = written.decode() + caplog.text
    password = redis_url.partition("@")[0].rpartition(":")[2] if "@" in redis_url else None
    for secret in (OWNER_KEY, "operator-key", "a-code-key-of", "wrong-key", "203.0.113.77", "local-hunter2", password):
        assert secret is None or secret not in everything


def test_logs_below_the_level_are_not_written(as_in_a_process: None, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    configured("warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [orjson.loads(line)["event"] for line in capsysbinary.readouterr().out.splitlines()] == ["loud"]


def test_what_a_driver_says_in_a_thread_of_its_own_is_a_line_of_json_like_ours(
    as_in_a_process: None, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    configured("info")
    driver = logging.getLogger("some.driver")

    def said() -> None:
        driver.info("connected")
        driver.warning("no answer from %s", "127.0.0.1:1")
        try:
            a_local_secret = "local-hunter2"  # noqa: F841
            raise OSError("gone")
        except OSError:
            driver.exception("given up" + "!" * MAX_SAID)

    thread = threading.Thread(target=said)
    thread.start()
    thread.join()
    written = capsysbinary.readouterr().out
    lines = [orjson.loads(line) for line in written.splitlines()]
    assert [(line["level"], line["event"], line["library"], line["process"]) for line in lines] == [
        ("warning", "library_said", "some.driver", "replica-1"),
        ("error", "library_said", "some.driver", "replica-1"),
    ]
    assert lines[0]["said"] == "no answer from 127.0.0.1:1"
    assert len(lines[1]["said"]) == MAX_SAID
    assert b"local-hunter2" not in written


def test_an_answer_without_a_status_line_is_counted_as_an_error() -> None:
    telemetry = Telemetry("toy", "1")

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("before anything was sent")

    async def scene() -> None:
        with pytest.raises(RuntimeError):
            await Timing(broken, telemetry.http_seconds)({"type": "http", "method": "GET", "path": "/x"}, _never, _nowhere)
        await Timing(Response("ok"), telemetry.http_seconds)({"type": "http", "method": "GET", "path": "/x"}, _never, _nowhere)

    asyncio.run(scene())
    assert counted(telemetry) == {("GET", "unmatched", "500"): 1, ("GET", "unmatched", "200"): 1}


async def _never() -> Any:
    """Nothing arrives."""


async def _nowhere(message: Any) -> None:
    """Nobody listens."""
