"""A shortener in a dict, right or with one flaw, behind the service's HTTP interface: what the load's checks are tried on.

Small enough to see that it is right, and wrong on purpose where a flaw is named. It shares no code with the service.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from loadtests.workload import Target
from tests.known_bad.id_generation import md5_prefix_code
from tests.loadtests.tiny_service import Request, listening

API_KEY = "tiny-key"
Flaw = Literal[
    "",
    "duplicate code",
    "lost link",
    "wrong target",
    "stale",
    "lost edit",
    "counts twice",
    "loses a click",
    "hides clicks",
    "no statistics",
    "slow to appear",
    "hides what it missed",
    "gives an alias twice",
    "counts visits late",
    "forgets ends",
    "forgets keys",
    "brings back",
    "cuts hashes",
]
REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    301: "Moved Permanently",
    302: "Found",
    401: "Unauthorized",
    404: "Not Found",
    409: "Conflict",
    410: "Gone",
}


@dataclass
class TinyShortener:
    """Several addresses, one dict. `old` holds the URL a link had before its first edit."""

    flaw: Flaw = ""
    redirect: int = 302
    cache_control: str = ""
    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    old: dict[str, str] = field(default_factory=dict)
    clicks: dict[str, int] = field(default_factory=dict)
    made: int = 0
    dropped: int = 0
    visits: int = 0
    unauthorized: int = 0
    unseen: set[str] = field(default_factory=set)  # made by a single create, not opened yet
    missed: set[str] = field(default_factory=set)  # codes that somebody asked for in vain
    by_key: dict[str, dict[str, Any]] = field(default_factory=dict)

    def make(self, url: str, **asked: Any) -> dict[str, Any]:
        self.made += 1
        number = self.made - 1 if self.flaw == "duplicate code" and self.made % 50 == 0 else self.made
        code = asked.get("alias") or f"c{number:06d}"
        if self.flaw == "cuts hashes" and "alias" not in asked:
            code = md5_prefix_code(url, 7)
        self.links[code] = {"code": code, "url": url, "version": self.made, "left": asked.get("max_visits")}
        self.links[code]["ends"] = dt.datetime.fromisoformat(asked["expires_at"]).timestamp() if "expires_at" in asked else None
        return self.links[code]

    def answer(self, method: str, path: str, body: bytes, api_key: str, request_key: str = "") -> tuple[int, Any, str]:
        """Status, JSON document or text, Location."""
        path, _, _ = path.partition("?")
        if path == "/metrics":
            return 200, self.metrics(), ""
        if path.startswith("/api/"):
            if api_key != f"Bearer {API_KEY}":
                self.unauthorized += 1
                return 401, {"status": 401}, ""
            return self.api(method, path.removeprefix("/api/v1/links").strip("/"), body, request_key)
        return self.visit(method, path[1:])

    def api(self, method: str, rest: str, body: bytes, request_key: str) -> tuple[int, Any, str]:
        document = json.loads(body) if body else {}
        if rest == "bulk":
            return 200, {"items": [{"status": 201, "link": self.make(link["url"])} for link in document["links"]]}, ""
        if not rest:
            if request_key in self.by_key and self.flaw != "forgets keys":
                return 201, self.by_key[request_key], ""
            if document.get("alias") in self.links and self.flaw != "gives an alias twice":
                return 409, {"status": 409}, ""
            link = self.make(**document)
            if request_key:
                self.by_key[request_key] = link
            self.unseen.add(link["code"])
            return 201, link, ""
        code, _, what = rest.partition("/")
        link = self.links.get(code)
        if link is None:
            return 404, {"status": 404}, ""
        if what == "stats" and self.flaw == "no statistics":
            return 404, {"status": 404}, ""
        if what == "stats":
            return 200, {"code": code, "clicks": self.clicks.get(code, 0), "bots": 0}, ""
        if method == "PATCH":
            self.old.setdefault(code, link["url"])
            self.made += 1
            edited = {**link, "url": document["url"], "version": self.made}
            if self.flaw != "lost edit":
                self.links[code] = edited
            return 200, edited, ""
        if method == "DELETE":
            if self.flaw != "brings back":
                del self.links[code]
            return 204, None, ""
        return 200, link, ""

    def visit(self, method: str, code: str) -> tuple[int, Any, str]:
        preview, code = code.endswith("+"), code.rstrip("+")
        link = self.links.get(code)
        if link is None or (self.flaw == "hides what it missed" and code in self.missed):
            self.missed.add(code)
            return 404, {"status": 404}, ""
        if preview:
            return 200, link, ""
        if link["ends"] is not None and time.time() >= link["ends"] and self.flaw != "forgets ends":
            return 410, {"status": 410}, ""
        if link["left"] is not None and method == "GET":
            if link["left"] <= 0 and self.flaw != "counts visits late":
                return 410, {"status": 410}, ""
            link["left"] -= 1
        if self.flaw == "slow to appear" and code in self.unseen:
            self.unseen.discard(code)
            return 404, {"status": 404}, ""
        if method == "GET":
            self.visits += 1
            if self.flaw == "lost link" and self.visits % 100 == 0:
                return 404, {"status": 404}, ""
            if self.flaw == "loses a click" and self.visits == 10:
                self.dropped += 1
            elif self.flaw != "hides clicks" or self.visits % 10:
                self.clicks[code] = self.clicks.get(code, 0) + 1
            if self.flaw == "counts twice" and self.visits == 10:
                self.clicks[code] += 1
        if self.flaw == "stale" and code in self.old:
            return self.redirect, None, self.old[code]
        if self.flaw == "wrong target" and self.visits % 100 == 1:
            return self.redirect, None, "https://example.org/elsewhere"
        return self.redirect, None, link["url"]

    def metrics(self) -> str:
        return "\n".join(
            [
                "# TYPE sd_backend_calls_total counter",
                f'sd_backend_calls_total{{backend="memory",op="get",outcome="ok"}} {self.visits}',
                f'sd_backend_calls_total{{backend="memory",op="insert_if_absent",outcome="ok"}} {self.made}',
                "# TYPE sd_clicks_total counter",
                f'sd_clicks_total{{outcome="accepted"}} {sum(self.clicks.values())}',
                f'sd_clicks_total{{outcome="dropped"}} {self.dropped}',
                "# TYPE sd_queue_depth gauge",
                'sd_queue_depth{queue="clicks"} 0',
                "",
            ]
        )

    def respond(self, replica: int, request: Request) -> bytes:
        api_key, request_key = request.headers.get("authorization", ""), request.headers.get("idempotency-key", "")
        status, document, location = self.answer(request.method, request.path, request.body, api_key, request_key)
        text = document if isinstance(document, str) else json.dumps(document) if document is not None else ""
        answer = [f"HTTP/1.1 {status} {REASONS[status]}", f"Content-Length: {len(text.encode())}"]
        answer += [f"Location: {location}"] if location else []
        answer += [f"Cache-Control: {self.cache_control}"] if location and self.cache_control else []
        return "\r\n".join([*answer, "", "" if request.method == "HEAD" else text]).encode()


@asynccontextmanager
async def running(shortener: TinyShortener, replicas: int = 1, **knobs: str | int | float | bool) -> AsyncIterator[Target]:
    """The shortener at as many addresses as asked for, as a target of the measuring."""
    async with listening(shortener.respond, replicas) as urls:
        yield Target(
            name="tiny",
            knobs={"redirect": 302, "clicks": "sync", "staleness_s": 0.05, **knobs},
            urls=urls,
            api_key=API_KEY,
            metrics_urls=[f"{urls[0]}/metrics"],
            pids={},
        )
