"""Kafka and Cassandra by their settings: what is missing or does not answer is one sentence, and nothing is started."""

from __future__ import annotations

import pytest

from tests.workbench.fake_servers import answering
from workbench.given_servers import GivenServer, NoServer, given_servers
from workbench.server_probes import answers


def test_only_what_is_needed_is_looked_for() -> None:
    assert given_servers({"redis", "traces"}, {"KAFKA_BOOTSTRAP": "127.0.0.1:1"}) == {}


@pytest.mark.parametrize(
    ("needs", "settings"),
    [
        ({"kafka"}, "Kafka, and KAFKA_BOOTSTRAP does"),
        ({"cassandra"}, "Cassandra, and CASSANDRA_HOSTS does"),
        ({"cassandra", "kafka"}, "Kafka and Cassandra, and KAFKA_BOOTSTRAP and CASSANDRA_HOSTS do"),
    ],
)
def test_a_setting_that_is_missing_is_a_sentence_that_says_how_to_get_the_server(needs: set[str], settings: str) -> None:
    with pytest.raises(NoServer, match=f"These knobs need {settings} not say where: `make up` starts .* with Docker"):
        given_servers(needs, {"KAFKA_BOOTSTRAP": ""})


def test_a_server_is_known_by_its_answer_and_not_by_its_open_port() -> None:
    for name, setting in (("kafka", "KAFKA_BOOTSTRAP"), ("cassandra", "CASSANDRA_HOSTS")):
        with answering(name) as right, answering("other") as other, answering("silent") as silent:
            assert given_servers({name}, {setting: right})[name].written == right
            for wrong in (other, silent):
                with pytest.raises(NoServer, match=f"does not answer at {wrong} within 3 s .{setting}.; start it"):
                    given_servers({name}, {setting: wrong})
        with pytest.raises(NoServer, match="does not answer"):
            given_servers({name}, {setting: right})  # nobody is there any more


def test_an_address_that_is_none_is_a_sentence_too() -> None:
    with pytest.raises(NoServer, match="CASSANDRA_HOSTS=here: write it as host:port"):
        given_servers({"cassandra"}, {"CASSANDRA_HOSTS": "here"})


def test_the_process_is_known_by_its_port_and_one_on_another_machine_is_not() -> None:
    with answering("kafka") as address:
        host, _, port = address.rpartition(":")
        assert "this very process" in GivenServer("kafka", address, ((host, int(port)),)).owner().unknown_because
    far = GivenServer("kafka", "kafka.example:9092", (("kafka.example", 9092),))
    assert not far.is_here
    assert far.owner().unknown_because == "it is not on this machine"
    assert not GivenServer("kafka", "both", (("127.0.0.1", 1), ("10.0.0.1", 1))).is_here


def test_the_real_servers_answer_and_say_what_they_are(kafka_bootstrap: str, cassandra_hosts: str) -> None:
    found = given_servers({"kafka", "cassandra"}, {"KAFKA_BOOTSTRAP": kafka_bootstrap, "CASSANDRA_HOSTS": cassandra_hosts})
    assert found["kafka"].version().startswith("metadata.version ")
    assert found["cassandra"].version()[0].isdigit()
    (host, port), *_ = found["cassandra"].addresses
    assert not answers("kafka", host, port, 0.5), "a Cassandra is no Kafka"
