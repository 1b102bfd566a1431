"""What a person may write for a part of a request, and what they hear otherwise: names, paths, header fields, bodies, statuses.

Each check gives back what it was given, or raises a ValueError whose message says what is wrong and what would be right, without
the value of a header. The rules are those of RFC 9110 (5.1, 5.5) and RFC 3986 (3.3, 3.4), narrowed to ASCII.
"""

from __future__ import annotations

import json
import re
from typing import Any

from loadtests.declared.request_template import BLANKS, secret_names, without_blanks

MAX_BODY_BYTES = 1 << 20

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
_PATH = re.compile(r"/[!$%&'()*+,\-./0-9:;=?@A-Z_a-z~]*")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
_STATUS_CLASS = re.compile(r"[2-5]xx")
_OURS = {"content-length": "it is counted", "connection": "connections are kept open", "transfer-encoding": "bodies have a length"}


def one_line(text: str) -> str:
    if not _NAME.fullmatch(text.strip()):
        raise ValueError("a name is 1 to 80 characters on one line")
    return text.strip()


def path_template(text: str) -> str:
    if secret_names(text):
        raise ValueError("only header values read the environment")
    if not _PATH.fullmatch(without_blanks(text)):
        blanks = ", ".join(f"{{{blank}}}" for blank in BLANKS)
        raise ValueError(
            f"{text!r} is no path: it begins with /, spaces and the like are written as %20, and its blanks are {blanks}"
        )
    return text


def header_templates(fields: dict[str, str]) -> dict[str, str]:
    for name, value in fields.items():
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name")
        if name.lower() in _OURS:
            raise ValueError(f"leave out {name}: {_OURS[name.lower()]}")
        literal = without_blanks(value)
        if not is_field_value(literal):
            raise ValueError(f"the value of {name} must be ASCII on one line")
        if "{env" in literal:
            raise ValueError(f"{name} names no environment variable: write {{env:NAME}}")
    return fields


def is_field_value(text: str) -> bool:
    return _FIELD_VALUE.fullmatch(text) is not None


def sendable_body(body: Any) -> Any:
    """Text, or what JSON can say."""
    try:
        sent = body if isinstance(body, str) else json.dumps(body, allow_nan=False)
    except ValueError:
        raise ValueError("JSON has neither inf nor nan") from None
    if len(sent.encode()) > MAX_BODY_BYTES:
        raise ValueError(f"a body has at most {MAX_BODY_BYTES:,} bytes")
    return body


def expected_status(status: Any) -> int | str:
    """200, or a class such as "2xx"."""
    if isinstance(status, int) and 200 <= status <= 599:
        return status
    if isinstance(status, str) and _STATUS_CLASS.fullmatch(status):
        return status
    raise ValueError(f'{status!r} is no status: write a number such as 200, or a class such as "2xx"')


def statuses_of(expected: int | str) -> range:
    if isinstance(expected, int):
        return range(expected, expected + 1)
    first = 100 * int(expected[0])
    return range(first, first + 100)
