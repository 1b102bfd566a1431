"""The run of `designs bench limiter`: the same work for each candidate, in turns, and then the trials of its promise.

First each does its work while MONITOR watches, which gives the very commands of its decisions. Then rounds, forwards and backwards
by turns, so that no drift of the machine favours anybody:

    replay   those commands again, in pipelines of a hundred decisions: Redis's time per decision, the floor's beside it, and no
             client in the figure. The median of a turn's pipelines: one that a neighbour interrupted does not count
    live     the limiter itself, one decision after the other: round trips, CPU of Redis and of the client, decisions/s

At the end 8 processes race on one key, and a greedy client asks from just before the edge of a second until well after it.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from loadtests.generator.placement import held_to
from workbench.bench import BenchFailed
from workbench.embedded_redis import EmbeddedRedis
from workbench.limiter_bench.bounds import excess, race_bound
from workbench.limiter_bench.candidates import OURS, Candidate, Work, candidates_of
from workbench.limiter_bench.figures import ROUNDS_FOR_AN_INTERVAL, Figures
from workbench.limiter_bench.meter import Captured, Meter, calls, captured, round_trips, time_us
from workbench.limiter_bench.worker import PeerFailed, Worker
from workbench.processes import cpu_plan
from workbench.terminal import say

WORK = Work()
PIECES = 5
GREEDY_EARLY_S = 0.25  # before the edge: time to use up the limit, and far from a second
GREEDY_LEAD_S = 0.1  # for all to hear of it
GREEDY_MOST = 50_000
PERIOD_OF_GREED_S = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything: all is bounded by a count, and the greedy clients by the clock as well."""

    work: Work = WORK
    replays: int = 10
    lives: int = 5
    rounds_within_s: float = 90.0  # then no further round begins, if there were enough of them for an interval
    rounds_at_most_s: float = 150.0  # then none begins at all
    racers: int = 8
    race_limit: int = 200
    race_asked: int = 50  # by each racer
    greedy_limit: int = 50  # a second
    greedy_s: float = 1.5


@dataclass(frozen=True, slots=True)
class Tape:
    """The commands of a turn: pieces in which each key is asked about as often, first those that were allowed."""

    allowed: Sequence[Captured]
    refused: Sequence[Captured]
    names: frozenset[str]  # of the commands that clients send


def measured(pythons: Mapping[str, Path], plan: Plan) -> tuple[dict[Candidate, Figures], str]:
    """Everything that takes time: (what was found of each candidate, the version of the server)."""
    cpus = cpu_plan()
    found = {candidate: Figures() for candidate in candidates_of(pythons)}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="limiter-bench-")))
        server = stack.enter_context(EmbeddedRedis(folder, cpus=cpus.servers))
        meter = stack.enter_context(contextlib.closing(Meter(server.url)))
        meter.without_a_log_on_disk()
        with held_to(cpus.generator):
            workers: dict[str, Worker] = {}
            for peer, python in pythons.items():
                with _apart(peer, found):
                    workers[peer] = stack.enter_context(Worker(python, peer, server.url))
            turns(meter, workers, found, plan)
            say("a greedy client of each")
            greed(meter, workers, found, plan)
        say(f"{plan.racers} processes of each race on one key")
        races(meter, pythons, server.url, found, plan)
        version = meter.server_version()
    for candidate, figures in found.items():
        if candidate.peer == OURS and figures.failed:
            raise BenchFailed(f"{candidate.name}: {figures.failed}")
    return found, version


def turns(meter: Meter, workers: Mapping[str, Worker], found: dict[Candidate, Figures], plan: Plan) -> None:
    """Tapes, and then the rounds."""
    say(f"{len(found)} candidates, {plan.work.decisions:,} allowed and as many refused decisions a turn; the first is watched")
    tapes: dict[Candidate, Tape] = {}
    for candidate in running(found):
        with _apart(candidate.peer, found, candidate):
            tapes[candidate] = taped(meter, workers[candidate.peer], candidate, found[candidate], plan.work)
    rounds = max(plan.replays, plan.lives)
    began_s = time.monotonic()
    for number in range(rounds):
        for candidate in there_and_back(running(found), number):
            with _apart(candidate.peer, found, candidate):
                if number < plan.replays:
                    replay(meter, tapes[candidate], found[candidate], plan.work)
                if number < plan.lives:
                    live(meter, workers[candidate.peer], candidate, found[candidate], plan.work)
        say(f"round {number + 1} of {rounds}")
        took_s = time.monotonic() - began_s
        if took_s > plan.rounds_at_most_s or (took_s > plan.rounds_within_s and number + 1 >= ROUNDS_FOR_AN_INTERVAL):
            say("no more rounds: the machine is too busy for all of them")
            break


def running(found: Mapping[Candidate, Figures]) -> list[Candidate]:
    """Those that have not failed yet."""
    return [candidate for candidate, figures in found.items() if not figures.failed]


def there_and_back(candidates: Sequence[Candidate], number: int) -> Sequence[Candidate]:
    return candidates if number % 2 == 0 else candidates[::-1]


# -- what a decision costs --------------------------------------------------------------------------------------------------


def taped(meter: Meter, worker: Worker, candidate: Candidate, figures: Figures, work: Work) -> Tape:
    """What Redis runs for a turn of this candidate; on the way the bytes of a key that is used up. Raises `PeerFailed`."""
    worker.open(candidate, work.limit, work.period_s)
    meter.empty()
    decided(worker, candidate, 1, 1, allowed=True)  # the server knows the scripts from here on
    meter.empty()
    allowed = watched(meter, worker, candidate, work, allowed=True)
    used, names = meter.size()
    figures.bytes_beside_keys = (used - names) / work.keys
    refused = watched(meter, worker, candidate, work, allowed=False)
    sent = frozenset().union(*(piece.names for piece in (*allowed, *refused)))
    if both := sent & {name for piece in (*allowed, *refused) for name in piece.by_scripts}:
        raise PeerFailed(f"clients and scripts both call {', '.join(sorted(both))}, whose time can't be told apart")
    return Tape(allowed, refused, sent)


def watched(meter: Meter, worker: Worker, candidate: Candidate, work: Work, *, allowed: bool) -> list[Captured]:
    pieces = []
    for times in cut(work.limit):
        with meter.watching() as lines:
            decided(worker, candidate, work.keys, times, allowed=allowed)
        pieces.append(captured(lines))
    return pieces


def decided(worker: Worker, candidate: Candidate, keys: int, times: int, *, allowed: bool) -> dict[str, int]:
    """Ask, and see that all had the answer they must have. Raises `PeerFailed`."""
    answer = worker.ask(do="decide", prefix="u", keys=keys, times=times)
    right = keys * times if allowed or candidate.promise is None else 0
    if answer["allowed"] != right:
        raise PeerFailed(f"{answer['allowed']} of {keys * times} decisions were allowed, and it should be {right}")
    return answer


def cut(times: int, pieces: int = PIECES) -> list[int]:
    """`times` in at most so many pieces, as even as it goes."""
    pieces = min(pieces, times)
    return [times // pieces + (number < times % pieces) for number in range(pieces)]


def replay(meter: Meter, tape: Tape, figures: Figures, work: Work) -> None:
    """One round of Redis's time per decision. Raises `PeerFailed` when Redis ran something else than the first time."""
    meter.empty()
    for pieces, into in ((tape.allowed, figures.allowed_us), (tape.refused, figures.refused_us)):
        taken_us, ran = [], Counter[str]()
        for piece, times in zip(pieces, cut(work.limit), strict=True):
            before = meter.read_commands()
            meter.replayed(piece.commands)
            after = meter.read_commands()
            taken_us.append(time_us(before, after, tape.names) / (times * work.keys))
            ran += calls(before, after)
        if ran != (taped_calls := sum((piece.calls for piece in pieces), Counter[str]())):
            raise PeerFailed(f"replayed, its commands did something else: {dict(ran)}, before {dict(taped_calls)}")
        into.append(median(taken_us))


def live(meter: Meter, worker: Worker, candidate: Candidate, figures: Figures, work: Work) -> None:
    """One round with the limiter's own client. Raises `PeerFailed`."""
    worker.open(candidate, work.limit, work.period_s)
    meter.empty()
    decided(worker, candidate, 1, 1, allowed=True)  # what the client does once
    meter.empty()
    first = meter.read()
    allowed = decided(worker, candidate, work.keys, work.limit, allowed=True)
    second = meter.read()
    refused = decided(worker, candidate, work.keys, work.limit, allowed=False)
    third = meter.read()
    figures.trips_allowed = max(figures.trips_allowed, round_trips(first, second) / work.decisions)
    figures.trips_refused = max(figures.trips_refused, round_trips(second, third) / work.decisions)
    both = 2 * work.decisions
    figures.server_us.append((third.cpu_us - first.cpu_us) / both)
    figures.client_us.append((allowed["cpu_ns"] + refused["cpu_ns"]) / 1e3 / both)
    figures.per_s.append(both / ((allowed["wall_ns"] + refused["wall_ns"]) / 1e9))


# -- who keeps its promise --------------------------------------------------------------------------------------------------


def greed(meter: Meter, workers: Mapping[str, Worker], found: dict[Candidate, Figures], plan: Plan) -> None:
    """One candidate of each limiter at a time, all limiters at once: it is about counts, not about speed."""
    meter.empty()  # and a key for each: two strategies of one library may share its name, and then its count
    waiting = {peer: [each for each in running(found) if each.peer == peer and each.promise and not each.again] for peer in workers}
    for turn in itertools.count():
        if not any(waiting.values()):
            return
        asked: list[Candidate] = []
        start_s = edge_after(time.time() + GREEDY_LEAD_S + GREEDY_EARLY_S) - GREEDY_EARLY_S
        for peer in waiting:
            if waiting[peer]:
                candidate = waiting[peer].pop(0)
                with _apart(peer, found, candidate):
                    workers[peer].open(candidate, plan.greedy_limit, PERIOD_OF_GREED_S)
                    workers[peer].send(do="greedy", key=f"greedy{turn}", start_s=start_s, seconds=plan.greedy_s, most=GREEDY_MOST)
                    asked.append(candidate)
        for candidate in asked:
            with _apart(candidate.peer, found, candidate):
                answer = workers[candidate.peer].receive()
                judge_greed(candidate, found[candidate], answer["asked"], answer["admitted"], plan.greedy_limit)


def edge_after(moment_s: float) -> float:
    """The next whole second."""
    return float(int(moment_s) + 1)


def judge_greed(candidate: Candidate, figures: Figures, asked: int, admitted: Sequence[Sequence[int]], limit: int) -> None:
    assert candidate.promise is not None
    figures.greedy_asked, figures.greedy_admitted = asked, len(admitted)
    stretches = [(sent_us, answered_us) for sent_us, answered_us in admitted]
    figures.greedy_excess = excess(candidate.promise, stretches, limit, PERIOD_OF_GREED_S * 1_000_000)


def races(meter: Meter, pythons: Mapping[str, Path], url: str, found: dict[Candidate, Figures], plan: Plan) -> None:
    """Processes that were not there before, and on any CPU. They ask for more than there is, and nothing comes back meanwhile."""
    for peer, python in pythons.items():
        racing = [each for each in running(found) if each.peer == peer and each.promise and not each.again]
        if not racing:
            continue
        with contextlib.ExitStack() as stack, _apart(peer, found):
            racers = [stack.enter_context(Worker(python, peer, url)) for _ in range(plan.racers)]
            for candidate in racing:
                with _apart(peer, found, candidate):
                    race(meter, racers, candidate, found[candidate], plan)


def race(meter: Meter, racers: Sequence[Worker], candidate: Candidate, figures: Figures, plan: Plan) -> None:
    assert candidate.promise is not None
    for racer in racers:
        racer.open(candidate, plan.race_limit, plan.work.period_s)
    meter.empty()
    began_s = time.time()
    for racer in racers:
        racer.send(do="decide", prefix="race", keys=1, times=plan.race_asked)
    figures.race_admitted = sum(answer["allowed"] for answer in all_answers(racers))
    figures.race_limit = plan.race_limit
    figures.race_bound = race_bound(candidate.promise, plan.race_limit, plan.work.period_s, began_s, time.time())


def all_answers(workers: Sequence[Worker]) -> list[dict[str, Any]]:
    """One of each; when one failed it is raised after all others were heard, so that no later question gets their answers."""
    answers, failed = [], None
    for worker in workers:
        try:
            answers.append(worker.receive())
        except PeerFailed as error:
            failed = error
    if failed is not None:
        raise failed
    return answers


@contextlib.contextmanager
def _apart(peer: str, found: dict[Candidate, Figures], candidate: Candidate | None = None) -> Iterator[None]:
    """What fails is noted for this candidate, or for all of this peer, and the others go on."""
    from redis.exceptions import RedisError

    try:
        yield
    except (PeerFailed, RedisError) as error:
        for each, figures in found.items():
            if each == candidate or (candidate is None and each.peer == peer):
                figures.failed = figures.failed or str(error)
