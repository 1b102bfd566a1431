"""Whose processes answer on a port: found where it can be known, and a reason in words where it can't."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys

import pytest

from workbench.port_owner import Listener, PortOwner, judged, listeners, listening_at, owner_of_port

linux = pytest.mark.skipif(sys.platform != "linux", reason="the tables are Linux's")

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0000000000000000 20 4 30 10 -1
"""
TABLE_6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when ...
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 1000 0 4714 1
   1: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 0:0 0:0 0 1000 0 4715 1
   2: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A 0:0 0:0 0 1000 0 4716 1
"""
# A child shares the port of its parent, and both stay until they are killed.
PRE_FORKING = (
    "import os, socket, time; s = socket.create_server(('127.0.0.1', 0)); child = os.fork(); "
    "child and print(s.getsockname()[1], flush=True); time.sleep(60)"
)


@linux
def test_who_listens_is_read_from_the_kernels_tables() -> None:
    assert list(listeners(TABLE)) == [
        Listener(ipaddress.ip_address("127.0.0.1"), 8080, "4711"),
        Listener(ipaddress.ip_address("0.0.0.0"), 80, "4712"),
    ]
    assert [(str(each.address), each.port) for each in listeners(TABLE_6)] == [("::1", 8080), ("127.0.0.1", 8081), ("::", 8082)]


def at(*addresses: str, host: str = "127.0.0.1") -> set[str]:
    return listening_at([Listener(ipaddress.ip_address(address), 80, address) for address in addresses], host, 80)


def test_who_listens_on_the_very_address_comes_before_who_listens_on_all() -> None:
    assert at("0.0.0.0", "127.0.0.1") == {"127.0.0.1"}
    assert at("0.0.0.0", "::", "127.0.0.2") == {"0.0.0.0", "::"}
    assert at("::1", "127.0.0.1", host="::1") == {"::1"}
    assert at("10.0.0.1") == set()
    assert listening_at([Listener(ipaddress.ip_address("127.0.0.1"), 81, "1")], "127.0.0.1", 80) == set()


@pytest.mark.parametrize(
    ("heard", "hidden", "names", "because"),
    [
        ("", False, {}, "no process here listens on port 80, as with a container's port"),
        ("1", True, {7: "nginx"}, "the process on port 80 belongs to another user"),
        ("1", False, {7: "docker-proxy"}, "docker-proxy holds port 80 and only hands on"),
        ("1", False, {os.getpid(): "python"}, "this very process listens on port 80"),
    ],
)
def test_an_owner_that_can_not_be_counted_has_a_reason(heard: str, hidden: bool, names: dict[int, str], because: str) -> None:
    assert judged(80, heard, hidden=hidden, names=names) == PortOwner(unknown_because=because)


@linux
def test_a_server_and_the_workers_that_share_its_port_are_one_owner() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", PRE_FORKING], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        assert owner_of_port("127.0.0.1", int(process.stdout.readline())) == PortOwner((process.pid,))
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


@linux
def test_a_port_nobody_listens_on_has_no_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
        assert owner_of_port("127.0.0.1", port).unknown_because == f"this very process listens on port {port}"
    assert owner_of_port("127.0.0.1", port).unknown_because.startswith("no process here listens")
