"""A design's Locust file in a process of its own, as `designs load` runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WITHIN_S = 90


def locust(design: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """How it ended. It inherits no setting of a design."""
    locustfile = ROOT / "loadtests" / design / "locustfile.py"
    argv = [sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", "--only-summary", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DESIGN")}
    with subprocess.Popen(
        argv, env=kept | environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            printed, said = process.communicate(timeout=WITHIN_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
    return subprocess.CompletedProcess(argv, process.returncode, printed, said)
