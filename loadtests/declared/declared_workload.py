"""The load of a `workload_file`: the bytes of its requests, and whether the answers had the statuses it expects.

Knows a service by what the file says of it. Its state is not ours to reset, so data is set up once for each target, before the
first load, and `{serial}` never comes twice on one target. What can be judged is the status of each answer: a file that says what
it expects gets "valid" or "invalid", one that does not gets "unknown", unless the service failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from loadtests.comparison.rounds import FAILED_FROM_STATUS
from loadtests.declared.request_template import RequestTemplate, request_template
from loadtests.declared.workload_file import Call, Request, WorkloadFile
from loadtests.generator.open_loop import LoadGenerator
from loadtests.history.operation import HistoryItem, Observation, Struck
from loadtests.history.recorded import Header
from loadtests.result import SafetyCheck
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange, Mix, SeedingFailed, Target

SETUP_CLIENTS = 8
SETUP_AT_ONCE = 2_000  # requests in memory
SETUP_WITHIN_S = 300.0  # for each so many
SHOWN_OF_AN_ANSWER = 200

_CARD = (
    "cpu_us_per_request",
    "cpu_us_per_request_service",
    "cpu_us_per_request_store",
    "response_bytes",
    "latency_p50_ms",
    "latency_p99_ms",
    "failed_per_100",
    "rss_mb",
)


@dataclass(slots=True)
class Asked:
    """What the workload keeps of one target."""

    side: int
    templates: Mapping[str, RequestTemplate]
    seed: bytes = b""
    set_up: bool = False
    first_serial: int = 0  # of this seeding
    next_serial: int = 0
    serial_of_first_step: dict[int, int] = field(
        default_factory=dict
    )  # of journeys: exchange's serial -> the serial it is filled with
    seen: dict[str, Counter[str]] = field(default_factory=dict)  # op -> asked, unexpected, no_answer, not_sent
    response_bytes: int = 0


class DeclaredWorkload:
    """The load of one comparison; see `loadtests.workload.Workload` for the contract.

    Targets get their `{side}` in the order of their first seeding. `BadWorkloadFile` when a secret is not in the environment.
    """

    def __init__(self, file: WorkloadFile, environment: Mapping[str, str], *, allow_remote: bool = False) -> None:
        self.mix = mix_of(file)
        self.mixes: Mapping[str, Mix] = {file.name: self.mix}
        self.default_mix: Mapping[str, str] = {"": file.name}
        self.check_mix = file.name
        self._file = file
        self._secrets = file.secrets(environment)
        self._allow_remote = allow_remote
        self._expected = {each.name: each.expected() for each in file.request}
        self._asked: dict[str, Asked] = {}

    def card(self, knob: str, baseline: str, other: str) -> tuple[str, ...]:
        return _CARD

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        """Send the file's setup, once for each key, the first time that this target is seen. Raises `SeedingFailed`."""
        asked = self._asked.get(target.name)
        if asked is None:
            templates = {each.name: self._template(target, each) for each in self._file.request}
            asked = self._asked[target.name] = Asked(len(self._asked), templates)
        asked.seed = b"%d" % seed
        asked.first_serial = asked.next_serial
        asked.serial_of_first_step.clear()
        asked.seen = {each.name: Counter() for each in self._file.request}
        if not asked.set_up:
            await self._set_up(target, asked)
            asked.set_up = True

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes] | None:
        """A step that follows is sent when the one before got what was expected of it, or any status below 400."""
        asked = self._asked[target.name]
        serial = exchange.serial
        if before is not None:
            if not self._went_well(before):
                return None
            serial = asked.serial_of_first_step.get(before.serial, before.serial)
            asked.serial_of_first_step[exchange.serial] = serial
        asked.next_serial = max(asked.next_serial, asked.first_serial + exchange.serial + 1)
        return 0, asked.templates[exchange.op].request(asked_for(asked, exchange.key, asked.first_serial + serial))

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        asked = self._asked[target.name]
        for exchange in exchanges:
            counts = asked.seen[exchange.op]
            if exchange.status == NOT_SENT:
                counts["not_sent"] += 1
                continue
            counts["asked"] += 1
            asked.response_bytes += len(exchange.response)
            if exchange.status == NO_ANSWER:
                counts["no_answer"] += 1
            elif not self._is_expected(exchange):
                counts["unexpected"] += 1

    async def counters(self, target: Target) -> Mapping[str, float]:
        """Bytes of the answers, heads included, as far as they were observed."""
        return {"response_bytes": float(self._asked[target.name].response_bytes)}

    def strike(self, target: Target, struck: Struck) -> None:
        """A wrong status is wrong whatever struck, and no answer leaves it open in any case."""

    def note(self, target: Target, observation: Observation) -> None:
        """Nothing is promised that would depend on it."""

    def read_page(self, target: Target, node: str, at_s: float, metrics_text: str) -> None:
        """As `note`."""

    def recorded(self, target: Target) -> tuple[Header, list[HistoryItem]]:
        raise RuntimeError("a workload file keeps no history: what it promises is the status of each answer alone")

    def deadline_s(self, target: Target) -> float | None:
        return None

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        """One check for each kind of request that was asked for. Counts: asked, unexpected, no answer, not sent."""
        seen = self._asked[target.name].seen
        return [judged(each, seen[each.name]) for each in self._file.request if seen[each.name]]

    def _is_expected(self, exchange: Exchange) -> bool:
        expected = self._expected[exchange.op]
        return exchange.status < FAILED_FROM_STATUS if expected is None else exchange.status in expected

    def _went_well(self, before: Exchange) -> bool:
        if before.status <= NO_ANSWER:
            return False
        return before.status < 400 if self._expected[before.op] is None else self._is_expected(before)

    def _template(self, target: Target, call: Call) -> RequestTemplate:
        url = urlsplit(target.urls[0])
        return request_template(
            call.method,
            url.path.rstrip("/") + call.path,
            host=url.netloc,
            headers=call.all_headers(self._file.headers),
            body=call.body_text(),
            secrets=self._secrets,
        )

    async def _set_up(self, target: Target, asked: Asked) -> None:
        """Step after step, each for all keys, a few clients at a time."""
        generator = LoadGenerator(target.urls, connections_per_url=SETUP_CLIENTS, allow_remote=self._allow_remote)
        try:
            for step, call in enumerate(self._file.setup, start=1):
                template, wanted = self._template(target, call), call.expected()
                for first in range(0, self._file.keys, SETUP_AT_ONCE):
                    keys = range(first, min(first + SETUP_AT_ONCE, self._file.keys))
                    requests = [(0, template.request(asked_for(asked, key, key))) for key in keys]
                    answers = await generator.closed_loop(requests, SETUP_CLIENTS, SETUP_WITHIN_S, len(requests))
                    wrong = [answer for answer in answers if not set_up_well(answer.status, wanted)]
                    if wrong or len(answers) < len(requests):
                        raise SeedingFailed(self._failure(target, step, call, wrong[0] if wrong else None))
        finally:
            await generator.close()

    def _failure(self, target: Target, step: int, call: Call, answer: Exchange | None) -> str:
        what = f"{target.name}: setup {step}, {call.method} {call.path},"
        if answer is None:
            return f"{what} was not done within {SETUP_WITHIN_S:.0f} s"
        if answer.status == NO_ANSWER:
            return f"{what} got no answer"
        said = answer.response.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()
        for secret in self._secrets.values():
            said = said.replace(secret, "***")
        said = said[:SHOWN_OF_AN_ANSWER]
        right = f"expect = [{answer.status}]" if call.expect is None else "it in expect"
        return f"{what} was answered {answer.status}{': ' if said else ''}{said} (if that is right, write {right})"


def mix_of(file: WorkloadFile) -> Mix:
    return Mix(
        name=file.name,
        who=file.who,
        ratios={each.name: each.weight for each in file.request if each.weight},
        keys=file.keys,
        zipf_s=file.zipf_s,
        rate_per_s=file.rate_per_s,
        then={each.name: (each.then.request, each.then.after_s) for each in file.request if each.then is not None},
    )


def asked_for(asked: Asked, key: int, serial: int) -> tuple[bytes, bytes, bytes, bytes]:
    """In the order of `request_template.BLANKS`."""
    return b"%d" % key, b"%d" % serial, asked.seed, b"%d" % asked.side


def set_up_well(status: int, wanted: frozenset[int] | None) -> bool:
    return NO_ANSWER < status < 400 if wanted is None else status in wanted


def judged(request: Request, counts: Counter[str]) -> SafetyCheck:
    """A wrong status breaks the promise; a missing answer leaves it open, since a time-out says nothing of what was done."""
    shown = {name: counts[name] for name in ("asked", "unexpected", "no_answer", "not_sent") if counts[name] or name == "asked"}
    said = " or ".join(str(status) for status in request.expect) if request.expect else f"below {FAILED_FROM_STATUS}"
    name = f"{request.name} answers {said}"
    if counts["unexpected"]:
        return SafetyCheck(name=name, verdict="invalid", counts=shown)
    if request.expect is None:
        return SafetyCheck(name=name, verdict="unknown", counts=shown, detail="the workload does not say what to expect")
    if counts["no_answer"] or not counts["asked"]:
        return SafetyCheck(name=name, verdict="unknown", counts=shown, detail="not every request got an answer")
    return SafetyCheck(name=name, verdict="valid", counts=shown)
