"""User journeys against a URL shortener, for Locust: `locust -f loadtests/url_shortener/locustfile.py --host http://127.0.0.1:8000`.

Visitors open links that were seeded at the start; programs make links and look after them. The mix says how many there are of
each. For looking at a running design and for distributed load: Locust rounds to milliseconds and waits for each answer, so
what it prints decides no comparison. Never import this in a process that does something else: Locust patches the interpreter.

    DESIGNS_API_KEY       the key that programs send; required
    DESIGNS_URLS          the replicas, separated by commas; without it, --host alone
    DESIGNS_MIX           as --mix
    DESIGNS_ALLOW_REMOTE  1: load a machine other than this one, with its owner's consent
"""

from __future__ import annotations

import http.client
import ipaddress
import itertools
import json
import os
import random
import sys
import uuid
from typing import Any
from urllib.parse import urlsplit

from locust import FastHttpUser, events, poisson, task
from locust.exception import StopTest
from locust.runners import MasterRunner

from loadtests.url_shortener.mixes import MIXES
from loadtests.url_shortener.workload import BULK_LINKS, UNKNOWN_CODES, VISITORS, unknown_code
from loadtests.workload import Mix

REDIRECTS = (301, 302, 307)
SEED_TIMEOUT_S = 30.0
VISITS_PER_S = 2.0  # of one visitor
JOURNEYS_PER_S = 0.5  # of one program
PREVIEW_SHARE = 0.02  # visitors who look where a link leads before they follow it
EDIT_SHARE = 0.1  # programs that change their link, and as many that delete it


class Links:
    """The seeded links and what the visitors do, for all users of this process. Filled when a test starts."""

    mix: Mix = MIXES["mixed"]
    urls: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    popularity: tuple[float, ...] = ()
    turn = itertools.count()


def allowed(url: str) -> bool:
    """May this machine be loaded? Loopback always; anything else only with DESIGNS_ALLOW_REMOTE=1."""
    name = urlsplit(url).hostname or ""
    if os.environ.get("DESIGNS_ALLOW_REMOTE") == "1" or name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def api_headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {os.environ.get('DESIGNS_API_KEY', '')}", "Content-Type": "application/json"}


def refusal(urls: tuple[str, ...]) -> str:
    """Why this load is not run; "" when it may."""
    if not urls:
        return "say what to load: --host http://127.0.0.1:<port>"
    for url in urls:
        if not allowed(url):
            return f"{url} is not this machine; with its owner's consent, set DESIGNS_ALLOW_REMOTE=1"
    if not os.environ.get("DESIGNS_API_KEY"):
        return "set DESIGNS_API_KEY to the key of the service's API"
    return ""


def replicas(host: str | None) -> tuple[str, ...]:
    listed = tuple(url.strip().rstrip("/") for url in os.environ.get("DESIGNS_URLS", "").split(",") if url.strip())
    return listed or ((host.rstrip("/"),) if host else ())


def seed_links(url: str, count: int) -> tuple[str, ...]:
    """Make the links the visitors open. Raises `StopTest` when the service does not make them."""
    parts = urlsplit(url)
    connection_class = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connection_class(parts.hostname or "", parts.port, timeout=SEED_TIMEOUT_S)
    run, codes = uuid.uuid4().hex, []
    try:
        for first in range(0, count, BULK_LINKS):
            numbers = range(first, min(first + BULK_LINKS, count))
            document = {"links": [{"url": f"https://example.org/locust/{run}/{number}"} for number in numbers]}
            connection.request("POST", "/api/v1/links/bulk", json.dumps(document), api_headers())
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise StopTest(f"no links could be made: {answer.status} {body[:200].decode(errors='replace')}")
            codes += [item["link"]["code"] for item in json.loads(body)["items"] if item["status"] in (200, 201)]
    except OSError as error:
        raise StopTest(f"no links could be made at {url}: {error}") from error
    finally:
        connection.close()
    if len(codes) != count:
        raise StopTest(f"only {len(codes)} of {count} links could be made")
    return tuple(codes)


def add_options(parser: Any) -> None:
    parser.add_argument(
        "--mix",
        choices=sorted(MIXES),
        default=os.environ.get("DESIGNS_MIX") or "mixed",
        help="who asks for what; see WORKLOADS.md",
    )


def choose_users(environment: Any, **_: Any) -> None:
    """Visitors and programs in the proportion of the mix. Ends the process when the load must not run."""
    if environment.parsed_options.mix not in MIXES:  # a default from the environment is not checked against the choices
        sys.exit(f"there is no mix {environment.parsed_options.mix!r}; the mixes are {', '.join(MIXES)}")
    Links.mix = MIXES[environment.parsed_options.mix]
    urls = replicas(environment.host)
    if urls and (reason := refusal(urls)):
        sys.exit(reason)
    ratios = Links.mix.ratios
    visits = sum(ratios.get(op, 0.0) for op in ("redirect", "unknown", "scan"))
    writes = sum(ratios.get(op, 0.0) for op in ("create", "edit"))
    # A program's journey makes one link in as long as a visitor opens several.
    Visitor.weight = round(1_000 * visits / VISITS_PER_S)
    ApiClient.weight = round(1_000 * writes / JOURNEYS_PER_S)
    environment.user_classes = [user_class for user_class in (Visitor, ApiClient) if user_class.weight]


def seed(environment: Any, **_: Any) -> None:
    """The host may come from the web page, so it is judged again here."""
    urls = replicas(environment.host)
    try:
        if reason := refusal(urls):
            raise StopTest(reason)
        Links.urls = urls
        if not isinstance(environment.runner, MasterRunner):
            Links.codes = seed_links(urls[0], Links.mix.keys)
    except StopTest:
        environment.process_exit_code = 1  # else a run without requests would count as one without failures
        raise
    Links.popularity = tuple(itertools.accumulate(rank**-Links.mix.zipf_s for rank in range(1, len(Links.codes) + 1)))


def refuse_an_overloaded_generator(environment: Any, **_: Any) -> None:
    """Figures of a Locust that was short of CPU are those of Locust, so such a run fails."""
    runner = environment.runner
    if runner is not None and (runner.cpu_warning_emitted or runner.worker_cpu_warning_emitted):
        print("this run does not count: Locust itself was short of CPU; take fewer users or more workers", file=sys.stderr)
        environment.process_exit_code = 1


class ReplicaUser(FastHttpUser):
    """A user that stays with one replica, as a kept-alive connection does; users are dealt to the replicas in turn."""

    abstract = True

    def __init__(self, environment: Any) -> None:
        if Links.urls:
            self.host = Links.urls[next(Links.turn) % len(Links.urls)]
        super().__init__(environment)


class Visitor(ReplicaUser):
    """A browser that follows short links: mostly good ones, popular ones most often, now and then a mistyped one."""

    wait_time = poisson(VISITS_PER_S)

    def on_start(self) -> None:
        user_agent, referer = random.choice(VISITORS)
        self.headers = {"User-Agent": user_agent} | ({"Referer": referer} if referer else {})

    @task
    def visit(self) -> None:
        ratios = Links.mix.ratios
        op = random.choices(("redirect", "unknown", "scan"), [ratios.get(op, 0.0) for op in ("redirect", "unknown", "scan")])[0]
        if op == "redirect":
            code = random.choices(Links.codes, cum_weights=Links.popularity)[0]
            if random.random() < PREVIEW_SHARE:
                self.preview(code)
            self.open(code)
        elif op == "unknown":
            self.mistype(unknown_code(f"locust {random.randrange(UNKNOWN_CODES)}", len(Links.codes[0])))
        else:
            self.mistype(unknown_code(uuid.uuid4().hex, len(Links.codes[0])))

    def preview(self, code: str) -> None:
        self.client.get(f"/{code}+", name="/[code]+", headers=self.headers)

    def open(self, code: str) -> None:
        with self.client.get(
            f"/{code}", name="/[code]", headers=self.headers, allow_redirects=False, catch_response=True
        ) as answer:
            if answer.status_code not in REDIRECTS:
                answer.failure(f"{answer.status_code} instead of a redirect")

    def mistype(self, code: str) -> None:
        with self.client.get(
            f"/{code}", name="/[code] mistyped", headers=self.headers, allow_redirects=False, catch_response=True
        ) as answer:
            if answer.status_code in (404, 429):
                answer.success()
            else:
                answer.failure(f"{answer.status_code} for a code that nobody has")


class ApiClient(ReplicaUser):
    """A program that shortens a URL, opens its link at once, reads its clicks, and sometimes changes or deletes it."""

    wait_time = poisson(JOURNEYS_PER_S)

    @task
    def look_after_a_link(self) -> None:
        url = f"https://example.org/locust/{uuid.uuid4().hex}"
        with self.client.post(
            "/api/v1/links", name="/api/v1/links", json={"url": url}, headers=api_headers(), catch_response=True
        ) as answer:
            if answer.status_code != 201:
                answer.failure(f"{answer.status_code} instead of 201")
                return
            code = answer.json()["code"]
        self.open(code, url)
        path = f"/api/v1/links/{code}"
        self.read_clicks(path)
        whim = random.random()
        if whim < EDIT_SHARE:
            self.client.patch(path, name="/api/v1/links/[code]", json={"url": f"{url}/elsewhere"}, headers=api_headers())
        elif whim < 2 * EDIT_SHARE:
            self.client.delete(path, name="/api/v1/links/[code]", headers=api_headers())

    def read_clicks(self, path: str) -> None:
        with self.client.get(
            f"{path}/stats", name="/api/v1/links/[code]/stats", headers=api_headers(), catch_response=True
        ) as answer:
            if answer.status_code == 404 and "clicks-off" in (answer.text or ""):
                answer.success()  # the knob clicks=off: there is nothing to read

    def open(self, code: str, url: str) -> None:
        """A new link works at once: whoever made it reads what he wrote."""
        with self.client.get(f"/{code}", name="/[code] new", allow_redirects=False, catch_response=True) as answer:
            if answer.status_code not in REDIRECTS:
                answer.failure(f"{answer.status_code} instead of a redirect")
            elif answer.headers.get("location") != url:
                answer.failure("it leads somewhere else")


hooks: Any = events  # Locust's event hooks carry no types
hooks.init_command_line_parser.add_listener(add_options)
hooks.init.add_listener(choose_users)
hooks.test_start.add_listener(seed)
hooks.quitting.add_listener(refuse_an_overloaded_generator)
