"""Which question a planned step is: who asks for how much, from the plan's numbers and the answers of the steps before it.

Everything follows from the plan but two things: the name of the seeding, so that nobody meets an old count, and whether a step
falls to the edge of a second of the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtests.history.operation import Json
from loadtests.rate_limiter import requests
from loadtests.workload import Exchange

EDGE_S = 0.06  # on both sides
EDGE_COST = 5
# Of the limit per user the period is a second. Who came at each edge would find his quota used up by what he took at the last one.
EDGES_APART_S = 2.0
ROUTES, TENANTS = 8, 5
BATCH = 5
ONCE_COST = 100
PATIENT_COST = 2
COSTS = 8
TOO_MUCH = 41  # more than any algorithm lets a user have at once
PATHS: Mapping[str, str] = {
    "check": "/v1/check",
    "peek": "/v1/peek",
    "refund": "/v1/refund",
    "acquire": "/v1/acquire",
    "renew": "/v1/renew",
    "release": "/v1/release",
}
FOLLOWERS = frozenset({"edge", "refund", "patient", "patient_soon", "patient_again", "patient_later", "release", "renew", "let_go"})


@dataclass(frozen=True, slots=True)
class Question:
    """As an operation of the history: what is asked, about whom, and for how much. `token` of slots alone."""

    f: str
    descriptor: Mapping[str, str]
    tier: str = ""
    cost: int = 1
    token: str = ""
    batched: bool = False

    @property
    def about(self) -> str:
        words = " ".join(f"{key}={value}" for key, value in self.descriptor.items())
        return f"{words} ({self.tier})" if self.tier else words

    @property
    def value(self) -> dict[str, Json]:
        return {
            "descriptor": dict(self.descriptor),
            **({"tier": self.tier} if self.tier else {}),
            **({"token": self.token} if self.token else {"cost": self.cost}),
            **({"batch": True} if self.batched else {}),
        }

    def document(self) -> dict[str, Any]:
        more: dict[str, Any] = {"token": self.token} if self.token else {"cost": self.cost}
        return requests.document(self.descriptor, self.tier, **more)


class Steps:
    """The steps of one variant since it was seeded. `name` begins the names of all who ask; a user has `per_user` at once."""

    def __init__(self, name: str, per_user: int, wall_clock: Callable[[], float] = time.time) -> None:
        self._name = name
        self._per_user = per_user
        self._wall_clock = wall_clock
        self._asked: dict[int, tuple[Question, ...]] = {}  # by serial, of steps on their way

    def questions(self, exchange: Exchange, before: Exchange | None) -> tuple[Question, ...]:
        """Several in a batch; none when there is nothing to ask for. ValueError for an op that is none of ours."""
        if exchange.op in FOLLOWERS:
            question = self._following(exchange, before)
            questions: tuple[Question, ...] = () if question is None else (question,)
        else:
            questions = self._first(exchange)
        if questions:
            self._asked[exchange.serial] = questions
        return questions

    def asked(self, exchange: Exchange) -> tuple[Question, ...]:
        return self._asked.get(exchange.serial, ())

    def forget(self, exchange: Exchange) -> None:
        """Nothing follows it any more."""
        self._asked.pop(exchange.serial, None)

    def all_answered(self) -> None:
        """Forget what was asked."""
        self._asked.clear()

    def user(self, kind: str, number: int) -> str:
        return f"{self._name}{kind}{number}"

    def _first(self, exchange: Exchange) -> tuple[Question, ...]:
        key, serial = exchange.key, exchange.serial
        user = {"user": self.user("u", key)}
        match exchange.op:
            case "check":
                return (Question("check", user),)
            case "peek":
                return (Question("peek", user),)
            case "check_three":
                tenant = key % TENANTS
                of_three = {**user, "route": f"/{self._name}/{key % ROUTES}", "tenant": self.user("t", tenant)}
                return (Question("check", of_three, "free" if tenant % 2 else "pro"),)
            case "arrive":
                return (Question("check", {"user": self.user("a", serial)}),)
            case "once":
                return (Question("check", {"tenant": self.user("o", serial)}, cost=ONCE_COST),)
            case "busy":
                return (Question("check", {"tenant": self.user("l", key)}, "pro"),)
            case "login":
                return (Question("check", {"ip": self.user("i", key), "route": "/login"}),)
            case "order":
                return (Question("check", {**user, "route": "/checkout"}),)
            case "find":
                return (Question("check", {**user, "route": "/search"}),)
            case "spend" | "spend_back":
                return (Question("check", {"user": self.user("c", key)}, cost=1 + serial % COSTS),)
            case "too_much":
                return (Question("check", {"user": self.user("c", key)}, cost=TOO_MUCH),)
            case "drain":
                return (Question("check", {"user": self.user("d", serial)}, cost=self._per_user),)
            case "batch":
                return tuple(Question("check", {"user": self.user("b", key + each)}, batched=True) for each in range(BATCH))
            case "acquire" | "hold" | "abandon":
                return (Question("acquire", {"user": self.user("w", key), "job": "preview"}, token=self.user("k", serial)),)
        raise ValueError(f"there is no op {exchange.op!r}")

    def _following(self, exchange: Exchange, before: Exchange | None) -> Question | None:
        if before is None:
            return None
        asked = self._asked.get(before.serial)
        if asked is None:
            return None
        first = asked[0]
        match exchange.op:
            case "edge":
                phase_s = self._wall_clock() % EDGES_APART_S
                near = min(phase_s, EDGES_APART_S - phase_s) <= EDGE_S
                if near:
                    return Question("check", {"user": self.user("e", exchange.key)}, cost=EDGE_COST)
                return Question("check", {"user": self.user("p", exchange.serial)})
            case "refund":
                return Question("refund", first.descriptor, first.tier, first.cost) if before.status == 200 else None
            case "patient":
                return Question("check", first.descriptor, cost=PATIENT_COST)
            case "patient_soon" | "patient_again" | "patient_later":
                return first
            case "renew":
                held = first.f == "acquire" and before.status == 200
                return Question("renew", first.descriptor, token=first.token) if held else None
            case "release" | "let_go":
                return Question("release", first.descriptor, token=first.token) if before.status == 200 else None
        raise ValueError(f"there is no op {exchange.op!r}")
