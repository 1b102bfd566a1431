"""The bytes of a filled template are one request, and a parser reads out of them what was put in."""

from __future__ import annotations

import json
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.declared.request_syntax import header_templates, path_template, sendable_body
from loadtests.declared.request_template import BLANKS, pieces, request_template, secret_names

VALUES = (b"17", b"4", b"7", b"1")
FILLED = dict(zip(BLANKS, (value.decode() for value in VALUES), strict=True))


class Parsed:
    """What httptools, an HTTP/1.1 parser that is not ours, makes of the bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.requests = b"", b"", 0
        self.headers: list[tuple[str, str]] = []
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.method = parser.get_method().decode()
        self.keep_alive = parser.should_keep_alive()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode(), value.decode()))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.requests += 1


def substituted(text: str) -> str:
    for blank, value in FILLED.items():
        text = text.replace(f"{{{blank}}}", value)
    return text


def made(
    method: str = "GET", path: str = "/", headers: dict[str, str] | None = None, body: str | None = None, **options: Any
) -> bytes:
    options = {"host": "127.0.0.1:8000", "secrets": {}, **options}
    return request_template(method, path, headers=(headers or {}).items(), body=body, **options).request(VALUES)


blank = st.sampled_from([f"{{{name}}}" for name in BLANKS])
path_text = st.lists(st.one_of(blank, st.text("/abcXYZ019-._~%?=&", max_size=6)), max_size=6).map(
    lambda parts: "/" + "".join(parts)
)
field_text = st.lists(st.one_of(blank, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)), max_size=4).map(
    "".join
)
own_headers = st.dictionaries(
    st.from_regex(r"\AX-[A-Za-z0-9-]{1,10}\Z"), field_text.filter(lambda text: "{env" not in text), max_size=4
)
body_text = st.none() | st.lists(st.one_of(blank, st.text(max_size=20))).map("".join)


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    path=path_text,
    headers=own_headers,
    body=body_text,
)
def test_whatever_passes_the_checks_is_read_back_as_it_was_meant(
    method: str, path: str, headers: dict[str, str], body: str | None
) -> None:
    request = made(method, path_template(path), header_templates(headers), sendable_body(body))
    read = Parsed(request)

    assert (read.method, read.url.decode(), read.requests, read.keep_alive) == (method, substituted(path), 1, True)
    assert read.body.decode() == substituted(body or "")
    seen = {name.lower(): value for name, value in read.headers}
    assert len(seen) == len(read.headers), "no field comes twice"
    assert seen["host"] == "127.0.0.1:8000"
    for name, value in {name.lower(): value for name, value in headers.items()}.items():
        assert seen[name] == substituted(value)
    sends_length = body is not None or method in ("POST", "PUT", "PATCH")
    assert seen.get("content-length") == (str(len(read.body)) if sends_length else None)


def test_a_header_of_the_request_takes_the_place_of_a_usual_one() -> None:
    read = Parsed(made(headers={"host": "shop.example", "ACCEPT": "text/html"}))

    assert ("host", "shop.example") in read.headers
    assert [value for name, value in read.headers if name.lower() == "accept"] == ["text/html"]


def test_filled_json_is_json() -> None:
    body = json.dumps({"item": "{key}", "tag": "{other}", "n": ["{serial}"]})
    read = Parsed(made("POST", body=body))

    assert json.loads(read.body) == {"item": "17", "tag": "{other}", "n": ["4"]}


def test_a_secret_is_put_in_as_it_is_even_where_it_looks_like_a_blank() -> None:
    read = Parsed(made(headers={"Authorization": "Bearer {env:TOKEN}-{key}"}, secrets={"TOKEN": "a{key}b"}))

    assert ("Authorization", "Bearer a{key}b-17") in read.headers
    assert secret_names("Bearer {env:TOKEN}-{key}") == ["TOKEN"]


def test_a_secret_that_is_not_there_is_never_sent_as_its_name() -> None:
    with pytest.raises(KeyError):
        made(headers={"Authorization": "{env:TOKEN}"})


def test_text_between_blanks_is_one_piece() -> None:
    assert pieces("/a/{key}/b{other}c") == (b"/a/", 0, b"/b{other}c")
