"""What a comparison says of servers that its variants share, and what it counts as theirs."""

from __future__ import annotations

import pytest

from workbench import comparison
from workbench.comparison import server_versions, shared_servers
from workbench.given_servers import GivenServer
from workbench.port_owner import PortOwner

KAFKA = GivenServer("kafka", "127.0.0.1:1", (("127.0.0.1", 1),))


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (PortOwner((4711,)), "in their turns its CPU is theirs, as role broker"),
        (PortOwner(unknown_because="docker-proxy holds port 1"), "its CPU is in no figure (docker-proxy holds port 1)"),
    ],
)
def test_a_report_says_that_a_server_is_shared_and_whose_its_cpu_is(
    owner: PortOwner, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "process_of", lambda server: owner)
    [remark] = shared_servers({"kafka": KAFKA})
    assert remark.startswith("Kafka is one server for all variants that use it, each with data of its own: ")
    assert said in remark
    assert shared_servers({}) == []


def test_a_server_that_does_not_say_what_it_is_is_left_out_of_the_versions() -> None:
    assert "kafka" not in server_versions({"kafka": KAFKA})
