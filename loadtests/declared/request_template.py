"""An HTTP/1.1 request with blanks: made once for each target, filled in for each planned request (RFC 9112).

Promises. A filled template is one whole request: Host, `Connection: keep-alive`, and a Content-Length that counts the bytes of the
body as they are sent. Blanks are filled with decimal digits alone, so that a filled path stays a path and filled JSON stays JSON.

    {key}      which thing is asked for: 0 .. keys-1, by its popularity
    {serial}   counts the requests of one side; the steps after a first one have its serial
    {seed}     the run's seed: keeps runs apart on services that remember
    {side}     the target's place on the command line, from 0: keeps sides apart that share a store
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BLANKS = ("key", "serial", "seed", "side")
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})  # these say "Content-Length: 0" when they have none (RFC 9110, 8.6)
USUAL_HEADERS: Mapping[str, str] = {"User-Agent": "system-designs", "Accept": "*/*"}

_BLANK = re.compile(rf"\{{({'|'.join(BLANKS)}|env:[A-Za-z_][A-Za-z0-9_]*)\}}")

Pieces = tuple[bytes | int, ...]  # literal bytes, and between them indexes into BLANKS


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """`head` is all up to the last field before Content-Length; `body` None for a request without one."""

    head: Pieces
    body: Pieces | None

    def request(self, values: Sequence[bytes]) -> bytes:
        """The whole request; `values` in the order of `BLANKS`."""
        head = filled(self.head, values)
        if self.body is None:
            return head + b"\r\n"
        body = filled(self.body, values)
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def request_template(
    method: str,
    path: str,
    *,
    host: str,
    headers: Iterable[tuple[str, str]],
    body: str | None,
    secrets: Mapping[str, str],
) -> RequestTemplate:
    """`headers` may name a field twice, ignoring case: the last one stands. KeyError for a secret that is not there."""
    fields = {name.lower(): (name, value) for name, value in {"Host": host, "Connection": "keep-alive", **USUAL_HEADERS}.items()}
    for name, value in headers:
        fields[name.lower()] = (name, value)
    head: list[bytes | int] = [f"{method} ".encode(), *pieces(path), b" HTTP/1.1\r\n"]
    for name, value in fields.values():
        head += [f"{name}: ".encode(), *pieces(value, secrets), b"\r\n"]
    if body is None and method in METHODS_WITH_BODY:
        body = ""
    return RequestTemplate(_joined(head), None if body is None else pieces(body))


def pieces(text: str, secrets: Mapping[str, str] | None = None) -> Pieces:
    """Text cut at its blanks. `{env:NAME}` is a secret, put in as it is; without `secrets` it is text like any other."""
    cut: list[bytes | int] = []
    for position, part in enumerate(_BLANK.split(text)):
        if position % 2 == 0:
            cut.append(part.encode())
        elif part in BLANKS:
            cut.append(BLANKS.index(part))
        elif secrets is None:
            cut.append(f"{{{part}}}".encode())
        else:
            cut.append(secrets[part.removeprefix("env:")].encode())
    return _joined(cut)


def secret_names(text: str) -> list[str]:
    """The variables that a header value reads."""
    return [part.removeprefix("env:") for part in _BLANK.findall(text) if part.startswith("env:")]


def without_blanks(text: str) -> str:
    """The literal text alone, to be checked for what may not be in it."""
    return _BLANK.sub("", text)


def filled(template: Pieces, values: Sequence[bytes]) -> bytes:
    return b"".join([values[piece] if isinstance(piece, int) else piece for piece in template])


def _joined(cut: Sequence[bytes | int]) -> Pieces:
    """Neighbouring literals as one, so that filling has little to do."""
    joined: list[bytes | int] = []
    for piece in cut:
        if joined and isinstance(piece, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += piece
        elif piece != b"":
            joined.append(piece)
    return tuple(joined)
