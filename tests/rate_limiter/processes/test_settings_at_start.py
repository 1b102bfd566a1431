"""A process that can't start says why in one sentence and ends; one that is told to stop answers what it has begun."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.processes import starting
from tests.processes.driving import Load, wait_until
from tests.rate_limiter.processes.driving import Api, check_request, running
from tests.rate_limiter.service import rule, rule_text
from tests.workbench.bounded_wait import alive


def ended(data_dir: Path, environment: Mapping[str, str] | None = None, *, port: int | None = None) -> tuple[int, str]:
    """Exit code and error output of a process that needs nothing, unless the environment says otherwise."""
    defaults = {"RATE_LIMITER_DATA_DIR": str(data_dir), "RATE_LIMITER_KNOB_STORE": "memory"}
    return starting.ended("rate_limiter", {**defaults, **(environment or {})}, port=port)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RATE_LIMITER_KNOB_STOER": "memory"}, "error: there is no knob 'stoer'; the knobs are algorithm, store,"),
        ({"RATE_LIMITER_KNOB_ALGORITHM": "gcar"}, "error: algorithm=gcar: "),
        ({"RATE_LIMITER_KNOB_CLOCK": "client"}, "error: store=memory has the machine's clock and no other"),
        ({"RATE_LIMITER_KNOB_STORE": "redis"}, "error: store=redis needs Redis; set REDIS_URL, or choose store=memory or sqlite"),
        ({"REDIS_URL": "127.0.0.1:6379"}, "error: setting REDIS_URL: write it as redis://"),
        ({"RATE_LIMITER_API_KEYS": "edge:short"}, "error: setting RATE_LIMITER_API_KEYS: api_keys holds owner:key pairs"),
        ({"RATE_LIMITER_PRIORITIES": "edge:vip"}, "error: setting RATE_LIMITER_PRIORITIES: priorities holds caller:class pairs"),
        ({"RATE_LIMITER_GRPC_PORT": "0"}, "error: setting RATE_LIMITER_GRPC_PORT: "),
        ({"RATE_LIMITER_KNOB_TRACES": "1"}, "error: traces=1 has nowhere to send its spans; set RATE_LIMITER_TRACES_ENDPOINT"),
        ({"RATE_LIMITER_RULES": "/nowhere/rules.yaml"}, "error: /nowhere/rules.yaml can't be read: No such file or directory"),
    ],
)
def test_a_setting_that_is_wrong_ends_the_process_with_one_sentence_that_says_what_would_be_right(
    environment: Mapping[str, str], sentence: str, tmp_path: Path
) -> None:
    code, said = ended(tmp_path, environment)
    assert code == 2
    assert said.startswith(sentence)
    assert said.strip().count("\n") == 0


def test_rules_that_cannot_be_meant_end_the_process_with_the_line_and_the_field(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text('domains:\n  api:\n    rules:\n      - {name: a, match: {user: "*"}, quota: ten, per: 1s}\n')
    code, said = ended(tmp_path, {"RATE_LIMITER_RULES": str(path)})
    assert (code, said.strip().count("\n")) == (2, 0)
    assert said.startswith(f"error: {path}, line 4, domain api, rule a, quota: this is to be a whole number above zero")
    path.write_text(rule_text([rule("a", algorithm="sketch")]))
    leased = {"RATE_LIMITER_KNOB_STORE": "local_lease", "REDIS_URL": "redis://127.0.0.1:1/0"}
    code, said = ended(tmp_path, {"RATE_LIMITER_RULES": str(path), **leased})
    assert code == 2
    assert "rule a, algorithm: store=local_lease can't lease units of sketch" in said


def test_a_data_folder_that_cannot_be_used_ends_the_process_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "limits.db").mkdir()
    code, said = ended(tmp_path, {"RATE_LIMITER_KNOB_STORE": "sqlite"})
    assert (code, said.strip().count("\n")) == (2, 0)
    assert said.startswith("error: setting RATE_LIMITER_DATA_DIR: the folder can't be used: ")


def test_a_port_that_is_taken_or_is_none_ends_the_process(tmp_path: Path) -> None:
    starting.assert_a_port_that_is_taken_or_is_none_ends_it(partial(ended, tmp_path))


def test_a_replica_that_is_told_to_stop_answers_what_it_has_begun_and_ends(tmp_path: Path) -> None:
    with running(tmp_path, [rule("per-user", quota=10_000, per="300d", algorithm="fixed_window")], store="memory") as design:
        [url], [pid] = design.urls, design.pids_by_role()["service"]
        requests = [(0, check_request(url, design.api_key, {"user": "u1"}))]
        with Load([url], requests, clients=4, timeout_s=5.0) as load:
            wait_until(lambda: load.answered >= 20, "checks are answered")
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not alive(pid), "it ends")
        statuses = [exchange.status for _, exchange in load.exchanges()]
        assert set(statuses) <= {200, 503, 0}, "answered, or refused by who has stopped listening"
        design.supervisor.restart("replica-1")
        with Api(design) as api:
            assert api.check({"user": "u1"}).status_code == 200
