"""A workload that people write: what is wrong with it is one sentence that says what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.declared.workload_file import BadWorkloadFile, WorkloadFile, read_workload_file

EXAMPLES = sorted((Path(__file__).parents[3] / "loadtests" / "examples").glob("*.toml"))
TOP = 'name = "n"\nwho = "w"\nrate_per_s = 3\n'
GET = '[[request]]\npath = "/x"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "load.toml"


def written(file: Path, text: str) -> WorkloadFile:
    file.write_text(text, encoding="utf-8")
    return read_workload_file(file)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_can_be_read(example: Path) -> None:
    assert read_workload_file(example).request


def test_a_name_a_sentence_a_rate_and_a_path_are_enough(file: Path) -> None:
    read = written(file, TOP + GET)

    assert (read.keys, read.zipf_s, read.setup, read.headers) == (1, 0.0, [], {})
    assert (read.request[0].name, read.request[0].method, read.request[0].weight) == ("GET /x", "GET", 1.0)
    assert read.request[0].expected() is None


def test_expected_statuses_are_numbers_and_classes(file: Path) -> None:
    expected = written(file, TOP + GET + 'expect = [404, "2xx"]').request[0].expected()

    assert expected == frozenset([404, *range(200, 300)])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "name is missing: what a report calls this load"),
        ('name = "n"\nrate_per_s = 3\n' + GET, "who is missing: a sentence that says who sends these requests"),
        (TOP, "request is missing: write at least one [[request]] with its path"),
        (TOP + '[request]\npath = "/x"', "request is a list: write [[request]], in two pairs of brackets"),
        (TOP + "request = [3]", "request 1: should be a table"),
        (TOP + "[[request]]\n", "request 1: path is missing: for example /items/{key}"),
        (
            TOP + "rate = 3\n" + GET,
            "there is no 'rate' here; there is name, who, rate_per_s, keys, zipf_s, headers, setup, request",
        ),
        (
            TOP + GET + 'name = "a"\nweigth = 3',
            "request 1 (a): there is no 'weigth' here; there is method, path, headers, body, expect, name, weight, then",
        ),
        (TOP + GET + "[[setup]]\nweight = 3\n", "setup 1: path is missing: for example /items/{key}"),
        (TOP + GET + "weight = -3", "request 1: weight should be greater than or equal to 0"),
        (TOP + GET + "weight = 0", "at least one request needs a weight above 0"),
        (
            TOP + GET + 'method = "FETCH"',
            "request 1: method should be 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE' or 'OPTIONS'",
        ),
        (TOP + GET + "expect = 200", "request 1: expect should be a list"),
        (TOP + GET + "expect = [99]", 'request 1: expect: 99 is no status: write a number such as 200, or a class such as "2xx"'),
        (TOP + GET + "body = {day = 2026-01-01}", "request 1: body: JSON has no dates; write them as text"),
        (TOP + GET + "body = {price = inf}", "request 1: body: JSON has neither inf nor nan"),
        (TOP + GET + f'body = "{"x" * (1 << 20)}y"', "request 1: body: a body has at most 1,048,576 bytes"),
        (TOP + "keys = true\n" + GET, "keys should be an integer"),
        (TOP + "keys = 2_000_000\n" + GET, "keys should be less than or equal to 1000000"),
        (
            TOP + "keys = 600_000\n" + GET + 2 * '[[setup]]\npath = "/x"\n',
            "600,000 keys times 2 steps of setup are more than 1,000,000 requests",
        ),
        (TOP + "headers = {X = 3}\n" + GET, "headers: X should be a string"),
        (TOP + 'headers = {"X Y" = "3"}\n' + GET, "headers: 'X Y' is no header name"),
        (TOP + 'headers = {X = "one\\r\\nY: two"}\n' + GET, "headers: the value of X must be ASCII on one line"),
        (TOP + 'headers = {X = "{env:}"}\n' + GET, "headers: X names no environment variable: write {env:NAME}"),
        (TOP + 'headers = {content-length = "3"}\n' + GET, "headers: leave out content-length: it is counted"),
        (TOP + '[[request]]\npath = "/{env:TOKEN}"', "request 1: path: only header values read the environment"),
        (TOP + GET + GET, "two requests are called 'GET /x'; give each a name of its own"),
        (TOP + GET + 'then = {request = "b"}', "no request is called 'b', which is to follow another; the requests are GET /x"),
        (TOP + GET + "then = {after_s = 1}", "request 1: then: request is missing"),
        (
            TOP + GET + 'name = "a"\nthen = {request = "a"}',
            "the requests that follow 'a' go on for more than 16 steps, or for ever",
        ),
        (
            TOP + "".join(f'[[request]]\npath = "/{i}"\n' for i in range(257)),
            "request: List should have at most 256 items, not 257",
        ),
    ],
)
def test_a_mistake_is_a_sentence_that_names_its_place(file: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadWorkloadFile) as raised:
        written(file, text)
    assert str(raised.value) == f"{file}: {sentence}"


@pytest.mark.parametrize("path", ["items", "/a b", "/é", "/{kye}", "/x#y", "http://127.0.0.1/x", "/a\\r\\nHost: b", ""])
def test_a_path_that_would_break_the_request_line_is_refused(file: Path, path: str) -> None:
    with pytest.raises(BadWorkloadFile, match="is no path: it begins with /"):
        written(file, TOP + f'[[request]]\npath = "{path}"')


def test_what_is_no_toml_no_text_or_not_there_is_said_so(file: Path) -> None:
    with pytest.raises(BadWorkloadFile, match="can't be read: no such file or directory"):
        read_workload_file(file)
    with pytest.raises(BadWorkloadFile, match="is not TOML: "):
        written(file, "name =")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadWorkloadFile, match="is not UTF-8 text"):
        read_workload_file(file)


def test_secrets_come_from_the_environment_and_must_be_there(file: Path) -> None:
    read = written(file, TOP + 'headers = {Authorization = "Bearer {env:TOKEN}"}\n' + GET)

    assert read.secrets({"TOKEN": "s3cret", "OTHER": "x"}) == {"TOKEN": "s3cret"}
    with pytest.raises(BadWorkloadFile, match="the header Authorization reads the environment variable TOKEN, which is not set"):
        read.secrets({})
    with pytest.raises(BadWorkloadFile, match="TOKEN holds what no header may") as raised:
        read.secrets({"TOKEN": "s3cret\r\nX: y"})
    assert "s3cret" not in str(raised.value)
