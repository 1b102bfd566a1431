"""Schedules as files: what is wrong is one sentence that says where and what would be right; those there are can be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.faults.named import read_schedule, schedule_names, strikes
from loadtests.faults.plan import plan
from loadtests.faults.schedule import BadSchedule

NODES = ["replica-1", "replica-2", "click-worker", "redis", "kafka", "cassandra"]
TAKE_LONG_TO_START = {"kafka_kill", "cassandra_kill"}
TOP = 'what = "w"\n[[fault]]\n'
KILL = TOP + 'kind = "kill"\ntarget = "replica-*"\nfirst_s = 1.0\nfor_s = 0.5\n'
LATE = TOP + 'kind = "latency"\ntarget = "redis"\nfirst_s = 1.0\nfor_s = 0.5\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


@pytest.mark.parametrize("name", schedule_names())
def test_each_named_schedule_strikes_within_five_seconds_whatever_the_seed(name: str) -> None:
    assert read_schedule(name).what.endswith(".")
    for seed in range(20):
        struck = plan([name], seed=seed, seconds=5.0, nodes=NODES)
        assert struck
        assert {fault.schedule for fault in struck} == {name}


@pytest.mark.parametrize("name", schedule_names())
def test_a_longer_run_is_struck_more_often_and_begins_the_same(name: str) -> None:
    short = strikes(read_schedule(name), seed=7, nodes=NODES, until_s=5.0)
    long = list(strikes(read_schedule(name), seed=7, nodes=NODES, until_s=60.0))

    assert all(fault in long for fault in short)
    assert len({fault.at_s for fault in long}) >= (2 if name in TAKE_LONG_TO_START else 8)


@pytest.mark.parametrize("name", schedule_names())
def test_no_schedule_strikes_the_same_process_again_before_the_fault_before_has_ended(name: str) -> None:
    struck = list(strikes(read_schedule(name), seed=3, nodes=NODES, until_s=60.0))
    whole = plan([name], seed=3, seconds=66.0, nodes=NODES)

    assert len([fault for fault in whole if fault.until_s < 59]) == len([fault for fault in struck if fault.until_s < 59])


def test_a_word_with_a_slash_or_an_ending_is_a_path(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(KILL)
    monkeypatch.chdir(file.parent)

    assert read_schedule(str(file)).name == read_schedule("mine.toml").name == read_schedule("./mine.toml").name == "mine"


def test_each_strike_draws_its_target_its_numbers_and_its_start(file: Path) -> None:
    file.write_text(
        LATE.replace("for_s = 0.5", "for_s = [0.2, 0.9]\nevery_s = 1.0\njitter_s = 0.2\nattributes = { latency = [5, 80] }")
    )
    late = list(strikes(read_schedule(str(file)), seed=1, nodes=NODES, until_s=50.0))
    file.write_text(KILL + "every_s = 1.0\n")
    killed = list(strikes(read_schedule(str(file)), seed=1, nodes=NODES, until_s=50.0))

    assert len({fault.attributes["latency"] for fault in late}) > 10
    assert all(
        5 <= fault.attributes["latency"] <= 80 and fault.attributes["latency"] == int(fault.attributes["latency"]) for fault in late
    )
    assert all(0.2 <= fault.for_s <= 0.9 for fault in late)
    assert all(abs(fault.at_s - (number + 1)) <= 0.2 for number, fault in enumerate(late))
    assert {fault.target for fault in killed} == {"replica-1", "replica-2"}


def test_another_seed_is_another_schedule(file: Path) -> None:
    file.write_text(KILL + "every_s = 1.0\njitter_s = 0.3\n")
    one, other, again = (list(strikes(read_schedule(str(file)), seed=seed, nodes=NODES, until_s=50.0)) for seed in (1, 2, 1))

    assert one == again != other


def test_each_fault_of_a_file_has_draws_of_its_own(file: Path) -> None:
    file.write_text(KILL.replace("0.5", "[0.2, 0.9]") + KILL.replace("0.5", "[0.2, 0.9]").removeprefix('what = "w"\n'))
    one, other = strikes(read_schedule(str(file)), seed=1, nodes=NODES, until_s=5.0)

    assert one.for_s != other.for_s


def test_all_that_fit_are_struck_at_once_and_each_as_badly(file: Path) -> None:
    file.write_text(
        TOP + 'kind = "slow_store"\ntarget = "*"\npick = "all"\nfirst_s = 1\nfor_s = 1\nattributes = { delay = [5, 900] }'
    )
    struck = list(strikes(read_schedule(str(file)), seed=1, nodes=NODES, until_s=5.0))

    assert [fault.target for fault in struck] == ["replica-1", "replica-2", "click-worker"]
    assert len({(fault.at_s, fault.for_s, fault.attributes["delay"]) for fault in struck}) == 1


def test_a_target_that_does_not_run_is_refused_and_not_passed_over() -> None:
    with pytest.raises(BadSchedule, match="redis_kill: kill finds no 'redis' here; there is replica-1"):
        plan(["redis_kill"], seed=1, seconds=5.0, nodes=["replica-1"])
    with pytest.raises(BadSchedule, match="redis_down: down finds no 'redis' here; there is replica-1"):
        plan(["redis_down"], seed=1, seconds=5.0, nodes=["replica-1"])
    with pytest.raises(BadSchedule, match="worker_kill_loop: kill finds no 'click-worker' here; there is replica-1, redis"):
        plan(["worker_kill_loop"], seed=1, seconds=5.0, nodes=["replica-1", "redis"])


def test_a_name_there_is_not_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        BadSchedule, match=r"there is no schedule 'redis_blackhole'; there is cassandra_black_hole, .*random, or a file of your own"
    ):
        read_schedule("redis_blackhole")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", 'mine: what: write a sentence that says what happens, such as what = "Redis is killed."'),
        ('what = "w"\n', "mine: fault: write one to 64 faults, each under [[fault]], in two pairs of brackets"),
        (
            'what = "w"\n[fault]\nkind = "kill"\n',
            "mine: fault: write one to 64 faults, each under [[fault]], in two pairs of brackets",
        ),
        ('what = "w"\nseed = 3\n', "mine: there is no 'seed' here; there is what, fault"),
        (TOP + 'kind = "kill"\n', "mine, fault 1: target is missing"),
        (KILL + "[[fault]]\n", "mine, fault 2: kind is missing"),
        (KILL.replace('"kill"', "3"), "mine, fault 1: kind: should be text; it is 3"),
        (KILL + "every = 3\n", "mine, fault 1: there is no 'every' here; there is kind, target, pick, attributes"),
        (KILL + "every_s = 0\n", "mine, fault 1: every_s: should be a number of seconds from 0.1 to 3600; it is 0"),
        (KILL + "jitter_s = nan\n", "mine, fault 1: jitter_s: should be a number of seconds from 0 to 3600; it is nan"),
        (KILL.replace("1.0", "true"), "mine, fault 1: first_s: should be a number of seconds from 0 to 3600; it is True"),
        (KILL.replace("0.5", "0.01"), "mine, fault 1: for_s: should be from 0.1 to 3600 s, a number or [least, most]; it is 0.01"),
        (
            KILL.replace("0.5", "[2, 1]"),
            "mine, fault 1: for_s: should be from 0.1 to 3600 s, a number or [least, most]; it is [2, 1]",
        ),
        (KILL.replace("0.5", '"long"'), "mine, fault 1: for_s: should be a number or [least, most]; it is 'long'"),
        (KILL.replace('"kill"', '"killed"'), "mine, fault 1: kind: there is no 'killed'; there is latency, bandwidth"),
        (KILL.replace("replica-*", "redis@replica-1"), "mine, fault 1: target: kill strikes processes, and 'redis@replica-1' is a"),
        (KILL.replace("replica-*", "host"), "mine, fault 1: target: host can only lose its power; kill strikes a process"),
        (KILL.replace('"kill"', '"wipe"'), "mine, fault 1: target: wipe strikes what has data of its own (redis), not 'replica-*'"),
        *(
            (
                TOP + f'kind = "{kind}"\ntarget = "{server}"\nfirst_s = 1\nfor_s = 1\n',
                f"mine, fault 1: target: {kind} strikes what a run has for itself, and {server} may hold what is others'; kill and",
            )
            for kind, server in (("wipe", "kafka"), ("power_loss", "cassandra"), ("disk_full", "kafka"))
        ),
        (
            TOP + 'kind = "slow_store"\ntarget = "cassandra"\nfirst_s = 1\nfor_s = 1\n',
            "mine, fault 1: target: slow_store strikes processes of the design, not 'cassandra'",
        ),
        (KILL + "toxicity = 0.5\n", "mine, fault 1: toxicity and stream are for what spoils single connections; kill has neither"),
        (KILL + 'pick = "some"\n', "mine, fault 1: pick: there is no 'some'; there is one, all"),
        (KILL + "attributes = 3\n", "mine, fault 1: attributes: should be a table, such as { latency = 20 }; it is 3"),
        (KILL + "attributes = { signal = 9 }\n", "mine, fault 1: attributes: kill has no 'signal'; it has none"),
        (LATE, "mine, fault 1: attributes: latency needs latency, in ms"),
        (LATE + "attributes = { delay = 5 }\n", "mine, fault 1: attributes: latency has no 'delay'; there is latency, jitter"),
        (LATE + "attributes = { latency = 2.5 }\n", "mine, fault 1: latency: should be a whole number of ms; it is 2.5"),
        (LATE + "attributes = { latency = -1 }\n", "mine, fault 1: latency: should be from 0 to 3.6e+06 ms"),
        (LATE + 'stream = "up"\n', "mine, fault 1: attributes: latency needs latency"),
        (
            LATE + 'attributes = { latency = 1 }\nstream = "up"\n',
            "mine, fault 1: stream: there is no 'up'; there is upstream, down",
        ),
        (
            LATE + "attributes = { latency = 1 }\ntoxicity = 0\n",
            "mine, fault 1: toxicity: should be from 0.01 to 1 of the connections",
        ),
        (
            LATE.replace('"redis"', '"replica-1"'),
            "mine, fault 1: target: latency strikes connections to a server (cassandra, kafka, redis), all or",
        ),
        (
            TOP
            + 'kind = "slicer"\ntarget = "redis"\nfirst_s = 0\nfor_s = 1\nattributes = { average_size = 9, size_variation = 9 }',
            "mine, fault 1: size_variation: should be smaller than average_size",
        ),
        ("what = \n", "mine: not TOML: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_sentence(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    with pytest.raises(BadSchedule) as refused:
        read_schedule(str(file))
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_is_said_in_one_sentence(file: Path) -> None:
    with pytest.raises(BadSchedule, match=r"mine.toml can't be read: no such file"):
        read_schedule(str(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadSchedule, match=r"mine.toml is not UTF-8 text"):
        read_schedule(str(file))
