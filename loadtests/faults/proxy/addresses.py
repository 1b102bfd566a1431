"""Where a proxy may listen and forward to: this machine, unless told otherwise."""

from __future__ import annotations

import ipaddress

LOOPBACK = "127.0.0.1"


class BadAddress(ValueError):
    """Not an address, or not one that may be used. The message is a sentence."""


def parse_address(text: str, *, anywhere: bool = False) -> tuple[str, int]:
    """Host and port of `127.0.0.1:6379`, `localhost:6379` or `[::1]:6379`; `anywhere` allows other machines. `BadAddress`."""
    host, colon, port_text = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port_text.isascii() and port_text.isdigit()) or int(port_text) > 65_535:
        raise BadAddress(f"an address is host:port, not {text!r}")
    if host == "localhost":  # which might be ::1 first, where the server does not listen
        host = LOOPBACK
    if not anywhere and not _is_loopback(host):
        raise BadAddress(f"the proxy stays on this machine: 127.0.0.1:port, not {text!r}")
    return host, int(port_text)


def format_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
