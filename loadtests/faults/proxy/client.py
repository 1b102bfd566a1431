"""Speak to a control port, this proxy's or a Toxiproxy's: a small synchronous client of the standard library.

>>> control = ProxyControl("http://127.0.0.1:8474")
>>> control.create("redis@replica-1", "127.0.0.1:0", "127.0.0.1:6379")
'127.0.0.1:40123'
>>> control.add_toxic("redis@replica-1", "latency", {"latency": 100})
'latency_downstream'
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

TIMEOUT_S = 5.0


class ProxyRefused(RuntimeError):
    """The control port does not answer, or said no. The message is a sentence; `status` is HTTP's, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ProxyState:
    """A proxy as the control port shows it: its addresses, whether it is up, and its toxics by name, with their types."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: Mapping[str, str]


class ProxyControl:
    """Each call is one request on its own connection, so this may be shared by threads. Any call may raise `ProxyRefused`."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError(f"a control port is http://127.0.0.1:port, not {url!r}")
        self._host, self._port, self._timeout_s = parts.hostname, parts.port, timeout_s

    def create(self, name: str, listen: str, upstream: str) -> str:
        """A new proxy, up; the address where it listens, with the real port when `listen` says 0."""
        created = self._ask("POST", "/proxies", {"name": name, "listen": listen, "upstream": upstream})
        return str(created["listen"])

    def delete(self, proxy: str) -> None:
        self._ask("DELETE", _path(proxy))

    def add_toxic(
        self,
        proxy: str,
        type: str,
        attributes: Mapping[str, float],
        *,
        stream: str = "downstream",
        toxicity: float = 1.0,
        name: str | None = None,
    ) -> str:
        """The toxic's name, `<type>_<stream>` unless given."""
        whole = {key: int(value) if value == int(value) else value for key, value in attributes.items()}
        body = {"type": type, "stream": stream, "toxicity": toxicity, "attributes": whole}
        added = self._ask("POST", f"{_path(proxy)}/toxics", body if name is None else {**body, "name": name})
        return str(added["name"])

    def remove_toxic(self, proxy: str, name: str) -> None:
        self._ask("DELETE", f"{_path(proxy)}/toxics/{quote(name, safe='')}")

    def set_enabled(self, proxy: str, enabled: bool) -> None:
        """Down refuses connections and breaks those that are open."""
        self._ask("POST", _path(proxy), {"enabled": enabled})

    def reset(self) -> None:
        """All proxies up, no toxics."""
        self._ask("POST", "/reset")

    def proxies(self) -> dict[str, ProxyState]:
        return {
            name: ProxyState(
                name,
                fields["listen"],
                fields["upstream"],
                fields["enabled"],
                {toxic["name"]: toxic["type"] for toxic in fields["toxics"]},
            )
            for name, fields in self._ask("GET", "/proxies").items()
        }

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            # Toxiproxy before 2.6 takes changes by POST alone, so PATCH is not used.
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ProxyRefused(f"the fault proxy at {self._host}:{self._port} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise ProxyRefused(f"the fault proxy refused {method} {path}: {_reason(text)}", response.status)
        return json.loads(text) if text else None


def _path(proxy: str) -> str:
    return f"/proxies/{quote(proxy, safe='')}"


def _reason(text: bytes) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace").strip()[:200]
