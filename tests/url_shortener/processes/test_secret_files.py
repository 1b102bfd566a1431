"""A process of the design takes its secrets from files as well as from its environment, and says which it can't read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from workbench.processes import free_port


def said_by_a_process_with(secrets_dir: Path, data_dir: Path) -> tuple[int, str]:
    """Exit code and error output of a service whose knobs want a Redis that its settings do not name."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("URL_SHORTENER_", "REDIS_URL"))}
    env = {**inherited, "SECRETS_DIR": str(secrets_dir), "URL_SHORTENER_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "designs.url_shortener.serve", "service", "--port", str(free_port())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


def test_a_key_may_be_a_file(tmp_path: Path) -> None:
    secrets_dir = tmp_path / "secrets"
    secrets_dir.mkdir()
    assert "setting URL_SHORTENER_CODE_KEY: Field required" in said_by_a_process_with(secrets_dir, tmp_path)[1]
    (secrets_dir / "url_shortener_code_key").write_text("k" * 32)
    code, said = said_by_a_process_with(secrets_dir, tmp_path)
    assert code == 2
    assert said.startswith("error: these knobs need Redis")  # one step further


def test_a_secret_that_can_not_be_read_ends_the_process_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "redis_url").write_bytes(b"\xff")
    code, said = said_by_a_process_with(tmp_path, tmp_path)
    assert code == 2
    assert said.startswith(f"error: a secret in {tmp_path} can't be read: ")
    assert said.count("\n") == 1
