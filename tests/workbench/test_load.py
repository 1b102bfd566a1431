import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadtests.locust_engine.shapes import SHAPES
from tests.workbench.bounded_wait import wait_until
from workbench.catalogue import Design
from workbench.cli import app
from workbench.cli_words import ExitCode
from workbench.launch import RunningDesign
from workbench.load import (
    LoadOptions,
    LoadRefused,
    crowding,
    is_loopback,
    load_cpus,
    locust_argv,
    page_port,
    refuse_remote,
    run_locust,
    worker_command,
)
from workbench.processes import UNPINNED, CpuPlan, cpu_plan, port_is_free

LOCUST_FILE = Path(__file__).parent / "toy_design" / "locustfile.py"
FILE, URLS = Path("x.py"), ("http://127.0.0.1:1",)
needs_locust = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="Locust is not installed")


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


def after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_the_page_of_the_load_test_is_for_this_machine_only() -> None:
    argv = locust_argv(FILE, URLS, LoadOptions(users=3, page_port=8089))
    assert after(argv, "--web-host") == "127.0.0.1"
    assert "--headless" not in argv
    assert "--run-time" not in argv


def test_a_headless_load_ends_by_itself() -> None:
    argv = locust_argv(FILE, URLS, LoadOptions(run_time="5m"))
    assert "--headless" in argv
    assert after(argv, "--run-time") == "5m"
    assert after(locust_argv(FILE, URLS, LoadOptions()), "--run-time") == "30s"


def test_a_master_listens_to_workers_of_this_machine_unless_told_otherwise() -> None:
    for options in (LoadOptions(master=True, expect_workers=3), LoadOptions(processes=2)):
        assert after(locust_argv(FILE, URLS, options), "--master-bind-host") == "127.0.0.1"
    assert after(locust_argv(FILE, URLS, LoadOptions(master=True, master_bind="10.0.0.1")), "--master-bind-host") == "10.0.0.1"


def test_a_worker_hears_from_its_master_what_to_load() -> None:
    argv = locust_argv(FILE, (), LoadOptions(worker=True, master_host="10.0.0.1", master_port=6000))
    assert after(argv, "--master-host") == "10.0.0.1"
    assert not {"--host", "-u", "--run-time"} & set(argv)


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (LoadOptions(master=True), "DESIGNS_API_KEY=key designs load toy_design --worker"),
        (
            LoadOptions(master=True, master_bind="0.0.0.0", master_port=6000),
            "DESIGNS_API_KEY=key designs load toy_design --worker --master-host THIS_MACHINE --master-port 6000",
        ),
    ],
)
def test_a_master_says_how_to_start_its_workers(toy_design: Design, options: LoadOptions, command: str) -> None:
    assert worker_command(toy_design, options, "key") == command


def test_an_open_loop_passes_its_plan_on() -> None:
    argv = locust_argv(FILE, URLS, LoadOptions(open_loop=True, plan_rate=600, plan_seed=0, out=Path("results/x")))
    assert "--open-loop" in argv
    assert after(argv, "--plan-rate") == "600"
    assert after(argv, "--plan-seed") == "0"
    assert after(argv, "--html") == "results/x/locust.html"


@pytest.mark.parametrize(
    "words",
    [
        {"shape": "steps", "spawn_rate": 5.0},
        {"open_loop": True, "shape": "ramp"},
        {"open_loop": True, "processes": 2},
        {"open_loop": True, "worker": True},
        {"plan_rate": 600.0},
        {"plan_seed": 0},
        {"master": True, "worker": True},
        {"processes": 2, "master": True},
    ],
)
def test_words_that_contradict_each_other_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(LoadRefused, match=r"leave out|say --open-loop too"):
        LoadOptions(**words)


def test_each_worker_process_has_a_cpu_as_far_as_the_design_keeps_one() -> None:
    assert load_cpus(1, range(8)) == cpu_plan(range(8))
    assert load_cpus(3, range(8)) == CpuPlan(frozenset(range(5)), frozenset({5, 6, 7}))
    assert load_cpus(9, range(4)) == CpuPlan(frozenset({0}), frozenset({1, 2, 3}))
    assert load_cpus(4, [0]) == UNPINNED


def test_more_worker_processes_than_cpus_are_said_to_be_no_use() -> None:
    assert "2 CPUs" in crowding(2, 2)
    assert crowding(1, 2) == crowding(2, 4) == ""


def test_every_shape_can_be_asked_for() -> None:
    page = " ".join(CliRunner().invoke(app, ["load", "--help"]).stdout.split())
    assert "|".join(SHAPES) in page


def test_a_worker_without_a_key_is_told_where_to_find_it(toy_design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DESIGNS_API_KEY", raising=False)
    shown = CliRunner().invoke(app, ["load", "toy_design", "--worker"])
    assert shown.exit_code == ExitCode.USAGE
    assert "its master prints the whole command" in shown.stderr


def test_the_page_has_a_port_nobody_listens_on() -> None:
    assert port_is_free(page_port())


@needs_locust
@pytest.mark.parametrize(("mix", "code"), [("fine", 0), ("failing", 1)])
def test_the_end_of_a_headless_load_says_whether_requests_failed(toy_design: Design, mix: str, code: int) -> None:
    with RunningDesign(toy_design) as running:
        argv = locust_argv(LOCUST_FILE, running.urls, LoadOptions(users=1, run_time="60s"))
        env = {**os.environ, "DESIGNS_MIX": mix, "PYTHONWARNINGS": "ignore"}
        assert run_locust([*argv, "--loglevel", "ERROR"], env) == code


@needs_locust
def test_a_load_that_is_interrupted_still_writes_its_report(toy_design: Design, tmp_path: Path) -> None:
    with RunningDesign(toy_design) as running:
        argv = locust_argv(LOCUST_FILE, running.urls, LoadOptions(users=1, run_time="60s", out=tmp_path))
        # Where the tests themselves run in the background, their children would ignore the signal.
        heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{heard}; import os; from workbench.load import run_locust; run_locust({argv!r}, dict(os.environ))"
        env = {**os.environ, "DESIGNS_MIX": "endless", "PYTHONWARNINGS": "ignore"}
        with subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as load:
            history = tmp_path / "locust_stats_history.csv"
            wait_until(lambda: history.exists() and len(history.read_text().splitlines()) > 1, "the load runs")
            load.send_signal(signal.SIGINT)
            load.communicate()
    assert "<html" in (tmp_path / "locust.html").read_text()
