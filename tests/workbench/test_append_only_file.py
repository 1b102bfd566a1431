from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.workbench.bounded_wait import wait_until
from workbench.append_only_file import NOTES_KEPT, AppendOnlyFile, SizeHistory
from workbench.embedded_redis import EmbeddedRedis, RedisFailed


@given(st.lists(st.floats(0, 100), min_size=1, max_size=NOTES_KEPT), st.floats(-1, 101))
def test_the_sizes_of_a_moment_are_those_of_the_first_note_from_then_on(times: list[float], at_s: float) -> None:
    history = SizeHistory()
    for number, noted_s in enumerate(sorted(times)):
        history.note(noted_s, {"log": number})
    found = history.at(at_s)
    later = [number for number, noted_s in enumerate(sorted(times)) if noted_s >= at_s]
    assert found == ({"log": later[0]} if later else None)


def test_only_what_was_written_in_the_last_second_is_lost_in_any_form_of_the_log(tmp_path: Path) -> None:
    parts = tmp_path / "appendonlydir"
    parts.mkdir()
    single, growing, base = tmp_path / "appendonly.aof", parts / "appendonly.aof.1.incr.aof", parts / "appendonly.aof.1.base.rdb"
    file = AppendOnlyFile(tmp_path)
    for at_s, content in [(0.0, b"old"), (5.0, b"old, young"), (5.1, b"old, young, last")]:
        for part in (single, growing, base):
            part.write_bytes(content)
        file.note(at_s)
    assert file.lose_unsynced(6.0) == 2 * len(b", last")
    assert single.read_bytes() == growing.read_bytes() == b"old, young"
    assert base.read_bytes() == b"old, young, last"


def test_a_log_that_is_younger_than_a_second_is_lost_whole_and_an_unwatched_one_not_at_all(tmp_path: Path) -> None:
    log = tmp_path / "appendonly.aof"
    file = AppendOnlyFile(tmp_path)
    file.note(0.0)
    log.write_bytes(b"young")
    assert file.lose_unsynced(0.9) == 5
    assert log.read_bytes() == b""
    log.write_bytes(b"written while nobody looked")
    assert file.lose_unsynced(1.0) == 0


def test_what_a_power_loss_has_left_is_not_lost_again_by_the_next(tmp_path: Path) -> None:
    log = tmp_path / "appendonly.aof"
    file = AppendOnlyFile(tmp_path)
    file.note(0.0)
    log.write_bytes(b"first")
    file.note(0.5)
    assert file.lose_unsynced(1.4) == 0
    file.note(1.5)
    log.write_bytes(b"first, second")
    assert file.lose_unsynced(1.6) == len(b", second")
    assert log.read_bytes() == b"first"


def test_redis_starts_with_the_older_writes_after_a_power_loss_also_when_a_command_was_cut(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        log = AppendOnlyFile(tmp_path)
        client.set("old", "kept")
        log.note(10.0)
        client.set("young", "lost")
        server.kill()
        assert log.lose_unsynced(10.9) > 0
        server.start()
        assert client.keys() == [b"old"]
        client.set("cut", "in the middle" * 100)
        server.kill()
        aof = next(iter([*tmp_path.glob("appendonly.aof"), *tmp_path.glob("appendonlydir/*.incr.aof")]))
        with aof.open("r+b") as file:
            file.truncate(aof.stat().st_size - 100)
        server.start()
        assert client.keys() == [b"old"]


def test_a_watched_server_loses_a_write_it_has_just_acknowledged_and_keeps_the_old_ones(tmp_path: Path) -> None:
    long_ago_s = 2.0  # a server that waits for its disk writes up to two seconds late
    with EmbeddedRedis(tmp_path, may_lose_power=True) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "0"}
        acknowledged: list[float] = []

        def another() -> bool:
            client.rpush("writes", len(acknowledged))
            now_s = sum(part / unit for part, unit in zip(client.time(), (1, 1e6), strict=True))
            acknowledged.append(now_s)
            return now_s - acknowledged[0] > long_ago_s + 0.2

        wait_until(another, "some writes are old")
        assert server.power_loss() > 0
        assert server.pid is None
        server.start()
        left = client.llen("writes")
        old = sum(at_s < acknowledged[-1] - long_ago_s for at_s in acknowledged)
        assert 0 < old <= left < len(acknowledged)


def test_a_server_nobody_watched_cannot_say_what_it_would_lose(tmp_path: Path) -> None:
    with pytest.raises(RedisFailed, match="may_lose_power"):
        EmbeddedRedis(tmp_path).power_loss()
