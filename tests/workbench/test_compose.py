"""What `up` and `down` say and do, with a stand-in for the docker command that writes down what it is asked."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from designs.rate_limiter.settings import EXAMPLE_RULES
from workbench.cli import app
from workbench.cli_exit_codes import exit_code_of
from workbench.cli_words import ExitCode
from workbench.compose import (
    NoDocker,
    Stack,
    StackFailed,
    StackRefused,
    down_command,
    make_secrets,
    memory_limit,
    stack_with,
    up_command,
)
from workbench.processes import free_port

DOCKER = """\
#!/bin/sh
here=$(dirname "$0")
echo "$* TRACES=$TRACES" >>"$here/asked"
answer() { [ ! -f "$here/$1" ] || cat "$here/$1"; [ ! -f "$here/$1.fails" ] || { cat "$here/$1.fails" >&2; exit 1; }; }
case "$*" in
  "compose version") answer version ;;
  "info "*) answer memory ;;
  *" config "*) answer services ;;
  *" ps --all --format json") answer containers ;;
  *" logs "*) answer logs ;;
  *" build "*) answer build ;;
  *" up "*) answer up ;;
  *" down "*) answer down ;;
  *) answer left ;;
esac
"""


class FakeDocker:
    """`<name>` holds what it answers to that question, `<name>.fails` what it says before it fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def says(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def asked(self) -> str:
        file = self.folder / "asked"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("TRACES", raising=False)
    fake = FakeDocker(folder)
    fake.says("memory", f"{8 << 30}\n")
    return fake


@pytest.fixture
def project(tmp_path: Path, docker: FakeDocker) -> Path:
    """A folder with a stack of six services on free ports."""
    names = ("redis", "kafka", "cassandra", "url-shortener-1", "rate-limiter-1", "locust-worker")
    ports = {name: free_port() for name in names}
    services = {
        name: {"mem_limit": str(256 << 20), "ports": [{"published": str(port), "target": 8000, "host_ip": "127.0.0.1"}]}
        for name, port in ports.items()
        if name != "locust-worker"
    }
    services["rate-limiter-1"]["ports"] += [{"published": str(free_port()), "target": 8081}]  # type: ignore[operator]
    docker.says(
        "services", json.dumps({"services": {**services, "locust-worker": {"mem_limit": "1048576", "deploy": {"replicas": 3}}}})
    )
    (tmp_path / "docker-compose.yml").touch()
    (tmp_path / ".env").write_text("".join(f"{name.upper().replace('-', '_')}_PORT={port}\n" for name, port in ports.items()))
    return tmp_path


@pytest.fixture
def taken(project: Path) -> Iterator[int]:
    """The port of Redis, with somebody on it."""
    port = int((project / ".env").read_text().splitlines()[0].split("=")[1])
    with socket.create_server(("127.0.0.1", port)):
        yield port


def container(service: str, state: str = "running", health: str = "healthy", port: int = 0) -> dict[str, object]:
    return {"Service": service, "State": state, "Health": health, "Publishers": [{"PublishedPort": port}] if port else []}


def test_up_builds_starts_waits_and_says_where_everything_is(
    project: Path, docker: FakeDocker, capfd: pytest.CaptureFixture[str]
) -> None:
    assert up_command(observe=False, load=False, folder=project) == 0
    said = capfd.readouterr().out
    for name in ("redis", "kafka", "cassandra"):
        assert f"{name:<16} 127.0.0.1:" in said
    assert "url-shortener-1  http://127.0.0.1:" in said
    assert "rate-limiter-1   http://127.0.0.1:" in said
    assert "rate-limiter-1   grpc://127.0.0.1:" in said
    assert "memory           at most 1,283 MB, of 8,192 MB that Docker has" in said
    assert "export KAFKA_BOOTSTRAP=127.0.0.1:" in said
    assert "api key          data/compose/api_key" in said
    assert (project / "data/compose/api_key").read_text() not in said
    build, up = [line for line in docker.asked().splitlines() if " build " in line or " up " in line]
    assert "--profile url_shortener --profile rate_limiter build" in build
    assert "up --detach --wait --wait-timeout" in up
    assert "--profile observe" not in up


def test_who_watches_comes_when_asked_for_and_traces_with_it(project: Path, docker: FakeDocker) -> None:
    up_command(observe=True, load=True, folder=project)
    [up] = [line for line in docker.asked().splitlines() if " up " in line]
    assert "--profile url_shortener --profile rate_limiter --profile observe --profile load" in up
    assert up.endswith("TRACES=0.1")
    assert stack_with(observe=False, load=False).variables == {}


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("version", "docker has no compose plugin: install it"),
        ("memory", "the Docker daemon does not answer; is it running, and may you use it? (Cannot connect)"),
    ],
)
def test_what_docker_lacks_is_a_sentence(missing: str, sentence: str, project: Path, docker: FakeDocker) -> None:
    docker.says(f"{missing}.fails", "Cannot connect\n")
    for command in (
        lambda: up_command(observe=False, load=False, folder=project),
        lambda: down_command(keep_data=False, folder=project),
    ):
        with pytest.raises(NoDocker) as refused:
            command()
        assert sentence in str(refused.value)
    assert " up " not in docker.asked()


def test_without_docker_the_command_says_where_to_get_it_and_ends_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for command in ("up", "down"):
        ended = CliRunner().invoke(app, [command])
        assert ended.exit_code == ExitCode.MISSING
        assert "there is no docker on the PATH: install Docker" in ended.stderr


def test_a_stack_that_needs_more_memory_than_there_is_is_not_started(project: Path, docker: FakeDocker) -> None:
    docker.says("memory", str(512 << 20))
    with pytest.raises(NoDocker, match="may take 1,283 MB, and Docker has 512 MB"):
        up_command(observe=False, load=False, folder=project)
    assert " up " not in docker.asked()


def test_a_port_that_somebody_has_is_named_with_the_line_that_moves_it(project: Path, docker: FakeDocker, taken: int) -> None:
    with pytest.raises(StackRefused, match=rf"{taken} \(redis; REDIS_PORT moves it\)"):
        up_command(observe=False, load=False, folder=project)
    assert " build " not in docker.asked()


def test_the_ports_of_the_stack_itself_are_no_reason_to_refuse_a_second_start(
    project: Path, docker: FakeDocker, taken: int
) -> None:
    docker.says("containers", json.dumps(container("redis", port=taken)))
    assert up_command(observe=False, load=False, folder=project) == 0


def test_an_image_that_can_not_be_built_ends_the_start(project: Path, docker: FakeDocker) -> None:
    docker.says("build.fails", "no such package\n")
    with pytest.raises(StackFailed, match="the image could not be built"):
        up_command(observe=False, load=False, folder=project)
    assert " up " not in docker.asked()


def test_a_stack_that_does_not_become_ready_shows_who_is_to_blame_and_its_last_words(
    project: Path, docker: FakeDocker, capfd: pytest.CaptureFixture[str]
) -> None:
    docker.says("up.fails", "dependency failed\n")
    docker.says("logs", "out of memory\n")
    states = [container("redis"), container("kafka", health="unhealthy"), container("url-shortener-1", "created", "")]
    docker.says("containers", "\n".join(map(json.dumps, states)))
    with pytest.raises(StackFailed, match=r"not ready: kafka is unhealthy \("):
        up_command(observe=False, load=False, folder=project)
    said = capfd.readouterr().err
    assert "--- kafka (unhealthy) ---\nout of memory" in said
    assert "--- redis" not in said


def test_down_takes_data_and_secrets_along(project: Path, docker: FakeDocker, capfd: pytest.CaptureFixture[str]) -> None:
    make_secrets(project / "data" / "compose")
    assert down_command(keep_data=False, folder=project) == 0
    assert "--profile * down --remove-orphans" in docker.asked()
    assert "--volumes" in docker.asked()
    assert not (project / "data" / "compose").exists()
    assert "the built image stays" in capfd.readouterr().out


def test_down_that_keeps_the_data_keeps_the_secrets_that_open_them(project: Path, docker: FakeDocker) -> None:
    make_secrets(project / "data" / "compose")
    assert down_command(keep_data=True, folder=project) == 0
    assert "--volumes" not in docker.asked()
    assert (project / "data" / "compose" / "redis_password").exists()


def test_down_that_leaves_something_says_what(project: Path, docker: FakeDocker) -> None:
    docker.says("left", "system-designs_kafka\n")
    with pytest.raises(StackFailed, match="left something behind: system-designs_kafka"):
        down_command(keep_data=False, folder=project)


def test_secrets_are_random_made_once_and_closed_to_others_of_the_machine(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        make_secrets(folder)
    made = {file.name: file.read_text() for file in one.iterdir()}
    assert set(made) == {
        "redis_password", "redis.conf", "redis_url", "api_key", "api_keys", "admin_key", "code_key", "pk_key", "grpc_key",
        "grafana_password",
    }  # fmt: skip
    assert all((other / name).read_text() != text for name, text in made.items())
    assert stat.S_IMODE(one.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in one.iterdir()} == {0o444}  # the container's user is none of ours
    assert made["redis.conf"] == f"requirepass {made['redis_password']}\n"
    assert made["redis_url"] == f"redis://:{made['redis_password']}@redis:6379/0"
    assert made["api_keys"] == f"demo:{made['api_key']}"
    make_secrets(one)
    assert {file.name: file.read_text() for file in one.iterdir()} == made


def test_the_rules_of_the_limiter_are_a_copy_that_its_user_can_read_and_an_edited_one_stays(
    project: Path, docker: FakeDocker
) -> None:
    rules = project / "data" / "compose" / "rules" / "rules.yaml"
    up_command(observe=False, load=False, folder=project)
    assert rules.read_text() == EXAMPLE_RULES.read_text()
    assert stat.S_IMODE(rules.stat().st_mode) == 0o644
    rules.write_text("mode: off\ndomains: {}\n")
    up_command(observe=False, load=False, folder=project)
    assert rules.read_text() == "mode: off\ndomains: {}\n"


def test_memory_counts_each_copy_of_a_service() -> None:
    assert memory_limit({"one": {"mem_limit": "10"}, "workers": {"mem_limit": "5", "deploy": {"replicas": 3}}}) == 25


def test_the_containers_are_read_in_the_form_of_older_plugins_too(project: Path, docker: FakeDocker) -> None:
    states = [container("redis"), container("kafka")]
    for text in (json.dumps(states), "\n".join(map(json.dumps, states)), ""):
        docker.says("containers", text)
        assert Stack(project).containers() == (states if text else [])


def test_each_error_has_its_exit_code() -> None:
    codes = {NoDocker("x"): ExitCode.MISSING, StackRefused("x"): ExitCode.USAGE, StackFailed("x"): ExitCode.INVALID}
    assert {error: exit_code_of(error) for error in codes} == codes


def test_outside_a_clone_there_is_nothing_to_start(tmp_path: Path) -> None:
    with pytest.raises(StackRefused, match="from a clone of the project"):
        up_command(observe=False, load=False, folder=tmp_path)
