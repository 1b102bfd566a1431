"""Where load may go: to this machine, and to another's only when somebody has said that its owner agreed."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def loopback_address(url: str) -> tuple[str, int]:
    """Host and port of an http URL of this machine. ValueError for any other: this generator must not reach further.

    A name is refused too, even `localhost`: it may resolve to ::1 first, where the server does not listen.
    """
    parts = urlsplit(url)
    try:
        loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback or parts.hostname is None:
        raise ValueError(f"load goes to http://127.0.0.1:<port> only, not to {url!r}")
    return parts.hostname, parts.port or 80


def any_address(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, of any http or https URL. ValueError for what is none."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # not a number, or beyond 65535
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.username is not None:
        raise ValueError(f"load goes to http://<host>:<port> or https://<host>:<port>, not to {url!r}")
    tls = parts.scheme == "https"
    return parts.hostname, port or (443 if tls else 80), tls
