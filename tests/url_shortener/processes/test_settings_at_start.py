"""A process that can't start says why in one sentence and ends; one that can, starts, whoever of the others is there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest

from designs.building_blocks.knobs import build
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.processes import processes
from tests.processes import starting
from tests.processes.driving import wait_until
from tests.url_shortener.processes.driving import Api, stored_clicks
from workbench.embedded_redis import EmbeddedRedis
from workbench.processes import Supervisor, answers_200, free_port

CODE_KEY = "a-code-key-of-more-than-thirty-two-characters"
WITHOUT_REDIS = {"CACHE": "none", "IDS": "lease", "CLICKS": "batched"}


def ended(
    data_dir: Path, environment: Mapping[str, str | None] = MappingProxyType({}), *, role: str = "service", port: int | None = None
) -> tuple[int, str]:
    """Exit code and error output of a process that does not need Redis, unless the environment says otherwise."""
    defaults = {
        "URL_SHORTENER_DATA_DIR": str(data_dir),
        "URL_SHORTENER_CODE_KEY": CODE_KEY,
        **{f"URL_SHORTENER_KNOB_{name}": value for name, value in WITHOUT_REDIS.items()},
    }
    return starting.ended("url_shortener", {**defaults, **environment}, role=role, port=port)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"URL_SHORTENER_CODE_KEY": None}, "error: setting URL_SHORTENER_CODE_KEY: Field required"),
        ({"URL_SHORTENER_CODE_KEY": "short"}, "fewer than 32 characters; make one with: openssl rand -hex 32"),
        ({"URL_SHORTENER_KNOB_CASHE": "none"}, "error: there is no knob 'cashe'; the knobs are ids, code_length,"),
        ({"URL_SHORTENER_KNOB_CODE_LENGTH": "seven"}, "error: code_length=seven: "),
        ({"URL_SHORTENER_KNOB_CACHE": "write-behind", "URL_SHORTENER_KNOB_IDS": "random"}, "use ids=lease or snowflake"),
        (
            {"URL_SHORTENER_KNOB_TRACES": "0.5"},
            "error: traces=0.5 has nowhere to send its spans; set URL_SHORTENER_TRACES_ENDPOINT, ",
        ),
        ({"URL_SHORTENER_KNOB_CACHE": "aside"}, "error: these knobs need Redis; set REDIS_URL, or choose "),
        (
            {"URL_SHORTENER_KNOB_CACHE": "aside", "REDIS_URL": "127.0.0.1:6379"},
            "error: setting REDIS_URL: write it as redis://",
        ),
    ],
)
def test_a_setting_that_is_missing_or_wrong_ends_the_process_with_one_sentence_that_says_what_would_be_right(
    environment: Mapping[str, str | None], sentence: str, tmp_path: Path
) -> None:
    code, said = ended(tmp_path, environment)
    assert code == 2
    assert sentence in said
    assert said.strip().count("\n") == 0
    assert "Traceback" not in said


def folder_below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "data"


def database_that_is_a_folder(tmp_path: Path) -> Path:
    (tmp_path / "links.db").mkdir()
    return tmp_path


@pytest.mark.parametrize("folder", [folder_below_a_file, database_that_is_a_folder])
def test_a_data_folder_that_cannot_be_used_ends_the_process_with_one_sentence(
    folder: Callable[[Path], Path], tmp_path: Path
) -> None:
    code, said = ended(folder(tmp_path))
    assert code == 2
    assert said.startswith("error: setting URL_SHORTENER_DATA_DIR: the folder can't be used: ")
    assert said.strip().count("\n") == 0


def test_a_click_worker_without_redis_says_so(tmp_path: Path) -> None:
    queued = {"URL_SHORTENER_KNOB_CLICKS": "redis_streams"}
    code, said = ended(tmp_path, queued, role="worker")
    assert code == 2
    assert said == "error: the click worker counts unique visitors in Redis, and reads clicks=redis_streams there; set REDIS_URL\n"


def test_a_click_worker_whose_knobs_queue_nothing_says_so(tmp_path: Path) -> None:
    code, said = ended(tmp_path, role="worker")
    assert code == 2
    assert said.startswith("error: clicks=batched queues nothing, so there is nothing for a worker")


def test_a_port_that_is_taken_or_is_none_ends_the_process(tmp_path: Path) -> None:
    starting.assert_a_port_that_is_taken_or_is_none_ends_it(partial(ended, tmp_path))


@pytest.fixture
def redis_to_come(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that has an address and does not run yet."""
    server = EmbeddedRedis(tmp_path / "redis")
    server.start()
    server.stop()
    try:
        yield server
    finally:
        server.stop()


def test_processes_that_start_before_redis_do_without_it_and_take_it_up_once_it_comes(
    redis_to_come: EmbeddedRedis, tmp_path: Path
) -> None:
    knobs = build(ShortenerKnobs, {"staleness_s": 0.5, "click_flush_ms": 10})
    service, worker = processes(
        knobs, data_dir=tmp_path, ports=free_port, servers={"REDIS_URL": redis_to_come.url}, replicas=1, env={}
    )
    assert service.url is not None
    assert worker.ready_url is not None
    with Supervisor(tmp_path / "logs") as supervisor:
        # A replica is of use without Redis, so it is ready. A worker is not: it is only alive.
        supervisor.start_all([service, replace(worker, ready_url=worker.ready_url.replace("/readyz", "/healthz"))])
        assert not answers_200(worker.ready_url)
        with Api(service.url, (tmp_path / "api_key").read_text()) as api:
            assert api.readiness() == "degraded"
            code = api.create("https://example.org/early")["code"]
            assert api.visit(code).headers["location"] == "https://example.org/early"
            assert api.edit(code, enabled=False).status_code == 503
            assert api.metric("sd_clicks_buffered") == 1

            redis_to_come.start()
            wait_until(lambda: api.readiness() == "ready", "the replica has found Redis")
            wait_until(lambda: answers_200(worker.ready_url or ""), "the worker has found Redis")
            assert api.visit(code).status_code == 302
            wait_until(lambda: stored_clicks(tmp_path) == {code: 2}, "both clicks are counted")
            wait_until(lambda: api.edit(code, enabled=False).status_code == 200, "edits are taken")
            wait_until(lambda: api.visit(code).status_code == 404, "the edit is seen")
