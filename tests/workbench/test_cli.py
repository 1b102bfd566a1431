import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.workbench.bounded_wait import alive
from tests.workbench.toy_design.processes import API_KEY
from workbench.catalogue import DESIGNS, Design
from workbench.cli import app
from workbench.cli_words import ExitCode, complete_assignment
from workbench.processes import answers_200, port_is_free

START_TOY = (
    "import sys; from workbench.catalogue import DESIGNS, Design; from workbench.cli import main;"
    "DESIGNS['toy_design'] = Design('toy_design', 'A toy', '?', 'tests.workbench.toy_design'); main()"
)


def designs(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def started(*words: str) -> "subprocess.Popen[str]":
    """The command as a process of its own, with the toy in its catalogue."""
    argv = [sys.executable, "-c", START_TOY, *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals)


def heed_signals() -> None:
    """As a shell starts what somebody waits for; what it starts in the background ignores SIGINT, and inherits that."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


def test_the_list_is_one_plain_line_a_design() -> None:
    shown = designs("list")
    assert shown.exit_code == ExitCode.FINE
    assert [line.split("\t")[0] for line in shown.stdout.splitlines()] == list(DESIGNS)


def test_the_help_says_what_the_exit_codes_mean() -> None:
    shown = " ".join(designs("--help").stdout.split())
    for code in ExitCode:
        assert re.search(rf"\b{code.value} ", shown)


def test_every_command_has_a_help_page() -> None:
    commands = re.findall(r"^  (\w+)  ", designs("--help").stdout.split("Commands:")[1], re.MULTILINE)
    assert len(commands) > 8
    for command in commands:
        assert designs(command, "--help").exit_code == ExitCode.FINE


def test_a_chapter_is_plain_markdown_in_a_pipe(toy_design: Design) -> None:
    shown = designs("answer", "toy_design")
    assert shown.exit_code == ExitCode.FINE
    assert shown.stdout == toy_design.chapter().read_text()


def test_the_knobs_are_plain_lines_with_what_each_turn_trades(toy_design: Design) -> None:
    shown = designs("knobs", "toy-design")
    assert shown.stdout.splitlines() == [
        "mood\tcalm\tcalm | broken\tcalm: answers. broken: ends at its start.",
        "store\tmemory\tmemory | redis\tredis: wants a Redis beside it.",
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["knobs", "nope"], "there is no design 'nope'; the designs are url_shortener, rate_limiter, toy_design"),
        (["run", "toy_design", "mood=sad"], "mood=sad: Input should be 'calm' or 'broken'"),
        (["run", "toy_design", "colour=red"], "there is no knob 'colour'; the knobs are mood, store"),
        (["run", "toy_design", "calm"], "'calm' is not an assignment: write knob=value, for example mood=calm"),
        (["compare", "toy_design", "colour"], "there is no knob 'colour'; the knobs are mood, store"),
        (["compare", "toy_design", "mood", "calm"], "a comparison needs two values of mood or more; name them, the baseline first"),
        (["compare", "toy_design", "mood", "calm", "sad"], "mood=sad: Input should be 'calm' or 'broken'"),
        (["capacity", "toy_design", "users=3"], "'users=3' is no assumption: write name=value, where name is one of reads_per_day"),
        (["capacity", "toy_design", "reads_per_day=many"], "reads_per_day=many: 'many' is not a number"),
        (["capacity", "toy_design", "reads_per_day=-1"], "reads_per_day=-1 must be 0 or above"),
        (["capacity", "rate_limiter", "decisions_per_s=gcra"], "decisions_per_s=gcra: 'gcra' is not a number"),
        (
            ["load", "toy_design", "--host", "http://example.com"],
            "http://example.com is not this machine; with its owner's consent, say --allow-remote",
        ),
    ],
)
def test_wrong_usage_is_one_sentence_on_stderr_and_exit_code_2(toy_design: Design, words: list[str], sentence: str) -> None:
    shown = designs(*words)
    assert (shown.exit_code, shown.stdout, shown.stderr) == (ExitCode.USAGE, "", f"designs: {sentence}\n")


def test_an_estimate_shows_its_assumptions_and_what_follows(toy_design: Design) -> None:
    shown = designs("capacity", "toy_design", "reads_per_day=8.64e8")
    assert shown.stdout.splitlines() == [
        "reads_per_day\t864,000,000\tchanged",
        "reads\t10000 /s\treads a day / 86,400",
    ]


def test_an_assumption_that_is_a_word_by_default_may_be_another_one() -> None:
    shown = designs("capacity", "rate_limiter", "algorithm=sliding_log").stdout.splitlines()
    assert "algorithm\tsliding_log\tchanged" in shown
    assert any(line.startswith("bytes per key\t") and line.endswith("state of sliding_log") for line in shown)


def test_a_design_that_cannot_start_is_one_sentence_and_exit_code_1(toy_design: Design) -> None:
    shown = designs("run", "toy_design", "mood=broken")
    assert shown.exit_code == ExitCode.INVALID
    assert shown.stderr == (
        "designs: replica-1 ended with exit code 1 before it was ready; its log ends: the toy is broken on purpose\n"
    )


def test_a_missing_load_test_is_one_sentence_and_exit_code_3(toy_design: Design) -> None:
    shown = designs("load", "toy_design", "--headless")
    assert shown.exit_code == ExitCode.MISSING
    assert "toy_design has no Locust file" in shown.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_prints_where_it_answers_and_any_signal_ends_all_of_it(ending: signal.Signals) -> None:
    with started("run", "toy_design", "--replicas", "2") as command:
        assert command.stdout is not None
        lines = dict(command.stdout.readline().split(maxsplit=1) for _ in range(1))
        url = lines["service"].strip()
        introduction = "".join(iter(command.stdout.readline, "Ctrl-C ends it.\n"))
        assert f"api key   {API_KEY}\n" in introduction
        data = Path(re.search(r"data +(.*)", introduction)[1])  # type: ignore[index]
        assert data.is_dir()
        assert answers_200(url)
        command.send_signal(ending)
        _, errors = command.communicate(timeout=60)
    assert (command.returncode, errors) == (ExitCode.INTERRUPTED, "")
    assert port_is_free(int(url.rsplit(":", 1)[1]))
    assert not data.exists()


def test_a_run_outlives_a_crashed_replica_says_so_and_ends_with_the_last() -> None:
    with started("run", "toy_design", "--replicas", "2") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        for _ in iter(command.stdout.readline, "Ctrl-C ends it.\n"):
            pass
        children = list(Path(f"/proc/{command.pid}/task").glob("*/children"))  # one thread of it starts them all
        if not children:
            command.terminate()
            pytest.skip("the kernel does not list children here")
        first, second = map(int, "".join(each.read_text() for each in children).split())
        os.kill(first, signal.SIGKILL)
        assert command.stderr.readline() == "designs: replica-1 was ended by SIGKILL; its log is empty\n"
        assert alive(second)
        os.kill(second, signal.SIGKILL)
        _, errors = command.communicate()
    assert command.returncode == ExitCode.INVALID
    assert errors.endswith("designs: no replica is left.\n")


def test_the_doctor_ends_with_3_when_something_needed_is_missing() -> None:
    shown = designs("doctor")
    verdicts = [line.split("\t")[1] for line in shown.stdout.splitlines()]
    assert shown.exit_code == (ExitCode.MISSING if "MISSING" in verdicts else ExitCode.FINE)


def completions(shell: str, **variables: str) -> list[str]:
    env = {**os.environ, "_DESIGNS_COMPLETE": f"complete_{shell}", **variables}
    program = Path(sys.executable).parent / "designs"
    return subprocess.run([program], env=env, capture_output=True, text=True, check=False).stdout.split()


@pytest.mark.skipif(not (Path(sys.executable).parent / "designs").exists(), reason="the command is not installed")
def test_the_shell_completes_designs() -> None:
    assert completions("bash", COMP_WORDS="designs knobs url", COMP_CWORD="2") == ["url_shortener"]


def test_knobs_and_their_values_complete_also_where_the_shell_splits_words_at_the_equals_sign(toy_design: Design) -> None:
    class Typed:
        params: dict[str, object]

    typed = Typed()
    typed.params = {"design": "toy_design"}
    assert complete_assignment(typed, "") == ["mood=", "store="]  # type: ignore[arg-type]
    assert complete_assignment(typed, "mood=") == ["mood=calm", "mood=broken"]  # type: ignore[arg-type]
    typed.params["words"] = ["mood", "="]
    assert complete_assignment(typed, "c") == ["calm", "broken"]  # type: ignore[arg-type]
    typed.params["design"] = "nope"
    assert complete_assignment(typed, "") == []  # type: ignore[arg-type]
