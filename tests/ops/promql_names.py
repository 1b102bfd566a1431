"""Which metrics and labels a PromQL expression names: as much of its grammar as that takes.

names('sum by (le) (rate(requests_bucket{route="/x"}[5m]))')
Named(selectors=(Selector("requests_bucket", (("route", "=", "/x"),)),), grouping=frozenset({"le"}))
"""

from __future__ import annotations

import re
from typing import NamedTuple

TOKEN = re.compile(
    r"""
      (?P<string>"(?:\\.|[^"\\])*")
    | (?P<range>\[[^\]]*\])
    | (?P<name>[A-Za-z_:][\w:]*)
    | (?P<number>\d[\w.]*)
    | (?P<operator>=~|!~|!=|==|>=|<=|\S)
    """,
    re.VERBOSE,
)
LABEL_LISTS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
WORDS = frozenset({"and", "or", "unless", "bool", "offset", "sum", "min", "max", "avg", "count"})


class Selector(NamedTuple):
    metric: str
    matchers: tuple[tuple[str, str, str], ...]  # label, operator, value


class Named(NamedTuple):
    selectors: tuple[Selector, ...]
    grouping: frozenset[str]


def names(expr: str) -> Named:
    tokens = [(kind, found[kind]) for found in TOKEN.finditer(expr) if (kind := found.lastgroup) is not None]
    tokens.append(("end", ""))
    selectors: list[Selector] = []
    grouping: set[str] = set()
    at = 0
    while at < len(tokens) - 1:
        kind, text = tokens[at]
        following = tokens[at + 1][1]
        at += 1
        if kind != "name" or text in WORDS:
            continue
        if text in LABEL_LISTS:
            if following == "(":
                end = at + [token for _, token in tokens[at:]].index(")")
                grouping |= {token for label, token in tokens[at:end] if label == "name"}
                at = end + 1
        elif following == "{":
            end = at + [token for _, token in tokens[at:]].index("}")
            inside = [token for _, token in tokens[at + 1 : end] if token != ","]
            matchers = tuple((label, how, value[1:-1]) for label, how, value in zip(*[iter(inside)] * 3, strict=True))
            selectors.append(Selector(text, matchers))
            at = end + 1
        elif following != "(":  # else it is a function
            selectors.append(Selector(text, ()))
    return Named(tuple(selectors), frozenset(grouping))
