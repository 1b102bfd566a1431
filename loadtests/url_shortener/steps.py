"""Which question a planned step is: what is asked of which link, from the plan's numbers and the answers of the steps before it.

Remembers what each step was asked until its answer has been taken in, and which aliases it has asked for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.completion import json_body
from loadtests.history.operation import Json
from loadtests.url_shortener import requests
from loadtests.workload import Exchange

UNKNOWN_CODES = 200  # codes that the op `unknown` asks for again and again
CREATED = (200, 201)
RIVALS = 3  # creates that want the same alias
CAP = 2  # visits of a capped link
CAP_KNOWN_AFTER_S = 0.25  # a capped link is opened by others from so long after it was made
BRIEF_LIFE_S = 1.2  # of a link that expires while it is watched

# What asks for the link of the step before it.
OPENS = frozenset({"open_new", "open_deleted", "open_claimed", "open_race", "open_brief", "open_expired"})
FOLLOWERS = OPENS | {"stats_new", "delete", "claim", "repeat_again"}


@dataclass(frozen=True, slots=True)
class Question:
    """As an operation of the history: what it does, the link it is about, and what it is asked with."""

    f: str
    key: str
    value: Mapping[str, Json] = field(default_factory=dict)


class Steps:
    """The steps of one variant since it was seeded."""

    def __init__(self, seed: int, codes: Sequence[str], wall_clock: Callable[[], float] = time.time) -> None:
        self._seed = seed
        self._codes = codes
        self._unknown = [requests.unknown_code(f"{seed} {number}", len(codes[0])) for number in range(UNKNOWN_CODES)]
        self._wall_clock = wall_clock
        self._asked: dict[int, Question] = {}  # by serial, of steps on their way
        self._asked_of: Counter[str] = Counter()  # by op
        self._capped: list[tuple[float, str]] = []  # when a capped link was due to be made, its alias

    def question(self, exchange: Exchange, before: Exchange | None) -> Question | None:
        """None when there is nothing to ask for: no link was made. ValueError for an op that is none of ours."""
        question = self._following(exchange, before) if exchange.op in FOLLOWERS else self._first(exchange)
        if question is not None:
            self._asked[exchange.serial] = question
        return question

    def asked(self, exchange: Exchange) -> Question | None:
        return self._asked.get(exchange.serial)

    def all_answered(self) -> None:
        """Forget what was asked. Links that were made capped are older than whatever comes next."""
        self._asked.clear()
        self._capped = [(float("-inf"), alias) for _, alias in self._capped[-1:]]

    def _first(self, exchange: Exchange) -> Question | None:
        op, seed, serial = exchange.op, self._seed, exchange.serial
        number, new_url = self._asked_of[op], requests.created_url(seed, serial)
        self._asked_of[op] += 1
        match op:
            case "redirect":
                return Question("visit", self._codes[exchange.key])
            case "unknown":
                return Question("guess", self._unknown[exchange.key % UNKNOWN_CODES])
            case "scan":
                return Question("guess", requests.unknown_code(f"{seed} scan {serial}", len(self._codes[0])))
            case "stats":
                return Question("stats", self._codes[exchange.key])
            case "edit":
                return Question("edit", self._codes[exchange.key], {"url": requests.edited_url(seed, exchange.key, serial)})
            case "create":
                return Question("create", "", {"url": new_url})
            case "unlucky":
                return Question("create", "", {"url": requests.unlucky_url(number)})
            case "brief":
                expires_at = round(self._wall_clock() + exchange.intended_s + BRIEF_LIFE_S, 3)
                return Question("create", "", {"url": new_url, "expires_at": expires_at})
            case "repeat":
                # Two clients send the same request at about the same time.
                number //= 2
                return Question(
                    "create",
                    "",
                    {"url": requests.repeated_url(seed, number), "idempotency_key": requests.alias("key", seed, number)},
                )
            case "knock":
                return Question("visit", requests.alias(op, seed, number))
            case "race":
                alias = requests.alias(op, seed, number // RIVALS)
                return Question("create", alias, {"url": new_url, "alias": alias})
            case "cap":
                alias = requests.alias(op, seed, number)
                self._capped.append((exchange.intended_s, alias))
                return Question("create", alias, {"url": new_url, "alias": alias, "max_visits": CAP})
            case "capped":
                latest_s = exchange.intended_s - CAP_KNOWN_AFTER_S
                alias = next((alias for due_s, alias in reversed(self._capped) if due_s <= latest_s), "")
                return Question("visit", alias) if alias else None
        raise ValueError(f"there is no op {op!r}")

    def _following(self, exchange: Exchange, before: Exchange | None) -> Question | None:
        if before is None:
            return None
        asked = self._asked.get(before.serial)
        if exchange.op == "repeat_again":
            return asked
        code = asked.key if asked is not None else ""
        if not code and (asked is None or asked.f == "create") and before.status in CREATED:
            code = json_body(before).get("code", "")
        if not code:
            return None
        match exchange.op:
            case "claim":
                return Question("create", code, {"url": requests.created_url(self._seed, exchange.serial), "alias": code})
            case "stats_new":
                return Question("stats", code)
            case "delete":
                return Question("delete", code)
        return Question("visit", code)
