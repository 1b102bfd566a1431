"""The design as real processes, and what the tests do to it from outside: follow links, speak the API, read what it keeps.

    with running(replicas=2, cache_layers="process") as shortener, Api(shortener.urls[0], shortener.api_key) as api:
        made = api.create("https://example.org")
        with Visitors(shortener.urls, [made["code"]]) as visitors:
            shortener.supervisor.kill("replica-1")
        visitors.seen

Everything happens on 127.0.0.1 and ports of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import orjson

from designs.building_blocks.knobs import build
from designs.url_shortener.knobs import ShortenerKnobs
from loadtests.plain_http import TRUSTS_NOBODY
from tests.processes.driving import PATIENCE_S, PAUSE_AFTER_ERRORS_S, Load, metric
from workbench.catalogue import design_named
from workbench.launch import RunningDesign

DESIGN = design_named("url_shortener")
BULK_LINKS = 100
BROWSER = "Mozilla/5.0 (X11; Linux x86_64)"


def running(
    *, replicas: int = 1, redis_url: str | None = None, data_dir: Path | None = None, faults: bool = False, **knobs: Any
) -> RunningDesign:
    """The design, to be entered. Misses are not limited unless asked for: here one address is all the visitors."""
    chosen = build(ShortenerKnobs, {"misses_per_minute": 0, **knobs})
    return RunningDesign(DESIGN, chosen, replicas=replicas, redis_url=redis_url, data_dir=data_dir, faults=faults)


class Api:
    """One owner's client of one replica."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {api_key}", "User-Agent": BROWSER}
        self.http = httpx2.Client(base_url=url, headers=headers, timeout=PATIENCE_S, verify=TRUSTS_NOBODY)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def create(self, url: str, alias: str | None = None) -> dict[str, Any]:
        """The link of a create that must succeed."""
        answer = self.http.post("/api/v1/links", json={"url": url} | ({"alias": alias} if alias else {}))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def create_many(self, urls: Sequence[str]) -> dict[str, str]:
        """Code -> URL of at most `BULK_LINKS` links, all of which must be created. Who is refused by a busy machine asks again."""
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            answer = self.http.post("/api/v1/links/bulk", json={"links": [{"url": url} for url in urls]})
            if answer.status_code != 503 or time.monotonic() > give_up_s:
                break
            time.sleep(PAUSE_AFTER_ERRORS_S)
        items = answer.json()["items"]
        assert [item["status"] for item in items] == [201] * len(urls)
        return {item["link"]["code"]: item["link"]["url"] for item in items}

    def edit(self, code: str, **fields: Any) -> httpx2.Response:
        return self.http.patch(f"/api/v1/links/{code}", json=fields)

    def delete(self, code: str) -> httpx2.Response:
        return self.http.delete(f"/api/v1/links/{code}")

    def owned(self, code: str) -> httpx2.Response:
        return self.http.get(f"/api/v1/links/{code}")

    def clicks(self, code: str) -> int:
        answer = self.http.get(f"/api/v1/links/{code}/stats")
        assert answer.status_code == 200, answer.text
        return int(answer.json()["clicks"])

    def visit(self, code: str) -> httpx2.Response:
        return self.http.get(f"/{code}")

    def metric(self, name: str, **labels: str) -> float:
        return metric(self.url, name, **labels)

    def readiness(self) -> str:
        """`ready`, `degraded` or `down`."""
        return str(self.http.get("/readyz").json()["status"])


def address_of(design: RunningDesign, name: str) -> str:
    """Where the process of this name answers, the click worker too."""
    [url] = [spec.metrics_url for spec in design.specs if spec.name == name]
    assert url is not None
    return url.removesuffix("/metrics")


class Seen(NamedTuple):
    """One visit: where, of what, when it was asked and answered (monotonic seconds), and the answer. Status 0: none came."""

    replica: int
    code: str
    sent_s: float
    end_s: float
    status: int
    location: str


class Visitors(Load):
    """Load that follows these links on all these replicas, by turns."""

    def __init__(self, urls: Sequence[str], codes: Sequence[str], **how: Any) -> None:
        self._places = [(replica, code) for code in codes for replica in range(len(urls))]
        super().__init__(urls, [(replica, visit_request(urls[replica], code)) for replica, code in self._places], **how)

    @property
    def seen(self) -> list[Seen]:
        return [
            Seen(*self._places[index], exchange.sent_s, exchange.end_s, exchange.status, location(exchange.response))
            for index, exchange in self.exchanges()
        ]


def visit_request(url: str, code: str) -> bytes:
    return f"GET /{code} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nUser-Agent: {BROWSER}\r\n\r\n".encode()


def bulk_request(url: str, api_key: str, links: Sequence[str]) -> bytes:
    body = orjson.dumps({"links": [{"url": link} for link in links]})
    head = (
        f"POST /api/v1/links/bulk HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def location(response: bytes) -> str:
    """The Location of a raw response, "" without one."""
    for line in response.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"location":
            return value.strip().decode()
    return ""


@dataclass(frozen=True, slots=True)
class BulkAnswers:
    """What a load of bulk requests was told: links in the order of the answers, and problems that were not 201.

    Where the machine is busy, some are turned away in time: nobody was told that they are there, and that is no problem.
    """

    acknowledged: list[tuple[str, str]]  # code, URL
    problems: list[Mapping[str, Any]]
    unanswered: int
    turned_away: int = 0


def bulk_answers(load: Load) -> BulkAnswers:
    acknowledged: list[tuple[str, str]] = []
    problems: list[Mapping[str, Any]] = []
    turned_away = 0
    for _, exchange in load.exchanges():
        if exchange.status == 0:
            continue
        assert exchange.status == 200, exchange.response
        for item in orjson.loads(exchange.response.partition(b"\r\n\r\n")[2])["items"]:
            if item["status"] == 201:
                acknowledged.append((item["link"]["code"], item["link"]["url"]))
            elif item["status"] == 503:
                turned_away += 1
            else:
                problems.append(item)
    return BulkAnswers(acknowledged, problems, sum(exchange.status == 0 for _, exchange in load.exchanges()), turned_away)


@contextlib.contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite file of the running design, as another process sees it."""
    with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)) as db:
        yield db


def stored_links(data_dir: Path) -> dict[str, str]:
    """Code -> URL of what is on the disk."""
    with database(data_dir / "links.db") as db:
        return dict(db.execute("SELECT code, url FROM links"))


def stored_clicks(data_dir: Path) -> dict[str, int]:
    """Code -> clicks that are counted on the disk."""
    with database(data_dir / "clicks.db") as db:
        return dict(db.execute("SELECT code, SUM(clicks) FROM counts GROUP BY code"))
