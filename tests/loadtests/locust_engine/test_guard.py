from types import SimpleNamespace

import pytest

from loadtests.locust_engine.guard import allowed, fail_a_void_run, refusal, replicas


def environment(
    *, requests: int = 1, cpu: bool = False, worker_cpu: bool = False, headless: bool = True, worker: bool = False
) -> SimpleNamespace:
    """As much of Locust's environment as is looked at."""
    stats = SimpleNamespace(total=SimpleNamespace(num_requests=requests))
    return SimpleNamespace(
        runner=SimpleNamespace(cpu_warning_emitted=cpu, worker_cpu_warning_emitted=worker_cpu, stats=stats),
        parsed_options=SimpleNamespace(headless=headless, worker=worker),
        process_exit_code=None,
    )


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DESIGNS_API_KEY", "DESIGNS_URLS", "DESIGNS_ALLOW_REMOTE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://[::1]:80", "http://localhost:8000"])
def test_this_machine_may_be_loaded(url: str) -> None:
    assert allowed(url)


@pytest.mark.parametrize("url", ["http://192.0.2.1", "http://127.0.0.1.example.com", "http://localhost@example.com", "x", ""])
def test_another_machine_only_with_its_owners_consent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not allowed(url)
    monkeypatch.setenv("DESIGNS_ALLOW_REMOTE", "1")
    assert allowed(url)


def test_one_replica_elsewhere_refuses_the_whole_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESIGNS_API_KEY", "key")
    assert refusal(("http://127.0.0.1:1",)) == ""
    assert "http://192.0.2.1 is not this machine" in refusal(("http://127.0.0.1:1", "http://192.0.2.1"))
    assert "--host" in refusal(())


def test_a_load_without_a_key_is_refused() -> None:
    assert "DESIGNS_API_KEY" in refusal(("http://127.0.0.1:1",))


def test_the_replicas_of_the_environment_come_before_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert replicas("http://a/") == ("http://a",)
    assert replicas(None) == ()
    monkeypatch.setenv("DESIGNS_URLS", " http://b:1/, http://c:2 ,")
    assert replicas("http://a") == ("http://b:1", "http://c:2")


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        ({"cpu": True}, "short of CPU"),
        ({"worker_cpu": True}, "short of CPU"),
        ({"requests": 0}, "not one request"),
    ],
)
def test_a_run_whose_figures_are_not_the_services_fails(
    seen: dict[str, bool], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = environment(**seen)
    fail_a_void_run(run)

    assert run.process_exit_code == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("seen", [{}, {"requests": 0, "headless": False}, {"requests": 0, "worker": True}])
def test_other_runs_keep_locusts_own_exit_code(seen: dict[str, bool]) -> None:
    """Somebody may open the page and start nothing; a worker is judged by its master."""
    run = environment(**seen)
    fail_a_void_run(run)

    assert run.process_exit_code is None
