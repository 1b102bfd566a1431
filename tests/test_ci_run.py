"""`.ci/run`: which servers it starts and whose it ends, tried with commands that are shell scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "run"
BOTH = {"KAFKA_BOOTSTRAP": "10.0.0.1:9092", "CASSANDRA_HOSTS": "10.0.0.1:9042"}
MAKE = """
echo "make $* CI=$CI kafka=${KAFKA_BOOTSTRAP:-} cassandra=${CASSANDRA_HOSTS:-} port=${KAFKA_PORT:-}" >>"$SAID"
[ "$*" != "${FAILS:-}" ]
"""
SERVERS = """
echo "servers $* jars=$(cat "$STACK_HOME/jars/kept" 2>/dev/null)" >>"$SAID"
[ "$1" = up ] || exit 0
echo "$STACK_HOME" >"$SAID.home"
if [ -n "${REFUSES:-}" ]; then echo 'Address already in use' >"$STACK_HOME/kafka.log"; exit 1; fi
shift
for name in "$@"; do
  case $name in
    kafka) echo "export KAFKA_BOOTSTRAP=127.0.0.1:kafka" ;;
    cassandra) echo "export CASSANDRA_HOSTS=127.0.0.1:cassandra" ;;
  esac
done
"""

pytestmark = pytest.mark.skipif(not all(map(shutil.which, ("bash", "git"))), reason="needs bash and git")


class Checkout:
    """A checkout that is this script and nothing else. `said` is what the commands it called were told, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work" / "checkout"
        self.programs, self.said_in, self.home = folder / "bin", folder / "said", folder / "home"
        (self.folder / ".ci").mkdir(parents=True)
        shutil.copy(SCRIPT, self.folder / ".ci" / "run")
        jars = self.home / ".cache" / "design-servers" / "jars"
        jars.mkdir(parents=True)
        (jars / "kept").write_text("shared")
        program(self.programs / "make", MAKE)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.programs}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(self.home), "SAID": str(self.said_in), "TMPDIR": str(self.home), **environment}
        return subprocess.run([str(self.folder / ".ci" / "run")], env=env, capture_output=True, text=True, check=False)

    @property
    def said(self) -> list[str]:
        return self.said_in.read_text().splitlines()

    @property
    def leaves_no_folder(self) -> bool:
        """Neither its servers' folder nor anything else but the jars."""
        return [file.name for file in self.home.iterdir()] == [".cache"] and (
            self.home / ".cache/design-servers/jars/kept"
        ).exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def program(file: Path, script: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/usr/bin/env bash\n{script}\n")
    file.chmod(0o755)
    return file


def test_it_starts_servers_of_its_own_between_the_checks_and_the_tests_and_ends_them(checkout: Checkout, tmp_path: Path) -> None:
    servers = program(tmp_path / "servers", SERVERS)
    ended = checkout.run(STACK_SERVERS=str(servers))
    assert ended.returncode == 0, ended.stderr
    assert checkout.said == [
        "make lint CI=1 kafka= cassandra= port=",
        "servers up kafka cassandra jars=shared",
        "make test CI=1 kafka=127.0.0.1:kafka cassandra=127.0.0.1:cassandra port=",
        "servers down jars=shared",
    ]
    assert Path(f"{checkout.said_in}.home").read_text().startswith(f"{checkout.home}/ci-servers.")
    assert checkout.leaves_no_folder


def test_servers_that_were_given_are_neither_started_nor_ended(checkout: Checkout, tmp_path: Path) -> None:
    servers = program(tmp_path / "servers", SERVERS)
    assert checkout.run(STACK_SERVERS=str(servers), **BOTH).returncode == 0
    assert [line.split()[0] for line in checkout.said] == ["make", "make"]


def test_only_what_was_not_given_is_started(checkout: Checkout, tmp_path: Path) -> None:
    servers = program(tmp_path / "servers", SERVERS)
    assert checkout.run(STACK_SERVERS=str(servers), KAFKA_BOOTSTRAP="10.0.0.1:9092").returncode == 0
    assert checkout.said[1] == "servers up cassandra jars=shared"
    assert "kafka=10.0.0.1:9092 cassandra=127.0.0.1:cassandra" in checkout.said[2]


def test_tests_that_fail_fail_the_run_and_the_servers_end_all_the_same(checkout: Checkout, tmp_path: Path) -> None:
    servers = program(tmp_path / "servers", SERVERS)
    assert checkout.run(STACK_SERVERS=str(servers), FAILS="test").returncode == 1
    assert checkout.said[-1] == "servers down jars=shared"
    assert checkout.leaves_no_folder


def test_checks_that_fail_start_no_server(checkout: Checkout, tmp_path: Path) -> None:
    servers = program(tmp_path / "servers", SERVERS)
    assert checkout.run(STACK_SERVERS=str(servers), FAILS="lint").returncode == 1
    assert len(checkout.said) == 1


def test_servers_that_do_not_start_are_tried_on_other_ports_and_then_given_up(checkout: Checkout, tmp_path: Path) -> None:
    servers = program(tmp_path / "servers", SERVERS)
    ended = checkout.run(STACK_SERVERS=str(servers), REFUSES="yes")
    assert ended.returncode == 1
    assert "ci: kafka cassandra did not start in 3 attempts" in ended.stderr
    assert "Address already in use" in ended.stderr
    assert not any(line.startswith("make test") for line in checkout.said)
    assert checkout.leaves_no_folder


def test_the_command_is_found_beside_the_checkout(checkout: Checkout) -> None:
    program(checkout.folder.parent / "shared" / "stack" / "servers", SERVERS)
    assert checkout.run().returncode == 0
    assert len(checkout.said) == 4


@pytest.mark.parametrize("origin", ["{}", "file://{}", "{}/.git", "{}/"])
def test_the_command_is_found_beside_the_checkout_it_was_cloned_from(checkout: Checkout, tmp_path: Path, origin: str) -> None:
    original = tmp_path / "elsewhere" / "main"
    original.mkdir(parents=True)
    program(tmp_path / "elsewhere" / "shared" / "stack" / "servers", SERVERS)
    for command in (["init", "-q"], ["config", "remote.origin.url", origin.format(original)]):
        subprocess.run(["git", *command], cwd=checkout.folder, check=True)
    assert checkout.run().returncode == 0
    assert len(checkout.said) == 4


def test_without_such_a_command_the_tests_decide(checkout: Checkout) -> None:
    assert checkout.run().returncode == 0
    assert [line.split()[1] for line in checkout.said] == ["lint", "test"]
