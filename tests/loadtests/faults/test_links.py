"""Faults of connections: all links a target means are spoilt, and what one fault did is taken back without touching another's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from loadtests.faults.links import LinkFaults, NoLink
from loadtests.faults.schedule import Fault, Stream


class FakeProxy:
    """As a proxy's control port, in memory. `refuse`: the link that says no."""

    def __init__(self, *links: str) -> None:
        self.toxics: dict[str, dict[str, tuple[str, str, float]]] = {link: {} for link in links}
        self.down: set[str] = set()
        self.refuse = ""

    def proxies(self) -> list[str]:
        return list(self.toxics)

    def add_toxic(
        self,
        proxy: str,
        type: str,
        attributes: Mapping[str, float],
        *,
        stream: Stream = "downstream",
        toxicity: float = 1.0,
        name: str | None = None,
    ) -> str:
        if proxy == self.refuse:
            raise RuntimeError("no")
        assert name is not None
        assert name not in self.toxics[proxy]
        self.toxics[proxy][name] = (type, stream, toxicity)
        return name

    def remove_toxic(self, proxy: str, name: str) -> None:
        del self.toxics[proxy][name]

    def set_enabled(self, proxy: str, enabled: bool) -> None:
        (self.down.discard if enabled else self.down.add)(proxy)

    def reset(self) -> None:
        self.down.clear()
        for toxics in self.toxics.values():
            toxics.clear()

    def spoilt(self) -> dict[str, list[tuple[str, str, float]]]:
        return {link: list(toxics.values()) for link, toxics in self.toxics.items() if toxics}


LATE = Fault("latency", "redis", 1, 1, {"latency": 20})
CUT_OFF = Fault("timeout", "redis@replica-1", 1, 1, {"timeout": 0}, stream="both", toxicity=0.5)
DOWN = Fault("down", "redis", 1, 1)


@pytest.fixture
def proxy() -> FakeProxy:
    return FakeProxy("redis@replica-1", "redis@replica-10", "other@replica-1")


def test_a_server_means_all_its_links_and_a_link_means_itself(proxy: FakeProxy) -> None:
    faults = LinkFaults(proxy)
    faults.begin(LATE)
    assert set(proxy.spoilt()) == {"redis@replica-1", "redis@replica-10"}
    faults.end(LATE)
    faults.begin(CUT_OFF)

    assert proxy.spoilt() == {"redis@replica-1": [("timeout", "upstream", 0.5), ("timeout", "downstream", 0.5)]}


def test_a_fault_takes_back_what_it_did_and_leaves_another_one(proxy: FakeProxy) -> None:
    faults = LinkFaults(proxy)
    again = Fault("latency", "redis@replica-1", 1.2, 1, {"latency": 5})
    for fault in (LATE, again, DOWN):
        faults.begin(fault)
    assert proxy.down == {"redis@replica-1", "redis@replica-10"}
    faults.end(DOWN)
    faults.end(LATE)

    assert proxy.spoilt() == {"redis@replica-1": [("latency", "downstream", 1.0)]}
    assert not proxy.down


def test_ending_again_and_ending_what_was_reset_does_nothing(proxy: FakeProxy) -> None:
    faults = LinkFaults(proxy)
    faults.begin(LATE)
    faults.end(LATE)
    faults.end(LATE)
    faults.begin(LATE)
    faults.reset()
    faults.end(LATE)

    assert proxy.spoilt() == {}


def test_what_was_done_to_the_first_links_is_taken_back_when_a_later_one_refuses(proxy: FakeProxy) -> None:
    faults = LinkFaults(proxy)
    proxy.refuse = "redis@replica-10"
    with pytest.raises(RuntimeError):
        faults.begin(LATE)
    assert set(proxy.spoilt()) == {"redis@replica-1"}
    faults.end(LATE)

    assert proxy.spoilt() == {}


def test_a_link_there_is_not_is_a_failure_and_no_fault(proxy: FakeProxy) -> None:
    with pytest.raises(NoLink, match="the proxy has no link 'redis@replica-7'"):
        LinkFaults(proxy).begin(Fault("down", "redis@replica-7", 1, 1))
