"""The rule file: YAML that people write, and the `RuleSet` it stands for. `rules.example.yaml` shows every field.

Strict, since whoever misspells a limit believes to have one: unknown and repeated fields, repeated names, values that can't be
meant, and limits that can't be kept are `BadRules`, with one sentence that names line, domain, rule and field. Anchors and aliases
are refused (a file of ten lines could stand for a billion), and so is a file over `MAX_CHARS`. Every value is read as the text that
stands there, and by its field: YAML itself would take `off` for false and `010` for eight.

A running process looks at its file every second. A bad one is refused: the rules that were in force stay, and that is counted and
told once. Replace the file by renaming another over it, so that nobody reads half of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar, get_args

import yaml

from designs.rate_limiter.limits import ALGORITHM_NAMES, WITH_BURST, AlgorithmName, BadLimit, Limit, Slots
from designs.rate_limiter.rules import ANY, Cost, Domain, Mode, OnStoreDown, Rule, RuleSet

LOOK_EVERY_S = 1.0
MAX_CHARS = 256 * 1024
MAX_DOMAINS = 1_000
MAX_RULES = 200  # of a domain: a request looks at each
MAX_TOGETHER = 16  # that can apply to one request: they are decided in one script, which has room for so many
MAX_TIERS = 50
MAX_COSTS = 50
MAX_MATCH = 16
MAX_VALUE_CHARS = 256
NOT_LEASABLE: frozenset[AlgorithmName] = frozenset({"sketch", "leaky_queue"})
UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NUMBER = re.compile(r"[1-9][0-9_]{0,18}")
_TIME = re.compile(r"([1-9][0-9_]{0,18}) ?(us|ms|s|m|h|d)")

T = TypeVar("T")


class BadRules(ValueError):
    """The file can't be used. One sentence, for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a rule has that does not say it. `leased`: every rule has to be one whose units can be leased in blocks."""

    algorithm: AlgorithmName = "gcra"
    on_store_down: OnStoreDown = "local"
    leased: bool = False


def parse_rules(
    text: str, default_algorithm: AlgorithmName = "gcra", default_on_store_down: OnStoreDown = "local", *, leased: bool = False
) -> RuleSet:
    """The rule set that the text stands for. Raises `BadRules`, and nothing else."""
    root = _Part(_composed(text), "")
    root.only("mode", "domains")
    domains = root.need("domains", "the rules of each API by its name")
    defaults = Defaults(default_algorithm, default_on_store_down, leased)
    named = domains.fields()
    if len(named) > MAX_DOMAINS:
        domains.refuse(f"a file has {MAX_DOMAINS:,} domains at most, and this one {len(named):,}")
    return RuleSet(
        domains={name: _domain(name, part, defaults) for name, part in named.items()},
        version=hashlib.blake2b(text.encode(), digest_size=6).hexdigest(),
        mode=_mode(root),
    )


def _domain(name: str, part: _Part, defaults: Defaults) -> Domain:
    part.stands_at(f"domain {name}")
    if not _NAME.fullmatch(name):
        part.refuse("the name of a domain has 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit")
    part.only("mode", "rules")
    listed = part.need("rules", "a list of rules")
    parts = listed.items()
    if len(parts) > MAX_RULES:
        listed.refuse(f"a domain has {MAX_RULES} rules at most, and this one {len(parts):,}: each request looks at all of them")
    rules: dict[str, Rule] = {}
    for each in parts:
        rule = _rule(name, each, defaults)
        if rule.name in rules:
            each.refuse(f"there are two rules {rule.name} in this domain; each needs a name of its own")
        rules[rule.name] = rule
    for kind in (Limit, Slots):
        together = _most_together([rule for rule in rules.values() if isinstance(rule.limit, kind)])
        if together > MAX_TOGETHER:
            listed.refuse(f"{together} of these rules could apply to one request; {MAX_TOGETHER} are decided at once at most")
    return Domain(name, tuple(rules.values()), _mode(part))


def _most_together(rules: Sequence[Rule]) -> int:
    """At most so many of the rules apply to any one request: two that want different values of a key never do.

    Each rule stands under the first value it wants, so this may be more than can really be, and never less.
    """
    everywhere, wanted = 0, defaultdict[str, Counter[str]](Counter)
    for rule in rules:
        first = next(((key, value) for key, value in rule.match.items() if value != ANY), None)
        if first is None:
            everywhere += 1
        else:
            wanted[first[0]][first[1]] += 1
    return everywhere + sum(max(values.values()) for values in wanted.values())


def _rule(domain: str, part: _Part, defaults: Defaults) -> Rule:
    part.stands_at(f"domain {domain}, a rule")
    named = part.need("name", "a name of its own, such as per-user")
    name = named.text()
    if not _NAME.fullmatch(name):
        named.refuse("the name of a rule has 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit")
    part.stands_at(f"domain {domain}, rule {name}")
    shared = ("name", "match", "tiers", "on_store_down", "mode")
    limit: Limit | Slots
    tiers: Mapping[str, Limit | Slots]
    costs: Sequence[Cost] = ()
    if "slots" in part.fields():
        part.only(*shared, "slots", "lease")
        limit = slots = _slots(part, None)
        tiers = _tiers(part, lambda tier: _slots(tier, slots))
    else:
        part.only(*shared, "quota", "per", "burst", "algorithm", "costs")
        own = _own_algorithm(part, defaults)
        limit = usual = _limit(part, None, own, defaults)
        tiers = quotas = _tiers(part, lambda tier: _limit(tier, usual, own, defaults))
        costs = _costs(part, max(each.burst for each in (usual, *quotas.values())))
    down = part.get("on_store_down")
    return Rule(
        name=name,
        match=_match(part, 'whom it counts, such as {user: "*"}; {} for everybody together'),
        limit=limit,
        tiers=tiers,
        costs=costs,
        on_store_down=down.one_of(get_args(OnStoreDown)) if down is not None else defaults.on_store_down,
        mode=_mode(part),
    )


def _match(part: _Part, what: str) -> dict[str, str]:
    """Has to be there: who forgets it would have everybody share one count, or pay one price."""
    match = part.need("match", what)
    wanted = {}
    for key, value in match.fields().items():
        if not _KEY.fullmatch(key):
            value.refuse("a key of a descriptor has 1 to 64 of A-Z a-z 0-9 _ . - and starts with a letter or _")
        wanted[key] = value.text()
        if not wanted[key] or len(wanted[key]) > MAX_VALUE_CHARS or not wanted[key].isprintable():
            value.refuse(f"write {ANY!r} for any value, or one value of 1 to {MAX_VALUE_CHARS} printable characters")
    if len(wanted) > MAX_MATCH:
        match.refuse(f"a match names {MAX_MATCH} keys at most")
    return wanted


def _own_algorithm(part: _Part, defaults: Defaults) -> AlgorithmName | None:
    """The one the rule names; None for the default of the process."""
    named = part.get("algorithm")
    own = named.one_of(ALGORITHM_NAMES) if named is not None else None
    if defaults.leased and (own or defaults.algorithm) in NOT_LEASABLE:
        (named or part).refuse(
            f"store=local_lease can't lease units of {own or defaults.algorithm}; choose another algorithm, or store=redis"
        )
    return own


def _limit(part: _Part, usual: Limit | None, own: AlgorithmName | None, defaults: Defaults) -> Limit:
    """`usual`: the rule's own limit, for a tier of it; what the tier does not say is as there, but for the burst.

    A burst without a word is the quota. A rule that leaves the algorithm to the process may say one for those that have one.
    """
    algorithm = own or defaults.algorithm
    if usual is not None:
        part.only("quota", "per", "burst")
    elif "quota" not in part.fields():
        part.need("quota", "units per period, or give it slots for a concurrency limit")
    quoted, timed, burst_said = part.get("quota"), part.get("per"), part.get("burst")
    quota = quoted.number() if quoted is not None else usual.quota if usual is not None else 0
    if timed is None and usual is None:
        part.need("per", "the period of the quota, such as 60s")
    period_us = timed.time_us() if timed is not None else usual.period_us if usual is not None else 0
    burst = quota
    if burst_said is not None:
        burst = burst_said.number()
        if algorithm not in WITH_BURST and own is None:
            burst = quota
    try:
        return Limit(algorithm, quota, period_us, burst)
    except BadLimit as error:
        part.refuse(str(error))


def _slots(part: _Part, usual: Slots | None) -> Slots:
    if usual is not None:
        part.only("slots", "lease")
    slots, lease = part.get("slots"), part.get("lease")
    if lease is None and usual is None:
        part.need("lease", "how long a slot is held without being renewed, such as 30s")
    try:
        return Slots(
            slots.number() if slots is not None else usual.limit if usual is not None else 0,
            lease.time_us() if lease is not None else usual.lease_us if usual is not None else 0,
        )
    except BadLimit as error:
        part.refuse(str(error))


def _tiers(part: _Part, limit_of: Callable[[_Part], T]) -> dict[str, T]:
    tiers = part.get("tiers")
    if tiers is None:
        return {}
    named = tiers.fields()
    if len(named) > MAX_TIERS:
        tiers.refuse(f"a rule has {MAX_TIERS} tiers at most")
    for name, tier in named.items():
        if not _NAME.fullmatch(name):
            tier.refuse("the name of a tier has 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit")
    return {name: limit_of(tier) for name, tier in named.items()}


def _costs(part: _Part, most: int) -> tuple[Cost, ...]:
    """`most`: units that the largest limit of the rule lets pass at once. What costs more is refused to everybody, for ever."""
    listed = part.get("costs")
    if listed is None:
        return ()
    parts = listed.items()
    if len(parts) > MAX_COSTS:
        listed.refuse(f"a rule has {MAX_COSTS} costs at most: a request looks at each")
    costs = []
    for each in parts:
        each.only("match", "cost")
        match = _match(each, "what costs so much, such as {route: /export}")
        cost = each.need("cost", "the units that such a request takes")
        units = cost.number()
        if units > most:
            cost.refuse(f"nobody could ever pass, since this rule lets {most:,} units pass at once at most")
        costs.append(Cost(match, units))
    return tuple(costs)


def _mode(part: _Part) -> Mode:
    said = part.get("mode")
    return said.one_of(get_args(Mode)) if said is not None else "on"


class _Part:
    """A node of the file, with what is needed to say where it stands."""

    def __init__(self, node: yaml.Node, where: str, field: str = "") -> None:
        self._node = node
        self._where = where
        self._field = field
        self._fields: dict[str, _Part] | None = None

    def stands_at(self, where: str) -> None:
        """From now on this is where it and what is in it stands: it is known better once its name has been read."""
        self._where, self._field = where, ""
        for name, part in (self._fields or {}).items():
            part.stands_at(where)
            part._field = _shown(name)

    def refuse(self, what: str) -> NoReturn:
        place = ", ".join(filter(None, [f"line {self._node.start_mark.line + 1}", self._where, self._field]))
        raise BadRules(f"{place}: {what}")

    def fields(self) -> dict[str, _Part]:
        """The node as a mapping. One that is empty (`{}`) is one as well."""
        if self._fields is None:
            if not isinstance(self._node, yaml.MappingNode):
                self.refuse(f"this is to be a mapping (name: value), and not {_kind(self._node)}")
            found: dict[str, _Part] = {}
            for key, value in self._node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self.refuse("names are plain words")
                name = str(key.value)
                part = _Part(value, self._where, f"{self._field}.{_shown(name)}" if self._field else _shown(name))
                if name in found:
                    part.refuse("it stands here twice")
                found[name] = part
            self._fields = found
        return self._fields

    def items(self) -> list[_Part]:
        if not isinstance(self._node, yaml.SequenceNode):
            self.refuse(f"this is to be a list (- ...), and not {_kind(self._node)}")
        return [_Part(node, self._where) for node in self._node.value]

    def only(self, *names: str) -> None:
        for name, part in self.fields().items():
            if name not in names:
                part.refuse(f"there is no such field; there are {', '.join(names)}")

    def get(self, name: str) -> _Part | None:
        return self.fields().get(name)

    def need(self, name: str, what: str) -> _Part:
        part = self.get(name)
        if part is None:
            self.refuse(f"{name} is missing: {what}")
        return part

    def text(self) -> str:
        if not isinstance(self._node, yaml.ScalarNode):
            self.refuse(f"this is to be one word, and not {_kind(self._node)}")
        return str(self._node.value)

    def number(self) -> int:
        text = self.text()
        if not _NUMBER.fullmatch(text):
            self.refuse(f"this is to be a whole number above zero, and not {_shown(text)!r}")
        return int(text)

    def time_us(self) -> int:
        match = _TIME.fullmatch(self.text())
        if match is None:
            self.refuse(f"write a time with its unit, such as 100ms, 60s, 5m, 1h or 1d, and not {_shown(self.text())!r}")
        return int(match[1]) * UNITS_US[match[2]]

    def one_of(self, choices: Sequence[T]) -> T:
        text = self.text()
        if text not in choices:
            self.refuse(f"choose one of {', '.join(map(str, choices))}, and not {_shown(text)!r}")
        return next(choice for choice in choices if choice == text)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return f"{_shown(str(node.value))!r}" if node.value else "nothing"


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


class _Loader(yaml.BaseLoader):
    """Composes nodes only: nothing is made of a tag, and nothing stands for something elsewhere."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise BadRules(f"line {line}: aliases (*name) are not read; write it out")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def _composed(text: str) -> yaml.Node:
    if len(text) > MAX_CHARS:
        raise BadRules(f"the file has {len(text):,} characters; {MAX_CHARS:,} are read at most")
    try:
        node = yaml.compose(text, Loader=_Loader)
    except BadRules:
        raise
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        raise BadRules(f"{line}this is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # The scanner itself fails on some escapes and directives, and the composer on what is nested a thousand times.
        said = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise BadRules(f"this is no YAML: {said}") from None
    if node is None:
        raise BadRules("the file is empty; it needs domains: the rules of each API by its name")
    return node


Outcome: TypeAlias = Literal["loaded", "refused"]
Seen: TypeAlias = tuple[int, int, int]


class RuleFile:
    """The rules of a file as they are in force. Raises `BadRules` when there are none to begin with.

    `tell(outcome, sentence)` hears of every new file once, with its version or with what is wrong with it.
    """

    def __init__(
        self,
        path: Path,
        default_algorithm: AlgorithmName = "gcra",
        default_on_store_down: OnStoreDown = "local",
        *,
        leased: bool = False,
        tell: Callable[[Outcome, str], None] = lambda *_: None,
    ) -> None:
        self._path = path
        self._defaults = Defaults(default_algorithm, default_on_store_down, leased)
        self._tell = tell
        self.reloads: dict[str, int] = {"loaded": 0, "refused": 0}
        self._seen = _seen(path)
        self._rules = self._read()

    def rules(self) -> RuleSet:
        """The rule set in force."""
        return self._rules

    async def look(self) -> None:
        """Read the file if it is another one than at the last look. Parsing takes a thread of its own: requests go on meanwhile."""
        seen = _seen(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            rules = await asyncio.to_thread(self._read)
        except BadRules as error:
            self.reloads["refused"] += 1
            self._tell("refused", str(error))
            return
        if rules.version != self._rules.version:
            self._rules = rules
            self.reloads["loaded"] += 1
            self._tell("loaded", rules.version)

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look every second until cancelled."""
        while True:
            await sleep(LOOK_EVERY_S)
            await self.look()

    def _read(self) -> RuleSet:
        try:
            with self._path.open("rb") as file:
                data = file.read(4 * MAX_CHARS + 1)  # a character of UTF-8 has four bytes at most
        except OSError as error:
            raise BadRules(f"{self._path} can't be read: {error.strerror}") from None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise BadRules(f"{self._path} is no text in UTF-8") from None
        try:
            return parse_rules(text, self._defaults.algorithm, self._defaults.on_store_down, leased=self._defaults.leased)
        except BadRules as error:
            raise BadRules(f"{self._path}, {error}") from None


def _seen(path: Path) -> Seen | None:
    """What tells a new file from the last one, although it may have the same length or the same second; None for no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
