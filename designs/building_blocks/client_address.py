"""Which address a request comes from, as far as anybody who can be trusted has said so.

The peer of a connection is a fact. A header that names somebody else is a claim: it counts when a trusted proxy wrote it, and then
only from the right, where proxies append, up to the first address that is no trusted proxy. What stands to the left of that was
written by the client.

    X-Forwarded-For: 198.51.100.7, 203.0.113.9, 10.0.0.2      peer 10.0.0.1, trusted 10.0.0.0/8
                     made up       the client   a proxy

One header is believed, the one that the proxy writes: of two, a client could bring the one that the proxy does not know of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import Literal, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
ForwardedHeader: TypeAlias = Literal["x-forwarded-for", "forwarded"]
RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]

UNIX = "unix"
MAX_HOPS = 32  # proxies that are walked past; beyond that the last of them is as far as anybody looks
V6_CLIENT_BITS = 64
MAX_NODE_CHARS = 64  # the longest address with brackets, zone and port is shorter

_NAT64 = IPv6Network("64:ff9b::/96")
_MAPPED = IPv6Network("::ffff:0:0/96")
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 (RFC 9110, 5.6.2)
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*')


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Whose `header` is believed. `unix`: also that of whoever connects by a Unix socket and so has no address."""

    networks: tuple[Network, ...] = ()
    unix: bool = False
    header: ForwardedHeader = "x-forwarded-for"

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks if network.version == address.version)


NOBODY = TrustedProxies()


def parse_proxies(text: str, header: ForwardedHeader = "x-forwarded-for") -> TrustedProxies:
    """Networks and addresses with commas between them, and the word unix. Raises ValueError.

    >>> parse_proxies("10.0.0.0/8, 2001:db8::1, unix").unix
    True
    """
    words = [word for word in (word.strip() for word in text.split(",")) if word]
    return TrustedProxies(tuple(_network(word) for word in words if word != UNIX), UNIX in words, header)


def client_address(peer: str | None, headers: RawHeaders, proxies: TrustedProxies = NOBODY) -> Address | None:
    """The client, as a normalised address.

    `peer` is the host of the connection, None or "" for a Unix socket. None is the answer when nobody knows: a Unix socket without
    a header that may be believed, or a peer whose name is no address (a test's). Where a trusted proxy hides the client ("unknown",
    "_hidden", or what can't be read), the proxy itself answers for it.
    """
    address = parse_node(peer) if peer else None
    if address is None:
        if peer or not proxies.unix:
            return None
    elif address not in proxies:
        return address
    for node in islice(_nodes_from_the_right(headers, proxies.header), MAX_HOPS):
        hop = parse_node(node)
        if hop is None:
            break
        address = hop
        if hop not in proxies:
            break
    return address


def network_of(address: Address, v6_bits: int = V6_CLIENT_BITS) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 one.

    A site gets a /64 at least, and its hosts change the lower half as they like (RFC 4291, 2.5.1; RFC 8981). Who has a /48 has
    65,536 of these: a second rule with fewer `v6_bits` is for them.

    >>> network_of(parse_node("2001:db8:1:2:3::4"))
    '2001:db8:1:2::/64'
    """
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address), v6_bits), strict=False))


def parse_node(text: str) -> Address | None:
    """An address as proxies write it: with a port or without, IPv6 with brackets or without. None for anything else.

    One address has one form: a zone is dropped (RFC 4007), an IPv4 address in an IPv6 one (mapped, RFC 4291, 2.5.5.2; NAT64, RFC
    6052) becomes itself, since otherwise all IPv4 clients would share one /64.

    >>> parse_node("[::ffff:192.0.2.1]:4711")
    IPv4Address('192.0.2.1')
    """
    text = text.strip(" \t")
    if not text or len(text) > MAX_NODE_CHARS:
        return None
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or (port and not _is_port(port)) or ":" not in text:
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(":" + port):
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    address = IPv6Address(number)
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(number & 0xFFFF_FFFF)
    return address


def forwarded_for(text: str) -> list[str] | None:
    """The `for` of each element of a Forwarded field, "" where there is none; None when the field is not as RFC 7239, 4 has it.

    None for the whole, and not what can be read of it: a client that opens a quote could otherwise make what a proxy appends part
    of its own string.

    >>> forwarded_for('for=192.0.2.43, for="[2001:db8::17]:4711";proto=https')
    ['192.0.2.43', '[2001:db8::17]:4711']
    """
    nodes, pairs, at = [], {}, 0
    while True:
        if pair := _PAIR.match(text, at):
            name, token, quoted = pair.groups()
            if name.lower() in pairs:
                return None
            pairs[name.lower()] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
            at = pair.end()
        else:  # nothing between two separators is allowed
            at += len(text[at:]) - len(text[at:].lstrip(" \t"))
        if at == len(text) or text[at] == ",":
            if pairs:
                nodes.append(pairs.get("for", ""))
            if at == len(text):
                return nodes
            pairs = {}
        elif text[at] != ";":
            return None
        at += 1


def _nodes_from_the_right(headers: RawHeaders, header: ForwardedHeader) -> Iterator[str]:
    """What hops said of who came to them, nearest first. Several fields of a name are one list, in order (RFC 9110, 5.3)."""
    name = header.encode()
    text = ",".join(value.decode("latin-1") for key, value in headers if key.lower() == name)
    if header == "forwarded":
        yield from reversed(forwarded_for(text) or ())
        return
    while text:
        text, _, node = text.rpartition(",")
        yield node


def _is_port(text: str) -> bool:
    return re.fullmatch(r":[0-9]{1,5}", text) is not None


def _network(word: str) -> Network:
    try:
        network = ip_network(word)
    except ValueError as error:
        raise ValueError(f"{word!r} is no network; write it as 10.0.0.0/8, with commas between several ({error})") from None
    if network.prefixlen == 0:
        raise ValueError(f"{word} trusts everybody, so that each client could choose its own address; name the proxies' networks")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError(f"{word} is IPv4 in IPv6; write the IPv4 network")
    return network
