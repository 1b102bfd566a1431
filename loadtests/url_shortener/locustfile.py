"""User journeys against a URL shortener, for Locust: `locust -f loadtests/url_shortener/locustfile.py --host http://127.0.0.1:8000`.

Visitors open links that were seeded at the start; programs make links and look after them. The mix says how many there are of
each. With --open-loop a plan is walked instead, whatever the answers are. For looking at a running design and for distributed
load; what Locust prints decides no comparison. Never import this in a process that does something else: Locust patches the
interpreter.

    DESIGNS_MIX           as --mix
    DESIGNS_API_KEY, DESIGNS_URLS, DESIGNS_ALLOW_REMOTE: see `loadtests.locust_engine.guard`
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import uuid
from functools import partial
from typing import Any

from locust import FastHttpUser, events, poisson, task
from locust.exception import StopTest
from locust.runners import WorkerRunner

from loadtests.locust_engine.guard import begin_now, fail_a_void_run, refusal, replicas
from loadtests.locust_engine.open_loop import OpenLoopUser
from loadtests.locust_engine.options import add_options, mix_for_users
from loadtests.locust_engine.seeding import Data, SeedOnce, connection_to
from loadtests.url_shortener.locust_requests import (
    api_headers,
    edit,
    follow,
    follow_new,
    mistype,
    read_clicks,
    remove,
    shorten,
    visitor_headers,
)
from loadtests.url_shortener.mixes import MIXES
from loadtests.url_shortener.requests import VISITORS, unknown_code
from loadtests.url_shortener.steps import UNKNOWN_CODES
from loadtests.url_shortener.workload import BULK_LINKS
from loadtests.workload import Mix

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


def seed_links(url: str, count: int) -> tuple[str, ...]:
    """Make the links the visitors open. Raises `StopTest` when the service does not make them."""
    run, codes = uuid.uuid4().hex, []
    with connection_to(url) as connection:
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
    if len(codes) != count:
        raise StopTest(f"only {len(codes)} of {count} links could be made")
    return tuple(codes)


def choose_users(environment: Any, **_: Any) -> None:
    """Visitors and programs as the mix has them, or the one who walks a plan. Ends the process when the load must not run."""
    mix = mix_for_users(environment, MIXES, PlanWalker)
    if mix is None:
        return
    set_weights(mix)
    environment.user_classes = [user_class for user_class in (Visitor, ApiClient) if user_class.weight]
    if not environment.user_classes:
        sys.exit(f"nobody in Locust does what the mix {mix.name} asks for")
    if isinstance(environment.runner, WorkerRunner):
        environment.user_classes = [Visitor, ApiClient]  # the master's mix counts


def set_weights(mix: Mix) -> None:
    visits = sum(mix.ratios.get(op, 0.0) for op in ("redirect", "unknown", "scan"))
    writes = sum(mix.ratios.get(op, 0.0) for op in ("create", "edit"))
    # A program's journey makes one link in as long as a visitor opens several.
    Visitor.weight = round(1_000 * visits / VISITS_PER_S)
    ApiClient.weight = round(1_000 * writes / JOURNEYS_PER_S)


def make_links(environment: Any) -> Data:
    """The host may come from the web page, so it is judged again here."""
    urls, mix = replicas(environment.host), MIXES[environment.parsed_options.mix]
    if reason := refusal(urls):
        raise StopTest(reason)
    return {"mix": mix.name, "urls": list(urls), "codes": list(seed_links(urls[0], mix.keys))}


def take_links(data: Data) -> None:
    """In each process that runs users. A worker judges by itself what its master wants loaded."""
    Links.mix, Links.urls, Links.codes = MIXES[data["mix"]], tuple(data["urls"]), tuple(data["codes"])
    if reason := refusal(Links.urls):
        raise StopTest(reason)
    Links.popularity = tuple(itertools.accumulate(rank**-Links.mix.zipf_s for rank in range(1, len(Links.codes) + 1)))


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
        self.headers = visitor_headers(random.randrange(len(VISITORS)))

    @task
    def visit(self) -> None:
        ratios = Links.mix.ratios
        op = random.choices(("redirect", "unknown", "scan"), [ratios.get(op, 0.0) for op in ("redirect", "unknown", "scan")])[0]
        if op == "redirect":
            code = random.choices(Links.codes, cum_weights=Links.popularity)[0]
            if random.random() < PREVIEW_SHARE:
                self.client.get(f"/{code}+", name="/[code]+", headers=self.headers)
            follow(self.client, f"/{code}", self.headers)
        elif op == "unknown":
            mistype(self.client, f"/{again_unknown(random.randrange(UNKNOWN_CODES))}", self.headers)
        else:
            mistype(self.client, f"/{unknown_code(uuid.uuid4().hex, len(Links.codes[0]))}", self.headers)


class ApiClient(ReplicaUser):
    """A program that shortens a URL, opens its link at once, reads its clicks, and sometimes changes or deletes it."""

    wait_time = poisson(JOURNEYS_PER_S)

    @task
    def look_after_a_link(self) -> None:
        url = f"https://example.org/locust/{uuid.uuid4().hex}"
        code = shorten(self.client, "/api/v1/links", url)
        if not code:
            return
        follow_new(self.client, code, url)
        path = f"/api/v1/links/{code}"
        read_clicks(self.client, path)
        whim = random.random()
        if whim < EDIT_SHARE:
            edit(self.client, path, f"{url}/elsewhere")
        elif whim < 2 * EDIT_SHARE:
            remove(self.client, path)


class PlanWalker(OpenLoopUser):
    """The operations of the mix as a plan has them, replicas and visitors in turn, as in a comparison."""

    def ask(self, op: str, key: int, serial: int) -> None:
        url = Links.urls[serial % len(Links.urls)]
        headers = visitor_headers(serial // len(Links.urls))
        if op == "redirect":
            follow(self.client, f"{url}/{Links.codes[key]}", headers)
        elif op == "unknown":
            mistype(self.client, f"{url}/{again_unknown(key)}", headers)
        elif op == "scan":
            mistype(self.client, f"{url}/{unknown_code(uuid.uuid4().hex, len(Links.codes[0]))}", headers)
        elif op == "create":
            shorten(self.client, f"{url}/api/v1/links", f"https://example.org/locust/{uuid.uuid4().hex}")
        elif op == "stats":
            read_clicks(self.client, f"{url}/api/v1/links/{Links.codes[key]}")
        elif op == "edit":
            edit(self.client, f"{url}/api/v1/links/{Links.codes[key]}", f"https://example.org/locust/{uuid.uuid4().hex}")
        else:
            raise ValueError(f"there is no op {op!r}")


def again_unknown(number: int) -> str:
    return unknown_code(f"locust {number % UNKNOWN_CODES}", len(Links.codes[0]))


hooks: Any = events  # Locust's event hooks carry no types
hooks.init_command_line_parser.add_listener(partial(add_options, mixes=MIXES, default="mixed"))
hooks.init.add_listener(choose_users)
hooks.init.add_listener(begin_now)
hooks.test_start.add_listener(SeedOnce(make_links, take_links).on_test_start)
hooks.quitting.add_listener(fail_a_void_run)
