"""Services that already run, compared: what is refused, what is found out about them, and a whole comparison of two."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadtests.comparison.experiment import Experiment
from loadtests.comparison.schedule import Rules
from loadtests.cpu_clock import Unreadable
from loadtests.declared.declared_workload import mix_of
from loadtests.declared.workload_file import WorkloadFile
from loadtests.result import Result
from workbench import comparison
from workbench.cli import app
from workbench.cli_words import ExitCode
from workbench.load import LoadRefused
from workbench.port_owner import PortOwner
from workbench.service_targets import BadService, Service, Unreachable, checked_url, found_service, named_pids, named_urls
from workbench.services import chosen_primary, command_line, compare_services, refuse_large_rounds, remarks

HERE = "http://127.0.0.1:8000"
THERE = "http://192.0.2.1:8000"
SECRET = "s3cret-of-the-shop"
WORKLOAD = """
name = "items"
who = "Readers."
rate_per_s = 150
keys = 20
headers = {Authorization = "Bearer {env:SHOP_TOKEN}"}
[[setup]]
method = "PUT"
path = "/items/{key}"
body = {title = "{key}"}
[[request]]
name = "read"
path = "/items/{key}"
expect = [200]
"""
# Answers those who have the key; the second argument is how much work an answer is.
SERVER = """
import asyncio, sys

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        sum(range(int(sys.argv[2])))
        status = b"200 OK" if b"Bearer " + sys.argv[1].encode() in data else b"401 Unauthorized"
        self.transport.write(b"HTTP/1.1 " + status + b"\\r\\ncontent-length: 2\\r\\n\\r\\nok")

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def service(name: str = "a", url: str = HERE, **pids: int) -> Service:
    return Service(name, url, {role: [pid] for role, pid in pids.items()}, "" if pids else "it is a riddle")


def test_a_target_is_called_by_its_name_or_its_url() -> None:
    assert named_urls([f"old={HERE}/", f"{HERE}/v2/"]) == [("old", HERE), (f"{HERE}/v2", f"{HERE}/v2")]


def test_one_url_twice_is_a_comparison_with_itself() -> None:
    assert named_urls([HERE, f"{HERE}/"]) == [(HERE, HERE), (f"{HERE} (again)", HERE)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([HERE], "a comparison needs 2 to 8 times --url, the baseline first, not 1"),
        ([f"a={HERE}", f"a={HERE}/v2"], f"two targets are called 'a'; name them apart: --url old={HERE}/v2"),
        ([HERE, HERE, HERE], f"two targets are called '{HERE} (again)'; name them apart: --url old={HERE}"),
        (["a", "b"], "a is no target: write http://127.0.0.1:8000 or name=http://127.0.0.1:8000"),
        ([HERE, "ftp://127.0.0.1"], "ftp://127.0.0.1 is no target: write http://127.0.0.1:8000 or name=http://127.0.0.1:8000"),
        (
            [HERE, f"{HERE}/?key=1"],
            f"{HERE}/?key=1: a target's URL ends with a plain path; queries and blanks belong to the workload's paths",
        ),
        ([HERE, f"{HERE}/\r\nX: y"], "plain path"),
        ([HERE, "http://127.0.0.1:99999"], "http://127.0.0.1:99999 is no target"),
        (
            ["http://localhost:1", HERE],
            "http://localhost:1: localhost has two addresses, and one may be somebody else's; write 127.0.0.1 or [::1]",
        ),
        ([HERE, "https://127.0.0.1:8443"], "https://127.0.0.1:8443: https is spoken only with --allow-remote"),
    ],
)
def test_what_can_not_be_a_target_is_a_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(BadService) as raised:
        named_urls(words)
    assert sentence in str(raised.value)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadService, match="a target has no password in its URL") as raised:
        checked_url("http://me:s3cret@127.0.0.1:8000")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", [THERE, "http://shop.example.com", "https://10.0.0.1", "http://0.0.0.0:80", "http://127.0.0.1.example.com"]
)
def test_another_machine_is_loaded_only_with_its_owners_consent(url: str) -> None:
    with pytest.raises(LoadRefused, match="--allow-remote"):
        checked_url(url)
    assert checked_url(url, allow_remote=True) == url


def test_processes_are_named_by_target_and_role() -> None:
    named = [("a", HERE), (HERE, HERE)]
    words = ["a=1", "a:store=2", "a:store=3", f"{HERE}=4", f"{HERE}:worker=5"]

    assert named_pids(words, named) == [{"service": [1], "store": [2, 3]}, {"service": [4], "worker": [5]}]
    for wrong in ("1", "b=1", "a=one", "a=-1", "a:=1", "a:x y=1"):
        with pytest.raises(BadService, match="write NAME=PID or NAME:store=PID, where NAME is one of a, http"):
            named_pids([wrong], named)


def test_the_cpu_of_another_machine_is_not_known_and_half_of_it_is_not_taken_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_service("a", THERE, {}) == Service("a", THERE, {}, "it is not on this machine")
    monkeypatch.setattr("workbench.service_targets.cpu_clock.tree_cpu_ns", lambda pids: 0)
    assert found_service("a", THERE, {"service": [1], "store": [2]}).pids == {"service": [1], "store": [2]}
    with pytest.raises(BadService, match=r"a: the service's own process is not known \(it is not .*\); name it too: --pid a=PID"):
        found_service("a", THERE, {"store": [2]})


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")
def test_a_named_process_that_does_not_run_is_said_so() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with pytest.raises(Unreadable, match=f"process {gone.pid} is not running"):
        found_service("a", HERE, {"service": [gone.pid]})


def test_cpu_decides_where_it_is_known_of_all_and_the_median_latency_elsewhere() -> None:
    known, unknown = service("a", service=1, store=2), service("b")

    assert chosen_primary([known, known], None) == "cpu_us_per_request"
    assert chosen_primary([known, unknown], None) == "latency_p50_ms"
    assert chosen_primary([known, known], "cpu_us_per_request_store") == "cpu_us_per_request_store"
    assert chosen_primary([known, unknown], "latency_p99_ms") == "latency_p99_ms"
    with pytest.raises(
        BadService, match=r"cpu_us_per_request of b is not known \(it is a riddle\): name its process with --pid b=PID"
    ):
        chosen_primary([known, unknown], "cpu_us_per_request")
    with pytest.raises(BadService, match="there is no figure 'speed' here; there is cpu_us_per_request, rss_mb, latency_p50_ms"):
        chosen_primary([known, service("b", service=3)], "speed")


def test_the_report_says_what_is_not_known_of_services_that_are_not_ours() -> None:
    said = "\n".join(
        remarks([service("a", service=1, store=2), service("b", service=3, store=2), service("c", THERE)], "latency_p50_ms")
    )

    assert "neither restarted nor pinned" in said
    assert "c: its CPU is not counted: it is a riddle" in said
    assert "c: the machine described here is the generator's" in said
    assert "the primary figure is a latency" in said
    assert "targets share a process" in said
    assert "not counted for the same parts" not in said
    assert "not counted for the same parts on each side (a: service and store; b: service)" in "\n".join(
        remarks([service("a", service=1, store=2), service("b", service=3)], "cpu_us_per_request")
    )


def experiment(rate_per_s: float = 100) -> tuple[Experiment, WorkloadFile]:
    file = WorkloadFile.model_validate(
        {"name": "n", "who": "w", "rate_per_s": 1, "request": [{"path": "/", "body": "x" * 1_000_000, "method": "POST"}]}
    )
    held = Experiment("services", "url", ["a", "b c"], mix_of(file), rate_per_s, 1.5, 6, 7, 0.05, "latency_p50_ms")
    return held, file


def test_requests_that_do_not_fit_into_memory_are_refused_before_the_run() -> None:
    fits, file = experiment(rate_per_s=300)
    refuse_large_rounds(file, fits)
    with pytest.raises(BadService, match="the bodies of a round would be up to 600 MB"):
        refuse_large_rounds(file, experiment(rate_per_s=400)[0])


def test_the_command_of_the_record_repeats_the_run() -> None:
    held, _ = experiment()
    sides = [service(HERE), service("b c", THERE)]

    assert command_line(held, sides, Path("load.toml"), allow_remote=True) == (
        f"designs compare --url {HERE} --url 'b c={THERE}' --workload load.toml --rate 100 --blocks 6 --round-s 1.5 --seed 7 "
        "--margin 0.05 --primary latency_p50_ms --allow-remote"
    )


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    # What is tested is the way from the command to the record, not how busy the machine is meanwhile.
    monkeypatch.setattr(Rules, "calibrated", lambda self, warm_up: Rules(1e9, 1e9, 1e9, 1e9, 1e9, 1e9))
    monkeypatch.setattr("loadtests.comparison.rounds.OVERLOADED_AT_LEAST", 10**6)
    monkeypatch.setattr(comparison, "Experiment", partial(Experiment, warm_up_s=0.05, lead_in_s=0.0, settle_s=0.01))
    monkeypatch.setattr(comparison, "BLOCKS", 6)
    file = tmp_path / "load.toml"
    file.write_text(WORKLOAD, encoding="utf-8")
    return file


@pytest.fixture
def shops() -> Iterator[list[tuple[str, int]]]:
    """Two services of which the second works more: (URL, process)."""
    started = [
        subprocess.Popen([sys.executable, "-S", "-c", SERVER, SECRET, work], stdout=subprocess.PIPE, text=True)
        for work in ("0", "50000")
    ]
    try:
        yield [(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid) for process in started if process.stdout]
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")
def test_two_services_are_compared_by_their_cpu_and_no_secret_is_written_down(
    shops: list[tuple[str, int]], workload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old, _), (new, _) = shops
    result = compare_services([f"old={old}", f"new={new}"], workload, round_s=0.1, out_dir=tmp_path / "out")

    (primary,) = [comparison for comparison in result.comparisons[0] if comparison.primary]
    assert (primary.figure, primary.verdict) == ("cpu_us_per_request", "more")
    assert result.headline.startswith("new uses")
    assert result.safety_verdict() == "valid"
    assert [variant.knobs for variant in result.variants] == [{"url": old}, {"url": new}]
    assert {status for variant in result.variants for status in variant.statuses} == {"200"}
    assert result.manifest.versions["workload file"].startswith("load.toml, SHA-256 ")
    assert any("neither restarted nor pinned" in note for note in result.manifest.notes)
    assert any("state was not reset" in note for note in result.manifest.notes)
    assert not [note for note in result.manifest.notes if "CPU is not counted" in note]
    written = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    assert len(written) >= 4
    assert not [text for text in written if SECRET.encode() in text]
    assert SECRET not in "".join(capsys.readouterr())
    assert Result.model_validate_json((tmp_path / "out" / "result.json").read_text()) == result


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")
def test_one_service_against_itself_is_counted_in_turns(shops: list[tuple[str, int]], workload: Path, tmp_path: Path) -> None:
    url = shops[1][0]
    result = compare_services([url, url], workload, blocks=1, round_s=0.1, out_dir=tmp_path)

    first, second = (variant.figures["cpu_us_per_request"] for variant in result.variants)
    assert min(first, second) > 0
    assert any("targets share a process" in note for note in result.manifest.notes)


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")
def test_without_their_processes_services_are_compared_by_the_median_latency(
    shops: list[tuple[str, int]], workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = PortOwner(unknown_because="a container holds the port")
    monkeypatch.setattr("workbench.service_targets.owner_of_port", lambda host, port: hidden)
    result = compare_services([url for url, _ in shops], workload, blocks=2, round_s=0.3, out_dir=tmp_path)

    assert result.manifest.primary_figure == "latency_p50_ms"
    assert [comparison.figure for comparison in result.comparisons[0] if comparison.primary] == ["latency_p50_ms"]
    assert not [figure for figure in result.variants[0].figures if figure.startswith(("cpu_", "rss_"))]
    assert any("its CPU is not counted: a container holds the port" in note for note in result.manifest.notes)


def test_services_that_answer_otherwise_than_expected_are_found_out(
    shops: list[tuple[str, int]], workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload.write_text(WORKLOAD[: WORKLOAD.index("[[setup]]")] + WORKLOAD[WORKLOAD.index("[[request]]") :])
    monkeypatch.setenv("SHOP_TOKEN", "another")
    words = [
        "compare",
        "--url",
        shops[0][0],
        "--url",
        shops[1][0],
        "--workload",
        str(workload),
        "--blocks",
        "1",
        "--round-s",
        "0.1",
    ]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])

    assert done.exit_code == ExitCode.INVALID
    record = Result.model_validate_json((tmp_path / "result.json").read_text())
    assert record.safety_verdict() == "invalid"
    assert record.headline.startswith("wrong: ")
    assert "broke “read answers 200”" in record.headline


def test_a_target_nobody_listens_at_is_said_so_before_any_load(workload: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        url = f"http://127.0.0.1:{once.getsockname()[1]}"
    with pytest.raises(Unreachable, match=f"{url} does not accept connections .*; start it first"):
        compare_services([url, url], workload)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name a design and one of its knobs, or two services: --url A --url B --workload FILE"),
        (["toy_design"], "name a design and one of its knobs, or two services: --url A --url B --workload FILE"),
        (["--url", HERE], "services are compared by --url A --url B --workload FILE, the baseline first"),
        (["--workload", "x.toml"], "services are compared by --url A --url B --workload FILE, the baseline first"),
        (["toy_design", "mood", "--url", HERE], "DESIGN belongs to a design, and --url to services that already run; take one"),
        (
            ["--url", HERE, "--workload", "x", "--no-restart"],
            "--no-restart belongs to a design, and --url to services that already run; take one",
        ),
        (
            ["toy_design", "mood", "--allow-remote"],
            "DESIGN belongs to a design, and --allow-remote to services that already run; take one",
        ),
        (
            ["--url", THERE, "--url", HERE, "--workload", "x"],
            f"{THERE} is not this machine; with its owner's consent, say --allow-remote",
        ),
        (["--url", HERE, "--url", HERE, "--workload", "none.toml"], "none.toml can't be read: no such file or directory"),
    ],
)
def test_designs_and_services_are_not_mixed_up(words: list[str], sentence: str) -> None:
    shown = CliRunner().invoke(app, ["compare", *words])
    assert (shown.exit_code, shown.stdout, shown.stderr) == (ExitCode.USAGE, "", f"designs: {sentence}\n")
