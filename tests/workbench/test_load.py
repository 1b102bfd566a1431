import importlib.util
import os
from pathlib import Path

import pytest

from workbench.catalogue import Design
from workbench.launch import RunningDesign
from workbench.load import LoadRefused, is_loopback, locust_argv, page_port, refuse_remote, run_locust
from workbench.processes import port_is_free

LOCUST_FILE = Path(__file__).parent / "toy_design" / "locustfile.py"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://127.8.9.1", "http://[::1]:80", "http://localhost:8000/x"])
def test_this_machine_may_be_loaded(url: str) -> None:
    assert is_loopback(url)
    refuse_remote(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1",
        "http://0.0.0.0:80",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "",
    ],
)
def test_any_other_machine_may_not(url: str) -> None:
    with pytest.raises(LoadRefused, match="--allow-remote"):
        refuse_remote(url)


def test_the_page_of_the_load_test_is_for_this_machine_only() -> None:
    argv = locust_argv(Path("x.py"), "http://127.0.0.1:1", users=3, spawn_rate=1, run_time=None, page_port=8089)
    assert argv[argv.index("--web-host") + 1] == "127.0.0.1"
    assert "--headless" not in argv
    assert "--run-time" not in argv


def test_a_headless_load_ends_by_itself() -> None:
    argv = locust_argv(Path("x.py"), "http://127.0.0.1:1", users=3, spawn_rate=0.5, run_time="30s", page_port=None)
    assert "--headless" in argv
    assert argv[argv.index("--run-time") + 1] == "30s"


def test_the_page_has_a_port_nobody_listens_on() -> None:
    assert port_is_free(page_port())


@pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="Locust is not installed")
@pytest.mark.parametrize(("mix", "code"), [("fine", 0), ("failing", 1)])
def test_the_end_of_a_headless_load_says_whether_requests_failed(toy_design: Design, mix: str, code: int) -> None:
    with RunningDesign(toy_design) as running:
        argv = locust_argv(LOCUST_FILE, running.urls[0], users=1, spawn_rate=1, run_time="60s", page_port=None)
        env = {**os.environ, "DESIGNS_MIX": mix, "PYTHONWARNINGS": "ignore"}
        assert run_locust([*argv, "--loglevel", "ERROR"], env) == code
