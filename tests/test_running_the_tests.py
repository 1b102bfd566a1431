"""How `make test` treats a failure: once more and alone for a few, and no second chance for many."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "test"
# Fails as often as the file beside it says, and counts that down.
MOODY = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({tests}))
def test_moody(number):
    left = pathlib.Path(__file__).with_name(f"left-{{number}}")
    times = int(left.read_text()) if left.exists() else {times}
    left.write_text(str(times - 1))
    assert times <= 0, f"{{times}} to go"

def test_fine():
    pass
"""


def run(folder: Path, tests: int, times: int) -> subprocess.CompletedProcess[str]:
    """The script in a project of its own, whose tests fail so many times each."""
    (folder / "scripts").mkdir()
    shutil.copy(SCRIPT, folder / "scripts" / "test")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:hypothesispytest -p no:anyio\n")
    (folder / "test_moody.py").write_text(MOODY.format(tests=tests, times=times))
    asked = [str(folder / "scripts" / "test"), "-q", "-n", "0"]
    return subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("tests", "times", "status", "second"),
    [
        (1, 0, 0, ""),
        (2, 1, 0, "2 passed"),
        (2, 2, 1, "2 failed"),
        (6, 1, 1, ""),
    ],
)
def test_a_few_that_fail_are_run_once_more_and_alone(tmp_path: Path, tests: int, times: int, status: int, second: str) -> None:
    ran = run(tmp_path, tests, times)
    assert ran.returncode == status, ran.stdout + ran.stderr
    ends = [line for line in ran.stdout.splitlines() if " passed" in line or " failed" in line]
    assert len(ends) == (2 if second else 1)
    assert second in ends[-1]
    named = [line for line in ran.stderr.splitlines() if line.startswith("test_moody.py::")]
    assert named == ([f"test_moody.py::test_moody[{number}]" for number in range(tests)] if second else [])
