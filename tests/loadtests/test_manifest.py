"""The conditions of a run, as far as the system tells them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from loadtests import manifest


def test_conditions_name_machine_versions_and_commit() -> None:
    found = manifest.conditions()

    assert found.versions["python"]
    assert found.versions["pydantic"]
    assert {"cpu", "cpus", "memory", "kernel", "load_average_before", "cpu_pressure_before"} == set(found.machine)
    assert all(found.machine.values())
    assert found.commit


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_checkout_has_a_commit_and_may_be_dirty(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = {f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        answer = subprocess.run(
            ["git", "-C", str(tmp_path), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **identity, **alone},
        )
        return answer.stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    assert manifest.revision(tmp_path.resolve()) == (git("rev-parse", "HEAD"), False)
    records = tmp_path / "designs" / "any" / "measurements"
    records.mkdir(parents=True)
    (records / "knob.mix.json").write_text("{}")
    assert not manifest.revision(tmp_path.resolve())[1], "a record that a run has just left is no change"

    (tmp_path / "new").write_text("file")
    assert manifest.revision(tmp_path.resolve())[1] is True

    inside = tmp_path.resolve() / "folder"
    inside.mkdir()
    assert manifest.revision(inside) == ("unknown", False), "a folder of someone else's checkout is no checkout of ours"


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path) -> None:
    assert manifest.revision(tmp_path) == ("unknown", False)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs CPU affinity")
def test_pinning_says_where_everybody_really_runs() -> None:
    cpus = os.sched_getaffinity(0)
    elsewhere = {max(cpus) + 1}

    assert "unpinned" in manifest.pinning(cpus, [os.getpid()])
    assert "unpinned" in manifest.pinning(cpus, [])
    assert manifest.pinning(elsewhere, [os.getpid()]).endswith(f"generator on CPU {max(cpus) + 1}")
