"""Whose processes answer on a port of this machine, so that their CPU time can be counted.

Looked up once, before the load. What can't be known is a reason in words, not an error: another user's process, a container's
port, a process that only hands connections on. Read from /proc rather than through psutil, which names one process for each socket,
and of a pre-forking server any.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests import cpu_clock
from loadtests.cpu_clock import PROC

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LISTENING = "0A"
# They hold the port and pass everything on: their CPU is not the service's.
FORWARDERS = frozenset(
    {
        "conmon",
        "docker-proxy",
        "gvproxy",
        "kubectl",
        "pasta",
        "rootlesskit",
        "rootlessport",
        "slirp4netns",
        "ssh",
        "sshd",
        "systemd",
    }
)


@dataclass(frozen=True, slots=True)
class PortOwner:
    """The topmost processes that hold the port, or why they are not known."""

    pids: tuple[int, ...] = ()
    unknown_because: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    address: Address
    port: int
    inode: str


def owner_of_port(host: str, port: int) -> PortOwner:
    """`host` is an address of this machine."""
    try:
        tables = [(PROC / "net" / name).read_text() for name in ("tcp", "tcp6") if (PROC / "net" / name).exists()]
    except OSError:
        tables = []
    if not tables:
        return PortOwner(unknown_because="this system does not say who listens on a port")
    heard = listening_at([each for table in tables for each in listeners(table)], host, port)
    held = holders(heard)
    pids = sorted({pid for found in held.values() for pid in found})
    return judged(port, heard, hidden=any(not held[inode] for inode in heard), names={pid: _name(pid) for pid in pids})


def listeners(table: str) -> Iterator[Listener]:
    """Rows of /proc/net/tcp or tcp6 (`man 5 proc_pid_net`): number, local address, remote one, state, ... , inode (the tenth)."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        address, _, port = fields[1].partition(":")
        if fields[3] == LISTENING:
            yield Listener(_address(address), int(port, 16), fields[9])


def listening_at(found: Iterable[Listener], host: str, port: int) -> set[str]:
    """Inodes of those that listen on this very address, else of those that listen on all addresses."""
    exact, any_address = set(), set()
    for each in found:
        if each.port == port and each.address == ipaddress.ip_address(host):
            exact.add(each.inode)
        elif each.port == port and each.address.is_unspecified:
            any_address.add(each.inode)
    return exact or any_address


def holders(inodes: Collection[str]) -> dict[str, list[int]]:
    """For each socket the processes that have it open, as far as this user may look."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    held: dict[str, list[int]] = {inode: [] for inode in inodes}
    for folder in PROC.glob("[0-9]*/fd") if inodes else ():
        for link in _open_files(folder) & wanted.keys():
            held[wanted[link]].append(int(folder.parent.name))
    return held


def judged(port: int, heard: Collection[str], *, hidden: bool, names: Mapping[int, str]) -> PortOwner:
    """The owner, when all who hold the port (`names` by process) are known and do the work themselves."""
    if not heard:
        return PortOwner(unknown_because=f"no process here listens on port {port}, as with a container's port")
    if hidden:
        return PortOwner(unknown_because=f"the process on port {port} belongs to another user")
    handing_on = next((name for name in names.values() if name in FORWARDERS), "")
    if handing_on:
        return PortOwner(unknown_because=f"{handing_on} holds port {port} and only hands on")
    if os.getpid() in names:
        return PortOwner(unknown_because=f"this very process listens on port {port}")
    return PortOwner(topmost(names))


def topmost(pids: Iterable[int]) -> tuple[int, ...]:
    """Those that descend from none of the others: a pre-forking server's workers are counted with it."""
    pids = tuple(pids)
    below = {child for pid in pids for child in cpu_clock.tree([pid]) if child != pid}
    return tuple(pid for pid in pids if pid not in below)


def _address(digits: str) -> Address:
    """Words of 32 bits in the machine's own byte order; an IPv4 address inside an IPv6 one is that IPv4 address."""
    packed = b"".join(struct.pack("=I", int(digits[at : at + 8], 16)) for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(packed)
    return getattr(address, "ipv4_mapped", None) or address


def _open_files(folder: Path) -> set[str]:
    """What the descriptors of a process refer to; nothing for another user's process, or one that has just ended."""
    links: set[str] = set()
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                links.add(str(file.readlink()))
    return links


def _name(pid: int) -> str:
    try:
        return Path(PROC, str(pid), "comm").read_text().strip()
    except OSError:
        return ""
