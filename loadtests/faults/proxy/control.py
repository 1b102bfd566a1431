"""The control port: the HTTP API of Toxiproxy 2.x, so that its clients work here, and a page of metrics.

`sd_fault_active{fault,target}` is 1 while a fault is in force: `fault` is a kind of toxic or `down`, `target` the proxy's name.

A browser must not steer it: a page of any site could send requests to a port of this machine. As Toxiproxy does, requests of a
`User-Agent` that begins with `Mozilla/` are refused, and so are those that name an `Origin`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from loadtests.faults.proxy.addresses import LOOPBACK
from loadtests.faults.proxy.proxies import Proxies
from loadtests.faults.proxy.server import Refused
from loadtests.faults.proxy.toxics import KINDS, ToxicRefused, parse_change, parse_toxic, refuse_bad_name, sentence

DOWN = "down"
API_VERSION = "2.6.0+system-designs"  # the first of Toxiproxy whose updates are PATCH
MAX_BODY = 1 << 20

Answer = tuple[int, Any]


class ProxyFields(BaseModel):
    """A proxy as requests name it; unknown fields, such as the toxics a client read before, are ignored."""

    model_config = ConfigDict(strict=True)

    name: str = ""
    listen: str | None = None
    upstream: str | None = None
    enabled: bool | None = None


PROXY_FIELDS = TypeAdapter(ProxyFields)
LIST_OF_PROXY_FIELDS = TypeAdapter(list[ProxyFields])


def create_control(proxies: Proxies) -> ASGIApp:
    """The application that serves the control port."""
    routes: dict[str, dict[str, Callable[[Proxies, Request, bytes], Awaitable[Answer]]]] = {
        "/version": {"GET": version},
        "/reset": {"POST": reset},
        "/populate": {"POST": populate},
        "/proxies": {"GET": list_proxies, "POST": create_proxy},
        "/proxies/{proxy}": {"GET": show_proxy, "POST": update_proxy, "PATCH": update_proxy, "DELETE": delete_proxy},
        "/proxies/{proxy}/toxics": {"GET": list_toxics, "POST": add_toxic},
        "/proxies/{proxy}/toxics/{toxic}": {
            "GET": show_toxic,
            "POST": update_toxic,
            "PATCH": update_toxic,
            "DELETE": remove_toxic,
        },
    }

    def serving(by_method: dict[str, Callable[[Proxies, Request, bytes], Awaitable[Answer]]]) -> Any:
        async def serve(request: Request) -> Response:
            try:
                body = await _body(request)
                async with proxies.lock:
                    status, answer = await by_method[request.method](proxies, request, body)
            except Refused as refused:
                status, answer = refused.status, {"error": str(refused), "status": refused.status}
            except ToxicRefused as refused:
                status, answer = 400, {"error": str(refused), "status": 400}
            if answer is None:
                return Response(status_code=status)
            return Response(orjson.dumps(answer), status_code=status, media_type="application/json")

        return serve

    async def metrics(_: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(_CountersOf(proxies))
        return PlainTextResponse(generate_latest(registry))

    table = [Route(path, serving(by_method), methods=list(by_method)) for path, by_method in routes.items()]
    return NoBrowsers(Starlette(routes=[*table, Route("/metrics", metrics, methods=["GET"])]))


async def version(proxies: Proxies, request: Request, body: bytes) -> Answer:
    return 200, {"version": API_VERSION}


async def reset(proxies: Proxies, request: Request, body: bytes) -> Answer:
    await proxies.reset()
    return 204, None


async def populate(proxies: Proxies, request: Request, body: bytes) -> Answer:
    wanted = _parse(LIST_OF_PROXY_FIELDS, body)
    for number, fields in enumerate(wanted, start=1):
        _refuse_missing(fields, f" at proxy {number}")
    populated = await proxies.populate(
        [(fields.name, fields.listen or f"{LOOPBACK}:0", fields.upstream, fields.enabled is not False) for fields in wanted]
    )
    return 201, {"proxies": [proxy.as_json() for proxy in populated]}


async def list_proxies(proxies: Proxies, request: Request, body: bytes) -> Answer:
    return 200, {proxy.name: proxy.as_json() for proxy in proxies}


async def create_proxy(proxies: Proxies, request: Request, body: bytes) -> Answer:
    fields = _parse(PROXY_FIELDS, body)
    _refuse_missing(fields)
    enabled = fields.enabled is not False
    proxy = await proxies.create(fields.name, fields.listen or f"{LOOPBACK}:0", fields.upstream, enabled=enabled)
    return 201, proxy.as_json()


async def show_proxy(proxies: Proxies, request: Request, body: bytes) -> Answer:
    return 200, proxies.get(request.path_params["proxy"]).as_json()


async def update_proxy(proxies: Proxies, request: Request, body: bytes) -> Answer:
    name = request.path_params["proxy"]
    proxies.get(name)
    fields = _parse(PROXY_FIELDS, body)
    proxy = await proxies.update(name, listen=fields.listen, upstream=fields.upstream, enabled=fields.enabled)
    return 200, proxy.as_json()


async def delete_proxy(proxies: Proxies, request: Request, body: bytes) -> Answer:
    proxies.delete(request.path_params["proxy"])
    return 204, None


async def list_toxics(proxies: Proxies, request: Request, body: bytes) -> Answer:
    return 200, [toxic.as_json() for toxic in proxies.get(request.path_params["proxy"]).toxics.values()]


async def add_toxic(proxies: Proxies, request: Request, body: bytes) -> Answer:
    proxy = proxies.get(request.path_params["proxy"])
    toxic = parse_toxic(body)
    proxy.add_toxic(toxic)
    return 200, toxic.as_json()


async def show_toxic(proxies: Proxies, request: Request, body: bytes) -> Answer:
    return 200, proxies.get(request.path_params["proxy"]).toxic(request.path_params["toxic"]).as_json()


async def update_toxic(proxies: Proxies, request: Request, body: bytes) -> Answer:
    proxy = proxies.get(request.path_params["proxy"])
    toxic = parse_change(proxy.toxic(request.path_params["toxic"]), body)
    proxy.change_toxic(toxic)
    return 200, toxic.as_json()


async def remove_toxic(proxies: Proxies, request: Request, body: bytes) -> Answer:
    proxies.get(request.path_params["proxy"]).remove_toxic(request.path_params["toxic"])
    return 204, None


class NoBrowsers:
    """403 for what a browser sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if headers.get("user-agent", "").startswith("Mozilla/") or "origin" in headers:
                await PlainTextResponse("User agent not allowed", status_code=403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _CountersOf(Collector):
    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    def collect(self) -> Any:
        """The bytes under Toxiproxy's names, the connections and faults under our own."""
        labels = ["direction", "proxy", "listener", "upstream"]
        received = CounterMetricFamily("toxiproxy_proxy_received_bytes", "Bytes received, by direction", labels=labels)
        sent = CounterMetricFamily("toxiproxy_proxy_sent_bytes", "Bytes passed on, by direction", labels=labels)
        connections = CounterMetricFamily("fault_proxy_connections", "Connections accepted", labels=["proxy"])
        turned_away = CounterMetricFamily("fault_proxy_turned_away", "Connections beyond the bound", labels=["proxy"])
        open_now = GaugeMetricFamily("fault_proxy_open_connections", "Connections that are open", labels=["proxy"])
        faults = GaugeMetricFamily(
            "sd_fault_active", "1 while a fault that was made on purpose is in force", labels=["fault", "target"]
        )
        for proxy in self._proxies:
            counters = proxy.counters()
            in_force = {toxic.type for toxic in proxy.toxics.values() if toxic.toxicity > 0} | (set() if proxy.enabled else {DOWN})
            for fault in (*KINDS, DOWN):
                faults.add_metric([fault, proxy.name], fault in in_force)
            for direction in ("upstream", "downstream"):
                where = [direction, proxy.name, proxy.listen, proxy.upstream]
                received.add_metric(where, getattr(counters, f"received_{direction}"))
                sent.add_metric(where, getattr(counters, f"sent_{direction}"))
            connections.add_metric([proxy.name], counters.connections)
            turned_away.add_metric([proxy.name], counters.turned_away)
            open_now.add_metric([proxy.name], proxy.open_connections)
        return [received, sent, connections, turned_away, open_now, faults]


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(400, f"bad request body: more than {MAX_BODY} bytes")
    return body


def _parse(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise Refused(400, f"bad request body: {sentence(error)}") from error


def _refuse_missing(fields: ProxyFields, where: str = "") -> None:
    for field in ("name", "upstream"):
        if not getattr(fields, field):
            raise Refused(400, f"missing required field: {field}{where}")
    refuse_bad_name(fields.name)
