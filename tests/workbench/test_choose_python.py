"""`scripts/choose-python`: which interpreter makes the environment, tried with interpreters that are shell scripts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "choose-python"
TOO_OLD, WITHOUT_VENV, BROKEN_SHIM = "exit 3", "exit 4", "echo 'pyenv: python: command not found' >&2; exit 127"

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")


def python(folder: Path, name: str, script: str) -> str:
    """An executable that behaves like an interpreter asked about itself; the path it says it has."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def runs(version: str, path: str = "/opt/python") -> str:
    return f"echo '{version} {path}'"


def choose(*folders: Path, option: str = "", named: str = "") -> "subprocess.CompletedProcess[str]":
    sh = shutil.which("sh") or "/bin/sh"
    env = {"PATH": ":".join(map(str, folders)), **({"PYTHON": named} if named else {})}
    argv = [sh, str(SCRIPT), *([option] if option else [])]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def test_a_shim_that_exists_and_does_not_run_is_passed_over(tmp_path: Path) -> None:
    python(tmp_path, "python3.12", BROKEN_SHIM)
    python(tmp_path, "python3", runs("3.11", "/opt/good"))
    assert choose(tmp_path).stdout == "/opt/good\n"


def test_3_12_goes_before_3_11_and_both_before_anything_newer(tmp_path: Path) -> None:
    python(tmp_path, "python3", runs("3.14", "/opt/new"))
    assert choose(tmp_path).stdout == "/opt/new\n"
    python(tmp_path, "python3.11", runs("3.11", "/opt/eleven"))
    assert choose(tmp_path).stdout == "/opt/eleven\n"
    python(tmp_path, "python3.12", runs("3.12", "/opt/twelve"))
    assert choose(tmp_path).stdout == "/opt/twelve\n"


def test_a_shim_does_not_hide_the_interpreter_behind_it_on_the_path(tmp_path: Path) -> None:
    shims, system = tmp_path / "shims", tmp_path / "with a space"
    python(shims, "python3", TOO_OLD)
    python(system, "python3", runs("3.11", "/usr/bin/python 3"))
    assert choose(shims, system).stdout == "/usr/bin/python 3\n"


def test_an_interpreter_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    python(tmp_path, "python3", TOO_OLD)
    ended = choose(tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("No Python 3.11 or newer on the PATH runs")
    assert ended.stderr.count("\n") == 1


def test_an_interpreter_without_venv_is_taken_only_by_a_tool_that_brings_its_own(tmp_path: Path) -> None:
    python(tmp_path, "python3", f'[ "$3" = nothing ] || {WITHOUT_VENV}; {runs("3.11", "/opt/bare")}')
    ended = choose(tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "apt install python3-venv" in ended.stderr
    assert choose(tmp_path, option="--without-venv").stdout == "/opt/bare\n"


def test_a_named_interpreter_ends_the_search(tmp_path: Path) -> None:
    python(tmp_path, "python3.12", runs("3.12"))
    newest = python(tmp_path, "newest", runs("3.14", "/opt/newest"))
    assert choose(tmp_path, named=newest).stdout == "/opt/newest\n"
    ended = choose(tmp_path, named="nope")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("PYTHON=nope does not run")


def test_an_interpreter_that_says_something_else_is_not_believed(tmp_path: Path) -> None:
    python(tmp_path, "python3", "echo 'Welcome to Python'")
    assert choose(tmp_path).returncode == 3


def test_the_interpreter_of_these_tests_is_good_enough(tmp_path: Path) -> None:
    chosen = choose(named=sys.executable, option="--without-venv").stdout.strip()
    assert Path(chosen).samefile(getattr(sys, "_base_executable", sys.executable))
