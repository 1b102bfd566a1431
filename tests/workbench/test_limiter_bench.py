import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from workbench.bench import UnknownBench, bench_command
from workbench.embedded_redis import EmbeddedRedis
from workbench.limiter_bench import command, environments, measuring
from workbench.limiter_bench.candidates import CANDIDATES, FLOOR, GCRA, OURS, PEERS, THREE, TITLES, Candidate, Work, candidates_of
from workbench.limiter_bench.environments import chosen_peers, pinned, version_of
from workbench.limiter_bench.figures import Figures
from workbench.limiter_bench.measuring import Plan, Tape, all_answers, cut, edge_after, judge_greed, replay, there_and_back
from workbench.limiter_bench.meter import Captured, Meter, Reading, calls, captured, round_trips, time_us
from workbench.limiter_bench.requirements import COSTS
from workbench.limiter_bench.worker import PeerFailed, Worker

TINY = Plan(Work(keys=3, limit=4), replays=1, lives=1, racers=2, race_limit=6, race_asked=10, greedy_limit=5, greedy_s=0.3)
HERE = Path(sys.executable)


def test_one_small_run_of_ours_finds_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    some = {"return 1", "TIME", "gcra", "gcra x3", "sliding_log", "sketch"}
    chosen = [each for each in CANDIDATES if each.peer == OURS and each.how in some and not each.again]
    monkeypatch.setattr(measuring, "candidates_of", lambda peers: chosen)
    found, version = measuring.measured({OURS: HERE}, TINY)
    assert version.count(".") == 2
    assert not [figures.failed for figures in found.values() if figures.failed]
    for candidate, figures in found.items():
        assert (len(figures.allowed_us), len(figures.per_s)) == (1, 1), candidate.name
        assert figures.trips_allowed == figures.trips_refused == 1.0, candidate.name
    limited = {candidate: figures for candidate, figures in found.items() if candidate.promise}
    assert {figures.race_admitted for figures in limited.values()} == {6}
    assert {figures.greedy_excess for figures in limited.values()} == {0}
    assert all(figures.greedy_admitted >= 1 for figures in limited.values())
    assert 0 < found[GCRA].bytes_beside_keys < found[THREE].bytes_beside_keys


def test_the_run_ends_with_a_table_the_verdicts_and_a_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Figures([4.0] * 6, [3.0] * 6, [30.0], [200.0], [4_000.0], 1.0, 1.0, 50, 200, 200, 200, 900, 74, 0)
    found = dict.fromkeys(candidates_of([]), kept)
    found[FLOOR] = Figures([0.6] * 6, [0.6] * 6, [20.0], [90.0], [9_000.0], 1.0, 1.0)
    monkeypatch.setattr(command, "measured", lambda pythons, plan: (found, "7.0.15"))
    monkeypatch.setattr("workbench.measurements.records_of", lambda design: tmp_path)
    assert command.limiter_command(record=True, peers=()) == 0
    said = capsys.readouterr().out
    assert said.count("met: ") == 6 + len(COSTS)
    record = json.loads((tmp_path / "bench-limiter.json").read_text())
    assert record["design"] == "rate_limiter"
    assert record["command"] == "designs bench limiter --peers none"
    assert record["versions"]["redis-server"] == "7.0.15"
    assert len(record["rows"]) == len(found)


def test_a_peer_that_cannot_be_installed_is_said_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def python_of(peer: str) -> Path:
        if peer == "limits":
            raise environments.NotInstalled("limits could not be installed: no network")
        return HERE

    def measured(pythons: dict[str, Path], plan: Plan) -> tuple[dict[Candidate, Figures], str]:
        asked.append(list(pythons))
        kept = Figures([4.0] * 6, [3.0] * 6, [30.0], [200.0], [4_000.0], 1.0, 1.0, 50, 200, 200, 200, 900, 74, 0)
        return dict.fromkeys(candidates_of(pythons), kept), "7.0.15"

    monkeypatch.setattr(command, "python_of", python_of)
    monkeypatch.setattr(command, "measured", measured)
    command.limiter_command(peers=("limits", "slowapi"))
    assert asked == [["ours", "slowapi"]]
    assert "not run: limits could not be installed: no network" in capsys.readouterr().out


def test_a_limiter_that_raises_fails_alone() -> None:
    found = {GCRA: Figures(), THREE: Figures(), FLOOR: Figures()}
    with measuring._apart(OURS, found, THREE):
        raise PeerFailed("ours raised something")
    assert [figures.failed for figures in found.values()] == ["", "ours raised something", ""]
    assert measuring.running(found) == [GCRA, FLOOR]


def test_a_process_that_ends_is_a_sentence_with_its_last_words() -> None:
    with pytest.raises(PeerFailed, match=r"the process of nobody ended: .*No module named workbench\.limiter_bench\.peers\.nobody"):
        Worker(HERE, "nobody", "redis://127.0.0.1:1/0")


def test_what_a_limiter_raises_comes_back_as_a_sentence() -> None:
    with Worker(HERE, OURS, "redis://127.0.0.1:1/0") as worker:
        with pytest.raises(PeerFailed, match="ours raised ValueError: nothing is open"):
            worker.ask(do="decide", prefix="u", keys=1, times=1)
        with pytest.raises(PeerFailed, match="ours raised ValueError: there is no algorithm guesswork"):
            worker.open(Candidate(OURS, "guesswork", "any window"), 1, 1)
        worker.open(FLOOR, 1, 1)
        with pytest.raises(PeerFailed, match="ours raised ConnectionError"):
            worker.ask(do="decide", prefix="u", keys=1, times=1)


def test_one_racer_that_fails_leaves_no_answers_behind() -> None:
    with Worker(HERE, OURS, "redis://127.0.0.1:1/0") as one, Worker(HERE, OURS, "redis://127.0.0.1:1/0") as other:
        one.send(do="decide", prefix="u", keys=1, times=1)
        other.send(do="connect", url="redis://127.0.0.1:2/0")
        with pytest.raises(PeerFailed, match="nothing is open"):
            all_answers([one, other])
        with pytest.raises(PeerFailed, match="nothing is open"):
            other.ask(do="decide", prefix="u", keys=1, times=1)


def test_a_process_that_is_silent_is_given_up_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    with Worker(HERE, OURS, "redis://127.0.0.1:1/0") as worker:
        worker.open(FLOOR, 1, 1)
        monkeypatch.setattr("workbench.limiter_bench.worker.ANSWER_WITHIN_S", 0.0)
        with pytest.raises(PeerFailed, match="ours did not answer within 0 s"):
            worker.ask(do="greedy", key="k", start_s=time.time() + 30.0, seconds=1.0, most=1)
        monkeypatch.undo()
        with pytest.raises(PeerFailed, match="the process of ours ended"):
            worker.ask(do="connect", url="redis://127.0.0.1:1/0")


def test_monitor_says_what_a_client_sent_and_what_a_script_called() -> None:
    lines = [
        b'1790000000.000001 [0 127.0.0.1:50000] "EVALSHA" "abc" "1" "a \\"key\\" \\x00\\\\"',
        b'1790000000.000002 [0 lua] "TIME"',
        b'1790000000.000002 [0 lua] "set" "k" ""',
        b'1790000000.000003 [0 127.0.0.1:50000] "TTL" "k"',
    ]
    seen = captured(lines)
    assert seen.commands == [(b"EVALSHA", b"abc", b"1", b'a "key" \x00\\'), (b"TTL", b"k")]
    assert seen.names == {"evalsha", "ttl"}
    assert seen.by_scripts == Counter(time=1, set=1)
    assert seen.calls == Counter(evalsha=1, ttl=1, time=1, set=1)


@pytest.fixture
def own_meter(tmp_path: Path) -> Iterator[Meter]:
    with EmbeddedRedis(tmp_path) as server, closing(Meter(server.url)) as meter:
        yield meter


def test_what_was_watched_is_replayed_and_timed_without_what_its_scripts_call(own_meter: Meter) -> None:
    script = "redis.call('SET', KEYS[1], 1) return redis.call('TTL', KEYS[1])"
    with own_meter.watching() as lines:
        own_meter.replayed([(b"EVAL", script.encode(), b"1", b"a"), (b"GET", b"a")])
    seen = captured(lines)
    assert seen.calls == Counter(eval=1, get=1, set=1, ttl=1)
    figures = Figures()
    replay(own_meter, Tape([seen], [seen], seen.names), figures, Work(keys=1, limit=1))
    assert figures.allowed_us[0] > 0
    assert own_meter.size()[1] == 1


def test_a_replay_that_does_something_else_than_the_first_time_is_not_counted(own_meter: Meter) -> None:
    seen = Captured([(b"SET", b"a", b"1")], Counter(expire=1))
    figures = Figures()
    with pytest.raises(PeerFailed, match="replayed, its commands did something else"):
        replay(own_meter, Tape([seen], [seen], seen.names), figures, Work(keys=1, limit=1))
    assert figures.allowed_us == []


def test_the_time_of_commands_that_scripts_call_is_not_counted_twice_and_no_trip() -> None:
    before = Reading({"evalsha": (10, 40), "set": (10, 9), "info": (1, 99)}, reads=11)
    after = Reading({"evalsha": (30, 140), "set": (25, 29), "info": (2, 299), "get": (20, 10)}, reads=32)
    assert time_us(before, after, ["evalsha"]) == 100
    assert calls(before, after) == Counter(evalsha=20, set=15, get=20)
    assert round_trips(before, after) == 20


def test_turns_go_there_and_back_and_pieces_are_even() -> None:
    assert list(there_and_back([FLOOR, GCRA, THREE], 0)) == [FLOOR, GCRA, THREE]
    assert list(there_and_back([FLOOR, GCRA, THREE], 1)) == [THREE, GCRA, FLOOR]
    assert cut(10, 5) == [2, 2, 2, 2, 2]
    assert cut(4, 5) == [1, 1, 1, 1]
    assert cut(7, 3) == [3, 2, 2]
    assert edge_after(12.25) == 13.0


def test_a_machine_too_busy_for_all_rounds_ends_them_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[str] = []
    monkeypatch.setattr(measuring, "taped", lambda *_: Tape([], [], frozenset()))
    monkeypatch.setattr(measuring, "live", lambda *_: None)
    monkeypatch.setattr(measuring, "replay", lambda *_: rounds.append("replay"))
    for plan, wanted in (
        (Plan(rounds_within_s=-1.0), 6),
        (Plan(rounds_within_s=-1.0, rounds_at_most_s=-1.0), 1),
        (Plan(rounds_within_s=1e6, rounds_at_most_s=1e6), 10),
    ):
        rounds.clear()
        measuring.turns(cast(Meter, None), cast(dict[str, Worker], {OURS: None}), {GCRA: Figures()}, plan)
        assert len(rounds) == wanted


def test_greed_that_got_too_much_is_counted() -> None:
    figures = Figures()
    admitted = [[number * 100, number * 100 + 90] for number in range(8)]
    judge_greed(Candidate("throttled", "token_bucket", "burst and rate"), figures, 40, admitted, 5)
    assert (figures.greedy_asked, figures.greedy_admitted, figures.greedy_excess) == (40, 8, 3)
    assert "40 requests 8 passed, in one stretch 3 more than it promises" in figures.disqualified


def test_peers_are_named_by_package_or_by_module() -> None:
    assert chosen_peers(None) == PEERS
    assert chosen_peers("none") == ()
    assert chosen_peers("throttled-py,limits") == chosen_peers("throttled, limits") == ("limits", "throttled")
    with pytest.raises(UnknownBench, match="there is no limiter 'redis-cell' to measure; there are limits, throttled-py"):
        chosen_peers("redis-cell")


@pytest.mark.parametrize("peer", PEERS)
def test_what_goes_into_an_environment_is_pinned_and_all_clients_are_equal(peer: str) -> None:
    assert all(each.partition("==")[2] for each in pinned(peer))
    assert version_of(peer)
    clients = {other: [each for each in pinned(other) if each.startswith(("redis==", "hiredis=="))] for other in PEERS}
    assert len(clients[peer]) == 2
    assert clients[peer] == clients[PEERS[0]]
    assert TITLES[peer]


def test_an_environment_is_made_once_and_anew_when_its_list_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[list[str]] = []
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "limits.txt").write_text("limits==5.8.0\n")

    def run(peer: str, argv: list[str]) -> None:
        ran.append(argv)
        python = tmp_path / "made" / peer / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(environments, "_run", run)
    monkeypatch.setattr(environments, "REQUIREMENTS", lists)
    python = environments.python_of("limits", tmp_path / "made")
    assert python == tmp_path / "made" / "limits" / "bin" / "python"
    assert len(ran) == 2
    environments.python_of("limits", tmp_path / "made")
    assert len(ran) == 2
    (lists / "limits.txt").write_text("limits==5.9.0\n")
    environments.python_of("limits", tmp_path / "made")
    assert len(ran) == 4
    assert environments.remove(tmp_path / "made")
    assert not environments.remove(tmp_path / "made")


def test_peers_belong_to_this_bench_alone() -> None:
    with pytest.raises(UnknownBench, match="--peers and --remove-peers belong to limiter, not to redirect"):
        bench_command("redirect", peers="none")
    with pytest.raises(UnknownBench, match="--links belongs to growth, not to limiter"):
        bench_command("limiter", links="10,20")
