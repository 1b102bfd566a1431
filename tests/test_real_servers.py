"""The choice of servers for a test run, with an environment and an engine that are made up; and the two answers read by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import server_containers
from tests.real_servers import Choice, Container, Embedded, Given, Missing, Running, choose, expected
from tests.server_containers import RECIPES, engine_answers, image_of
from tests.server_report import lines, used_by
from tests.server_versions import (
    ServerFailed,
    finalized_metadata_version,
    kafka_version,
    only_value,
    redis_version,
    version_once_it_answers,
)

CONTAINERS = {"TEST_SERVERS": "containers"}
NO_KAFKA = "no Kafka: set KAFKA_BOOTSTRAP to one that runs, or start Docker, and the tests run one in a container"
SILENT = "TEST_SERVERS=containers, and no Docker engine answers: start one, or set REDIS_URL"


@pytest.mark.parametrize(
    ("name", "environment", "engine", "choice"),
    [
        ("kafka", {"KAFKA_BOOTSTRAP": "10.0.0.1:9092"}, True, Given("10.0.0.1:9092", "KAFKA_BOOTSTRAP")),
        ("kafka", {"KAFKA_BOOTSTRAP": "10.0.0.1:9092"} | CONTAINERS, True, Given("10.0.0.1:9092", "KAFKA_BOOTSTRAP")),
        ("kafka", {"KAFKA_BOOTSTRAP": ""}, True, Container()),
        ("kafka", {"CASSANDRA_HOSTS": "10.0.0.1:9042"}, True, Container()),
        ("kafka", {}, False, Missing(NO_KAFKA, is_failure=False)),
        ("kafka", {"CI": "1"}, False, Missing(NO_KAFKA, is_failure=True)),
        ("cassandra", {"CI": "1"}, True, Container()),
        ("redis", {}, True, Embedded()),
        ("redis", {"CI": "1"}, False, Embedded()),
        ("redis", CONTAINERS, True, Container()),
        ("redis", CONTAINERS, False, Missing(SILENT, is_failure=True)),
        (
            "redis",
            {"REDIS_URL": "redis://:pass@10.0.0.1:6379/3?protocol=3"} | CONTAINERS,
            False,
            Given("redis://:pass@10.0.0.1:6379/15?protocol=3", "REDIS_URL"),
        ),
    ],
)
def test_a_server_that_is_given_comes_first_then_a_container_then_a_sentence(
    name: str, environment: Mapping[str, str], engine: bool, choice: Choice
) -> None:
    assert choose(name, environment, lambda: engine) == choice


def test_no_engine_is_asked_for_where_its_answer_decides_nothing() -> None:
    def must_not_be_asked() -> bool:
        raise AssertionError

    assert isinstance(choose("redis", {}, must_not_be_asked), Embedded)
    assert isinstance(choose("cassandra", {"CASSANDRA_HOSTS": "10.0.0.1:9042"}, must_not_be_asked), Given)


@pytest.mark.parametrize("name", ["redis", "kafka", "cassandra"])
def test_a_misspelt_wish_is_a_failure_and_never_a_skip(name: str) -> None:
    given = {"TEST_SERVERS": "container", "KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    how = "TEST_SERVERS=container means nothing: write TEST_SERVERS=containers, or leave it out"
    assert choose(name, given, lambda: True) == Missing(how, is_failure=True)


def test_a_silent_server_is_told_before_the_first_test() -> None:
    said = expected("kafka", {"KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert said == "kafka: KAFKA_BOOTSTRAP does not answer (ConnectionRefusedError), the tests that need it will fail"
    assert expected("cassandra", {"CASSANDRA_HOSTS": "nowhere"}).startswith(
        "cassandra: CASSANDRA_HOSTS does not answer (ValueError)"
    )


def test_images_come_from_the_variable_file(tmp_path: Path) -> None:
    tags = tmp_path / ".env"
    tags.write_text('# images\nREDIS_IMAGE=redis:8.0   # pinned\n #KAFKA_IMAGE=other:1\nKAFKA_IMAGE="apache/kafka:4.3.1"\nEMPTY=\n')
    assert image_of("redis", tags) == "redis:8.0"
    assert image_of("kafka", tags) == "apache/kafka:4.3.1"
    with pytest.raises(ServerFailed, match=r"^\.env has no line CASSANDRA_IMAGE=name:tag, so no container of cassandra"):
        image_of("cassandra", tags)
    with pytest.raises(ServerFailed, match="has no line REDIS_IMAGE"):
        image_of("redis", tmp_path / "none")


def test_the_variable_file_names_an_image_with_a_tag_for_each_server() -> None:
    for name in RECIPES:
        _, _, tag = image_of(name).rpartition(":")
        assert tag[0].isdigit(), f"{image_of(name)}: pin a version"


def test_a_broker_in_a_container_is_reached_from_outside_and_finds_itself_inside() -> None:
    recipe = RECIPES["kafka"]
    environment = recipe.environment(29_123)
    assert recipe.address(29_123) == "127.0.0.1:29123"
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "CLIENT://127.0.0.1:29123,BROKER://localhost:9094"
    assert environment["KAFKA_INTER_BROKER_LISTENER_NAME"] == "BROKER"
    assert f"CLIENT://:{recipe.port}," in environment["KAFKA_LISTENERS"]


def test_an_engine_that_hangs_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_containers, "ENGINE_ANSWERS_WITHIN_S", 0.0)
    assert not engine_answers.__wrapped__()


def test_an_engine_that_is_not_there_is_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody")
    assert not engine_answers.__wrapped__()


def test_a_server_that_starts_is_waited_for_and_one_that_ended_is_not() -> None:
    answers = iter([ConnectionRefusedError("refused"), ValueError("not yet"), "5.0.9"])

    def version_at(address: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return f"{answer} at {address}"

    assert version_once_it_answers(version_at, "there", within_s=60) == "5.0.9 at there"
    with pytest.raises(ServerFailed, match=r"it does not answer \(refused\)"):
        version_once_it_answers(_refused, "there", within_s=60, is_starting=lambda: False)
    with pytest.raises(ServerFailed, match="it does not answer"):
        version_once_it_answers(_refused, "there", within_s=-1)


def _refused(address: str) -> str:
    raise ConnectionRefusedError("refused")


def test_kafka_tells_the_features_it_has_switched_on() -> None:
    supported, finalized = struct.pack(">hhb", 7, 31, 0), struct.pack(">hhb", 30, 30, 0)
    name = b"\x11metadata.version"
    assert finalized_metadata_version(name + supported + b"..." + name + finalized) == "metadata.version 4.3-IV0"
    assert finalized_metadata_version(name + supported + name + struct.pack(">hhb", 99, 99, 0)) == "metadata.version level 99"
    with pytest.raises(ValueError, match="no finalized"):
        finalized_metadata_version(name + supported)


def test_cassandra_tells_its_release() -> None:
    column = struct.pack(">H", 15) + b"release_version" + struct.pack(">H", 13)
    assert only_value(b"\0\0\0\2..." + column + struct.pack(">ii", 1, 5) + b"5.0.9", "release_version") == "5.0.9"
    with pytest.raises(ValueError, match="no column release_version"):
        only_value(b"\0\0\0\2", "release_version")


def test_who_speaks_another_protocol_is_no_kafka(redis_url: str) -> None:
    with pytest.raises((OSError, ValueError)):
        kafka_version(urlsplit(redis_url).netloc.rpartition("@")[2], patience_s=0.2)
    assert redis_version(redis_url)


def test_the_summary_counts_tests_by_the_servers_they_used() -> None:
    redis, kafka, both = (
        used_by(["redis_url", "redis_server"]),
        used_by([], missing="kafka"),
        used_by(["redis_server", "kafka_bootstrap"]),
    )
    outcomes = [
        ("passed", redis),
        ("passed", both),
        ("failed", both),
        ("error", kafka),
        ("", both),
        ("passed", used_by(["tmp_path"])),
    ]
    servers = {"redis": Running("redis://127.0.0.1:1/0", "8.0.2", "from redis:8.0")}
    assert lines(outcomes, servers) == ["redis 8.0.2 from redis:8.0: 2 passed, 1 failed", "kafka: 1 passed, 2 failed"]
    assert lines([("skipped", kafka)], {}) == ["kafka: 1 skipped"]
    assert lines([("passed", frozenset())], servers) == []
