"""Servers that ask a rate limiter about their users, for Locust: `locust -f loadtests/rate_limiter/locustfile.py --host http://...`.

Each Locust user is a server that asks what the mix says, with the follow-ups of the mix at their pauses. With --open-loop a plan is
walked instead, whatever the answers are. For looking at a running limiter and for distributed load; what Locust prints decides no
comparison. A refusal is an answer. Never import this in a process that does something else: Locust patches the interpreter.

    DESIGNS_MIX           as --mix
    DESIGNS_API_KEY, DESIGNS_URLS, DESIGNS_ALLOW_REMOTE: see `loadtests.locust_engine.guard`
"""

from __future__ import annotations

import itertools
import json
import random
import time
from functools import partial
from typing import Any

import gevent
from locust import FastHttpUser, events, poisson, task
from locust.exception import StopTest

from loadtests.locust_engine.guard import api_key, begin_now, fail_a_void_run, refusal, replicas
from loadtests.locust_engine.open_loop import OpenLoopUser
from loadtests.locust_engine.options import add_options, mix_for_users
from loadtests.locust_engine.seeding import Data, SeedOnce, connection_to
from loadtests.rate_limiter import requests
from loadtests.rate_limiter.mixes import MIXES
from loadtests.rate_limiter.steps import PATHS, Question, Steps
from loadtests.workload import Exchange, Mix

ASKS_PER_S = 20.0  # of one server
# A limiter that can't reach its store says so to whoever wants to change something there.
ANSWERS = {"refund": (204, 422, 503), "renew": (200, 409, 503), "release": (200, 503), "peek": (200,)}
VERDICTS = (200, 422, 429, 503)


class Asked:
    """Whom this process asks, and as whom. Filled when a test starts."""

    mix: Mix = MIXES["checks"]
    urls: tuple[str, ...] = ()
    steps = Steps("", 1)
    popularity: tuple[float, ...] = ()
    turn = itertools.count()
    serial = itertools.count()


def headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key()}", "Content-Type": "application/json"}


def choose_users(environment: Any, **_: Any) -> None:
    """Servers, or the one who walks a plan. Ends the process when the load must not run."""
    if mix_for_users(environment, MIXES, PlanWalker) is not None:
        environment.user_classes = [Server]


def ask_what_a_user_has(environment: Any) -> Data:
    """The host may come from the web page, so it is judged again here. Raises `StopTest` for a service that has other rules."""
    urls, mix = replicas(environment.host), MIXES[environment.parsed_options.mix]
    if reason := refusal(urls):
        raise StopTest(reason)
    with connection_to(urls[0]) as connection:
        try:
            connection.request("POST", "/v1/peek", json.dumps(requests.document({"user": "?"}, cost=1)), headers())
            answer = connection.getresponse()
            body = answer.read()
            limits = {each["rule"]: each["limit"] for each in json.loads(body).get("limits", ())} if answer.status == 200 else {}
        except (OSError, ValueError) as error:
            raise StopTest(f"no limit could be asked for at {urls[0]}: {error}") from error
    if "per-user" not in limits:
        raise StopTest(f"{urls[0]} has no limit per user: {answer.status} {body[:200].decode(errors='replace')}")
    return {"mix": mix.name, "urls": list(urls), "name": f"{round(time.time() * 1e3):011x}", "per_user": limits["per-user"]}


def take(data: Data) -> None:
    """In each process that runs users. A worker judges by itself what its master wants loaded."""
    Asked.mix, Asked.urls, Asked.steps = MIXES[data["mix"]], tuple(data["urls"]), Steps(data["name"], data["per_user"])
    if reason := refusal(Asked.urls):
        raise StopTest(reason)
    Asked.popularity = tuple(itertools.accumulate(rank**-Asked.mix.zipf_s for rank in range(1, Asked.mix.keys + 1)))
    Asked.serial = itertools.count(random.randrange(1 << 40) << 20)  # two workers name no two strangers alike


def ask(client: Any, url: str, op: str, key: int, serial: int, before: Exchange | None = None) -> Exchange | None:
    """One step, and the exchange that the next one follows; None where there was nothing to ask."""
    exchange = Exchange(op, key, serial, 0.0, 0.0, 0.0, 0.0, 0, b"")
    questions = Asked.steps.questions(exchange, before)
    if not questions:
        return None
    first = questions[0]
    path = "/v1/check/batch" if first.batched else PATHS[first.f]
    document = requests.batch([each.document() for each in questions]) if first.batched else first.document()
    with client.post(f"{url}{path}", name=path, json=document, headers=headers(), catch_response=True) as answer:
        exchange.status = answer.status_code
        judge(answer, first)
    return exchange


def judge(answer: Any, question: Question) -> None:
    """A refusal is what a limiter is for."""
    if answer.status_code in ((200,) if question.batched else ANSWERS.get(question.f, VERDICTS)):
        answer.success()
    else:
        answer.failure(f"{answer.status_code} for {question.f}")


class Server(FastHttpUser):
    """Stays with one replica, as a kept-alive connection does; they are dealt to the replicas in turn."""

    wait_time = poisson(ASKS_PER_S)

    def __init__(self, environment: Any) -> None:
        if Asked.urls:
            self.host = Asked.urls[next(Asked.turn) % len(Asked.urls)]
        super().__init__(environment)

    @task
    def ask_for_a_user(self) -> None:
        mix = Asked.mix
        op = random.choices(list(mix.ratios), list(mix.ratios.values()))[0]
        key = random.choices(range(mix.keys), cum_weights=Asked.popularity)[0]
        first = ask(self.client, "", op, key, next(Asked.serial))
        if op in mix.then and first is not None:
            gevent.spawn(self._follow_up, op, key, first)
        elif first is not None:
            Asked.steps.forget(first)

    def _follow_up(self, op: str, key: int, before: Exchange) -> None:
        """The steps that come after it. The server goes on with others meanwhile."""
        step: Exchange | None = before
        done = []
        while step is not None and op in Asked.mix.then:
            done.append(step)
            op, pause_s = Asked.mix.then[op]
            gevent.sleep(pause_s)
            step = ask(self.client, "", op, key, next(Asked.serial), step)
        for each in [*done, *([step] if step is not None else [])]:
            Asked.steps.forget(each)


class PlanWalker(OpenLoopUser):
    """The operations of the mix as a plan has them, replicas in turn, as in a comparison."""

    def ask(self, op: str, key: int, serial: int) -> None:
        exchange = ask(self.client, Asked.urls[serial % len(Asked.urls)], op, key, serial)
        if exchange is not None:
            Asked.steps.forget(exchange)


hooks: Any = events  # Locust's event hooks carry no types
hooks.init_command_line_parser.add_listener(partial(add_options, mixes=MIXES, default="checks"))
hooks.init.add_listener(choose_users)
hooks.init.add_listener(begin_now)
hooks.test_start.add_listener(SeedOnce(ask_what_a_user_has, take).on_test_start)
hooks.quitting.add_listener(fail_a_void_run)
