"""What is a toxic, and what is refused as none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadtests.faults.proxy.toxics import KINDS, MAX_NAME, ToxicRefused, parse_change, parse_toxic
from loadtests.faults.schedule import NETWORK_KINDS


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_the_toxics_are_those_that_schedules_name_and_down_is_a_state_of_the_proxy() -> None:
    assert set(KINDS) | {"down"} == NETWORK_KINDS


def test_a_toxic_is_downstream_on_every_connection_and_named_after_both_unless_it_says_otherwise() -> None:
    assert parse_toxic(body(type="latency", attributes={"latency": 100})).as_json() == {
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1,
        "attributes": {"latency": 100, "jitter": 0},
    }
    named = parse_toxic(body(type="bandwidth", name="narrow", stream="upstream", toxicity=0.25, attributes={"rate": 1.5}))
    assert (named.name, named.stream, named.toxicity) == ("narrow", "upstream", 0.25)
    assert named.as_json()["attributes"] == {"rate": 1.5}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"type": "latency", "stream": "sideways"}, "stream was invalid, can be either upstream or downstream"),
        ({"type": "noise"}, "invalid toxic type"),
        ({"type": "latency", "attributes": {"latencyy": 1}}, "bad request body: attributes.latencyy"),
        ({"type": "latency", "attributes": {"latency": "1"}}, "bad request body: attributes.latency"),
        ({"type": "latency", "attributes": {"latency": -1}}, "bad request body: attributes.latency"),
        ({"type": "latency", "attributes": {"latency": 1e12}}, "bad request body: attributes.latency"),
        ({"type": "latency", "toxicity": 1.5}, "bad request body: toxicity"),
        ({"type": "latency", "name": "a/b"}, "bad request body: a name"),
        ({"type": "latency", "name": "x" * (MAX_NAME + 1)}, "bad request body: a name"),
        ({"type": "slicer"}, "bad request body: attributes.average_size"),
        ({"type": "slicer", "attributes": {"average_size": 5, "size_variation": 5}}, "smaller than average_size"),
    ],
)
def test_what_would_do_nothing_or_mean_nothing_is_refused_with_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ToxicRefused, match=r"^[^\n]+$") as refused:
        parse_toxic(body(**fields))
    assert sentence in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"type": 1}', b"\xff"])
def test_a_body_that_is_no_toxic_at_all_is_refused(text: bytes) -> None:
    with pytest.raises(ToxicRefused):
        parse_toxic(text)


def test_a_change_keeps_what_it_does_not_name() -> None:
    toxic = parse_toxic(body(type="latency", toxicity=0.5, attributes={"latency": 100, "jitter": 5}))
    changed = parse_change(toxic, body(attributes={"latency": 7}))
    assert changed.as_json()["attributes"] == {"latency": 7, "jitter": 5}
    assert changed.toxicity == 0.5
    assert parse_change(toxic, body(toxicity=1)).as_json() == {**toxic.as_json(), "toxicity": 1}
    with pytest.raises(ToxicRefused, match="jitter"):
        parse_change(toxic, body(attributes={"jitter": None}))
