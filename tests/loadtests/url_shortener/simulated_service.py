"""A right shortener as a few lines of arithmetic on times, asked by clients whose answers get lost, on replicas that get killed.

Each request takes effect at one moment between its question and its answer. Readers see the state of up to S ago, except that a
link is seen as soon as it was made. With a flaw it is wrong in one respect.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from loadtests.history.operation import Json
from tests.loadtests.url_shortener.histories import NODES, WALL_S, S, Story

FLUSH_S = 0.1
FLAWS = {
    "codes come round again": "no two links share a code",
    "an alias is given twice": "an alias is given to one link only",
    "a key is forgotten": "an Idempotency-Key stands for one link",
    "edits are lost": "no acknowledged link is lost",
    "caches never die": "no answer is older than the staleness bound",
    "deletions are forgotten": "no acknowledged link is lost",
    "a miss sticks": "a new link is found at once",
    "caps are checked late": "no link is opened more often than its cap",
    "clocks are late": "no link is opened after its expiry, and none refused before it",
    "clocks are early": "no link is opened after its expiry, and none refused before it",
    "clicks are counted twice": "every click is counted once or declared lost",
    "clicks are lost": "every click is counted once or declared lost",
    "links are mixed up": "every redirect leads where its link was sent",
}


@dataclass
class Link:
    code: str
    states: list[tuple[float, str]]  # (since, URL), "" once deleted
    version: int = 1
    cap: int | None = None
    taken: int = 0
    edge_s: float = float("inf")
    clicks: int = 0
    missed: bool = False

    def url_at(self, at_s: float) -> str:
        return next((url for since_s, url in reversed(self.states) if since_s <= at_s), self.states[0][1])


@dataclass
class SimulatedService:
    seed: int
    flaw: str = ""
    lossy: float = 0.1  # share of answers that get lost
    story: Story = field(default_factory=Story)
    links: dict[str, Link] = field(default_factory=dict)
    by_key: dict[str, Link] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)

    def run(self, requests: int = 150) -> Story:
        rng = self.rng = random.Random(self.seed)
        codes = [f"s{n}" for n in range(6)]
        self.story.seeded(*codes)
        self.links = {code: Link(code, [(-2.0, f"https://old/{code}")]) for code in codes}
        self.kills = [(node, rng.uniform(2, 8)) for node in NODES if rng.random() < 0.5]
        for node in NODES:
            self.story.losses(-1.0, node=node)
            for n in range(100):
                self.story.losses(n / 10, node=node)
        for node, at_s in self.kills:
            self.story.struck("kill", node, at_s, at_s + 0.3)
        now_s = 0.0
        for number in range(requests):
            now_s += rng.expovariate(15)
            self.one(number, now_s)
        self.finish(now_s)
        return self.story

    def one(self, number: int, sent_s: float) -> None:
        rng = self.rng
        self.node = rng.choice(NODES)
        self.sent_s, self.took_s = sent_s, rng.choice((0.005, 0.02, 0.2))
        self.at_s = sent_s + self.took_s * rng.random()
        self.lost = rng.random() < self.lossy
        happens = not self.lost or rng.random() < 0.5
        some = rng.choice([*self.links, "s0", "s1", "x1", "x2", "x3"])
        match rng.choice(("visit", "visit", "visit", "visit", "edit", "delete", "create", "alias", "key", "cap", "brief")):
            case "visit":
                self.visit(some, happens)
            case "edit":
                self.edit(some, f"https://e/{number}", happens)
            case "delete" if rng.random() < 0.4:
                self.edit(some, "", happens)
            case "alias":
                alias = rng.choice(("x1", "x2", "x3"))
                self.create(alias, number, happens, alias=alias)
            case "key":
                key = f"k{number // 20}"
                self.create(f"c{number}", number // 20, happens, idempotency_key=key)
            case "cap":
                self.create(f"c{number}", number, happens, max_visits=2)
            case "brief":
                self.create(f"c{number}", number, happens, expires_at=WALL_S + sent_s + 1.0)
            case _:
                self.create(f"c{number}", number, happens)

    def told(self, f: str, key: str, result: dict[str, Json], value: dict[str, Json] | None = None, ok: bool = True) -> None:
        told: dict[str, Json] = {} if self.lost else result
        self.story.add(f, key, self.sent_s, "info" if self.lost else "ok" if ok else "fail", told, value, self.node, self.took_s)

    def create(self, code: str, number: int, happens: bool, **value: Any) -> None:
        url = f"https://new/{number}{'/k' * ('idempotency_key' in value)}"
        key, alias = value.get("idempotency_key", ""), value.get("alias", "")
        asked: dict[str, Json] = {"url": url, **value}
        link = self.by_key.get(key) if key else None
        if link is not None and self.flaw == "a key is forgotten":
            link, code = None, code + "again"
        if not alias and link is None and self.flaw == "codes come round again" and self.rng.random() < 0.3:
            code = self.rng.choice(sorted(self.links))
        if alias and alias in self.links and self.flaw != "an alias is given twice":
            self.told("create", alias, {"status": 409}, asked, ok=False)
            return
        if link is None and happens:
            edge_s = value["expires_at"] - WALL_S if "expires_at" in value else float("inf")
            link = Link(code, [(self.at_s, url)], cap=value.get("max_visits"), edge_s=edge_s)
            link.missed = code in self.missed
            self.links[code] = link
            if key:
                self.by_key[key] = link
        if link is not None and self.at_s < link.states[0][0]:
            link.states[0] = (self.at_s, url)  # a repeat that overtook the first request is who made the link
        created = link.code if link is not None else code
        self.told("create", alias, {"status": 201, "code": created, "url": url, "version": 1}, asked)

    def edit(self, code: str, url: str, happens: bool) -> None:
        link = self.links.get(code)
        if link is None or not link.states[-1][1]:
            self.told("edit" if url else "delete", code, {"status": 404}, {"url": url} if url else {}, ok=False)
            return
        if happens:
            # A request without an answer may take effect long after it was given up.
            at_s = self.at_s + (self.rng.uniform(0, 0.5) if self.lost else 0.0)
            link.version += 1
            kept = not (self.flaw == "edits are lost" and url) and not (self.flaw == "deletions are forgotten" and not url)
            if kept:
                link.states.append((max(at_s, link.states[-1][0]), url))
        told: dict[str, Json] = {"status": 200, "version": link.version} if url else {"status": 204}
        self.told("edit" if url else "delete", code, told, {"url": url} if url else {})

    def visit(self, code: str, happens: bool) -> None:
        url = self.seen_by_a_visit(code)
        link = self.links.get(code)
        if not url or link is None:
            self.missed.add(code)
        if link is not None and url and link.cap is not None and happens:
            if link.taken >= link.cap and self.flaw != "caps are checked late":
                self.told("visit", code, {"status": 410})
                return
            link.taken += 1
        if link is not None and url and self.is_over(link):
            self.told("visit", code, {"status": 410})
            return
        if url and link is not None and happens:
            self.count(link)
        self.told("visit", code, {"status": 302, "url": url} if url else {"status": 404})

    def seen_by_a_visit(self, code: str) -> str:
        link = self.links.get(code)
        if link is None or link.states[0][0] > self.at_s:
            return ""
        if self.flaw == "a miss sticks" and link.missed:
            return ""
        if self.flaw == "links are mixed up" and self.rng.random() < 0.1:
            return "https://old/s0" if code != "s0" else "https://old/s1"
        lag_s = self.rng.uniform(0, S)
        if self.flaw == "caches never die":
            lag_s += 6.0
        return link.url_at(max(self.at_s - lag_s, link.states[0][0]))

    def is_over(self, link: Link) -> bool:
        off_s = {"clocks are late": -0.8, "clocks are early": 0.8}.get(self.flaw, 0.0)
        return self.at_s + off_s >= link.edge_s

    def count(self, link: Link) -> None:
        gone = any(node == self.node and at_s - FLUSH_S <= self.at_s <= at_s for node, at_s in self.kills)
        link.clicks += 0 if gone or (self.flaw == "clicks are lost" and self.rng.random() < 0.1) else 1
        link.clicks += self.flaw == "clicks are counted twice" and self.rng.random() < 0.1

    def finish(self, now_s: float) -> None:
        later_s = now_s + S + 2.0
        for code, link in self.links.items():
            if not link.states[-1][1]:
                self.story.tally(code, None, later_s)
            else:
                self.story.tally(code, link.clicks, later_s)
            if link.cap is None and link.edge_s == float("inf"):
                self.story.look(code, "" if self.flaw == "a miss sticks" and link.missed else link.states[-1][1], later_s)
        self.story.drained()
