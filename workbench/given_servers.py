"""Kafka and Cassandra for a run: servers that somebody else started, found by their settings, of which each run has a part.

A run never starts them, and what it does to them on purpose goes through `workbench.servers`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from designs.building_blocks.settings import parse_addresses
from workbench.port_owner import PortOwner, owner_of_port
from workbench.server_probes import answers, version

ANSWERS_WITHIN_S = 3.0
LOOPBACK = "127.0.0.1"


class NoServer(RuntimeError):
    """A server that the knobs need is not said to be anywhere, or does not answer there. The message says how to get one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is to know of a server before one is found. `role`: under which its CPU is counted."""

    title: str
    setting: str
    role: str


KINDS: Mapping[str, Kind] = {
    "kafka": Kind("Kafka", "KAFKA_BOOTSTRAP", "broker"),
    "cassandra": Kind("Cassandra", "CASSANDRA_HOSTS", "store"),
}


@dataclass(frozen=True, slots=True)
class GivenServer:
    """One that answered. `written` is its setting as it was found."""

    name: str
    written: str
    addresses: tuple[tuple[str, int], ...]

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def is_here(self) -> bool:
        """Whether all of it is on this machine. Other names than localhost are not looked up: an answer could change."""
        return all(_is_loopback(host) for host, _ in self.addresses)

    def answers(self) -> bool:
        """Does one of its addresses answer in its own protocol now?"""
        return any(answers(self.name, host, port, ANSWERS_WITHIN_S) for host, port in self.addresses)

    def version(self) -> str:
        """What it says it is; "" where it does not."""
        host, port = self.addresses[0]
        return version(self.name, host, port, ANSWERS_WITHIN_S)

    def owner(self) -> PortOwner:
        """The process that listens at its first address, or why that is not known."""
        if not self.is_here:
            return PortOwner(unknown_because="it is not on this machine")
        host, port = self.addresses[0]
        return owner_of_port(LOOPBACK if host == "localhost" else host, port)


def given_servers(needs: Collection[str], environ: Mapping[str, str]) -> dict[str, GivenServer]:
    """Those of Kafka and Cassandra that are needed, each of which has answered. Raises `NoServer`."""
    wanted = [name for name in KINDS if name in needs]
    missing = [name for name in wanted if not environ.get(KINDS[name].setting)]
    if missing:
        raise NoServer(how_to_get(missing))
    return {name: _found(name, environ[KINDS[name].setting]) for name in wanted}


def how_to_get(missing: Collection[str]) -> str:
    """A sentence for people who have not got these."""
    titles = " and ".join(KINDS[name].title for name in missing)
    settings = " and ".join(KINDS[name].setting for name in missing)
    does, it = ("does", "it") if len(missing) == 1 else ("do", "them")
    return (
        f"These knobs need {titles}, and {settings} {does} not say where: `make up` starts {it} with Docker and prints what to "
        f"set, or set {settings} to the host:port of your own."
    )


def _found(name: str, written: str) -> GivenServer:
    kind = KINDS[name]
    try:
        server = GivenServer(name, written, tuple(parse_addresses(written)))
    except ValueError as error:
        raise NoServer(f"{kind.setting}={written}: {error}") from None
    if not server.answers():
        raise NoServer(
            f"{kind.title} does not answer at {written} within {ANSWERS_WITHIN_S:g} s ({kind.setting}); start it (`make up` with "
            "Docker), or set where one runs."
        )
    return server


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
