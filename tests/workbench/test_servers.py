"""Servers under control: by a command, or as containers of the compose project; what is neither is left alone, and says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.workbench import fake_servers
from tests.workbench.fake_servers import answering, calls, control_script
from workbench import servers
from workbench.given_servers import GivenServer
from workbench.servers import (
    CommandControl,
    ComposeControl,
    GivenServerFaults,
    ServerFailed,
    controls_of,
    process_of,
    run,
    why_not,
)

NOBODY = "127.0.0.1:1"
DOCKER = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
words = sys.argv[1:]
(here / "calls").open("a").write(" ".join(words) + "\\n")
if words[0] == "inspect":
    print((here / "container.json").read_text())
elif "ps" in words and (here / "container.json").exists():
    print("0123abc")
"""


def given(address: str, name: str = "kafka") -> GivenServer:
    host, _, port = address.rpartition(":")
    return GivenServer(name, address, ((host, int(port)),))


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test asks a real one."""
    monkeypatch.setattr(servers, "PROJECT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder on the PATH with a `docker` that knows one container, as `container.json` says."""
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    script = tmp_path / "docker"
    script.write_text(DOCKER.format(python=sys.executable, folder=str(tmp_path)))
    script.chmod(0o755)
    return tmp_path


def publishing(folder: Path, port: int, pid: int = 4711) -> None:
    container = {
        "State": {"Pid": pid},
        "NetworkSettings": {"Ports": {"9094/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}},
    }
    (folder / "container.json").write_text(json.dumps([container]))


def test_a_command_is_told_what_to_do_in_four_words(tmp_path: Path) -> None:
    server = GivenServerFaults(given(NOBODY), CommandControl(str(control_script(tmp_path))))
    server.pause()
    server.pause()
    server.resume()
    server.resume()
    server.kill()
    assert calls(tmp_path) == ["stop kafka", "cont kafka", "kill kafka"]
    assert not server.runs
    assert server.pid is None


def test_a_start_returns_when_the_server_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "ANSWERS_WITHIN_S", 0.0)
    server = GivenServerFaults(given(NOBODY), CommandControl(str(control_script(tmp_path))))
    server.start()
    assert calls(tmp_path) == [], "it was not taken down"
    server.kill()
    with pytest.raises(ServerFailed, match="kafka did not answer within 0 s of its start"):
        server.start()
    with answering("kafka") as address:
        server.server = given(address)
        server.start()
        assert server.runs
    assert calls(tmp_path) == ["kill kafka", "up kafka", "up kafka"]


def test_a_command_that_kills_another_server_is_found_out(tmp_path: Path) -> None:
    with answering("kafka") as address:
        server = GivenServerFaults(given(address), CommandControl(str(control_script(tmp_path))))
        with pytest.raises(ServerFailed, match=f"{address} still answers: SERVERS_CONTROL controls another one"):
            server.kill()
        assert server.runs


def test_a_command_that_fails_is_a_sentence_with_what_it_said_last(tmp_path: Path) -> None:
    command = control_script(tmp_path)
    (tmp_path / "broken").touch()
    with pytest.raises(ServerFailed, match=r"servers kill kafka ended with exit code 3: nothing works today"):
        CommandControl(str(command)).kill("kafka")
    with pytest.raises(ServerFailed, match="there-is-none kill kafka: no such file"):
        CommandControl(str(tmp_path / "there-is-none")).kill("kafka")


def test_a_command_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "DONE_WITHIN_S", 0.01)
    with pytest.raises(ServerFailed, match=r"was not done within 0\.01 s"):
        run([sys.executable, "-c", "import time; time.sleep(60)"])


def test_words_may_come_before_the_verb(tmp_path: Path) -> None:
    CommandControl(f"{control_script(tmp_path)} --of mine").pause("cassandra")
    assert calls(tmp_path) == ["--of mine stop cassandra"]


def test_containers_of_the_project_are_controlled_through_compose(docker: Path) -> None:
    publishing(docker, 1)
    found = {"kafka": given(NOBODY)}
    [control] = controls_of(found, {}).values()
    assert isinstance(control, ComposeControl)
    (docker / "calls").unlink()
    for verb in (control.pause, control.resume, control.kill, control.start):
        verb("kafka")
    said = [line.split() for line in fake_servers.calls(docker)]
    assert all(words[0] == "compose" and words[-1] == "kafka" for words in said)
    assert [" ".join(words[3:-1]) for words in said] == ["pause", "unpause", "kill -s KILL", "start"]


def test_the_process_inside_a_container_is_the_one_whose_cpu_counts(docker: Path) -> None:
    publishing(docker, 1)
    assert process_of(given(NOBODY)).pids == (4711,)
    publishing(docker, 1, pid=0)
    assert "container does not run" in process_of(given(NOBODY)).unknown_because


def test_a_container_that_publishes_another_port_is_not_the_server(docker: Path) -> None:
    publishing(docker, 2)
    assert controls_of({"kafka": given(NOBODY)}, {}) == {}
    assert "no process here listens on port 1" in process_of(given(NOBODY)).unknown_because


def test_without_a_command_and_without_a_container_it_is_left_alone() -> None:
    server = given(NOBODY, "cassandra")
    assert controls_of({"cassandra": server}, {}) == {}
    assert "is not ours to break: it is no container of `make up`; set SERVERS_CONTROL" in why_not(server)


def test_a_server_on_another_machine_is_never_touched(tmp_path: Path) -> None:
    far = GivenServer("kafka", "10.0.0.1:9092", (("10.0.0.1", 9092),))
    assert controls_of({"kafka": far}, {"SERVERS_CONTROL": str(control_script(tmp_path))}) == {}
    assert "not this machine" in why_not(far)
    assert calls(tmp_path) == []
