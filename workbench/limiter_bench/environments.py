"""An environment for each peer, so that no package of theirs meets one of ours: `.cache/limiter-bench/<peer>`, made at first use.

What goes in is pinned in `peers/requirements/<peer>.txt`. An environment that was made from another list or by another Python is
made anew.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from loadtests.manifest import REPOSITORY
from workbench.bench import UnknownBench
from workbench.limiter_bench.candidates import PEERS, TITLES
from workbench.terminal import say

FOLDER = REPOSITORY / ".cache" / "limiter-bench"
REQUIREMENTS = Path(__file__).parent / "peers" / "requirements"
INSTALL_LIMIT_S = 300.0


class NotInstalled(RuntimeError):
    """A peer's packages could not be had. The message says which and why."""


def python_of(peer: str, folder: Path = FOLDER) -> Path:
    """The Python of the peer's environment, which is made when it is not there. Raises `NotInstalled`."""
    own = folder / peer
    python, stamp = own / "bin" / "python", own / "made-from.txt"
    wanted = f"{platform.python_version()}\n{_requirements(peer).read_text(encoding='utf-8')}"
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(f"installing {', '.join(pinned(peer))} for {TITLES[peer]}, apart from everything else")
    shutil.rmtree(own, ignore_errors=True)
    _run(peer, [sys.executable, "-m", "venv", str(own)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    _run(peer, [*pip, "-r", str(_requirements(peer))])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def chosen_peers(words: str | None) -> tuple[str, ...]:
    """Modules of peers from "limits,throttled-py", by module or by package; None is all of them, "none" is none."""
    if words is None:
        return PEERS
    by_name = {**{peer: peer for peer in PEERS}, **{TITLES[peer]: peer for peer in PEERS}}
    names = [word for word in words.replace(",", " ").split() if word != "none"]
    if unknown := [name for name in names if name not in by_name]:
        raise UnknownBench(f"there is no limiter {unknown[0]!r} to measure; there are {', '.join(TITLES[peer] for peer in PEERS)}")
    return tuple(peer for peer in PEERS if peer in {by_name[name] for name in names})


def pinned(peer: str) -> list[str]:
    """name==version of all that goes in."""
    return _requirements(peer).read_text(encoding="utf-8").split()


def version_of(peer: str) -> str:
    """The version of the limiter itself."""
    return next(each.partition("==")[2] for each in pinned(peer) if each.startswith(f"{TITLES[peer]}=="))


def remove(folder: Path = FOLDER) -> bool:
    """Take all environments away; False when there were none."""
    there = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    return there


def _requirements(peer: str) -> Path:
    return REQUIREMENTS / f"{peer}.txt"


def _run(peer: str, argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{TITLES[peer]} could not be installed: {type(error).__name__}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason was given"]
        raise NotInstalled(f"{TITLES[peer]} could not be installed: {said[-1]}")
