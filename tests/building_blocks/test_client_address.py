"""The address a request counts for: nobody but a trusted proxy can choose it, and one client has one form of it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.client_address import (
    MAX_HOPS,
    Address,
    ForwardedHeader,
    TrustedProxies,
    client_address,
    forwarded_for,
    network_of,
    parse_node,
    parse_proxies,
)

TRUSTED = parse_proxies("10.0.0.0/8, fd00::/8")
FORWARDED = parse_proxies("10.0.0.0/8, fd00::/8", "forwarded")
PROXY, STRANGER, CLIENT = "10.0.0.1", "198.51.100.7", "203.0.113.9"

anybody = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(lambda address: parse_node(str(address)))
outsiders = anybody.filter(lambda address: address is not None and address not in TRUSTED)
insiders = st.one_of(st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fd00::/8"))
lies = st.lists(st.one_of(st.text(max_size=20), anybody.map(str)), max_size=6).map(
    lambda parts: ",".join(parts).encode("latin-1", "replace")
)


def xff(*values: str | bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value if isinstance(value, bytes) else value.encode()) for value in values]


def fwd(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"forwarded", value.encode()) for value in values]


@given(peer=outsiders, claim=lies)
def test_a_peer_that_is_no_trusted_proxy_is_the_client_whatever_it_claims(peer: Address, claim: bytes) -> None:
    assert client_address(str(peer), xff(claim), TRUSTED) == peer
    assert client_address(str(peer), [(b"forwarded", claim)], FORWARDED) == peer
    assert client_address(str(peer), xff(claim)) == peer


@given(claim=lies, client=outsiders, hops=st.lists(insiders, max_size=4), peer=insiders)
def test_behind_trusted_proxies_it_is_the_rightmost_that_is_none_whatever_stands_before_it(
    claim: bytes, client: Address, hops: list[Address], peer: Address
) -> None:
    appended = ", ".join(map(str, [client, *hops])).encode()
    assert client_address(str(peer), xff(claim + b", " + appended), TRUSTED) == client
    assert client_address(str(peer), xff(claim, appended), TRUSTED) == client, "two fields are one list"


@given(claim=st.text(max_size=30), client=outsiders, peer=insiders)
def test_no_beginning_of_a_forwarded_field_makes_somebody_else_of_the_client(claim: str, client: Address, peer: Address) -> None:
    node = str(client) if client.version == 4 else f'"[{client}]:4711"'
    text = f"{claim}, for={node};proto=http"
    found = client_address(str(peer), [(b"forwarded", text.encode("latin-1", "replace"))], FORWARDED)
    assert found in (client, peer), "at most the proxy has to answer for what can't be read"


@pytest.mark.parametrize("opened", ['for="', 'for=1.1.1.1;x="', 'for="\\', 'for=1.1.1.1;x="a\\"', "for=1.1.1.1;;x=", "for"])
def test_a_quote_that_a_client_leaves_open_does_not_swallow_what_the_proxy_says(opened: str) -> None:
    for appended in (f"for={CLIENT}", 'for="[2001:db8::1]:4711"', f'for={CLIENT};by="_front"'):
        found = client_address(PROXY, fwd(f"{opened}, {appended}"), FORWARDED)
        assert found in (ip_address(PROXY), ip_address(CLIENT), ip_address("2001:db8::1"))


def test_only_the_header_that_the_proxy_writes_is_believed() -> None:
    both = [*fwd(f"for={STRANGER}"), *xff(CLIENT)]
    assert client_address(PROXY, both, TRUSTED) == ip_address(CLIENT)
    assert client_address(PROXY, both, FORWARDED) == ip_address(STRANGER)


@pytest.mark.parametrize(
    "hidden", ["unknown", "_hidden", "", "256.1.1.1", "010.0.0.9", "203.0.113.9:x", "[::1", "1.2.3.4]", "a" * 500]
)
def test_the_proxy_that_hides_a_client_answers_for_it_and_not_whoever_stands_to_the_left(hidden: str) -> None:
    assert client_address(PROXY, xff(f"{CLIENT}, {hidden}, 10.0.0.2"), TRUSTED) == ip_address("10.0.0.2")
    assert client_address(PROXY, xff(f"{CLIENT}, {hidden}"), TRUSTED) == ip_address(PROXY)


def test_without_a_header_the_proxy_itself_is_the_client_and_so_is_the_first_of_many() -> None:
    assert client_address(PROXY, [], TRUSTED) == ip_address(PROXY)
    assert client_address(PROXY, xff("10.9.9.9, 10.0.0.2"), TRUSTED) == ip_address("10.9.9.9")


def test_nobody_looks_past_more_proxies_than_there_may_be() -> None:
    hops = [f"10.0.1.{n}" for n in range(MAX_HOPS, 0, -1)]
    assert client_address(PROXY, xff(", ".join([CLIENT, *hops])), TRUSTED) == ip_address(hops[0])
    assert client_address(PROXY, xff(", ".join([CLIENT, *hops[1:]])), TRUSTED) == ip_address(CLIENT)


@pytest.mark.parametrize("peer", [None, ""])
def test_a_unix_socket_has_no_address_and_speaks_for_others_only_when_it_is_trusted(peer: str | None) -> None:
    assert client_address(peer, xff(CLIENT), TRUSTED) is None
    trusted = parse_proxies("10.0.0.0/8, unix")
    assert client_address(peer, xff(f"{STRANGER}, {CLIENT}, 10.0.0.3"), trusted) == ip_address(CLIENT)
    assert client_address(peer, [], trusted) is None
    assert client_address("testclient", xff(CLIENT), trusted) is None, "a name is no Unix socket"


@given(anybody)
def test_ports_brackets_zones_and_case_make_no_other_client(address: Address) -> None:
    text = str(address)
    forms = [f" {text} ", f"{text}:65535"] if address.version == 4 else [text.upper(), f"[{text}]", f"[{text}]:1", f"{text}%eth0"]
    assert {parse_node(form) for form in forms} == {address}


@given(st.ip_addresses(v=4))
def test_ipv4_in_ipv6_is_that_ipv4_client(address: IPv4Address) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        assert parse_node(f"{prefix}{address}") == address
    assert IPv6Address(f"::ffff:{address}") not in parse_proxies("fd00::/8")
    assert client_address("::ffff:10.0.0.1", xff(str(address)), TRUSTED) is not None


@given(st.text(max_size=40))
def test_anything_is_an_address_or_none_and_never_an_error(text: str) -> None:
    node = parse_node(text)
    assert node is None or parse_node(str(node)) == node
    forwarded_for(text)


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_of_a_64_are_one_client(address: IPv6Address, host: int) -> None:
    neighbour = IPv6Address((int(address) >> 64 << 64) | host)
    other = IPv6Address(int(address) ^ (1 << 64))
    assert network_of(neighbour) == network_of(address) != network_of(other)
    assert network_of(other, v6_bits=48) == network_of(address, v6_bits=48)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ('For="[2001:db8:cafe::17]:4711"', ["[2001:db8:cafe::17]:4711"]),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", ["192.0.2.60"]),
        ("for=192.0.2.43, for=198.51.100.17", ["192.0.2.43", "198.51.100.17"]),
        ('by=_b;for="a\\"b,c"', ['a"b,c']),
        ("proto=https, , for=_x", ["", "_x"]),
        ("", []),
        ("for=[::1]", None),
        ("for=a;for=b", None),
        ('for="a', None),
        ('for="a"b', None),
        ("for =a", None),
    ],
)
def test_a_forwarded_field_is_read_by_its_grammar_or_not_at_all(text: str, nodes: list[str] | None) -> None:
    assert forwarded_for(text) == nodes


@pytest.mark.parametrize("wrong", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy.example", "::ffff:10.0.0.0/104"])
def test_who_can_not_be_meant_is_not_trusted(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"write|name"):
        parse_proxies(wrong)


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_the_words_of_the_setting(header: ForwardedHeader) -> None:
    assert parse_proxies(" 10.0.0.7 ,unix,", header) == TrustedProxies(parse_proxies("10.0.0.7/32").networks, True, header)
