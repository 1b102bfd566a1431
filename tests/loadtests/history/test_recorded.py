"""A history comes out of its file as it went in; a line that can't be is named; the documented checker runs on a real file."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests import history
from loadtests.history.operation import HistoryItem, Observation, Operation, Struck
from loadtests.history.processes import Processes
from loadtests.history.recorded import BadHistory, Header, in_order, read_history, write_history
from tests.loadtests.url_shortener.histories import header as shortener_header
from tests.loadtests.url_shortener.simulated_service import SimulatedService

HEADER = Header(
    "url_shortener", "everything", 7, {"cache": "aside", "redirect": 302}, "2027-01-15T08:00:00Z", 1.8e9, ("replica-1",)
)

times_s = st.integers(0, 50).map(lambda tenths: tenths / 10) | st.integers(0, 10**13).map(lambda ns: ns / 1e9)
names = st.text(max_size=8)
numbers = st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False)
values = st.dictionaries(names.filter(lambda name: name != "error"), numbers | st.booleans() | names | st.none(), max_size=3)
results = st.one_of(values, values.map(lambda result: {**result, "error": "no answer"}))


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    began_s, ended_s = sorted((draw(times_s), draw(times_s)))
    outcome = draw(st.sampled_from(["ok", "fail", "info"]))
    return Operation(0, draw(names), draw(names), draw(values), draw(names), began_s, ended_s, outcome, draw(results))


observations = st.builds(Observation, names, names, times_s, values)
strikes = st.builds(
    lambda kind, target, times, attributes: Struck(kind, target, *sorted(times), "named", attributes, "what was done"),
    names,
    names,
    st.tuples(times_s, times_s),
    st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
)


def numbered(items: list[HistoryItem]) -> list[HistoryItem]:
    processes = Processes()
    return [processes.numbered(item) if isinstance(item, Operation) else item for item in in_order(items)]


@settings(max_examples=60, deadline=None)
@given(st.lists(operations() | observations | strikes, max_size=30))
def test_what_is_written_is_read_again_in_the_order_in_which_it_began(tmp_path_factory: Any, items: list[HistoryItem]) -> None:
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    whole = numbered(items)
    write_history(path, HEADER, reversed(whole))
    header, read = read_history(path)
    assert header == HEADER
    assert sorted(map(repr, read)) == sorted(map(repr, whole))
    assert [(began(item), type(item)) for item in read] == sorted(
        ((began(item), type(item)) for item in read), key=lambda each: each[0]
    )
    assert [path.name for path in path.parent.iterdir()] == ["history.jsonl"]


def began(item: HistoryItem) -> float:
    return item.invoked_s if isinstance(item, Operation) else item.at_s if isinstance(item, Observation) else item.began_s


@given(st.lists(operations(), max_size=30))
def test_a_process_asks_one_thing_at_a_time_and_never_again_after_info(items: list[Operation]) -> None:
    by_process: dict[int, list[Operation]] = {}
    for each in numbered([*items]):
        assert isinstance(each, Operation)
        by_process.setdefault(each.process, []).append(each)
    for mine in by_process.values():
        assert all(earlier.ended_s <= later.invoked_s for earlier, later in itertools.pairwise(mine))
        assert all(each.outcome != "info" for each in mine[:-1])


def test_an_operation_is_two_lines_in_the_words_of_jepsen(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    asked = Operation(3, "create", "", {"url": "https://a/"}, "replica-1", 0.5, 1.25, "info", {"error": "no answer"})
    struck = Struck("kill", "replica-1", 0.75, 2.0, "replica_kill_loop", {}, "killed")
    write_history(path, HEADER, [struck, asked])
    first, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["format"], first["version"], first["nodes"]) == ("system-designs/history", 1, ["replica-1"])
    about = {"f": "create", "key": "", "node": "replica-1", "process": 3}
    assert lines == [
        {"index": 0, "time": 500_000_000, **about, "type": "invoke", "value": {"url": "https://a/"}},
        {
            "index": 1,
            "time": 750_000_000,
            "f": "kill",
            "key": "",
            "node": "replica-1",
            "process": "nemesis",
            "type": "info",
            "value": {},
            "until": 2_000_000_000,
            "schedule": "replica_kill_loop",
            "detail": "killed",
        },
        {"index": 2, "time": 1_250_000_000, **about, "type": "info", "value": {}, "error": "no answer"},
    ]


def event(process: int | str = 1, kind: str = "invoke", time: object = 5, f: str = "visit", **more: object) -> str:
    return json.dumps(
        {"index": 0, "time": time, "process": process, "type": kind, "f": f, "key": "a", "node": "n", "value": {}, **more}
    )


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "history.jsonl"
    write_history(path, HEADER, [])
    path.write_text(path.read_text() + "".join(line + "\n" for line in lines))
    return path


def test_a_question_without_an_answer_is_info(tmp_path: Path) -> None:
    _, [asked, noticed] = read_history(written(tmp_path, event(), event("observer", "info", 9)))
    assert isinstance(asked, Operation)
    assert isinstance(noticed, Observation)
    assert (asked.outcome, asked.ended_s) == ("info", 9e-9)
    assert asked.result == {"error": "the history ends before the answer"}


@pytest.mark.parametrize(
    ("lines", "line", "sentence"),
    [
        (["{"], 2, "no JSON object"),
        (["[1]"], 2, "no JSON object"),
        ([event(kind="ok")], 2, "has not asked"),
        ([event(), event()], 3, "has asked in line 2"),
        ([event(), event(kind="info", time=6), event(time=7)], 4, "ended as info"),
        ([event(), event(kind="ok", f="edit")], 3, "asked for visit"),
        ([event(), event(kind="ok", time=4)], 3, "order of time"),
        ([event(kind="maybe")], 2, "'maybe'"),
        ([event(process="somebody")], 2, "'somebody'"),
        ([event(process=True)], 2, "True"),
        ([event(time="soon")], 2, "time is a whole number"),
        ([event(value=3), event(kind="ok")], 3, "value is an object"),
        ([event("nemesis", "info", f="kill")], 2, "until is a whole number"),
        ([event("nemesis", "info", f="kill", value={"delay": "long"})], 2, "are numbers"),
    ],
)
def test_a_line_that_cannot_be_is_named_with_what_is_wrong(tmp_path: Path, lines: list[str], line: int, sentence: str) -> None:
    with pytest.raises(BadHistory, match=sentence) as error:
        read_history(written(tmp_path, *lines))
    assert error.value.line == line
    assert str(error.value).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        ("", "empty"),
        ("{}", "the first line of a history says"),
        ('{"format": "system-designs/history", "version": 9}', "version 9"),
        ('{"format": "system-designs/history", "version": 1, "design": "x"}', "lacks clock, knobs, mix"),
    ],
)
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, first: str, sentence: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(first)
    with pytest.raises(BadHistory, match=sentence):
        read_history(path)


def test_a_history_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    unwritable: Any = Observation("losses", "n", 1.0, {"what": object()})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        write_history(tmp_path / "history.jsonl", HEADER, [unwritable])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flaw", "said"), [("", "valid"), ("codes come round again", "invalid")])
def test_the_documented_checker_runs_on_a_real_file(tmp_path: Path, flaw: str, said: str) -> None:
    page = Path(history.__file__).with_name("HISTORY.md").read_text()
    checker = page.split("```python\n")[1].split("```")[0]
    assert checker.count("\n") <= 15
    path = tmp_path / "history.jsonl"
    write_history(path, shortener_header(), numbered(SimulatedService(3, flaw).run().items))
    done = subprocess.run([sys.executable, "-c", checker, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == said
